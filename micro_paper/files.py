"""Files written whole or not at all, and the hash of their content."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from micro_paper.errors import InputError, refusal

DRAFT = ".draft"  # ending of a file that is being written
_HOST = re.sub(r"\W", "", platform.node())[:40]  # a disk may be shared: only its own machine knows a process


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that readers see the old file or the new one, never a part, however this ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=draft_prefix(f".{path.name}"), suffix=DRAFT)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)  # mkstemp makes private files
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def check_writable(path: Path) -> None:
    """Make the folders of `path` and refuse, before any work is done, what `write_atomic` could not write.

    Raises:
        InputError: the path, the cause and the fix.
    """
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is there and no file: name a file in it, or another")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=draft_prefix(f".{path.name}"), suffix=DRAFT)
    except OSError as error:
        error.filename = str(path)
        raise InputError(f"cannot be written: {refusal(error)}") from None
    os.close(handle)
    os.unlink(draft)


def move(path: Path, target: Path) -> None:
    """Put a file at `target`, whole or not at all; from one file system to another by a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        write_atomic(target, path.read_bytes())
        path.unlink()


def draft_prefix(name: str) -> str:
    """Return how the name of a half-made file begins, so that `sweep` can tell whose it is."""
    return f"{name[:150]}-{_HOST}-{os.getpid()}-"


def sweep(folder: Path) -> None:
    """Remove the half-made files below `folder` whose process, of this machine, is dead."""
    for path in folder.rglob(f"*-{_HOST}-*"):
        whose = re.search(rf"-{_HOST}-(\d+)-\w+{re.escape(DRAFT)}(\.ipynb)?$", path.name)
        if whose and path.is_file() and not _alive(int(whose[1])):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no number of a process
        return True
    return True


def digest(content: bytes | Iterable[bytes]) -> bytes:
    """Return the sha256 (32 bytes) of `content`, or of its pieces as one."""
    state = hashlib.sha256()
    for piece in (content,) if isinstance(content, bytes) else content:
        state.update(piece)
    return state.digest()


def sha256(content: bytes | Iterable[bytes]) -> str:
    """Return the sha256 of `content`, or of its pieces as one, in 64 hexadecimal digits."""
    return digest(content).hex()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content in 64 hexadecimal digits, without holding the file in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
