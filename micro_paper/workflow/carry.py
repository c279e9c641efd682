"""Published results, carried over to changed code that was shown to give the same numbers.

Making a profile takes hours where features must be encoded anew. Code that was only moved or rewritten need not pay
for that: it is enough that both states of the code, run on the same small setting (fewer layers, fewer seeds), write
the same tables. The published lines then name the present code, and say from which code they were carried over and on
what ground.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from micro_paper.errors import InputError
from micro_paper.files import write_atomic
from micro_paper.paths import project_root
from micro_paper.workflow import manifest, publishing
from micro_paper.workflow.comparison import Comparison, compare
from micro_paper.workflow.provenance import fingerprint

SOURCES = ("notebook", "code")  # hashes that change with the code


def carry(profile: str, before: Path, root: Path | None = None) -> Comparison:
    """Let the published lines of a profile name the present code, which gives the same numbers as the code behind them.

    Args:
        profile: published; `build/PROFILE` holds what the present code made of it.
        before: `build/PROFILE` of the checkout that the published results come from, made with the same parameters.

    Returns:
        The comparison of all tables, without problems.

    Raises:
        InputError: a notebook is missing on either side, was made by other code or with other parameters, or a table
            differs; nothing is changed then.
    """
    root = Path(root) if root else project_root()
    path = root / "results" / profile / "manifest.jsonl"
    lines = manifest.read_lines(path)
    if not lines:
        raise InputError(f"profile {profile} is not published: there is nothing to carry over")
    old, new = (_lines(folder) for folder in (before, root / "build" / profile))
    carried, names = [], []
    for line in lines:
        notebook = line["notebook"]
        carried.append(_carried(line, old.get(notebook), new.get(notebook), fingerprint(root / notebook, root)))
        names += [Path(entry["file"]).name for entry in line["files"]]
    names = [name for name in names if name.endswith((".csv", ".parquet"))]
    found = compare(before / "results", root / "build" / profile / "results", names)
    if found.problems:
        raise InputError(f"profile {profile} cannot be carried over: {'; '.join(found.problems)}")
    for line in carried:
        line["carried"][-1] |= {"cells": found.cells, "largest": found.largest}
    write_atomic(path, manifest.to_lines(carried))
    for kind in publishing.KINDS:
        page = publishing.readme(kind, profile, carried)
        write_atomic(root / kind / profile / "README.md", page.encode())
    return found


def _lines(folder: Path) -> dict[str, dict[str, Any]]:
    paths = [p for p in sorted((folder / "manifest").glob("*.jsonl")) if not p.name.endswith(".partial.jsonl")]
    return {line["notebook"]: line for path in paths for line in manifest.read_lines(path)}


def _carried(
    line: dict[str, Any], old: dict[str, Any] | None, new: dict[str, Any] | None, present: dict[str, str]
) -> dict[str, Any]:
    notebook, published = line["notebook"], {name: line["hashes"][name] for name in SOURCES}
    for state, made, wanted in (("published", old, published), ("present", new, present)):
        if made is None:
            raise InputError(f"{notebook} was not made by the {state} code: run it there")
        for name in SOURCES:
            if made["hashes"][name] != wanted[name]:
                raise InputError(f"{notebook} was made by another state than the {state} {name}: run it again")
    if old["parameters"] != new["parameters"]:
        changed = sorted(
            k
            for k in {**old["parameters"], **new["parameters"]}
            if old["parameters"].get(k) != new["parameters"].get(k)
        )
        raise InputError(f"{notebook} was run with another {', '.join(changed)}: use the same parameters on both sides")
    setting = {k: v for k, v in new["parameters"].items() if line["parameters"].get(k) != v}
    ground = {"from": published, "setting": setting}
    hashes = line["hashes"] | {name: present[name] for name in SOURCES}
    return line | {"hashes": hashes, "carried": [*line.get("carried", []), ground]}
