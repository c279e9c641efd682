"""Micro for persons: each row learns somebody from labelled texts as the row itself does, and is saved and refused."""

import copy
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import tiny_models
import torch

from micro_paper import Micro, carried, saved
from micro_paper.data import jsonl
from micro_paper.errors import InputError, MissingError
from micro_paper.experiments.worlds import load_folds, load_world
from micro_paper.features.settings import FeatureSettings
from micro_paper.files import sha256
from micro_paper.methods import make, mrm
from micro_paper.methods.person_offset import PersonLength, PersonNone, PersonPosition
from micro_paper.methods.persons import adapt_person

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
            long = (number % 3 > 0) != (rng.random() < 0.1)  # bob likes short ones
            chosen, rejected = two[::-1] if long else two
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
    """Every row that can be carried, fitted on the taught people; what tuning people choose is as if they had."""
    sides, made = told[0], {}
    for name in carried.ROWS:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(mrm, "OUTER_STEPS", mrm.CHECKED)
            made[name] = carried.make_row(name, SETTINGS, 0).fit(
                sides["train", "taught"], sides["validation", "taught"]
            )
    made["person_router"].temperature, made["person_ridge"].strength, made["mrm"].step = 2.0, 3.0, 0.3
    classes = made["person_classes"].classes  # few people: no two classes are found
    apart = np.random.default_rng(0).normal(size=classes.heads.shape) / 10
    made["person_classes"].classes = replace(classes, heads=classes.heads + apart)
    return made


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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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


@pytest.mark.long
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


# --- what is written and read


@pytest.mark.long
@pytest.mark.parametrize("name", carried.ROWS)
def test_each_tensor_of_a_file_is_checked(name, micro, tmp_path):
    """Hashes that agree do not help: a tensor that is missing, added, of another shape, kind or value is refused."""
    micro[name].save(tmp_path / "model")
    assert_each_tensor_is_checked(tmp_path / "model")


def assert_each_tensor_is_checked(folder):
    content = (folder / saved.TENSORS).read_bytes()
    tensors = safetensors.torch.load(content)

    def refused(changed, said):
        rewrite(folder, changed)
        with pytest.raises(InputError, match=said):
            Micro.load(folder, "cpu")

    assert "users" in tensors
    for key, tensor in tensors.items():
        refused({k: v for k, v in tensors.items() if k != key}, f"{re.escape(key)} is missing")
        refused(tensors | {key: tensor[..., None].contiguous()}, "shape")
        refused(tensors | {key: tensor.half()}, f"{re.escape(key)} is of torch.float16")
        refused(tensors | {key: torch.full_like(tensor, torch.nan)}, f"{re.escape(key)} holds a value")
        if key.startswith(("own.temperature", "own.strength", "own.unit", "own.step", "own.shares")):
            refused(tensors | {key: -tensor}, f"{re.escape(key)} holds a value")
    refused(tensors | {"more": torch.zeros(1)}, "more has shape")
    refused(tensors | {"users": tensors["users"][:1].contiguous()}, "users has shape")
    (folder / saved.TENSORS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match="sha256"):
        Micro.load(folder, "cpu")
    rewrite(folder, tensors)
    assert Micro.load(folder, "cpu").users == NEW


def rewrite(folder, tensors=None, **changes):
    """Write tensors and settings, with the hashes that they ask for."""
    described = json.loads((folder / saved.SETTINGS).read_text()) | changes
    if tensors is not None:
        (folder / saved.TENSORS).write_bytes(safetensors.torch.save(tensors))
        described["tensors_sha256"] = sha256((folder / saved.TENSORS).read_bytes())
    described["sha256"] = saved._signature(described)
    (folder / saved.SETTINGS).write_text(json.dumps(described))


@pytest.fixture(scope="module")
def people():
    """A world of persons without texts."""
    return load_world("synthetic-people")


@pytest.fixture(scope="module")
def ridge(people):
    return carried.make_row("person_ridge", SETTINGS, 0).fit(people.train, people.validation)


@pytest.fixture
def model(ridge, people):
    """A model of the ridge that knows two people, whose labels the row was given; it needs no backbone to be saved."""
    own = [people.test.select(people.test.user_id == who).select(slice(0, 9)) for who in np.unique(people.test.user_id)]
    first, second = (replace(part, user_id=np.full(9, name)) for part, name in zip(own[:2], NEW, strict=True))
    row = carried.adapted(carried.adapted(carried.carry(ridge), first), second)
    return Micro(row, FeatureSettings(), {"data set": "ours"}, "0" * 64)


