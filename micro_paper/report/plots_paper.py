"""The figures of the audit of printed numbers, and that of the verdicts on the claims."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from micro_paper.paper.audit_counts import AVERAGE
from micro_paper.paper.audit_errors import EXCEEDS, LIMIT, LOWER
from micro_paper.paper.verdicts import CANNOT_TELL, DOES_NOT, HOLDS
from micro_paper.report.style import (
    BLUE,
    COLUMN,
    GREY,
    ORANGE,
    RED,
    TEXT,
    PaperFigure,
    key,
    name_rows,
    need,
    put_legend,
    styled,
)

# Colour and sign say the same, so the figure also works in grey.
LOOK = {
    HOLDS: (BLUE, "white", "+"),
    DOES_NOT: (RED, "white", "\N{MINUS SIGN}"),
    CANNOT_TELL: ("#E3E3E3", "#555555", "?"),
}


@styled
def orderings_figure(orderings: pd.DataFrame) -> Figure:
    """Draw each average of a MiCRo row less another row's, with two standard errors to either side.

    The thin line is for independent samples, the thick one for the best possible pairing; red where the thin line
    leaves out zero. Columns: as of `paper_audit_errors.orderings`.
    """
    need(orderings, "table", "train", "method", "other", "attribute", "difference", "error", "smallest_error")
    average = orderings[orderings["attribute"] == AVERAGE].reset_index(drop=True)
    need(average, "verdict")
    blocks = list(average.groupby(["table", "train"], sort=False))
    figure = PaperFigure(figsize=(TEXT, 0.9 + 0.2 * (len(average) + len(blocks))))
    ax = figure.add_subplot()
    labels, heads = [], []
    for (table, train), block in blocks:
        heads.append(len(labels))
        labels.append(f"Table {table}, trained on {train}")
        for row in block.itertuples():
            place = len(labels)
            colour = RED if row.verdict in (EXCEEDS, LOWER) else GREY
            for error, width in ((row.error, 0.9), (row.smallest_error, 3.2)):
                reach = LIMIT * error
                ax.hlines(place, row.difference - reach, row.difference + reach, color=colour, linewidth=width)
            ax.plot(row.difference, place, "o", color=colour, markeredgecolor="white", markersize=5)
            labels.append(f"{row.method} − {row.other}")
    ax.axvline(0, color="black", linewidth=0.8)
    name_rows(ax, labels, 0.4, -0.7)
    for head in heads:
        ax.get_yticklabels()[head].set_fontweight("bold")
    ax.grid(axis="x")
    ax.set_xlabel("difference of average accuracy, ± two standard errors")
    handles = [
        key("independent samples", GREY, "", "-", linewidth=0.9),
        key("best possible pairing", GREY, "", "-", linewidth=3.2),
        key("clear without pairing", RED, line="-"),
    ]
    put_legend(figure, handles, ncols=3)
    return figure


@styled
def selection_figure(selection: pd.DataFrame) -> Figure:
    """Draw what the best of K heads gain over the single reward, and what choosing among equal heads gains by chance.

    One panel a table; the bar reaches from heads that agree on half of the pairs to independent heads. Columns: as of
    `paper_audit_errors.selection`.
    """
    need(selection, "table", "test", "attribute", "heads", "gain", "chance_gain", "chance_gain_shared")
    panels = list(selection.groupby(["table", "test"], sort=False))
    most = max(len(part) for _, part in panels)
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    figure = PaperFigure(figsize=(TEXT if across > 1 else COLUMN * 1.3, 0.6 + down * (0.75 + 0.2 * most)))
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for ax, ((table, name), part) in zip(axes, panels, strict=False):
        at = range(len(part))
        ax.hlines(at, 0, part["chance_gain"], color=ORANGE, linewidth=1.2)
        ax.hlines(at, part["chance_gain_shared"], part["chance_gain"], color=ORANGE, linewidth=4.5)
        ax.plot(part["gain"], at, "D", color=BLUE, markersize=4.5)
        ax.axvline(0, color="black", linewidth=0.8)
        name_rows(ax, ["average" if a == AVERAGE else a for a in part["attribute"]], 0.4, -0.6)
        ax.axhline(len(part) - 1.5, color="#DDDDDD", linewidth=0.8)
        ax.grid(axis="x")
        title = f"Table {table}: {name}, K = {part['heads'].iloc[0]}"
        ax.set(title=title, xlabel="accuracy gained over the single reward")
    for ax in axes[len(panels) :]:
        ax.remove()
    handles = [
        key("best head as printed", BLUE, "D"),
        key("by chance, heads as good as the single reward", ORANGE, "", "-", linewidth=4.5),
    ]
    put_legend(figure, handles, ncols=2)
    return figure


@styled
def verdict_figure(judged: pd.DataFrame) -> Figure:
    """Every claim as a tile: left half the verdict on micro, right half that on micro_plus.

    Args:
        judged: id, section, verdict, micro_plus_verdict; one row a claim.
    """
    sections = sorted(dict.fromkeys(judged["section"]), key=lambda name: (not name[0].isdigit(), name))
    columns = int(judged["section"].value_counts().max())
    figure = PaperFigure(figsize=(TEXT, 0.27 * len(sections) + 0.75))
    ax = figure.subplots()
    for y, section in enumerate(sections):
        for x, claim in enumerate(judged[judged["section"] == section].itertuples()):
            ax.text(x + 0.03, y + 0.5, claim.id, ha="left", va="center", fontsize=7)
            for half, column in enumerate(("verdict", "micro_plus_verdict")):
                _tile(ax, x + 0.36 + 0.28 * half, y + 0.1, getattr(claim, column))
    ax.set_yticks([y + 0.5 for y in range(len(sections))], [f"section {name}" for name in sections])
    ax.set(xlim=(0, columns), ylim=(len(sections), 0))
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    handles = [Patch(color=LOOK[v][0], label=f"{LOOK[v][2]} {v}") for v in (HOLDS, DOES_NOT, CANNOT_TELL)]
    title = "left tile micro (the paper's settings), right tile micro_plus (ours)"
    put_legend(figure, handles, ncols=3, title=title, title_fontsize=7.5)
    return figure


def _tile(ax: Axes, x: float, y: float, verdict: str) -> None:
    fill, ink, sign = LOOK[verdict]
    ax.add_patch(Rectangle((x, y), 0.26, 0.8, color=fill, linewidth=0))
    ax.text(x + 0.13, y + 0.42, sign, ha="center", va="center", color=ink, fontsize=8)
