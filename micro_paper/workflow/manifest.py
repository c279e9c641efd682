"""Where each file of a profile came from: a line a notebook, with its hashes, parameters and files.

A line has `notebook`, `profile`, `hashes` (code, notebook, parameters, inputs), `parameters` and `files`; each of the
files has `file`, `sha256`, `caption` and `columns` (their meanings; none but of data).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from micro_paper.errors import InputError, MissingError, suggest
from micro_paper.files import sha256

PREDICTIONS_LIMIT = 10_000_000  # bytes a profile; the repository keeps its predictions small
PLACE = ("device",)  # parameters that say where a notebook runs, not what it makes


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a manifest, one a notebook; an absent file has none.

    Raises:
        InputError: a line names no notebook or no files.
        ValueError: a line is no JSON.
    """
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    if any("notebook" not in line or "files" not in line for line in lines):
        raise InputError(f"{path} has a line without notebook or files: delete it and run its notebook again")
    return lines


def files_of(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return an entry a file, each with what its line says of its notebook, profile, hashes and parameters."""
    return [{k: v for k, v in line.items() if k != "files"} | entry for line in lines for entry in line["files"]]


def to_lines(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """Return a manifest, sorted by notebook and in each by file."""
    ordered = sorted(lines, key=lambda line: line["notebook"])
    ordered = [{**line, "files": sorted(line["files"], key=lambda entry: entry["file"])} for line in ordered]
    return "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in ordered).encode()


def published_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest says of a notebook's parameters: all but those of PLACE.

    Raises:
        InputError: they cannot be written as JSON.
    """
    kept = {name: value for name, value in parameters.items() if name not in PLACE}
    try:
        return json.loads(json.dumps(kept, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"parameters must be plain numbers, strings, lists and None: {error}") from error


def notebook_path(root: Path, notebook: str) -> Path:
    """Return the notebook `notebooks/NAME.ipynb`.

    Raises:
        MissingError: there is none of that name.
    """
    name = Path(notebook).stem
    path = root / "notebooks" / f"{name}.ipynb"
    if not path.is_file():
        hint = suggest(name, (p.stem for p in path.parent.glob("*.ipynb")))
        raise MissingError(f"no notebook {path.relative_to(root).as_posix()}: pass its file name.{hint}")
    return path


def notebook_hash(path: Path) -> str:
    """Return a hash of the code cells' source; outputs, prose and injected parameters do not count."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code" and "injected-parameters" not in cell.get("metadata", {}).get("tags", [])
    ]
    return sha256(json.dumps(sources).encode())


def json_hash(value: Any) -> str:
    """Return a hash of a JSON value that does not depend on the order of keys."""
    return sha256(json.dumps(value, sort_keys=True).encode())


def check_profile(profile: str) -> None:
    """Refuse, with an InputError, a profile that is no plain name."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", profile):
        raise InputError(f"profile must be a name such as bundled, got {profile!r}")


def stem(kind: str, number: int | str, slug: str) -> str:
    """Return the file name without ending, as `table_02_slug`.

    Raises:
        InputError: the number is not 0-99 (or two digits and a letter), or the slug is not in lower case.
    """
    text = f"{number:02d}" if isinstance(number, int) and not isinstance(number, bool) else str(number)
    if not re.fullmatch(r"\d\d[a-z]?", text):
        raise InputError(f'number must be 0 to 99 or like "02b", got {number!r}')
    if not re.fullmatch(r"[a-z0-9]+([_-][a-z0-9]+)*", slug):
        raise InputError(f"slug must be lower-case words joined by _ or -, got {slug!r}")
    return f"{kind}_{text}_{slug}"
