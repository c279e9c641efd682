"""Devices: names are checked, every row trains where it is told, and a GPU predicts what the CPU does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import placement
import pytest
import tiny_models
import torch
from test_backbone import groups, table
from told import with_criteria

from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.experiments.head_surgery import regroup
from micro_paper.experiments.worlds import context_budget
from micro_paper.features import extract as extraction
from micro_paper.features.backbone import Backbone
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods import METHODS
from micro_paper.methods.settings import Settings
from micro_paper.methods.static import Single
from micro_paper.methods.two_stage import MixtureMethod, TwoStage
from micro_paper.training import resolve_device

BUDGET = 8
SMALL = {"heads": 4, "epochs": 2, "batch_size": 64, "learning_rate": 0.01, "stage2_epochs": 2}
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")


@pytest.fixture(scope="module")
def few() -> dict:
    """Pairs of each split of a synthetic audience with few prompts."""
    drawn = synthetic.draw_world("synthetic-audience", train=60, validation=30, test=30)
    return {split: with_criteria(sample.pairs) for split, sample in drawn.items()}


def predicted(factory: Callable[..., Any], few: dict, **settings: Any) -> tuple[Any, np.ndarray]:
    method = factory(SMALL | settings, 0).fit(few["train"], few["validation"])
    method.adapt(context_budget(few["train"], BUDGET, 0))
    return method, method.predict_proba(few["test"])


class TestNames:
    def test_auto_is_cuda_where_there_is_one(self, monkeypatch):
        for there, expected in ((True, "cuda"), (False, "cpu")):
            monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
            assert resolve_device("auto") == torch.device(expected)
            assert resolve_device("cpu") == torch.device("cpu")

    @pytest.mark.parametrize("name", ["cuda", "cuda:0"])
    def test_cuda_is_refused_where_there_is_none(self, name, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        for take in (resolve_device, lambda device: Settings(device=device)):
            with pytest.raises(InputError, match=f"device is '{name}', but torch finds no CUDA here: use auto"):
                take(name)

    def test_a_card_beyond_the_last_is_refused(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert resolve_device("cuda:1") == torch.device("cuda:1")
        with pytest.raises(InputError, match="device is 'cuda:2', but there are 2: use cuda:0 to cuda:1"):
            resolve_device("cuda:2")

    @pytest.mark.parametrize("name", ["gpu", "meta", "cpu:0", "cuda:", "cuda:x", "", None])
    def test_an_unknown_name_is_refused_everywhere(self, name, few, tmp_path):
        message = "device must be (one of auto, cpu, cuda|a text), got"
        for take in (resolve_device, lambda device: Settings(device=device)):
            with pytest.raises(InputError, match=message):
                take(name)
        with pytest.raises(InputError, match=message):  # before anything is looked for
            extraction.extract([], FeatureSettings(), tmp_path, device=name)

    def test_the_nearest_name_is_suggested(self):
        with pytest.raises(InputError, match="Did you mean 'cuda'"):
            Settings(device="cude")

    def test_parameters_name_the_device(self):
        assert Settings.from_parameters({"device": "auto", "train_dtype": "float64"}, "rpr").device == "auto"


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_a_row_keeps_everything_on_its_device(name, few, monkeypatch):
    _, here = predicted(METHODS[name], few, dtype="float64")
    with placement.elsewhere(monkeypatch):
        method, there = predicted(METHODS[name], few, dtype="float64", device="cuda")
    atol = 1e-6 if name == "armo_published" else 1e-9  # its gate is float32
    np.testing.assert_allclose(there, here, rtol=0, atol=atol)
    if isinstance(method, MixtureMethod):
        assert {p.device for p in method.heads.parameters()} == {placement.ELSEWHERE}


class TableLeft(TwoStage):
    """A planted fault: the router's table stays on the CPU."""

    def _stage1_input(self, scaled):
        table, rows = super()._stage1_input(scaled)
        return table.cpu(), rows


