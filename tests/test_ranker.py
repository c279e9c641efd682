"""Micro on new text: ranking, saving, loading in a fresh process, and what must be refused."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from micro_paper import Micro
from micro_paper.errors import InputError
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


@pytest.mark.long
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


HUGE = [10**5000]  # no text has so many digits


class Nested(list):
    """A list of itself, whose repr has no end."""

    def __repr__(self):
        return "[" + repr(self) + "]"


@pytest.mark.parametrize(
    ("prompt", "answers", "context", "message"),
    [
        ("", ANSWERS, None, "prompt is empty: give a text"),
        (None, ANSWERS, None, "prompt must be a text, got None"),
        (3, ANSWERS, None, "prompt must be a text, got 3"),
        (b"How?", ANSWERS, None, "prompt must be a text, got b'How"),
        ({"role": "user", "content": "How?"}, ANSWERS, None, "prompt must be a text, got {'role'"),
        ([], ANSWERS, None, "prompt must be a text or a list of chat messages, got []"),
        (["How?"], ANSWERS, None, "prompt must be a text or a list of chat messages"),
        ([{"content": "How?"}], ANSWERS, None, "role of prompt message 1 must be a text, got None"),
        ([{"role": "wizard", "content": "How?"}], ANSWERS, None, "role"),
        ([{"role": "user", "content": None}], ANSWERS, None, "content of prompt message 1 must be a text, got None"),
        ([{"role": "user", "content": " "}], ANSWERS, None, "prompt is empty"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "x"}], ANSWERS, None, "user message"),
        ([{"role": "user", "content": Nested()}], ANSWERS, None, "must be a text, got a Nested"),
        (PROMPT, ["a", " "], None, "response 1 is empty"),
        (PROMPT, ["only one"], None, "at least two"),
        (PROMPT, "a text", None, "at least two texts, got 'a text'"),
        (PROMPT, [], None, "at least two"),
        (PROMPT, {"a": 1, "b": 2}, None, "responses must be a list of at least two texts, got {'a'"),
        (PROMPT, None, None, "responses must be a list"),
        (PROMPT, HUGE, None, "responses must be a list of at least two texts, got a list"),
        (PROMPT, ["a", 3], None, "response 1 must be a text, got 3"),
        (PROMPT, ["a", None], None, "response 1 must be a text, got None"),
        (PROMPT, ["a", "b\ud83d"], None, "response 1 holds half a character"),
        ("\udc00", ANSWERS, None, "prompt holds half a character"),
        (PROMPT, ANSWERS, " ", "context is empty"),
        (PROMPT, ANSWERS, 7, "context must be a text, got 7"),
        (PROMPT, ANSWERS, "\ud800", "context holds half a character"),
    ],
)
def test_bad_requests_are_named(micro, prompt, answers, context, message):
    with pytest.raises(InputError, match=re.escape(message)):
        micro.rank(prompt, answers, context)


def test_a_context_needs_stage_2(micro):
    alone = micro.method.restarted(micro.method.settings)
    with pytest.raises(InputError, match="not adapted to contexts"):
        Micro(alone, micro.features).rank(PROMPT, ANSWERS, CRITERION)
    with pytest.raises(InputError, match="not fitted"):
        Micro(make("micro"), micro.features)


@pytest.mark.parametrize(("method", "message"), [(None, "a NoneType cannot"), ("micro", "a str cannot")])
def test_what_ranks_no_text_is_refused(micro, method, message):
    with pytest.raises(InputError, match=message):
        Micro(method, micro.features)
    with pytest.raises(InputError, match="features must be FeatureSettings"):
        Micro(micro.method, None)
    with pytest.raises(InputError, match="trained_on a dictionary"):
        Micro(micro.method, micro.features, "smoke-texts")
