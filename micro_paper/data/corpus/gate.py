"""The gate of a world that is to decide: what exact fits of the true levels tell, before any mixture is fitted.

Nothing here reads a feature, a mixture or a router. `python -m micro_paper.data.corpus.gate` prints the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from micro_paper.convex import fit_bradley_terry
from micro_paper.data.corpus.build import SOURCES, judgements
from micro_paper.data.corpus.compose import compose, levels
from micro_paper.data.corpus.tastes import KNOBS, alignment, population
from micro_paper.data.corpus.worlds import preference
from micro_paper.data.splits import FOLDS, assign_folds
from micro_paper.errors import InputError
from micro_paper.intervals import Interval, Sample
from micro_paper.metrics import nll

PENALTY = 1e-3  # per pair, of the pooled reward and of what each head departs from it
PLANTED = 0.03
SEEDS = 5  # of each of five folds: 25 runs
HELD = 0.5  # share of the pairs that a planted row turns alike in all seeds
DRAWS = 200
# quantity -> least and largest value with which a world may decide
BOUNDS = {
    "single": (0.62, 0.70),
    "criterion_gain": (0.10, 1.0),
    "information": (0.05, np.inf),
    "information_shuffled": (-0.01, 0.01),
    "planted_found": (0.80, 1.0),
    "none_found": (0.0, 0.075),
}
IntervalOf = Callable[[np.ndarray, np.ndarray, np.ndarray], Interval]


@dataclass(frozen=True, eq=False)
class Rows:
    """Judgements of a world, n of them, with true levels in place of features.

    Attributes:
        topic: (n,) what is resampled and split.
        tested: (n,) bool: used where the topic is tested on, not where it is trained on.
        difference: (n, 9) level of the chosen response less that of the rejected one.
        stated: (n,) number of the stated criterion.
        cue: (n,) name of the prompt's cue.
        group: (n,) number of the taste that judged.
    """

    topic: np.ndarray
    tested: np.ndarray
    difference: np.ndarray
    stated: np.ndarray
    cue: np.ndarray
    group: np.ndarray


def rows_of(name: str, seed: int = 0) -> Rows:
    """Return the judgements of a bundled world on all topics that are not sealed.

    Raises:
        InputError: no such world, or one without judgements.
    """
    if name not in SOURCES:
        raise InputError(f"no judgements of {name!r}: use one of {', '.join(SOURCES)}")
    found = [j for _, j in judgements(SOURCES[name]("free"), seed, False)]
    pools = {slug: levels(compose(slug, seed)) for slug in {j.slug for j in found}}
    return Rows(
        topic=np.array([j.slug for j in found]),
        tested=np.array([j.phase == "test" for j in found]),
        difference=np.array([pools[j.slug][j.winner] - pools[j.slug][j.loser] for j in found], float),
        stated=np.array([j.stated for j in found]),
        cue=np.array([j.cue for j in found]),
        group=np.array([j.z for j in found]),
    )


def shuffled(codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the codes in random order: as often as before, and about nothing."""
    return rng.permutation(codes)


@dataclass(frozen=True, eq=False)
class Margins:
    """Margins of the chosen response on the m test rows of all folds, in nats, each topic tested once.

    Attributes:
        row: (m,) which of the rows.
        single: one reward. criterion: a head for each stated criterion. group: one for each taste.
        untold, told: one reward that depends on the cue, and one that depends on cue and stated criterion, for
            H(Y | X, A) and H(Y | X, A, C) as far as margins linear in the levels go.
        told_shuffled: the latter with the criteria in random order.
    """

    row: np.ndarray
    single: np.ndarray
    criterion: np.ndarray
    group: np.ndarray
    untold: np.ndarray
    told: np.ndarray
    told_shuffled: np.ndarray


def margins(rows: Rows, rng: np.random.Generator, shuffle: Callable = shuffled) -> Margins:
    """Fit every reward on the training topics of each fold and return its margins on the test topics."""
    anew = shuffle(rows.stated, rng)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in Margins.__dataclass_fields__}
    for fold in range(FOLDS):
        where = assign_folds(rows.topic, fold)
        split = np.array([where[t] for t in rows.topic])
        train = np.flatnonzero((split == "train") & ~rows.tested)
        test = np.flatnonzero((split == "test") & rows.tested)
        single = _fit([rows.difference[train]])[0]
        parts["row"].append(test)
        parts["single"].append(rows.difference[test] @ single)
        parts["criterion"].append(_heads(rows, rows.stated, train, test, single))
        parts["group"].append(_heads(rows, rows.group, train, test, single))
        for name, codes in (
            ("untold", [rows.cue]),
            ("told", [rows.cue, rows.stated]),
            ("told_shuffled", [rows.cue, anew]),
        ):
            wide = _by_code(rows.difference, codes)
            parts[name].append(wide[test] @ _fit([wide[train]])[0])
    return Margins(**{name: np.concatenate(found) for name, found in parts.items()})


def _fit(problems: list[np.ndarray], towards: np.ndarray | None = None) -> np.ndarray:
    start = None if towards is None else torch.from_numpy(towards)
    return fit_bradley_terry([torch.from_numpy(p) for p in problems], [PENALTY], towards=start).weight[:, 0].numpy()


def _heads(rows: Rows, code: np.ndarray, train: np.ndarray, test: np.ndarray, single: np.ndarray) -> np.ndarray:
    """Return test margins of one head for each code, shrunk to the single reward; that itself where none was seen."""
    seen = np.unique(code[train])
    heads = dict(zip(seen, _fit([rows.difference[train[code[train] == c]] for c in seen], single), strict=True))
    return np.array([rows.difference[i] @ heads.get(code[i], single) for i in test])


