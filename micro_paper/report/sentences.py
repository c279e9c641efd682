"""What a table says, in a sentence whose numbers are the table's."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from micro_paper.digits import shown


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
