"""ARMO-style reward (Wang et al. 2024): predicted ratings of each attribute, combined by a gate on the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from micro_paper.bradley_terry import log_preference
from micro_paper.convex import fit_bradley_terry
from micro_paper.errors import InputError
from micro_paper.methods.two_stage import PromptOnly
from micro_paper.pairs import Pairs

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # a response; features and ratings have unit spread


def ridge(features: Tensor, ratings: Tensor, penalties: Sequence[float]) -> dict[float, tuple[Tensor, Tensor]]:
    """Return, for each penalty, w (d,) and b () that minimise sum_i (y_i - w . x_i - b)^2 + penalty n |w|^2 (float64).

    Args:
        features: x, (n, d).
        ratings: y, (n,).
        penalties: each > 0, per response, so that it means the same for any n (scikit-learn's alpha = penalty n).
    """
    x, y = features.to(torch.float64), ratings.to(torch.float64)
    if not len(x):
        raise InputError("ridge regression needs at least one rated response")
    if not min(penalties) > 0:
        raise InputError(f"penalty must be > 0, got {min(penalties)}")
    mean_x, mean_y = x.mean(dim=0), y.mean()
    x = x - mean_x
    gram, moment = x.T @ x, x.T @ (y - mean_y)
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    fits = {}
    for penalty in penalties:
        factor = torch.linalg.cholesky(gram + penalty * len(x) * identity)
        w = torch.cholesky_solve(moment[:, None], factor)[:, 0]
        fits[penalty] = w, mean_y - mean_x @ w
    return fits


def ratings_of(pairs: Pairs, names: Sequence[str] | None = None) -> tuple[tuple[str, ...], Tensor]:
    """Return attributes and the ratings of the responses that `pairs` compare, (m, A), NaN where unknown.

    Responses of the feature table that no pair of `pairs` uses count as unknown. Without given ratings a response is
    rated +1 for each pair of an attribute that it wins and -1 for each that it loses, averaged.

    Args:
        names: attributes to look for, where the pairs' labels serve; None = those of the pairs.

    Raises:
        InputError: an infinite rating.
    """
    m = len(pairs.responses)
    used = torch.zeros(m, dtype=torch.bool)
    chosen, rejected = pairs.chosen.cpu(), pairs.rejected.cpu()
    used[chosen] = used[rejected] = True
    if pairs.ratings is None:
        names = tuple(np.unique(pairs.attribute).tolist()) if names is None else tuple(names)
        table = torch.full((m, len(names)), torch.nan, dtype=torch.float64)
        for column, name in enumerate(names):
            rows = torch.from_numpy(pairs.attribute == name)
            wins = chosen[rows].bincount(minlength=m).double()
            losses = rejected[rows].bincount(minlength=m).double()
            table[:, column] = (wins - losses) / (wins + losses)  # 0 / 0 is NaN: not compared
        return names, table
    if torch.isinf(pairs.ratings).any():
        raise InputError("ratings hold an infinite value: use NaN where a rating is unknown")
    return pairs.rating_names, pairs.ratings.to("cpu", torch.float64).masked_fill(~used[:, None], torch.nan)


class Armo(PromptOnly):
    """P = sigmoid(s sum_a g_a(x) (rhat_a(a_w) - rhat_a(a_l))), s > 0 learnt.

    rhat_a is a ridge regression of attribute a's ratings on the response features, with the penalty of smallest squared
    error on validation ratings. The gate g is MiCRo's router on the prompt alone, with as many outputs as attributes,
    trained with s by Bradley-Terry on all pairs. Ratings are standardised over the training responses so that the
    gate's weights compare. The original's subtraction of correlation with length is left out. After `fit` head k's
    margin is s times the difference in the predicted rating of `names[k]`.
    """

    supervision = "ratings (attribute labels where there are none), of validation too; binary labels"

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Regress the ratings, then train gate and scale; validation pairs choose the penalties and the epoch."""
        pairs, held_out = self._prepared(train_pairs, validation)
        self.names, weight = self._regress(train_pairs, validation, pairs.responses, held_out.responses)
        self.settings = replace(self.settings, heads=len(self.names), prediction="reward")
        self.heads = self._make_heads(pairs)
        self.heads.requires_grad_(False)
        self.heads.weight.copy_(weight)
        self.weights = self._make_weights(pairs)
        self.stage2 = None
        rating, held_rating = self._margins(pairs), self._margins(held_out)
        # The best scale under equal gates, so that the few steps of training need not first find its size.
        start = fit_bradley_terry([rating.mean(dim=1, keepdim=True)], [1e-6]).weight[0, 0].to(rating).clamp(0.1, 10.0)
        log_scale = nn.ParameterList([nn.Parameter(start.log())])

        def nll(margins: Tensor, gates: Tensor) -> Tensor:
            return -log_preference(log_scale[0].exp() * (gates.exp() * margins).sum(dim=-1)).mean()

        def loss(rows: Tensor) -> Tensor:
            return nll(rating[rows], self.weights(pairs.prompts[pairs.prompt[rows]]))

        def validate() -> float:
            return nll(held_rating, self._log_weights(held_out)).item()

        model = nn.ModuleList([self.weights, log_scale])
        self._train(model, loss, len(pairs), validate if len(validation) else None)
        with torch.no_grad():
            self.heads.weight *= log_scale[0].exp()
        return self._end_stage1(validation)

    def _regress(
        self, train_pairs: Pairs, validation: Pairs, features: Tensor, held_features: Tensor
    ) -> tuple[tuple[str, ...], Tensor]:
        """Return the attributes with ratings and their regression weights, (A, d)."""
        names, table = ratings_of(train_pairs)
        held_names, held_table = ratings_of(validation, names)
        features, held_features = features.cpu().double(), held_features.cpu().double()
        kept, weights, self.penalties = [], [], {}
        for column, name in enumerate(names):
            rated = ~table[:, column].isnan()
            if rated.sum() < 2 or (spread := table[rated, column].std()) == 0:
                continue
            target = (table[rated, column] - table[rated, column].mean()) / spread
            fits = ridge(features[rated], target, PENALTIES)
            penalty = PENALTIES[len(PENALTIES) // 2]
            if name in held_names:
                held = held_table[:, held_names.index(name)]
                held_rated = ~held.isnan()
                truth = (held[held_rated] - table[rated, column].mean()) / spread
                if held_rated.any():
                    x = held_features[held_rated]
                    errors = {p: (truth - x @ w - b).square().mean().item() for p, (w, b) in fits.items()}
                    penalty = min(errors, key=errors.__getitem__)
            kept.append(name)
            self.penalties[name] = penalty
            weights.append(fits[penalty][0])
        if not kept:
            raise InputError("no attribute has two different ratings in training: there is nothing to regress on")
        return tuple(kept), torch.stack(weights)
