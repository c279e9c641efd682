"""Figures of notebooks 08 and 13: sections of RewardBench, heads under audit, reliability.

Functions take tidy frames and return a figure; they write nothing.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from micro_paper.report.style import (
    COLUMN,
    GREY,
    RED,
    TEXT,
    PaperFigure,
    distinct,
    key,
    method_style,
    name_rows,
    need,
    put_legend,
    styled,
)


@styled
def sections_figure(frame: pd.DataFrame) -> Figure:
    """Draw table 10: accuracy by section, one row a method in each, with intervals; crosses are the paper's values.

    Columns: method, section, value, low, high, paper.
    """
    need(frame, "method", "section", "value", "low", "high", "paper")
    methods, sections = (distinct(frame[c]) for c in ("method", "section"))
    figure = PaperFigure(figsize=(TEXT * 0.8, 1.0 + len(sections) * max(0.35, 0.09 * len(methods))))
    ax = figure.add_subplot()
    for row, name in enumerate(methods):
        style, part = method_style(name, methods), frame[frame["method"] == name]
        y = np.array([sections.index(s) for s in part["section"]]) + ((row + 0.5) / len(methods) - 0.5) * 0.8
        ax.hlines(y, part["low"], part["high"], color=style.colour, linewidth=0.9)
        face = "white" if name == "micro_stage1" else style.colour  # it shares its colour with micro_plus
        ax.plot(part["value"], y, style.marker, color=style.colour, mfc=face, markersize=4, label=style.label)
        ax.plot(part["paper"], y, "x", color=style.colour, markersize=5)
    for edge in range(1, len(sections)):
        ax.axhline(edge - 0.5, color="#DDDDDD", linewidth=0.6)
    ax.axvline(0.5, color="black", linewidth=0.7)
    name_rows(ax, sections)
    ax.grid(axis="x")
    ax.set(xlabel="accuracy (line: chance)")
    handles, _ = ax.get_legend_handles_labels()
    if frame["paper"].notna().any():
        handles.append(key("the paper's", GREY, "x"))
    figure.legend(handles=handles, loc="outside right center")
    return figure


@styled
def heads_figure(frame: pd.DataFrame) -> Figure:
    """Draw the audit: accuracy of every head on safety pairs, sorted, with intervals; masked heads are filled.

    Columns: method, heads (one panel each), value, low, high, masked.
    """
    need(frame, "method", "heads", "value", "low", "high", "masked")
    panels = [(m, h) for m in dict.fromkeys(frame["method"]) for h in dict.fromkeys(frame["heads"])]
    figure = PaperFigure(figsize=(TEXT, 2.1))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (method, kind) in zip(axes, panels, strict=True):
        part = frame[(frame["method"] == method) & (frame["heads"] == kind)].sort_values("value")
        place = np.arange(1, len(part) + 1)
        masked = part["masked"].to_numpy(bool)
        for own, colour, marker in ((~masked, GREY, "o"), (masked, RED, "s")):
            ax.vlines(place[own], part["low"][own], part["high"][own], color=colour, linewidth=0.9)
            ax.plot(place[own], part["value"][own], marker, color=colour, markersize=3.5)
        ax.axhline(0.5, color="black", linewidth=0.7)
        ax.grid(axis="y")
        ax.set_xticks([1, len(part)])
        ax.set(title=f"{method_style(method).label}\n{kind}", xlabel="heads of all runs")
    axes[0].set_ylabel("prefers the safer side")
    put_legend(figure, [key("kept", GREY), key("masked", RED, "s")], ncols=2)
    return figure


@styled
def reliability_figure(frame: pd.DataFrame) -> Figure:
    """Draw reliability: accuracy against confidence, one panel a method and data set; the line is perfect calibration.

    Columns: dataset, method, calibration (the first hollow, the second filled), confidence, value, low, high.
    """
    need(frame, "dataset", "method", "calibration", "confidence", "value", "low", "high")
    datasets, methods, states = (distinct(frame[c]) for c in ("dataset", "method", "calibration"))
    figure = PaperFigure(figsize=(max(COLUMN, TEXT * len(methods) / 3), 0.7 + 1.75 * len(datasets)))
    axes = figure.subplots(len(datasets), len(methods), sharex=True, sharey=True, squeeze=False)
    for row, dataset in enumerate(datasets):
        for column, method in enumerate(methods):
            ax, style = axes[row, column], method_style(method, methods)
            ax.plot([0.5, 1], [0.5, 1], color="black", linewidth=0.7)
            for state in states:
                part = frame[(frame["dataset"] == dataset) & (frame["method"] == method)]
                part = part[part["calibration"] == state].sort_values("confidence")
                first = state == states[0]
                colour = GREY if first else style.colour
                ax.vlines(part["confidence"], part["low"], part["high"], color=colour, linewidth=0.9)
                marker = {"marker": "o" if first else style.marker, "markerfacecolor": "white" if first else colour}
                ax.plot(part["confidence"], part["value"], color=colour, linestyle="--" if first else "-", **marker)
            ax.grid()
            ax.set_xlim(0.48, 1.02)
            if row == 0:
                ax.set_title(style.label)
        axes[row, 0].set_ylabel(f"{dataset}\nshare right")
    for ax in axes[-1]:
        ax.set_xlabel("confidence")
    handles = [
        key(states[0], GREY, line="--", markerfacecolor="white"),
        *(key(state, "black", line="-") for state in states[1:]),
        key("as sure as right", "black", "", "-", linewidth=0.7),
    ]
    put_legend(figure, handles, ncols=3)
    return figure
