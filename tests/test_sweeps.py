"""Sweeps against direct evaluations of single cells; evidence against tables whose trends are known."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from test_plotting import collisions

from micro_paper import metrics
from micro_paper.claims import sweeps as claims_sweeps
from micro_paper.errors import InputError
from micro_paper.experiments import budget_curves, evaluation, sweeps
from micro_paper.experiments.runs import Run
from micro_paper.experiments.sweeps import redundant_heads
from micro_paper.experiments.worlds import load_folds
from micro_paper.intervals import Interval
from micro_paper.methods import make
from micro_paper.methods.settings import Settings
from micro_paper.paper import verdicts
from micro_paper.report import plots_sweeps

QUICK = Settings(heads=3, dtype="float64", learning_rate=1e-2, epochs=2, stage2_epochs=2, tau=1e-2)
GRID = sweeps.Grid((1, 2), (0, 5), 10, alphas=(0.0, 0.5), taus=(1e-4, 10.0), further=(10, 12), repeats=2)
SEEDS = [3, 4]


@pytest.fixture(scope="module")
def worlds():
    return load_folds("synthetic-rated", 2, synthetic_prompts=150)


@pytest.fixture(scope="module")
def found(worlds):
    return sweeps.sweep(worlds, QUICK, GRID, SEEDS)


def rows(found, name, **cell):
    table = found.tables[name]
    for column, value in cell.items():
        table = table[table[column] == value]
    return table


@pytest.mark.parametrize(
    ("method", "heads", "budget"),
    [("micro", 2, 5), ("micro", 3, 12), ("micro_plus", 2, 10), ("random_heads", 3, 5), ("single", 1, 0)],
)
def test_a_cell_is_what_a_direct_evaluation_gives(worlds, found, method, heads, budget):
    for run, (world, seed) in enumerate(product(worlds, SEEDS)):
        direct = evaluation.evaluate(
            [world], [method], replace(QUICK, heads=heads), seeds=[seed], budget=budget or None
        )
        scores = evaluation.scores(direct).query("metric == 'accuracy'").set_index("attribute")["value"]
        ours = rows(found, "accuracy", method=method, heads=heads, budget=budget, run=run).set_index("attribute").value
        assert dict(ours) == pytest.approx(dict(scores))
        part, column = found.layout.place(run)
        decided = found.decided["routed", method, heads, budget][part, column]
        assert np.array_equal(decided, metrics.correct(direct.probability[method][:, 0]))
    assert list(found.layout.pairs.attribute) == [a for world in worlds for a in world.test.attribute]


@pytest.mark.parametrize(("method", "heads"), [("micro", 3), ("random_heads", 2), ("micro_plus", 2)])
def test_best_heads_are_those_of_a_direct_evaluation(worlds, found, method, heads):
    settings = replace(QUICK, heads=heads)
    direct = evaluation.evaluate(worlds[:1], [method], settings, seeds=SEEDS[:1], budget=None, keep_heads=[method])
    table = evaluation.best_heads(direct)
    wanted = table.set_index(["selection", "attribute"])["value"]
    ours = rows(found, "best_heads", method=method, heads=heads, run=0).set_index(["selection", "attribute"])["value"]
    assert dict(ours) == pytest.approx(dict(wanted))


def test_every_cell_is_there_and_every_fit_is_counted(found):
    cells = {key[1:] for key in found.decided if key[0] == "routed"}
    wanted = {("micro", k, b) for k in (1, 2, 3) for b in (0, 5, 10)} | {("micro", 3, 12)}
    wanted |= {("single", 1, 0), ("single_exact", 1, 0)}
    wanted |= {("micro_plus", k, b) for k in (1, 2, 3) for b in (0, 5, 10)} | {("micro_plus", 3, 12)}
    assert cells == wanted | {("random_heads", 3, b) for b in (0, 5, 10)}
    # three methods at three K, one other alpha, the single reward
    assert found.counts["stage 1"] == 4 * (9 + 1 + 1)
    # K = 2 and 3 of micro and of micro_plus, random heads, variants
    assert found.counts["stage 2"] == 4 * ((2 + 3) + (2 + 3) + 2 + (2 + 1 + 2 + 1 + 1 + 2 * 2))


def test_switches_and_tau_are_direct_evaluations(worlds, found):
    for switch, choice in (("prior", "stage1"), ("objective", "mixture"), ("prediction", "reward")):
        settings = replace(QUICK, **{switch: choice})
        direct = evaluation.evaluate(worlds[:1], ["micro"], settings, seeds=SEEDS[:1], budget=10)
        part = found.decided["switch", switch, choice][: len(worlds[0].test), 0]
        assert np.array_equal(part, metrics.correct(direct.probability["micro"][:, 0]))
    for tau in GRID.taus:
        direct = evaluation.evaluate(worlds[:1], ["micro"], replace(QUICK, tau=tau), seeds=SEEDS[:1], budget=10)
        line = rows(found, "tau", tau=tau, run=0).iloc[0]
        assert line.nll == pytest.approx(metrics.nll(direct.probability["micro"][:, 0]))
    table = sweeps.switches_table([found])
    assert (table.groupby("switch").difference.first() == 0).all()
    default = table[table.choice == "epoch"].accuracy.item()
    reward = table[table.choice == "reward"].iloc[0]
    assert reward.difference == pytest.approx(reward.accuracy - default)


def test_tables_show_means_and_spreads_over_runs(found):
    alpha, tau, refresh, switches = sweeps.tables([found])
    assert [e["slug"] for e in (alpha, tau, refresh, switches)] == ["alpha", "tau", "refresh", "switches"]
    at = rows(found, "tau", tau=10.0).accuracy
    assert tau["display"].set_index("tau").accuracy[10.0] == pytest.approx(at.mean())
    spread = [rows(found, "refresh", refresh="batch", run=run).nll.std() for run in range(4)]
    assert refresh["display"].set_index("refresh").nll["batch"] == pytest.approx(np.mean(spread))
    assert "budget 10," in switches["caption"]
    pd.testing.assert_frame_equal(switches["frame"], sweeps.switches_table([found]))


def test_figure_4_has_the_sweep_at_its_own_heads_and_two_rows_more(worlds, found):
    runs = sweeps.budget_runs(found, worlds, QUICK, SEEDS)
    cells = set(runs.drop(columns=["value", "dataset", "run"]).itertuples(index=False, name=None))
    methods = ("micro", "micro_plus", "random_heads", *sweeps.FURTHER)
    own = {(method, budget) for method in methods for budget in (0, 5, 10)}
    # not budget 12, which is of table 9, nor the other numbers of heads, which are of figure 6
    assert cells == own - {("criterion_fewshot", 0)} and len(runs) == 4 * len(cells)
    line = runs[(runs.method == "micro") & (runs.budget == 5) & (runs.run == 1)].value.item()
    assert line == rows(found, "accuracy", method="micro", heads=3, budget=5, run=1, attribute="average").value.item()
    direct = evaluation.evaluate(worlds[:1], ["micro_plus_full"], QUICK, seeds=SEEDS[:1], budget=10)
    line = runs[(runs.method == "micro_plus_full") & (runs.budget == 10) & (runs.run == 0)].value.item()
    right = metrics.correct(direct.probability["micro_plus_full"][:, 0])
    assert line == pytest.approx(metrics.macro_mean(right, worlds[0].test.attribute))


def test_alpha_lines_come_from_the_fitted_router(worlds, found):
    for alpha in GRID.alphas:
        seed = Run(worlds[1], SEEDS[1]).drawn
        method = make("micro", replace(QUICK, alpha=alpha), seed).fit(worlds[1].train, worlds[1].validation)
        line = rows(found, "alpha", alpha=alpha, run=3).iloc[0]
        prompts = pd.DataFrame(method.mixture_weights(worlds[1].test)).groupby(worlds[1].test.prompt_id).first()
        assert line.largest_share == pytest.approx(prompts.mean().max())
        assert line.top_weight == pytest.approx(prompts.max(axis=1).mean())
        entropy = stats.entropy(prompts.to_numpy(), axis=1).mean() / np.log(3)
        assert line.entropy == pytest.approx(entropy)
        assert line.validation_nll == pytest.approx(metrics.nll(method.predict_proba(worlds[1].validation)))


def test_poisoned_test_labels_change_no_choice(worlds, found):
    """Turn some test labels round: every decision that test pairs may not influence turns round with its own pair."""
    rng = np.random.default_rng(0)
    poisoned, turned = [], []
    for world in worlds:
        test, flip = world.test, torch.from_numpy(rng.random(len(world.test)) < 0.4)
        chosen, rejected = (
            torch.where(flip, a, b) for a, b in ((test.rejected, test.chosen), (test.chosen, test.rejected))
        )
        poisoned.append(replace(world, test=replace(test, chosen=chosen, rejected=rejected)))
        turned.append(flip.numpy())
    flip = np.concatenate(turned)[:, None]
    again = sweeps.sweep(poisoned, QUICK, GRID, SEEDS)
    oracle = 0
    for key, decided in found.decided.items():
        expected = np.where(flip, 1 - decided, decided)
        if key[0] == "test (oracle)":
            oracle += not np.array_equal(again.decided[key], expected, equal_nan=True)
        else:
            assert np.array_equal(again.decided[key], expected, equal_nan=True), key
    assert oracle > 0  # the check would see a choice by test pairs
    for column in ("validation_nll", "validation_accuracy", "entropy"):
        assert again.tables["alpha"][column].equals(found.tables["alpha"][column])
    assert again.tables["redundancy"].redundant.equals(found.tables["redundancy"].redundant)


def test_one_head_is_not_routed(found):
    one = rows(found, "accuracy", method="micro", heads=1).pivot(
        index=["run", "attribute"], columns="budget", values="value"
    )
    assert (one[10] == one[0]).all()
    best = rows(found, "best_heads", method="micro", heads=1, selection="validation").set_index(["run", "attribute"])
    assert dict(best["value"]) == pytest.approx(dict(one[5]))


def test_budgets_that_are_too_large_are_left_out(worlds):
    most = min(w.largest_budget for w in worlds)
    grid = sweeps.Grid((2,), (0, 5, most + 7), 5, further=(5, most + 1), repeats=2)
    found = sweeps.sweep(worlds, replace(QUICK, heads=2, epochs=1), grid, SEEDS)
    assert found.grid.budgets == (0, 5) and found.grid.further == (5,)
    assert found.left_out == {most + 7: most, most + 1: most}
    assert set(found.tables["accuracy"].budget) == {0, 5} and "alpha" not in found.tables
    table = budget_curves.table_9(found.tables["accuracy"], 2, found.left_out, (5, most + 1))
    assert table[table.budget == most + 1]["mean"].isna().all()
    with pytest.raises(InputError, match=f"budget {most + 1} is larger than an attribute of synthetic-rated has"):
        sweeps.sweep(worlds, QUICK, replace(GRID, budget=most + 1), SEEDS)


@pytest.mark.parametrize(
    "grid",
    [
        sweeps.Grid((2,), (0,), 5, alphas=(0.5,), taus=(0.1,), repeats=2),
        sweeps.Grid((4, 2, 4), (5, 0, 5), 5, alphas=(1.0, 0.0), taus=(1.0,), further=(5,), repeats=2),
        sweeps.Grid((3,), (10**6,), 5, further=(10**6,), repeats=2),
    ],
    ids=["lone values", "neither sorted nor distinct, without one head", "all budgets too large"],
)
def test_grids_without_the_usual_values(worlds, grid):
    """What a grid lacks is left out of tables and evidence; nothing that is there changes."""
    found = sweeps.sweep(worlds, replace(QUICK, epochs=1, stage2_epochs=1), grid, SEEDS)
    evidence = claims_sweeps.evidence(found, found)
    assert "C43" in set(evidence.claim) and not evidence.value.isna().any()  # C43 needs no grid
    assert set(found.tables["accuracy"].heads) >= {*grid.heads, 3}
    three = budget_curves.table_9(found.tables["accuracy"], 3, found.left_out, grid.further)
    assert len(budget_curves.table_9_display(three)) == 1 + 2 * len(grid.further)


def test_an_attribute_stands_for_one_of_table_9():
    three, by_name = budget_curves.table_9_attributes(["creative storytelling", "linguistic", "brief"])
    assert not by_name and sorted(three.values()) == ["brief", "creative storytelling", "linguistic"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": ()}, "heads_grid needs whole numbers >= 1"),
        ({"heads": (0, 2)}, "heads_grid needs whole numbers >= 1"),
        ({"budgets": ()}, "budgets needs whole numbers >= 0"),
        ({"budgets": (-1, 5)}, "budgets needs whole numbers >= 0"),
        ({"budget": 0}, "budget must be >= 1"),
        ({"taus": (0.0, 1.0)}, "taus must be > 0"),
        ({"alphas": (-0.1,)}, "alphas must be >= 0"),
        ({"alphas": (float("nan"),)}, "alphas must be >= 0"),
        ({"repeats": 1}, "repeats must be >= 2"),
    ],
)
def test_wrong_grids_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        replace(GRID, **change)


def test_grid_from_parameters_and_too_few_runs(worlds):
    parameters = {"heads_grid": "2 1", "budgets": "5 0", "budget": 7, "alphas": "0 1", "taus": "0.1"}
    parameters["budgets_by_attribute"] = "20"
    assert sweeps.Grid.from_parameters(parameters, "rpr") == sweeps.Grid((1, 2), (0, 5), 7, (0.0, 1.0), (0.1,), (20,))
    assert sweeps.Grid.from_parameters(parameters, "helpsteer").further == ()
    with pytest.raises(InputError, match="expected whole numbers"):
        sweeps.Grid.from_parameters(parameters | {"heads_grid": "2 x"}, "rpr")
    with pytest.raises(InputError, match="at least 2 seeds"):
        sweeps.sweep(worlds, QUICK, GRID, [0])


def test_redundant_heads():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 400))
    near = a + 0.2 * rng.standard_normal(400)
    margins = np.stack([a, b, -a, 3 * a, np.zeros(400), near, 0.5 * (a + b)], axis=1)
    assert redundant_heads(margins).tolist() == [False, False, False, True, False, True, False]
    assert redundant_heads(margins, 0.99).tolist() == [False, False, False, True, False, False, False]
    # About zero, not about the mean: two heads that always agree in sign by a constant are the same preference.
    assert redundant_heads(np.stack([5 + a, 5 + b], axis=1)).tolist() == [False, True]


def test_target_entropy(worlds):
    method = make("micro", QUICK, 0).fit(worlds[0].train, worlds[0].validation)
    context = worlds[0].contexts(5, 0)
    as_prompts = context.with_tables(prompts=context.contexts, prompt=context.context)
    prior = method.mixture_weights(as_prompts)
    loss = np.log1p(np.exp(-method.head_margins(context)))
    for tau in (0.1, 1.0):
        weight = prior * np.exp(-loss / tau)
        wanted = stats.entropy(weight, axis=1).mean() / np.log(3)
        assert metrics.entropy_share(method.first_targets(context, tau)) == pytest.approx(wanted)
    uniform = metrics.entropy_share(method.first_targets(context, 1e6))
    assert uniform == pytest.approx(metrics.entropy_share(prior), abs=1e-5)
    before = metrics.entropy_share(method.first_targets(context, 1e-6))
    after = metrics.entropy_share(method.adapt(context).first_targets(context, 1e-6))
    assert before < 0.02 and after == pytest.approx(before)


def made_up(gain=0.05, steps=(0.1, 0.05, 0.0), share=-0.2, redundant_weight=0.5) -> sweeps.Sweep:
    """A sweep with known trends: 5 seeds on one fold, K = 1, 2, 4 (own) and 8, 100 prompts and three attributes."""
    rng = np.random.default_rng(0)
    budgets = (0, 5, 20, 80)
    grid = sweeps.Grid((1, 2, 4, 8), budgets, 20, further=(20, 80))
    n = 400
    attributes = ["creativity", "storytelling", "linguistic creativity", "linguistic creativity"] * 100
    pairs = pd.DataFrame({"pair_id": range(n), "prompt_id": np.arange(n) // 4, "attribute": attributes, "fold": 0})
    found = sweeps.Sweep("made-up", 4, grid, {}, 5, evaluation.Layout(pairs, (n, 5), (n,), 5))
    level = dict(zip(budgets, np.cumsum((0, *steps)), strict=True))
    lines, others = [], {name: [] for name in ("alpha", "refresh", "redundancy")}
    for method in ("micro", "micro_plus"):
        for run in range(5):
            shift = rng.normal(0, 0.02)
            for heads in (1, 2, 4, 8):
                for budget in budgets:
                    noise = rng.normal(0, 0.0005)
                    value = 0.6 + shift + noise + level[budget] + gain * np.log2(heads) * (budget > 0)
                    for attribute in ("storytelling", "linguistic creativity", "creativity", "average"):
                        cell = {"method": method, "heads": heads, "budget": budget, "attribute": attribute}
                        lines.append(cell | {"run": run, "value": value})
            cell = {"method": method, "heads": 8, "budget": 20, "run": run, "redundant": 2, "share_of_heads": 0.25}
            others["redundancy"].append(cell | {"share_of_weight": 0.25 * redundant_weight + rng.normal(0, 0.001)})
    for run in range(5):
        for alpha in (0.0, 0.5, 1.0):
            others["alpha"].append({"run": run, "alpha": alpha, "largest_share": 0.5 + share * alpha})
        for repeat in range(4):
            for refresh, spread in (("epoch", 0.001), ("batch", 0.004)):
                accuracy = 0.7 + spread * (repeat + 0.1 * run)
                others["refresh"].append({"run": run, "repeat": repeat, "refresh": refresh, "accuracy": accuracy})
    found.tables = {"accuracy": pd.DataFrame(lines)} | {name: pd.DataFrame(v) for name, v in others.items()}
    share_right = {1: 0.5, 2: 0.6, 4: 0.8, 8: 0.8}
    order = rng.permutation(n)[:, None]

    def right_in(share: float) -> np.ndarray:
        """The same pairs first, in all runs but for one pair each."""
        return (order < share * n + np.arange(5)).astype(float)

    for method in ("micro", "micro_plus"):
        for heads, right in share_right.items():
            for selection in sweeps.SELECTIONS:
                found.decided[selection, method, heads] = right_in(right)
        found.decided["kept", method, 8] = found.decided["validation", method, 8]
        for heads, budget in product(share_right, budgets):
            share = 0.4 + level[budget] + gain * np.log2(heads) * (budget >= 20)
            found.decided["routed", method, heads, budget] = right_in(share)
    # random heads gain nothing from budgets, nor from being more
    found.decided |= {("routed", "random_heads", 4, budget): right_in(0.5) for budget in budgets}
    found.decided |= {(s, "random_heads", heads): right_in(0.5) for s in sweeps.SELECTIONS for heads in share_right}
    for row, right in (("single", 0.1), ("single_exact", 0.2)):
        found.decided["routed", row, 1, 0] = right_in(right)
    return found


JUDGES = {
    "up": lambda *i: verdicts.judge_trend(*i, expected="up"),
    "down": lambda *i: verdicts.judge_trend(*i, expected="down"),
    "flat": lambda *i: verdicts.judge_trend(*i, expected="flat"),
    "ordering": verdicts.judge_ordering,
    "control": verdicts.judge_ordering,
    "equivalence": verdicts.judge_equivalence,
}


def judged(found, method="micro") -> dict[str, set[str]]:
    table = claims_sweeps.evidence(found, found)
    out: dict[str, set[str]] = {}
    for line in table[table.method.isin([method, "any"]) & (table.kind != "value")].itertuples():
        verdict = JUDGES[line.kind](Interval(line.value, line.low, line.high, line.n_prompts))
        out.setdefault(line.claim, set()).add(verdict)
    return out


def test_evidence_sees_trends_that_are_there():
    found = judged(made_up())
    assert {c: v for c, v in found.items() if c != "C32"} == {
        c: {"holds"} for c in ("C06", "C31", "C33", "C34", "C35", "C36", "C37", "C43")
    }
    assert found["C32"] == {"does not"}  # nothing changes from 20 to 80 contexts
    assert judged(made_up(steps=(0.1, 0.05, 0.05)))["C32"] == {"holds", "does not"}  # the spread stays as it is


def test_evidence_sees_trends_that_are_not():
    broken = made_up(gain=-0.05, steps=(-0.1, -0.05, 0.1), share=0.2, redundant_weight=1.5)
    found = judged(broken, "micro_plus")
    for claim in ("C06", "C31", "C36", "C37"):
        assert "does not" in found[claim], claim
    for key, decided in broken.decided.items():
        if key[0] in sweeps.SELECTIONS:
            broken.decided[key] = 1 - decided
    assert judged(broken)["C35"] == {"does not"}


def test_heads_that_are_redundant_are_read_in_the_runs_that_have_them():
    found = made_up()
    table = found.tables["redundancy"]
    table.loc[table.run >= 3, "redundant"] = 0
    table.loc[table.run >= 3, "share_of_weight"] = 0.25 * 40  # of no redundant head: must not be read
    for method in ("micro", "micro_plus"):
        found.decided["kept", method, 8][:, 3:] = np.nan
    own = claims_sweeps.evidence(found, found).query("claim == 'C36' and method == 'micro'")
    assert set(own.n_runs) == {3} and own.value.iloc[0] == pytest.approx(-0.5, abs=0.01)
    assert set(own.n_seeds) == {3} and own.value.iloc[1] == 0


def test_what_lacks_an_attribute_is_no_evidence_on_it():
    found = made_up()
    pairs = found.layout.pairs.replace({"attribute": {"linguistic creativity": "coherence"}})
    found.layout = replace(found.layout, pairs=pairs)
    table = claims_sweeps.evidence(found, found)
    assert "C33" not in set(table.claim)
    assert set(table[table.claim == "C32"].attribute) == {"creativity", "storytelling", ""}


def test_evidence_definitions_by_hand():
    found = made_up()
    table = claims_sweeps.evidence(found, found).query("method in ('micro', 'any')")
    value = table.drop_duplicates(["claim", "part"]).set_index(["claim", "part"])["value"]

    def macro(*cell):
        return metrics.macro_mean(found.decided[cell].mean(axis=1), found.layout.pairs["attribute"].to_numpy())

    assert value["C06"].iloc[0] == pytest.approx(-0.2)
    rise = macro("routed", "micro", 4, 20) - macro("routed", "micro", 4, 0)
    assert value["C31", "accuracy, 0 to 20 contexts"] == pytest.approx(rise) and rise > 0.2
    assert value["C31", "accuracy, 0 to 20 contexts, less the rise of random_heads"] == pytest.approx(rise)
    assert value["C32", "accuracy on creativity, 20 to 80 contexts"] == pytest.approx(0, abs=2e-3)
    gain = [macro("routed", "micro", k, 20) - macro("routed", "micro", k, 5) for k in (2, 4, 8)]
    slope = np.polyfit([1, 2, 3], gain, 1)[0]
    assert value["C37", "accuracy, 5 to 20 contexts, slope over log2 K, K = 2, 4, 8"] == pytest.approx(slope)
    assert value["C43"].iloc[0] == pytest.approx(0.003 * np.std(range(4), ddof=1))
    own = found.layout.pairs.attribute == "linguistic creativity"
    for row, part in zip(("single", "single_exact"), value["C33"], strict=True):
        cells = [found.decided["routed", *c][own].mean() for c in (("micro", 4, 80), (row, 1, 0))]
        assert part == pytest.approx(cells[0] - cells[1])
    redundant = rows(found, "redundancy", method="micro").share_of_weight.mean() / 0.25 - 1
    assert value["C36"].iloc[0] == pytest.approx(redundant) and value["C36"].iloc[1] == 0
    printed = table[table.kind == "value"].set_index(["claim", "part"]).printed
    assert dict(printed) == {("C29", "mean accuracy at 0 contexts an attribute"): 0.705}  # no budget 50 here


def test_evidence_of_a_real_sweep_has_all_its_forms(found):
    table = claims_sweeps.evidence(found, found)
    assert {"C06", "C29", "C31", "C35", "C37", "C43"} <= set(table.claim)
    assert (table.low <= table.value + 1e-12).all() and (table.value <= table.high + 1e-12).all()
    for line in table[table.kind != "value"].itertuples():
        JUDGES[line.kind](Interval(line.value, line.low, line.high, line.n_prompts))


ATTRIBUTES = [
    "clarity and conciseness",
    "creativity and originality",
    "factual accuracy",
    "humor",
    "linguistic creativity",
    "narrative and storytelling",
    "pedagogical effectiveness",
    "scientific rigor",
    "user-friendliness",
]


def heads_frame(names=ATTRIBUTES, spread=0.001):
    lines = [
        {"dataset": d, "method": m, "heads": k, "selection": s, "attribute": a}
        | {"mean": 0.6 + spread * i + 0.03 * np.log2(k) - 0.05 * (s == "validation"), "std": 0.01}
        for d in ("bundled-helpsteer", "bundled-rpr")
        for m in ("micro", "micro_plus", "random_heads")
        for k in (1, 2, 5, 10, 20)
        for s in sweeps.SELECTIONS
        for i, a in enumerate([*names, "average"])
    ]
    return pd.DataFrame(lines)


def sweep_frames():
    taus, alphas = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0), (0.0, 0.05, 0.5, 1.0)
    cells = [{"dataset": d, "run": r} for d in ("bundled-helpsteer", "bundled-rpr") for r in range(5)]
    alpha = [c | {"alpha": a, "largest_share": 0.5 - a / 4, "entropy": 0.5 + a / 2} for c in cells for a in alphas]
    tau = [c | {"tau": t, "accuracy": 0.7 + c["run"] / 100} for c in cells for t in taus]
    return pd.DataFrame(alpha), pd.DataFrame(tau)


def test_figures_are_readable_and_true():
    figure = plots_sweeps.heads_figure(heads_frame())
    assert collisions(figure) == []
    line = figure.axes[0].lines[0]
    assert list(line.get_xdata()) == [1, 2, 5, 10, 20]
    wanted = heads_frame().query("method == 'micro' and attribute == 'average' and selection == 'test (oracle)'")
    assert np.allclose(line.get_ydata(), wanted["mean"][:5])
    assert [t.get_text() for t in figure.axes[3].texts] == ATTRIBUTES
    figure = plots_sweeps.alpha_tau_figure(*sweep_frames())
    assert collisions(figure) == []
    assert [t.get_text() for t in figure.axes[2].get_xticklabels()] == ["1e-4", "1e-3", "0.01", "0.1", "1", "10"]
    with pytest.raises(InputError, match="lacks the column 'std'"):
        plots_sweeps.heads_figure(heads_frame().drop(columns="std"))
    with pytest.raises(InputError, match="no rows"):
        plots_sweeps.alpha_tau_figure(sweep_frames()[0], sweep_frames()[1].iloc[:0])
