"""Preference data: `load(name, split)` gives labelled pairs, from ratings, criteria or judgements.

Names: `names()`, and `jsonl:PATH` for your own data (see `micro_paper.data.jsonl`).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "CRITERIA",
    "SECTIONS",
    "SPLITS",
    "DatasetInfo",
    "apply_context",
    "assign_folds",
    "attribute_pairs",
    "contexts",
    "counts",
    "describe",
    "drop_unanimous",
    "leakage_report",
    "length_report",
    "load",
    "load_whole",
    "names",
    "paper_first_500",
    "ratings",
    "skipped",
    "split_frame",
    "unanimous",
]


def __getattr__(name: str) -> Any:
    # On demand: which data sets a profile names can be told without the libraries that read them.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from micro_paper.data import criteria, pairs, registry, splits, tables

    homes = {
        criteria: ("CRITERIA", "SECTIONS", "apply_context"),
        pairs: ("attribute_pairs", "drop_unanimous", "unanimous"),
        splits: ("SPLITS", "assign_folds", "leakage_report", "paper_first_500"),
        tables: ("contexts", "counts", "length_report"),
    }
    home = next((module for module, held in homes.items() if name in held), registry)
    return getattr(home, name)
