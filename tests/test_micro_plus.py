"""micro_plus chooses within its labels, shares its stage 1, and can be restricted to some choices."""

from dataclasses import replace

import numpy as np
import pytest
from told import with_criteria

from micro_paper import metrics
from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.experiments import choices
from micro_paper.experiments.worlds import World, context_budget
from micro_paper.methods import make
from micro_paper.methods.micro_plus import CHOICES, MicroPlus, MicroPlusFull
from micro_paper.methods.search import set_aside
from micro_paper.methods.settings import Settings
from micro_paper.methods.two_stage import TwoStage

QUICK = {"heads": 4, "dtype": "float64", "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def read(world):
    return {split: with_criteria(pairs) for split, pairs in world.items()}


@pytest.fixture(scope="module")
def fitted(read):
    method = MicroPlus(QUICK, 0).fit(read["train"], read["validation"])
    return method.adapt(context_budget(read["train"], 20, 0))


def nll(method, pairs):
    return -np.log(np.maximum(method.predict_proba(pairs), 1e-300)).mean()


def test_every_kept_option_has_the_least_validation_nll(fitted):
    lines = [line for line in fitted.search if line["choice"] != "temperature"]
    assert {line["choice"] for line in lines} == {name for name in MicroPlus.may if len(CHOICES[name]) > 1}
    for choice in {line["choice"] for line in lines}:
        own = [line for line in lines if line["choice"] == choice]
        kept = [line for line in own if line["kept"]]
        assert len(kept) == 1 and kept[0]["validation_nll"] == min(line["validation_nll"] for line in own)
        assert len(own) == len(CHOICES[choice])


def test_the_result_is_the_plain_method_under_the_kept_settings(fitted, read):
    """Nothing else than the settings is carried out of the search: a plain two-stage run gives the same."""
    plain = TwoStage(fitted.settings, 0).fit(read["train"], read["validation"])
    plain.adapt(context_budget(read["train"], 20, 0))
    assert np.allclose(plain.predict_proba(read["test"]), fitted.predict_proba(read["test"]), atol=1e-12)


def test_the_choices_are_those_of_the_labels_set_aside(fitted, read):
    """A plain run on four fifths under the kept settings gives the others the NLL that the search says."""
    learning, choosing = set_aside(context_budget(read["train"], 20, 0))
    plain = (
        TwoStage(replace(fitted.settings, temperature=1.0), 0).fit(read["train"], read["validation"]).adapt(learning)
    )
    before = [line["validation_nll"] for line in fitted.search if line["choice"] == "head_scale" and line["kept"]]
    assert before == [pytest.approx(nll(plain, choosing), abs=1e-9)]
    last = fitted.search[-1]
    assert last["choice"] == "temperature" and last["validation_nll"] <= before[0] + 1e-9


def test_no_context_beyond_the_budget_is_read(fitted, read):
    """Contexts of other pairs, and validation pairs of stage 2, change nothing; with full supervision they do."""
    context = context_budget(read["train"], 20, 0)
    silent = {s: replace(p, contexts=None, context=None, criteria=None, criterion=None) for s, p in read.items()}
    blind = MicroPlus(QUICK, 0).fit(silent["train"], silent["validation"]).adapt(context, read["validation"].flip())
    assert np.array_equal(blind.predict_proba(read["test"]), fitted.predict_proba(read["test"]))
    full, spoiled = (
        MicroPlusFull(QUICK, 0).fit(read["train"], read["validation"]).adapt(context, pairs)
        for pairs in (read["validation"], read["validation"].flip())
    )
    assert not np.array_equal(full.predict_proba(read["test"]), spoiled.predict_proba(read["test"]))
    assert full.search != fitted.search


def test_adapting_again_starts_anew_and_forgetting_goes_back(fitted, read):
    method = MicroPlus(QUICK, 0).fit(read["train"], read["validation"])
    alone = method.predict_proba(read["test"])
    first = method.adapt(context_budget(read["train"], 20, 0)).predict_proba(read["test"])
    assert np.array_equal(first, fitted.predict_proba(read["test"]))
    method.adapt(context_budget(read["train"], 5, 1))
    again = method.adapt(context_budget(read["train"], 20, 0)).predict_proba(read["test"])
    assert np.array_equal(first, again)
    method.forget_stage2()
    assert np.array_equal(method.predict_proba(read["test"]), alone)


@pytest.mark.long
def test_contexts_in_stage_1_help_where_prompts_are_silent():
    people = synthetic.population(neutral=1.0)
    sets = [synthetic.sample(people, n, by_context=True, seed=i).pairs for i, n in enumerate((900, 200, 400))]
    context = context_budget(sets[0], 20, 0)
    accuracy = {}
    for name in ("micro_plus", "micro_plus_full"):
        method = make(name, QUICK, 0).fit(*sets[:2]).adapt(context)
        accuracy[name] = metrics.accuracy(method.predict_proba(sets[2]))
        assert method.settings.stage1_context == (name == "micro_plus_full")
    assert accuracy["micro_plus_full"] > accuracy["micro_plus"] + 0.05


def test_a_restricted_search_changes_nothing_else(read):
    only = MicroPlus(Settings(**QUICK, alpha=0.3), 0, ["targets"]).fit(read["train"], read["validation"])
    only.adapt(context_budget(read["train"], 20, 0))
    assert (only.settings.alpha, only.settings.epochs, only.settings.router_input) == (0.3, 1, "context")
    assert only.settings.temperature == 1 and len(only.search) == len(CHOICES["targets"])
    with pytest.raises(InputError, match="unknown choice 'alhpa'.*alpha"):
        MicroPlus(QUICK, 0, ["alhpa"])
    with pytest.raises(InputError, match="unknown choice 'stage1_context'"):
        MicroPlus(QUICK, 0, ["stage1_context"])
    assert "stage1_context" in MicroPlusFull(QUICK).choices


def test_what_the_pairs_lack_is_no_option(world):
    """Without criteria by themselves the router reads the context; without training contexts stage 1 reads prompts."""
    context = context_budget(world["train"], 20, 0)
    method = MicroPlus(QUICK, 0).fit(world["train"], world["validation"]).adapt(context)
    assert method.settings.router_input == "context"
    silent = replace(world["train"], contexts=None, context=None)
    method = MicroPlusFull(QUICK, 0).fit(silent, world["validation"]).adapt(context)
    assert not method.settings.stage1_context
    assert {line["choice"] for line in method.search}.isdisjoint({"stage1_context", "router_input"})


def test_where_nothing_can_be_set_aside_nothing_is_chosen(read):
    method = MicroPlus(QUICK, 0).fit(read["train"], read["validation"]).adapt(context_budget(read["train"], 1, 0))
    assert method.search == [] and method.settings.router_input == "criterion" and method.settings.temperature == 1


def test_no_validation_pairs(world):
    none = world["validation"].select(slice(0, 0))
    method = MicroPlus(QUICK, 0).fit(world["train"], none)
    assert len(method.predict_proba(world["test"])) == len(world["test"])
    assert method.adapt(context_budget(world["train"], 5, 0)).search
    with pytest.raises(InputError, match="validation pairs that state a context"):
        MicroPlusFull(QUICK, 0).fit(world["train"], none).adapt(context_budget(world["train"], 5, 0))


@pytest.mark.parametrize(("budget", "aside"), [(1, 0), (2, 1), (9, 1), (20, 4)])
def test_a_fifth_of_each_attribute_is_set_aside(world, budget, aside):
    context = context_budget(world["train"], budget, 0)
    learning, choosing = set_aside(context)
    for name in set(context.attribute):
        assert (choosing.attribute == name).sum() == aside and (learning.attribute == name).sum() == budget - aside
    assert sorted([*learning.pair_id, *choosing.pair_id]) == sorted(context.pair_id)


def test_ablation_compares_with_and_without(read):
    folds = [World("tiny", 0, **read, fingerprint="")]
    evaluation = choices.evaluate_choices(folds, Settings(**QUICK), [0], 20)
    table = choices.choices_table(evaluation)
    assert len(table) == 1 + 2 * len(MicroPlus.may) and set(table.verdict) <= {"holds", "does not", "cannot tell"}
    macro = {
        name: np.mean([metrics.accuracy(p[read["test"].attribute == a, 0]) for a in set(read["test"].attribute)])
        for name, p in evaluation.probability.items()
    }
    first = table.iloc[0]
    assert first.choice == choices.ALL
    assert first.accuracy == pytest.approx(macro["micro_plus"] - macro["micro"])
    line = table[(table.choice == "targets") & table.compared.str.startswith("micro_plus over all but")].iloc[0]
    assert line.accuracy == pytest.approx(macro["micro_plus"] - macro["without targets"])
    kept = choices.kept_options(evaluation)
    assert kept.groupby("choice").runs.sum().eq(1).all()
    # the temperature changes no decision
    assert (table[table.choice == "temperature"].accuracy.abs() < 1e-12).all()
