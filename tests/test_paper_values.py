"""The copied numbers: complete, in range, and with the oddities that the audit speaks of."""

import pandas as pd
import pytest

from micro_paper.errors import InputError
from micro_paper.paper import values as paper_values


def average_gaps(cells: pd.DataFrame) -> pd.Series:
    """Printed average less the mean of its row, by training set and method; rows without one are left out."""
    by_row = cells.groupby(["train", "method"], sort=False)
    gaps = {}
    for row, part in by_row:
        printed = part.loc[part["attribute"] == "Average", "accuracy"]
        if len(printed):
            gaps[row] = printed.item() - part.loc[part["attribute"] != "Average", "accuracy"].mean()
    return pd.Series(gaps)


def test_every_table_has_its_cells():
    cells = paper_values.accuracy()
    assert sorted(cells["table"].unique()) == [2, 3, 4, 7, 8, 9, 10, 11, 12]
    assert len(cells) == sum(len(paper_values.accuracy(t)) for t in cells["table"].unique()) == 444
    assert cells["accuracy"].between(0, 1).all()
    assert not cells.duplicated(["table", "train", "method", "attribute"]).any()
    assert cells["std"].notna().sum() > 0 and (cells["std"].dropna() >= 0).all()
    assert (cells["note"] != "nan").all()


@pytest.mark.parametrize("table", [2, 3, 10, 11, 12])
def test_printed_averages_follow_from_their_rows(table):
    """Up to rounding; MiCRo-HyRe in table 3 is off by two units of the last digit."""
    gaps = average_gaps(paper_values.accuracy(table)).abs()
    assert gaps.drop(("RPR", "MiCRo-HyRe"), errors="ignore").max() < 1.01e-4 and gaps.max() < 2.5e-4


def test_two_averages_of_table_4_do_not_follow():
    gaps = average_gaps(paper_values.accuracy(4))
    odd = gaps[gaps.abs() > 1e-3]
    assert sorted(odd.round(4)) == [-0.0095, 0.0094]


def test_counts():
    counts = paper_values.counts()
    rpr = counts[counts["dataset"] == "RPR"]
    assert len(rpr) == 9 and rpr["train_pairs"].sum() == 6750
    steer = counts[counts["dataset"] == "HelpSteer2"].set_index("attribute")
    assert steer["test_pairs"].dropna().sum() == 3820
    assert pd.isna(steer.loc["Unanimous agreement", "test_pairs"])


def test_claims():
    claims = paper_values.claims()
    assert list(claims["id"]) == [f"C{i:02d}" for i in range(1, 46)]
    assert set(claims["rule"]) == {"identity", "trend", "ordering", "value", "equivalence"}
    assert (claims["claim"].str.len() > 20).all() and claims.loc[9, "printed"] == ".921"


@pytest.mark.parametrize("table", [1, 5, 13, "two"])
def test_unknown_table(table):
    with pytest.raises(InputError, match="choose one of 2, 3, 4, 7"):
        paper_values.accuracy(table)
