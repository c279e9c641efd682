"""Classes of people, found by EM from their choices alone and compared with the groups that they stated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, log_expit, logsumexp, softmax
from scipy.stats import random_table
from threadpoolctl import threadpool_limits

from micro_paper import metrics
from micro_paper.experiments.conjoint import (
    GROUPINGS,
    RIDGE,
    Respondents,
    bootstrap_people,
    by_person,
    compare_groupings,
    fit_linear,
    load_respondents,
    person_folds,
    stated_groups,
)
from micro_paper.intervals import percentiles


@dataclass(frozen=True, eq=False)
class LatentClasses:
    """K classes of people with a linear Bradley-Terry reward each.

    Attributes:
        heads: (K, d).
        weights: P(z = k), (K,).
        responsibilities: P(z = k | all choices of the person), (P, K).
        objective: mean log-likelihood a pair less the ridge, after every EM step; never falls.
    """

    heads: np.ndarray
    weights: np.ndarray
    responsibilities: np.ndarray
    objective: tuple[float, ...]

    def posterior(self, difference: np.ndarray, person: np.ndarray, n_people: int) -> np.ndarray:
        """P(z = k | choices) of people, (P, K); the class weights for one without choices."""
        return softmax(np.log(self.weights) + _person_log_likelihood(self.heads, difference, person, n_people), axis=1)

    def predict(self, difference: np.ndarray, responsibilities: np.ndarray) -> np.ndarray:
        """P(first is preferred), (n,), with each pair's class weights (n, K)."""
        return (responsibilities * expit(difference @ self.heads.T)).sum(axis=1)


def _person_log_likelihood(heads: np.ndarray, difference: np.ndarray, person: np.ndarray, n: int) -> np.ndarray:
    each = log_expit(difference @ heads.T)
    return np.stack([by_person(column, person, n) for column in each.T], axis=1)


@threadpool_limits.wrap(limits=1, user_api="blas")  # threads cost more than they give on thin matrices
def fit_latent_classes(
    difference: np.ndarray,
    person: np.ndarray,
    n_classes: int,
    rng: np.random.Generator,
    *,
    restarts: int = 5,
    max_iterations: int = 200,
    tolerance: float = 1e-6,
    ridge: float = RIDGE,
) -> LatentClasses:
    """Fit classes of people by EM on all choices of a person together; the best of random starts counts.

    The attitudes are not seen. E-step: P(z = k | person) from the product over the person's choices. M-step: a weighted
    Bradley-Terry fit a class, from where it stood, so the penalised likelihood never falls.

    Args:
        difference: chosen - rejected, (n, d).
        person: (n,) in 0 .. P - 1; every number occurs.
        n_classes: K.
        tolerance: stop when a step gains less (nats a pair).
    """
    people, n = person.max() + 1, len(person)
    best = None
    for _ in range(restarts if n_classes > 1 else 1):
        responsibilities = rng.dirichlet(np.ones(n_classes), people)
        heads, trace = np.zeros((n_classes, difference.shape[1])), []
        while len(trace) < max_iterations:
            weights = np.maximum(responsibilities.mean(axis=0), 1e-300)
            heads = np.stack(
                [
                    fit_linear(difference, column[person], ridge, start=head, tolerance=1e-6)
                    for column, head in zip(responsibilities.T, heads, strict=True)
                ]
            )
            joint = np.log(weights) + _person_log_likelihood(heads, difference, person, people)
            total = logsumexp(joint, axis=1, keepdims=True)
            responsibilities = np.exp(joint - total)
            trace.append(float((total.sum() - ridge / 2 * (heads**2).sum()) / n))
            if len(trace) > 1 and trace[-1] - trace[-2] < tolerance:
                break
        if best is None or trace[-1] > best.objective[-1]:
            best = LatentClasses(heads, weights, responsibilities, tuple(trace))
    return best


def adjusted_rand(tables: np.ndarray) -> np.ndarray:
    """Adjusted Rand index of two groupings from contingency tables, (..., G, H) -> (...): 0 = chance, 1 = equal."""
    n = tables.sum(axis=(-2, -1))
    both = (tables * (tables - 1) / 2).sum(axis=(-2, -1))
    sides = [tables.sum(axis=axis) for axis in (-1, -2)]
    one, other = ((side * (side - 1) / 2).sum(axis=-1) for side in sides)
    expected = one * other / (n * (n - 1) / 2)
    most = (one + other) / 2
    same = most == expected  # both groupings put everybody together, or everybody apart
    return np.where(same, 1.0, (both - expected) / np.where(same, 1.0, most - expected))


