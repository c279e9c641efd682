"""Scores and intervals against brute force, closed forms and simulation."""

import itertools
import math
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from micro_paper import intervals, metrics
from micro_paper.errors import InputError

SCORES = [metrics.accuracy, metrics.nll, metrics.ece]


def rng(seed=0):
    return np.random.default_rng(seed)


# Scores


def test_scores_by_hand():
    p = [0.9, 0.5, 0.2, 1.0]
    assert metrics.accuracy(p) == 2.5 / 4
    assert metrics.nll(p) == pytest.approx(-(math.log(0.9) + math.log(0.5) + math.log(0.2)) / 4)


def test_a_certain_mistake_costs_infinitely_many_nats():
    assert metrics.nll([0.5, 0.0]) == math.inf
    assert metrics.nll([1.0, 1.0]) == 0 and not math.copysign(1, metrics.nll([1.0])) < 0


def test_a_clamped_loss_is_finite_and_the_plain_loss_elsewhere():
    p = rng().uniform(size=(30, 3))
    assert metrics.pair_nll(p).shape == p.shape and metrics.pair_nll(p[:, 0]).mean() == metrics.nll(p[:, 0])
    assert metrics.pair_nll(0.0) == pytest.approx(300 * math.log(10))
    for dtype in (np.float32, np.float64, int):
        assert np.isfinite(metrics.pair_nll(np.array([0, 1], dtype=dtype))).all()
    assert metrics.pair_nll(p.astype(np.float32)).dtype == np.float32


def test_correct_by_run_counts_each_run_by_itself():
    p = np.array([[0.9, 0.5], [0.1, 0.6], [0.5, 0.5]])
    by_hand = [[1 if q > 0.5 else 0.5 if q == 0.5 else 0 for q in row] for row in p]
    assert metrics.correct_by_run(p).tolist() == by_hand
    for broken in ([0.5], [[1.5]], [[math.nan]]):
        with pytest.raises(InputError, match="p must"):
            metrics.correct_by_run(broken)


def test_a_margin_decides_by_its_sign():
    margins = np.array([[2.0, -1e-300], [0.0, -0.0]])
    assert metrics.decided(margins).tolist() == [[1, 0], [0.5, 0.5]]
    p = 1 / (1 + np.exp(-rng().normal(size=50)))
    assert np.array_equal(metrics.decided(np.log(p / (1 - p))), metrics.correct(p))
    for broken in (math.nan, math.inf):
        with pytest.raises(InputError, match="non-finite margin"):
            metrics.decided([1.0, broken])


def test_entropy_is_scipys():
    f = rng().dirichlet(np.full(4, 0.3), size=20)
    assert metrics.entropy(f) == pytest.approx(stats.entropy(f, axis=1))
    assert metrics.entropy_share(f) == pytest.approx(stats.entropy(f, axis=1, base=4).mean())
    for dtype in (np.float32, np.float64):  # a weight of 0 is no nan
        assert metrics.entropy(np.array([[1, 0], [0.5, 0.5]], dtype)) == pytest.approx([0, math.log(2)])
    assert metrics.entropy_share(np.ones((5, 1))) == 1
    assert metrics.entropy_share(np.full((5, 3), 1 / 3)) == pytest.approx(1)


def test_means_by_attribute_and_over_attributes():
    values, names = np.array([1.0, 0.0, 0.5, 1.0]), ["b", "a", "b", "b"]
    assert metrics.by_attribute(values, names) == {"a": 0.0, "b": pytest.approx(2.5 / 3)}
    assert list(metrics.by_attribute(values, names)) == ["a", "b"]
    assert metrics.macro_mean(values, names) == pytest.approx(2.5 / 6)
    table = rng().random((60, 3))
    kinds = rng(1).integers(4, size=60)
    frame = pd.DataFrame(table).groupby(kinds).mean()
    assert metrics.macro_mean(table, kinds) == pytest.approx(frame.mean().to_numpy())
    macro = intervals.bootstrap_macro(table[:, 0], np.arange(60), kinds, rng=rng(), n=100)
    assert metrics.macro_mean(table[:, 0], kinds) == pytest.approx(macro.estimate)
    for broken in ((values, names[:3]), ([], [])):
        with pytest.raises(InputError, match="give one a pair"):
            metrics.macro_mean(*broken)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("bad", [[], [[0.5]], [0.5, math.nan], [math.inf], [1.0001], [-1e-9]])
