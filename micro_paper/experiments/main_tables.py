"""Tables 2 and 3: which rows run how often, what is stored of them, and what they say about the claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from micro_paper.experiments.average_mix import AVERAGE_MIX, average_mix, has_mixes
from micro_paper.experiments.counted import (
    BAG_OF_WORDS,
    SURFACE_COUNTS,
    SYSTEM_ONLY,
    bag_of_words,
    has_systems,
    has_text,
    surface_counts,
    system_only,
)
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
    "micro_plus_full",
    "micro_criterion",
    "micro_stage1",
    "single",
    "static_uniform",
    "static_learned",
    "shared_base",
    "shared_base_mlp",
    "shared_base_best",
    "armo",
    "criterion_fewshot",
    "pca_heads",
    "random_heads",
    "length",
    "single_exact",
    "oracle_attribute_exact",
    "criterion_fewshot_exact",
)
# Every fold, the first seeds: controls, baselines of another size or schedule, methods that are told who the user is.
FURTHER = (
    "micro_converged",
    "static_maxmin",
    "hyre",
    "hyre_100",
    "micro_hyre",
    "drms",
    "drms_100",
    "drms_random",
    "armo_published",
    "shuffled_router",
    "lore",
    "pal",
    "vpl",
)
# Of a companion or control: every fold, the first seeds.
BESIDE = (
    "micro",
    "micro_plus",
    "micro_stage1",
    "single",
    "static_learned",
    "pca_heads",
    "random_heads",
    "length",
    "single_exact",
    "oracle_attribute_exact",
    "criterion_fewshot_exact",
)
FEW = 2  # seeds of these: the least that show what a seed adds
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
REWEIGHTED = {"hyre": "shared_base_mlp", "micro_hyre": "micro_stage1", "pca_hyre": "pca_heads"}
CONTROLS = ("micro_stage1", "single", "single_exact")  # rows that read neither a context nor a test label


def left_out(world: World) -> dict[str, str]:
    """Return the rows of tables 2 and 3 that a world cannot give, each with the reason."""
    reasons = {}
    if not has_text(world.name):
        reasons |= dict.fromkeys((BAG_OF_WORDS, SURFACE_COUNTS), "there are no texts to count in")
    if not has_systems(world.name):
        reasons[SYSTEM_ONLY] = "no system is named"
    if not has_mixes(world.name):
        reasons[AVERAGE_MIX] = "nobody's mix of criteria is known"
    if world.context_pairs.criteria is None or world.test.criteria is None:
        reasons["micro_criterion"] = "no criterion is read by itself"
    return reasons


def evaluate_rows(
    worlds: Sequence[World],
    settings: Settings,
    seeds: Sequence[int],
    budget: int,
    *,
    own: Mapping[str, Factory] = NO_OWN,
) -> Evaluation:
    """Run every row of tables 2 and 3: HEADLINE, controls of a world and own with all seeds, others with FEW.

    Rows that the world cannot give are left out, see `left_out`. A fit to counts of words has no seed: it runs once.

    Args:
        worlds: folds of one data set.
        budget: context-labelled pairs an attribute.
        own: methods of one's own, row name -> factory.
    """
    without = left_out(worlds[0])
    headline, further = ([name for name in names if name not in without] for names in (HEADLINE, FURTHER))
    few, kept = list(seeds)[:FEW], set(REWEIGHTED.values())
    parts = [
        evaluate(worlds, headline, settings, seeds=seeds, budget=budget, keep_heads=kept),
        evaluate(worlds, further, settings, seeds=few, budget=budget),
    ]
    if has_text(worlds[0].name):
        parts += [surface_counts(worlds, settings, seeds), bag_of_words(worlds, settings, list(seeds)[:1])]
    if SYSTEM_ONLY not in without:
        parts.append(system_only(worlds, settings, seeds))
    if AVERAGE_MIX not in without:
        parts.append(average_mix(worlds, settings, seeds, budget))
    if own:  # they run last, as in `evaluate`, and stand behind the headline rows
        parts.insert(1, evaluate(worlds, (), settings, seeds=seeds, budget=budget, own=own))
    return merge(*parts)


def evaluate_beside(worlds: Sequence[World], settings: Settings, seeds: Sequence[int], budget: int) -> Evaluation:
    """Run the rows BESIDE, surface counts and systems with the first FEW seeds; arguments as for `evaluate_rows`."""
    few, without = list(seeds)[:FEW], left_out(worlds[0])
    controls = [
        row for name, row in ((SURFACE_COUNTS, surface_counts), (SYSTEM_ONLY, system_only)) if name not in without
    ]
    found = evaluate(worlds, BESIDE, settings, seeds=few, budget=budget)
    return merge(found, *(row(worlds, settings, few) for row in controls))


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
    rows = ["micro", "micro_plus", "micro_plus_full", "criterion_fewshot"]
    return [*rows, *_controls(evaluation), *evaluation.own]
