"""The shared-base ensemble: frozen priors of unit margin, the loss by hand, and the collapse under a linear prior."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from micro_paper.convex import fit_bradley_terry
from micro_paper.errors import InputError
from micro_paper.experiments.worlds import context_budget
from micro_paper.methods.shared_base import BETA, UNITS, LinearPrior, SharedBase, SharedBaseMLP, TanhPrior

QUICK = {"heads": 4, "dtype": "float64", "learning_rate": 1e-2}
BOTH = pytest.mark.parametrize("method", [SharedBase, SharedBaseMLP])


def agreement(margins):
    """Mean correlation between the margins (n, K) of different heads."""
    c = np.corrcoef(margins.T)
    return c[np.triu_indices(len(c), 1)].mean()


@BOTH
def test_protocol_and_antisymmetry(method, world):
    fitted = method(QUICK, 0).fit(world["train"], world["validation"])
    p, q = (fitted.predict_proba(pairs) for pairs in (world["test"], world["test"].flip()))
    assert np.abs(p + q - 1).max() < 1e-12
    margins = fitted.head_margins(world["test"])
    assert margins.shape == (len(world["test"]), 4)
    assert np.allclose(p, (1 / (1 + np.exp(-margins))).mean(axis=1), atol=1e-12)
    assert np.array_equal(fitted.adapt(context_budget(world["train"], 5, 0)).predict_proba(world["test"]), p)
    assert (fitted.predict_proba(world["test"].with_tables(rejected=world["test"].chosen)) == 0.5).all()


@BOTH
def test_priors_have_margin_beta_and_are_frozen(method, world):
    fitted = method(QUICK, 0)
    pairs, _ = fitted._prepared(world["train"], world["validation"])
    before = {k: v.clone() for k, v in fitted._make_heads(pairs).prior.state_dict().items()}
    fitted.fit(world["train"], world["validation"])
    after = fitted.heads.prior.state_dict()
    assert before and all(torch.equal(before[k], after[k]) for k in before)
    assert [name for name, _ in fitted.heads.named_parameters()] == ["weight"]
    prior = fitted.heads.prior(pairs.responses)
    assert torch.allclose(
        (prior[pairs.chosen] - prior[pairs.rejected]).square().mean(0).sqrt(), torch.tensor(BETA).double()
    )


@pytest.mark.parametrize(("prior", "linear"), [(LinearPrior, True), (TanhPrior, False)])
def test_what_no_weight_can_undo(prior, linear):
    """Share of a prior's variance that the best linear reward leaves: none of a linear one, much of a curved one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 12, generator=generator, dtype=torch.float64)
    p = prior(3, 12, generator)(x)
    x, p = x - x.mean(0), p - p.mean(0)
    left = p - x @ torch.linalg.lstsq(x, p).solution
    share = (left.var(0) / p.var(0)).numpy()
    assert (share < 1e-20).all() if linear else (share > 0.2).all()


def test_tanh_prior_by_hand():
    prior = TanhPrior(2, 3, torch.Generator().manual_seed(1))
    x = torch.randn(5, 3, dtype=torch.float64)
    by_hand = [
        [
            sum(prior.outer[k, u] * torch.tanh(prior.inner[u] @ row + prior.bias[u]) for u in range(UNITS))
            for k in (0, 1)
        ]
        for row in x
    ]
    assert torch.allclose(prior(x), torch.tensor(by_hand, dtype=torch.float64))


def test_validation_loss_is_the_mean_of_single_losses(world):
    fitted = SharedBaseMLP(QUICK, 0).fit(world["train"], world["validation"])
    margins = fitted.head_margins(world["validation"])
    single = [np.log1p(np.exp(-margins[:, k])).mean() for k in range(4)]
    assert fitted.history.validation[fitted.history.best_epoch] == pytest.approx(np.mean(single), abs=1e-12)


