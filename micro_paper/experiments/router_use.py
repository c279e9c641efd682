"""What the stage-1 router makes of the prompt (figure 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from micro_paper import metrics
from micro_paper.experiments.runs import Run
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings


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
    level that is reached by chance. Columns: dataset, method, fold, seed, entropy (mean, as a share of log K),
    information (nats).
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
                    | {"entropy": metrics.entropy_share(f)}
                    | {"information": metrics.entropy(f.mean(axis=0)) - metrics.entropy(f).mean()}
                )
    return pd.DataFrame(lines)


ROWS = (
    "micro_stage1",
    "micro_plus",
    "single",
    "static_uniform",
    "static_learned",
    "shared_base",
    "random_heads",
    "pca_heads",
)


CONTROLS = ("shuffled_router", "oracle_attribute_exact", "length")


HEADS = ("micro_stage1", "micro_plus", "single", "static_uniform", "shared_base", "random_heads", "pca_heads")


def rows_of(control: bool) -> Sequence[str]:
    """Return the rows of a world: ROWS, with CONTROLS where the world is there for stage 1."""
    return [*ROWS, *CONTROLS] if control else list(ROWS)
