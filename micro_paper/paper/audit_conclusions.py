"""What a reader may conclude from the audit: each finding with its numbers, and its consequence.

The sentences are filled in from the computed tables; a finding that is not there gives no line.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from micro_paper.errors import InputError
from micro_paper.paper.audit_cells import HEADS, OTHER, SAME, TRAINING
from micro_paper.paper.audit_counts import AVERAGE, ROW, Fits
from micro_paper.paper.audit_errors import EXCEEDS, LOWER, PAIRING, WITHIN

Line = tuple[str, str, str]
COLUMNS = ("about", "finding", "consequence")


def _list(values: Iterable) -> str:
    names = [str(v) for v in dict.fromkeys(values)]
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def _tables(numbers: Iterable) -> str:
    names = sorted(set(numbers))
    return f"table{'s' if len(names) > 1 else ''} {_list(names)}"


def _where(rows: pd.DataFrame, row: tuple) -> str:
    """Return "table 4 (HelpSteer2)", the training set only where the table has several."""
    several = rows.loc[rows["table"] == row.table, "train"].nunique() > 1
    return f"table {row.table} ({row.train})" if several else f"table {row.table}"


def _averages(means: pd.DataFrame) -> list[Line]:
    lines = []
    for row in means[means["beyond_rounding"]].itertuples():
        finding = (
            f"T{_where(means, row)[1:]}: {row.method} has the average {row.printed:.4f}, "
            f"the mean of its {row.cells} cells is {row.mean:.4f}."
        )
        block = means[(means[["table", "train", "test"]] == [row.table, row.train, row.test]).all(axis=1)]
        ours, others = block[block["method"] == "MiCRo"], block[~block["method"].str.startswith("MiCRo")]
        if not len(ours) or not len(others):
            lines.append(("averages", finding, "Use the mean of the cells."))
            continue
        printed, mean = (ours[c].item() - others[c].max() for c in ("printed", "mean"))
        moved = "no place changes" if (block["place_printed"] == block["place_mean"]).all() else "places change"
        consequence = (
            f"MiCRo less the best other row there: {printed:+.4f} by the printed averages, "
            f"{mean:+.4f} by the cells; {moved}."
        )
        lines.append(("averages", finding, consequence))
    return lines


def _pairs(fits: Fits) -> list[Line]:
    lines = []
    for (name, group), part in fits.columns.groupby(["set", "group"], sort=False):
        n, printed = part["n"].tolist(), part["test_pairs"]
        tables = _tables(map(int, part["tables"].iloc[0].split(", ")))
        sizes = _list(f"{c.attribute} {c.n}" for c in part.itertuples())
        if not group:
            finding = f"{name}, {tables}: too few rows to tell the numbers of pairs; the smallest that fit are {sizes}."
            lines.append(("test pairs", finding, "Errors computed with these numbers are the largest possible ones."))
            continue
        each = f"{n[0]} an attribute" if len(set(n)) == 1 else sizes
        finding = f"{name}, {tables}: the cells are shares of {sum(n):,} pairs ({each})"
        if printed.isna().any():
            lines.append(("test pairs", finding + "; no count is printed.", "Errors use the fitted numbers."))
        elif (printed == part["n"]).all():
            lines.append(("test pairs", finding + ", the counts of table 5.", "Table 5 gives the standard errors."))
        else:
            share = sum(n) / int(printed.sum())
            consequence = (
                f"They were scored on {share:.0%} as many pairs: errors are {share**-0.5:.1f} times those of table 5."
            )
            lines.append(("test pairs", finding + f", not of table 5's {int(printed.sum()):,}.", consequence))
    return lines


def _forms(fits: Fits, rows: pd.DataFrame, labelled: int) -> list[Line]:
    lines = []
    known = fits.rows[fits.rows["group"] != ""].merge(rows, on=ROW)
    fewer = known[known["left_out"] > 0]
    if len(fewer):
        which = _list(f"{r.method}, {_where(known, r)} (n - {r.left_out})" for r in fewer.itertuples())
        consequence = "They were not scored on the same pairs as the rows beside them."
        lines.append(
            ("rows", f"Scored on fewer pairs an attribute than their tables' other rows: {which}.", consequence)
        )
    odd = known[known["supervision"].str.contains("test labels") & (known["left_out"] != labelled)]
    for r in odd.itertuples():
        pairs = f"n - {r.left_out}" if r.left_out else "all n"
        finding = (
            f"{r.method} in {_where(known, r)} is scored on {pairs} pairs, while {labelled} labelled test pairs an "
            "attribute are said to be used."
        )
        consequence = "Fewer labels were used, or pairs whose labels chose the weights were scored as well."
        lines.append(("rows", finding, consequence))
    ours = known[known["method"].str.startswith("MiCRo") & (known["supervision"] == "binary+context")]
    if (ours["runs"] > 1).any():
        forms = [
            (f"means of {runs} runs" if runs > 1 else "one run")
            + f" in {_list(_where(known, r) for r in p.itertuples())}"
            for runs, p in ours.groupby("runs", sort=False)
        ]
        others = known.loc[~known["method"].str.startswith("MiCRo"), "runs"]
        finding = f"MiCRo's rows are {'; '.join(forms)}; {(others == 1).sum()} of {len(others)} other rows are one run."
        lines.append(("rows", finding, "The spread of the baselines over runs is unknown, and in no comparison."))
    return lines + _leftovers(fits)


def _leftovers(fits: Fits) -> list[Line]:
    lines = []
    for (method, attribute, value), part in fits.leftovers.groupby(["method", "attribute", "accuracy"], sort=False):
        r = part.iloc[0]
        finding = (
            f"{method}, {attribute}, {_tables(part['table'])}: {value:.4f} is no k / {r.pairs} as the row's other cells"
        )
        if r.truncated:
            consequence = "One unit of the last digit: harmless."
            lines.append(("cells", f"{finding} are; it is {r.nearest:.6f} cut off.", consequence))
        else:
            consequence = "A misprint, or other pairs than the rest of the row."
            lines.append(("cells", f"{finding} are; the smallest n that fits is {r.other_n}.", consequence))
    return lines


def _copies(copies: pd.DataFrame, fits: Fits) -> list[Line]:
    lines = []
    for r in copies[(copies["kind"] == OTHER) & (copies["equal"] == copies["cells"])].itertuples():
        sides = sorted([(r.distance, r.table, r.train), (r.other_distance, r.other_table, r.other_train)])
        (near, near_table, _), (far, far_table, far_train) = sides
        finding = (
            f"{r.method} of table {r.table} (trained on {r.train}) equals {r.other} of table {r.other_table} (trained "
            f"on {r.other_train}) in all {r.cells} cells; other such couples share {r.elsewhere:.1%} of their cells, "
            f"{r.next_most} at most."
        )
        consequence = (
            f"One is a copy. It lies {near:.3f} from its neighbours in table {near_table}, {far:.3f} from those in "
            f"table {far_table}: the true row of table {far_table}, trained on {far_train}, is probably not printed."
        )
        lines.append(("copies", finding, consequence))
    for r in copies[copies["kind"] == HEADS].itertuples():
        finding = (
            f"{r.method} of table {r.table} equals a single head of table {r.other_table} in each of its {r.cells} "
            f"cells; of other rows {r.elsewhere:.0%} of the cells do."
        )
        consequence = "This is what one-hot weights give, scored on all pairs that the heads are scored on."
        lines.append(("copies", finding, consequence))
    differing = copies[copies["kind"].isin([SAME, TRAINING]) & (copies["differing"] != "")]
    for text, part in differing.groupby("differing", sort=False):
        r = part.iloc[0]
        finding = (
            f"{r.method} ({_tables(part['table'])}) and {r.other} ({_tables(part['other_table'])}) agree in {r.equal} "
            f"of {r.cells} cells, not in {text}."
        )
        lines.append(("copies", finding, "One quantity has two printed values, unless the rest agrees by chance."))
    known = fits.rows[fits.rows["group"] != ""]
    for (table, _, _), part in known.groupby(["table", "train", "test"], sort=False):
        for r in part[part["group"] != part["group"].mode().iloc[0]].itertuples():
            again = copies[(copies["other_table"] == table) & (copies["other"] == r.method) & (copies["kind"] == SAME)]
            source = f"; its cells are those of table {again['table'].iloc[0]}" if len(again) else ""
            finding = f"{r.method} in table {table} is scored on other pairs than the rows beside it{source}."
            lines.append(("copies", finding, "The comparison is between different test sets."))
    return lines


def _errors(errors: pd.DataFrame, orderings: pd.DataFrame) -> list[Line]:
    average = orderings["attribute"] == AVERAGE
    size = errors.loc[(errors["attribute"] == AVERAGE) & errors["table"].isin(orderings["table"]), "error"]
    count, cells = orderings.loc[average, "verdict"].value_counts(), orderings.loc[~average, "verdict"].value_counts()
    finding = (
        f"The standard error of an average is {size.min():.3f} to {size.max():.3f}. Of {average.sum()} orderings of "
        f"averages {count.get(EXCEEDS, 0)} favour MiCRo by more than two standard errors, {count.get(LOWER, 0)} oppose "
        f"it, {count.get(PAIRING, 0)} could be told only from paired predictions, {count.get(WITHIN, 0)} not even so."
    )
    clear = orderings[average & (orderings["verdict"] == EXCEEDS)]
    names = _list(f"{r.method} over {r.other} ({_where(orderings, r)})" for r in clear.itertuples())
    supported = f"The tables alone support {names or 'no ordering'}."
    more = (
        f"Of {(~average).sum()} orderings of single cells {cells.get(EXCEEDS, 0)} favour MiCRo and "
        f"{cells.get(LOWER, 0)} oppose it by more than two standard errors."
    )
    few = 2 * (cells.get(EXCEEDS, 0) + cells.get(LOWER, 0)) < cells.sum()
    noise = "cannot be told from noise" if few else "are beyond noise"
    consequence = f"Most differences of single attributes {noise} at these sizes."
    return [("errors", finding, supported), ("errors", more, consequence)]


def _gains(gains: pd.DataFrame, dimensions: pd.DataFrame) -> list[Line]:
    lines = []
    for r in gains[gains["follows"] == "no"].itertuples():
        if r.quantity == "gain":
            finding = f"{r.dataset}, {r.source}: printed +{r.printed:.1f} %, by the tables +{r.recomputed:.1f} %."
            if round(r.nearest_value, 1) == r.printed:
                consequence = f"The printed number is the gain over {r.nearest}."
            else:
                consequence = f"No row gives the printed number; {r.nearest} comes nearest (+{r.nearest_value:.1f} %)."
        elif r.quantity == "budget_average":
            finding = (
                f"{r.dataset}, {r.against} contexts: {r.printed:.3f} in the text, {r.recomputed:.4f} in {r.source}."
            )
            consequence = f"They are {abs(r.in_errors):.1f} standard errors of the average apart."
        else:
            what = r.quantity.replace("_", " ")
            unit = "" if r.unit == "share" else f" {r.unit}"
            finding = f"{r.dataset}, {what}: printed {r.printed:g}{unit}, recomputed {r.recomputed:g} ({r.source})."
            consequence = "Text and table cannot both be right."
        lines.append(("gains", finding, consequence))
    odd = dimensions[dimensions["verdict"] != "above"]
    if len(odd):
        which = "; ".join(
            f"{r.test} {r.attribute}, {r.best:.4f} against {r.method}'s {r.accuracy:.4f}" for r in odd.itertuples()
        )
        above = len(dimensions) - len(odd)
        finding = f"The best heads are above the baselines in {above} of {len(dimensions)} cells, not in {which}."
        lines.append(("gains", finding, '"On every dimension" does not hold in the paper\'s own tables.'))
    return lines


def _selection(selection: pd.DataFrame) -> list[Line]:
    lines = []
    for r in selection[selection["attribute"] == AVERAGE].itertuples():
        finding = (
            f"{r.test}, table {r.table}: the best of {r.heads} heads gain {r.gain:+.3f} over the single reward; "
            f"choosing among {r.heads} independent heads no better than it gains {r.chance_gain:+.3f}."
        )
        share = r.chance_gain / r.gain if r.gain > 0 else 1.0
        consequence = f"Up to {share:.0%} of the gain can come" if share < 1 else "All of the gain can come"
        lines.append(("selection", finding, consequence + " from choosing on the test pairs."))
    return lines


def conclusions(
    *,
    cells: pd.DataFrame,
    scalars: pd.DataFrame,
    means: pd.DataFrame,
    fits: Fits,
    copies: pd.DataFrame,
    errors: pd.DataFrame,
    orderings: pd.DataFrame,
    gains: pd.DataFrame,
    dimensions: pd.DataFrame,
    selection: pd.DataFrame,
) -> pd.DataFrame:
    """Return findings and consequences (columns COLUMNS) in the order of the audit.

    Args:
        cells, scalars: from `paper_values`. The others: from the functions of their names in `paper_audit`,
            `paper_audit_fits` (fit_counts) and `paper_audit_errors` (cell_errors, orderings, selection).

    Raises:
        InputError: the scalars do not say how many labelled pairs HyRe uses.
    """
    labelled = scalars.loc[scalars["quantity"] == "labelled_pairs", "printed"]
    if len(labelled) != 1:
        raise InputError("printed_scalars.csv must have one row with the quantity labelled_pairs")
    rows = cells.drop_duplicates(ROW)[[*ROW, "supervision"]]
    lines = [
        *_averages(means),
        *_pairs(fits),
        *_forms(fits, rows, int(labelled.item())),
        *_copies(copies, fits),
        *_errors(errors, orderings),
        *_gains(gains, dimensions),
        *_selection(selection),
    ]
    return pd.DataFrame(lines, columns=COLUMNS)
