"""The corpus as data sets: rows of its worlds for `micro_paper.data.load`, and what is true about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd

from micro_paper.data.corpus import worlds
from micro_paper.data.corpus.compose import compose
from micro_paper.data.corpus.ratings import ATTRIBUTES, rating_rows
from micro_paper.data.corpus.tastes import KNOBS, Knobs
from micro_paper.data.corpus.text import DIMENSIONS, Topic, phrasings, topics
from micro_paper.data.corpus.worlds import LABELS, PHASES, Judgement
from micro_paper.data.criteria import CRITERIA
from micro_paper.data.frames import Built, from_ratings, from_rows
from micro_paper.data.pairs import digest
from micro_paper.errors import InputError, suggest

PHRASINGS = ("free", "fixed")
LABELLED = ("drawn", "meant")
Source = Callable[[Topic, str, int], list[tuple[dict[str, Any], Judgement]]]


def audience(seed: int = 0, sealed: bool = False, labels: str = "drawn") -> Built:
    """Build bundled-audience.

    Args:
        seed: of composition and labels.
        sealed: add the sealed topics, as the test split.
        labels: "drawn": a tenth is against the taste that gave them; "meant": the same rows with none turned, each with
            the same pair_id.
    """
    _check_choice("labels", labels, LABELLED)
    return _judged("bundled-audience", SOURCES["bundled-audience"](labels), seed, sealed)


def by_topic(seed: int = 0, sealed: bool = False) -> Built:
    """Build bundled-topics; arguments as for `audience`."""
    return _judged("bundled-topics", SOURCES["bundled-topics"]("drawn"), seed, sealed)


def stated(name: str, seed: int = 0, sealed: bool = False, phrasing: str = "free") -> Built:
    """Build a world whose rows state a criterion: bundled-rpr and its companions, or a control of reversals.

    Args:
        name: one of SOURCES.
        seed, sealed: as for `audience`.
        phrasing: "free": 20 phrasings a dimension in training and 20 others in test; "fixed": one sentence for all.
    """
    _check_choice("phrasing", phrasing, PHRASINGS)
    return _judged(name, SOURCES[name](phrasing), seed, sealed)


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


def _said_by_cue(judge: Callable[[Topic, str, int], list[Judgement]], labels: str) -> Source:
    def source(topic: Topic, phase: str, seed: int) -> list[tuple[dict[str, Any], Judgement]]:
        found = judge(topic, phase, seed)
        if labels == "meant":
            found = [worlds.meant(j) for j in found]
        return [({"context": phrasings()[DIMENSIONS[j.stated]]["fixed"][0]}, j) for j in found]

    return source


def _tastes_source(knobs: Knobs, phrasing: str) -> Source:
    def source(topic: Topic, phase: str, seed: int) -> list[tuple[dict[str, Any], Judgement]]:
        said, pool = worlds.said_criteria(topic, phase, seed), compose(topic.slug, seed)
        out = []
        for j in worlds.judged_by_tastes(topic, phase, seed, knobs):
            free = said[pool[j.winner].wording, j.stated]
            context = free if phrasing == "free" else phrasings()[DIMENSIONS[j.stated]]["fixed"][0]
            out.append(({"context": context, "user_id": f"taste {j.z + 1}"}, j))
        return out

    return source


def _reversals_source(phrasing: str, *, balanced: bool) -> Source:
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
                    topic.slug, phase, row[winner], row[loser], z, z, known, known, known, 1.0, row["prompt"], "none"
                )
                out.append(({"context": said}, judgement))
            if len(out) >= LABELS[phase]:
                break
        return out

    return source


# The worlds with judgements, each from its own option: which labels, or how criteria are phrased.
SOURCES: dict[str, Callable[[str], Source]] = {
    "bundled-audience": partial(_said_by_cue, worlds.audience),
    "bundled-topics": partial(_said_by_cue, worlds.by_topic),
    **{name: partial(_tastes_source, knobs) for name, knobs in KNOBS.items()},
    "bundled-reversals": partial(_reversals_source, balanced=False),
    "bundled-rpr-balanced": partial(_reversals_source, balanced=True),
}
CUED = ("bundled-audience", "bundled-topics", *KNOBS)


def _topics(sealed: bool) -> list[Topic]:
    return [t for t in topics() if sealed or not t.sealed]


def _check_choice(option: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise InputError(f"{option} must be one of {', '.join(known)}, got {given!r}.{suggest(given, known)}")


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
            "attribute": DIMENSIONS[j.stated],
            **said,
            "official": "test" if topic.sealed else "",
            "use": j.phase,
            "partner": j.phase,
        }
        if name in CUED:
            # Responses and criteria are read after the prompt without its cue, which only the router may use.
            row |= {"response_prompt": base, "context_prompt": base, "cue": j.cue}
        rows.append(row)
    return from_rows(rows, name)


@lru_cache(maxsize=1)
def _by_slug() -> dict[str, Topic]:
    return {t.slug: t for t in topics()}
