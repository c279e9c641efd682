"""Files of the open data: a local mirror first, then the pinned public address, always checked by sha256.

`sources.txt` beside this file is the registry: every file's name, hash and address.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from micro_paper import paths
from micro_paper.errors import InputError, MissingError
from micro_paper.files import file_sha256

if TYPE_CHECKING:
    from pooch import Pooch

REGISTRY = Path(__file__).with_name("sources.txt")
HINT = "set MICRO_PAPER_DATA to a folder that mirrors the open data, or allow network access"


def downloads() -> Pooch:
    """Return the registry's files, with the cache folder as the place of those that are downloaded."""
    import pooch  # on demand: most data sets need no file of the registry

    pooch.get_logger().setLevel("WARNING")
    found = pooch.create(paths.cache_dir() / "downloads", base_url="")
    found.load_registry(REGISTRY)
    return found


def public(prefix: str) -> dict[str, tuple[str, str]]:
    """Return {name: (address, sha256)} of the public files whose names start with `prefix`, in the registry's order."""
    known = downloads()
    return {
        name: (url, known.registry[name].removeprefix("sha256:"))
        for name, url in known.urls.items()
        if name.startswith(prefix)
    }


def in_mirror(name: str) -> Path | None:
    """Return the checked file from the mirror, or None where the mirror lacks it.

    Raises:
        InputError: the mirror's file cannot be read, or has another sha256.
    """
    root = paths.mirror()
    path = root / name if root else None
    if path is None or not path.is_file():
        return None
    expected = downloads().registry[name].removeprefix("sha256:")
    try:
        found = file_sha256(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): allow reading it") from error
    if found != expected:
        raise InputError(f"{path} has sha256 {found}, expected {expected}: restore the original file")
    return path


def fetch(*names: str) -> Path:
    """Return a local copy of one file.

    Args:
        names: the shapes in which it may come, best first: the first that the mirror holds is taken, else the first
            with a public address, from the cache or from there.

    Raises:
        InputError: a file has another sha256 than expected.
        MissingError: neither mirror nor network has it; says what to set.
    """
    for name in names:
        if found := in_mirror(name):
            return found
    known = downloads()
    for name in names:
        if name in known.urls:
            return _download(known, name)
    raise MissingError(f"{names[0]} is not in the mirror and has no public file: {HINT}")


def _download(known: Pooch, name: str) -> Path:
    import pooch

    url, sha256 = known.get_url(name), known.registry[name]
    try:
        return Path(known.fetch(name, downloader=pooch.HTTPDownloader(timeout=30)))
    except ValueError as error:  # pooch's hash mismatch; it keeps nothing of the file
        raise InputError(f"{url}: {str(error).splitlines()[0]} (expected {sha256})") from error
    except OSError as error:  # requests' errors are OSErrors
        raise MissingError(f"cannot read {url} ({type(error).__name__}): {HINT}") from error
