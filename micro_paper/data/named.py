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
    "further_worlds",
    "stage1_world",
    "stage1_control",
    "cued_world",
    "text_world",
    "transfer_from",
    "bench",
    "bench_train",
    "safety_world",
    "people_world",
    "best_of_world",
)

DATA_PARAMETERS = (*WORLD_PARAMETERS, "train_on", "rated")  # every parameter that may hold jsonl:PATH
SEVERAL = (
    "further_worlds",
    "transfer_from",
    "bench",
    "bench_train",
    "rated",
)  # the ones that may name several, separated by blanks


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


def likes_of(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return {"helpsteer": data set, "rpr": data set} of a notebook's parameters, without one that is "none".

    Raises:
        InputError: both are.
    """
    found = {like: str(parameters[f"{like}_like"]) for like in ("helpsteer", "rpr")}
    if not (found := {like: name for like, name in found.items() if name != "none"}):
        raise InputError("helpsteer_like and rpr_like are both none: name a data set for one of them")
    return found


def own_files(values: Mapping[str, Any]) -> list[str]:
    """Return the paths of own data that parameters name, sorted."""
    found: set[str] = set()
    for key in DATA_PARAMETERS:
        value = str(values.get(key))
        if "jsonl:" in value:
            names = split_names(value) if key in SEVERAL else [value]
            found |= {name.removeprefix("jsonl:") for name in names if name.startswith("jsonl:")}
    return sorted(found)
