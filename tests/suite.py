"""`make test` and `make test-all`: ruff and the unit tests; with `--all` also those marked long and the notebooks.

After a green run the hash of everything that decides the outcome is kept in `build/`; the same tree then answers at
once. `--force` runs all the same.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GENERATED = {
    ".git",
    ".venv",
    "build",
    ".snakemake",
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    ".ipynb_checkpoints",
}
NO_TESTS = 5  # pytest's exit status where it collected nothing


def tree_hash(root: Path, extra: Iterable[str] = ()) -> str:
    """Return a sha256 of `extra` and all places and contents below `root`, generated ones excepted."""
    digest = hashlib.sha256("\0".join(extra).encode())
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in GENERATED and not f.endswith(".egg-info"))
        for name in sorted(files):
            path = Path(folder) / name
            if path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(root).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def surroundings() -> list[str]:
    """What decides the outcome besides the tree: Python, torch, and whether a data mirror is there."""
    from importlib.metadata import version

    data = os.environ.get("MICRO_PAPER_DATA", "")
    return [platform.python_version(), version("torch"), str(bool(data) and Path(data).is_dir())]


def phases(jobs: int, every: bool) -> dict[str, list[str]]:
    """The commands, in their order; `every` with the tests marked long and the committed notebooks."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-n", str(jobs), "--dist", "loadfile"]
    quick = {
        "ruff": [sys.executable, "-m", "ruff", "check", "."],
        "format": [sys.executable, "-m", "ruff", "format", "--check", "-q", "."],
        "unit tests": [*pytest, "--durations=10", *([] if every else ["-m", "not long"]), "tests"],
    }
    return quick | ({"notebooks": [*pytest, "--nbval", "notebooks"]} if every else {})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the phases, stop at the first that fails, and return its exit status."""
    parser = argparse.ArgumentParser(description="Run the tests of the project.")
    parser.add_argument("--all", action="store_true", help="also tests marked long, and the committed notebooks")
    parser.add_argument("--force", action="store_true", help="even where this tree has passed already")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    quick, whole = (ROOT / "build" / name for name in ("test-stamp", "test-all-stamp"))
    stamps = [whole] if options.all else [whole, quick]  # who passed every test passed the quick ones
    before = tree_hash(ROOT, surroundings())
    for kept in stamps:
        if not options.force and kept.is_file() and kept.read_text().strip() == before:
            print(f"Tests passed already for exactly this tree (build/{kept.name}); FORCE=1 runs them again.")
            return 0
    for kept in (quick, whole):  # a tree that fails now has not passed, whatever it did before
        kept.unlink(missing_ok=True)
    stamp = stamps[-1]
    # the workers share the cores: one thread each
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    for name, command in phases(options.jobs, options.all).items():
        if name == "notebooks":
            environment["TQDM_DISABLE"] = "1"  # as when they were executed
        start = time.monotonic()
        print(f"== {name}", flush=True)
        status = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        print(f"== {name}: {time.monotonic() - start:.0f} s", flush=True)
        if status == NO_TESTS and name == "notebooks" and not list((ROOT / "notebooks").glob("*.ipynb")):
            continue
        if status:
            print(f"== {name} failed")
            return status
    if tree_hash(ROOT, surroundings()) == before:  # a tree that changed meanwhile was not the one that passed
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(before + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