def test_a_saved_model_of_persons_is_checked(model, tmp_path):
    model.save(tmp_path / "model")
    assert_each_tensor_is_checked(tmp_path / "model")
    described = json.loads((tmp_path / "model" / saved.SETTINGS).read_text())
    assert described["format"] == 3 and described["row"] == "person_ridge" and described["users"] == NEW
    card = (tmp_path / "model" / "README.md").read_text()
    assert "2 people" in card and "personal data" in card and "ann" not in card


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"users": ["bob", "ann"]}, "no sorted names"),
        ({"users": ["ann", "ann"]}, "no sorted names"),
        ({"users": ["ann", 3]}, "no sorted names"),
        ({"users": ["ann", "bob\0"]}, "no sorted names"),
        ({"users": ["ann"]}, r"users has shape \(2, "),
        ({"users": []}, r"users has shape \(2, "),
        ({"users": None}, "users = None"),
        ({"row": "person_length"}, "the row is 'person_length', this version knows person_router"),
        ({"row": "lore"}, "own.unknown is missing"),
        ({"row": 3}, "row = 3"),
        ({"format": 2}, "settings ask for"),
        ({"format": 4}, "has format 4, this version reads 2 and 3"),
    ],
)
def test_changed_settings_are_refused(model, tmp_path, changes, said):
    model.save(tmp_path / "model")
    rewrite(tmp_path / "model", **changes)
    with pytest.raises(InputError, match=said):
        Micro.load(tmp_path / "model", "cpu")


def test_other_models_keep_their_format(people, tmp_path):
    method = make("micro", SETTINGS | {"tau": 1.0}, 0).fit(people.train, people.validation)
    Micro(method, FeatureSettings(), None, "0" * 64).save(tmp_path / "model")
    described = json.loads((tmp_path / "model" / saved.SETTINGS).read_text())
    assert described["format"] == 2 and not {"row", "users"} & set(described)
    assert Micro.load(tmp_path / "model", "cpu").users == []


@pytest.mark.long
@pytest.mark.parametrize("name", carried.ROWS)
def test_other_sizes_are_saved_alike(name, people, tmp_path):
    """One head, a router without hidden layer, single precision, no offset at all: the same to the last bit."""
    few = [pairs.select(slice(0, 400)) for pairs in (people.train, people.validation)]
    row = carried.make_row(name, SETTINGS | {"heads": 1, "router_hidden": 0, "dtype": "float32"}, 0).fit(*few)
    if name == "person_ridge":
        row.strength = np.inf
    told = people.test.select(people.test.user_id == people.test.user_id[0])
    model = Micro(carried.adapted(carried.carry(row), told), FeatureSettings(), None, "0" * 64)
    model.save(tmp_path / "model")
    again = Micro.load(tmp_path / "model", "cpu")
    texts, prompt, (who,) = people.test.responses[:3], people.test.prompts[0], model.users
    for user in (who, None):
        one, two = (carried.score(m.method, texts, prompt, user) for m in (model, again))
        assert torch.equal(one.wins, two.wins) and torch.equal(one.rewards, two.rewards)
        assert torch.equal(one.weights, two.weights)


# --- what is refused


PAIR = {"prompt": "How?", "chosen": "a b", "rejected": "c d", "user_id": "ann"}
OTHER = PAIR | {"rejected": "e f"}
TURNED = PAIR | {"chosen": "c d", "rejected": "a b"}


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([], "no rows: give at least two"),
        ([PAIR], "one pair of two different texts: give at least two"),
        ([PAIR, PAIR | {"rejected": "a b"}], "one pair of two different texts"),
        ([PAIR | {"rejected": "a b"}] * 3, "every row compares a text with itself"),
        ([PAIR, TURNED], "all pairs are ties"),
        ([PAIR, TURNED, OTHER, OTHER | {"chosen": "e f", "rejected": "a b"}], "all pairs are ties"),
        ([PAIR, OTHER | {"user_id": "bob"}], "row 2: user_id is 'bob', in row 1 it is 'ann': give the pairs of one"),
        ([PAIR, {k: v for k, v in OTHER.items() if k != "user_id"}], "row 2: user_id is given in some rows only"),
        ([{k: v for k, v in PAIR.items() if k != "user_id"}] * 2, "row 1: user_id is missing: name the person"),
        ([PAIR, OTHER | {"user_id": 3.5}], "row 2: user_id is 3.5"),
        ([PAIR, OTHER | {"user_id": " "}], "row 2: user_id is empty"),
        ([PAIR, OTHER | {"chosen": None}], "row 2: chosen is null"),
        ([PAIR, OTHER | {"chosn": "x"} | {"prompt": 3}], "row 2: prompt is int"),
        ([{"prompt": "x", "response": "y", "ratings": {"a": 1}, "user_id": "ann"}] * 2, "row 1: a rated row"),
        ([PAIR, "a text"], "pairs must be a path or a list of rows"),
        (None, "pairs must be a path or a list of rows, got None"),
        (3, "pairs must be a path or a list of rows, got 3"),
    ],
)
def test_labels_that_say_nothing_are_refused(model, pairs, said):
    with pytest.raises(InputError, match=re.escape(said)):
        model.adapt_to_user(pairs)
    assert model.users == NEW


