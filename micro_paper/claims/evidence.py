"""What a notebook found about the paper's claims, in one form, so that one place can judge all of them.

Each module of claims holds a table of entries; `collect` measures them on what a notebook found and returns the
evidence, a line a part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from micro_paper.errors import InputError, suggest
from micro_paper.intervals import Interval
from micro_paper.paper import values as paper_values

KINDS = ("identity", "ordering", "up", "down", "flat", "equivalence", "value")
METHODS = ("any", "micro", "micro_plus")
BOTH = ("micro", "micro_plus")
COLUMNS = ("claim", "method", "dataset", "part", "kind", "value", "low", "high", "free", "printed")
COLUMNS += ("n_prompts", "n_seeds", "n_runs")


@dataclass(frozen=True)
class Part:
    """One part of the evidence on a claim.

    Attributes:
        dataset: data set or population.
        text: what is compared or measured, for a reader.
        found: our value with its interval; a number alone for an identity.
        n_runs: runs (folds x seeds) behind it, of two sides the fewer; 1 for an identity.
        kind: where it is not the entry's.
        method: whose evidence, where it is not the method that was asked for.
        printed: the paper's value, for kind "value".
    """

    dataset: str
    text: str
    found: Interval | float
    n_runs: int
    kind: str = ""
    method: str = ""
    printed: float = math.nan


@dataclass(frozen=True)
class Entry:
    """How a claim is measured; one entry a claim.

    Attributes:
        claim: "C01" .. "C45".
        compared: what is compared, in a sentence.
        on: which findings of the notebook count ("helpsteer", "rpr", ...); others are no evidence.
        kind: one of KINDS: an identity's value is the gap of its two sides, an ordering's the difference that must be
            above 0, a trend's the slope or step.
        measure: (finding, method) -> parts; none where there is nothing to say.
        methods: "micro" and "micro_plus", or "any" where the claim concerns no method or both alike.
    """

    claim: str
    compared: str
    on: tuple[str, ...]
    kind: str
    measure: Callable[[Any, str], Iterable[Part]]
    methods: tuple[str, ...] = BOTH


def collect(entries: Sequence[Entry], found: Mapping[str, Any]) -> pd.DataFrame:
    """Return the evidence on the entries' claims, columns COLUMNS, in the order of the claims.

    Args:
        entries: of one module.
        found: finding by name; a name that no entry has is not read, one that is lacking gives no evidence.
    """
    rows = []
    for name, finding in found.items():
        for method in METHODS:
            for entry in entries:
                if name in entry.on and method in entry.methods:
                    rows += [_row(entry, method, part) for part in entry.measure(finding, method)]
    return frame(rows)


def _row(entry: Entry, method: str, part: Part) -> dict[str, Any]:
    return row(
        entry.claim,
        part.method or method,
        part.dataset,
        part.text,
        part.kind or entry.kind,
        part.found,
        n_runs=part.n_runs,
        printed=part.printed,
    )


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
    """Return one part of the evidence on a claim as a row; see `Entry` and `Part`.

    Raises:
        InputError: an unknown claim, method or kind, or no printed value where one is compared.
    """
    known = paper_values.claims()["id"].tolist()
    for name, given, allowed in (("claim", claim, known), ("method", method, METHODS), ("kind", kind, KINDS)):
        if given not in allowed:
            raise InputError(f"unknown {name} {given!r} of evidence.{suggest(given, allowed)}")
    if kind == "value" and not math.isfinite(printed):
        raise InputError(f"{claim}: evidence of kind value needs the printed value")
    interval = found if isinstance(found, Interval) else Interval(float(found), float(found), float(found), math.nan)
    numbers = (interval.estimate, interval.low, interval.high, interval.free, printed)
    counts = (interval.n_groups, interval.n_runs, n_runs)
    return dict(zip(COLUMNS, (claim, method, dataset, part, kind, *numbers, *counts), strict=True))


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows as a table with the columns COLUMNS, in the order of the claims."""
    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    return table.sort_values("claim", kind="stable", ignore_index=True)


def of_line(line: Any, text: str, n_runs: int) -> Part:
    """Return the part in a line of `evaluation.differences` (a named tuple or Series)."""
    return Part(line.dataset, text, interval_of(line), n_runs)


def interval_of(line: Any) -> Interval:
    """Return the interval in a line with the cells of `evaluation.gap`, or of `head_surgery.compare`."""
    cells = line._asdict() if isinstance(line, tuple) else dict(line)
    seeds = int(cells.get("n_seeds", cells["n_runs"]))
    ends = (line.difference, line.low, line.high)
    return Interval(*ends, int(line.n_prompts), n_runs=seeds, free=line.free)
