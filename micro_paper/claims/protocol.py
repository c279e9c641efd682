"""What each claim is measured by, and which world may decide it: two committed tables, read and checked.

`measures.csv` has a line a claim, `worlds.csv` a line a data set and group of claims. What was
revised after a first evaluation stands in the column `revised`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from io import StringIO

import pandas as pd

from micro_paper.errors import InputError
from micro_paper.paper import values as paper_values
from micro_paper.paper.verdicts import CONTROL, READABLE, SHOWN

MEASURES, WORLDS = "measures.csv", "worlds.csv"
MEASURE_COLUMNS = (
    "claim",
    "rule",
    "rows",
    "contrast",
    "references",
    "controls",
    "probe",
    "above",
    "attributes",
    "margin",
    "flat",
    "min_runs",
    "revised",
    "note",
)
WORLD_COLUMNS = ("dataset", "claims", "may", "controls", "reason")
DECIDES, CONTROLS, COMPANION, CANNOT = "decides", "control", "companion", "cannot"
MAY = (DECIDES, CONTROLS, COMPANION, CANNOT)
ITSELF = "itself"  # a row compared with itself under another setting


@dataclass(frozen=True)
class Measure:
    """How a claim is measured.

    Attributes:
        claim: "C01" .. "C45".
        rule: of judging, as in the paper's list of claims.
        rows: compared rows; of two, the second is micro_plus's. None where no row is compared.
        contrast: what is compared, in words.
        references: rows that the claim names; a part with each must be there.
        controls: rows that must be exceeded too, or nothing is shown.
        probe, above: row that must exceed each of the rows `above`, or the attribute (or cue) is not read at all.
        attributes: beginnings or middles of the names of attributes that must all be there.
        margin: as text, for a reader.
        flat: of a trend, in the units of its contrast: within it either way there is neither rise nor fall; else nan.
        min_runs: runs that a part needs.
        revised: which rule was revised after a first evaluation, and why; empty = none.
        note: what the verdict does not say by itself.
    """

    claim: str
    rule: str
    rows: tuple[str, ...]
    contrast: str
    references: tuple[str, ...]
    controls: tuple[str, ...]
    probe: str
    above: tuple[str, ...]
    attributes: tuple[str, ...]
    margin: str
    flat: float
    min_runs: int
    revised: str
    note: str

    def row(self, method: str) -> str:
        """Return the compared row of micro, micro_plus or any; "" where no row is compared."""
        if not self.rows:
            return ""
        return self.rows[-1] if method == "micro_plus" else self.rows[0]


@dataclass(frozen=True)
class Standing:
    """What a data set may say about a claim.

    Attributes:
        may: one of MAY; only "decides" is judged, the others are shown.
        reason: why.
        controls: further rows that must be exceeded on this data set.
    """

    may: str
    reason: str
    controls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """Both tables."""

    measures: Mapping[str, Measure]
    standings: Mapping[tuple[str, str], Standing]

    def standing(self, claim: str, dataset: str) -> Standing:
        """Return what the data set may say about the claim; one that is not listed cannot decide it."""
        unlisted = Standing(CANNOT, f"{WORLDS} does not name it among the data sets of {claim}")
        return self.standings.get((claim, dataset), unlisted)

    def row(self, claim: str, method: str, kind: str) -> str:
        """Return the row that a part of this kind compares: the measure's own, or its probe."""
        measure = self.measures[claim]
        return measure.probe if kind == READABLE else measure.row(method)

    def only_reference(self, claim: str, kind: str) -> str:
        """Return the reference where the measure names just one; "" where a part must name it."""
        measure = self.measures[claim]
        if kind == SHOWN:
            return ITSELF
        names = measure.above if kind == READABLE else () if kind == CONTROL else measure.references
        return names[0] if len(names) == 1 else ""

    def wrong(self, claim: str, method: str, dataset: str, kind: str, row: str, reference: str) -> str:
        """Return why a part of the evidence is not what the tables say is read; "" where it is."""
        measure = self.measures[claim]
        references = measure.above if kind == READABLE else measure.references or ("",)
        if kind == CONTROL:
            references = (*measure.controls, *self.standing(claim, dataset).controls)
        if kind == SHOWN:
            references = (ITSELF,)
        for said, name, allowed in (
            ("row", row, (self.row(claim, method, kind),)),
            ("reference", reference, references),
        ):
            if name not in allowed:
                return f"{claim}, kind {kind}: {said} is {name!r}, {MEASURES} says {', '.join(allowed) or 'none'}"
        return ""


