"""The audit of printed numbers finds what is planted, finds nothing where nothing is, and agrees with brute force."""

from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from itertools import product
from math import comb

import numpy as np
import pandas as pd
import pytest

from micro_paper.errors import InputError
from micro_paper.paper import audit_cells, audit_counts, audit_errors
from micro_paper.paper import values as paper_values
from micro_paper.paper.audit_conclusions import conclusions
from micro_paper.paper.audit_counts import AVERAGE, ROW, fit_counts, is_fraction
from micro_paper.report import plots_paper
from micro_paper.report.style import STYLES

SIZES = {"A": 53, "B": 72, "C": 84, "D": 89, "E": 80, "F": 62, "G": 104}
COUNTS = pd.DataFrame(
    {"dataset": "RPR", "attribute": list(SIZES), "train_pairs": 500, "test_pairs": list(SIZES.values())}
).astype({"test_pairs": "Int64"})


def digits(value: float) -> float:
    return float(Decimal(value).quantize(Decimal("0.0001"), ROUND_HALF_EVEN))


def line(table, method, shares, supervision="binary", train="RPR", test="RPR"):
    """The cells of one row and its average, printed to four digits."""
    cells = [*shares.items(), (AVERAGE, float(np.mean(list(shares.values()))))]
    return [
        {"table": table, "train": train, "test": test, "method": method, "supervision": supervision,
         "attribute": a, "accuracy": digits(x)} for a, x in cells
    ]  # fmt: skip


def world(seed=0, sizes=SIZES, tables=(3, 7)) -> pd.DataFrame:
    """Consistent tables: an accuracy table, one with single heads, and one from other training data."""
    rng = np.random.default_rng(seed)

    def scored(low, left_out=0, runs=1):
        p = rng.uniform(low, low + 0.25, size=len(sizes))
        return {
            a: rng.binomial((n - left_out) * runs, q) / ((n - left_out) * runs)
            for (a, n), q in zip(sizes.items(), p, strict=True)
        }

    first, second = tables
    single = scored(0.55)
    rows = line(first, "Single Reward", single) + line(first, "Shared-Base Best Head", scored(0.55))
    rows += line(first, "Static Mixture", scored(0.6))
    rows += line(first, "HyRe", scored(0.55, left_out=16), "binary+test labels")
    rows += line(first, "MiCRo-HyRe", scored(0.7, left_out=16), "binary+test labels")
    rows += line(first, "MiCRo", scored(0.65, runs=5), "binary+context")
    rows += line(second, "Single Reward", single)
    for head in range(4):
        cells = line(second, f"MiCRo Head {head + 1}", scored(0.4))
        rows += [c for c in cells if c["attribute"] != AVERAGE]
    rows += line(4, "Single Head", scored(0.5), train="other")
    rows += line(4, "Static Mixture", scored(0.5), train="other")
    rows += line(4, "MiCRo", scored(0.6, runs=5), "binary+context", train="other")
    return pd.DataFrame(rows)


def changed(cells, table, method, attribute, value):
    where = (cells["table"] == table) & (cells["method"] == method) & (cells["attribute"] == attribute)
    assert where.sum() == 1
    return cells.assign(accuracy=cells["accuracy"].mask(where, value))


def text(cells, scalars=None) -> pd.DataFrame:
    """All conclusions from these cells."""
    fits = fit_counts(cells, COUNTS)
    errors = audit_errors.cell_errors(cells, fits)
    scalars = scalars_of(cells) if scalars is None else scalars
    return conclusions(
        cells=cells,
        scalars=scalars,
        means=audit_cells.row_means(cells),
        fits=fits,
        copies=audit_cells.copies(cells),
        errors=errors,
        orderings=audit_errors.orderings(cells, fits),
        gains=audit_cells.gains(cells, scalars, COUNTS, errors),
        dimensions=audit_cells.dimensions(cells),
        selection=audit_errors.selection(cells, fits),
    )


