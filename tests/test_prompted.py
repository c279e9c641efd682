"""The prompted row: likelihoods against the whole language model, and which response they prefer."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch

from micro_paper import data
from micro_paper.data.criteria import apply_context
from micro_paper.errors import InputError
from micro_paper.experiments import prompted
from micro_paper.experiments.evaluation import Evaluation, scores
from micro_paper.experiments.worlds import World
from micro_paper.features import backbone as backbones
from micro_paper.features.backbone import Backbone
from micro_paper.features.extract import extract
from micro_paper.features.likelihood import Asked, mean_log_likelihood, output_weights, score_all
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods.settings import Settings


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "own head"])
def backbone(request, tmp_path_factory) -> Backbone:
    folder = tmp_path_factory.mktemp("tiny")
    name = tiny_models.folder(folder, tie_word_embeddings=request.param)
    return Backbone.load(name, dtype="float32", device="cpu")


def by_hand(backbone: Backbone, prompt: str, response: str) -> float:
    """The mean over the response's letters of log p, by the causal model as transformers loads it."""
    import transformers as hf

    model = hf.AutoModelForCausalLM.from_pretrained(backbone.name).eval()
    before = backbone.chat.prompt(prompt).ids
    letters = backbone.tokenizer(response, add_special_tokens=False).input_ids
    with torch.no_grad():
        logits = model(torch.tensor([[*before, *letters]])).logits[0].double().log_softmax(-1)
    return float(np.mean([logits[len(before) - 1 + i, token] for i, token in enumerate(letters)]))


def test_likelihoods_are_those_of_the_whole_model(backbone):
    responses = ["a warm answer", "no"]
    found = mean_log_likelihood(backbone, "Say something.", responses)
    assert np.allclose(found, [by_hand(backbone, "Say something.", r) for r in responses], atol=1e-4)
    other = mean_log_likelihood(backbone, "Say nothing.", responses)
    assert np.abs(found - other).min() > 1e-4


def test_responses_are_scored_alike_alone_and_together(backbone, monkeypatch):
    most = backbone.chat.max_tokens
    # beside the second the prompt is cut; beside the others it stays whole
    prompt, responses = "Say it again. " * (most // 28), ["a", "b c " * (most // 6), "a warm answer", "no"]
    alone = [mean_log_likelihood(backbone, prompt, [r])[0] for r in responses]
    assert np.allclose(mean_log_likelihood(backbone, prompt, responses), alone, atol=1e-5)
    assert np.ptp(alone) > 1e-3
    monkeypatch.setattr(backbones, "_CACHED", 1)  # one response a batch
    assert np.allclose(mean_log_likelihood(backbone, prompt, responses), alone, atol=1e-5)
    found = score_all(backbone, [(prompt, r) for r in responses] + [("Hm?", "a"), (prompt, "no")])
    assert [found[Asked(prompt, r)] for r in responses] == pytest.approx(alone, abs=1e-5)
    assert len(found) == 5 and abs(found[Asked("Hm?", "a")] - alone[0]) > 1e-4


def test_a_cut_or_headless_backbone_is_refused(backbone, tmp_path):
    with pytest.raises(InputError, match="has 2 of its layers: likelihoods need all"):
        output_weights(Backbone.load(backbone.name, 2, "float32", "cpu"))
    headless = tiny_models.folder(tmp_path, head="none", tie_word_embeddings=False)
    with pytest.raises(InputError, match="has no language-model head"):
        output_weights(Backbone.load(headless, dtype="float32", device="cpu"))


def evaluated() -> tuple[Evaluation, World]:
    rows = data.load("smoke-texts", "test")
    pairs = pd.DataFrame({name: rows[name][:] for name in ("pair_id", "prompt_id", "attribute")}).assign(fold=0)
    p = np.linspace(0.1, 0.9, len(pairs))[:, None]
    evaluation = Evaluation("smoke-texts", pairs, [0], {"single": p}, {"single": "binary labels"}, {}, {"single": []})
    return evaluation, World("smoke-texts", 0, None, None, None, fingerprint="")


def test_the_likelier_response_is_preferred(backbone):
    evaluation, world = evaluated()
    some = replace(evaluation, pairs=evaluation.pairs.iloc[[3, 1]].reset_index(drop=True), probability={})
    found = prompted.prompted(some, [world], backbone).probability["prompted"]
    rows = data.load("smoke-texts", "test")
    for p, i in zip(found[:, 0], (3, 1), strict=True):
        row = rows[i]
        prompt = apply_context(row["context"], row["prompt"])[0] if row.get("context") else row["prompt"]
        gap = by_hand(backbone, prompt, row["chosen"]) - by_hand(backbone, prompt, row["rejected"])
        assert p == pytest.approx(1 / (1 + np.exp(-gap)), abs=1e-4)


def test_the_table_has_the_rows_beside_it_on_the_same_pairs(backbone, tmp_path):
    features = FeatureSettings(backbone.name, layers=2, dtype="float32")
    sets = {split: data.load("smoke-texts", split) for split in ("train", "validation", "test")}
    store = extract(list(sets.values()), features, tmp_path)
    world = World("smoke-texts", 0, **{split: store.pairs(rows) for split, rows in sets.items()}, fingerprint="")
    found = prompted.prompted_scores([world], Settings(dtype="float64"), backbone, most=10**6)
    assert set(found.method) == {"prompted", "length", "single_exact"} and set(found.metric) == {"accuracy"}
    assert found.groupby("attribute")["n_pairs"].nunique().eq(1).all()
    rows, scored = sets["test"], {}
    for row in rows:
        prompt = apply_context(row["context"], row["prompt"])[0] if row.get("context") else row["prompt"]
        better = by_hand(backbone, prompt, row["chosen"]) > by_hand(backbone, prompt, row["rejected"])
        scored.setdefault(row["attribute"], []).append(better)
    own = found[found.method == "prompted"].set_index("attribute")["value"]
    assert all(own[a] == pytest.approx(np.mean(right)) for a, right in scored.items())


def test_a_sample_keeps_two_prompts_of_each_attribute():
    evaluation, _ = evaluated()
    pairs = pd.DataFrame(
        {"pair_id": [str(i) for i in range(40)], "prompt_id": ["one"] * 38 + ["two"] * 2, "attribute": ["a", "b"] * 20}
    ).assign(fold=0)
    one_sided = replace(evaluation, pairs=pairs, probability={"single": np.linspace(0, 1, 40)[:, None]})
    for seed in range(5):
        some = prompted.sampled(one_sided, 4, seed=seed)
        assert some.pairs.groupby("attribute")["prompt_id"].nunique().tolist() == [2, 2] and len(some.pairs) == 4
        assert len(set(some.pairs["pair_id"])) == 4
    assert len(scores(some))


def test_a_sample_keeps_the_attributes_the_attributes_and_the_rows_together():
    evaluation, _ = evaluated()
    n = len(evaluation.pairs)
    some = prompted.sampled(evaluation, n // 2, seed=1)
    assert n // 2 - 2 <= len(some.pairs) <= n // 2
    assert set(some.pairs["attribute"]) == set(evaluation.pairs["attribute"])
    of = dict(zip(evaluation.pairs["pair_id"], evaluation.probability["single"][:, 0], strict=True))
    assert some.probability["single"][:, 0].tolist() == [of[name] for name in some.pairs["pair_id"]]
    assert prompted.sampled(evaluation, 10**6).pairs.equals(evaluation.pairs)
    assert len(scores(some))
    with pytest.raises(InputError, match="most must be >= 1"):
        prompted.sampled(evaluation, 0)