def test_labels_of_a_file_are_read(tmp_path):
    file = tmp_path / "ann.jsonl"
    file.write_text(
        json.dumps(PAIR | {"context": "I want humor.", "user_id": 7}) + "\n" + json.dumps(OTHER | {"user_id": 7})
    )
    frame = jsonl.read_person(file)
    assert frame["user_id"].tolist() == ["7", "7"] and frame["rejected"].tolist() == ["c d", "e f"]
    assert jsonl.read_person(f"jsonl:{file}").equals(frame)
    with pytest.raises(MissingError, match="is no file"):
        jsonl.read_person(tmp_path / "bob.jsonl")
    file.write_text(json.dumps(PAIR))
    with pytest.raises(InputError, match=f"{file}: one pair"):
        jsonl.read_person(str(file))


@pytest.mark.parametrize("name", carried.REFUSED)
def test_controls_are_refused_with_the_reason(name, people):
    with pytest.raises(InputError, match=f"{name} cannot be carried, .*take one of person_router"):
        carried.make_row(name, SETTINGS)


@pytest.mark.parametrize("row", [PersonNone, PersonLength, PersonPosition])
def test_fitted_controls_are_refused(row, people):
    fitted = row(SETTINGS, 0).fit(people.train, people.validation)
    with pytest.raises(InputError, match="cannot be carried, (a control|it learns nothing)"):
        Micro(fitted, FeatureSettings())


def test_unfitted_rows_are_refused():
    for name in carried.ROWS:
        with pytest.raises(InputError, match=f"{name} is not fitted: call fit first"):
            Micro(carried.make_row(name, SETTINGS), FeatureSettings())


def test_rows_that_need_a_context_are_refused(model, people):
    with pytest.raises(InputError, match="heads_see: persons state no context"):
        Micro(model.method, FeatureSettings(response_context="with"))
    row = carried.make_row("person_router", SETTINGS, 0).fit(people.train, people.validation)
    row.settings = replace(row.settings, stage1_context=True)
    with pytest.raises(InputError, match="stage1_context"):
        Micro(row, FeatureSettings())


def test_a_bare_method_is_carried_where_it_was_trained_on_users(people):
    """`lore` of tables 2 and 3 is carried too; not, where attributes stood for users."""
    few = [pairs.select(slice(0, 300)) for pairs in (people.train, people.validation)]
    assert Micro(make("lore", SETTINGS, 0).fit(*few), FeatureSettings()).users == []
    without = [replace(pairs, user_id=None) for pairs in few]
    with pytest.raises(InputError, match="lore was trained on pairs without user_id"):
        Micro(make("lore", SETTINGS, 0).fit(*without), FeatureSettings())


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("anna", "user 'anna' is unknown. Did you mean 'ann'? Known: ann, bob; call adapt_to_user first"),
        ("", "user '' is unknown"),
        (3, "user 3 is unknown"),
        (["ann"], "user ['ann'] is unknown"),
    ],
)
def test_unknown_people_are_refused(model, user, said):
    for ask in (model.rank, model.weights, lambda p, a, user=None: model.reward(p, a[0], user=user)):
        with pytest.raises(InputError, match=re.escape(said)):
            ask(PROMPT, *([ANSWERS] if ask != model.weights else []), user=user)


def test_contexts_and_persons_are_not_mixed(model, people):
    with pytest.raises(InputError, match="adapts to persons, not to contexts"):
        model.rank(PROMPT, ANSWERS, "I want humor.", user="ann")
    with pytest.raises(InputError, match="responses must be a list of at least two texts"):
        model.rank(PROMPT, "a", user="ann")
    micro = Micro(make("micro", SETTINGS | {"tau": 1.0}, 0).fit(people.train, people.validation), FeatureSettings())
    for ask in (
        lambda: micro.rank(PROMPT, ANSWERS, user="ann"),
        lambda: micro.reward(PROMPT, "a", user="ann"),
        lambda: micro.weights(PROMPT, user="ann"),
        lambda: micro.adapt_to_user([PAIR, OTHER]),
    ):
        with pytest.raises(InputError, match="a TwoStage does not adapt to persons"):
            ask()


@pytest.mark.long
def test_responses_that_are_one_to_the_backbone_are_refused(told, micro):
    """The texts differ after `max_tokens` alone."""
    short = replace(told[3], max_tokens=40)
    model = Micro(micro["person_ridge"].method, short)
    long = [PAIR | {"chosen": "word " * 20 + end, "rejected": "word " * 20 + "z"} for end in "xy"]
    with pytest.warns(UserWarning), pytest.raises(InputError, match="are the same to the backbone"):
        model.adapt_to_user(long)
    assert model.users == NEW