def read(measures: str | None = None, worlds: str | None = None) -> Protocol:
    """Return the protocol of the two committed tables, or of other texts in their form.

    Raises:
        InputError: names the table, the line and what is wrong with it.
    """
    return Protocol(_measures(measures or _text(MEASURES)), _standings(worlds or _text(WORLDS)))


def _text(name: str) -> str:
    return (files("micro_paper.claims") / name).read_text(encoding="utf-8")


def _lines(name: str, text: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False, index_col=False, on_bad_lines="error")
    except ValueError as error:
        raise InputError(f"{name} cannot be read: {error}") from None
    if tuple(table.columns) != columns:
        raise InputError(f"{name} must have the columns {', '.join(columns)}")
    yield from enumerate(table.to_dict("records"), start=1)


def _measures(text: str) -> dict[str, Measure]:
    rules = paper_values.claims().set_index("id")["rule"]
    found: dict[str, Measure] = {}
    for number, line in _lines(MEASURES, text, MEASURE_COLUMNS):
        at, claim = f"{MEASURES}, row {number}", line["claim"]
        if claim not in rules or claim in found:
            raise InputError(f"{at}: {claim!r} is no claim, or is there twice")
        if line["rule"] != rules[claim]:
            raise InputError(f"{at}: {claim} is judged by {rules[claim]} in the list of claims, not {line['rule']!r}")
        if not line["contrast"] or not line["margin"]:
            raise InputError(f"{at}: {claim} needs a contrast and a margin")
        if bool(line["probe"]) != bool(line["above"]):
            raise InputError(f"{at}: {claim} needs both a probe and what it must be above, or neither")
        if line["min_runs"] and not line["min_runs"].isdecimal():
            raise InputError(f"{at}: min_runs must be a whole number, got {line['min_runs']!r}")
        found[claim] = Measure(
            claim=claim,
            rule=line["rule"],
            rows=tuple(line["rows"].split()),
            contrast=line["contrast"],
            references=tuple(line["references"].split()),
            controls=tuple(line["controls"].split()),
            probe=line["probe"],
            above=tuple(line["above"].split()),
            attributes=tuple(filter(None, line["attributes"].split("; "))),
            margin=line["margin"],
            flat=_flat(line, at),
            min_runs=int(line["min_runs"] or 1),
            revised=line["revised"].removeprefix("revised: ").removeprefix("revised "),
            note=line["note"],
        )
    if list(found) != rules.index.tolist():
        raise InputError(f"{MEASURES} must have each of {rules.index[0]} to {rules.index[-1]} once, in order")
    return found


def _flat(line: Mapping[str, str], at: str) -> float:
    """Return the margin of a flat trend; nan for other rules, which have none."""
    try:
        flat = float(line["flat"] or "nan")
    except ValueError:
        flat = -1.0
    if (line["rule"] == "trend") != (flat > 0) or flat <= 0:
        raise InputError(f"{at}: flat must be a number above 0 for a trend, and empty else, got {line['flat']!r}")
    return flat


def _standings(text: str) -> dict[tuple[str, str], Standing]:
    known = set(paper_values.claims()["id"])
    found: dict[tuple[str, str], Standing] = {}
    for number, line in _lines(WORLDS, text, WORLD_COLUMNS):
        at, claims = f"{WORLDS}, row {number}", line["claims"].split()
        if not line["dataset"] or not claims or not line["reason"]:
            raise InputError(f"{at}: needs a data set, claims and a reason")
        if line["may"] not in MAY:
            raise InputError(f"{at}: may must be one of {', '.join(MAY)}, got {line['may']!r}")
        for claim in claims:
            if claim not in known or (claim, line["dataset"]) in found:
                raise InputError(f"{at}: {claim!r} is no claim, or stands twice beside {line['dataset']}")
            found[claim, line["dataset"]] = Standing(line["may"], line["reason"], tuple(line["controls"].split()))
    return found


def named(attribute: str, names: Iterable[str]) -> str:
    """Return which of the names the attribute has, the longest first; "" for none.

    "Creativity and originality" has the name "creativity", "linguistic creativity" that of its own where both are
    asked for.
    """
    return next((name for name in sorted(names, key=len, reverse=True) if name in attribute.lower()), "")
