"""`micro_plus`: what it may see, its parts by other routes, and its two limits (micro and the few-shot control)."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from micro_paper import metrics, synthetic
from micro_paper.bradley_terry import fit_bradley_terry
from micro_paper.criteria import CriterionRouter, criterion_heads, criterion_weights, sharpened
from micro_paper.errors import InputError
from micro_paper.methods import Method, make
from micro_paper.micro_plus import CHOICES, MicroPlus, _Budget
from micro_paper.search import TRIALS, Choice
from micro_paper.worlds import context_budget

QUICK = {"heads": 3, "dtype": "float64", "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def world():
    draw = synthetic.draw_world("synthetic-audience", train=240, validation=60, test=60)
    return {name: sample.pairs for name, sample in draw.items()}


@pytest.fixture(scope="module")
def context(world):
    return context_budget(world["train"], 15, 0)


@pytest.fixture(scope="module")
def stage1(world):
    return MicroPlus(QUICK, 0).fit(world["train"], world["validation"])


@pytest.fixture
def method(stage1, context):
    return copy.copy(stage1).adapt(context)


def without(pairs):
    return replace(pairs, contexts=None, context=None)


def pinned(**options):
    return [replace(c, options=(options[c.name],), start=0) if c.name in options else c for c in CHOICES]


def test_protocol_and_log(method, world):
    assert isinstance(method, Method)
    assert "within the budget" in method.supervision and "validation for choices" in method.supervision
    p, q = method.predict_proba(world["test"]), method.predict_proba(world["test"].flip())
    assert ((p >= 0) & (p <= 1)).all() and np.abs(p + q - 1).max() < 1e-12
    assert {c.name for c in CHOICES} == set(method.chosen)
    assert len(method.log) == TRIALS + len(CHOICES) - 1
    assert {t.name: t.option for t in method.log if t.chosen} == method.chosen
    assert metrics.nll(method.predict_proba(world["validation"])) == pytest.approx(method.log[-1].nll, abs=1e-12) or (
        not method.log[-1].chosen
    )


def test_the_heads_of_stage_1_stay(stage1, method, world):
    assert any(torch.equal(method.heads.weight, m.heads.weight) for m in stage1._stage1.values())
    assert method.head_margins(world["test"]).shape == method.mixture_weights(world["test"]).shape
    assert (method.mixture_weights(world["test"]).sum(axis=1) <= 1 + 1e-9).all()


def test_nothing_chosen_is_micro(stage1, world, context):
    """With every choice at its first option the method is the paper's, in stage 1 and after stage 2."""
    micro = make("micro", QUICK, 0).fit(world["train"], world["validation"])
    ours = copy.copy(stage1).restrict(())
    alone = MicroPlus(QUICK, 0, choices=()).fit(world["train"], world["validation"])
    assert np.array_equal(alone.predict_proba(world["test"]), micro.predict_proba(world["test"]))
    expected = micro.adapt(context).predict_proba(world["test"])
    for found in (ours, alone):
        assert np.array_equal(found.adapt(context).predict_proba(world["test"]), expected)


def test_all_weight_on_the_criterions_head_is_the_few_shot_control(stage1, world, context):
    """Same classifier, same ridge fits: with u(x, c) at its own scale and no weight on stage 1 both agree."""
    fixed = {"share": 1.0, "added": 0.3, "input": "own scale", "temperature": False, "router": "criteria"}
    ours = copy.copy(stage1).restrict(pinned(**fixed)).adapt(context).predict_proba(world["test"])
    control = make("criterion_fewshot", QUICK, 0).fit(world["train"], world["validation"])
    control.stage2_validation = without(world["validation"])
    control.adapt(context)
    rows = torch.from_numpy(np.stack([context.attribute == a for a in control.names]))
    difference = control._scaled_difference(context)
    control.heads = torch.stack([fit_bradley_terry(difference[r], 0.3) for r in rows])
    assert np.abs(ours - control.predict_proba(world["test"])).max() < 1e-5


def test_choices_come_from_validation_alone(stage1, world, context):
    base = copy.copy(stage1).adapt(context)
    flipped = copy.copy(stage1)
    flipped.stage2_validation = world["validation"].flip()
    flipped.adapt(context)
    assert flipped.log != base.log and flipped.chosen != base.chosen
    hidden = replace(world["train"], attribute=np.array(["?"] * len(world["train"])), context=None, contexts=None)
    blind = MicroPlus(QUICK, 0).fit(hidden, world["validation"]).adapt(context)
    assert blind.log == base.log
    assert np.array_equal(blind.predict_proba(world["test"]), base.predict_proba(world["test"]))


