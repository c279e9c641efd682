"""Rows that adapt to a person: what all of them share, and one adapted person as an object."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from micro_paper import metrics
from micro_paper.errors import InputError
from micro_paper.methods.settings import Settings
from micro_paper.pairs import Pairs

TUNING_LABELS = (5, 20)  # of each validation person: what a row chooses has to serve few labels and many


@dataclass(frozen=True)
class Told:
    """Labels of the same people, in two parts.

    Attributes:
        tell: labels to adapt with; a person's stand in the order in which budgets take them.
        ask: labels to predict, on other topics than the person's in `tell`.
    """

    tell: Pairs
    ask: Pairs


@runtime_checkable
class PersonRow(Protocol):
    """What a row that adapts to persons must be able to do.

    It is a `Method` whose users are people: `adapt` takes labels of any number of people at once, each call replaces
    the one before, and whoever has given no labels is predicted by what was learnt from others.

    Attributes:
        supervision: what the row sees beyond the texts.
    """

    supervision: str

    def fit(self, train_pairs: Pairs, validation: Pairs, tuning: Told | None = None) -> Self:
        """Learn what all people share.

        Args:
            train_pairs: labels of other people.
            validation: labels on other topics; choose penalties and epochs.
            tuning: of people who are in no training pair; choose how far to follow a person's labels. None = the
                row's default.
        """
        ...

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Learn each person of these labels, any number each."""
        ...

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(the person of each pair prefers chosen over rejected), (n,)."""
        ...


@dataclass(frozen=True)
class Person:
    """One person as a row has learnt them, apart from all others.

    Attributes:
        row: adapted to this person alone.
        name: of the person, as in `user_id`.
    """

    row: PersonRow
    name: str

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(this person prefers chosen over rejected), (n,), whoever the pairs say has judged them."""
        return self.row.predict_proba(replace(pairs, user_id=np.full(len(pairs), self.name)))


def adapt_person(row: PersonRow, pairs: Pairs) -> Person:
    """Return the person who gave these labels; the fitted row stays as it is.

    Raises:
        InputError: no pairs, or pairs of several people.
    """
    names = np.unique(people_of(pairs))
    if len(names) != 1:
        raise InputError(f"the pairs are of {len(names)} people: give the labelled pairs of one person")
    return Person(copy.copy(row).adapt(pairs), str(names[0]))


def people_of(pairs: Pairs) -> np.ndarray:
    """Return the person of each pair, (n,).

    Raises:
        InputError: the pairs name no people.
    """
    if pairs.user_id is None:
        raise InputError("user_id: these pairs name no people; give one a pair")
    return pairs.user_id


def first_labels(pairs: Pairs, labels: int) -> Pairs:
    """Return the first `labels` pairs of each person, all where there are fewer, in the given order."""
    return pairs.select(places(people_of(pairs)) < labels)


def places(people: np.ndarray) -> np.ndarray:
    """Return the place of each row among the rows of the same person, (n,), from 0."""
    _, own, count = np.unique(people, return_inverse=True, return_counts=True)
    order = np.argsort(own, kind="stable")
    place = np.empty(len(own), np.int64)
    place[order] = np.arange(len(own)) - np.repeat(np.cumsum(count) - count, count)
    return place


def find_people(names: np.ndarray, pairs: Pairs) -> Tensor:
    """Return the row of each pair's person in the sorted `names`, (n,); len(names) for somebody who is not there."""
    people = people_of(pairs)
    if not len(names):
        return torch.zeros(len(people), dtype=torch.long)
    at = np.searchsorted(names, people)
    known = names[np.minimum(at, len(names) - 1)] == people
    return torch.from_numpy(np.where(known, at, len(names)))


