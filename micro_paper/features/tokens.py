"""Chat-templated text to token ids, with the positions that each feature is read from.

The templated prompt (with its generation prompt) and the response are tokenised apart, as in generation: the
prompt's tokens never depend on the response, which is what lets responses share one encoded prompt.

What was said is encoded as text: a control token written in a message neither opens nor closes a turn.

Read-out positions (indices into a token sequence):
- response `mean`: the tokens of the response's own text; `last`: its end-of-turn token, where reward models
  read (the last text token where the template has none). An empty response is read at its end-of-turn token.
- prompt `last`: the last token before the response begins; `mean`: the tokens of all user messages.
- criterion: the criterion's own tokens inside the last user message.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from micro_paper.errors import InputError
from micro_paper.features.template import CLOSE, OPEN, Messages, Template, check_text


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
        InputError: a message lacks role or text, or the last message is not the user's.
    """
    if isinstance(prompt, str):
        return [{"role": "user", "content": check_text(prompt, "prompt")}]
    if not isinstance(prompt, list | tuple):
        raise InputError(f"prompt is {type(prompt).__name__}: give text or chat messages")
    messages = []
    for i, message in enumerate(prompt):
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise InputError(
                f"prompt message {i + 1} needs role system|user|assistant and text content, got {message!r}"
            )
        messages.append({"role": role, "content": check_text(content, f"prompt message {i + 1}")})
    if not messages or messages[-1]["role"] != "user":
        raise InputError("a prompt must end with a user message, because the response answers it")
    return messages


