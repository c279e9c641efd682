"""The figure of the notebook on persons: a tidy frame in, a figure out."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from micro_paper.report.plots import ticks_at
from micro_paper.report.style import GREY, TEXT, PaperFigure, distinct, method_style, name_rows, need, styled

COLUMNS = ("people_with", "method", "labels", "metric", "gain", "low", "high", "control", "n_people", "noise_limit")
BAND = "#D9D9D9"


@styled
def people_figure(gains: pd.DataFrame) -> Figure:
    """Draw what rows gain in accuracy by a person's own labels, a row of panels for the people of each largest budget.

    Left: against the number of labels. Right: at the largest number, with 95 % intervals over people, the largest gain
    first; a grey bar reaches to the row's own limit of noise. Controls are hollow, their lines thin and grey.

    Args:
        gains: as `person_noise.against_noise` makes it; accuracy is drawn.
    """
    need(gains, *COLUMNS)
    gains = gains[gains.metric == "accuracy"]
    populations = distinct(gains.people_with)
    heights = [0.7 + 0.17 * gains[gains.people_with == most].method.nunique() for most in populations]
    figure = PaperFigure(figsize=(TEXT, sum(heights)))
    grid = {"height_ratios": heights, "width_ratios": (1, 1)}
    axes = figure.subplots(len(populations), 2, squeeze=False, gridspec_kw=grid)
    for (left, right), most in zip(axes, populations, strict=True):
        part = gains[gains.people_with == most]
        last = part[part.labels == most].sort_values("gain", ascending=False)
        _curves(left, part, distinct(last.method))
        _intervals(right, last)
        left.set(title=f"{part.n_people.iloc[0]} people", ylabel="gain in accuracy")
        right.set_title(f"at {most} labels; grey: by noise alone")
    axes[-1][0].set_xlabel("labels of the person")
    axes[-1][1].set_xlabel("gain in accuracy")
    return figure


def _look(method: str, control: bool) -> dict:
    style = method_style(method)
    face = "white" if control else style.colour
    return {"color": style.colour, "marker": style.marker, "markerfacecolor": face}


def _curves(ax: Axes, part: pd.DataFrame, methods: list[str]) -> None:
    ax.axhline(0, color=GREY, linewidth=0.7)
    for method in methods[::-1]:  # the best is drawn last, on top
        rows = part[part.method == method].sort_values("labels")
        control = bool(rows.control.iloc[0])
        width = 0.7 if control else 1.4
        line = ":" if control else "-"
        ax.plot(rows.labels, rows.gain, linestyle=line, linewidth=width, **_look(method, control))
    ticks_at(ax, part.labels.drop_duplicates().sort_values().to_numpy(float))
    ax.grid(axis="y")


def _intervals(ax: Axes, last: pd.DataFrame) -> None:
    ax.axvline(0, color=GREY, linewidth=0.7)
    for place, row in enumerate(last.itertuples()):
        ax.barh(place, max(row.noise_limit, 0), height=0.8, color=BAND, zorder=0)
        ax.plot([row.low, row.high], [place, place], color=method_style(row.method).colour, linewidth=1.2)
        ax.plot([row.gain], [place], linestyle="", **_look(row.method, bool(row.control)))
    names = [
        method_style(m).label + (" (control)" if c else "") for m, c in zip(last.method, last.control, strict=True)
    ]
    name_rows(ax, names)
    ax.grid(axis="x")
