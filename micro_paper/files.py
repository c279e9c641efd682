"""Files written whole or not at all, and the hash of their content."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

DRAFT = ".draft"  # ending of a file that is being written


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that readers see the old file or the new one, never a part, however this ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=DRAFT)
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
