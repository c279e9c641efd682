"""Intervals over prompts and runs (crossed variance components, Student's t), over resampled people, and Holm's rule.

A test pair belongs to a prompt (or topic) and has a score in every run, which is one fit: a seed on a fold. Both are
samples: other prompts and other seeds give another mean. The pairs of a prompt share their responses, those of a run
share its fit, so that neither are independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
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
        n_groups: groups (prompts) that it rests on; nan where independent repeats are all that varies.
        level: nominal coverage.
        n_runs: runs of each pair, the fewest; with 1 the variance of runs is unknown and the interval is over groups.
        free: degrees of freedom of Student's t; nan where the interval is of another kind.
    """

    estimate: float
    low: float
    high: float
    n_groups: float
    level: float = 0.95
    n_runs: int = 1
    free: float = np.nan

    @property
    def p_value(self) -> float:
        """Two-sided p-value of a true value of 0; nan where there are no degrees of freedom."""
        return self.p_of(0.0)

    def p_of(self, value: float) -> float:
        """Return the two-sided p-value of a true value: 1 - level where it lies on an end of the interval."""
        gap, reach = abs(self.estimate - value), (self.high - self.low) / 2
        if reach == 0:
            return float(gap <= 1e-12)
        return float(2 * stats.t.sf(gap / reach * stats.t.ppf((1 + self.level) / 2, self.free), self.free))

    def times(self, factor: float) -> Interval:
        """Return the interval of the quantity times a factor."""
        low, high = sorted((self.low * factor, self.high * factor))
        return replace(self, estimate=self.estimate * factor, low=low, high=high)


