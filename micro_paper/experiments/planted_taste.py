"""What gain from personal labels could a design have seen, and what would noise alone have given?

Labels are drawn anew from a fitted noisy Bradley-Terry model, in which all people want the same. In the draws with
taste a share of the people has it turned along one direction: what shared scores owe to it counts the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import expit

from micro_paper.data import ukp
from micro_paper.data.splits import halves
from micro_paper.errors import InputError
from micro_paper.experiments.conjoint import fit_linear
from micro_paper.experiments.disagreement import Judgements, expected, frequent, load_judgements
from micro_paper.intervals import Interval, percentiles, t_interval
from micro_paper.metrics import Floats, decided
from micro_paper.noisy_bradley_terry import NoisyBradleyTerry

Gain = Callable[[Judgements, int, np.random.Generator], Interval]
"""(judgements, labels a person, generator) -> accuracy gained, mean over people; labels and test share no cluster."""
TURNED = 0.3  # share of the people whose taste is turned
SPREAD = 0.5  # of people's own slopes on a direction, standard deviation in nats
TASTES = ("planted", "none")


def turned_gap(gap: Floats, direction: Floats) -> Floats:
    """Return score differences (n,) with their least-squares slope on the direction (n,) turned round."""
    if not (size := direction @ direction) > 0:
        raise InputError("the direction is 0 for every pair: nothing can be turned along it")
    return gap - 2 * (gap @ direction / size) * direction


def drawn(
    judgements: Judgements,
    model: NoisyBradleyTerry,
    direction: Floats,
    rng: np.random.Generator,
    *,
    turned: float = TURNED,
) -> Judgements:
    """Return the same judgements with labels drawn from the model.

    Args:
        direction: (n,) first less second, along which taste is turned.
        turned: share of the people with a turned taste, who are drawn at random; 0 = none, else one at least.
    """
    if not 0 <= turned <= 1:
        raise InputError(f"turned must be a share in 0 .. 1, got {turned}")
    gap = model.margin(judgements.first, judgements.second)
    people = np.unique(judgements.person)
    if turned:
        chosen = rng.permutation(people)[: max(1, round(turned * len(people)))]
        gap = np.where(np.isin(judgements.person, chosen), turned_gap(gap, direction), gap)
    margin = model.skill[judgements.person] * gap + model.bias[judgements.person]
    return replace(judgements, preferred=rng.random(len(judgements)) < expit(margin))


def own_slopes(
    margin: Floats, direction: Floats, sign: Floats, person: np.ndarray, people: int, spread: float = SPREAD
) -> Floats:
    """Return each person's slope t on the direction, (P,), the most probable under t ~ N(0, spread^2).

    Maximises sum_i log sigmoid(sign_i (margin_i + t direction_i)) - t^2 / (2 spread^2) over each person's labels by
    bounded Newton steps, as `fit_linear`. People without labels have 0.
    """
    slope = np.zeros(people)
    most = np.zeros(people)
    np.maximum.at(most, person, np.abs(direction))
    for _ in range(100):
        lose = expit(-sign * (margin + slope[person] * direction))
        gradient = np.bincount(person, sign * lose * direction, people) - slope / spread**2
        if np.abs(gradient).max() < 1e-9 * max(len(sign), 1):
            break
        step = gradient / (np.bincount(person, lose * (1 - lose) * direction**2, people) + 1 / spread**2)
        reach = np.abs(step) * most
        slope += step * np.where(reach > 1, np.log1p(reach) / np.maximum(reach, 1), 1.0)
    return slope


@dataclass(frozen=True, eq=False)
class OffsetGain:
    """A simple personaliser, a `Gain`: each person's own slope along one direction, on top of a pooled model.

    Attributes:
        margin: (n,) log-odds that the first is preferred, of scores that have not seen the person.
        direction: (n,) first less second.
        adapt: (n,) whether a judgement is in its person's half to adapt on; the other half tests.
        spread: of the slopes, in nats.
        repeats: draws of the labels to adapt on, over which a person's gain is averaged.
    """

    margin: Floats
    direction: Floats
    adapt: np.ndarray
    spread: float = SPREAD
    repeats: int = 5

    def __call__(self, judgements: Judgements, budget: int, rng: np.random.Generator) -> Interval:
        """Return the accuracy gained with `budget` labels a person, of the people who have so many, mean over people.

        Raises:
            InputError: fewer than two people have them.
        """
        if len(judgements) != len(self.adapt):
            raise InputError(
                f"{len(judgements)} judgements, adapt has {len(self.adapt)} rows: give those it was made for"
            )
        if budget < 1:
            raise InputError(f"budget must be >= 1 label a person, got {budget}")
        person, sign = judgements.person, judgements.sign
        people = len(judgements.names)
        enough = np.bincount(person[self.adapt], minlength=people) >= budget
        enough &= np.bincount(person[~self.adapt], minlength=people) > 0
        if enough.sum() < 2:
            raise InputError(f"fewer than two people have {budget} labels to adapt on and others to test: use fewer")
        # what all want, from every label that may be learned from
        shared = np.stack([self.margin, self.direction], axis=1)
        pooled = shared @ fit_linear(shared[self.adapt] * sign[self.adapt, None])
        test = np.flatnonzero(~self.adapt & enough[person])
        told = np.flatnonzero(self.adapt & enough[person])
        before, gained = decided(sign[test] * pooled[test]), np.zeros(len(test))
        for _ in range(self.repeats):
            order = rng.permutation(told)
            own = order[pd.Series(person[order]).groupby(person[order]).cumcount().to_numpy() < budget]
            slope = own_slopes(pooled[own], self.direction[own], sign[own], person[own], people, self.spread)
            personal = pooled[test] + slope[person[test]] * self.direction[test]
            gained += (decided(sign[test] * personal) - before) / self.repeats
        count = np.bincount(person[test], minlength=people)[enough]
        return t_interval(np.bincount(person[test], gained, people)[enough] / count)

    def select(self, rows: np.ndarray) -> OffsetGain:
        """Return the same for the judgements at `rows`."""
        return replace(self, margin=self.margin[rows], direction=self.direction[rows], adapt=self.adapt[rows])


def offset_gain(judgements: Judgements, rng: np.random.Generator, direction: Floats | None = None) -> OffsetGain:
    """Return the personaliser along a direction (n,), None = length, on scores that other people's labels gave."""
    adapt = halves(judgements.names[judgements.person], judgements.cluster.astype(str))
    share = np.clip(expected(judgements, rng), -1 + 1e-9, 1 - 1e-9)
    return OffsetGain(2 * np.arctanh(share), judgements.length if direction is None else direction, adapt)


