"""The figures, one function each.

Functions take tidy frames and return a figure; they write nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from micro_paper.errors import InputError
from micro_paper.report.figure_1 import pipeline_figure
from micro_paper.report.style import (
    COLOURS,
    COLUMN,
    GREY,
    TEXT,
    MethodStyle,
    PaperFigure,
    distinct,
    key,
    method_style,
    name_rows,
    need,
    put_legend,
    styled,
    use_style,
)

__all__ = [
    "COLOURS",
    "best_heads_figure",
    "budget_curve",
    "comparison_forest",
    "pipeline_figure",
    "router_heatmap",
    "use_style",
]


def _panels(frame: pd.DataFrame, panel: str) -> list[tuple[str, pd.DataFrame]]:
    if panel not in frame.columns:
        return [("", frame)]
    return [(str(name), frame[frame[panel] == name]) for name in distinct(frame[panel])]


def _spread(wanted: ArrayLike, gap: float) -> np.ndarray:
    """Move positions as little as needed (least squares), in their order, to be at least `gap` apart."""
    positions = np.asarray(wanted, dtype=float)
    order = np.argsort(positions, kind="stable")
    # With x_i = y_i + i gap the constraint is that y does not fall: pool adjacent violators.
    blocks: list[tuple[float, int]] = []
    for value in positions[order] - gap * np.arange(len(positions)):
        blocks.append((float(value), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, n), (b, m) = blocks[-2:]
            blocks[-2:] = [((a * n + b * m) / (n + m), n + m)]
    flat = np.concatenate([np.full(n, value) for value, n in blocks])
    placed = np.empty_like(positions)
    placed[order] = flat + gap * np.arange(len(positions))
    return placed


@styled
def best_heads_figure(frame: pd.DataFrame) -> Figure:
    """Draw figure 2: accuracy of each method's best head, by attribute, one panel a data set.

    Columns: dataset, method, attribute, value, low, high, selection (starting with "test": the head was chosen on
    the test set, drawn filled; else on validation, drawn hollow).
    """
    need(frame, "dataset", "method", "attribute", "value", "low", "high", "selection")
    panels, methods, selections = _panels(frame, "dataset"), distinct(frame["method"]), distinct(frame["selection"])
    most = max(part["attribute"].nunique() for _, part in panels)
    rows = [(m, s) for m in methods for s in selections]
    figure = PaperFigure(figsize=(TEXT, 1.0 + most * max(0.3, 0.068 * len(rows))))
    axes = figure.subplots(1, len(panels), sharex=True, squeeze=False)[0]
    for ax, (title, part) in zip(axes, panels, strict=True):
        attributes = distinct(part["attribute"])
        for row, (method, selection) in enumerate(rows):
            some = part[(part["method"] == method) & (part["selection"] == selection)]
            style = method_style(method, methods)
            offset = ((row + 0.5) / len(rows) - 0.5) * 0.8
            y = np.array([attributes.index(a) for a in some["attribute"]]) + offset
            ax.hlines(y, some["low"], some["high"], color=style.colour, linewidth=0.9)
            face = style.colour if str(selection).startswith("test") else "white"
            ax.plot(some["value"], y, style.marker, color=style.colour, markerfacecolor=face, markersize=4)
        for edge in range(1, len(attributes)):
            ax.axhline(edge - 0.5, color="#DDDDDD", linewidth=0.6)
        name_rows(ax, attributes)
        ax.grid(axis="x")
        ax.set(title=title, xlabel="accuracy of the best head")
    handles = [key(s.label, s.colour, s.marker) for s in (method_style(m, methods) for m in methods)]
    for selection in selections:
        face = GREY if str(selection).startswith("test") else "white"
        handles.append(key(f"chosen on {selection}", GREY, markerfacecolor=face))
    put_legend(figure, handles, ncols=min(len(handles), 4))
    return figure


@styled
def router_heatmap(weights: ArrayLike, groups: Sequence[str], title: str = "") -> Figure:
    """Draw figure 3: router weights (n_prompts, K), prompts sorted by group and by their strongest head.

    The mark 1/K on the colour bar is the weight of a router that does not look at the prompt.
    """
    values, names = np.asarray(weights, dtype=float), np.asarray(groups)
    if values.ndim != 2 or len(values) != len(names) or not values.size:
        raise InputError(f"weights of shape {values.shape} need one group a row, got {len(names)} groups")
    if not np.allclose(values.sum(axis=1), 1, atol=1e-3) or (values < 0).any():
        raise InputError("the router's weights must be 0 or more and sum to 1 in each row")
    order_of = {name: place for place, name in enumerate(dict.fromkeys(names))}
    place = np.array([order_of[name] for name in names])
    order = np.lexsort((-values.max(axis=1), values.argmax(axis=1), place))
    heads = values.shape[1]
    figure = PaperFigure(figsize=(COLUMN, 3.4))
    ax = figure.add_subplot()
    image = ax.imshow(values[order], aspect="auto", cmap="viridis", vmin=0, vmax=values.max(), interpolation="nearest")
    ends = np.cumsum(np.bincount(place))
    for end in ends[:-1]:
        ax.axhline(end - 0.5, color="white", linewidth=2)
        ax.axhline(end - 0.5, color="black", linewidth=0.8)
    ax.set_yticks((ends + np.r_[0, ends[:-1]]) / 2 - 0.5, list(order_of))
    ax.set_xticks(range(heads), [str(head + 1) for head in range(heads)])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set(xlabel="head", ylabel="prompts", title=title)
    bar = figure.colorbar(image, ax=ax, label="router weight", fraction=0.06)
    bar.outline.set_visible(False)
    bar.ax.axhline(1 / heads, color="white", linewidth=2.4)
    bar.ax.axhline(1 / heads, color="black", linewidth=1)
    bar.ax.text(-0.25, 1 / heads, "1/K", transform=bar.ax.get_yaxis_transform(), ha="right", va="center", fontsize=7)
    return figure


@styled
def budget_curve(
    frame: pd.DataFrame,
    x: str = "budget",
    series: str = "method",
    xlabel: str = "labelled contexts per attribute",
    ylabel: str = "mean accuracy",
) -> Figure:
    """Draw figures 4 to 6: lines over `x`, a band of one standard deviation over runs, labels at the ends.

    Columns: `x`, `series`, mean, std (missing: no band), and dataset for one panel each. A numeric `series` (K)
    is coloured by its order.
    """
    need(frame, x, series, "mean", "std")
    panels, names = _panels(frame, "dataset"), distinct(frame[series])
    figure = PaperFigure(figsize=(TEXT if len(panels) > 1 else COLUMN * 1.35, 2.7))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    styles = _series_styles(names, series)
    for ax, (title, part) in zip(axes, panels, strict=True):
        ends = {}
        for name in names:
            line = part[part[series] == name].sort_values(x)
            if not len(line):
                continue
            style = styles[name]
            at, mean = line[x].to_numpy(float), line["mean"].to_numpy(float)
            std = line["std"].fillna(0).to_numpy(float)
            ax.fill_between(at, mean - std, mean + std, color=style.colour, alpha=0.15, linewidth=0)
            face = "white" if style.line != "-" else style.colour
            ax.plot(at, mean, color=style.colour, marker=style.marker, linestyle=style.line, markerfacecolor=face)
            ends[name] = (at[-1], mean[-1])
        ticks_at(ax, np.unique(part[x].to_numpy(float)))
        ax.grid(axis="y")
        ax.set(title=title, xlabel=xlabel)
        end_labels(ax, ends, styles, figure.get_size_inches()[1] * 0.68)
    axes[0].set_ylabel(ylabel)
    return figure


def _series_styles(names: Sequence, series: str) -> dict:
    if not all(isinstance(name, int | float | np.number) for name in names):
        return {name: method_style(name, names) for name in names}
    ordered = sorted(names)
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.82, len(ordered)))
    looks = zip(shades, "osD^vPXphd<>"[: len(ordered)].ljust(len(ordered), "o"), strict=True)
    return {
        name: MethodStyle(f"{series} = {name:g}", matplotlib.colors.to_hex(shade), marker)
        for name, (shade, marker) in zip(ordered, looks, strict=True)
    }


def ticks_at(ax: Axes, at: np.ndarray) -> None:
    """Put ticks at the values themselves, on a scale that is logarithmic from the least positive value on."""
    positive = at[at > 0]
    if len(positive) > 1 and positive[-1] / positive[0] > 4:
        ax.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
    ax.set_xticks(at, minor=False)
    ax.set_xticks([], minor=True)
    low, high = (ax.transData.transform([(value, 0)])[0, 0] for value in (at[0], at[-1]))
    shown, last = [], np.inf
    for value in at[::-1]:  # the largest first: it is the one that the text speaks of
        here = ax.transData.transform([(value, 0)])[0, 0]
        keep = last - here > 0.075 * (high - low)
        shown.append(f"{value:g}" if keep else "")
        last = here if keep else last
    ax.set_xticklabels(shown[::-1])


def end_labels(ax: Axes, ends: dict, styles: dict, height: float, at: float = 1.05) -> None:
    """Write the label of each line beside its end, apart from each other, with a thin lead.

    Args:
        ends: name to the line's last point (x, y). styles: name to its look.
        height: of the axes in inches, without titles and labels. at: where the labels begin, in widths of the axes.
    """
    low, high = ax.get_ylim()
    placed = _spread([y for _, y in ends.values()], (high - low) * 0.125 / height)
    ax.set_ylim(min(low, placed.min()), max(high, placed.max()))
    for (name, (x, y)), where in zip(ends.items(), placed, strict=True):
        ax.annotate(
            styles[name].label,
            (x, y),
            xytext=(at, where),
            textcoords=ax.get_yaxis_transform(),
            color=_dark(styles[name].colour),
            fontsize=7.5,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": styles[name].colour,
                "linewidth": 0.6,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 3,
            },
        )


def _dark(colour: str) -> tuple[float, float, float]:
    """Return the colour dark enough to be read as text on white."""
    red, green, blue = matplotlib.colors.to_rgb(colour)
    shade = min(1.0, 0.42 / max(0.3 * red + 0.59 * green + 0.11 * blue, 1e-9))
    return red * shade, green * shade, blue * shade


@styled
def comparison_forest(frame: pd.DataFrame, reference: str = "MiCRo", margin: float | None = None) -> Figure:
    """Draw paired differences of accuracy, reference less the method, with intervals and a line at zero.

    Columns: method, difference, low, high, and dataset for one panel each. `margin` shades what counts as equal.
    """
    need(frame, "method", "difference", "low", "high")
    panels, methods = _panels(frame, "dataset"), distinct(frame["method"])
    width = TEXT if len(panels) > 1 else COLUMN * 1.2
    figure = PaperFigure(figsize=(width, 0.9 + 0.22 * len(methods)))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, (title, part) in zip(axes, panels, strict=True):
        if margin is not None:
            ax.axvspan(-margin, margin, color="#EEEEEE", linewidth=0)
        ax.axvline(0, color="black", linewidth=0.8)
        for row in part.to_dict("records"):
            style, y = method_style(row["method"], methods), methods.index(row["method"])
            ax.hlines(y, row["low"], row["high"], color=style.colour, linewidth=1.3)
            ax.plot(row["difference"], y, style.marker, color=style.colour)
        ax.grid(axis="x")
        ax.set_title(title)
    label = f"accuracy, {reference} minus the other"
    if len(panels) > 1:  # as wide as two panels or more
        figure.supxlabel(label, size=matplotlib.rcParams["axes.labelsize"])
    else:
        axes[0].set_xlabel(label)
    name_rows(axes[0], [method_style(m, methods).label for m in methods])
    for ax in axes:
        ax.tick_params(axis="y", length=0)
    return figure
