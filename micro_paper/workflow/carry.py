"""Published results, carried over to changed code that was shown to give the same numbers.

Making a profile takes hours where features must be encoded anew. Code that was only moved or rewritten need not pay
for that: it is enough that both states of the code, run on the same small setting (fewer layers, fewer seeds), write
the same tables. The published lines then name the present code, and say from which code they were carried over and on
what ground.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micro_paper.errors import InputError
from micro_paper.paths import build_dir, project_root
from micro_paper.workflow import manifest, publishing
from micro_paper.workflow.comparison import Comparison, compare
from micro_paper.workflow.parameters import read_profile
from micro_paper.workflow.provenance import fingerprint

SOURCES = ("notebook", "code")  # hashes that change with the code


@dataclass(frozen=True)
class Carried:
    """What `carry` did: the notebooks that now name the present code, those that no build shows, and the comparison."""

    notebooks: list[str]
    left: list[str]
    comparison: Comparison


def carry(profile: str, before: Path, after: Path | None = None, root: Path | None = None) -> Carried:
    """Let published lines of a profile name the present code, which gives the same numbers as the code behind them.

    A notebook counts as shown where both builds have it: one made by the code behind the published line, one by the
    present code, both with the same parameters. A parameter that only the present code knows must have the profile's
    value there; the published line then names it. Several calls with several builds may each show some.

    Args:
        profile: published.
        before: `build/NAME` of the checkout that the published results come from, of any profile.
        after: the same made by the present code; None = `build/PROFILE`.

    Raises:
        InputError: the profile is not published, no notebook is shown, or a table differs; nothing is changed then.
    """
    manifest.check_profile(profile)
    root = Path(root) if root else project_root()
    with publishing.turn(profile, root):
        return _carry(profile, before, after or build_dir(root) / profile, root)


def _carry(profile: str, before: Path, after: Path, root: Path) -> Carried:
    lines = manifest.read_lines(root / "results" / profile / "manifest.jsonl")
    if not lines:
        raise InputError(f"profile {profile} is not published: there is nothing to carry over")
    old, new, values = _lines(before), _lines(after), read_profile(profile, root)
    found, done, left = Comparison(), [], []
    for i, line in enumerate(lines):
        notebook = line["notebook"]
        present = fingerprint(root / notebook, root)
        published = {name: line["hashes"][name] for name in SOURCES}
        if published == {name: present[name] for name in SOURCES}:
            continue
        if not (_made_by(old.get(notebook), published) and _made_by(new.get(notebook), present)):
            left.append(notebook)
            continue
        sides = old[notebook], new[notebook]
        known = sides[0]["parameters"]
        added = {name: value for name, value in sides[1]["parameters"].items() if name not in known}
        if known | added != sides[1]["parameters"] or any(values.get(n, v) != v for n, v in added.items()):
            raise InputError(f"{notebook} was run with other parameters on the two sides: use the same")
        names = {_name(entry) for side in sides for entry in side["files"]}
        names = sorted(name for name in names if name.endswith((".csv", ".parquet")))
        own = compare(before / "results", after / "results", names)
        parameters = line["parameters"] | added
        setting = {k: v for k, v in sides[1]["parameters"].items() if parameters.get(k) != v}
        ground = {"from": published, "setting": setting, "cells": own.cells, "largest": own.largest}
        hashes = line["hashes"] | {name: present[name] for name in SOURCES}
        hashes["parameters"] = manifest.json_hash(parameters)
        carried = {"hashes": hashes, "parameters": parameters, "carried": [*line.get("carried", []), ground]}
        lines[i] = line | carried
        found.cells, found.largest = found.cells + own.cells, max(found.largest, own.largest)
        found.problems += own.problems
        done.append(notebook)
    if found.problems:
        raise InputError(f"profile {profile} cannot be carried over: {'; '.join(found.problems)}")
    if not done and left:
        raise InputError(f"neither build shows {', '.join(left)}: make them by the published and by the present code")
    listed = [entry["file"] for entry in manifest.files_of(lines)]
    if lost := [file for file in listed if not (root / file).is_file()]:
        raise InputError(f"{lost[0]} is missing: restore it, or publish profile {profile} again")
    contents = {file: (root / file).read_bytes() for file in listed}
    publishing.exchange(root, profile, contents | publishing.pages(profile, lines))
    return Carried(done, left, found)


def _lines(folder: Path) -> dict[str, dict[str, Any]]:
    paths = [p for p in sorted((folder / "manifest").glob("*.jsonl")) if not p.name.endswith(".partial.jsonl")]
    return {line["notebook"]: line for path in paths for line in manifest.read_lines(path)}


def _made_by(line: dict[str, Any] | None, hashes: Mapping[str, str]) -> bool:
    return line is not None and all(line["hashes"][name] == hashes[name] for name in SOURCES)


def _name(entry: Mapping[str, Any]) -> str:
    return Path(entry["file"]).name