def draws(
    judgements: Judgements,
    gain: Gain,
    budgets: Sequence[int],
    rng: np.random.Generator,
    *,
    model: NoisyBradleyTerry | None = None,
    direction: Floats | None = None,
    turned: float = TURNED,
    n_draws: int = 100,
) -> pd.DataFrame:
    """Return what `gain` finds on labels drawn with a planted taste, and on labels drawn without any.

    Args:
        model: of the noise; None = fitted to these judgements.
        direction: (n,) along which taste is turned; None = length.

    Returns:
        One row a draw, taste ("planted" or "none") and budget: draw, taste, budget, gain, low, high, n_people.
    """
    if n_draws < 1 or not len(budgets):
        raise InputError("the power check needs at least one draw and one budget")
    model = judgements.fit() if model is None else model
    direction = judgements.length if direction is None else direction
    rows = []
    for number in range(n_draws):
        for taste, share in zip(TASTES, (turned, 0.0), strict=True):
            labelled = drawn(judgements, model, direction, rng, turned=share)
            for budget in budgets:
                found = gain(labelled, budget, rng)
                rows.append(
                    {"draw": number, "taste": taste, "budget": budget, "gain": found.estimate}
                    | {"low": found.low, "high": found.high, "n_people": found.n_runs}
                )
    return pd.DataFrame(rows)


def power_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of `draws` by taste and budget.

    Returns:
        taste, budget, n_people, n_draws, gain (mean), low, high (2.5 and 97.5 % of the draws), seen (share of the draws
        whose interval lies above 0) and needed (the mean gain from which an interval would lie above 0).
    """
    rows = []
    for (taste, budget), part in found.groupby(["taste", "budget"], sort=False):
        low, high = percentiles(part["gain"])
        rows.append(
            {"taste": taste, "budget": budget, "n_people": int(part["n_people"].max()), "n_draws": len(part)}
            | {"gain": part["gain"].mean(), "low": low, "high": high, "seen": (part["low"] > 0).mean()}
            | {"needed": (part["gain"] - part["low"]).mean()}
        )
    return pd.DataFrame(rows)


def power(
    name: str, budgets: Sequence[int], rng: np.random.Generator, *, n_draws: int = 100, turned: float = TURNED
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what a slope on length could have seen in a data set, and what it sees on people's own labels.

    Of `ukp-workers` the people with MIN_CHOICES or more choices are asked; scores and noise come from all.

    Returns:
        `power_table`, and one row a budget: budget, n_people, gain, low, high, noise_limit, p_noise, counts.
    """
    judgements = load_judgements(name)
    model, gain = judgements.fit(), offset_gain(judgements, rng)
    if name == "ukp-workers":
        rows = frequent(judgements, ukp.MIN_CHOICES)
        judgements, gain = judgements.select(rows), gain.select(rows)
    found = draws(judgements, gain, budgets, rng, model=model, direction=gain.direction, turned=turned, n_draws=n_draws)
    lines = []
    for budget in budgets:
        own = gain(judgements, budget, rng)
        line = {"budget": budget, "n_people": own.n_runs, "gain": own.estimate, "low": own.low, "high": own.high}
        lines.append(line | beyond_noise(own, found, budget))
    tables = power_table(found), pd.DataFrame(lines)
    for table in tables:
        table.insert(0, "dataset", name)
    return tables


def beyond_noise(gain: Interval, found: pd.DataFrame, budget: int) -> dict[str, float | bool]:
    """Return whether a gain counts: its interval lies above 0 and it exceeds what noise alone gives.

    Args:
        gain: measured on people's own labels.
        found: from `draws`, with the same way to personalise.
        budget: labels a person.

    Returns:
        noise_limit (97.5 % of the gains without taste), p_noise (one-sided, of a gain as large without taste), counts.

    Raises:
        InputError: no draw without taste at this budget.
    """
    null = found.loc[(found["taste"] == TASTES[1]) & (found["budget"] == budget), "gain"].to_numpy()
    if not len(null):
        raise InputError(f"no draw without taste at {budget} labels: draw there first")
    limit = percentiles(null)[1]
    p = (1 + (null >= gain.estimate).sum()) / (1 + len(null))
    return {"noise_limit": limit, "p_noise": float(p), "counts": bool(gain.low > 0 and gain.estimate > limit)}
