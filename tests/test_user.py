"""Micro for persons: each row learns somebody from labelled texts as the row itself does, and is saved and refused."""

import copy
import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import tiny_models
import torch

from micro_paper import Micro, carried, data, saved
from micro_paper.errors import InputError, MissingError
from micro_paper.experiments.worlds import load_folds
from micro_paper.features.settings import FeatureSettings
from micro_paper.files import sha256
from micro_paper.methods import make
from micro_paper.methods.person_offset import PersonLength, PersonNone, PersonPosition
from micro_paper.methods.persons import Told, adapt_person

SETTINGS = {"heads": 3, "epochs": 2, "router_hidden": 4, "dtype": "float64", "learning_rate": 1e-2}
PROMPT, ANSWERS = "How?", ["a b", "c d e", "xyz"]
TAUGHT, NEW = [f"p{i}" for i in range(8)], ["ann", "bob"]
COLUMNS = ["prompt", "chosen", "rejected", "user_id"]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """People who like long or short responses: pairs with stored features, rows of text, and feature settings."""
    folder = tmp_path_factory.mktemp("people")
    features = FeatureSettings(backbone=tiny_models.folder(folder / "tiny"), layers=2, dtype="float32")
    rng, rows = np.random.default_rng(0), []
    for topic in range(24):
        for number, person in enumerate(TAUGHT + NEW):
            words = ["".join(rng.choice(list("abcdefgh"), 4)) for _ in range(6)]
            two = [" ".join(words[:2]), " ".join(words[2:])]
            chosen, rejected = two if (number + (rng.random() < 0.1)) % 2 else two[::-1]
            row = {"prompt": f"What of {topic}?", "chosen": chosen, "rejected": rejected, "user_id": person}
            rows.append(row | {"prompt_id": f"t{topic}"})
    file = folder / "people.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (world,) = load_folds(f"jsonl:{file}", 1, features=features, store=folder / "store")
    sides = {}
    for split in ("train", "validation", "test"):
        pairs = getattr(world, split)
        for name, people in (("taught", TAUGHT[:6]), ("tuning", TAUGHT[6:]), ("new", NEW)):
            sides[split, name] = pairs.select(np.isin(pairs.user_id, people))
    ids = {(p, u) for p, u in zip(world.train.prompt_id, world.train.user_id, strict=True) if u in NEW}
    return sides, [row for row in rows if (row["prompt_id"], row["user_id"]) in ids], rows, features


@pytest.fixture(scope="module")
def fitted(told):
    """Every row that can be carried, fitted on the taught people."""
    sides = told[0]
    tuning = Told(sides["train", "tuning"], sides["validation", "tuning"])
    return {
        name: carried.make_row(name, SETTINGS, 0).fit(
            sides["train", "taught"], sides["validation", "taught"], tuning
        )
        for name in carried.ROWS
    }


@pytest.fixture(scope="module")
def micro(told, fitted):
    """A model of each row that knows ann and bob."""
    _, labels, _, features = told
    made = {}
    for name in carried.ROWS:
        made[name] = Micro(fitted[name], features, {"data set": "ours"})
        made[name]._backbone = made[carried.ROWS[0]].backbone  # one that all share
        made[name]._fingerprint = made[carried.ROWS[0]]._fingerprint
        for person in NEW:
            made[name].adapt_to_user(of(labels, person))
    return made


def of(rows, person):
    return [{k: row[k] for k in COLUMNS} for row in rows if row["user_id"] == person]


def wins(model: Micro, row: dict, user: str | None) -> float:
    ranked = {r.index: r.probability for r in model.rank(row["prompt"], [row["chosen"], row["rejected"]], user=user)}
    assert ranked[0] + ranked[1] == pytest.approx(1, abs=1e-9)
    return ranked[0]


def all_wins(model: Micro, rows: list[dict], users) -> np.ndarray:
    return np.array([[wins(model, row, user) for row in rows] for user in users])


