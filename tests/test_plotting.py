"""Figures show the numbers they were given, nothing overlaps or is cut off, and the style stays inside."""

import io
from itertools import combinations

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from micro_paper.errors import InputError
from micro_paper.experiments.person_rows import PERSON_ROWS, REFERENCE
from micro_paper.methods.table import METHODS
from micro_paper.report import plots, plots_people, style
from micro_paper.report.formatting import pictures

ATTRIBUTES = ["clarity and conciseness", "pedagogical effectiveness", "humor"]


def best_heads() -> pd.DataFrame:
    rows = [
        {"dataset": d, "method": m, "attribute": a, "value": 0.6 + 0.05 * i, "low": 0.55, "high": 0.8, "selection": s}
        for d in ("rpr", "helpsteer")
        for m in ("micro", "single", "mine")
        for i, a in enumerate(ATTRIBUTES)
        for s in ("test (oracle)", "validation")
    ]
    return pd.DataFrame(rows)


def budgets(datasets=("rpr", "helpsteer"), methods=("micro", "single", "hyre", "mine")) -> pd.DataFrame:
    rows = [
        {"dataset": d, "method": m, "budget": b, "mean": 0.6 + 0.002 * i + 0.02 * np.log1p(b), "std": 0.01}
        for d in datasets
        for i, m in enumerate(methods)
        for b in (0, 5, 10, 50, 100, 150)
    ]
    return pd.DataFrame(rows)


def differences() -> pd.DataFrame:
    methods = [m for m in style.STYLES if m != "micro"]
    return pd.DataFrame({"method": methods, "difference": 0.01, "low": -0.01, "high": 0.03})


def person_gains() -> pd.DataFrame:
    lines = [
        {"people_with": most, "method": name, "labels": labels, "gain": 1e-4 * labels * i, "control": row.control}
        for most in (20, 50)
        for i, (name, row) in enumerate(PERSON_ROWS.items(), start=-5)
        if name != REFERENCE
        for labels in (0, 2, 5, 10, 20, 50)
        if labels <= most
    ]
    table = pd.DataFrame(lines).assign(metric="accuracy", n_people=90, noise_limit=0.002)
    return table.assign(low=table["gain"] - 0.01, high=table["gain"] + 0.01)


WEIGHTS = np.random.default_rng(0).dirichlet(np.ones(5), size=30)
GROUPS = ["helpful"] * 12 + ["harmless"] * 18
FIGURES = {
    "pipeline": plots.pipeline_figure,
    "best": lambda: plots.best_heads_figure(best_heads()),
    "heat": lambda: plots.router_heatmap(WEIGHTS, GROUPS),
    "budget": lambda: plots.budget_curve(budgets()),
    "budget, one": lambda: plots.budget_curve(budgets(["rpr"], list(style.STYLES)[:17]).drop(columns="dataset")),
    "people": lambda: plots_people.people_figure(person_gains()),
    "forest": lambda: plots.comparison_forest(differences(), margin=0.02),
}


def texts(figure: Figure) -> list[Text]:
    outside = set()  # ticks beyond the ends of an axis have labels that are never drawn
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            outside |= {id(t.label1) for t in axis.get_major_ticks() if not low <= t.get_loc() <= high}
    found = figure.findobj(Text)
    return [t for t in found if t.get_text().strip() and t.get_visible() and id(t) not in outside]


