"""From `build/` to the committed results, their check, and their display in notebooks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from micro_paper import files
from micro_paper.errors import InputError, MissingError
from micro_paper.paths import build_dir, project_root
from micro_paper.workflow import manifest
from micro_paper.workflow.provenance import fingerprint

KINDS = ("results", "figures")
DEFAULT_PROFILE = "bundled"


def _command(profile: str) -> str:
    return "make reproduce" if profile == DEFAULT_PROFILE else f"make reproduce PROFILE={profile}"


def _lines(root: Path, profile: str, notebooks: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return the manifest lines of the finished notebooks that wrote files, or say which are not finished."""
    folder = build_dir(root) / profile / "manifest"
    final = {p.stem: p for p in folder.glob("*.jsonl") if not p.name.endswith(".partial.jsonl")}
    started = {p.name.removesuffix(".partial.jsonl") for p in folder.glob("*.partial.jsonl")}
    wanted = {Path(name).stem for name in notebooks} if notebooks is not None else set(final) | started
    if not wanted:
        raise MissingError(f"nothing was built for profile {profile}: run {_command(profile)}")
    if unfinished := sorted((wanted - set(final)) | (wanted & started)):
        raise MissingError(f"profile {profile} is not complete, unfinished: {', '.join(unfinished)}")
    lines = [line for name in sorted(wanted) for line in manifest.read_lines(final[name]) if line["files"]]
    writers: dict[str, str] = {}
    for entry in manifest.files_of(lines):
        first = writers.setdefault(entry["file"], entry["notebook"])
        if first != entry["notebook"]:
            raise InputError(f"{entry['file']} is written by {first} and {entry['notebook']}: give one another slug")
    return lines


def readme(kind: str, profile: str, lines: Iterable[dict[str, Any]]) -> str:
    """Return the README of `results/PROFILE` or `figures/PROFILE`: files, columns and producers.

    Args:
        lines: of the manifest.
    """
    lines = list(lines)
    groups: dict[str, list[dict[str, Any]]] = {}
    for entry in sorted(manifest.files_of(lines), key=lambda e: e["file"]):
        if entry["file"].startswith(f"{kind}/"):
            groups.setdefault(Path(entry["file"]).stem, []).append(entry)
    page = [
        f"# {kind.capitalize()} of the profile `{profile}`",
        "",
        f"Generated from `results/{profile}/manifest.jsonl`; do not edit.",
        f"`{_command(profile)}` regenerates all of it,",
        f"`python -m micro_paper run NOTEBOOK --profile {profile}` one notebook's part, in `build`.",
        "The manifest has the sha256 of each file and of the code, notebook, inputs and parameters behind.",
    ]
    if carried := [Path(line["notebook"]).stem for line in lines if line.get("carried")]:
        page += [
            "",
            f"Made by an earlier state of the code, which the present one equals cell by cell on a smaller setting "
            f"(`carried` in the manifest): {', '.join(sorted(carried))}.",
        ]
    for name, group in groups.items():
        files = ", ".join(f"[`{Path(e['file']).name}`]({Path(e['file']).name})" for e in group)
        notebook = group[0]["notebook"]
        page += ["", f"## {name}", "", group[0]["caption"], "", f"- Files: {files}"]
        page += [f"- Made by `python -m micro_paper run {notebook} --profile {profile}`"]
        columns = {name: meaning for entry in group for name, meaning in entry["columns"].items()}
        if columns:
            page += ["", "| column | meaning |", "| --- | --- |"]
            page += [f"| `{name}` | {str(text).replace('|', chr(92) + '|')} |" for name, text in columns.items()]
    return "\n".join(page) + "\n"


