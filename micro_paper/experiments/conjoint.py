"""Real people: does a model a group beat one model for all? The conjoint experiments by stated attitude."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, log_expit
from threadpoolctl import threadpool_limits

from micro_paper import data as datasets
from micro_paper import intervals, metrics
from micro_paper.errors import InputError
from micro_paper.files import sha256

RIDGE = 1.0  # of the summed loss: one-hot differences are collinear, and the prior is worth one pair


def fit_linear(
    difference: np.ndarray,
    weights: np.ndarray | None = None,
    ridge: float = RIDGE,
    *,
    start: np.ndarray | None = None,
    tolerance: float = 1e-8,
) -> np.ndarray:
    """Fit a linear Bradley-Terry model by Newton's method, (d,).

    Minimises -sum_i weights_i log sigmoid(w . difference_i) + ridge / 2 |w|^2 to a gradient of `tolerance` a pair.

    Args:
        difference: chosen - rejected, (n, d).
        weights: (n,) >= 0; None = 1.
        start: where to begin, (d,); None = 0.
    """
    n, d = difference.shape
    weights = np.ones(n) if weights is None else weights
    w = np.zeros(d) if start is None else start
    for _ in range(100):
        lose = expit(-difference @ w)
        gradient = ridge * w - difference.T @ (weights * lose)
        if np.abs(gradient).max() <= tolerance * max(n, 1):
            return w
        hessian = difference.T @ (difference * (weights * lose * (1 - lose))[:, None]) + ridge * np.eye(d)
        step = np.linalg.solve(hessian, -gradient)
        reach = np.abs(difference @ step).max()
        w = w + step * (np.log1p(reach) / reach if reach > 1 else 1.0)  # as in `best_reward`
    raise ArithmeticError("the linear Bradley-Terry fit did not converge in 100 Newton steps: raise ridge")


@dataclass(frozen=True, eq=False)
class Respondents:
    """Choices of people, grouped by person.

    Attributes:
        difference: features chosen - rejected, (n, d).
        person: (n,) number of the person, 0 .. P - 1.
        attitudes: P rows, what each person stated; missing is nan or None.
    """

    difference: np.ndarray
    person: np.ndarray
    attitudes: pd.DataFrame

    def __post_init__(self) -> None:
        if len(self.difference) != len(self.person):
            raise InputError(f"person has {len(self.person)} rows, difference has {len(self.difference)}")
        if len(self.attitudes) <= self.person.max(initial=-1):
            raise InputError(f"attitudes has {len(self.attitudes)} rows for {self.person.max() + 1} people")

    @property
    def fingerprint(self) -> str:
        """sha256 of the content."""
        content = [np.ascontiguousarray(self.difference).tobytes(), np.asarray(self.person, dtype=np.int64).tobytes()]
        return sha256([*content, self.attitudes.to_csv().encode()])


GROUPINGS = {
    "conjoint-taxes": {
        "taxes harm the economy": ("taxes_harm_economy",),
        "party and harm": ("partyid", "taxes_harm_economy"),
        "inequality aversion": ("inequality_aversion",),
        "party": ("partyid",),
    },
    "conjoint-immigration": {"ethnocentrism halves": ("ethnocentrism",)},
}


def load_respondents(name: str) -> Respondents:
    """Read a conjoint data set as people with choices: `conjoint-taxes` or `conjoint-immigration`.

    Raises:
        InputError: another data set. MissingError: the data cannot be reached.
    """
    if name not in GROUPINGS:
        raise InputError(f"no people in {name!r}: give one of {', '.join(GROUPINGS)}")
    frame = pd.concat([datasets.split_frame(name, split) for split in datasets.SPLITS], ignore_index=True)
    people, person = np.unique(frame["user_id"].to_numpy(dtype=str), return_inverse=True)
    columns = list(dict.fromkeys(c for group in GROUPINGS[name].values() for c in group))
    attitudes = frame[columns].groupby(person).first()
    return Respondents(np.array(frame["features"].tolist(), dtype=np.float64), person, attitudes)


def stated_groups(attitudes: pd.DataFrame, columns: tuple[str, ...], train: np.ndarray) -> np.ndarray:
    """Group people by what they stated, (P,) of int; -1 where an answer is missing.

    A numeric answer with more than five values is cut at the median of the training people; any other is a category.

    Args:
        attitudes: one row a person.
        columns: answers to combine.
        train: (P,) bool, the people from whom a threshold may be estimated.
    """
    parts = []
    for name in columns:
        if name not in attitudes:
            raise InputError(f"no attitude {name!r}; there are {', '.join(attitudes.columns)}")
        values = attitudes[name]
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > 5:
            halves = (values > values[train].median()).astype(float)
            values = halves.where(values.notna())
        parts.append(values)
    combined = pd.concat(parts, axis=1)
    return combined.groupby(list(combined.columns), dropna=True).ngroup().fillna(-1).astype(int).to_numpy(copy=True)


def person_folds(n_people: int, n_folds: int, rng: np.random.Generator) -> np.ndarray:
    """Assign people to folds at random, equally, (P,)."""
    return rng.permutation(np.arange(n_people) % n_folds)


def by_person(values: np.ndarray, person: np.ndarray, n_people: int) -> np.ndarray:
    return np.bincount(person, weights=values, minlength=n_people)


def bootstrap_people(
    values: np.ndarray, person: np.ndarray, rng: np.random.Generator, n_bootstrap: int
) -> tuple[float, float, float]:
    """Mean over pairs with a 95 % percentile interval from resampling people: (mean, low, high)."""
    _, person = np.unique(person, return_inverse=True)
    people = person.max() + 1
    total, count = by_person(values, person, people), np.bincount(person)
    times = intervals.resamples(people, rng, n_bootstrap)
    return float(values.mean()), *intervals.percentiles((times @ total) / (times @ count))


def held_out_margins(
    data: Respondents, groups: np.ndarray | tuple[str, ...], folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Margins of held-out people's pairs under one model and under a model a group.

    Args:
        groups: columns of `attitudes` (cut on each fold's training people), or fixed labels (P,), -1 = missing.
        folds: (P,) fold of each person.

    Returns:
        pooled (m,), grouped (m,), and the rows (m,) of the pairs scored: those of people with a group.
    """
    pooled, grouped = np.full(len(data.person), np.nan), np.full(len(data.person), np.nan)
    for fold in np.unique(folds):
        train_people = folds != fold
        labels = stated_groups(data.attitudes, groups, train_people) if isinstance(groups, tuple) else groups
        label, train = labels[data.person], train_people[data.person]
        # Both models learn from the same people: those whose group is known.
        everyone = fit_linear(data.difference[train & (label >= 0)])
        for group in np.unique(labels[labels >= 0]):
            test = ~train & (label == group)
            own = fit_linear(data.difference[train & (label == group)])
            pooled[test], grouped[test] = data.difference[test] @ everyone, data.difference[test] @ own
    rows = np.flatnonzero(~np.isnan(grouped))
    return pooled[rows], grouped[rows], rows


