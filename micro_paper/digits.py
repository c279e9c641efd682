"""Numbers as they are judged, written and drawn: sums taken in another order, on another machine, give the same."""

from __future__ import annotations

from typing import Any

import numpy as np

PLACES = 12


def is_float(value: Any) -> bool:
    return isinstance(value, float | np.floating)


def steady(value: float, *, tiny: bool = False) -> float:
    """Return a number to 12 digits, and to 12 decimals, so that what is 0 but for rounding errors is 0.

    Two machines give values some 1e-15 apart; those are one number here, also where it is a tie of a coarser rounding.

    Args:
        tiny: the number may be small and mean it, as a probability of 1e-20 does: decimals are not cut.
    """
    value = float(value)
    return float(f"{value if tiny else round(value, PLACES):.{PLACES}g}") + 0.0  # + 0.0 turns -0 into 0


def written(value: float, *, tiny: bool = False) -> str:
    """Return the number as tables hold it, at 6 significant digits."""
    return format(steady(value, tiny=tiny), ".6g")


def shown(value: float, form: str = ".3f") -> str:
    """Return the number as a reader is shown it."""
    return format(steady(value), form)


def interval(value: float, low: float, high: float, form: str = ".3f") -> str:
    """Return `value [low, high]` as a reader is shown it."""
    return f"{shown(value, form)} [{shown(low, form)}, {shown(high, form)}]"
