"""Scores of predicted preferences, and the matching of heads.

Every score takes p, the predicted probability that the chosen response beats the rejected one, so the label
is always 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from micro_paper.errors import InputError

MACRO = "average"  # the mean over attributes, where a table has a row an attribute
FLOOR = 1e-300  # of a probability under a logarithm that has to stay finite
Floats = NDArray[np.float64]


def probabilities(p: ArrayLike) -> Floats:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"p must be one-dimensional and not empty, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(f"p must be finite, row {int(np.argmin(np.isfinite(values)))} is not")
    outside = (values < 0) | (values > 1)
    if outside.any():
        row = int(np.argmax(outside))
        raise InputError(f"p must lie in [0, 1], row {row} is {values[row]:.6g}: pass probabilities, not margins")
    return values


def correct(p: ArrayLike) -> Floats:
    """Return, for each pair (n,), 1 where the chosen response is preferred (p > 1/2), 1/2 at 1/2, else 0."""
    values = probabilities(p)
    return (values > 0.5) + 0.5 * (values == 0.5)


def correct_by_run(p: ArrayLike) -> Floats:
    """Return `correct` of every run, (n, runs), from p of the same shape; its mean over axis 1 is a pair's score."""
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 2:
        raise InputError(f"p must be of shape (pairs, runs), got {values.shape}")
    return correct(values.ravel()).reshape(values.shape)


def decided(margins: ArrayLike) -> Floats:
    """Return 1 where a margin is for the chosen response, 1/2 for a margin of 0, else 0; any shape."""
    values = np.asarray(margins)
    if not np.isfinite(values).all():
        raise InputError("a head gave a non-finite margin: check the features")
    return (values > 0) + 0.5 * (values == 0)


def accuracy(p: ArrayLike) -> float:
    """Return the share of pairs (n,) decided for the chosen response; p = 1/2 counts one half."""
    return float(correct(p).mean())


def nll(p: ArrayLike) -> float:
    """Return -mean log p in nats; infinite where any p is exactly 0: such a prediction deserves no less."""
    values = probabilities(p)
    with np.errstate(divide="ignore"):
        return float(-np.log(values).mean() + 0.0)  # + 0.0 turns -0 into 0


def pair_nll(p: ArrayLike) -> Floats:
    """Return -log p of each pair in nats, in the shape and precision of p; finite, as p counts as FLOOR at least.

    For choices and intervals, in which one p of 0 would drown everything else; `nll` states it as infinite.
    """
    return -_log(p)


def _log(p: ArrayLike) -> Floats:
    values = np.asarray(p)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    return np.log(np.maximum(values, max(FLOOR, np.finfo(values.dtype).tiny)))  # in single precision FLOOR is 0


def entropy(weights: ArrayLike) -> Floats:
    """Return the entropy in nats of weights (..., K) on the simplex, over the last axis; a weight of 0 adds nothing."""
    return -(np.asarray(weights) * _log(weights)).sum(axis=-1)


def entropy_share(weights: ArrayLike) -> float:
    """Return the mean entropy of the rows of weights (n, K) as a share of log K; 1 where K = 1."""
    values = np.asarray(weights)
    if values.shape[-1] == 1:
        return 1.0
    return float(entropy(values).mean() / np.log(values.shape[-1]))


def by_attribute(values: ArrayLike, attribute: ArrayLike) -> dict[str, Any]:
    """Return the mean of `values`, (n,) or (n, K), over the pairs of each attribute, in the order of their names."""
    values, attribute = np.asarray(values), np.asarray(attribute).astype(str)
    if len(values) != len(attribute) or not len(values):
        raise InputError(
            f"attribute has {len(attribute)} rows, values has {len(values)}: give one a pair, one at least"
        )
    return {a: values[attribute == a].mean(axis=0) for a in attribute_names(attribute)}


def attribute_names(attribute: ArrayLike) -> list[str]:
    """Return the attributes of pairs, (n,), each once and sorted.

    Raises:
        InputError: one is named as the mean over attributes is.
    """
    names = [str(a) for a in np.unique(attribute)]
    if MACRO in names:
        raise InputError(f"an attribute is named {MACRO!r}, as the mean over attributes is: rename it")
    return names


def macro_mean(values: ArrayLike, attribute: ArrayLike) -> Any:
    """Return the mean over attributes of the attribute's mean: a number of values (n,), (K,) of values (n, K)."""
    return np.mean(list(by_attribute(values, attribute).values()), axis=0)


