"""The rows of tables of persons, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from micro_paper.errors import InputError, suggest
from micro_paper.experiments.person_classes import PersonClasses
from micro_paper.methods.mrm import Mrm
from micro_paper.methods.person_known import PersonLoRe, PersonPal, PersonVpl
from micro_paper.methods.person_offset import PersonLength, PersonNone, PersonPosition, PersonRidge
from micro_paper.methods.person_weights import PersonHyRe, PersonMicroHyRe, PersonRouter
from micro_paper.methods.persons import PersonRow
from micro_paper.methods.settings import Settings

REFERENCE = "person_none"
LABELS_OF = ("self", "peers", "shuffled")
WHOSE = {"peers": "those labels from other people", "shuffled": "those labels from another person"}


@dataclass(frozen=True)
class Row:
    """A row of tables of persons.

    Attributes:
        make: settings and seed -> an unfitted row.
        labels: whose labels it adapts to: the person's own ("self"), those of others on the same pairs ("peers"), or
            those of somebody else ("shuffled").
        control: it is there to show no gain, or a gain that needs no method.
    """

    make: Callable[[Settings | Mapping[str, Any] | None, int], PersonRow]
    labels: str = "self"
    control: bool = False


PERSON_ROWS: dict[str, Row] = {
    REFERENCE: Row(PersonNone),
    "person_router": Row(PersonRouter),
    "person_micro_hyre": Row(PersonMicroHyRe),
    "person_hyre": Row(PersonHyRe),
    "person_ridge": Row(PersonRidge),
    "person_classes": Row(PersonClasses),
    "lore": Row(PersonLoRe),
    "pal": Row(PersonPal),
    "vpl": Row(PersonVpl),
    "mrm": Row(Mrm),
    "person_length": Row(PersonLength, control=True),
    "person_position": Row(PersonPosition, control=True),
    "peers": Row(PersonRidge, labels="peers", control=True),
    "shuffled_people": Row(PersonRidge, labels="shuffled", control=True),
}


def supervision(name: str) -> str:
    """Return what a row sees beyond the texts, in the words of `report/supervision.csv` where they have it."""
    row = find_row(name)
    own = row.make(None, 0).supervision
    return own if row.labels == "self" else f"{own}; {WHOSE[row.labels]}"


def find_row(name: str) -> Row:
    """Return the row of that name.

    Raises:
        InputError: no such row; names the nearest.
    """
    if name not in PERSON_ROWS:
        raise InputError(f"unknown row {name!r}.{suggest(name, PERSON_ROWS)} Known: {', '.join(PERSON_ROWS)}")
    return PERSON_ROWS[name]
