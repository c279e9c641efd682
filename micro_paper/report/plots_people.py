"""The figure of notebook 14: what a person's own labels gain, a small panel a row."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from micro_paper.report.plots import ticks_at
from micro_paper.report.style import GREY, TEXT, PaperFigure, distinct, key, method_style, need, put_legend, styled

COLUMNS = 5
TITLE = 20  # characters of a line of a panel's title
BAND = "#D9D9D9"
OFFSET = 0.07  # of the second population's points, as a share of the distance to the next


@styled
def gains_figure(table: pd.DataFrame) -> Figure:
    """Draw each row's gain against the labels of a person, in points of accuracy, with 95 % intervals over people.

    Filled and solid: everybody; hollow and dashed: the people who have the most labels. The band reaches to what noise
    alone may give, for everybody, and beyond their labels for the others.

    Columns: people_with, row, labels, gain, low, high, noise_gain, noise_limit, control, as `person_noise.beyond_noise`
    gives them.
    """
    need(table, "people_with", "row", "labels", "gain", "low", "high", "noise_gain", "noise_limit", "control")
    table = table.assign(**{c: 100 * table[c] for c in ("gain", "low", "high", "noise_gain", "noise_limit")})
    rows, populations = distinct(table["row"]), sorted(distinct(table["people_with"]))
    lines = -(-len(rows) // COLUMNS)
    figure = PaperFigure(figsize=(TEXT, 0.8 + 1.55 * lines))
    axes = figure.subplots(lines, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for ax, row in zip(axes.flat, rows, strict=False):
        _panel(ax, table[table["row"] == row], row, populations)
    for ax in axes.flat[len(rows) :]:
        ax.set_axis_off()
    for column in range(COLUMNS):  # the lowest panel of each column says what its axis is
        below = [line for line in range(lines) if line * COLUMNS + column < len(rows)]
        if below:
            axes[below[-1], column].tick_params(labelbottom=True)
    figure.supxlabel("labels of the person", fontsize=8)
    figure.supylabel("gain, points of accuracy", fontsize=8)
    names = [f"people with {n} labels" for n in populations]
    handles = [key(names[0], "black", "o", "-")]
    handles += [key(name, "black", "o", "--", markerfacecolor="white") for name in names[1:]]
    handles.append(Patch(color=BAND, label="up to what noise alone may give"))
    put_legend(figure, handles, ncols=len(handles))
    return figure


def _panel(ax: Axes, part: pd.DataFrame, row: str, populations: list) -> None:
    control = bool(part["control"].iloc[0])
    style = method_style(row, [row])
    colour = GREY if control else style.colour
    at = np.unique(part["labels"].to_numpy(float))
    band = part.drop_duplicates("labels").sort_values("labels")
    limit = band["noise_limit"].to_numpy(float)
    ax.fill_between(band["labels"].to_numpy(float), 0, np.maximum(0, limit), color=BAND, linewidth=0)
    ax.axhline(0, color="black", linewidth=0.7)
    gaps = np.diff(at, append=2 * at[-1])
    for number, people in enumerate(populations):
        some = part[part["people_with"] == people].sort_values("labels")
        where = some["labels"].to_numpy(float)
        where = where + number * 2 * OFFSET * gaps[np.searchsorted(at, where)]
        value, low, high = (some[c].to_numpy(float) for c in ("gain", "low", "high"))
        ax.errorbar(
            where,
            value,
            yerr=np.maximum([value - low, high - value], 0),
            fmt="o",
            linestyle="--" if number else "-",
            color=colour,
            markerfacecolor="white" if number else colour,
            markersize=3.5,
            linewidth=1.1,
            elinewidth=0.9,
        )
    ticks_at(ax, at)
    ax.grid(axis="y")
    title = f"{style.label}{' (control)' if control else ''}"
    ax.set_title(textwrap.fill(title, TITLE), fontsize=7.5, linespacing=1.05)
