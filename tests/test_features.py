"""Features: which tokens they are read from, and a store that resumes, shards, and refuses what is not its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from datasets import Dataset

from micro_paper import data
from micro_paper.errors import InputError
from micro_paper.experiments.worlds import load_world
from micro_paper.features import extract as features
from micro_paper.features import store as feature_store
from micro_paper.features.backbone import Backbone
from micro_paper.features.extract import encode_new, extract, pool_store
from micro_paper.features.settings import FeatureSettings
from micro_paper.features.tokens import ChatTokens, as_messages

DIALOGUE = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "user"},  # a word that stands in the template too
    {"role": "assistant", "content": "Yes?"},
    {"role": "user", "content": "  And tea — how long? "},
]
SHORT, PLAYFUL = "Prefer the shorter answer.", "Prefer the playful answer."


def rows(n: int = 12, contexts: bool = True) -> Dataset:
    prompts = ["How do I boil an egg?", "Why is the sky blue, and not green?", DIALOGUE]
    prompts = [as_messages(p) for p in prompts]
    made = [
        {
            "pair_id": f"p{i}",
            "prompt_id": f"q{i % 3}",
            "prompt": prompts[i % 3],
            "chosen": f"Answer {'very ' * (i // 3)}{i % 4}",
            "rejected": f"No — {i % 5}.",
            "attribute": "brevity" if i % 2 else "playfulness",
            "context": (SHORT if i % 2 else PLAYFUL) if contexts else None,
            "source": "test",
        }
        for i in range(n)
    ]
    return Dataset.from_list(made)


def many() -> Dataset:
    """Pairs whose prompts all differ, for a store of many shards."""
    return rows(24).map(lambda r, i: {"prompt": as_messages(f"Question {i}?")}, with_indices=True)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    return tiny_models.folder(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def settings(tiny) -> FeatureSettings:
    return FeatureSettings(backbone=tiny, layers=2, dtype="float32", shard_tokens=300, token_budget=256)


@pytest.fixture(autouse=True)
def one_thread():
    """Bytes are compared with those of processes that run on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if not p.name.startswith(".")}


class TestSettings:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("response_pooling", "meen"),
            ("prompt_pooling", "criterion"),
            ("context_pooling", "first"),
            ("context_position", "above"),
            ("dtype", "float16"),
            ("layers", -1),
            ("layers", 2.0),
            ("max_tokens", True),
            ("shard_tokens", 0),
            ("backbone", ""),
        ],
    )
    def test_unknown_values_name_field_and_value(self, field, value):
        with pytest.raises(InputError, match=rf"^{field} must be .*{value!r}"):
            FeatureSettings(**{field: value})

    def test_a_near_miss_is_suggested(self):
        with pytest.raises(InputError, match="Did you mean 'mean'"):
            FeatureSettings(response_pooling="meen")

    def test_parameters_state_them(self):
        stated = {"backbone": "a/b", "layers": 3, "context_position": "tagged", "max_tokens": 64, "n_folds": 2}
        expected = FeatureSettings("a/b", 3, context_position="tagged", max_tokens=64)
        assert FeatureSettings.from_parameters(stated) == expected
        assert FeatureSettings.from_parameters({"layers": 3}) is None
        assert FeatureSettings.from_parameters(stated | {"backbone": "none"}) is None
        with pytest.raises(InputError, match="layers must be"):
            FeatureSettings.from_parameters(stated | {"layers": -1})


