"""People's choices between two arguments (UKPConvArg1), each with a criterion read from the reason that they gave.

The arguments hold offensive opinions. Of the upstream files only what stands in ARGUMENT and JUDGEMENT is read: no
Mechanical Turk id but the worker's, which becomes w0001... in order of first appearance, no author, no stance of a
worker, and none of the labels and competences that upstream fitted to these very choices. A reason is read for its
criteria and goes no further: nine in ten name the argument that won. (The download cache keeps upstream's files whole.)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from micro_paper.data.criteria import CRITERIA
from micro_paper.data.faults import text_fault
from micro_paper.data.frames import Built, from_rows
from micro_paper.data.lines import read_rows
from micro_paper.data.sources import fetch, in_mirror, public
from micro_paper.errors import InputError

FOLDER = "ukp_convarg/"
PROMPT = "Debate: {title}\nGive a convincing argument for this side: {stance}"
CONVINCING = "convincing"  # the attribute of a choice for which no one criterion is known
MIN_CHOICES = 50  # a worker of `ukp-workers` has made so many
MIN_REASONS = 10  # of a person whose mix of criteria is known: so many on other topics state one
ARGUMENT = ("debate", "argument_id", "title", "stance", "text")
JUDGEMENT = ("debate", "pair_id", "a1", "a2", "worker", "value", "reason")
PATTERNS = {
    "detail and evidence": r"\b(detail|details|detailed|fact|facts|factual|evidence|example|examples|statistic\w*|"
    r"specific\w*|informat\w*|elaborat\w*|in[- ]depth|support\w*|more reasons|proof|sources?)\b",
    "clear and to the point": r"\b(clear\w*|concise\w*|to the point|straightforward|straight forward|succinct\w*|"
    r"direct|simple|easy to (read|understand|follow)|short|brief)\b",
    "language and form": r"\b(gramm\w*|spelling|well[- ]written|poorly written|written|punctuation|typos?|coheren\w*|"
    r"incoheren\w*|articulate\w*|readab\w*|word\w*|structured?)\b",
    "reasoning and logic": r"\b(logic\w*|reasoning|reasoned|rational\w*|thought[- ]out|makes? (more )?sense|"
    r"makes? no sense|explain\w*|explanation)\b",
    "on topic": r"\b(topic|relevan\w*|irrelevan\w*|off[- ]topic|addresses|question|issue)\b",
    "tone": r"\b(rude|insult\w*|attack\w*|offens\w*|aggressive|sarcas\w*|rant\w*|emotion\w*|name[- ]call\w*|immature|"
    r"childish|polite|respect\w*|mean|hateful|joke|humor\w*|funny)\b",
    "only opinion": r"\b(opinion\w*|no argument|not an argument|isn.t an argument|statement)\b",
}
"""Criterion -> what is searched in a lower-cased reason, which may state several.

