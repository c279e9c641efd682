"""Figure 1, the two stages, drawn."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from micro_paper.report.style import BLUE, GREY, TEXT, PaperFigure, use_style

Box = tuple[float, float, float, float]  # left, bottom, width, height, in percent of the page
LOOKS = {
    "data": {"facecolor": "white", "edgecolor": "black", "linestyle": "-", "linewidth": 0.8},
    "frozen": {"facecolor": "#E6E6E6", "edgecolor": GREY, "linestyle": "--", "linewidth": 1.0},
    "trained": {"facecolor": "#D6E9F5", "edgecolor": BLUE, "linestyle": "-", "linewidth": 1.6},
    "loss": {"facecolor": "white", "edgecolor": "black", "linestyle": ":", "linewidth": 1.0},
}


def _box(ax: Axes, place: Box, text: str, look: str) -> Box:
    left, bottom, width, height = place
    style = "round,pad=0,rounding_size=1.2"
    ax.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=style, **LOOKS[look]))
    ax.text(left + width / 2, bottom + height / 2, text, ha="center", va="center", fontsize=7, linespacing=1.35)
    return place


def _arrow(ax: Axes, points: list[tuple[float, float]], label: str = "", at: tuple[float, float] = (0, 0)) -> None:
    for start, end in zip(points[:-2], points[1:-1], strict=True):
        ax.plot(*zip(start, end, strict=True), color="black", linewidth=0.9, solid_capstyle="butt")
    head = {
        "arrowstyle": "-|>",
        "color": "black",
        "linewidth": 0.9,
        "shrinkA": 0,
        "shrinkB": 0,
        "mutation_scale": 7,
    }
    ax.annotate("", points[-1], points[-2], arrowprops=head)
    if label:
        ax.text(*at, label, ha="center", va="bottom", fontsize=7)


def _right(box: Box, part: float = 0.5) -> tuple[float, float]:
    return box[0] + box[2], box[1] + part * box[3]


def _left(box: Box, part: float = 0.5) -> tuple[float, float]:
    return box[0], box[1] + part * box[3]


def pipeline_figure() -> Figure:
    """Draw figure 1: stage 1 learns heads and a prompt router, stage 2 tunes the router on contexts."""
    with use_style():
        figure = PaperFigure(figsize=(TEXT, 3.9), layout="none")
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, 100), ylim=(0, 57.4), aspect="equal")
        ax.axis("off")
        _stage_1(ax)
        _stage_2(ax)
        _legend(ax)
    return figure


def _stage_1(ax: Axes) -> None:
    ax.add_patch(Rectangle((1, 32.5), 98, 24, facecolor="none", edgecolor="#BBBBBB", linewidth=0.8))
    ax.text(2.5, 54, "Stage 1: mixture modelling, binary labels only", fontsize=8, weight="bold", va="center")
    pair = _box(ax, (3, 44, 15, 7), "preferred $a_w$,\nrejected $a_l$", "data")
    prompt = _box(ax, (3, 34.5, 15, 6), "prompt $x$", "data")
    backbone = _box(ax, (24, 34.5, 12, 16.5), "language\nmodel", "frozen")
    heads = _box(ax, (46, 44, 21, 7), "heads $r_1, \\ldots, r_K$\n(linear)", "trained")
    router = _box(ax, (46, 34.5, 21, 6), "router $f(x)$", "trained")
    loss = _box(
        ax,
        (76, 34.5, 21.5, 16.5),
        "mixture likelihood\n$-\\log\\,\\Sigma_k\\, f_k\\,\\sigma(\\Delta_k)$\nand penalty\n"
        "$\\alpha\\,\\Sigma_k\\, f_k \\log f_k$\n(Eq. 1 to 4)",
        "loss",
    )
    _arrow(ax, [_right(pair), (backbone[0], 47.5)])
    _arrow(ax, [_right(prompt), (backbone[0], 37.5)])
    _arrow(ax, [(36, 47.5), _left(heads)], "$\\phi(x, a)$", (41, 48))
    _arrow(ax, [(36, 37.5), _left(router)], "$u(x)$", (41, 38))
    _arrow(ax, [_right(heads), (loss[0], 47.5)], "$\\Delta_k$", (71.5, 48))
    _arrow(ax, [_right(router), (loss[0], 37.5)], "$f_k$", (71.5, 38))


def _stage_2(ax: Axes) -> None:
    ax.add_patch(Rectangle((1, 5.2), 98, 24.8, facecolor="none", edgecolor="#BBBBBB", linewidth=0.8))
    title = "Stage 2: context-aware routing, a few pairs with a stated context"
    ax.text(2.5, 27.6, title, fontsize=8, weight="bold", va="center")
    pair = _box(ax, (3, 17.5, 15, 7), "preferred $a_w$,\nrejected $a_l$", "data")
    prompt = _box(ax, (3, 7.5, 15, 7), "context $c$\nand prompt $x$", "data")
    backbone = _box(ax, (24, 7.5, 12, 17), "language\nmodel", "frozen")
    heads = _box(ax, (46, 17.5, 13, 7), "heads\n$r_1, \\ldots, r_K$", "frozen")
    router = _box(ax, (46, 7.5, 13, 7), "router\n$f(x, c)$", "trained")
    hedge = _box(
        ax,
        (69, 17.5, 28.5, 7),
        "Hedge targets (Eq. 5)\n$\\propto\\,\\omega_k\\,\\exp(-L_k/\\tau)$, $\\omega$: prior",
        "loss",
    )
    entropy = _box(ax, (76, 7.5, 21.5, 7), "cross-entropy of\ntargets and weights", "loss")
    _arrow(ax, [_right(pair), (backbone[0], 21)])
    _arrow(ax, [_right(prompt), (backbone[0], 11)])
    _arrow(ax, [(36, 21), _left(heads)], "$\\phi(x, a)$", (41, 21.5))
    _arrow(ax, [(36, 11), _left(router)], "$u(x, c)$", (41, 11.5))
    _arrow(ax, [_right(heads), _left(hedge)], "$L_k$", (64, 21.5))
    _arrow(ax, [_right(router), _left(entropy)], "$f_k$", (64, 11.5))
    _arrow(ax, [(71.5, 11), (71.5, 17.5)], "$\\omega$", (73, 13.2))
    _arrow(ax, [(86.75, 17.5), (86.75, 14.5)])


def _legend(ax: Axes) -> None:
    entries = [
        ("data", "data"),
        ("frozen", "frozen"),
        ("trained", "trained in this stage"),
        ("loss", "objective"),
    ]
    for left, (look, text) in zip((14, 30, 47, 75), entries, strict=True):
        ax.add_patch(Rectangle((left, 1.4), 4, 2.2, **LOOKS[look]))
        ax.text(left + 5, 2.5, text, va="center", fontsize=7)
