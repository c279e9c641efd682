"""Intervals: cluster bootstrap over prompts or topics, over runs, Student's t, and Holm's adjustment.

Intervals resample groups (prompts or topics), never single pairs: the pairs of one prompt share their responses and are
not independent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from micro_paper.errors import InputError
from micro_paper.metrics import Floats, probabilities


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes:
        estimate: the value on the data as it is.
        low, high: ends of the interval.
        n_groups: how many groups (prompts) were resampled.
        level: nominal coverage.
        p_value: two-sided, for a true value of 0; None for one sample, where 0 is no hypothesis.
    """

    estimate: float
    low: float
    high: float
    n_groups: int
    level: float = 0.95
    p_value: float | None = None


def _table(
    columns: Sequence[ArrayLike], groups: ArrayLike, attributes: ArrayLike | None
) -> tuple[list[Floats], Floats]:
    """Return each column's sums by group and attribute, and the counts, (G, A) each; A = 1 without attributes."""
    numbers = [np.asarray(values, dtype=np.float64) for values in columns]
    labels = {"groups": groups, "attributes": np.zeros(len(groups)) if attributes is None else attributes}
    for values in numbers:
        if values.ndim != 1 or values.size == 0:
            raise InputError(f"values must be one-dimensional and not empty, got shape {values.shape}")
        if not np.isfinite(values).all():
            raise InputError(f"values must be finite, row {int(np.argmin(np.isfinite(values)))} is not")
        for name, labelled in labels.items():
            if len(labelled) != len(values):
                raise InputError(f"{name} has {len(labelled)} rows, values has {len(values)}: give one a pair")
    codes = {name: np.unique(np.asarray(labelled), return_inverse=True)[1] for name, labelled in labels.items()}
    n_groups, n_attributes = (int(code.max()) + 1 for code in codes.values())
    cell = codes["groups"] * n_attributes + codes["attributes"]
    size = n_groups * n_attributes
    sums = [np.bincount(cell, weights=values, minlength=size).reshape(n_groups, n_attributes) for values in numbers]
    return sums, np.bincount(cell, minlength=size).astype(np.float64).reshape(n_groups, n_attributes)


def _macro(sums: Floats, counts: Floats) -> Floats:
    """Mean over attributes of sum / count, (..., A) -> (...); those absent from a resample are left out."""
    means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    return means.sum(axis=-1) / (counts > 0).sum(axis=-1)


def resamples(n_groups: int, rng: np.random.Generator, n: int) -> np.ndarray:
    """Return how often each group occurs in each of n resamples of as many groups, (n, n_groups), whole numbers."""
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n)


def check_resamples(n_groups: int, n: int) -> None:
    """Raise InputError where an interval from n resamples of the groups would mean nothing."""
    if n_groups < 2:
        raise InputError("one group cannot be resampled: give pairs of at least 2 groups (prompts)")
    if n < 100:
        raise InputError(f"n must be at least 100 resamples, got {n}")


def percentiles(draws: ArrayLike, tail: float = 0.025) -> tuple[float, float]:
    """Return the ends of the plain percentile interval of resampled values, `tail` beyond each."""
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _shrink(n_groups: int, free: int | None) -> float:
    return np.sqrt((n_groups - 1 if free is None else free) / n_groups)


def expanded_percentiles(
    draws: ArrayLike, n_groups: int, *, free: int | None = None, tail: float = 0.025
) -> tuple[float, float]:
    """Return the ends of the interval of resampled values, wider where groups are few.

    Percentile intervals are too short for few groups. The expanded percentiles (Hesterberg, The American Statistician
    2015) take the tail at which a normal interval becomes the t interval of the mean.

    Args:
        draws: resampled estimates.
        n_groups: groups that were resampled.
        free: degrees of freedom; None = n_groups - 1 (within S strata: n_groups - S).
        tail: nominal probability beyond each end.
    """
    t = stats.t.isf(tail, n_groups - 1 if free is None else free)
    return percentiles(draws, stats.norm.sf(t / _shrink(n_groups, free)))


def two_sided_p(draws: ArrayLike, n_groups: int, *, free: int | None = None) -> float:
    """Return the p-value of a true value of 0: below 1 - level where `expanded_percentiles` leave out 0."""
    side = (min(np.sum(draws <= 0), np.sum(draws >= 0)) + 1) / (len(draws) + 1)
    t = stats.norm.isf(min(side, 0.5)) * _shrink(n_groups, free)
    return min(1.0, float(2 * stats.t.sf(t, n_groups - 1 if free is None else free)))


