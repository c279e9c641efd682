"""Tables 2 and 3: which rows run how often, what is stored of them, and what they say about the claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from micro_paper.experiments.bag_of_words import bag_of_words
from micro_paper.experiments.evaluation import Evaluation, by_pair, evaluate, merge
from micro_paper.experiments.hyre_protocol import compare_on_rest, rest_values
from micro_paper.experiments.runs import NO_OWN
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings
from micro_paper.methods.table import Factory

# Every fold and seed.
HEADLINE = (
    "micro",
    "micro_plus",
    "micro_plus_budget",
    "micro_stage1",
    "single",
    "static_uniform",
    "static_learned",
    "shared_base",
    "shared_base_mlp",
    "armo",
    "criterion_fewshot",
    "pca_heads",
)
# Every fold, first seed: controls, baselines with micro_plus's search budget, methods that are told who the user is.
FURTHER = (
    "static_maxmin",
    "oracle_attribute",
    "hyre",
    "micro_hyre",
    "drms",
    "drms_random",
    "random_heads",
    "shuffled_router",
    "length",
    "single_tuned",
    "static_learned_tuned",
    "shared_base_tuned",
    "armo_tuned",
    "criterion_fewshot_tuned",
    "lore",
    "pal",
    "vpl",
)
STORED = (
    "micro",
    "micro_plus",
    "single",
    "static_uniform",
    "static_learned",
    "shared_base",
    "armo",
    "criterion_fewshot",
)
TUNED = {name.removesuffix("_tuned"): name for name in FURTHER if name.endswith("_tuned")}
REWEIGHTED = {"hyre": "shared_base_mlp", "micro_hyre": "micro_stage1", "pca_hyre": "pca_heads"}
CONTROLS = ("micro_stage1", "single", "single_exact")  # rows that read neither a context nor a test label


def evaluate_rows(
    worlds: Sequence[World],
    settings: Settings,
    seeds: Sequence[int],
    budget: int,
    *,
    tuned: bool = True,
    own: Mapping[str, Factory] = NO_OWN,
) -> Evaluation:
    """Run every row of tables 2 and 3: HEADLINE and own with all seeds, FURTHER and the bag of words with the first.

    Args:
        worlds: folds of one data set.
        budget: context-labelled pairs an attribute.
        tuned: run the tuned baselines too.
        own: methods of one's own, row name -> factory.
    """
    further = [name for name in FURTHER if tuned or name not in TUNED.values()]
    kept = set(REWEIGHTED.values())
    parts = [
        evaluate(worlds, HEADLINE, settings, seeds=seeds, budget=budget, keep_heads=kept),
        evaluate(worlds, further, settings, seeds=list(seeds)[:1], budget=budget),
    ]
    words = bag_of_words(worlds, settings, list(seeds)[:1])
    parts += [] if words is None else [words]
    if own:  # they run last, as in `evaluate`, and stand behind the headline rows
        parts.insert(1, evaluate(worlds, (), settings, seeds=seeds, budget=budget, own=own))
    return merge(*parts)


def on_rest(evaluation: Evaluation, *, shots: int, resamples: int, seed: int) -> pd.DataFrame:
    """Return rows judged on what is left after `shots` labelled test pairs an attribute, HyRe's protocol.

    `hyre` reweights the heads of the shared-base ensemble with non-linear priors, `micro_hyre` those of MiCRo's stage 1
    and `pca_hyre` the principal directions. Methods of one's own are among the rows. Lines are repeated with the
    difference to each control (`pca_hyre` and CONTROLS) as `reference`. Columns: `hyre_protocol.COLUMNS`.
    """
    rest = {"shots": shots, "resamples": resamples, "seed": seed}
    return compare_on_rest(
        evaluation, _rest(evaluation), REWEIGHTED, further=("pca_hyre", *_controls(evaluation)), **rest
    )


def rest_decisions(evaluation: Evaluation, *, shots: int, resamples: int, seed: int) -> pd.DataFrame:
    """Return the decisions behind `on_rest`, a frame of `evaluation.by_pair`; names of rows end in ", on the rest"."""
    values = rest_values(evaluation, _rest(evaluation), REWEIGHTED, shots=shots, resamples=resamples, seed=seed)
    rows = {f"{name}, on the rest": table for name, table in values.items()}
    return by_pair(evaluation.world, evaluation.pairs, rows, "right", evaluation.seeds)


def _controls(evaluation: Evaluation) -> list[str]:
    return [row for row in CONTROLS if row in evaluation.probability]


def _rest(evaluation: Evaluation) -> list[str]:
    rows = ["micro", "micro_plus", "micro_plus_budget", "criterion_fewshot"]
    return [*rows, *_controls(evaluation), *evaluation.own]
