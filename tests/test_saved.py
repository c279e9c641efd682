"""Saved models: written whole or not at all, read only as they were written, whatever their bytes are."""

import copy
import json
import os
import resource
import stat
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st

from micro_paper import Micro, saved
from micro_paper.data import synthetic
from micro_paper.errors import InputError, MissingError
from micro_paper.experiments.worlds import load_world
from micro_paper.features.settings import FeatureSettings
from micro_paper.files import sha256
from micro_paper.methods import METHODS, make
from micro_paper.methods.two_stage import GroupedWeights

PROMPT, ANSWERS, CRITERION = "How?", ["a b", "c d e", "xyz"], "A good response is brief."
TINY = {"heads": 2, "router_hidden": 3, "tau": 1.0}
CARRIED = {
    "micro",
    "micro_criterion",
    "micro_converged",
    "micro_plus",
    "micro_plus_full",
    "micro_stage1",
    "armo",
    "random_heads",
    "pca_heads",
}


@pytest.fixture(scope="module")
def pairs():
    drawn = synthetic.draw_world("synthetic-audience", train=40, validation=20, test=10)
    return {split: sample.pairs for split, sample in drawn.items()}


@pytest.fixture(scope="module")
def micro(pairs):
    """A fitted model that no backbone needs to be loaded for, as long as it only is saved and loaded."""
    method = make("micro", TINY, 0).fit(pairs["train"], pairs["validation"]).adapt(pairs["train"])
    return Micro(method, FeatureSettings(), {"data set": "ours"}, "0" * 64)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A world of texts by a backbone of 32 units, and its feature settings."""
    folder = tmp_path_factory.mktemp("texts")
    features = FeatureSettings(backbone=tiny_models.folder(folder / "tiny"), layers=2, dtype="float32")
    return load_world("smoke-texts", features=features, store=folder / "store", drop_unanimous=False), features


def same(a: Micro, b: Micro) -> bool:
    """Whether two models hold the same, to the last bit."""
    one, two = saved._tensors(a.method), saved._tensors(b.method)
    told = [(m.method.settings, m.method.seed, m.method.stage2, m.features, m.trained_on) for m in (a, b)]
    return told[0] == told[1] and one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def held(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_every_method_ranks_alike_after_loading_or_is_refused(name, texts, tmp_path):
    world, features = texts
    for prediction in ("probability", "reward", "log_sigmoid"):
        method = make(name, TINY | {"prediction": prediction}, 0).fit(world.train, world.validation)
        method.adapt(world.contexts("all", 0))
        if name not in CARRIED:
            said = f"one of micro, .*pca_heads, .*; a {type(method).__name__} cannot rank"
            if name in ("lore", "pal", "vpl"):  # which know persons, where the data name some
                said = f"{name} was trained on pairs without user_id"
            with pytest.raises(InputError, match=said):
                Micro(method, features)
            return
        micro = Micro(method, features)
        micro.save(tmp_path / "model")
        again = Micro.load(tmp_path / "model", "cpu")
        contexts = [None] * (not micro.method.settings.stage1_context) + [CRITERION] * micro.method.adapted
        for context in contexts:
            assert again.rank(PROMPT, ANSWERS, context) == micro.rank(PROMPT, ANSWERS, context)
        # What it says of a pair is what the method said of it.
        rows = world.test.select(slice(0, 1))
        assert again.method.predict_proba(rows) == pytest.approx(micro.method.predict_proba(rows))


def test_merged_heads_are_not_saved(micro, tmp_path):
    merged = copy.copy(micro)
    merged.method = micro.method.with_heads(micro.method.head_weights()[:1], [[0, 1]])
    assert isinstance(merged.method.weights, GroupedWeights)
    with pytest.raises(InputError, match="as fit left them can be saved: router.inner"):
        merged.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["weights", "scale"])
def test_a_model_of_no_finite_numbers_is_not_saved(micro, tmp_path, kind):
    broken = copy.copy(micro)
    broken.method = copy.deepcopy(micro.method)
    with torch.no_grad():
        (broken.method.heads.weight if kind == "weights" else broken.method.scalers["prompts"].scale)[..., 0] = (
            torch.nan
        )
    with pytest.raises(InputError, match="holds a value that no training gives"):
        broken.save(tmp_path / "model")


def test_columns_without_spread_are_saved(pairs, tmp_path):
    constant = {k: torch.cat([p.responses, torch.ones(len(p.responses), 1)], dim=1) for k, p in pairs.items()}
    wider = {k: p.with_tables(responses=constant[k]) for k, p in pairs.items()}
    micro = Micro(make("micro", TINY).fit(wider["train"], wider["validation"]), FeatureSettings(), None, "0" * 64)
    assert micro.method.scalers["responses"].scale[-1] == torch.inf
    micro.save(tmp_path / "model")
    assert same(Micro.load(tmp_path / "model", "cpu"), micro)


def test_plain_values_of_numpy_and_paths_are_saved(pairs, tmp_path):
    given = {"heads": np.int64(2), "alpha": np.float32(0.5), "early_stopping": np.bool_(True), "router_hidden": 3}
    method = make("micro", given, 3).fit(pairs["train"], pairs["validation"])
    trained_on = {"budget": np.int64(5), "file": tmp_path, "seeds": np.arange(2), "share": np.float64(0.5)}
    Micro(method, FeatureSettings(), trained_on, "0" * 64).save(tmp_path / "model")
    again = Micro.load(tmp_path / "model", "cpu")
    assert again.trained_on == {"budget": 5, "file": str(tmp_path), "seeds": [0, 1], "share": 0.5}
    assert again.method.settings == method.settings and again.method.seed == 3


@pytest.mark.parametrize(
    "value",
    [{1, 2}, float("nan"), 10**5000, "\ud800", object(), {(1, 2): 3}],
    ids=["a set", "nan", "many digits", "half a letter", "an object", "a couple as key"],
)
def test_other_values_are_refused_before_anything_is_written(micro, tmp_path, value):
    other = Micro(micro.method, micro.features, {"what": value}, "0" * 64)
    if isinstance(value, str):  # JSON has it, the card does not
        assert json.loads(json.dumps(value)) == value
    with pytest.raises(InputError, match="trained_on cannot be saved"):
        other.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_colleagues_can_read_what_is_saved(micro, tmp_path):
    before = os.umask(0o027)
    try:
        micro.save(tmp_path / "model")
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in [tmp_path / "model", *(tmp_path / "model").iterdir()]}
    assert modes.pop("model") == 0o750 and set(modes.values()) == {0o640} and len(modes) == 3


@pytest.mark.parametrize("at", ["write", "first rename", "second rename", "interrupt"])
def test_a_failed_save_leaves_the_model_before(micro, tmp_path, monkeypatch, at):
    folder = tmp_path / "model"
    micro.save(folder)
    before, rename, calls = held(folder), os.rename, []

    def fails(*_):
        raise KeyboardInterrupt if at == "interrupt" else OSError(28, "No space left on device")

    def fails_late(old, new):
        calls.append(new)
        if len(calls) == (1 if at == "first rename" else 2):
            fails()
        rename(old, new)

    if at == "write":
        monkeypatch.setattr(Path, "write_bytes", fails)
    else:
        monkeypatch.setattr(saved.os, "rename", fails_late)
    other = Micro(micro.method, micro.features, {"data set": "theirs"}, "0" * 64)
    with pytest.raises(KeyboardInterrupt if at == "interrupt" else InputError):
        other.save(folder)
    monkeypatch.undo()
    assert held(folder) == before and list(tmp_path.iterdir()) == [folder]
    other.save(folder)
    assert Micro.load(folder, "cpu").trained_on == {"data set": "theirs"}


def test_folders_mean_what_they_say(micro, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    micro.save("~/home")
    (tmp_path / "link").symlink_to(tmp_path / "home")
    micro.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and same(Micro.load("~/link", "cpu"), micro)
    (tmp_path / "empty").mkdir()
    micro.save(tmp_path / "empty")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("years of work")
    with pytest.raises(InputError, match="exists and holds README.md: choose another"):
        micro.save(tmp_path / "mine")
    with pytest.raises(InputError, match=r"cannot be saved in .*thesis: Not a directory"):
        (tmp_path / "thesis").write_text("years of work")
        micro.save(tmp_path / "thesis")
    for folder in (None, 3, "a\0b", "~nobody-of-this-name/x"):
        with pytest.raises(InputError, match="folder must be a path"):
            micro.save(folder)


def test_the_backbone_is_found_from_elsewhere(texts, tmp_path, monkeypatch):
    world, features = texts
    home, away = Path(features.backbone).parent, tmp_path / "away"
    method = make("micro", TINY, 0).fit(world.train, world.validation)
    monkeypatch.chdir(home)
    micro = Micro(method, FeatureSettings(backbone="tiny", layers=2, dtype="float32"))
    monkeypatch.chdir(tmp_path)
    micro.save("model")
    assert Micro.load("model", "cpu").rank(PROMPT, ANSWERS) == micro.rank(PROMPT, ANSWERS)
    os.rename(home / "tiny", away)
    try:
        with pytest.raises(MissingError, match=r"tiny, which model needs, is missing: .*backbone="):
            Micro.load("model", "cpu")
        moved = Micro.load("model", "cpu", backbone=str(away))
        assert moved.rank(PROMPT, ANSWERS) == micro.rank(PROMPT, ANSWERS)
    finally:
        os.rename(away, home / "tiny")


def test_another_backbone_is_refused_before_it_is_loaded(texts, tmp_path, monkeypatch):
    world, features = texts
    micro = Micro(make("micro", TINY, 0).fit(world.train, world.validation), features)
    micro.save(tmp_path / "model")
    other = tiny_models.folder(tmp_path / "other", seed=1)
    monkeypatch.setattr("micro_paper.ranker.Backbone.load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(InputError, match="not the one that this model was trained on"):
        Micro.load(tmp_path / "model", "cpu", backbone=other).rank(PROMPT, ANSWERS)


def test_a_backbone_of_another_width_is_refused(micro, texts):
    wrong = Micro(micro.method, texts[1])
    with pytest.raises(InputError, match="have 32 columns, the heads"):
        wrong.rank(PROMPT, ANSWERS)


# --- whatever the bytes are


@pytest.fixture(scope="module")
def files(micro, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    micro.save(folder)
    return folder, held(folder)


def load_changed(files, name: str, content: bytes) -> Micro:
    """Return the model with one file changed; the file is put back."""
    folder, before = files
    (folder / name).write_bytes(content)
    try:
        return Micro.load(folder, "cpu")
    finally:
        (folder / name).write_bytes(before[name])


def signed(described: dict) -> bytes:
    """Return settings with the hash that they ask for: what someone writes who wants to be believed."""
    described["sha256"] = saved._signature(described)
    return json.dumps(described).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([10**400, -1, 0, 2**63]) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_changed_bytes_are_the_same_model_or_refused(files, micro, data):
    name = data.draw(st.sampled_from([saved.SETTINGS, saved.TENSORS]))
    before = files[1][name]
    start = data.draw(st.integers(0, len(before)))
    end = data.draw(st.integers(start, min(len(before), start + 8)))
    content = before[:start] + data.draw(st.binary(max_size=8)) + before[end:]
    try:
        found = load_changed(files, name, content)
    except InputError as error:
        assert str(files[0]) in str(error) and "save the model again" in str(error)
    else:
        assert same(found, micro)


@given(st.data())
def test_signed_settings_of_any_values_load_or_are_refused(files, data):
    described = json.loads(files[1][saved.SETTINGS])
    place = described
    if data.draw(st.booleans()):
        place = described[data.draw(st.sampled_from(["settings", "features"]))]
    name = data.draw(st.sampled_from(sorted(place)) | st.text(max_size=5))
    if data.draw(st.booleans()):
        place[name] = data.draw(JSON | st.integers(-3, 2000) | st.floats(0, 10))
    else:
        place.pop(name, None)
    with suppress(InputError, MissingError):
        load_changed(files, saved.SETTINGS, signed(described))


@given(st.data())
def test_signed_tensors_of_any_shape_load_or_are_refused(files, data):
    """The header says what it likes; the hashes agree with it."""
    content = files[1][saved.TENSORS]
    size = int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    name = data.draw(st.sampled_from(sorted(header)))
    field = data.draw(st.sampled_from(["shape", "dtype", "data_offsets", "name", "size", "values"]))
    if field == "shape":
        header[name]["shape"] = data.draw(st.lists(st.integers(-1, 10**12), max_size=3) | JSON)
    elif field == "dtype":
        header[name]["dtype"] = data.draw(st.sampled_from(["F16", "F64", "I64", "BOOL", "F8_E5M2", "F4", "C64"]) | JSON)
    elif field == "data_offsets":
        header[name]["data_offsets"] = data.draw(st.lists(st.integers(0, 2**40), min_size=2, max_size=2) | JSON)
    elif field == "name":
        header[data.draw(st.text())] = header.pop(name)
    elif field == "values":
        start = data.draw(st.integers(0, len(body) - 8))
        body = body[:start] + data.draw(st.binary(min_size=8, max_size=8)) + body[start + 8 :]
    text = json.dumps(header).encode()
    told = data.draw(st.integers(0, 2**64 - 1)) if field == "size" else len(text)
    content = told.to_bytes(8, "little") + text + body
    folder, before = files
    described = json.loads(before[saved.SETTINGS]) | {"tensors_sha256": sha256(content)}
    (folder / saved.SETTINGS).write_bytes(signed(described))
    with suppress(InputError):
        found = load_changed(files, saved.TENSORS, content)
        assert all(torch.isfinite(p).all() for p in found.method.heads.parameters())
    (folder / saved.SETTINGS).write_bytes(before[saved.SETTINGS])


def test_absurd_sizes_are_refused_without_their_memory(files):
    described = json.loads(files[1][saved.SETTINGS])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ("heads", "router_hidden"):
        changed = described | {"settings": described["settings"] | {name: 10**9}}
        with pytest.raises(InputError, match=r"the settings ask for \("):
            load_changed(files, saved.SETTINGS, signed(changed))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_missing_file_is_named(micro, tmp_path):
    for name in (saved.TENSORS, saved.SETTINGS):
        micro.save(tmp_path / name)
        (tmp_path / name / name).unlink()
        with pytest.raises(MissingError, match=f"{name} is missing: give a folder that Micro.save wrote"):
            Micro.load(tmp_path / name)


def test_an_edited_setting_is_noticed(files):
    text = files[1][saved.SETTINGS].decode()
    with pytest.raises(InputError, match="was changed: its sha256"):
        load_changed(files, saved.SETTINGS, text.replace('"seed": 0', '"seed": 1').encode())
    assert load_changed(files, saved.SETTINGS, text.replace("\n", "\r\n").encode())  # white space says nothing
    with pytest.raises(InputError, match="has format 1, this version reads 2"):
        load_changed(files, saved.SETTINGS, text.replace('"format": 2', '"format": 1').encode())
    with pytest.raises(InputError, match="holds no JSON object"):
        load_changed(files, saved.SETTINGS, b"[" * 100_000)


def test_tensors_need_the_file_that_safetensors_writes(files, micro):
    assert same(load_changed(files, saved.TENSORS, safetensors.torch.save(saved._tensors(micro.method))), micro)
