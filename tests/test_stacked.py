"""Trainings taken together end where each ends alone."""

from itertools import product

import pytest
import torch
from torch import nn

from micro_paper.mixture import Heads, StaticWeights, mixture_nll, stage1_loss
from micro_paper.router import PRIORS, REFRESH, Router, Stage2, adapt_router
from micro_paper.stacked import Job, train_together
from micro_paper.training import History, Schedule, TrainingError, train

WIDTH, READ = 12, 9


def fold(seed: int, n: int) -> tuple[torch.Tensor, ...]:
    """Feature table, chosen and rejected rows, prompt table and rows of n pairs."""
    draw = torch.Generator().manual_seed(seed)
    tables = (torch.randn(80, width, generator=draw, dtype=torch.float64) for width in (WIDTH, READ))
    rows = (torch.randint(80, (n,), generator=draw) for _ in range(3))
    (phi, u), (chosen, rejected, prompt) = tables, rows
    return phi, chosen, rejected, u, prompt


FOLDS = [(fold(0, 150), fold(10, 60)), (fold(1, 130), fold(11, 50)), (fold(2, 65), fold(12, 40))]
# K, hidden units (or static weights: learnt or not), alpha, epochs, step size, patience
STAGE1 = [
    (1, 16, 0.5, 3, 0.01, 1),
    (5, 16, 0.0, 3, 0.02, 1),
    (8, 16, 0.05, 6, 0.05, 1),
    (3, 0, 0.5, 4, 0.01, 0),
    (4, True, 0.5, 4, 0.05, 1),
    (6, False, 0.5, 6, 0.05, 2),
]


def stage1(data, seed, count, hidden, alpha, epochs, rate, patience, steps=0, *, alone: bool):
    """Return the modules of one training of Eq. 4, and its history (alone) or its job."""
    (phi, chosen, rejected, u, prompt), held = data
    source = [torch.Generator().manual_seed(3 * seed + i) for i in range(3)]
    heads = Heads(count, WIDTH, source[0], torch.float64)
    if isinstance(hidden, bool):
        weights = StaticWeights(count, hidden, torch.float64)
    else:
        weights = Router(READ, count, hidden, source[1], torch.float64)
    modules = nn.ModuleList([heads, weights])
    schedule = Schedule(learning_rate=rate, epochs=epochs, steps=steps)

    def validate() -> float:
        reward = heads(held[0])
        return mixture_nll(reward[held[1]] - reward[held[2]], weights(held[3])[held[4]]).item()

    def loss(rows):
        return stage1_loss(heads(phi[chosen[rows]] - phi[rejected[rows]]), weights(u[prompt[rows]]), alpha)

    early = {"validate": validate, "patience": patience}
    if alone:
        return modules, train(modules, loss, len(chosen), schedule, source[2], **early)
    pairs = (phi, chosen, rejected)
    return modules, Job(weights, (u, prompt), schedule, source[2], heads=heads, pairs=pairs, alpha=alpha, **early)


