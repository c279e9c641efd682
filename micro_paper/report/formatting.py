"""Frames and figures as bytes that depend on their content only, and that say it plainly whatever the names are."""

from __future__ import annotations

import csv as comma
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from micro_paper.digits import is_float, steady, written
from micro_paper.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLACES = 4  # decimals of a stored probability
ORDER = ("dataset", "fold", "prompt_id", "pair_id", "method", "seed")  # of the lines of stored predictions
TINY = ("chance",)  # columns whose numbers may be as small as they say
PLAIN = (str, bool, int, float, np.bool_, np.integer, np.floating, PurePath, pd.Timestamp)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # some of them end a line

_FOLDERS = re.compile(r"jsonl:/(?:(?!jsonl:)[^\n])*/")

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


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (is_float(value) and value != value)


def csv(frame: pd.DataFrame) -> bytes:
    """Return the frame as CSV: floats at 6 significant digits, missing cells empty, Unix line ends.

    A text with any line end in it is quoted, so that it reads back as it was.

    Raises:
        InputError: two columns have one name, or a cell is neither a number, a text nor missing.
    """
    if double := frame.columns[frame.columns.duplicated()].tolist():
        raise InputError(f"column {double[0]!r} is there twice: give one another name")

    def plain(name: Any, row: int, value: Any) -> str:
        if _missing(value):
            return ""
        if not isinstance(value, PLAIN):
            raise InputError(f"column {name}, row {row}: a cell holds a number or a text, got {value!r:.80}")
        return written(value, tiny=name in TINY) if is_float(value) else str(value)

    columns = [[plain(name, row, value) for row, value in enumerate(frame[name], start=1)] for name in frame.columns]
    lines: list[str] = []
    # of line ends, only the writer's own are quoted by every Python: written as \r\n, put right behind
    writer = comma.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")
    writer.writerows([list(map(str, frame.columns)), *zip(*columns, strict=True)])
    try:
        return "".join(line.removesuffix("\r\n") + "\n" for line in lines).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{error.object[max(0, error.start - 40) : error.end]!r} ends in half a character") from None


