"""Persons: how well each row predicts a person from few of the person's own labels, and what it gains by them.

`person_rounds` says who teaches, tells and is asked; `person_rows` which rows there are. Here the rows run, and what
they got right becomes tables with intervals over people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from micro_paper import metrics
from micro_paper.errors import InputError
from micro_paper.experiments.person_rounds import Folds, Round, check_round, of_people, peers, rounds, shuffled, who_has
from micro_paper.experiments.person_rows import LABELS_OF, PERSON_ROWS, REFERENCE, Row, find_row
from micro_paper.intervals import check_resamples, expanded_percentiles, holm, resamples, two_sided_p
from micro_paper.methods.persons import PersonRow, first_labels, people_of
from micro_paper.methods.settings import Settings
from micro_paper.pairs import Pairs

BUDGETS = (0, 2, 5, 10, 20, 50)  # labels of a person
LEAST = 20  # labels that everybody in a table has
SCORES = ("run", "method", "labels", "user_id", "pairs", "correct", "loss")
METRICS = ("accuracy", "accuracy_by_label", "accuracy_worst_tenth", "nll", "nll_by_label")


def person_scores(
    pairs: Pairs,
    settings: Settings | Mapping[str, Any] | None = None,
    *,
    rows: Sequence[str] = tuple(PERSON_ROWS),
    seeds: Iterable[int] = (0,),
    budgets: Sequence[int] = BUDGETS,
    least: int = LEAST,
    folds: Folds | None = None,
) -> pd.DataFrame:
    """Run rows on people; every row of a run adapts to the same labels, a smaller budget to the first of a larger.

    Args:
        pairs: of people on topics, as `person_rounds.everyone` gives them.
        settings: of all rows: K heads, and how minibatch rows train. Features are scaled before, so `standardize` is
            not read where folds.dimensions is above 0.
        rows: names of PERSON_ROWS.
        seeds: one a run.
        budgets: labels of a person. Up to `least` they are asked of everybody who has `least`, above it of those who
            have so many.
        folds: None = `Folds()`.

    Returns:
        One row a run, row, budget and person: run, method, labels, user_id, pairs (asked), correct and loss (sums over
        these, the loss in nats).

    Raises:
        InputError: an unknown row, a budget below 0, or nobody with `least` labels.
    """
    settings, folds = Settings.of(settings), folds or Folds()
    if folds.dimensions:
        settings = replace(settings, standardize=False)
    wanted = {name: find_row(name) for name in rows}
    if not budgets or min(budgets) < 0 or least < 1:
        raise InputError(f"budgets must be >= 0 and least >= 1, got {list(budgets)} and {least}")
    parts = []
    for run, seed in enumerate(seeds):
        for made in rounds(pairs, folds, seed):
            check_round(made)
            parts += _scores_of_round(made, wanted, settings, seed, run, sorted(set(budgets)), least)
    if not parts:
        raise InputError(f"nobody has {least} labels to adapt with: lower `least`")
    each = pd.concat(parts, ignore_index=True)
    keys = ["run", "method", "labels", "user_id"]
    return each.groupby(keys, sort=False, as_index=False)[["pairs", "correct", "loss"]].sum()


def _scores_of_round(
    made: Round, rows: Mapping[str, Row], settings: Settings, seed: int, run: int, budgets: list[int], least: int
) -> list[pd.DataFrame]:
    told = {name: labels_of(made, name, seed) for name in LABELS_OF if any(r.labels == name for r in rows.values())}
    fitted: dict[Any, PersonRow] = {}  # rows that differ in whose labels they adapt to share what they learnt
    parts = []
    for name, row in rows.items():
        if row.make not in fitted:
            fitted[row.make] = row.make(settings, seed).fit(made.train, made.validation, made.tuning)
        method = fitted[row.make]
        for labels in budgets:
            people = who_has(made.test.tell, max(labels, least))
            asked = of_people(made.test.ask, people)
            if len(asked):
                p = method.adapt(first_labels(of_people(told[row.labels], people), labels)).predict_proba(asked)
                parts.append(_by_person(p, asked).assign(run=run, method=name, labels=labels))
    return parts


def labels_of(made: Round, whose: str, seed: int) -> Pairs:
    """Return the labels that test people adapt with: their own ("self"), "peers" or "shuffled" ones."""
    if whose == "peers":
        return peers(made.test.tell, made.everybody, seed)
    return shuffled(made.test, made.everybody, seed) if whose == "shuffled" else made.test.tell


def _by_person(p: np.ndarray, asked: Pairs) -> pd.DataFrame:
    frame = pd.DataFrame({"user_id": people_of(asked), "correct": metrics.correct(p), "loss": metrics.pair_nll(p)})
    return frame.assign(pairs=1).groupby("user_id", as_index=False)[["pairs", "correct", "loss"]].sum()


def by_person(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores behind the tables, a line a row, number of labels and person, means over runs.

    Args:
        scores: of `person_scores`.

    Returns:
        method, labels, user_id, pairs, correct, loss, n_runs.
    """
    groups = scores.groupby(["method", "labels", "user_id"], sort=False)
    return groups[["pairs", "correct", "loss"]].mean().assign(n_runs=groups["run"].nunique()).reset_index()


