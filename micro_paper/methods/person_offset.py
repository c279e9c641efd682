"""One head for all plus an offset a person: of the whole reward (ridge), of length alone, or of position alone."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from micro_paper.convex import fit_bradley_terry
from micro_paper.errors import InputError
from micro_paper.methods.exact import SingleExact
from micro_paper.methods.persons import PersonMethod, Told
from micro_paper.pairs import Pairs

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, math.inf)


class PersonNone(PersonMethod):
    """The row `single_exact` of other people's labels: one head, nothing is learnt of a person."""

    supervision = "binary labels"

    def _share(self, train_pairs: Pairs, validation: Pairs) -> None:
        self.pooled = SingleExact(self.settings, self.seed).fit(train_pairs, validation)

    def _unknown(self) -> Tensor:
        return torch.zeros(1, 0, dtype=torch.float64)

    def _vectors(self, pairs: Pairs, own: Tensor, count: int) -> Tensor:
        return self._unknown().expand(count, -1)

    def _margins(self, pairs: Pairs) -> Tensor:
        return torch.from_numpy(self.pooled.head_margins(pairs)).double()

    def _weights(self, pairs: Pairs, vectors: Tensor) -> Tensor:
        return torch.cat([vectors.new_ones(len(vectors), 1), vectors], dim=1)  # of the head of all, then the offset

    def _probability(self, pairs: Pairs, vectors: Tensor) -> np.ndarray:
        return (self._margins(pairs) * self._weights(pairs, vectors)).sum(dim=1).sigmoid().numpy()


class PersonOffset(PersonNone):
    """The margin is m + b_u . x: m of one head for all, b_u the person's own.

    b_u minimises sum_i -log sigmoid(m_i + b . x_i) + strength |b|^2 over the person's labels, so that it is 0 without
    labels and the prior counts as much for few labels as for many. x has root-mean-square length 1 in training; one
    strength for everybody is chosen from STRENGTHS on the tuning people, inf = no offset.
    """

    supervision = PersonMethod.supervision

    def __init__(self, settings=None, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.strength = 10.0

    def _feature(self, pairs: Pairs) -> Tensor:
        """Return what the offset weighs, (n, k), chosen less rejected."""
        raise NotImplementedError

    def _share(self, train_pairs: Pairs, validation: Pairs) -> None:
        super()._share(train_pairs, validation)
        length = self._feature(train_pairs).square().sum(dim=1).mean().sqrt()
        self.unit = float(length) or 1.0

    def _tune(self, tuning: Told) -> None:
        self.strength = self._kept("strength", STRENGTHS, tuning)

    def _unknown(self) -> Tensor:
        return torch.zeros(1, self.width, dtype=torch.float64)

    @property
    def width(self) -> int:
        """k, how many numbers an offset has."""
        return 1

    def _margins(self, pairs: Pairs) -> Tensor:
        return torch.cat([super()._margins(pairs), self._feature(pairs) / self.unit], dim=1)

    def _vectors(self, pairs: Pairs, own: Tensor, count: int) -> Tensor:
        if math.isinf(self.strength):
            return self._unknown().expand(count, -1)
        margin, x = self._margins(pairs).tensor_split([1], dim=1)
        labels = torch.bincount(own, minlength=count)
        order = own.argsort(stable=True)
        parts = [values[order].split(labels.tolist()) for values in (x, margin[:, 0])]
        return fit_bradley_terry(parts[0], self.strength / labels[:, None].double(), offsets=parts[1]).weight[:, 0]


class PersonRidge(PersonOffset):
    """A head a person, shrunk towards the head of all: x is the difference of the features."""

    def _feature(self, pairs: Pairs) -> Tensor:
        return self.pooled._scaled(pairs).difference.double()

    @property
    def width(self) -> int:
        return self.pooled.head_weights().shape[1]


class PersonLength(PersonOffset):
    """How far a person leans to the longer response: x is the difference of the lengths. A control."""

    def _feature(self, pairs: Pairs) -> Tensor:
        return pairs.length_difference.double()[:, None]


class PersonPosition(PersonOffset):
    """How far a person leans to what was shown first, whatever it says. A control."""

    supervision = f"{PersonMethod.supervision}; which response was shown first, at test too"

    def _feature(self, pairs: Pairs) -> Tensor:
        if pairs.position is None:
            raise InputError("position: these pairs do not say which response was shown first: leave this row out")
        return pairs.position.double()[:, None]
