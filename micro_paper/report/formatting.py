"""Frames and figures as bytes that depend on their content only."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from micro_paper.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLACES = 4  # decimals of a stored probability

Keys = str | Sequence[str]
Formats = Mapping[str, str | Callable[[Any], str]]
TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
} | {char: "\\" + char for char in "&%$#_{}"}


def _is_float(value: Any) -> bool:
    return isinstance(value, float | np.floating)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (_is_float(value) and math.isnan(value))


def csv(frame: pd.DataFrame) -> bytes:
    """Return the frame as CSV: floats at 6 significant digits, missing cells empty, Unix line ends."""

    def plain(value: Any) -> Any:
        if _missing(value):
            return ""
        return format(float(value) + 0.0, ".6g") if _is_float(value) else value  # + 0.0 turns -0 into 0

    cells = frame.astype(object).map(plain) if len(frame) else frame
    return cells.to_csv(index=False, lineterminator="\n").encode()


def display_frame(
    frame: pd.DataFrame,
    formats: Formats | None = None,
    pivot: tuple[Keys, Keys, str] | None = None,
    display: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the frame of strings that is shown: `display`, or `frame` pivoted, or `frame` itself.

    Floats get three decimals unless `formats` says otherwise for their column (before the pivot); missing
    cells are "".
    """
    if pivot is not None and display is not None:
        raise InputError("give pivot or display, not both")
    shown = frame if display is None else display
    formats = dict(formats or {})
    if unknown := [name for name in formats if name not in shown.columns]:
        raise InputError(f"formats names {unknown[0]!r}, which the frame lacks")

    def text(name: str, value: Any) -> str:
        if _missing(value):
            return ""
        how = formats.get(name, ".3f" if _is_float(value) else "")
        return how(value) if callable(how) else format(value, how) if how else str(value)

    strings = pd.DataFrame({name: [text(name, value) for value in shown[name]] for name in shown.columns}, dtype=object)
    return strings if pivot is None else _pivoted(strings, *pivot)


def _pivoted(strings: pd.DataFrame, index: Keys, columns: Keys, value: str) -> pd.DataFrame:
    rows, heads = ([keys] if isinstance(keys, str) else list(keys) for keys in (index, columns))
    if unknown := [name for name in [*rows, *heads, value] if name not in strings.columns]:
        raise InputError(f"pivot names {unknown[0]!r}, which the frame lacks")
    double = strings.duplicated([*rows, *heads])
    if double.any():
        first = strings.loc[double.idxmax(), [*rows, *heads]].to_dict()
        raise InputError(f"pivot has two values for {first}: add a column to index or columns")
    lines: dict[tuple, dict[str, str]] = {}
    for record in strings.to_dict("records"):
        line = lines.setdefault(tuple(record[k] for k in rows), {k: record[k] for k in rows})
        line[", ".join(record[k] for k in heads)] = record[value]
    names = list(dict.fromkeys([*rows, *(name for line in lines.values() for name in line)]))
    return pd.DataFrame([{name: line.get(name, "") for name in names} for line in lines.values()], columns=names)


def _numeric(shown: pd.DataFrame) -> list[bool]:
    number = re.compile(r"[-+]?[\d.,]+( ?%)?( ?(\(|\[|±|\+-).*)?")
    return [any(map(number.fullmatch, shown[c])) and all(not v or number.fullmatch(v) for v in shown[c]) for c in shown]


def markdown(shown: pd.DataFrame) -> str:
    """Return a frame of strings as a Markdown table, numbers to the right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def clean(value: str) -> str:
        return str(value).replace("|", "\\|").replace("\n", " ")

    rule = ["---:" if right else "---" for right in _numeric(shown)]
    rows = [line([clean(v) for v in row]) for row in shown.itertuples(index=False, name=None)]
    return "\n".join([line([clean(c) for c in shown.columns]), line(rule), *rows]) + "\n"


def read_markdown(table: str) -> pd.DataFrame:
    """Return the frame of strings that `markdown` wrote as `table`."""

    def cells(line: str) -> list[str]:
        return [cell.replace("\\|", "|") for cell in line[2:-2].split(" | ")]

    head, _, *rows = table.splitlines()
    return pd.DataFrame([cells(row) for row in rows], columns=cells(head), dtype=object)


def latex(shown: pd.DataFrame, caption: str, label: str) -> str:
    """Return a frame of strings as a LaTeX table; it needs the package booktabs."""

    def clean(value: Any) -> str:
        return "".join(TEX.get(char, char) for char in str(value).replace("\n", " ")).replace("±", r"$\pm$")

    def line(cells: Sequence[Any]) -> str:
        return " & ".join(map(clean, cells)) + r" \\"

    align = "".join("r" if right else "l" for right in _numeric(shown))
    rows = [line(row) for row in shown.itertuples(index=False, name=None)]
    return "\n".join(
        [
            r"\begin{table}", r"\centering", rf"\caption{{{clean(caption)}}}", rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{{align}}}", r"\toprule", line(list(shown.columns)), r"\midrule", *rows,
            r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip


def pictures(figure: Figure) -> dict[str, bytes]:
    """Return the figure as {"png": ..., "pdf": ...} without dates or versions in it."""
    import matplotlib

    nothing = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    content = {}
    with matplotlib.rc_context({"pdf.fonttype": 42, "pdf.compression": 6, "savefig.bbox": None}):
        for ending, metadata in nothing.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=ending, metadata=metadata, dpi=200)
            content[ending] = buffer.getvalue()
    return content


def parquet(frame: pd.DataFrame) -> bytes:
    """Return predictions as Parquet: `p` to four decimals on the same side of 1/2, texts as dictionaries.

    Raises:
        InputError: there is no column `p`, or not all of it lies in [0, 1].
    """
    import pyarrow
    from pyarrow import parquet as writer

    if "p" not in frame:
        raise InputError("predictions need a column 'p', the probability that the chosen response wins")
    exact = frame["p"].to_numpy(np.float64)
    if not ((exact >= 0) & (exact <= 1)).all():
        raise InputError(f"p must lie in [0, 1], row {int(np.argmin((exact >= 0) & (exact <= 1)))} does not")
    short = exact.round(PLACES)
    step = 10.0**-PLACES  # rounding must not turn a decision into a tie, nor a doubt into certainty
    short = np.where((short == 0.5) & (exact != 0.5), 0.5 + step * np.sign(exact - 0.5), short)
    short = np.clip(short, np.where(exact > 0, step, 0), np.where(exact < 1, 1 - step, 1))
    arrays = {}
    for name in frame.columns:
        column = frame[name]
        if name == "p":
            arrays[name] = pyarrow.array(short.astype(np.float32))
        elif pd.api.types.is_integer_dtype(column) or pd.api.types.is_bool_dtype(column):
            arrays[name] = pyarrow.array(pd.to_numeric(column, downcast="integer").to_numpy())
        elif pd.api.types.is_float_dtype(column):
            arrays[name] = pyarrow.array(column.to_numpy(np.float32))
        elif isinstance(column.dtype, pd.CategoricalDtype):
            arrays[name] = pyarrow.array(column.cat.rename_categories(column.cat.categories.astype(str)))
        else:
            arrays[name] = pyarrow.array([None if _missing(v) else str(v) for v in column]).dictionary_encode()
    buffer = io.BytesIO()
    table = pyarrow.table(arrays)
    writer.write_table(
        table, buffer, compression="zstd", compression_level=9, use_dictionary=True, dictionary_pagesize_limit=1 << 24
    )
    return buffer.getvalue()
