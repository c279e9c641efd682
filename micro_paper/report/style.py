"""One look for all figures: sizes, fonts, and colour, marker and line of each method.

Colours are those of Okabe and Ito, which readers with any colour vision can tell apart; marker and line style
say the same again, so a figure also works in grey.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from micro_paper.digits import is_float, written
from micro_paper.errors import InputError
from micro_paper.report import rows

COLUMN, TEXT = 3.3, 6.8  # widths in inches of one column and of the page's text
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, RED, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8A8A8A"
P = ParamSpec("P")


@dataclass(frozen=True)
class MethodStyle:
    """How one method is drawn: label, colour, marker and line style."""

    label: str
    colour: str
    marker: str
    line: str = "-"


_LOOKS = {  # colour, marker and, but for a whole one, line of each row of the glossary
    "micro": (RED, "o"),
    "micro_stage1": (ORANGE, "o", "--"),
    "micro_plus": (ORANGE, "D"),
    "micro_plus_full": (ORANGE, "d", "-."),
    "micro_criterion": (RED, "*", "-."),
    "micro_converged": (RED, "P", "--"),
    "single": (BLACK, "s", "--"),
    "static_uniform": (SKY, "v", ":"),
    "static_learned": (BLUE, "^", "--"),
    "static_maxmin": (BLUE, "<", "-."),
    "shared_base": (GREEN, "P", "-."),
    "shared_base_mlp": (GREEN, "P", ":"),
    "shared_base_best": (GREEN, "X", "-."),
    "micro_hyre": (RED, "X", "-."),
    "pca_hyre": (GREY, "X", "-."),
    "drms_random": (GREY, "p", "--"),
    "lore": (GREEN, "1", "-."),
    "pal": (SKY, "2", "-."),
    "vpl": (BLUE, "3", "-."),
    "bag_of_words": (BLACK, "x", ":"),
    "surface_counts": (GREY, "x", "-."),
    "system_only": (BLACK, "+", ":"),
    "micro_average_mix": (RED, "+", ":"),
    "prompted": (BLUE, "*", ":"),
    "hyre": (PURPLE, "X"),
    "hyre_100": (PURPLE, "X", ":"),
    "drms": (PURPLE, "p", "--"),
    "drms_100": (PURPLE, "p", ":"),
    "armo": (GREEN, "h", ":"),
    "armo_published": (GREEN, "h", "-."),
    "length": (GREY, ".", "--"),
    "random_heads": (GREY, "d", ":"),
    "pca_heads": (GREY, "8", "-."),
    "shuffled_router": (RED, ">", ":"),
    "criterion_fewshot": (SKY, "H", "-."),
    "single_exact": (BLACK, "D", "-."),
    "oracle_attribute_exact": (BLACK, "*"),
    "criterion_fewshot_exact": (SKY, "h"),
    "person_none": (BLACK, "s", "--"),
    "person_router": (RED, "o"),
    "person_micro_hyre": (RED, "X", "-."),
    "person_hyre": (PURPLE, "X"),
    "person_ridge": (BLUE, "^"),
    "person_classes": (GREEN, "P"),
    "mrm": (ORANGE, "D"),
    "person_length": (GREY, ".", "--"),
    "person_position": (GREY, "<", ":"),
    "peers": (GREY, "^", "-."),
    "shuffled_people": (GREY, ">", ":"),
}
STYLES = {name: MethodStyle(rows.glossary()[name].label, *look) for name, look in _LOOKS.items()}
COLOURS = {name: style.colour for name, style in STYLES.items()}
_OTHER_COLOURS, _OTHER_MARKERS = (BLUE, GREEN, PURPLE, ORANGE, SKY, BLACK), "d8HX<vo"

STYLE = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # ships with matplotlib, so the same bytes everywhere
    "text.usetex": False,
}


class PaperFigure(Figure):
    """A figure that shows itself in a notebook, whichever backend is set."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        width, height = (round(100 * side) for side in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height}


@contextmanager
def use_style() -> Iterator[None]:
    """Draw in the style of the paper within the block; nothing changes outside."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def _as_written(value: Any) -> Any:
    """Return a frame or an array with its floats as tables hold them, so that both say the same; others as they are."""
    if isinstance(value, pd.DataFrame):
        frame = value.copy()
        for name in value.select_dtypes("floating"):
            frame[name] = value[name].map(_as_written)
        return frame
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return np.array([_as_written(cell) for cell in value.ravel()]).reshape(value.shape)
    return float(written(value)) if is_float(value) else value


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw in the style of the paper, numbers as tables hold them."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with use_style():
            return draw(*map(_as_written, args), **{name: _as_written(value) for name, value in kwargs.items()})

    return inside


def method_style(name: str, others: Sequence[str] = ()) -> MethodStyle:
    """Return the style of a method; one that is not ours gets a style by its place among `others`."""
    if name in STYLES:
        return STYLES[name]
    strangers = [other for other in others if other not in STYLES]
    place = strangers.index(name) if name in strangers else 0
    colour, marker = _OTHER_COLOURS[place % 6], _OTHER_MARKERS[place % 7]
    return MethodStyle(str(name), colour, marker, "--")


def distinct(values: Sequence) -> list:
    """Return the distinct values in the order in which they come."""
    return list(dict.fromkeys(values))


def need(frame: pd.DataFrame, *columns: str) -> None:
    """Raise an InputError unless the frame has rows and these columns."""
    if missing := [name for name in columns if name not in frame.columns]:
        raise InputError(f"the frame lacks the column {missing[0]!r}: it needs {', '.join(columns)}")
    if not len(frame):
        raise InputError("the frame has no rows: there is nothing to draw")


def name_rows(ax: Axes, names: Sequence, low: float = 0.5, high: float = -0.5) -> None:
    """Name the rows 0, 1, ... of a plot that is read from the top, without tick marks."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - low, high)
    ax.tick_params(axis="y", length=0)


def key(label: str, colour: str, marker: str = "o", line: str = "", **look: Any) -> Line2D:
    """Return an entry of a legend: a marker, a line or both."""
    return Line2D([], [], color=colour, marker=marker, linestyle=line, label=label, **look)


def put_legend(figure: Figure, handles: Sequence | Axes, ncols: int, **look: Any) -> None:
    """Put a legend above the panels: of these entries, or of what was drawn in a panel."""
    if isinstance(handles, Axes):
        handles = handles.get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside upper center", ncols=ncols, **look)
