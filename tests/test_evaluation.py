"""Tables from predictions: against recomputation by hand, and nothing chosen on test pairs."""

from dataclasses import replace

import numpy as np
import pytest

from micro_paper.errors import InputError
from micro_paper.experiments import budget_curves, evaluation, router_use
from micro_paper.experiments.evaluation import Evaluation
from micro_paper.experiments.worlds import load_folds, load_world
from micro_paper.report.columns import meanings

QUICK = {"heads": 3, "dtype": "float64", "learning_rate": 1e-2}
ROWS = ("micro", "single", "length", "criterion_fewshot")


@pytest.fixture(scope="module")
def worlds():
    return load_folds("synthetic-rated", 2, synthetic_prompts=200)


@pytest.fixture(scope="module")
def result(worlds):
    return evaluation.evaluate(worlds, ROWS, QUICK, seeds=[0, 1], budget=10, keep_heads=("micro", "single"))


def test_folds_share_no_prompt(worlds):
    for world in worlds:
        splits = [set(s.prompt_id) for s in (world.train, world.validation, world.test)]
        assert not (splits[0] & splits[1] or splits[0] & splits[2] or splits[1] & splits[2])
    assert not set(worlds[0].test.prompt_id) & set(worlds[1].test.prompt_id)


def test_scores_are_means_and_the_average_is_the_mean_of_its_rows(result):
    table = evaluation.scores(result)
    attribute = result.pairs["attribute"].to_numpy()
    p = result.probability["micro"]
    for metric, values in {"accuracy": p > 0.5, "nll": -np.log(p)}.items():
        rows = table[(table.method == "micro") & (table.metric == metric)].set_index("attribute")
        for a in set(attribute):
            assert rows.value[a] == pytest.approx(values[attribute == a].mean())
        assert rows.value["average"] == pytest.approx(rows.value.drop("average").mean())
        assert (rows.low <= rows.value).all() and (rows.value <= rows.high).all()
    by_seed = [np.mean([(p[attribute == a, s] > 0.5).mean() for a in set(attribute)]) for s in (0, 1)]
    assert rows is not None and table.set_index(["method", "metric", "attribute"]).loc[
        ("micro", "accuracy", "average"), "std"
    ] == pytest.approx(np.std(by_seed, ddof=1))


def test_a_row_has_the_intervals_that_it_would_have_alone(result):
    """Another row beside it changes no digit."""
    alone = Evaluation(result.world, result.pairs, result.seeds)
    for name in ("micro", "length"):
        alone.probability[name], alone.supervision[name] = result.probability[name], result.supervision[name]
    for table in (evaluation.scores, evaluation.differences):
        every = table(result)
        few = table(alone)
        assert few.equals(every[every.method.isin(few.method.unique())].reset_index(drop=True))


def test_differences_are_paired(result):
    table = evaluation.differences(result).set_index(["method", "attribute"])
    scores = evaluation.scores(result).query("metric == 'accuracy'").set_index(["method", "attribute"])
    for method in ("single", "length", "criterion_fewshot"):
        gap = scores.value["micro", "average"] - scores.value[method, "average"]
        assert table.difference[method, "average"] == pytest.approx(gap)
    assert (table.p_holm >= table.p_value - 1e-12).all()
    with pytest.raises(InputError, match="'micor' was not evaluated"):
        evaluation.differences(result, "micor")


def test_the_oracle_head_is_never_below_the_validation_head(result):
    table = evaluation.best_heads(result).set_index(["method", "selection", "attribute"]).value
    assert (table["micro", "test (oracle)"] >= table["micro", "validation"] - 1e-12).all()
    assert np.allclose(table["single", "test (oracle)"], table["single", "validation"])


def test_head_table_matches_one_run_by_hand(worlds):
    one = evaluation.evaluate(worlds[:1], ("micro",), QUICK, seeds=[0], budget=10, keep_heads=("micro",))
    table = evaluation.head_table(one, "micro").set_index(["head", "attribute"]).value
    run, attribute = one.heads["micro"][0], one.pairs["attribute"].to_numpy()
    for k in range(3):
        for a in set(attribute):
            assert table[k + 1, a] == pytest.approx((run.margins[attribute == a, k] > 0).mean())


def test_matched_heads_do_not_depend_on_their_order(worlds):
    two = evaluation.evaluate(worlds[:1], ("micro",), QUICK, seeds=[0, 1], budget=10, keep_heads=("micro",))
    before = evaluation.head_table(two, "micro")
    second, order = two.heads["micro"][1], [2, 0, 1]
    two.heads["micro"][1] = replace(second, test=second.test[:, order], margins=second.margins[:, order])
    assert np.allclose(evaluation.head_table(two, "micro").value, before.value)


