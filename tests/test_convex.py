"""Exact fits against scikit-learn one by one, finite differences and each other; what has no answer is refused."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from micro_paper import convex
from micro_paper.convex import fit_bradley_terry, fit_ridge
from micro_paper.errors import InputError

PENALTIES = [1e-4, 1e-2, 1.0]


def problem(n: int, d: int, seed: int) -> torch.Tensor:
    """Differences (n, d) with correlated columns of unequal size and noisy labels."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=random, dtype=torch.float64) @ torch.randn(d, d, generator=random).double()
    x *= torch.logspace(-2, 0, d) / d**0.5
    p = (x @ torch.randn(d, generator=random).double()).sigmoid()
    return x * torch.where(torch.rand(n, generator=random).double() < p, 1, -1)[:, None]


def loss(w: torch.Tensor, x: torch.Tensor, penalty: float, weights=None, towards=0.0) -> torch.Tensor:
    """The objective as its definition says, for any number of rewards w (..., d)."""
    share = torch.ones(len(x)).double() if weights is None else weights
    each = torch.nn.functional.softplus(-(w @ x.T))
    return (each * share / share.sum()).sum(-1) + penalty * (w - towards).square().sum(-1)


def scikit(x: torch.Tensor, penalty: float, weights=None) -> torch.Tensor:
    both, labels = np.vstack([x, -x]), np.repeat([1, 0], len(x))
    share = np.ones(len(x)) if weights is None else weights.numpy()
    fit = LogisticRegression(C=1 / (4 * share.sum() * penalty), fit_intercept=False, tol=1e-12, solver="newton-cg")
    return torch.from_numpy(fit.fit(both, labels, np.tile(share, 2)).coef_[0])


@pytest.mark.parametrize(("n", "d"), [(300, 6), (40, 90), (91, 90)])
def test_each_of_many_equals_scikit_learn(n, d):
    parts = [problem(n - 7 * r, d, r) for r in range(4)]  # of unequal length: the shorter are filled up
    fits = fit_bradley_terry(parts, PENALTIES)
    assert fits.weight.shape == (4, 3, d) and fits.weight.dtype == torch.float64
    assert fits.gradient_norm.max() < convex.TOLERANCE * max(1.0, *(x.norm(dim=1).max().item() for x in parts))
    for r, x in enumerate(parts):
        for p, penalty in enumerate(PENALTIES):
            ours, theirs = fits.weight[r, p], scikit(x, penalty)
            assert (ours - theirs).abs().max() < 1e-6
            assert loss(ours, x, penalty) == pytest.approx(loss(theirs, x, penalty).item(), abs=1e-8)
            assert fits.objective[r, p] == pytest.approx(loss(ours, x, penalty).item(), abs=1e-12)
    assert (fits.weight[0, 1] - scikit(parts[0], 2 * PENALTIES[1])).abs().max() > 1e-4  # the comparison can fail


@pytest.mark.parametrize(("n", "d"), [(60, 5), (8, 20)])
def test_no_small_step_lowers_the_objective(n, d):
    """Central differences, with weights and a vector to shrink to; a planted fault is seen by the same measure."""
    random = torch.Generator().manual_seed(0)
    x, weights = problem(n, d, 3), torch.rand(n, generator=random).double()
    towards = torch.randn(d, generator=random).double()
    fits = fit_bradley_terry([x], [1e-2], weights=[weights], towards=towards)
    steps = 1e-4 * torch.eye(d).double()

    def slope(w: torch.Tensor) -> float:
        ahead, behind = (loss(w + s, x, 1e-2, weights, towards) for s in (steps, -steps))
        return ((ahead - behind) / 2e-4).abs().max().item()

    assert slope(fits.weight[0, 0]) < 1e-7
    assert slope(fit_bradley_terry([x], [1e-2], towards=towards).weight[0, 0]) > 1e-4  # without the weights
    assert slope(fit_bradley_terry([x], [1e-2], weights=[weights]).weight[0, 0]) > 1e-4  # shrunk to 0


def test_pairs_of_weight_0_and_other_problems_change_nothing():
    x, other = problem(50, 4, 1), problem(80, 4, 2)
    alone = fit_bradley_terry([x], PENALTIES)
    padded = torch.cat([x, 1e6 * torch.ones(30, 4).double()])
    masked = fit_bradley_terry(
        torch.stack([padded, other]),
        PENALTIES,
        weights=torch.stack([torch.ones(80), torch.ones(80)]).index_fill_(1, torch.arange(50, 80), 0.0),
    )
    together = fit_bradley_terry([other, x], torch.tensor([PENALTIES[::-1], PENALTIES], dtype=torch.float64))
    assert (masked.weight[0] - alone.weight[0]).abs().max() < 1e-9
    assert (together.weight[1] - alone.weight[0]).abs().max() < 1e-9
    assert (together.weight[0] - fit_bradley_terry([other], PENALTIES).weight[0].flip(0)).abs().max() < 1e-9
    twice = fit_bradley_terry([x], PENALTIES, weights=[1 + (torch.arange(50) < 10)])
    assert (twice.weight - fit_bradley_terry([torch.cat([x, x[:10]])], PENALTIES).weight).abs().max() < 1e-9


def test_problems_in_parts_are_the_same(monkeypatch):
    parts = [problem(30, 4, r) for r in range(5)]
    whole = fit_bradley_terry(parts, PENALTIES)
    monkeypatch.setattr(convex, "CELLS", 250)
    assert (fit_bradley_terry(parts, PENALTIES).weight - whole.weight).abs().max() < 1e-12


