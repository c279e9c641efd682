"""The figures of the theory notebook, one function each: tidy frames in, a figure out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from micro_paper.report.style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    TEXT,
    PaperFigure,
    put_legend,
    styled,
)

BOUNDS = {
    "paper": ("Theorem 3.2", GREY),
    "averaged": ("with the group weights", SKY),
    "pointwise": ("variance inside the pairs", BLUE),
    "refined": ("sharp Pinsker constant", PURPLE),
    "group_information": ("group information I(Y;Z|X,A)", BLACK),
    "information_upper": ("upper bound of it", ORANGE),
    "irreducible": ("irreducible error", RED),
    "irreducible_upper": ("upper bound of the error", ORANGE),
}
_PAIRINGS = {"exchangeable": "both responses from one policy", "two policies": "responses from two policies"}
_LINES = {
    "irreducible_upper": ("upper bound", ORANGE, "v", ":"),
    "irreducible": ("irreducible error", RED, "s", "-"),
    "group_information": ("group information", BLACK, "o", "-"),
    "pointwise": ("pointwise bound", BLUE, "^", "--"),
    "paper": ("Theorem 3.2", GREY, "x", ":"),
}
_AXES = {
    "diversity": "diversity ρK",
    "n_groups": "number of groups K",
    "separation": "separation of rewards",
    "n_responses": "responses a prompt",
}
_MODELS = {
    "single": ("single BT", BLACK, "s", "--"),
    "prompt-only mixture": ("prompt-only mixture", SKY, "v", "-."),
    "mixture with context": ("mixture with context", RED, "o", "-"),
    "oracle": ("oracle of prompt and context", GREEN, "*", ":"),
}
_LEVELS = {
    "H(Y|X,A,Z)": "group known",
    "+ I(Y;Z|X,A,C)": "context known",
    "+ I(Y;C|X,A)": "prompt known",
    "+ misspecification": "best single",
}


@styled
def bounds_figure(frame: pd.DataFrame) -> Figure:
    """Every bound beside the truth, one panel a way to draw the pairs.

    Args:
        frame: pairing, quantity (a name of `BOUNDS`), nats.
    """
    pairings = list(dict.fromkeys(frame["pairing"]))
    figure = PaperFigure(figsize=(TEXT, 2.5))
    axes = np.atleast_1d(figure.subplots(1, len(pairings), sharex=True, sharey=True))
    names = list(BOUNDS)
    for ax, pairing in zip(axes, pairings, strict=True):
        values = frame[frame["pairing"] == pairing].set_index("quantity")["nats"]
        for place, name in enumerate(names):
            label, colour = BOUNDS[name]
            truth = name in ("group_information", "irreducible")
            ax.barh(place, values[name], color=colour, height=0.7, alpha=1.0 if truth else 0.75)
            shown = (
                f"{values[name]:.3f}" if values[name] >= 5e-4 else "0 (exactly)" if values[name] < 1e-12 else "< .001"
            )
            ax.text(values[name] + 0.003, place, shown, va="center", fontsize=7)
        ax.set_title(_PAIRINGS.get(pairing, pairing))
        ax.set_xlabel("nats")
        ax.grid(axis="x")
    axes[0].set_yticks(range(len(names)), [BOUNDS[name][0] for name in names])
    axes[0].invert_yaxis()
    axes[0].set_xlim(0, 1.25 * frame["nats"].max())
    return figure


def _band(ax: Axes, rows: pd.DataFrame, x: str, style: tuple[str, str, str, str]) -> None:
    label, colour, marker, line = style
    ax.plot(rows[x], rows["mean"], line, color=colour, marker=marker, label=label)
    ax.fill_between(rows[x].astype(float), rows["low"], rows["high"], color=colour, alpha=0.18, linewidth=0)


@styled
def sweeps_figure(frame: pd.DataFrame) -> Figure:
    """Error and bounds against diversity, groups, separation and responses, with 95 % bands.

    Args:
        frame: variable, value, quantity, mean, low, high.
    """
    figure = PaperFigure(figsize=(TEXT, 4.2))
    axes = figure.subplots(2, 2)
    for ax, (variable, label) in zip(axes.flat, _AXES.items(), strict=True):
        for name, style in _LINES.items():
            _band(ax, frame[(frame["variable"] == variable) & (frame["quantity"] == name)], "value", style)
        ax.set_xlabel(label)
        ax.grid(axis="y")
        if variable.startswith("n_"):
            ax.set_xticks(sorted(set(frame.loc[frame["variable"] == variable, "value"])))
            ax.xaxis.set_major_formatter("{x:.0f}")
    for ax in axes[:, 0]:
        ax.set_ylabel("nats")
    put_legend(figure, axes[0, 0], ncols=5)
    return figure


@styled
def curves_figure(curves: pd.DataFrame, levels: pd.DataFrame) -> Figure:
    """Held-out NLL and accuracy against the number of pairs, with the levels that theory gives.

    Args:
        curves: model, metric, pairs, mean, low, high.
        levels: line, metric, value.
    """
    figure = PaperFigure(figsize=(TEXT, 3.1))
    axes = figure.subplots(1, 2)
    for ax, (metric, label) in zip(
        axes, (("nll", "held-out NLL (nats)"), ("accuracy", "held-out accuracy")), strict=True
    ):
        known = levels[levels["metric"] == metric]
        for name, text in _LEVELS.items():
            value = float(known.loc[known["line"] == name, "value"].iloc[0])
            ax.axhline(value, color="#666666", linewidth=0.8, zorder=0)
            place = (1.01, value)
            ax.annotate(
                text, place, xycoords=("axes fraction", "data"), va="center", fontsize=6.5, annotation_clip=False
            )
        for name, style in _MODELS.items():
            _band(ax, curves[(curves["metric"] == metric) & (curves["model"] == name)], "pairs", style)
        ax.set_xscale("log")
        ax.set_xlabel("training pairs")
        ax.set_ylabel(label)
    put_legend(figure, axes[0], ncols=4)
    return figure


@styled
def identifiability_figure(gains: pd.DataFrame, stability: pd.DataFrame) -> Figure:
    """What tells two opposed heads from one zero head, and how alike the heads of different seeds are.

    Args:
        gains: tie_breaker, gain, low, high (nats a pair).
        stability: tie_breaker, measure, mean, low, high (cosine).
    """
    figure = PaperFigure(figsize=(TEXT, 2.6))
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    places = np.arange(len(gains))
    errors = [gains["gain"] - gains["low"], gains["high"] - gains["gain"]]
    left.barh(places, gains["gain"], color=SKY, xerr=errors, error_kw={"linewidth": 1})
    left.set_yticks(places, gains["tie_breaker"])
    left.invert_yaxis()
    left.set_xlabel("gain of two opposed heads (nats a pair)")
    left.grid(axis="x")
    ties = list(dict.fromkeys(stability["tie_breaker"]))
    for shift, (measure, colour, marker) in zip(
        (-0.12, 0.12), (("between seeds", BLUE, "o"), ("to the truth", RED, "s")), strict=True
    ):
        rows = stability[stability["measure"] == measure].set_index("tie_breaker").loc[ties]
        spread = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        right.errorbar(
            rows["mean"], np.arange(len(ties)) + shift, xerr=spread, fmt=marker, color=colour, label=measure, capsize=2
        )
    right.set_yticks(range(len(ties)), [tie.replace(" that ", "\nthat ") for tie in ties])
    right.invert_yaxis()
    right.set_ylim(len(ties) - 0.5, -0.5)
    right.set_xlim(right=1.05)
    right.set_xlabel("cosine of matched heads")
    right.legend(loc="center left")
    right.grid(axis="x")
    return figure


@styled
def online_figure(regrets: pd.DataFrame, taus: pd.DataFrame) -> Figure:
    """Regret against rounds below its bound, and the effect of tau.

    Args:
        regrets: sequence, learner, rounds, mean, low, high, bound.
        taus: tau, quantity (target_entropy, accuracy, nll; the last two less their value at tau = 1), mean, low, high.
    """
    figure = PaperFigure(figsize=(TEXT, 4.3))
    axes = figure.subplots(2, 3)
    for ax, sequence in zip(axes[0], dict.fromkeys(regrets["sequence"]), strict=True):
        rows = regrets[regrets["sequence"] == sequence]
        for learner, style in (("Hedge, tuned", (RED, "o", "-")), ("follow the leader", (GREY, "x", "--"))):
            mine = rows[rows["learner"] == learner]
            _band(ax, mine, "rounds", (learner, *style))
        bound = rows[rows["learner"] == "Hedge, tuned"]
        ax.plot(bound["rounds"], bound["bound"], ":", color=BLACK, label="bound √(T ln K / 2)")
        ax.set(xscale="log", yscale="symlog", title=sequence, xlabel="rounds T")
        ax.set_ylim(0, 3e3)
    axes[0, 0].set_ylabel("regret")
    labels = {
        "target_entropy": "entropy of the targets",
        "accuracy": "accuracy less that at τ = 1",
        "nll": "NLL less that at τ = 1",
    }
    for ax, (name, label) in zip(axes[1], labels.items(), strict=True):
        _band(ax, taus[taus["quantity"] == name], "tau", ("", BLUE, "o", "-"))
        for paper in (1e-4, 1e-3):
            ax.axvline(paper, color=ORANGE, linewidth=0.9, linestyle="--", zorder=0)
        ax.set(xscale="log", xlabel="τ (dashed: the paper's)", title=label)
        ax.grid(axis="y")
    put_legend(figure, axes[0, 0], ncols=3)
    return figure


@styled
def people_figure(groupings: pd.DataFrame) -> Figure:
    """What a model a group changes for held-out people, stated groups beside the same groups dealt at random.

    Args:
        groupings: dataset, grouping, kind (stated or shuffled) and for nll and accuracy _difference, _low, _high.
    """
    names = list(dict.fromkeys(zip(groupings["dataset"], groupings["grouping"], strict=True)))
    figure = PaperFigure(figsize=(TEXT, 0.42 * len(names) + 1.2))
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (metric, label) in zip(
        axes,
        (("nll", "change of NLL (nats; left is better)"), ("accuracy", "change of accuracy (right is better)")),
        strict=True,
    ):
        ax.axvline(0, color=BLACK, linewidth=0.8)
        for kind, colour, marker, shift in (("stated", RED, "o", -0.13), ("shuffled", GREY, "x", 0.13)):
            rows = groupings[groupings["kind"] == kind].set_index(["dataset", "grouping"]).loc[names]
            middle = rows[f"{metric}_difference"]
            spread = [middle - rows[f"{metric}_low"], rows[f"{metric}_high"] - middle]
            ax.errorbar(
                middle,
                np.arange(len(names)) + shift,
                xerr=spread,
                fmt=marker,
                color=colour,
                label=f"{kind} groups",
                capsize=2,
            )
        ax.set_xlabel(label)
        ax.grid(axis="x")
    axes[0].set_yticks(
        range(len(names)), [f"{grouping}\n({dataset.removeprefix('conjoint-')})" for dataset, grouping in names]
    )
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    put_legend(figure, axes[0], ncols=2)
    return figure