def _by_code(difference: np.ndarray, codes: list[np.ndarray]) -> np.ndarray:
    """Return the differences beside their products with an indicator of each value of each code."""
    parts = [difference]
    for code in codes:
        parts += [difference * (code == value)[:, None] for value in np.unique(code)]
    return np.concatenate(parts, axis=1)


def macro(values: np.ndarray, attributes: np.ndarray) -> float:
    """Return the mean over attributes of the values' means."""
    return float(pd.Series(values).groupby(attributes).mean().mean())


def by_topic(values: np.ndarray, topics: np.ndarray, attributes: np.ndarray) -> Interval:
    """Return the package's interval of paired differences (n, seeds), over topics and seeds."""
    return Sample(topics, attributes).mean(values)


def turning(right: np.ndarray, attributes: np.ndarray, gain: float, disagree: float) -> np.ndarray:
    """Return with which probability a row with a known gain decides each pair otherwise, (n,).

    Args:
        right: (n,) 1 where the other row is right, else 0.
        attributes: (n,); the gain is the same on each.
        gain: of the row's expected accuracy.
        disagree: share of the pairs on which the two rows differ, at least the gain.
    """
    share = pd.Series(right).groupby(attributes).transform("mean").to_numpy()
    return np.where(right > 0, (disagree - gain) / 2 / share, (disagree + gain) / 2 / (1 - share))


def planted(right: np.ndarray, turn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw how much more often a row that turns pairs so is right, pair by pair, at each of its seeds, (n, SEEDS)."""
    held = rng.random(len(right)) < HELD
    drawn = np.where(held, rng.random(len(right)), rng.random((SEEDS, len(right))))
    return ((1 - 2 * right) * (drawn < turn)).T


def found_share(
    right: np.ndarray,
    topics: np.ndarray,
    attributes: np.ndarray,
    gain: float,
    disagree: float,
    *,
    draws: int,
    interval: IntervalOf,
    rng: np.random.Generator,
) -> float:
    """Return in which share of draws the interval of a planted gain lies above 0.

    Each draw takes as many topics anew, with replacement, and what a row with that gain gets right on them; arguments
    as for `turning`.
    """
    turn = turning(right, attributes, gain, disagree)
    of_topic = [np.flatnonzero(topics == t) for t in np.unique(topics)]
    found = 0
    for _ in range(draws):
        taken = [of_topic[i] for i in rng.integers(len(of_topic), size=len(of_topic))]
        rows = np.concatenate(taken)
        number = np.repeat(np.arange(len(taken)), [len(t) for t in taken])
        gained = planted(right[rows], turn[rows], rng)
        found += interval(gained, number, attributes[rows]).low > 0
    return found / draws


def gate(
    rows: Rows,
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
    shuffle: Callable = shuffled,
    interval: IntervalOf = by_topic,
) -> dict[str, float]:
    """Measure what the gate is about.

    Returns:
        single: accuracy of one exact reward, as every accuracy the mean over stated criteria on unseen topics.
        criterion_gain, taste_gain: by how much a head for each stated criterion, or taste, is above it.
        information: H(Y | X, A) - H(Y | X, A, C), nats, of the fits that know cue and pair, and the criterion too;
        information_shuffled: the same with the criteria in random order.
        planted_found: share of draws in which the interval of a row that gains .03 over the single reward at SEEDS
            seeds a fold lies above 0; none_found: the same of a row that gains nothing.
    """
    found = margins(rows, rng, shuffle)
    stated, topic = rows.stated[found.row], rows.topic[found.row]
    right, by_criterion, by_group = ((m > 0).astype(float) for m in (found.single, found.criterion, found.group))
    single = macro(right, stated)
    untold = nll(preference(found.untold))
    disagree = max(float((right != by_criterion).mean()), 2 * PLANTED)
    shares = [
        found_share(right, topic, stated, gain, disagree, draws=draws, interval=interval, rng=rng)
        for gain in (PLANTED, 0.0)
    ]
    return {
        "single": single,
        "criterion_gain": macro(by_criterion, stated) - single,
        "taste_gain": macro(by_group, stated) - single,
        "information": untold - nll(preference(found.told)),
        "information_shuffled": untold - nll(preference(found.told_shuffled)),
        "planted_found": shares[0],
        "none_found": shares[1],
    }


def failures(measured: dict[str, float]) -> list[str]:
    """Return the lines of the gate that a world does not pass, those with values that are no numbers too."""
    return [name for name, (low, high) in BOUNDS.items() if not low <= measured[name] <= high]


def gate_table(names: Sequence[str] = tuple(KNOBS), seed: int = 0) -> pd.DataFrame:
    """Return the gate of worlds: dataset, quantity, value, its bounds and whether it keeps within them.

    Beside the gate's lines stand, without bounds, the gain of a head for each taste, the tastes' number and their
    alignment with the variance of responses: 1 = that of an average direction.
    """
    lines = []
    for name in names:
        measured = gate(rows_of(name, seed), rng=np.random.default_rng(seed))
        if name in KNOBS:
            weights = population(KNOBS[name]).weights
            measured |= {"tastes": float(len(weights)), "alignment": float(alignment(weights).mean())}
        for quantity, value in measured.items():
            low, high = BOUNDS.get(quantity, (np.nan, np.nan))
            passes = "" if quantity not in BOUNDS else "yes" if low <= value <= high else "no"
            lines.append((name, quantity, value, low, high, passes))
    return pd.DataFrame(lines, columns=["dataset", "quantity", "value", "least", "most", "passes"])


if __name__ == "__main__":
    print(gate_table().to_string(index=False, float_format=lambda x: f"{x:.3f}"))
