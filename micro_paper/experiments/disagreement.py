"""Noise before taste: how far people agree on one pair, and how much of their disagreement has a cause one can name.

A choice is counted as +1 or -1, so its variance is 1 where no side is ahead. That variance has parts: what people share
(two people agree in (1 + shared) / 2 of their choices), what a person's lean to the first side, skill and taste along
length add, and the rest, in which noise and tastes that no direction here reads cannot be told apart: nobody judged a
pair twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import expit

from micro_paper.data import registry, synthetic_people, ukp
from micro_paper.errors import InputError
from micro_paper.intervals import Sample, expanded_percentiles, resamples
from micro_paper.metrics import Floats, decided
from micro_paper.noisy_bradley_terry import NoisyBradleyTerry, Priors, fit_noisy_bradley_terry
from micro_paper.pairs import Pairs

SOURCES = {  # data set -> the data set with every person's judgements, and its options
    "ukp-workers": ("ukp-criteria", {"uncoded": True}),
    "ukp-criteria": ("ukp-criteria", {}),
    "wmt-mqm": ("wmt-mqm", {"raters": True}),
}
EVERYONE = "everyone"
EVERY_ATTRIBUTE = "all attributes"
SYNTHETIC = "synthetic-people"  # of known tastes, for a run without data
FOLDS = 5  # of people: scores that meet a person's labels are fitted without them


@dataclass(frozen=True, eq=False)
class Judgements:
    """Choices between two items by people, n in all; some pairs were judged by several people.

    Attributes:
        first, second: (n,) number of the item on each side.
        person: (n,) number of the person.
        preferred: (n,) whether the first was preferred.
        comparison: (n,) number of what was compared; alike where people judged the same.
        attribute: (n,) by which attribute or criterion.
        cluster: (n,) number of the topic or document.
        length: (n,) log words of the first item less that of the second, scaled to a mean square of 1.
        shown: whether `first` was shown first; else sides mean nothing.
        names: of the people, by number.
    """

    first: np.ndarray
    second: np.ndarray
    person: np.ndarray
    preferred: np.ndarray
    comparison: np.ndarray
    attribute: np.ndarray
    cluster: np.ndarray
    length: Floats
    shown: bool
    names: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.preferred)
        for name in ("first", "second", "person", "comparison", "attribute", "cluster", "length"):
            if len(getattr(self, name)) != n or not n:
                raise InputError(f"{name} has {len(getattr(self, name))} rows, preferred has {n}: give one each")

    def __len__(self) -> int:
        return len(self.preferred)

    @property
    def items(self) -> int:
        """How many items there are: one more than the largest number."""
        return int(max(self.first.max(), self.second.max())) + 1

    @property
    def sign(self) -> Floats:
        """1 where the first was preferred, -1 where the second was, (n,)."""
        return np.where(self.preferred, 1.0, -1.0)

    def select(self, rows: np.ndarray) -> Judgements:
        """Return the judgements at `rows` (positions or a mask); numbers stay as they are."""
        arrays = ("first", "second", "person", "preferred", "comparison", "attribute", "cluster", "length")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})

    def fit(self, priors: Priors | None = None) -> NoisyBradleyTerry:
        """Return the noisy Bradley-Terry model of these judgements; without biases where sides mean nothing."""
        priors = priors or Priors()
        return fit_noisy_bradley_terry(
            self.first,
            self.second,
            self.person,
            self.preferred,
            items=self.items,
            people=len(self.names),
            priors=priors if self.shown else replace(priors, bias=0.0),
        )


def load_judgements(name: str) -> Judgements:
    """Return the choices of all people of a data set; of `ukp-workers` of those with few choices too.

    SYNTHETIC is the world of that name.

    Raises:
        InputError: another data set: none but these has single persons' choices on shared pairs. MissingError: the data
            cannot be reached.
    """
    if name == SYNTHETIC:
        return from_pairs(synthetic_people.persons().pairs)
    if name not in SOURCES:
        known = ", ".join([*SOURCES, SYNTHETIC])
        raise InputError(f"{name} has no pairs that several people judged, each for themselves: use {known}")
    source, options = SOURCES[name]
    return from_frame(registry.build(source, **options).frame, rated=name == "wmt-mqm")


def from_frame(frame: pd.DataFrame, *, rated: bool = False) -> Judgements:
    """Return the judgements of labelled pairs with the columns prompt, prompt_id, item_id, user_id and attribute.

    Sides are as they were shown where the column shown_first tells it, else by order of appearance of the texts. Pairs
    of equal texts are left out.

    Args:
        rated: each attribute is judged for itself, so that an item is a text under one attribute.
    """
    if missing := [c for c in ("user_id", "item_id") if c not in frame]:
        raise InputError(f"the pairs have no column {missing[0]!r}: disagreement needs to know who judged what")
    table = frame[frame["chosen"] != frame["rejected"]].reset_index(drop=True)
    if table.empty:
        raise InputError("no pair of differing texts: nothing was compared")
    n = len(table)
    place = table["prompt"].astype(str) + "\x1f" + (table["item_id"] + "\x1f" + table["attribute"] if rated else "")
    items = pd.factorize(np.concatenate([place + "\x1f" + table["chosen"], place + "\x1f" + table["rejected"]]))[0]
    chosen, rejected = items[:n], items[n:]
    shown = "shown_first" in table
    preferred = (table["shown_first"] == "chosen").to_numpy() if shown else chosen < rejected
    first, second = np.where(preferred, chosen, rejected), np.where(preferred, rejected, chosen)
    low, high = np.minimum(first, second), np.maximum(first, second)
    compared = [table["item_id"], low, high]
    if "chosen_id" in table:  # two responses can be the same text: they are compared with a third each for itself
        ids = np.sort(table[["chosen_id", "rejected_id"]].to_numpy(dtype=str), axis=1)
        compared += [ids[:, 0], ids[:, 1]]
    comparison = pd.MultiIndex.from_arrays(compared)
    words = {text: np.log1p(len(text.split())) for text in pd.concat([table["chosen"], table["rejected"]]).unique()}
    gap = (table["chosen"].map(words) - table["rejected"].map(words)).to_numpy() * np.where(preferred, 1.0, -1.0)
    person, names = pd.factorize(table["user_id"])
    return Judgements(
        first=first,
        second=second,
        person=person,
        preferred=preferred,
        comparison=pd.factorize(comparison)[0],
        attribute=table["attribute"].to_numpy(dtype=str),
        cluster=pd.factorize(table["prompt_id"])[0],
        length=gap / (np.sqrt(np.mean(gap**2)) or 1.0),
        shown=shown,
        names=np.asarray(names, dtype=str),
    )


def from_pairs(pairs: Pairs) -> Judgements:
    """Return the judgements of pairs on features; every feature row is an item, lengths are those of the pairs.

    Raises:
        InputError: the pairs do not say who judged, or which response was shown first.
    """
    if pairs.user_id is None or pairs.position is None:
        raise InputError("pairs need user_id and position: disagreement needs to know who saw what")
    preferred = pairs.position.numpy() > 0
    chosen, rejected = pairs.chosen.numpy(), pairs.rejected.numpy()
    first, second = np.where(preferred, chosen, rejected), np.where(preferred, rejected, chosen)
    low, high = np.minimum(first, second), np.maximum(first, second)
    person, names = pd.factorize(pairs.user_id)
    words = np.log1p(pairs.lengths.numpy().astype(np.float64))
    gap = words[first] - words[second]
    return Judgements(
        first=first,
        second=second,
        person=person,
        preferred=preferred,
        comparison=pd.factorize(pd.MultiIndex.from_arrays([low, high]))[0],
        attribute=np.asarray(pairs.attribute, dtype=str),
        cluster=pd.factorize(pairs.prompt_id)[0],
        length=gap / (np.sqrt(np.mean(gap**2)) or 1.0),
        shown=True,
        names=np.asarray(names, dtype=str),
    )


def simulated(
    rng: np.random.Generator,
    *,
    people: int = 60,
    labels: int = 80,
    topics: int = 8,
    items: int = 12,
    skill: float = 0.3,
    bias: float = 0.2,
    taste: float = 0.5,
) -> Judgements:
    """Return judgements of a population with known truth: a shared taste, and slopes on length of each person's own.

    Args:
        people, labels: how many people, and choices of each.
        topics, items: how many topics, and items of each; only items of one topic are compared.
        skill, bias, taste: standard deviations over people of skill (about 1), bias and slope on length, in nats.
    """
    length = rng.normal(size=(topics, items))
    score = rng.normal(size=(topics, items)) + length
    person = np.repeat(np.arange(people), labels)
    topic = rng.integers(topics, size=len(person))
    one = rng.integers(items, size=len(person))
    other = (one + rng.integers(1, items, size=len(person))) % items
    # a pair is shown in the same order to all
    one, other = np.where((one + other) % 2 == (one < other), (one, other), (other, one))
    gap = length[topic, one] - length[topic, other]
    scale = np.sqrt(np.mean(gap**2))
    skills, biases, slopes = rng.normal(1, skill, people), rng.normal(0, bias, people), rng.normal(0, taste, people)
    margin = skills[person] * (score[topic, one] - score[topic, other]) + biases[person]
    p = expit(margin + slopes[person] * gap / scale)
    first, second = topic * items + one, topic * items + other
    names = np.array([f"person {number + 1}" for number in range(people)])
    pair = np.minimum(first, second) * topics * items + np.maximum(first, second)
    comparison = np.unique(pair, return_inverse=True)[1]
    once = np.unique(person * (comparison.max() + 1) + comparison, return_index=True)[1]
    attribute = np.full(len(person), "preference")
    every = Judgements(
        first, second, person, rng.random(len(p)) < p, comparison, attribute, topic, gap / scale, True, names
    )
    return every.select(np.sort(once))


def frequent(judgements: Judgements, least: int) -> np.ndarray:
    """Return which judgements are of people who made at least so many, (n,)."""
    return np.bincount(judgements.person)[judgements.person] >= least


def couples(judgements: Judgements) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (one, other) of every two judgements of one comparison by different people, in both orders."""
    rows = pd.DataFrame({"comparison": judgements.comparison, "row": np.arange(len(judgements))})
    both = rows.merge(rows, on="comparison")
    one, other = both["row_x"].to_numpy(), both["row_y"].to_numpy()
    differ = judgements.person[one] != judgements.person[other]
    return one[differ], other[differ]