def apart(first: nn.Module, second: nn.Module) -> float:
    """The largest difference of their parameters."""
    return max((a - b).abs().max().item() for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("steps", [1, 7, 12])
def test_so_many_steps_of_trainings_with_other_numbers_of_pairs(steps):
    """65, 130 and 150 pairs: the last pass of each is cut short elsewhere, and `epochs` counts no more."""
    wanted = [(data, 0, 4, 16, 0.5, epochs, 0.02, 0, steps) for data, epochs in zip(FOLDS, (1, 2, 9), strict=True)]
    alone = [stage1(*one, alone=True) for one in wanted]
    together = [stage1(*one, alone=False) for one in wanted]
    for one, (modules, history), (stacked, job), found in zip(
        wanted, alone, together, train_together([job for _, job in together]), strict=True
    ):
        assert apart(modules, stacked) < 1e-10 and job.steps == steps
        assert found.train == pytest.approx(history.train, abs=1e-10)
        assert len(found.train) == -(-steps // job.per_epoch)
        fewer = stage1(*one[:-1], steps + 1, alone=True)[0]
        assert apart(modules, fewer) > 1e-6


def test_stage_1_of_folds_seeds_heads_and_settings_at_once():
    wanted = [(data, seed, *settings) for data, seed, settings in product(FOLDS, range(2), STAGE1)]
    alone = [stage1(*one, alone=True) for one in wanted]
    together = [stage1(*one, alone=False) for one in wanted]
    histories = train_together([job for _, job in together])
    for (modules, history), (stacked, _), found in zip(alone, together, histories, strict=True):
        assert apart(modules, stacked) < 1e-10
        assert (found.best_epoch, len(found.train)) == (history.best_epoch, len(history.train))
        assert found.train == pytest.approx(history.train, abs=1e-10)
        assert found.validation == pytest.approx(history.validation, abs=1e-10)
        assert all(p.untyped_storage().nbytes() == 8 * p.numel() for p in stacked.parameters())  # holds no others
    assert len({h.best_epoch for h in histories}) > 2 and len({len(h.train) for h in histories}) > 2
    assert apart(alone[0][0], together[6][0]) > 1e-3  # another seed


RULES = [(*rule, "hedge") for rule in product(PRIORS, REFRESH)] + [("current", "epoch", "mixture")]


def stage2(n, count, hidden, rules, *, alone: bool):
    """Return the router of one run of Algorithm 1, and its history (alone) or its job."""
    phi, _, _, u, prompt = FOLDS[0][0]
    draw = torch.Generator().manual_seed(n)
    router = Router(READ, count, hidden, draw, torch.float64)
    margins = 2 * torch.randn(n, count, generator=draw, dtype=torch.float64)
    before = torch.randn(n, count, generator=draw, dtype=torch.float64).log_softmax(-1)
    prior, refresh, objective = rules
    settings = Stage2(1e-3 if n < 100 else 0.3, prior, refresh, objective)
    order = torch.Generator().manual_seed(7)
    if alone:
        return router, adapt_router(router, margins, u[prompt[:n]], settings, order, stage1_log_weights=before)
    read = u, prompt[:n]
    return router, Job(router, read, settings.schedule, order, margins=margins, stage2=settings, before=before)


def test_stage_2_of_budgets_heads_and_rules_at_once():
    wanted = [*product((5, 70), (1, 4), (16,), RULES), (33, 4, 0, RULES[0]), (110, 4, 16, RULES[0])]
    alone = [stage2(*one, alone=True) for one in wanted]
    together = [stage2(*one, alone=False) for one in wanted]
    histories = train_together([job for _, job in together])
    for (router, history), (stacked, _), found in zip(alone, together, histories, strict=True):
        assert apart(router, stacked) < 1e-10
        assert found.train == pytest.approx(history.train, abs=1e-10)
    default, *others = (router for (*one, _), (router, _) in zip(wanted, together, strict=True) if one == [70, 4, 16])
    assert min(apart(default, other) for other in others) > 1e-6


def test_chunks_change_nothing(monkeypatch):
    monkeypatch.setattr("micro_paper.stacked.NUMBERS", 1000)
    wanted = [(FOLDS[i % 3], i, *STAGE1[i % 3]) for i in range(7)]
    for one, (modules, job) in zip(wanted, [stage1(*one, alone=False) for one in wanted], strict=True):
        assert len(train_together([job])) == 1 and apart(modules, stage1(*one, alone=True)[0]) < 1e-10


def test_nothing_to_train():
    weights, heads = StaticWeights(3, False, torch.float64), Heads(3, 2, torch.Generator(), torch.float64)
    heads.requires_grad_(False)
    rows, table = torch.zeros(4, dtype=torch.long), torch.ones(1, 2, dtype=torch.float64)
    job = Job(weights, (table, rows), Schedule(), torch.Generator(), heads=heads, pairs=(table, rows, rows))
    assert train_together([job]) == [History()] and train_together([]) == []


def test_heads_that_stay():
    routers = []
    for alone in (True, False):
        modules, job = stage1(FOLDS[0], 0, 3, 16, 0.5, 2, 0.01, 0, alone=False)
        modules[0].requires_grad_(False)
        start = modules[0].weight.clone()
        history = job.alone() if alone else train_together([job])[0]
        assert torch.equal(modules[0].weight, start) and len(history.train) == 2
        routers.append(modules[1])
    assert apart(*routers) < 1e-10


def test_in_float32_each_is_alone(monkeypatch):
    def router(dtype, n):
        made = Router(READ, 3, 8, torch.Generator().manual_seed(n), dtype)
        features, margins = (torch.randn(40, k, generator=torch.Generator().manual_seed(n)) for k in (READ, 3))
        order, settings = torch.Generator().manual_seed(n), Stage2(0.1)
        job = Job(
            made,
            (features.to(dtype), torch.arange(40)),
            settings.schedule,
            order,
            margins=margins.to(dtype),
            stage2=settings,
        )
        return made, job

    (one, job), (same, again) = router(torch.float32, 1), router(torch.float32, 1)
    train_together([job, router(torch.float32, 2)[1]])
    again.alone()
    assert apart(one, same) == 0
    monkeypatch.setattr(Job, "alone", None)
    assert len(train_together([router(torch.float64, 1)[1]])) == 1
    with pytest.raises(TypeError):
        train_together([job])


@pytest.mark.parametrize("place", ["train", "validation"])
def test_a_loss_that_is_not_finite_is_told_as_alone(place):
    data = tuple(tuple(part.clone() for part in half) for half in FOLDS[0])
    half = data[place == "validation"]
    half[0][half[1][3]] = torch.nan
    told = []
    for alone in (True, False):
        with pytest.raises(TrainingError) as error:
            job = stage1(data, 0, *STAGE1[0], alone=alone)[1]
            train_together([stage1(FOLDS[1], 1, *STAGE1[1], alone=False)[1], job])
        told.append(str(error.value))
    assert told[0] == told[1]
