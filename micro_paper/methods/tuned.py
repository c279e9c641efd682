"""Baselines that choose on validation pairs as many times as `micro_plus` does, so that both have the same search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np

from micro_paper.methods.armo import Armo
from micro_paper.methods.controls import CriterionFewShot
from micro_paper.methods.settings import Settings
from micro_paper.methods.shared_base import SharedBaseMLP
from micro_paper.methods.static import Single, StaticLearned
from micro_paper.pairs import Pairs

STEP_FACTORS = (1.0, 0.125, 0.25, 0.5, 2.0, 4.0)  # of the settings' learning rate
WEIGHT_DECAYS = (0.1, 1.0, 10.0)
EPOCHS = (5, 10, 20)  # at least; validation pairs keep one of them
TUNED_TRIALS = len(STEP_FACTORS) + len(WEIGHT_DECAYS) + len(EPOCHS) - 1  # as many as micro_plus.TRIALS


class Tuned:
    """A baseline whose step size, weight decay and number of epochs are chosen by the NLL of validation pairs.

    The three are taken one after the other; the setting with the smallest NLL goes on.

    Attributes:
        base: class of the baseline.
        method: the one that was kept.
        search: one line a trial: choice, option, validation_nll.
    """

    base: type
    supervision: str

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.settings = Settings.of(settings)
        self.seed = seed
        self.search: list[dict[str, Any]] = []

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Fit the baseline under every trial and keep the best; without validation pairs, the first."""
        given = replace(self.settings, epochs=max(EPOCHS[0], self.settings.epochs), early_stopping=True)
        trials: dict[Settings, tuple[float, Any]] = {}

        def nll(settings: Settings) -> float:
            if settings not in trials:
                method = self.base(settings, self.seed).fit(train_pairs, validation)
                value = 0.0
                if len(validation):
                    value = float(-np.log(np.maximum(method.predict_proba(validation), 1e-300)).mean())
                trials[settings] = (value, method)
            return trials[settings][0]

        kept = given
        for choice, values in (
            ("learning_rate", [given.learning_rate * factor for factor in STEP_FACTORS]),
            ("weight_decay", [given.weight_decay, *(d for d in WEIGHT_DECAYS if d != given.weight_decay)]),
            ("epochs", [given.epochs, *(e for e in EPOCHS if e > given.epochs)]),
        ):
            options = [replace(kept, **{choice: value}) for value in values[: None if len(validation) else 1]]
            kept = min(options, key=nll)
            self.search += [{"choice": choice, "option": getattr(s, choice), "validation_nll": nll(s)} for s in options]
        self.method = trials[kept][1]
        return self

    def adapt(self, context_pairs: Pairs) -> Self:
        """Hand the context-labelled pairs on."""
        self.method.adapt(context_pairs)
        return self

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred), (n,)."""
        return self.method.predict_proba(pairs)


class SingleTuned(Tuned):
    """The single reward."""

    base, supervision = Single, Single.supervision


class StaticLearnedTuned(Tuned):
    """The static mixture with learnt weights."""

    base, supervision = StaticLearned, StaticLearned.supervision


class SharedBaseTuned(Tuned):
    """The shared-base ensemble with non-linear priors."""

    base, supervision = SharedBaseMLP, SharedBaseMLP.supervision


class ArmoTuned(Tuned):
    """The ARMO-style baseline."""

    base, supervision = Armo, Armo.supervision


class CriterionFewShotTuned(CriterionFewShot):
    """The few-shot control, which also chooses what its classifier reads and has more penalties to choose from."""

    inputs = ("criterion", "context")
    penalties = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

    def adapt(self, context_pairs: Pairs) -> Self:
        """Adapt under each input and keep the one with the smallest validation NLL."""
        if context_pairs.criteria is None or self.stage2_validation.criteria is None:
            return super().adapt(context_pairs)
        found = []
        for router_input in self.inputs:
            self.settings = replace(self.settings, router_input=router_input)
            super().adapt(context_pairs)
            found.append((self.validation_nll, dict(self.__dict__)))
        self.__dict__.update(min(found, key=lambda one: one[0])[1])
        return self