def publish(profile: str, root: Path | None = None, notebooks: Sequence[str] | None = None) -> list[str]:
    """Replace `results/PROFILE` and `figures/PROFILE` by what was built; return the published files.

    Whatever a killed publication left is mended first. Everything is checked and copied before the first folder is
    exchanged, so a crash publishes nothing. A file that no publication placed there stays.

    Args:
        notebooks: those that the profile consists of; None takes every one that was started.

    Raises:
        MissingError: nothing was built, or a notebook did not finish.
        InputError: two notebooks wrote one file, a file was changed since, a notebook shows methods of one's own, or
            the profile is smoke.
        OSError: a folder cannot be written; the published one is as it was.
    """
    manifest.check_profile(profile)
    if profile == "smoke":
        raise InputError("profile smoke is not published: its numbers test the code, they are no result")
    root = Path(root) if root else project_root()
    with turn(profile, root):
        lines = _lines(root, profile, notebooks)
        if own := [line["notebook"] for line in lines if line["parameters"].get("methods")]:
            again = f"{_command(profile)} without methods makes what can be"
            raise InputError(f"{own[0]} shows methods of your own, which are not published with the profile: {again}")
        contents: dict[str, bytes] = {}
        for entry in manifest.files_of(lines):
            kind, _, name = entry["file"].split("/")
            path = build_dir(root) / profile / kind / name
            if not path.is_file():
                raise InputError(f"{path} is gone: run {entry['notebook']} again")
            contents[entry["file"]] = path.read_bytes()
            if files.sha256(contents[entry["file"]]) != entry["sha256"]:
                raise InputError(f"{path} was changed after it was made: run {entry['notebook']} again")
        size = sum(len(content) for file, content in contents.items() if file.endswith(".parquet"))
        if size > manifest.PREDICTIONS_LIMIT:
            raise InputError(f"predictions of profile {profile} take {size / 1e6:.1f} MB: write headline rows only")
        contents |= pages(profile, lines)
        exchange(root, profile, contents)
    return sorted(contents)


def pages(profile: str, lines: Iterable[dict[str, Any]]) -> dict[str, bytes]:
    """Return what a publication holds beside its notebooks' files, {path from the root: content}."""
    lines = list(lines)
    texts = {f"{kind}/{profile}/README.md": readme(kind, profile, lines).encode() for kind in KINDS}
    return {f"results/{profile}/manifest.jsonl": manifest.to_lines(lines)} | texts


@contextmanager
def turn(profile: str, root: Path) -> Iterator[None]:
    """Wait until no other process publishes the profile, mend what a killed one left, and keep others out."""
    with files.lock(_lock(profile, root)):
        _mend(profile, root)
        yield


def exchange(root: Path, profile: str, contents: Mapping[str, bytes]) -> None:
    """Put new folders in place of the published ones, in one's `turn`; the old ones are back where that fails.

    A note that the new folders are complete stands from the first rename to the last: a killed exchange is ended by
    the next turn, one that was killed before leaves the old folders.

    Args:
        contents: {path from the root: content} of every file.
    """
    tag = f"{os.getpid()}-{os.urandom(3).hex()}"
    new, old, place = (_places(root, profile, ending) for ending in (f".new-{tag}", f".old-{tag}", ""))
    strangers = _strangers(profile, root)
    exchanged: list[str] = []
    try:
        for file, content in contents.items():
            kind, _, name = file.split("/")
            files.write_atomic(new[kind] / name, content)
        for kind in KINDS:
            new[kind].mkdir(parents=True, exist_ok=True)
            for name in strangers[kind]:
                if not (new[kind] / name).exists():
                    (new[kind] / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(place[kind] / name, new[kind] / name, follow_symlinks=False)
        files.write_atomic(_note(profile, root), tag.encode())
        for kind in KINDS:
            exchanged.append(kind)
            _rename(place[kind], old[kind])
            os.replace(new[kind], place[kind])
    except BaseException:
        for kind in exchanged:
            if old[kind].exists() or not new[kind].exists():
                _rename(place[kind], new[kind])
                _rename(old[kind], place[kind])
        _note(profile, root).unlink(missing_ok=True)
        for kind in KINDS:
            shutil.rmtree(new[kind], ignore_errors=True)
        raise
    _note(profile, root).unlink()
    for kind in KINDS:
        shutil.rmtree(old[kind], ignore_errors=True)


def _places(root: Path, profile: str, ending: str) -> dict[str, Path]:
    return {kind: root / kind / (f".{profile}{ending}" if ending else profile) for kind in KINDS}


def _lock(profile: str, root: Path) -> Path:
    return root / "results" / f".{profile}.lock"


def _note(profile: str, root: Path) -> Path:
    return root / "results" / f".{profile}.exchange"


def _rename(source: Path, target: Path) -> None:
    if source.exists():
        os.replace(source, target)


def _left(profile: str, root: Path) -> list[Path]:
    """Return what publications of the profile that were killed left behind."""
    beside = (f".{profile}.new-*", f".{profile}.old-*", f".{profile}.exchange", f"..{profile}.exchange-*{files.DRAFT}")
    found = [path for kind in KINDS for pattern in beside for path in (root / kind).glob(pattern)]
    return sorted(found + [path for kind in KINDS for path in (root / kind / profile).rglob(f".*{files.DRAFT}")])


def _mend(profile: str, root: Path) -> None:
    """End an exchange that was killed between its renames, and remove what killed publications left."""
    note = _note(profile, root)
    if note.is_file():
        tag = note.read_text(errors="replace")
        new, old, place = (_places(root, profile, ending) for ending in (f".new-{tag}", f".old-{tag}", ""))
        for kind in KINDS:
            if new[kind].exists():
                _rename(place[kind], old[kind])
                os.replace(new[kind], place[kind])
        note.unlink()
    for path in _left(profile, root):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _strangers(profile: str, root: Path) -> dict[str, list[Path]]:
    """Return which files of the published folders no publication placed there, {kind: paths in the folder}."""
    try:
        lines = manifest.read_lines(root / "results" / profile / "manifest.jsonl")
    except InputError:
        lines = []
    own = {entry["file"] for entry in manifest.files_of(lines)} | pages(profile, []).keys()
    found: dict[str, list[Path]] = {}
    for kind in KINDS:
        folder = root / kind / profile
        inside = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file())
        found[kind] = [p.relative_to(folder) for p in inside if p.relative_to(root).as_posix() not in own]
    return found