def display_frame(
    frame: pd.DataFrame,
    formats: Formats | None = None,
    pivot: tuple[Keys, Keys, str] | None = None,
    display: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the frame of strings that is shown: `display`, or `frame` pivoted, or `frame` itself.

    Floats get three decimals unless `formats` says otherwise for their column (before the pivot); missing
    cells are "". A pivot's column that would take the name of another is called `KEY=NAME`.

    Raises:
        InputError: a format does not fit its column, or the pivot has two values for a cell.
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
        how = formats.get(name, ".3f" if is_float(value) else "")
        if is_float(value):
            value = steady(value, tiny=name in TINY)
        try:
            return how(value) if callable(how) else format(value, how) if how else str(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"formats of column {name}: {how!r} does not fit {value!r:.80}: {error}") from None

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
    names: dict[tuple, str] = {}  # of each column
    lines: dict[tuple, dict[tuple, str]] = {}
    for record in strings.to_dict("records"):
        head = tuple(record[k] for k in heads)
        lines.setdefault(tuple(record[k] for k in rows), {})[head] = record[value]
        if head not in names:
            taken = {*rows, *names.values()}
            clear = ", ".join(f"{k}={v}" for k, v in zip(heads, head, strict=True))
            names[head] = next((n for n in (", ".join(head), clear) if n not in taken), f"{clear} ({len(names)})")
    cells = [[*key, *(line.get(head, "") for head in names)] for key, line in lines.items()]
    return pd.DataFrame(cells, columns=[*rows, *names.values()], dtype=object)


def numeric(shown: pd.DataFrame) -> list[bool]:
    """Return which columns of a frame of strings hold numbers, some of them perhaps with an interval."""
    number = re.compile(r"[-+]?[\d.,]+( ?%)?( ?(\(|\[|±|\+-).*)?")
    return [any(map(number.fullmatch, shown[c])) and all(not v or number.fullmatch(v) for v in shown[c]) for c in shown]


def markdown(shown: pd.DataFrame) -> str:
    """Return a frame of strings as a Markdown table, numbers to the right."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def clean(value: str) -> str:
        return CONTROL.sub(" ", str(value)).replace("|", "\\|")

    rule = ["---:" if right else "---" for right in numeric(shown)]
    rows = [line([clean(v) for v in row]) for row in shown.itertuples(index=False, name=None)]
    return "\n".join([line([clean(c) for c in shown.columns]), line(rule), *rows]) + "\n"


def read_markdown(table: str) -> pd.DataFrame:
    """Return the frame of strings that `markdown` wrote as `table`."""

    def cells(line: str) -> list[str]:
        return [cell.replace("\\|", "|") for cell in line[2:-2].split(" | ")]

    head, _, *rows = table.removesuffix("\n").split("\n")
    return pd.DataFrame([cells(row) for row in rows], columns=cells(head), dtype=object)


def latex(shown: pd.DataFrame, caption: str, label: str) -> str:
    """Return a frame of strings as a LaTeX table; it needs the package booktabs."""

    def clean(value: Any) -> str:
        return "".join(TEX.get(char, char) for char in CONTROL.sub(" ", str(value))).replace("±", r"$\pm$")

    def line(cells: Sequence[Any]) -> str:
        text = " & ".join(map(clean, cells)) + r" \\"
        return "{}" + text if text.lstrip().startswith(("[", "*")) else text  # else options of what stands before it

    align = "".join("r" if right else "l" for right in numeric(shown))
    rows = [line(row) for row in shown.itertuples(index=False, name=None)]
    return "\n".join(
        [
            r"\begin{table}", r"\centering", rf"\caption{{{clean(caption)}}}", rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{{align}}}", r"\toprule", line(list(shown.columns)), r"\midrule", *rows,
            r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip


def without_folders(text: str) -> str:
    """Return a text in which own data, `jsonl:/folder/file.jsonl`, go by the name of their file."""
    return _FOLDERS.sub("jsonl:", text)


def pictures(figure: Figure) -> dict[str, bytes]:
    """Return the figure as {"png": ..., "pdf": ...} without dates, versions or folders of own data in it."""
    import matplotlib
    from matplotlib.text import Text

    for text in figure.findobj(lambda part: isinstance(part, Text) and "jsonl:" in part.get_text()):
        text.set_text(without_folders(text.get_text()))
    nothing = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    content = {}
    with matplotlib.rc_context({"pdf.fonttype": 42, "pdf.compression": 6, "savefig.bbox": None}):
        for ending, metadata in nothing.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=ending, metadata=metadata, dpi=200)
            content[ending] = buffer.getvalue()
    return content


def parquet(frame: pd.DataFrame) -> bytes:
    """Return predictions as Parquet: `p` to four decimals on the same side of 1/2, `right` as it is, texts coded.

    Lines are sorted by pair, then row: ids that repeat from line to line take no room.

    Raises:
        InputError: there is no column `p` or `right`, or not all of it lies in [0, 1].
    """
    import pyarrow
    from pyarrow import parquet as writer

    given = [name for name in ("p", "right") if name in frame]
    if len(given) != 1:
        raise InputError("predictions need a column 'p', the probability that the chosen response wins, or 'right'")
    exact = frame[given[0]].to_numpy(np.float64)
    if not ((exact >= 0) & (exact <= 1)).all():
        row = int(np.argmin((exact >= 0) & (exact <= 1)))
        raise InputError(f"{given[0]} must lie in [0, 1], row {row} does not")
    frame = frame.sort_values([name for name in ORDER if name in frame], kind="stable", ignore_index=True)
    exact = frame[given[0]].to_numpy(np.float64)
    short = exact.round(PLACES)
    step = 10.0**-PLACES  # rounding must not turn a decision into a tie, nor a doubt into certainty
    short = np.where((short == 0.5) & (exact != 0.5), 0.5 + step * np.sign(exact - 0.5), short)
    short = np.clip(short, np.where(exact > 0, step, 0), np.where(exact < 1, 1 - step, 1))
    arrays = {}
    for name in frame.columns:
        column = frame[name]
        if name in given:
            values = short if name == "p" else exact
            arrays[name] = pyarrow.array(values.astype(np.float32))
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
        table,
        buffer,
        compression="zstd",
        compression_level=9,
        use_dictionary=True,
        dictionary_pagesize_limit=1 << 24,
        row_group_size=max(1, len(frame)),
    )
    return buffer.getvalue()
