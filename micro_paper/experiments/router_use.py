"""What the stage-1 router makes of the prompt (figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from micro_paper import metrics
from micro_paper.convex import fit_ridge
from micro_paper.experiments.runs import Run
from micro_paper.experiments.worlds import World
from micro_paper.intervals import Interval, Sample
from micro_paper.methods.settings import Settings
from micro_paper.pairs import Pairs


def router_weights(
    world: World, settings: Settings | Mapping[str, Any], *, seed: int, per_attribute: int = 12
) -> pd.DataFrame:
    """Return stage-1 weights of every head on test prompts, a line a prompt and head (figure 3).

    A prompt is what the router reads: of one topic there may be several wordings and cues. Prompts are grouped by
    attribute where all pairs of a prompt have the same; prompts with several are left out, or, if there are no others
    (rated data), stand together as "several attributes". At most `per_attribute` prompts of each group, in a fixed
    order. Columns: dataset, prompt (its number in the figure), attribute, head (1 .. K), weight.
    """
    method = Run(world, seed).fit("micro_stage1", settings).heads
    test = pd.DataFrame({"prompt": world.test.prompt.cpu().numpy(), "attribute": world.test.attribute})
    test["row"] = np.arange(len(test))
    prompts = test.groupby("prompt", sort=True).agg(
        row=("row", "first"), attribute=("attribute", "first"), count=("attribute", "nunique")
    )
    if (prompts["count"] == 1).any():
        prompts = prompts[prompts["count"] == 1]
    else:
        prompts["attribute"] = "several attributes"
    kept = prompts.sort_values("attribute", kind="stable").groupby("attribute", sort=True).head(per_attribute)
    weights = method.mixture_weights(world.test.select(kept["row"].to_numpy()))
    return pd.DataFrame(
        {"dataset": world.name, "prompt": i + 1, "attribute": a, "head": k + 1, "weight": w}
        for i, (a, row) in enumerate(zip(kept["attribute"], weights, strict=True))
        for k, w in enumerate(row)
    )


def weight_matrix(weights: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Return `router_weights` as a matrix (prompts, K) and the attribute of each row."""
    wide = weights.pivot(index="prompt", columns="head", values="weight")
    return wide.to_numpy(), weights.drop_duplicates("prompt").sort_values("prompt")["attribute"].tolist()


def router_information(worlds: Sequence[World], settings: Settings | Mapping[str, Any], *, seeds: Sequence[int]):
    """Return how much the stage-1 router's weights vary over test prompts, a line a run and method.

    information = H(mean weights) - mean H(weights), in nats: 0 where every prompt gets the same weights, log K where
    each prompt has one head and all heads are used. The shuffled router, trained on prompts of other pairs, is the
    level that is reached by chance. Columns: dataset, method, fold, seed, n_heads (K), entropy (mean, as a share of
    log K), information (nats).
    """
    lines = []
    for world in worlds:
        _, first = np.unique(world.test.prompt.cpu().numpy(), return_index=True)
        prompts = world.test.select(first)
        for name in ("micro_stage1", "shuffled_router"):
            for seed in seeds:
                f = Run(world, seed).fit(name, settings).heads.mixture_weights(prompts)
                lines.append(
                    {"dataset": world.name, "method": name, "fold": world.fold, "seed": seed}
                    | {"n_heads": f.shape[1], "entropy": metrics.entropy_share(f)}
                    | {"information": metrics.entropy(f.mean(axis=0)) - metrics.entropy(f).mean()}
                )
    return pd.DataFrame(lines)


def cue_probe(train: Pairs, *, seed: int, parts: int = 5, penalty: float = 0.1) -> Interval | None:
    """Return how much better than chance a linear probe reads the attribute of a pair from its prompt.

    On training pairs alone: each of `parts` groups of prompt ids is told from the others by ridge regression on one-hot
    attributes, features standardised; chance is the commonest attribute among the others. The interval is over prompt
    ids. Where all pairs have one attribute there is nothing to read, and None is returned.

    Args:
        train: training pairs.
        seed: of the parts.
        parts: of the prompt ids, each held out once.
        penalty: of the ridge, a pair, on standardised features.
    """
    names, label = np.unique(train.attribute, return_inverse=True)
    groups = np.unique(train.prompt_id, return_inverse=True)[1]
    if len(names) < 2 or groups.max() + 1 < parts:
        return None
    features = train.prompts[train.prompt].double().cpu()
    features = (features - features.mean(dim=0)) / features.std(dim=0).clamp_min(1e-12)
    share = np.random.default_rng(seed).permutation(groups.max() + 1)[groups] % parts
    probe, chance = np.empty(len(label)), np.empty(len(label))
    for part in range(parts):
        held = share == part
        told = torch.nn.functional.one_hot(torch.from_numpy(label[~held]), len(names)).double()
        weight, offset = fit_ridge(features[~held], told, [penalty])
        read = (features[held] @ weight[:, 0].T + offset[:, 0]).argmax(dim=1).numpy()
        probe[held] = read == label[held]
        chance[held] = np.bincount(label[~held]).argmax() == label[held]
    return Sample(train.prompt_id).difference(probe, chance)


ROWS = (
    "micro_stage1",
    "micro_plus",
    "single",
    "static_uniform",
    "static_learned",
    "shared_base",
    "random_heads",
    "pca_heads",
    "single_exact",
)


CONTROLS = ("shuffled_router", "oracle_attribute_exact", "length")


HEADS = ("micro_stage1", "micro_plus", "single", "static_uniform", "shared_base", "random_heads", "pca_heads")


def rows_of(control: bool) -> Sequence[str]:
    """Return the rows of a world: ROWS, with CONTROLS where the world is there for stage 1."""
    return [*ROWS, *CONTROLS] if control else list(ROWS)