def bootstraps(
    columns: Sequence[ArrayLike],
    groups: ArrayLike,
    attributes: ArrayLike | None = None,
    *,
    rng: np.random.Generator,
    n: int = 10_000,
    level: float = 0.95,
    test: bool = False,
) -> list[Interval]:
    """Return an interval for each column of values, (n_pairs,) each, all from the same resamples.

    Each is what the column would have alone at this state of `rng`, as `bootstrap` (without attributes) or
    `bootstrap_macro` gives it; `test` adds the p-value of the paired ones.
    """
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, got {level}")
    sums, counts = _table(columns, groups, attributes)
    n_groups = len(counts)
    check_resamples(n_groups, n)
    draws = np.empty((len(sums), n))
    step = max(1, 4_000_000 // n_groups)  # bounds the memory of the weights at 32 MB
    for start in range(0, n, step):
        stop = min(n, start + step)
        weights = resamples(n_groups, rng, stop - start).astype(np.float64)
        times = weights @ counts
        for row, own in zip(draws, sums, strict=True):  # one by one: a wider product would round otherwise
            row[start:stop] = _macro(weights @ own, times)
    found = []
    for row, own in zip(draws, sums, strict=True):
        low, high = expanded_percentiles(row, n_groups, tail=(1 - level) / 2)
        p_value = two_sided_p(row, n_groups) if test else None
        estimate = float(_macro(own.sum(axis=0), counts.sum(axis=0)))
        found.append(Interval(estimate, low, high, n_groups, level, p_value))
    return found


def bootstrap(
    values: ArrayLike, groups: ArrayLike, *, rng: np.random.Generator, n: int = 10_000, level: float = 0.95
) -> Interval:
    """Return the mean of `values` (n_pairs,) with an interval from resampling whole `groups` (n_pairs,).

    The estimator is sum over count, so that groups of unequal size weigh as their pairs do. Values are
    per-pair scores, averaged over seeds first where there are several.
    """
    return bootstraps([values], groups, rng=rng, n=n, level=level)[0]


def bootstrap_macro(
    values: ArrayLike,
    groups: ArrayLike,
    attributes: ArrayLike,
    *,
    rng: np.random.Generator,
    n: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Return the mean over attributes of the attribute's mean, as the Average columns of the paper's tables.

    A resampled group brings its pairs of all attributes with it, because one response is rated on all of
    them.
    """
    return bootstraps([values], groups, attributes, rng=rng, n=n, level=level)[0]


def _difference(values_a: ArrayLike, values_b: ArrayLike) -> Floats:
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if a.shape != b.shape:
        raise InputError(f"values_a has shape {a.shape}, values_b {b.shape}: score both on the same pairs")
    return a - b


def paired_bootstrap(
    values_a: ArrayLike,
    values_b: ArrayLike,
    groups: ArrayLike,
    *,
    rng: np.random.Generator,
    n: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Return mean(a) - mean(b) over the same pairs (n_pairs,), resampling `groups`, with a two-sided p."""
    return bootstraps([_difference(values_a, values_b)], groups, rng=rng, n=n, level=level, test=True)[0]


def paired_bootstrap_macro(
    values_a: ArrayLike,
    values_b: ArrayLike,
    groups: ArrayLike,
    attributes: ArrayLike,
    *,
    rng: np.random.Generator,
    n: int = 10_000,
    level: float = 0.95,
) -> Interval:
    """Return the difference of two macro averages over the same pairs, resampling `groups`, with its p."""
    difference = _difference(values_a, values_b)
    return bootstraps([difference], groups, attributes, rng=rng, n=n, level=level, test=True)[0]


def holm(p_values: ArrayLike) -> Floats:
    """Return p-values adjusted by Holm's step-down rule, (m,) in the given order (family-wise error)."""
    raw = probabilities(p_values)
    order = np.argsort(raw, kind="stable")
    steps = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1))
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def t_reach(std: ArrayLike, n: ArrayLike, level: float = 0.95) -> Any:
    """Return half the width of Student's t interval of means of n >= 1 values with standard deviation `std`."""
    return stats.t.ppf((1 + level) / 2, np.maximum(np.asarray(n) - 1, 1)) * std / np.sqrt(n)


def t_interval(values: Iterable[float], level: float = 0.95) -> Interval:
    """Return the mean over independent runs with Student's t interval.

    Raises:
        InputError: fewer than two runs, or a value that is not finite.
    """
    x = np.asarray(list(values), dtype=np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise InputError(f"an interval over runs needs at least 2 finite values, got {x.tolist()}")
    reach = t_reach(x.std(ddof=1), len(x), level)
    return Interval(float(x.mean()), float(x.mean() - reach), float(x.mean() + reach), len(x), level)


def runs_bootstrap(values: np.ndarray, statistic, rng: np.random.Generator, n: int) -> Interval:
    """Return statistic(values) with the 2.5 and 97.5 percentiles over resampled runs.

    Args:
        values: (runs, ...), resampled along the first axis.
        statistic: (..., runs resampled, ...) -> number.
    """
    draws = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(n)]
    low, high = percentiles(draws)
    return Interval(float(statistic(values)), low, high, len(values))