class Sample:
    """Test pairs as a sample of groups, in folds that each have runs of their own.

    Args:
        groups: prompt or topic of each pair, (n,): all its pairs are drawn together.
        attributes: of each pair, (n,); None = one for all.
        folds: of each pair, (n,): a run of one fold is another than that of the same number in the next; a group
            belongs to one fold. None = one fold.

    Raises:
        InputError: no pairs, other lengths, or a group in two folds.
    """

    def __init__(self, groups: ArrayLike, attributes: ArrayLike | None = None, folds: ArrayLike | None = None) -> None:
        labels = {"groups": groups, "attributes": attributes, "folds": folds}
        n = len(np.asarray(groups))
        if not n:
            raise InputError("groups must not be empty: give at least two groups (prompts)")
        codes = {}
        for name, labelled in labels.items():
            found = np.zeros(n) if labelled is None else np.asarray(labelled)
            if found.shape != (n,):
                raise InputError(f"{name} has shape {found.shape}, groups has {n} rows: give one a pair")
            names, codes[name] = np.unique(found, return_inverse=True)
            if name == "attributes":
                self.names = [str(a) for a in names]
        self._group, self._attribute, self._fold = codes.values()
        self._fold_of = np.zeros(self._group.max() + 1, dtype=np.int64)
        self._fold_of[self._group] = self._fold
        if (self._fold_of[self._group] != self._fold).any():
            raise InputError("a group stands in two folds: folds need prompts of their own, or give none")

    def __len__(self) -> int:
        return len(self._group)

    def count(self, attribute: str | None = None) -> int:
        """Return the number of pairs of an attribute; None = of all."""
        return int((self._shares(attribute)[self._attribute] > 0).sum())

    def mean(
        self, values: ArrayLike, shares: Mapping[str, float] | str | None = None, *, level: float = 0.95
    ) -> Interval:
        """Return the mean over attributes of the attribute's mean score, with a t interval over groups and runs.

        Three sums of squares estimate what groups add to the variance of the mean, what runs add, and what is left
        within both (crossed layout: Searle, Casella and McCulloch, Variance Components, 1992, ch. 4; runs are nested in
        folds). A component below 0 counts as 0, and the degrees of freedom are Satterthwaite's. Where each fold has one
        run the variance of runs is unknown: the interval is over groups alone, and `n_runs` is 1. What the overlap of
        training folds adds is not covered.

        Args:
            values: score of each pair in each run, (n, R), or (n,) of one; nan where a run has no score of a pair.
            shares: attribute -> its share of the mean, others are left out; one attribute's name: its mean; None: all
                alike.
            level: nominal coverage.

        Raises:
            InputError: a shape, an unknown attribute, a single group, or a pair without any score.
        """
        if not 0 < level < 1:
            raise InputError(f"level must lie between 0 and 1, got {level}")
        scores = self._scores(values)
        share = self._shares(shares)
        rows = share[self._attribute] > 0
        kept, group = np.unique(self._group[rows], return_inverse=True)
        if len(kept) < 2:
            raise InputError("one group has no spread: give pairs of at least 2 groups (prompts)")
        used = np.flatnonzero(share)
        table = _Cells(group, np.searchsorted(used, self._attribute[rows]), (len(kept), len(used)))
        scores, fold_of = scores[rows], self._fold_of[kept]
        mean = np.nanmean(scores, axis=1)
        counts = table.sums(np.ones((len(mean), 1)))[..., 0]
        if (lone := (counts > 0).sum(axis=0) < 2).any():
            name = self.names[used[int(np.argmax(lone))]]
            raise InputError(f"attribute {name!r} has pairs of one group: an interval over groups needs two")
        weight = share[used] / counts.sum(axis=0)
        by_group = table.sums(mean[:, None])
        estimate = float(by_group[..., 0].sum(axis=0) @ weight)
        groups = _squares(by_group, counts, weight), _freedom(counts, weight)
        there = np.isfinite(scores)
        present = np.stack([there[fold_of[group] == f].any(axis=0) for f in np.unique(fold_of)])
        runs, within = _nested(table.sums(scores - mean[:, None]), counts, weight, fold_of, present)
        variance, free = _together(groups, runs, within)
        reach = float(np.sqrt(variance) * stats.t.ppf((1 + level) / 2, free))
        return Interval(
            estimate, estimate - reach, estimate + reach, len(kept), level, int(present.sum(axis=1).min()), free
        )

    def difference(
        self, first: ArrayLike, second: ArrayLike, shares: Mapping[str, float] | str | None = None
    ) -> Interval:
        """Return the mean of the first scores less that of the second on the same pairs, as `mean`.

        Runs are paired by column; of unequal numbers, `n_runs` is the smaller, and those runs stand for the spread of
        both, about the means over all.
        """
        a, b = self._scores(first), self._scores(second)
        k = min(a.shape[1], b.shape[1])
        a, b = (v[:, :k] + (np.nanmean(v, axis=1) - np.nanmean(v[:, :k], axis=1))[:, None] for v in (a, b))
        return self.mean(a - b, shares)

    def _scores(self, values: ArrayLike) -> Floats:
        scores = np.asarray(values, dtype=np.float64)
        scores = scores[:, None] if scores.ndim == 1 else scores
        if scores.ndim != 2 or not scores.shape[1] or len(scores) != len(self):
            raise InputError(f"values must be (pairs, runs) of {len(self)} pairs, got shape {scores.shape}")
        wrong = np.isinf(scores).any(axis=1) | np.isnan(scores).all(axis=1)
        if wrong.any():
            raise InputError(f"values must be finite, row {int(np.argmax(wrong))} is not")
        return scores

    def _shares(self, shares: Mapping[str, float] | str | None) -> Floats:
        if shares is None:
            return np.full(len(self.names), 1 / len(self.names))
        wanted = {shares: 1.0} if isinstance(shares, str) else shares
        if unknown := sorted(set(wanted) - set(self.names)):
            raise InputError(f"no pairs of attribute {unknown[0]!r}; there are {', '.join(self.names)}")
        return np.array([wanted.get(name, 0.0) for name in self.names])


@dataclass(frozen=True)
class _Cells:
    """Pairs by group and attribute: their codes, (n,), and the numbers of both."""

    group: np.ndarray
    attribute: np.ndarray
    shape: tuple[int, int]

    def sums(self, values: Floats) -> Floats:
        """Return sums of values (n, R) by group, attribute and run, (G, A, R); nan, no score, adds nothing."""
        cell = self.group * self.shape[1] + self.attribute
        size = self.shape[0] * self.shape[1]
        columns = [np.bincount(cell, weights=np.nan_to_num(column), minlength=size) for column in values.T]
        return np.stack(columns, axis=-1).reshape(*self.shape, -1)


Term = tuple[float, float]  # a sum of squares that estimates a part of a variance, and its degrees of freedom


def _shares_of(counts: Floats) -> Floats:
    """Return each group's share of an attribute's pairs, (G, A); 0 for an attribute without any."""
    return counts / np.maximum(counts.sum(axis=0), 1)


