"""Which parameters of a notebook name data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


SEVERAL = ("transfer_from", "bench", "bench_train")  # of these, the ones that may name several, separated by spaces


def named_worlds(values: Mapping[str, Any]) -> list[str]:
    """Return the data sets that parameters name, each once; "none" names no data set."""
    found: dict[str, None] = {}
    for key in WORLD_PARAMETERS:
        if (value := values.get(key)) is not None:
            found |= dict.fromkeys(str(value).split() if key in SEVERAL else [str(value)])
    return [name for name in found if name != "none"]
