"""Many small trainings in one computation, beside the same trainings one after the other.

python benchmarks/together.py [--threads 1] [--repeats 5] [--width 576] [--pairs 2000] [--dtype float64]

A sweep of 5 seeds, 3 numbers of heads and 8 context budgets of 5 attributes on random features: stage 1 of each seed
and number of heads (one epoch), and stage 2 from each at each budget. Both ways take turns, `--repeats` times; a line
gives the median seconds of each way, the median ratio of the repeats with the smallest and the largest, and how far
the parameters of the two end from each other.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from micro_paper import stacked
from micro_paper.mixture import Heads, stage1_loss
from micro_paper.router import Router, Stage2, adapt_router
from micro_paper.stacked import Job, train_together
from micro_paper.training import Schedule, train

SEEDS, HEADS, BUDGETS, ATTRIBUTES, HIDDEN = range(5), (2, 5, 10), (5, 10, 20, 30, 50, 75, 100, 150), 5, 128
GOAL = 10.0


class Sweep:
    """Random features, and the trainings of a sweep over them."""

    def __init__(self, pairs: int, width: int, dtype: torch.dtype) -> None:
        draw = torch.Generator().manual_seed(0)
        self.dtype = dtype
        self.responses, self.prompts, self.contexts = (
            torch.randn(pairs, width, generator=draw, dtype=torch.float64).to(dtype) for _ in range(3)
        )
        self.chosen, self.rejected, self.prompt = (torch.randint(pairs, (pairs,), generator=draw) for _ in range(3))

    def stage1(self, together: bool) -> list[Tensor]:
        """Train heads and router of every seed and K; return all parameters."""
        jobs, models = [], []
        for seed in SEEDS:
            for count in HEADS:
                start, order = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
                heads = Heads(count, self.responses.shape[1], start, self.dtype)
                router = Router(self.prompts.shape[1], count, HIDDEN, start, self.dtype)
                models.append(nn.ModuleList([heads, router]))
                pairs = (self.responses, self.chosen, self.rejected)
                job = Job(router, (self.prompts, self.prompt), Schedule(), order, heads=heads, pairs=pairs, alpha=0.5)
                jobs.append(job)
                if not together:

                    def loss(rows: Tensor, heads: Heads = heads, router: Router = router) -> Tensor:
                        difference = self.responses[self.chosen[rows]] - self.responses[self.rejected[rows]]
                        return stage1_loss(heads(difference), router(self.prompts[self.prompt[rows]]), 0.5)

                    train(models[-1], loss, len(self.chosen), Schedule(), order)
        if together:
            train_together(jobs)
        return [p.detach() for model in models for p in model.parameters()]

    def stage2(self, together: bool) -> list[Tensor]:
        """Adapt a router of every seed and K at every budget; return all parameters."""
        jobs, routers, stage2 = [], [], Stage2(tau=0.1)
        for seed in SEEDS:
            for count in HEADS:
                for budget in BUDGETS:
                    start, order = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
                    router = Router(self.contexts.shape[1], count, HIDDEN, start, self.dtype)
                    n = min(budget * ATTRIBUTES, len(self.contexts))
                    margins = torch.randn(n, count, generator=start, dtype=torch.float64).to(self.dtype)
                    routers.append(router)
                    if together:
                        read = (self.contexts, torch.arange(n))
                        jobs.append(Job(router, read, stage2.schedule, order, margins=margins, stage2=stage2))
                    else:
                        adapt_router(router, margins, self.contexts[:n], stage2, order)
        train_together(jobs)
        return [p.detach() for router in routers for p in router.parameters()]


def race(work: Callable[[bool], list[Tensor]], repeats: int) -> tuple[list[list[float]], float]:
    """Return the seconds of each way, one after the other and together, and their largest difference."""
    seconds: list[list[float]] = [[], []]
    results: list[list[Tensor]] = [[], []]
    for _ in range(repeats):
        for together in (False, True):
            start = time.perf_counter()
            results[together] = work(together)
            seconds[together].append(time.perf_counter() - start)
    return seconds, max(float((a - b).abs().max()) for a, b in zip(*results, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument("--repeats", type=int, default=5, help="timings of each way, in turn (default 5)")
    parser.add_argument("--width", type=int, default=576, help="features of a text (default 576)")
    parser.add_argument("--pairs", type=int, default=2000, help="training pairs of stage 1 (default 2000)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64", help="default float64")
    options = parser.parse_args(arguments)
    if min(options.threads, options.repeats, options.width, options.pairs) < 1:
        parser.error("--threads, --repeats, --width and --pairs must be at least 1")
    torch.set_num_threads(options.threads)
    stacked.STACKED = (getattr(torch, options.dtype),)
    sweep = Sweep(options.pairs, options.width, getattr(torch, options.dtype))
    machine = f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {options.threads} threads"
    sys.stdout.write(f"{machine}, {options.width} features, {options.dtype}, {options.repeats} repeats\n")
    sys.stdout.write(f"{'work':10}{'runs':>6}{'looped s':>10}{'together s':>12}{'ratio':>8}{'goal':>6}  range, gap\n")
    for name, work, runs in (
        ("stage 1", sweep.stage1, len(SEEDS) * len(HEADS)),
        ("stage 2", sweep.stage2, len(SEEDS) * len(HEADS) * len(BUDGETS)),
    ):
        (looped, together), gap = race(work, options.repeats)
        ratios = sorted(a / b for a, b in zip(looped, together, strict=True))
        line = f"{name:10}{runs:6}{statistics.median(looped):10.2f}{statistics.median(together):12.2f}"
        line += f"{statistics.median(ratios):8.1f}{GOAL:6.0f}  {ratios[0]:.1f} .. {ratios[-1]:.1f}, {gap:.0e}\n"
        sys.stdout.write(line)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
