"""Converged references: the convex rows solved exactly, with the penalty of smallest NLL on validation pairs.

They depend on no seed, step size or number of epochs. Heads keep the length that the likelihood gives them, whatever
`settings.head_scale` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Self

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from micro_paper import metrics
from micro_paper.bradley_terry import log_preference
from micro_paper.convex import fit_bradley_terry
from micro_paper.errors import InputError
from micro_paper.methods.controls import CriterionFewShot
from micro_paper.methods.search import set_aside
from micro_paper.methods.settings import ROUTER_INPUTS, Settings
from micro_paper.methods.static import GroupHeads, Single
from micro_paper.methods.two_stage import MixtureMethod
from micro_paper.pairs import Pairs

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
LARGE = PENALTIES[2:]  # fitted first; the others, most of the work, where the smallest of these is the best of them
UNCHOSEN = 1e-2  # where no validation pairs choose
CLASSIFIER_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
UNCHOSEN_CLASSIFIER = 1e-3

Found = tuple[Tensor, float, float]  # heads (K, d), their penalty, the largest gradient norm


def _chosen(differences: Sequence[Tensor], held_out: Sequence[Tensor], towards: Tensor | None = None) -> Found:
    """Fit a head to each of K sets of pairs under the penalty with the smallest NLL of held-out pairs, mean over sets.

    One penalty for all: one each would cost more by chance than it gains. Those below LARGE are tried only where the
    NLL still falls towards them.

    Args:
        differences, held_out: K tensors (n_k, d) and (m_k, d).
        towards: what heads are shrunk to, (d,); then it is a choice itself, of penalty inf. None = 0.
    """
    for penalties in (LARGE, PENALTIES):
        fits = fit_bradley_terry(differences, penalties, towards=towards)
        weight = fits.weight
        if towards is not None:
            weight = torch.cat([weight, towards.to(weight).expand(len(weight), 1, -1)], dim=1)
        pairs = [(d.double(), w) for d, w in zip(held_out, weight, strict=True) if len(d)]
        losses = [-log_preference(d @ w.T).mean(dim=0) for d, w in pairs]
        kept = int(torch.stack(losses).mean(dim=0).argmin()) if losses else penalties.index(UNCHOSEN)
        if kept or not losses:
            break
    return weight[:, kept], (*penalties, math.inf)[kept], fits.gradient_norm.max().item()


class Exact(MixtureMethod):
    """A row whose heads are the minimisers of a convex loss.

    Attributes:
        penalty: as kept, of |w|^2 against the mean over pairs; inf: the heads are what they are shrunk to.
        gradient_norm: the largest of any fit that was compared, in the loss's units.
    """

    penalty: float
    gradient_norm: float

    def _solve(self, train_pairs: Pairs, validation: Pairs, solved: Callable[[Pairs, Pairs], Found]) -> Self:
        """Take over the heads that `solved` gives of both sets scaled; seeds share them with the training pairs."""
        pairs, held_out = self._prepared(train_pairs, validation)
        settings = self.settings
        key = (type(self), settings.standardize, settings.dtype, settings.device)
        sources = [part for p in (train_pairs, validation) for part in (p.responses, p.chosen, p.rejected, p.attribute)]
        found = train_pairs.derived.get(key, tuple(sources), lambda: solved(pairs, held_out))
        weight, self.penalty, self.gradient_norm = found
        self.heads = self._make_heads(pairs)
        with torch.no_grad():
            self.heads.weight.copy_(weight)
        return self


class SingleExact(Exact, Single):
    """One Bradley-Terry reward, converged."""

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Solve for the reward under each penalty and keep one."""
        self._solve(train_pairs, validation, lambda pairs, held: _chosen([pairs.difference], [held.difference]))
        self.weights = self._make_weights(train_pairs)
        return self


