"""The committed tables as LaTeX, written on demand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from micro_paper.errors import MissingError, suggest
from micro_paper.files import write_atomic
from micro_paper.paths import build_dir, project_root
from micro_paper.report import formatting
from micro_paper.workflow import manifest


def write_tex(
    profile: str, tables: Sequence[str] = (), output: str | Path | None = None, root: Path | None = None
) -> list[Path]:
    """Write committed tables as `table_NN_slug.tex`, with the rows and digits of their Markdown; return the files.

    They need the package booktabs.

    Args:
        tables: names with or without `table_`, or numbers such as 2 and 02b, which mean every table of that number.
            None given means all.
        output: folder to write to; `build/PROFILE/tex` otherwise.

    Raises:
        InputError: the profile is no plain name.
        MissingError: the profile has no committed tables, or none of that name.
    """
    manifest.check_profile(profile)
    root = root or project_root()
    folder = root / "results" / profile
    known = [p.stem for p in sorted(folder.glob("table_*.md")) if not p.stem.endswith("_not_applicable")]
    if not known:
        raise MissingError(f"profile {profile} has no committed tables: make and publish it first")
    names = list(dict.fromkeys(name for table in tables for name in _named(table, known))) if tables else known
    place = Path(output) if output else build_dir(root) / profile / "tex"
    written = []
    for name in names:
        caption, _, table = (folder / f"{name}.md").read_text(encoding="utf-8").rpartition("\n\n")
        tex = formatting.latex(formatting.read_markdown(table), caption, f"tab:{name}")
        written.append(place / f"{name}.tex")
        write_atomic(written[-1], tex.encode())
    return written


def _named(table: str, known: Sequence[str]) -> list[str]:
    name = f"table_{table.removeprefix('table_')}"
    number = table.zfill(2) if table.isdigit() else table
    found = [stem for stem in known if stem == name or stem.split("_")[1] == number]
    if not found:
        raise MissingError(f"no committed table {table!r}: pass a number or name.{suggest(name, known)}")
    return found
