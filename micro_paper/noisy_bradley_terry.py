"""A Bradley-Terry model of items whose judges differ in skill and lean to one side, but not in taste.

P(w prefers the first of a, b) = sigmoid(skill_w (s_a - s_b) + bias_w). It is what judges look like where all want the
same: what a model of persons gains on labels drawn from it, it gains from noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from micro_paper.errors import InputError
from micro_paper.metrics import Floats

TOLERANCE = 1e-6  # of the gradient's largest entry, a label
STEPS = 5000


@dataclass(frozen=True)
class Priors:
    """Standard deviations of the normal priors, in nats: scores about 0, skills about 1, biases about 0.

    A bias of 0 leaves the biases out, for comparisons of which nobody knows which side stood first.
    """

    score: float = 2.0
    skill: float = 0.5
    bias: float = 0.5

    def __post_init__(self) -> None:
        for name in ("score", "skill", "bias"):
            value, zero = getattr(self, name), name == "bias"
            if not np.isfinite(value) or value < 0 or (value == 0 and not zero):
                raise InputError(f"the prior of {name} must be finite and {'>= 0' if zero else '> 0'}, got {value}")


@dataclass(frozen=True, eq=False)
class NoisyBradleyTerry:
    """A fitted model of m items and P judges.

    Attributes:
        score: s, (m,), in nats for a judge of skill 1.
        skill: (P,), 1 on average over labels; 0 = chooses at random, below 0 = against the others.
        bias: (P,) log-odds for the side that stands first.
        objective: the penalised negative log-likelihood at the fit, in nats, without constants of the priors.
    """

    score: Floats
    skill: Floats
    bias: Floats
    objective: float

    def margin(self, first: ArrayLike, second: ArrayLike, person: ArrayLike | None = None) -> Floats:
        """Return the log-odds that a judge prefers the first item, (n,).

        Args:
            first, second: (n,) numbers of items.
            person: (n,) numbers of judges; None = a judge of skill 1 without bias.
        """
        gap = self.score[np.asarray(first)] - self.score[np.asarray(second)]
        return gap if person is None else self.skill[np.asarray(person)] * gap + self.bias[np.asarray(person)]

    def probability(self, first: ArrayLike, second: ArrayLike, person: ArrayLike | None = None) -> Floats:
        """Return P(first preferred), (n,); arguments as in `margin`."""
        return expit(self.margin(first, second, person))


def objective(
    theta: Floats, first: np.ndarray, second: np.ndarray, person: np.ndarray, sign: Floats, m: int, priors: Priors
) -> tuple[float, Floats]:
    """Return the penalised negative log-likelihood (nats) of theta = (score, v[, bias]) and its gradient.

    skill_w = 1 + v_w - the mean of v over labels, so that the mean skill over labels is 1: a free scale would let the
    scores, of which there are many, shrink at the cost of few skills.

    Args:
        theta: (m + P,) or, with biases, (m + 2 P,).
        first, second, person: (n,) numbers.
        sign: (n,) 1 where the first was preferred, -1 where the second was.
        m: number of items.
        priors: of the parameters.
    """
    count = (len(theta) - m) // (2 if priors.bias else 1)
    score, bias = theta[:m], theta[m + count :]
    share = np.bincount(person, minlength=count) / len(person)
    skill = _skill(theta[m : m + count], share)
    gap = score[first] - score[second]
    margin = skill[person] * gap + (bias[person] if priors.bias else 0.0)
    pull = -sign * expit(-sign * margin)  # d loss / d margin
    value = -log_expit(sign * margin).sum() + (score**2).sum() / (2 * priors.score**2)
    value += ((skill - 1) ** 2).sum() / (2 * priors.skill**2)
    by_item = np.bincount(first, pull * skill[person], m) - np.bincount(second, pull * skill[person], m)
    by_skill = np.bincount(person, pull * gap, count) + (skill - 1) / priors.skill**2
    parts = [by_item + score / priors.score**2, by_skill - share * by_skill.sum()]
    if priors.bias:
        value += (bias**2).sum() / (2 * priors.bias**2)
        parts.append(np.bincount(person, pull, count) + bias / priors.bias**2)
    return float(value), np.concatenate(parts)


def _skill(v: Floats, share: Floats) -> Floats:
    return 1 + v - share @ v


def fit_noisy_bradley_terry(
    first: ArrayLike,
    second: ArrayLike,
    person: ArrayLike,
    preferred: ArrayLike,
    *,
    items: int,
    people: int,
    priors: Priors | None = None,
) -> NoisyBradleyTerry:
    """Fit scores, skills and biases by penalised likelihood: L-BFGS from scores 0, skills 1 and biases 0.

    The likelihood is not convex in skills and scores together; from this start it ends where most judges have a
    positive skill. Items and judges without a label stay at their priors' means.

    Args:
        first, second: (n,) whole numbers of the two items, below `items`.
        person: (n,) whole numbers of the judges, below `people`.
        preferred: (n,) whether the first was preferred.
        items, people: how many there are.
        priors: None = `Priors()`.

    Raises:
        InputError: no labels, arrays of unequal lengths, a number out of range, an item against itself, or no
            convergence.
    """
    priors = priors or Priors()
    n = len(np.asarray(preferred))
    numbers = {}
    for name, values, most in (("first", first, items), ("second", second, items), ("person", person, people)):
        numbers[name] = found = np.asarray(values)
        if found.shape != (n,) or not n:
            raise InputError(f"{name} has shape {found.shape}, preferred has {n} rows: give one a label, one at least")
        if found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= most:
            raise InputError(f"{name} must hold whole numbers in 0 .. {most - 1}")
    won = np.asarray(preferred)
    if won.dtype != bool:
        raise InputError(f"preferred must be true or false, got {won.dtype}")
    if (same := numbers["first"] == numbers["second"]).any():
        raise InputError(f"row {int(same.argmax())} compares an item with itself: leave it out")
    start = np.zeros(items + (2 if priors.bias else 1) * people)
    sign = np.where(won, 1.0, -1.0)
    arguments = (numbers["first"], numbers["second"], numbers["person"], sign, items, priors)
    options = {"maxiter": STEPS, "maxfun": 2 * STEPS, "gtol": TOLERANCE * n, "ftol": 0.0, "maxcor": 30}
    found = minimize(objective, start, arguments, method="L-BFGS-B", jac=True, options=options)
    if (steep := np.abs(found.jac).max()) > 100 * TOLERANCE * n:  # a stop for want of digits is near enough
        raise InputError(f"the gradient is still {steep:.1e} after {found.nit} steps: use narrower priors")
    score, v, bias = np.split(found.x, [items, items + people])
    skill = _skill(v, np.bincount(numbers["person"], minlength=people) / n)
    return NoisyBradleyTerry(score, skill, bias if priors.bias else np.zeros(people), float(found.fun))
