"""Context budgets: which are possible, table 9 from known accuracies, and parameters that hold several numbers."""

import math

import numpy as np
import pandas as pd
import pytest

from micro_paper.errors import InputError
from micro_paper.experiments import budget_curves
from micro_paper.experiments.worlds import load_folds
from micro_paper.methods import METHODS
from micro_paper.methods.two_stage import PromptOnly
from micro_paper.paper import values as paper_values

NAMES = ["creativity and originality", "humor", "linguistic creativity", "narrative and storytelling"]


@pytest.fixture(scope="module")
def worlds():
    return load_folds("synthetic-rated", 2, synthetic_prompts=100)


def accuracy_lines(names, budgets=(0, 50, 150), runs=3):
    lines = []
    for method, heads, at in (("single", 1, (0,)), ("micro", 4, budgets), ("micro", 2, budgets)):
        for budget in at:
            for run in range(runs):
                values = {a: 0.5 + 0.01 * i + 0.001 * budget + 0.02 * run + heads for i, a in enumerate(names)}
                for a, value in (values | {"average": np.mean(list(values.values()))}).items():
                    cell = {"dataset": "d", "method": method, "heads": heads, "budget": budget, "run": run}
                    lines.append(cell | {"attribute": a, "value": value})
    return pd.DataFrame(lines)


def test_possible_budgets_are_those_that_every_fold_can_give(worlds):
    most = min(w.largest_budget for w in worlds)
    kept, left_out = budget_curves.possible_budgets(worlds, [most + 1, 5, 0, most, 5])
    assert kept == [0, 5, most] and left_out == {most + 1: most}
    with pytest.raises(InputError, match=f"budget {most + 1} is larger"):
        [w.contexts(most + 1, 0) for w in worlds]
    note = budget_curves.left_out_note({"a": {}, "b": {200: 90, 150: 90}})
    assert note == " Left out: b has no budget 200, 150 (at most 90 pairs an attribute)."
    assert budget_curves.left_out_note({"a": {}}) == ""


def test_a_curve_goes_up_from_stage_1(worlds, monkeypatch):
    seen = []

    class Fake(PromptOnly):
        def adapt(self, pairs, validation=None):
            seen.append(len(pairs))

    monkeypatch.setitem(METHODS, "fake", Fake)
    quick, count = {"heads": 2, "epochs": 1}, len(set(worlds[0].train.attribute))
    curve = budget_curves.budget_curve(worlds[:1], ["fake"], quick, budgets=[5, 0, 2], seeds=[0])
    assert list(curve.budget) == [0, 2, 5] and seen == [2 * count, 5 * count]
    curve = budget_curves.budget_curve(worlds[:1], ["criterion_fewshot"], quick, budgets=[0, 2], seeds=[0])
    assert list(curve.budget) == [2]  # nothing to predict by without stage 2


def test_table_9_takes_the_papers_attributes_by_name():
    three, by_name = budget_curves.table_9_attributes(NAMES[::-1])
    assert by_name and list(three.values()) == [NAMES[0], NAMES[3], NAMES[2]]
    three, by_name = budget_curves.table_9_attributes(["relevance", "fluency", "coherence", "consistency"])
    assert not by_name and list(three.values()) == ["coherence", "consistency", "fluency"]
    assert list(budget_curves.table_9_attributes(["b", "a"])[0].values()) == ["a", "b"]


def test_table_9_from_known_accuracies():
    table = budget_curves.table_9(accuracy_lines(NAMES), 4, {200: 160}, [50, 150, 200])
    row = table.set_index(["method", "budget", "attribute"]).loc[("micro", 50, NAMES[3])]
    assert row["mean"] == pytest.approx(4.5 + 0.03 + 0.05 + 0.02) and row["std"] == pytest.approx(0.02)
    printed = paper_values.accuracy(9).set_index(["method", "attribute"]).accuracy
    assert row["paper"] == printed["MiCRo (B=50)", "Storytelling"] and row["n_runs"] == 3
    single = table[table.method == "single"]
    assert (single.budget == 0).all() and single.paper.notna().all() and (single["mean"] < 2).all()
    missing = table[(table.method == "micro") & (table.budget == 200)]
    assert missing["mean"].isna().all() and (missing.note == "an attribute has only 160 training pairs").all()
    shown = budget_curves.table_9_display(table[table.method != "micro_plus"])
    assert list(shown.method) == ["single", "micro", "micro", "micro"] and list(shown.budget) == [0, 50, 150, 200]
    assert shown.iloc[1][NAMES[3]] == "4.600 ± 0.020 (paper 0.752)" and shown.iloc[3][NAMES[3]] == "left out"


def test_table_9_says_what_stands_in():
    table = budget_curves.table_9(accuracy_lines(["p", "q", "r", "s"]), 4, {}, [50])
    assert table.paper.isna().all()
    assert set(table.note) == {f"stands in for {a.lower()}" for a in budget_curves.TABLE_9}


def test_the_papers_averages_stand_below_ours():
    means = [("a", "micro", 0), ("a", "micro", 50), ("a", "criterion_fewshot", 50), ("b", "micro", 5)]
    table = pd.DataFrame(means, columns=["dataset", "method", "budget"]).assign(mean=[0.5, 0.6, 0.7, 0.8])
    shown = budget_curves.beside_paper(table, {"a": "RPR", "b": "HelpSteer2"})
    printed = paper_values.scalars().query("quantity == 'budget_average'").set_index(["dataset", "against"]).printed
    assert shown.to_dict("records") == [
        {"dataset": "a", "method": "micro", "source": "ours", 0: "0.500", 50: "0.600", 5: ""},
        {"dataset": "a", "method": "criterion_fewshot", "source": "ours", 0: "", 50: "0.700", 5: ""},
        {"dataset": "RPR", "method": "MiCRo", "source": "paper", 5: ""}
        | {0: f"about {printed['RPR', '0']:.3f}", 50: f"{printed['RPR', '50']:.3f}"},
        {"dataset": "b", "method": "micro", "source": "ours", 0: "", 50: "", 5: "0.800"},
        {"dataset": "HelpSteer2", "method": "MiCRo", "source": "paper", 0: "", 50: "", 5: ""},
    ]


def test_summary_over_runs():
    table = budget_curves.curve_summary(accuracy_lines(NAMES), ("method", "heads", "budget", "attribute"))
    one = budget_curves.curve_summary(accuracy_lines(NAMES, runs=1), ("method", "heads", "budget", "attribute"))
    assert (table.n_runs == 3).all() and table["std"].to_numpy() == pytest.approx(0.02)
    assert (one["std"] == 0).all() and not one["mean"].isna().any()


@pytest.mark.parametrize("text", ["", "a", "0.1 -1", "1 nan", "inf", "1;2"])
def test_numbers_refuses(text):
    with pytest.raises(InputError, match="expected numbers >= 0"):
        budget_curves.numbers(text)
    assert budget_curves.numbers("1 0.05, 0 1e-4") == [0.0, 1e-4, 0.05, 1.0] and math.isfinite(
        budget_curves.numbers("10")[0]
    )