class ChatTokens:
    """Templates and tokenises prompts and responses for one tokenizer, within `max_tokens`.

    Raises:
        InputError: the tokenizer gives no offsets, or prompts and responses by themselves do not give the tokens of the
            template's own dialogues.
    """

    def __init__(self, tokenizer: Any, max_tokens: int) -> None:
        if not tokenizer.is_fast:
            raise InputError(f"{type(tokenizer).__name__} gives no offsets: use a fast tokenizer")
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.template = Template(tokenizer)
        added = tokenizer.added_tokens_decoder
        examples = [pieces for _, pieces in self._examples()]
        self._written = {i for pieces in examples for i in self._tokenise("\n".join(pieces))[0].tolist()}
        # What the tokenizer calls special, and words of the template's own such as <|user|>; a line break is none.
        self.control = {
            i: t.content for i, t in added.items() if t.special or (i in self._written and t.content.strip())
        }
        ids, offsets = self._tokenise(self.template.tail)
        ends = [end for i, (_, end) in zip(ids.tolist(), offsets, strict=True) if i in self.control]
        self._tail = self.template.tail[: ends[0]] if ends else ""  # a line break that follows it is no response
        bos = tokenizer.bos_token_id
        adds = bos is not None and tokenizer("x").input_ids[:1] == [bos]
        probe = self._tokenise(examples[0][0])[0][:1].tolist() == [bos]
        self._bos = bos if adds or probe else None  # neither places one: it has none
        self._prepend = adds and not probe
        self._before = ""
        if self._difference():  # tokenizers that put a blank before a text need to see what a response follows
            self._before = self.template.opening
            if difference := self._difference():
                raise InputError(f"the tokens of a prompt and its response are not the chat template's: {difference}")

    @property
    def unwritten(self) -> set[int]:
        """Control tokens that the template does not write, so that no dialogue has them."""
        return self.control.keys() - self._written

    def within(self, max_tokens: int) -> Self:
        """Return the same for the lower of both limits."""
        other = copy.copy(self)
        other.max_tokens = min(max_tokens, self.max_tokens)
        return other

    def prompt(self, prompt: str | Messages, span: tuple[int, int] | None = None) -> PromptTokens:
        """Return the templated prompt up to where the response begins, at most `max_tokens` long.

        Args:
            prompt: text or chat messages.
            span: the criterion's characters in the last user message, start and end.

        Raises:
            InputError: not exactly one beginning-of-sequence token, `max_tokens` cannot hold the template, or the
                template refuses the dialogue.
        """
        return self.fit_prompt(self._prompt(as_messages(prompt), span), self.max_tokens)

    def response(self, response: str) -> ResponseTokens:
        """Return the response with its end-of-turn token, uncut.

        Raises:
            InputError: it is no text, the template rewrites it, or nothing is left of it.
        """
        lead, said = self.template.response(check_text(response, "response"))
        ids, offsets, [(begin, _), place] = self._encode([self._before, lead, self._tail], ["", said])
        first = sum(end <= begin for _, end in offsets) if self._before else 0
        if first == len(ids):
            raise InputError("an empty response, and this model has no end-of-turn token: drop the row")
        inside = self._overlap(ids, offsets, *place)
        return ResponseTokens(ids[first:], np.flatnonzero(inside[first:]))

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

    def _prompt(self, messages: Messages, span: tuple[int, int] | None = None) -> PromptTokens:
        pieces, contents = self.template.prompt(messages)
        ids, offsets, places = self._encode(pieces, contents)
        masks = [self._overlap(ids, offsets, *place) for place in places]
        body = np.any(masks, axis=0)
        user = np.any([m for m, message in zip(masks, messages, strict=True) if message["role"] == "user"], axis=0)
        criterion = np.zeros(len(ids), bool)
        if span is not None:
            moved = places[-1][0] - max(0, messages[-1]["content"].find(contents[-1]))  # where the template trims
            criterion = self._overlap(ids, offsets, moved + span[0], moved + span[1])
            if not criterion.any():
                raise InputError(f"no token at characters {span} of the user message: give it some text")
        if self._prepend:
            ids = np.concatenate([[self._bos], ids])
            body, user, criterion = (np.concatenate([[False], m]) for m in (body, user, criterion))
        self._check_start(ids)
        return PromptTokens(ids, body, user, criterion)

    def _encode(
        self, pieces: list[str], contents: list[str]
    ) -> tuple[np.ndarray, list[tuple[int, int]], list[tuple[int, int]]]:
        """Return ids and offsets of pieces and contents in turn, and the characters (start, end) of each content."""
        text, places = _fill(pieces, contents)
        ids, offsets = self._tokenise(text)
        if self._controls_in(text, ids, offsets, places):
            # The template's control tokens under names that no text holds; those in a text are letters then.
            words = re.compile("|".join(map(re.escape, sorted(self.control.values(), key=len, reverse=True))))
            text, places = _fill([words.sub(lambda word: _private(word[0]), p) for p in pieces], contents)
            found = self._literal.encode(text, add_special_tokens=False)
            ids, offsets = np.asarray(found.ids, np.int64), found.offsets
            if still := self._controls_in(text, ids, offsets, places):
                raise InputError(f"this tokenizer cannot write {still} as text: remove it")
        return ids, offsets, places

    def _controls_in(
        self, text: str, ids: np.ndarray, offsets: list[tuple[int, int]], places: list[tuple[int, int]]
    ) -> str | None:
        """Return a control token that holds a letter of a content, or None."""
        for i, (start, end) in zip(ids.tolist(), offsets, strict=True):
            if i in self.control:
                word = text[start:end]  # some take the blanks around them along
                start, end = end - len(word.lstrip()), start + len(word.rstrip())
                if any(start < stop and end > begin for begin, stop in places):
                    return self.control[i]
        return None

    @cached_property
    def _literal(self) -> Any:
        """The tokenizer, with other names for its control tokens."""
        from tokenizers import Tokenizer

        names = {word: _private(word) for word in self.control.values()}
        state = json.loads(self.tokenizer.backend_tokenizer.to_str())
        for entry in state["added_tokens"]:
            entry["content"] = names.get(entry["content"], entry["content"])
        model = state["model"]
        if isinstance(model["vocab"], dict):
            model["vocab"] = {names.get(word, word): i for word, i in model["vocab"].items()}
        else:
            model["vocab"] = [[names.get(word, word), score] for word, score in model["vocab"]]
        if "unk_token" in model:
            model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
        state |= {"truncation": None, "padding": None}
        literal = Tokenizer.from_str(json.dumps(state))
        for i, word in self.control.items():
            if literal.token_to_id(names[word]) != i:
                raise InputError(f"this tokenizer cannot write {word} as text: remove it")
        return literal

    def _tokenise(self, text: str) -> tuple[np.ndarray, list[tuple[int, int]]]:
        out = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return np.asarray(out["input_ids"], np.int64), out["offset_mapping"]

    def _overlap(self, ids: np.ndarray, offsets: list[tuple[int, int]], start: int, end: int) -> np.ndarray:
        """Return (t,) bool: which tokens hold a character of [start, end); control tokens never do."""
        said = [i not in self.control for i in ids.tolist()]
        return np.array([s < end and e > start and e > s for s, e in offsets], bool) & np.array(said, bool)

    def _examples(self) -> Iterator[tuple[Messages, list[str]]]:
        """Yield a few dialogues with the template's pieces; not those of roles that it refuses in rows as well."""
        for roles in (("user",), ("user", "assistant", "user"), ("system", "user")):
            messages = [{"role": role, "content": f"words {i} of it"} for i, role in enumerate(roles)]
            try:
                yield messages, [*self.template.prompt(messages)[0], self.template.tail]
            except InputError:
                if len(roles) == 1:
                    raise

    def _difference(self) -> str | None:
        """Return where our tokens of a few dialogues differ from those of the template's whole text, or None."""
        for messages, _ in self._examples():
            try:
                prompt = self._prompt(messages).ids
            except InputError:  # no start token, or two, with these roles
                if len(messages) == 1:
                    raise
                continue
            ours = np.concatenate([prompt, self.response("yes").ids]).tolist()
            text = self.template.render([*messages, {"role": "assistant", "content": "yes"}])
            whole = ([self._bos] if self._prepend else []) + self._tokenise(text)[0].tolist()
            if whole[: len(ours)] != ours:
                return f"{self.tokenizer.decode(ours)!r} instead of {self.tokenizer.decode(whole)!r}"
        return None

    def _check_start(self, ids: np.ndarray) -> None:
        if self._bos is None:
            return
        count = int(ids[0] == self._bos) + int(len(ids) > 1 and ids[0] == ids[1] == self._bos)
        if count != 1:
            what = "two beginning-of-sequence tokens" if count else "no beginning-of-sequence token"
            raise InputError(f"the templated prompt starts with {what}: mend the tokenizer's chat template")


def _fill(pieces: list[str], contents: list[str]) -> tuple[str, list[tuple[int, int]]]:
    """Return pieces (n + 1) and contents (n) in turn as one text, and where in it each content lies."""
    text, places = pieces[0], []
    for content, piece in zip(contents, pieces[1:], strict=True):
        places.append((len(text), len(text) + len(content)))
        text += content + piece
    return text, places


def _private(word: str) -> str:
    return f"{OPEN}{word.encode().hex()}{CLOSE}"
