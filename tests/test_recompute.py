"""Committed tables 2 and 3 against the stored probability of every pair, by code of their own."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

RESULTS = Path(__file__).parents[1] / "results"
FILES = sorted(RESULTS.glob("*/predictions*.parquet"))
TABLES = ("table_02_accuracy_helpsteer.csv", "table_03_accuracy_rpr.csv")


def accuracies(frame: pd.DataFrame) -> dict[tuple[str, str], dict[str, float]]:
    """(method, attribute) -> accuracy and NLL, the mean over runs of shares over pairs, "average" over attributes."""
    cells: dict[tuple[str, str, int], list[tuple[float, float]]] = defaultdict(list)
    for method, attribute, seed, p in zip(frame.method, frame.attribute, frame.seed, frame.p, strict=True):
        cells[method, attribute, seed].append((1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0, -np.log(p)))
    found: dict[tuple[str, str], list[np.ndarray]] = defaultdict(list)
    for (method, attribute, _), values in cells.items():
        found[method, attribute].append(np.mean(values, axis=0))
    means = {key: np.mean(runs, axis=0) for key, runs in found.items()}
    for method in {m for m, _ in means}:
        rows = [v for (m, a), v in means.items() if m == method]
        means[method, "average"] = np.mean(rows, axis=0)
    return {key: {"accuracy": v[0], "nll": v[1]} for key, v in means.items()}


def differences(frame: pd.DataFrame, table: pd.DataFrame) -> list[str]:
    own = accuracies(frame)
    wrong = []
    for row in table[table.metric.isin(["accuracy", "nll"]) & table.method.isin(frame.method.unique())].itertuples():
        value = own[row.method, row.attribute][row.metric]
        # A table has 6 digits, a stored probability 4 decimals: decisions are exact, likelihoods nearly so.
        if abs(value - row.value) > (2e-6 if row.metric == "accuracy" else 2e-3):
            wrong.append(f"{row.method} {row.attribute} {row.metric}: {row.value} in the table, {value} from the pairs")
    return wrong


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_tables_follow_from_the_stored_pairs(file):
    frame = pd.read_parquet(file)
    for column in ("method", "attribute", "dataset"):
        frame[column] = frame[column].astype(str)
    checked = 0
    for name in TABLES:
        table = pd.read_csv(file.parent / name)
        own = frame[frame.dataset == table.dataset.iloc[0]]
        if len(own):
            assert differences(own, table) == []
            checked += 1
            counts = own.drop_duplicates(["pair_id", "attribute", "fold"]).groupby("attribute").size()
            listed = table[(table.metric == "accuracy") & (table.attribute != "average")]
            assert dict(zip(listed.attribute, listed.n_pairs, strict=True)) == counts.to_dict()
    assert checked == len(TABLES)


def test_a_changed_cell_is_noticed():
    frame = pd.DataFrame(
        {"method": "micro", "attribute": ["a", "a", "b"], "seed": 0, "p": [0.9, 0.2, 0.5], "dataset": "d"}
    )
    right = {"a": 0.5, "b": 0.5, "average": 0.5}
    table = pd.DataFrame(
        [{"method": "micro", "attribute": a, "metric": "accuracy", "value": v} for a, v in right.items()]
    )
    assert differences(frame, table) == []
    table.loc[2, "value"] = 0.51
    assert len(differences(frame, table)) == 1
