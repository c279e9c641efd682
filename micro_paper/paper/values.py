"""The numbers that the paper prints, cell by cell, and its claims in our wording.

They serve comparison only: nothing here is computed, and nothing computed may come from here.
"""

from importlib.resources import files
from io import StringIO

import pandas as pd

from micro_paper.errors import InputError


def _read(name: str, **options) -> pd.DataFrame:
    text = (files("micro_paper.paper") / name).read_text(encoding="utf-8")
    return pd.read_csv(StringIO(text), keep_default_na=False, na_values={"accuracy": [""], "std": [""]}, **options)


def accuracy(table: int | None = None) -> pd.DataFrame:
    """Return the printed cells of tables 2-4 and 7-12, or of one of them, in the paper's order.

    Columns: table, train, test, method, supervision, attribute ("Average" is the printed average, not
    computed), accuracy (share of pairs), std (over runs, missing where none is printed), note.

    Raises:
        InputError: the paper prints no accuracies in that table.
    """
    cells = _read("accuracy_tables.csv")
    if table is None:
        return cells
    known = sorted(cells["table"].unique().tolist())
    if table not in known:
        raise InputError(f"table {table!r} has no printed accuracies: choose one of {', '.join(map(str, known))}")
    return cells[cells["table"] == table].reset_index(drop=True)


def counts() -> pd.DataFrame:
    """Return table 5: dataset, attribute, train_pairs, test_pairs (missing where the paper prints none)."""
    frame = _read("dataset_counts.csv")
    return frame.assign(**{c: pd.to_numeric(frame[c]).astype("Int64") for c in ("train_pairs", "test_pairs")})


def claims() -> pd.DataFrame:
    """Return the claims: id, section, claim, printed (as text), rule (of judging), needs (which world)."""
    return _read("claims.csv", dtype=str)


def scalars() -> pd.DataFrame:
    """Return the numbers that the paper prints in its text: id, place, quantity, dataset, against, printed, unit, ...

    Quantities: best_average (mean over attributes of the best head's accuracy), gain (of the best heads over the row
    that `against` begins), budget_average (mean accuracy after `against` labelled contexts an attribute), train_pairs,
    labelled_pairs (of HyRe, an attribute). `approximate` is "yes" where the paper says "about" or draws it only.
    `decimals` is the number of decimals printed.
    """
    frame = _read("printed_scalars.csv", dtype=str)
    decimals = frame["printed"].str.partition(".")[2].str.len()
    return frame.assign(printed=frame["printed"].astype(float), decimals=decimals.astype(int))


def methods_table() -> pd.DataFrame:
    """Return table 1 in our wording: what each method needs and does; `row` is its name among our methods."""
    return _read("methods_table.csv", dtype=str)
