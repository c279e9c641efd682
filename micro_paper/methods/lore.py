"""LoRe (Bose et al. 2025): rewards of low rank, every user a point of the simplex over a shared basis of rewards."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from micro_paper.bradley_terry import log_preference
from micro_paper.errors import InputError
from micro_paper.methods.users import UserMethod
from micro_paper.pairs import Pairs

PRIOR_PAIRS = 1.0


class SimplexWeights(nn.Module):
    """w_u of U users on the simplex, (U, K): they start at softmax of a standard normal and are set, not trained."""

    def __init__(self, users: int, count: int, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        draw = torch.randn(users, count, generator=generator, dtype=torch.float64)
        self.register_buffer("table", draw.softmax(dim=1).to(dtype))

    def forward(self) -> Tensor:
        """Return the weights, (U, K), rows summing to 1."""
        return self.table


class LoRe(UserMethod):
    """K = R linear rewards shared by all users, under weights w_u of each user on the simplex.

    Rewards and users alternate: an epoch of minibatches for the rewards, then the w_u that fit best, exactly. Were both
    trained by gradient, the w_u = softmax(theta_u) would either hardly leave their start or, with longer steps, end on
    corners of the simplex that softmax has no slope to leave.

    A user never seen gets the mean weights. `adapt` learns w_u from the user's few pairs with the basis frozen.
    Departures: minibatches for the basis in place of full batches; no pull of the basis towards a pretrained reward; a
    weak prior on w_u.
    """

    def _make_users(self, pairs: Pairs, user: Tensor) -> nn.Module:
        return SimplexWeights(
            len(self.names), self.settings.heads, self.generator("weights"), self.settings.torch_dtype
        )

    def _settle(self, pairs: Pairs, user: Tensor) -> None:
        with torch.no_grad():
            margins = self._margins(pairs)
        table = self.weights.table
        table.copy_(refit_weights(margins, user, torch.full_like(table, 1 / table.shape[1])))

    def _trained_table(self) -> Tensor:
        weights = self.weights()
        return torch.cat([weights, weights.mean(dim=0, keepdim=True)])

    def _loss(self, pairs: Pairs, user: Tensor):
        def loss(rows: Tensor) -> Tensor:
            margins = self._pair_margins(pairs, rows)
            return -log_preference((self.weights()[user[rows]] * margins).sum(dim=1)).mean()

        return loss

    def _refit(self, scaled: Pairs, margins: Tensor, user: Tensor, start: Tensor) -> Tensor:
        return refit_weights(margins, user, start)


def refit_weights(margins: Tensor, user: Tensor, start: Tensor, prior_pairs: float = PRIOR_PAIRS) -> Tensor:
    """Return the weights w_u on the simplex, (U, K), that fit few labelled pairs of each user.

    w_u minimises sum_i -log sigmoid(w_u . D_i) - prior_pairs sum_k start_uk log w_uk over the user's pairs i. The
    second term is a Dirichlet prior that weighs as much as `prior_pairs` pairs: without it separable pairs would put
    all weight on one reward. The problem is convex in w_u; it is solved for all users at once by L-BFGS in float64.

    Args:
        margins: D_k of labelled pairs, (n, K), in nats.
        user: 0 .. U - 1 of each pair, (n,).
        start: weights before, (U, K), rows on the simplex.
        prior_pairs: > 0.

    Raises:
        InputError: prior_pairs <= 0, a user out of range, or a non-finite margin.
    """
    if not prior_pairs > 0:
        raise InputError(f"prior_pairs must be > 0, got {prior_pairs}")
    if len(user) != len(margins) or (len(user) and not 0 <= int(user.min()) <= int(user.max()) < len(start)):
        raise InputError(f"user must name one of {len(start)} users for each of {len(margins)} pairs")
    if not torch.isfinite(margins).all():
        raise InputError("margins hold a non-finite value: check the features")
    margins, start = margins.detach().double(), start.detach().double()
    # Begins at uniform weights, not at `start`: near a corner of the simplex softmax has no slope to leave it by.
    theta = torch.zeros_like(start, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [theta], max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-13, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        log_weights = theta.log_softmax(dim=1)
        fitted = (log_weights.exp()[user] * margins).sum(dim=1)
        loss = -log_preference(fitted).sum() - prior_pairs * (start * log_weights).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return theta.detach().softmax(dim=1)