def verify(profile: str, root: Path | None = None) -> list[str]:
    """Return what is wrong with the committed files of a profile, one sentence each; none if all is well."""
    root = Path(root) if root else project_root()
    if files.locked(_lock(profile, root)):
        return [f"profile {profile} is being published: verify again when that is done"]
    if left := [*_left(profile, root), *filter(Path.exists, [_lock(profile, root)])]:
        names = ", ".join(path.relative_to(root).as_posix() for path in left)
        return [f"a killed publication left {names}: `python -m micro_paper publish --profile {profile}` mends it"]
    path = root / "results" / profile / "manifest.jsonl"
    if not path.is_file():
        return [f"results/{profile}/manifest.jsonl is missing: run {_command(profile)}"]
    try:
        lines = manifest.read_lines(path)
        listed = {entry["file"]: entry["sha256"] for entry in manifest.files_of(lines)}
        expected = pages(profile, lines)
    except InputError as error:
        return [f"results/{profile}/manifest.jsonl cannot be read: {error}"]
    hashes = listed | {file: files.sha256(content) for file, content in expected.items()}
    why = dict.fromkeys(listed, "differs from its manifest line") | dict.fromkeys(
        expected, "does not follow from the manifest"
    )
    why[f"results/{profile}/manifest.jsonl"] = "was edited by hand"
    problems = [
        f"results/{profile}/manifest.jsonl: the parameters of {line['notebook']} were edited by hand"
        for line in lines
        if line["hashes"].get("parameters", "") not in ("", manifest.json_hash(line["parameters"]))
    ]
    for file, sha256 in sorted(hashes.items()):
        try:
            if files.file_sha256(root / file) != sha256:
                problems.append(f"{file} {why[file]}")
        except FileNotFoundError:
            problems.append(f"{file} is missing")
        except OSError as error:
            problems.append(f"{file} cannot be read: {error.strerror}")
    for kind in KINDS:
        for path in sorted((root / kind / profile).rglob("*")):
            if path.is_file() and path.relative_to(root).as_posix() not in hashes:
                problems.append(f"{path.relative_to(root).as_posix()} is not in the manifest: move it elsewhere")
    return problems


