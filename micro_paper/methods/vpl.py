"""VPL (Poddar et al. 2024): a latent point per user, inferred from the user's labelled pairs, conditions the reward."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from micro_paper.bradley_terry import log_preference
from micro_paper.errors import InputError
from micro_paper.methods.users import UserMethod
from micro_paper.pairs import Pairs
from micro_paper.router import Router

UNITS = 64
CONTEXT_PAIRS = 16  # of the same user, drawn anew for each training pair
BETA = 0.01  # weight of the KL term; about one over the pairs of a user, of whom each pair counts the term again


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, diag exp log_variance) || N(0, I)), (n,), in nats; both arguments (n, L)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


class PairSetEncoder(nn.Module):
    """q(z | set of labelled pairs): differences phi_w - phi_l, embedded, averaged over the set, mapped to a Gaussian.

    Args:
        dimension: d.
        latent: L, length of z.
        generator: source of the initial weights, uniform in +-1/sqrt(fan in).
    """

    def __init__(
        self, dimension: int, latent: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.embed = nn.Sequential(Router(dimension, UNITS, 0, generator, dtype).layers, nn.ReLU())
        self.latent = latent
        # One output that is not read where z has no entries (K = 1): torch warns of a layer without any.
        self.infer = Router(UNITS, max(1, 2 * latent), UNITS, generator, dtype).layers

    def forward(self, difference: Tensor, member: Tensor, sets: int) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of z for each set, both (sets, L); an empty set gives the prior, zeros.

        Args:
            difference: phi_w - phi_l of labelled pairs, (m, d).
            member: the set that each pair belongs to, (m,) in 0 .. sets - 1.
        """
        if len(member) != len(difference):
            raise InputError(f"member has {len(member)} rows, difference has {len(difference)}: give one a pair")
        count = torch.bincount(member, minlength=sets)[:, None]
        total = difference.new_zeros(sets, UNITS).index_add(0, member, self.embed(difference))
        gaussian = self.infer(total / count.clamp_min(1)) * (count > 0)
        return gaussian[:, : self.latent], gaussian[:, self.latent : 2 * self.latent]


class Vpl(UserMethod):
    """r(phi, z) = (v_0 + sum_l z_l v_l) . phi with z inferred from the user's labelled pairs, trained by the ELBO.

    K heads are v_0 and L = K - 1 directions, so that VPL has as many linear rewards as the other methods; with K = 1
    it is the single reward. In training z is drawn from q(z | 16 other pairs of the same user). At test z is the mean
    of q given the user's training pairs, after `adapt` given the user's pairs there; a user never seen has the mean z
    of those of training.
    Departures: the reward is linear in phi (as all heads here) where the original has a network on [phi, z], and the
    encoder averages embedded differences where the original embeds [phi_w, phi_l] and attends over the set.
    """

    def _make_users(self, pairs: Pairs, user: Tensor) -> nn.Module:
        self._noise = self.generator("weights")
        self._train_set = pairs, user
        d = pairs.responses.shape[1]
        return PairSetEncoder(d, self.settings.heads - 1, self._noise, self.settings.torch_dtype)

    def _trained_table(self) -> Tensor:
        pairs, user = self._train_set
        known = self._coefficients(pairs.difference, user, len(self.names))
        # Not z = 0: a weak KL term lets the users' z lie far from their prior's mean.
        return torch.cat([known, known.mean(dim=0, keepdim=True)])

    def _coefficients(self, difference: Tensor, user: Tensor, users: int) -> Tensor:
        with torch.no_grad():
            mean, _ = self.weights(difference, user, users)
        return torch.nn.functional.pad(mean, (1, 0), value=1.0)  # of v_0

    def _loss(self, pairs: Pairs, user: Tensor):
        draw_others = OthersOfUser(user, self._noise)
        difference = pairs.difference

        def loss(rows: Tensor) -> Tensor:
            others, member = draw_others(rows)
            mean, log_variance = self.weights(difference.index_select(0, others), member, len(rows))
            noise = torch.randn(mean.shape, generator=self._noise, dtype=torch.float64).to(mean)
            z = mean + (0.5 * log_variance).exp() * noise
            margins = self.heads(difference[rows])
            margin = margins[:, 0] + (z * margins[:, 1:]).sum(dim=1)
            return -log_preference(margin).mean() + BETA * kl_to_standard_normal(mean, log_variance).mean()

        return loss

    def _refit(self, scaled: Pairs, margins: Tensor, user: Tensor, start: Tensor) -> Tensor:
        return self._coefficients(scaled.difference, user, len(start))


class OthersOfUser:
    """Draws, for training pairs, other pairs of the same user: never the pair itself, whose label z must not know.

    Args:
        user: 0 .. U - 1 of each of n pairs, (n,).
        generator: source of the draws, on the CPU.
    """

    def __init__(self, user: Tensor, generator: torch.Generator) -> None:
        self.generator = generator
        self.user = user
        self.order = user.argsort(stable=True)
        self.count = torch.bincount(user)
        self.first = self.count.cumsum(0) - self.count
        self.place = torch.empty_like(user)
        self.place[self.order] = torch.arange(len(user), device=user.device) - self.first[user[self.order]]

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return m = at most 16 per row drawn pairs, (m,), and the position in `rows` that each was drawn for, (m,).

        Draws are with replacement; a user with a single pair gets none.
        """
        own = self.user[rows]
        others = (self.count[own] - 1)[:, None]
        uniform = torch.rand(len(rows), CONTEXT_PAIRS, generator=self.generator, dtype=torch.float64).to(rows.device)
        drawn = (uniform * others).long()
        drawn += drawn >= self.place[rows][:, None]  # steps over the pair itself
        some = others[:, 0] > 0
        chosen = self.order[self.first[own][some, None] + drawn[some]]
        member = torch.arange(len(rows), device=rows.device)[some, None].expand_as(chosen)
        return chosen.flatten(), member.flatten()
