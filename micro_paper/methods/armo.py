"""ARMO-style reward (Wang et al. 2024): predicted ratings of each attribute, combined by a gate on the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from micro_paper.bradley_terry import log_preference
from micro_paper.convex import fit_bradley_terry, fit_ridge
from micro_paper.errors import InputError
from micro_paper.methods.two_stage import PromptOnly
from micro_paper.pairs import Pairs
from micro_paper.router import Router
from micro_paper.training import Schedule, train

# The authors' gate and how it is trained; PATIENCE, in epochs, is ours.
LAYERS, UNITS, DROPOUT, TEMPERATURE, PATIENCE = 3, 1024, 0.2, 10.0, 10
SCHEDULE = Schedule(learning_rate=1e-3, batch_size=1024, steps=2000, weight_decay=0.0)
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # a response; features and ratings have unit spread


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
    gate's weights compare. What the original does beyond this is in `ArmoPublished`. After `fit` head k's
    margin is s times the difference in the predicted rating of `names[k]`.
    """

    supervision = "ratings (attribute labels where there are none), of validation too; binary labels"

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Regress the ratings, then train gate and scale; validation pairs choose the penalties and the epoch."""
        pairs, held_out = self._prepared(train_pairs, validation)
        # No seed and no step size enters: all runs on these pairs share the regressions.
        given = train_pairs, validation, pairs.responses, held_out.responses
        found = train_pairs.derived.get((type(self), "regressions"), given, lambda: self._regress(*given))
        self.names, weight, self.penalties = found
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
            return nll(rating[rows], self._gates(pairs, rows))

        def validate() -> float:
            return nll(held_rating, self._log_weights(held_out)).item()

        model = nn.ModuleList([self.weights, log_scale])
        self._train_gate(model, loss, len(pairs), validate if len(validation) else None)
        with torch.no_grad():
            self.heads.weight *= log_scale[0].exp()
        return self._end_stage1(validation)

    def _adjusted(self, names: Sequence[str], weight: Tensor, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the regressions' weights (A, d) as the gate mixes them."""
        return weight

    def _gates(self, pairs: Pairs, rows: Tensor) -> Tensor:
        """Return the gate's log weights in training, (b, A), of those pairs."""
        return self.weights(pairs.prompts[pairs.prompt[rows]])

    def _train_gate(
        self, model: nn.Module, loss: Callable[[Tensor], Tensor], n: int, validate: Callable[[], float] | None
    ) -> None:
        """Minimise the loss over n pairs, by the schedule of the other rows."""
        self._train(model, loss, n, validate)

    def _regress(
        self, train_pairs: Pairs, validation: Pairs, features: Tensor, held_features: Tensor
    ) -> tuple[tuple[str, ...], Tensor, dict[str, float]]:
        """Return the attributes with ratings, their regression weights, (A, d), and penalties."""
        names, table = ratings_of(train_pairs)
        held_names, held_table = ratings_of(validation, names)
        known = [column[~column.isnan()] for column in table.T]
        kept = [i for i, column in enumerate(known) if len(column) > 1 and column.std() > 0]
        if not kept:
            raise InputError("no attribute has two different ratings in training: there is nothing to regress on")
        names = tuple(names[i] for i in kept)
        mean = torch.stack([known[i].mean() for i in kept])
        spread = torch.stack([known[i].std() for i in kept])
        weight, bias = fit_ridge(features.cpu(), (table[:, kept] - mean) / spread, PENALTIES)
        chosen = dict.fromkeys(names, len(PENALTIES) // 2)
        for i, name in enumerate(names):
            if name in held_names:
                held = held_table[:, held_names.index(name)]
                if (rated := ~held.isnan()).any():
                    x, truth = held_features.cpu().double()[rated], (held[rated] - mean[i]) / spread[i]
                    errors = truth - weight[i] @ x.T - bias[i][:, None]
                    chosen[name] = int(errors.square().mean(dim=1).argmin())
        weight = torch.stack([weight[i, chosen[name]] for i, name in enumerate(names)])
        rows = torch.cat([train_pairs.chosen, train_pairs.rejected]).unique().cpu()  # the table holds other splits' too
        lengths = train_pairs.lengths.cpu().double()[rows]
        weight = self._adjusted(names, weight, features.cpu().double()[rows], lengths)
        return names, weight, {name: PENALTIES[place] for name, place in chosen.items()}


class Gate(nn.Module):
    """log g = log softmax(network(u) / TEMPERATURE): LAYERS hidden layers of UNITS rectified units, float32.

    Args:
        dimension: q, of the prompt features u.
        count: A, number of attributes.
        generator: source of the initial weights, uniform in +-1/sqrt(fan in), and of what is dropped.
    """

    def __init__(self, dimension: int, count: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [dimension, *[UNITS] * LAYERS, count]
        self.layers = nn.ModuleList(
            Router(before, after, 0, generator).layers for before, after in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.generator = generator

    def forward(self, features: Tensor, dropping: bool = False) -> Tensor:
        """Return log weights (n, A) of prompt features (n, q), in their dtype.

        Args:
            dropping: leave out a share DROPOUT of the units of each hidden layer, as in training.
        """
        x = features.float()
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if place < LAYERS:
                x = x.relu()
                if dropping:
                    kept = torch.rand(x.shape, generator=self.generator).to(x) >= DROPOUT
                    x = x * kept / (1 - DROPOUT)
        return (x.to(features) / TEMPERATURE).log_softmax(dim=-1)


class ArmoPublished(Armo):
    """ARMO with its authors' gate, steps and subtraction of verbosity.

    The gate has three hidden layers of 1,024 units with dropout .2 and a softmax of temperature 10; it takes up to
    2,000 steps of 1,024 pairs, fewer where validation pairs no longer improve. Each predicted rating but verbosity's
    own loses as much of the predicted length as leaves it uncorrelated with that over the training responses (the
    original: rank correlation over reference texts). Departures: pairs of one prompt in a minibatch share what is
    dropped; numbers of layers and units count for features of any width.
    """

    def _adjusted(self, names: Sequence[str], weight: Tensor, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the weights without what a predicted length explains, where lengths differ."""
        if not lengths.std() > 0:
            return weight
        (length,), _ = fit_ridge(features, ((lengths - lengths.mean()) / lengths.std())[:, None], PENALTIES[2:3])
        predicted = features @ length[0]
        predicted = predicted - predicted.mean()
        explained = (weight @ features.T) @ predicted / predicted.square().sum().clamp_min(1e-12)  # (A,)
        explained[[i for i, name in enumerate(names) if name == "verbosity"]] = 0
        return weight - explained[:, None] * length[0]

    def _make_weights(self, pairs: Pairs) -> Gate:
        gate = Gate(pairs.prompts.shape[1], self.settings.heads, self.generator("weights"))
        return gate.to(self.settings.torch_device)

    def _gates(self, pairs: Pairs, rows: Tensor) -> Tensor:
        prompts, place = pairs.prompt[rows].unique(return_inverse=True)
        return self.weights(pairs.prompts[prompts], dropping=True)[place]

    def _train_gate(
        self, model: nn.Module, loss: Callable[[Tensor], Tensor], n: int, validate: Callable[[], float] | None
    ) -> None:
        """Minimise the loss over n pairs, by the authors' schedule."""
        self.history = train(
            model, loss, n, SCHEDULE, self.generator("order"), validate=validate, patience=PATIENCE if validate else 0
        )