class TestTokens:
    """What is read decodes to the text that it should be."""

    @pytest.fixture(params=["plain", "trimming", "none", "smollm2"])
    def chat(self, request) -> ChatTokens:
        if request.param == "smollm2":
            from transformers import AutoTokenizer

            from micro_paper.features.model_files import packaged_folder

            return ChatTokens(AutoTokenizer.from_pretrained(packaged_folder()), 2048)
        template = {"plain": tiny_models.TEMPLATE, "trimming": tiny_models.TRIMMING, "none": None}[request.param]
        return ChatTokens(tiny_models.tokenizer(template), 2048)

    @staticmethod
    def text(chat, tokens, mask) -> str:
        return chat.tokenizer.decode(tokens.ids[mask])

    @pytest.mark.long
    def test_user_and_last(self, chat):
        found = chat.prompt(DIALOGUE)
        said = self.text(chat, found, found.user)
        assert "".join(said.split()) == "userAndtea—howlong?"  # a token may hold the line break before the text
        assert chat.prompt("user").user.sum() == len(chat.tokenizer("user", add_special_tokens=False).input_ids)
        assert list(found.where("last")) == [len(found.ids) - 1]
        assert list(found.where("mean")) == list(np.flatnonzero(found.user))
        assert "assistant" in chat.tokenizer.decode(found.ids[-14:]).lower()

    @pytest.mark.long
    @pytest.mark.parametrize("position", ["front", "behind", "tagged"])
    @pytest.mark.parametrize("prompt", ["Tea?", DIALOGUE], ids=["text", "dialogue"])
    def test_criterion(self, chat, prompt, position):
        changed, span = data.apply_context(SHORT, prompt, position)
        found = chat.prompt(changed, span)
        said = self.text(chat, found, found.where("criterion"))
        assert SHORT in said and len(said) <= len(SHORT) + 3  # a token may hold a neighbouring character

    def test_response(self, chat):
        for text in ("Four minutes.", " spaced out ", "日本茶 🍵", "two\nlines"):
            found = chat.response(text)
            assert chat.tokenizer.decode(found.ids[found.where("mean")]).strip() == text.strip()
            assert found.ids[-1] == chat.tokenizer.eos_token_id
            assert list(found.where("last")) == [len(found.ids) - 1]
        assert list(chat.response("").where("mean")) == list(chat.response("").where("last"))

    def test_the_whole_is_the_template(self, chat):
        messages = [*DIALOGUE[:-1], {"role": "user", "content": "Tea?"}]
        ids = chat.prompt(messages).ids
        options = {"chat_template": chat.template.source} if chat.template.source else {}
        text = chat.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options)
        assert ids.tolist() == chat.tokenizer(text, add_special_tokens=False).input_ids
        full = chat.tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": "Four."}], tokenize=False, **options
        )
        joined = chat.tokenizer.decode(np.concatenate([ids, chat.response("Four.").ids]))
        assert joined.strip() == full.strip()

    def test_one_start_token(self):
        for adds in (False, True):
            for template in (tiny_models.TEMPLATE, tiny_models.TEMPLATE.replace("{{ bos_token }}", "")):
                chat = ChatTokens(tiny_models.tokenizer(template, adds_start=adds), 100)
                expected = 1 if adds or "bos_token" in template else 0
                found = chat.prompt("Tea?")
                assert (found.ids == 1).sum() == expected
                assert self.text(chat, found, found.user) == "Tea?"

    def test_two_start_tokens_are_refused(self):
        template = "{{ bos_token }}" + tiny_models.TEMPLATE
        with pytest.raises(InputError, match="starts with two beginning-of-sequence tokens"):
            ChatTokens(tiny_models.tokenizer(template), 100).prompt("Tea?")

    def test_a_start_token_that_is_sometimes_missing_is_refused(self):
        template = "{% if messages[0]['role'] == 'user' %}{{ bos_token }}{% endif %}" + tiny_models.TEMPLATE[15:]
        chat = ChatTokens(tiny_models.tokenizer(template), 100)
        assert chat.prompt("Tea?").ids[0] == 1
        with pytest.raises(InputError, match="starts with no beginning-of-sequence token"):
            chat.prompt(DIALOGUE)

    def test_a_template_that_refuses_roles(self):
        template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        chat = ChatTokens(tiny_models.tokenizer(template + tiny_models.TEMPLATE), 100)
        with pytest.raises(InputError, match="refuses the roles system, user, assistant, user: no system"):
            chat.prompt(DIALOGUE)

    @pytest.mark.parametrize(
        "prompt", [[], DIALOGUE[:3], [{"role": "robot", "content": "x"}], [{"role": "user", "content": None}]]
    )
    def test_prompts_that_are_none(self, prompt):
        with pytest.raises(InputError):
            as_messages(prompt)


