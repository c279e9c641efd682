"""The rules for verdicts, case by case."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from micro_paper.errors import InputError
from micro_paper.intervals import Interval, t_interval
from micro_paper.paper import verdicts
from micro_paper.paper.verdicts import CANNOT_TELL, DOES_NOT, HOLDS


def interval(low, high):
    return Interval((low + high) / 2, low, high, 10)


def test_judge_identity():
    assert [verdicts.judge_identity(gap) for gap in (1e-9, -1e-3, math.nan)] == [HOLDS, DOES_NOT, DOES_NOT]


def test_judge_ordering():
    above, below, across = interval(0.01, 0.05), interval(-0.05, -0.01), interval(-0.01, 0.05)
    assert verdicts.judge_ordering(above, above) == HOLDS
    assert verdicts.judge_ordering(above, across) == CANNOT_TELL
    assert verdicts.judge_ordering(above, across, below) == DOES_NOT
    assert verdicts.judge_ordering(interval(0, 0.1)) == CANNOT_TELL
    with pytest.raises(InputError):
        verdicts.judge_ordering()


def test_judge_equivalence():
    for ends, verdict in [
        ((-0.02, 0.02), HOLDS),
        ((0.005, 0.015), HOLDS),
        ((0.01, 0.03), CANNOT_TELL),
        ((-0.1, 0.1), CANNOT_TELL),
        ((0.021, 0.03), DOES_NOT),
        ((-0.05, -0.021), DOES_NOT),
    ]:
        assert verdicts.judge_equivalence(interval(*ends)) == verdict


def test_judge_trend():
    rise, fall = interval(0.02, 0.04), interval(-0.04, -0.02)
    flat, wide = interval(-0.005, 0.005), interval(-1, 1)
    assert [verdicts.judge_trend(s) for s in (rise, fall)] == [HOLDS, DOES_NOT]
    assert [verdicts.judge_trend(s) for s in (flat, wide)] == [DOES_NOT, CANNOT_TELL]
    assert verdicts.judge_trend(fall, expected="down") == HOLDS
    assert verdicts.judge_trend(rise, expected="down") == DOES_NOT
    assert verdicts.judge_trend(rise, flat, expected=("up", "flat")) == HOLDS
    assert verdicts.judge_trend(rise, rise, expected=("up", "flat")) == DOES_NOT
    with pytest.raises(InputError, match="steps"):
        verdicts.judge_trend(rise, expected=("up", "flat"))
    with pytest.raises(InputError, match="sideways"):
        verdicts.judge_trend(rise, expected="sideways")


def test_judge_value():
    assert verdicts.judge_value(0.85, interval(0.8, 0.84), comparable=True) == HOLDS
    assert verdicts.judge_value(0.86, interval(0.8, 0.84), comparable=True) == DOES_NOT
    assert verdicts.judge_value(0.85, interval(0.8, 0.84), comparable=False) == CANNOT_TELL


def test_p_of_an_interval_is_that_of_the_t_test():
    x = np.random.default_rng(0).normal(0.3, 1, 12)
    found = t_interval(x)
    for null in (-0.5, 0.0, found.estimate, 0.7):
        assert found.p_of(null) == pytest.approx(stats.ttest_1samp(x, null).pvalue)
    for end in (found.low, found.high):
        assert found.p_of(end) == pytest.approx(0.05)


def test_few_prompts_decide_nothing():
    few = Interval(0.1, 0.09, 0.11, 9)
    for n_groups, verdict in ((9, CANNOT_TELL), (10, HOLDS), (math.nan, HOLDS)):  # nan: independent repeats alone
        own = replace(few, n_groups=n_groups)
        assert verdicts.judge_ordering(own) == verdict == verdicts.judge_trend(own, expected="up")
        assert verdicts.judge_equivalence(own, margin=0.2) == verdict
        assert verdicts.judge_value(0.1, own, comparable=True) == verdict


@pytest.mark.parametrize(
    ("kind", "estimate"),
    [("ordering", 0.05), ("ordering", -0.05), ("up", 0.05), ("up", -0.05), ("up", 0.001), ("down", -0.002)]
    + [("equivalence", 0.004), ("equivalence", -0.05), ("flat", 0.002), ("flat", 0.05)],
)
def test_the_p_value_of_a_verdict_is_where_it_is_lost(kind, estimate):
    """An interval of a level just below 1 - p gives the verdict, one just above it does not."""

    def at(level):
        reach = 0.002 * stats.t.ppf((1 + level) / 2, 12)
        return Interval(estimate, estimate - reach, estimate + reach, 40, level, free=12)

    def judged(own):
        if kind == "ordering":
            return verdicts.judge_ordering(own)
        return verdicts.judge_equivalence(own) if kind == "equivalence" else verdicts.judge_trend(own, expected=kind)

    verdict = judged(at(0.95))
    assert verdict != CANNOT_TELL
    p = verdicts.p_of_verdict(kind, at(0.95), verdict)
    assert 0 < p < 0.05
    assert judged(at(1 - p * 1.001)) == verdict and judged(at(1 - p * 0.999)) == CANNOT_TELL
    assert verdicts.p_of_verdict(kind, at(0.95), CANNOT_TELL) == 1