class DrawLeft(Single):
    """A planted fault: initial heads are drawn on the CPU and added as they are."""

    def _make_heads(self, pairs):
        heads = super()._make_heads(pairs)
        heads.weight.data = heads.weight.data + torch.randn(heads.weight.shape, generator=self.generator("heads"))
        return heads


class DrawnThere(Single):
    """A planted fault: the CPU's generator is asked for numbers on the device."""

    def _make_heads(self, pairs):
        heads = super()._make_heads(pairs)
        torch.randn(3, generator=self.generator("heads"), device=heads.weight.device)
        return heads


class NumpyThere(Single):
    """A planted fault: margins are handed to numpy from the device."""

    def head_margins(self, pairs):
        return self._margins(self._scaled(pairs)).detach().numpy()

    def predict_proba(self, pairs):
        return self.head_margins(pairs)[:, 0]


@pytest.mark.parametrize("fault", [TableLeft, DrawLeft, DrawnThere, NumpyThere])
def test_what_is_left_on_another_device_is_found(fault, few, monkeypatch):
    predicted(fault, few)  # on the CPU alone nothing is amiss
    with placement.elsewhere(monkeypatch), pytest.raises(RuntimeError, match=r"two devices|draws on the|\.numpy\(\)"):
        predicted(fault, few, device="cuda")


def test_heads_are_measured_and_grouped_on_their_device(few, monkeypatch):
    labelled = context_budget(few["train"], BUDGET, 0)

    def measured(device: str) -> list[np.ndarray]:
        method, _ = predicted(METHODS["micro"], few, dtype="float64", device=device)
        merged = regroup(method, [[0, 2], [1], [3]]).adapt(labelled)
        found = [method.head_margins(few["test"]), method.mixture_weights(few["test"])]
        return [*found, merged.predict_proba(few["test"]), method.first_targets(labelled, 0.1)]

    here = measured("cpu")
    with placement.elsewhere(monkeypatch):
        there = measured("cuda")
    for a, b in zip(here, there, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-9)


def test_pairs_that_are_there_already_give_the_same(few, monkeypatch):
    rows = ("single", "micro", "armo", "length", "criterion_fewshot", "shuffled_router", "lore")
    here = {name: predicted(METHODS[name], few, dtype="float64")[1] for name in rows}
    with placement.elsewhere(monkeypatch):
        moved = {split: pairs.to(torch.float64, placement.ELSEWHERE) for split, pairs in few.items()}
        for name in rows:
            there = predicted(METHODS[name], moved, dtype="float64", device="cuda")[1]
            np.testing.assert_allclose(there, here[name], rtol=0, atol=1e-9, err_msg=name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    return tiny_models.folder(tmp_path_factory.mktemp("llama") / "model")


def test_extraction_loads_on_the_device_and_a_store_names_none(tiny, tmp_path, monkeypatch):
    from micro_paper import data

    settings, asked = FeatureSettings(backbone=tiny, layers=1, dtype="float32"), []
    load = Backbone.load
    monkeypatch.setattr(Backbone, "load", lambda *args: (asked.append(args[3]), load(*args[:3], "cpu"))[1])
    monkeypatch.setattr(extraction, "resolve_device", torch.device)
    rows = data.load_whole("smoke-texts")
    address = extraction.extract([rows], settings, tmp_path / "a", device="cuda").address
    assert address == extraction.extract([rows], settings, tmp_path / "b", device="cpu").address
    assert asked == ["cuda", "cpu"]
    assert extraction.pool_store("smoke-texts", settings, tmp_path / "a", device="cpu").address == address
    assert asked == ["cuda", "cpu"]  # what one device has made serves the other


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("name", METHODS)
def test_a_gpu_predicts_what_the_cpu_does(name, few):
    here, there = (predicted(METHODS[name], few, device=device)[1] for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-4)


@pytest.mark.gpu
@gpu
def test_a_gpu_gives_the_features_of_the_cpu(tiny):
    here, there = (table(Backbone.load(tiny, 2, "float32", device), groups(), 40) for device in ("cpu", "cuda"))
    torch.testing.assert_close(there, here, rtol=0, atol=1e-4)
