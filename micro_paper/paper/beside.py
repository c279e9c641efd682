"""Our numbers beside the paper's: same rows, an interval on ours, and a verdict by rules fixed beforehand."""

from __future__ import annotations

import math

import pandas as pd

from micro_paper.intervals import Interval
from micro_paper.metrics import MACRO
from micro_paper.paper import values as paper_values
from micro_paper.paper import verdicts

# Rows of tables 2 and 3 that our methods reproduce. The paper does not say which static weights it used; its
# shared-base row is the best head, chosen on test, where ours is the ensemble's mean (table 2b has best heads); its
# HyRe row sees labelled test pairs, where ours sees the context budget (table 3d has HyRe's own protocol).
PAPER_ROWS = {
    "micro": "MiCRo",
    "single": "Single Reward",
    "static_uniform": "Static Mixture",
    "static_learned": "Static Mixture",
    "static_maxmin": "Static Mixture",
    "shared_base": "Shared-Base Best Head",
    "hyre": "HyRe",
    "armo": "ARMO (8B)",
}


def beside_paper(scores: pd.DataFrame, differences: pd.DataFrame, table: int) -> pd.DataFrame:
    """Return average accuracies beside the paper's, and whether "MiCRo exceeds this row" holds in our world.

    The verdict judges an ordering: the paired 95 % interval of micro less the row above 0 holds, below 0 does not,
    else cannot tell. Accuracies themselves are comparable with the paper's only on its own data and backbone.

    Args:
        scores, differences: from `evaluation.scores` and `evaluation.differences` (reference "micro").
        table: the paper's table with the same rows, 2 or 3.

    Returns:
        Columns dataset, method, supervision, ours, low, high, paper, micro_minus_row, minus_low, minus_high,
        paper_minus_row (NaN where the paper has no such row), verdict.
    """
    printed = paper_values.accuracy(table).query("attribute == 'Average'").set_index("method")["accuracy"]
    accuracy = scores[(scores.metric == "accuracy") & (scores.attribute == MACRO)]
    gaps = differences[differences.attribute == MACRO].set_index("method")
    lines = []
    for row in accuracy.itertuples():
        name = PAPER_ROWS.get(row.method)
        line = {
            "dataset": row.dataset,
            "method": row.method,
            "supervision": row.supervision,
            "ours": row.value,
            "low": row.low,
            "high": row.high,
            "paper": printed.get(name, float("nan")),
            "micro_minus_row": float("nan"),
            "minus_low": float("nan"),
            "minus_high": float("nan"),
            "paper_minus_row": float("nan"),
            "verdict": "",
        }
        if row.method in gaps.index:
            gap = gaps.loc[row.method]
            interval = Interval(gap.difference, gap.low, gap.high, row.n_prompts)
            line |= {"micro_minus_row": gap.difference, "minus_low": gap.low, "minus_high": gap.high}
            line["paper_minus_row"] = printed["MiCRo"] - line["paper"]
            line["verdict"] = verdicts.judge_ordering(interval)
        lines.append(line)
    return pd.DataFrame(lines)


def accuracy_display(scores: pd.DataFrame) -> pd.DataFrame:
    """Return accuracies in the form of tables 2 and 3: a row a method, a column an attribute, the average last.

    The average carries its 95 % interval; numbers are rounded to three decimals.
    """
    accuracy = scores[scores.metric == "accuracy"]
    wide = accuracy.pivot(index="method", columns="attribute", values="value").loc[list(dict.fromkeys(accuracy.method))]
    average = accuracy[accuracy.attribute == MACRO].set_index("method")
    shown = wide.drop(columns=MACRO).map("{:.3f}".format)
    shown[MACRO] = [f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in average.loc[wide.index].itertuples()]
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


# Rows of tables 4, 11 and 12 under our names, without the "(8B)" of tables 11 and 12.
PRINTED_ROWS = {
    "micro": ("MiCRo", "MiCRo (8B, B=50)"),
    "single": ("Single Head", "Single Head (8B)"),
    "static_uniform": ("Static Mixture", "Static Mixture (8B)"),
    "static_learned": ("Static Mixture", "Static Mixture (8B)"),
    "shared_base": ("Shared-Base Best Head",),
    "armo": ("ARMO (8B)",),
}


def beside_printed(
    scores: pd.DataFrame, differences: pd.DataFrame, table: int, train: str | None = None
) -> pd.DataFrame:
    """Return average accuracies beside those of the paper's table 4, 11 or 12, and whether micro exceeds each row.

    Two averages that table 4 prints differ from the means of their own rows, so both stand here.

    Args:
        scores, differences: from `evaluation.scores` and `evaluation.differences` (reference "micro").
        table: 4, 11 or 12.
        train: the paper's training set in table 4; one that it lacks leaves the paper's columns empty.

    Returns:
        Columns dataset, method, supervision, ours, low, high, paper (printed average), paper_row_mean,
        micro_minus_row, minus_low, minus_high, paper_minus_row (of the printed averages), verdict.
    """
    cells = paper_values.accuracy(table)
    if table == 4:
        cells = cells[cells["train"] == train]
    printed = cells[cells.attribute == "Average"].set_index("method")["accuracy"]
    row_mean = cells[cells.attribute != "Average"].groupby("method")["accuracy"].mean()
    names = {ours: next((n for n in theirs if n in printed.index), "") for ours, theirs in PRINTED_ROWS.items()}
    gaps = differences[differences.attribute == MACRO].set_index("method")
    lines = []
    for row in scores[(scores.metric == "accuracy") & (scores.attribute == MACRO)].itertuples():
        name, gap = names.get(row.method, ""), gaps.loc[row.method] if row.method in gaps.index else None
        line = {"dataset": row.dataset, "method": row.method, "supervision": row.supervision}
        line |= {"ours": row.value, "low": row.low, "high": row.high}
        line |= {"paper": printed.get(name, math.nan), "paper_row_mean": row_mean.get(name, math.nan)}
        line |= dict.fromkeys(("micro_minus_row", "minus_low", "minus_high", "paper_minus_row"), math.nan)
        line["verdict"] = ""
        if gap is not None:
            line |= {"micro_minus_row": gap.difference, "minus_low": gap.low, "minus_high": gap.high}
            line["paper_minus_row"] = printed.get(names["micro"], math.nan) - line["paper"]
            line["verdict"] = verdicts.judge_ordering(Interval(gap.difference, gap.low, gap.high, row.n_prompts))
        lines.append(line)
    return pd.DataFrame(lines)


def accuracy_display_by(scores: pd.DataFrame, by: str = "dataset") -> pd.DataFrame:
    """Return `accuracy_display` of each value of the column `by`, one below the other."""
    parts = []
    for name, part in scores.groupby(by, sort=False):
        shown = accuracy_display(part)
        shown.insert(0, by, name)
        parts.append(shown)
    return pd.concat(parts, ignore_index=True)
