"""What a sweep measures on one fitted method: its best heads, heads that repeat others, entropies."""

from __future__ import annotations

import numpy as np

from micro_paper.errors import InputError
from micro_paper.pairs import Pairs

REDUNDANT = 0.9  # correlation of margins above which a head repeats an earlier one


def best_head_decisions(
    test_margins: np.ndarray, test: Pairs, choosing_margins: np.ndarray, choosing: Pairs
) -> np.ndarray:
    """Return how the best head of each attribute decides that attribute's test pairs, (n,): 1, 0, or 1/2 for a tie.

    Args:
        test_margins: (n, K) of the test pairs.
        choosing_margins, choosing: (m, K) and the pairs whose accuracy chooses the head; the first of equal heads.

    Raises:
        InputError: an attribute has no choosing pairs.
    """
    decided, accuracy = np.heaviside(test_margins, 0.5), np.heaviside(choosing_margins, 0.5)
    out = np.empty(len(test))
    for attribute in np.unique(test.attribute):
        rows = choosing.attribute == attribute
        if not rows.any():
            raise InputError(f"no validation pairs of {str(attribute)!r}: its head cannot be chosen there")
        own = test.attribute == attribute
        out[own] = decided[own, accuracy[rows].mean(axis=0).argmax()]
    return out


def redundant_heads(margins: np.ndarray, threshold: float = REDUNDANT) -> np.ndarray:
    """Return which heads repeat an earlier one, (K,): correlation of margins (n, K) about zero above `threshold`.

    About zero, because which response of a pair stands first is arbitrary; an opposed head repeats nothing.
    """
    norm = np.linalg.norm(margins, axis=0)
    unit = np.divide(margins, norm, out=np.zeros_like(margins), where=norm > 0)
    return (np.tril(unit.T @ unit, -1) > threshold).any(axis=1)


def entropy_share(f: np.ndarray) -> float:
    """Return the mean entropy of the rows of f, (n, K), on the simplex, as a share of log K; 1 where K = 1."""
    if f.shape[1] == 1:
        return 1.0
    return float(-(f * np.log(np.maximum(f, 1e-300))).sum(axis=1).mean() / np.log(f.shape[1]))


def macro(decided: np.ndarray, pairs: Pairs) -> float:
    """Return the mean over attributes of the mean of `decided`, (n,), over the attribute's pairs."""
    return float(np.mean([decided[pairs.attribute == a].mean() for a in np.unique(pairs.attribute)]))
