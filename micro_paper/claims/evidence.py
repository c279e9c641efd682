"""What a notebook found about the paper's claims, in one form, so that one place can judge all of them.

Each module of claims holds a table of entries; `collect` measures them on what a notebook found and returns the
evidence, a line a part. A part that reads another row than `measures.csv` says cannot be written down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from micro_paper.claims import protocol
from micro_paper.errors import InputError, suggest
from micro_paper.intervals import Interval
from micro_paper.paper import values as paper_values
from micro_paper.paper.verdicts import CONTROL, READABLE, SHOWN

KINDS = ("identity", "ordering", "up", "down", "flat", "equivalence", "value", CONTROL, READABLE, SHOWN)
METHODS = ("any", "micro", "micro_plus")
BOTH = ("micro", "micro_plus")
COLUMNS = (
    "claim",
    "method",
    "dataset",
    "part",
    "kind",
    "row",
    "reference",
    "attribute",
    "value",
    "low",
    "high",
    "free",
    "printed",
    "n_prompts",
    "n_seeds",
    "n_runs",
)


@dataclass(frozen=True)
class Part:
    """One part of the evidence on a claim.

    Attributes:
        dataset: data set or population.
        text: what is compared or measured, for a reader.
        found: our value with its interval; a number alone for an identity.
        n_runs: runs (folds x seeds) behind it, the least of both sides; 1 for an identity.
        kind: where it is not the entry's.
        method: whose evidence, where it is not the method that was asked for.
        printed: the paper's value, for kind "value".
        row, reference: what is compared, where it is not the measure's own row and only reference.
        attribute: where it is one attribute's, not the average.
    """

    dataset: str
    text: str
    found: Interval | float
    n_runs: int
    kind: str = ""
    method: str = ""
    printed: float = math.nan
    row: str = ""
    reference: str = ""
    attribute: str = ""


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

    Raises:
        InputError: a part reads a row that `measures.csv` does not name for its claim.
    """
    plan, rows = protocol.read(), []
    for name, finding in found.items():
        for method in METHODS:
            for entry in entries:
                if name in entry.on and method in entry.methods:
                    rows += [of_part(entry.claim, method, entry.kind, p, plan) for p in entry.measure(finding, method)]
    return frame(rows)


def of_part(claim: str, method: str, kind: str, part: Part, plan: protocol.Protocol | None = None) -> dict[str, Any]:
    """Return a part as a row of the evidence; the part's own method and kind come first."""
    return row(
        claim,
        part.method or method,
        part.dataset,
        part.text,
        part.kind or kind,
        part.found,
        n_runs=part.n_runs,
        printed=part.printed,
        own=part.row,
        reference=part.reference,
        attribute=part.attribute,
        plan=plan,
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
    own: str = "",
    reference: str = "",
    attribute: str = "",
    plan: protocol.Protocol | None = None,
) -> dict[str, Any]:
    """Return one part of the evidence on a claim as a row; see `Entry` and `Part`.

    Args:
        own: the compared row; "" = the one that the plan names.
        reference: what it is compared with; "" = the only one that the plan names.
        plan: says which rows are read; None = the committed one.

    Raises:
        InputError: an unknown claim, method or kind, a row that the plan does not name, or no printed value where one
            is compared.
    """
    known = paper_values.claims()["id"].tolist()
    for name, given, allowed in (("claim", claim, known), ("method", method, METHODS), ("kind", kind, KINDS)):
        if given not in allowed:
            raise InputError(f"unknown {name} {given!r} of evidence.{suggest(given, allowed)}")
    if kind == "value" and not math.isfinite(printed):
        raise InputError(f"{claim}: evidence of kind value needs the printed value")
    plan = plan or protocol.read()
    own = own or plan.row(claim, method, kind)
    reference = reference or plan.only_reference(claim, kind)
    if wrong := plan.wrong(claim, method, dataset, kind, own, reference):
        raise InputError(wrong)
    interval = found if isinstance(found, Interval) else Interval(float(found), float(found), float(found), math.nan)
    told = (claim, method, dataset, part, kind, own, reference, attribute)
    numbers = (interval.estimate, interval.low, interval.high, interval.free, printed)
    counts = (interval.n_groups, interval.n_runs, n_runs)
    return dict(zip(COLUMNS, (*told, *numbers, *counts), strict=True))


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows as a table with the columns COLUMNS, in the order of the claims."""
    table = pd.DataFrame(list(rows), columns=list(COLUMNS))
    return table.sort_values("claim", kind="stable", ignore_index=True)


def of_line(line: Any, text: str, n_runs: int, **more: str) -> Part:
    """Return the part in a line of `evaluation.differences` (a named tuple or Series); `more` as in `Part`."""
    return Part(line.dataset, text, interval_of(line), n_runs, **more)


def interval_of(line: Any) -> Interval:
    """Return the interval in a line with the cells of `evaluation.gap`, or of `head_surgery.compare`."""
    cells = line._asdict() if isinstance(line, tuple) else dict(line)
    seeds = int(cells.get("n_seeds", cells["n_runs"]))
    ends = (line.difference, line.low, line.high)
    return Interval(*ends, int(line.n_prompts), n_runs=seeds, free=line.free)
