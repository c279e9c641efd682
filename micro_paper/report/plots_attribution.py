"""The figure of attribution: which heads and which reading of the context the accuracy comes from."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from micro_paper.metrics import MACRO
from micro_paper.report.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    RED,
    TEXT,
    PaperFigure,
    distinct,
    key,
    need,
    put_legend,
    styled,
)

_LOOK = ((RED, "o"), (BLUE, "s"), (ORANGE, "D"), (BLACK, "^"))  # of readings, in the order of the table


@styled
def attribution_figure(table: pd.DataFrame, readable: pd.DataFrame) -> Figure:
    """Draw accuracies of heads times readings with their intervals, and how well each reading tells the criterion.

    A row a data set: left the average accuracy, a line a kind of heads and a marker a reading; right the probe's
    accuracy, with a dashed line at chance.

    Columns: of `table` dataset, heads, reading, attribute, value, low, high; of `readable` dataset, reading, value,
    low, high, chance.
    """
    need(table, "dataset", "heads", "reading", "attribute", "value", "low", "high")
    need(readable, "dataset", "reading", "value", "low", "high", "chance")
    mean = table[table.attribute == MACRO]
    datasets, kinds, readings = (distinct(mean[c]) for c in ("dataset", "heads", "reading"))
    looks = dict(zip(readings, _LOOK, strict=False))
    figure = PaperFigure(figsize=(TEXT, 0.8 + (0.4 + 0.35 * len(kinds)) * len(datasets)))
    axes = figure.subplots(len(datasets), 2, squeeze=False, width_ratios=(2, 1))
    for (left, right), dataset in zip(axes, datasets, strict=True):
        part, probes = mean[mean.dataset == dataset], readable[readable.dataset == dataset]
        present = [name for name in kinds if name in set(part["heads"])]
        for place, reading in enumerate(readings):
            shift = 0.18 * (place - (len(readings) - 1) / 2)
            some = part[part.reading == reading]
            _dots(left, some, np.array([present.index(name) for name in some["heads"]]) + shift, *looks[reading])
            some = probes[probes.reading == reading]
            _dots(right, some, np.full(len(some), place), *looks[reading])
        left.set_yticks(range(len(present)), [f"{name} heads" for name in present])
        right.set_yticks([])
        right.axvline(probes["chance"].max(), color=GREY, linewidth=0.8, linestyle="--")
        for ax, name in ((left, "accuracy"), (right, "criterion told from the reading")):
            ax.invert_yaxis()
            ax.grid(axis="x")
            ax.set(xlabel=name)
        left.set_title(dataset)
    put_legend(figure, [key(name, *looks[name]) for name in readings], ncols=len(readings))
    return figure


def _dots(ax, rows: pd.DataFrame, at: np.ndarray, colour: str, marker: str) -> None:
    value, low, high = (rows[c].to_numpy(float) for c in ("value", "low", "high"))
    spread = np.maximum([value - low, high - value], 0)
    ax.errorbar(value, at, xerr=spread, fmt=marker, color=colour, ecolor=GREY, elinewidth=1, markersize=4.5)
