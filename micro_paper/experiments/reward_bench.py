"""RewardBench's four sections (table 10): its weighting of subsets, intervals over prompts, and the tables.

A subset's score is the share of its pairs that are decided as labelled. A section's score is the mean over its subsets,
weighted by their numbers of examples; in reasoning the mathematics subsets together weigh as much as the code subsets
together (RewardBench counts its 447 mathematics pairs as 984, the number of its code pairs). The overall score is the
mean of the sections. RewardBench has one pair a prompt, some stand-ins have several: an example is a pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from micro_paper import digits, intervals, metrics
from micro_paper.data.criteria import SECTIONS
from micro_paper.errors import InputError
from micro_paper.experiments.bench_runs import Bench
from micro_paper.experiments.evaluation import Evaluation
from micro_paper.metrics import MACRO
from micro_paper.paper import values as paper_values

ORDER = ("chat", "chat-hard", "safety", "reasoning")
MATHS = ("math-prm", "gsm8k")
CODE = "hep-"  # HumanEvalPack, one subset a language
Floats = NDArray[np.float64]
ROWS = (
    "micro",
    "micro_plus",
    "micro_stage1",
    "single",
    "static_learned",
    "shared_base",
    "length",
    "pca_heads",
    "random_heads",
)
PAPER_ROWS = {"micro": "MiCRo", "single": "Single Reward (3B)"}  # of table 10
STANDS_FOR = {
    "reward_bench": "itself",
    "llmbar": "llmbar-*, the same pairs",
    "humanevalpack": "hep-*, the same construction",
    "xstest": "xstest-*, other completions",
    "gsm8k_solutions": "math-prm",
    "pandalm": "alpacaeval, mt-bench-easy and -med",
}
"""What the subsets of a data set stand for in RewardBench."""
NOT_APPLICABLE = (
    "This profile has no benchmark pairs with chat, safety and reasoning sections: its data set is one corpus of "
    "composed responses, without offensive text, so heads cannot be audited for safety (section 8) either. The profile "
    "open has stand-ins for RewardBench and human harmlessness pairs, the profile paper has the originals."
)
CHAT_OF_LLMBAR = ("mt-bench", "faireval", "llmeval2")  # stored beside LLMBar, chat in RewardBench's sense


def section_of(subset: str) -> str:
    """Return the section of a subset; one that RewardBench does not know is a section of its own."""
    return SECTIONS.get(str(subset), str(subset))


def sections_in_order(subsets: Iterable[str]) -> list[str]:
    """Return the sections of the subsets, each once, RewardBench's first and in its order."""
    found = {section_of(s) for s in subsets}
    return [s for s in ORDER if s in found] + sorted(found - set(ORDER))


def subset_weights(subset: ArrayLike) -> pd.DataFrame:
    """Return what each subset weighs in its section.

    Args:
        subset: of each pair, (n,).

    Returns:
        Columns subset, section, n_pairs, weight (share of the section, summing to 1 in each).
    """
    names, counts = np.unique(np.asarray(subset, dtype=str), return_counts=True)
    if not len(names):
        raise InputError("there are no pairs to weigh: give at least one")
    table = pd.DataFrame({"subset": names, "section": [section_of(s) for s in names], "n_pairs": counts})
    weight = table["n_pairs"].astype(float)
    maths, code = table["subset"].isin(MATHS), table["subset"].str.startswith(CODE)
    if maths.any() and code.any():
        weight[maths] *= weight[code].sum() / weight[maths].sum()
    table["weight"] = weight / weight.groupby(table["section"]).transform("sum")
    place = {s: i for i, s in enumerate(sections_in_order(names))}
    return table.sort_values("section", key=lambda c: c.map(place), kind="stable", ignore_index=True)


