"""One temperature on predicted probabilities: how it is applied, and fitted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from micro_paper.errors import InputError

Floats = NDArray[np.float64]
LEAST, MOST = 0.01, 100.0  # temperatures
SMALLEST = 1e-15  # probabilities are kept this far from 0 and 1, alike on both sides


def _logit(p: ArrayLike) -> Floats:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not values.size or not ((values >= 0) & (values <= 1)).all():
        raise InputError("p must be one-dimensional, not empty, and lie in [0, 1]: pass probabilities, not margins")
    # log p - log(1 - p) of the smaller side: exactly antisymmetric in p and 1 - p
    small = np.maximum(np.minimum(values, 1 - values), SMALLEST)
    size = np.log1p(-small) - np.log(small)
    return np.where(values >= 0.5, size, -size)


def scale(p: ArrayLike, temperature: float) -> Floats:
    """Return sigmoid(logit(p) / T), (n,): antisymmetric, so p(a, b) + p(b, a) stays 1, and no decision changes."""
    if not temperature > 0:
        raise InputError(f"temperature must be > 0, got {temperature}")
    return special.expit(_logit(p) / temperature)


def fit_temperature(p: ArrayLike) -> float:
    """Return the temperature in [LEAST, MOST] with the smallest NLL of p, (n,), the chosen response's probability.

    The NLL is convex in 1 / T, so its one stationary point is found by bracketing its derivative. Predictions that are
    no better than chance give MOST, predictions that are never wrong LEAST.
    """
    z = _logit(p)

    def slope(inverse: float) -> float:
        return float(-(z * special.expit(-inverse * z)).mean())  # of mean log(1 + exp(-z / T)) in 1 / T

    if slope(1 / MOST) >= 0:
        return MOST
    if slope(1 / LEAST) <= 0:
        return LEAST
    return 1 / optimize.brentq(slope, 1 / MOST, 1 / LEAST, xtol=1e-12)
