"""The committed verdicts on the paper's claims: read, counted, and recomputed from the committed evidence."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from micro_paper import paper_values
from micro_paper.claims import FILES, VERDICTS, gather, judge
from micro_paper.errors import InputError
from micro_paper.paths import project_root

JUDGED = {"micro": "verdict", "micro_plus": "micro_plus_verdict"}


def counts(judged: pd.DataFrame) -> pd.DataFrame:
    """Return how many claims have each verdict: method, holds, does not, cannot tell."""
    lines = []
    for method, column in JUDGED.items():
        lines.append({"method": method} | {v: int((judged[column] == v).sum()) for v in VERDICTS})
    return pd.DataFrame(lines)


def read_committed(profile: str, root: Path | None = None) -> pd.DataFrame:
    """Return `results/PROFILE/claims.csv`, all cells as text.

    Raises:
        InputError: it lacks a claim, has one twice or an unknown one, or lacks a column of the verdicts.
    """
    path = (root or project_root()) / "results" / profile / "claims.csv"
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise InputError(f"profile {profile}: claims.csv cannot be read: {error}") from None
    if absent := [c for c in ("id", *JUDGED.values()) if c not in table]:
        raise InputError(f"profile {profile}: claims.csv has no column {', '.join(absent)}")
    known, ids = paper_values.claims()["id"].tolist(), table["id"].tolist()
    if lacking := [claim for claim in known if claim not in ids]:
        raise InputError(f"profile {profile}: claims.csv lacks {', '.join(lacking)}")
    if ids != known:
        raise InputError(f"profile {profile}: claims.csv must have each of {known[0]} to {known[-1]} once, in order")
    return table


def verify(profile: str, root: Path | None = None) -> list[str]:
    """Return where the committed verdicts of a profile differ from those that its committed evidence gives."""
    root = root or project_root()
    folder = root / "results" / profile
    if not (folder / "claims.csv").is_file():
        there = any(folder.glob(FILES))
        return [f"profile {profile}: claims.csv is missing, though there is evidence: publish again"] if there else []
    try:
        committed = read_committed(profile, root)
        again = judge(gather(profile, root), profile)
    except (ValueError, KeyError, TypeError) as error:
        named = str(error) if str(error).startswith("profile ") else f"profile {profile}: {error}"
        return [named]
    return [
        f"profile {profile}, {row.id}: {column} is {committed.at[i, column]!r} in claims.csv, "
        f"the evidence gives {again.at[i, column]!r}"
        for column in JUDGED.values()
        for i, row in enumerate(again.itertuples())
        if committed.at[i, column] != again.at[i, column]
    ]


def verify_published(root: Path | None = None) -> tuple[list[str], bool]:
    """Verify the claims of every published profile; return a line each and whether all is well."""
    root = root or project_root()
    lines, good = [], True
    for folder in sorted(path for path in (root / "results").glob("*") if path.is_dir()):
        problems = verify(folder.name, root)
        good = good and not problems
        lines += [f"[wrong] {problem}" for problem in problems]
        if not problems and (folder / "claims.csv").is_file():
            lines.append(f"[ok] results/{folder.name}/claims.csv follows from its evidence")
    return lines, good
