"""What makes a row unusable with every backbone: the one check of our own, the user's and the hub's rows.

What only one chat template refuses or drops (a system message, thoughts in an earlier answer) is told where its
tokens are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

ROLES = ("system", "user", "assistant")


class Fault(NamedTuple):
    """A row's fault: the kind, under which it is counted, what is wrong in this row, and the fix."""

    kind: str
    what: str
    fix: str


def row_fault(row: Mapping[str, Any], replies: Iterable[str], empty: bool = False) -> Fault | None:
    """Return the first fault of a row's prompt and replies, or None.

    Args:
        row: has `prompt`, a text or a list of chat messages {"role", "content"}, and the replies.
        replies: the fields that hold a reply's text.
        empty: whether replies may be empty, earlier ones in the prompt too, as they are in data that people judged so.
    """
    faults = (text_fault(name, row.get(name), empty=empty) for name in replies)
    return prompt_fault(row.get("prompt"), empty) or next((fault for fault in faults if fault), None)


def text_fault(name: str, value: Any, where: str = "", empty: bool = False) -> Fault | None:
    """Return what keeps a field, found at `where` (default: `name`), from being text, or None."""
    where = where or name
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        return Fault(f"{name} is not text", f"{where} is {kind}, not text", f"write {where} as a JSON string")
    if not empty and not value.strip():
        return Fault(f"{name} is empty", f"{where} is empty", "write its text or remove the row")
    try:
        value.encode()
    except UnicodeEncodeError:
        what = "holds half of a surrogate pair"
        return Fault(f"{name} {what}", f"{where} {what}", "write the whole character")
    return None


def prompt_fault(prompt: Any, empty: bool = False) -> Fault | None:
    """Return what keeps a prompt from being a text, or a dialogue in which the user has the last word, or None."""
    if not isinstance(prompt, list):
        return text_fault("prompt", prompt)
    if not prompt:
        return Fault("prompt is empty", "prompt is an empty list", "give at least one user message")
    roles = []
    for k, message in enumerate(prompt, start=1):
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ROLES:
            what = f"prompt message {k} has no role system, user or assistant"
            return Fault("prompt has other roles", what, 'write {"role": "user", "content": "..."}')
        roles.append(role)
        where = f"prompt message {k} content"
        if fault := text_fault("prompt", message.get("content"), where, empty and k < len(prompt)):
            return fault
    if roles[-1] != "user":
        what = f"prompt ends with a message of the {roles[-1]}"
        return Fault("prompt does not end with the user's message", what, "end it with the user's")
    talk = roles[roles[0] == "system" :]
    if talk != [("user", "assistant")[k % 2] for k in range(len(talk))]:
        return Fault(
            "roles do not alternate",
            f"the prompt's roles do not alternate ({', '.join(roles[:6])}{', ...' if len(roles) > 6 else ''})",
            "begin with the user's message (one system message may stand before it), and join neighbouring messages of "
            "one role",
        )
    return None
