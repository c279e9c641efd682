"""Planted faults are found and masked, duplicates merge without a trace, and broken input is refused."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from micro_paper import intervals, metrics
from micro_paper.claims import bench as claims_bench
from micro_paper.errors import InputError
from micro_paper.experiments import head_audit, head_surgery, runs
from micro_paper.experiments.bench_runs import concatenate
from micro_paper.experiments.worlds import load_folds, load_world
from micro_paper.methods import make
from micro_paper.methods.two_stage import GroupedWeights, TwoStage
from micro_paper.mixture import StaticWeights

QUICK = {"heads": 3, "dtype": "float64", "learning_rate": 1e-2, "epochs": 3}

# what notebook 08 finds where it has no benchmark and merges nothing
NOTHING = (
    pd.DataFrame(columns=["dataset", "reference", "method", "section", "difference", "low", "high"]),
    pd.DataFrame(columns=head_audit.MERGED),
)


def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def world():
    return load_world("synthetic-audience", synthetic_prompts=300)


@pytest.fixture(scope="module")
def method(world):
    return TwoStage(QUICK, 0).fit(world.train, world.validation)


@pytest.fixture(scope="module")
def safety(world):
    return world.test.select(world.test.attribute == "expert")


def with_heads(method, weight):
    """A copy of the method with other heads."""
    new = head_surgery.regroup(method, [[k] for k in range(len(method.heads.weight))])
    new.heads.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return new


def direction(method, pairs):
    """A head that decides most of the pairs as labelled: the mean scaled difference."""
    scaled = method._scaled(pairs)
    return (scaled.responses[scaled.chosen] - scaled.responses[scaled.rejected]).mean(dim=0)


def test_audit_by_hand(method, safety):
    table = head_surgery.head_audit(method, safety)
    margins, weights = method.head_margins(safety), method.mixture_weights(safety)
    assert np.allclose(table["value"], (margins > 0).mean(axis=0))
    assert np.allclose(table["weight"], weights.mean(axis=0)) and table["weight"].sum() == pytest.approx(1)
    assert (table["low"] <= table["value"]).all() and (table["masked"] == (table["high"] < 0.5)).all()


def test_a_reversed_head_is_found_and_masked(method, safety):
    good = direction(method, safety)
    healthy = with_heads(method, torch.stack([good, good, good]))
    assert not head_surgery.head_audit(healthy, safety)["masked"].any()
    faulty = head_surgery.reverse_head(healthy, 1)
    table = head_surgery.head_audit(faulty, safety)
    assert table["masked"].tolist() == [False, True, False]
    assert table["value"][1] == pytest.approx(1 - table["value"][0])
    masked = head_surgery.without_heads(faulty, np.flatnonzero(table["masked"]))
    p = [metrics.correct(m.predict_proba(safety)).mean() for m in (healthy, faulty, masked)]
    assert p[0] == p[2]


def test_at_least_one_head_stays(method, safety):
    bad = -direction(method, safety)
    table = head_surgery.head_audit(with_heads(method, torch.stack([bad] * 3)), safety)
    assert (table["high"] < 0.5).all() and table["masked"].sum() == 2


def test_masked_weight_is_zero_and_the_rest_is_renormalised(method, world):
    weights, margins = method.mixture_weights(world.test), method.head_margins(world.test)
    masked = head_surgery.without_heads(method, [1])
    kept = weights[:, [0, 2]] / weights[:, [0, 2]].sum(axis=1, keepdims=True)
    assert np.allclose(masked.mixture_weights(world.test), kept)
    p = (kept / (1 + np.exp(-margins[:, [0, 2]]))).sum(axis=1)
    assert np.allclose(masked.predict_proba(world.test), p)
    assert np.allclose(masked.predict_proba(world.test) + masked.predict_proba(world.test.flip()), 1)


def test_masking_leaves_the_method_alone_and_stage_2_trains(method, world):
    before = method.mixture_weights(world.test)
    masked = head_surgery.without_heads(method, [0])
    stage1 = masked.mixture_weights(world.test)
    masked.adapt(world.contexts(20, 0))
    assert masked.mixture_weights(world.test).shape[1] == 2
    assert np.abs(masked.mixture_weights(world.test) - stage1).max() > 0.01
    assert np.array_equal(method.mixture_weights(world.test), before) and not method.adapted


def test_masking_nothing_changes_nothing(world):
    plain, masked = (TwoStage(QUICK, 1).fit(world.train, world.validation) for _ in range(2))
    masked = head_surgery.without_heads(masked, [])
    labelled = world.contexts(20, 1)
    p = [m.adapt(labelled).predict_proba(world.test) for m in (plain, masked)]
    assert np.allclose(*p, atol=1e-9)


def test_duplicates_merge_with_identical_predictions(method, world):
    w = method.heads.weight.detach()
    double = with_heads(method, torch.stack([w[0], w[1], w[0]]))
    margins = double.head_margins(world.validation)
    assert np.abs(np.corrcoef(margins.T)[0, 1]) < 0.999
    assert head_surgery.merge_groups(margins, 0.999) == [[0, 2], [1]]
    merged = head_surgery.merge_heads(double, world.validation, 0.999)
    assert len(merged.heads.weight) == 2
    assert np.allclose(merged.predict_proba(world.test), double.predict_proba(world.test), atol=1e-12)
    weights = double.mixture_weights(world.test)
    assert np.allclose(merged.mixture_weights(world.test), np.c_[weights[:, 0] + weights[:, 2], weights[:, 1]])


def test_every_two_heads_of_a_group_correlate():
    """A chain a - b - c whose ends do not correlate is not one group; opposites stay apart; scale does not matter."""
    turn = np.deg2rad([0, 20, 40, 180])
    margins = np.stack([np.cos(turn), np.sin(turn)])
    groups = head_surgery.merge_groups(margins * [1, 5, 1, 1], np.cos(np.deg2rad(25)))
    assert groups in ([[0, 1], [2], [3]], [[0], [1, 2], [3]])
    assert head_surgery.merge_groups(margins, np.cos(np.deg2rad(41))) == [[0, 1, 2], [3]]
    assert np.allclose(metrics.head_correlations(margins.T)[0], np.cos(turn))
    assert head_surgery.merge_groups(margins[:, :1], 0.9) == [[0]]
    assert head_surgery.merge_groups(np.c_[np.ones(4), np.zeros(4)], 0.9) == [[0], [1]]


def test_grouped_weights_sum_to_one():
    inner = StaticWeights(4, learned=True, dtype=torch.float64)
    with torch.no_grad():
        inner.theta.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]).log())
    found = GroupedWeights(inner, [[0, 3], [1]])(torch.zeros(2, 5)).exp()
    assert torch.allclose(found, torch.tensor([[5 / 7, 2 / 7]] * 2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([], "at least one head must remain"),
        ([[0], []], "at least one head"),
        ([[0], [0]], "at most once"),
        ([[7]], "0 .. 2"),
    ],
)
def test_bad_groups_are_refused(method, groups, says):
    with pytest.raises(InputError, match=says):
        head_surgery.regroup(method, groups)


def test_bad_margins_and_thresholds_are_refused(method, safety):
    for margins in (np.ones(3), np.array([[1.0, np.nan]]), np.ones((0, 2))):
        with pytest.raises(InputError, match="margins must be finite"):
            head_surgery.merge_groups(margins, 0.9)
    for threshold in (0, 1, np.nan):
        with pytest.raises(InputError, match="threshold must lie"):
            head_surgery.merge_groups(np.ones((2, 2)), threshold)
    with pytest.raises(InputError, match="at least one head must remain"):
        head_surgery.without_heads(method, range(3))
    with pytest.raises(InputError, match="no safety pairs"):
        head_surgery.head_audit(method, safety.select(slice(0)))


def test_comparison_is_paired_by_prompt():
    prompt, attribute = np.repeat(np.arange(20), 2).astype(str), np.tile(["a", "b"], 20)
    before = rng().integers(0, 2, 40).astype(float)
    after = np.where(attribute == "a", before, 1.0)
    lines = pd.DataFrame(head_surgery.compare(before, after, intervals.Sample(prompt, attribute))).set_index(
        "attribute"
    )
    assert (lines.difference["a"], lines.low["a"], lines.high["a"]) == (0, 0, 0)
    assert lines.difference["average"] == pytest.approx((1 - before[attribute == "b"].mean()) / 2)
    assert lines.after["b"] == 1 and lines.before["average"] == pytest.approx(before.mean())


def test_safety_audit_on_a_data_set(monkeypatch):
    folds = load_folds("synthetic-audience", 2, synthetic_prompts=200)
    heads, effects, decided = head_audit.safety_audit(folds, folds, "expert", ["micro"], QUICK, seeds=[0, 1], budget=10)
    assert (
        len(heads) == 4 * 2 * 3 and len(decided) == 2 and set(effects["attribute"]) == {*folds[0].attributes, "average"}
    )
    planted = heads[heads["heads"] == head_audit.PLANTED].groupby("run")["value"].min()
    trained = heads[heads["heads"] == head_audit.TRAINED].groupby("run")["value"].max()
    assert np.allclose(planted, 1 - trained) or (planted <= 1 - trained + 1e-12).all()
    masked = heads.groupby("heads")["masked"].sum()
    for kind, part in effects.groupby("heads"):
        assert (part["heads_masked"] == masked[kind]).all()
        assert part["difference"].isna().all() == (masked[kind] == 0)
    assert len(head_audit.safety_tables(heads, effects)) == 2
    with pytest.raises(InputError, match="no validation pairs of 'safe'"):
        head_audit.safety_audit(folds, folds, "safe", ["micro"], QUICK, seeds=[0], budget=10)


def test_a_search_goes_on_with_the_heads_that_remain(world):
    """micro_plus without a head: stage 2 is chosen anew, but never with the masked head or another stage 1."""
    method = make("micro_plus", QUICK, 0).fit(world.train, world.validation)
    masked = head_surgery.without_heads(method, [0])
    margins = masked.head_margins(world.test)
    masked.adapt(world.contexts(10, 0))
    assert np.array_equal(margins, masked.head_margins(world.test)) and margins.shape[1] == QUICK["heads"] - 1
    assert {line["choice"] for line in masked.search} == {"targets", "temperature"}
    assert masked.settings.temperature != 1 and not masked.settings.stage1_context
    before = method.predict_proba(world.test)
    method.adapt(world.contexts(10, 0)).forget_stage2()
    assert np.array_equal(before, method.predict_proba(world.test))


def test_no_safety_pairs_give_empty_tables():
    heads, effects, decided = head_audit.safety_audit([], [], "none", ["micro"], QUICK, seeds=[0], budget=10)
    assert not len(heads) and decided == [] and head_audit.safety_tables(heads, effects) == []
    assert claims_bench.heads_evidence(effects, NOTHING[1]).empty


def test_training_prompts_that_are_audited_are_left_out(world):
    other = load_world("synthetic-audience", fold=1, synthetic_prompts=100)
    other = replace(other, train=concatenate([other.train, world.test, world.validation]))
    audited = head_audit._audit_world(other, world)
    held_out = {*world.validation.prompt_id, *world.test.prompt_id}
    assert set(other.train.prompt_id) & held_out and not set(audited.train.prompt_id) & held_out
    assert len(audited.train) == len(other.train) - len(world.test) - len(world.validation)
    assert audited.test is world.test and audited.context_source is world.train
    assert head_audit._audit_world(world, world).train is world.train


def test_claims_need_a_masked_or_merged_head():
    line = {"dataset": "d", "method": "micro", "attribute": "average", "difference": 0.01, "low": -0.01, "high": 0.02}
    line |= {"n_prompts": 19, "n_seeds": 2, "n_runs": 5, "free": 18.0}
    masked = [line | {"heads": h, "runs_masked": r} for h in (head_audit.TRAINED, head_audit.PLANTED) for r in (0, 2)]
    found = claims_bench.heads_evidence(pd.DataFrame(masked), NOTHING[1])
    assert found[["claim", "n_runs", "kind"]].to_numpy().tolist() == [["C44", 2, "equivalence"]]
    merged = [line | {"threshold": t, "runs_merged": int(t < 0.95)} for t in head_audit.THRESHOLDS]
    none = pd.DataFrame(columns=head_audit.EFFECT)
    found = claims_bench.heads_evidence(none, pd.DataFrame(merged))
    assert [(r.claim, r.part.split(",")[0]) for r in found.itertuples()] == [
        ("C38", "merged above 0.9")
    ]  # the strictest
    assert claims_bench.heads_evidence(none, pd.DataFrame(merged[-1:])).empty


def test_merging_on_a_data_set():
    folds = load_folds("synthetic-audience", 2, synthetic_prompts=150)
    fitted = runs.fit_runs(folds, ["micro"], QUICK, seeds=[0, 1], budget=10)
    assert [(f.run.number, f.world.fold) for f in fitted] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    table, decided = head_audit.merging(fitted, [0.01, 0.999999])
    average = table[table["attribute"] == "average"].set_index("threshold")
    assert average.heads_left[0.999999] == 3 and average.difference[0.999999] == 0
    assert average.heads_left[0.01] < 3 and average.runs_merged[0.01] > 0
    merged = decided[0][decided[0].method == "micro, merged above 0.01"]
    assert merged.groupby("attribute").right.mean().mean() == pytest.approx(average.after[0.01])
    assert merged.groupby(["fold", "seed"]).ngroups == average.runs_merged[0.01]
    with pytest.raises(InputError, match="at least one fold"):
        runs.fit_runs([], ["micro"], QUICK, seeds=[0], budget=10)