Keywords, not a reading: they miss what is said in other words, do not know praise from blame ("not clear"), and find
nothing in 38 % of the unequal choices. A reason is written after the choice, so its criterion is a justification; it is
no preference that was stated beforehand.
"""
Placed = Iterable[tuple[str, dict[str, Any]]]


def criteria(uncoded: bool = False) -> Built:
    """Choices whose reason states exactly one of the criteria, which is `attribute`; its fixed sentence is `context`.

    `prompt_id` is the topic, so that splits hold out topics with both their sides, `user_id` the worker, `item_id` the
    upstream pair, which several people judged, and `shown_first` says which of the two stood first ("chosen" or
    "rejected").

    Args:
        uncoded: keep the other unequal choices too, as attribute "convincing". Feature stores lack its sentence: drop
            the column context before these rows get features.
    """
    if not isinstance(uncoded, bool):
        raise InputError(f"uncoded must be true or false, got {uncoded!r}")
    unequal, skipped = _unequal(judgements())
    known = unequal["criteria"].map(len)
    attribute = unequal["criteria"].map(lambda found: found[0] if len(found) == 1 else CONVINCING)
    if not uncoded:
        skipped.update({"no criterion": int((known == 0).sum()), "several criteria": int((known > 1).sum())})
        unequal, attribute = unequal[known == 1], attribute[known == 1]
    return from_rows(_rows(unequal, attribute, CRITERIA["ukp"]), "ukp-criteria", skipped)


def workers() -> Built:
    """The unequal choices of people who made MIN_CHOICES or more, attribute "convincing", without context.

    Further columns as in `criteria`.
    """
    unequal, skipped = _unequal(judgements())
    made = unequal["worker"].map(unequal["worker"].value_counts())
    skipped[f"workers with fewer than {MIN_CHOICES} choices"] = int((made < MIN_CHOICES).sum())
    kept = unequal[made >= MIN_CHOICES]
    return from_rows(_rows(kept, pd.Series(CONVINCING, index=kept.index), {}), "ukp-workers", skipped)


def mixed() -> Built:
    """Choices of the people of `workers` with the mix of criteria that they judge by, told by their other topics.

    Of each person and topic the reasons on all other topics count that state exactly one criterion, MIN_REASONS or
    more. `mix` has the share of each of PATTERNS in them and in one more, which has the shares of the average person
    there. So it is known before the choice, and no reason for the choice itself, nor for any on its topic, is in it.
    `attribute` is the criterion to which the person leans: whose share exceeds the average person's the most.
    There is no one `context`; of a mix the criteria are left out that nobody's reason states on that side of that
    debate, as no feature is taken of them. Further columns as in `criteria`.
    """
    unequal, skipped = _unequal(judgements())
    made = unequal["worker"].map(unequal["worker"].value_counts())
    skipped[f"workers with fewer than {MIN_CHOICES} choices"] = int((made < MIN_CHOICES).sum())
    kept = unequal[made >= MIN_CHOICES]
    coded = unequal[(unequal["criteria"].map(len) == 1) & (unequal["first"] != unequal["second"])]
    own = person_mixes(kept)
    keys = pd.MultiIndex.from_frame(kept[["worker", "topic"]])
    known = keys.isin(own.index)
    skipped[f"fewer than {MIN_REASONS} reasons on other topics"] = int((~known).sum())
    kept, keys = kept[known], keys[known]
    stated = pd.crosstab(coded["prompt"], coded["criteria"].str[0]).reindex(columns=list(PATTERNS), fill_value=0) > 0
    shares = own.loc[keys, list(PATTERNS)].to_numpy() * stated.reindex(kept["prompt"], fill_value=False).to_numpy()
    there = shares.sum(axis=1) > 0
    skipped["no criterion of the mix on its debate"] = int((~there).sum())
    kept, shares = kept[there], shares[there] / shares[there].sum(axis=1, keepdims=True)
    attribute = pd.Series(own.loc[keys[there], "leans"].to_numpy(), index=kept.index)
    rows = _rows(kept, attribute, {})
    return from_rows(({**row, "mix": mix} for row, mix in zip(rows, shares.tolist(), strict=True)), "ukp-mix", skipped)


def person_mixes(table: pd.DataFrame) -> pd.DataFrame:
    """Return a person's shares of the criteria by topic, from the other topics; see `mixed`.

    Args:
        table: unequal choices, columns topic, worker and criteria.

    Returns:
        By (worker, topic), of those with enough reasons: the shares of PATTERNS, and `leans`.
    """
    names = list(PATTERNS)
    coded = table["criteria"].str[0].where(table["criteria"].map(len) == 1)
    each = pd.get_dummies(coded, dtype=int).reindex(columns=names, fill_value=0)
    here = each.groupby([table["worker"], table["topic"]]).sum()
    other = here.groupby(level="worker").transform("sum") - here
    other = other[other.sum(axis=1) >= MIN_REASONS]
    average = other.div(other.sum(axis=1), axis=0).groupby(level="topic").transform("mean")
    shares = (other + average).div(other.sum(axis=1) + 1, axis=0)
    return shares.assign(leans=(shares - average).idxmax(axis=1))


def judgements() -> pd.DataFrame:
    """Return every judgement, from the mirror's converted files where both are there, else from the public ones.

    Returns:
        topic, pair_id, prompt, first, second (texts, as they were shown), worker, value (a1, a2: first or second is
        more convincing; or equal), criteria (tuple of keys of PATTERNS that the reason states), in upstream order.

    Raises:
        InputError: a row cannot be used; names file, row and cause. MissingError: neither mirror nor network.
    """
    staged = [in_mirror(f"{FOLDER}{name}.jsonl.gz") for name in ("arguments", "judgements")]
    return _read(*(staged if all(staged) else [fetch(name) for name in public(FOLDER)])).copy()


@lru_cache(maxsize=1)
def _read(*paths: Path) -> pd.DataFrame:
    """Read files whose content was checked just before, for both data sets once."""
    if paths[0].suffix == ".xml":
        return table(*read_xml(paths))
    return table(*([(f"{path} row {number}", row) for number, row in read_rows(path)] for path in paths))


def read_xml(paths: Iterable[Path]) -> tuple[Placed, Placed]:
    """Return (arguments, judgements) of upstream's files, one a debate, in the shape of the converted ones.

    A row is (where it stands, its fields); an argument has a row for each pair that it is in.

    Raises:
        InputError: a file is no XML.
    """
    arguments, judged, numbers = [], [], {}
    for path in paths:
        for place, pair in _elements(path):
            where, debate = f"{path} row {place}", {"debate": path.stem}
            title = {"title": _text(pair, "debateMetaData/title")}
            for side in ("arg1", "arg2"):
                fields = {"argument_id": f"{side}/id", "stance": f"{side}/stance", "text": f"{side}/text"}
                arguments.append((where, debate | title | {name: _text(pair, at) for name, at in fields.items()}))
            ids = {"pair_id": _text(pair, "id"), "a1": _text(pair, "arg1/id"), "a2": _text(pair, "arg2/id")}
            for one in pair.iterfind("mTurkAssignments/mTurkAssignment"):
                if worker := _text(one, "turkID"):
                    worker = numbers.setdefault(worker, f"w{len(numbers) + 1:04d}")
                row = {"worker": worker, "value": _text(one, "value"), "reason": _text(one, "reason")}
                judged.append((where, debate | ids | row))
    return arguments, judged


def table(arguments: Placed, judged: Placed) -> pd.DataFrame:
    """Return judgements as `judgements` does, from rows with at least the fields in ARGUMENT and JUDGEMENT."""
    known: dict[str, dict[str, str]] = {}
    for where, row in arguments:
        found = _checked(where, row, ARGUMENT)
        if known.setdefault(found["argument_id"], found) != found:
            raise _bad(where, "argument_id is that of another argument above")
    searched = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
    out = []
    for where, row in judged:
        found = _checked(where, row, JUDGEMENT)
        if found["value"] not in ("a1", "a2", "equal"):
            raise _bad(where, "value is not a1, a2 or equal")
        sides = [known.get(found[side]) for side in ("a1", "a2")]
        for side, argument in zip(("a1", "a2"), sides, strict=True):
            if argument is None or argument["debate"] != found["debate"]:
                raise _bad(where, f"{side} is no argument of its debate")
        reason = found["reason"].lower()
        out.append(
            {
                "topic": found["debate"].split("_")[0],
                "pair_id": found["pair_id"],
                "prompt": PROMPT.format(**sides[0]),
                "first": sides[0]["text"],
                "second": sides[1]["text"],
                "worker": found["worker"],
                "value": found["value"],
                "criteria": tuple(name for name, pattern in searched.items() if pattern.search(reason)),
            }
        )
    if not out:
        raise _bad(FOLDER, "no judgements in its files")
    return pd.DataFrame(out)


def _unequal(table: pd.DataFrame) -> tuple[pd.DataFrame, Counter[str]]:
    equal = table["value"] == "equal"
    return table[~equal], Counter({"equally convincing": int(equal.sum())})


def _rows(table: pd.DataFrame, attribute: pd.Series, sentences: dict[str, str]) -> Iterator[dict[str, Any]]:
    for row, name in zip(table.itertuples(index=False), attribute, strict=True):
        first = row.value == "a1"
        yield {
            "prompt": row.prompt,
            "chosen": row.first if first else row.second,
            "rejected": row.second if first else row.first,
            "prompt_id": row.topic,
            "item_id": row.pair_id,
            "user_id": row.worker,
            "attribute": name,
            "context": sentences.get(name),
            "shown_first": "chosen" if first else "rejected",
        }


def _elements(path: Path) -> Iterator[tuple[int, ElementTree.Element]]:
    """Yield the number of each pair of a file, from 1, and the pair."""
    number = 0
    try:
        for _, element in ElementTree.iterparse(path):
            if element.tag == "annotatedArgumentPair":
                number += 1
                yield number, element
                element.clear()
    except ElementTree.ParseError as error:
        raise _bad(f"{path} row {number + 1}", f"no XML ({error})") from error


def _text(element: ElementTree.Element, at: str) -> str | None:
    found = element.findtext(at)
    return None if found is None else found.strip()


def _checked(where: str, row: dict[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    for name in names:
        if fault := text_fault(name, row.get(name), empty=name == "reason"):
            raise _bad(where, fault.what)
    return {name: row[name] for name in names}


def _bad(where: str, what: str) -> InputError:
    return InputError(f"{where}: {what}: restore the original file")
