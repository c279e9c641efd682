"""The corpus as data sets: rows of the five worlds for `micro_paper.data.load`, and what is true about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from micro_paper.data.corpus import worlds
from micro_paper.data.corpus.compose import compose
from micro_paper.data.corpus.ratings import ATTRIBUTES, rating_rows
from micro_paper.data.corpus.text import DIMENSIONS, Topic, phrasings, topics
from micro_paper.data.corpus.worlds import LABELS, PHASES, Judgement
from micro_paper.data.criteria import CRITERIA
from micro_paper.data.frames import Built, from_ratings, from_rows
from micro_paper.data.pairs import digest
from micro_paper.errors import InputError, suggest

PHRASINGS = ("free", "fixed")
Source = Callable[[Topic, str, int], list[tuple[dict[str, Any], Judgement]]]


def audience(seed: int = 0, sealed: bool = False) -> Built:
    """Build bundled-audience.

    Args:
        seed: of composition and labels.
        sealed: add the sealed topics, as the test split.
    """
    return _judged("bundled-audience", _said_by_cue(worlds.audience), seed, sealed)


def by_topic(seed: int = 0, sealed: bool = False) -> Built:
    """Build bundled-topics; arguments as for `audience`."""
    return _judged("bundled-topics", _said_by_cue(worlds.by_topic), seed, sealed)


def rpr(seed: int = 0, sealed: bool = False, phrasing: str = "free", balanced: bool = False) -> Built:
    """Build bundled-rpr, or with `balanced` bundled-rpr-balanced.

    Args:
        seed, sealed: as for `audience`.
        phrasing: "free": 8 phrasings a dimension in training and 4 others in test; "fixed": one sentence for all.
        balanced: keep both labels of each pair, by leaving no criterion outside the nine dimensions.
    """
    if phrasing not in PHRASINGS:
        raise InputError(
            f"phrasing must be one of {', '.join(PHRASINGS)}, got {phrasing!r}.{suggest(phrasing, PHRASINGS)}"
        )
    name = "bundled-rpr-balanced" if balanced else "bundled-rpr"
    return _judged(name, _rpr_source(phrasing, balanced), seed, sealed)


def helpsteer(seed: int = 0, sealed: bool = False) -> Built:
    """Build bundled-helpsteer; arguments as for `audience`."""
    _check(seed, sealed)
    wide = pd.DataFrame(
        [{**row, "official": "test" * t.sealed} for t in _topics(sealed) for row in rating_rows(t, seed)]
    )
    tested = dict(zip(wide["prompt_id"], wide.pop("tested"), strict=True))
    built = from_ratings(wide, "bundled-helpsteer", CRITERIA["helpsteer2"], attributes=list(ATTRIBUTES))
    frame = built.frame
    frame["use"] = np.where(frame["prompt_id"].map(tested), "", "train")
    frame = frame[(frame["official"] == "") | (frame["use"] == "")].reset_index(drop=True)
    table = built.ratings.copy()
    for part in (frame, table):  # the two responses of a group were compared; a split goes by topic
        part["prompt_id"] = part["prompt_id"].str.partition("/")[0]
    frame.attrs["attributes"] = list(ATTRIBUTES)
    return Built(frame, built.skipped, table)


def _said_by_cue(judge: Callable[[Topic, str, int], list[Judgement]]) -> Source:
    def source(topic: Topic, phase: str, seed: int) -> list[tuple[dict[str, Any], Judgement]]:
        return [({"context": phrasings()[DIMENSIONS[j.z]]["fixed"][0]}, j) for j in judge(topic, phase, seed)]

    return source


def _rpr_source(phrasing: str, balanced: bool) -> Source:
    def source(topic: Topic, phase: str, seed: int) -> list[tuple[dict[str, Any], Judgement]]:
        out: list[tuple[dict[str, Any], Judgement]] = []
        for row in worlds.rpr_rows(topic, phase, seed, other=0.0 if balanced else worlds.OTHER):
            for side, winner, loser in (("x", "first", "second"), ("y", "second", "first")):
                z = row[f"z_{side}"]
                if row[f"category_{side}"] != DIMENSIONS[z]:
                    continue  # a criterion outside the nine dimensions
                said = row[f"said_{side}"] if phrasing == "free" else phrasings()[DIMENSIONS[z]]["fixed"][0]
                known = np.eye(len(DIMENSIONS))[z]
                judgement = Judgement(
                    topic.slug, phase, row[winner], row[loser], z, known, known, 1.0, row["prompt"], "none"
                )
                out.append(({"context": said}, judgement))
            if len(out) >= LABELS[phase]:
                break
        return out

    return source


SOURCES: dict[str, Callable[[str], Source]] = {
    "bundled-audience": lambda _: _said_by_cue(worlds.audience),
    "bundled-topics": lambda _: _said_by_cue(worlds.by_topic),
    "bundled-rpr": lambda phrasing: _rpr_source(phrasing, False),
    "bundled-rpr-balanced": lambda phrasing: _rpr_source(phrasing, True),
}


def _topics(sealed: bool) -> list[Topic]:
    return [t for t in topics() if sealed or not t.sealed]


def _check(seed: int, sealed: bool) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(f"seed must be an int, got {seed!r}")
    if not isinstance(sealed, bool):
        raise InputError(f"sealed must be true or false, got {sealed!r}")


def judgements(source: Source, seed: int, sealed: bool) -> Iterator[tuple[dict[str, Any], Judgement]]:
    for topic in _topics(sealed):
        for phase in ("test",) if topic.sealed else PHASES:
            yield from source(topic, phase, seed)


def _judged(name: str, source: Source, seed: int, sealed: bool) -> Built:
    _check(seed, sealed)
    rows = []
    for said, j in judgements(source, seed, sealed):
        pool, topic = compose(j.slug, seed), _by_slug()[j.slug]
        base = topic.prompts[pool[j.winner].wording]
        row = {
            "prompt_id": j.slug,
            "comparison_id": digest(base, *sorted((pool[j.winner].text, pool[j.loser].text))),
            "prompt": j.prompt,
            "chosen": pool[j.winner].text,
            "rejected": pool[j.loser].text,
            "attribute": DIMENSIONS[j.z],
            **said,
            "official": "test" if topic.sealed else "",
            "use": j.phase,
            "partner": j.phase,
        }
        if name in ("bundled-audience", "bundled-topics"):
            # Responses and criteria are read after the prompt without its cue, which only the router may use.
            row |= {"response_prompt": base, "context_prompt": base, "cue": j.cue}
        rows.append(row)
    return from_rows(rows, name)


@lru_cache(maxsize=1)
def _by_slug() -> dict[str, Topic]:
    return {t.slug: t for t in topics()}
