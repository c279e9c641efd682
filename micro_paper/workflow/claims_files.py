"""The committed verdicts on the paper's claims: read, counted, and recomputed from the committed evidence."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from micro_paper import files
from micro_paper.claims import evidence, protocol
from micro_paper.claims.judge import BESIDE, FILES, KINDS, SOURCE_COLUMNS, VERDICTS, judge
from micro_paper.errors import InputError, MissingError, suggest
from micro_paper.paper import values as paper_values
from micro_paper.paths import build_dir, project_root
from micro_paper.workflow import manifest

MISSING = ("printed", "free", "n_prompts")  # numbers that a part may lack
JUDGED = {"micro": "verdict", "micro_plus": "micro_plus_verdict"}


def counts(judged: pd.DataFrame) -> pd.DataFrame:
    """Return how many claims have each verdict: method, holds, does not, cannot tell."""
    lines = []
    for method, column in JUDGED.items():
        lines.append({"method": method} | {v: int((judged[column] == v).sum()) for v in VERDICTS})
    return pd.DataFrame(lines)


def published_counts(root: Path | None = None) -> pd.DataFrame:
    """Return `counts` of every published profile, which the first column names."""
    root = root or project_root()
    profiles = sorted(path.parent.name for path in (root / "results").glob("[!.]*/claims.csv"))
    tables = [counts(read_committed(profile, root)).assign(profile=profile) for profile in profiles]
    return pd.concat([pd.DataFrame(columns=["profile", "method", *VERDICTS]), *tables], ignore_index=True)


def read_committed(profile: str, root: Path | None = None) -> pd.DataFrame:
    """Return `results/PROFILE/claims.csv`, all cells as text.

    Raises:
        InputError: it lacks a claim, has one twice or an unknown one, or lacks a column of the verdicts.
    """
    path = (root or project_root()) / "results" / profile / "claims.csv"
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"profile {profile}: claims.csv cannot be read: {error}; publish it again") from None
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
    except (OSError, ValueError) as error:
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
    for profile in manifest.published_profiles(root):
        problems = verify(profile, root)
        good = good and not problems
        lines += [f"[wrong] {problem}" for problem in problems]
        if not problems and (root / "results" / profile / "claims.csv").is_file():
            lines.append(f"[ok] results/{profile}/claims.csv follows from its evidence")
    return lines, good


def gather(profile: str, root: Path | None = None, *, built: bool = False) -> pd.DataFrame:
    """Return the evidence of a profile: `evidence.COLUMNS`, file, notebook, backbone (of the notebook's parameters).

    Args:
        profile: of `results/PROFILE`, or with `built` of `build/PROFILE`, where every notebook that writes evidence
            must have finished.

    Raises:
        MissingError: a notebook that writes evidence has not finished in `build/PROFILE`.
        InputError: a file is not as `evidence.frame` writes it, names an unknown claim, or was changed since.
    """
    root = root or project_root()
    manifest.check_profile(profile)
    folder = build_dir(root) / profile / "results" if built else root / "results" / profile
    entries = (
        _built_entries(profile, root) if built else manifest.files_of(manifest.read_lines(folder / "manifest.jsonl"))
    )
    made = {Path(entry["file"]).name: entry for entry in entries}
    frames = []
    for path in sorted(folder.glob(FILES)):
        entry = made.get(path.name)
        if built and (entry is None or files.sha256(path.read_bytes()) != entry["sha256"]):
            raise InputError(f"{path.name} is left from an unfinished run, or was changed: run its notebook again")
        table = read_evidence(path)
        notebook = Path(entry["notebook"]).stem if entry else ""
        backbone = str(entry["parameters"].get("backbone", "")) if entry else ""
        if len(table):
            frames.append(table.assign(file=path.name, notebook=notebook, backbone=backbone))
    columns = [*evidence.COLUMNS, *SOURCE_COLUMNS]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def evidence_files(profile: str, root: Path | None = None) -> dict[str, str]:
    """Return {name: sha256} of the evidence that `gather` reads from `build/PROFILE`, for `Artifacts`."""
    if profile == "smoke":
        return {}
    folder = build_dir(root) / profile / "results"
    return {path.stem: files.sha256(path.read_bytes()) for path in sorted(folder.glob(FILES))}


def found(profile: str, seed: int, root: Path | None = None) -> pd.DataFrame:
    """Return what notebook 11 judges: the evidence in `build/PROFILE`; for smoke two identities, checked on the spot.

    Smoke reads no file, so that its committed output does not depend on what was built before.
    """
    if profile != "smoke":
        return gather(profile, root, built=True)
    from micro_paper.claims import theory

    rng = np.random.default_rng(seed)
    gaps = {"C04": theory.jensen_violation(rng, 20), "C05": theory.hedge_gap(rng, 20)}
    parts = {"C04": "mixture NLL above the weighted loss", "C05": "objective at Eq. 5 against a convex solver"}
    rows = [evidence.row(c, "any", "random instances", parts[c], "identity", gaps[c], n_runs=1) for c in gaps]
    return evidence.frame(rows).assign(file="", notebook="11_claims", backbone="none")


def read_evidence(path: Path) -> pd.DataFrame:
    """Return one evidence table, checked.

    Raises:
        InputError: names the file, the row (counted from 1) and what is wrong with it.
    """
    texts = {name: str for name in ("claim", "method", "dataset", "part", "kind", "row", "reference", "attribute")}
    try:
        table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=dict.fromkeys(MISSING, [""]))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read: {error}; run its notebook again") from None
    if list(table.columns) != list(evidence.COLUMNS):
        raise InputError(f"{path.name} must have the columns {', '.join(evidence.COLUMNS)}")
    rules = paper_values.claims().set_index("id")["rule"]
    parts, plan = set(), protocol.read()
    for number, line in enumerate(table.itertuples(), start=1):
        if wrong := next(_wrong(line, rules, parts, plan), None):
            raise InputError(f"{path.name}, row {number}: {wrong}")
    return table


def _wrong(line: tuple, rules: pd.Series, parts: set, plan: protocol.Protocol) -> Iterator[str]:
    if line.claim not in rules:
        yield f"there is no claim {line.claim!r}.{suggest(line.claim, rules.index)}"
        return
    if line.method not in evidence.METHODS:
        yield f"method must be one of {', '.join(evidence.METHODS)}, got {line.method!r}"
    if line.kind not in (kinds := (*KINDS[rules[line.claim]], *BESIDE)):
        yield f"{line.claim} is judged by {rules[line.claim]}, so kind must be {' or '.join(kinds)}, got {line.kind!r}"
    elif wrong := plan.wrong(line.claim, line.method, line.dataset, line.kind, line.row, line.reference):
        yield wrong
    numbers = [line.value, line.low, line.high]
    if not all(map(_is_number, numbers)) or line.low > line.high:
        yield f"value, low and high must be finite, low <= high, got {numbers}"
    if line.kind == "value" and not _is_number(line.printed):
        yield "evidence of kind value needs the printed value"
    for name, count in (("n_runs", line.n_runs), ("n_seeds", line.n_seeds)):
        if not isinstance(count, int) or count < 1:
            yield f"{name} must be a whole number >= 1, got {count!r}"
    if line.kind not in ("identity", "value") and not line.free > 0:
        yield f"free must be the degrees of freedom of the interval, got {line.free!r}"
    if line.n_prompts < 2:
        yield f"n_prompts must be at least 2, or empty where repeats alone vary, got {line.n_prompts!r}"
    key = (line.claim, line.method, line.dataset, line.part)
    if key in parts:
        yield f"{line.claim}, {line.method}, {line.dataset}: the part {line.part!r} is there twice"
    parts.add(key)


def _built_entries(profile: str, root: Path) -> list[dict]:
    from micro_paper.workflow.notebooks import code_cells, joined, read_notebook

    folder = build_dir(root) / profile / "manifest"
    unfinished = []
    for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        source = "\n".join(joined(cell["source"]) for cell in code_cells(read_notebook(path)))
        writes = re.search(rf"\bevidence_{path.stem[:2]}\b", source)
        if writes and not (folder / f"{path.stem}.jsonl").is_file():
            unfinished.append(path.stem)
    if unfinished:
        raise MissingError(f"profile {profile} has no evidence yet of {', '.join(unfinished)}: run these notebooks")
    finals = [path for path in sorted(folder.glob("*.jsonl")) if not path.name.endswith(".partial.jsonl")]
    return [entry for path in finals for entry in manifest.files_of(manifest.read_lines(path))]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max
