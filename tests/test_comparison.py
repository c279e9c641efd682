"""Our numbers beside the paper's: the right cells, and verdicts that follow the intervals."""

import pandas as pd
import pytest

from micro_paper import data
from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.experiments import budget_curves, data_overview, evaluation
from micro_paper.experiments.worlds import load_folds
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods.settings import Settings
from micro_paper.paper import beside
from micro_paper.paper import values as paper_values


def frames(low: float, high: float):
    base = {"dataset": "d", "supervision": "s", "attribute": "average", "metric": "accuracy", "low": 0.6, "high": 0.8}
    scores = pd.DataFrame([base | {"method": m, "value": 0.7, "n_prompts": 19} for m in ("micro", "single", "length")])
    gaps = pd.DataFrame(
        [
            {"method": m, "attribute": "average", "difference": (low + high) / 2, "low": low, "high": high}
            for m in ("single", "length")
        ]
    )
    return scores, gaps


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.01, 0.05, "holds"), (-0.05, -0.01, "does not"), (-0.1, 0.1, "cannot tell")]
)
def test_verdicts_follow_the_interval(low, high, verdict):
    table = beside.beside_paper(*frames(low, high), 2).set_index("method")
    assert table.verdict["single"] == verdict and table.verdict["micro"] == ""
    printed = paper_values.accuracy(2).query("attribute == 'Average'").set_index("method").accuracy
    assert table.paper["single"] == printed["Single Reward"]
    assert table.paper_minus_row["single"] == pytest.approx(printed["MiCRo"] - printed["Single Reward"])
    assert pd.isna(table.paper["length"])


def test_every_paper_row_is_in_the_paper():
    for tables in ((2, 3), (4, 11, 12)):
        printed = {name for table in tables for name in paper_values.accuracy(table).method}
        assert {name for table in tables for names in beside.PAPER_ROWS[table].values() for name in names} <= printed


def test_the_display_has_the_average_last_with_its_interval():
    worlds = load_folds("synthetic-rated", 1, synthetic_prompts=100)
    result = evaluation.evaluate(worlds, ("single", "length"), {"dtype": "float64"}, seeds=[0], budget=5)
    scores = evaluation.scores(result)
    shown = beside.accuracy_display(scores)
    assert list(shown.columns[:2]) == ["method", "supervision"] and list(shown.columns[-2:]) == ["worst", "average"]
    least = scores[(scores.metric == "accuracy") & (scores.attribute != "average")].groupby("method")["value"].min()
    assert shown.set_index("method").worst.to_dict() == {name: f"{value:.3f}" for name, value in least.items()}
    worst = evaluation.worst_attribute(scores).set_index("method")
    assert worst["value"].to_dict() == least.to_dict() and "average" not in set(worst["attribute"])
    row = scores.query("method == 'length' and metric == 'accuracy' and attribute == 'average'").iloc[0]
    assert shown.set_index("method").average["length"] == f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]"
    first = scores.attribute.iloc[0]
    odd = beside.accuracy_display(scores.assign(attribute=scores.attribute.replace(first, "method")))
    assert odd["attribute=method"].equals(shown[first]) and odd["method"].equals(shown["method"])


def test_settings_come_from_the_parameters():
    parameters = {
        "heads_rpr": 9,
        "heads_helpsteer": 3,
        "tau_rpr": 0.5,
        "tau_helpsteer": 0.1,
        "alpha": 0.2,
        "train_dtype": "float64",
        "dtype": "auto",
    }
    settings = Settings.from_parameters(parameters, "rpr")
    assert (settings.heads, settings.tau, settings.alpha, settings.dtype) == (9, 0.5, 0.2, "float64")


def test_counts_of_synthetic_data_are_those_of_the_world():
    table = data_overview.counts(["synthetic-rated"], synthetic_prompts=100)
    world = load_folds("synthetic-rated", 1, synthetic_prompts=100)[0]
    whole = table[table.attribute == "all"].set_index("split")
    assert whole.pairs["train"] == len(world.train) and whole.prompts["test"] == len(set(world.test.prompt_id))
    parts = table[table.attribute != "all"].groupby("split").pairs.sum()
    assert (parts == whole.pairs[parts.index]).all()


def test_splitting_rules_are_compared(mirror):
    table = data_overview.compare_splits(["summeval", "hh_rlhf_human_test"]).set_index(["dataset", "rule"])
    assert (table.loc[(slice(None), data_overview.GROUPED), "shared_prompts"] == 0).all()
    assert table.loc[("summeval", data_overview.FIRST_500), "shared_prompts"] > 0
    assert ("hh_rlhf_human_test", data_overview.FIRST_500) not in table.index


