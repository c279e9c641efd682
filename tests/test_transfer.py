"""Training here and testing there: what each stage sees, what may not leak, and tables that are means."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from micro_paper import data
from micro_paper.claims import transfer as claims_transfer
from micro_paper.errors import InputError
from micro_paper.experiments import evaluation, larger_backbone, transfer
from micro_paper.experiments.worlds import load_folds
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods import table as methods
from micro_paper.metrics import MACRO
from micro_paper.pairs import Pairs
from micro_paper.paper import beside

QUICK = {"heads": 3, "dtype": "float64", "learning_rate": 1e-2, "stage2_epochs": 3}


@pytest.fixture(scope="module")
def sources():
    return load_folds("synthetic-rated", 2, synthetic_prompts=150)


@pytest.fixture(scope="module")
def targets():
    return load_folds("synthetic-audience", 2, synthetic_prompts=150)


@pytest.fixture(scope="module")
def worlds(sources, targets):
    return transfer.transfer_folds(sources, targets)


@pytest.fixture(scope="module")
def result(worlds):
    rows = ("micro", "micro_plus", "single", "static_learned")
    return evaluation.evaluate(worlds, rows, QUICK, seeds=[0, 1], budget=10)


def renamed(pairs, row, prompt):
    ids = pairs.prompt_id.astype(object)
    ids[row] = prompt
    return replace(pairs, prompt_id=ids.astype(str))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_shared_prompt_is_refused_or_dropped(sources, targets, split):
    source, target = sources[0], targets[0]
    planted = replace(source, **{split: renamed(getattr(source, split), 5, target.test.prompt_id[7])})
    with pytest.raises(InputError, match=f"1 {split} prompts of synthetic-rated .fold 0. are test prompts of"):
        transfer.transfer_world(planted, target)
    world = transfer.transfer_world(planted, target, shared="drop")
    assert set(getattr(source, split).pair_id) - set(getattr(world, split).pair_id) == {
        getattr(source, split).pair_id[5]
    }
    assert set(transfer.sizes([world]).also_tested) == {0}
    assert world.fingerprint != transfer.transfer_world(source, target).fingerprint
    with pytest.raises(InputError, match="shared must be one of refuse, drop, got 'keep'"):
        transfer.transfer_world(source, target, shared="keep")


def test_sizes_show_a_leak_that_no_one_refused(worlds):
    world = worlds[0]
    leaky = replace(world, train=renamed(world.train, 0, world.test.prompt_id[0]))
    assert transfer.sizes([leaky]).set_index("part").also_tested["train"] == 1
    sizes = transfer.sizes(worlds).set_index(["fold", "part"])
    assert sizes.pairs[0, "train"] == 300 and sizes.prompts[1, "contexts"] == 150 and sizes.pairs[1, "test"] == 80


def test_a_source_that_is_all_tested_on_is_refused(sources, targets):
    source, target = sources[0], targets[0]
    same = replace(source.train, prompt_id=np.full(len(source.train), target.test.prompt_id[0]))
    with pytest.raises(InputError, match="nothing to train on"):
        transfer.transfer_world(replace(source, train=same), target, shared="drop")


def test_worlds_that_do_not_fit_are_refused(sources, targets):
    source, target = sources[0], targets[0]
    narrow = replace(source, train=source.train.with_tables(responses=source.train.responses[:, :5]))
    with pytest.raises(InputError, match="the responses have 5 columns in synthetic-rated and 24 in"):
        transfer.transfer_world(narrow, target)
    silent = replace(target, train=replace(target.train, contexts=None, context=None))
    with pytest.raises(InputError, match="the train pairs of synthetic-audience state no context"):
        transfer.transfer_world(source, silent)
    with pytest.raises(InputError, match="the folds of source and target differ"):
        transfer.transfer_folds(sources, targets[::-1])


class Spy:
    """Records which pairs each step was given."""

    supervision = "none"

    def __init__(self, settings, seed):
        self.validation = None

    def fit(self, train_pairs, validation):
        self.seen = {"train": train_pairs.pair_id, "validation": validation.pair_id}
        self.validation = validation
        return self

    def adapt(self, context_pairs, validation=None):
        chosen_on = self.validation if validation is None else validation
        self.seen |= {"contexts": context_pairs.pair_id, "choice": chosen_on.pair_id}
        return self

    def predict_proba(self, pairs):
        SEEN.append(self.seen | {"test": pairs.pair_id})
        return np.full(len(pairs), 0.5)


SEEN = []


def test_stage_1_is_the_source_and_stage_2_the_target(sources, targets, worlds, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "spy", Spy)
    SEEN.clear()
    evaluation.evaluate(worlds, ["spy"], QUICK, seeds=[3], budget=10)
    for seen, source, target in zip(SEEN, sources, targets, strict=True):
        assert set(seen["train"]) == set(source.train.pair_id)
        assert set(seen["validation"]) == set(source.validation.pair_id)
        assert set(seen["contexts"]) < set(target.train.pair_id) and len(seen["contexts"]) == 10 * 4
        assert set(seen["choice"]) == set(target.validation.pair_id)
        assert set(seen["test"]) == set(target.test.pair_id)
    SEEN.clear()
    evaluation.evaluate(sources, ["spy"], QUICK, seeds=[3], budget=10)
    assert set(SEEN[0]["choice"]) == set(sources[0].validation.pair_id)


@pytest.mark.parametrize("name", ["micro_plus", "criterion_fewshot"])
def test_what_stage_2_leaves_open_is_chosen_on_the_target(worlds, name):
    """Contexts of the source's pairs are never read: a source that states none gives the same."""
    world = worlds[0]
    train, validation = (replace(p, contexts=None, context=None) for p in (world.train, world.validation))
    blind = replace(world, train=train, validation=validation)
    a, b = (evaluation.evaluate([w], [name], QUICK, seeds=[0], budget=10).probability[name] for w in (world, blind))
    assert np.array_equal(a, b)
    spoiled = replace(world, context_validation=replace(world.context_validation, contexts=None, context=None))
    c = evaluation.evaluate([spoiled], [name], QUICK, seeds=[0], budget=10).probability[name]
    assert np.array_equal(a, c)  # labels within the budget choose
    with pytest.raises(InputError, match="choices are made on validation pairs that state a context"):
        evaluation.evaluate([spoiled], ["micro_plus_full"], QUICK, seeds=[0], budget=10)


