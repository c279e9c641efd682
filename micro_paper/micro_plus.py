"""`micro_plus`: the two stages with choices made on validation pairs (paper's setting first in each)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from micro_paper import metrics
from micro_paper.criteria import CriterionRouter, criterion_heads, criterion_weights, sharpened
from micro_paper.errors import InputError
from micro_paper.mixture import Heads
from micro_paper.pairs import Pairs
from micro_paper.router import Router, adapt_router
from micro_paper.search import Choice, Trial, choose
from micro_paper.settings import Settings
from micro_paper.two_stage import Scaler, TwoStage

# In the order in which they are made. Where each search starts was found on validation pairs of two folds of four
# worlds (bundled-rpr, bundled-audience, summeval, summeval-reversals); the paper's option stands first and is tried.
CHOICES = (
    Choice("added", (None, 0.03, 0.3, 3.0), "ridge penalty of an added head a criterion", start=2),
    Choice("share", (0.5, 0.9), "of a criterion's weights that its own added head has at the start", start=1),
    Choice("strength", (1.0, 10.0), "pairs that the start of a criterion's weights counts for", start=1),
    Choice("scale", ("raw", "unit"), "size of the margins of the heads of stage 1", start=1),
    Choice("objective", ("as set", 0.01, 0.1, "mixture"), "tau of the Hedge targets, or the likelihood", start=3),
    Choice("input", ("as set", "own scale", "change"), "what the router reads of a context", start=2),
    Choice("router", ("stage 1's", "linear", "criteria"), "the router on contexts", start=2),
    Choice("stage1", ("as set", "weak"), "penalty of Eq. 3 and epochs in stage 1"),
    Choice("temperature", (False, True), "calibration of the probabilities"),
)
WEAK_ALPHA, WEAK_EPOCHS = 0.05, 5
PARTS = 5  # of the context-labelled pairs, by prompt, for margins of added heads on pairs that they have not seen
TEMPERATURES = np.geomspace(0.25, 4.0, 33)


class MicroPlus(TwoStage):
    """MiCRo with our choices, each made by the NLL of validation pairs with their stated contexts.

    Stage 1 is trained with each of its options; without contexts the one with the smaller NLL of validation pairs
    under its prompt router is used. `adapt` makes all choices anew. The heads of stage 1 stay as they are: `heads`,
    `head_margins` and `mixture_weights` are theirs, and added heads have the rest of the weight. Where the validation
    pairs state no context nothing of stage 2 is chosen: it is then as set.

    Attributes:
        choices: what is searched, in this order.
        chosen: {name: option} after `adapt`.
        log: every trial of the last `adapt`.
    """

    supervision = "binary labels; context-labelled pairs within the budget; those of validation for choices"

    def __init__(
        self,
        settings: Settings | Mapping[str, Any] | None = None,
        seed: int = 0,
        choices: Sequence[Choice] = CHOICES,
    ) -> None:
        super().__init__(settings, seed)
        self.chosen: dict[str, Any] = {}
        self.log: tuple[Trial, ...] = ()
        self._stage1: dict[str, TwoStage] = {}
        self._sizes: dict[str, Tensor] = {}
        self.restrict(choices)

    def restrict(self, choices: Sequence[Choice]) -> Self:
        """Search these choices from now on; names that are missing are at their first option."""
        defaults = {c.name: c.options[0] for c in CHOICES}
        if unknown := [c.name for c in choices if c.name not in defaults]:
            raise InputError(f"unknown choice {unknown[0]!r}: known are {', '.join(defaults)}")
        self.choices, self._defaults = tuple(choices), defaults
        return self

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Run stage 1 with each of its options; validation pairs choose among them, and later those of stage 2."""
        options = next((c.options for c in self.choices if c.name == "stage1"), ("as set",))
        weak = replace(
            self.settings, alpha=WEAK_ALPHA, epochs=max(WEAK_EPOCHS, self.settings.epochs), early_stopping=True
        )
        by_option = {"as set": self.settings, "weak": weak}
        self._stage1 = {o: TwoStage(by_option[o], self.seed).fit(train_pairs, validation) for o in options}
        self._sizes = {}
        for option, stage in self._stage1.items():
            margins = torch.from_numpy(stage.head_margins(train_pairs)).to(stage.heads.weight)
            self._sizes[option] = margins.square().mean(dim=0).sqrt().clamp_min(1e-12)
        self._prompt_choice = options[0]
        if len(validation):
            losses = {o: metrics.nll(m.predict_proba(validation)) for o, m in self._stage1.items()}
            self._prompt_choice = min(losses, key=losses.__getitem__)
        self.stage2_validation = validation
        self._tables, self.scalers = {}, dict(self._stage1[self._prompt_choice].scalers)
        self.forget_stage2()
        return self

    def forget_stage2(self) -> None:
        """Go back to stage 1."""
        self._take_stage1(self._prompt_choice)
        super().forget_stage2()
        self.chosen, self.log = {}, ()

    def _take_stage1(self, option: str) -> None:
        stage = self._stage1[option]
        self.heads, self.stage1_weights, self.history = stage.heads, stage.stage1_weights, stage.history

    def adapt(self, context_pairs: Pairs) -> Self:
        """Run stage 2, with every choice made anew; each call starts again from stage 1.

        Raises:
            InputError: no pairs, pairs without a context, or contexts of another width than prompts.
        """
        if not len(context_pairs):
            raise InputError("stage 2 needs at least one context-labelled pair: raise the budget")
        if context_pairs.contexts is None:
            raise InputError("stage 2 needs pairs that state a context; this data set has none")
        widths = [table.shape[1] for table in (context_pairs.contexts, context_pairs.prompts)]
        if widths[0] != widths[1]:
            raise InputError(
                f"context features have {widths[0]} columns, prompt features {widths[1]}: one router reads both, so "
                "give them the same columns"
            )
        self.forget_stage2()
        budget = _Budget(self, context_pairs)
        validation = self.stage2_validation
        if validation is None or validation.contexts is None or not len(validation):
            self._install(budget, self._defaults | {"stage1": self._prompt_choice})
            return self

        def score(options: dict[str, Any]) -> float:
            return self._install(budget, self._defaults | options, validation)

        chosen, self.log = choose(self.choices, score)
        self._install(budget, self._defaults | chosen, validation)
        return self

    def _install(self, budget: _Budget, options: dict[str, Any], validation: Pairs | None = None) -> float:
        """Take on `options`; return the NLL of the validation pairs, with which the temperature is fitted."""
        self._take_stage1(options["stage1"])
        fitted = budget.fit(options)
        self.chosen, self.tau = options, fitted["tau"]
        self.weights, self.input_scaler, self.all_heads = fitted["router"], fitted["scaler"], fitted["heads"]
        self.temperature, self.adapted = 1.0, True
        if validation is None:
            return np.nan
        p = self.predict_proba(validation)
        if options["temperature"]:
            losses = [metrics.nll(sharpened(p, t)) for t in TEMPERATURES]
            self.temperature = float(TEMPERATURES[int(np.argmin(losses))])
            p = sharpened(p, self.temperature)
        return metrics.nll(p)

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred over rejected), (n,); after `adapt` with added heads and temperature."""
        if not self.adapted:
            return super().predict_proba(pairs)
        every = copy.copy(self)
        every.heads = self.all_heads
        return sharpened(TwoStage.predict_proba(every, pairs), self.temperature)

    def mixture_weights(self, pairs: Pairs) -> np.ndarray:
        """Return f_k of every pair for the heads of stage 1, (n, K); what a row lacks to 1 the added heads have."""
        return super().mixture_weights(pairs)[:, : len(self.heads.weight)]

    def _log_weights(self, scaled: Pairs) -> Tensor:
        if not self.adapted:
            return super()._log_weights(scaled)
        if scaled.contexts is None:
            raise InputError("the router was adapted to contexts, but these pairs state none")
        return self.weights(self._router_input(scaled, self.chosen["input"], self.input_scaler)).to(scaled.responses)

    def _router_input(self, scaled: Pairs, option: str, scaler: Scaler | None = None) -> Tensor:
        """Return what the router reads, (n, q): u(x, c), or u(x, c) - u(x), in which the topic weighs less."""
        features = scaled.contexts[scaled.context]
        if option == "change":
            features = features - scaled.prompts[scaled.prompt]
        return features if scaler is None else scaler(features, features.dtype, features.device)


class _Budget:
    """The context-labelled pairs of one `adapt`, and what several trials share of them."""

    def __init__(self, method: MicroPlus, pairs: Pairs) -> None:
        self.method, self.settings = method, method.settings
        self.scaled = method._scaled(pairs)
        names, group = np.unique(pairs.attribute, return_inverse=True)
        device = self.scaled.responses.device
        self.count, self.group = len(names), torch.from_numpy(group).to(device)
        _, prompt = np.unique(pairs.prompt_id, return_inverse=True)
        part = np.random.default_rng(method.seed).permutation(prompt.max() + 1)[prompt] % PARTS
        self.part = torch.from_numpy(part).to(device)
        self._added: dict[float, tuple[Tensor, Tensor]] = {}
        self._classifier: dict[str, tuple[Tensor, Tensor]] = {}

    def fit(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return router, scaler of its input, all heads and tau of these options."""
        method, settings = self.method, self.settings
        heads = method.heads.weight.detach()
        if options["scale"] == "unit":
            heads = heads / method._sizes[options["stage1"]][:, None]
        reward = nn.functional.linear(self.scaled.responses, heads)
        margins = reward[self.scaled.chosen] - reward[self.scaled.rejected]
        if options["added"] is not None:
            own, unseen = self.added(options["added"])
            heads, margins = torch.cat([heads, own.to(heads)]), torch.cat([margins, unseen.to(margins)], dim=1)
        every = Heads(len(heads), heads.shape[1], torch.Generator(), heads.dtype).to(heads.device)
        every.weight = nn.Parameter(heads, requires_grad=False)
        scaler = None
        if options["input"] != "as set" or settings.context_scaling == "own":
            scaler = Scaler.fit(method._router_input(self.scaled, options["input"]), settings.standardize)
        features = method._router_input(self.scaled, options["input"], scaler)
        objective = options["objective"]
        tau = objective if isinstance(objective, float) else settings.tau or 1.0
        direct = objective == "mixture" or (objective == "as set" and settings.objective == "mixture")
        if options["router"] == "criteria":
            tau = 1.0 if direct else tau
            table = criterion_weights(
                margins.double(), self.group, self.start(len(heads), options["share"]), tau, options["strength"]
            )
            router: nn.Module = CriterionRouter(*self.classifier(options["input"], features), table)
        else:
            router = self.network(options["router"], features.shape[1], len(heads))
            stage2 = replace(settings.stage2(tau), objective="mixture" if direct else "hedge")
            with torch.no_grad():
                before = router(self.scaled.prompts)[self.scaled.prompt]
            order = torch.Generator().manual_seed(method.seed)
            adapt_router(router, margins, features, stage2, order, stage1_log_weights=before)
        return {"router": router, "scaler": scaler, "heads": every, "tau": tau}

    def start(self, heads: int, share: float) -> Tensor:
        """Return the weights that criteria start from, (A, heads): `share` on its own added head, if any; else even."""
        stage1 = len(self.method.heads.weight)
        start = torch.zeros(self.count, heads, dtype=torch.float64, device=self.group.device)
        share = share if heads > stage1 else 0.0
        start[:, :stage1] = (1 - share) / stage1
        if heads > stage1:
            start[:, stage1:] = share * torch.eye(self.count, dtype=start.dtype, device=start.device)
        return start

    def added(self, penalty: float) -> tuple[Tensor, Tensor]:
        """Return a head a criterion, (A, d), and margins of all pairs, (n, A), by heads fitted without their prompt."""
        if penalty not in self._added:
            difference = self.scaled.difference.double()
            unseen = torch.zeros(len(difference), self.count, dtype=difference.dtype, device=difference.device)
            for part in self.part.unique():
                out = self.part == part
                heads = criterion_heads(difference[~out], self.group[~out], self.count, penalty)
                unseen[out] = difference[out] @ heads.T
            self._added[penalty] = criterion_heads(difference, self.group, self.count, penalty), unseen
        return self._added[penalty]

    def classifier(self, option: str, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight (A, q) and bias (A,) of a logistic regression of the criterion."""
        if option not in self._classifier:
            weight, bias = np.zeros((1, features.shape[1])), np.zeros(1)
            if self.count > 1:
                x, group = features.double().cpu().numpy(), self.group.cpu().numpy()
                model = LogisticRegression(max_iter=2000).fit(x, group)
                weight, bias = model.coef_, model.intercept_
                if self.count == 2:  # scikit-learn gives the second class's log odds alone
                    weight, bias = np.vstack([0 * weight, weight]), np.append(0 * bias, bias)
            self._classifier[option] = tuple(torch.from_numpy(v).to(features.device) for v in (weight, bias))
        return self._classifier[option]

    def network(self, kind: str, width: int, heads: int) -> nn.Module:
        """Return the router that stage 2 trains: stage 1's with an output an added head, or an even linear one."""
        settings = self.settings
        if kind == "linear":
            router = Router(width, heads, 0, torch.Generator(), settings.torch_dtype).to(self.group.device)
            with torch.no_grad():
                for parameter in router.parameters():
                    parameter.zero_()
            return router
        router = copy.deepcopy(self.method.stage1_weights)
        if heads > settings.heads:
            last = router.layers[-1]
            wider = nn.Linear(last.in_features, heads, dtype=last.weight.dtype, device=last.weight.device)
            with torch.no_grad():
                wider.weight.zero_()[: settings.heads] = last.weight
                wider.bias.zero_()[: settings.heads] = last.bias
            router.layers[-1] = wider
        return router