def scalars_of(cells, gain=0.0) -> pd.DataFrame:
    """Printed numbers that follow from the cells, but for `gain` percent."""
    heads = cells[cells["method"].str.contains("Head [0-9]")]
    best = heads.groupby("attribute")["accuracy"].max().mean()
    base = cells[(cells["table"] == 3) & (cells["attribute"] == AVERAGE)].set_index("method")["accuracy"]
    rows = [
        ("best_average", "", round(best, 3), "share", 3),
        ("gain", "Static", round(100 * (best / base["Static Mixture"] - 1), 1) + gain, "percent", 1),
        ("budget_average", "50", round(base["MiCRo"], 3), "share", 3),
        ("train_pairs", "", 0.5 * len(SIZES), "thousand", 1),
        ("labelled_pairs", "", 16, "pairs", 0),
    ]
    frame = pd.DataFrame(rows, columns=["quantity", "against", "printed", "unit", "decimals"])
    return frame.assign(id=[f"S{i}" for i in range(len(rows))], place="5", dataset="RPR", approximate="no")


# fractions and counts


@pytest.mark.parametrize("n", [1, 7, 53, 84, 129, 160])
def test_fractions_are_those_of_exact_arithmetic(n):
    grid, unit = np.arange(10_001) / 10_000, Decimal("0.0001")
    exact = [Decimal(k) / Decimal(n) for k in range(n + 1)]
    rounded = {
        float(x.quantize(unit, how)) for x in exact for how in (ROUND_HALF_UP, ROUND_HALF_EVEN, "ROUND_HALF_DOWN")
    }
    assert set(grid[is_fraction(grid, n)]) == rounded
    assert set(grid[is_fraction(grid, n, truncated=True)]) == {float(x.quantize(unit, ROUND_DOWN)) for x in exact}
    one_way = {float(x.quantize(unit, ROUND_HALF_EVEN)) for x in exact}
    assert audit_counts.chance(n) == pytest.approx(len(one_way) / 10_001)


def test_the_smallest_count_is_that_of_a_plain_search():
    values = [31 / 72, 49 / 72, 70 / 72]
    printed = [digits(v) for v in values]
    plain = next(
        n for n in range(20, 2000)
        if all(any(digits(k / n) == x for k in range(n + 1)) for x in printed)
    )  # fmt: skip
    assert plain == 72
    assert audit_counts._smallest([{"x": v} for v in printed], "x", 72) == plain


@pytest.mark.parametrize("seed", [0, 1, 5, 9])  # 1, 5 and 9 point to multiples at first
def test_planted_counts_are_recovered(seed):
    fits = fit_counts(world(seed), COUNTS)
    assert dict(zip(fits.columns["attribute"], fits.columns["n"], strict=True)) == SIZES
    forms = fits.rows.set_index(["table", "method"])["form"]
    assert forms[3, "HyRe"] == forms[3, "MiCRo-HyRe"] == "k / (n - 16)"
    assert forms[3, "MiCRo"] == forms[4, "MiCRo"] == "mean of 5 runs"
    rest = forms.drop([(3, "HyRe"), (3, "MiCRo-HyRe"), (3, "MiCRo"), (4, "MiCRo")])
    assert set(rest) == {"k / n"} and not len(fits.leftovers)


def test_rows_on_other_pairs_are_their_own_group():
    other = world(5, dict.fromkeys(SIZES, 220), (12, 13)).query("table == 12 and not method.str.contains('HyRe')")
    fits = fit_counts(pd.concat([world(), other], ignore_index=True), COUNTS)
    groups = fits.rows.groupby("table")["group"].agg(lambda g: "".join(sorted(set(g))))
    assert groups.to_dict() == {3: "A", 4: "A", 7: "A", 12: "B"}
    assert set(fits.columns.query("group == 'B'")["n"]) == {220}
    assert fits.sizes((12, "RPR", "RPR", "Single Reward")) == dict.fromkeys(SIZES, 220)
    assert fits.sizes((3, "RPR", "RPR", "HyRe")) == {a: n - 16 for a, n in SIZES.items()}
    with pytest.raises(InputError, match="no row"):
        fits.sizes((3, "RPR", "RPR", "nobody"))


def test_random_cells_have_no_counts():
    rng = np.random.default_rng(3)
    cells = world()
    fits = fit_counts(cells.assign(accuracy=rng.uniform(0.3, 0.9, len(cells)).round(4)), COUNTS)
    assert (fits.rows["group"] == "").all() and fits.rows["form"].str.startswith("not identified").all()