def best_head_decisions(
    right: Floats, attribute: ArrayLike, accuracy: Mapping[str, Floats], *, one_for_all: bool = False
) -> Floats:
    """Return how the best head of each attribute decides that attribute's pairs, (n,).

    Args:
        right: of every head on every pair, (n, K), from `decided`.
        attribute: of the pairs, (n,).
        accuracy: attribute -> (K,) accuracy on the pairs that choose the head, from `by_attribute`; the first of equal
            heads is chosen.
        one_for_all: the one head that is best on the average of the attributes, in place of one an attribute.

    Raises:
        InputError: an attribute has no pairs that choose its head.
    """
    attribute = np.asarray(attribute)
    names = attribute_names(attribute)
    if absent := [a for a in names if a not in accuracy]:
        raise InputError(f"no validation pairs of {absent[0]!r}: its head cannot be chosen there")
    overall = np.mean([accuracy[a] for a in names], axis=0)
    out = np.empty(len(attribute))
    for a in names:
        own = attribute == a
        out[own] = right[own, (overall if one_for_all else accuracy[a]).argmax()]
    return out


def ece(p: ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error on the symmetric extension, in [0, 1].

    Each pair is seen in both orders: p with label 1 and 1 - p with label 0. Both have confidence max(p, 1 -
    p) and are right or wrong together, so the error is sum_b n_b / n |accuracy_b - confidence_b| over `bins`
    equal bins of confidence in [1/2, 1]. It equals the error over 2 x `bins` equal bins of [0, 1] of the
    doubled sample. Without the extension the label is always 1 and the score would only say how far p is from
    1.
    """
    values = probabilities(p)
    if bins < 1:
        raise InputError(f"bins must be at least 1, got {bins}")
    confidence = np.maximum(values, 1 - values)
    where = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    gap = np.bincount(where, weights=correct(values) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(values))


@dataclass(frozen=True)
class HeadMatch:
    """One-to-one matching of the heads of two models; M = min(K, J).

    Attributes:
        first, second: (M,) matched rows of the first and the second model.
        correlation: (M,) signed correlation of each matched couple.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    correlation: Floats

    @property
    def strength(self) -> float:
        """Mean |correlation| of the matched couples: 1 where the heads agree up to order, sign and scale."""
        return float(np.abs(self.correlation).mean())


def _unit(name: str, heads: ArrayLike) -> Floats:
    values = np.asarray(heads, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise InputError(f"{name} must be finite and of shape (heads, d), got shape {values.shape}")
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(values, norm, out=np.zeros_like(values), where=norm > 0)


def head_correlations(a: ArrayLike, b: ArrayLike | None = None) -> Floats:
    """Return the correlation of every head of `a` (K, d) with every head of `b` (J, d), (K, J); b = None: with `a`.

    Rows are head weights or, better, margins on d held-out pairs. The correlation is taken about zero (the cosine):
    which response of a pair comes first is arbitrary, so the mean margin carries no meaning. A zero head has 0.
    """
    left = _unit("a", a)
    right = left if b is None else _unit("b", b)
    if left.shape[1] != right.shape[1]:
        raise InputError(f"a has {left.shape[1]} columns, b has {right.shape[1]}: use the same features or pairs")
    return np.clip(left @ right.T, -1, 1)


def match_heads(a: ArrayLike, b: ArrayLike, *, signed: bool = False) -> HeadMatch:
    """Match heads `a` (K, d) to heads `b` (J, d) one to one by the Hungarian algorithm.

    The sum of |`head_correlations`| is maximised; with `signed` the sum of correlations, which tells a head from its
    opposite.
    """
    correlation = head_correlations(a, b)
    first, second = optimize.linear_sum_assignment(correlation if signed else np.abs(correlation), maximize=True)
    return HeadMatch(first, second, correlation[first, second])


def head_stability(runs: Sequence[ArrayLike], *, signed: bool = True) -> Floats:
    """Return the mean matched correlation of each couple of runs, (R (R - 1) / 2,): 1 for the same heads.

    `runs` holds one (K, d) array a seed. Signed by default, because a head and its opposite are different
    preferences.
    """
    if len(runs) < 2:
        raise InputError(f"head stability needs at least 2 runs, got {len(runs)}")
    matches = [match_heads(a, b, signed=signed) for i, a in enumerate(runs) for b in runs[i + 1 :]]
    score: Callable[[HeadMatch], float] = (lambda m: float(m.correlation.mean())) if signed else (lambda m: m.strength)
    return np.array([score(match) for match in matches])
