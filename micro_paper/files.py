"""Files written whole or not at all, by one process at a time; JSON as it was meant; the hash of a content."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from micro_paper.errors import InputError

DRAFT = ".draft"  # ending of a file that is being written


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that readers see the old file or the new one, never a part, however this ends.

    Raises:
        OSError: it cannot be written there; it names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=DRAFT)
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


def read_json(text: str) -> Any:
    """Return the value of a JSON text that says each thing once and holds finite numbers only.

    Raises:
        InputError: what is wrong with it.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            raise InputError(f"{Counter(name for name, _ in pairs).most_common(1)[0][0]!r} is there twice")
        return value

    def finite(number: str) -> float:
        if not math.isfinite(float(number)):
            raise InputError(f"{number} is no finite number")
        return float(number)

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=finite, parse_float=finite)
    except RecursionError:
        raise InputError("it is nested too deeply") from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"it is no JSON: {error}") from None


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
