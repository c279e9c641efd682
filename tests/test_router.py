"""Eq. 5 and Algorithm 1: against random points, limits, and its switches."""

import copy

import pytest
import torch

from micro_paper.errors import InputError
from micro_paper.mixture import mixture_nll
from micro_paper.router import Router, Stage2, adapt_router, cross_entropy, hedge_targets, weighted_loss
from micro_paper.training import Schedule, TrainingError, train


def instance(seed: int, n: int = 5, k: int = 4):
    rng = torch.Generator().manual_seed(seed)
    prior = torch.rand(n, k, generator=rng, dtype=torch.float64)
    losses = 2 * torch.rand(n, k, generator=rng, dtype=torch.float64)
    return prior / prior.sum(-1, keepdim=True), losses


def objective(f, prior, losses, tau):
    return (f * losses).sum(-1) + tau * (f * (f / prior).log()).sum(-1)


@pytest.mark.parametrize("tau", [0.05, 0.5, 5.0])
def test_hedge_targets_beat_random_points_of_the_simplex(tau):
    prior, losses = instance(0)
    best = objective(hedge_targets(prior, losses, tau), prior, losses, tau)
    points = torch.distributions.Dirichlet(torch.ones(4, dtype=torch.float64)).sample((1000, 5))
    assert (objective(points, prior, losses, tau) >= best - 1e-12).all()
    swapped = objective(hedge_targets(prior, -losses, tau), prior, losses, tau)
    assert (swapped > best).all()


def test_limits_in_tau():
    prior, losses = instance(1)
    assert torch.allclose(hedge_targets(prior, losses, 1e9), prior, atol=1e-8)
    one_hot = hedge_targets(prior, losses, 1e-9)
    assert torch.equal(one_hot.argmax(-1), losses.argmin(-1)) and torch.allclose(
        one_hot.amax(-1), torch.ones(5).double()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiny_tau_is_stable_and_ties_keep_the_prior(dtype):
    prior = torch.tensor([[0.2, 0.6, 0.2], [0.0, 0.5, 0.5]], dtype=dtype)
    losses = torch.tensor([[1e4, 1e4, 2e4], [0.0, 3.0, 1.0]], dtype=dtype)
    omega = hedge_targets(prior, losses, 1e-6)
    assert omega.dtype == dtype
    assert torch.allclose(omega, torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]], dtype=dtype), atol=1e-6)


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan")])
def test_tau_must_be_positive(tau):
    with pytest.raises(InputError, match="tau must be > 0"):
        hedge_targets(*instance(2), tau)
    with pytest.raises(InputError, match="tau must be > 0"):
        Stage2(tau=tau)


def test_bad_priors_are_refused():
    prior, losses = instance(3)
    with pytest.raises(InputError, match="prior must be >= 0"):
        hedge_targets(prior - 1, losses, 1.0)
    with pytest.raises(InputError, match=r"must both be \(n, K\)"):
        hedge_targets(prior[:, :2], losses, 1.0)


def test_weighted_loss_bounds_the_mixture_nll():
    for seed in range(50):
        rng = torch.Generator().manual_seed(seed)
        margins = 4 * torch.randn(6, 3, generator=rng, dtype=torch.float64)
        log_weights = torch.randn(6, 3, generator=rng, dtype=torch.float64).log_softmax(-1)
        assert weighted_loss(margins, log_weights) >= mixture_nll(margins, log_weights) - 1e-12
    # tight where all heads agree
    same = torch.full((2, 3), 0.7, dtype=torch.float64)
    uniform = torch.full((2, 3), 1 / 3, dtype=torch.float64).log()
    assert weighted_loss(same, uniform).item() == pytest.approx(mixture_nll(same, uniform).item())


def problem():
    """Two contexts, two opposed heads: head c is right in context c."""
    rng = torch.Generator().manual_seed(0)
    context = torch.arange(40) % 2
    features = torch.nn.functional.one_hot(context, 2).double()
    margin = 2 + torch.rand(40, generator=rng, dtype=torch.float64)
    margins = torch.stack([margin, -margin], 1)
    margins[context == 1] *= -1
    router = Router(2, 2, 8, torch.Generator().manual_seed(1), torch.float64)
    return router, margins, features, context


