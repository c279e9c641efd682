"""Every contender of the tables, one a file; `METHODS` and `make` give them by row name."""

from __future__ import annotations

from typing import Any

__all__ = ["METHODS", "make"]


def __getattr__(name: str) -> Any:
    # On demand: a file that imports one method, or its settings, does not depend on all the others.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from micro_paper.methods.table import METHODS, make

    return {"METHODS": METHODS, "make": make}[name]
