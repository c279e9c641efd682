"""RewardBench's four sections (table 10): its weighting of subsets, and intervals over prompts.

A subset's score is the share of its pairs that are decided as labelled. A section's score is the mean over its subsets,
weighted by their numbers of examples; in reasoning the mathematics subsets together weigh as much as the code subsets
together (RewardBench counts its 447 mathematics pairs as 984, the number of its code pairs). The overall score is the
mean of the sections. RewardBench has one pair a prompt, some stand-ins have several: an example is a pair.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from micro_paper import intervals
from micro_paper.data.criteria import SECTIONS
from micro_paper.errors import InputError
from micro_paper.metrics import MACRO

ORDER = ("chat", "chat-hard", "safety", "reasoning")
MATHS = ("math-prm", "gsm8k")
CODE = "hep-"  # HumanEvalPack, one subset a language
Floats = NDArray[np.float64]


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