def lower_first(judgements: Judgements) -> Floats:
    """Return 1 where the item of the lower number was preferred, else -1, (n,): the same for all who agree."""
    return judgements.sign * np.where(judgements.first < judgements.second, 1.0, -1.0)


def agreement(
    judgements: Judgements, *, scored: np.ndarray | None = None, alike: bool | None = None
) -> dict[str, float]:
    """How often two people agree on one pair, and how often the majority of the others is right about a person.

    A tie of the others counts one half. Intervals are over topics or documents.

    Args:
        scored: (n,) whose choices are scored, against those of all others; None = all.
        alike: whether both judged by the same attribute; None = either way.

    Returns:
        n_people, n_comparisons (scored ones that two or more judged), n_judgements, agreement, low, high, majority,
        majority_low, majority_high.
    """
    vote = lower_first(judgements)
    one, other = couples(judgements)
    keep = np.ones(len(one), bool) if scored is None else scored[one]
    if alike is not None:
        keep &= (judgements.attribute[one] == judgements.attribute[other]) == alike
    one, other = one[keep], other[keep]
    if not len(one):
        raise InputError("no two people judged the same pair: their agreement is not known")
    rows = np.unique(one)
    others = np.bincount(one, vote[other], len(judgements))[rows]
    same = Sample(judgements.cluster[one]).mean(vote[one] == vote[other])
    right = Sample(judgements.cluster[rows]).mean(decided(others * vote[rows]))
    return {
        "n_people": len(np.unique(judgements.person[rows])),
        "n_comparisons": len(np.unique(judgements.comparison[rows])),
        "n_judgements": len(rows),
        "agreement": same.estimate,
        "low": same.low,
        "high": same.high,
        "majority": right.estimate,
        "majority_low": right.low,
        "majority_high": right.high,
    }