def test_the_papers_counts():
    fits = fit_counts(paper_values.accuracy(), paper_values.counts())
    n = fits.columns.set_index(["set", "group", "attribute"])["n"]
    assert n["HelpSteer2", "A"].tolist() == [185, 172, 162, 129, 152] and n["HelpSteer2", "B"].tolist() == [220] * 5
    rpr = paper_values.counts().query("dataset == 'RPR'").set_index("attribute")["test_pairs"]
    assert n["RPR", "A"].to_dict() == rpr.to_dict()
    forms = fits.rows.drop_duplicates(["table", "method"], keep="last").set_index(["table", "method"])["form"]
    assert forms[2, "HyRe"] == forms[3, "HyRe"] == "k / (n - 16)" and forms[3, "MiCRo-HyRe"] == "k / (n - 8)"
    assert forms[2, "MiCRo-HyRe"] == "k / n"
    odd = fits.leftovers[~fits.leftovers["truncated"]].drop_duplicates(["method", "attribute"])
    assert {(r.method, r.accuracy) for r in odd.itertuples()} >= {
        ("ARMO (8B)", 0.9463),
        ("Static Mixture (8B)", 0.5641),
    }


# planted errors are found, and only they


def test_consistent_tables_give_no_finding():
    found = text(world())
    assert set(found["about"]) == {"test pairs", "rows", "errors", "gains", "selection"}
    assert found.query("about == 'test pairs'")["finding"].str.contains("the counts of table 5").all()
    assert found.query("about == 'gains'")["finding"].str.startswith("The best heads are above").all()
    assert not found.query("about == 'rows'")["finding"].str.contains("are said to be used").any()


@pytest.mark.parametrize("shift", [0.0095, -0.0003])
def test_a_wrong_average_is_found(shift):
    cells = world()
    clean = audit_cells.row_means(cells)
    assert not clean["beyond_rounding"].any()
    printed = clean.query("table == 4 and method == 'Static Mixture'")["printed"].item()
    bad = changed(cells, 4, "Static Mixture", AVERAGE, digits(printed + shift))
    odd = audit_cells.row_means(bad).query("beyond_rounding")
    assert [tuple(r) for r in odd[ROW].to_numpy()] == [(4, "other", "RPR", "Static Mixture")]
    assert odd["gap"].item() == pytest.approx(shift, abs=1.01e-4)
    (said,) = text(bad).query("about == 'averages'")["finding"]
    assert "Table 4: Static Mixture" in said and f"{printed + shift:.4f}" in said


def test_a_copied_row_is_found_and_placed():
    cells = world()
    assert not set(audit_cells.copies(cells)["kind"]) - {"same row"}
    source = cells[(cells["table"] == 4) & (cells["method"] == "Static Mixture")]
    bad = cells
    for cell in source.itertuples():
        bad = changed(bad, 3, "Static Mixture", cell.attribute, cell.accuracy)
    (copy,) = audit_cells.copies(bad).query("kind == 'other training data'").itertuples()
    assert (copy.table, copy.method, copy.other_table, copy.other) == (3, "Static Mixture", 4, "Static Mixture")
    assert copy.equal == copy.cells == copy.longest_run == len(SIZES) and copy.chance < 1e-5
    assert copy.next_most < copy.equal
    peers = bad[(bad["table"] == 3) & (bad["supervision"] == "binary") & (bad["attribute"] != AVERAGE)]
    mine = source.set_index("attribute")["accuracy"]
    plain = [abs(r.accuracy - mine[r.attribute]) for r in peers.itertuples() if r.method != "Static Mixture"]
    assert copy.distance == pytest.approx(np.mean(plain))
    assert text(bad).query("about == 'copies'")["finding"].str.contains("in all 7 cells").sum() == 1


def test_a_repeated_row_that_differs_is_found():
    cells = world()
    value = cells.query("table == 7 and method == 'Single Reward' and attribute == 'C'")["accuracy"].item()
    bad = changed(cells, 7, "Single Reward", "C", round(value + 0.0001, 4))
    (again,) = audit_cells.copies(bad).query("kind == 'same row'").itertuples()
    assert again.equal == len(SIZES) - 1 and again.differing == f"C: {value:.4f}, {value + 0.0001:.4f}"
    assert text(bad).query("about == 'copies'")["finding"].str.contains(again.differing, regex=False).any()


def test_a_row_of_heads_cells_is_found():
    bad = world()
    for place, attribute in enumerate(SIZES):
        head = f"MiCRo Head {place % 4 + 1}"
        value = bad[(bad["method"] == head) & (bad["attribute"] == attribute)]["accuracy"].item()
        bad = changed(bad, 3, "MiCRo-HyRe", attribute, value)
    (row,) = audit_cells.copies(bad).query("kind == 'single heads'").itertuples()
    assert (row.table, row.method, row.other) == (3, "MiCRo-HyRe", "any of 4 heads")
    found = text(bad)
    assert found["finding"].str.contains("MiCRo-HyRe in table 3 is scored on all n pairs, while 16").any()
    assert found["finding"].str.contains("MiCRo-HyRe of table 3 equals a single head of table 7").any()


