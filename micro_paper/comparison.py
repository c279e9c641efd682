"""Our numbers beside the paper's: same rows, an interval on ours, and a verdict by rules fixed beforehand."""

from __future__ import annotations

import pandas as pd

from micro_paper import paper_values, verdicts
from micro_paper.evaluation import MACRO
from micro_paper.metrics import Interval

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


COLUMNS = {
    "dataset": "data set of the test pairs",
    "method": "row name in METHODS",
    "supervision": "what the method sees beyond the texts",
    "attribute": "attribute of the pair; average = mean of the attribute rows",
    "metric": "accuracy (share, ties one half), nll (nats) or ece (share)",
    "value": "the metric, mean over runs",
    "low": "lower end of the 95 % bootstrap interval over prompts",
    "high": "upper end of the 95 % bootstrap interval over prompts",
    "std": "standard deviation over seeds",
    "n_pairs": "test pairs",
    "n_prompts": "test prompts (bootstrap groups)",
    "n_runs": "seeds a fold",
    "n_heads": "number of heads K",
    "selection": "which pairs chose the head: test (oracle) or validation",
    "head": "number of the head, matched over runs to the first run",
    "stability": "mean correlation of the head's margins with its partners in the other runs",
    "reference": "the method whose accuracy stands first in the difference",
    "difference": "accuracy of the reference less that of the method, paired",
    "p_value": "two-sided bootstrap p of the difference",
    "p_holm": "p adjusted over the attributes of one method (Holm)",
    "budget": "context-labelled pairs an attribute; 0 = stage 1 alone",
    "run": "number of the run (its seed and fold)",
    "ours": "average accuracy, ours",
    "paper": "average accuracy that the paper prints for that row (its own data and backbone)",
    "micro_minus_row": "average accuracy of micro less that of the row, paired",
    "minus_low": "lower end of its 95 % interval over prompts",
    "minus_high": "upper end of its 95 % interval over prompts",
    "paper_minus_row": "the same difference from the paper's printed averages",
    "verdict": "does 'MiCRo exceeds this row' hold here: holds, does not, cannot tell",
    "prompt": "number of the prompt in the figure",
    "weight": "stage-1 router weight of the head",
}


def meanings(frame: pd.DataFrame, **own: str) -> dict[str, str]:
    """Return the meaning of each column of `frame`, for `Artifacts.table`; `own` adds or replaces some."""
    known = COLUMNS | own
    return {column: known[column] for column in frame.columns}