def test_fingerprints_change_with_the_data():
    one = data_overview.fingerprints(["smoke-texts"])
    assert one == data_overview.fingerprints(["smoke-texts"]) and len(one["smoke-texts"]) == 64


@pytest.mark.parametrize("text", ["", "a b", "1 -2", "1.5"])
def test_budgets_must_be_whole_numbers(text):
    with pytest.raises(InputError, match="expected whole numbers"):
        budget_curves.whole_numbers(text)
    assert budget_curves.whole_numbers("20 0, 5 5") == [0, 5, 20]


def test_significant_counts_by_hand():
    lines = [("a", 0.1, 0.01), ("b", -0.1, 0.01), ("c", 0.1, 0.2), ("average", 0.1, 0.0)]
    frame = pd.DataFrame(lines, columns=["attribute", "difference", "p_holm"]).assign(dataset="d", method="m")
    assert beside.significant(frame).to_dict("records") == [
        {"dataset": "d", "method": "m", "above": 1, "below": 1, "open": 1}
    ]


def test_every_split_and_label_is_in_the_fingerprint():
    from dataclasses import replace

    from micro_paper.experiments.worlds import _fingerprint, names_of

    world = load_folds("synthetic-rated", 1, synthetic_prompts=40)[0]
    splits = {s: getattr(world, s) for s in ("train", "validation", "test")}
    assert _fingerprint(splits) == world.fingerprint
    assert _fingerprint(splits | {"test": world.test.flip()}) != world.fingerprint
    other = replace(world.test, attribute=world.test.attribute[::-1].copy())
    assert _fingerprint(splits | {"test": other}) != world.fingerprint
    assert names_of([world]) != names_of([world, world])


@pytest.mark.long
def test_conjoint_contexts_share_their_columns(mirror):
    from micro_paper.experiments.worlds import load_world
    from micro_paper.methods import make

    world = load_world("conjoint-taxes")
    widths = {s.contexts.shape[1] for s in (world.train, world.validation, world.test)}
    assert widths == {world.train.prompts.shape[1]}
    method = make("micro", {"heads": 3}, 0).fit(world.train, world.validation)
    assert method.adapt(world.contexts(20, 0)).predict_proba(world.test).min() >= 0


def test_counts_stand_beside_those_of_the_paper():
    lines = [("ours", "clarity and conciseness"), ("ours", "humor"), ("ours", "all"), ("other", "humor")]
    counts = pd.DataFrame(
        [
            {"dataset": name, "attribute": attribute, "split": split, "pairs": pairs}
            for name, attribute in lines
            for split, pairs in (("train", 7), ("validation", 1), ("test", 2))
        ]
    )
    shown = beside.counts_beside(counts, {"ours": "RPR"}).set_index(["dataset", "attribute"])
    columns = ["train", "validation", "test", "paper_train", "paper_test"]
    assert shown.loc[("ours", "clarity and conciseness"), columns].tolist() == [7, 1, 2, 611, 53]
    assert shown.loc[("ours", "all"), columns].tolist() == [7, 1, 2, "", ""]
    assert shown.loc[("ours", "Storytelling"), columns].tolist() == ["", "", "", 781, 80]
    assert shown.loc[("other", "humor"), columns].tolist() == [7, 1, 2, "", ""]
    assert len(shown) == 4 + 7  # the paper has seven criteria that ours lacks


def test_attributes_of_the_paper_are_found_under_our_names():
    assert set(beside.ATTRIBUTES) <= set(paper_values.counts().attribute)
    for attributes in (synthetic.WORLDS["synthetic-criteria"], data.describe("rpr").attributes):
        counts = pd.DataFrame({"dataset": "d", "attribute": attributes, "split": "train", "pairs": 1})
        assert (beside.counts_beside(counts, {"d": "RPR"})[["train", "paper_train"]] != "").all(axis=None)


def test_the_first_pair_is_the_first_training_pair():
    (row,) = data_overview.first_pair("smoke-texts", FeatureSettings())
    first = data.load("smoke-texts", "train")[0]
    assert {key: row[key] for key in ("prompt", "chosen")} == {key: first[key] for key in ("prompt", "chosen")}
    assert data_overview.first_pair("smoke-texts", None) is None  # no backbone
    assert data_overview.first_pair("synthetic-rated", FeatureSettings()) is None  # no text