def agreement(
    found: np.ndarray, stated: np.ndarray, rng: np.random.Generator, n_bootstrap: int = 1000
) -> dict[str, float]:
    """Adjusted Rand index of two groupings of people, (P,) each (-1 = missing), with an interval over people.

    Also `chance`, the 97.5 % point of the index when the stated groups are shuffled.
    """
    known = (found >= 0) & (stated >= 0)
    table = pd.crosstab(found[known], stated[known]).to_numpy()
    n = int(table.sum())
    # People count by their cell: resampling is a multinomial draw, shuffling one with fixed margins.
    resampled = rng.multinomial(n, table.ravel() / n, size=n_bootstrap).reshape(n_bootstrap, *table.shape)
    shuffled = random_table(table.sum(axis=1), table.sum(axis=0)).rvs(n_bootstrap, random_state=rng)
    low, high = percentiles(adjusted_rand(resampled))
    return {
        "people": n,
        "adjusted_rand": float(adjusted_rand(table)),
        "low": low,
        "high": high,
        "chance": float(np.quantile(adjusted_rand(shuffled), 0.975)),
    }


def latent_class_scores(
    data: Respondents,
    counts: list[int],
    rng: np.random.Generator,
    *,
    n_folds: int = 5,
    restarts: int = 3,
    n_bootstrap: int = 2000,
) -> pd.DataFrame:
    """Held-out people: the class is inferred from the first half of their choices, the second half is predicted.

    Returns:
        One row a number of classes: classes, pairs, people, nll, accuracy, nll_difference from one class, low, high.
    """
    folds = person_folds(len(data.attitudes), n_folds, rng)
    order = pd.Series(data.person).groupby(data.person).cumcount().to_numpy()
    later = order >= np.bincount(data.person)[data.person] // 2
    scores: dict[int, np.ndarray] = {}
    for k in dict.fromkeys([1, *counts]):
        p = np.full(len(data.person), np.nan)
        for fold in range(n_folds):
            test = folds[data.person] == fold
            _, train_person = np.unique(data.person[~test], return_inverse=True)
            classes = fit_latent_classes(data.difference[~test], train_person, k, rng, restarts=restarts)
            seen = test & ~later
            who = classes.posterior(data.difference[seen], data.person[seen], len(folds))
            ask = test & later
            p[ask] = classes.predict(data.difference[ask], who[data.person[ask]])
        scores[k] = p[later]
    person = data.person[later]
    rows = []
    for k, p in scores.items():
        difference, low, high = bootstrap_people(np.log(scores[1]) - np.log(p), person, rng, n_bootstrap)
        rows.append(
            {
                "classes": k,
                "pairs": len(p),
                "people": len(np.unique(person)),
                "nll": float(-np.log(p).mean()),
                "accuracy": float(metrics.decided(p - 0.5).mean()),
                "nll_difference": difference,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


def class_agreement(
    data: Respondents,
    groupings: dict[str, tuple[str, ...]],
    counts: list[int],
    rng: np.random.Generator,
    *,
    restarts: int = 3,
    n_bootstrap: int = 1000,
) -> pd.DataFrame:
    """Classes fitted on all choices against each stated grouping.

    Returns:
        One row a number of classes and grouping: classes, grouping, people, adjusted_rand, low, high, chance.
    """
    rows = []
    everyone = np.ones(len(data.attitudes), dtype=bool)
    for k in counts:
        found = fit_latent_classes(data.difference, data.person, k, rng, restarts=restarts).responsibilities.argmax(
            axis=1
        )
        for name, columns in groupings.items():
            stated = stated_groups(data.attitudes, columns, everyone)
            rows.append({"classes": k, "grouping": name, **agreement(found, stated, rng, n_bootstrap)})
    return pd.DataFrame(rows)


def load_people(names: str) -> dict[str, Respondents]:
    """Return the data sets of people that a text names, separated by blanks; "none" names none."""
    return {name: load_respondents(name) for name in names.split() if name != "none"}


def people_tables(
    respondents: dict[str, Respondents], rng: np.random.Generator, *, n_folds: int, n_bootstrap: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """`compare_groupings`, `latent_class_scores` and `class_agreement` of each data set, with a column dataset."""
    tables: tuple[list, list, list] = ([], [], [])
    for name, people in respondents.items():
        groupings, options = GROUPINGS[name], {"n_folds": n_folds, "n_bootstrap": n_bootstrap}
        found = (
            compare_groupings(people, groupings, rng, **options),
            latent_class_scores(people, [2, 3], rng, **options),
            class_agreement(people, groupings, [2, 3], rng, n_bootstrap=n_bootstrap),
        )
        for rows, frame in zip(tables, found, strict=True):
            frame.insert(0, "dataset", name)
            rows.append(frame)
    return tuple(pd.concat(rows, ignore_index=True) for rows in tables)