@pytest.mark.parametrize("prior", ["current", "stage1", "carried"])
@pytest.mark.parametrize("refresh", ["epoch", "batch"])
@pytest.mark.parametrize("kind", ["hedge", "mixture"])
def test_every_switch_learns_to_route(prior, refresh, kind):
    router, margins, features, context = problem()
    before = copy.deepcopy(router.state_dict())
    stage2 = Stage2(0.1, prior, refresh, kind, Schedule(1e-2, 8, 40, 0.0, "constant", 0.0))
    start = torch.full((40, 2), 0.5, dtype=torch.float64).log()
    adapt_router(router, margins, features, stage2, torch.Generator().manual_seed(2), stage1_log_weights=start)
    weights = router(features).exp()
    assert (weights.gather(1, context[:, None]) > 0.9).all()
    assert any((router.state_dict()[k] != v).any() for k, v in before.items())


def test_targets_are_fixed_within_an_epoch_unless_refreshed():
    """Against a hand-written Algorithm 1, step by step."""
    for refresh in ("epoch", "batch"):
        router, margins, features, _ = problem()
        mine = copy.deepcopy(router)
        schedule = Schedule(1e-2, 16, 3, 0.0, "constant", 0.01)
        adapt_router(
            router,
            margins,
            features,
            Stage2(0.5, "current", refresh, "hedge", schedule),
            torch.Generator().manual_seed(3),
        )
        generator = torch.Generator().manual_seed(3)
        optimiser = torch.optim.AdamW(mine.parameters(), lr=1e-2, weight_decay=0.01)
        losses = -torch.nn.functional.logsigmoid(margins)
        for _ in range(3):
            omega = hedge_targets(mine(features).exp().detach(), losses, 0.5)
            for rows in torch.randperm(40, generator=generator).split(16):
                if refresh == "batch":
                    omega[rows] = hedge_targets(mine(features[rows]).exp().detach(), losses[rows], 0.5)
                optimiser.zero_grad()
                cross_entropy(omega[rows], mine(features[rows])).backward()
                optimiser.step()
        for a, b in zip(router.parameters(), mine.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(("name", "value"), [("prior", "old"), ("refresh", "step"), ("objective", "mse")])
def test_unknown_switches_are_named(name, value):
    with pytest.raises(InputError, match=f"{name} must be one of"):
        Stage2(**{name: value})


def test_schedule_warms_up_and_decays():
    schedule = Schedule(warmup_ratio=0.1, epochs=1)
    factors = [schedule.factor(i, 100) for i in range(100)]
    assert factors[0] == pytest.approx(0.1) and factors[9] == 1.0 and factors[10] == 1.0
    assert factors[99] < 1e-2 and all(a >= b for a, b in zip(factors[10:], factors[11:], strict=False))
    assert Schedule(decay="constant", warmup_ratio=0.0).factor(99, 100) == 1.0


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"learning_rate": 0}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"warmup_ratio": 2}, "warmup_ratio"),
        ({"decay": "step"}, "decay"),
    ],
)
def test_bad_schedules_are_named(values, name):
    with pytest.raises(InputError, match=name):
        Schedule(**values)


def test_a_non_finite_loss_says_where_and_why():
    model = torch.nn.Linear(1, 1)
    x = torch.ones(64, 1)
    x[40] = torch.inf

    with pytest.raises(TrainingError, match=r"step \d.*batch \d.*likely a non-finite feature.*learning_rate"):
        train(model, lambda rows: model(x[rows]).square().mean(), 64, Schedule(batch_size=8), torch.Generator())
    with pytest.raises(InputError, match="no training pairs"):
        train(model, lambda rows: model(x[rows]).mean(), 0, Schedule(), torch.Generator())


def test_early_stopping_keeps_the_epoch_with_the_least_validation_loss():
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    seen = []
    losses = iter([3.0, 1.0, 2.0])

    def validate():
        seen.append(model.weight.item())
        return next(losses)

    x = torch.ones(8, 1, dtype=torch.float64)
    history = train(
        model,
        lambda rows: -model(x[rows]).mean(),
        8,
        Schedule(epochs=3),
        torch.Generator(),
        validate=validate,
    )
    assert history.best_epoch == 1 and model.weight.item() == seen[1] and seen[2] != seen[1]


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (1, 3), (2, 6)])
def test_patience_ends_training_where_validation_no_longer_falls(patience, epochs):
    model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    losses = iter([3.0, 1.0, 2.0, 0.5, 0.6, 0.7])
    history = train(
        model,
        lambda rows: -model(torch.ones(len(rows), 1, dtype=torch.float64)).mean(),
        8,
        Schedule(epochs=6),
        torch.Generator(),
        validate=lambda: next(losses),
        patience=patience,
    )
    assert len(history.validation) == len(history.train) == epochs
    assert history.best_epoch == (1 if patience == 1 else 3)
