"""Eq. 1-4: against brute force, finite differences, scikit-learn and symmetries."""

import math

import pytest
import torch

from micro_paper.bradley_terry import log_preference
from micro_paper.convex import fit_bradley_terry
from micro_paper.errors import InputError
from micro_paper.mixture import Heads, mixture_log_likelihood, mixture_nll, stage1_loss, uniformity_penalty


def instance(seed: int, n: int = 7, k: int = 4):
    rng = torch.Generator().manual_seed(seed)
    margins = 3 * torch.randn(n, k, generator=rng, dtype=torch.float64)
    log_weights = torch.randn(n, k, generator=rng, dtype=torch.float64).log_softmax(-1)
    return margins, log_weights


@pytest.mark.parametrize("seed", range(20))
def test_nll_equals_the_brute_force_sum(seed):
    margins, log_weights = instance(seed)
    total = 0.0
    for d, f in zip(margins.tolist(), log_weights.exp().tolist(), strict=True):
        total -= math.log(sum(w / (1 + math.exp(-m)) for w, m in zip(f, d, strict=True)))
    assert mixture_nll(margins, log_weights).item() == pytest.approx(total / len(margins), abs=1e-12)
    static = log_weights[0]
    same = mixture_nll(margins, static.expand(len(margins), -1))
    assert mixture_nll(margins, static).item() == pytest.approx(same.item(), abs=1e-12)


def test_gradients_equal_finite_differences():
    margins, logits = instance(3)
    margins.requires_grad_(), logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda d, g: stage1_loss(d, g.log_softmax(-1), 0.5), (margins, logits))
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda d, g: Tampered.apply(d) + 0 * g.sum(), (margins, logits))


class Tampered(torch.autograd.Function):
    """The likelihood with a gradient of the wrong sign: what the finite differences must reject."""

    @staticmethod
    def forward(ctx, margins):
        ctx.save_for_backward(margins)
        return -log_preference(margins).mean()

    @staticmethod
    def backward(ctx, grad):
        (margins,) = ctx.saved_tensors
        return grad * torch.sigmoid(-margins) / margins.numel()


def test_permuting_heads_changes_nothing():
    margins, log_weights = instance(4)
    order = torch.tensor([2, 0, 3, 1])
    loss = stage1_loss(margins, log_weights, 0.5)
    assert stage1_loss(margins[:, order], log_weights[:, order], 0.5).item() == pytest.approx(loss.item(), abs=1e-14)
    assert stage1_loss(margins[:, order], log_weights, 0.5).item() != pytest.approx(loss.item(), abs=1e-3)


def test_both_orders_of_a_pair_sum_to_one():
    margins, log_weights = instance(5)
    p, q = (mixture_log_likelihood(d, log_weights).exp() for d in (margins, -margins))
    assert torch.allclose(p + q, torch.ones_like(p), atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
def test_extreme_margins_stay_finite(dtype, size):
    margins = torch.tensor([[size, -size], [-size, -size]], dtype=dtype, requires_grad=True)
    loss = mixture_nll(margins, torch.tensor([0.5, 0.5], dtype=dtype).log())
    loss.backward()
    assert loss.dtype == dtype and torch.isfinite(loss) and torch.isfinite(margins.grad).all()
    expected = 0.5 * (math.log(2) - math.log1p(math.exp(-2 * size))) + 0.5 * size if size > 1 else None
    if expected is not None:  # row 1: log(1/2) to rounding; row 2: size
        assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_zero_weights_are_kept_and_harmless():
    margins, _ = instance(6, n=3, k=2)
    log_weights = torch.tensor([0.0, -torch.inf], dtype=torch.float64)
    assert mixture_nll(margins, log_weights).item() == pytest.approx(-log_preference(margins[:, 0]).mean().item())
    rows = log_weights.expand(3, -1).clone().requires_grad_()
    penalty = uniformity_penalty(rows)
    penalty.backward()
    assert penalty.item() == 0.0 and torch.isfinite(rows.grad).all()


def test_uniformity_penalty_is_least_at_uniform_weights():
    uniform = torch.full((1, 5), 1 / 5, dtype=torch.float64).log()
    assert uniformity_penalty(uniform).item() == pytest.approx(-math.log(5))
    _, log_weights = instance(7, k=5)
    assert uniformity_penalty(log_weights).item() > -math.log(5)


@pytest.mark.parametrize("shape", [(3,), (7, 3), (4, 7), ()])
def test_shapes_that_do_not_fit_are_refused(shape):
    margins, _ = instance(8)
    with pytest.raises(InputError, match="log_weights"):
        mixture_nll(margins, torch.zeros(shape, dtype=torch.float64))


def test_no_head_is_refused():
    with pytest.raises(InputError, match="heads must be >= 1, got 0"):
        Heads(0, 3, torch.Generator())


@pytest.mark.parametrize("seed", range(3))
def test_a_mixture_of_one_is_the_single_reward(seed):
    rng = torch.Generator().manual_seed(seed)
    d = torch.randn(200, 5, generator=rng, dtype=torch.float64) + 0.3
    penalty = 1e-2
    w = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [w], max_iter=500, tolerance_grad=1e-10, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimiser.zero_grad()
        loss = mixture_nll(d @ w.T, torch.zeros(1, dtype=torch.float64)) + penalty * w.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert (w.detach()[0] - fit_bradley_terry([d], [penalty]).weight[0, 0]).abs().max() < 1e-6