def test_poisoned_test_labels_change_no_fit(worlds):
    world = worlds[0]
    rows = ("micro", "micro_plus", "single", "criterion_fewshot", "pca_heads")
    a = evaluation.evaluate([world], rows, QUICK, seeds=[0], budget=10)
    b = evaluation.evaluate([replace(world, test=world.test.flip())], rows, QUICK, seeds=[0], budget=10)
    for name in rows:
        assert np.allclose(a.probability[name] + b.probability[name], 1, atol=1e-12)


def test_each_stage_learns_from_its_own_labels(worlds):
    world = worlds[0]
    rows = ("single", "micro", "criterion_fewshot")
    honest, poisoned = (
        evaluation.evaluate([w], rows, QUICK, seeds=[0], budget=10).probability
        for w in (world, replace(world, context_source=world.context_source.flip()))
    )
    assert np.array_equal(honest["single"], poisoned["single"])  # reads no context-labelled pair
    assert not np.allclose(honest["micro"], poisoned["micro"], atol=1e-3)
    spoiled = replace(world, train=world.train.flip())
    other = evaluation.evaluate([spoiled], rows, QUICK, seeds=[0], budget=10).probability
    assert not np.allclose(honest["single"], other["single"], atol=1e-3)
    assert np.array_equal(honest["criterion_fewshot"], other["criterion_fewshot"])  # reads no label of the source


def test_a_budget_larger_than_the_data_is_refused_unless_all_is_asked_for(worlds, targets):
    for world, source in ((worlds[0], targets[0].train), (targets[0], targets[0].train)):
        names, counts = np.unique(source.attribute, return_counts=True)
        most = world.largest_budget
        assert most == counts.min()
        everything = world.contexts("all", 3)
        assert np.array_equal(everything.pair_id, world.contexts(most, 3).pair_id)
        assert set(everything.pair_id) <= set(source.pair_id) and len(set(everything.pair_id)) == most * len(names)
        for name in names:  # a smaller budget of the same seed is the beginning of a larger one
            few, many = (p.pair_id[p.attribute == name] for p in (world.contexts(4, 3), everything))
            assert np.array_equal(few, many[:4]) and len(many) == most
        scarce = str(names[counts.argmin()])
        with pytest.raises(InputError, match=f"{most + 1} is larger than the {most} .* of '{scarce}': use at most"):
            world.contexts(most + 1, 3)
    for wrong in (0, -1, True, 2.0, "every", "5", None):
        with pytest.raises(InputError, match="budget must be >= 1"):
            worlds[0].contexts(wrong, 0)


