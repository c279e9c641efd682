"""The control of worlds with a mix of criteria a person: everybody has the mix of the average person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from micro_paper.data import registry
from micro_paper.errors import InputError
from micro_paper.experiments.counted import has_text
from micro_paper.experiments.evaluation import Evaluation, evaluate, renamed
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings
from micro_paper.pairs import Derived, Pairs

AVERAGE_MIX, ROW = "micro_average_mix", "micro"  # the control is this row, but for its contexts
MIX = "mix"  # column with the shares of a person's criteria


def has_mixes(name: str) -> bool:
    """Whether the data set of that name says by which mix of criteria a person judges."""
    return has_text(name) and MIX in registry.build(name).frame


def average_mix(worlds: Sequence[World], settings: Settings, seeds: Sequence[int], budget: int) -> Evaluation:
    """Return the row "micro_average_mix": `micro`, told nobody's own mix, neither in stage 2 nor at test.

    What `micro` gains from contexts that are alike for everybody is no gain of knowing the person. The average is that
    of the people who judge a prompt; it reads none of their labels.
    """
    same = [with_average_mix(world) for world in worlds]
    result = evaluate(same, [ROW], settings, seeds=seeds, budget=budget)
    what = f"{result.supervision[ROW]}; the average person's mix in place of a person's own"
    return renamed(result, ROW, AVERAGE_MIX, what)


def with_average_mix(world: World) -> World:
    """Return the world with one context a prompt: the mean over the people who judge it there, each counted once."""
    splits = {split: _averaged(getattr(world, split)) for split in ("train", "validation", "test")}
    return replace(world, **splits, fingerprint=f"{world.fingerprint}:average mix")


def _averaged(pairs: Pairs) -> Pairs:
    if pairs.user_id is None or pairs.contexts is None or pairs.criteria is None:
        raise InputError("an average over people needs pairs with user_id, a context and a criterion")
    person = np.unique(pairs.user_id, return_inverse=True)[1]
    both = np.column_stack([pairs.prompt.numpy(), person])
    _, first = np.unique(both, axis=0, return_index=True)  # a row of each person on each prompt
    one = pairs.select(first)
    n = len(pairs.prompts)
    weight = torch.zeros(n, len(one), dtype=pairs.contexts.dtype)
    weight[one.prompt, torch.arange(len(one))] = 1.0
    weight /= weight.sum(dim=1, keepdim=True).clamp(min=1)
    return replace(
        pairs,
        contexts=weight @ one.context_features,
        context=pairs.prompt,
        criteria=weight @ one.criterion_features,
        criterion=pairs.prompt,
        derived=Derived(),
    )
