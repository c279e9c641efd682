"""The shared-base ensemble: K heads on the same features, each with a frozen random prior (Osband et al. 2018)."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from micro_paper.bradley_terry import log_preference
from micro_paper.methods.static import StaticUniform
from micro_paper.methods.two_stage import centre, unit_margins
from micro_paper.mixture import Heads
from micro_paper.pairs import Pairs

# A prior has unit root-mean-square margin before beta, so at 1 it alone moves a pair's log-odds by about one nat: as
# much as a learnt reward does, neither drowned by it nor drowning it.
BETA = 1.0
UNITS = 64
# Standard deviation of a unit's input. At 1 a tanh unit is 93 % linear in its input, and the linear part of a prior is
# undone by w_k; near a step, with random thresholds, about half of it stays.
SPREAD = 4.0


class LinearPrior(nn.Module):
    """p_k(phi) = v_k . phi with frozen standard normal v_k."""

    def __init__(self, count: int, dimension: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("outer", torch.randn(count, dimension, generator=generator, dtype=torch.float64))

    def forward(self, features: Tensor) -> Tensor:
        """Return p_k of features (n, d), (n, K)."""
        return features @ self.outer.T


class TanhPrior(LinearPrior):
    """p_k(phi) = v_k . tanh(SPREAD (B phi + b)), UNITS frozen random units shared by the K heads."""

    def __init__(self, count: int, dimension: int, generator: torch.Generator) -> None:
        super().__init__(count, UNITS, generator)
        normal = {"generator": generator, "dtype": torch.float64}
        self.register_buffer("inner", SPREAD * torch.randn(UNITS, dimension, **normal) / dimension**0.5)
        self.register_buffer("bias", SPREAD * torch.randn(UNITS, **normal))

    def forward(self, features: Tensor) -> Tensor:
        """Return p_k of features (n, d), (n, K)."""
        return super().forward((features @ self.inner.T + self.bias).tanh())


class PriorHeads(Heads):
    """r_k(x, a) = w_k . phi(x, a) + p_k(phi(x, a)): learnt `weight`, frozen `prior` (which holds beta)."""

    def __init__(
        self,
        count: int,
        dimension: int,
        generator: torch.Generator,
        prior: nn.Module,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(count, dimension, generator, dtype)
        self.prior = prior.to(dtype)

    def forward(self, features: Tensor) -> Tensor:
        """Return rewards (n, K) of features (n, d); margins are differences of rewards, as a prior may be curved."""
        return super().forward(features) + self.prior(features)


class SharedBase(StaticUniform):
    """K single rewards, each w_k . phi + beta p_k(phi) with a linear prior, trained on all pairs; uniform weights.

    The loss is the mean over k of the Bradley-Terry losses, so the heads do not see each other. It is convex in w_k and
    the prior is linear, so w_k + beta v_k has the same optimum for every k: the longer the training, the more the
    ensemble is one linear head, and only early stopping and weight decay keep its heads apart. `SharedBaseMLP` has a
    prior that no w_k can undo.
    """

    prior: type[nn.Module] = LinearPrior

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Train every head on all pairs; the validation pairs choose the epoch, nothing else."""
        pairs, held_out = self._prepared(train_pairs, validation)
        self.heads = self._make_heads(pairs)
        self.weights = self._make_weights(pairs)
        with torch.no_grad():
            reward = self.heads.prior(pairs.responses)
            prior = reward[pairs.chosen] - reward[pairs.rejected]
        difference = pairs.difference

        def loss(rows: Tensor) -> Tensor:
            return -log_preference(difference[rows] @ self.heads.weight.T + prior[rows]).mean()

        def validate() -> float:
            return -log_preference(self._margins(held_out)).mean().item()

        self._train(self.heads, loss, len(pairs), validate if len(validation) else None)
        if self.settings.head_scale == "unit":
            with torch.no_grad():
                rms = unit_margins(self._margins(pairs))
                self.heads.weight /= rms
                self.heads.prior.outer /= rms
        return self

    def _make_heads(self, pairs: Pairs) -> Heads:
        count, d = self.settings.heads, pairs.responses.shape[1]
        # Static weights draw nothing, so their source is free; learnt weights start as every other method's heads do.
        prior = self.prior(count, d, self.generator("weights"))
        heads = PriorHeads(count, d, self.generator("heads"), prior, self.settings.torch_dtype)
        centre(heads)
        heads.to(self.settings.torch_device)
        with torch.no_grad():
            reward = heads.prior(pairs.responses)
            heads.prior.outer *= BETA / unit_margins(reward[pairs.chosen] - reward[pairs.rejected])
        return heads


class SharedBaseMLP(SharedBase):
    """The shared-base ensemble with a curved prior: one hidden layer of random tanh units."""

    prior = TanhPrior
