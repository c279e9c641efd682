"""HyRe: weights by Bayes' rule, one vector an attribute, on the ensemble's heads and on MiCRo's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.experiments.worlds import context_budget
from micro_paper.methods import make
from micro_paper.methods.hyre import HyRe, MicroHyRe, ensemble_probability, hyre_weights, pair_losses
from micro_paper.methods.shared_base import SharedBaseMLP

QUICK = {"heads": 4, "dtype": "float64", "learning_rate": 1e-2}
ROWS = pytest.mark.parametrize("method", [HyRe, MicroHyRe])


def test_weights_are_bayes_rule():
    rng = np.random.default_rng(0)
    margins = rng.normal(size=(7, 5))
    likelihood = np.prod(1 / (1 + np.exp(-margins)), axis=0)  # of the labels under each head
    assert np.allclose(hyre_weights(pair_losses(margins)), likelihood / likelihood.sum())
    halves = hyre_weights(pair_losses(margins[:3])) * hyre_weights(pair_losses(margins[3:]))
    assert np.allclose(hyre_weights(pair_losses(margins)), halves / halves.sum())  # the order of the pairs is no matter
    assert not np.allclose(hyre_weights(pair_losses(margins)), hyre_weights(pair_losses(margins), 7.0))


def test_temperature_and_limits():
    losses = np.array([[0.2, 0.1, 0.9], [0.3, 0.2, 0.0]])
    assert np.allclose(hyre_weights(losses, 1e9), 1 / 3)
    assert np.allclose(hyre_weights(losses, 1e-6), [0, 1, 0])
    assert np.allclose(hyre_weights(losses, 2.0), hyre_weights(losses.mean(axis=0, keepdims=True)))
    assert np.allclose(hyre_weights(losses + 1e4), hyre_weights(losses))
    assert np.isfinite(hyre_weights(pair_losses(np.array([[1e4, -1e4]])))).all()


def test_losses_by_hand():
    margins = np.array([[2.0, -1.0, 0.0]])
    assert np.allclose(pair_losses(margins), -np.log(1 / (1 + np.exp(-margins))))
    assert pair_losses(margins, "error").tolist() == [[0, 1, 0.5]]


def test_ensemble_probability_and_exact_ties():
    margins, weights = np.array([[1.0, -1.0], [0.0, 0.0]]), np.array([0.7, 0.3])
    p = ensemble_probability(margins, weights)
    assert p[0] == pytest.approx(0.7 / (1 + np.exp(-1)) + 0.3 / (1 + np.exp(1))) and p[1] == 0.5
    assert np.allclose(p + ensemble_probability(-margins, weights), 1)
    uneven = np.random.default_rng(0).dirichlet(np.ones(9), size=200)
    assert all(ensemble_probability(np.zeros((1, 9)), w)[0] == 0.5 for w in uneven)
    assert any(w @ np.full(9, 0.5) != 0.5 for w in uneven)  # a plain sum would decide some of them


@ROWS
def test_each_attribute_has_the_weights_of_its_own_pairs(method, world):
    context = context_budget(world["train"], 12, 0)
    fitted = method(QUICK, 0).fit(world["train"], world["validation"]).adapt(context)
    test = world["test"]
    p, weights, margins = fitted.predict_proba(test), fitted.mixture_weights(test), fitted.head_margins(test)
    for name in np.unique(test.attribute):
        own = fitted.head_margins(context.select(context.attribute == name))
        loss = np.log1p(np.exp(-own)).sum(axis=0)
        expected = np.exp(-loss) / np.exp(-loss).sum()
        at = test.attribute == name
        assert np.allclose(weights[at], expected)
        assert np.allclose(p[at], (1 / (1 + np.exp(-margins[at]))) @ expected)
    assert np.abs(p + fitted.predict_proba(test.flip()) - 1).max() < 1e-12
    assert (fitted.predict_proba(test.with_tables(rejected=test.chosen)) == 0.5).all()


@pytest.mark.parametrize(
    ("method", "base"), [(HyRe, SharedBaseMLP(QUICK, 0)), (MicroHyRe, make("micro_stage1", QUICK, 0))]
)
def test_heads_are_the_bases_and_stay(method, base, world):
    base.fit(world["train"], world["validation"])
    fitted = method(QUICK, 0).fit(world["train"], world["validation"])
    test = world["test"]
    assert np.array_equal(fitted.predict_proba(test), base.predict_proba(test))  # before the first labelled pair
    small, large = (context_budget(world["train"], b, 0) for b in (3, 30))
    first = fitted.adapt(small).predict_proba(test)
    assert not np.allclose(first, base.predict_proba(test))
    assert not np.array_equal(fitted.adapt(large).predict_proba(test), first)
    assert np.array_equal(fitted.adapt(small).predict_proba(test), first)
    assert np.array_equal(fitted.head_margins(test), base.head_margins(test))
    again = fitted.fit(world["train"], world["validation"])
    assert np.array_equal(again.predict_proba(test), base.predict_proba(test))  # a new fit forgets the labelled pairs


def test_opposed_groups_are_told_apart():
    """Two groups that want the opposite: labelled pairs find the head of each, their labels flipped the other's."""
    people = synthetic.population(("more", "less"), separation=6.0, seed=1)
    people = replace(people, heads=torch.stack([people.heads[0], -people.heads[0]]))
    train, validation, test = (synthetic.sample(people, n, seed=n).pairs for n in (1500, 100, 300))
    fitted = MicroHyRe(QUICK | {"heads": 2, "alpha": 0.05, "epochs": 3}, 2).fit(train, validation)
    context = context_budget(train, 16, 0)
    right = (fitted.adapt(context).predict_proba(test) > 0.5).mean()
    wrong = (fitted.adapt(context.flip()).predict_proba(test) > 0.5).mean()
    assert right > 0.8 and wrong < 0.3


