"""The paper's method on cached features: stage 1 by mixture likelihood, stage 2 by Hedge targets."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from micro_paper.bradley_terry import log_preference
from micro_paper.errors import InputError
from micro_paper.methods.scaling import Scaler
from micro_paper.methods.settings import TAU_GRID, Settings
from micro_paper.methods.temperature import scale
from micro_paper.methods.together import Together
from micro_paper.mixture import Heads, mixture_nll
from micro_paper.pairs import Pairs
from micro_paper.router import Router, Stage2, hedge_targets
from micro_paper.stacked import Job, Training
from micro_paper.training import History, train


class GroupedWeights(nn.Module):
    """Weights over groups of heads: the sum of the members' weights, renormalised over the groups.

    A head that is in no group has weight 0; one group a remaining head masks the others.
    """

    def __init__(self, inner: nn.Module, groups: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.inner = inner
        self.groups = [list(group) for group in groups]

    def forward(self, features: Tensor) -> Tensor:
        """Return log weights (n, G) of prompt features (n, q)."""
        log_weights = self.inner(features)
        sums = [log_weights[:, group].logsumexp(dim=-1) for group in self.groups]
        return torch.stack(sums, dim=-1).log_softmax(dim=-1)


def predicted(chosen: Tensor, rejected: Tensor, log_weights: Tensor, settings: Settings) -> np.ndarray:
    """Return P(chosen preferred over rejected), (n,), by the rule `settings.prediction` and at its temperature.

    Args:
        chosen, rejected: rewards of each head, (n, K).
        log_weights: (n, K), or (K,) for all pairs.
    """
    margins, weights = chosen - rejected, log_weights.exp()
    if settings.prediction == "log_sigmoid":
        p = (weights * (log_preference(chosen) - log_preference(rejected))).sum(dim=-1).sigmoid()
    elif settings.prediction == "reward":
        p = (weights * margins).sum(dim=-1).sigmoid()
    else:
        p = (weights * margins.sigmoid()).sum(dim=-1)  # Eq. 1
    # Weights sum to 1 up to rounding only, so an exact tie of all heads is set, not summed.
    p = p.masked_fill((margins == 0).all(dim=-1), 0.5).clamp(0, 1).double().cpu().numpy()
    return p if settings.temperature == 1 else scale(p, settings.temperature)


def unit_margins(margins: Tensor) -> Tensor:
    """Return the root-mean-square margin of each head as a divisor, (K, 1), of margins (n, K)."""
    return margins.square().mean(dim=0).sqrt().clamp_min(1e-12)[:, None]


def centre(heads: Heads) -> None:
    """Take the heads' mean off each, so that whatever their number the mean reward starts at 0.

    Few steps never erase the start of a reward. K random ones average out, a single one would keep it.
    """
    with torch.no_grad():
        heads.weight -= heads.weight.mean(dim=0)


class MixtureMethod(Together):
    """A method with K linear heads and mixture weights; subclasses say how both are learnt.

    Attributes:
        supervision: what the method sees beyond the texts; shown in every table.
        settings, seed: as given.
        heads, weights: modules, after `fit`.
        scalers: of the feature tables, after `fit`.
        history: of stage 1.
        search: one line a trial, of a method that chooses its settings; this one does not.
    """

    supervision = "binary labels"
    search: Sequence[Mapping[str, Any]] = ()

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.settings = Settings.of(settings)
        self.seed = seed
        self.history = History()
        self.heads: Heads
        self.weights: nn.Module
        self.scalers: dict[str, Scaler] = {}

    def fitting(self, train_pairs: Pairs, validation: Pairs) -> Training[None]:
        """Learn heads and weights from binary labels (Eq. 4).

        Args:
            train_pairs: n >= 1 pairs; attribute and context are not read unless `supervision` says so.
            validation: choose the epoch (early stopping), nothing else.
        """
        pairs, held_out = self._prepared(train_pairs, validation)
        self.heads = self._make_heads(pairs)
        self.weights = self._make_weights(pairs)

        def validate() -> float:
            return mixture_nll(self._margins(held_out), self._read(self.weights, held_out, stage1=True)).item()

        job = Job(
            self.weights,
            self._stage1_input(pairs),
            self.settings.stage1_schedule(),
            self.generator("order"),
            heads=self.heads,
            pairs=(pairs.responses, pairs.chosen, pairs.rejected),
            alpha=self.settings.alpha,
            validate=validate if len(validation) and self.settings.stops_early else None,
            patience=self.settings.patience,
        )
        (self.history,) = yield [job]
        if self.settings.head_scale == "unit":
            self.scale_heads(pairs)
        self._end_stage1(validation)

    def _end_stage1(self, validation: Pairs) -> Self:
        """Keep what the method needs of stage 1 later."""
        return self

    def stage1_start(self, train_pairs: Pairs) -> tuple[Heads, nn.Module, Tensor, Tensor, torch.Generator]:
        """Return what stage 1 begins with, after `fit` (whose scaling of features it needs).

        Returns:
            Heads and weights as they were before training, the pairs' difference features, (n, d), and what their
            weights read, (n, q), both scaled, and the source of the minibatch order.
        """
        scaled = self._scaled(train_pairs)
        read, where = self._stage1_input(scaled)
        difference = scaled.responses[scaled.chosen] - scaled.responses[scaled.rejected]
        heads, weights = self._make_heads(scaled), self._make_weights(scaled)
        return heads, weights, difference, read[where], self.generator("order")

    def scale_heads(self, scaled: Pairs) -> None:
        """Give each head root-mean-square margin 1 on pairs of scaled features."""
        with torch.no_grad():
            self.heads.weight /= unit_margins(self._margins(scaled))

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
        on_step: Callable[[int], None] | None = None,
    ) -> None:
        """Minimise `loss` over the n training pairs by the settings' schedule; `validate` chooses the epoch.

        `on_step` is called before each step with its number; where it changes the loss, losses need not fall from one
        epoch to the next, so that training then runs to its end.
        """
        steps = count()
        self.history = train(
            model,
            loss,
            n,
            self.settings.stage1_schedule(),
            self.generator("order"),
            validate=validate if self.settings.stops_early else None,
            patience=0 if on_step else self.settings.patience,
            on_batch=(lambda _: on_step(next(steps))) if on_step else None,
        )

    def adapting(self, context_pairs: Pairs, validation: Pairs | None = None) -> Training[None]:
        """Do nothing: weights that do not read the context cannot adapt to it."""
        yield from ()

    def stage1_key(self) -> Hashable | None:
        """Return what `fit` depends on beside data and seed; methods of equal keys may share it, None nobody."""
        return None

    def share_stage1(self, fitted: Self) -> Self:
        """Take over what a method of the same `stage1_key` learnt in `fit`; it is left as it is.

        Raises:
            InputError: the keys differ, or there is none.
        """
        raise InputError(f"{type(self).__name__} shares its stage 1 with no other method: call fit")

    def varied(self, seed: int | None = None, **changes: Any) -> Self:
        """Return a copy under other settings (and another seed of stage 2) with all that was learnt so far."""
        new = copy.copy(self)
        new.settings = replace(self.settings, **changes)
        new.seed = self.seed if seed is None else seed
        return new

    def head_weights(self) -> Tensor:
        """Return the K heads, (K, d), on scaled features."""
        return self.heads.weight.detach()

    def with_heads(self, weight: Tensor, groups: Sequence[Sequence[int]]) -> Self:
        """Return a copy with other heads, whose weights are the summed weights of groups of the present ones.

        Args:
            weight: (G, d), on scaled features.
            groups: heads of which each new one takes the weight; see `GroupedWeights`.
        """
        new = self.varied(heads=len(groups))
        new.heads = copy.deepcopy(self.heads)
        new.heads.weight = nn.Parameter(weight, requires_grad=False)
        new.weights = GroupedWeights(self.weights, groups)
        return new

    def head_margins(self, pairs: Pairs) -> np.ndarray:
        """Return D_k of every pair under every head, (n, K), in nats."""
        with torch.no_grad():
            return self._margins(self._scaled(pairs)).cpu().numpy()

    def mixture_weights(self, pairs: Pairs) -> np.ndarray:
        """Return f_k of every pair, (n, K), rows summing to 1."""
        with torch.no_grad():
            return self._log_weights(self._scaled(pairs)).exp().cpu().numpy()

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred over rejected), (n,); see `predicted`."""
        with torch.no_grad():
            scaled = self._scaled(pairs)
            reward = self.heads(scaled.responses)
            return predicted(reward[scaled.chosen], reward[scaled.rejected], self._log_weights(scaled), self.settings)

    def _make_heads(self, pairs: Pairs) -> Heads:
        d = pairs.responses.shape[1]
        heads = Heads(self.settings.heads, d, self.generator("heads"), self.settings.torch_dtype)
        centre(heads)
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
            "responses": Scaler.of_responses(pairs, on),
            "prompts": Scaler.of_prompts(pairs, on),
        }
        self.scalers["contexts"] = self.scalers["prompts"]

    def _scaled(self, pairs: Pairs) -> Pairs:
        """Return the pairs with scaled features, the same object while pairs and scales are the same."""
        tables = {}
        for name in ("responses", "prompts", "contexts", "criteria"):
            scaler = self.scalers.get(name)
            if pairs.table(name) is not None and scaler is not None:
                tables[name] = scaler.whole(pairs, name, self.settings.torch_dtype, self.settings.torch_device)
        where = self.settings.torch_dtype, self.settings.torch_device
        made = lambda: pairs.with_tables(**tables).to(*where)  # noqa: E731
        return pairs.derived.get(("scaled", *where), (pairs, *tables.values()), made)


