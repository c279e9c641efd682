"""The meaning of every column of the audit's tables."""

from __future__ import annotations

import pandas as pd

from micro_paper.errors import InputError

COLUMNS = {
    "table": "the paper's table",
    "train": "training data",
    "test": "test data, as the table names it",
    "method": "row of the table",
    "other": "row that it is compared with",
    "other_table": "table of that row",
    "other_train": "training data of that row",
    "attribute": "attribute; Average: the mean over attributes",
    "accuracy": "printed accuracy (of an average: mean of its row), share of pairs",
    "supervision": "what the method is trained on",
    "cells": "cells of the row (or that two rows have in common)",
    "printed": "printed value",
    "mean": "mean of the row's cells",
    "gap": "printed value less the recomputed one",
    "beyond_rounding": "whether rounding to the printed digits cannot explain the gap",
    "place_printed": "place in its table and training set by the printed average, 1 is best",
    "place_mean": "place by the mean of the cells",
    "set": "test set",
    "group": "rows of a test set that share numbers of pairs; empty: not identified",
    "n": "fitted number of test pairs (not identified: the smallest that fits)",
    "values": "distinct printed values of the column",
    "fitting": "how many of them are k / n",
    "chance": "probability that as many would fit or agree by chance, corrected for what was tried",
    "smallest_n": "smallest number of pairs that all single-run values fit, those aside that do not fit n",
    "test_pairs": "test pairs by table 5",
    "tables": "tables most of whose rows belong to the group",
    "left_out": "pairs an attribute that the row was not scored on",
    "runs": "runs that the row is the mean of",
    "form": "form of the row's cells",
    "pairs": "pairs (times runs) behind the row's form",
    "nearest": "nearest k / pairs",
    "truncated": "whether cutting off instead of rounding explains the cell",
    "other_n": "smallest number of pairs, from 20, that the cell fits",
    "kind": "same row (repeated), same training data, other training data, or single heads (any head of a table)",
    "equal": "equal cells",
    "longest_run": "longest run of neighbouring equal cells",
    "elsewhere": "share of equal cells in all other couples of that kind and test set",
    "next_most": "most equal cells among these",
    "distance": "mean absolute difference from the rows beside it with the same supervision",
    "other_distance": "the same for the other row",
    "differing": "the unequal cells",
    "error": "binomial standard error (of a difference: independent samples)",
    "difference": "accuracy of the row less that of the other",
    "smallest_error": "standard error if the rows were paired as well as possible",
    "ratio": "difference in standard errors",
    "largest_ratio": "difference in smallest standard errors",
    "verdict": "by two standard errors; of a best head: above, equal to or below the cell",
    "id": "id in printed_scalars.csv",
    "place": "where the paper says it",
    "quantity": "what is printed",
    "dataset": "data set",
    "against": "row compared with, or labelled contexts an attribute",
    "unit": "unit of the values",
    "recomputed": "value by the tables; empty: no table holds it",
    "source": "rows that it is recomputed from",
    "follows": "whether the printed value follows from the tables within rounding",
    "in_errors": "gap in standard errors of the average",
    "nearest_value": "gain over the row that comes nearest to the printed gain, percent",
    "best": "accuracy of the best head, chosen on the test pairs",
    "margin": "best head less the cell",
    "heads": "number of heads K chosen from",
    "single": "accuracy of the single reward",
    "gain": "best head less single reward",
    "chance_gain": "expected gain of the best of K independent heads as good as the single reward",
    "chance_gain_shared": "the same for heads that agree on half of the pairs",
    "optimism": "expected excess of the chosen head over its true accuracy, if the printed heads were the truth",
}


def meanings(frame: pd.DataFrame, **own: str) -> dict[str, str]:
    """Return the meaning of each column of a table of the audit; `own` adds or replaces some."""
    known = COLUMNS | own
    if unknown := [name for name in frame.columns if name not in known]:
        raise InputError(f"column {unknown[0]!r} has no meaning: pass {unknown[0]}=...")
    return {name: known[name] for name in frame.columns}
