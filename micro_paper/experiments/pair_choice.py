"""Whether the pair that is shown tells who judges it: I(A; Z | X) of the bundled worlds, 0 in the exact error split."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from micro_paper.data.corpus import topics
from micro_paper.data.corpus.tastes import KNOBS
from micro_paper.data.corpus.text import Topic
from micro_paper.data.corpus.worlds import Choice, audience_choice, taste_choice, topic_choice
from micro_paper.errors import InputError, suggest
from micro_paper.theory import selection_information

CHOICES: dict[str, Callable[[Topic, int], Choice]] = {
    **{name: partial(taste_choice, knobs=knobs) for name, knobs in KNOBS.items()},
    "bundled-audience": audience_choice,
    "bundled-topics": topic_choice,
}


def pair_choice_information(name: str, seed: int = 0) -> float:
    """Return I(A; Z | X) of a bundled world in nats, an exact sum over its topics, wordings, cues, groups and pairs.

    Raises:
        InputError: a world without known groups.
    """
    if name not in CHOICES:
        raise InputError(f"no groups are known of {name!r}: use one of {', '.join(CHOICES)}.{suggest(name, CHOICES)}")
    found = []
    for topic in topics():
        if not topic.sealed:
            choice = CHOICES[name](topic, seed)
            found.append(selection_information(choice.groups, choice.pairs, choice.prompts))
    return float(np.mean(found))


def pair_choice_table(names: tuple[str, ...] = tuple(CHOICES), seed: int = 0) -> pd.DataFrame:
    """Return dataset and nats, I(A; Z | X)."""
    return pd.DataFrame({"dataset": names, "nats": [pair_choice_information(name, seed) for name in names]})