def test_a_transfer_to_itself_is_no_transfer(targets):
    target = targets[0]
    itself = transfer.transfer_world(target, target)
    rows = ("micro", "micro_plus", "criterion_fewshot")
    a, b = (evaluation.evaluate([w], rows, QUICK, seeds=[1], budget=10) for w in (target, itself))
    for name in rows:
        assert np.array_equal(a.probability[name], b.probability[name])


def test_averages_are_means_of_the_attributes(result, worlds):
    scores = evaluation.scores(result)
    accuracy = scores[scores.metric == "accuracy"].pivot(index="method", columns="attribute", values="value")
    assert np.allclose(accuracy[MACRO], accuracy.drop(columns=MACRO).mean(axis=1))
    by_hand = [(result.probability["single"][result.pairs.attribute == a] > 0.5).mean() for a in worlds[0].attributes]
    assert accuracy.loc["single", MACRO] == pytest.approx(np.mean(by_hand))
    assert set(scores.dataset) == {"synthetic-rated -> synthetic-audience"}
    both = beside.accuracy_display(pd.concat([scores, scores.assign(dataset="other")]), "dataset")
    assert list(both.dataset) == [scores.dataset[0]] * 4 + ["other"] * 4
    assert both[MACRO][1].startswith(f"{accuracy.loc['micro_plus', MACRO]:.3f} [")


def test_between_is_the_difference_of_the_same_pairs(result):
    shifted = replace(result, probability={m: 1 - p for m, p in result.probability.items()})
    gaps = transfer.between(result, shifted).set_index(["method", "attribute"])
    attribute = result.pairs.attribute.to_numpy()
    for method, p in result.probability.items():
        by_hand = np.mean([(p > 0.5)[attribute == a].mean() - (p < 0.5)[attribute == a].mean() for a in set(attribute)])
        assert gaps.difference[method, MACRO] == pytest.approx(by_hand)
        assert gaps.low[method, MACRO] <= by_hand <= gaps.high[method, MACRO]
    with pytest.raises(InputError, match="were not tested on the same pairs"):
        transfer.between(result, replace(result, pairs=result.pairs.iloc[::-1]))
    with pytest.raises(InputError, match="'length' was not evaluated in both"):
        transfer.between(result, shifted, ["length"])


def test_evidence_is_the_paired_difference(result):
    few = replace(
        result,
        probability=result.probability
        | {"static_uniform": result.probability["single"], "shared_base": result.probability["single"][:, :1]},
    )
    rows = claims_transfer.evidence({"binary": few})
    assert rows.part[:2].tolist() == ["micro - single", "micro - static_learned"] and set(rows.claim) == {"C26"}
    runs = rows[rows.method == "micro"].set_index("reference").n_runs.to_dict()
    assert runs == {"single": 4, "static_learned": 4, "static_uniform": 4, "shared_base": 2}  # the least of both sides
    assert set(rows.method) == {"micro", "micro_plus"} and set(rows.n_prompts) == {result.pairs.prompt_id.nunique()}
    scores = evaluation.scores(result).query("metric == 'accuracy' and attribute == 'average'")
    value = scores.set_index("method").value
    assert rows.value[4] == pytest.approx(value["micro_plus"] - value["single"])
    with pytest.raises(InputError, match="micro is compared with 'armo', which was not evaluated"):
        claims_transfer.evidence({"rpr": few})