class OracleAttributeExact(Exact, GroupHeads):
    """One supervised head an attribute, and at test the head of the pair's own attribute: an upper reference.

    Heads are converged and shrunk to the row `single_exact`, as far as to that row itself, so on validation pairs the
    mean NLL of attributes is no larger than its.
    """

    supervision = "attribute labels, in training and at test (oracle)"

    def groups(self, pairs: Pairs) -> np.ndarray:
        """Return the attribute of each pair, (n,)."""
        return pairs.attribute

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Solve for the reward of all pairs, then for each attribute's own."""
        single = SingleExact(self.settings).fit(train_pairs, validation)
        self.names = np.unique(train_pairs.attribute)
        self.settings = replace(self.settings, heads=len(self.names))
        own, held = self._head_of(train_pairs), self._head_of(validation)

        def solved(pairs: Pairs, held_out: Pairs) -> Found:
            parts = [
                [d[of == k] for k in range(len(self.names))]
                for d, of in ((pairs.difference, own), (held_out.difference, held))
            ]
            return _chosen(*parts, towards=single.head_weights()[0])

        self._solve(train_pairs, validation, solved)
        self.gradient_norm = max(self.gradient_norm, single.gradient_norm)
        return self

    def _head_of(self, pairs: Pairs) -> Tensor:
        unknown = set(pairs.attribute) - set(self.names)
        if unknown:
            raise InputError(f"attribute {sorted(unknown)[0]!r} was not in training: it has no head")
        return torch.from_numpy(np.searchsorted(self.names, pairs.attribute)).to(self.settings.torch_device)

    def _log_weights(self, scaled: Pairs) -> Tensor:
        own = torch.nn.functional.one_hot(self._head_of(scaled), len(self.names))
        return own.to(self.settings.torch_dtype).log()


class CriterionFewShotExact(CriterionFewShot):
    """The few-shot control, converged: what its classifier reads and both penalties are chosen together.

    Attributes:
        penalty, classifier_penalty: as kept, of heads and classifier.
        gradient_norm: the largest of any fit that was compared or kept.
    """

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(settings, seed, PENALTIES)

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Fit every classifier and all heads on four fifths of the labels; the couple that the rest choose learns all.

        `validation` is not read.
        """
        learning, choosing = set_aside(context_pairs)
        self.gradient_norm, self.choosing_nll = 0.0, math.inf
        readable = context_pairs.criteria is not None
        kept = ("criterion" if readable else self.settings.router_input, UNCHOSEN_CLASSIFIER)
        best = PENALTIES.index(UNCHOSEN)
        if len(choosing):
            fits = self._fits(learning)
            self.gradient_norm = fits.gradient_norm.max().item()
            p = (fits.weight @ self._scaled_difference(choosing).T).sigmoid().numpy()  # (A, P, m)
            inputs = ROUTER_INPUTS if readable else (self.settings.router_input,)
            for trial in product(inputs, CLASSIFIER_PENALTIES):
                self._classify_exactly(learning, *trial)
                losses = metrics.pair_nll((self._shares(choosing).T[:, None] * p).sum(axis=0)).mean(axis=1)
                if losses.min() < self.choosing_nll:
                    kept, best, self.choosing_nll = trial, int(losses.argmin()), losses.min()
        fits = self._fits(context_pairs)
        self._classify_exactly(context_pairs, *kept)
        self.gradient_norm = max(self.gradient_norm, fits.gradient_norm.max().item())
        self.heads, self.penalty, self.classifier_penalty = fits.weight[:, best], PENALTIES[best], kept[1]
        return self

    def _classify_exactly(self, pairs: Pairs, reads: str, penalty: float) -> None:
        self.reads = reads
        classifier = LogisticRegression(C=1 / (2 * len(pairs) * penalty), tol=1e-9, max_iter=10_000)
        self._classify(pairs, classifier)
        self.gradient_norm = max(self.gradient_norm, self._classifier_gradient(pairs, penalty))

    def _classifier_gradient(self, pairs: Pairs, penalty: float) -> float:
        """Return the norm of the gradient of mean cross-entropy + penalty |W|^2, which leaves the intercepts free."""
        if self.classifier is None:
            return 0.0
        x, w = self._scaled_context(pairs), self.classifier.coef_
        excess = (self._shares(pairs) - (pairs.attribute[:, None] == self.names))[:, -len(w) :] / len(x)
        return float(np.linalg.norm(np.column_stack([excess.T @ x + 2 * penalty * w, excess.sum(axis=0)])))
