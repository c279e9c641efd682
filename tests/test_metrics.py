"""Scores and heads against brute force, closed forms and simulation."""

import itertools
import math

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
    macro = intervals.Sample(np.arange(60), kinds).mean(table[:, 0])
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
