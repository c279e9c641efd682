"""Committed gains of persons against the stored scores of every person, by code of their own."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

RESULTS = Path(__file__).parents[1] / "results"
FOLDERS = sorted(path.parent for path in RESULTS.glob("*/people_scores.csv"))
EXACT = 2e-6  # a table has 6 digits
DRAWS = 4000


def score(frame: pd.DataFrame, metric: str) -> float:
    """The metric of one row at one number of labels, from a line a person."""
    total = frame["loss"] if metric.startswith("nll") else frame["correct"]
    if metric.endswith("_by_label"):
        return total.sum() / frame["pairs"].sum()
    share = (total / frame["pairs"]).sort_values()
    return share.head(-(-len(share) // 10)).mean() if metric.endswith("_worst_tenth") else share.mean()


def recomputed(scores: pd.DataFrame, line) -> float:
    """The gain that a line of the table states."""
    people = scores.loc[scores["labels"] == line.people_with, "user_id"].unique()
    at = scores[(scores["labels"] == line.labels) & scores["user_id"].isin(people)]
    own, none = (score(at[at["method"] == m], line.metric) for m in (line.method, "person_none"))
    return (none - own) if line.metric.startswith("nll") else (own - none)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_gains_follow_from_each_person(folder):
    scores, gains = pd.read_csv(folder / "people_scores.csv"), pd.read_csv(folder / "table_00_people_gains.csv")
    assert len(gains) > 100
    for line in gains.itertuples():
        assert line.gain == pytest.approx(recomputed(scores, line), abs=5 * EXACT), line


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda f: f.name)
def test_intervals_resample_people(folder):
    scores, gains = pd.read_csv(folder / "people_scores.csv"), pd.read_csv(folder / "table_00_people_gains.csv")
    rng = np.random.default_rng(7)
    last = gains[(gains["metric"] == "accuracy") & (gains["labels"] == gains["people_with"])]
    for line in last.itertuples():
        at = scores[scores["labels"] == line.labels]
        at = at.assign(share=at["correct"] / at["pairs"]).pivot(index="user_id", columns="method", values="share")
        own = (at[line.method] - at["person_none"]).dropna().to_numpy()
        draws = own[rng.integers(len(own), size=(DRAWS, len(own)))].mean(axis=1)
        assert (line.high - line.low) / np.ptp(np.quantile(draws, [0.025, 0.975])) == pytest.approx(1, abs=0.15)
        assert line.n_people == len(own)


def test_a_changed_score_is_found():
    people = pd.DataFrame({"user_id": ["a", "b"], "labels": 20, "pairs": 10.0, "correct": [5.0, 6.0], "loss": 7.0})
    scores = pd.concat([people.assign(method="person_none"), people.assign(method="mrm", correct=[7.0, 6.0])])
    line = pd.Series({"people_with": 20, "labels": 20, "method": "mrm", "metric": "accuracy"})
    assert recomputed(scores, line) == pytest.approx(0.1)
    assert recomputed(scores.assign(correct=5.0), line) == 0
