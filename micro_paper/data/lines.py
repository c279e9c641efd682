"""The one way in which data files are found and read.

A file is UTF-8, with or without a byte-order mark, gzipped or not (told by its content), with any of the three line
ends; separators that JSON allows inside a text, such as U+2028, end no line. Links are followed.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from micro_paper.errors import InputError
from micro_paper.files import parse_json

Row = dict[str, Any]
_LINE_END = re.compile(r"\r\n|\r|\n")  # JSON allows none of them inside a text


def absolute(path: str | Path) -> Path:
    """Return the absolute path, `~` expanded."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def below(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted; linked folders are looked into, each folder once.

    Raises:
        InputError: a folder that may not be read.
    """
    found: list[Path] = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}): allow reading it") from error

    for here, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        if (real := os.path.realpath(here)) in seen:
            folders.clear()
            continue
        seen.add(real)
        found += [Path(here, name) for name in names]
    return sorted(found)


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        InputError: the file cannot be read or unpacked, or is not UTF-8 (with the line).
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path} cannot be unpacked ({error}): give a whole gzip file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): give a file that may be read") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = len(re.split(rb"\r\n|\r|\n", error.object[: error.start]))
        raise InputError(f"{path} row {line}: not UTF-8: save the file as UTF-8") from error


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the number of each line, from 1, and its object; blank lines are passed over.

    Raises:
        InputError: as `read_text`, or a line that is no JSON object; names the file, the row and the fix.
    """
    for number, line in enumerate(_LINE_END.split(read_text(path)), start=1):
        if not line.strip():
            continue
        row = _parse(line, f"{path} row {number}", "write one complete object on each line")
        if not isinstance(row, dict):
            raise InputError(
                f"{path} row {number}: a JSON {type(row).__name__}, not an object: write an object with named fields"
            )
        yield number, row


def read_jsonl(path: Path) -> list[Row]:
    """Return the objects of a JSON-lines file; errors as for `read_rows`."""
    return [row for _, row in read_rows(path)]


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: as `read_text`, or the file is no JSON; names the file and the fix.
    """
    return _parse(read_text(path), str(path), "write valid JSON")


def _parse(text: str, where: str, fix: str) -> Any:
    try:
        return parse_json(text, finite=False)
    except InputError as error:
        raise InputError(f"{where}: {error}: {fix}") from None
