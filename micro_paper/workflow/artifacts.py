"""The one door through which tables, figures and predictions leave a notebook.

A notebook writes to `build/PROFILE/` and its line of the manifest beside; `publish` moves a whole profile,
and nothing less, to `results/PROFILE/` and `figures/PROFILE/`. Every file names its producer there, by
content hashes of code, notebook, inputs and parameters. Nothing that changes from run to run (date, host,
versions) is published.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from micro_paper.errors import InputError
from micro_paper.files import sha256, write_atomic
from micro_paper.paths import build_dir, project_root
from micro_paper.report import formatting
from micro_paper.report.columns import meanings
from micro_paper.report.shown import Shown
from micro_paper.workflow.manifest import (
    PREDICTIONS_LIMIT,
    check_profile,
    files_of,
    json_hash,
    notebook_hash,
    notebook_path,
    published_parameters,
    read_lines,
    stem,
    title,
    to_lines,
)
from micro_paper.workflow.provenance import fingerprint
from micro_paper.workflow.publishing import committed, committed_figure, committed_frame, publish, stale, verify

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Artifacts", "committed", "committed_figure", "committed_frame", "publish", "stale", "verify"]


class Artifacts:
    """Writes what one notebook makes for one profile.

    A run that does not reach `done` leaves its files in `build/`, where `publish` refuses them. Files of an
    earlier run that this one no longer writes are removed at `done`.
    """

    def __init__(
        self,
        profile: str,
        notebook: str,
        parameters: Mapping[str, Any],
        root: Path | None = None,
        inputs: Mapping[str, str] | None = None,
    ) -> None:
        """Open a run.

        Args:
            profile: names the folder below `build/`.
            notebook: the file name in `notebooks/`, with or without its ending.
            parameters: what the notebook ran with; published, so no paths of this machine.
            root: the checkout; found from the working directory if not given.
            inputs: content hash of each data set, feature store and own method's file that was read.

        Raises:
            InputError: the profile is no plain name, or the parameters cannot be written as JSON.
            MissingError: no such notebook.
        """
        check_profile(profile)
        self.root = Path(root) if root else project_root()
        self.profile = profile
        path = notebook_path(self.root, notebook)
        self.notebook = path.stem
        plain = published_parameters(parameters)
        self._origin = {
            "notebook": path.relative_to(self.root).as_posix(),
            "profile": profile,
            "parameters": plain,
            "hashes": {
                "code": fingerprint(path, self.root)["code"],
                "notebook": notebook_hash(path),
                "parameters": json_hash(plain),
                "inputs": dict(sorted((inputs or {}).items())),
            },
        }
        self._entries: dict[str, dict[str, Any]] = {}
        folder = self.build / "manifest"
        self._final = folder / f"{self.notebook}.jsonl"
        self._partial = folder / f"{self.notebook}.partial.jsonl"
        self._earlier = {e["file"] for p in (self._final, self._partial) for e in files_of(read_lines(p))}
        write_atomic(self._partial, self._line([{"file": f} for f in self._earlier]))  # what a crash would leave behind
        self._final.unlink(missing_ok=True)

    @property
    def build(self) -> Path:
        """The folder that is written to, `build/PROFILE`."""
        return build_dir(self.root) / self.profile

    def table(
        self,
        frame: pd.DataFrame,
        number: int | str,
        slug: str,
        caption: str,
        formats: Mapping[str, str | Callable[[Any], str]] | None = None,
        *,
        pivot: tuple[formatting.Keys, formatting.Keys, str] | None = None,
        display: pd.DataFrame | None = None,
    ) -> Shown:
        """Write `table_NN_slug` as CSV (tidy) and as Markdown (formatted); return it as a notebook shows it.

        Args:
            frame: tidy and long; its index is not written, the meanings of its columns are those of `report.columns`.
            formats: for a column, a format specification such as ".2f" or a function; floats are ".3f" otherwise.
            pivot: (index, columns, value) of `frame` for the formatted form, in order of appearance.
            display: a ready frame for the formatted form, in place of `pivot`.

        Raises:
            InputError: a column has no meaning, a cell is neither number nor text, or the pivot's cells are not unique.
        """
        name, caption = self._stem("table", number, slug), self._said(caption)
        columns = meanings(name.removeprefix("table_"), frame.columns)
        shown = Shown(title(name), caption, formatting.display_frame(frame, formats, pivot, display))
        legend = "; ".join(f"**{code}** {text}" for code, text in shown.legend.items())
        text = "\n\n".join(filter(None, (caption, legend, formatting.markdown(shown.frame))))
        self._write(f"results/{name}.csv", formatting.csv(frame), caption, columns)
        self._write(f"results/{name}.md", formatting.without_folders(text).encode(), caption, {})
        return shown

    def frame(self, frame: pd.DataFrame, name: str, caption: str) -> None:
        """Write another tidy frame as `NAME.csv`, for instance claims.

        Raises:
            InputError: a column has no meaning in `report.columns`.
        """
        stem("table", 0, name)
        if name.startswith("table_"):
            raise InputError(f"name must not begin with table_, got {name!r}: write it by `table`")
        columns = meanings(name, frame.columns)
        self._write(f"results/{name}.csv", formatting.csv(frame), caption, columns)

    def figure(self, figure: Figure, number: int | str, slug: str, caption: str) -> Figure:
        """Write `figure_NN_slug` as PNG and PDF, same bytes for the same figure; return it, still open."""
        name, caption = self._stem("figure", number, slug), self._said(caption)
        for ending, content in formatting.pictures(figure).items():
            self._write(f"figures/{name}.{ending}", content, caption, {})
        return figure

    def not_applicable(self, kind: str, number: int | str, reason: str) -> None:
        """Write a page with the reason in place of a table or figure that this profile's data cannot give."""
        if kind not in ("table", "figure"):
            raise InputError(f"kind must be table or figure, got {kind!r}")
        name = stem(kind, number, "not_applicable")
        title = f"{kind.capitalize()} {int(name.split('_')[1][:2])} does not apply to the profile {self.profile}."
        folder = "results" if kind == "table" else "figures"
        self._write(f"{folder}/{name}.md", f"{title}\n\n{reason}\n".encode(), f"{title} {reason}", {})

    def predictions(
        self,
        frame: pd.DataFrame,
        name: str = "predictions",
        caption: str = "Predicted probability of every pair.",
    ) -> None:
        """Write per-pair probabilities or decisions as compact Parquet: `p` or `right` in 32 bits, texts coded.

        Raises:
            InputError: there is no column `p` or `right` in [0, 1], a column has no meaning, or the profile's
                predictions would exceed 32 MB; with methods of one's own, which are not published, they may.
        """
        stem("table", 0, name)
        columns = meanings(name, frame.columns)
        content = formatting.parquet(frame)
        file = f"results/{name}.parquet"
        others = [p for p in (self.build / "results").glob("*.parquet") if p.name != f"{name}.parquet"]
        total = len(content) + sum(path.stat().st_size for path in others)
        if total > PREDICTIONS_LIMIT and not self._origin["parameters"].get("methods"):
            raise InputError(
                f"predictions of profile {self.profile} would take {total / 1e6:.1f} MB, "
                f"the limit is {PREDICTIONS_LIMIT / 1e6:.0f}: write headline rows only"
            )
        self._write(file, content, caption, columns)

    def done(self) -> None:
        """Mark the notebook finished: only then can its profile be published.

        Raises:
            InputError: another run of the notebook has overwritten a file of this one.
        """
        for file, entry in self._entries.items():
            path = self._built(file)
            if not path.is_file() or sha256(path.read_bytes()) != entry["sha256"]:
                raise InputError(f"{file} was changed by another run of {self.notebook}: run one at a time")
        elsewhere = {
            entry["file"]
            for path in self._final.parent.glob("*.jsonl")
            if path not in (self._final, self._partial)
            for entry in files_of(read_lines(path))
        }
        for file in self._earlier - set(self._entries) - elsewhere:
            self._built(file).unlink(missing_ok=True)
        host = {
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": sys.version.split()[0],
            "platform": platform.platform(),
            "versions": {name: version(name) for name in ("numpy", "pandas", "torch", "matplotlib")},
        }
        write_atomic(self._final.with_suffix(".host.json"), json.dumps(host, indent=1).encode())
        write_atomic(self._final, self._line(list(self._entries.values())))
        self._partial.unlink(missing_ok=True)
        self._earlier = set(self._entries)

    @staticmethod
    def _stem(kind: str, number: int | str, slug: str) -> str:
        if slug == "not_applicable":
            raise InputError(f"slug {slug} names a page that says why there is no {kind}: choose another")
        return stem(kind, number, slug)

    def _built(self, file: str) -> Path:
        """Return where a published file lies before it is published."""
        kind, _, name = file.split("/")
        return self.build / kind / name

    def _said(self, caption: str) -> str:
        """Return the caption with how many pairs train methods, where the notebook caps them."""
        most = self._origin["parameters"].get("most_train_pairs")
        return f"{caption} At most {most:,} pairs of a data set train in each fold." if most else caption

    def _line(self, entries: list[dict[str, Any]]) -> bytes:
        """Return the notebook's manifest with these files."""
        return to_lines([self._origin | {"files": entries}])

    def _write(self, name: str, content: bytes, caption: str, columns: Mapping[str, str]) -> None:
        kind, base = name.split("/")
        file = f"{kind}/{self.profile}/{base}"
        write_atomic(self.build / name, content)
        self._entries[file] = {"file": file, "sha256": sha256(content), "caption": caption, "columns": dict(columns)}
        remembered = [{"file": f} for f in self._earlier - set(self._entries)]
        write_atomic(self._partial, self._line(remembered + list(self._entries.values())))
        self._final.unlink(missing_ok=True)  # writing after `done` opens the run again
