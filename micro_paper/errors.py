"""Errors that name what is wrong and how to mend it."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A value given by the user cannot be used; the message names it and the fix."""


class MissingError(FileNotFoundError):
    """A file, model or data set that is needed is not there; the message says how to get it."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name nearest to `name`, or "" where none is near."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def shown(value: object) -> str:
    """Return a value as a message shows it, in at most 60 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, a list within lists within lists
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
