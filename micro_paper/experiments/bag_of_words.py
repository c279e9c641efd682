"""The bag-of-words control: a supervised head an attribute on word counts, in place of model features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from micro_paper import data
from micro_paper.experiments.evaluation import Evaluation, evaluate
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings
from micro_paper.pairs import Pairs

MAX_WORDS = 2000
NAME = "bag_of_words"


def bag_of_words_world(world: World, texts: dict[str, Any]) -> World:
    """Return the world with log counts of the training responses' most frequent words in place of features.

    Args:
        world: with the pairs of `texts`, in the same order.
        texts: split -> the data set behind its pairs.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(max_features=MAX_WORDS, min_df=2)
    counter.fit(dict.fromkeys(t for side in ("chosen", "rejected") for t in texts["train"][side][:]))
    return replace(
        world,
        **{split: _counted(getattr(world, split), rows, counter) for split, rows in texts.items()},
        fingerprint=f"{world.fingerprint}:words",
    )


def _counted(pairs: Pairs, rows: Any, counter: Any) -> Pairs:
    both = [*rows["chosen"][:], *rows["rejected"][:]]
    place = {text: i for i, text in enumerate(dict.fromkeys(both))}
    counts = np.log1p(counter.transform(list(place)).toarray())
    where = torch.tensor([place[text] for text in both])
    n = len(pairs)
    nothing = torch.zeros(1, 1, dtype=torch.float64)
    return replace(
        pairs,
        responses=torch.from_numpy(counts),
        chosen=where[:n],
        rejected=where[n:],
        prompts=nothing,
        prompt=torch.zeros(n, dtype=torch.long),
        contexts=None,
        context=None,
        lengths=torch.tensor([float(len(text.split())) for text in place]),
        ratings=None,
        rating_names=(),
    )


def bag_of_words(worlds: Sequence[World], settings: Settings, seeds: Sequence[int]) -> Evaluation | None:
    """Return the row "bag_of_words" on the test pairs of `worlds`, to be merged with the other rows.

    Each attribute has its own head, chosen at test by the pair's attribute, as in the row "oracle_attribute".

    Returns:
        None for a world without text.
    """
    name = worlds[0].name
    if name.startswith("synthetic-") or not data.describe(name).text:
        return None
    options = {"drop_unanimous": True} if data.describe(name).kind == "rated" else {}
    counted = []
    for world in worlds:
        texts = {
            split: data.load(name, split, fold=world.fold, **({} if split == "test" else options))
            for split in ("train", "validation", "test")
        }
        counted.append(bag_of_words_world(world, texts))
    result = evaluate(counted, ["oracle_attribute"], settings, seeds=seeds, budget=None)
    for table in (result.probability, result.supervision, result.chosen):
        table[NAME] = table.pop("oracle_attribute")
    result.supervision[NAME] = "attribute labels, in training and at test; words in place of features"
    return result
