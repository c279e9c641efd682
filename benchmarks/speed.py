"""How fast the package is, by ratios of two ways that take turns in one run; writes results/benchmarks/.

python benchmarks/speed.py [--only extraction training ...] [--threads N] [--repeats 5] [--out results/benchmarks]

Every repeat runs all ways of a line one after the other, so that the machine's load hits them alike; a line's ratio is
the median over repeats. `speed.csv` has a line a claim (ratio, smallest and largest of the repeats, goal, met),
`speed_repeats.csv` the seconds behind it, `scaling.csv` time and memory against the size of the work, and
`machine.json` the machine.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from features import draw_groups, table, tokens, unshare
from sklearn.linear_model import LogisticRegression
from together import BUDGETS, HEADS, SEEDS, Sweep
from torch import Tensor, nn

from micro_paper import stacked
from micro_paper.convex import fit_bradley_terry
from micro_paper.features.backbone import Backbone, Group, resolve_dtype
from micro_paper.mixture import Heads, stage1_loss
from micro_paper.router import Router
from micro_paper.stacked import Job, train_together
from micro_paper.training import Schedule, train

LAYERS, BATCH = 15, 32
FEW, MANY = (2, 150, 60), (16, 500, 60)  # responses a prompt, tokens of a prompt, tokens of a response
EPOCH = 23_500  # training pairs of the paper's HelpSteer2
POINTS = {
    "pairs": (1_000, 10_000, 100_000, 1_000_000),
    "heads": (1, 5, 10, 20, 100),
    "width": (24, 576, 3072),
    "runs": (1, 5, 25, 100),
}
AT_LEAST, AT_MOST = ">=", "<="


@dataclass(frozen=True)
class Line:
    """What is measured: `ratio` of each repeat is held against the goal."""

    name: str
    ratios: Sequence[float]
    goal: float
    sense: str = AT_LEAST
    unit: str = "times as fast"
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def met(self) -> bool:
        return self.median >= self.goal if self.sense == AT_LEAST else self.median <= self.goal

    def row(self) -> dict[str, object]:
        """Return the line of speed.csv."""
        number = lambda x: f"{x:.3g}"  # noqa: E731
        return {
            "line": self.name,
            "ratio": number(self.median),
            "smallest": number(min(self.ratios)),
            "largest": number(max(self.ratios)),
            "unit": self.unit,
            "goal": f"{self.sense} {self.goal:g}",
            "met": "yes" if self.met else "no",
            "repeats": len(self.ratios),
            "note": self.note,
        }


Ways = dict[str, Callable[[], object]]
REPEATS: list[dict[str, object]] = []  # of all lines, for speed_repeats.csv


def race(name: str, ways: Ways, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each way, all ways in turn in every repeat; the first pass of each is not counted."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(repeats):
        for way, work in ways.items():
            start = time.perf_counter()
            work()
            seconds[way].append(time.perf_counter() - start)
            REPEATS.append({"line": name, "way": way, "repeat": repeat, "seconds": f"{seconds[way][-1]:.4g}"})
    return seconds


def over(seconds: dict[str, list[float]], slow: str, fast: str) -> list[float]:
    """Return how many times as fast `fast` is as `slow`, a repeat each."""
    return [a / b for a, b in zip(seconds[slow], seconds[fast], strict=True)]


def matmul_peak(dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Return the machine's floating-point operations a second in products of the backbone's shapes, the best found."""
    best = 0.0
    for rows, inner, columns in ((1024, 2048, 2048), (2048, 576, 1536), (1024, 576, 576)):
        a, b = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            a @ b
            best = max(best, 2 * rows * inner * columns / (time.perf_counter() - start))
    return best


def operations_a_token(backbone: Backbone) -> float:
    """Return floating-point operations a token in the products of the layers; attention's own are not counted."""
    linear = [m for m in backbone.model.modules() if isinstance(m, nn.Linear)]
    return 2.0 * sum(m.weight.numel() for m in linear)