def test_a_misprinted_cell_is_found():
    good = next(x / 10_000 for x in range(6000, 7000) if not is_fraction(x / 10_000, SIZES["B"]))
    bad = changed(world(), 3, "Static Mixture", "B", good)
    left = fit_counts(bad, COUNTS).leftovers
    assert [(r.table, r.method, r.attribute, r.accuracy) for r in left.itertuples()] == [
        (3, "Static Mixture", "B", good)
    ]
    assert text(bad).query("about == 'cells'")["finding"].str.contains("no k / 72").tolist() == [True]


def test_the_papers_findings():
    cells = paper_values.accuracy()
    odd = audit_cells.row_means(cells).query("beyond_rounding and abs(gap) > 0.001")
    assert odd["mean"].round(4).tolist() == [0.8104, 0.8039]
    copies = audit_cells.copies(cells)
    (copy,) = copies[copies["kind"] == "other training data"].itertuples()
    assert (copy.table, copy.other_table, copy.equal) == (3, 4, 9) and copy.distance > 3 * copy.other_distance
    assert copies[copies["kind"] == "single heads"]["method"].tolist() == ["MiCRo-HyRe"]
    below = audit_cells.dimensions(cells).query("verdict != 'above'")
    assert sorted(below["accuracy"]) == [0.7593, 0.8372, 0.9643]


# errors and orderings


def joint(n_pairs):
    """All joint distributions of two binary successes with cell counts out of `n_pairs`."""
    for both in range(n_pairs + 1):
        for one in range(n_pairs + 1 - both):
            for other in range(n_pairs + 1 - both - one):
                yield both, one, other


def test_nested_error_is_the_least_of_all_joint_distributions():
    n = 12
    least = {}
    for both, one, other in joint(n):
        key, d = (both + one, both + other), (one - other) / n
        least[key] = min(least.get(key, 9.0), (one + other) / n - d**2)
    for (a, b), variance in least.items():
        nested = audit_errors.nested_error(a / n, b / n, 50)
        assert nested == pytest.approx(np.sqrt(variance / 50), abs=1e-9)
        unpaired = np.hypot(*audit_errors.binomial_error([a / n, b / n], 50))
        assert nested <= unpaired + 1e-12


def test_binomial_error_is_that_of_draws():
    draws = np.random.default_rng(0).binomial(84, 0.7, size=40_000) / 84
    assert audit_errors.binomial_error(0.7, 84) == pytest.approx(draws.std(), rel=0.02)


def test_an_ordering_by_hand():
    cells = world()
    fits = fit_counts(cells, COUNTS)
    found = audit_errors.orderings(cells, fits)
    assert {"MiCRo", "MiCRo-HyRe"} == set(found["method"]) and 7 not in set(found["table"])
    assert set(found.query("method == 'MiCRo-HyRe'")["other"]) == {"HyRe"}
    row = found.query("table == 3 and method == 'MiCRo' and other == 'Single Reward' and attribute == 'Average'").iloc[
        0
    ]
    a, b = (
        cells.query("table == 3 and attribute != 'Average'").query("method == @m").set_index("attribute")["accuracy"]
        for m in ("MiCRo", "Single Reward")
    )
    variance = sum((a[x] * (1 - a[x]) + b[x] * (1 - b[x])) / n for x, n in SIZES.items())
    assert row.difference == pytest.approx(a.mean() - b.mean())
    assert row.error == pytest.approx(np.sqrt(variance) / len(SIZES))
    assert row.ratio == pytest.approx(row.difference / row.error)


@pytest.mark.parametrize(
    ("ratio", "largest", "says"),
    [(2.1, 5, "exceeds"), (-2.1, -5, "is lower"), (1.9, 2.1, "only pairing could tell"), (-1, -1.5, "within error")],
)
def test_verdict(ratio, largest, says):
    assert audit_errors.verdict(ratio, largest) == says


# the best of K heads


