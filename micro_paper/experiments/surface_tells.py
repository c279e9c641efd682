"""How far counts that need no reading tell the chosen response of a data set, on unseen prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from micro_paper import data
from micro_paper.data.corpus import surface
from micro_paper.data.splits import FOLDS

ALL = "all"  # the column of all counts together
Changed = Callable[[pd.DataFrame], pd.DataFrame]  # rows of a split -> the rows that are counted


def told(name: str, folds: int = FOLDS, changed: Changed = lambda rows: rows) -> pd.DataFrame:
    """Return how often counts tell the chosen response of test pairs, attributes x (counts and ALL), over the folds.

    The side of a count that is preferred, and the weights of all, come from training pairs. Counts that an attribute
    means are NaN, and left out of ALL.

    Args:
        name: data set with text.
        changed: applied to the rows of each split.
    """
    found: dict[str, list[np.ndarray]] = {}
    for fold in range(folds):
        train, test = (_differences(changed(data.split_frame(name, s, fold=fold))) for s in ("train", "test"))
        for attribute in test.keys() & train.keys():
            meant = ~surface.not_meant(attribute)
            one = surface.by_one_count(train[attribute], test[attribute])
            one[meant] = np.nan
            both = surface.by_all_counts(train[attribute][:, ~meant], test[attribute][:, ~meant])
            found.setdefault(attribute, []).append(len(test[attribute]) * np.append(one, [both, 1]))
    total = {attribute: np.sum(parts, axis=0) for attribute, parts in sorted(found.items())}
    return pd.DataFrame({a: t[:-1] / t[-1] for a, t in total.items()}, index=[*surface.NAMES, ALL]).T


def strongest(names: Sequence[str], folds: int = FOLDS) -> pd.DataFrame:
    """Return, by data set and attribute, the count that tells the chosen response most often, and all together.

    Columns: dataset, attribute, count, by_one, by_all (shares of test pairs).
    """
    lines = []
    for name in names:
        for attribute, row in told(name, folds).iterrows():
            one = row.drop(ALL)
            lines.append((name, attribute, one.idxmax(), one.max(), row[ALL]))
    return pd.DataFrame(lines, columns=["dataset", "attribute", "count", "by_one", "by_all"])


def _differences(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the counts of the chosen response less those of the rejected one, by attribute, (n, counts)."""
    return {
        str(attribute): surface.surface_counts(own["chosen"].tolist())
        - surface.surface_counts(own["rejected"].tolist())
        for attribute, own in rows.groupby("attribute")
    }