@torch.inference_mode()
def padded(backbone: Backbone, sequences: Sequence[np.ndarray]) -> Tensor:
    """Return mean features (b, d) of whole sequences in one right-padded batch, as plain evaluation code does."""
    sizes = torch.tensor([len(s) for s in sequences])
    ids = torch.zeros(len(sequences), int(sizes.max()), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.from_numpy(sequence)
    mask = torch.arange(ids.shape[1]) < sizes[:, None]
    ids, mask = ids.to(backbone.device), mask.to(backbone.device)
    hidden = backbone.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def one_pair_at_a_time(backbone: Backbone, groups: Sequence[Group]) -> None:
    """Encode the two responses of each pair with their prompt, pair by pair."""
    for group in groups:
        whole = [np.concatenate([group.ids, ids]) for _, ids, _ in group.responses]
        for i in range(0, len(whole), 2):
            padded(backbone, whole[i : i + 2])


def sorted_batches(backbone: Backbone, groups: Sequence[Group]) -> None:
    """Encode every prompt with each of its responses in batches of 32 by length, longest first.

    This is the order and the batch of sentence-transformers' `encode`, with this backbone.
    """
    whole = sorted((g.ids for g in unshare(groups)), key=len, reverse=True)
    for i in range(0, len(whole), BATCH):
        padded(backbone, whole[i : i + BATCH])


def extraction(repeats: int, scale: int) -> Iterator[Line]:
    """Extraction against plain loops, and its share of the machine's own peak in both shapes."""
    backbone = Backbone.load("smollm2", LAYERS, "auto")
    peak, cost = matmul_peak(backbone.dtype), operations_a_token(backbone)
    kind = str(backbone.dtype).removeprefix("torch.")
    for (responses, prompt, response), prompts, by_pair, by_batch in (
        (FEW, 16 * scale, 1.6, None),
        (MANY, 2 * scale, 6, 4),
    ):
        groups = draw_groups(prompts, responses, prompt, response)
        shape = f"{responses} responses of {response} tokens on {prompt}"
        ways: Ways = {
            "shared prompts": lambda g=groups: table(backbone, g, 0),
            "one pair at a time": lambda g=groups: one_pair_at_a_time(backbone, g),
            "sorted padded batches": lambda g=groups: sorted_batches(backbone, g),
        }
        seconds = race(f"extraction, {shape}", ways, repeats)
        fewer = f"{tokens(unshare(groups)) / tokens(groups):.1f} times fewer tokens; {kind}"
        for way, goal in (("one pair at a time", by_pair), ("sorted padded batches", by_batch)):
            if goal:
                yield Line(f"extraction against {way}, {shape}", over(seconds, way, "shared prompts"), goal, note=fewer)
        rates = [tokens(groups) / s for s in seconds["shared prompts"]]
        note = f"{statistics.median(rates):.0f} tokens/s of {peak / cost:.0f} at the peak of {peak / 1e9:.0f} GFLOP/s"
        shares, unit = [rate * cost / peak for rate in rates], "of the matrix-product peak"
        yield Line(f"extraction's share of the peak, {shape}", shares, 0.6, unit=unit, note=note)


def drawn(pairs: int, width: int, dtype: torch.dtype) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Return random features of responses and prompts, and which of them each pair has: chosen, rejected, prompt."""
    draw = torch.Generator().manual_seed(0)
    items = min(2 * pairs, 20_000)
    phi, u = (torch.randn(items, width, generator=draw).to(dtype) for _ in range(2))
    chosen, rejected, prompt = (torch.randint(items, (pairs,), generator=draw) for _ in range(3))
    return (phi, u), (chosen, rejected, prompt)


def epoch(pairs: int, heads: int, width: int, dtype: torch.dtype = torch.float32) -> Callable[[], object]:
    """Return a first epoch of stage 1 on random features."""
    (phi, u), (chosen, rejected, prompt) = drawn(pairs, width, dtype)

    def run() -> None:
        start = torch.Generator().manual_seed(1)
        model = nn.ModuleList([Heads(heads, width, start, dtype), Router(width, heads, 128, start, dtype)])

        def loss(rows: Tensor) -> Tensor:
            margins = model[0](phi[chosen[rows]] - phi[rejected[rows]])
            return stage1_loss(margins, model[1](u[prompt[rows]]), 0.5)

        train(model, loss, pairs, Schedule(), start)

    return run


def epochs_together(runs: int, pairs: int, heads: int, width: int) -> Callable[[], object]:
    """Return first epochs of stage 1 of so many seeds on the same random features, trained together in float64."""
    stacked.STACKED = (torch.float64,)
    (phi, u), (chosen, rejected, prompt) = drawn(pairs, width, torch.float64)

    def job(seed: int) -> Job:
        start, order = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        own = Heads(heads, width, start, torch.float64)
        router = Router(width, heads, 128, start, torch.float64)
        return Job(router, (u, prompt), Schedule(), order, heads=own, pairs=(phi, chosen, rejected), alpha=0.5)

    return lambda: train_together([job(seed) for seed in range(runs)])


def training(repeats: int, scale: int) -> Iterator[Line]:
    """An epoch of stage 1 on features, by itself and against the same loss with the backbone in the loop."""
    backbone = Backbone.load("smollm2", LAYERS, "auto")
    groups = draw_groups(BATCH * scale, *FEW)
    ways: Ways = {
        "on features": epoch(EPOCH, 10, 576),
        "backbone in the loop": lambda: sorted_batches(backbone, groups),
        "8,000 pairs, d = 24": epoch(8000, 10, 24),
    }
    seconds = race("stage 1", ways, repeats)
    features = seconds["on features"]
    ratios = [(b / len(groups)) / (a / EPOCH) for a, b in zip(features, seconds["backbone in the loop"], strict=True)]
    note = f"pair for pair; the frozen backbone's forward pass of {len(groups)} pairs, its steps not counted"
    yield Line("stage-1 epoch on features against the backbone in the loop", ratios, 100, note=note)
    yield Line(f"stage-1 epoch of {EPOCH} pairs, K = 10, d = 576", features, 1, AT_MOST, "seconds")
    yield Line("stage-1 epoch of 8000 pairs, K = 10, d = 24", seconds["8,000 pairs, d = 24"], 1.15, AT_MOST, "seconds")


def sweep(repeats: int, scale: int) -> Iterator[Line]:
    """Stage 2 of all seeds, numbers of heads and budgets: together against one after the other, in float64."""
    stacked.STACKED = (torch.float64,)
    work = Sweep(500 * scale, 576, torch.float64)
    runs = {"stage 1": (work.stage1, 15), "stage 2": (work.stage2, len(SEEDS) * len(HEADS) * len(BUDGETS))}
    for stage, (run, count) in runs.items():
        seconds = race(
            f"sweep, {stage}", {"together": lambda r=run: r(True), "looped": lambda r=run: r(False)}, repeats
        )
        yield Line(
            f"sweep of {count} trainings together against looped, {stage}", over(seconds, "looped", "together"), 10
        )


def exact(repeats: int, scale: int) -> Iterator[Line]:
    """Penalised Bradley-Terry fits, all at once against scikit-learn one by one, to the same gradient."""
    rng = np.random.default_rng(0)
    problems, pairs, width, penalties = 20, 200 * scale, 64, (1e-3, 1e-2, 1e-1)
    truth = rng.normal(size=(problems, width)) / np.sqrt(width)
    d = rng.normal(size=(problems, pairs, width))
    d *= np.where(rng.random((problems, pairs)) < 1 / (1 + np.exp(-2 * np.einsum("rnd,rd->rn", d, truth))), 1, -1)[
        ..., None
    ]
    stack = torch.from_numpy(d)

    def one_by_one() -> list[np.ndarray]:
        found = []
        for x in d:
            for penalty in penalties:
                model = LogisticRegression(C=1 / (4 * pairs * penalty), fit_intercept=False, tol=1e-8, max_iter=1000)
                found.append(model.fit(np.concatenate([x, -x]), np.repeat([1, 0], pairs)).coef_[0])
        return found

    ways: Ways = {"all at once": lambda: fit_bradley_terry(stack, penalties), "scikit-learn": one_by_one}
    gap = float(np.abs(fit_bradley_terry(stack, penalties).weight.reshape(-1, width).numpy() - one_by_one()).max())
    seconds = race("exact fits", ways, repeats)
    note = f"{problems} problems, {len(penalties)} penalties, {pairs} pairs, d = {width}; weights differ by {gap:.0e}"
    yield Line(
        "exact fits at once against scikit-learn one by one", over(seconds, "scikit-learn", "all at once"), 1, note=note
    )


LINES: dict[str, Callable[[int, int], Iterator[Line]]] = {
    "extraction": extraction,
    "training": training,
    "sweep": sweep,
    "exact": exact,
}


def _resident(field: str) -> float:
    """Return this process's memory in MiB: "VmRSS" now, "VmHWM" at most; the parent's does not count, as in rusage."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(float(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def _measure(pairs: int, heads: int, width: int, runs: int, threads: int, repeats: int, out) -> None:
    torch.set_num_threads(threads)
    before = _resident("VmRSS")
    run, first = (epoch(n, heads, width) if runs == 1 else epochs_together(runs, n, heads, width) for n in (pairs, 320))
    first()  # a process's first pass starts torch's threads
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    out.put((seconds, _resident("VmHWM") - before))


def scaling(threads: int, repeats: int) -> list[dict[str, object]]:
    """Return seconds and memory of one stage-1 epoch, each in a process of its own, against n, K, d and runs.

    Seconds are the median of the repeats; memory is the most that the process had beyond torch itself. The pairs are
    of at most 20,000 texts, as in `drawn`; one run is trained in float32 by itself, several together in float64.
    """
    base = {"pairs": 10_000, "heads": 10, "width": 576, "runs": 1}
    spawn, rows = multiprocessing.get_context("spawn"), []
    for varied, values in POINTS.items():
        for value in values:
            size = base | {varied: value}
            queue = spawn.Queue()
            process = spawn.Process(target=_measure, args=(*size.values(), threads, repeats, queue))
            process.start()
            seconds, mebibytes = queue.get()
            process.join()
            found = {"seconds": f"{statistics.median(seconds):.3g}", "least": f"{min(seconds):.3g}"}
            found |= {"most": f"{max(seconds):.3g}", "memory_MiB": f"{mebibytes:.0f}"}
            rows.append({"varied": varied, **size, **found})
    return rows


def machine(threads: int) -> dict[str, object]:
    """Return what ran this."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    kinds = dict.fromkeys((torch.float32, resolve_dtype()))  # bfloat16 only where the machine computes in it
    peaks = {str(t).removeprefix("torch."): round(matmul_peak(t) / 1e9) for t in kinds}
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": threads,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "matmul_peak_GFLOP/s": peaks,
        "features_computed_in": str(resolve_dtype()).removeprefix("torch."),
    }


def write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write; 0 whether goals are met or not."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=[*LINES, "scaling"], help="parts (default: all)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads (default: all cores)")
    parser.add_argument("--repeats", type=int, default=5, help="of each way, in turn (default 5)")
    parser.add_argument("--scale", type=int, default=4, help="size of the work (default 4)")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"), help="folder of the results")
    options = parser.parse_args(arguments)
    if min(options.threads, options.repeats, options.scale) < 1:
        parser.error("--threads, --repeats and --scale must be at least 1")
    torch.set_num_threads(options.threads)
    parts = options.only or [*LINES, "scaling"]
    options.out.mkdir(parents=True, exist_ok=True)
    described = machine(options.threads)
    sys.stdout.write(f"{described}\n")
    lines: list[Line] = []
    for part in (p for p in parts if p in LINES):
        for line in LINES[part](options.repeats, options.scale):
            lines.append(line)
            said = "{line}: {ratio} {unit} [{smallest}, {largest}], goal {goal}, met: {met}. {note}\n"
            sys.stdout.write(said.format_map(line.row()))
            sys.stdout.flush()
    if lines:
        write(options.out / "speed.csv", [line.row() for line in lines])
        write(options.out / "speed_repeats.csv", REPEATS)
    if "scaling" in parts:
        rows = scaling(options.threads, options.repeats)
        write(options.out / "scaling.csv", rows)
        sys.stdout.write("\n".join(str(row) for row in rows) + "\n")
    (options.out / "machine.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
