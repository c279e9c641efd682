"""Train on one data set, test on every pair of RewardBench or of its open stand-ins (table 10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from micro_paper.data.named import split_names
from micro_paper.errors import InputError
from micro_paper.experiments import evaluation
from micro_paper.experiments.evaluation import Evaluation
from micro_paper.experiments.runs import NO_OWN
from micro_paper.experiments.worlds import World, load_folds, load_world
from micro_paper.files import sha256
from micro_paper.methods.settings import Settings
from micro_paper.methods.table import Factory
from micro_paper.pairs import Pairs

NONE = "none"


@dataclass(frozen=True)
class Bench:
    """Pairs that are only tested on.

    Attributes:
        name: names of the data sets.
        pairs: all their pairs; `attribute` is the subset.
        dataset: subset -> data set.
        fingerprint: content hash.
    """

    name: str
    pairs: Pairs
    dataset: dict[str, str]
    fingerprint: str


def concatenate(parts: Sequence[Pairs]) -> Pairs:
    """Return the pairs of all parts as one; ratings and users are left out, contexts where a part states none.

    Raises:
        InputError: no parts, or features of other widths.
    """
    if not parts:
        raise InputError("there are no pairs to put together: give at least one set")
    tables = {"responses": ("chosen", "rejected"), "prompts": ("prompt",)}
    for table, pointer in (("contexts", "context"), ("criteria", "criterion")):
        if all(getattr(p, table) is not None for p in parts):
            tables[table] = (pointer,)
    joined: dict[str, Any] = {"contexts": None, "context": None}
    for table, pointers in tables.items():
        own = [getattr(p, table) for p in parts]
        if len(widths := {t.shape[1] for t in own}) > 1:
            raise InputError(f"features of the {table} have {sorted(widths)} columns: take all from the same backbone")
        joined[table] = own[0] if all(t is own[0] for t in own) else torch.cat(own)
        offsets = [0] * len(own) if joined[table] is own[0] else np.cumsum([0] + [len(t) for t in own]).tolist()
        for name in pointers:
            shifted = [getattr(p, name) + o for p, o in zip(parts, offsets, strict=False)]
            joined[name] = torch.cat(shifted)
    same = joined["responses"] is parts[0].responses
    joined["lengths"] = parts[0].lengths if same else torch.cat([p.lengths for p in parts])
    for name in ("pair_id", "prompt_id", "attribute"):
        joined[name] = np.concatenate([getattr(p, name) for p in parts])
    return Pairs(**joined)


def load_bench(
    names: str, *, features=None, device: str = "auto", store: str | Path | None = None, synthetic_prompts: int = 1500
) -> Bench | None:
    """Load every pair of data sets that are only tested on, all their splits together.

    Args:
        names: data sets, separated by blanks; "none" gives None.
        features, device, store, synthetic_prompts: as for `worlds.load_world`.

    Raises:
        InputError: two data sets share a subset's name, or a set states no criteria.
    """
    if names == NONE:
        return None
    parts, dataset, prints = [], {}, []
    for name in split_names(names):
        world = load_world(
            name,
            features=features,
            device=device,
            store=store,
            synthetic_prompts=synthetic_prompts,
            drop_unanimous=False,
        )
        whole = concatenate([p for p in (world.train, world.validation, world.test) if len(p)])
        if whole.contexts is None:
            raise InputError(f"{name} states no criteria: stage 2 cannot be tested on it")
        for subset in np.unique(whole.attribute):
            if subset in dataset:
                raise InputError(f"subset {str(subset)!r} is in {dataset[subset]} and in {name}: leave one out")
            dataset[str(subset)] = name
        parts.append(whole)
        prints.append(world.fingerprint)
    return Bench(" + ".join(split_names(names)), concatenate(parts), dataset, sha256("".join(prints).encode()))


def load_training(names: str, folds: int, **options: Any) -> list[World]:
    """Load the folds of one data set, or of several as one (the paper trains on two), as `worlds.load_folds`.

    Args:
        names: data sets, separated by blanks; "none" gives no folds.
    """
    loaded = [load_folds(name, folds, **options) for name in split_names(names) if name != NONE]
    if len(loaded) < 2:
        return loaded[0] if loaded else []
    return [
        World(
            " + ".join(w.name for w in parts),
            parts[0].fold,
            **{s: concatenate([getattr(w, s) for w in parts]) for s in ("train", "validation", "test")},
            fingerprint=sha256("".join(w.fingerprint for w in parts).encode()),
        )
        for parts in zip(*loaded, strict=True)
    ]


def evaluate_bench(
    bench: Bench | None,
    worlds: Sequence[World],
    methods: Iterable[str],
    settings: Settings | Mapping[str, Any],
    *,
    seeds: Sequence[int],
    budget: int,
    own: Mapping[str, Factory] = NO_OWN,
) -> Evaluation | None:
    """Train on one data set, test on the whole bench; every fold with every seed. Own methods come last.

    Stage 2 sees the training set's own contexts; at test the context is the criterion of the pair's subset, which no
    training saw. Bench pairs whose prompt occurs in training or validation are left out.

    Returns:
        An evaluation with a column a run, or None where there is no bench.
    """
    if bench is None:
        return None
    if not worlds or not len(seeds):
        raise InputError("the bench needs training folds and at least one seed")
    seen = set().union(*(set(p.prompt_id) for w in worlds for p in (w.train, w.validation)))
    kept = bench.pairs.select(~np.isin(bench.pairs.prompt_id, list(seen)))
    if not len(kept):
        raise InputError(f"every prompt of {bench.name} is in the training data {worlds[0].name}: nothing to test on")
    tested = [replace(world, name=bench.name, test=kept) for world in worlds]
    return evaluation.evaluate(tested, methods, settings, seeds=seeds, budget=budget, own=own)


def inputs_of(bench: Bench | None) -> dict[str, str]:
    """Return {name: content hash} of the bench for a manifest; empty without one."""
    return {} if bench is None else {f"bench: {bench.name}": bench.fingerprint}