def test_the_budgets_labels_matter_and_their_names_only_as_groups(stage1, world, context):
    base = copy.copy(stage1).adapt(context)
    renamed = replace(context, attribute=np.char.add("z-", context.attribute.astype(str)))
    assert np.allclose(
        copy.copy(stage1).adapt(renamed).predict_proba(world["test"]), base.predict_proba(world["test"]), atol=1e-8
    )
    fixed = pinned(added=0.3, share=0.9, strength=10.0, router="criteria", objective="mixture")
    right, wrong = (
        copy.copy(stage1).restrict(fixed).adapt(c).predict_proba(world["test"]) for c in (context, context.flip())
    )
    assert metrics.accuracy(wrong) < metrics.accuracy(right) - 0.05


def test_several_budgets_share_one_fit(stage1, world, context):
    method = copy.copy(stage1)
    before = method.predict_proba(world["test"])
    small = context_budget(world["train"], 4, 0)
    first, chosen = method.adapt(small).predict_proba(world["test"]), method.chosen
    method.adapt(context)
    assert np.array_equal(method.adapt(small).predict_proba(world["test"]), first) and method.chosen == chosen
    method.forget_stage2()
    assert np.array_equal(method.predict_proba(world["test"]), before) and method.log == ()


def test_same_seed_same_bits(stage1, world, context, method):
    again = MicroPlus(QUICK, 0).fit(world["train"], world["validation"]).adapt(context)
    assert np.array_equal(again.predict_proba(world["test"]), method.predict_proba(world["test"]))
    assert again.log == method.log
    other = MicroPlus(QUICK, 1).fit(world["train"], world["validation"]).adapt(context)
    assert not np.array_equal(other.predict_proba(world["test"]), method.predict_proba(world["test"]))


def test_without_contexts_stage_1_alone_chooses(world, context):
    train, validation, test = (without(world[k]) for k in ("train", "validation", "test"))
    method = MicroPlus(QUICK, 0).fit(train, validation)
    losses = {o: metrics.nll(m.predict_proba(validation)) for o, m in method._stage1.items()}
    kept = min(losses, key=losses.get)
    assert np.array_equal(method.predict_proba(test), method._stage1[kept].predict_proba(test))
    # Stage 2 on validation pairs without contexts: as set, from the stage 1 that was chosen.
    method.adapt(context)
    assert method.log == () and method.chosen["router"] == "stage 1's" and method.chosen["stage1"] == kept
    assert np.array_equal(
        method.predict_proba(world["test"]), method._stage1[kept].adapt(context).predict_proba(world["test"])
    )
    none = world["validation"].select(slice(0, 0))
    assert MicroPlus(QUICK, 0).fit(train, none).adapt(context).chosen["stage1"] == "as set"


def test_one_criterion_and_two(stage1, world, context):
    names = np.unique(context.attribute)
    for count in (1, 2):
        few = context.select(np.isin(context.attribute, names[:count]))
        method = copy.copy(stage1).adapt(few)
        p = method.predict_proba(world["test"])
        assert np.isfinite(p).all()
        classified = copy.copy(stage1)
        classified.forget_stage2()
        budget = _Budget(classified, few)
        features = classified._router_input(budget.scaled, "change")
        weight, bias = budget.classifier("change", features)
        assert weight.shape == (count, features.shape[1]) and bias.shape == (count,)
        if count == 2:
            right = (features @ weight.T + bias).argmax(dim=1) == budget.group
            assert right.double().mean() > 0.95


def test_margins_of_added_heads_are_unseen(stage1, context):
    """A pair's own label must not enter the added head that weighs it: flip one prompt's labels, its margins flip."""
    method = copy.copy(stage1)
    _, before = _Budget(method, context).added(0.3)
    mine = context.prompt_id == context.prompt_id[0]
    turned = replace(
        context,
        chosen=torch.where(torch.from_numpy(mine), context.rejected, context.chosen),
        rejected=torch.where(torch.from_numpy(mine), context.chosen, context.rejected),
    )
    seen, after = _Budget(method, turned).added(0.3)
    part = _Budget(method, context).part
    assert torch.allclose(after[mine], -before[mine], atol=1e-9)
    same_part = (part == part[0]).numpy() & ~mine
    assert torch.allclose(after[same_part], before[same_part], atol=1e-9)
    assert not torch.allclose(after[(part != part[0]).numpy()], before[(part != part[0]).numpy()], atol=1e-6)


