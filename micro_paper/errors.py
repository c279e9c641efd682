"""Errors that name what is wrong and how to mend it."""

import difflib
import errno
import os
from collections.abc import Iterable

_FIXES = {
    errno.ENOSPC: "make room there, or move build/ with MICRO_PAPER_BUILD, downloads with MICRO_PAPER_CACHE",
    errno.EROFS: "move build/ with MICRO_PAPER_BUILD, downloads with MICRO_PAPER_CACHE, or name another place",
    errno.EACCES: "change its permissions, or name another place",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "a file stands where a folder is needed, name another place",
}
_FIXES |= {errno.EDQUOT: _FIXES[errno.ENOSPC], errno.EPERM: _FIXES[errno.EACCES], errno.EEXIST: _FIXES[errno.ENOTDIR]}


class InputError(ValueError):
    """A value given by the user cannot be used; the message names it and the fix."""


class MissingError(FileNotFoundError):
    """A file, model or data set that is needed is not there; the message says how to get it."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name nearest to `name`, or "" where none is near."""
    near = difflib.get_close_matches(str(name)[:99], [str(k) for k in known], n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def shown(value: object) -> str:
    """Return a value as a message shows it, in at most 60 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, a list within lists within lists
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def refusal(error: OSError) -> str:
    """Return what a command says of a file or disk that the system refuses: the file, the cause and the fix."""
    if error.errno is None:
        return str(error)
    place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return f"{place}{os.strerror(error.errno)}: {_FIXES.get(error.errno, 'name another file or folder')}"
