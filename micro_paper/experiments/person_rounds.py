"""Who teaches, who is adapted to and on what they are tested: the rounds of the protocol of persons.

A run is a draw of folds of people and of topics. A round of it is one fold of people and one of topics:

- `train`: labels of the other people, but for some kept as tuning people, on the training topics.
- `validation`: labels of the training people on the validation topics.
- `tuning`: the tuning people: labels to adapt with on training topics, labels to predict on validation topics.
- `test`: the people of the fold: labels to adapt with from one half of their own topics, labels to predict from the
  topics of the fold in the other half. Halves are `data.splits.halves`, the same in every round and run.

So the people of training, tuning and test are disjoint; the topics of training, validation and what test people are
asked are disjoint; and the topics that a person tells of are not those that the person is asked about. What is not
disjoint: the topics that a test person tells of, from those on which *others* taught the shared part. Keeping them
apart too would leave a person about half of the labels, and most people below 20.

Over the rounds of a run everybody is tested once on each pair of the second half.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from micro_paper.data.splits import halves
from micro_paper.errors import InputError
from micro_paper.experiments.bench_runs import concatenate
from micro_paper.experiments.worlds import World
from micro_paper.methods.controls import principal_directions
from micro_paper.methods.persons import Told, people_of
from micro_paper.methods.scaling import Scaler
from micro_paper.pairs import Pairs

TUNING_SHARE = 5  # one in so many of the people who are not tested


@dataclass(frozen=True)
class Folds:
    """How a run is cut.

    Attributes:
        people, topics: number of folds of each, >= 2 and >= 3 (of which one is tested, one validates).
        dimensions: principal directions of the training differences that features are reduced to, for speed; 0 = the
            features as they are.
    """

    people: int = 3
    topics: int = 4
    dimensions: int = 64

    def __post_init__(self) -> None:
        for name, least in {"people": 2, "topics": 3, "dimensions": 0}.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")


@dataclass(frozen=True)
class Round:
    """One fold of people and one of topics of a run; see the module's text. `everybody`: all pairs, on its features."""

    everybody: Pairs
    train: Pairs
    validation: Pairs
    tuning: Told
    test: Told


def everyone(world: World) -> Pairs:
    """Return the pairs of all splits of a world of people, but for those with one feature row on both sides.

    The protocol cuts topics itself.

    Raises:
        InputError: the world names no people.
    """
    parts = [world.train, world.validation, world.test]
    joined = concatenate(parts)
    position = None
    if all(part.position is not None for part in parts):
        position = torch.cat([part.position for part in parts])
    whole = replace(joined, user_id=np.concatenate([people_of(part) for part in parts]), position=position)
    return whole.select((whole.chosen != whole.rejected).numpy())


