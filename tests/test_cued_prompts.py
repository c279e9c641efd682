"""Cued prompts: labels as meant are those of the taste that judged, and readings of the prompt are what they say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch

from micro_paper import data
from micro_paper.data import synthetic
from micro_paper.data.corpus.truth import truth
from micro_paper.errors import InputError
from micro_paper.experiments import cued_prompts
from micro_paper.experiments.evaluation import evaluate
from micro_paper.experiments.worlds import World, load_folds
from micro_paper.features.extract import encode_prompts, extract
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods.settings import Settings

QUICK = Settings(heads=3, dtype="float64", learning_rate=1e-2, steps=300)


@pytest.fixture(scope="module")
def folds() -> list[World]:
    return load_folds("synthetic-audience", 2, synthetic_prompts=400)


@pytest.fixture(scope="module")
def table(folds) -> pd.DataFrame:
    return cued_prompts.cued_prompts(folds, QUICK, [0, 1])


def test_every_row_stands_under_both_labels(table):
    assert list(table.columns) == list(cued_prompts.COLUMNS)
    lines = table[table.attribute == "average"].groupby(["labels", "reading"]).size()
    assert lines.to_dict() == {
        (labels, reading): {"none": 3, "last token": 9}[reading]
        for labels in ("as drawn", "as meant")
        for reading in ("none", "last token")
    }
    assert (
        table.value.between(table.low, table.high).all()
        and not table.duplicated(["labels", "reading", "method", "judged", "attribute"]).any()
    )


def test_labels_as_meant_are_decided_better_by_what_is_right(table):
    mean = table[table.attribute == "average"].set_index(["labels", "method", "judged"])["value"]
    for method, judged in (("oracle_attribute_exact", "prediction"), ("micro_stage1", "best head, test (oracle)")):
        assert mean["as meant", method, judged] > mean["as drawn", method, judged] + 0.01
    for labels in ("as drawn", "as meant"):
        assert mean[labels, "micro_stage1", "prediction"] > mean[labels, "static_learned", "prediction"] + 0.03


def test_over_static_is_the_difference_to_it_under_the_same_labels(table):
    static = table[table.method == "static_learned"].set_index(["labels", "attribute"])["value"]
    below = np.array([static[labels, a] for labels, a in zip(table.labels, table.attribute, strict=True)])
    assert np.allclose(table.over_static, table.value - below)


def test_ten_heads_are_trained_at_the_lower_alpha(folds, table):
    settings = replace(QUICK, heads=10, alpha=0.05)
    of = evaluate(folds, ["micro_stage1"], settings, seeds=[0, 1], budget=None, keep_heads=["micro_stage1"])
    p = of.probability["micro_stage1"]
    attribute = of.pairs["attribute"].to_numpy()
    right = np.mean([((p > 0.5) + 0.5 * (p == 0.5))[attribute == a].mean() for a in set(attribute)])
    own = table[(table.labels == "as drawn") & (table.method == "micro_stage1") & (table.judged == "prediction")]
    assert own.set_index("attribute").value["average"] == pytest.approx(right)
    assert of.heads["micro_stage1"][0].test.shape[1] == 10


def test_turned_labels_are_those_against_the_group_that_judged(folds):
    for world in folds:
        drawn = synthetic.draw_world(world.name, fold=world.fold, train=400, validation=40, test=80)["test"]
        assert drawn.pairs.pair_id.tolist() == world.test.pair_id.tolist()
        own = drawn.margins[torch.arange(len(drawn.group)), drawn.group].numpy()
        against = cued_prompts.turned(world)
        assert np.array_equal(against, own < 0) and 0 < against.mean() < 0.3
        back = world.test.select(np.arange(len(world.test))[::-1].copy())
        assert np.array_equal(cued_prompts.turned(replace(world, test=back)), against[::-1])  # by id, not by place


def test_a_tenth_of_the_corpus_is_turned():
    frame = data.split_frame("bundled-audience", "test")

    class Test:
        pair_id = frame["pair_id"].to_numpy(str)

    against = cued_prompts.turned(World("bundled-audience", 0, None, None, Test(), fingerprint=""))
    known = truth("bundled-audience", "test")
    own = known.likelihood[np.arange(len(against)), known.z]
    assert np.array_equal(against, own < 0.5) and 0.05 < against.mean() < 0.15
    with pytest.raises(InputError, match="nothing is known about the labels of bundled-rpr as meant"):
        cued_prompts.turned(World("bundled-rpr", 0, None, None, Test(), fingerprint=""))


def test_turning_labels_turns_decisions_and_nothing_else(folds):
    of = evaluate(folds, ["micro_stage1"], QUICK, seeds=[0], budget=None, keep_heads=["micro_stage1"])
    against = np.concatenate([cued_prompts.turned(world) for world in folds])
    meant = cued_prompts.as_meant(of, against)
    # the same rows with the responses changed over, as the predictor itself decides them
    p = []
    for world in folds:
        rows = torch.from_numpy(cued_prompts.turned(world))
        chosen, rejected = world.test.chosen, world.test.rejected
        test = replace(
            world.test, chosen=torch.where(rows, rejected, chosen), rejected=torch.where(rows, chosen, rejected)
        )
        told = evaluate([replace(world, test=test)], ["micro_stage1"], QUICK, seeds=[0], budget=None)
        p.append(told.probability["micro_stage1"])
    assert np.allclose(meant.probability["micro_stage1"], np.concatenate(p), atol=1e-9)
    for run, before in zip(meant.heads["micro_stage1"], of.heads["micro_stage1"], strict=True):
        rows = against[run.rows]
        assert np.array_equal(run.test[~rows], before.test[~rows])
        assert np.array_equal(run.test[rows], 1 - before.test[rows])
        assert np.array_equal(run.margins > 0, np.where(run.margins == 0, False, run.test == 1))
        assert run.validation is before.validation
    assert np.array_equal(
        cued_prompts.as_meant(of, np.zeros_like(against)).probability["micro_stage1"], of.probability["micro_stage1"]
    )


def test_each_reading_is_that_of_the_prompts_own_tokens(tmp_path):
    features = FeatureSettings(tiny_models.folder(tmp_path / "tiny"), layers=2, dtype="float32")
    sets = {split: data.load("smoke-texts", split) for split in ("train", "validation", "test")}
    store = extract(list(sets.values()), features, tmp_path)
    world = World("smoke-texts", 0, **{split: store.pairs(rows) for split, rows in sets.items()}, fingerprint="")
    found = cued_prompts.read_by([world], features)
    assert list(found) == ["last token", "mean over prompt"] and found["last token"] == [world]
    mean = extract(list(sets.values()), replace(features, prompt_pooling="mean"), tmp_path)
    for split, rows in sets.items():
        told = getattr(found["mean over prompt"][0], split)
        assert torch.allclose(told.prompt_features, mean.pairs(rows).prompt_features, atol=1e-5)
        assert not torch.allclose(told.prompt_features, getattr(world, split).prompt_features, atol=1e-2)
        assert torch.equal(told.difference, getattr(world, split).difference)
    texts = sets["test"]["prompt"][:]
    assert torch.allclose(encode_prompts(texts, features), world.test.prompt_features, atol=1e-5)
    # read by the mean at first, the other reading is the last token
    other = cued_prompts.read_by([found["mean over prompt"][0]], replace(features, prompt_pooling="mean"))
    assert torch.allclose(other["last token"][0].test.prompt_features, world.test.prompt_features, atol=1e-5)
    assert list(cued_prompts.read_by([world], None)) == ["last token"]
