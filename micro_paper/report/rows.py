"""What the rows of tables are called and what they see: `rows.csv` and `supervision.csv`, the one vocabulary."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class Row:
    """A row of tables.

    Attributes:
        name: in tables.
        label: in figures.
        words: in plain words.
        sentence: what it does.
    """

    name: str
    label: str
    words: str
    sentence: str


def _lines(name: str) -> list[dict[str, str]]:
    with (files("micro_paper.report") / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def glossary() -> dict[str, Row]:
    """Return every row by its name, in the order in which they are explained."""
    return {line["name"]: Row(**line) for line in _lines("rows.csv")}


@cache
def _parts() -> tuple[tuple[str, str], ...]:
    return tuple((line["code"], line["part"]) for line in _lines("supervision.csv"))


@cache
def codes() -> dict[str, str]:
    """Return the codes of what a row may see, each with its meaning."""
    meanings: dict[str, str] = {}
    for line in _lines("supervision.csv"):
        meanings.setdefault(line["code"], line["legend"] or line["part"])
    return meanings


def sees(supervision: str) -> list[str]:
    """Return what a method's `supervision` says, part by part, as codes; a part that has none stays in words."""
    return [
        said
        for part in supervision.split("; ")
        for said in [code for code, pattern in _parts() if fnmatchcase(part, pattern)] or [part]
    ]