@threadpool_limits.wrap(limits=1, user_api="blas")
def compare_grouping(
    data: Respondents,
    groups: np.ndarray | tuple[str, ...],
    rng: np.random.Generator,
    *,
    n_folds: int = 5,
    n_bootstrap: int = 2000,
) -> dict[str, float]:
    """Held-out NLL and accuracy of one model and of a model a group, with the paired difference's interval.

    Returns:
        pairs, people, groups; for nll (nats) and accuracy: pooled, grouped, difference (grouped - pooled), low, high.
    """
    folds = person_folds(len(data.attitudes), n_folds, rng)
    pooled, grouped, rows = held_out_margins(data, groups, folds)
    person = data.person[rows]
    labels = stated_groups(data.attitudes, groups, folds >= 0) if isinstance(groups, tuple) else groups
    result = {
        "pairs": len(rows),
        "people": len(np.unique(person)),
        "groups": len(np.unique(labels[labels >= 0])),
    }
    for metric, score in (("nll", lambda m: -log_expit(m)), ("accuracy", metrics.decided)):
        a, b = score(pooled), score(grouped)
        difference, low, high = bootstrap_people(b - a, person, rng, n_bootstrap)
        result |= {
            f"{metric}_pooled": float(a.mean()),
            f"{metric}_grouped": float(b.mean()),
            f"{metric}_difference": difference,
            f"{metric}_low": low,
            f"{metric}_high": high,
        }
    return result


def compare_groupings(
    data: Respondents, groupings: dict[str, tuple[str, ...]], rng: np.random.Generator, **options
) -> pd.DataFrame:
    """`compare_grouping` for each, and for the same groups handed to people at random: what splitting alone costs."""
    rows = []
    for name, columns in groupings.items():
        rows.append({"grouping": name, "kind": "stated", **compare_grouping(data, columns, rng, **options)})
        labels = stated_groups(data.attitudes, columns, np.ones(len(data.attitudes), dtype=bool))
        known = labels >= 0
        labels[known] = rng.permutation(labels[known])
        rows.append({"grouping": name, "kind": "shuffled", **compare_grouping(data, labels, rng, **options)})
    return pd.DataFrame(rows)