def test_criterion_weights_maximise_the_likelihood():
    """At tau = 1: the MAP weights under Dirichlet pseudo-counts, found here by a general optimiser."""
    rng = np.random.default_rng(1)
    margins = torch.from_numpy(rng.normal(scale=2, size=(80, 3)))
    group = torch.from_numpy(rng.integers(0, 2, size=80))
    start = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    found = criterion_weights(margins, group, start, 1.0, strength=6.0)
    assert torch.allclose(found.sum(1), torch.ones(2, dtype=torch.float64))
    for a in range(2):
        p = margins[group == a].sigmoid().numpy()

        def loss(z, p=p):
            f = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            return -np.log(p @ f).sum() - 2.0 * np.log(f).sum()

        z = minimize(loss, np.zeros(3), tol=1e-12).x
        assert np.allclose(found[a], np.exp(z) / np.exp(z).sum(), atol=2e-3)
    wrong = criterion_weights(margins, group, start, 0.01, strength=6.0)
    assert not torch.allclose(wrong, found, atol=2e-3)
    dead = criterion_weights(margins, group, torch.tensor([[0.0, 0.5, 0.5]] * 2).double(), 1.0, strength=1.0)
    assert (dead[:, 0] == 0).all()
    with pytest.raises(InputError, match="strength must be > 0"):
        criterion_weights(margins, group, start, 1.0, strength=0.0)


def test_small_tau_counts_the_best_heads():
    margins = torch.tensor([[3.0, 0.0], [2.0, -1.0], [-1.0, 1.0], [0.0, 5.0]]).double()
    start = torch.full((1, 2), 0.5).double()
    group = torch.zeros(4, dtype=torch.long)
    found = criterion_weights(margins, group, start, 1e-6, strength=1e-9)
    assert torch.allclose(found, torch.tensor([[0.5, 0.5]]).double(), atol=1e-6)
    found = criterion_weights(margins[:3], group[:3], start, 1e-6, strength=1e-9)
    assert torch.allclose(found, torch.tensor([[2 / 3, 1 / 3]]).double(), atol=1e-6)


def test_criterion_heads_are_logistic_regressions():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    difference = torch.from_numpy(rng.normal(size=(30, 50)))
    group = torch.tensor([0] * 18 + [2] * 12)
    heads = criterion_heads(difference, group, 3, 0.05)
    assert (heads[1] == 0).all()
    for a, n in ((0, 18), (2, 12)):
        rows = difference[group == a].numpy()
        both, label = np.vstack([rows, -rows]), np.repeat([1, 0], n)
        # Our penalty stands beside the mean over n pairs, scikit-learn's C before the sum over both signs of each.
        reference = LogisticRegression(C=1 / (4 * 0.05 * n), fit_intercept=False, tol=1e-10, max_iter=5000)
        assert np.allclose(heads[a], reference.fit(both, label).coef_[0], atol=1e-4)


def test_the_router_is_a_product_of_matrices():
    rng = np.random.default_rng(0)
    weight, bias, u = (torch.from_numpy(rng.normal(size=s)) for s in ((3, 5), 3, (7, 5)))
    table = torch.from_numpy(rng.dirichlet(np.ones(4), size=3))
    table[:, 3] = 0
    table /= table.sum(1, keepdim=True)
    found = CriterionRouter(weight, bias, table)(u).exp()
    assert torch.allclose(found, (u @ weight.T + bias).softmax(1) @ table) and (found[:, 3] == 0).all()


def test_sharpened():
    p = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    expected = 1 / (1 + ((1 - p[1:4]) / p[1:4]) ** 1.7)
    assert np.allclose(sharpened(p, 1.7)[1:4], expected) and list(sharpened(p, 1.7)[[0, 2, 4]]) == [0, 0.5, 1]
    assert np.array_equal(sharpened(p, 1), p)


@pytest.mark.parametrize("router", CHOICES[6].options)
@pytest.mark.parametrize("added", [None, 0.3])
def test_every_router_takes_added_heads(stage1, world, context, router, added):
    method = copy.copy(stage1).restrict(
        [replace(c, options=c.options[:1], start=0) for c in CHOICES if c.name not in ("router", "added")]
        + [Choice("router", (router,)), Choice("added", (added,))]
    )
    method.adapt(context)
    assert method.chosen["router"] == router and method.chosen["added"] == added
    count = 3 + (0 if added is None else len(np.unique(context.attribute)))
    assert len(method.all_heads.weight) == count
    with torch.no_grad():
        log_weights = method._log_weights(method._scaled(world["test"]))
    assert log_weights.shape == (len(world["test"]), count)
    assert torch.allclose(log_weights.exp().sum(1), torch.ones(len(log_weights), dtype=torch.float64))


def test_bad_requests_are_named(stage1, world, context):
    with pytest.raises(InputError, match="unknown choice 'colour'"):
        MicroPlus(QUICK, 0, choices=[Choice("colour", (1,))])
    method = copy.copy(stage1)
    with pytest.raises(InputError, match="at least one context-labelled pair"):
        method.adapt(context.select(slice(0, 0)))
    with pytest.raises(InputError, match="stage 2 needs pairs that state a context"):
        method.adapt(without(context))
    with pytest.raises(InputError, match="but these pairs state none"):
        method.adapt(context).predict_proba(without(world["test"]))
    with pytest.raises(InputError, match="give them the same columns"):
        method.adapt(context.with_tables(contexts=context.contexts[:, :2]))