class TestCutting:
    def test_the_oldest_text_goes_and_the_rest_stays(self):
        chat = ChatTokens(tiny_models.tokenizer(), 80)
        changed, span = data.apply_context("Be brief.", "start " + "x" * 200 + " end?", "front")
        found = chat.prompt(changed, span)
        text = chat.tokenizer.decode(found.ids)
        assert found.cut and len(found.ids) == 80
        assert text.startswith("<s><|user|>") and text.endswith(" end?<|end|>\n<|assistant|>\n")
        assert chat.tokenizer.decode(found.ids[found.criterion]) == "Be brief."
        assert "start" not in text

    def test_the_response_stays_whole(self):
        chat = ChatTokens(tiny_models.tokenizer(), 80)
        prompt, response = chat.fit(chat.prompt("y" * 60), chat.response("z" * 40))
        assert prompt.cut and not response.cut and len(prompt.ids) + len(response.ids) == 80
        prompt, response = chat.fit(chat.prompt("y" * 10), chat.response("z" * 200))
        assert response.cut and response.ids[-1] == 2 and len(prompt.ids) + len(response.ids) == 80
        assert len(response.text) == len(response.ids) - 1
        prompt, response = chat.fit(chat.prompt("y" * 10), chat.response("z" * 40))
        assert not prompt.cut and not response.cut

    def test_no_room_at_all(self):
        with pytest.raises(InputError, match="max_tokens=16 leaves 16 tokens .* raise max_tokens"):
            ChatTokens(tiny_models.tokenizer(), 16).prompt([{"role": "system", "content": ""}, *DIALOGUE[1:]] * 3)

    def test_it_is_reported(self, settings, tmp_path):
        report = extract([rows()], replace(settings, max_tokens=64), tmp_path).report()
        whole = extract([rows()], settings, tmp_path).report()
        assert report["truncated"]["prompts"] > 0
        assert whole["truncated"] == {"prompts": 0, "responses": 0}

    def test_a_row_that_cannot_be_encoded_is_named(self, settings, tmp_path):
        strict = tiny_models.TEMPLATE.replace("{{ bos_token }}", "{{ raise_exception('no') if messages|length > 2 }}")
        other = replace(settings, backbone=tiny_models.folder(tmp_path / "m", template=strict))
        with pytest.raises(InputError, match=r"row 3 of test, .* 'And tea|row 3 of test, .* '  And tea") as caught:
            extract([rows(3)], other, tmp_path)
        assert "refuses the roles system, user, assistant, user" in str(caught.value)
        with pytest.raises(InputError, match="^row 1 of test, .* max_tokens=20 leaves"):
            extract([rows(1)], replace(settings, max_tokens=20), tmp_path)
        with pytest.raises(InputError, match="^response 'x' after '  And tea"):
            encode_new(Backbone.load(other.backbone, 2, "float32"), other, DIALOGUE, ["x"])
        assert not [p for p in tmp_path.iterdir() if p.name != "m"]

    def test_pairs_alike_after_cutting_are_left_out_of_training(self, tiny, settings, tmp_path):
        long = "word " * 60
        lines = [
            {"prompt": f"Question {i}?", "chosen": "yes" if i % 3 else f"{long}{i}", "rejected": f"{long}no"}
            for i in range(45)
        ]
        file = tmp_path / "own.jsonl"
        file.write_text("\n".join(map(json.dumps, lines)))
        short = replace(settings, max_tokens=128)
        cut = load_world(f"jsonl:{file}", features=short, store=tmp_path / "s", drop_unanimous=False)
        whole = load_world(f"jsonl:{file}", features=settings, store=tmp_path / "s", drop_unanimous=False)
        assert whole.alike == 0 and len(cut.test) == len(whole.test)
        kept = len(cut.train) + len(cut.validation)
        assert cut.alike == len(whole.train) + len(whole.validation) - kept > 0
        for pairs in (cut.train, cut.validation):
            assert len(pairs) and (pairs.chosen != pairs.rejected).all()
        store = extract([data.load_whole(f"jsonl:{file}")], short, tmp_path / "s")
        assert store.alike(data.load_whole(f"jsonl:{file}")) == 15
        assert store.report()["truncated"]["responses"] > 0
        file.write_text("\n".join(json.dumps(line) for line in lines if line["chosen"] != "yes"))
        with pytest.raises(InputError, match="every train pair of jsonl:.* two responses of the same tokens: raise"):
            load_world(f"jsonl:{file}", features=short, store=tmp_path / "s", drop_unanimous=False)

    def test_new_responses_that_are_cut_or_alike_are_told(self, tiny, settings):
        backbone = Backbone.load(tiny, 2, "float32")
        short = replace(settings, max_tokens=64)
        with pytest.warns(UserWarning) as caught:
            phi, *_ = encode_new(backbone, short, "Tea?", ["x" * 90, "x" * 95, "no"])
        assert [str(w.message) for w in caught] == [
            "2 of the prompts and responses are cut to max_tokens",
            "responses 0 and 1 are the same to the backbone: their rewards are equal",
        ]
        assert torch.equal(phi[0], phi[1]) and not torch.equal(phi[0], phi[2])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encode_new(backbone, short, "Tea?", ["yes", "yes", "no"])  # the same text is no news

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"responses": ["a", "b\udc00"]}, "response 1 holds half of a surrogate pair"),
            ({"responses": ["a", 5]}, "response 1 is int, not text"),
            ({"responses": "ab"}, "responses must be a list"),
            ({"prompt": "a\ud83d"}, "prompt holds half"),
            ({"prompt": 5}, "prompt is int"),
            ({"prompt": [{"role": "user", "content": "\ud83d"}]}, "prompt message 1 holds half"),
            ({"context": "\ud83d"}, "context holds half"),
            ({"context": 5}, "context is int"),
        ],
    )
    def test_new_texts_that_are_none_are_named(self, tiny, settings, changes, says):
        given = {"prompt": "Tea?", "responses": ["a", "b"], "context": None} | changes
        with pytest.raises(InputError, match=says):
            encode_new(Backbone.load(tiny, 2, "float32"), settings, **given)

    def test_max_tokens_falls_to_what_the_backbone_has(self, settings, tmp_path):
        few = replace(settings, backbone=tiny_models.folder(tmp_path / "few", max_position_embeddings=64))
        report = extract([rows()], few, tmp_path).report()
        assert report["max_tokens"] == 64 and report["truncated"]["prompts"] > 0
        assert "max_tokens" not in extract([rows()], replace(settings, max_tokens=64), tmp_path).report()


