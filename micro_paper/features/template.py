"""A tokenizer's chat template: a dialogue as text, in which what was said is told from what the template writes."""

from __future__ import annotations

import re
from typing import Any

from micro_paper.errors import InputError

Messages = list[dict[str, str]]

FALLBACK_TEMPLATE = (  # for models without a chat template; stated in the README of the features
    "{{ bos_token or '' }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] + '\n\n' }}"
    "{% elif m['role'] == 'user' %}{{ 'User: ' + m['content'] + '\n\n' }}"
    "{% else %}{{ 'Assistant: ' + m['content'] + (eos_token or '') + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
# Noncharacters of Unicode, which no text may hold, and no template trims or changes.
OPEN, CLOSE = "\ufdd0", "\ufdd1"


def check_text(text: Any, what: str) -> str:
    """Return `text`; InputError where it is no text, or holds what no tokenizer takes, or our own marks."""
    if not isinstance(text, str):
        raise InputError(f"{what} is {type(text).__name__}, not text: give a string")
    if not text.isascii():
        if re.search("[\ud800-\udfff]", text):
            raise InputError(f"{what} holds half of a surrogate pair: write the whole character")
        if OPEN in text or CLOSE in text:
            raise InputError(f"{what} holds U+FDD0 or U+FDD1, which are no characters: remove them")
    return text


class Template:
    """Renders dialogues for one tokenizer.

    Attributes:
        source: the template, where the tokenizer has none of its own.
        opening: what stands between the last user message and the response in the prompt.
        lead, tail: what the template puts between `opening` and a response, and behind it.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.source = None if tokenizer.chat_template else FALLBACK_TEMPLATE
        self._pieces: dict[tuple[tuple[str, ...], bool], list[str]] = {}
        self.opening, self.lead, self.tail = self._turn(("user",))

    def render(self, messages: Messages, generation: bool = False) -> str:
        """Return the dialogue's text, with the start of a response where `generation`.

        Raises:
            InputError: the template refuses these roles or their order.
        """
        # A fixed date: some templates print today's, and features must not change overnight.
        try:
            return self.tokenizer.apply_chat_template(
                messages,
                chat_template=self.source,
                tokenize=False,
                add_generation_prompt=generation,
                date_string="26 Jul 2024",
            )
        except Exception as error:  # jinja's errors: a template refuses some roles or their order
            roles = ", ".join(m["role"] for m in messages)
            raise InputError(
                f"the model's chat template refuses the roles {roles}: {error}; put a system text into the first user "
                "message and join neighbouring messages of one role"
            ) from error

    def prompt(self, messages: Messages) -> tuple[list[str], list[str]]:
        """Return the template's pieces (n + 1) around the n messages, the last one `opening`, and the messages.

        The messages are as the template shows them in front of a finished response: trimmed, without thoughts.

        Raises:
            InputError: the template refuses, leaves out or rewrites a message.
        """
        roles = tuple(m["role"] for m in messages)
        turn = self._turn(roles)
        if turn != (self.opening, self.lead, self.tail):
            raise InputError(
                f"the model's chat template puts other text around a response after the roles {', '.join(roles)}: "
                "use another template"
            )
        answer = {"role": "assistant", "content": _mark(len(roles))}
        pieces = self._split((*roles, "assistant"))
        contents = [m["content"] for m in messages]
        text = self.render([*messages, answer])
        if _join(pieces, [*contents, answer["content"]]) != text:
            marks = [_mark(i) for i in range(len(roles) + 1)]
            for i, message in enumerate(messages):  # what becomes of each by itself
                alone = [{"role": r, "content": m} for r, m in zip((*roles, "assistant"), marks, strict=True)]
                alone[i] = message
                before, after = _join(pieces[: i + 1], marks[:i]), _join(pieces[i + 1 :], marks[i + 1 :])
                contents[i] = _between(self.render(alone), before, after)
                if contents[i] is None:
                    raise InputError(f"the model's chat template rewrites the {message['role']} message: change it")
            if _join(pieces, [*contents, answer["content"]]) != text:
                raise InputError("the model's chat template makes one message depend on another: use another template")
        return [*pieces[:-2], self.opening], contents

    def response(self, response: str) -> tuple[str, str]:
        """Return what stands between `opening` and the response, and the response as the template shows it.

        Raises:
            InputError: the template rewrites it.
        """
        ask = _mark(0)
        first, *_, tail = self._split(("user", "assistant"))
        text = self.render([{"role": "user", "content": ask}, {"role": "assistant", "content": response}])
        for lead in (self.lead, ""):  # a template may move thoughts to where `lead` stands
            found = _between(text, first + ask + self.opening + lead, tail)
            if found is not None:
                return lead, found
        raise InputError("the model's chat template rewrites this response: change or drop it")

    def _turn(self, roles: tuple[str, ...]) -> tuple[str, str, str]:
        """Return what stands in front of a response after these roles, in the prompt and behind that; and after it.

        A generation prompt that opens what a finished turn does not have (a block of thoughts) is left out.
        """
        *before, asked = self._split(roles, generation=True)
        *history, shown, tail = self._split((*roles, "assistant"))
        if before != history:
            raise InputError(
                f"the model's chat template writes the roles {', '.join(roles)} in another way once a response "
                "follows: use another template"
            )
        opening = asked if shown.startswith(asked) else shown
        return opening, shown[len(opening) :], tail

    def _split(self, roles: tuple[str, ...], generation: bool = False) -> list[str]:
        """Return what the template writes around messages of these roles, one piece more than there are messages."""
        if (roles, generation) not in self._pieces:
            messages = [{"role": role, "content": _mark(i)} for i, role in enumerate(roles)]
            found = re.split(f"{OPEN}(\\d+){CLOSE}", self.render(messages, generation))
            order = [int(i) for i in found[1::2]]
            for i, role in enumerate(roles):
                if i not in order:
                    lost = "takes no system" if role == "system" else f"leaves out the {role}'s"
                    raise InputError(f"the model's chat template {lost} message: put it into the first user message")
            if order != list(range(len(roles))):
                raise InputError(
                    f"the model's chat template repeats or moves messages of the roles {', '.join(roles)}: use another"
                )
            self._pieces[roles, generation] = found[::2]
        return self._pieces[roles, generation]


def _mark(i: int) -> str:
    return f"{OPEN}{i}{CLOSE}"


def _join(pieces: list[str], contents: list[str]) -> str:
    """Return pieces and contents in turn, as many of both or one piece more."""
    filled = [*contents, ""][: len(pieces)]
    return "".join(a + b for a, b in zip(pieces, filled, strict=True))


def _between(text: str, before: str, after: str) -> str | None:
    if len(text) < len(before) + len(after) or not text.startswith(before) or not text.endswith(after):
        return None
    return text[len(before) : len(text) - len(after)]