def test_a_large_penalty_ends_at_the_given_vector():
    towards = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    fits = fit_bradley_terry([problem(20, 3, 1), problem(2, 3, 2)], [1e-3, 1e9], towards=towards)
    assert (fits.weight[:, 1] - towards).abs().max() < 1e-8
    assert (fits.weight[:, 0] - towards).abs().max() > 1e-2


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_separable_pairs_and_extreme_scales_converge(scale):
    x = scale * problem(30, 3, 0).abs()
    fits = fit_bradley_terry([x, x[:2]], [1e-12, 1e-6, 1e3])
    assert fits.weight.isfinite().all() and (fits.gradient_norm <= 1e-10 * max(1.0, scale * 10)).all()


def test_without_penalty_the_maximum_likelihood():
    x = problem(200, 4, 0)
    ours = fit_bradley_terry([x], [0.0]).weight[0, 0]
    assert (ours - scikit(x, 1e-13)).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.ones(3, 2), "problem 1: with penalty 0 the pairs are separable"),
        (torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), "problem 1: with penalty 0 the pairs are separable"),
        (torch.tensor([[1.0, 1.0], [-1.0, -1.0], [2.0, 2.0]]), r"its 2 features are collinear \(rank 1\)"),
    ],
)
def test_without_penalty_what_has_no_one_minimiser_is_refused(x, message):
    sound = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [0.0, -1.0], [0.5, 1.0]])
    assert fit_bradley_terry([sound, x], [1e-3]).weight.isfinite().all()
    with pytest.raises(InputError, match=message):
        fit_bradley_terry([sound, x], [1e-3, 0.0])


ONES = torch.ones(2, 3, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [1.0]), "of at least 1 problem"),
        (([torch.ones(0, 2)], [1.0]), "problem 0: differences must be .* n >= 1"),
        (([torch.ones(3)], [1.0]), r"problem 0: .* got shape \(3,\)"),
        (([torch.ones(3, 2), torch.ones(3, 1)], [1.0]), "problem 1: .* one d"),
        (([torch.tensor([[1.0, float("nan")]])], [1.0]), "problem 0: .*non-finite feature in row 0, column 1"),
        ((ONES, [-1.0]), "penalty must be > 0"),
        ((ONES, [float("nan")]), "penalty must be > 0"),
        ((ONES, []), r"penalties must be \(P,\) or \(2, P\)"),
        ((ONES, torch.ones(3, 1)), r"penalties must be \(P,\) or \(2, P\)"),
        ((ONES, [1.0], [torch.ones(3)]), "differences are of 2 problems, weights of 1"),
        ((ONES, [1.0], [torch.ones(3), torch.ones(2)]), r"problem 1: weights must be \(3,\)"),
        ((ONES, [1.0], [torch.ones(3), -torch.ones(3)]), "problem 1: weights must be .* >= 0"),
        ((ONES, [1.0], torch.zeros(2, 3)), "problem 0: weights must be .* not all 0"),
        ((ONES, [1.0], None, torch.ones(3)), r"towards must be finite, \(2,\) or \(2, 2\), got shape \(3,\)"),
        ((ONES, [1.0], None, torch.tensor([1.0, torch.inf])), "towards must be finite"),
    ],
)
def test_bad_input_is_named(arguments, message):
    differences, penalties, weights, towards = (*arguments, None, None)[:4]
    with pytest.raises(InputError, match=message):
        fit_bradley_terry(differences, penalties, weights=weights, towards=towards)


def test_a_fit_that_has_not_converged_is_refused(monkeypatch):
    monkeypatch.setattr(convex, "STEPS", 2)
    with pytest.raises(InputError, match="problem 1: the gradient's norm is still .* after 2 Newton steps"):
        fit_bradley_terry([torch.zeros(5, 3), problem(20, 3, 0)], [1e-4])


@pytest.mark.parametrize("n", [200, 12])  # also fewer rows than features
def test_ridge_is_scikit_learns(n):
    rng, penalties = np.random.default_rng(n), (1e-3, 1e-1, 10.0)
    x, y = rng.normal(size=(n, 20)) + 1, rng.normal(size=(n, 4)) + 2
    y[::3, 1] = y[1, 3] = np.nan
    w, b = fit_ridge(torch.from_numpy(x), torch.from_numpy(y), penalties)
    for a in range(4):
        rows = ~np.isnan(y[:, a])
        for p, penalty in enumerate(penalties):
            reference = Ridge(alpha=penalty * rows.sum()).fit(x[rows], y[rows, a])
            assert np.allclose(w[a, p], reference.coef_, atol=1e-10)
            assert b[a, p].item() == pytest.approx(reference.intercept_)
            assert not np.allclose(w[a, p], Ridge(alpha=penalty).fit(x[rows], y[rows, a]).coef_, atol=1e-6)


@pytest.mark.parametrize(
    ("ratings", "penalties", "message"),
    [
        (torch.ones(3, 2), [1.0, 0], "penalty must be > 0, got 0"),
        (torch.tensor([[1.0, torch.nan]] * 3), [1.0], "at least one rated response of each attribute"),
        (torch.ones(3, 0), [1.0], "at least one rated response of each attribute"),
    ],
)
def test_bad_ratings_are_named(ratings, penalties, message):
    with pytest.raises(InputError, match=message):
        fit_ridge(torch.ones(3, 2), ratings, penalties)