def expected(judgements: Judgements, rng: np.random.Generator, *, priors: Priors | None = None) -> Floats:
    """Return the expected choice, -1 .. 1, of a person of skill 1 without bias, (n,), by scores from other people.

    People are cut into FOLDS at random; scores of each fold are fitted on the other folds. Where no score is known, 0.
    """
    people = len(judgements.names)
    fold = rng.permutation(np.arange(people) % min(FOLDS, people))[judgements.person]
    out = np.zeros(len(judgements))
    for number in np.unique(fold):
        if (fold != number).any():
            own = np.flatnonzero(fold == number)
            part = judgements.select(fold != number)
            known = np.isin(judgements.first[own], np.r_[part.first, part.second])
            known &= np.isin(judgements.second[own], np.r_[part.first, part.second])
            own = own[known]
            margin = part.fit(priors).margin
            out[own] = np.tanh(margin(judgements.first[own], judgements.second[own]) / 2)
    return out


@dataclass(frozen=True, eq=False)
class Slopes:
    """What a person's residuals tell of the person's slopes, from two clusters at a time: noise of one is not of both.

    Attributes:
        design: sum over clusters c != c' of S_c kron S_c', S = sum x x^T, as a share of trace S, (P, d^2, d^2).
        moment: sum over c != c' of M_c kron M_c', M = sum x r, likewise, (P, d^2).
        square: mean x^2 of each direction, (d,).
    """

    design: Floats
    moment: Floats
    square: Floats

    def shares(self, weights: Floats | None = None) -> Floats:
        """Return the variance of people's slopes times mean x^2, (..., d), people weighted by (..., P); None = 1."""
        weights = np.ones(len(self.moment)) if weights is None else weights
        design = np.tensordot(weights, self.design, 1)
        found = np.linalg.solve(design, (weights @ self.moment)[..., None])[..., 0]
        d = len(self.square)
        return found[..., :: d + 1] * self.square


