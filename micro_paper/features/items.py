"""The distinct texts of a data set that features are taken from, and the keys that name them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from micro_paper.data.criteria import apply_context
from micro_paper.errors import InputError
from micro_paper.features.tokens import Messages, as_messages
from micro_paper.files import digest

RESPONSE, PROMPT, CONTEXT, CRITERION = "response", "prompt", "context", "criterion"


class Item(NamedTuple):
    """One feature to take: phi(x, text), u(x) (text empty), u(x, text), or u(c) of a criterion alone, by kind."""

    kind: str
    prompt: str | Messages
    text: str = ""


class RowItems(NamedTuple):
    """Features of a pair; the last two are None where it states no criterion."""

    chosen: Item
    rejected: Item
    prompt: Item
    context: Item | None
    criterion: Item | None


@dataclass(frozen=True)
class RowKeys:
    """Keys (32 bytes each) of a pair's features; the last two are None where the pair states no criterion."""

    chosen: bytes
    rejected: bytes
    prompt: bytes
    context: bytes | None
    criterion: bytes | None


def item_key(item: Item) -> bytes:
    """Return the sha256 that names an item; a string prompt is the same as one user message."""
    text = json.dumps([item.kind, as_messages(item.prompt), item.text], ensure_ascii=False)
    return digest(text.encode("utf-8", "surrogatepass"))


def row_items(dataset: Any, heads_see: str | None = None) -> Iterator[RowItems]:
    """Yield each pair's items.

    A column `response_prompt`, where there is one, is the prompt that the responses are read after, and
    `context_prompt` the one that the criterion is put to, while prompt features come from `prompt` (for data
    whose prompts carry cues that responses and criteria must not see). `heads_see` is the position at which the
    criterion is put into the responses' prompt as well; None leaves it out there.

    Raises:
        InputError: a column or a text is missing, or some rows state a context and others none.
    """
    names = set(dataset.column_names)
    for name in ("prompt", "chosen", "rejected"):
        if name not in names:
            raise InputError(f"the data set has no column {name!r}: features need prompt, chosen, rejected")
    prompts = dataset["prompt"][:]
    bases = dataset["response_prompt"][:] if "response_prompt" in names else prompts
    asked = dataset["context_prompt"][:] if "context_prompt" in names else prompts
    contexts = dataset["context"][:] if "context" in names else [None] * len(prompts)
    stated = sum(bool(c) for c in contexts)
    if 0 < stated < len(contexts):
        row = next(i for i, c in enumerate(contexts) if not c) + 1
        raise InputError(f"row {row} has no context while {stated} rows have one: give all rows one, or none")
    columns = zip(prompts, bases, asked, dataset["chosen"][:], dataset["rejected"][:], contexts, strict=True)
    for i, (prompt, base, question, chosen, rejected, context) in enumerate(columns):
        for name, value in (("prompt", prompt), ("chosen", chosen), ("rejected", rejected)):
            if not isinstance(value, str | list) or (name == "prompt" and not value):
                raise InputError(f"row {i + 1} has no {name} text: tabular data needs no backbone, use its features")
        base = base or prompt
        if heads_see and context:
            base, _ = apply_context(context, base, heads_see)
        yield RowItems(
            Item(RESPONSE, base, chosen),
            Item(RESPONSE, base, rejected),
            Item(PROMPT, prompt),
            Item(CONTEXT, question or prompt, context) if context else None,
            Item(CRITERION, context) if context else None,
        )


def row_keys(dataset: Any, heads_see: str | None = None) -> list[RowKeys]:
    """Return the keys of every pair of the data set."""
    key = _remembering_key()
    return [RowKeys(*(item and key(item) for item in row)) for row in row_items(dataset, heads_see)]


def collect(datasets: Sequence[Any], heads_see: str | None = None) -> dict[bytes, Item]:
    """Return the distinct items of the data sets by key, sorted by key."""
    key = _remembering_key()
    found: dict[bytes, Item] = {}
    for dataset in datasets:
        for row in row_items(dataset, heads_see):
            for item in row:
                if item is not None:
                    found.setdefault(key(item), item)
    if not found:
        raise InputError("no pairs to take features from: the data sets are empty")
    return dict(sorted(found.items()))


def _remembering_key() -> Any:
    """Return an `item_key` that hashes each distinct text once, since a prompt recurs in many pairs."""
    seen: dict[tuple, bytes] = {}

    def key(item: Item) -> bytes:
        prompt = item.prompt if isinstance(item.prompt, str) else json.dumps(item.prompt, ensure_ascii=False)
        short = (item.kind, isinstance(item.prompt, str), prompt, item.text)
        if short not in seen:
            seen[short] = item_key(item)
        return seen[short]

    return key