class TwoStage(MixtureMethod):
    """MiCRo: heads and prompt router by Eq. 4, then the router on context-labelled pairs by Algorithm 1."""

    supervision = "binary labels; context-labelled pairs within the budget"

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.stage1_weights: nn.Module
        self.stage2: Stage2 | None = None
        self._stage1_scalers: dict[str, Scaler] = {}
        self._validation: Pairs | None = None

    def _end_stage1(self, validation: Pairs) -> Self:
        """Keep what stage 2 starts from."""
        self._validation, self.stage2 = validation, None
        self.stage1_weights, self._stage1_scalers = self.weights, dict(self.scalers)
        return self

    @classmethod
    def restored(
        cls,
        settings: Settings,
        seed: int,
        heads: Heads,
        stage1_weights: nn.Module,
        weights: nn.Module,
        scalers: Mapping[str, Scaler],
        stage2: Stage2 | None,
    ) -> Self:
        """Return the method with what it learnt elsewhere; stage 2 can be run again only where tau is given."""
        method = cls(settings, seed)
        method.heads, method.stage1_weights, method.weights = heads, stage1_weights, weights
        method.scalers, method._stage1_scalers, method.stage2 = dict(scalers), dict(scalers), stage2
        return method

    @property
    def fitted(self) -> bool:
        """Whether stage 1 has run."""
        return bool(self.scalers)

    @property
    def adapted(self) -> bool:
        """Whether stage 2 has run."""
        return self.stage2 is not None

    def stage1_key(self) -> Hashable | None:
        """Return the settings that stage 1 reads: rows that differ in stage 2 alone share it."""
        if type(self) not in (TwoStage, PromptOnly, CriterionRead):
            return None  # a further subclass may fit otherwise
        read = {} if self.settings.stage1_context else {"router_input": "context"}
        return TwoStage, replace(self.settings, **read)

    def share_stage1(self, fitted: Self) -> Self:
        """Take over heads, router and scale of a method of the same `stage1_key`, without its stage 2."""
        if self.stage1_key() is None or self.stage1_key() != fitted.stage1_key():
            raise InputError(f"{type(self).__name__} has another stage 1 than {type(fitted).__name__}: call fit")
        self.heads, self.history = fitted.heads, fitted.history
        self.stage1_weights, self._stage1_scalers = fitted.stage1_weights, fitted._stage1_scalers
        self._validation = fitted._validation
        return self.forget_stage2()

    def forget_stage2(self) -> Self:
        """Go back to the router of stage 1."""
        self.weights, self.stage2 = self.stage1_weights, None
        self.scalers = dict(self._stage1_scalers)
        return self

    def restarted(self, settings: Settings) -> Self:
        """Return a copy with the same stage 1 under other settings, before stage 2."""
        new = copy.copy(self)
        new.settings = settings
        return new.forget_stage2()

    def with_unit_heads(self, pairs: Pairs) -> Self:
        """Return a copy whose heads have root-mean-square margin 1 on the pairs."""
        new = copy.copy(self)
        new.heads = copy.deepcopy(self.heads)
        new.scale_heads(new._scaled(pairs))
        return new

    def with_heads(self, weight: Tensor, groups: Sequence[Sequence[int]]) -> Self:
        """Return a copy with other heads, under the routers of both stages; see `MixtureMethod.with_heads`."""
        new = super().with_heads(weight, groups)
        new.stage1_weights = GroupedWeights(self.stage1_weights, groups)
        new.scalers = dict(self.scalers)
        return new

    def adapting(self, context_pairs: Pairs, validation: Pairs | None = None) -> Training[None]:
        """Run stage 2 on pairs that state their context; the heads stay as they are.

        Each call starts again from the stage-1 router, so that several budgets can share one stage 1.

        Args:
            context_pairs: n >= 1 pairs that state a context.
            validation: choose tau, where the settings leave it open (tau = 0); None = the validation pairs of `fit`.

        Raises:
            InputError: no pairs, or pairs without a context.
        """
        if not len(context_pairs):
            raise InputError("stage 2 needs at least one context-labelled pair: raise the budget")
        if context_pairs.contexts is None:
            raise InputError("stage 2 needs pairs that state a context; this data set has none")
        self.scalers = dict(self.scalers)  # copies of this method keep theirs
        if not self.settings.stage1_context:
            self._fit_context_scaler(context_pairs)
        validation = self._validation if validation is None else validation
        taus: tuple[float | None, ...] = (None,)
        if self.settings.tau == 0 and self.settings.objective == "hedge":
            if validation is None or validation.contexts is None or not len(validation):
                raise InputError("tau = 0 is chosen on validation pairs that state a context; there are none")
            taus = TAU_GRID
        jobs = self._stage2_jobs(context_pairs, [self.settings.stage2(tau) for tau in taus])
        yield jobs
        kept = jobs[0]
        if len(jobs) > 1:
            kept = min(jobs, key=lambda job: self.negative_log_likelihood(validation, job.weights))
        self.weights, self.stage2 = kept.weights, kept.stage2

    def first_targets(self, context_pairs: Pairs, tau: float) -> np.ndarray:
        """Return Eq. 5's targets in the first epoch of stage 2, (n, K), rows summing to 1.

        The prior is the stage-1 router on context features, scaled as prompt features are.
        """
        settings = self.settings
        with torch.no_grad():
            margins = torch.from_numpy(self.head_margins(context_pairs)).double()
            features = context_pairs.context_features
            scaler = self._stage1_scalers["prompts"].seeing(features)
            scaled = scaler(features, settings.torch_dtype, settings.torch_device)
            prior = self.stage1_weights(scaled).exp().double().cpu()
            return hedge_targets(prior, -torch.nn.functional.logsigmoid(margins), tau).numpy()

    def _fit_scalers(self, pairs: Pairs) -> None:
        super()._fit_scalers(pairs)
        if self.settings.stage1_context:
            self._fit_context_scaler(pairs)

    def _fit_context_scaler(self, pairs: Pairs) -> None:
        """Fit the scale of what the router reads of a context."""
        on = self.settings.standardize
        if self.settings.router_input == "criterion":
            table, rows = self._context_input(pairs)
            self.scalers["criteria"] = Scaler.fit(table[rows], on)
        elif self.settings.context_scaling == "own":
            self.scalers["contexts"] = Scaler.fit(pairs.context_features, on)
        else:
            self.scalers["contexts"] = self.scalers["prompts"].seeing(pairs.context_features)

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

    def stage2_input(self, context_pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Return what Algorithm 1 works on: margins of the frozen heads, (n, K), and context features u(x, c), (n, q).

        Raises:
            InputError: the pairs state no context, or one of another width than prompts have.
        """
        scaled = self._scaled(context_pairs)
        table, rows = self._context_input(scaled)
        if table.shape[1] != (width := self._stage1_input(scaled)[0].shape[1]):
            raise InputError(
                f"context features have {table.shape[1]} columns, prompt features {width}: one router reads both, so "
                "give them the same columns"
            )
        with torch.no_grad():
            return self._margins(scaled), table[rows]

    def _stage2_jobs(self, context_pairs: Pairs, trials: Sequence[Stage2]) -> list[Job]:
        """Return the training of a copy of the stage-1 router under each of the settings."""
        margins, _ = self.stage2_input(context_pairs)
        scaled = self._scaled(context_pairs)
        with torch.no_grad():
            before = self._read(self.stage1_weights, scaled, stage1=True)
        return [
            Job(
                copy.deepcopy(self.stage1_weights),
                self._context_input(scaled),
                stage2.schedule,
                torch.Generator().manual_seed(self.seed),
                margins=margins,
                stage2=stage2,
                before=before,
            )
            for stage2 in trials
        ]

    def negative_log_likelihood(self, pairs: Pairs, router: nn.Module | None = None, *, stage1: bool = False) -> float:
        """Return the NLL of the pairs (Eq. 2) under a router of stage 2 (None = the present one), or of stage 1."""
        scaled = self._scaled(pairs)
        router = router or (self.stage1_weights if stage1 else self.weights)
        with torch.no_grad():
            return mixture_nll(self._margins(scaled), self._read(router, scaled, stage1=stage1)).item()

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

    def adapting(self, context_pairs: Pairs, validation: Pairs | None = None) -> Training[None]:
        """Do nothing: this row shows what stage 1 reaches without contexts."""
        yield from ()


class CriterionRead(TwoStage):
    """MiCRo whose router reads the stated criterion by itself in stage 2; nothing else differs."""

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.settings = replace(self.settings, router_input="criterion")


class Converged(TwoStage):
    """MiCRo whose stage 1 runs until validation pairs no longer improve, see `Settings.converged`."""

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.settings = self.settings.converged()
