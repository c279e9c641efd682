"""A population of subgroups as exact numbers: who prefers what, and how often each pair is shown."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit

from micro_paper.errors import InputError

TOLERANCE = 1e-5  # float32 weights sum to 1 within this; they are then normalised in float64


def _array(name: str, value, ndim: int) -> np.ndarray:
    """Return numpy or torch `value` as finite float64 of `ndim` axes."""
    torch = sys.modules.get("torch")  # a tensor comes only from who has imported it
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be an array of numbers, got {type(value).__name__}") from None
    if array.ndim != ndim:
        raise InputError(f"{name} must have {ndim} axes, got shape {array.shape}")
    if array.size == 0:
        raise InputError(f"{name} is empty, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite: it holds nan or inf")
    return array


def weights_of(name: str, value, shape: tuple[int, ...], sum_axes: tuple[int, ...]) -> np.ndarray:
    """Return non-negative weights of `shape` that sum to exactly 1 over `sum_axes`."""
    array = _array(name, value, len(shape))
    if array.shape != shape:
        raise InputError(f"{name} must have shape {shape} to match rewards, got {array.shape}")
    if (array < 0).any():
        raise InputError(f"{name} must not be negative: the least value is {array.min():g}")
    total = array.sum(axis=sum_axes, keepdims=True)
    if (worst := np.abs(total - 1).max()) > TOLERANCE:
        where = "" if len(sum_axes) == len(shape) else " for every prompt"
        raise InputError(f"{name} must sum to 1{where}: the sum is off by {worst:.3g}; divide by the sum")
    return array / total


@dataclass(frozen=True, eq=False)
class Population:
    """K groups with a Bradley-Terry reward each, on X prompts with N responses.

    Arrays are numpy or torch; they are stored as float64.

    Attributes:
        rewards: r_k(x, a), (X, K, N).
        group_weights: P(z = k | x), (X, K), rows sum to 1.
        pair_weights: pi(a, b | x), (X, N, N), over ordered pairs, sums to 1 a prompt. The diagonal is allowed: a
            response against itself is won with probability one half.
        prompt_weights: P(x), (X,); None = uniform.

    Raises:
        InputError: a shape, a sign or a sum is wrong; the message names the argument.
    """

    rewards: np.ndarray
    group_weights: np.ndarray
    pair_weights: np.ndarray
    prompt_weights: np.ndarray | None = None

    def __post_init__(self) -> None:
        rewards = _array("rewards", self.rewards, 3)
        x, k, n = rewards.shape
        uniform = np.full(x, 1 / x)
        prompts = uniform if self.prompt_weights is None else self.prompt_weights
        object.__setattr__(self, "rewards", rewards)
        object.__setattr__(self, "group_weights", weights_of("group_weights", self.group_weights, (x, k), (1,)))
        object.__setattr__(self, "pair_weights", weights_of("pair_weights", self.pair_weights, (x, n, n), (1, 2)))
        object.__setattr__(self, "prompt_weights", weights_of("prompt_weights", prompts, (x,), (0,)))

    @cached_property
    def margins(self) -> np.ndarray:
        """s_k(a, b) = r_k(x, a) - r_k(x, b), (X, K, N, N)."""
        return self.rewards[:, :, :, None] - self.rewards[:, :, None, :]

    @cached_property
    def preferences(self) -> np.ndarray:
        """p_k(a, b) = sigmoid(s_k), (X, K, N, N). 1 - p_k(a, b) is read at (b, a), which keeps it exact near 0."""
        return expit(self.margins)

    @cached_property
    def marginal(self) -> np.ndarray:
        """p(a, b) = sum_k P(z = k | x) p_k(a, b), Eq. 1, (X, N, N)."""
        return np.einsum("xk,xkab->xab", self.group_weights, self.preferences)

    @cached_property
    def shown(self) -> np.ndarray:
        """How often a and b meet, in either order, (X, N, N), zero diagonal; once at (a, b) and at (b, a)."""
        shown = self.pair_weights + self.pair_weights.transpose(0, 2, 1)
        shown[:, np.arange(shown.shape[1]), np.arange(shown.shape[1])] = 0
        return shown

    def mean(self, values: np.ndarray) -> float:
        """E_x E_pairs of values (X, N, N) on ordered pairs."""
        return float(np.einsum("x,xab,xab->", self.prompt_weights, self.pair_weights, values))

    def group_variance(self, values: np.ndarray) -> np.ndarray:
        """Var over z given x, with the group weights, of values (X, K, ...); the group axis goes."""
        shape = self.group_weights.shape + (1,) * (values.ndim - 2)
        weights = self.group_weights.reshape(shape)
        centred = values - (weights * values).sum(axis=1, keepdims=True)
        return (weights * centred**2).sum(axis=1)