def rounds(pairs: Pairs, folds: Folds, seed: int) -> Iterator[Round]:
    """Yield the rounds of a run, folds.people * folds.topics of them.

    Args:
        pairs: of people on topics, as `everyone` gives them.
        folds: how they are cut.
        seed: of the folds of people and topics, and of the order in which a person's labels are taken.

    Raises:
        InputError: fewer people or topics than folds; somebody with labels on one topic alone.
    """
    people, topics = people_of(pairs), pairs.prompt_id
    rng = np.random.default_rng(seed)
    fold_of_person = _folds(people, folds.people, rng, "people")
    fold_of_topic = _folds(topics, folds.topics, rng, "topics")
    rank = rng.permutation(len(pairs))  # a label's place in its person's order
    tells = halves(people, topics)
    if missing := set(people) - set(people[tells]):
        raise InputError(f"user_id: {min(missing)} has labels on one topic alone: leave people out who have one topic")
    for k in range(folds.people):
        others = np.unique(people[fold_of_person != k])
        tuning = np.isin(people, rng.permutation(others)[: max(1, len(others) // TUNING_SHARE)])
        tested = fold_of_person == k
        teaches = ~tested & ~tuning
        for t in range(folds.topics):
            asked, checked = fold_of_topic == t, fold_of_topic == (t + 1) % folds.topics
            taught = ~asked & ~checked
            base = _reduced(pairs, teaches & taught, folds.dimensions)
            yield Round(
                base,
                base.select(teaches & taught),
                base.select(teaches & checked),
                Told(_in_order(base, tuning & taught, rank), base.select(tuning & checked)),
                Told(_in_order(base, tested & tells, rank), base.select(tested & ~tells & asked)),
            )


def check_round(made: Round) -> None:
    """Check that people and topics are as disjoint as the module's text says.

    Raises:
        InputError: two parts share a person or a topic; names parts and one that they share.
    """
    people = {
        "training": {*made.train.user_id, *made.validation.user_id},
        "tuning": {*made.tuning.tell.user_id, *made.tuning.ask.user_id},
        "test": {*made.test.tell.user_id, *made.test.ask.user_id},
    }
    topics = {
        "training": {*made.train.prompt_id, *made.tuning.tell.prompt_id},
        "validation": {*made.validation.prompt_id, *made.tuning.ask.prompt_id},
        "test": {*made.test.ask.prompt_id},
    }
    for what, parts in (("person", people), ("topic", topics)):
        names = list(parts)
        for i, one in enumerate(names):
            for other in names[:i]:
                if shared := parts[one] & parts[other]:
                    raise InputError(f"{one} and {other} share the {what} {min(shared)}: cut them apart")
    for told in (made.tuning, made.test):
        both = _couples(told.tell) & _couples(told.ask)
        if both:
            person, topic = min(both)
            raise InputError(f"{person} tells of {topic} and is asked about it: cut a person's labels by topic")


def peers(tell: Pairs, everybody: Pairs, seed: int) -> Pairs:
    """Return the same pairs of the same people with somebody else's label; pairs nobody else judged are left out.

    Args:
        tell: labels of people.
        everybody: labels of all, on the same feature tables.
        seed: whose label is taken where several others judged the pair.
    """
    judged: dict[tuple[int, int], list[tuple[str, bool]]] = {}
    for a, b, person in zip(everybody.chosen.tolist(), everybody.rejected.tolist(), everybody.user_id, strict=True):
        judged.setdefault((min(a, b), max(a, b)), []).append((person, a < b))
    rng = np.random.default_rng(seed)
    rows, turned = [], []
    for i, (a, b, person) in enumerate(zip(tell.chosen.tolist(), tell.rejected.tolist(), tell.user_id, strict=True)):
        others = [first for who, first in judged.get((min(a, b), max(a, b)), ()) if who != person]
        if others:
            rows.append(i)
            turned.append(others[rng.integers(len(others))] != (a < b))
    kept, turn = tell.select(np.array(rows, np.int64)), torch.tensor(turned, dtype=torch.bool)
    return replace(
        kept,
        chosen=torch.where(turn, kept.rejected, kept.chosen),
        rejected=torch.where(turn, kept.chosen, kept.rejected),
        position=None if kept.position is None else torch.where(turn, -kept.position, kept.position),
    )


def shuffled(test: Told, everybody: Pairs, seed: int) -> Pairs:
    """Return, under each test person's name, labels of another test person, none on topics that the first is asked on.

    Args:
        test: of a round.
        everybody: labels of all, on the same feature tables.
        seed: of who stands in for whom, and of the order of labels.
    """
    rng = np.random.default_rng(seed)
    names = rng.permutation(np.unique(test.tell.user_id))
    if len(names) < 2:
        raise InputError("one person cannot be shuffled: test two people at least")
    mixed = rng.permutation(len(everybody))
    rows, people = [], []
    own_half = _couples(test.tell)
    for name, other in zip(names, np.roll(names, 1), strict=True):
        # Neither what is asked in this round nor in any other: the topics of the person's own other half.
        allowed = {topic for person, topic in own_half if person == name}
        theirs = mixed[everybody.user_id[mixed] == other]
        seen = np.unique(everybody.prompt_id[everybody.user_id == name])
        kept = [i for i in theirs.tolist() if everybody.prompt_id[i] in allowed or everybody.prompt_id[i] not in seen]
        rows += kept
        people += [name] * len(kept)
    return replace(everybody.select(np.array(rows, np.int64)), user_id=np.array(people, dtype=str))


def who_has(pairs: Pairs, labels: int) -> np.ndarray:
    """Return the people with at least `labels` pairs, sorted."""
    names, count = np.unique(people_of(pairs), return_counts=True)
    return names[count >= labels]


def of_people(pairs: Pairs, names: Iterable[str]) -> Pairs:
    """Return the pairs of these people."""
    return pairs.select(np.isin(people_of(pairs), np.asarray(list(names), dtype=str)))


def _reduced(pairs: Pairs, train: np.ndarray, dimensions: int) -> Pairs:
    """Return the pairs with features scaled by their spread in training, on its principal directions.

    The directions keep their lengths, but for one factor that gives the features of training a mean square of 1.
    """
    taught = pairs.select(train)
    if not dimensions or not len(taught):
        return replace(pairs, derived=type(pairs.derived)())
    table = Scaler.of_responses(taught)(pairs.responses, torch.float64, torch.device("cpu"))
    if dimensions < table.shape[1]:
        table = table @ principal_directions(table[taught.chosen] - table[taught.rejected], dimensions).T
    seen = table[torch.cat([taught.chosen, taught.rejected]).unique()]
    return pairs.with_tables(responses=table / seen.square().mean().sqrt())


def _folds(names: np.ndarray, count: int, rng: np.random.Generator, what: str) -> np.ndarray:
    """Return the fold of each row, (n,): distinct names are dealt out at random, equally."""
    distinct, own = np.unique(names, return_inverse=True)
    if len(distinct) < count:
        raise InputError(f"there are {len(distinct)} {what} for {count} folds: give fewer folds or more {what}")
    return rng.permutation(np.arange(len(distinct)) % count)[own]


def _in_order(pairs: Pairs, which: np.ndarray, rank: np.ndarray) -> Pairs:
    rows = np.flatnonzero(which)
    return pairs.select(rows[np.argsort(rank[rows])])


def _couples(pairs: Pairs) -> set[tuple[str, str]]:
    return set(zip(people_of(pairs).tolist(), pairs.prompt_id.tolist(), strict=True))