def test_the_first_step_follows_the_mean_loss(world):
    """One step over all pairs: AdamW moves every weight by the step size, against the sign of the mean loss's slope."""
    n = len(world["train"])
    settings = QUICK | {"batch_size": n, "epochs": 1, "weight_decay": 0.0, "warmup_ratio": 0.0, "learning_rate": 1e-3}
    fitted = SharedBaseMLP(settings | {"early_stopping": False}, 0)
    pairs, _ = fitted._prepared(world["train"], world["validation"])
    start = fitted._make_heads(pairs)
    r = start(pairs.responses)
    margin = (r[pairs.chosen] - r[pairs.rejected]).detach()
    slope = -((1 - margin.sigmoid()).T @ pairs.difference) / margin.numel()
    step = fitted.fit(world["train"], world["validation"]).heads.weight.detach() - start.weight.detach()
    assert fitted.history.train == [pytest.approx(-margin.sigmoid().log().mean().item(), abs=1e-12)]
    clear = slope.abs() > 1e-4
    assert clear.float().mean() > 0.9
    assert torch.allclose(step[clear], -1e-3 * slope.sign()[clear], rtol=1e-3)


def test_a_linear_prior_collapses_a_curved_one_does_not(world):
    """The longer the training, the more the heads of the linear prior are the one Bradley-Terry optimum."""
    agreements = {}
    settings = QUICK | {"weight_decay": 0.0, "early_stopping": False, "batch_size": 600}
    for method in (SharedBase, SharedBaseMLP):
        for epochs in (1, 400):
            fitted = method(settings | {"epochs": epochs}, 0).fit(world["train"], world["validation"])
            agreements[method, epochs] = agreement(fitted.head_margins(world["test"]))
            if (method, epochs) == (SharedBase, 400):
                pairs, _ = fitted._prepared(world["train"], world["validation"])
                optimum = fit_bradley_terry([pairs.difference], [1e-9]).weight[0, 0]
                total = fitted.heads.weight.detach() + fitted.heads.prior.outer
                assert torch.allclose(total, optimum.expand(4, -1), atol=0.02)
                assert not torch.allclose(fitted.heads.weight.detach(), optimum.expand(4, -1), atol=0.1)
    assert agreements[SharedBase, 1] < 0.5
    assert agreements[SharedBase, 400] > 0.999
    assert agreements[SharedBaseMLP, 400] < 0.9


@BOTH
def test_unit_head_scale(method, world):
    raw = method(QUICK, 0).fit(world["train"], world["validation"]).head_margins(world["train"])
    fitted = method(QUICK | {"head_scale": "unit"}, 0).fit(world["train"], world["validation"])
    unit = fitted.head_margins(world["train"])
    assert np.allclose(np.sqrt((unit**2).mean(0)), 1) and np.allclose(raw / np.sqrt((raw**2).mean(0)), unit)


@BOTH
def test_seeds_labels_and_refits(method, world):
    train, validation, test = world["train"], world["validation"], world["test"]
    first, again, other = (method(QUICK, seed).fit(train, validation).predict_proba(test) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    blind = replace(train, attribute=np.array(["?"] * len(train)), context=None, contexts=None)
    assert np.array_equal(method(QUICK, 0).fit(blind, validation).predict_proba(test), first)
    refit = method(QUICK, 0).fit(train.select(slice(0, 40)), validation).fit(train, validation)
    assert np.array_equal(refit.predict_proba(test), first)


@BOTH
def test_bad_pairs_are_refused(method, world):
    none = world["train"].select(slice(0, 0))
    with pytest.raises(InputError, match="there are no training pairs"):
        method(QUICK).fit(none, world["validation"])
    assert np.isfinite(method(QUICK).fit(world["train"], none).predict_proba(world["test"])).all()
    spoiled = world["train"].responses.clone()
    spoiled[3] = torch.nan
    with pytest.raises(InputError, match="features of the responses hold a non-finite value"):
        method(QUICK).fit(world["train"].with_tables(responses=spoiled), world["validation"])
