"""Chat-templated text to token ids, with the positions that each feature is read from.

The templated prompt (with its generation prompt) and the response are tokenised apart, as in generation: the
prompt's tokens never depend on the response, which is what lets responses share one encoded prompt.

Read-out positions (indices into a token sequence):
- response `mean`: the tokens of the response's own text; `last`: its end-of-turn token, where reward models
  read (the last text token where the template has none). An empty response is read at its end-of-turn token.
- prompt `last`: the last token before the response begins; `mean`: the tokens of all user messages.
- criterion: the criterion's own tokens inside the last user message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from micro_paper.errors import InputError

Messages = list[dict[str, str]]

FALLBACK_TEMPLATE = (  # for models without a chat template; stated in the README of the features
    "{{ bos_token or '' }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] + '\n\n' }}"
    "{% elif m['role'] == 'user' %}{{ 'User: ' + m['content'] + '\n\n' }}"
    "{% else %}{{ 'Assistant: ' + m['content'] + (eos_token or '') + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
_MARK = "\ue000{}\ue001"  # private-use characters: in no text, and no template trims or changes them


@dataclass(frozen=True)
class PromptTokens:
    """A templated prompt: ids (t,), where its parts lie (bool, (t,)), `cut` where it was shortened."""

    ids: np.ndarray
    body: np.ndarray
    user: np.ndarray
    criterion: np.ndarray
    cut: bool = False

    def where(self, pooling: str) -> np.ndarray:
        """Return the positions that `pooling` ("last", "mean", "criterion") averages."""
        if pooling == "last":
            return np.array([len(self.ids) - 1])
        found = np.flatnonzero(self.user if pooling == "mean" else self.criterion)
        return found if len(found) else np.array([len(self.ids) - 1])  # an empty user message


@dataclass(frozen=True)
class ResponseTokens:
    """A response with its end of turn: ids (t,), positions of its own text, `cut` where it was shortened."""

    ids: np.ndarray
    text: np.ndarray
    cut: bool = False

    def where(self, pooling: str) -> np.ndarray:
        """Return the positions that `pooling` ("last" or "mean") averages."""
        last = np.array([len(self.ids) - 1])
        return self.text if pooling == "mean" and len(self.text) else last


def as_messages(prompt: str | Messages) -> Messages:
    """Return a prompt as a chat message list; a string is one user message.

    Raises:
        InputError: a message lacks role or content, or the last message is not the user's.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    messages = []
    for i, message in enumerate(prompt or []):
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise InputError(
                f"prompt message {i + 1} needs role system|user|assistant and text content, got {message!r}"
            )
        messages.append({"role": role, "content": content})
    if not messages or messages[-1]["role"] != "user":
        raise InputError("a prompt must end with a user message, because the response answers it")
    return messages