def test_a_poisoned_test_label_changes_no_fit(worlds):
    """Flipping test pairs flips their scores and nothing else: no method chose anything on them."""
    world = worlds[0]
    poisoned = replace(world, test=world.test.flip())
    a = evaluation.evaluate([world], ROWS, QUICK, seeds=[0], budget=10)
    b = evaluation.evaluate([poisoned], ROWS, QUICK, seeds=[0], budget=10)
    for name in ROWS:
        assert np.allclose(a.probability[name] + b.probability[name], 1, atol=1e-12)
    spoiled = replace(world, train=world.train.flip())
    c = evaluation.evaluate([spoiled], ROWS[:1], QUICK, seeds=[0], budget=10)
    assert not np.allclose(a.probability["micro"], c.probability["micro"], atol=1e-3)


def test_budget_curve_starts_at_stage_1(worlds):
    curve = budget_curves.budget_curve(worlds, ["micro", "criterion_fewshot"], QUICK, budgets=[0, 5, 10], seeds=[0, 1])
    start = curve.query("method == 'micro' and budget == 0 and run == 0").value.item()
    alone = evaluation.evaluate(worlds[:1], ("micro_stage1",), QUICK, seeds=[0], budget=10)
    assert start == pytest.approx(
        evaluation.scores(alone).query("metric == 'accuracy' and attribute == 'average'").value.item()
    )
    assert 0 not in set(curve.query("method == 'criterion_fewshot'").budget)


def test_router_weights_are_a_distribution_a_prompt(worlds):
    table = router_use.router_weights(worlds[0], QUICK, seed=0, per_attribute=3)
    assert (
        np.allclose(table.groupby("prompt").weight.sum(), 1) and table.groupby("attribute").prompt.nunique().max() <= 3
    )


def test_unknown_worlds_are_named():
    with pytest.raises(InputError, match="Did you mean 'synthetic-rated'"):
        load_world("synthetic-ratde")
    with pytest.raises(InputError, match="n_folds must lie in 1 .. 5"):
        load_folds("synthetic-rated", 6)


def test_folds_with_one_official_test_are_further_runs(worlds):
    same = [worlds[0], replace(worlds[1], test=worlds[0].test)]
    result = evaluation.evaluate(same, ("single",), QUICK, seeds=[0, 1], budget=None, keep_heads=("single",))
    assert result.probability["single"].shape == (len(worlds[0].test), 4)
    alone = evaluation.evaluate(worlds[:1], ("single",), QUICK, seeds=[0, 1], budget=None)
    assert np.array_equal(result.probability["single"][:, :2], alone.probability["single"])
    partly = replace(worlds[1], test=worlds[0].test.select(slice(0, 40)))
    with pytest.raises(InputError, match="share some test prompts"):
        evaluation.evaluate([worlds[0], partly], ("single",), QUICK, seeds=[0], budget=None)


def test_without_a_budget_no_method_sees_a_context(worlds):
    world = worlds[0]
    blind = replace(
        world, **{s: replace(getattr(world, s), context=None, contexts=None) for s in ("train", "validation", "test")}
    )
    rows = ("micro", "random_heads", "pca_heads")
    a, b = (evaluation.evaluate([w], rows, QUICK, seeds=[0], budget=None) for w in (world, blind))
    assert all(np.array_equal(a.probability[name], b.probability[name]) for name in rows)


def test_tests_that_give_no_interval_are_refused_before_training(worlds):
    world = worlds[0]
    lonely = world.test.attribute.copy()
    lonely[0] = "rare"
    with pytest.raises(InputError, match="attribute 'rare' has a single test prompt in fold 0"):
        evaluation.evaluate(
            [replace(world, test=replace(world.test, attribute=lonely))], ("single",), QUICK, seeds=[0], budget=5
        )
    lonely[:9] = "average"
    with pytest.raises(InputError, match="an attribute is named 'average'"):
        evaluation.evaluate(
            [replace(world, test=replace(world.test, attribute=lonely))], ("single",), QUICK, seeds=[0], budget=5
        )


def test_an_evaluation_says_who_judged_where_all_folds_name_users(worlds, result):
    def people(world):
        users = np.array([f"w{i % 7:04d}" for i in range(len(world.test))])
        return replace(world, test=replace(world.test, user_id=users))

    named = [people(world) for world in worlds]
    judged = evaluation.evaluate(named, ["length"], QUICK, seeds=[0], budget=None)
    assert judged.pairs["user_id"].tolist() == [u for world in named for u in world.test.user_id]
    for known, method in ((judged, "length"), (result, "single")):  # stored by pair_id, which tells the person
        stored = evaluation.predictions([known], [method], "smoke")
        assert list(meanings("predictions", stored.columns)) == list(stored.columns)
    mixed = evaluation.evaluate([named[0], worlds[1]], ["length"], QUICK, seeds=[0], budget=None)
    assert "user_id" not in mixed.pairs and "user_id" not in result.pairs