def person_slopes(residual: Floats, directions: Floats, person: np.ndarray, cluster: np.ndarray) -> Slopes:
    """Return the moments of people's slopes of the residual (n,) on directions (n, d) beyond the slope of all.

    For residuals r = x . (b + b_w) + noise, with noise independent between clusters, E[M_c kron M_c'] =
    (S_c kron S_c') vec(b_w b_w^T) for clusters c != c' once b is taken out, so that noise adds no variance. People with
    choices in one cluster tell nothing and are left out.

    Raises:
        InputError: fewer than two people have choices in two clusters, or a direction is the same for all or one that
            others make up.
    """
    x, r = np.asarray(directions, np.float64), np.asarray(residual, np.float64)
    d = x.shape[1]
    common, _, rank, _ = np.linalg.lstsq(x, r, rcond=None)
    if rank < d:
        raise InputError("directions are collinear: leave one out")
    r = r - x @ common
    cell, which = np.unique(np.stack([person, cluster]), axis=1, return_inverse=True)
    which = which.ravel()
    m = np.stack([np.bincount(which, x[:, i] * r) for i in range(d)], axis=1)
    s = np.stack([np.bincount(which, x[:, i] * x[:, j]) for i in range(d) for j in range(d)], axis=1)
    starts = np.flatnonzero(np.r_[True, cell[0, 1:] != cell[0, :-1]])
    several = np.diff(np.r_[starts, cell.shape[1]]) > 1
    if several.sum() < 2:
        raise InputError("fewer than two people have choices in two topics or documents: their slopes are not known")

    def crossed(left: Floats) -> Floats:
        """Sum over clusters c != c' of left_c outer left_c' of each person."""
        total = np.add.reduceat(left, starts, axis=0)
        own = np.add.reduceat(left[:, :, None] * left[:, None, :], starts, axis=0)
        return total[:, :, None] * total[:, None, :] - own

    trace = np.add.reduceat(s[:, :: d + 1].sum(axis=1), starts)[several]
    moment = crossed(m)[several].reshape(-1, d * d) / trace[:, None]
    pairs = crossed(s)[several].reshape(-1, d, d, d, d)  # [i, j] of c, [k, l] of c': (S kron S')[ik, jl]
    design = pairs.transpose(0, 1, 3, 2, 4).reshape(-1, d * d, d * d) / trace[:, None, None]
    return Slopes(design, moment, (x**2).mean(axis=0))


