"""Choices made on validation pairs, with a log of every trial, and the same search for the baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self

import numpy as np

from micro_paper import metrics
from micro_paper.baselines.static import Single, StaticLearned
from micro_paper.errors import InputError, suggest
from micro_paper.pairs import Pairs
from micro_paper.settings import Settings
from micro_paper.two_stage import HeadsMethod

TRIALS = 16  # scored settings a fit, of `micro_plus` and of every tuned baseline
GRID = {
    "learning_rate": (0.25, 0.5, 1.0, 2.0, 4.0),  # times the setting
    "weight_decay": (0.01, 0.1, 1.0),
    "epochs": (1, 2, 5, 10),
    "alpha": (0.0, 0.05, 0.5),
}
TUNED = {"single": Single, "static_learned": StaticLearned}


@dataclass(frozen=True)
class Choice:
    """One thing that validation pairs choose.

    Attributes:
        name: of the choice.
        options: what may be chosen; the first is the paper's, and holds where nothing is chosen.
        meaning: one phrase for tables.
        start: position of the option from which the search starts.
    """

    name: str
    options: tuple[Any, ...]
    meaning: str = ""
    start: int = 0

    def __post_init__(self) -> None:
        if not self.options:
            raise InputError(f"choice {self.name!r} has no option: give at least one")
        if len(set(self.options)) != len(self.options):
            raise InputError(f"choice {self.name!r} has an option twice: {self.options}")
        if not 0 <= self.start < len(self.options):
            raise InputError(
                f"start of choice {self.name!r} must lie in 0 .. {len(self.options) - 1}, got {self.start}"
            )


@dataclass(frozen=True)
class Trial:
    """One scored option: its validation NLL (nats a pair) with all other choices as they stood then."""

    name: str
    option: Any
    nll: float
    chosen: bool = False


def choose(
    choices: Sequence[Choice], score: Callable[[dict[str, Any]], float]
) -> tuple[dict[str, Any], tuple[Trial, ...]]:
    """Return an option of each choice and the log of all trials: one choice after the other, each kept at its best.

    A choice with n options costs n - 1 trials more, since what stands already is scored; at a tie what stands stays.

    Args:
        choices: in the order in which they are made.
        score: {name: option} -> validation NLL.

    Raises:
        InputError: a name occurs twice, or a score is not finite.
    """
    if len({c.name for c in choices}) != len(choices):
        raise InputError(f"a choice is named twice: {', '.join(c.name for c in choices)}")
    standing = {c.name: c.options[c.start] for c in choices}

    def scored(options: dict[str, Any]) -> float:
        value = float(score(options))
        if not math.isfinite(value):
            raise InputError(f"the validation NLL of {options} is {value}: check the validation pairs")
        return value

    best = scored(standing)
    log: list[Trial] = []
    for choice in choices:
        losses = [
            best if i == choice.start else scored(standing | {choice.name: option})
            for i, option in enumerate(choice.options)
        ]
        kept = choice.start if min(losses) >= best else int(np.argmin(losses))
        log += [
            Trial(choice.name, option, loss, i == kept)
            for i, (option, loss) in enumerate(zip(choice.options, losses, strict=True))
        ]
        standing[choice.name], best = choice.options[kept], losses[kept]
    return standing, tuple(log)


def count_trials(choices: Sequence[Choice]) -> int:
    """Return the number of scores that `choose` computes."""
    return 1 + sum(len(c.options) - 1 for c in choices)


class Tuned:
    """A factory of a baseline whose settings are the best on validation NLL of as many trials as `micro_plus` has.

    The first trial is the settings as given; the others are drawn without replacement from GRID, the same for every
    seed and data set. Usable as an entry of `methods.METHODS`.
    """

    def __init__(self, base: str, trials: int = TRIALS) -> None:
        if base not in TUNED:
            raise InputError(f"unknown baseline {base!r}.{suggest(base, TUNED)} Known: {', '.join(TUNED)}")
        self.base, self.trials = base, trials

    def __call__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> TunedMethod:
        """Return a new, unfitted method."""
        return TunedMethod(self.base, Settings.of(settings), seed, self.trials)


class TunedMethod:
    """See `Tuned`; after `fit`, `best` is the method with the chosen settings and `log` every trial."""

    def __init__(self, base: str, settings: Settings, seed: int, trials: int) -> None:
        self.base, self.settings, self.seed = base, settings, seed
        self.options = candidates(base, settings, trials)
        self.supervision = f"{TUNED[base].supervision}; those of validation choose its settings"
        self.log: tuple[Trial, ...] = ()
        self.best: HeadsMethod

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Fit every candidate and keep the one with the smallest validation NLL; without validation, the first."""
        fits: dict[Settings, HeadsMethod] = {}

        def score(options: dict[str, Settings]) -> float:
            own = options["settings"]
            fits[own] = TUNED[self.base](own, self.seed).fit(train_pairs, validation)
            return metrics.nll(fits[own].predict_proba(validation)) if len(validation) else 0.0

        options = self.options if len(validation) else self.options[:1]
        chosen, self.log = choose([Choice("settings", options)], score)
        self.best = fits[chosen["settings"]]
        return self

    def adapt(self, context_pairs: Pairs) -> Self:
        """Do nothing: the weights do not read the context."""
        return self

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred), (n,), of the chosen settings."""
        return self.best.predict_proba(pairs)


def candidates(base: str, settings: Settings, trials: int) -> tuple[Settings, ...]:
    """Return `trials` different settings, the given ones first; the penalty of Eq. 3 is no setting of `single`."""
    names = [name for name in GRID if not (base == "single" and name == "alpha")]
    drawn = []
    for values in product(*(GRID[name] for name in names)):
        own = dict(zip(names, values, strict=True))
        own["learning_rate"] *= settings.learning_rate
        drawn.append(replace(settings, **own))
    others = [s for s in dict.fromkeys(drawn) if s != settings]
    if not 1 <= trials <= len(others) + 1:
        raise InputError(f"trials must lie in 1 .. {len(others) + 1}, got {trials}")
    order = np.random.default_rng(0).permutation(len(others))
    return (settings, *(others[i] for i in order[: trials - 1]))
