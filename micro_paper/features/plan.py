"""From items to work: token sequences grouped by prompt, sorted by length, cut into shards, always alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from micro_paper.data.criteria import apply_context
from micro_paper.errors import InputError
from micro_paper.features.backbone import Backbone, Group
from micro_paper.features.items import CONTEXT, CRITERION, PROMPT, Item
from micro_paper.features.settings import FeatureSettings
from micro_paper.features.tokens import ChatTokens, PromptTokens, as_messages
from micro_paper.files import digest


@dataclass(frozen=True)
class Plan:
    """The work of a store, in the order in which it is done.

    Attributes:
        groups: prompts with what is read from them and their responses, by length.
        cuts: (shards + 1,) the groups of shard s are cuts[s] to cuts[s + 1].
        offsets: (shards + 1,) its table rows are offsets[s] to offsets[s + 1].
        rows: (n,) the table row of each item.
        truncated: how many prompts and responses were cut to `max_tokens`.
    """

    groups: list[Group]
    cuts: list[int]
    offsets: np.ndarray
    rows: np.ndarray
    truncated: dict[str, int]


def named(item: Item) -> str:
    """Return an item as a message names it, by the beginning of its text and of the last user message."""
    asked = as_messages(item.prompt)[-1]["content"][:40]
    return f"{item.kind} {item.text[:40]!r} after {asked!r}" if item.text else f"{item.kind} {asked!r}"


def make_plan(
    items: Sequence[Item], settings: FeatureSettings, backbone: Backbone, name: Callable[[Item], str] = named
) -> Plan:
    """Tokenise the items and lay out the work: prompts by length, each with its responses, cut into shards.

    Distinct token sequences are encoded once. A read needs only the tokens up to its last position (the
    model is causal), so a criterion in front of a one-turn prompt, read at its own tokens, is one sequence
    for all prompts. `max_tokens` falls to what the backbone has.

    Raises:
        InputError: an item that cannot be encoded, as `name` calls it.
    """
    chat = backbone.chat.within(settings.max_tokens)
    truncated = {"prompts": 0, "responses": 0}
    prompts: dict[str, PromptTokens] = {}
    answers: dict[bytes, dict[tuple, list[int]]] = {}  # prompt ids -> (response ids, positions) -> items
    reads: list[tuple[int, np.ndarray, np.ndarray]] = []

    def take(i: int, item: Item) -> None:
        if item.kind == CONTEXT:
            tokens = _context_tokens(chat, item, settings)
            reads.append((i, tokens.ids, tokens.where(settings.context_pooling)))
        elif item.kind == CRITERION:
            tokens = chat.prompt(item.prompt, (0, len(item.prompt)))
            reads.append((i, tokens.ids, tokens.where("criterion")))
        else:
            text = item.prompt if isinstance(item.prompt, str) else json.dumps(item.prompt)
            if text not in prompts:
                prompts[text] = chat.prompt(item.prompt)
            tokens = prompts[text]
            if item.kind == PROMPT:
                reads.append((i, tokens.ids, tokens.where(settings.prompt_pooling)))
            else:
                tokens, response = chat.fit(tokens, chat.response(item.text))
                truncated["responses"] += response.cut
                where = response.where(settings.response_pooling)
                key = (len(response.ids), response.ids.tobytes(), where.tobytes())
                answers.setdefault(tokens.ids.tobytes(), {}).setdefault(key, []).append(i)
        truncated["prompts"] += tokens.cut

    for i, item in enumerate(items):
        try:
            take(i, item)
        except InputError as error:
            raise InputError(f"{name(item)}: {error}") from error
    return _lay_out(len(items), answers, reads, settings.shard_tokens, truncated)


def _context_tokens(chat: ChatTokens, item: Item, settings: FeatureSettings) -> PromptTokens:
    prompt, span = apply_context(item.text, item.prompt, settings.context_position)
    return chat.prompt(prompt, span)


def _lay_out(
    n: int,
    answers: dict[bytes, dict[tuple, list[int]]],
    reads: list[tuple[int, np.ndarray, np.ndarray]],
    shard_tokens: int,
    truncated: dict[str, int],
) -> Plan:
    # prompt ids -> positions -> items
    found: dict[bytes, dict[bytes, list[int]]] = {key: {} for key in answers}
    for i, ids, where in reads:
        key = ids.tobytes()
        if key not in answers:
            key = ids[: where[-1] + 1].tobytes()
        found.setdefault(key, {}).setdefault(where.tobytes(), []).append(i)
    order = sorted(found, key=lambda key: (len(key), digest(key)))
    groups, cuts, offsets, rows, row, tokens = [], [0], [0], np.full(n, -1, np.int64), 0, 0
    for key in order:
        group = Group(_integers(key))
        for where, members in sorted(found[key].items()):
            group.reads.append((row, _integers(where)))
            rows[members] = row
            row += 1
        for (_, ids, where), members in sorted(answers.get(key, {}).items()):
            group.responses.append((row, _integers(ids), _integers(where)))
            rows[members] = row
            row += 1
        groups.append(group)
        tokens += group.tokens
        if tokens >= shard_tokens or key is order[-1]:
            cuts.append(len(groups))
            offsets.append(row)
            tokens = 0
    return Plan(groups, cuts, np.array(offsets, np.int64), rows, truncated)


def _integers(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.int64).copy()  # torch wants writable memory
