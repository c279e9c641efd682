"""HyRe (Lee et al. 2024): reweight the heads of an ensemble by their likelihood on a few labelled target pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, softmax
from torch import Tensor

from micro_paper.errors import InputError
from micro_paper.methods.settings import Settings
from micro_paper.methods.shared_base import SharedBaseMLP
from micro_paper.methods.two_stage import PromptOnly
from micro_paper.pairs import Pairs

Floats = NDArray[np.float64]
LOSSES = ("nll", "error")
MANY = 100  # heads of HyRe's and of DRMs' authors
SUPERVISION = "labelled pairs of each attribute within the budget, and the attribute's name at test"


def pair_losses(margins: ArrayLike, loss: str = "nll") -> Floats:
    """Return the loss of every head on every pair, (n, K).

    Args:
        margins: D_k of n labelled pairs, (n, K), in nats.
        loss: "nll", -log sigmoid(D_k) in nats; or "error", 1 where the head decides against the label, 1/2 for a tie
            (HyRe allows losses without a gradient, and the MiCRo paper's table 1 calls its weights accuracy-driven).
    """
    values = np.asarray(margins, dtype=np.float64)
    if loss not in LOSSES:
        raise InputError(f"loss must be one of {', '.join(LOSSES)}, got {loss!r}")
    return -log_expit(values) if loss == "nll" else (values < 0) + 0.5 * (values == 0)


def hyre_weights(losses: ArrayLike, temperature: float = 1.0) -> Floats:
    """Return w_k = exp(-L_k / T) / sum_j exp(-L_j / T), (K,), with L_k the *sum* of head k's losses.

    With the sum, negative log-likelihoods and T = 1 it is Bayes' rule over the heads from a uniform prior: twice the
    pairs, twice the log-odds. With the mean in place of the sum a few pairs would hardly move the weights.

    Args:
        losses: (n, K), n >= 1 labelled pairs.
        temperature: T > 0; T = n gives the weights of mean losses.
    """
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"losses must be (n, K) with n >= 1 labelled pairs, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError("losses hold a non-finite value: check the margins")
    if not temperature > 0:
        raise InputError(f"temperature must be > 0, got {temperature}")
    return softmax(-values.sum(axis=0) / temperature)


def ensemble_probability(margins: ArrayLike, weights: ArrayLike) -> Floats:
    """Return sum_k w_k sigmoid(D_k), (n,), in [0, 1], of margins (n, K) and weights (K,); exact ties give 1/2."""
    values = np.asarray(margins, dtype=np.float64)
    p = np.clip(expit(values) @ np.asarray(weights, dtype=np.float64), 0, 1)
    return np.where((values == 0).all(axis=1), 0.5, p)


class Reweighted:
    """Mixed into a method with heads: one weight vector an attribute, from that attribute's labelled pairs.

    The context's text is not read; instead the attribute's name must be known at test. Before `adapt` the weights are
    those of the method itself.
    """

    supervision = f"binary labels; {SUPERVISION}"
    temperature = 1.0
    loss = "nll"

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Fit heads and weights as the method itself does, and forget the labelled pairs of before."""
        super().fit(train_pairs, validation)
        self.reweighted = False
        return self

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Weigh the heads by their losses on each attribute's pairs; the heads stay as they are."""
        if not len(context_pairs):
            raise InputError("reweighting needs at least one labelled pair an attribute: raise the budget")
        losses = pair_losses(self.head_margins(context_pairs), self.loss)
        self.names = np.unique(context_pairs.attribute)
        of_attribute = [self.weigh(losses[context_pairs.attribute == name]) for name in self.names]
        self.attribute_weights = torch.from_numpy(np.stack(of_attribute))
        self.reweighted = True
        return self

    def weigh(self, losses: Floats) -> Floats:
        """Return the weights of the heads, (K,), by their losses on an attribute's labelled pairs, (n, K)."""
        return hyre_weights(losses, self.temperature)

    def _log_weights(self, scaled: Pairs) -> Tensor:
        if not self.reweighted:
            return super()._log_weights(scaled)
        unknown = set(scaled.attribute) - set(self.names)
        if unknown:
            raise InputError(
                f"there were no labelled pairs of attribute {str(sorted(unknown)[0])!r}: it has no weights"
            )
        rows = self.attribute_weights[torch.from_numpy(np.searchsorted(self.names, scaled.attribute))]
        return rows.to(scaled.responses).log()


class HyRe(Reweighted, SharedBaseMLP):
    """HyRe on the shared-base ensemble with curved priors: with linear ones there is little left to reweight."""

    reweighted = False


class HyRe100(HyRe):
    """HyRe with as many heads as its authors train, in place of the K of the other rows."""

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.settings = replace(self.settings, heads=MANY)


class SharedBaseBest(HyRe):
    """The best head of the shared-base ensemble for each attribute, as the paper reports it.

    The paper chooses the head on test pairs; here the attribute's labelled pairs choose it, by their summed loss.
    """

    def weigh(self, losses: Floats) -> Floats:
        """Return 1 for the head of smallest loss and 0 for the others, (K,)."""
        return np.eye(losses.shape[1])[losses.sum(axis=0).argmin()]


class MicroHyRe(Reweighted, PromptOnly):
    """HyRe's weights on MiCRo's stage-1 heads, in place of the router."""
