"""Train on one data set and test on another (table 4), and the same test pairs under two evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from micro_paper.errors import InputError
from micro_paper.experiments import evaluation
from micro_paper.experiments.evaluation import Evaluation
from micro_paper.experiments.worlds import World
from micro_paper.files import sha256
from micro_paper.pairs import Pairs

SHARED = ("refuse", "drop")
# Rows of table 4, and those that are also trained on the target itself.
ROWS = (
    "micro",
    "micro_plus",
    "micro_stage1",
    "single",
    "single_exact",
    "static_learned",
    "static_uniform",
    "shared_base",
    "shared_base_best",
    "criterion_fewshot",
    "pca_heads",
    "random_heads",
    "length",
)
WITHIN = ("micro", "micro_plus", "single")


def transfer_world(source: World, target: World, *, shared: str = "refuse") -> World:
    """Return the world that is trained on `source` and tested on `target`.

    Heads and prompt router see the source alone: its training pairs, and its validation pairs for the epoch. Stage 2
    belongs to the target: its context-labelled pairs are drawn from the target's training pairs, and what they leave
    open is chosen within them, or on the target's validation pairs in rows that say so. Test pairs are the target's.

    Args:
        source, target: worlds on features of the same backbone, of the same fold where they share prompts.
        shared: what to do with training or validation pairs of the source whose prompt (by `prompt_id`) is a test
            prompt of the target: "refuse" the transfer, or "drop" these pairs.

    Raises:
        InputError: features of other widths, a target that states no contexts, prompts that are shared, or a source of
            which nothing is left.
    """
    if shared not in SHARED:
        raise InputError(f"shared must be one of {', '.join(SHARED)}, got {shared!r}")
    for table in ("responses", "prompts"):
        widths = [getattr(world.train, table).shape[1] for world in (source, target)]
        if widths[0] != widths[1]:
            raise InputError(
                f"features of the {table} have {widths[0]} columns in {source.name} and {widths[1]} in {target.name}: "
                "take both from the same backbone"
            )
    for split in ("train", "validation", "test"):
        if getattr(target, split).contexts is None:
            raise InputError(f"the {split} pairs of {target.name} state no context: stage 2 needs a target that does")
    tested = set(target.test.prompt_id)
    splits: dict[str, Pairs] = {}
    for split in ("train", "validation"):
        pairs = getattr(source, split)
        leaked = np.isin(pairs.prompt_id, list(tested))
        if leaked.any() and shared == "refuse":
            raise InputError(
                f"{len(set(pairs.prompt_id[leaked]))} {split} prompts of {source.name} (fold {source.fold}) are test "
                f"prompts of {target.name} (fold {target.fold}), first {str(pairs.prompt_id[leaked][0])!r}: use the "
                "same fold of both, or shared='drop'"
            )
        splits[split] = pairs.select(~leaked) if leaked.any() else pairs
    if not len(splits["train"]):
        raise InputError(
            f"every training prompt of {source.name} is a test prompt of {target.name}: nothing to train on"
        )
    kept = "".join(pair for split in splits.values() for pair in ("\0", *split.pair_id))
    identity = f"{source.fingerprint}\0{target.fingerprint}\0{sha256(kept.encode())}"
    return World(
        f"{source.name} -> {target.name}",
        target.fold,
        **splits,
        test=target.test,
        fingerprint=sha256(identity.encode()),
        context_source=target.train,
        context_validation=target.validation,
    )


def transfer_folds(sources: Sequence[World], targets: Sequence[World]) -> list[World]:
    """Return `transfer_world` of each fold, source pairs on the target's test prompts left out.

    Raises:
        InputError: as `transfer_world`, or the folds differ.
    """
    if [w.fold for w in sources] != [w.fold for w in targets]:
        raise InputError("the folds of source and target differ: load the same folds of both")
    return [transfer_world(s, t, shared="drop") for s, t in zip(sources, targets, strict=True)]


def sizes(worlds: Iterable[World]) -> pd.DataFrame:
    """Return how many pairs and prompts each part of the worlds has.

    Columns: dataset, fold, part (train, validation: of the heads; contexts: where those of stage 2 are drawn from;
    test), pairs, prompts, also_tested (prompts that are test prompts too: 0).
    """
    lines = []
    for world in worlds:
        tested = set(world.test.prompt_id)
        parts = {"train": world.train, "validation": world.validation}
        parts |= {"contexts": world.context_pairs, "test": world.test}
        for part, pairs in parts.items():
            prompts = set(pairs.prompt_id)
            also = 0 if part == "test" else len(prompts & tested)
            line = {"dataset": world.name, "fold": world.fold, "part": part, "pairs": len(pairs)}
            lines.append(line | {"prompts": len(prompts), "also_tested": also})
    return pd.DataFrame(lines)


def between(first: Evaluation, second: Evaluation, methods: Iterable[str] | None = None) -> pd.DataFrame:
    """Return the accuracy of each row in `first` less that of the same row in `second`, paired by test pair and run.

    Args:
        first, second: evaluations of the same test pairs.
        methods: rows; None = all that both have.

    Returns:
        Columns dataset (of `first`), method, attribute, and the cells of `evaluation.gap`.

    Raises:
        InputError: the test pairs differ, or a row is missing.
    """
    if not first.pairs.equals(second.pairs):
        raise InputError(f"{first.world} and {second.world} were not tested on the same pairs in the same order")
    names = [m for m in first.probability if m in second.probability] if methods is None else list(methods)
    parts = []
    for name in names:
        if name not in first.probability or name not in second.probability:
            raise InputError(f"{name!r} was not evaluated in both: evaluate it in {first.world} and {second.world}")
        two = Evaluation(first.world, first.pairs, first.seeds)
        two.probability = {"first": first.probability[name], "second": second.probability[name]}
        gap = evaluation.differences(two, "first")
        parts.append(gap.assign(method=name).drop(columns="reference"))
    if not parts:
        raise InputError("the evaluations have no row in common")
    return pd.concat(parts, ignore_index=True)
