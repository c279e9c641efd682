"""The one search over settings: choices made one after the other on validation pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from micro_paper.methods.settings import Settings

Option = Mapping[str, Any]  # what it changes in the settings
Trial = dict[str, Any]  # choice, option, validation_nll, kept


def search(
    start: Settings,
    choices: Mapping[str, Sequence[Option]],
    score: Callable[[Settings], float],
    possible: Callable[[Settings], bool] = lambda _: True,
) -> tuple[Settings, list[Trial]]:
    """Take the choices one after the other and keep of each the option with the smallest score.

    Args:
        start: settings to begin from.
        choices: name -> its options; the first of equal scores is kept, and a choice of fewer than two possible options
            is passed over.
        score: negative log-likelihood of validation pairs in nats; asked once for each distinct settings.
        possible: whether the data have what the settings need.

    Returns:
        The kept settings, and one line a trial: choice, option, validation_nll, kept.
    """
    found: dict[Settings, float] = {}

    def scored(settings: Settings) -> float:
        if settings not in found:
            found[settings] = score(settings)
        return found[settings]

    kept, trials = start, []
    for name, options in choices.items():
        tried = {named(option): replace(kept, **option) for option in options}
        tried = {text: settings for text, settings in tried.items() if possible(settings)}
        if len(tried) < 2:
            continue
        kept = min(tried.values(), key=scored)
        trials += [
            {"choice": name, "option": text, "validation_nll": scored(settings), "kept": settings == kept}
            for text, settings in tried.items()
        ]
    return kept, trials


def named(option: Option) -> str:
    """Return an option as a table shows it, such as "objective = hedge, tau = 0.1"."""
    return ", ".join(f"{name} = {value}" for name, value in option.items())
