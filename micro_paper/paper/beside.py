"""Our numbers beside the paper's: same rows, an interval on ours, and a verdict by rules fixed beforehand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from micro_paper import digits
from micro_paper.errors import InputError
from micro_paper.intervals import Interval
from micro_paper.metrics import MACRO
from micro_paper.paper import values as paper_values
from micro_paper.paper import verdicts

# Our rows -> the row that the paper prints, the first of these names that a table has. The paper does not say which
# static weights it used; its shared-base row is the best head, chosen on test, where labels within the budget choose
# ours; its HyRe row sees labelled test pairs, where ours sees the context budget (table 3d has HyRe's own
# protocol).
STAGE2_ROWS = {
    "micro": ("MiCRo",),
    "single": ("Single Reward",),
    "static_uniform": ("Static Mixture",),
    "static_learned": ("Static Mixture",),
    "static_maxmin": ("Static Mixture",),
    "shared_base_best": ("Shared-Base Best Head",),
    "hyre": ("HyRe",),
    "armo": ("ARMO (8B)",),
}
TRANSFER_ROWS = {
    "micro": ("MiCRo", "MiCRo (8B, B=50)"),
    "single": ("Single Head", "Single Head (8B)"),
    "static_uniform": ("Static Mixture", "Static Mixture (8B)"),
    "static_learned": ("Static Mixture", "Static Mixture (8B)"),
    "shared_base_best": ("Shared-Base Best Head",),
    "armo": ("ARMO (8B)",),
}
PAPER_ROWS = {2: STAGE2_ROWS, 3: STAGE2_ROWS, 4: TRANSFER_ROWS, 11: TRANSFER_ROWS, 12: TRANSFER_ROWS}
ROW_MEANS = (4, 11, 12)  # tables beside which the mean of each row stands too: two averages that table 4 prints differ


def beside_paper(scores: pd.DataFrame, differences: pd.DataFrame, table: int, train: str | None = None) -> pd.DataFrame:
    """Return average accuracies beside the paper's, and whether "MiCRo exceeds this row" holds in our world.

    The verdict judges an ordering: the paired 95 % interval of micro less the row above 0 holds, below 0 does not,
    else cannot tell. Accuracies themselves are comparable with the paper's only on its own data and backbone.

    Args:
        scores, differences: from `evaluation.scores` and `evaluation.differences` (reference "micro").
        table: the paper's table with the same rows, one of PAPER_ROWS.
        train: the paper's training set in table 4; one that it lacks leaves the paper's columns empty.

    Returns:
        Columns dataset, method, supervision, ours, low, high, paper (printed average), paper_row_mean (of the tables
        ROW_MEANS alone), micro_minus_row, minus_low, minus_high, paper_minus_row (of the printed averages; NaN where
        the paper has no such row), verdict.
    """
    if table not in PAPER_ROWS:
        raise InputError(f"table must be one of {', '.join(map(str, PAPER_ROWS))}, got {table}")
    cells = paper_values.accuracy(table)
    if table == 4:
        cells = cells[cells["train"] == train]
    printed = cells[cells.attribute == "Average"].set_index("method")["accuracy"]
    row_mean = cells[cells.attribute != "Average"].groupby("method")["accuracy"].mean()
    names = {ours: next((n for n in theirs if n in printed.index), "") for ours, theirs in PAPER_ROWS[table].items()}
    gaps = differences[differences.attribute == MACRO].set_index("method")
    lines = []
    for row in scores[(scores.metric == "accuracy") & (scores.attribute == MACRO)].itertuples():
        name = names.get(row.method, "")
        line = {"dataset": row.dataset, "method": row.method, "supervision": row.supervision}
        line |= {"ours": row.value, "low": row.low, "high": row.high, "paper": printed.get(name, math.nan)}
        if table in ROW_MEANS:
            line["paper_row_mean"] = row_mean.get(name, math.nan)
        line |= dict.fromkeys(("micro_minus_row", "minus_low", "minus_high", "paper_minus_row"), math.nan)
        line["verdict"] = ""
        if row.method in gaps.index:
            gap = gaps.loc[row.method]
            line |= {"micro_minus_row": gap.difference, "minus_low": gap.low, "minus_high": gap.high}
            line["paper_minus_row"] = printed.get(names["micro"], math.nan) - line["paper"]
            line["verdict"] = verdicts.judge_ordering(Interval(gap.difference, gap.low, gap.high, row.n_prompts))
        lines.append(line)
    return pd.DataFrame(lines)


# Attributes of table 5 -> what our data sets call them, where that is another word.
ATTRIBUTES = {
    "Clarity": ("clarity and conciseness",),
    "Creativity": ("creativity and originality",),
    "Scientific Rigor": ("rigor",),
    "Storytelling": ("narrative and storytelling",),
    "Pedagogical": ("pedagogical effectiveness", "pedagogy"),
}


def counts_beside(counts: pd.DataFrame, papers: Mapping[str, str]) -> pd.DataFrame:
    """Return pairs by split beside the paper's table 5, a row an attribute; "" where one of the two lacks it.

    Args:
        counts: as `experiments.data_overview.counts` makes it.
        papers: data set of ours -> the paper's, "HelpSteer2" or "RPR", that it stands for; others stand alone.

    Returns:
        Columns dataset, attribute, train, validation, test, paper, paper_train, paper_test.
    """
    printed = paper_values.counts().rename(columns={"train_pairs": "paper_train", "test_pairs": "paper_test"})
    blocks = []
    for name, part in counts.groupby("dataset", sort=False):
        ours = part.pivot_table(index="attribute", columns="split", values="pairs", sort=False)
        theirs = printed[printed.dataset == papers.get(name)]
        known = [
            next((n for n in (label.lower(), *ATTRIBUTES.get(label, ())) if n in ours.index), label)
            for label in theirs.attribute
        ]
        theirs = theirs.set_axis(known)[["paper_train", "paper_test"]].assign(paper=papers.get(name))
        block = ours.reindex(ours.index.union(theirs.index, sort=False)).join(theirs)
        blocks.append(block.rename_axis("attribute").reset_index().assign(dataset=name))
    columns = ["dataset", "attribute", "train", "validation", "test", "paper", "paper_train", "paper_test"]
    every = pd.concat(blocks, ignore_index=True).reindex(columns=columns)
    numbers = {c: "Int64" for c in columns if c not in ("dataset", "attribute", "paper")}
    return every.astype(numbers).astype(object).where(every.notna(), "")


def accuracy_display(scores: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Return accuracies in the form of the paper's tables: a row a method, a column an attribute, the average last.

    The average carries its 95 % interval, and `worst` is the least of the attributes; numbers have three decimals.

    Args:
        by: a column of scores: a block of rows for each of its values, one below the other, named in the first column.
    """
    if by is not None:
        blocks = {name: accuracy_display(part) for name, part in scores.groupby(by, sort=False)}
        return pd.concat(blocks, names=[by]).reset_index(by).reset_index(drop=True)
    accuracy = scores[scores.metric == "accuracy"]
    wide = accuracy.pivot(index="method", columns="attribute", values="value").loc[list(dict.fromkeys(accuracy.method))]
    average = accuracy[accuracy.attribute == MACRO].set_index("method")
    wide.columns = [f"attribute={name}" if name in scores else name for name in wide]  # a name that a column has
    single = wide.drop(columns=MACRO)
    shown = single.map(digits.shown)
    shown["worst"] = single.min(axis=1).map(digits.shown)
    shown[MACRO] = [digits.interval(r.value, r.low, r.high) for r in average.loc[wide.index].itertuples()]
    shown.insert(0, "supervision", average.loc[wide.index, "supervision"])
    return shown.reset_index().rename_axis(columns=None)


def significant(differences: pd.DataFrame, level: float = 0.05) -> pd.DataFrame:
    """Count, for each row, the attributes on which the reference is above or below it after Holm's adjustment.

    Columns: dataset, method, above, below, open (neither). The average is not counted.
    """
    single = differences[differences.attribute != MACRO]
    clear = single.p_holm < level
    counted = single.assign(above=clear & (single.difference > 0), below=clear & (single.difference < 0), open=~clear)
    return counted.groupby(["dataset", "method"], sort=False)[["above", "below", "open"]].sum().reset_index()