def section_scores(
    values: ArrayLike, subset: ArrayLike, prompt: ArrayLike, *, rng: np.random.Generator, n: int = 10_000
) -> pd.DataFrame:
    """Return the score of each section and overall, with 95 % intervals over prompts.

    Prompts are resampled within their subset (of several, the first by name), all pairs of a prompt together; the
    weights of the subsets stay.

    Args:
        values: 1 where the pair is decided as labelled, averaged over runs, (n,).
        subset, prompt: of each pair, (n,).
        n: resamples.

    Returns:
        Columns section (the last row is the average), value, low, high, n_pairs, n_prompts.
    """
    table = _scored(values, subset, prompt, rng, n, test=False)
    return table.rename(columns={"difference": "value"}).drop(columns="p_value")


def section_differences(
    values_a: ArrayLike,
    values_b: ArrayLike,
    subset: ArrayLike,
    prompt: ArrayLike,
    *,
    rng: np.random.Generator,
    n: int = 10_000,
) -> pd.DataFrame:
    """Return the scores of a less those of b on the same pairs; as `section_scores`, with two-sided p-values.

    Returns:
        Columns section, difference, low, high, n_pairs, n_prompts, p_value.
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if a.shape != b.shape:
        raise InputError(f"values_a has shape {a.shape}, values_b {b.shape}: score both on the same pairs")
    return _scored(a - b, subset, prompt, rng, n, test=True)


def _scored(
    values: ArrayLike, subset: ArrayLike, prompt: ArrayLike, rng: np.random.Generator, n: int, test: bool
) -> pd.DataFrame:
    values, subset, prompt = (np.asarray(v) for v in (values, subset, prompt))
    if values.ndim != 1 or len({len(values), len(subset), len(prompt)}) != 1:
        raise InputError(
            f"values, subset and prompt need one entry a pair, got {values.shape}, {subset.shape} and {prompt.shape}"
        )
    if not np.isfinite(values).all():
        raise InputError(f"values must be finite, row {int(np.argmin(np.isfinite(values)))} is not")
    if n < 100:
        raise InputError(f"n must be at least 100 resamples, got {n}")
    weights = subset_weights(subset)
    estimates, draws = _subset_means(values, subset, prompt, weights["subset"].tolist(), rng, n)
    lines, means = [], []
    for section in sections_in_order(subset):
        own = (weights["section"] == section).to_numpy()
        share = weights["weight"].to_numpy()[own]
        rows = np.isin(subset, weights["subset"][own])
        means.append((estimates[own] @ share, draws[:, own] @ share))
        lines.append(_line(section, *means[-1], rows.sum(), len(set(prompt[rows])), own.sum(), test))
    average = np.mean([m for m, _ in means]), np.mean([d for _, d in means], axis=0)
    lines.append(_line(MACRO, *average, len(values), len(set(prompt)), len(weights), test))
    return pd.DataFrame(lines)


def _subset_means(
    values: Floats, subset: np.ndarray, prompt: np.ndarray, names: list[str], rng: np.random.Generator, n: int
) -> tuple[Floats, Floats]:
    """Return the mean of each subset, (S,), and its resampled means, (n, S)."""
    prompts, group = np.unique(prompt, return_inverse=True)
    place = {name: i for i, name in enumerate(names)}
    column = np.array([place[s] for s in subset])
    shape = (len(prompts), len(names))
    cell = group * len(names) + column
    counts = np.bincount(cell, minlength=np.prod(shape)).reshape(shape).astype(float)
    sums = np.bincount(cell, weights=values, minlength=np.prod(shape)).reshape(shape)
    by_name = np.argsort(names)
    stratum = by_name[(counts[:, by_name] > 0).argmax(axis=1)]  # of each prompt
    top, bottom = np.zeros((n, len(names))), np.zeros((n, len(names)))
    for s in np.unique(stratum):
        rows = np.flatnonzero(stratum == s)
        if len(rows) < 2:
            raise InputError(f"subset {names[s]!r} has a single prompt: an interval over prompts needs two")
        drawn = intervals.resamples(len(rows), rng, n).astype(float)
        top += drawn @ sums[rows]
        bottom += drawn @ counts[rows]
    estimate = sums.sum(axis=0) / counts.sum(axis=0)
    # A subset all of whose prompts belong to others may miss a resample: its estimate stands in.
    return estimate, np.where(bottom > 0, top / np.maximum(bottom, 1), estimate)


def _line(section: str, estimate: float, draws: Floats, n_pairs: int, n_prompts: int, strata: int, test: bool) -> dict:
    free = max(1, n_prompts - strata)
    low, high = intervals.expanded_percentiles(draws, n_prompts, free=free)
    p_value = intervals.two_sided_p(draws, n_prompts, free=free) if test else np.nan
    line = {"section": section, "difference": float(estimate), "low": low, "high": high}
    return line | {"n_pairs": int(n_pairs), "n_prompts": int(n_prompts), "p_value": p_value}


def _decided(result: Evaluation) -> dict[str, np.ndarray]:
    return {m: metrics.correct_by_run(p).mean(axis=1) for m, p in result.probability.items()}


def section_table(result: Evaluation | None, *, seed: int, n_bootstrap: int) -> pd.DataFrame:
    """Return table 10; without a result it has no rows.

    Columns: dataset, method, supervision, section, value, low, high, paper, n_pairs, n_prompts, n_runs.
    """
    names = ["dataset", "method", "supervision", "section", "value", "low", "high", "paper"]
    names += ["n_pairs", "n_prompts", "n_runs"]
    if result is None:
        return pd.DataFrame(columns=names)
    printed = paper_values.accuracy(10)
    printed = printed.assign(section=printed["attribute"].str.lower()).set_index(["method", "section"])["accuracy"]
    lines = []
    for method, values in _decided(result).items():
        table = section_scores(
            values,
            result.pairs["attribute"].to_numpy(),
            result.pairs["prompt_id"].to_numpy(),
            rng=np.random.default_rng(seed),
            n=n_bootstrap,
        )
        base = {"dataset": result.world, "method": method, "supervision": result.supervision[method]}
        base["n_runs"] = result.probability[method].shape[1]
        for line in table.to_dict("records"):
            paper = printed.get((PAPER_ROWS.get(method), line["section"]), float("nan"))
            known = line["section"] != MACRO or set(table["section"]) == {*ORDER, MACRO}
            lines.append(base | line | {"paper": paper if known else float("nan")})
    return pd.DataFrame(lines)[names]


def section_display(table: pd.DataFrame) -> pd.DataFrame:
    """Return table 10 as it is shown: a row a method and its printed row below, a column a section."""
    if not len(table):
        return table
    rows = []
    for method, part in table.groupby("method", sort=False):
        cells = {r.section: digits.interval(r.value, r.low, r.high) for r in part.itertuples()}
        rows.append({"method": method, "source": "ours"} | cells)
        if part["paper"].notna().any():
            printed = {r.section: f"{r.paper:.3f}" for r in part.itertuples()}
            rows.append({"method": PAPER_ROWS[method], "source": "paper"} | printed)
    return pd.DataFrame(rows)


def subset_table(result: Evaluation | None, bench: Bench | None, *, seed: int, n_bootstrap: int) -> pd.DataFrame:
    """Return accuracies by subset, with counts and what stands in for what.

    Columns: dataset, subset, section, stands_for, weight, n_pairs, n_prompts, method, value, low, high.
    """
    names = ["dataset", "subset", "section", "stands_for", "weight", "n_pairs", "n_prompts", "method"]
    names += ["value", "low", "high"]
    if result is None or bench is None:
        return pd.DataFrame(columns=names)
    subset, prompt = (result.pairs[c].to_numpy() for c in ("attribute", "prompt_id"))
    values, weights, rng = _decided(result), subset_weights(subset).to_dict("records"), np.random.default_rng(seed)
    found = {}
    for row in weights:
        own = subset == row["subset"]
        columns = [one[own] for one in values.values()]
        found[row["subset"]] = intervals.bootstraps(columns, prompt[own], rng=rng, n=n_bootstrap)
    lines = []
    for place, method in enumerate(values):
        for row in weights:
            interval, dataset = found[row["subset"]][place], bench.dataset[row["subset"]]
            lines.append(
                row
                | {"dataset": dataset, "stands_for": stands_for(dataset, row["subset"]), "method": method}
                | {"value": interval.estimate, "low": interval.low, "high": interval.high}
                | {"n_prompts": interval.n_groups}
            )
    return pd.DataFrame(lines)[names]


def stands_for(dataset: str, subset: str) -> str:
    """Return what a subset of a data set stands for in RewardBench; "nothing" for one that it does not know."""
    if dataset == "llmbar" and subset in CHAT_OF_LLMBAR:
        return STANDS_FOR["pandalm"]
    return STANDS_FOR.get(dataset, "nothing")


def subset_display(table: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Return one row a subset, with the accuracies of some methods."""
    keys = ["dataset", "subset", "section", "stands_for", "weight", "n_pairs", "n_prompts"]
    first = table.drop_duplicates("subset")[keys].reset_index(drop=True)
    for method in methods:
        own = table[table["method"] == method].set_index("subset")["value"]
        first[method] = first["subset"].map(own).astype(float)
    return first


