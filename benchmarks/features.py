"""Throughput of the feature extraction, side by side in one run.

python benchmarks/features.py [--backbone smollm2] [--threads N] [--repeats 2] [--scale 1]

Each line compares two ways of encoding the same random tokens: a prompt shared by its responses against
every prompt and response encoded whole, bfloat16 against float32, the first 15 layers against all. Tokens
are counted as the plain way encodes them, so that both rates of a line are of the same work. Each way is
timed `--repeats` times in turn, the best counts. Agreement is the smallest cosine over all features of the
line (None where the features differ by design), and the same after subtracting the mean feature, which shows
what the few large coordinates of a hidden state hide.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from micro_paper.features.backbone import Backbone, Group


def draw_groups(prompts: int, responses: int, prompt_tokens: int, response_tokens: int, seed: int = 0) -> list[Group]:
    """Return groups of random tokens of about the named lengths; responses are read at their mean."""
    rng = np.random.default_rng(seed)

    def draw(length: int) -> np.ndarray:
        return rng.integers(100, 20000, int(rng.integers(length * 3 // 4, length * 5 // 4 + 1)))

    row, groups = 0, []
    for _ in range(prompts):
        group = Group(draw(prompt_tokens))
        for _ in range(responses):
            ids = draw(response_tokens)
            group.responses.append((row, ids, np.arange(len(ids))))
            row += 1
        groups.append(group)
    return sorted(groups, key=lambda g: len(g.ids))


def unshare(groups: Sequence[Group]) -> list[Group]:
    """Return the same reads with each prompt and response as one sequence of its own."""
    out = [
        Group(np.concatenate([g.ids, ids]), [(row, where + len(g.ids))])
        for g in groups
        for row, ids, where in g.responses
    ]
    return sorted(out, key=lambda g: len(g.ids))


def tokens(groups: Sequence[Group]) -> int:
    """Return how many tokens the groups hold."""
    return sum(g.tokens for g in groups)


def table(backbone: Backbone, groups: Sequence[Group], budget: int) -> Tensor:
    """Return the features (rows, d) of groups."""
    parts = list(backbone.encode(groups, budget))
    rows = torch.cat([r for r, _ in parts])
    return torch.cat([f for _, f in parts])[rows.argsort()]


def race(ways: Sequence[Callable[[], Tensor]], repeats: int) -> tuple[list[float], list[Tensor]]:
    """Return each way's best seconds and its features; they take turns, so that load hits them alike."""
    best, results = [float("inf")] * len(ways), [torch.empty(0)] * len(ways)
    for _ in range(repeats):
        for i, way in enumerate(ways):
            start = time.perf_counter()
            results[i] = way()
            best[i] = min(best[i], time.perf_counter() - start)
    return best, results


def agreement(a: Tensor, b: Tensor) -> str:
    """Return the smallest cosine, plain and centred, of (n, d) against (n, d)."""
    plain = torch.cosine_similarity(a, b).min()
    centred = torch.cosine_similarity(a - b.mean(0), b - b.mean(0)).min()
    return f"{plain:.5f} {centred:.5f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backbone", default="smollm2", help="smollm2, a folder or a hub id")
    parser.add_argument("--layers", type=int, default=15, help="layers of the short stack (default 15)")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default: torch's own choice)")
    parser.add_argument("--repeats", type=int, default=2, help="timings of each way, best counts (default 2)")
    parser.add_argument("--scale", type=int, default=1, help="how many times the default number of prompts")
    parser.add_argument("--token-budget", type=int, default=1024, help="tokens a forward pass (default 1024)")
    options = parser.parse_args(arguments)
    if min(options.repeats, options.scale, options.token_budget) < 1 or options.threads < 0:
        parser.error("--repeats, --scale and --token-budget must be at least 1, --threads at least 0")
    if options.threads:
        torch.set_num_threads(options.threads)
    budget = options.token_budget
    fast = Backbone.load(options.backbone, options.layers, "bfloat16")
    exact = Backbone.load(options.backbone, options.layers, "float32")
    deep = Backbone.load(options.backbone, 0, "bfloat16")
    few = draw_groups(4 * options.scale, 2, 150, 60)
    many = draw_groups(options.scale, 16, 500, 60)
    table(fast, few[:1], budget)  # the first pass pays for set-up
    lines = [
        ("2 responses of 60 on 150", "shared", "plain", few, fast, few, fast, unshare(few), True),
        ("16 responses of 60 on 500", "shared", "plain", many, fast, many, fast, unshare(many), True),
        ("2 responses of 60 on 150", "bfloat16", "float32", few, fast, few, exact, few, True),
        (f"{options.layers} layers or all", f"{options.layers}", "all", few, fast, few, deep, few, False),
    ]
    device, threads = fast.device.type, torch.get_num_threads()
    sys.stdout.write(f"{options.backbone}, {device}, {threads} threads, {budget} tokens a pass\n")
    sys.stdout.write(f"{'work':28}{'a':>10}{'b':>10}{'a tok/s':>10}{'b tok/s':>10}{'ratio':>8}  cosine, centred\n")
    for name, a, b, work, model_a, groups_a, model_b, groups_b, comparable in lines:
        ways = [lambda m=m, g=g: table(m, g, budget) for m, g in ((model_a, groups_a), (model_b, groups_b))]
        (seconds_a, seconds_b), (first, second) = race(ways, options.repeats)
        count = tokens(unshare(work))
        close = agreement(first, second) if comparable else "None"
        rates = f"{count / seconds_a:10.0f}{count / seconds_b:10.0f}{seconds_b / seconds_a:8.2f}"
        sys.stdout.write(f"{name:28}{a:>10}{b:>10}{rates}  {close}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
