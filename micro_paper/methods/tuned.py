"""Baselines that choose on validation pairs as many times as `micro_plus` does, so that both have the same search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np

from micro_paper import metrics
from micro_paper.methods.controls import CriterionFewShot
from micro_paper.methods.search import Trial, search, searching
from micro_paper.methods.settings import Settings
from micro_paper.methods.together import Together, adapting, fitting
from micro_paper.pairs import Pairs
from micro_paper.stacked import Training, gather

STEP_FACTORS = (1.0, 0.125, 0.25, 0.5, 2.0, 4.0)  # of the settings' learning rate
WEIGHT_DECAYS = (0.1, 1.0, 10.0)
EPOCHS = (5, 10, 20)  # at least; validation pairs keep one of them
TUNED_TRIALS = len(STEP_FACTORS) + len(WEIGHT_DECAYS) + len(EPOCHS) - 1  # as many as micro_plus.TRIALS


class Tuned(Together):
    """A baseline whose step size, weight decay and number of epochs are chosen by the NLL of validation pairs.

    The three are taken one after the other; the setting with the smallest NLL goes on.

    Args:
        baseline: its factory.
        settings, seed: as of the baseline.

    Attributes:
        method: the baseline under the settings that were kept.
        search: one line a trial.
    """

    def __init__(
        self,
        baseline: Callable[[Settings, int], Any],
        settings: Settings | Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.baseline, self.settings, self.seed = baseline, Settings.of(settings), seed
        self.supervision: str = baseline.supervision
        self.search: list[Trial] = []

    def fitting(self, train_pairs: Pairs, validation: Pairs) -> Training[None]:
        """Fit the baseline under every trial and keep the best; without validation pairs, the first."""
        given = replace(self.settings, epochs=max(EPOCHS[0], self.settings.epochs), early_stopping=True)
        trials: dict[Settings, Any] = {}

        def fits(asked: list[Settings]) -> Training[list[Any]]:
            made = [self.baseline(trial, self.seed) for trial in asked]
            yield from gather(fitting(method, train_pairs, validation) for method in made)
            trials.update(zip(asked, made, strict=True))
            return made

        def scores(asked: list[Settings]) -> Training[list[float]]:
            made = yield from fits(asked)
            return [float(metrics.pair_nll(method.predict_proba(validation)).mean()) for method in made]

        choices = {
            "learning_rate": [{"learning_rate": given.learning_rate * factor} for factor in STEP_FACTORS],
            "weight_decay": [
                {"weight_decay": decay}
                for decay in (given.weight_decay, *(d for d in WEIGHT_DECAYS if d != given.weight_decay))
            ],
            "epochs": [{"epochs": n} for n in (given.epochs, *(e for e in EPOCHS if e > given.epochs))],
        }
        kept, self.search = yield from searching(given, choices if len(validation) else {}, scores)
        if kept not in trials:
            yield from fits([kept])
        self.method = trials[kept]

    def adapting(self, context_pairs: Pairs, validation: Pairs | None = None) -> Training[None]:
        """Hand the context-labelled pairs on."""
        return adapting(self.method, context_pairs, validation)

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred), (n,)."""
        return self.method.predict_proba(pairs)


class CriterionFewShotTuned:
    """The few-shot control, which also chooses what its classifier reads and has more penalties to choose from.

    Attributes:
        method: the control under the input that was kept, after `adapt`.
    """

    supervision = CriterionFewShot.supervision
    inputs = ("criterion", "context")
    penalties = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        self.settings, self.seed = Settings.of(settings), seed
        self.search: list[Trial] = []

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Keep the pairs: each trial of `adapt` scales features by the one set and is judged on the other."""
        self._pairs = train_pairs, validation
        return self

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Adapt under each input and keep the one with the smallest validation NLL."""
        judged = self._pairs[1] if validation is None else validation
        trials: dict[Settings, CriterionFewShot] = {}

        def nll(trial: Settings) -> float:
            control = CriterionFewShot(trial, self.seed, self.penalties)
            trials[trial] = control.fit(*self._pairs).adapt(context_pairs, judged)
            return trials[trial].validation_nll

        readable = context_pairs.criteria is not None and judged.criteria is not None
        options = [{"router_input": name} for name in self.inputs] if readable else []
        kept, self.search = search(self.settings, {"router_input": options}, nll)
        if kept not in trials:  # there was nothing to choose
            nll(kept)
        self.method = trials[kept]
        return self

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred), (n,)."""
        return self.method.predict_proba(pairs)