def collisions(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of upright texts whose boxes overlap, and texts that leave the page."""
    FigureCanvasAgg(figure).draw()
    boxes = []
    for text in texts(figure):
        if text.get_rotation() in (0, 90):
            box = Text.get_window_extent(text)
            if box.width > 0 and box.height > 0:
                boxes.append((text.get_text(), box))
    found = [(a, b) for (a, x), (b, y) in combinations(boxes, 2) if overlap(x, y) > 1.0]
    page = figure.bbox
    found += [
        (name, "page")
        for name, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > page.x1 + 1 or box.y1 > page.y1 + 1
    ]
    return found


def overlap(a, b) -> float:
    """The lesser side of the common rectangle, in pixels."""
    return min(min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0))


@pytest.mark.parametrize("name", FIGURES)
def test_texts_neither_overlap_nor_leave_the_page(name):
    figure = FIGURES[name]()
    assert collisions(figure) == []
    assert min(t.get_fontsize() for t in texts(figure)) >= 7
    assert figure.get_size_inches()[0] <= style.TEXT + 1e-9


def test_the_check_for_overlaps_finds_one():
    figure = plots.pipeline_figure()
    figure.axes[0].text(50, 47, "on top of the heads")
    figure.axes[0].text(97, 3, "off the page to the right")
    found = collisions(figure)
    assert any("on top of the heads" in pair for pair in found) and ("off the page to the right", "page") in found


@pytest.mark.long
@pytest.mark.parametrize("name", FIGURES)
def test_same_bytes_twice_and_no_style_left_behind(name):
    before = dict(matplotlib.rcParams)
    assert pictures(FIGURES[name]()) == pictures(FIGURES[name]())
    assert dict(matplotlib.rcParams) == before
    content, size = FIGURES[name]()._repr_png_()
    width, height = Image.open(io.BytesIO(content)).size
    assert width / height == pytest.approx(size["width"] / size["height"], rel=0.01)


def test_each_person_row_has_its_own_limit_of_noise():
    table = person_gains()
    table.loc[table["method"] == "mrm", "noise_limit"] = 0.03
    table.loc[table["method"] == "pal", "noise_limit"] = -0.01  # noise alone loses: no bar
    for ax in plots_people.people_figure(table).axes[1::2]:
        names = [tick.get_text() for tick in ax.get_yticklabels()]
        reach = dict(zip(names, (bar.get_width() for bar in ax.patches), strict=True))
        assert reach["MRM"] == 0.03 and reach["PAL"] == 0 and sorted(reach.values())[1:-1] == [0.002] * 11


def test_every_method_has_its_own_look():
    persons = set(PERSON_ROWS) - set(METHODS)  # drawn beside each other and beside LoRe, PAL and VPL alone
    for names, count in ((style.STYLES.keys() - persons, 38), (PERSON_ROWS.keys(), 14)):
        whole = [(s.colour, s.marker, s.line) for s in map(style.STYLES.get, names)]
        assert len(set(whole)) == len(whole) == count
    looks = [(s.colour, s.marker) for s in style.STYLES.values()]
    assert len({s.marker for s in style.STYLES.values()}) >= 15
    assert plots.COLOURS["micro"] == style.RED
    strangers = [style.method_style(m, ["micro", "x", "y", "z"]) for m in ("x", "y", "z")]
    assert len({(s.colour, s.marker) for s in strangers}) == 3
    assert all((s.colour, s.marker) not in looks for s in strangers[:1]) or strangers[0].label == "x"


def test_best_heads_shows_all_values():
    figure = plots.best_heads_figure(best_heads())
    assert [ax.get_title() for ax in figure.axes] == ["rpr", "helpsteer"]
    drawn = np.concatenate([line.get_xdata() for line in figure.axes[0].lines if line.get_marker() != "None"])
    wanted = best_heads().query("dataset == 'rpr'")["value"]
    assert sorted(np.round(drawn, 6)) == sorted(np.round(wanted, 6))


def test_budget_curve_draws_means_and_bands():
    frame = budgets(["rpr"])
    ax = plots.budget_curve(frame).axes[0]
    line = ax.lines[0]
    wanted = frame[frame["method"] == "micro"]
    assert np.allclose(line.get_xdata(), wanted["budget"]) and np.allclose(line.get_ydata(), wanted["mean"])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx((wanted["mean"] + wanted["std"]).max())
    assert [t.get_text() for t in ax.texts] == ["MiCRo", "single", "HyRe", "mine"]
    assert [t.get_text() for t in ax.get_xticklabels()][-1] == "150"
    by_heads = frame.assign(K=frame["method"].map({"micro": 10, "single": 1, "hyre": 2, "mine": 5}))
    labels = [t.get_text() for t in plots.budget_curve(by_heads, series="K").axes[0].texts]
    assert labels == ["K = 10", "K = 1", "K = 2", "K = 5"]


def test_spread_keeps_order_and_distance():
    rng = np.random.default_rng(0)
    for _ in range(50):
        wanted = rng.uniform(size=8)
        placed = plots._spread(wanted, 0.1)
        assert np.array_equal(np.argsort(placed), np.argsort(wanted))
        assert np.diff(np.sort(placed)).min() > 0.1 - 1e-9
        assert placed.mean() == pytest.approx(wanted.mean())  # least squares moves no centre
    far = np.array([3.0, 1.0, 2.0])
    assert np.allclose(plots._spread(far, 0.5), far)


def test_router_heatmap_groups_and_sorts_prompts():
    ax = plots.router_heatmap(WEIGHTS[::-1], GROUPS[::-1]).axes[0]
    shown = np.asarray(ax.images[0].get_array())
    assert np.allclose(np.sort(shown[:18], axis=0), np.sort(WEIGHTS[12:], axis=0))
    assert [t.get_text() for t in ax.get_yticklabels()] == ["harmless", "helpful"]
    assert (np.diff(shown[:18].argmax(axis=1)) >= 0).all()


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.best_heads_figure(best_heads().drop(columns="low")), "lacks the column 'low'"),
        (lambda: plots.budget_curve(budgets().iloc[:0]), "no rows"),
        (lambda: plots.comparison_forest(differences().drop(columns="high")), "lacks the column 'high'"),
        (lambda: plots.router_heatmap(WEIGHTS, GROUPS[1:]), "one group a row"),
        (lambda: plots.router_heatmap(WEIGHTS * 2, GROUPS), "sum to 1"),
    ],
)
def test_figures_refuse(draw, message):
    with pytest.raises(InputError, match=message):
        draw()
