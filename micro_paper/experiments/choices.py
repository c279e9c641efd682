"""What each choice of `micro_plus` brings: alone over the paper's settings, and by leaving it out of all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from micro_paper.experiments.evaluation import PER_PAIR, Evaluation, evaluate, fits, sample
from micro_paper.experiments.worlds import World
from micro_paper.methods.micro_plus import MicroPlus
from micro_paper.methods.settings import Settings
from micro_paper.methods.table import find
from micro_paper.paper.verdicts import judge_ordering

ALL = "all choices"
ONLY, WITHOUT = "only ", "without "  # of row names
ADDED = {ONLY: "this choice alone, over micro", WITHOUT: "micro_plus over all but this choice"}


def evaluate_choices(worlds: Sequence[World], settings: Settings, seeds: Sequence[int], budget: int) -> Evaluation:
    """Run micro, micro_plus, and micro_plus with each choice alone and without each choice, on the same pairs.

    Args:
        worlds: folds of one data set.
        settings: the paper's.
        budget: context-labelled pairs an attribute.
    """
    rows = {name: find(name) for name in ("micro", "micro_plus")}
    for choice in MicroPlus.may:
        rows[ONLY + choice] = partial(MicroPlus, choices=[choice])
        rows[WITHOUT + choice] = partial(MicroPlus, choices=[other for other in MicroPlus.may if other != choice])
    return evaluate(worlds, rows, settings, seeds=seeds, budget=budget)


def choices_table(evaluation: Evaluation) -> pd.DataFrame:
    """Return what each choice changes, with paired intervals over prompts and runs.

    Args:
        evaluation: from `evaluate_choices`.

    Returns:
        Columns dataset, choice (ALL first), compared, accuracy, accuracy_low, accuracy_high, verdict, nll, nll_low,
        nll_high, n_runs.
    """
    pairs = {(ALL, "micro_plus over micro"): ("micro_plus", "micro")}
    for choice in MicroPlus.may:
        pairs[choice, ADDED[ONLY]] = (ONLY + choice, "micro")
        pairs[choice, ADDED[WITHOUT]] = ("micro_plus", WITHOUT + choice)
    of, lines = sample(evaluation.pairs), []
    for (choice, compared), names in pairs.items():
        line = {"dataset": evaluation.world, "choice": choice, "compared": compared}
        for metric, score in PER_PAIR.items():
            found = of.difference(*(score(evaluation.probability[name]) for name in names))
            line |= {metric: found.estimate, f"{metric}_low": found.low, f"{metric}_high": found.high}
            if metric == "accuracy":
                line["verdict"] = judge_ordering(found)
        lines.append(line | {"n_runs": fits(evaluation, *names)})
    return pd.DataFrame(lines)


def kept_options(evaluation: Evaluation) -> pd.DataFrame:
    """Return how many runs of `micro_plus` kept which option of each choice; columns dataset, choice, option, runs."""
    kept = [
        (line["choice"], line["option"])
        for run in evaluation.chosen["micro_plus"]
        for line in run["search"]
        if line["kept"] and line["choice"] != "temperature"
    ]
    counted = pd.Series(kept, dtype=object).value_counts(sort=False)
    lines = [
        {"dataset": evaluation.world, "choice": choice, "option": option, "runs": int(runs)}
        for (choice, option), runs in counted.items()
    ]
    table = pd.DataFrame(lines, columns=["dataset", "choice", "option", "runs"])
    order = table["choice"].map({name: i for i, name in enumerate(MicroPlus.may)})
    return table.iloc[np.lexsort((-table["runs"], order))].reset_index(drop=True)
