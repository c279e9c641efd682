"""MiCRo with its open choices made on validation pairs, one after the other (the row `micro_plus`)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch

from micro_paper.errors import InputError, suggest
from micro_paper.methods.settings import TAU_GRID, Settings
from micro_paper.methods.temperature import fit_temperature
from micro_paper.methods.two_stage import TwoStage
from micro_paper.mixture import mixture_nll
from micro_paper.pairs import Pairs

Option = dict[str, Any]  # what it changes in the settings

# In the order of the search; the first option of each is where it starts.
CHOICES: dict[str, tuple[Option, ...]] = {
    "epochs": ({"epochs": 5, "early_stopping": True},),  # at least; validation pairs keep one of them
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
STAGE1_FIELDS = ("epochs", "early_stopping", "alpha", "router_hidden", "stage1_context")
OF_SEARCH = ("given", "search", "choices", "_data", "_fits", "_prompt_only", "_frozen")  # attributes beyond TwoStage
TRIALS = 1 + sum(len(options) - 1 for options in CHOICES.values() if options)  # settings compared by `adapt`


class MicroPlus(TwoStage):
    """MiCRo whose open choices are made on validation pairs alone.

    `fit` chooses alpha and the router's size by the NLL of stage 1 without contexts, which is what counts until `adapt`
    is called. `adapt` starts from the first option of each of `choices`, takes them one after the other, and keeps the
    option with the smallest NLL on the validation pairs of stage 2; what is not among `choices` stays as the settings
    say. Choosing `stage1_context` lets stage 1 read the contexts of all training pairs, so that heads may differ
    before and after `adapt`.

    Attributes:
        choices: names of CHOICES.
        search: one line a trial of the last `adapt`: choice, option, validation_nll, kept.
    """

    supervision = "binary labels; stated contexts of all training pairs where validation prefers it; validation pairs"
    choices: Sequence[str] = tuple(CHOICES)

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.given = self.settings
        self.search: list[dict[str, Any]] = []
        self._frozen = False

    @classmethod
    def restricted(cls, choices: Sequence[str]) -> type[MicroPlus]:
        """Return the same method with these choices alone; it shares the stage 1 of `MicroPlus` in an evaluation."""
        for name in choices:
            if name not in CHOICES:
                raise InputError(f"unknown choice {name!r}.{suggest(name, CHOICES)} Known: {', '.join(CHOICES)}")
        return type("MicroPlusRestricted", (cls,), {"choices": tuple(choices), "stage1_of": MicroPlus})

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Run stage 1 without contexts, alpha and the router's size chosen by the NLL of the validation pairs."""
        self._data = (train_pairs, validation)
        self._fits: dict[tuple, TwoStage] = {}
        self._frozen = False
        settings = self._started(("epochs", *OF_STAGE1))
        for name in OF_STAGE1 if len(validation) else ():
            if name in self.choices:
                options = [replace(settings, **option) for option in CHOICES[name]]
                settings = min(options, key=lambda s: _stage1_nll(self._stage1(s), validation))
        self._prompt_only = self._stage1(settings)
        self.stage2_validation = validation
        self.forget_stage2()
        return self

    def forget_stage2(self) -> None:
        """Go back to stage 1 without contexts."""
        validation = self.stage2_validation
        self._take(copy.copy(self._prompt_only))
        self.stage2_validation = validation
        super().forget_stage2()

    def freeze_stage1(self) -> None:
        """Keep heads and stage-1 router as they stand: `adapt` then makes the choices of stage 2 alone."""
        fixed = TwoStage(self.settings, self.seed)
        fixed.__dict__.update({name: value for name, value in self.__dict__.items() if name not in OF_SEARCH})
        self.given = replace(self.settings, temperature=1.0)
        self.choices = tuple(name for name in self.choices if name in OF_STAGE2)
        self._prompt_only, self._frozen = fixed, True

    def adapt(self, context_pairs: Pairs) -> Self:
        """Make every choice on the validation pairs of stage 2; each call starts anew.

        Raises:
            InputError: no pairs, pairs without a context, or no validation pairs that state one.
        """
        validation = self.stage2_validation
        if validation is None or validation.contexts is None or not len(validation):
            raise InputError("choices are made on validation pairs that state a context; there are none")
        settings = self._started(self.choices)
        if context_pairs.criteria is None or validation.criteria is None:
            settings = replace(settings, router_input="context")
        self.search, trials = [], {}

        def nll(trial: Settings) -> float:
            if trial not in trials:
                candidate = self._candidate(trial).adapt(context_pairs)
                trials[trial] = (candidate._validation_nll(candidate.weights), candidate)
            return trials[trial][0]

        for name in self.choices:
            options = {_named(option): replace(settings, **option) for option in CHOICES[name]}
            options = {text: s for text, s in options.items() if self._possible(s, context_pairs)}
            if len(options) < 2:
                continue
            settings = min(options.values(), key=nll)
            self.search += [
                {"choice": name, "option": text, "validation_nll": nll(s), "kept": s == settings}
                for text, s in options.items()
            ]
        nll(settings)
        best = trials[settings][1]
        if "temperature" in self.choices:
            temperature = fit_temperature(best.predict_proba(validation))
            best.settings = replace(settings, temperature=temperature)
            self.search.append(
                {"choice": "temperature", "option": f"{temperature:.3g}", "kept": True}
                | {"validation_nll": float(-np.log(np.maximum(best.predict_proba(validation), 1e-300)).mean())}
            )
        self._take(best)
        return self

    def _started(self, choices: Sequence[str]) -> Settings:
        """Return the given settings with the first option of those choices that this method has."""
        changes: Option = {}
        for name in choices:
            if name in self.choices and CHOICES[name]:
                changes |= CHOICES[name][0]
        if "epochs" in changes:
            changes["epochs"] = max(changes["epochs"], self.given.epochs)
        return replace(self.given, **changes)

    def _possible(self, settings: Settings, context_pairs: Pairs) -> bool:
        """Whether the pairs of both stages have what the router would read."""
        sets = [context_pairs, self.stage2_validation]
        sets += self._data if settings.stage1_context else ()
        tables = ("criteria" if settings.router_input == "criterion" else "contexts" for _ in sets)
        return all(getattr(pairs, table) is not None for pairs, table in zip(sets, tables, strict=True))

    def _stage1(self, settings: Settings) -> TwoStage:
        """Return stage 1 under the settings, fitted once."""
        if self._frozen:
            return self._prompt_only
        read = (settings.router_input, settings.context_scaling) if settings.stage1_context else ()
        key = (*(getattr(settings, name) for name in STAGE1_FIELDS), *read)
        if key not in self._fits:
            fit = TwoStage(replace(settings, head_scale="raw", temperature=1.0), self.seed)
            self._fits[key] = fit.fit(*self._data)
        return self._fits[key]

    def _candidate(self, settings: Settings) -> TwoStage:
        """Return the method under the settings, before stage 2; modules are shared, not changed."""
        candidate = copy.copy(self._stage1(settings))
        candidate.settings = settings
        candidate.forget_stage2()
        candidate.stage2_validation = self.stage2_validation
        if settings.head_scale == "unit":
            candidate.heads = copy.deepcopy(candidate.heads)
            candidate._scale_heads(candidate._scaled(self._data[0]))
        return candidate

    def _take(self, candidate: TwoStage) -> None:
        self.__dict__.update(candidate.__dict__)


MicroPlusBudget = MicroPlus.restricted([name for name in CHOICES if name != "stage1_context"])
MicroPlusBudget.__name__ = MicroPlusBudget.__qualname__ = "MicroPlusBudget"
MicroPlusBudget.supervision = "binary labels; context-labelled pairs within the budget, and of validation"


def _named(option: Option) -> str:
    return ", ".join(f"{name} = {value}" for name, value in option.items())


def _stage1_nll(fitted: TwoStage, validation: Pairs) -> float:
    """Return the NLL of the validation pairs under stage 1, in nats."""
    scaled = fitted._scaled(validation)
    with torch.no_grad():
        return mixture_nll(fitted._margins(scaled), fitted._read(fitted.stage1_weights, scaled, stage1=True)).item()
