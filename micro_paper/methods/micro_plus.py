"""MiCRo with its open choices made on labels, one after the other (the rows `micro_plus` and `micro_plus_full`)."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from torch import Tensor

from micro_paper import metrics
from micro_paper.errors import InputError, suggest
from micro_paper.methods.search import Option, Trial, searching, set_aside
from micro_paper.methods.settings import TAU_GRID, Settings
from micro_paper.methods.temperature import fit_temperature
from micro_paper.methods.together import Together
from micro_paper.methods.two_stage import TwoStage
from micro_paper.pairs import Pairs
from micro_paper.stacked import Once, Training, finish, gather

# In the order of the search; the first option of each is where it starts.
CHOICES: dict[str, tuple[Option, ...]] = {
    "epochs": ({"steps": 0, "epochs": 5, "early_stopping": True},),  # at least; validation pairs keep one of them
    "router_input": ({"router_input": "criterion"}, {"router_input": "context"}),
    "stage1_context": ({"stage1_context": False}, {"stage1_context": True}),
    "alpha": ({"alpha": 0.05}, {"alpha": 0.5}),
    "router_hidden": ({"router_hidden": 128}, {"router_hidden": 0}),
    "targets": (
        {"objective": "hedge", "tau": 0.1},
        *({"objective": "hedge", "tau": tau} for tau in TAU_GRID if tau != 0.1),
        {"objective": "mixture"},
    ),
    "head_scale": ({"head_scale": "raw"}, {"head_scale": "unit"}),
    "temperature": (),  # one number, fitted at the end
}
OF_STAGE1 = ("alpha", "router_hidden")  # what stage 1 without contexts can decide
OF_STAGE2 = ("router_input", "targets", "temperature")  # what needs no other stage 1
FULL = ("stage1_context",)  # what needs labels beyond the budget
STAGE1_FIELDS = ("steps", "epochs", "early_stopping", "alpha", "router_hidden", "stage1_context")
TRIALS = 1 + sum(len(options) - 1 for options in CHOICES.values() if options)  # settings compared by `adapt`


class Stage1Fits:
    """Stage 1 under several settings, each fitted once on the same pairs."""

    def __init__(self, train_pairs: Pairs, validation: Pairs, seed: int) -> None:
        self.train_pairs, self.validation, self.seed = train_pairs, validation, seed
        self._fitted = Once()

    def get(self, wanted: Sequence[Settings]) -> Training[list[TwoStage]]:
        """Return stage 1 under each of the settings, with raw heads; they are shared, so take copies to adapt them."""
        return gather(self._get(settings) for settings in wanted)

    def _get(self, settings: Settings) -> Training[TwoStage]:
        read = (settings.router_input, settings.context_scaling) if settings.stage1_context else ()

        def fitted() -> Training[TwoStage]:
            method = TwoStage(replace(settings, head_scale="raw", temperature=1.0), self.seed)
            yield from method.fitting(self.train_pairs, self.validation)
            return method

        return self._fitted.get((*(getattr(settings, name) for name in STAGE1_FIELDS), *read), fitted)


class MicroPlus(Together):
    """MiCRo whose open choices are made within its labels: it sees as many contexts as the other rows.

    `fit` chooses alpha and the router's size by the NLL of stage 1 on validation pairs without contexts, which is what
    counts until `adapt` is called. `adapt` starts from the first option of each of `choices` and takes them one after
    the other: the router learns from four fifths of the context-labelled pairs, and the option with the smallest NLL on
    the others is kept (`search.set_aside`). Under the settings that are kept it then learns from all of them. What is
    not among `choices` stays as the settings say.

    Args:
        settings, seed: as of `TwoStage`.
        choices: names of CHOICES; None = all that the row may make.

    Attributes:
        search: one line a trial of the last `adapt`: choice, option, validation_nll (of the pairs that choose), kept.
    """

    supervision = "binary labels; context-labelled pairs within the budget"
    may = tuple(name for name in CHOICES if name not in FULL)

    def __init__(
        self,
        settings: Settings | Mapping[str, Any] | None = None,
        seed: int = 0,
        choices: Sequence[str] | None = None,
    ) -> None:
        choices = self.may if choices is None else choices
        for name in choices:
            if name not in self.may:
                raise InputError(f"unknown choice {name!r}.{suggest(name, self.may)} Known: {', '.join(self.may)}")
        self.given, self.seed, self.choices = Settings.of(settings), seed, tuple(choices)
        self.search: list[Trial] = []
        self._fits: Stage1Fits | None = None
        self._fixed: TwoStage | None = None  # stage 1 of `with_heads`, in place of that of `_fits`
        self._kept: TwoStage | None = None

    def fitting(self, train_pairs: Pairs, validation: Pairs) -> Training[None]:
        """Run stage 1 without contexts, alpha and the router's size chosen by the NLL of the validation pairs."""
        self._fits, self._fixed = Stage1Fits(train_pairs, validation, self.seed), None
        self._kept = yield from self._without_contexts()

    def stage1_key(self) -> Hashable:
        """Return the given settings: fits of stage 1 serve every set of choices, and `MicroPlusFull` too."""
        return MicroPlus, self.given

    def share_stage1(self, fitted: MicroPlus) -> Self:
        """Take over what a method of the same settings fitted, whatever its choices."""
        if self.stage1_key() != fitted.stage1_key():
            raise InputError("micro_plus with other settings has another stage 1: call fit")
        self._fits, self._fixed, self._kept = fitted._fits, fitted._fixed, None
        return self

    def forget_stage2(self) -> Self:
        """Go back to stage 1 without contexts."""
        self._kept = None
        return self

    def with_heads(self, weight: Tensor, groups: Sequence[Sequence[int]]) -> Self:
        """Return a copy with other heads, see `TwoStage.with_heads`; its `adapt` makes the choices of stage 2 alone."""
        new = copy.copy(self)
        new._kept = new._fixed = self.kept.with_heads(weight, groups)
        new.given = replace(new.kept.settings, temperature=1.0)
        new.choices = tuple(name for name in self.choices if name in OF_STAGE2)
        return new

    def adapting(self, context_pairs: Pairs, validation: Pairs | None = None) -> Training[None]:
        """Make every choice on the pairs that are set aside, then learn from all; each call starts anew.

        Args:
            context_pairs: n >= 1 pairs that state a context; where none can be set aside, nothing is chosen.
            validation: not read; see `MicroPlusFull`.

        Raises:
            InputError: no pairs, or pairs without a context.
        """
        learning, choosing = set_aside(context_pairs)
        yield from self._choosing(learning, choosing)
        if len(choosing):
            (kept,) = yield from self._candidates([self._kept.settings])
            yield from kept.adapting(context_pairs)
            self._kept = kept

    def _choosing(self, context_pairs: Pairs, choosing: Pairs) -> Training[None]:
        """Adapt to the context-labelled pairs under all options of each choice in turn; `choosing` pairs keep one."""
        start = self._start(self.choices)
        if context_pairs.criteria is None or choosing.criteria is None:
            start = replace(start, router_input="context")
        trials: dict[Settings, TwoStage] = {}

        def scores(asked: list[Settings]) -> Training[list[float]]:
            made = yield from self._candidates(asked)
            yield from gather(candidate.adapting(context_pairs) for candidate in made)
            trials.update(zip(asked, made, strict=True))
            return [candidate.negative_log_likelihood(choosing) for candidate in made]

        settings, self.search = yield from searching(
            start,
            {name: CHOICES[name] for name in self.choices if len(choosing)},
            scores,
            lambda trial: self._possible(trial, context_pairs, choosing),
        )
        if settings not in trials:  # there was nothing to choose
            yield from scores([settings])
        kept = trials[settings]
        if "temperature" in self.choices and len(choosing):
            temperature = fit_temperature(kept.predict_proba(choosing))
            kept = kept.varied(temperature=temperature)
            self.search.append(
                {"choice": "temperature", "option": f"{temperature:.3g}", "kept": True}
                | {"validation_nll": float(metrics.pair_nll(kept.predict_proba(choosing)).mean())}
            )
        self._kept = kept

    @property
    def kept(self) -> TwoStage:
        """The two-stage method that the search ended with; before `adapt`, stage 1 without contexts.

        Raises:
            InputError: called before `fit`.
        """
        if self._kept is None:
            self._kept = finish(self._without_contexts())
        return self._kept

    @property
    def settings(self) -> Settings:
        """The settings that were kept; before `fit`, the given ones."""
        return self.given if self._fits is None else self.kept.settings

    def head_weights(self) -> Tensor:
        """Return the K heads that predict, (K, d), on scaled features."""
        return self.kept.head_weights()

    def head_margins(self, pairs: Pairs) -> np.ndarray:
        """Return D_k of every pair under every head, (n, K), in nats."""
        return self.kept.head_margins(pairs)

    def mixture_weights(self, pairs: Pairs) -> np.ndarray:
        """Return f_k of every pair, (n, K), rows summing to 1."""
        return self.kept.mixture_weights(pairs)

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred over rejected), (n,)."""
        return self.kept.predict_proba(pairs)

    def _start(self, choices: Sequence[str]) -> Settings:
        """Return the given settings with the first option of those choices that this method has."""
        changes: dict[str, Any] = {}
        for name in choices:
            if name in self.choices and CHOICES[name]:
                changes |= CHOICES[name][0]
        if "epochs" in changes:
            changes["epochs"] = max(changes["epochs"], self.given.epochs)
        return replace(self.given, **changes)

    def _possible(self, settings: Settings, context_pairs: Pairs, choosing: Pairs) -> bool:
        """Whether the pairs of both stages have what the router would read."""
        sets = [context_pairs, choosing]
        sets += (self._pairs.train_pairs, self._pairs.validation) if settings.stage1_context else ()
        table = "criteria" if settings.router_input == "criterion" else "contexts"
        return all(pairs.table(table) is not None for pairs in sets)

    def _candidates(self, wanted: Sequence[Settings]) -> Training[list[TwoStage]]:
        """Return the method under each of the settings, before stage 2; modules are shared, not changed."""
        fits = [self._fixed] * len(wanted) if self._fixed else (yield from self._pairs.get(wanted))
        candidates = [stage1.restarted(settings) for stage1, settings in zip(fits, wanted, strict=True)]
        pairs = self._pairs.train_pairs
        return [one.with_unit_heads(pairs) if one.settings.head_scale == "unit" else one for one in candidates]

    def _without_contexts(self) -> Training[TwoStage]:
        """Return stage 1 without contexts, alpha and the router's size chosen by its NLL of the validation pairs."""
        if self._fixed is not None:
            return self._fixed.restarted(self._fixed.settings)
        validation = self._pairs.validation

        def scores(asked: list[Settings]) -> Training[list[float]]:
            fits = yield from self._pairs.get(asked)
            return [stage1.negative_log_likelihood(validation, stage1=True) for stage1 in fits]

        settings, _ = yield from searching(
            self._start(("epochs", *OF_STAGE1)),
            {name: CHOICES[name] for name in OF_STAGE1 if len(validation) and name in self.choices},
            scores,
        )
        (stage1,) = yield from self._pairs.get([settings])
        return stage1.restarted(stage1.settings)

    @property
    def _pairs(self) -> Stage1Fits:
        if self._fits is None:
            raise InputError("micro_plus needs what fit learns: call fit first")
        return self._fits


class MicroPlusFull(MicroPlus):
    """The same with full supervision: all context-labelled validation pairs choose, and stage 1 may read contexts.

    Choosing `stage1_context` lets stage 1 read the contexts of all training pairs, so that heads may differ before and
    after `adapt`.
    """

    supervision = "binary labels; stated contexts of all training pairs where validation prefers it; validation pairs"
    may = tuple(CHOICES)

    def adapting(self, context_pairs: Pairs, validation: Pairs | None = None) -> Training[None]:
        """Make every choice on the validation pairs of stage 2; each call starts anew.

        Args:
            context_pairs: n >= 1 pairs that state a context; the router learns from all of them.
            validation: pairs that choose; None = the validation pairs of `fit`.

        Raises:
            InputError: no pairs, pairs without a context, or no validation pairs that state one.
        """
        validation = self._pairs.validation if validation is None else validation
        if validation.contexts is None or not len(validation):
            raise InputError("choices are made on validation pairs that state a context; there are none")
        yield from self._choosing(context_pairs, validation)
