"""The paper's method on cached features: stage 1 by mixture likelihood, stage 2 by Hedge targets."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from micro_paper.bradley_terry import log_preference
from micro_paper.errors import InputError
from micro_paper.methods.scaling import Scaler
from micro_paper.methods.settings import TAU_GRID, Settings
from micro_paper.methods.temperature import scale
from micro_paper.mixture import Heads, mixture_nll, stage1_loss
from micro_paper.pairs import Pairs
from micro_paper.router import Router, adapt_router
from micro_paper.training import History, train


class HeadsMethod:
    """A method with K linear heads and mixture weights; subclasses say how both are learnt.

    Attributes:
        supervision: what the method sees beyond the texts; shown in every table.
        heads, weights: modules, after `fit`.
        history: of stage 1.
    """

    supervision = "binary labels"

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.settings = Settings.of(settings)
        self.seed = seed
        self.history = History()
        self.heads: Heads
        self.weights: nn.Module
        self.scalers: dict[str, Scaler] = {}

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Learn heads and weights from binary labels (Eq. 4).

        Args:
            train_pairs: n >= 1 pairs; attribute and context are not read unless `supervision` says so.
            validation: choose the epoch (early stopping), nothing else.
        """
        pairs, held_out = self._prepared(train_pairs, validation)
        self.heads = self._make_heads(pairs)
        self.weights = self._make_weights(pairs)
        model = nn.ModuleList([self.heads, self.weights]).to(self.settings.torch_device)
        alpha = self.settings.alpha

        read, where = self._stage1_input(pairs)

        def loss(rows: Tensor) -> Tensor:
            difference = pairs.responses[pairs.chosen[rows]] - pairs.responses[pairs.rejected[rows]]
            return stage1_loss(self.heads(difference), self.weights(read[where[rows]]), alpha)

        def validate() -> float:
            return mixture_nll(self._margins(held_out), self._read(self.weights, held_out, stage1=True)).item()

        self._train(model, loss, len(pairs), validate if len(validation) else None)
        if self.settings.head_scale == "unit":
            self._scale_heads(pairs)
        return self

    def _scale_heads(self, scaled: Pairs) -> None:
        """Give each head root-mean-square margin 1 on the pairs."""
        with torch.no_grad():
            self.heads.weight /= self._margins(scaled).square().mean(dim=0).sqrt().clamp_min(1e-12)[:, None]

    def _stage1_input(self, scaled: Pairs) -> tuple[Tensor, Tensor]:
        """Return the table that the weights read in stage 1, and each pair's row of it, (n,)."""
        return scaled.prompts, scaled.prompt

    def _read(self, weights: nn.Module, scaled: Pairs, *, stage1: bool) -> Tensor:
        """Return log weights (n, K), each distinct text read once."""
        table, rows = self._stage1_input(scaled)
        return weights(table)[rows]

    def _train(
        self,
        model: nn.Module,
        loss: Callable[[Tensor], Tensor],
        n: int,
        validate: Callable[[], float] | None,
        on_epoch: Callable[[int], None] | None = None,
    ) -> None:
        """Minimise `loss` over the n training pairs by the settings' schedule; `validate` chooses the epoch."""
        self.history = train(
            model,
            loss,
            n,
            self.settings.stage1_schedule(),
            self.generator("order"),
            validate=validate if self.settings.early_stopping else None,
            patience=0 if on_epoch else self.settings.patience,  # alternating steps need not fall one after the other
            on_epoch=on_epoch,
        )

    def adapt(self, context_pairs: Pairs) -> Self:
        """Do nothing: weights that do not read the context cannot adapt to it."""
        return self

    def head_margins(self, pairs: Pairs) -> np.ndarray:
        """Return D_k of every pair under every head, (n, K), in nats."""
        with torch.no_grad():
            return self._margins(self._scaled(pairs)).cpu().numpy()

    def mixture_weights(self, pairs: Pairs) -> np.ndarray:
        """Return f_k of every pair, (n, K), rows summing to 1."""
        with torch.no_grad():
            return self._log_weights(self._scaled(pairs)).exp().cpu().numpy()

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred over rejected), (n,), by the rule `settings.prediction`."""
        with torch.no_grad():
            scaled = self._scaled(pairs)
            weights = self._log_weights(scaled).exp()
            if self.settings.prediction == "log_sigmoid":
                score = log_preference(self.heads(scaled.responses))
                p = (weights * (score[scaled.chosen] - score[scaled.rejected])).sum(dim=-1).sigmoid()
            elif self.settings.prediction == "reward":
                p = (weights * self._margins(scaled)).sum(dim=-1).sigmoid()
            else:
                p = (weights * self._margins(scaled).sigmoid()).sum(dim=-1)  # Eq. 1
            # Weights sum to 1 up to rounding only, so an exact tie of all heads is set, not summed.
            tied = (self._margins(scaled) == 0).all(dim=-1)
            p = p.masked_fill(tied, 0.5).clamp(0, 1).double().cpu().numpy()
        return p if self.settings.temperature == 1 else scale(p, self.settings.temperature)

    def _make_heads(self, pairs: Pairs) -> Heads:
        d = pairs.responses.shape[1]
        heads = Heads(self.settings.heads, d, self.generator("heads"), self.settings.torch_dtype)
        return heads.to(self.settings.torch_device)

    def _make_weights(self, pairs: Pairs) -> nn.Module:
        raise NotImplementedError

    def _log_weights(self, scaled: Pairs) -> Tensor:
        return self._read(self.weights, scaled, stage1=True)

    def _margins(self, scaled: Pairs) -> Tensor:
        reward = self.heads(scaled.responses)
        return reward[scaled.chosen] - reward[scaled.rejected]

    def generator(self, purpose: str) -> torch.Generator:
        """Return a fresh source of random numbers: "heads", "weights" or "order" of the minibatches.

        One source a purpose: heads and order are then the same for every method of a seed, whatever else it draws.
        """
        return torch.Generator().manual_seed(4 * self.seed + ("heads", "weights", "order").index(purpose))

    def _prepared(self, train_pairs: Pairs, validation: Pairs) -> tuple[Pairs, Pairs]:
        """Fit the feature scale and return both sets scaled."""
        if not len(train_pairs):
            raise InputError("there are no training pairs: check the data set's filters and the split")
        self._fit_scalers(train_pairs)
        return self._scaled(train_pairs), self._scaled(validation)

    def _fit_scalers(self, pairs: Pairs) -> None:
        on = self.settings.standardize
        self.scalers = {
            "responses": Scaler.of_rows(pairs.responses, pairs.chosen, pairs.rejected, enabled=on),
            "prompts": Scaler.of_rows(pairs.prompts, pairs.prompt, enabled=on),
        }
        self.scalers["contexts"] = self.scalers["prompts"]

    def _scaled(self, pairs: Pairs) -> Pairs:
        """Return the pairs with scaled features."""
        tables = {}
        for name in ("responses", "prompts", "contexts", "criteria"):
            raw, scaler = getattr(pairs, name), self.scalers.get(name)
            if raw is not None and scaler is not None:
                tables[name] = scaler.whole(raw, name, self.settings.torch_dtype, self.settings.torch_device)
        return pairs.with_tables(**tables).to(self.settings.torch_dtype, self.settings.torch_device)


class TwoStage(HeadsMethod):
    """MiCRo: heads and prompt router by Eq. 4, then the router on context-labelled pairs by Algorithm 1."""

    supervision = "binary labels; context-labelled pairs within the budget"

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.adapted = False
        self.tau = self.settings.tau
        self.stage1_weights: nn.Module
        self.stage2_validation: Pairs | None = None

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Run stage 1; see `HeadsMethod.fit`. The validation pairs also choose tau later, where tau is 0."""
        super().fit(train_pairs, validation)
        self.stage2_validation = validation
        self.stage1_weights = self.weights
        self.forget_stage2()
        return self

    def forget_stage2(self) -> None:
        """Go back to the router of stage 1."""
        self.weights = self.stage1_weights
        self.adapted = False
        self.scalers = dict(self.scalers)

    def adapt(self, context_pairs: Pairs) -> Self:
        """Run stage 2 on pairs that state their context; the heads stay as they are.

        Each call starts again from the stage-1 router, so that several budgets can share one stage 1.

        Raises:
            InputError: no pairs, or pairs without a context.
        """
        if not len(context_pairs):
            raise InputError("stage 2 needs at least one context-labelled pair: raise the budget")
        if context_pairs.contexts is None:
            raise InputError("stage 2 needs pairs that state a context; this data set has none")
        if not self.settings.stage1_context:
            self._fit_context_scaler(context_pairs)
        if self.settings.tau > 0 or self.settings.objective == "mixture":
            self.tau = self.settings.tau or 1.0
        else:
            self.tau = self._choose_tau(context_pairs)
        self.weights = self._adapted_router(context_pairs, self.tau)
        self.adapted = True
        return self

    def _fit_scalers(self, pairs: Pairs) -> None:
        super()._fit_scalers(pairs)
        if self.settings.stage1_context:
            self._fit_context_scaler(pairs)

    def _fit_context_scaler(self, pairs: Pairs) -> None:
        """Fit the scale of what the router reads of a context, where it is not that of prompts."""
        on = self.settings.standardize
        if self.settings.router_input == "criterion":
            table, rows = self._context_input(pairs)
            self.scalers["criteria"] = Scaler.fit(table[rows], on)
        elif self.settings.context_scaling == "own":
            self.scalers["contexts"] = Scaler.fit(pairs.context_features, on)

    def _context_input(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Return the table that the router reads of contexts, and each pair's row of it.

        Raises:
            InputError: the pairs state no context.
        """
        if self.settings.router_input == "criterion":
            table, rows = pairs.criteria, pairs.criterion
        else:
            table, rows = pairs.contexts, pairs.context
        if table is None:
            raise InputError(f"the router reads the {self.settings.router_input}, but these pairs state none")
        return table, rows

    def _stage1_input(self, scaled: Pairs) -> tuple[Tensor, Tensor]:
        return self._context_input(scaled) if self.settings.stage1_context else super()._stage1_input(scaled)

    def _read(self, weights: nn.Module, scaled: Pairs, *, stage1: bool) -> Tensor:
        if stage1:
            return super()._read(weights, scaled, stage1=True)
        table, rows = self._context_input(scaled)
        return weights(table)[rows]

    def _adapted_router(self, context_pairs: Pairs, tau: float) -> nn.Module:
        scaled = self._scaled(context_pairs)
        table, rows = self._context_input(scaled)
        if table.shape[1] != (width := self._stage1_input(scaled)[0].shape[1]):
            raise InputError(
                f"context features have {table.shape[1]} columns, prompt features {width}: one router reads both, so "
                "give them the same columns"
            )
        router = copy.deepcopy(self.stage1_weights)
        with torch.no_grad():
            margins = self._margins(scaled)
            before = self._read(self.stage1_weights, scaled, stage1=True)
        adapt_router(
            router,
            margins,
            table[rows],
            self.settings.stage2(tau),
            torch.Generator().manual_seed(self.seed),
            stage1_log_weights=before,
        )
        return router

    def _validation_nll(self, router: nn.Module) -> float:
        """Return the NLL of the validation pairs of stage 2 with that router, in nats."""
        scaled = self._scaled(self.stage2_validation)
        with torch.no_grad():
            return mixture_nll(self._margins(scaled), self._read(router, scaled, stage1=False)).item()

    def _choose_tau(self, context_pairs: Pairs) -> float:
        validation = self.stage2_validation
        if validation is None or validation.contexts is None or not len(validation):
            raise InputError("tau = 0 is chosen on validation pairs that state a context; there are none")
        losses = {tau: self._validation_nll(self._adapted_router(context_pairs, tau)) for tau in TAU_GRID}
        return min(losses, key=losses.__getitem__)

    def _make_weights(self, pairs: Pairs) -> nn.Module:
        return Router(
            self._stage1_input(pairs)[0].shape[1],
            self.settings.heads,
            self.settings.router_hidden,
            self.generator("weights"),
            self.settings.torch_dtype,
        ).to(self.settings.torch_device)

    def _log_weights(self, scaled: Pairs) -> Tensor:
        return self._read(self.weights, scaled, stage1=not self.adapted)


class PromptOnly(TwoStage):
    """MiCRo's stage 1 alone: weights from the prompt, no context."""

    supervision = "binary labels"
    stage1_of = TwoStage

    def adapt(self, context_pairs: Pairs) -> Self:
        """Do nothing: this row shows what stage 1 reaches without contexts."""
        return self
