"""Which parameters of a notebook name data sets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from micro_paper.errors import InputError

# Parameters that state which data sets a notebook reads, and how their texts become features.
WORLD_PARAMETERS = (
    "helpsteer_like",
    "rpr_like",
    "control_world",
    "stage1_world",
    "stage1_control",
    "text_world",
    "transfer_from",
    "bench",
    "bench_train",
    "safety_world",
)

SEVERAL = ("transfer_from", "bench", "bench_train")  # of these, the ones that may name several, separated by blanks


def split_names(text: str) -> list[str]:
    """Return the data sets that a text names, separated by blanks and quoted as in a shell: a 'jsonl:my data/x.jsonl'.

    Raises:
        InputError: a quote that is not closed, or a part that can only be the rest of a path with a blank.
    """
    try:
        names = shlex.split(text)
    except ValueError as error:
        raise InputError(f"data sets {text!r}: {error}: write \\' for a quote that is part of a path") from error
    for before, name in zip(["", *names], names, strict=False):
        if before.startswith("jsonl:") and not name.startswith("jsonl:") and set("/.") & set(name):
            fix = f"put a path with a blank into quotes, '{before} {name}'"
            raise InputError(f"data sets {text!r}: {name!r} is none: {fix}")
    return names


def named_worlds(values: Mapping[str, Any]) -> list[str]:
    """Return the data sets that parameters name, each once; "none" names no data set. Errors as for `split_names`."""
    found: dict[str, None] = {}
    for key in WORLD_PARAMETERS:
        if (value := values.get(key)) is not None:
            found |= dict.fromkeys(split_names(str(value)) if key in SEVERAL else [str(value)])
    return [name for name in found if name != "none"]
