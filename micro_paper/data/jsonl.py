"""Your own data: `jsonl:PATH`, one JSON object a line, in one of three shapes.

Rated responses, every two of a prompt are compared:
    {"prompt", "response", "ratings": {attribute: number}, "prompt_id"?, "user_id"?}
Two responses with two criteria (x: a wins, y: b wins):
    {"prompt", "response_a", "response_b", "criteria_x", "criteria_y", "category_x"?, "category_y"?}
One judgement:
    {"prompt", "chosen", "rejected", "attribute"?, "context"?, "user_id"?}

A prompt is text, or a list of chat messages {"role", "content"} whose roles alternate and that ends with the user's. A
reply is text, or a list that ends with the one message of the assistant: what stands before it is the prompt, and may
be left out there. Ratings are compared within a prompt and a user. An attribute that a row does not rate makes no pair.
Criterion sentences may stand in `criteria.json` beside the file ({attribute: sentence}); otherwise `criteria.TEMPLATE`
makes them. How files are read, see `lines`.
"""

from __future__ import annotations

import math
import os
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from micro_paper.data.criteria import PREFERENCE, criterion
from micro_paper.data.faults import prompt_fault, text_fault
from micro_paper.data.frames import Built, from_ratings, from_rows
from micro_paper.data.lines import absolute, read_json, read_rows
from micro_paper.data.pairs import KEYS, prompt_key
from micro_paper.errors import InputError, MissingError, shown, suggest

SHAPES: dict[str, tuple[str, ...]] = {
    "rated": ("prompt", "response", "ratings"),
    "criteria": ("prompt", "response_a", "response_b", "criteria_x", "criteria_y"),
    "binary": ("prompt", "chosen", "rejected"),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    "rated": ("prompt_id", "user_id"),
    "criteria": ("prompt_id", "user_id", "category_x", "category_y"),
    "binary": ("prompt_id", "user_id", "attribute", "context"),
}
REPLIES = ("response", "response_a", "response_b", "chosen", "rejected")
RESERVED = (*KEYS, "official")  # columns of the rating table
LARGEST = 1e100  # differences and squares of ratings stay finite
_SIDES = ("criteria_x", "criteria_y", "category_x", "category_y")
Row = dict[str, Any]


def read(path: str) -> tuple[str, Built]:
    """Read a JSONL file.

    Returns:
        (kind, built): kind is "rated", "criteria" or "binary".

    Raises:
        MissingError: no such file. InputError: the file cannot be read, or a row cannot be used; the message says the
            file, `row N`, counted from 1, and the fix.
    """
    file = absolute(path)
    if not os.path.isfile(file):
        what = "is a folder: name the file in it" if os.path.isdir(file) else "is no file: give the path of one"
        raise MissingError(f"{path!r} {what}, as in jsonl:folder/file.jsonl")
    numbered = list(read_rows(file))
    if not numbered:
        raise InputError(f"{file}: no rows: write one JSON object a line")
    try:
        kind, rows = _rows(numbered)
        sentences = _sentences(file.with_name("criteria.json"), rows)
        source = f"jsonl:{file.name}"
        if kind == "rated":
            return kind, _rated(rows, source, sentences)
        built = from_rows((_binary if kind == "binary" else _criteria)(rows, sentences), source)
    except _Refused as error:
        raise InputError(f"{file} {error}") from error
    if built.frame.empty:
        raise InputError(f"{file}: every row compares a text with itself: give two different responses a row")
    return kind, built