def _scaled(counts: Floats, weight: Floats) -> Floats:
    """Return the weight of a group's pairs in the mean, (G, A), larger where the group is much of an attribute.

    A deviation from a mean in which the group itself has a share is too small. Divided by the root of one less the
    share (CR2: Bell and McCaffrey, Survey Methodology 2002), squares are unbiased where groups are alike. A group that
    is the whole attribute in a fold deviates by 0, whatever it is divided by.
    """
    rest = 1 - _shares_of(counts)
    return weight / np.sqrt(np.where(rest > 0, rest, 1))


def _squares(sums: Floats, counts: Floats, weight: Floats) -> float:
    """Return the sum over groups and runs of squared weighted deviations from the attributes' means; sums (G, A, R)."""
    mean = sums.sum(axis=0) / np.maximum(counts.sum(axis=0), 1)[:, None]
    return float((np.einsum("gar,ga->gr", sums - counts[..., None] * mean, _scaled(counts, weight)) ** 2).sum())


def _freedom(counts: Floats, weight: Floats) -> float:
    """Return Satterthwaite's degrees of freedom of `_squares`, were the effects of groups alike and independent.

    The squares are |M effect|^2 with M = diag(d) - W S', where W are the scaled weights of groups, d their sums, and S
    the groups' shares of the attributes: tr(M'M)^2 / tr((M'M)^2), in low rank, as there may be many groups.
    """
    share = _shares_of(counts)
    scaled = counts * _scaled(counts, weight)
    d = scaled.sum(axis=1, keepdims=True)
    left = np.hstack([-d * scaled, -share, share @ (scaled.T @ scaled)])
    right = np.hstack([share, d * scaled, share])
    core = right.T @ left  # M'M = diag(d^2) + left right'
    first = (d**2).sum() + np.trace(core)
    second = (d**4).sum() + 2 * np.trace(right.T @ (d**2 * left)) + (core * core.T).sum()
    return max(1.0, float(first**2 / second)) if second > 0 else 1.0


def _nested(
    gaps: Floats, counts: Floats, weight: Floats, fold_of: np.ndarray, present: np.ndarray
) -> tuple[Term, Term]:
    """Return what runs add to the variance of the mean, and what is left within groups and runs.

    Folds with one run have no spread; where others have more, it stands for theirs, by their weight in the mean.

    Args:
        gaps: sums of scores less the pair's mean over runs, (G, A, R).
        counts, weight: pairs by group and attribute, (G, A), and their weight, (A,).
        fold_of: fold of each group, (G,).
        present: whether a fold has the run, (folds, R).
    """
    runs = within = whole = known = free_runs = free_within = 0.0
    for f, there in zip(np.unique(fold_of), present, strict=True):
        own, s = fold_of == f, int(there.sum())
        part = float((counts[own] @ weight).sum()) ** 2 / s  # of the variance that a run of variance 1 leaves
        whole += part
        if s > 1:
            mine, n = gaps[own][..., there], counts[own]
            times = 1 / s / (s - 1)
            runs += times * float((np.einsum("gar,a->r", mine, weight) ** 2).sum())
            within += times * _squares(mine, n, weight)
            known += part
            free_runs += part**2 / (s - 1)
            free_within += (s - 1) * max(1.0, _freedom(n, weight))
    if not known:
        return (0.0, 1.0), (0.0, 1.0)
    return (runs * whole / known, known**2 / free_runs), (within * whole / known, free_within)


def _together(groups: Term, runs: Term, within: Term) -> Term:
    """Return the variance of the mean and its degrees of freedom, by Satterthwaite's rule.

    What is left within groups and runs is in both of the other squares, so it is taken off once.
    """
    terms = [term for term in (groups, runs) if term[0] > within[0]]
    if len(terms) == 1:
        return terms[0]
    if not terms:
        return within if within[0] else groups
    variance = groups[0] + runs[0] - within[0]
    return variance, variance**2 / sum(square**2 / free for square, free in (groups, runs, within))


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
    return Interval(
        float(x.mean()), float(x.mean() - reach), float(x.mean() + reach), np.nan, level, len(x), len(x) - 1
    )


def jackknife(values: np.ndarray, statistic: Callable[[np.ndarray], float]) -> Interval:
    """Return statistic(values) with the t interval of its pseudo-values, leaving out one run after the other.

    Args:
        values: (runs, ...).
        statistic: of values with any number of runs >= 2.
    """
    whole, n = statistic(values), len(values)
    each = t_interval(n * whole - (n - 1) * statistic(np.delete(values, run, axis=0)) for run in range(n))
    reach = (each.high - each.low) / 2
    return replace(each, estimate=float(whole), low=float(whole - reach), high=float(whole + reach))


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
