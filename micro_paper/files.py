"""Files written whole or not at all, by one process at a time; JSON as it was meant; the hash of a content."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import platform
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from micro_paper.errors import InputError, refusal, shown

DRAFT = ".draft"  # ending of a file that is being written
_HOST = re.sub(r"\W", "", platform.node())[:40]  # a disk may be shared: only its own machine knows a process


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that readers see the old file or the new one, never a part, however this ends.

    Raises:
        OSError: it cannot be written there; it names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=draft_prefix(f".{path.name}"), suffix=DRAFT)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)  # mkstemp makes private files
        os.replace(draft, path)
    except BaseException as error:
        Path(draft).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno:
            error.filename, error.filename2 = str(path), None  # a full disk names no file, a rename the draft
        raise


@contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Let one process at a time into the block; the lock vanishes with its process, however that ends.

    `path` holds a line on the process that is inside, and is removed behind it.

    Args:
        wait: until the other process is done, having said so on stderr; otherwise it is refused.

    Raises:
        InputError: another process is inside; the message says which.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as opened:
        while True:
            file = opened.enter_context(path.open("a+b", buffering=0))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                who = file.read().decode(errors="replace").strip() or "another process"
                if not wait:
                    raise InputError(f"{who} is at work here ({path} is locked): wait for it, or stop it") from None
                print(f"waiting for {who}, which holds {path}", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    break  # else its holder removed the file while we waited, and others may lock a new one
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} ({' '.join(sys.argv[1:])[:200]})\n".encode(errors="replace"))
            yield
        finally:
            path.unlink(missing_ok=True)


def locked(path: Path) -> bool:
    """Return whether a process is inside `lock(path)`."""
    import fcntl

    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def parse_json(text: str, *, finite: bool = True) -> Any:
    """Return the value of a JSON text that says each thing once.

    Args:
        finite: refuse NaN, infinities and numbers beyond a float.

    Raises:
        InputError: what is wrong with it.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            name = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise InputError(f"field {shown(name)} stands twice in one object")
        return value

    def number(text: str) -> float:
        if finite and not math.isfinite(float(text)):
            raise InputError(f"{text} is no finite number")
        return float(text)

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=number, parse_float=number)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise InputError(f"invalid JSON ({error.msg} at {place})") from None
    except RecursionError:
        raise InputError("nested too deeply") from None
    except InputError:
        raise
    except ValueError:  # an integer of thousands of digits
        raise InputError("invalid JSON (a number that is too long)") from None


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
