"""Controls: what is reached without the part of the method that a row takes away."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from micro_paper import metrics
from micro_paper.convex import Fits, fit_bradley_terry
from micro_paper.errors import InputError
from micro_paper.methods.scaling import Scaler, check_finite
from micro_paper.methods.search import set_aside
from micro_paper.methods.settings import Settings
from micro_paper.methods.two_stage import TwoStage, unit_margins
from micro_paper.mixture import Heads
from micro_paper.pairs import Pairs
from micro_paper.stacked import Training


class Length:
    """Bradley-Terry on the difference of response lengths alone: how much of a result length explains."""

    supervision = "binary labels; lengths in place of texts"

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.settings = Settings.of(settings)
        self.slope = 0.0

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Fit the one slope (exactly)."""
        difference = train_pairs.length_difference.double()[:, None]
        self.scale = difference.square().mean().sqrt().item() or 1.0
        self.slope = fit_bradley_terry([difference / self.scale], [1e-6]).weight.item()
        return self

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Do nothing."""
        return self

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred), (n,)."""
        return (self.slope * pairs.length_difference.double() / self.scale).sigmoid().cpu().numpy()


class FixedHeads(TwoStage):
    """The two stages with heads that are given, not learnt; only the router is trained."""

    def directions(self, scaled: Pairs) -> Tensor:
        """Return the K head directions, (K, d), of any length."""
        raise NotImplementedError

    def _make_heads(self, pairs: Pairs) -> Heads:
        heads = super()._make_heads(pairs)
        with torch.no_grad():
            heads.weight.copy_(self.directions(pairs))
            reward = heads(pairs.responses)
            heads.weight /= unit_margins(reward[pairs.chosen] - reward[pairs.rejected])
        heads.weight.requires_grad_(False)
        return heads


class RandomHeads(FixedHeads):
    """Random directions with unit root-mean-square margin."""

    def directions(self, scaled: Pairs) -> Tensor:
        """Return standard normal rows."""
        shape = (self.settings.heads, scaled.responses.shape[1])
        return torch.randn(shape, generator=self.generator("heads"), dtype=torch.float64).to(scaled.responses)


def principal_directions(difference: Tensor, count: int) -> Tensor:
    """Return the `count` directions along which differences (n, d) are longest in the mean square, (count, d).

    No mean is taken off: a pair turned round has the negative difference.
    """
    _, vectors = torch.linalg.eigh((difference.T @ difference).double())
    top = vectors.flip(-1)[:, :count].T.to(difference)
    # eigh leaves the sign free: fix it so that other libraries and machines give the same directions.
    return top * top.gather(1, top.abs().argmax(dim=1, keepdim=True)).sign()


