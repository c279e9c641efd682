"""Stage 2: what its notebook says about the claims C19 to C25, C28 and C45."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd

from micro_paper.claims import protocol
from micro_paper.claims.evidence import Entry, Part, collect, frame, interval_of, of_part
from micro_paper.experiments.evaluation import Evaluation, differences, fits
from micro_paper.intervals import Interval
from micro_paper.metrics import MACRO
from micro_paper.paper.verdicts import CONTROL, READABLE


@dataclass(frozen=True)
class Finding:
    """Table 2 or 3.

    Attributes:
        evaluation: from `main_tables.evaluate_rows`.
        gaps: row -> `evaluation.differences` of that row to every other.
        rest: from `main_tables.on_rest`.
        plan: which rows are compared.
    """

    evaluation: Evaluation
    gaps: Mapping[str, pd.DataFrame]
    rest: pd.DataFrame
    plan: protocol.Protocol

    def attributes(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the attributes of the data with one of these names; the average for none."""
        if not names:
            return (MACRO,)
        return tuple(a for a in sorted(self.evaluation.pairs["attribute"].unique()) if protocol.named(a, names))

    def gap(self, row: str, other: str, attribute: str = MACRO, *, kind: str = "") -> Iterator[Part]:
        """Yield the accuracy of `row` less that of `other`; nothing where either was not evaluated."""
        found = self.evaluation
        if row not in self.gaps or other not in found.probability:
            return
        table = self.gaps[row]
        line = table[(table.method == other) & (table.attribute == attribute)].iloc[0]
        only = "" if attribute == MACRO else attribute
        text = f"{row} less {other}" + (f", {only}" if only else "")
        said = {"kind": kind, "row": row, "reference": other, "attribute": only}
        yield Part(found.world, text, interval_of(line), fits(found, row, other), **said)

    def left(self, row: str, other: str, *, kind: str = "") -> Iterator[Part]:
        """Yield the same on the pairs that HyRe has no label of."""
        table = self.rest
        lines = table[(table.method == row) & (table.reference == other) & (table.attribute == MACRO)]
        for line in lines.itertuples():
            ends = (line.difference, line.difference_low, line.difference_high)
            interval = Interval(*ends, int(line.n_prompts), n_runs=int(line.n_seeds), free=line.free)
            text = f"{row} less {other}, on the pairs that HyRe has no label of"
            yield Part(self.evaluation.world, text, interval, int(line.n_runs), kind=kind, row=row, reference=other)


def _over(claim: str, of: Finding, method: str) -> Iterator[Part]:
    """Less each reference, and each control, on the average or on the attributes that the measure names."""
    measure = of.plan.measures[claim]
    further = of.plan.standing(claim, of.evaluation.world).controls
    for attribute in of.attributes(measure.attributes):
        for other in measure.references:
            yield from of.gap(measure.row(method), other, attribute)
        for other in (*measure.controls, *further):
            yield from of.gap(measure.row(method), other, attribute, kind=CONTROL)


def _on_rest(claim: str, of: Finding, method: str) -> Iterator[Part]:
    measure = of.plan.measures[claim]
    for other in measure.references:
        yield from of.left(measure.row(method), other)
    for other in measure.controls:
        yield from of.left(measure.row(method), other, kind=CONTROL)


def _entry(claim: str, compared: str, on: tuple[str, ...], kind: str = "ordering") -> Entry:
    return Entry(claim, compared, on, kind, partial(_over, claim))


def _rest_entry(claim: str, compared: str, on: tuple[str, ...], *methods: str) -> Entry:
    return Entry(claim, compared, on, "ordering", partial(_on_rest, claim), *((methods,) if methods else ()))


HELPSTEER, RPR = ("helpsteer",), ("rpr",)
ENTRIES = (
    _entry("C19", "average over each baseline", HELPSTEER),
    _entry("C20", "three attributes over single", HELPSTEER),
    _entry("C21", "average over each baseline", RPR),
    _entry("C22", "average against ARMO", RPR, "equivalence"),
    _entry("C23", "average over ARMO", HELPSTEER),
    _rest_entry("C24", "HyRe on our heads over HyRe", HELPSTEER, "any"),
    _rest_entry("C25", "HyRe on our heads over HyRe", RPR, "any"),
    _rest_entry("C28", "the routed row over HyRe", RPR),
    _entry("C45", "over the exact few-shot control", HELPSTEER + RPR),
)
READ = {"helpsteer": ("C20",), "rpr": ("C32", "C33")}  # claims on attributes, whose text these rows must have read


def readable(claim: str, of: Finding) -> Iterator[Part]:
    """Yield, by attribute of the claim, an exact supervised head less each count of surface that must be below it."""
    measure = of.plan.measures[claim]
    for attribute in of.attributes(measure.attributes):
        for other in measure.above:
            yield from of.gap(measure.probe, other, attribute, kind=READABLE)


def decides(dataset: str) -> bool:
    """Return whether a data set may decide any claim of this module."""
    plan = protocol.read()
    return any(plan.standing(entry.claim, dataset).may == protocol.DECIDES for entry in ENTRIES)


def evidence(
    evaluations: Mapping[str, Evaluation],
    gaps: Mapping[str, pd.DataFrame],
    rest: Mapping[str, pd.DataFrame],
) -> pd.DataFrame:
    """Return the evidence of tables 2 and 3 on the claims C19 to C25, C28 and C45, and what C32 and C33 also rest on.

    Args:
        evaluations, gaps, rest: "helpsteer", "rpr" and further data sets, which are judged as the second -> from
            `evaluate_rows`, `differences` (reference micro) and `on_rest`. What has nothing on the rest is no evidence.
    """
    plan, also, rows = protocol.read(), [], []
    for name, left in rest.items():
        like, result = name if name in READ else "rpr", evaluations[name]
        of_row = {"micro": gaps[name]}
        for row in {"micro_plus", *(plan.measures[claim].probe for claim in READ[like])}:
            if row in result.probability:
                of_row[row] = differences(result, row)
        found = Finding(result, of_row, left, plan)
        rows += collect(ENTRIES, {like: found}).to_dict("records")
        also += [of_part(c, "any", READABLE, part, plan) for c in READ[like] for part in readable(c, found)]
    return frame([*rows, *also])
