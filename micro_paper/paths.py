"""Where the project, what it makes, its cache and a data mirror lie."""

import os
from pathlib import Path

from micro_paper.errors import InputError, MissingError

_PLACES = ("MICRO_PAPER_BUILD", "MICRO_PAPER_CACHE", "MICRO_PAPER_DATA")


def absolute(path: str | Path) -> Path:
    """Return the place that a path means in the working directory: absolute, with `~` and links followed.

    Raises:
        InputError: a path that no file system has (an unknown user's home, links in a circle).
    """
    try:
        return Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{str(path)!r} is no path ({error}): give that of a file or folder") from None


def absolute_environment() -> dict[str, str]:
    """Return the variables that name places, made absolute for a process that works in another directory."""
    return {name: str(absolute(value)) for name in _PLACES if (value := os.environ.get(name))}


def project_root(start: Path | None = None) -> Path:
    """Return the checkout that holds `profiles/` and `notebooks/`.

    Looked for from `start` (default: the working directory) upwards, then beside the package, so that a notebook
    works from any working directory.

    Raises:
        MissingError: neither place is inside a checkout.
    """
    here = Path(start or Path.cwd()).resolve()
    package = Path(__file__).resolve().parent
    for folder in (here, *here.parents, package.parent):
        if (folder / "profiles").is_dir() and (folder / "micro_paper").is_dir():
            return folder
    raise MissingError(
        f"no micro-paper checkout at or above {here}: run from inside a clone (it has profiles/ and notebooks/)"
    )


def cache_dir() -> Path:
    """Return the folder for downloads and converted backbones: MICRO_PAPER_CACHE, else the user's cache folder."""
    if value := os.environ.get("MICRO_PAPER_CACHE"):
        return absolute(value)
    return absolute(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "micro_paper"


def build_dir(root: Path | None = None) -> Path:
    """Return the folder of everything that is made and not committed: MICRO_PAPER_BUILD, else the checkout's build/."""
    value = os.environ.get("MICRO_PAPER_BUILD")
    return absolute(value) if value else (root or project_root()) / "build"


def stores_dir(root: Path | None = None) -> Path:
    """Return the folder of the feature stores, `build/features`: content-addressed, for all profiles."""
    return build_dir(root) / "features"


def mirror() -> Path | None:
    """Return the folder named by MICRO_PAPER_DATA, a local mirror of the open data, or None where it is not set."""
    value = os.environ.get("MICRO_PAPER_DATA")
    return absolute(value) if value else None
