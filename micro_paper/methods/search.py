"""The one search over settings, choices made one after the other; and the labels within the budget that choose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from micro_paper.methods.settings import Settings
from micro_paper.pairs import Pairs
from micro_paper.stacked import Training

Option = Mapping[str, Any]  # what it changes in the settings
Trial = dict[str, Any]  # choice, option, validation_nll, kept
PARTS = 5  # of the labels within the budget, of which one chooses


def searching(
    start: Settings,
    choices: Mapping[str, Sequence[Option]],
    score: Callable[[list[Settings]], Training[list[float]]],
    possible: Callable[[Settings], bool] = lambda _: True,
) -> Training[tuple[Settings, list[Trial]]]:
    """Take the choices one after the other and keep of each the option with the smallest score.

    Args:
        start: settings to begin from.
        choices: name -> its options; the first of equal scores is kept, and a choice of fewer than two possible options
            is passed over.
        score: negative log-likelihoods of validation pairs in nats under all options of a choice at once; asked once
            for each distinct settings.
        possible: whether the data have what the settings need.

    Returns:
        The kept settings, and one line a trial: choice, option, validation_nll, kept.
    """
    found: dict[Settings, float] = {}
    kept, trials = start, []
    for name, options in choices.items():
        tried = {named(option): replace(kept, **option) for option in options}
        tried = {text: settings for text, settings in tried.items() if possible(settings)}
        if len(tried) < 2:
            continue
        new = [settings for settings in dict.fromkeys(tried.values()) if settings not in found]
        scores = yield from score(new)
        found |= dict(zip(new, scores, strict=True))
        kept = min(tried.values(), key=found.__getitem__)
        trials += [
            {"choice": name, "option": text, "validation_nll": found[settings], "kept": settings == kept}
            for text, settings in tried.items()
        ]
    return kept, trials


def set_aside(context_pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Return four fifths of the context-labelled pairs of each attribute, and the last fifth, which chooses.

    So a choice costs no label beyond the budget. Of two pairs or more at least one is set aside, a single one stays.
    """
    chooses = np.zeros(len(context_pairs), dtype=bool)
    for name in np.unique(context_pairs.attribute):
        rows = np.flatnonzero(context_pairs.attribute == name)
        if len(rows) > 1:
            chooses[rows[-max(1, len(rows) // PARTS) :]] = True
    return context_pairs.select(~chooses), context_pairs.select(chooses)


def named(option: Option) -> str:
    """Return an option as a table shows it, such as "objective = hedge, tau = 0.1"."""
    return ", ".join(f"{name} = {value}" for name, value in option.items())