def curve_table(
    scores: pd.DataFrame, rng: np.random.Generator, *, most: Sequence[int] = (LEAST, 50), n_bootstrap: int = 2000
) -> pd.DataFrame:
    """Return the curve of each row over the labels of a person, once for the people of each largest budget.

    Metrics: accuracy and nll, means over people of a person's mean over pairs and runs; _by_label, over all pairs;
    accuracy_worst_tenth, the mean over the tenth of people (rounded up) whom the row predicts worst. Intervals
    (95 %) resample people.

    Args:
        scores: of `person_scores`.
        rng: of the resamples; rows are compared on the same.
        most: largest budgets; one that nobody has is left out, one that is named twice counts once.

    Returns:
        people_with, method, labels, metric, value, low, high, n_people, n_runs.
    """
    out = []
    for population in _populations(scores, rng, most, n_bootstrap):
        for (row, labels), cell in population.cells.items():
            for metric in METRICS:
                value, draws = population.estimate(cell, metric)
                low, high = expanded_percentiles(draws, population.size)
                out.append((population.most, row, labels, metric, value, low, high, population.size, population.runs))
    return pd.DataFrame(out, columns=[*_KEYS, "value", "low", "high", "n_people", "n_runs"])


def gains_table(
    scores: pd.DataFrame, rng: np.random.Generator, *, most: Sequence[int] = (LEAST, 50), n_bootstrap: int = 2000
) -> pd.DataFrame:
    """Return what each row gains over REFERENCE on the same people and pairs; of an NLL, how far it lies below.

    The p-value is two-sided for a gain of 0, adjusted by Holm over the rows of a population, budget and metric.

    Args:
        scores, rng, most, n_bootstrap: as for `curve_table`.

    Returns:
        people_with, method, labels, metric, gain, low, high, p_value, p_holm, control, n_people, n_runs.
    """
    if REFERENCE not in set(scores["method"]):
        raise InputError(f"gains are over the row {REFERENCE}: run it too")
    out = []
    for population in _populations(scores, rng, most, n_bootstrap):
        for (row, labels), cell in population.cells.items():
            if row == REFERENCE:
                continue
            before = population.cells[REFERENCE, labels]
            for metric in METRICS:
                sign = -1 if metric.startswith("nll") else 1
                (value, draws), (value0, draws0) = (population.estimate(c, metric) for c in (cell, before))
                gain, draws = sign * (value - value0), sign * (draws - draws0)
                low, high = expanded_percentiles(draws, population.size)
                p = two_sided_p(draws, population.size) if np.ptp(draws) else 1.0
                key = (population.most, row, labels, metric)
                out.append((*key, gain, low, high, p, find_row(row).control, population.size, population.runs))
    names = [*_KEYS, "gain", "low", "high", "p_value", "control", "n_people", "n_runs"]
    table = pd.DataFrame(out, columns=names)
    family = table.groupby(["people_with", "labels", "metric"])["p_value"]
    table.insert(names.index("p_value") + 1, "p_holm", family.transform(lambda p: holm(p.to_numpy())))
    return table


_KEYS = ("people_with", "method", "labels", "metric")
_Cell = tuple[np.ndarray, np.ndarray, np.ndarray]  # pairs, correct, loss of each person, means over runs


class _Population:
    """The people of one largest budget, what each row got right of them, and resamples of them."""

    def __init__(self, scores: pd.DataFrame, most: int, rng: np.random.Generator, n_bootstrap: int) -> None:
        self.most = most
        people = np.unique(scores.loc[scores["labels"] == most, "user_id"])
        part = scores[(scores["labels"] <= most) & scores["user_id"].isin(people)]
        self.size, self.runs = len(people), part["run"].nunique()
        check_resamples(self.size, n_bootstrap)
        self.times = resamples(self.size, rng, n_bootstrap)
        mean = part.groupby(["method", "labels", "user_id"], sort=False)[["pairs", "correct", "loss"]].mean()
        self.cells: dict[tuple[str, int], _Cell] = {}
        for (row, labels), cell in mean.groupby(level=["method", "labels"], sort=False):
            own = cell.droplevel(["method", "labels"]).reindex(people)
            if own.isna().any(axis=None):
                raise InputError(f"{row} at {labels} labels lacks people that others have: score the same people")
            self.cells[row, int(labels)] = tuple(own[name].to_numpy() for name in ("pairs", "correct", "loss"))

    def estimate(self, cell: _Cell, metric: str) -> tuple[float, np.ndarray]:
        """Return the metric of these people, and of each resample."""
        pairs, correct, loss = cell
        total = loss if metric.startswith("nll") else correct
        once = np.ones((1, self.size), int)
        if metric.endswith("_worst_tenth"):
            score = lambda times: worst_tenth(total / pairs, times)  # noqa: E731
        elif metric.endswith("_by_label"):
            score = lambda times: (times @ total) / (times @ pairs)  # noqa: E731
        else:
            score = lambda times: times @ (total / pairs) / self.size  # noqa: E731
        return float(score(once)[0]), score(self.times)


def worst_tenth(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the mean of the lowest tenth (rounded up) of values, each occurring as often as `times` says.

    Args:
        values: (U,).
        times: (B, U) whole numbers, rows of one sum.

    Returns:
        (B,).
    """
    order = np.argsort(values, kind="stable")
    count = times[:, order]
    tenth = -(-count.sum(axis=1, keepdims=True) // 10)
    before = count.cumsum(axis=1) - count
    taken = np.clip(tenth - before, 0, count)
    return (taken @ values[order]) / tenth[:, 0]


def _populations(
    scores: pd.DataFrame, rng: np.random.Generator, most: Sequence[int], n_bootstrap: int
) -> list[_Population]:
    if missing := set(SCORES) - set(scores):
        raise InputError(f"scores lack the column {min(missing)!r}: give what person_scores returns")
    known = set(scores["labels"])
    if not (found := [labels for labels in dict.fromkeys(most) if labels in known]):
        raise InputError(f"scores hold none of the largest budgets {list(most)}: run one of them")
    return [_Population(scores, labels, rng, n_bootstrap) for labels in found]
