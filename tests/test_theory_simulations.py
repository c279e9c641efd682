"""Simulations: seeded, tidy, and right where the answer is known."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.special import expit

from micro_paper.errors import InputError
from micro_paper.theory import split
from micro_paper.theory.samples import (
    draw,
    fit_mixture,
    identifiability,
    learning_curves,
    linear_world,
    opposed_world,
    stability,
)
from micro_paper.theory.simulations import (
    PAIRINGS,
    budget_table,
    condorcet,
    pair_weights,
    random_population,
    split_table,
    summarise,
    sweep,
    told_budget,
)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_pairings_sum_to_one_and_only_some_are_exchangeable(pairing):
    weights = pair_weights(pairing, 3, 6, np.random.default_rng(0))
    np.testing.assert_allclose(weights.sum(axis=(1, 2)), 1)
    symmetric = np.allclose(weights, weights.transpose(0, 2, 1))
    assert symmetric == (pairing in ("exchangeable", "uniform"))


def test_error_grows_with_diversity_and_separation_and_vanishes_without_them():
    rng = np.random.default_rng(1)
    for variable, values in (("diversity", [0.0, 0.5, 1.0]), ("separation", [0.0, 1.0, 3.0]), ("n_groups", [1, 2, 5])):
        frame = sweep(variable, values, rng, 4, n_prompts=15)
        table = summarise(frame[frame.quantity == "group_information"], ["value"], "nats")
        assert table["mean"].iloc[0] == pytest.approx(0, abs=1e-12)
        assert (np.diff(table["mean"]) > 0.01).all()
        assert (table["low"] <= table["mean"]).all() and (table["mean"] <= table["high"]).all()


def test_sweeps_are_seeded_and_misspelt_settings_are_refused():
    a = sweep("n_responses", [2, 3], np.random.default_rng(2), 2, n_prompts=5)
    assert a.equals(sweep("n_responses", [2, 3], np.random.default_rng(2), 2, n_prompts=5))
    two = a[(a.value == 2) & (a.quantity == "misspecification")]
    np.testing.assert_allclose(two.nats, 0, atol=1e-12)  # two responses: any marginal is a BT model
    with pytest.raises(InputError, match="Did you mean 'diversity'"):
        sweep("diversty", [0.5], np.random.default_rng(0), 1)
    with pytest.raises(InputError, match="pairing"):
        pair_weights("exchangable", 1, 2, np.random.default_rng(0))
    with pytest.raises(InputError, match="diversity"):
        random_population(np.random.default_rng(0), diversity=1.5)


def test_tables_hold_every_part_of_the_error():
    cases = {"cycle": condorcet(2.0), "one pair": condorcet(2.0, cyclic=False)}
    table = budget_table({name: told_budget(case) for name, case in cases.items()}).set_index(["case", "removed_by"])
    for name, case in cases.items():
        parts = split(case)
        np.testing.assert_allclose(table.loc[name, "nats"].sum(), parts.irreducible, atol=1e-9)
        np.testing.assert_allclose(table.loc[(name, "any mixture"), "nats"], parts.misspecification, atol=1e-9)
        whole, *rest = split_table(parts)["nats"]
        np.testing.assert_allclose(whole, sum(rest), atol=1e-9)
    assert table.loc[("cycle", "any mixture"), "nats"] > 0.01 > table.loc[("one pair", "any mixture"), "nats"]
    assert (table.drop(index="any mixture", level=1)["nats"] > 0.1).all()  # a context takes some, never all


def test_interval_of_a_mean_is_students():
    from scipy import stats

    frame = sweep("separation", [1.0], np.random.default_rng(3), 6, n_prompts=5)
    rows = frame[frame.quantity == "pointwise"]
    table = summarise(rows, ["value"], "nats").iloc[0]
    low, high = stats.t.interval(0.95, 5, loc=rows.nats.mean(), scale=stats.sem(rows.nats))
    assert (table.low, table.high) == pytest.approx((low, high))


def test_group_weights_are_what_diversity_says():
    population = random_population(np.random.default_rng(4), n_groups=4, diversity=0.4)
    assert population.group_weights.min() == pytest.approx(0.1)
    np.testing.assert_allclose(np.sort(population.group_weights, axis=1)[:, -1], 0.7)
    assert split(random_population(np.random.default_rng(4), diversity=0.0)).irreducible < 1e-12


def test_draw_follows_the_world():
    world = opposed_world(prompt_effect=1.0, context_error=0.2)
    sample = draw(world, 40_000, np.random.default_rng(5))
    assert (sample.context.argmax(axis=1) == sample.group).mean() == pytest.approx(0.8, abs=0.01)
    prior = expit(2 * sample.prompt[:, 1])  # softmax of (u, -u), first group
    assert (sample.group == 0).mean() == pytest.approx(prior.mean(), abs=0.01)
    assert ((sample.group == 0) * sample.prompt[:, 1]).mean() == pytest.approx(
        (prior * sample.prompt[:, 1]).mean(), abs=0.02
    )
    # Chosen less rejected: the model's own gradient is 0 in expectation at the truth, and not at a swapped sign.
    truth = sample.difference * world.heads[sample.group]
    score = expit(-truth.sum(axis=1))[:, None] * sample.difference
    assert np.abs(score[sample.group == 0].mean(axis=0)).max() < 0.02
    swapped = expit(truth.sum(axis=1))[:, None] * sample.difference
    assert np.abs(swapped[sample.group == 0].mean(axis=0)).max() > 0.2


def test_mixture_fit_finds_a_stationary_point_of_eq_2():
    rng = np.random.default_rng(6)
    world = linear_world(rng, n_groups=2, d=3)
    sample = draw(world, 400, rng)
    fit = fit_mixture(sample.difference, sample.context, 2, rng, ridge=0.5, max_iterations=2000)
    flat = np.concatenate([fit.heads.ravel(), fit.router.ravel()])

    def loss(v):
        heads, router = v[:6].reshape(2, 3), v[6:].reshape(2, 2)
        f = np.exp(sample.context @ router)
        p = (f / f.sum(axis=1, keepdims=True) * expit(sample.difference @ heads.T)).sum(axis=1)
        return -np.log(p).mean() + 0.25 / 400 * v @ v

    assert check_grad(loss, lambda v: np.zeros_like(v), flat) < 1e-3
    assert check_grad(loss, lambda v: np.zeros_like(v), flat + 0.3) > 1e-2
    assert fit.nll == pytest.approx(loss(flat) - 0.25 / 400 * flat @ flat, abs=1e-9)


def test_curves_approach_their_lines_and_never_pass_the_oracle():
    rng = np.random.default_rng(7)
    curves, levels = learning_curves(linear_world(rng), [200, 5000], rng, 2, n_test=4000)
    line = levels[levels.metric == "nll"].set_index("line")["value"]
    assert list(line) == sorted(line)
    nll = curves[curves.metric == "nll"].groupby(["model", "n"])["value"].mean()
    lowest = {
        "single": "+ misspecification",
        "prompt-only mixture": "+ I(Y;C|X,A)",
        "mixture with context": "+ I(Y;Z|X,A,C)",
    }
    for model, name in lowest.items():
        assert nll[model, 200] > nll[model, 5000]
        assert line[name] - 0.003 < nll[model, 5000] < line[name] + 0.02
    assert nll["oracle", 200] == pytest.approx(line["+ I(Y;Z|X,A,C)"])


def test_opposed_heads_and_a_zero_head_have_one_likelihood_until_something_tells_them_apart():
    table = identifiability(np.random.default_rng(8), 4000).set_index("tie_breaker")
    for name in ("nothing", "1 comparison a person"):
        assert abs(table.loc[name, "gain"]) < 1e-12
    for name in set(table.index) - {"nothing", "1 comparison a person"}:
        assert table.loc[name, "low"] > 0.01


def test_heads_are_stable_only_where_they_are_identified():
    table = stability(np.random.default_rng(9), 800, 4)
    means = table[table.measure == "between seeds"].groupby("tie_breaker")["cosine"].mean()
    assert means.drop("nothing").min() > 0.9 > 0.75 > means["nothing"]