def test_scores_refuse_what_is_no_probability(score, bad):
    with pytest.raises(InputError, match="p must"):
        score(bad)


@pytest.mark.parametrize("score", SCORES)
def test_scores_do_not_depend_on_the_order_of_pairs(score):
    p = rng().uniform(size=200)
    assert score(rng(1).permutation(p)) == pytest.approx(score(p), abs=1e-14)


def test_nll_is_proper():
    """Its mean over labels drawn with probability q is least at q itself."""
    q, grid = 0.7, np.linspace(0.01, 0.99, 99)
    risk = [q * metrics.nll([p]) + (1 - q) * metrics.nll([1 - p]) for p in grid]
    assert grid[int(np.argmin(risk))] == pytest.approx(q)


def test_an_attribute_named_as_the_mean_is_refused():
    for of in (metrics.by_attribute, metrics.macro_mean):
        with pytest.raises(InputError, match="an attribute is named 'average'"):
            of([1.0, 0.0], ["average", "brief"])


def brute_force_ece(p, bins):
    """2 x bins equal bins of [0, 1], every pair in both orders, event frequency against mean prediction."""
    both = [(float(v), 1) for v in p] + [(1 - float(v), 0) for v in p]
    total = 0.0
    for b in range(2 * bins):
        low, high = b / (2 * bins), (b + 1) / (2 * bins)
        inside = [(v, y) for v, y in both if low <= v < high or (v == 1 and high == 1)]
        if inside:
            total += abs(sum(y for _, y in inside) - sum(v for v, _ in inside)) / len(both)
    return total


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_ece_is_the_error_of_the_doubled_sample(bins):
    p = rng(bins).beta(2, 1.3, size=400)
    assert metrics.ece(p, bins) == pytest.approx(brute_force_ece(p, bins), abs=1e-12)


def test_ece_is_small_for_calibrated_and_large_for_overconfident():
    truth = rng(2).uniform(0.05, 0.95, size=40_000)
    won = rng(3).uniform(size=truth.size) < truth
    shown = np.where(won, truth, 1 - truth)  # the pair is written with its winner first
    sharp = 1 / (1 + (1 / shown - 1) ** 3)
    assert metrics.ece(shown) < 0.01 < 0.1 < metrics.ece(sharp)
    with pytest.raises(InputError, match="bins"):
        metrics.ece(shown, 0)


# Intervals


def exact_bootstrap(values, groups, attributes=None):
    """Every one of the G^G resamples of whole groups, in plain Python."""
    names = sorted(set(groups))
    attributes = attributes if attributes is not None else [0] * len(values)
    means = []
    for pick in itertools.product(names, repeat=len(names)):
        pairs = [(a, v) for g in pick for v, h, a in zip(values, groups, attributes, strict=True) if h == g]
        kinds = sorted({a for a, _ in pairs})
        means.append(np.mean([np.mean([v for a, v in pairs if a == kind]) for kind in kinds]))
    return np.array(means)


def expanded(draws, groups, level=0.95):
    g = len(set(groups))
    tail = stats.norm.cdf(math.sqrt(g / (g - 1)) * stats.t.ppf((1 - level) / 2, g - 1))
    return np.quantile(draws, [tail, 1 - tail])


VALUES = np.array([1, 0, 1, 1, 0, 0.5, 1, 0, 1, 1, 0.25, 0.75])
GROUPS = list("aabbbcddddee")
KINDS = list("xyxyyxxxyyxy")


@pytest.mark.parametrize("kinds", [None, KINDS])
def test_bootstrap_is_the_exact_resampling_of_groups(kinds):
    draws = exact_bootstrap(VALUES, GROUPS, kinds)
    low, high = expanded(draws, GROUPS, 0.8)
    options = {"rng": rng(), "n": 40_000, "level": 0.8}
    if kinds is None:
        got = intervals.bootstrap(VALUES, GROUPS, **options)
        assert got.estimate == pytest.approx(VALUES.mean())
    else:
        got = intervals.bootstrap_macro(VALUES, GROUPS, kinds, **options)
        by_kind = [VALUES[[k == kind for k in kinds]].mean() for kind in "xy"]
        assert got.estimate == pytest.approx(np.mean(by_kind))
    assert (got.low, got.high) == pytest.approx((low, high), abs=0.02)
    assert got.n_groups == 5 and got.level == 0.8 and got.p_value is None