class TestValues:
    """Against each text encoded by itself, whole, through transformers' own model and hidden states."""

    @pytest.mark.long
    @pytest.mark.parametrize("response", ["mean", "last"])
    @pytest.mark.parametrize(("prompt", "context"), [("last", "last"), ("mean", "mean"), ("last", "criterion")])
    @pytest.mark.parametrize("position", ["front", "behind"])
    def test_every_feature(self, tiny, settings, tmp_path, response, prompt, context, position):
        from transformers import AutoModel

        chosen = replace(
            settings,
            response_pooling=response,
            prompt_pooling=prompt,
            context_pooling=context,
            context_position=position,
        )
        table = rows()
        pairs = extract([table], chosen, tmp_path).pairs(table)
        model = AutoModel.from_pretrained(tiny, dtype=torch.float32)
        chat = ChatTokens(tiny_models.tokenizer(), 2048)

        def hidden(ids):
            with torch.inference_mode():
                return model(torch.from_numpy(ids)[None], output_hidden_states=True).hidden_states[2][0]

        for i, row in enumerate(table):
            x, a, b = chat.prompt(row["prompt"]), chat.response(row["chosen"]), chat.response(row["rejected"])
            phi = [hidden(np.concatenate([x.ids, r.ids]))[len(x.ids) + r.where(response)].mean(0) for r in (a, b)]
            torch.testing.assert_close(pairs.difference[i], phi[0] - phi[1], atol=1e-4, rtol=1e-4)
            u = hidden(x.ids)[x.where(prompt)].mean(0)
            torch.testing.assert_close(pairs.prompt_features[i], u, atol=1e-4, rtol=1e-4)
            changed, span = data.apply_context(row["context"], row["prompt"], position)
            xc = chat.prompt(changed, span)
            uc = hidden(xc.ids)[xc.where(context)].mean(0)
            torch.testing.assert_close(pairs.context_features[i], uc, atol=1e-4, rtol=1e-4)
            assert not torch.allclose(u, uc, atol=1e-2)
            words = len(row["chosen"].split()) - len(row["rejected"].split())
            assert pairs.length_difference[i] == words
        assert pairs.pair_id.tolist() == table["pair_id"][:] and pairs.attribute.tolist() == table["attribute"][:]
        assert pairs.user_id is None

    def test_a_criterion_in_front_is_encoded_once(self, settings, tmp_path):
        single = rows().filter(lambda r: len(r["prompt"]) == 1)
        front = extract([single], replace(settings, context_pooling="criterion"), tmp_path)
        behind = extract([single], replace(settings, context_pooling="criterion", context_position="behind"), tmp_path)
        items = front.report()["items"]
        assert items["contexts"] == 4 and len(front.pairs(single).contexts) == 2  # two criteria, two prompts
        assert len(behind.pairs(single).contexts) == 4
        pairs = front.pairs(single)  # read in front of a prompt or alone, a criterion's own tokens see nothing else
        torch.testing.assert_close(pairs.context_features, pairs.criterion_features, atol=1e-5, rtol=1e-4)
        assert items["criteria"] == len(pairs.criteria) == 2

    def test_responses_after_another_prompt(self, settings, tmp_path):
        table = rows(contexts=False)
        cued = table.map(lambda r: {"prompt": [{"role": "user", "content": "I am in a hurry."}]})
        cued = cued.add_column("response_prompt", table["prompt"][:])
        store = extract([table, cued], settings, tmp_path)
        assert torch.equal(store.pairs(cued).difference, store.pairs(table).difference)
        assert not torch.equal(store.pairs(cued).prompt_features, store.pairs(table).prompt_features)
        assert store.pairs(cued).contexts is None

    def test_bfloat16_is_kept_in_half_the_space(self, settings, tmp_path):
        half = extract([rows()], replace(settings, dtype="bfloat16"), tmp_path)
        exact = extract([rows()], settings, tmp_path)
        assert feature_store.read_shard(half.folder, 0, half.address).dtype == torch.float16
        assert feature_store.read_shard(exact.folder, 0, exact.address).dtype == torch.float32
        a, b = half.pairs(rows()).responses, exact.pairs(rows()).responses
        assert a.dtype == b.dtype == torch.float32
        assert torch.cosine_similarity(a, b).min() > 0.999

    def test_float64_is_kept(self, tiny, settings, tmp_path):
        fine = replace(settings, dtype="float64")
        store, single = extract([rows()], fine, tmp_path), extract([rows()], settings, tmp_path)
        assert store.address != single.address and store.report()["dtype"] == "float64"
        assert feature_store.read_shard(store.folder, 0, store.address).dtype == torch.float64
        a, b = store.pairs(rows()), single.pairs(rows())
        assert a.responses.dtype == a.prompts.dtype == a.contexts.dtype == torch.float64
        assert not torch.equal(a.responses, a.responses.float().double())
        torch.testing.assert_close(a.responses, b.responses.double(), atol=1e-4, rtol=1e-4)
        row = rows()[5]
        phi, u, uc, c = encode_new(
            Backbone.load(tiny, 2, "float64"), fine, row["prompt"], [row["rejected"], row["chosen"]], row["context"]
        )
        torch.testing.assert_close(phi[1] - phi[0], a.difference[5], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(u, a.prompt_features[5], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(uc, a.context_features[5], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(c, a.criterion_features[5], atol=1e-12, rtol=1e-12)

    @pytest.mark.parametrize(("value", "kind"), [(59_000.0, torch.float16), (70_000.0, torch.float32)])
    def test_large_values_do_not_overflow(self, tmp_path, value, kind):
        feature_store.write_shard(tmp_path, 0, torch.full((2, 3), value), "a", torch.bfloat16)
        found = feature_store.read_shard(tmp_path, 0, "a")
        assert found.dtype == kind and torch.isfinite(found).all()
        with pytest.raises(InputError, match="not finite"):
            feature_store.write_shard(tmp_path, 1, torch.full((2, 3), torch.nan), "a", torch.bfloat16)


class TestStore:
    def test_a_complete_store_needs_no_backbone(self, settings, tmp_path, monkeypatch):
        first = extract([rows()], settings, tmp_path)
        monkeypatch.setattr(Backbone, "load", lambda *_: pytest.fail("loaded"))
        again = extract([rows()], settings, tmp_path)
        assert again.address == first.address and again.report() == first.report()
        assert torch.equal(again.pairs(rows()).responses, first.pairs(rows()).responses)
        assert extract([rows(), rows(5)], settings, tmp_path).address == first.address  # the same texts

    def test_the_address_follows_settings_backbone_and_texts(self, settings, tmp_path):
        other = tiny_models.folder(tmp_path / "other", seed=1)
        stores = [
            extract([rows()], settings, tmp_path),
            extract([rows(9)], settings, tmp_path),
            extract([rows()], replace(settings, layers=3), tmp_path),
            extract([rows()], replace(settings, backbone=other), tmp_path),
        ]
        assert len({s.address for s in stores}) == 4

    def test_many_shards_give_what_one_gives(self, settings, tmp_path):
        many = extract([rows(30)], replace(settings, shard_tokens=100), tmp_path)
        one = extract([rows(30)], replace(settings, shard_tokens=10**6), tmp_path)
        assert many.report()["shards"] > 3 and one.report()["shards"] == 1
        torch.testing.assert_close(many.pairs(rows(30)).difference, one.pairs(rows(30)).difference)

    def test_parts_make_the_whole(self, settings, tmp_path):
        small = replace(settings, shard_tokens=100)
        whole = extract([rows(30)], small, tmp_path / "whole")
        for shard in (2, 0):
            part = extract([rows(30)], small, tmp_path / "parts", shard=shard, of=3)
        assert 0 < len(part.missing) < part.index.shards
        with pytest.raises(InputError, match="shards of .* are missing .*run the extraction of the other parts"):
            part.pairs(rows(30))
        extract([rows(30)], small, tmp_path / "parts", shard=1, of=3)
        done = extract([rows(30)], small, tmp_path / "parts")
        assert content(done.folder) == content(whole.folder)

    @pytest.mark.parametrize(("shard", "of"), [(3, 3), (-1, 3), (0, None), (None, 3), (0, 0)])
    def test_parts_out_of_range(self, settings, tmp_path, shard, of):
        with pytest.raises(InputError, match=f"shard must be 0 to of - 1, got shard={shard} of={of}"):
            extract([rows()], settings, tmp_path, shard=shard, of=of)

    @pytest.mark.parametrize("how", ["short", "flipped", "swapped", "header"])
    def test_a_damaged_shard_is_named_and_deleting_it_helps(self, settings, tmp_path, how):
        store = extract([rows(30)], settings, tmp_path)
        before = content(store.folder)
        path = feature_store.shard_path(store.folder, 1)
        good = path.read_bytes()
        flipped = good[:-3] + bytes([good[-3] ^ 1]) + good[-2:]
        other = feature_store.shard_path(store.folder, 0).read_bytes()
        path.write_bytes({"short": good[:-9], "flipped": flipped, "swapped": other, "header": b"x" + good[1:]}[how])
        with pytest.raises(InputError, match=r"shard-00001\.safetensors is damaged .*delete that file and run"):
            extract([rows(30)], settings, tmp_path).pairs(rows(30))
        (store.folder / "manifest.json").unlink()  # an interrupted run refuses it as well
        with pytest.raises(InputError, match=r"shard-00001\.safetensors is damaged"):
            extract([rows(30)], settings, tmp_path)
        path.unlink()
        extract([rows(30)], settings, tmp_path)
        assert content(store.folder) == before

    @pytest.mark.parametrize("file", ["index.safetensors", "manifest.json"])
    def test_other_damaged_files(self, settings, tmp_path, file):
        store = extract([rows()], settings, tmp_path)
        before = content(store.folder)
        (store.folder / file).write_bytes(b"{")
        with pytest.raises(InputError, match=rf"{file} is damaged .*delete that file and run"):
            extract([rows()], settings, tmp_path)
        (store.folder / file).unlink()
        extract([rows()], settings, tmp_path)
        assert content(store.folder) == before

    def test_features_of_other_settings_are_refused(self, settings, tmp_path):
        store = extract([rows()], settings, tmp_path)
        path = store.folder / "manifest.json"
        manifest = json.loads(path.read_text())
        for field, value in (("layers", 1), ("response_pooling", "last")):
            path.write_text(json.dumps(manifest | {"settings": manifest["settings"] | {field: value}}))
            with pytest.raises(InputError, match=f"made with {field}={value!r}, not .*delete that folder and run"):
                extract([rows()], settings, tmp_path)
        path.write_text(json.dumps(manifest | {"address": "0" * 64}))
        with pytest.raises(InputError, match="other texts or another backbone"):
            extract([rows()], settings, tmp_path)

    def test_texts_that_are_not_in_it(self, settings, tmp_path):
        store = extract([rows(6)], settings, tmp_path)
        with pytest.raises(InputError, match="has texts that the store"):
            store.pairs(rows(12))

    def test_data_that_cannot_be_used(self, settings, tmp_path):
        mixed = rows(4).map(lambda r, i: {"context": None if i == 2 else "x"}, with_indices=True)
        with pytest.raises(InputError, match="row 3 has no context while 3 rows have one"):
            extract([mixed], settings, tmp_path)
        with pytest.raises(InputError, match="no column 'rejected'"):
            extract([rows().remove_columns("rejected")], settings, tmp_path)
        with pytest.raises(InputError, match="row 1 has no prompt text: tabular data needs no backbone"):
            extract([Dataset.from_list([{"prompt": "", "chosen": "", "rejected": ""}])], settings, tmp_path)
        with pytest.raises(InputError, match="data sets are empty"):
            extract([rows().select([])], settings, tmp_path)
        assert not [p for p in tmp_path.iterdir() if p.is_dir()]

    def test_another_backbone_object_is_refused(self, tiny, settings, tmp_path):
        with pytest.raises(InputError, match="the backbone has layers=1, the settings 2"):
            extract([rows()], settings, tmp_path, backbone=Backbone.load(tiny, 1, "float32"))

    def test_the_bar_only_where_it_is_wanted(self, settings, tmp_path, capfd):
        extract([rows()], settings, tmp_path, progress=True)  # stderr is no terminal here
        assert capfd.readouterr() == ("", "")


SLOW = """
import os, sys, time
import torch
torch.set_num_threads(1)
right = os.fsync
def slow(handle):
    right(handle)
    time.sleep(0.15)  # a draft is written and not yet in its place
os.fsync = slow
sys.path[:0] = [os.environ["TESTS"]]
from test_features import many
from micro_paper.features import FeatureSettings
from micro_paper.features.extract import extract
print("ready", flush=True)
extract([many()], FeatureSettings(**eval(sys.argv[1])), sys.argv[2])
print("done", flush=True)
"""


def start(settings: FeatureSettings, root: Path) -> subprocess.Popen:
    here = Path(__file__).resolve().parent
    environment = os.environ | {"TESTS": str(here), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(here.parent)}
    command = [sys.executable, "-c", SLOW, repr(asdict(settings)), str(root)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def shards(root: Path) -> int:
    return len(list(root.glob("*/shard-*.safetensors")))


class TestProcesses:
    @pytest.mark.long
    def test_killed_three_times_it_ends_with_the_same_bytes(self, settings, tmp_path):
        small = replace(settings, shard_tokens=60)
        whole = extract([many()], small, tmp_path / "whole")
        assert whole.index.shards >= 12
        root, rng, seen = tmp_path / "killed", np.random.default_rng(), 0
        for _ in range(3):
            process = start(small, root)
            limit = time.monotonic() + 120
            while shards(root) <= seen and time.monotonic() < limit:
                assert process.poll() is None, process.communicate()
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL
            assert seen < shards(root) < whole.index.shards
            assert not list(root.glob("*/manifest.json"))
            seen = shards(root)
        done = extract([many()], small, root)
        assert content(done.folder) == content(whole.folder)

    @pytest.mark.long
    def test_two_at_once_do_not_collide(self, settings, tmp_path):
        small = replace(settings, shard_tokens=60)
        whole = extract([many()], small, tmp_path / "whole")
        both = [start(small, tmp_path / "both") for _ in range(2)]
        for process in both:
            out, error = process.communicate(timeout=200)
            assert process.returncode == 0 and "done" in out, error
        found = tmp_path / "both" / whole.address
        assert content(found) == content(whole.folder)
        assert not list(found.glob(".*"))

    @pytest.mark.long
    def test_new_text_is_the_same_in_a_fresh_process(self, tiny, settings):
        code = f"""
import sys, torch
torch.set_num_threads(1)
from micro_paper.features.backbone import Backbone
from micro_paper.features import FeatureSettings
from micro_paper.features.extract import encode_new
s = FeatureSettings(**{asdict(settings)!r})
parts = encode_new(Backbone.load(s.backbone, s.layers, s.dtype), s, {DIALOGUE!r}, ["Four.", "Ten minutes"], {SHORT!r})
sys.stdout.write(torch.cat([p.flatten() for p in parts]).numpy().tobytes().hex())
"""
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
        fresh = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        found = Backbone.load(tiny, settings.layers, settings.dtype)
        parts = encode_new(found, settings, DIALOGUE, ["Four.", "Ten minutes"], SHORT)
        assert torch.cat([p.flatten() for p in parts]).numpy().tobytes().hex() == fresh.stdout


class TestNewText:
    def test_it_agrees_with_the_store(self, tiny, settings, tmp_path):
        pairs = extract([rows()], settings, tmp_path).pairs(rows())
        row = rows()[5]
        found = Backbone.load(tiny, 2, "float32")
        phi, u, uc, _ = encode_new(found, settings, row["prompt"], [row["rejected"], row["chosen"]], row["context"])
        torch.testing.assert_close(phi[1] - phi[0], pairs.difference[5], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(u, pairs.prompt_features[5], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(uc, pairs.context_features[5], atol=1e-4, rtol=1e-4)

    def test_repeated_responses_and_no_context(self, tiny, settings):
        found = Backbone.load(tiny, 2, "float32")
        phi, u, uc, _ = encode_new(found, settings, "Tea?", ["Yes.", "No.", "Yes."])
        assert phi.shape == (3, 32) and u.shape == (32,) and uc is None
        assert torch.equal(phi[0], phi[2]) and not torch.equal(phi[0], phi[1])
        with pytest.raises(InputError, match="list of texts"):
            encode_new(found, settings, "Tea?", "Yes.")


class TestPool:
    def test_one_store_for_all_splits_and_names(self, settings, tmp_path):
        store = pool_store("smoke-texts", settings, tmp_path)
        for split in ("train", "validation", "test"):
            for fold in (0, 3):
                table = data.load("smoke-texts", split, fold=fold)
                assert len(store.pairs(table)) == len(table)
        assert features.pool_store("smoke-texts", settings, tmp_path).address == store.address

    def test_names_of_the_pool_are_joined(self, settings, tmp_path, monkeypatch):
        sets = {"a": rows(6), "b": rows(12), "c": rows(15)}
        pools = {"a": "one", "b": "one", "c": "two"}
        monkeypatch.setattr(data, "names", lambda: list(sets))
        monkeypatch.setattr(data, "describe", lambda n: type("Info", (), {"pool": pools[n], "text": True}))
        monkeypatch.setattr(data, "load_whole", lambda n: sets[n])
        store = pool_store("a", settings, tmp_path)
        assert len(store.pairs(sets["b"])) == 12
        with pytest.raises(InputError, match="texts that the store"):
            store.pairs(sets["c"])


def test_heads_may_see_the_criterion(tmp_path, settings):
    """phi(x, c, a) is phi of the prompt that holds the criterion; u stays as it is; the address tells them apart."""
    from micro_paper.data import apply_context

    data = rows(6)
    seeing = replace(settings, response_context="with")
    without, with_it = (extract([data], s, tmp_path) for s in (settings, seeing))
    assert without.address != with_it.address
    templated = [apply_context(row["context"], row["prompt"], "front")[0] for row in data]
    by_hand = data.remove_columns("prompt").add_column("prompt", templated)
    expected = extract([by_hand], settings, tmp_path).pairs(by_hand).difference
    a, b = with_it.pairs(data), without.pairs(data)
    assert torch.allclose(a.difference, expected, atol=1e-5)
    assert not torch.allclose(b.difference, expected, atol=1e-3)
    assert torch.allclose(a.prompt_features, b.prompt_features, atol=1e-5)
    new = encode_new(
        Backbone.load(seeing.backbone, seeing.layers, "float32"),
        seeing,
        data[0]["prompt"],
        [data[0]["chosen"]],
        data[0]["context"],
    )
    assert torch.allclose(new[0][0], a.responses[a.chosen[0]], atol=1e-5)