class PcaHeads(FixedHeads):
    """The leading principal directions of the feature differences, each with both signs."""

    def directions(self, scaled: Pairs) -> Tensor:
        """Return +v_1, -v_1, +v_2, ... up to K rows.

        The second moment of differences has no sign, so the label is not used.
        """
        d = scaled.difference
        half = -(-self.settings.heads // 2)
        if d.shape[1] < half:
            raise InputError(f"heads = {self.settings.heads} needs {half} feature dimensions, got {d.shape[1]}")
        top = principal_directions(d, half)
        return torch.stack([top, -top], dim=1).flatten(0, 1)[: self.settings.heads]


class ShuffledRouter(TwoStage):
    """MiCRo with the router's input permuted over the pairs, in both stages and at test."""

    def fitting(self, train_pairs: Pairs, validation: Pairs) -> Training[None]:
        """Run stage 1 on permuted prompts."""
        return super().fitting(self._shuffled(train_pairs), self._shuffled(validation))

    def adapting(self, context_pairs: Pairs, validation: Pairs | None = None) -> Training[None]:
        """Run stage 2 on permuted contexts."""
        judged = None if validation is None else self._shuffled(validation)
        return super().adapting(self._shuffled(context_pairs), judged)

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Predict with permuted prompts and contexts; flipped pairs get the same permutation."""
        return super().predict_proba(self._shuffled(pairs))

    def _shuffled(self, pairs: Pairs) -> Pairs:
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(self.seed))
        rows = {"prompt": pairs.prompt, "context": pairs.context, "criterion": pairs.criterion}
        return replace(pairs, **{name: None if r is None else r[order] for name, r in rows.items()})


class CriterionFewShot:
    """No stage 1: a classifier of the stated criterion, and one head a criterion fitted on the few labelled pairs."""

    supervision = "context-labelled pairs within the budget"

    def __init__(
        self,
        settings: Settings | Mapping[str, Any] | None = None,
        seed: int = 0,
        penalties: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0),
    ) -> None:
        self.settings = Settings.of(settings)
        self.seed = seed
        self.penalties = penalties
        self.reads = self.settings.router_input
        self.choosing_nll = math.inf  # of the kept penalty on the labels set aside, after `adapt`

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Keep the feature scale; no label is read."""
        self.scaler = Scaler.of_responses(train_pairs, self.settings.standardize)
        return self

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Choose the ridge penalty by a fifth of the labels, see `set_aside`, then fit classifier and heads on all.

        `validation` is not read.
        """
        learning, choosing = set_aside(context_pairs)
        best, self.choosing_nll = 1, math.inf
        if len(choosing):
            self._classify(learning, LogisticRegression(max_iter=2000))
            for place, heads in enumerate(self._fits(learning).weight.unbind(1)):
                self.heads = heads
                nll = metrics.pair_nll(self.predict_proba(choosing)).mean()
                if nll < self.choosing_nll:
                    best, self.choosing_nll = place, nll
        self.heads = self._fits(context_pairs).weight[:, best]
        self._classify(context_pairs, LogisticRegression(max_iter=2000))
        return self

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return sum_a P(a | context) sigmoid(w_a . d), (n,)."""
        p = (self._scaled_difference(pairs) @ self.heads.T).sigmoid().numpy()
        return np.clip((self._shares(pairs) * p).sum(axis=1), 0, 1)

    def _classify(self, context_pairs: Pairs, classifier: LogisticRegression) -> None:
        """Fit the classifier and the scale of what it reads."""
        self._check(context_pairs)
        self.context_scaler = Scaler.fit(self._context(context_pairs), self.settings.standardize)
        self.classifier = None
        if len(self.names) > 1:
            self.classifier = classifier.fit(self._scaled_context(context_pairs), context_pairs.attribute)

    def _fits(self, context_pairs: Pairs) -> Fits:
        """Return the head of each attribute under each penalty."""
        self._check(context_pairs)
        difference = self._scaled_difference(context_pairs)
        rows = [difference[torch.from_numpy(context_pairs.attribute == a)] for a in self.names]
        return fit_bradley_terry(rows, self.penalties)

    def _check(self, context_pairs: Pairs) -> None:
        if not len(context_pairs) or context_pairs.contexts is None:
            raise InputError("the criterion classifier needs context-labelled pairs: raise the budget")
        self.names = np.unique(context_pairs.attribute)

    def _shares(self, pairs: Pairs) -> np.ndarray:
        """Return P(a | context), (n, A)."""
        if self.classifier is None:
            return np.ones((len(pairs), 1))
        return self.classifier.predict_proba(self._scaled_context(pairs))

    def _context(self, pairs: Pairs) -> Tensor:
        """Return what the classifier reads, (n, q)."""
        if self.reads == "context":
            return check_finite(pairs.context_features, "contexts")
        return check_finite(pairs.criterion_features, "criteria")

    def _scaled_context(self, pairs: Pairs) -> np.ndarray:
        return self.context_scaler(self._context(pairs), torch.float64, torch.device("cpu")).numpy()

    def _scaled_difference(self, pairs: Pairs) -> Tensor:
        return (check_finite(pairs.difference, "responses").double() / self.scaler.scale).cpu()