def test_paired_bootstrap_is_the_bootstrap_of_the_difference():
    other = VALUES[::-1]
    pair = intervals.paired_bootstrap(VALUES, other, GROUPS, rng=rng())
    single = intervals.bootstrap(VALUES - other, GROUPS, rng=rng())
    assert (pair.low, pair.estimate, pair.high) == (single.low, single.estimate, single.high)
    turned = intervals.paired_bootstrap(other, VALUES, GROUPS, rng=rng())
    assert (turned.low, turned.high) == pytest.approx((-pair.high, -pair.low))
    assert turned.p_value == pytest.approx(pair.p_value)
    macro = intervals.paired_bootstrap_macro(VALUES, other, GROUPS, KINDS, rng=rng())
    one = intervals.paired_bootstrap_macro(VALUES, other, GROUPS, ["x"] * 12, rng=rng())
    assert macro != one and one == pair


def test_permuting_pairs_changes_nothing():
    order = rng(4).permutation(12)
    a = intervals.bootstrap_macro(VALUES, GROUPS, KINDS, rng=rng())
    b = intervals.bootstrap_macro(VALUES[order], np.array(GROUPS)[order], np.array(KINDS)[order], rng=rng())
    assert (a.low, a.estimate, a.high) == pytest.approx((b.low, b.estimate, b.high), abs=1e-12)


def test_pairs_of_one_prompt_are_not_independent():
    """Copying every pair ten times must not shorten the interval."""
    a = intervals.bootstrap(VALUES, GROUPS, rng=rng())
    b = intervals.bootstrap(np.tile(VALUES, 10), GROUPS * 10, rng=rng())
    assert (a.low, a.high) == pytest.approx((b.low, b.high))


@pytest.mark.long
@pytest.mark.parametrize("n_groups", [6, 40])
def test_coverage_and_size(n_groups):
    """Some 95 % of the intervals cover the truth, with few prompts too; plain percentiles cover 86 % at 6."""
    draw, runs, covered, rejected = rng(5), 400, 0, 0
    for _ in range(runs):
        size = draw.integers(2, 6, size=n_groups)
        groups = np.repeat(np.arange(n_groups), size)
        values = draw.normal(size=n_groups)[groups] + draw.normal(size=len(groups))
        got = intervals.paired_bootstrap(values, np.zeros(len(groups)), groups, rng=draw, n=1000)
        covered += got.low <= 0 <= got.high
        rejected += got.p_value < 0.05
    assert 0.91 <= covered / runs <= 0.985
    assert abs(rejected - (runs - covered)) <= 0.015 * runs


def test_p_value_agrees_with_the_t_test_on_single_pairs():
    values = rng(6).normal(0.3, 1, size=60)
    got = intervals.paired_bootstrap(values, np.zeros(60), np.arange(60), rng=rng(), n=50_000)
    assert got.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)
    assert intervals.paired_bootstrap(values, values, np.arange(60), rng=rng()).p_value == 1


@pytest.mark.parametrize("kinds", [None, KINDS])
def test_columns_share_resamples_and_have_the_intervals_of_each_alone(kinds, monkeypatch):
    columns = [rng(i).normal(0.1, 1, 12) for i in range(3)]
    drawn, resamples = [], intervals.resamples
    monkeypatch.setattr(intervals, "resamples", lambda *a: drawn.append(1) or resamples(*a))
    one, each = rng(5), [rng(5) for _ in columns]
    for _ in range(2):  # the source of random numbers is left where one column would leave it
        together = intervals.bootstraps(columns, GROUPS, kinds, rng=one, n=500, test=True)
        zero, where = np.zeros(12), (GROUPS, [1] * 12 if kinds is None else kinds)
        alone = [
            intervals.paired_bootstrap_macro(c, zero, *where, rng=r, n=500) for c, r in zip(columns, each, strict=True)
        ]
        assert together == alone  # to the last bit
    assert len(drawn) == 2 * (1 + len(columns))
    assert intervals.bootstraps([], GROUPS, kinds, rng=one) == []
    with pytest.raises(InputError, match="values must be finite, row 1 is not"):
        intervals.bootstraps([columns[0], [0, np.nan, *columns[0][2:]]], GROUPS, kinds, rng=one)
    with pytest.raises(InputError, match="groups has 12 rows, values has 11"):
        intervals.bootstraps([columns[0], columns[1][1:]], GROUPS, kinds, rng=one)


