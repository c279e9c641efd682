"""Rows on counts: a vocabulary comes from the training responses alone, features are counts of the pairs' own texts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from micro_paper import data
from micro_paper.data.corpus import surface
from micro_paper.experiments import counted
from micro_paper.experiments.evaluation import evaluate
from micro_paper.experiments.worlds import World
from micro_paper.pairs import Pairs

GOOD = ("a warm clear answer", "a warm plain answer", "one clear plain line")
BAD = ("an odd vague answer", "one odd vague line", "an odd long line")


def world(test: tuple[list[str], list[str]]) -> tuple[World, dict]:
    """A world of 9 training and validation pairs, with the given chosen and rejected test responses."""
    both = [(good, bad) for good in GOOD for bad in BAD]
    chosen, rejected = ([pair[side] for pair in both] for side in (0, 1))
    texts = {"train": {"chosen": chosen, "rejected": rejected}, "test": {"chosen": test[0], "rejected": test[1]}}
    texts["validation"] = texts["train"]
    splits = {split: empty_pairs(len(rows["chosen"]), split) for split, rows in texts.items()}
    return World("w", 0, **splits, fingerprint="f"), texts


def empty_pairs(n: int, split: str) -> Pairs:
    ids = np.array([f"{split} {i}" for i in range(n)])
    zero = torch.zeros(1, 1, dtype=torch.float64)
    where = torch.zeros(n, dtype=torch.long)
    fields = {"responses": zero, "chosen": where, "rejected": where, "prompts": zero, "prompt": where}
    fields |= {"contexts": None, "context": None, "lengths": zero[0], "pair_id": ids, "prompt_id": ids}
    return Pairs(**fields, attribute=np.full(n, "clarity"))


TEST = (["a warm unseen answer", "clear clear plain"], ["an odd unheard answer", "vague unseen"])


def test_features_are_log_counts_of_words_of_the_training_responses():
    made = counted.counted_world(*world(TEST), counted.words_of)
    # words of two letters or more, in two distinct training responses or more, in alphabetic order
    vocabulary = ["an", "answer", "clear", "line", "odd", "one", "plain", "vague", "warm"]
    chosen = made.test.responses[made.test.chosen].numpy()
    by_hand = [[text.split().count(word) for word in vocabulary] for text in TEST[0]]
    assert np.allclose(chosen, np.log1p(by_hand))
    assert made.test.lengths[made.test.chosen].tolist() == [4, 3]
    assert made.fingerprint == "f:counts"


def test_test_responses_change_no_feature_of_training():
    plain, other = (
        counted.counted_world(*world(test), counted.words_of)
        for test in (TEST, (TEST[1], ["unseen", "unseen unheard"]))
    )
    for split in ("train", "validation"):
        assert torch.equal(getattr(plain, split).difference, getattr(other, split).difference)


def test_spoiled_test_labels_change_no_fit():
    settings = {"heads": 1, "epochs": 5, "learning_rate": 0.1, "dtype": "float64"}
    p = [
        evaluate(
            [counted.counted_world(*world(test), counted.words_of)], [counted.ORACLE], settings, seeds=[0], budget=None
        )
        for test in (TEST, TEST[::-1])
    ]
    first, second = (result.probability[counted.ORACLE] for result in p)
    assert np.allclose(first + second, 1, atol=1e-12) and (first > 0.5).all()


def test_surface_counts_are_what_the_features_become():
    made = counted.counted_world(*world(TEST), lambda _: surface.surface_counts)
    assert np.allclose(made.test.responses[made.test.rejected].numpy(), surface.surface_counts(TEST[1]))
    assert made.test.difference.shape == (2, len(surface.NAMES))


@pytest.mark.parametrize(("name", "text"), [("synthetic-audience", False), ("smoke-texts", True)])
def test_a_world_without_text_has_no_such_row(name, text):
    assert counted.has_text(name) == text
    with pytest.raises(ValueError, match="unknown"):
        counted.bag_of_words([world(TEST)[0]], {}, [0])


def test_rows_on_counts_follow_the_pairs_of_the_world():
    """A world may lack some pairs of its data set, or have them in another order: texts go with their pairs."""
    rows = data.load("smoke-texts", "test")
    names, chosen = rows["pair_id"][:], rows["chosen"][:]
    some = {}
    for split in ("train", "validation", "test"):
        own = data.load("smoke-texts", split)["pair_id"][::-1][:-1]
        some[split] = replace(empty_pairs(len(own), split), pair_id=np.array(own))
    found = counted.texts_of(World("smoke-texts", 0, **some, fingerprint=""))["test"]
    assert names[::-1][:-1] == some["test"].pair_id.tolist()
    assert found["chosen"] == chosen[::-1][:-1] != chosen[:-1]
