"""Groups of people: fits against scikit-learn, EM, and planted groups that must be found or must not be."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, log_expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score

from micro_paper.errors import InputError
from micro_paper.experiments.conjoint import (
    Respondents,
    bootstrap_people,
    compare_grouping,
    compare_groupings,
    fit_linear,
    held_out_margins,
    person_folds,
    stated_groups,
)
from micro_paper.experiments.latent_classes import (
    adjusted_rand,
    agreement,
    fit_latent_classes,
    latent_class_scores,
    load_people,
)
from micro_paper.experiments.rated_attributes import attribute_table, rated_population
from micro_paper.theory.split import split


def planted(rng, people=120, choices=10, apart=True):
    """Two camps with opposite first feature; `apart` = False: one camp."""
    camp = rng.integers(2, size=people)
    heads = np.array([[2.0, 1.0, 0.0], [-2.0 if apart else 2.0, 1.0, 0.0]])
    person = np.repeat(np.arange(people), choices)
    difference = rng.normal(size=(people * choices, 3))
    won = rng.random(len(person)) < expit((difference * heads[camp[person]]).sum(axis=1))
    attitudes = pd.DataFrame({"camp": np.where(camp, "left", "right"), "score": 10.0 * camp + rng.normal(size=people)})
    return Respondents(difference * np.where(won, 1, -1)[:, None], person, attitudes), camp


def test_people_are_loaded_by_name():
    assert load_people("none") == load_people("") == {}
    with pytest.raises(InputError, match="conjoint-tax"):
        load_people("conjoint-tax")


def test_linear_fit_is_logistic_regression():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(300, 4)), rng.random(300)
    other = LogisticRegression(C=1 / 2.0, fit_intercept=False, tol=1e-10, max_iter=1000)
    other.fit(np.concatenate([x, -x]), np.repeat([1, 0], 300), sample_weight=np.tile(weights, 2) / 2)
    np.testing.assert_allclose(fit_linear(x, weights, ridge=2.0), other.coef_[0], atol=1e-6)
    assert np.isfinite(fit_linear(np.ones((50, 1)))).all()  # separable: the ridge keeps it finite


def test_grouping_gains_where_camps_differ_and_not_where_they_do_not():
    rng = np.random.default_rng(1)
    data, _ = planted(rng)
    gain = compare_grouping(data, ("camp",), rng, n_bootstrap=300)
    assert gain["nll_high"] < 0 < gain["accuracy_low"]
    assert gain["groups"] == 2 and gain["people"] == 120 and gain["pairs"] == 1200
    control, _ = planted(rng, apart=False)
    assert compare_grouping(control, ("camp",), rng, n_bootstrap=300)["nll_high"] > 0
    table = compare_groupings(data, {"camp": ("camp",)}, rng, n_bootstrap=200)
    shuffled = table[table.kind == "shuffled"].iloc[0]
    assert shuffled.nll_high > 0  # groups dealt at random must not gain


def test_held_out_people_are_never_trained_on():
    rng = np.random.default_rng(2)
    data, _ = planted(rng, people=40)
    folds = person_folds(40, 4, rng)
    _, grouped, rows = held_out_margins(data, ("camp",), folds)
    assert len(rows) == len(data.person)
    person = 7
    train = folds != folds[person]
    labels = stated_groups(data.attitudes, ("camp",), train)
    same = train[data.person] & (labels[data.person] == labels[person])
    by_hand = data.difference[data.person == person] @ fit_linear(data.difference[same])
    np.testing.assert_allclose(grouped[data.person[rows] == person], by_hand, atol=1e-9)


def test_thresholds_come_from_training_people_only_and_missing_answers_are_left_out():
    attitudes = pd.DataFrame({"score": [0.0, 1, 2, 3, 4, 5, 100, np.nan], "party": ["a", "b"] * 3 + [None, "a"]})
    train = np.array([True] * 5 + [False] * 3)
    assert stated_groups(attitudes, ("score",), train).tolist() == [0, 0, 0, 1, 1, 1, 1, -1]  # median 2 of five
    assert stated_groups(attitudes, ("score",), ~train).tolist() != stated_groups(attitudes, ("score",), train).tolist()
    assert stated_groups(attitudes, ("party",), train).tolist() == [0, 1, 0, 1, 0, 1, -1, 0]
    both = stated_groups(attitudes, ("party", "score"), train)
    assert (both >= 0).tolist() == [True] * 6 + [False, False]
    with pytest.raises(InputError, match="no attitude 'age'"):
        stated_groups(attitudes, ("age",), train)


def test_bootstrap_resamples_people_not_pairs():
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(30), 20)
    values = rng.normal(size=30)[person]  # all pairs of a person alike: 30 observations, not 600
    mean, low, high = bootstrap_people(values, person, rng, 2000)
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(30), rel=0.2)


def test_em_never_falls_finds_planted_classes_and_rejects_one_class():
    rng = np.random.default_rng(4)
    data, camp = planted(rng)
    fit = fit_latent_classes(data.difference, data.person, 2, rng, restarts=2)
    assert all(b >= a - 1e-9 for a, b in pairwise(fit.objective))
    np.testing.assert_allclose(fit.responsibilities.sum(axis=1), 1)
    found = agreement(fit.responsibilities.argmax(axis=1), camp, rng, 100)
    assert found["low"] > 0.5 > 0.1 > found["chance"]
    chance = agreement(rng.integers(2, size=120), camp, rng, 100)
    assert chance["low"] < 0.05
    one = fit_latent_classes(data.difference, data.person, 1, rng)
    np.testing.assert_allclose(one.heads[0], fit_linear(data.difference), atol=1e-3)
    assert fit.objective[-1] > one.objective[-1] + 0.05


@pytest.mark.long
def test_adjusted_rand_index_is_scikit_learns_and_its_interval_resamples_people():
    rng = np.random.default_rng(7)
    for _ in range(30):
        a, b = rng.integers(rng.integers(1, 4), size=50), rng.integers(rng.integers(1, 4), size=50)
        assert adjusted_rand(pd.crosstab(a, b).to_numpy()) == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)
    a = rng.integers(2, size=200)
    b = np.where(rng.random(200) < 0.8, a, 1 - a)
    row = agreement(a, b, rng, 2000)
    picks = rng.integers(200, size=(2000, 200))
    low, high = np.quantile([adjusted_rand_score(a[i], b[i]) for i in picks], [0.025, 0.975])
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=0.03)
    shuffles = [adjusted_rand_score(a, rng.permutation(b)) for _ in range(2000)]
    assert row["chance"] == pytest.approx(np.quantile(shuffles, 0.975), abs=0.01)


def test_posterior_is_bayes_rule_over_all_choices_of_a_person():
    rng = np.random.default_rng(5)
    data, _ = planted(rng, people=10)
    fit = fit_latent_classes(data.difference, data.person, 2, rng, restarts=1)
    mine = data.person == 3
    joint = np.log(fit.weights) + log_expit(data.difference[mine] @ fit.heads.T).sum(axis=0)
    expected = np.exp(joint - joint.max()) / np.exp(joint - joint.max()).sum()
    np.testing.assert_allclose(fit.posterior(data.difference[mine], data.person[mine], 10)[3], expected, atol=1e-12)
    np.testing.assert_allclose(fit.posterior(data.difference[mine], data.person[mine], 10)[4], fit.weights)


def test_latent_classes_help_held_out_people_only_where_there_are_some():
    rng = np.random.default_rng(6)
    data, _ = planted(rng)
    table = latent_class_scores(data, [2], rng, n_folds=3, restarts=1, n_bootstrap=200).set_index("classes")
    assert table.loc[2, "high"] < 0 and table.loc[1, "nll_difference"] == 0
    control, _ = planted(rng, apart=False)
    table = latent_class_scores(control, [2], rng, n_folds=3, restarts=1, n_bootstrap=200).set_index("classes")
    assert table.loc[2, "high"] > -0.005


def test_rated_population_takes_attributes_as_groups_and_pads_short_prompts():
    ratings = pd.DataFrame(
        {
            "prompt_id": ["p", "p", "p", "q", "q", "q"],
            "response": ["a", "b", "c", "d", "e", "e"],
            "clear": [1.0, 2, 3, 1, 2, 2],
            "short": [3.0, 2, 1, 1, 2, 2],
        }
    )
    population = rated_population(ratings, ["clear", "short"], 1e4)
    assert population.rewards.shape == (2, 2, 3)
    parts = split(population)
    # On p the attributes contradict each other on every pair (log 2), on q they agree for certain.
    assert parts.group_information == pytest.approx(np.log(2) / 2, abs=1e-12)
    assert parts.conditional_entropy == pytest.approx(0, abs=1e-12)
    assert parts.status == ("disconnected", "separable") or parts.status == ("finite", "separable")
    table = attribute_table(ratings, ["clear", "short"], [1.0, 1e4], np.random.default_rng(0), 50)
    assert {"conditional_entropy", "group_information", "paper_bound"} <= set(table.quantity)
    with pytest.raises(InputError, match="funny"):
        rated_population(ratings, ["funny"], 1.0)
    items = ratings.assign(item_id=ratings["prompt_id"], prompt_id="p")  # two sentences of one document
    assert np.array_equal(rated_population(items, ["clear", "short"], 1e4).rewards, population.rewards)


def test_wrong_shapes_are_named():
    with pytest.raises(InputError, match="person"):
        Respondents(np.zeros((3, 2)), np.zeros(2, dtype=int), pd.DataFrame({"a": [1]}))
    with pytest.raises(InputError, match="attitudes"):
        Respondents(np.zeros((3, 2)), np.array([0, 1, 2]), pd.DataFrame({"a": [1]}))
