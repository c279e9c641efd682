"""The rules for verdicts, case by case."""

import math

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
        assert verdicts.p_at(found, null, 11) == pytest.approx(stats.ttest_1samp(x, null).pvalue)
    for end in (found.low, found.high):
        assert verdicts.p_at(found, end, 11) == pytest.approx(0.05)


def test_p_follows_the_half_towards_the_null():
    skewed = Interval(1.0, 0.1, 5.0, 20)
    assert verdicts.p_at(skewed, 0.0, 19) < 0.05 < verdicts.p_at(skewed, 4.0, 19)
    point = Interval(0.1, 0.1, 0.1, 5)
    assert (verdicts.p_at(point, 0.0, 4), verdicts.p_at(point, 0.1, 4)) == (0.0, 1.0)