def stale(profile: str, root: Path | None = None) -> list[str]:
    """Return which notebooks of a published profile, or library modules that they import, changed since it was made."""
    root = Path(root) if root else project_root()
    problems = []
    for line in manifest.read_lines(root / "results" / profile / "manifest.jsonl"):
        path = root / line["notebook"]
        if not path.is_file():
            problems.append(f"{line['notebook']} is gone, its files are still in profile {profile}")
            continue
        if manifest.notebook_hash(path) != line["hashes"]["notebook"]:
            problems.append(f"{line['notebook']} changed since profile {profile} was made")
        if fingerprint(path, root)["code"] != line["hashes"]["code"]:
            problems.append(f"micro_paper changed since {line['notebook']} ran for profile {profile}")
    return sorted(problems)


class Committed:
    """Committed tables as a notebook shows them: whole in a browser, their names and files as plain text."""

    def __init__(self, sections: list[tuple[str, str]]) -> None:
        self.sections = sections  # of each table: its name and file, and the text of the file

    def __repr__(self) -> str:
        return "; ".join(heading for heading, _ in self.sections)

    def _repr_html_(self) -> str:
        return "\n".join(map(_section, *zip(*self.sections, strict=True)))


def _section(heading: str, text: str) -> str:
    from micro_paper.report.formatting import read_markdown
    from micro_paper.report.shown import Shown

    caption, _, table = text.rpartition("\n\n")
    if table.startswith("| "):
        return Shown(heading, caption, read_markdown(table))._repr_html_()
    return f"<p><b>{escape(heading)}.</b> {escape(text)}</p>"


def _found(kind: str, number: int | str, slug: str | None, profile: str, ending: str, root: Path) -> list[Path]:
    folder = root / ("results" if kind == "table" else "figures") / profile
    prefix = manifest.stem(kind, number, "x").removesuffix("x")
    if slug is not None:
        manifest.stem(kind, number, slug)  # refuses what could not have been written
    paths = sorted(folder.glob(f"{prefix}{slug or '*'}.{ending}"))
    return paths or sorted(folder.glob(f"{prefix}not_applicable.md"))


def committed(
    number: int | str,
    kind: str = "table",
    profiles: Sequence[str] = ("bundled", "open"),
    slug: str | None = None,
    root: Path | None = None,
) -> Committed:
    """Return the committed tables of that number, for display, or the command that makes what is missing."""
    if kind not in ("table", "figure"):
        raise InputError(f"kind must be table or figure, got {kind!r}")
    root = Path(root) if root else project_root()
    sections = []
    for profile in profiles:
        paths = _found(kind, number, slug, profile, "md", root)
        for path in paths:
            heading = f"{manifest.title(path.stem)}, {path.relative_to(root).as_posix()}"
            sections.append((heading, path.read_text(encoding="utf-8")))
        if not paths:
            sections.append((f"profile {profile}: not there yet, {_command(profile)} makes it", ""))
    return Committed(sections)


def committed_frame(
    number: int | str,
    columns: Sequence[str],
    profiles: Sequence[str] = ("bundled", "open"),
    slug: str | None = None,
    root: Path | None = None,
) -> pd.DataFrame:
    """Return these columns of the committed tables of that number, `profile` in front; no row where none is there."""
    root = Path(root) if root else project_root()
    parts = [
        pd.read_csv(path).assign(profile=profile)
        for profile in profiles
        for path in _found("table", number, slug, profile, "csv", root)
        if path.suffix == ".csv"
    ]
    names = ["profile", *columns]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def committed_figure(
    number: int | str,
    profile: str = DEFAULT_PROFILE,
    slug: str | None = None,
    width: int = 680,
    root: Path | None = None,
) -> Any:
    """Return the committed figure as an embedded picture, `width` pixels wide, or a page that says why not.

    Raises:
        InputError: several figures have the number; the message lists their slugs.
    """
    root = Path(root) if root else project_root()
    paths = _found("figure", number, slug, profile, "png", root)
    if not paths or paths[0].suffix == ".md":
        return committed(number, "figure", (profile,), slug, root)
    if len(paths) > 1:
        slugs = ", ".join(path.stem.split("_", 2)[2] for path in paths)
        raise InputError(f"figure {number} has several files in profile {profile}: pass slug, one of {slugs}")
    from IPython.display import Image

    return Image(data=paths[0].read_bytes(), format="png", width=width, embed=True)
