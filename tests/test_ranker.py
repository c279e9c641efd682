"""Micro on new text: ranking, saving, loading in a fresh process, and what must be refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from micro_paper import Micro, ranker
from micro_paper.errors import InputError, MissingError
from micro_paper.experiments.worlds import load_world
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods import make

PROMPT = "How do I clean a burnt pan?"
ANSWERS = [
    "Soak it in hot water, then scrub.",
    "Apologise to the pan, drown it in suds, and let it think about what it did before you tickle it clean.",
    "Fill the pan with hot water and soda, wait an hour, pour it off and rub gently until the surface is clean.",
]
CRITERION = "A good response is brief and says no more than it must."


@pytest.fixture(scope="module")
def micro(tmp_path_factory):
    features = FeatureSettings(layers=2, dtype="float32")
    world = load_world("smoke-texts", features=features, store=tmp_path_factory.mktemp("store"), drop_unanimous=False)
    settings = {"heads": 3, "tau": 1.0, "epochs": 3, "dtype": "float64"}
    method = make("micro", settings, 0).fit(world.train, world.validation)
    method.adapt(world.contexts("all", 0))
    return Micro(method, features, {"data set": "smoke-texts"})


@pytest.fixture(scope="module")
def saved(micro, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    micro.save(folder)
    return folder


@pytest.mark.parametrize("context", [None, CRITERION])
def test_rank_is_eq_1_by_hand(micro, context):
    ranked = micro.rank(PROMPT, ANSWERS, context)
    assert sorted(r.index for r in ranked) == [0, 1, 2]
    assert [r.probability for r in ranked] == sorted((r.probability for r in ranked), reverse=True)
    assert sum(r.probability for r in ranked) == pytest.approx(1.5)
    weights = np.array(micro.weights(PROMPT, context))
    assert weights.sum() == pytest.approx(1)
    rewards, _ = micro._score(PROMPT, ANSWERS, context)
    r = rewards.numpy()
    by_hand = {a: np.mean([(weights / (1 + np.exp(r[b] - r[a]))).sum() for b in range(3) if b != a]) for a in range(3)}
    assert {x.index: pytest.approx(x.probability) for x in ranked} == by_hand
    # A single response is encoded in another batch than three, so this agreement is not of bits.
    assert micro.reward(PROMPT, ANSWERS[1], context) == pytest.approx((weights * r[1]).sum(), abs=1e-4)


def test_the_context_changes_the_weights(micro):
    assert not np.allclose(micro.weights(PROMPT), micro.weights(PROMPT, CRITERION), atol=1e-3)


def test_dialogues_are_accepted(micro):
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi, what is it?"},
        {"role": "user", "content": PROMPT},
    ]
    assert len(micro.rank(messages, ANSWERS, CRITERION)) == 3


def test_a_fresh_process_gives_the_same_bits(micro, saved):
    code = (
        "import sys, json; from micro_paper import Micro; m = Micro.load(sys.argv[1]); "
        "p, a, c = json.loads(sys.argv[2]); "
        "print(json.dumps([[r.hex() if isinstance(r, float) else r for r in x] for x in m.rank(p, a, c)]), "
        "m.reward(p, a[0], c).hex())"
    )
    arguments = [sys.executable, "-c", code, str(saved), json.dumps([PROMPT, ANSWERS, CRITERION])]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()
    here = json.dumps([[r.index, r.probability.hex()] for r in micro.rank(PROMPT, ANSWERS, CRITERION)])
    assert printed == f"{here} {micro.reward(PROMPT, ANSWERS[0], CRITERION).hex()}"


def test_a_saved_model_says_what_it_is(saved):
    described = json.loads((saved / "micro.json").read_text())
    assert described["settings"]["heads"] == 3 and described["trained_on"] == {"data set": "smoke-texts"}
    card = (saved / "README.md").read_text()
    assert "data set: smoke-texts" in card and "`smollm2`" in card


def test_a_failed_save_leaves_the_model_before(micro, saved, monkeypatch):
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    monkeypatch.setattr(ranker, "_card", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        micro.save(saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_changed_or_missing_files_are_refused(micro, saved, tmp_path):
    folder = tmp_path / "model"
    micro.save(folder)
    tensors = folder / "micro.safetensors"
    content = tensors.read_bytes()
    tensors.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"sha256 .* recorded is .* save the model again"):
        Micro.load(folder)
    tensors.unlink()
    with pytest.raises(MissingError, match="micro.safetensors is missing"):
        Micro.load(folder)
    with pytest.raises(MissingError, match="micro.json is missing"):
        Micro.load(tmp_path / "nowhere")


def test_another_backbone_is_refused(saved, tmp_path):
    model = Micro.load(saved)
    model._fingerprint = "0" * 64
    with pytest.raises(InputError, match="not the one that this model was trained on"):
        model.rank(PROMPT, ANSWERS)


def test_a_foreign_folder_is_not_overwritten(micro, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="exists and holds thesis.tex"):
        micro.save(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize(
    ("prompt", "answers", "context", "message"),
    [
        ("", ANSWERS, None, "prompt is empty"),
        (PROMPT, ["a", " "], None, "response 1 is empty"),
        (PROMPT, ["only one"], None, "at least two"),
        (PROMPT, "a text", None, "at least two"),
        (PROMPT, ANSWERS, " ", "context is empty"),
    ],
)
def test_bad_requests_are_named(micro, prompt, answers, context, message):
    with pytest.raises(InputError, match=message):
        micro.rank(prompt, answers, context)


def test_a_context_needs_stage_2(micro):
    alone = micro.method.restarted(micro.method.settings)
    with pytest.raises(InputError, match="not adapted to contexts"):
        Micro(alone, micro.features).rank(PROMPT, ANSWERS, CRITERION)
    with pytest.raises(InputError, match="not fitted"):
        Micro(make("micro"), micro.features)