@pytest.mark.parametrize("name", carried.ROWS)
def test_a_person_is_predicted_as_the_row_predicts(name, told, fitted, micro):
    """On new texts, through features of another way; whoever is unknown too; and the labels count."""
    sides, _, rows, _ = told
    asked = sides["test", "new"]
    text = {(row["prompt_id"], row["user_id"]): row for row in rows}
    new = [text[key] for key in zip(asked.prompt_id, asked.user_id, strict=True)][:6]
    found = all_wins(micro[name], new, [*NEW, None])
    asked = asked.select(slice(0, 6))
    for line, person in zip(found, NEW, strict=False):
        own = sides["train", "new"]
        judged = adapt_person(fitted[name], own.select(own.user_id == person))
        assert line == pytest.approx(judged.predict_proba(asked), abs=1e-4)
    row = copy.copy(fitted[name]).adapt(sides["train", "new"].select(slice(0, 0)))
    nobody = row.predict_proba(replace(asked, user_id=np.full(len(asked), "nobody")))
    assert found[-1] == pytest.approx(nobody, abs=1e-4)
    assert np.abs(found[0] - found[1]).max() > 1e-3 and np.abs(found[0] - found[2]).max() > 1e-4


@pytest.mark.parametrize("name", carried.ROWS)
def test_rewards_and_weights_are_those_of_the_row(name, micro):
    model = micro[name]
    weights = np.array(model.weights(PROMPT, user="ann"))
    if name not in ("person_ridge", "vpl", "mrm"):
        assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    assert not np.allclose(weights, model.weights(PROMPT, user="bob"), atol=1e-4)
    rewards = [model.reward(PROMPT, answer, user="ann") for answer in ANSWERS[:2]]
    p = {r.index: r.probability for r in model.rank(PROMPT, ANSWERS[:2], user="ann")}[0]
    if name in ("lore", "pal", "vpl", "mrm", "person_ridge"):  # the others mix probabilities, not rewards
        assert p == pytest.approx(1 / (1 + np.exp(rewards[1] - rewards[0])), abs=1e-4)
    three = model.rank(PROMPT, ANSWERS, user="ann")
    assert sum(r.probability for r in three) == pytest.approx(1.5) and {r.index for r in three} == {0, 1, 2}


@pytest.mark.parametrize("name", carried.ROWS)
def test_loaded_and_saved_again(name, micro, told, tmp_path):
    """A loaded model gives the same bits; it learns further people as the saved one does, and is saved again."""
    _, labels, rows, _ = told
    model = micro[name]
    model.save(tmp_path / "model")
    again = Micro.load(tmp_path / "model", "cpu")
    again._backbone = model.backbone
    assert again.users == NEW
    assert all((all_wins(again, labels[:3], [u]) == all_wins(model, labels[:3], [u])).all() for u in [*NEW, None])
    third = [row | {"user_id": "cy"} for row in of(labels, "bob")]
    again.adapt_to_user(third)
    assert again.users == ["ann", "bob", "cy"]
    before = all_wins(model, labels[:3], NEW)
    assert (all_wins(again, labels[:3], NEW) == before).all()
    assert all_wins(again, labels[:3], ["cy"])[0] == pytest.approx(before[1], abs=1e-6)
    again.save(tmp_path / "model")
    twice = Micro.load(tmp_path / "model", "cpu")
    twice._backbone = model.backbone
    everybody = ["ann", "bob", "cy", None]
    assert (all_wins(twice, labels[:3], everybody) == all_wins(again, labels[:3], everybody)).all()
    assert "3 people" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize("name", carried.ROWS)
def test_adapting_again_replaces(name, micro, told):
    _, labels, _, features = told
    model = Micro(micro[name].method, features)
    model._backbone = micro[name].backbone
    turned = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in of(labels, "ann")]
    before = all_wins(model, labels[:3], NEW)
    model.adapt_to_user(turned)
    after = all_wins(model, labels[:3], NEW)
    assert np.abs(after[0] - before[0]).max() > 1e-3 and (after[1] == before[1]).all()
    model.adapt_to_user(of(labels, "ann"))
    assert all_wins(model, labels[:3], NEW) == pytest.approx(before, abs=1e-7)
    assert (all_wins(micro[name], labels[:3], NEW) == before).all()  # the model that it was made of stays
