"""What a notebook found about the paper's claims, in one form, so that one place can judge all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from micro_paper.errors import InputError, suggest
from micro_paper.intervals import Interval
from micro_paper.paper import values as paper_values

KINDS = ("identity", "ordering", "up", "down", "flat", "equivalence", "value")
METHODS = ("micro", "micro_plus", "any")
COLUMNS = ("claim", "method", "dataset", "part", "kind", "value", "low", "high", "printed", "n_runs")


def row(
    claim: str,
    method: str,
    dataset: str,
    part: str,
    kind: str,
    found: Interval | float,
    *,
    n_runs: int,
    printed: float = math.nan,
) -> dict[str, Any]:
    """Return one part of the evidence on a claim.

    Args:
        claim: "C01" .. "C45".
        method: "micro", "micro_plus", or "any" where the claim concerns no method or both alike.
        dataset: data set or population.
        part: what is compared, for a reader.
        kind: one of KINDS; an identity's value is the gap of its two sides, an ordering's the difference that must be
            above 0, a trend's the slope or step.
        found: our value with its interval; a number alone for an identity.
        n_runs: runs (folds x seeds) behind it; 1 for an identity.
        printed: the paper's value, for kind "value".
    """
    known = paper_values.claims()["id"].tolist()
    for name, given, allowed in (("claim", claim, known), ("method", method, METHODS), ("kind", kind, KINDS)):
        if given not in allowed:
            raise InputError(f"unknown {name} {given!r} of evidence.{suggest(given, allowed)}")
    if kind == "value" and not math.isfinite(printed):
        raise InputError(f"{claim}: evidence of kind value needs the printed value")
    interval = found if isinstance(found, Interval) else Interval(float(found), float(found), float(found), 1)
    return {
        "claim": claim,
        "method": method,
        "dataset": dataset,
        "part": part,
        "kind": kind,
        "value": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "printed": printed,
        "n_runs": n_runs,
    }


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows as a table with the columns COLUMNS, in the order of the claims."""
    table = pd.DataFrame(list(rows), columns=COLUMNS)
    return table.sort_values("claim", kind="stable", ignore_index=True)


def of_difference(claim: str, method: str, line: Any, part: str, *, n_runs: int, kind: str = "ordering") -> dict:
    """Return the evidence in a line of `evaluation.differences` (a named tuple or Series)."""
    interval = Interval(line.difference, line.low, line.high, 0)
    return row(claim, method, line.dataset, part, kind, interval, n_runs=n_runs)