def test_bootstrap_is_fast_and_repeatable():
    draw = rng(7)
    values, groups = draw.uniform(size=30_000), draw.integers(0, 100, size=30_000)
    start = time.perf_counter()
    a = intervals.bootstrap_macro(values, groups, groups % 7, rng=rng(8))
    assert time.perf_counter() - start < 5
    assert a == intervals.bootstrap_macro(values, groups, groups % 7, rng=rng(8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ["a"] * 12}, "at least 2 groups"),
        ({"groups": ["a", "b"]}, "groups has 2 rows"),
        ({"values": np.full(12, math.nan)}, "row 0"),
        ({"values": np.full((12, 1), 0.5)}, "one-dimensional"),
        ({"values": []}, "not empty"),
        ({"n": 10}, "at least 100"),
        ({"level": 95}, "level"),
    ],
)
def test_bootstrap_refuses(change, message):
    with pytest.raises(InputError, match=message):
        intervals.bootstrap(**({"values": VALUES, "groups": GROUPS, "rng": rng()} | change))


def test_paired_bootstrap_refuses_unpaired_values():
    with pytest.raises(InputError, match="same pairs"):
        intervals.paired_bootstrap(VALUES, VALUES[1:], GROUPS, rng=rng())


# Intervals over runs, and the parts that other resampling schemes use


def test_t_interval_is_scipys():
    values = rng().normal(0.3, 1, 5)
    for level in (0.95, 0.8):
        ours, theirs = intervals.t_interval(values, level), stats.ttest_1samp(values, 0).confidence_interval(level)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high)) and ours.n_groups == 5
        assert intervals.t_reach(values.std(ddof=1), 5, level) == pytest.approx((theirs.high - theirs.low) / 2)
    for broken in ([1.0], [], [1.0, np.nan]):
        with pytest.raises(InputError, match="at least 2 finite values"):
            intervals.t_interval(broken)


def test_resamples_are_counts_of_draws_with_replacement():
    drawn = intervals.resamples(5, rng(), 20_000)
    assert drawn.shape == (20_000, 5) and (drawn.sum(axis=1) == 5).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(5), abs=0.03)
    assert drawn[:, 0].var() == pytest.approx(5 * 0.2 * 0.8, abs=0.03)  # of a binomial
    intervals.check_resamples(2, 100)
    with pytest.raises(InputError, match="one group"):
        intervals.check_resamples(1, 100)
    with pytest.raises(InputError, match="at least 100"):
        intervals.check_resamples(2, 99)


def test_expanded_percentiles_of_a_normal_are_the_t_interval():
    """Draws are exact normal quantiles of the bootstrap's spread, that is of the standard error times shrink."""
    for groups, free in ((6, None), (40, 36)):
        degrees = groups - 1 if free is None else free
        draws = stats.norm.ppf((np.arange(200_001) + 0.5) / 200_001) * math.sqrt(degrees / groups)
        low, high = intervals.expanded_percentiles(draws, groups, free=free)
        assert (low, high) == pytest.approx(stats.t.interval(0.95, degrees), rel=1e-3)
        assert intervals.two_sided_p(draws - low + 1e-3, groups, free=free) < 0.05
        assert intervals.two_sided_p(draws - low - 1e-3, groups, free=free) > 0.05
        assert intervals.two_sided_p(draws, groups, free=free) == pytest.approx(1, abs=1e-4)
    assert intervals.percentiles(np.arange(1001.0)) == (25, 975)
    assert intervals.percentiles(np.arange(1001.0), 0.1) == (100, 900)


# Many comparisons


def test_holm_by_hand():
    assert intervals.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert intervals.holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert intervals.holm([0.02]) == pytest.approx([0.02])
    with pytest.raises(InputError):
        intervals.holm([0.5, 1.5])