class ChatTokens:
    """Templates and tokenises prompts and responses for one tokenizer, within `max_tokens`."""

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        if not tokenizer.is_fast:
            raise InputError(f"{type(tokenizer).__name__} gives no offsets: use a fast tokenizer")
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.template = None if tokenizer.chat_template else FALLBACK_TEMPLATE
        self._pieces: dict[tuple[str, ...], list[str]] = {}
        self._lead, self._tail = self._around_response()
        bos = tokenizer.bos_token_id
        adds = bos is not None and tokenizer("x").input_ids[:1] == [bos]
        probe = self._encode(self._render([{"role": "user", "content": "x"}]))[0][:1].tolist() == [bos]
        self._bos = bos if adds or probe else None  # neither places one: it has none
        self._prepend = adds and not probe

    def prompt(self, prompt: str | Messages, span: tuple[int, int] | None = None) -> PromptTokens:
        """Return the templated prompt up to where the response begins, at most `max_tokens` long.

        Args:
            prompt: text or chat messages.
            span: the criterion's characters in the last user message, start and end.

        Raises:
            InputError: not exactly one beginning-of-sequence token, or `max_tokens` cannot hold the template.
        """
        messages = as_messages(prompt)
        text, starts = self._locate(messages)
        ids, offsets = self._encode(text)
        user = np.zeros(len(ids), bool)
        body = np.zeros(len(ids), bool)
        for message, (start, end) in zip(messages, starts, strict=True):
            inside = _overlap(offsets, start, end)
            body |= inside
            if message["role"] == "user":
                user |= inside
        criterion = np.zeros(len(ids), bool)
        if span is not None:
            content, (start, end) = messages[-1]["content"], starts[-1]
            trimmed = len(content) - len(content.lstrip()) if end - start < len(content) else 0
            criterion = _overlap(offsets, start + span[0] - trimmed, start + span[1] - trimmed)
            if not criterion.any():
                raise InputError(f"no token at characters {span} of the user message: give it some text")
        if self._prepend:
            ids = np.concatenate([[self._bos], ids])
            body, user, criterion = (np.concatenate([[False], m]) for m in (body, user, criterion))
        self._check_start(ids)
        return self.fit_prompt(PromptTokens(ids, body, user, criterion), self.max_tokens)

    def response(self, response: str) -> ResponseTokens:
        """Return the response with its end-of-turn token, uncut."""
        text = self._lead + response + self._tail
        ids, offsets = self._encode(text)
        if not len(ids):
            raise InputError("an empty response, and this model has no end-of-turn token: drop the row")
        inside = _overlap(offsets, len(self._lead), len(self._lead) + len(response))
        return ResponseTokens(ids, np.flatnonzero(inside))

    def fit(self, prompt: PromptTokens, response: ResponseTokens) -> tuple[PromptTokens, ResponseTokens]:
        """Shorten a prompt and its response to `max_tokens` together.

        The response stays whole and the prompt gives way, down to a quarter of `max_tokens`; only then is
        the response cut, before its end-of-turn token. It depends on this prompt and this response alone, so
        features do not change with what else is in the store.
        """
        floor = min(len(prompt.ids), self.max_tokens // 4)
        room = self.max_tokens - floor
        if len(response.ids) > room:
            ids = np.concatenate([response.ids[: room - 1], response.ids[-1:]])
            response = ResponseTokens(ids, response.text[response.text < room - 1], cut=True)
        return self.fit_prompt(prompt, self.max_tokens - len(response.ids)), response

    def fit_prompt(self, prompt: PromptTokens, limit: int) -> PromptTokens:
        """Drop the oldest message text so that at most `limit` tokens remain; template and criterion stay."""
        excess = len(prompt.ids) - limit
        if excess <= 0:
            return prompt
        removable = np.flatnonzero(prompt.body & ~prompt.criterion)
        if excess >= len(removable):
            raise InputError(
                f"max_tokens={self.max_tokens} leaves {limit} tokens for a prompt whose template and "
                f"criterion take {len(prompt.ids) - len(removable)}: raise max_tokens"
            )
        keep = np.ones(len(prompt.ids), bool)
        keep[removable[:excess]] = False
        return PromptTokens(prompt.ids[keep], prompt.body[keep], prompt.user[keep], prompt.criterion[keep], cut=True)

    def _render(self, messages: Messages, generation: bool = True) -> str:
        # A fixed date: some templates print today's, and features must not change overnight.
        try:
            return self.tokenizer.apply_chat_template(
                messages,
                chat_template=self.template,
                tokenize=False,
                add_generation_prompt=generation,
                date_string="26 Jul 2024",
            )
        except Exception as error:  # jinja's errors: a template refuses some roles or their order
            roles = ", ".join(m["role"] for m in messages)
            raise InputError(f"the model's chat template refuses the roles {roles}: {error}") from error

    def _around_response(self) -> tuple[str, str]:
        """Return what the template puts before a response (after the generation prompt) and after it."""
        ask = [{"role": "user", "content": "x"}]
        before = self._render(ask)
        mark = _MARK.format(0)
        full = self._render([*ask, {"role": "assistant", "content": mark}], generation=False)
        head, _, tail = full.partition(mark)
        lead = head[len(before) :] if head.startswith(before) else ""
        ids, offsets = self._encode(tail)
        special = set(self.tokenizer.all_special_ids)
        for token, (_, end) in zip(ids.tolist(), offsets, strict=True):
            if token in special:  # the end of turn; the line break that often follows it is no response
                return lead, tail[:end]
        return lead, ""

    def _locate(self, messages: Messages) -> tuple[str, list[tuple[int, int]]]:
        """Return the templated text and the characters (start, end) of each message's content in it."""
        text = self._render(messages)
        roles = tuple(m["role"] for m in messages)
        if roles not in self._pieces:
            marks = [_MARK.format(i) for i in range(len(roles))]
            rest = self._render([{"role": r, "content": m} for r, m in zip(roles, marks, strict=True)])
            pieces = []
            for mark in marks:
                piece, _, rest = rest.partition(mark)
                pieces.append(piece)
            self._pieces[roles] = [*pieces, rest]
        pieces = self._pieces[roles]
        for contents in ([m["content"] for m in messages], [m["content"].strip() for m in messages]):
            built, spans = pieces[0], []
            for content, piece in zip(contents, pieces[1:], strict=True):
                spans.append((len(built), len(built) + len(content)))
                built += content + piece
            if built == text:
                return text, spans
        spans, position = [], 0  # a template that rewrites contents: search for each in order
        for message in messages:
            content = message["content"].strip()
            start = text.find(content, position)
            if start < 0:
                raise InputError(f"the chat template changes the {message['role']} message {content[:40]!r}")
            position = start + len(content)
            spans.append((start, position))
        return text, spans

    def _encode(self, text: str) -> tuple[np.ndarray, list[tuple[int, int]]]:
        out = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return np.asarray(out["input_ids"], np.int64), out["offset_mapping"]

    def _check_start(self, ids: np.ndarray) -> None:
        if self._bos is None:
            return
        count = int(ids[0] == self._bos) + int(len(ids) > 1 and ids[0] == ids[1] == self._bos)
        if count != 1:
            what = "two beginning-of-sequence tokens" if count else "no beginning-of-sequence token"
            raise InputError(f"the templated prompt starts with {what}: mend the tokenizer's chat template")


def _overlap(offsets: list[tuple[int, int]], start: int, end: int) -> np.ndarray:
    """Return (t,) bool: which tokens hold a character of [start, end)."""
    return np.array([s < end and e > start and e > s for s, e in offsets], bool)