def difference_table(
    result: Evaluation | None, references: Sequence[str] = ("micro", "micro_plus"), *, seed: int, n_bootstrap: int
) -> pd.DataFrame:
    """Return the scores of each reference less those of every other method, by section, paired by prompt.

    Columns: dataset, reference, method, section, difference, low, high, p_value, p_holm.
    """
    names = ["dataset", "reference", "method", "section", "difference", "low", "high", "p_value", "p_holm"]
    if result is None:
        return pd.DataFrame(columns=names)
    values, tables = _decided(result), []
    subset, prompt = (result.pairs[c].to_numpy() for c in ("attribute", "prompt_id"))
    for reference in references:
        if reference not in values:
            raise InputError(f"reference {reference!r} was not evaluated; there are {', '.join(values)}")
        for method in values:
            if method == reference:
                continue
            table = section_differences(
                values[reference], values[method], subset, prompt, rng=np.random.default_rng(seed), n=n_bootstrap
            )
            p = table["p_value"].to_numpy()
            adjusted = [*intervals.holm(p[:-1]), p[-1]]
            tables.append(
                table.assign(dataset=result.world, reference=reference, method=method, p_holm=adjusted)[names]
            )
    return pd.concat(tables, ignore_index=True)


def tables(result: Evaluation | None, bench: Bench | None, *, seed: int, n_bootstrap: int) -> list[dict[str, Any]]:
    """Return tables 10, 10b and 10c as arguments of `Artifacts.table`; none without a bench."""
    if result is None or bench is None:
        return []
    stats = {"seed": seed, "n_bootstrap": n_bootstrap}
    by_section, by_subset = section_table(result, **stats), subset_table(result, bench, **stats)
    gaps = difference_table(result, **stats)
    kind = f"open stand-ins for RewardBench ({bench.name})"
    if bench.name == "reward_bench":
        kind = "RewardBench"
    elif bench.name.startswith("synthetic-"):
        kind = f"synthetic subgroups in place of RewardBench's subsets ({bench.name})"
    runs = int(by_section["n_runs"].iloc[0])
    shown = [m for m in ("micro", "micro_plus", "single", "length") if m in result.probability] + list(result.own)
    against = gaps[gaps["method"] == "single"]
    return [
        _entry(by_section, "10", "sections", f"Accuracy by section: {kind}, {runs} runs.", section_display(by_section)),
        _entry(
            by_subset,
            "10b",
            "subsets",
            f"Accuracy by subset, counts, and what each stands for: {kind}.",
            subset_display(by_subset, shown),
        ),
        _entry(
            gaps,
            "10c",
            "differences",
            f"Score of micro and micro_plus less that of each row, paired by prompt (shown: single): {kind}.",
            against.drop(columns=["dataset", "method"]),
        ),
    ]


def _entry(frame: pd.DataFrame, number: str, slug: str, caption: str, display: pd.DataFrame) -> dict[str, Any]:
    return {
        "frame": frame,
        "number": number,
        "slug": slug,
        "caption": caption,
        "display": display,
    }