def components(
    judgements: Judgements, rng: np.random.Generator, *, scored: np.ndarray | None = None, n_bootstrap: int = 2000
) -> pd.DataFrame:
    """Return the parts of a choice's variance, as shares of 1.

    `shared` is what two people have in common, resampled by topics or documents; `position` (where sides are known),
    `skill` and `length` are variances of people's slopes on the first side, on the expected choice and on length, and
    are resampled by people: the first two are noise of a known form, the third is taste. `rest` is what is left, noise
    and tastes along no direction here. Estimates are unbiased, so that a part near 0 can be below 0.

    Args:
        scored: (n,) whose choices are scored; None = all. Scores come from all other people.

    Returns:
        One row a part: part, share, low, high, n_groups.
    """
    scored = np.ones(len(judgements), bool) if scored is None else scored
    one, other = couples(judgements)
    one, other = one[scored[one]], other[scored[one]]
    if not len(one):
        raise InputError("no two people judged the same pair: what they share is not known")
    vote = lower_first(judgements)
    hope = expected(judgements, rng)[scored]
    own = judgements.select(scored)
    found: Mapping[str, Floats] = {"skill": hope, "length": own.length}
    if own.shown:
        found = {"position": np.ones(len(own)), **found}
    slopes = person_slopes(own.sign - hope, np.stack(list(found.values()), axis=1), own.person, own.cluster)
    _, group = np.unique(judgements.cluster[one], return_inverse=True)
    sums, counts = np.bincount(group, vote[one] * vote[other]), np.bincount(group)
    times = resamples(len(counts), rng, n_bootstrap)
    parts = {"shared": (sums.sum() / counts.sum(), (times @ sums) / (times @ counts), len(counts))}
    weights = resamples(len(slopes.moment), rng, n_bootstrap).astype(np.float64)
    estimate, draws = slopes.shares(), slopes.shares(weights)
    for name, value, column in zip(found, estimate, draws.T, strict=True):
        parts[name] = (value, column, len(slopes.moment))
    rest = [1 - sum(part[k] for part in parts.values()) for k in (0, 1)]
    parts["rest"] = (*rest, min(len(counts), len(slopes.moment)))
    rows = []
    for name, (value, column, n_groups) in parts.items():
        low, high = expanded_percentiles(column, n_groups)
        rows.append({"part": name, "share": float(value), "low": low, "high": high, "n_groups": n_groups})
    return pd.DataFrame(rows)


def populations(name: str, judgements: Judgements) -> dict[str, tuple[Judgements, np.ndarray | None, bool | None]]:
    """Return what a data set's tables have a row for: name -> (judgements, whose are scored, both by one attribute)."""
    if name == "ukp-workers":
        least = ukp.MIN_CHOICES
        return {
            f"people with {least} or more choices": (judgements, frequent(judgements, least), None),
            EVERYONE: (judgements, None, None),
        }
    if name == SYNTHETIC:
        return {EVERYONE: (judgements, None, None)}
    found: dict[str, tuple[Judgements, np.ndarray | None, bool | None]] = {}
    if name == "ukp-criteria":
        found = {"same criterion": (judgements, None, True), "different criteria": (judgements, None, False)}
        two = judgements.select(np.isin(judgements.attribute, ("detail and evidence", "clear and to the point")))
        found["detail against clear"] = (two, None, False)
        return found
    for attribute in np.unique(judgements.attribute):
        found[str(attribute)] = (judgements.select(judgements.attribute == attribute), None, None)
    return found | {EVERY_ATTRIBUTE: (judgements, None, None)}


def agreement_table(names: list[str]) -> pd.DataFrame:
    """Return `agreement` of each population of each data set, with the columns dataset and population."""
    rows = []
    for name in names:
        for population, (judged, scored, alike) in populations(name, load_judgements(name)).items():
            found = agreement(judged, scored=scored, alike=alike)
            rows.append({"dataset": name, "population": population, **found})
    return pd.DataFrame(rows)


def component_table(names: list[str], rng: np.random.Generator, *, n_bootstrap: int = 2000) -> pd.DataFrame:
    """Return `components` of each population of each data set that needs no two criteria, with the same columns."""
    rows = []
    for name in names:
        for population, (judged, scored, alike) in populations(name, load_judgements(name)).items():
            if alike is None:
                found = components(judged, rng, scored=scored, n_bootstrap=n_bootstrap)
                found.insert(0, "population", population)
                found.insert(0, "dataset", name)
                rows.append(found)
    if not rows:
        raise InputError(f"no variance to split in {', '.join(names)}: name ukp-workers or wmt-mqm")
    return pd.concat(rows, ignore_index=True)
