"""The figures of the ablation notebook that are not budget curves: tidy frames in, a figure out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from micro_paper.metrics import MACRO
from micro_paper.report.plots import end_labels, ticks_at
from micro_paper.report.style import GREY, TEXT, PaperFigure, distinct, key, method_style, need, put_legend, styled

_LOOK = {"test (oracle)": ("-", True), "validation": ("--", False)}  # line, marker filled


@styled
def heads_figure(frame: pd.DataFrame) -> Figure:
    """Draw figure 5: accuracy of the best heads against K, one row a data set.

    Left: mean over attributes, every method, band of one standard deviation over runs; filled and solid where the test
    pairs chose the head (oracle), hollow and dashed where validation pairs did. Right: each attribute of the first
    method, chosen on test.

    Columns: dataset, method, heads, selection, attribute, mean, std.
    """
    need(frame, "dataset", "method", "heads", "selection", "attribute", "mean", "std")
    datasets, methods = distinct(frame["dataset"]), distinct(frame["method"])
    names = {d: distinct(frame[(frame.dataset == d) & (frame.attribute != MACRO)]["attribute"]) for d in datasets}
    heights = [max(2.1, 0.85 + 0.16 * len(names[d])) for d in datasets]
    figure = PaperFigure(figsize=(TEXT, 0.5 + sum(heights)))
    axes = figure.subplots(len(datasets), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
    for (left, right), dataset in zip(axes, datasets, strict=True):
        part = frame[frame.dataset == dataset]
        _means(left, part[part.attribute == MACRO], methods)
        _attributes(right, part, names[dataset], methods[0], heights[datasets.index(dataset)])
        left.set(title=f"{dataset}: mean over attributes", ylabel="accuracy of the best head")
        right.set_title(f"{method_style(methods[0]).label} by attribute, oracle")
    for ax in axes[-1]:
        ax.set_xlabel("heads K")
    handles = [key(s.label, s.colour, s.marker) for s in (method_style(m, methods) for m in methods)]
    for selection in distinct(frame["selection"]):
        line, filled = _LOOK[selection]
        handles.append(key(f"chosen on {selection}", GREY, line=line, markerfacecolor=GREY if filled else "white"))
    put_legend(figure, handles, ncols=3)
    return figure


def _means(ax, part: pd.DataFrame, methods: list) -> None:
    for method in methods:
        style = method_style(method, methods)
        for selection, (line, filled) in _LOOK.items():
            some = part[(part.method == method) & (part.selection == selection)].sort_values("heads")
            if not len(some):
                continue
            at, mean, std = (some[c].to_numpy(float) for c in ("heads", "mean", "std"))
            if filled:
                ax.fill_between(at, mean - std, mean + std, color=style.colour, alpha=0.12, linewidth=0)
            face = style.colour if filled else "white"
            ax.plot(at, mean, color=style.colour, marker=style.marker, linestyle=line, markerfacecolor=face)
    ticks_at(ax, np.unique(part["heads"].to_numpy(float)))
    ax.grid(axis="y")


def _attributes(ax, part: pd.DataFrame, names: list, method: str, height: float) -> None:
    """Draw a line an attribute, its name at the end; `height` of the row in inches sets how close names may stand."""
    of_name = [f"attribute {name}" for name in names]  # so that no attribute gets a method's look
    looks = (replace(method_style(own, of_name), label=name) for name, own in zip(names, of_name, strict=True))
    ends, styles = {}, dict(zip(names, looks, strict=True))
    for name in names:
        some = part[(part.method == method) & (part.selection == "test (oracle)") & (part.attribute == name)]
        some = some.sort_values("heads")
        at, mean = some["heads"].to_numpy(float), some["mean"].to_numpy(float)
        ax.plot(at, mean, color=styles[name].colour, marker=styles[name].marker)
        ends[name] = (at[-1], mean[-1])
    ticks_at(ax, np.unique(part["heads"].to_numpy(float)))
    ax.grid(axis="y")
    end_labels(ax, ends, styles, height - 0.75, at=1.06)  # 0.75: the title and the labels of the axis


@styled
def alpha_tau_figure(alpha: pd.DataFrame, tau: pd.DataFrame) -> Figure:
    """Draw the sweeps over alpha (largest head share, entropy) and tau (accuracy): a line a data set, a dot a run.

    Args:
        alpha: dataset, run, alpha, largest_share, entropy.
        tau: dataset, run, tau, accuracy.
    """
    need(alpha, "dataset", "run", "alpha", "largest_share", "entropy")
    need(tau, "dataset", "run", "tau", "accuracy")
    figure = PaperFigure(figsize=(TEXT, 2.5))
    panels = (
        (alpha, "alpha", "largest_share", "largest mean head share"),
        (alpha, "alpha", "entropy", "router entropy / log K"),
        (tau, "tau", "accuracy", "mean accuracy"),
    )
    names = distinct(alpha["dataset"])
    for ax, (frame, x, y, label) in zip(figure.subplots(1, 3, width_ratios=(1, 1, 1.2)), panels, strict=True):
        values = sorted(frame[x].unique())
        for name in names:
            style, some = method_style(name, names), frame[frame.dataset == name]
            at = [values.index(v) for v in some[x]]
            ax.plot(at, some[y], style.marker, color=style.colour, markersize=2.5, alpha=0.5)
            mean = some.groupby(x)[y].mean()
            ax.plot([values.index(v) for v in mean.index], mean, color=style.colour)
        ax.set_xticks(range(len(values)), [_short(v) for v in values])
        ax.set_xlim(-0.3, len(values) - 0.7)
        ax.grid(axis="y")
        ax.set(xlabel={"alpha": "α (Eq. 4)", "tau": "τ (Eq. 5), nats"}[x], ylabel=label)
    handles = [key(s.label, s.colour, s.marker, "-") for s in (method_style(name, names) for name in names)]
    put_legend(figure, handles, ncols=2)
    return figure


def _short(value: float) -> str:
    """Return 0.0001 as 1e-4, and numbers from 0.01 on in full."""
    return f"{value:.0e}".replace("e-0", "e-") if 0 < value < 0.01 else f"{value:g}"


@styled
def choices_figure(table: pd.DataFrame) -> Figure:
    """Draw what each choice of `micro_plus` changes: difference in accuracy with its interval, a panel a data set.

    Filled: the choice alone, over `micro`; hollow: `micro_plus` over all but this choice. Right of 0 the choice helps.

    Columns: dataset, choice, compared, accuracy, accuracy_low, accuracy_high, as `ablation.choices_table` gives them.
    """
    need(table, "dataset", "choice", "compared", "accuracy", "accuracy_low", "accuracy_high")
    datasets, choices, kinds = (distinct(table[c]) for c in ("dataset", "choice", "compared"))
    figure = PaperFigure(figsize=(TEXT, 0.9 + 0.27 * len(choices)))
    axes = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    plus = method_style("micro_plus")
    for ax, dataset in zip(axes, datasets, strict=True):
        part = table[table.dataset == dataset]
        for kind in kinds:
            some = part[part.compared == kind]
            shift = 0 if kind == kinds[0] else (-0.16 if kind == kinds[1] else 0.16)
            at = np.array([choices.index(c) for c in some["choice"]]) + shift
            value, low, high = (some[c].to_numpy(float) for c in ("accuracy", "accuracy_low", "accuracy_high"))
            face = "white" if kind == kinds[-1] else plus.colour
            ax.errorbar(
                value,
                at,
                xerr=np.maximum([value - low, high - value], 0),
                fmt=plus.marker if kind == kinds[0] else "o",
                color=plus.colour,
                ecolor=GREY,
                elinewidth=1,
                markerfacecolor=face,
                markersize=4.5,
            )
        ax.axvline(0, color=GREY, linewidth=0.8, linestyle="--")
        ax.grid(axis="x")
        ax.set(title=dataset, xlabel="difference in accuracy")
    axes[0].set_yticks(range(len(choices)), [str(c).replace("_", " ") for c in choices])
    axes[0].invert_yaxis()
    looks = [(plus.marker, plus.colour), ("o", plus.colour), ("o", "white")]
    handles = [
        key(kind, plus.colour, marker, markerfacecolor=face) for kind, (marker, face) in zip(kinds, looks, strict=False)
    ]
    put_legend(figure, handles, ncols=len(handles))
    return figure
