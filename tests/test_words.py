"""The bag of words: its vocabulary comes from the training responses alone, its features are their log counts."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from micro_paper.experiments import bag_of_words
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
    counted = bag_of_words.bag_of_words_world(*world(TEST))
    # words of two letters or more, in two distinct training responses or more, in alphabetic order
    vocabulary = ["an", "answer", "clear", "line", "odd", "one", "plain", "vague", "warm"]
    chosen = counted.test.responses[counted.test.chosen].numpy()
    by_hand = [[text.split().count(word) for word in vocabulary] for text in TEST[0]]
    assert np.allclose(chosen, np.log1p(by_hand))
    assert counted.test.lengths[counted.test.chosen].tolist() == [4, 3]
    assert counted.fingerprint == "f:words"


def test_test_responses_change_no_feature_of_training():
    plain, other = (
        bag_of_words.bag_of_words_world(*world(test)) for test in (TEST, (TEST[1], ["unseen", "unseen unheard"]))
    )
    for split in ("train", "validation"):
        assert torch.equal(getattr(plain, split).difference, getattr(other, split).difference)


def test_spoiled_test_labels_change_no_fit():
    settings = {"heads": 1, "epochs": 5, "learning_rate": 0.1, "dtype": "float64"}
    p = [
        evaluate(
            [bag_of_words.bag_of_words_world(*world(test))], ["oracle_attribute"], settings, seeds=[0], budget=None
        )
        for test in (TEST, TEST[::-1])
    ]
    first, second = (result.probability["oracle_attribute"] for result in p)
    assert np.allclose(first + second, 1, atol=1e-12) and (first > 0.5).all()


def test_a_world_without_text_has_no_such_row():
    assert bag_of_words.bag_of_words([replace(world(TEST)[0], name="synthetic-audience")], {}, [0]) is None
    with pytest.raises(ValueError, match="unknown"):
        bag_of_words.bag_of_words([world(TEST)[0]], {}, [0])
