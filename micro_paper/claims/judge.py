"""The paper's 45 claims, each with a verdict from the evidence that the notebooks of a profile wrote down.

A notebook writes one line a part (`evidence.row`), as `table_00_evidence_NN.csv`; nothing else is judged. The rules are
those of `verdicts`; what is compared, and on which data sets, is fixed by `protocol`. All parts of a claim must hold,
on every data set that may decide it: one that does not settles the claim, else one that cannot tell does. Several parts
are adjusted by Holm. Evidence of the method "any" counts for `micro` and for `micro_plus`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from micro_paper import intervals
from micro_paper.claims import protocol
from micro_paper.intervals import Interval
from micro_paper.paper import values as paper_values
from micro_paper.paper import verdicts
from micro_paper.paper.verdicts import CANNOT_TELL, CONTROL, DOES_NOT, HOLDS, READABLE, SHOWN

VERDICTS = (HOLDS, DOES_NOT, CANNOT_TELL)
COLUMNS = (
    "id",
    "section",
    "claim",
    "rule",
    "needs",
    "printed",
    "source",
    "ours",
    "n_runs",
    "why",
    "verdict",
    "micro_plus_verdict",
)
FILES = "table_00_evidence_*.csv"
SOURCE_COLUMNS = ("file", "notebook", "backbone")  # what `gather` adds to `evidence.COLUMNS`

# Kinds of evidence on which a claim of a rule may be judged; a trend may have flat or equal parts.
KINDS = {
    "identity": ("identity",),
    "ordering": ("ordering",),
    "trend": ("up", "down", "flat", "equivalence"),
    "equivalence": ("equivalence",),
    "value": ("value",),
}
NO_TESTS = ("identity", "value", SHOWN)
BESIDE = (CONTROL, READABLE, SHOWN)  # beside any rule: what must be exceeded or read, and what is only shown
WORDS = {protocol.CONTROLS: "a control: ", protocol.COMPANION: "shown, not judged: ", protocol.CANNOT: ""}
OPTIMISATION = "optimisation"  # above the single reward as trained, not above the converged one
JUSTIFIED = "given the justification"  # how reasons of such data sets begin; their verdicts say so
# A printed value is compared only with a result from the same data and backbone.
PAPER_PROFILE, PAPER_BACKBONE = "paper", "Ray2333/GRM-Llama3.2-3B-rewardmodel-ft"
PAPER_DATA = {"RPR, 3B": "rpr", "HelpSteer2, 3B": "helpsteer2"}
LACKS = {
    "any": "it",
    "RPR, 3B": "RPR with the 3B backbone",
    "HelpSteer2, 3B": "HelpSteer2 with the 3B backbone",
    "HelpSteer2-like": "rated data like HelpSteer2",
    "RPR-like": "stated criteria like RPR's",
    "RPR-like with an ARMO row": "stated criteria like RPR's beside ratings that an ARMO row learns from",
    "HelpSteer2-like with an ARMO row": "rated data like HelpSteer2 with an ARMO row",
    "a large binary set to RPR-like": "training on one large binary set and testing on stated criteria like RPR's",
    "HelpSteer2-like to RPR-like": "training on rated data and testing on stated criteria like RPR's",
    "RewardBench-like": "sections like RewardBench's",
    "RPR-like, larger backbone": "stated criteria like RPR's through a larger backbone",
    "HelpSteer2-like, larger backbone": "rated data like HelpSteer2 through a larger backbone",
    "safety pairs": "pairs judged for safety",
}
SMOKE = "profile smoke tests the code and judges two identities only"


def judge(evidence_rows: pd.DataFrame, profile: str) -> pd.DataFrame:
    """Return every claim with its verdict, in the order of the paper's list; columns COLUMNS.

    Args:
        evidence_rows: as `gather` or `found` returns it.
        profile: a printed value is compared in the profile "paper" only, with the paper's data and backbone.
    """
    plan = protocol.read()
    of_claim = dict(tuple(evidence_rows.groupby("claim")))
    lines = []
    for claim in paper_values.claims().to_dict("records"):
        case = Case(claim["id"], claim["needs"], profile, plan)
        lines.append(claim | case.line(of_claim.get(claim["id"])))
    return pd.DataFrame(lines, columns=COLUMNS)


@dataclass(frozen=True)
class Case:
    """One claim before the judge.

    Attributes:
        claim: "C01" .. "C45".
        needs: data or backbone that it is about.
        profile: whose evidence is judged.
        plan: what the claim is measured by, and where.
    """

    claim: str
    needs: str
    profile: str
    plan: protocol.Protocol

    @property
    def measure(self) -> protocol.Measure:
        """What the claim is measured by."""
        return self.plan.measures[self.claim]

    def line(self, rows: pd.DataFrame | None) -> dict[str, str | int]:
        """Return the claim's line from its evidence."""
        if rows is None or not (~rows["kind"].isin(BESIDE)).any():
            why = SMOKE if self.profile == "smoke" else self.lacking()
            silent = {"source": "", "ours": "", "n_runs": 0, "why": why}
            return silent | {"verdict": CANNOT_TELL, "micro_plus_verdict": CANNOT_TELL}
        verdict, why = self.judged(rows, "micro")
        methods = set(rows["method"])
        if "micro" in methods and "micro_plus" not in methods:
            why += "; no result of micro_plus"
        if self.measure.note:
            why += f"; {self.measure.note}"
        own = rows[rows["method"] != "micro_plus"]
        own = own if set(own["kind"]) - set(BESIDE) else own.iloc[:0]
        shown = self.adjusted(own if len(own) else rows)
        return {
            "source": _source(rows),
            "ours": _ours(shown) if len(own) else f"micro_plus: {_ours(shown)}",
            "n_runs": int(own["n_runs"].min()) if len(own) else 0,
            "why": why,
            "verdict": verdict,
            "micro_plus_verdict": self.judged(rows, "micro_plus")[0],
        }

    def lacking(self) -> str:
        """Return why there is no evidence."""
        if self.measure.min_runs > 1 and self.needs == "any":
            return f"fewer than {self.measure.min_runs} runs have what it is about"
        return f"this profile has no result on {LACKS[self.needs]}"

    def adjusted(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the parts with their `verdict`, adjusted by Holm over all parts of the claim.

        A part that decides by its own interval cannot tell where the p-value of what it decides, times as Holm says,
        reaches .05. Identities, printed values and what is only shown are no tests.
        """
        verdict = [self.of_part(row) for row in rows.itertuples()]
        rows = rows.assign(verdict=pd.Series(verdict, index=rows.index, dtype=object))
        tests = rows[~rows["kind"].isin(NO_TESTS)]
        if len(tests):
            flat = self.measure.flat
            p = [verdicts.p_of_verdict(row.kind, _interval(row), row.verdict, flat=flat) for row in tests.itertuples()]
            lost = tests.index[intervals.holm(p) >= verdicts.LEVEL]
            rows.loc[lost, "verdict"] = CANNOT_TELL
        return rows

    def of_part(self, row: tuple) -> str:
        """Return the verdict on one part by its own interval."""
        interval = _interval(row)
        if row.kind == "identity":
            return verdicts.judge_identity(row.value)
        if row.kind in ("ordering", *BESIDE):
            return verdicts.judge_ordering(interval)
        if row.kind == "equivalence":
            return verdicts.judge_equivalence(interval)
        if row.kind == "value":
            backbone = str(row.backbone).partition("@")[0]  # a hub id may have its revision behind it
            theirs = backbone == PAPER_BACKBONE and row.dataset == PAPER_DATA.get(self.needs)
            return verdicts.judge_value(row.printed, interval, comparable=theirs and self.profile == PAPER_PROFILE)
        return verdicts.judge_trend(interval, expected=row.kind, flat=self.measure.flat)

    def judged(self, rows: pd.DataFrame, method: str) -> tuple[str, str]:
        """Return the verdict on one method, and what decided it."""
        own = rows[rows["method"].isin([method, "any"])]
        standing = {name: self.plan.standing(self.claim, name) for name in rows["dataset"].unique()}
        decides = own["dataset"].map(lambda name: standing[name].may == protocol.DECIDES).astype(bool)
        own = self.adjusted(own[decides])
        found, reasons = [], []
        for name, part in rows.groupby("dataset", sort=False):
            if standing[name].may != protocol.DECIDES:
                word = WORDS[standing[name].may]
                reasons.append(f"{name}: {CANNOT_TELL} ({word}{standing[name].reason})")
                continue
            # a data set with results of the other method alone is not judged by the parts that both share
            theirs = set(part.loc[~part["kind"].isin(BESIDE), "method"])
            absent = method not in theirs and theirs != {"any"}
            verdict, text = self.on_data(own[own["dataset"] == name], method, absent)
            if standing[name].reason.startswith(JUSTIFIED):
                text = "; ".join(filter(None, (text, JUSTIFIED)))
            reasons.append(f"{name}: {verdict}" + (f" ({text})" if text else ""))
            found.append(verdict)
        why, verdict = "; ".join(reasons), _overall(found or [CANNOT_TELL])
        if (rows["kind"] == "value").any() and verdict == CANNOT_TELL:
            why += f"; the printed value is of {LACKS[self.needs]}, so ours is shown, not compared"
        return verdict, why

    def on_data(self, rows: pd.DataFrame, method: str, absent: bool) -> tuple[str, str]:
        """Return the verdict on one data set that may decide, and why; `rows` have their verdicts.

        What the claim says decides first. It cannot be told where too few prompts or runs stand behind it, where what
        it is about is not read from the text at all, or a compared row is lacking; and it does not hold by a result
        that a control reaches as well.
        """
        measure, claimed = self.measure, rows[~rows["kind"].isin(BESIDE)]
        verdict = _overall([*claimed["verdict"], *([CANNOT_TELL] if absent else [])])
        text = _deciding(claimed, verdict)
        if absent:
            return verdict, "; ".join(filter(None, (f"no result of {method}", text)))
        if reason := self.too_little(claimed) or self.unread(rows, claimed):
            return CANNOT_TELL, f"{reason}; {text}"
        if verdict != HOLDS or not len(claimed):
            return verdict, text
        there = set(zip(claimed["attribute"].map(self.name), claimed["reference"], strict=True))
        lacking = [(a, r) for a in measure.attributes or ("",) for r in measure.references if not _has(there, a, r)]
        if lacking and measure.rule != "value":
            return CANNOT_TELL, f"no result against {' on '.join(filter(None, lacking[0][::-1]))}; {text}"
        on_this = self.plan.standing(self.claim, rows["dataset"].iloc[0]).controls
        for control in (*measure.controls, *on_this):
            beside = rows[(rows["kind"] == CONTROL) & (rows["reference"] == control)]
            missed = beside[beside["verdict"] != HOLDS]
            if len(beside) and not len(missed):
                continue
            said = OPTIMISATION if control == "single_exact" and "single" in measure.references else "control"
            reached = _effect(missed) if len(missed) else f"no result against {control}"
            return CANNOT_TELL, f"{said}: {reached}; {text}"
        return verdict, text

    def name(self, attribute: str) -> str:
        """Return which of the claim's attributes an attribute of the data is; "" for none."""
        return protocol.named(attribute, self.measure.attributes)

    def too_little(self, claimed: pd.DataFrame) -> str:
        """Return what the evidence has too few of; "" for nothing. Parts over repeats alone have no prompts."""
        few = claimed["n_prompts"].min()
        if few < verdicts.FEWEST:
            return f"{few:g} prompts or topics, {verdicts.FEWEST} are needed"
        if len(claimed) and claimed["n_runs"].min() < self.measure.min_runs:
            return f"{claimed['n_runs'].min()} runs, {self.measure.min_runs} are needed"
        if ((claimed["n_seeds"] < 2) & ~claimed["kind"].isin(NO_TESTS)).any():
            return "one run of each pair, so that its interval does not cover runs"
        return ""

    def unread(self, rows: pd.DataFrame, claimed: pd.DataFrame) -> str:
        """Return what the claim is about and is not read from the text; "" where all is, or nothing must be."""
        measure = self.measure
        if not measure.probe or not len(claimed):
            return ""
        probes = rows[rows["kind"] == READABLE]
        for attribute in measure.attributes or ("",):
            for other in measure.above:
                own = probes[(probes["reference"] == other) & (probes["attribute"].map(self.name) == attribute)]
                if not len(own) or (own["verdict"] != HOLDS).any():
                    what = f"{attribute}: {measure.probe}" if attribute else measure.probe
                    return f"not read from the text: {what} is not shown to exceed {other}"
        return ""


def _has(there: set[tuple[str, str]], attribute: str, reference: str) -> bool:
    """Whether a reference was compared on the attribute; on average for the name ""."""
    return (attribute, reference) in there if attribute else any(r == reference for _, r in there)


def _interval(row: tuple) -> Interval:
    return Interval(row.value, row.low, row.high, row.n_prompts, n_runs=row.n_seeds, free=row.free)


def _overall(found_verdicts: Iterable[str]) -> str:
    """All must hold; one that does not settles it, else one that cannot tell."""
    return max(found_verdicts, key=(HOLDS, CANNOT_TELL, DOES_NOT).index, default=CANNOT_TELL)


def _deciding(parts: pd.DataFrame, verdict: str) -> str:
    """Return which part decided, with its effect: of several the one with the least value."""
    own = parts[parts["verdict"] == verdict]
    if not len(own):
        return ""
    count = f"{len(own)} of {len(parts)} parts, " if len(parts) > 1 else ""
    return f"{count}{'least ' if len(own) > 1 else ''}{_effect(own)}"


def _effect(parts: pd.DataFrame) -> str:
    """Return the part with the least value and that value with its interval."""
    row = next(parts.loc[[parts["value"].idxmin()]].itertuples())
    return f"{row.part} {_value(row)}"


def _source(rows: pd.DataFrame) -> str:
    texts = []
    for (notebook, file), part in rows.groupby(["notebook", "file"], sort=False):
        place = ", ".join(name for name in (notebook, Path(file).stem) if name)
        texts.append(f"{place} ({', '.join(dict.fromkeys(part['dataset']))})")
    return "; ".join(texts)


def _ours(rows: pd.DataFrame, most: int = 4) -> str:
    """Return the values by data set; of more than `most` parts a count by verdict and the extremes."""
    texts = []
    for name, part in rows.groupby("dataset", sort=False):
        if len(part) <= most:
            said = "; ".join(f"{row.part} {_value(row)}" for row in part.itertuples())
        else:
            counts = part["verdict"].value_counts()
            said = f"{len(part)} parts: " + ", ".join(f"{counts[v]} {v}" for v in VERDICTS if v in counts)
            ends = [part.loc[part["value"].idxmin()], part.loc[part["value"].idxmax()]]
            said += "; from " + " to ".join(f"{_value(row)} ({row.part})" for row in ends)
        texts.append(f"{name}: {said}")
    return " / ".join(texts)


def _value(row: tuple) -> str:
    if row.kind == "identity":
        return "below 1e-6" if verdicts.judge_identity(row.value) == HOLDS else f"{row.value:.1e}"
    sign = "" if row.kind == "value" else "+"
    text = f"{_number(row.value, sign)} [{_number(row.low, sign)}, {_number(row.high, sign)}]"
    return f"{text}, printed {row.printed:g}" if row.kind == "value" else text


def _number(value: float, sign: str) -> str:
    """Three decimals, and one digit of what these would show as 0."""
    text = f"{value:{sign}.3f}"
    return text if float(text) or not value else f"{value:{sign}.0e}"


def display(judged: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that a reader wants beside each other: id, claim, printed, ours, verdicts."""
    return judged[["id", "claim", "printed", "ours", "verdict", "micro_plus_verdict"]].rename(
        columns={"verdict": "micro", "micro_plus_verdict": "micro_plus"}
    )
