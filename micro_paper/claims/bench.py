"""RewardBench and the audits of heads: what notebook 08 says about the claims C38 to C40 and C44."""

from __future__ import annotations

from typing import Any

import pandas as pd

from micro_paper.claims import evidence
from micro_paper.experiments.head_audit import TRAINED
from micro_paper.intervals import Interval
from micro_paper.metrics import MACRO


def merging_claims(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the evidence on C38, at the strictest threshold at which heads merged (validation decides).

    There is none from a method of which no two heads were merged.
    """
    rows = table[(table["attribute"] == MACRO) & (table["runs_merged"] > 0)]
    strictest = rows.groupby(["dataset", "method"])["threshold"].transform("max")
    return [
        _equivalence("C38", line, f"merged above {line.threshold:g}, accuracy after - before")
        for line in rows[rows["threshold"] == strictest].itertuples()
    ]


def masking_claims(effects: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the evidence on C44, heads as trained; none from a method of which no head was masked."""
    rows = effects[(effects["heads"] == TRAINED) & (effects["runs_masked"] > 0)]
    return [
        _equivalence("C44", line, f"masked, {line.attribute}, accuracy after - before") for line in rows.itertuples()
    ]


def _equivalence(claim: str, line: Any, part: str) -> dict[str, Any]:
    found = Interval(line.difference, line.low, line.high, int(line.n_prompts))
    runs = int(line.runs_masked) if claim == "C44" else int(line.n_runs)
    return evidence.row(claim, line.method, line.dataset, part, "equivalence", found, n_runs=runs)


def claims(differences: pd.DataFrame, *, n_runs: int) -> list[dict[str, Any]]:
    """Return the evidence on C39 (average above the single head) and C40 (which sections rise, which fall)."""
    rows = []
    for line in differences[differences["method"] == "single"].itertuples():
        found = Interval(line.difference, line.low, line.high, 0)
        if line.section == MACRO:
            part = f"average, {line.reference} - single"
            rows.append(evidence.row("C39", line.reference, line.dataset, part, "ordering", found, n_runs=n_runs))
        elif line.section in ("chat-hard", "reasoning"):
            part = f"{line.section} rises, {line.reference} - single"
            rows.append(evidence.row("C40", line.reference, line.dataset, part, "ordering", found, n_runs=n_runs))
        elif line.section in ("chat", "safety"):
            part = f"{line.section} falls, single - {line.reference}"
            fall = Interval(-line.difference, -line.high, -line.low, 0)
            rows.append(evidence.row("C40", line.reference, line.dataset, part, "ordering", fall, n_runs=n_runs))
    return rows
