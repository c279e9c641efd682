"""Your own data: `jsonl:PATH`, one JSON object a line, in one of three shapes.

Rated responses, every two of a prompt are compared:
    {"prompt", "response", "ratings": {attribute: number}, "prompt_id"?, "user_id"?}
Two responses with two criteria (x: a wins, y: b wins):
    {"prompt", "response_a", "response_b", "criteria_x", "criteria_y", "category_x"?, "category_y"?}
One judgement:
    {"prompt", "chosen", "rejected", "attribute"?, "context"?, "user_id"?}

A prompt is text, or a list of chat messages {"role", "content"} that ends with the user's. Criterion sentences may
stand in `criteria.json` beside the file ({attribute: sentence}); otherwise `criteria.TEMPLATE` makes them.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from micro_paper.data.criteria import PREFERENCE, criterion
from micro_paper.data.frames import Built, from_ratings, from_rows
from micro_paper.data.pairs import KEYS, prompt_key
from micro_paper.errors import InputError, MissingError, suggest

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
RESERVED = (*KEYS, "official")  # columns of the rating table
Row = dict[str, Any]


def read(path: str) -> tuple[str, Built]:
    """Read a JSONL file.

    Returns:
        (kind, built): kind is "rated", "criteria" or "binary".

    Raises:
        MissingError: no such file. InputError: a row that cannot be used; the message says `row N`, counted from 1,
            and the fix.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise MissingError(f"no file {path!r}: give the path of a JSONL file, as in jsonl:folder/file.jsonl")
    numbered = list(_objects(file))
    if not numbered:
        raise InputError(f"{path}: no rows: write one JSON object a line")
    kind = _shape(*numbered[0])
    for number, row in numbered:
        _check(number, row, kind, numbered[0][0])
    _check_users(numbered)
    rows = _ids_and_prompts(numbered)
    sentences = _sentences(file.with_name("criteria.json"))
    source = f"jsonl:{file.name}"
    if kind == "rated":
        return kind, _rated(rows, source, sentences)
    built = from_rows((_binary if kind == "binary" else _criteria)(rows, sentences), source)
    if built.frame.empty:
        raise InputError(f"{path}: every row compares a text with itself: give two different responses a row")
    return kind, built


def _fail(number: int, what: str, fix: str) -> NoReturn:
    raise InputError(f"row {number}: {what}: {fix}")


def _objects(file: Path):
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"row {error.object[: error.start].count(10) + 1}: not UTF-8: save the file as UTF-8"
        ) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            _fail(
                number, f"invalid JSON ({error.msg} at column {error.colno})", "write one complete object on each line"
            )
        if not isinstance(row, dict):
            _fail(number, f"a JSON {type(row).__name__}, not an object", "write an object with named fields")
        yield number, row


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
    _check_prompt(number, row["prompt"])
    texts = [f for f in SHAPES[kind] if f not in ("prompt", "ratings")]
    for name in [*texts, *(f for f in OPTIONAL[kind] if row.get(f) is not None and not f.endswith("_id"))]:
        _check_text(number, name, row[name])
    for name in ("prompt_id", "user_id"):
        if row.get(name) is not None and (isinstance(row[name], bool) or not isinstance(row[name], (str, int))):
            _fail(number, f"{name} is {row[name]!r}", "give text or an integer")
        if name in row and str(row[name]).strip() == "":
            _fail(number, f"{name} is empty", "give text or an integer, or leave it out")
    if kind == "rated":
        _check_ratings(number, row["ratings"])
    if kind == "criteria" and row["criteria_x"].strip() == row["criteria_y"].strip():
        _fail(
            number,
            "criteria_x and criteria_y are the same, yet a wins by one and b by the other",
            "state two different criteria",
        )


def _check_text(number: int, name: str, value: Any) -> None:
    if not isinstance(value, str):
        _fail(number, f"{name} is {type(value).__name__}, not text", f"write {name} as a JSON string")
    if not value.strip():
        _fail(number, f"{name} is empty", "write its text or remove the row")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        _fail(number, f"{name} holds half of a surrogate pair", "write the whole character")


def _check_prompt(number: int, prompt: Any) -> None:
    if not isinstance(prompt, list):
        return _check_text(number, "prompt", prompt)
    if not prompt:
        _fail(number, "prompt is an empty list", "give at least one user message")
    for k, message in enumerate(prompt, start=1):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "user", "assistant"):
            _fail(
                number,
                f"prompt message {k} has no role system, user or assistant",
                'write {"role": "user", "content": "..."}',
            )
        _check_text(number, f"prompt message {k} content", message.get("content"))
    if prompt[-1]["role"] != "user":
        _fail(number, f"prompt ends with a message of the {prompt[-1]['role']}", "end it with the user's")
    return None


def _check_ratings(number: int, ratings: Any) -> None:
    if not isinstance(ratings, dict) or not ratings:
        _fail(number, "ratings is not an object with at least one attribute", 'write {"attribute": number}')
    for name, value in ratings.items():
        if not name.strip() or name in RESERVED:
            _fail(number, f"a rating's attribute is named {name!r}", "give the attribute another name")
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            _fail(number, f"rating {name!r} is {value!r}, not a number", "give a finite number")
        try:
            finite = math.isfinite(float(value))
        except OverflowError:
            finite = False
        if not finite:
            _fail(number, f"rating {name!r} is not finite", "give a finite number or leave the attribute out")


def _check_users(numbered: list[tuple[int, Row]]) -> None:
    first = numbered[0][1].get("user_id") is not None
    for number, row in numbered:
        if (row.get("user_id") is not None) != first:
            _fail(number, "user_id is given in some rows only", "give it in every row or in none")


def _ids_and_prompts(numbered: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
    """Give every row a prompt_id, and all prompts one type: messages where any prompt is a list of them."""
    lists = any(isinstance(row["prompt"], list) for _, row in numbered)
    seen: dict[str, tuple[int, Any]] = {}
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
        known = seen.setdefault(key, (number, prompt))
        if known[1] != prompt:
            _fail(number, f"prompt_id {key!r} has another prompt than in row {known[0]}", "give each prompt its own id")
        user = {"user_id": str(row["user_id"])} if row.get("user_id") is not None else {}
        out.append((number, {**row, "prompt": prompt, "prompt_id": key, **user}))
    return out


def _sentences(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        sentences = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file.name}: invalid JSON ({error}): write {{attribute: sentence}}") from error
    if not isinstance(sentences, dict) or not all(isinstance(v, str) and v.strip() for v in sentences.values()):
        raise InputError(f"{file.name}: must map each attribute to a sentence: write {{attribute: sentence}}")
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
            raise InputError(
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
