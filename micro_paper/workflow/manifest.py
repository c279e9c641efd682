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

from micro_paper import files
from micro_paper.errors import InputError, MissingError, suggest

PREDICTIONS_LIMIT = 32_000_000  # bytes a profile; the repository keeps its predictions small
PLACE = ("device",)  # parameters that say where a notebook runs, not what it makes
MEASUREMENTS = (
    "benchmarks",
    "gpu",
    "reliability",
)  # folders of results/ with times and machines: no manifest, no profile


_LINE = {"notebook": str, "profile": str, "hashes": dict, "parameters": dict, "files": list}
_HASHES = {"notebook": str, "code": str}
_FILE = {"file": str, "sha256": str, "caption": str, "columns": dict}
_PLACE = re.compile(r"(results|figures)/[a-z][a-z0-9_-]*/[a-z0-9][a-z0-9_-]{0,150}\.[a-z]{1,9}")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a manifest, one a notebook; an absent file has none.

    A manifest that ends in `.partial.jsonl`, of a run that is not done, may name files of an earlier run and no more.

    Raises:
        InputError: the file cannot be read, or a line is not as `to_lines` writes it; the message names both.
    """
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    try:
        for text in filter(str.strip, path.read_bytes().decode().split("\n")):
            line = files.parse_json(text)
            _check(line, partial=path.name.endswith(".partial.jsonl"))
            lines.append(line)
    except (OSError, ValueError, RecursionError) as error:
        where = f"{path}, line {len(lines) + 1}"
        raise InputError(f"{where}: {error}; restore the file, or delete it and make it again") from None
    return lines


def _check(line: Any, *, partial: bool) -> None:
    """Refuse a line that lacks what the rest of the package takes for granted."""
    _typed("it", line, _LINE)
    _typed("hashes", line["hashes"], _HASHES)
    if not re.fullmatch(r"notebooks/[A-Za-z0-9_-]{1,150}\.ipynb", line["notebook"]):
        raise InputError(f"{line['notebook']!r:.80} is no place of a notebook")
    if not isinstance(line.get("carried", []), list):
        raise InputError("carried is no list")
    for entry in line["files"]:
        _typed("one of its files", entry, {"file": str} if partial and set(entry) == {"file"} else _FILE)
        if not _PLACE.fullmatch(entry["file"]) or entry["file"].split("/")[1] != line["profile"]:
            raise InputError(f"{entry['file']!r:.80} is no place of a file of profile {line['profile']!r:.80}")
    to_lines([line])  # refuses half a character


def _typed(what: str, value: Any, kinds: Mapping[str, type]) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{what} is no object")
    for name, kind in kinds.items():
        if not isinstance(value.get(name), kind):
            raise InputError(f"{what} has no {name}" if name not in value else f"{name} is no {kind.__name__}")


def files_of(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return an entry a file, each with what its line says of its notebook, profile, hashes and parameters."""
    return [{k: v for k, v in line.items() if k != "files"} | entry for line in lines for entry in line["files"]]


def to_lines(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """Return a manifest, sorted by notebook and in each by file.

    Raises:
        InputError: a text in it holds half a character, which no file can hold.
    """
    ordered = sorted(lines, key=lambda line: line["notebook"])
    ordered = [{**line, "files": sorted(line["files"], key=lambda entry: entry["file"])} for line in ordered]
    text = "".join(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n" for line in ordered)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        part = text[max(0, error.start - 40) : error.end]
        raise InputError(f"a manifest cannot hold {part!r}: it ends in half a character, remove it") from None


def published_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a manifest says of a notebook's parameters: all but those of PLACE; tuples become lists.

    Raises:
        InputError: one cannot be written as JSON and read back; the message names it.
    """
    kept = {}
    for name, value in parameters.items():
        if name in PLACE:
            continue
        try:
            kept[name] = files.parse_json(json.dumps(value, allow_nan=False))
            json.dumps(value, ensure_ascii=False).encode()
            if _no_text_key(value):
                raise TypeError("a key is no text")
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"parameters must be plain numbers, texts, lists and None; {name}: {error}") from None
    return kept


def _no_text_key(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return isinstance(value, Mapping) and not all(isinstance(k, str) for k in value) or any(map(_no_text_key, inner))


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


def published_profiles(root: Path) -> list[str]:
    """Return the profiles in `results/`, those too of which a killed publication left drafts alone; no measurements."""
    found = (re.fullmatch(r"([^.]+)|\.([a-z][a-z0-9_-]*)\.(new|old)-.*", p.name) for p in (root / "results").glob("*/"))
    return sorted({match[1] or match[2] for match in found if match} - set(MEASUREMENTS))


def notebook_hash(path: Path) -> str:
    """Return a hash of the code cells' source; outputs, prose and injected parameters do not count."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = [
        "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code" and "injected-parameters" not in cell.get("metadata", {}).get("tags", [])
    ]
    return files.sha256(json.dumps(sources).encode())


def json_hash(value: Any) -> str:
    """Return a hash of a JSON value that does not depend on the order of keys."""
    return files.sha256(json.dumps(value, sort_keys=True).encode())


def check_profile(profile: str) -> None:
    """Refuse, with an InputError, a profile that is no plain name."""
    if not re.fullmatch(r"[a-z][a-z0-9_-]*", profile):
        raise InputError(f"profile must be a name such as bundled, got {profile!r}")


def stem(kind: str, number: int | str, slug: str) -> str:
    """Return the file name without ending, as `table_02_slug`.

    Raises:
        InputError: the number is not 0-99 (or two digits and a letter), or the slug is not in lower case, so that no
            two names differ by case alone.
    """
    text = f"{number:02d}" if isinstance(number, int) and not isinstance(number, bool) else str(number)
    if not re.fullmatch(r"[0-9]{2}[a-z]?", text):
        raise InputError(f'number must be 0 to 99 or like "02b", got {number!r}')
    if not re.fullmatch(r"[a-z0-9]+([_-][a-z0-9]+)*", slug):
        raise InputError(f"slug must be lower-case words joined by _ or -, got {slug!r}")
    return f"{kind}_{text}_{slug}"


def title(name: str) -> str:
    """Return what readers call the file `name`: `Table 2` where the paper has that number, else its slug in words."""
    kind, number, slug = name.split("_", 2)
    if number.isdigit() and int(number):
        return f"{kind.capitalize()} {int(number)}"
    words = slug.replace("_", " ").capitalize()
    return f"{words} ({kind} {number.lstrip('0')})" if int(number[:2]) else words
