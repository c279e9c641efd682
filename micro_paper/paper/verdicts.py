"""Verdicts on the paper's claims, from intervals, by rules that read nothing but them.

No interval over fewer than `FEWEST` prompts decides anything: the variance of so few is hardly known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from micro_paper.digits import steady
from micro_paper.errors import InputError
from micro_paper.intervals import Interval

HOLDS, DOES_NOT, CANNOT_TELL = "holds", "does not", "cannot tell"
# Kinds of evidence that a verdict also rests on: a control must be exceeded too, and what is judged must be readable.
CONTROL, READABLE = "control", "readable"
SHOWN = "shown"  # stands beside, and nothing rests on it
FEWEST = 10  # prompts or topics
EQUAL, FLAT = 0.02, 0.01  # margins of an equivalence and of a flat step
LEVEL = 0.05  # of the tests behind the verdicts, after Holm's adjustment where a claim has several parts


def judge_identity(gap: float, tolerance: float = 1e-6) -> str:
    """Judge an equation by the largest gap between its sides on random instances; nan does not hold."""
    return HOLDS if abs(gap) <= tolerance else DOES_NOT


def _all_parts(verdicts: Sequence[str]) -> str:
    if not verdicts:
        raise InputError("a claim is judged on at least one interval, got none")
    if DOES_NOT in verdicts:
        return DOES_NOT
    return CANNOT_TELL if CANNOT_TELL in verdicts else HOLDS


def _ends(interval: Interval) -> tuple[float, float]:
    return steady(interval.low), steady(interval.high)  # no verdict hangs on a rounding error


def _few(interval: Interval) -> bool:
    return interval.n_groups < FEWEST  # nan, repeats alone, is not few


def _above_zero(interval: Interval) -> str:
    if _few(interval):
        return CANNOT_TELL
    low, high = _ends(interval)
    if low > 0:
        return HOLDS
    return DOES_NOT if high < 0 else CANNOT_TELL


def judge_ordering(*differences: Interval) -> str:
    """Judge "a exceeds b" on intervals of a - b: holds if all are above 0, does not if any is below."""
    return _all_parts([_above_zero(interval) for interval in differences])


def judge_equivalence(*differences: Interval, margin: float = EQUAL) -> str:
    """Judge "a is close to b": holds if all of a - b lie in +-margin, does not if any is outside."""

    def one(interval: Interval) -> str:
        if _few(interval):
            return CANNOT_TELL
        low, high = _ends(interval)
        if -margin <= low and high <= margin:
            return HOLDS
        return DOES_NOT if low > margin or high < -margin else CANNOT_TELL

    return _all_parts([one(interval) for interval in differences])


def judge_trend(*slopes: Interval, expected: str | Sequence[str] = "up", flat: float = FLAT) -> str:
    """Judge a trend on the interval of its slope, or of each step.

    `expected` is "up", "down" or "flat", one for all or one a step. A step expected up holds above 0; below
    0, or around 0 and within +-flat, it does not. A step expected flat is an equivalence with the margin
    `flat`.
    """
    directions = [expected] * len(slopes) if isinstance(expected, str) else list(expected)
    if len(directions) != len(slopes):
        raise InputError(f"expected names {len(directions)} steps, there are {len(slopes)}: give one a step")

    def one(slope: Interval, direction: str) -> str:
        if direction == "flat":
            return judge_equivalence(slope, margin=flat)
        if direction not in ("up", "down"):
            raise InputError(f"expected must be up, down or flat, got {direction!r}")
        rising = slope if direction == "up" else replace(slope, low=-slope.high, high=-slope.low)
        verdict = _above_zero(rising)
        is_flat = judge_equivalence(slope, margin=flat) == HOLDS
        return DOES_NOT if verdict == CANNOT_TELL and is_flat else verdict

    return _all_parts([one(*step) for step in zip(slopes, directions, strict=True)])


def judge_value(printed: float, interval: Interval, *, comparable: bool, widen: float = 0.01) -> str:
    """Judge a printed value by our widened interval; cannot tell without the paper's backbone and data."""
    if not comparable or _few(interval):
        return CANNOT_TELL
    low, high = _ends(interval)
    return HOLDS if steady(low - widen) <= printed <= steady(high + widen) else DOES_NOT


def p_of_verdict(kind: str, interval: Interval, verdict: str, *, flat: float = FLAT) -> float:
    """Return the p-value of a part's verdict: 1 less the level of the widest interval that still gives it.

    Args:
        kind: "ordering", "equivalence", "up", "down" or "flat".
        interval: of the part.
        verdict: that `judge_ordering`, `judge_equivalence` or `judge_trend` gave it; 1 where it cannot tell.
        flat: as for `judge_trend`.
    """
    if verdict == CANNOT_TELL:
        return 1.0
    margin = {"equivalence": EQUAL, "flat": flat}.get(kind, 0.0)
    above = steady(interval.low) > 0 or steady(interval.high) < 0
    if kind in ("up", "down") and not above:
        margin = flat  # flat, where a rise or a fall was expected
    return max(interval.p_of(margin), interval.p_of(-margin))