class PersonMethod:
    """A row that keeps a vector a person, beside what all share.

    Attributes:
        names: people that it is adapted to, (U,), sorted.
        table: their vectors, (U + 1, K); the last is that of anybody else.
        chosen: what the tuning people chose, for the reader.
    """

    supervision = "binary labels; user identity, in training and at test; labelled pairs of each user within the budget"

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.settings, self.seed = Settings.of(settings), seed
        self.names: np.ndarray = np.array([], dtype=str)
        self.table = torch.empty(0, 0)  # without even the last row before `fit`
        self.chosen: dict[str, float] = {}

    def fit(self, train_pairs: Pairs, validation: Pairs, tuning: Told | None = None) -> Self:
        """Learn what all people share, then choose on the tuning people how far to follow a person's labels."""
        if not len(train_pairs):
            raise InputError("there are no training pairs: check the data set's filters and the split")
        self._share(train_pairs, validation)
        if tuning is not None and len(tuning.ask):
            self._tune(tuning)
        return self.adapt(train_pairs.select(slice(0, 0)))

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Learn each person of these labels; no pairs: everybody is predicted by what others have in common."""
        people = people_of(context_pairs)
        self.names, own = np.unique(people, return_inverse=True)
        unknown = self._unknown()
        vectors = self._vectors(context_pairs, torch.from_numpy(own), len(self.names)) if len(people) else unknown[:0]
        self.table = torch.cat([vectors, unknown])
        return self

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(the person of each pair prefers chosen over rejected), (n,)."""
        return self._probability(pairs, self._vectors_of(pairs))

    def head_margins(self, pairs: Pairs) -> np.ndarray:
        """Return the margin of every pair under every reward that people weigh, (n, K), in nats."""
        return self._margins(pairs).numpy()

    def mixture_weights(self, pairs: Pairs) -> np.ndarray:
        """Return the weights that the person of each pair gives these rewards, (n, K)."""
        return self._weights(pairs, self._vectors_of(pairs)).numpy()

    def people(self) -> dict[str, Tensor]:
        """Return the vector, (K,), of each person that the row is adapted to."""
        return dict(zip(self.names.tolist(), self.table, strict=False))

    def knowing(self, people: Mapping[str, Tensor]) -> Self:
        """Return a copy that is adapted to these people alone, given their vectors as `people` returns them."""
        new = copy.copy(self)
        new.names = np.array(sorted(people), dtype=str)
        new.table = torch.cat([*(people[name][None] for name in new.names.tolist()), self._unknown()])
        return new

    def _vectors_of(self, pairs: Pairs) -> Tensor:
        return self.table[find_people(self.names, pairs)]

    def _share(self, train_pairs: Pairs, validation: Pairs) -> None:
        raise NotImplementedError

    def _tune(self, tuning: Told) -> None:
        """Choose nothing, where a row leaves nothing open."""

    def _unknown(self) -> Tensor:
        """Return the vector of somebody without labels, (1, K)."""
        raise NotImplementedError

    def _vectors(self, pairs: Pairs, own: Tensor, count: int) -> Tensor:
        """Return the vectors of people 0 .. count - 1 from n >= 1 labels, (count, K); `own` (n,) says whose."""
        raise NotImplementedError

    def _margins(self, pairs: Pairs) -> Tensor:
        """Return what `head_margins` does, in float64."""
        raise NotImplementedError

    def _weights(self, pairs: Pairs, vectors: Tensor) -> Tensor:
        """Return what `mixture_weights` does, of people with these vectors, (n, K)."""
        return vectors

    def _probability(self, pairs: Pairs, vectors: Tensor) -> np.ndarray:
        """Return P of each pair, (n,), under the vector of its person, (n, K)."""
        raise NotImplementedError

    def _kept(self, name: str, options: tuple[float, ...], tuning: Told) -> float:
        """Return the option of attribute `name` under which the tuning people are predicted best.

        Judged by NLL on what they are asked, mean over people and over TUNING_LABELS.
        """
        losses = []
        person = np.unique(people_of(tuning.ask), return_inverse=True)[1]
        for option in options:
            trial = copy.copy(self)
            setattr(trial, name, option)
            each = [
                metrics.pair_nll(trial.adapt(first_labels(tuning.tell, n)).predict_proba(tuning.ask))
                for n in TUNING_LABELS
            ]
            losses.append(np.mean([(np.bincount(person, loss) / np.bincount(person)).mean() for loss in each]))
        best = options[int(np.argmin(losses))]
        self.chosen[name] = best
        return best
