"""What a table says, in a sentence whose numbers are the table's."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from micro_paper.digits import interval, shown
from micro_paper.metrics import MACRO


def exceeds(beside: pd.DataFrame, rivals: Mapping[str, str]) -> str:
    """Return on how many data sets `micro` exceeds rows, and by how much, one line of Markdown a row.

    Args:
        beside: as `paper.beside.beside_paper` makes it.
        rivals: method -> its name in plain words.
    """
    return "\n".join(
        f"- MiCRo exceeds {name} {counted(beside[beside.method == method], 'holds')}, and falls below it "
        f"{counted(beside[beside.method == method], 'does not')}."
        for method, name in rivals.items()
        if (beside.method == method).any()
    )


def reached(scores: pd.DataFrame, names: Mapping[str, str]) -> str:
    """Return the accuracy that rows reach, mean over attributes, one line of Markdown a data set.

    Args:
        scores: as `experiments.evaluation.scores` makes it.
        names: method -> its name in plain words; one that a data set lacks is left out.
    """
    average = scores[(scores.metric == "accuracy") & (scores.attribute == MACRO)]
    lines = []
    for dataset, rows in average.groupby("dataset", sort=False):
        found = rows.set_index("method")
        told = [
            f"{text} {interval(*found.loc[m, ['value', 'low', 'high']])}"
            for m, text in names.items()
            if m in found.index
        ]
        lines.append(f"- Accuracy on unseen prompts of {dataset}: {', '.join(told)}.")
    return "\n".join(lines)


def counted(rows: pd.DataFrame, verdict: str) -> str:
    """Return "on N of M data sets" that have the verdict, with the difference in accuracy on each of them.

    Args:
        rows: of one method in `beside_paper`'s form, a line a data set.
        verdict: "holds", for differences in favour of `micro`, or "does not", for those in the row's favour.
    """
    found = rows[rows.verdict == verdict]
    sign = 1 if verdict == "holds" else -1
    gains = "; ".join(f"{r.dataset} {shown(sign * r.micro_minus_row, '+.3f')}" for r in found.itertuples())
    return f"on {len(found)} of {len(rows)} data sets" + (f" ({gains})" if gains else "")


def best_heads(best: pd.DataFrame) -> str:
    """Return what the best head of stage 1 reaches beside heads that learnt nothing, one line of Markdown a data set.

    Args:
        best: as `experiments.evaluation.best_heads` makes it.
    """
    average = best[best.attribute == MACRO]
    lines = []
    for name, rows in average.groupby("dataset", sort=False):
        fair = rows[rows.selection == "validation"].set_index("method")
        oracle = rows[rows.selection != "validation"].set_index("method")["value"]
        told = interval(*fair.loc["micro_stage1", ["value", "low", "high"]])
        others = {"single": "one head", "random_heads": "random heads", "pca_heads": "principal directions"}
        beside = ", ".join(f"{text} {shown(fair.value[row])}" for row, text in others.items() if row in fair.index)
        lines.append(
            f"- {name}: the head of stage 1 that validation pairs choose for an attribute reaches {told} ({beside}). "
            f"Chosen on test: {shown(oracle['micro_stage1'])}, of random heads {shown(oracle['random_heads'])}."
        )
    return "\n".join(lines)
