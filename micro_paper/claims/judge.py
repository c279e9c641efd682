"""The paper's 45 claims, each with a verdict from the evidence that the notebooks of a profile wrote down.

A notebook writes one line a part (`evidence.row`), as `table_00_evidence_NN.csv`; nothing else is judged. The rules are
those of `verdicts`, fixed before any result. All parts of a claim must hold, on every data set that has evidence:
one that does not settles the claim, else one that cannot tell does. Where a claim has several parts, their p-values are
adjusted by Holm's rule, over all data sets, and a part whose adjusted one is above .05 cannot tell. Evidence of the
method "any" counts for `micro` and for `micro_plus`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from micro_paper.intervals import Interval, holm
from micro_paper.paper import values as paper_values
from micro_paper.paper import verdicts
from micro_paper.paper.verdicts import CANNOT_TELL, DOES_NOT, HOLDS

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
    known = paper_values.claims()
    of_claim = dict(tuple(evidence_rows.groupby("claim")))
    lines = [claim | _line(of_claim.get(claim["id"]), claim["needs"], profile) for claim in known.to_dict("records")]
    return pd.DataFrame(lines, columns=COLUMNS)


def _line(rows: pd.DataFrame | None, needs: str, profile: str) -> dict[str, str | int]:
    if rows is None:
        why = SMOKE if profile == "smoke" else f"this profile has no result on {LACKS[needs]}"
        silent = {"source": "", "ours": "", "n_runs": 0, "why": why}
        return silent | {"verdict": CANNOT_TELL, "micro_plus_verdict": CANNOT_TELL}
    rows = rows.assign(verdict=[_of_part(row, needs, profile) for row in rows.itertuples()])
    rows["p"] = [_p_of_part(row) for row in rows.itertuples()]
    verdict, why = _judged(rows, "micro", needs)
    methods = set(rows["method"])
    if "micro" in methods and "micro_plus" not in methods:
        why += "; no result of micro_plus"
    own = rows[rows["method"] != "micro_plus"]
    return {
        "source": _source(rows),
        "ours": _ours(own) if len(own) else f"micro_plus: {_ours(rows)}",
        "n_runs": int(own["n_runs"].min()) if len(own) else 0,
        "why": why,
        "verdict": verdict,
        "micro_plus_verdict": _judged(rows, "micro_plus", needs)[0],
    }


def _of_part(row: tuple, needs: str, profile: str) -> str:
    interval = _interval(row)
    if row.kind == "identity":
        return verdicts.judge_identity(row.value)
    if row.kind == "ordering":
        return verdicts.judge_ordering(interval)
    if row.kind == "equivalence":
        return verdicts.judge_equivalence(interval)
    if row.kind == "value":
        backbone = str(row.backbone).partition("@")[0]  # a hub id may have its revision behind it
        theirs = profile == PAPER_PROFILE and backbone == PAPER_BACKBONE and row.dataset == PAPER_DATA.get(needs)
        return verdicts.judge_value(row.printed, interval, comparable=theirs)
    return verdicts.judge_trend(interval, expected=row.kind)


def _interval(row: tuple) -> Interval:
    return Interval(row.value, row.low, row.high, row.n_prompts, n_runs=row.n_seeds, free=row.free)


def _p_of_part(row: tuple) -> float:
    """Return the p-value of the part's verdict; nan where it is no test: identities and printed values."""
    if row.kind in ("identity", "value"):
        return np.nan
    return verdicts.p_of_verdict(row.kind, _interval(row), row.verdict)


def _adjusted(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the parts of one method with the verdicts that Holm's rule over all of them leaves."""
    tested = rows["p"].notna()
    if tested.sum() < 2:
        return rows
    p = pd.Series(1.0, rows.index)
    p[tested] = holm(rows.loc[tested, "p"])
    lost = tested & (p > verdicts.LEVEL)
    return rows.assign(verdict=rows["verdict"].mask(lost, CANNOT_TELL))


def _overall(found_verdicts: Iterable[str]) -> str:
    """All must hold; one that does not settles it, else one that cannot tell."""
    return max(found_verdicts, key=(HOLDS, CANNOT_TELL, DOES_NOT).index)


def _judged(rows: pd.DataFrame, method: str, needs: str) -> tuple[str, str]:
    """Return the verdict on one method, and what decided it; `rows` are of one claim and have their own verdicts."""
    reasons, by_data = [], []
    mine = _adjusted(rows[rows["method"].isin([method, "any"])])
    for name, part in rows.groupby("dataset", sort=False):
        own = mine[mine["dataset"] == name]
        judged = own["verdict"].tolist()
        # a data set with results of the other method alone is not judged by the parts that both share
        if method not in set(part["method"]) and set(part["method"]) != {"any"}:
            judged.append(CANNOT_TELL)
            missing = f", no result of {method}"
        else:
            missing = ""
        verdict = _overall(judged)
        deciding = own[own["verdict"] == verdict]
        named = "" if verdict == HOLDS or len(own) < 2 else _named(deciding["part"].tolist())
        count = f"{len(deciding)} of {len(own)} parts" if len(own) > 1 else ""
        detail = ": ".join(text for text in (count, named) if text)
        reasons.append(f"{name}: {verdict}{missing}" + (f" ({detail})" if detail else ""))
        by_data.append(verdict)
    why = "; ".join(reasons)
    if alone := int((mine["n_seeds"] < 2)[~mine["kind"].eq("identity")].sum()):
        why += f"; {alone} of {len(mine)} parts over prompts alone, with one seed a fold"
    if (rows["kind"] == "value").any() and _overall(by_data) == CANNOT_TELL:
        why += f"; the printed value is of {LACKS[needs]}, so ours is shown, not compared"
    return _overall(by_data), why


def _named(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
    return f"{parts[0]}{more}" if parts else ""


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