def brute_maximum(n, p, heads):
    """E max over heads, by listing every combination of numbers of successes."""
    mass = [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    return sum(max(ks) / n * np.prod([mass[k] for k in ks]) for ks in product(range(n + 1), repeat=heads))


@pytest.mark.parametrize(("n", "p", "heads"), [(1, 0.5, 2), (5, 0.3, 3), (8, 0.9, 2), (6, 1.0, 3), (4, 0.0, 2)])
def test_expected_maximum_is_that_of_all_outcomes(n, p, heads):
    assert audit_errors.expected_maximum(n, p, heads) == pytest.approx(brute_maximum(n, p, heads))


def test_expected_maximum_of_agreeing_heads_is_that_of_draws_by_pair():
    n, p, heads, shared, draws = 40, 0.7, 5, 0.4, 20_000
    rng = np.random.default_rng(1)
    own = rng.random((draws, heads, n)) < p
    agree = rng.random((draws, 1, n)) < shared
    right = np.where(agree, rng.random((draws, 1, n)) < p, own).mean(axis=2).max(axis=1)
    exact = audit_errors.expected_maximum(n, p, heads, shared)
    assert abs(right.mean() - exact) < 4 * right.std() / np.sqrt(draws)
    mean, error = audit_errors.simulated_maximum(n, p, heads, shared, rng, draws)
    assert abs(mean - exact) < 4 * error
    assert audit_errors.expected_maximum(n, p, 1, shared) == pytest.approx(p)
    assert audit_errors.expected_maximum(n, p, heads, 1.0) == pytest.approx(p)
    gains = [audit_errors.expected_maximum(n, p, k) for k in (1, 2, 5, 10, 20)]
    assert (np.diff(gains) > 0).all() and exact < gains[2]


def test_optimism_is_that_of_draws():
    p, n, draws = np.array([0.7, 0.72, 0.5]), 60, 40_000
    share = np.random.default_rng(2).binomial(n, p, size=(draws, 3)) / n
    best = share.argmax(axis=1)
    excess = share.max(axis=1) - p[best]
    assert abs(excess.mean() - audit_errors.optimism(n, p)) < 4 * excess.std() / np.sqrt(draws)
    assert audit_errors.optimism(n, [0.7]) == pytest.approx(0, abs=1e-12)
    equal = audit_errors.optimism(n, [0.7] * 4)
    assert equal == pytest.approx(audit_errors.expected_maximum(n, 0.7, 4) - 0.7)


def test_selection_takes_heads_and_pairs_from_the_tables():
    cells = world()
    found = audit_errors.selection(cells, fit_counts(cells, COUNTS))
    assert found["attribute"].tolist() == [*SIZES, AVERAGE] and set(found["heads"]) == {4}
    heads = cells[cells["method"].str.contains("Head [0-9]")]
    assert found["best"].tolist()[:-1] == [heads.loc[heads["attribute"] == a, "accuracy"].max() for a in SIZES]
    assert found["gain"].iloc[-1] == pytest.approx(found["gain"].iloc[:-1].mean())
    assert (found["chance_gain_shared"] < found["chance_gain"]).all() and (found["chance_gain_shared"] > 0).all()


# the text's numbers


def test_gains_follow_or_not():
    cells = world()
    errors = audit_errors.cell_errors(cells, fit_counts(cells, COUNTS))
    good = audit_cells.gains(cells, scalars_of(cells), COUNTS, errors)
    assert set(good["follows"]) == {"yes"} and len(good) == 4
    bad = audit_cells.gains(cells, scalars_of(cells, gain=0.3), COUNTS, errors)
    assert bad[bad["follows"] == "no"]["quantity"].tolist() == ["gain"]
    with pytest.raises(InputError, match="no rule for the quantity 'joy'"):
        audit_cells.gains(cells, scalars_of(cells).assign(quantity="joy"), COUNTS, errors)


def test_a_gain_over_another_row_is_named():
    cells = world()
    best = cells[cells["method"].str.contains("Head [0-9]")].groupby("attribute")["accuracy"].max().mean()
    single = cells.query("table == 3 and method == 'Single Reward' and attribute == 'Average'")["accuracy"].item()
    scalars = scalars_of(cells)
    scalars.loc[1, "printed"] = round(100 * (best / single - 1), 1)
    said = text(cells, scalars).query("about == 'gains'")["consequence"]
    assert said.str.contains("is the gain over Single Reward").sum() == 1


def test_scalars_are_those_of_the_claims():
    claims = paper_values.claims().set_index("id")["printed"]
    scalars = paper_values.scalars()
    printed = {(r.quantity, r.dataset, r.against): r for r in scalars.itertuples()}
    for claim, key in {
        "C10": ("best_average", "RPR", ""), "C11": ("best_average", "HelpSteer2", ""),
        "C12": ("gain", "RPR", "Single"), "C13": ("gain", "HelpSteer2", "Single"),
        "C14": ("gain", "RPR", "Shared-Base"), "C15": ("gain", "HelpSteer2", "Shared-Base"),
        "C16": ("gain", "RPR", "Static"), "C17": ("gain", "HelpSteer2", "Static"),
        "C30": ("budget_average", "HelpSteer2", "50"),
    }.items():  # fmt: skip
        assert float(claims[claim].strip("+ %")) == printed[key].printed, claim
    assert claims["C29"] == " -> ".join(f"{printed['budget_average', 'RPR', b].printed:.3f}"[1:] for b in ("0", "50"))
    assert scalars["id"].is_unique and (scalars["place"] != "").all()


def test_methods_table():
    frame = paper_values.methods_table()
    assert frame["method"].tolist() == ["ARMO", "MaxMin", "HyRe", "DRMs", "MiCRo"]
    assert set(frame["row"]) <= set(STYLES)
    assert frame.set_index("method")["context_conditioning"].to_dict() == dict.fromkeys(
        ["ARMO", "MaxMin", "HyRe", "DRMs"], "no"
    ) | {"MiCRo": "yes"}
    assert frame.query("binary_labels_only == 'no'")["method"].tolist() == ["ARMO"]
    assert (frame != "").all(axis=None)


# figures and refusals


def test_figures_draw_the_tables():
    cells = world()
    fits = fit_counts(cells, COUNTS)
    orderings = audit_errors.orderings(cells, fits)
    ax = plots_paper.orderings_figure(orderings).axes[0]
    drawn = [x for lined in ax.lines if lined.get_marker() == "o" for x in lined.get_xdata()]
    wanted = sorted(orderings[orderings["attribute"] == AVERAGE]["difference"])
    assert len(drawn) == len(wanted) and np.allclose(sorted(drawn), wanted, rtol=1e-5, atol=1e-12)  # 6 digits are drawn
    selection = audit_errors.selection(cells, fits)
    figure = plots_paper.selection_figure(selection)
    assert figure.axes[0].get_title() == "Table 7: RPR, K = 4"
    assert np.allclose(figure.axes[0].lines[0].get_xdata(), selection["gain"])


CELLS = world()
FITS = fit_counts(CELLS, COUNTS)
EMPTY = audit_errors.selection(CELLS, FITS).iloc[:0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: audit_cells.row_means(CELLS.drop(columns="accuracy")), "lack the column 'accuracy'"),
        (lambda: audit_cells.copies(CELLS.iloc[:0]), "no printed cells"),
        (lambda: audit_cells.copies(CELLS.query("method == 'HyRe'")), "nothing to compare"),
        (lambda: fit_counts(CELLS.assign(accuracy=CELLS["accuracy"] * 100), COUNTS), "is not in \\[0, 1\\]"),
        (lambda: fit_counts(CELLS.assign(accuracy=np.nan), COUNTS), "is not in \\[0, 1\\]"),
        (lambda: fit_counts(pd.concat([CELLS, CELLS]), COUNTS), "occurs twice"),
        (lambda: is_fraction(0.5, 0), "n must be at least 1"),
        (lambda: audit_errors.binomial_error(1.2, 10), "share must lie"),
        (lambda: audit_errors.expected_maximum(10, 0.5, 0), "need n, heads >= 1"),
        (lambda: audit_errors.expected_maximum(10, 0.5, 2, 1.5), "need n, heads >= 1"),
        (lambda: audit_errors.optimism(10, []), "one a head"),
        (lambda: audit_errors.orderings(CELLS[~CELLS["method"].str.startswith("MiCRo")], FITS), "no MiCRo row"),
        (lambda: audit_errors.selection(CELLS.query("table != 7"), FITS), "nothing was chosen"),
        (lambda: audit_errors.selection(CELLS.query("method != 'Single Reward'"), FITS), "of a single reward"),
        (lambda: text(CELLS, scalars_of(CELLS).iloc[:-1]), "labelled_pairs"),
        (lambda: plots_paper.orderings_figure(CELLS), "lacks the column 'other'"),
        (lambda: plots_paper.selection_figure(EMPTY), "no rows"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
