"""A table as it is read on a screen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import pandas as pd

from micro_paper.metrics import MACRO
from micro_paper.report import rows
from micro_paper.report.formatting import CONTROL, numeric

LONG = 45  # characters; a longer cell is prose, which may take several lines


class Shown:
    """A frame of strings with its caption above and its codes explained below: no cell is cut, a row is one line high.

    What the rows see stands in codes (column `sees`), and their average right behind their names.

    Args:
        title, caption: stand above.
        table: as of `formatting.display_frame`.

    Attributes:
        frame: what is shown.
        legend: the codes in it, and what each means.
    """

    def __init__(self, title: str, caption: str, table: pd.DataFrame) -> None:
        self.heading = title, caption
        self.legend: dict[str, str] = {}
        frame = table.map(lambda cell: CONTROL.sub(" ", str(cell)))
        if "supervision" in frame:
            seen = [rows.sees(text) for text in frame["supervision"]]
            frame = frame.assign(supervision=[", ".join(s) for s in seen]).rename(columns={"supervision": "sees"})
            used = {code for s in seen for code in s}
            self.legend = {code: text for code, text in rows.codes().items() if code in used}
        if {"method", MACRO} <= set(frame):
            average = frame.pop(MACRO)
            frame.insert(list(frame).index("method") + 1, MACRO, average)
        self.frame = frame

    def __repr__(self) -> str:
        legend = [f"{code}: {text}" for code, text in self.legend.items()]
        return "\n".join([". ".join(self.heading), self.frame.to_string(index=False), *legend])

    def _repr_html_(self) -> str:
        look = []  # of each column, on each cell: a viewer that does not trust a notebook drops style sheets
        for name, right in zip(self.frame, numeric(self.frame), strict=True):
            wide = max(map(len, self.frame[name]), default=0) > LONG
            width = "white-space: normal; min-width: 22em" if wide else "white-space: nowrap"
            look.append(f"text-align: {'right' if right else 'left'}; {width}")

        def line(tag: str, cells: Iterable, styles: Sequence[str]) -> str:
            cells = (f'<{tag} style="{s}">{escape(str(c))}</{tag}>' for c, s in zip(cells, styles, strict=True))
            return f"<tr>{''.join(cells)}</tr>"

        head = line("th", self.frame, [style.partition(";")[0] for style in look])
        body = "\n".join(line("td", row, look) for row in self.frame.itertuples(index=False, name=None))
        title, caption = map(escape, self.heading)
        legend = "; ".join(f"<b>{code}</b> {escape(text)}" for code, text in self.legend.items())
        table = f"<table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        return f"<p><b>{title}.</b> {caption}</p>\n{table}" + (f"\n<p>{legend}</p>" if legend else "")
