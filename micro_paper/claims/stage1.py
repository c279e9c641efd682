"""Stage 1: rows of its notebook, and what they say about the claims C07 to C18."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from micro_paper import intervals, metrics
from micro_paper.claims import evidence
from micro_paper.experiments.evaluation import SELECTIONS, Evaluation, best_head_values
from micro_paper.intervals import Interval
from micro_paper.paper import values as paper_values

BASELINES = {"Single": "single", "Shared-Base": "shared_base", "Static": "static_uniform"}
METHODS = {"micro": "micro_stage1", "micro_plus": "micro_plus"}
GAINS = {"C12": ("rpr", "Single"), "C13": ("helpsteer", "Single"), "C14": ("rpr", "Shared-Base")}
GAINS |= {"C15": ("helpsteer", "Shared-Base"), "C16": ("rpr", "Static"), "C17": ("helpsteer", "Static")}
PAPER_NAME = {"rpr": "RPR", "helpsteer": "HelpSteer2"}


def claims(
    evaluations: Mapping[str, Evaluation], information: pd.DataFrame, *, seed: int, n_bootstrap: int
) -> pd.DataFrame:
    """Return the evidence on C07 to C18.

    C07 compares stage 1 with static weights by accuracy on every world; C08 the head chosen on validation for each
    attribute with the one head that is best on their average; C09 best heads with best heads of the baselines, all
    chosen on test as in the paper; C18 the router's information about the prompt with that of the shuffled router.

    Args:
        evaluations: "helpsteer", "rpr" and, where it is neither of these, "stage1" -> stage-1 evaluation with the heads
            of HEADS kept; "control" is no evidence.
        information: from `router_use.router_information`.
    """
    options = {"seed": seed, "n_bootstrap": n_bootstrap}
    rows: list[dict[str, Any]] = []
    for method, stage1 in METHODS.items():
        for like in (like for like in evaluations if like != "control"):  # where nothing can be found by design
            found = evaluations[like]
            for other in ("static_uniform", "static_learned"):
                pair = (_correct(found, stage1), _correct(found, other))
                rows.append(_ordering("C07", method, found, f"{method} (stage 1) less {other}", *pair, **options))
        for like in PAPER_NAME:
            found = evaluations[like]
            chosen = [best_head_values(found, stage1, SELECTIONS[1], one_for_all=one) for one in (False, True)]
            part = "head of each attribute less one head for all, both chosen on validation"
            rows.append(_ordering("C08", method, found, part, *chosen, **options))
            rows += _every_dimension(method, stage1, found, **options)
            rows.append(_average({"rpr": "C10", "helpsteer": "C11"}[like], method, stage1, found, like, **options))
        for claim, (like, against) in GAINS.items():
            rows.append(_gain(claim, method, stage1, evaluations[like], like, against, **options))
    return evidence.frame([*rows, _information(information)])


def _correct(found: Evaluation, method: str) -> np.ndarray:
    p = found.probability[method]
    return metrics.correct(p.ravel()).reshape(p.shape).mean(axis=1)


def _runs(found: Evaluation, method: str) -> int:
    return len(found.chosen[method])


def _difference(
    found: Evaluation, a: np.ndarray, b: np.ndarray, seed: int, n_bootstrap: int, only: str = ""
) -> Interval:
    attribute, prompt = (found.pairs[c].to_numpy() for c in ("attribute", "prompt_id"))
    rows = attribute == only if only else np.ones(len(attribute), bool)
    rng = np.random.default_rng(seed)
    return intervals.paired_bootstrap_macro(a[rows], b[rows], prompt[rows], attribute[rows], rng=rng, n=n_bootstrap)


def _ordering(
    claim: str,
    method: str,
    found: Evaluation,
    part: str,
    a: np.ndarray,
    b: np.ndarray,
    *,
    only: str = "",
    **options: int,
) -> dict[str, Any]:
    interval = _difference(found, a, b, only=only, **options)
    return evidence.row(claim, method, found.world, part, "ordering", interval, n_runs=_runs(found, METHODS[method]))


def _every_dimension(method: str, stage1: str, found: Evaluation, **options: int) -> list[dict[str, Any]]:
    ours = best_head_values(found, stage1, SELECTIONS[0])
    rows = []
    for other in BASELINES.values():
        theirs = best_head_values(found, other, SELECTIONS[0])
        for attribute in sorted(found.pairs["attribute"].unique()):
            part = f"best heads less {other}'s, {attribute}"
            rows.append(_ordering("C09", method, found, part, ours, theirs, only=attribute, **options))
    return rows


def _average(
    claim: str, method: str, stage1: str, found: Evaluation, like: str, *, seed: int, n_bootstrap: int
) -> dict:
    values = best_head_values(found, stage1, SELECTIONS[0])
    attribute, prompt = (found.pairs[c].to_numpy() for c in ("attribute", "prompt_id"))
    rng = np.random.default_rng(seed)
    interval = intervals.bootstrap_macro(values, prompt, attribute, rng=rng, n=n_bootstrap)
    part, runs = "average of the best heads, chosen on test", _runs(found, stage1)
    printed = _printed("best_average", like)
    return evidence.row(claim, method, found.world, part, "value", interval, n_runs=runs, printed=printed)


def _gain(claim: str, method: str, stage1: str, found: Evaluation, like: str, against: str, **options: int) -> dict:
    """The relative gain; its interval is that of the difference, divided by the baseline's accuracy."""
    ours, theirs = (best_head_values(found, m, SELECTIONS[0]) for m in (stage1, BASELINES[against]))
    gap = _difference(found, ours, theirs, **options)
    attribute = found.pairs["attribute"].to_numpy()
    base = np.mean([theirs[attribute == a].mean() for a in np.unique(attribute)])
    interval = Interval(gap.estimate / base, gap.low / base, gap.high / base, gap.n_groups)
    part = f"best heads over {BASELINES[against]}'s, both chosen on test, as a share of the latter"
    printed = _printed("gain", like, against) / 100
    runs = _runs(found, stage1)
    return evidence.row(claim, method, found.world, part, "value", interval, n_runs=runs, printed=printed)


def _printed(quantity: str, like: str, against: str = "") -> float:
    table = paper_values.scalars()
    found = table[(table.quantity == quantity) & (table.dataset == PAPER_NAME[like])]
    if against:
        found = found[found.against == against]
    return float(found.printed.iloc[0])


def _information(table: pd.DataFrame) -> dict[str, Any]:
    wide = table.pivot(index=["dataset", "fold", "seed"], columns="method", values="information")
    gap = (wide["micro_stage1"] - wide["shuffled_router"]).to_numpy()
    interval = intervals.mean_interval(gap)
    part = "information of the stage-1 weights about the prompt less the shuffled router's, nats"
    world = str(table.dataset.iloc[0])
    return evidence.row("C18", "any", world, part, "ordering", interval, n_runs=len(gap))
