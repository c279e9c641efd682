"""The picture of the verdicts: a tile a claim, in rows by section of the paper."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from micro_paper.paper.verdicts import CANNOT_TELL, DOES_NOT, HOLDS
from micro_paper.report.style import BLUE, RED, TEXT, PaperFigure, styled

# Colour and sign say the same, so the figure also works in grey.
LOOK = {
    HOLDS: (BLUE, "white", "+"),
    DOES_NOT: (RED, "white", "\N{MINUS SIGN}"),
    CANNOT_TELL: ("#E3E3E3", "#555555", "?"),
}
METHODS = (("verdict", "micro"), ("micro_plus_verdict", "micro_plus"))


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
            for half, (column, _) in enumerate(METHODS):
                _tile(ax, x + 0.36 + 0.28 * half, y + 0.1, getattr(claim, column))
    ax.set_yticks([y + 0.5 for y in range(len(sections))], [f"section {name}" for name in sections])
    ax.set(xlim=(0, columns), ylim=(len(sections), 0))
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    handles = [Patch(color=LOOK[v][0], label=f"{LOOK[v][2]} {v}") for v in (HOLDS, DOES_NOT, CANNOT_TELL)]
    title = "left tile micro (the paper's settings), right tile micro_plus (ours)"
    figure.legend(handles=handles, loc="outside upper center", ncols=3, title=title, title_fontsize=7.5)
    return figure


def _tile(ax: Axes, x: float, y: float, verdict: str) -> None:
    fill, ink, sign = LOOK[verdict]
    ax.add_patch(Rectangle((x, y), 0.26, 0.8, color=fill, linewidth=0))
    ax.text(x + 0.13, y + 0.42, sign, ha="center", va="center", color=ink, fontsize=8)
