"""The written part of the corpus: topics with their fragments, audience cues and phrasings of criteria.

The format of a topic file:

    # slug | prompt | three other wordings of it
    cla: a fragment of 22-28 words      (and cre, sci, use, sto, ped, lin, hum: two each; mud: the winding twin of the
    mud: ...                             cla line above it; fac: a true statement, fac! one that sounds odd; fak: the
    fac: ...                             false twin of the fac line above it)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from micro_paper.data.criteria import CRITERIA
from micro_paper.errors import InputError

FOLDER = Path(__file__).parent
CODES = {
    "cla": "clarity and conciseness",
    "cre": "creativity and originality",
    "sci": "scientific rigor",
    "use": "user-friendliness",
    "sto": "narrative and storytelling",
    "ped": "pedagogical effectiveness",
    "lin": "linguistic creativity",
    "fac": "factual accuracy",
    "hum": "humor",
}
DIMENSIONS = tuple(CODES.values())
STYLES = tuple(code for code in CODES if code not in ("cla", "fac"))
FRAGMENTS = 2  # of each style, and of cla with its mud twin
FACTS = 4  # twins a topic
WORDINGS = 4
# Chosen once among the two files that no prototype had used; not featurised before the corpus is frozen.
SEALED = (
    "rainbow",
    "dinosaurs",
    "drinkwater",
    "silkroad",
    "primes",
    "tomatoes",
    "recursion",
    "insurance",
    "chessopening",
    "button",
)


@dataclass(frozen=True)
class Topic:
    """One topic.

    Attributes:
        slug: its name.
        prompts: four wordings of the user's question.
        fragments: code (cla, mud, cre, sci, use, sto, ped, lin, hum) -> its two fragments.
        facts: four (true, false) twins.
        odd: for each twin, whether the true one sounds odd.
    """

    slug: str
    prompts: tuple[str, ...]
    fragments: dict[str, tuple[str, ...]]
    facts: tuple[tuple[str, str], ...]
    odd: tuple[bool, ...]

    @property
    def sealed(self) -> bool:
        """Whether the topic is kept for the one last evaluation."""
        return self.slug in SEALED


@dataclass(frozen=True)
class Cue:
    """An audience: its taste (main dimension first; what is left is spread over the others) and how prompts show it."""

    name: str
    taste: dict[str, float]
    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class PromptCue:
    """A hint in the prompt of bundled-rpr: people whom the dimension matters to say such things more often."""

    name: str
    dimension: str
    train: tuple[str, ...]
    test: tuple[str, ...]


def parse_topics(lines: Iterable[str], name: str = "topics") -> list[Topic]:
    """Return the topics of a file.

    Raises:
        InputError: a line that the format does not know, or a topic with too few fragments; names file and line.
    """
    topics: list[Topic] = []
    head: tuple[str, ...] | None = None
    found: list[tuple[str, bool, str]] = []

    def close(number: int) -> None:
        if head is not None:
            topics.append(_topic(head, found, f"{name} before line {number}"))

    number = 0
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line:
            continue
        if line.startswith("#"):
            close(number)
            head, found = tuple(p.strip() for p in line[1:].split("|")), []
            continue
        match = re.fullmatch(r"([a-z]{3})(!?): (.+)", line)
        if not match or match[1] not in {*CODES, "mud", "fak"} or head is None:
            raise InputError(f"{name} line {number}: expected '# slug | prompts' or 'dim: fragment', got {line[:40]!r}")
        found.append((match[1], bool(match[2]), match[3]))
    close(number + 1)
    return topics


def _topic(head: tuple[str, ...], found: list[tuple[str, bool, str]], where: str) -> Topic:
    slug, *prompts = head
    if len(prompts) < WORDINGS or not all(prompts):
        raise InputError(f"{where}: topic {slug!r} needs {WORDINGS} wordings of its prompt, has {len(prompts)}")
    fragments = {code: tuple(t for c, _, t in found if c == code) for code in ("cla", "mud", *STYLES)}
    for code, texts in fragments.items():
        if len(texts) < FRAGMENTS:
            raise InputError(f"{where}: topic {slug!r} needs {FRAGMENTS} {code} fragments, has {len(texts)}")
    truths = [(odd, text) for code, odd, text in found if code == "fac"]
    wrong = [text for code, _, text in found if code == "fak"]
    if not len(truths) == len(wrong) >= FACTS:
        raise InputError(f"{where}: topic {slug!r} needs {FACTS} fac lines, each with its fak twin")
    return Topic(
        slug,
        tuple(prompts[:WORDINGS]),
        fragments,
        tuple((true, false) for (_, true), false in zip(truths, wrong, strict=True)),
        tuple(odd for odd, _ in truths),
    )


@lru_cache(maxsize=1)
def topics() -> tuple[Topic, ...]:
    """Return all topics, file by file; the sealed ones too."""
    out: list[Topic] = []
    for path in sorted(FOLDER.glob("*.txt")):
        out += parse_topics(path.read_text(encoding="utf-8").splitlines(), path.name)
    slugs = [t.slug for t in out]
    if twice := {s for s in slugs if slugs.count(s) > 1}:
        raise InputError(f"topics with one slug: {', '.join(sorted(twice))}")
    return tuple(out)


@lru_cache(maxsize=1)
def cues() -> tuple[Cue, ...]:
    """Return the audience cues."""
    table = json.loads((FOLDER / "audience.json").read_text(encoding="utf-8"))
    return tuple(Cue(n, dict(c["taste"]), tuple(c["train"]), tuple(c["test"])) for n, c in table.items())


@lru_cache(maxsize=1)
def prompt_cues() -> tuple[PromptCue, ...]:
    """Return the cues of bundled-rpr, 20 sentences each for training and 20 for test."""
    table = json.loads((FOLDER / "prompt_cues.json").read_text(encoding="utf-8"))
    return tuple(PromptCue(n, c["dimension"], tuple(c["train"]), tuple(c["test"])) for n, c in table.items())


@lru_cache(maxsize=1)
def phrasings() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return dimension -> {"train": 20, "test": 20, "fixed": 1} sentences."""
    table = json.loads((FOLDER / "criteria.json").read_text(encoding="utf-8"))
    return {
        d: {"train": tuple(table[d]["train"]), "test": tuple(table[d]["test"]), "fixed": (CRITERIA["rpr"][d],)}
        for d in DIMENSIONS
    }


@lru_cache(maxsize=1)
def other_criteria() -> dict[str, tuple[str, ...]]:
    """Return criterion -> phrasings of the criteria outside the nine dimensions."""
    table = json.loads((FOLDER / "criteria.json").read_text(encoding="utf-8"))
    return {name: tuple(texts) for name, texts in table["other"].items()}