def test_holm_rejects_what_the_step_down_procedure_rejects():
    for seed in range(50):
        p = rng(seed).uniform(size=8) ** 3
        rejected, order = set(), np.argsort(p)
        for step, index in enumerate(order):
            if p[index] > 0.05 / (8 - step):
                break
            rejected.add(int(index))
        assert set(np.flatnonzero(intervals.holm(p) <= 0.05).tolist()) == rejected


# Heads


def test_match_heads_finds_a_permutation_with_flips_and_scales():
    a = rng().normal(size=(4, 30))
    order, scale = np.array([2, 0, 3, 1]), np.array([1.0, -2, 0.1, -5])
    match = metrics.match_heads(a, a[order] * scale[:, None])
    assert np.array_equal(order[match.second], match.first)
    assert match.correlation == pytest.approx(np.sign(scale)[match.second])
    assert match.strength == pytest.approx(1)


@pytest.mark.parametrize("signed", [False, True])
def test_match_heads_is_the_best_of_all_assignments(signed):
    a, b = rng(1).normal(size=(3, 6)), rng(2).normal(size=(4, 6))
    table = np.array([[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a])
    score = table if signed else np.abs(table)
    best = max(sum(score[i, j] for i, j in enumerate(pick)) for pick in itertools.permutations(range(4), 3))
    match = metrics.match_heads(a, b, signed=signed)
    assert sum(score[match.first, match.second]) == pytest.approx(best)
    assert len(set(match.second.tolist())) == 3


def test_correlation_does_not_depend_on_which_response_comes_first():
    a, b = rng(3).normal(1, 1, size=(3, 50)), rng(4).normal(1, 1, size=(3, 50))
    flip = rng(5).choice([-1, 1], size=50)
    assert metrics.match_heads(a * flip, b * flip).correlation == pytest.approx(metrics.match_heads(a, b).correlation)


def test_head_stability_tells_a_head_from_its_opposite():
    a = rng().normal(size=(3, 20))
    assert metrics.head_stability([a, a[::-1], 2 * a]) == pytest.approx([1, 1, 1])
    assert metrics.head_stability([a, -a], signed=False) == pytest.approx([1])
    assert metrics.head_stability([a, -a])[0] < 0.7
    assert metrics.head_stability([a, np.zeros_like(a)]) == pytest.approx([0])
    with pytest.raises(InputError, match="at least 2"):
        metrics.head_stability([a])
    with pytest.raises(InputError, match="columns"):
        metrics.match_heads(a, a[:, 1:])
    with pytest.raises(InputError, match="finite"):
        metrics.match_heads(a * math.nan, a)


def test_best_heads_by_hand():
    right = metrics.decided(np.array([[1.0, -1], [0, 2], [-1, 3], [-1, 0]]))
    names = np.array(["a", "a", "b", "b"])
    own, other = metrics.by_attribute(right, names), metrics.by_attribute(1 - right, names)
    assert metrics.best_head_decisions(right, names, own).tolist() == [1, 0.5, 1, 0.5]
    assert metrics.best_head_decisions(right, names, other).tolist() == [0, 1, 0, 0]
    assert metrics.best_head_decisions(right, names, own, one_for_all=True).tolist() == right[:, 1].tolist()
    with pytest.raises(InputError, match="no validation pairs of 'b'"):
        metrics.best_head_decisions(right, names, {"a": own["a"]})


def test_head_correlations_are_cosines():
    a, b = rng().normal(1, 1, size=(3, 20)), rng(1).normal(size=(2, 20))
    a[2] = 0
    wanted = [[x @ y / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-300) for y in b] for x in a]
    assert metrics.head_correlations(a, b) == pytest.approx(np.array(wanted))
    both = metrics.head_correlations(a)
    assert np.array_equal(both, both.T) and both == pytest.approx(metrics.head_correlations(a, a))
    assert np.diag(both) == pytest.approx([1, 1, 0]) and np.abs(both).max() <= 1
    with pytest.raises(InputError, match="columns"):
        metrics.head_correlations(a, b[:, 1:])
    with pytest.raises(InputError, match="finite"):
        metrics.head_correlations(np.full_like(a, math.inf))
