"""Weights of a person over frozen heads: MiCRo's under its router or under HyRe's weights, and HyRe's own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from micro_paper.bradley_terry import log_preference
from micro_paper.methods.hyre import MANY
from micro_paper.methods.persons import PersonMethod, Told
from micro_paper.methods.settings import Settings
from micro_paper.methods.shared_base import SharedBaseMLP
from micro_paper.methods.two_stage import MixtureMethod, PromptOnly
from micro_paper.pairs import Pairs

TEMPERATURES = (1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)


class PersonWeights(PersonMethod):
    """P = sum_k w_uk sigmoid(D_k) with w_uk proportional to f_k(x) exp(-L_uk / T), L_uk the summed loss of head k.

    L_uk sums over the labels of person u. This is Eq. 5 with a person's labels in place of a context's and the router
    as the prior; from a uniform prior and at T = 1 it is HyRe, and Bayes' rule over the heads.
    """

    temperature = 1.0

    def _fitted(self, train_pairs: Pairs, validation: Pairs) -> MixtureMethod:
        """Return the method that has the heads."""
        raise NotImplementedError

    def _share(self, train_pairs: Pairs, validation: Pairs) -> None:
        self.mixture = self._fitted(train_pairs, validation)

    def _unknown(self) -> Tensor:
        return torch.zeros(1, self.settings.heads, dtype=torch.float64)

    def _margins(self, pairs: Pairs) -> Tensor:
        return torch.from_numpy(self.mixture.head_margins(pairs)).double()

    def _log_prior(self, pairs: Pairs) -> Tensor:
        """Return log f_k of each pair up to a constant, (n, K) or (1, K)."""
        return self._unknown()

    def _vectors(self, pairs: Pairs, own: Tensor, count: int) -> Tensor:
        gain = log_preference(self._margins(pairs))
        return gain.new_zeros(count, gain.shape[1]).index_add_(0, own, gain) / self.temperature

    def _weights(self, pairs: Pairs, vectors: Tensor) -> Tensor:
        return (self._log_prior(pairs) + vectors).softmax(dim=1)

    def _probability(self, pairs: Pairs, vectors: Tensor) -> np.ndarray:
        margins = self._margins(pairs)
        p = (self._weights(pairs, vectors) * margins.sigmoid()).sum(dim=1).clamp(0, 1)
        return p.masked_fill((margins == 0).all(dim=1), 0.5).numpy()


def stage1(settings, seed: int, train_pairs: Pairs, validation: Pairs) -> PromptOnly:
    """Return MiCRo's stage 1, fitted once for all rows that take the same pairs."""
    sources = (train_pairs.responses, train_pairs.chosen, train_pairs.rejected, validation.chosen)
    fitted = lambda: PromptOnly(settings, seed).fit(train_pairs, validation)  # noqa: E731
    return copy.copy(train_pairs.derived.get(("stage 1 of persons", settings, seed), sources, fitted))


class PersonMicroHyRe(PersonWeights):
    """HyRe's weights on the heads of MiCRo's stage 1, whose router is left out."""

    def _fitted(self, train_pairs: Pairs, validation: Pairs) -> MixtureMethod:
        return stage1(self.settings, self.seed, train_pairs, validation)


class PersonRouter(PersonMicroHyRe):
    """MiCRo's heads and router, the router's weights moved by the person's labels.

    Without labels it is MiCRo's stage 1. The temperature is chosen from TEMPERATURES on the tuning people: at 1 the
    labels count as independent evidence for single heads, above it the router is followed longer.
    """

    def _tune(self, tuning: Told) -> None:
        self.temperature = self._kept("temperature", TEMPERATURES, tuning)

    def _log_prior(self, pairs: Pairs) -> Tensor:
        return torch.from_numpy(self.mixture.mixture_weights(pairs)).double().clamp_min(1e-300).log()


class PersonHyRe(PersonWeights):
    """HyRe: an ensemble with curved priors, weighted by the person's labels; as many heads as its authors train."""

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.settings = replace(self.settings, heads=MANY)

    def _fitted(self, train_pairs: Pairs, validation: Pairs) -> MixtureMethod:
        return SharedBaseMLP(self.settings, self.seed).fit(train_pairs, validation)
