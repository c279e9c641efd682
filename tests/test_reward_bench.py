"""RewardBench's weighting against hand computations and its published counts; intervals; bench worlds and tables."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from micro_paper import intervals, metrics
from micro_paper.claims import bench as claims_bench
from micro_paper.data.criteria import CRITERIA
from micro_paper.errors import InputError
from micro_paper.experiments import bench_runs, reward_bench
from micro_paper.experiments.worlds import load_folds
from micro_paper.report.columns import meanings

# What RewardBench's filtered set holds; its own code writes 984 for math-prm.
PAIRS = {
    **{"alpacaeval-easy": 100, "alpacaeval-length": 95, "alpacaeval-hard": 95, "mt-bench-easy": 28, "mt-bench-med": 40},
    **{"mt-bench-hard": 37, "llmbar-natural": 100, "llmbar-adver-neighbor": 134, "llmbar-adver-GPTInst": 92},
    **{"llmbar-adver-GPTOut": 47, "llmbar-adver-manual": 46, "refusals-dangerous": 100, "refusals-offensive": 100},
    **{"xstest-should-refuse": 154, "xstest-should-respond": 250, "donotanswer": 136, "math-prm": 447},
    **dict.fromkeys(("hep-python", "hep-js", "hep-java", "hep-go", "hep-cpp", "hep-rust"), 164),
}


def rng():
    return np.random.default_rng(0)


def small():
    """Chat 4 + 1 pairs, chat-hard 2, reasoning: 2 of mathematics and 4 + 4 of code; a prompt each."""
    subset = np.repeat(["alpacaeval-easy", "mt-bench-med", "llmbar-natural", "math-prm", "hep-js", "hep-go"], 4)
    keep = np.r_[0:4, 4:6, 8:10, 12:14, 16:20, 20:24]
    values = np.array([1, 1, 1, 0, *(0, 0), *(1, 0), *(1, 1), *(0, 0, 0, 1), *(0, 0, 1, 1)], float)
    return values, subset[keep], np.array([f"p{i}" for i in range(len(values))])


def test_weights_are_the_published_ones():
    table = reward_bench.subset_weights(np.repeat(list(PAIRS), list(PAIRS.values())))
    published = PAIRS | {"math-prm": 984}
    for section, part in table.groupby("section"):
        own = {s: published[s] for s in part["subset"]}
        assert np.allclose(part["weight"], [own[s] / sum(own.values()) for s in part["subset"]]), section
    assert list(dict.fromkeys(table["section"])) == list(reward_bench.ORDER)
    assert set(PAIRS) == set(CRITERIA["reward_bench"]) - {"hhh-honest"}
    assert table.set_index("subset").weight["math-prm"] == pytest.approx(0.5)


def test_small_table_by_hand():
    found = reward_bench.section_scores(*small())
    value = {section: interval.estimate for section, interval in found.items()}
    assert value["chat"] == pytest.approx((4 * 0.75 + 2 * 0) / 6)
    assert value["chat-hard"] == pytest.approx(0.5)
    assert value["reasoning"] == pytest.approx(0.5 * 1 + 0.25 * 0.25 + 0.25 * 0.5)
    assert value["average"] == pytest.approx((0.5 + 0.5 + 0.6875) / 3)
    assert list(value)[-1] == "average" and found["reasoning"].n_groups == 10


def test_without_code_mathematics_weighs_as_it_counts():
    table = reward_bench.subset_weights(["gsm8k"] * 3 + ["math-prm"]).set_index("subset")
    assert table.weight["gsm8k"] == 0.75
    assert reward_bench.subset_weights(["gsm8k"] * 3 + ["hep-go"]).weight.tolist() == [0.5, 0.5]


def test_an_unknown_subset_is_its_own_section():
    assert reward_bench.sections_in_order(["zeal", "hep-go", "alpacaeval-easy", "ease"]) == [
        "chat",
        "reasoning",
        "ease",
        "zeal",
    ]


def test_interval_of_one_subset_is_the_plain_one():
    values = rng().random((300, 4))
    prompt = np.repeat(np.arange(100), 3).astype(str)
    ours = reward_bench.section_scores(values, np.full(300, "pandalm"), prompt)
    assert list(ours.values()) == [intervals.Sample(prompt).mean(values)] * 2


def test_interval_has_the_width_of_the_stratified_formula():
    draw = rng()
    subset = np.repeat(["alpacaeval-easy", "mt-bench-med"], [400, 100])
    values = np.r_[draw.random(400) < 0.9, draw.random(100) < 0.5].astype(float)
    line = reward_bench.section_scores(values, subset, np.arange(500).astype(str))["chat"]
    se = np.sqrt(sum((w**2) * values[subset == s].var(ddof=1) / n for s, n, w in zip(*strata(), strict=True)))
    assert line.high - line.low == pytest.approx(2 * 1.965 * se, rel=0.01)


def strata():
    return ["alpacaeval-easy", "mt-bench-med"], [400, 100], [0.8, 0.2]


def test_pairs_of_one_prompt_move_together():
    subset, values = np.full(200, "pandalm"), np.repeat(rng().random(50) < 0.5, 4).astype(float)
    together = reward_bench.section_scores(values, subset, np.repeat(np.arange(50), 4))["chat"]
    apart = reward_bench.section_scores(values, subset, np.arange(200))["chat"]
    assert together.high - together.low > 1.6 * (apart.high - apart.low)


def test_differences_are_paired_and_tested():
    values, subset, prompt = small()
    same = reward_bench.section_differences(values, values, subset, prompt)
    assert all((i.estimate, i.low, i.high, i.p_value) == (0, 0, 0, 1) for i in same.values())
    one = reward_bench.section_differences(np.ones(18), np.zeros(18), subset, prompt)
    assert one["average"].low == pytest.approx(1) and one["average"].p_value < 0.05


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v, s, p: (v[:3], s, p), "give one a pair|of 18 pairs|of 3 pairs"),
        (lambda v, s, p: (np.where(np.arange(18) == 2, np.nan, v), s, p), "row 2 is not"),
        (lambda v, s, p: (v, np.where(np.arange(18) == 17, "pandalm", s), p), "'pandalm' has pairs of one group"),
        (lambda v, s, p: (v[:0], s[:0], p[:0]), "no pairs to weigh"),
    ],
)
def test_broken_scores_are_refused(change, says):
    with pytest.raises(InputError, match=says):
        reward_bench.section_scores(*change(*small()))


@pytest.fixture(scope="module")
def worlds():
    return load_folds("synthetic-audience", 2, synthetic_prompts=150)


@pytest.fixture(scope="module")
def bench():
    return bench_runs.load_bench("synthetic-audience", synthetic_prompts=150)


@pytest.fixture(scope="module")
def result(worlds, bench):
    quick = {"heads": 2, "dtype": "float64", "learning_rate": 1e-2}
    rows = ("micro", "micro_plus", "single", "length")
    return bench_runs.evaluate_bench(bench, worlds, rows, quick, seeds=[0, 1, 2], budget=10)


def test_no_training_prompt_is_tested_on(worlds, bench, result):
    seen = {p for w in worlds for split in (w.train, w.validation) for p in split.prompt_id}
    assert seen & set(bench.pairs.prompt_id) and not seen & set(result.pairs["prompt_id"])
    assert set(result.pairs["prompt_id"]) == set(worlds[0].test.prompt_id)
    assert result.probability["micro"].shape == (len(result.pairs), 6)
    assert [line["fold"] for line in result.chosen["micro"]] == [0, 0, 0, 1, 1, 1]
    with pytest.raises(InputError, match="every prompt of"):
        everywhere = [replace(worlds[0], train=bench.pairs)]
        bench_runs.evaluate_bench(bench, everywhere, ["single"], {}, seeds=[0], budget=5)


def test_joined_pairs_keep_their_features(worlds):
    a, b = worlds[0].test, worlds[1].test
    joined = bench_runs.concatenate([a, b])
    assert torch.equal(joined.difference, torch.cat([a.difference, b.difference]))
    assert torch.equal(joined.context_features, torch.cat([a.context_features, b.context_features]))
    assert torch.equal(joined.length_difference, torch.cat([a.length_difference, b.length_difference]))
    assert joined.prompt_id.tolist() == [*a.prompt_id, *b.prompt_id]
    shared = bench_runs.concatenate([a, a.flip()])  # one table, pointed into twice
    assert shared.responses is a.responses and torch.equal(shared.difference[: len(a)], -shared.difference[len(a) :])
    narrow = a.with_tables(responses=a.responses[:, :3])
    with pytest.raises(InputError, match="same backbone"):
        bench_runs.concatenate([narrow, b])
    with pytest.raises(InputError, match="at least one set"):
        bench_runs.concatenate([])


def test_several_training_sets_are_one_world(worlds):
    one = bench_runs.load_training("synthetic-audience", 2, synthetic_prompts=60)
    assert len(one) == 2 and one[0].name == "synthetic-audience"
    assert bench_runs.load_training("none", 2) == []
    with pytest.raises(InputError, match="is in synthetic-audience and in"):
        bench_runs.load_bench("synthetic-audience synthetic-audience", synthetic_prompts=60)


def test_tables_say_what_the_predictions_say(bench, result):
    table = reward_bench.section_table(result)
    mean = metrics.correct(result.probability["micro"].ravel()).reshape(-1, 6).mean(axis=1)
    attribute = result.pairs["attribute"].to_numpy()
    ours = table[table.method == "micro"].set_index("section").value
    assert ours["expert"] == pytest.approx(mean[attribute == "expert"].mean())
    assert ours["average"] == pytest.approx(np.mean([mean[attribute == a].mean() for a in set(attribute)]))
    assert table["paper"].isna().all()  # no section of RewardBench, so nothing to stand beside
    gaps = reward_bench.difference_table(result)
    single = table[table.method == "single"].set_index("section").value
    line = gaps[(gaps.reference == "micro") & (gaps.method == "single") & (gaps.section == "average")].iloc[0]
    assert line.difference == pytest.approx(ours["average"] - single["average"])
    given = reward_bench.tables(result, bench)
    assert [t["number"] for t in given] == ["10", "10b", "10c"]
    assert all(meanings(f"{t['number']}_{t['slug']}", t["frame"]) for t in given)
    assert reward_bench.tables(None, None) == []


def test_claims_have_the_paper_s_directions():
    sections = [*reward_bench.ORDER, "average"]
    lines = [
        {"dataset": "d", "reference": "micro", "method": "single", "section": s}
        | {"difference": 0.1, "low": 0.05, "high": 0.2, "free": 20.0, "n_prompts": 40, "n_runs": 5}
        for s in sections
    ]
    table = claims_bench.sections_evidence(pd.DataFrame(lines))
    found = {(r["claim"], r["part"].split(" ")[0]): r for r in table.to_dict("records")}
    assert found["C39", "average,"]["low"] == 0.05 and found["C40", "reasoning"]["low"] == 0.05
    assert found["C40", "safety"]["low"] == -0.2 and found["C40", "chat"]["high"] == -0.05
    nothing = reward_bench.difference_table(None)
    assert claims_bench.sections_evidence(nothing).empty


def test_stand_ins_are_named():
    assert reward_bench.stands_for("llmbar", "faireval").startswith("alpacaeval")
    assert reward_bench.stands_for("llmbar", "llmbar-natural").startswith("llmbar")
    assert reward_bench.stands_for("synthetic-audience", "expert") == "nothing"
