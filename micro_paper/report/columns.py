"""What every column of every table means: `columns.csv`, the one glossary."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files

from micro_paper.errors import InputError, suggest


@cache
def glossary() -> tuple[tuple[str, str, str], ...]:
    """Return its lines: tables, column and meaning (with the unit).

    Tables are patterns of number and slug, separated by blanks; "*" stands for any rest, alone for all tables.
    """
    with (files("micro_paper.report") / "columns.csv").open(encoding="utf-8", newline="") as file:
        return tuple((line["tables"], line["column"], line["meaning"]) for line in csv.DictReader(file))


def meanings(table: str, columns: Iterable[str]) -> dict[str, str]:
    """Return the meaning of each column of a table; of two lines of the glossary the later wins.

    Args:
        table: number and slug as in the file's name (`02c_beside_paper`), or the name of a frame (`claims`).

    Raises:
        InputError: a column has no meaning there; the message names both and where to add it.
    """
    known = {
        column: meaning
        for tables, column, meaning in glossary()
        if any(fnmatchcase(table, pattern) for pattern in tables.split())
    }
    columns = list(columns)
    if unknown := [column for column in columns if column not in known]:
        raise InputError(
            f"column {unknown[0]!r} of table {table} has no meaning: add it to "
            f"micro_paper/report/columns.csv.{suggest(unknown[0], known)}"
        )
    return {column: known[column] for column in columns}