def read_person(pairs: str | Path | Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Read the judgements of one person.

    Args:
        pairs: path of a file of rows {"prompt", "chosen", "rejected", "user_id"}, or the rows; `attribute`, `context`
            and `prompt_id` may stand there as elsewhere.

    Returns:
        One row a pair of two different texts, with columns prompt_id, prompt, chosen, rejected, user_id.

    Raises:
        MissingError: no such file. InputError: a row cannot be used, there is no user_id, or more than one, there are
            fewer than two pairs, or each pair is labelled as often one way as the other.
    """
    if isinstance(pairs, str | Path):
        file = absolute(str(pairs).removeprefix("jsonl:"))
        if not file.is_file():
            raise MissingError(f"{shown(str(pairs))} is no file: give the path of one, or a list of rows")
        where, numbered = str(file), list(read_rows(file))
    elif isinstance(pairs, list | tuple) and all(isinstance(row, Mapping) for row in pairs):
        where, numbered = "pairs", list(enumerate(map(dict, pairs), start=1))
    else:
        raise InputError(f"pairs must be a path or a list of rows, got {shown(pairs)}")
    if not numbered:
        raise InputError(f"{where}: no rows: give at least two labelled pairs of one person")
    try:
        kind, rows = _rows(numbered)
        for number, row in rows:
            if kind != "binary":
                _fail(number, f"a {kind} row", "give prompt, chosen, rejected and user_id")
            if "user_id" not in row:
                _fail(number, "user_id is missing", "name the person who judged")
            if row["user_id"] != (first := rows[0][1]["user_id"]):
                what = f"user_id is {shown(row['user_id'])}, in row {rows[0][0]} it is {shown(first)}"
                _fail(number, what, "give the pairs of one person at a time")
    except _Refused as error:
        raise InputError(f"{where} {error}") from error
    columns = ["prompt_id", "prompt", "chosen", "rejected", "user_id"]
    kept = [{name: row[name] for name in columns} for _, row in rows if row["chosen"] != row["rejected"]]
    if not kept:
        raise InputError(f"{where}: every row compares a text with itself: give two different responses a row")
    if len(kept) < 2:
        raise InputError(f"{where}: one pair of two different texts: give at least two pairs of the person")
    balance: Counter[tuple[str, ...]] = Counter()
    for row in kept:
        texts = sorted((row["chosen"], row["rejected"]))
        balance[(row["prompt_id"], *texts)] += 1 if texts[0] == row["chosen"] else -1
    if not any(balance.values()):
        raise InputError(f"{where}: all pairs are ties, each is labelled as often one way as the other: give others")
    return pd.DataFrame(kept, columns=columns)


class _Refused(InputError):
    """A row or an attribute that cannot be used; the message begins with it."""


def _rows(numbered: list[tuple[int, Row]]) -> tuple[str, list[tuple[int, Row]]]:
    """Return the shape, and the checked rows with ids, replies as text and prompts of one type."""
    kind = _shape(*numbered[0])
    numbered = [(number, _plain(number, row)) for number, row in numbered]
    for number, row in numbered:
        _check(number, row, kind, numbered[0][0])
    _check_users(numbered)
    return kind, _ids_and_prompts(numbered)


def _fail(number: int, what: str, fix: str) -> NoReturn:
    raise _Refused(f"row {number}: {what}: {fix}")


def _plain(number: int, row: Row) -> Row:
    """Return the row with its replies as text, and with the prompt that stands before them in lists of messages."""
    row = dict(row)
    for name in (f for f in REPLIES if isinstance(row.get(f), list)):
        *before, last = row[name] or [None]
        if not isinstance(last, dict) or last.get("role") != "assistant":
            fix = 'end it with {"role": "assistant", "content": "..."}, or give text'
            _fail(number, f"{name} does not end with a message of the assistant", fix)
        if before and _turns(row.setdefault("prompt", before)) != _turns(before):
            fix = "let the prompt, if given, and both sides share every message but the last, the one reply"
            _fail(number, f"{name} has other messages before its reply than the prompt", fix)
        row[name] = last.get("content")
    return row


def _turns(prompt: Any) -> list[Any]:
    """Return what two prompts must share to be the same."""
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    said = [(m.get("role"), m.get("content")) if isinstance(m, dict) else ("", "") for m in messages]
    return [tuple(part.strip() if isinstance(part, str) else "" for part in pair) for pair in said]


def _shape(number: int, row: Row) -> str:
    """Tell the shape by the fields that no other shape has."""
    scores = {kind: sum(f in row for f in fields[1:]) for kind, fields in SHAPES.items()}
    best = max(scores, key=lambda kind: scores[kind])
    if not scores[best]:
        near = [suggest(f, SHAPES[k][1:]) for f in row for k in SHAPES]
        _fail(
            number,
            "not one of the three row shapes" + next((n for n in near if n), ""),
            "give response and ratings, or response_a, response_b, criteria_x and criteria_y, or chosen and rejected",
        )
    return best


def _check(number: int, row: Row, kind: str, first: int) -> None:
    for other, fields in SHAPES.items():
        strange = [f for f in fields[1:] if f in row]
        if other != kind and strange:
            _fail(
                number,
                f"field {strange[0]!r} belongs to {other} rows, but row {first} is a {kind} row",
                "use one row shape in a file",
            )
    known = SHAPES[kind] + OPTIONAL[kind]
    for name in SHAPES[kind]:
        if name not in row:
            near = [f for f in row if f not in known and suggest(f, [name])]
            _fail(number, f"field {name!r} is missing", f"rename {near[0]!r}" if near else f"add {name!r}")
    for name in row:
        if name not in known and (near := suggest(name, OPTIONAL[kind])):
            _fail(number, f"unknown field {name!r}.{near}", "rename or remove it")
    if fault := prompt_fault(row["prompt"]):
        _fail(number, fault.what, fault.fix)
    texts = [f for f in SHAPES[kind] if f not in ("prompt", "ratings")]
    for name in [*texts, *(f for f in OPTIONAL[kind] if row.get(f) is not None and not f.endswith("_id"))]:
        _check_text(number, name, row[name])
    for name in ("prompt_id", "user_id"):
        if row.get(name) is not None and (isinstance(row[name], bool) or not isinstance(row[name], (str, int))):
            _fail(number, f"{name} is {reprlib.repr(row[name])}", "give text or an integer")
        if isinstance(row.get(name), str):
            _check_text(number, name, row[name])
    if kind == "rated":
        _check_ratings(number, row["ratings"])
    if kind == "criteria" and row["criteria_x"].strip() == row["criteria_y"].strip():
        _fail(
            number,
            "criteria_x and criteria_y are the same, yet a wins by one and b by the other",
            "state two different criteria",
        )


def _check_text(number: int, name: str, value: Any) -> None:
    if fault := text_fault(name, value):
        _fail(number, fault.what, fault.fix)


def _check_ratings(number: int, ratings: Any) -> None:
    if not isinstance(ratings, dict) or not ratings:
        _fail(number, "ratings is not an object with at least one attribute", 'write {"attribute": number}')
    for name, value in ratings.items():
        if name in RESERVED or text_fault("name", name):
            _fail(number, f"a rating's attribute is named {reprlib.repr(name)}", "give the attribute another name")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            _fail(number, f"rating {name!r} is {reprlib.repr(value)}, not a number", "give a finite number")
        if not abs(value) < LARGEST:
            _fail(number, f"rating {name!r} is not finite, or beyond {LARGEST:g}", "give a smaller one or leave it out")


def _check_users(numbered: list[tuple[int, Row]]) -> None:
    first = numbered[0][1].get("user_id") is not None
    for number, row in numbered:
        if (row.get("user_id") is not None) != first:
            _fail(number, "user_id is given in some rows only", "give it in every row or in none")


def _ids_and_prompts(numbered: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """Give every row a prompt_id, and all prompts one type: messages where any prompt is a list of them."""
    lists = any(isinstance(row["prompt"], list) for _, row in numbered)
    seen: dict[str, tuple[int, str]] = {}
    named: dict[str, tuple[int, str]] = {}
    out = []
    for number, row in numbered:
        prompt = row["prompt"]
        if lists:
            prompt = (
                [{"role": "user", "content": prompt}]
                if isinstance(prompt, str)
                else [{"role": m["role"], "content": m["content"]} for m in prompt]
            )
        key = str(row["prompt_id"]) if row.get("prompt_id") is not None else prompt_key(prompt)
        text = prompt_key(prompt)
        known = seen.setdefault(key, (number, text))
        if known[1] != text:
            _fail(number, f"prompt_id {key!r} has another prompt than in row {known[0]}", "give each prompt its own id")
        known = named.setdefault(text, (number, key))
        if known[1] != key:
            _fail(number, f"its prompt has the prompt_id {known[1]!r} in row {known[0]}", "give equal prompts one id")
        user = {"user_id": str(row["user_id"])} if row.get("user_id") is not None else {}
        out.append((number, {**row, "prompt": prompt, "prompt_id": key, **user}))
    return out


def _sentences(file: Path, rows: list[tuple[int, Row]]) -> dict[str, str]:
    """Return the sentences beside the data, each for an attribute that the data have."""
    if not os.path.lexists(file):
        return {}
    sentences = read_json(file)
    fix = "write {attribute: sentence}"
    if not isinstance(sentences, dict):
        raise InputError(f"{file}: a JSON {type(sentences).__name__}, not an object: {fix}")
    known = {"preference"}
    for _, row in rows:
        known.update(row.get("ratings", ()))
        known.update(row[f] for f in ("attribute", "context", *_SIDES) if isinstance(row.get(f), str))
    for name, sentence in sentences.items():
        if name not in known:
            raise InputError(
                f"{file}: no row has an attribute {reprlib.repr(name)}.{suggest(name, known)}: rename or remove it"
            )
        if fault := text_fault("sentence", sentence, f"sentence of {name!r}"):
            raise InputError(f"{file}: {fault.what}: {fix}")
    return sentences


def _rated(rows: list[tuple[int, Row]], source: str, sentences: dict[str, str]) -> Built:
    merged: dict[tuple[str, str, str], Row] = {}
    where: dict[tuple[str, str, str], dict[str, int]] = {}
    responses: dict[str, set[str]] = {}
    first_row: dict[str, int] = {}
    for number, row in rows:
        key = (row["prompt_id"], row.get("user_id", ""), row["response"])
        responses.setdefault(row["prompt_id"], set()).add(row["response"])
        first_row.setdefault(row["prompt_id"], number)
        entry = merged.setdefault(key, {k: row[k] for k in ("prompt_id", "prompt", "response", "user_id") if k in row})
        ratings = entry.setdefault("ratings", {})
        for name, value in row["ratings"].items():
            earlier = where.setdefault(key, {}).setdefault(name, number)
            if ratings.setdefault(name, float(value)) != float(value):
                _fail(
                    number,
                    f"rates {name!r} of this response {value}, row {earlier} rates it {ratings[name]:g}",
                    "keep one rating of each text",
                )
    for prompt_id, texts in responses.items():
        if len(texts) < 2:
            _fail(first_row[prompt_id], "its prompt has only one response", "add another response or remove the row")
    attributes = list(dict.fromkeys(a for entry in merged.values() for a in entry["ratings"]))
    keys = ["prompt_id", "prompt", "response", *(["user_id"] if "user_id" in rows[0][1] else [])]
    wide = pd.DataFrame(
        [{**{k: e[k] for k in keys}, **{a: e["ratings"].get(a, math.nan) for a in attributes}} for e in merged.values()]
    )
    built = from_ratings(wide, source, sentences, attributes=attributes)
    found = set(built.frame["attribute"])
    for name in attributes:
        if name not in found:
            raise _Refused(
                f"attribute {name!r}: every pair ties or is unrated: rate two responses of one prompt differently,"
                " or remove the attribute"
            )
    return built


def _criteria(rows: list[tuple[int, Row]], sentences: dict[str, str]) -> list[Row]:
    out = []
    for _, row in rows:
        a, b = row["response_a"], row["response_b"]
        for chosen, rejected, side in ((a, b, "x"), (b, a, "y")):
            stated = row[f"criteria_{side}"]
            out.append(
                {
                    **_base(row),
                    "chosen": chosen,
                    "rejected": rejected,
                    "attribute": row.get(f"category_{side}") or stated,
                    "context": stated,
                }
            )
    return out


def _binary(rows: list[tuple[int, Row]], sentences: dict[str, str]) -> list[Row]:
    out = []
    for _, row in rows:
        attribute, context = row.get("attribute"), row.get("context")
        if context is None:
            context = criterion(attribute, sentences) if attribute else sentences.get("preference", PREFERENCE)
        out.append(
            {
                **_base(row),
                "chosen": row["chosen"],
                "rejected": row["rejected"],
                "attribute": attribute or row.get("context") or "preference",
                "context": context,
            }
        )
    return out


def _base(row: Row) -> Row:
    return {k: row[k] for k in ("prompt_id", "prompt", "user_id") if k in row}