@ROWS
def test_what_is_read(method, world):
    """Stage 1 sees no attribute, adapting no context text, predicting neither label nor context."""
    train, validation, test = world["train"], world["validation"], world["test"]
    context = context_budget(train, 8, 0)
    expected = method(QUICK, 0).fit(train, validation).adapt(context).predict_proba(test)
    blind = replace(train, attribute=np.array(["?"] * len(train)), context=None, contexts=None)
    no_text = replace(context, context=None, contexts=None)
    fitted = method(QUICK, 0).fit(blind, validation).adapt(no_text)
    assert np.array_equal(fitted.predict_proba(replace(test, context=None, contexts=None)), expected)
    assert np.allclose(1 - fitted.predict_proba(test.flip()), expected)  # a label is no input
    assert not np.array_equal(method(QUICK, 1).fit(train, validation).adapt(context).predict_proba(test), expected)
    assert "attribute's name at test" in method.supervision


@ROWS
def test_bad_requests_are_named(method, world):
    fitted = method(QUICK, 0).fit(world["train"], world["validation"])
    with pytest.raises(InputError, match="at least one labelled pair an attribute"):
        fitted.adapt(world["train"].select(slice(0, 0)))
    context = context_budget(world["train"], 5, 0)
    fitted.adapt(context.select(context.attribute != "expert"))
    with pytest.raises(InputError, match="no labelled pairs of attribute 'expert'"):
        fitted.predict_proba(world["test"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hyre_weights(np.ones((0, 3))), r"n >= 1 labelled pairs, got shape \(0, 3\)"),
        (lambda: hyre_weights(np.ones(3)), r"got shape \(3,\)"),
        (lambda: hyre_weights(np.full((1, 2), np.nan)), "non-finite"),
        (lambda: hyre_weights(np.ones((2, 2)), 0.0), "temperature must be > 0, got 0.0"),
        (lambda: pair_losses(np.ones((2, 2)), "hinge"), "loss must be one of nll, error, got 'hinge'"),
    ],
)
def test_bad_inputs_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