def test_the_paper_stands_beside(result):
    scores = evaluation.scores(result)
    gaps = evaluation.differences(result)
    table = beside.beside_paper(scores, gaps, 4, "HelpSteer2").set_index("method")
    assert table.paper["micro"] == 0.8133 and table.paper_row_mean["micro"] == pytest.approx(0.8039, abs=5e-5)
    assert table.paper_minus_row["single"] == pytest.approx(0.8133 - 0.7753)
    assert np.isnan(table.paper["micro_plus"]) and table.verdict["micro"] == ""
    assert beside.beside_paper(scores, gaps, 4, "SHP").paper.isna().all()
    larger = beside.beside_paper(scores, gaps, 11).set_index("method")
    assert larger.paper["static_learned"] == 0.6055
    assert list(larger).index("paper_row_mean") == list(larger).index("paper") + 1
    assert "paper_row_mean" not in beside.beside_paper(scores, gaps, 3)
    with pytest.raises(InputError, match="table must be one of 2, 3, 4, 11, 12, got 5"):
        beside.beside_paper(scores, gaps, 5)


def test_claims_follow_the_sources():
    found = claims_transfer.training_sets(["bundled-audience", "bundled-helpsteer"], "bundled-helpsteer")
    assert found == {"bundled-audience": "binary", "bundled-helpsteer": "rated"}
    assert claims_transfer.training_sets(["hh", "pandalm"], "summeval") == {"hh": "binary"}
    assert claims_transfer.training_sets(["a"], "a") == {"a": "rated"}


PARAMETERS = {"backbone": "smollm2", "layers": 15, "dtype": "float32", "text_world": "smoke-texts"}
DEEPER = PARAMETERS | {"deeper_backbone": "smollm2", "deeper_layers": 30}


def test_deeper_settings_differ_in_the_cut_alone():
    settings = larger_backbone.deeper_settings(DEEPER)
    assert (settings.layers, settings.dtype, settings.backbone) == (30, "float32", "smollm2")
    assert larger_backbone.label(settings) == "smollm2, 30 layers"
    assert larger_backbone.label(replace(settings, layers=0)) == "smollm2, all layers"
    with pytest.raises(InputError, match="nothing to compare"):
        larger_backbone.deeper_settings(DEEPER | {"deeper_layers": 15})
    with pytest.raises(InputError, match="deeper_backbone is none"):
        larger_backbone.deeper_settings(DEEPER | {"deeper_backbone": "none"})


def test_a_data_set_without_text_is_replaced():
    synthetic = {"helpsteer_like": "synthetic-rated", "rpr_like": "synthetic-criteria"}
    assert larger_backbone.deeper_names(DEEPER | synthetic) == ["smoke-texts"]
    assert larger_backbone.deeper_names(DEEPER | {"helpsteer_like": "summeval", "rpr_like": "b"}) == ["summeval", "b"]
    assert larger_backbone.deeper_names(PARAMETERS | synthetic | {"deeper_backbone": "none"}) == []
    assert larger_backbone.stand_in("summeval", larger_backbone.with_text("summeval", "smoke-texts")) == ""
    assert "smoke-texts stand in for synthetic-rated" in larger_backbone.stand_in("synthetic-rated", "smoke-texts")
    with pytest.raises(InputError, match="synthetic-rated has no text and text_world is 'none'"):
        larger_backbone.with_text("synthetic-rated", "none")


def pretended(rows):
    """Pairs of a data set's rows on features that are all 1."""
    n = len(rows)
    ids = {c: np.array(rows[c], dtype=str) for c in ("pair_id", "prompt_id", "attribute")}
    index, table = torch.arange(n), torch.ones(2 * n, 4)
    return Pairs(table, index, index + n, table[:n], index, table[:n], index, torch.ones(2 * n), **ids)


def test_only_the_named_data_sets_are_read_deeper(monkeypatch, tmp_path):
    """A name given twice is one data set of one store; the worlds read that store and keep the usual splits."""
    asked = []

    def extract(sets, settings, root, **options):
        asked.append((sets, settings.layers, root))
        return SimpleNamespace(address="deep", pairs=pretended)

    monkeypatch.setattr(larger_backbone, "extract", extract)
    worlds = larger_backbone.deeper_folds(["smoke-texts", "smoke-texts"], 2, FeatureSettings(layers=30), root=tmp_path)
    [(sets, layers, root)] = asked
    assert (len(sets), len(sets[0]), layers, root) == (1, len(data.load_whole("smoke-texts")), 30, tmp_path)
    assert list(worlds) == ["smoke-texts"] and [w.fold for w in worlds["smoke-texts"]] == [0, 1]
    assert list(worlds["smoke-texts"][1].test.pair_id) == list(data.load("smoke-texts", "test", fold=1)["pair_id"])
