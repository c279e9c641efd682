"""The lines that say where each file of a profile came from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from micro_paper.errors import InputError, MissingError, suggest
from micro_paper.files import sha256

PREDICTIONS_LIMIT = 10_000_000  # bytes a profile; the repository keeps its predictions small


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file; an absent file has none."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def to_lines(entries: list[dict[str, Any]]) -> bytes:
    """Return a manifest, sorted by file name."""
    ordered = sorted(entries, key=lambda entry: entry["file"])
    return "".join(json.dumps(e, sort_keys=True, ensure_ascii=False) + "\n" for e in ordered).encode()


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
