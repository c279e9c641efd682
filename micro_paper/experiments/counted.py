"""Controls without features: a supervised head an attribute on words, on what needs no reading, or on who wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from micro_paper import data
from micro_paper.data import registry
from micro_paper.data.corpus import surface
from micro_paper.experiments.evaluation import Evaluation, evaluate, renamed
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings
from micro_paper.pairs import Derived, Pairs

MAX_WORDS = 1000
BAG_OF_WORDS, SURFACE_COUNTS, SYSTEM_ONLY = "bag_of_words", "surface_counts", "system_only"
SIDES = ("chosen", "rejected")
WRITERS = ("chosen_id", "rejected_id")  # columns of who wrote them, where the data name systems
ORACLE = "oracle_attribute_exact"  # what these rows are, but for features

Texts = Mapping[str, Sequence[str]]  # "chosen" and "rejected" -> responses
Counter = Callable[[Sequence[str]], np.ndarray]  # texts (m,) -> counts (m, c)


def has_text(name: str) -> bool:
    """Whether the data set of that name has texts to count in."""
    return not name.startswith("synthetic-") and data.describe(name).text


def bag_of_words(worlds: Sequence[World], settings: Settings, seeds: Sequence[int]) -> Evaluation:
    """Return the row "bag_of_words" on the test pairs of worlds with text, to be merged with the other rows.

    Log counts of the training responses' most frequent words; each attribute has its own head, converged and chosen at
    test by the pair's attribute, as in the row "oracle_attribute_exact".
    """
    return _row(BAG_OF_WORDS, "words in place of features", words_of, worlds, settings, seeds)


def surface_counts(worlds: Sequence[World], settings: Settings, seeds: Sequence[int]) -> Evaluation:
    """Return the row "surface_counts": as `bag_of_words`, on `data.corpus.surface` counts of marks, lengths and kinds.

    An attribute that these decide as well as features do is told by its style, not by what is said.
    """
    what = "surface counts in place of features"
    return _row(SURFACE_COUNTS, what, lambda _: surface.surface_counts, worlds, settings, seeds)


def has_systems(name: str) -> bool:
    """Whether the data set of that name says which system wrote a response."""
    return has_text(name) and WRITERS[0] in registry.build(name).frame


def system_only(worlds: Sequence[World], settings: Settings, seeds: Sequence[int]) -> Evaluation:
    """Return the row "system_only": as `bag_of_words`, on which system wrote a response, one of the training systems.

    Where the same systems answer every prompt, what is above chance here is told without reading.
    """
    what = "who wrote a response in place of features"
    return _row(SYSTEM_ONLY, what, systems_of, worlds, settings, seeds, WRITERS)


def systems_of(writers: Sequence[str]) -> Counter:
    """Return one-hot columns of the training systems; another system has none."""
    known = np.array(sorted(set(writers)))
    return lambda names: (np.asarray(names)[:, None] == known).astype(np.float64)


def words_of(responses: Sequence[str]) -> Counter:
    """Return the log counts of the most frequent words of the training responses."""
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(max_features=MAX_WORDS, min_df=2).fit(responses)
    return lambda texts: np.log1p(counter.transform(texts).toarray())


def counted_world(world: World, texts: Mapping[str, Texts], learn: Callable[[Sequence[str]], Counter]) -> World:
    """Return the world with counts in place of features.

    Args:
        texts: split -> the responses of its pairs, in their order.
        learn: gives the counter by the distinct training responses.
    """
    counter = learn(list(dict.fromkeys(t for side in SIDES for t in texts["train"][side])))
    splits = {split: _counted(getattr(world, split), own, counter) for split, own in texts.items()}
    return replace(world, **splits, fingerprint=f"{world.fingerprint}:counts")


def _row(
    name: str,
    what: str,
    learn: Callable[[Sequence[str]], Counter],
    worlds: Sequence[World],
    settings: Settings,
    seeds: Sequence[int],
    columns: Sequence[str] = SIDES,
) -> Evaluation:
    counted = [counted_world(world, texts_of(world, columns), learn) for world in worlds]
    supervision = f"attribute labels, in training and at test; {what}"
    return renamed(evaluate(counted, [ORACLE], settings, seeds=seeds, budget=None), ORACLE, name, supervision)


def texts_of(world: World, columns: Sequence[str] = SIDES) -> dict[str, Texts]:
    """Return the responses of each split's pairs, in the order of the pairs, which are some of the data set's.

    Args:
        columns: of the chosen and the rejected response: their texts, or who wrote them.
    """
    found = {}
    for split in ("train", "validation", "test"):
        rows = data.load(world.name, split, fold=world.fold)
        place = {name: i for i, name in enumerate(rows["pair_id"][:])}
        order = [place[name] for name in getattr(world, split).pair_id.tolist()]
        sides = {side: rows[column][:] for side, column in zip(SIDES, columns, strict=True)}
        found[split] = {side: [texts[i] for i in order] for side, texts in sides.items()}
    return found


def _counted(pairs: Pairs, texts: Texts, counter: Counter) -> Pairs:
    both = [*texts["chosen"], *texts["rejected"]]
    place = {text: i for i, text in enumerate(dict.fromkeys(both))}
    where = torch.tensor([place[text] for text in both])
    n = len(pairs)
    nothing = torch.zeros(1, 1, dtype=torch.float64)
    return replace(
        pairs,
        responses=torch.from_numpy(counter(list(place))),
        chosen=where[:n],
        rejected=where[n:],
        prompts=nothing,
        prompt=torch.zeros(n, dtype=torch.long),
        contexts=None,
        context=None,
        criteria=None,
        criterion=None,
        lengths=torch.tensor([float(len(text.split())) for text in place]),
        ratings=None,
        rating_names=(),
        derived=Derived(),
    )
