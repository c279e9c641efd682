"""How far the printed accuracies can be told apart: standard errors, and what choosing the best of K heads gains.

All from printed numbers and the fitted numbers of test pairs. Pairs count as independent, within an attribute and
between attributes; pairs that share a prompt or a response make the true errors larger.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from micro_paper.errors import InputError
from micro_paper.paper.audit_counts import AVERAGE, ROW, Fits, checked

EXCEEDS, PAIRING, WITHIN, LOWER = "exceeds", "only pairing could tell", "within error", "is lower"
HEAD = r"Head \d+$"
LIMIT = 2.0  # standard errors


def binomial_error(share: ArrayLike, n: ArrayLike) -> np.ndarray:
    """Return sqrt(p (1 - p) / n), the standard error of a share p of n pairs."""
    p, size = np.asarray(share, dtype=float), np.asarray(n)
    if ((p < 0) | (p > 1)).any() or (size < 1).any():
        raise InputError("a share must lie in [0, 1] and n be at least 1")
    return np.sqrt(p * (1 - p) / size)


def nested_error(share: ArrayLike, other: ArrayLike, n: ArrayLike) -> np.ndarray:
    """Return the smallest standard error that the difference of two shares of the same n pairs can have.

    With d the difference, the variance of a pair's difference is (share of pairs on which they disagree) - d^2, and
    they disagree on |d| of the pairs at least: where every pair that the one gets right the other gets right too.
    """
    d = np.abs(np.asarray(share, dtype=float) - np.asarray(other, dtype=float))
    return np.sqrt((d - d**2) / np.asarray(n))


def cell_errors(cells: pd.DataFrame, fits: Fits) -> pd.DataFrame:
    """Return the binomial standard error of every cell, and of the mean of each row that prints an average.

    Columns: table, train, test, method, attribute ("Average" is the mean of the row's cells), accuracy, n (pairs; of an
    average their sum), error.
    """
    lines = []
    for key, row in checked(cells).groupby(ROW, sort=False):
        one, sizes = row[row["attribute"] != AVERAGE], fits.sizes(key)
        n = one["attribute"].map(sizes).to_numpy(int)
        error = binomial_error(one["accuracy"], n)
        lines += [(*key, *line) for line in zip(one["attribute"], one["accuracy"], n, error, strict=True)]
        if len(one) < len(row):
            lines.append((*key, AVERAGE, one["accuracy"].mean(), n.sum(), _mean_error(error)))
    return pd.DataFrame(lines, columns=[*ROW, "attribute", "accuracy", "n", "error"])


def _mean_error(errors: ArrayLike) -> float:
    """Return the standard error of the mean of independent values."""
    values = np.asarray(errors)
    return float(np.sqrt((values**2).sum()) / len(values))


def _couples(cells: pd.DataFrame) -> list[tuple[tuple, tuple]]:
    """Return (MiCRo row, other row) of one table and training set: rows with test labels only with their like."""
    rows = cells.drop_duplicates(ROW)
    ours = rows["method"].str.startswith("MiCRo")
    chosen = rows["supervision"].str.contains("oracle") | rows["method"].str.contains(HEAD)
    couples = []
    for a in rows[ours & ~chosen].itertuples():
        for b in rows[~ours].itertuples():
            labels = "test labels" not in a.supervision or a.supervision == b.supervision
            if labels and (a.table, a.train, a.test) == (b.table, b.train, b.test):
                couples.append(tuple((r.table, r.train, r.test, r.method) for r in (a, b)))
    return couples


def orderings(cells: pd.DataFrame, fits: Fits) -> pd.DataFrame:
    """Compare each MiCRo row with every other row of its table, by attribute and on average, in standard errors.

    Columns: table, train, test, method (MiCRo's), other, attribute, difference (of accuracies), error (of independent
    samples: an upper bound where two rows on the same pairs tend to succeed together), smallest_error (the other end:
    nested successes; equal to `error` where the fitted pairs are not the same), ratio, largest_ratio (difference over
    these), verdict (by two standard errors). Tables that print single heads repeat other tables and are left out.
    """
    cells = checked(cells)
    with_heads = cells.loc[cells["method"].str.contains(HEAD), "table"].unique()
    cells = cells[~cells["table"].isin(with_heads)]
    errors = cell_errors(cells, fits).set_index(ROW)
    groups = fits.rows.set_index(ROW)["group"]
    lines = []
    for a, b in _couples(cells):
        both = errors.loc[[a]].merge(errors.loc[[b]], on="attribute", suffixes=("", "_b"), sort=False)
        one = both[both["attribute"] != AVERAGE].copy()
        same = groups[a] == groups[b] or "" in (groups[a], groups[b])
        independent = np.hypot(one["error"], one["error_b"])
        nested = nested_error(one["accuracy"], one["accuracy_b"], np.minimum(one["n"], one["n_b"]))
        smallest = np.minimum(nested, independent) if same else independent
        difference = (one["accuracy"] - one["accuracy_b"]).to_numpy()
        lines += [(*a, b[3], *line) for line in zip(one["attribute"], difference, independent, smallest, strict=True)]
        if len(one) < len(both):
            lines.append((*a, b[3], AVERAGE, difference.mean(), _mean_error(independent), _mean_error(smallest)))
    frame = pd.DataFrame(lines, columns=[*ROW, "other", "attribute", "difference", "error", "smallest_error"])
    if not len(frame):
        raise InputError("no MiCRo row has another row beside it: there is no ordering to look at")
    frame["ratio"] = _ratio(frame["difference"], frame["error"])
    frame["largest_ratio"] = _ratio(frame["difference"], frame["smallest_error"])
    frame["verdict"] = [verdict(r.ratio, r.largest_ratio) for r in frame.itertuples()]
    return frame


def _ratio(difference: pd.Series, error: pd.Series) -> np.ndarray:
    zero = difference == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(zero, 0.0, difference / error)


def verdict(ratio: float, largest_ratio: float) -> str:
    """Judge a difference by its size in standard errors, unpaired and as well paired as it could be."""
    if abs(ratio) > LIMIT:
        return EXCEEDS if ratio > 0 else LOWER
    return PAIRING if abs(largest_ratio) > LIMIT else WITHIN


def expected_maximum(n: int, p: float, heads: int, shared: float = 0.0) -> float:
    """Return E max_k of the accuracy of `heads` heads, each right with probability p on each of n pairs.

    On a pair all heads agree with probability `shared`, else each is right or wrong for itself; `shared` is then the
    correlation of two heads. Exact: with N pairs left, E max = sum_{j < N} (1 - F(j)^K), F the binomial distribution.

    Raises:
        InputError: n or heads below 1, or p or shared outside [0, 1].
    """
    if n < 1 or heads < 1 or not 0 <= p <= 1 or not 0 <= shared <= 1:
        raise InputError(f"need n, heads >= 1 and p, shared in [0, 1], got {n}, {heads}, {p}, {shared}")
    total = 0.0
    for own in range(n + 1) if 0 < shared < 1 else [round(n * (1 - shared))]:
        weight = stats.binom.pmf(own, n, 1 - shared) if 0 < shared < 1 else 1.0
        if weight > 1e-15:
            tail = 1 - stats.binom.cdf(np.arange(own), own, p) ** heads
            total += weight * ((n - own) * p + tail.sum()) / n
    return float(total)


def optimism(n: int, p: ArrayLike) -> float:
    """Return E[accuracy on n pairs - true accuracy p_k] of the head k that is best on these pairs, heads independent.

    Exact; of equally good heads the first is taken. With one head it is 0.
    """
    truth = np.asarray(p, dtype=float)
    if truth.ndim != 1 or not truth.size or ((truth < 0) | (truth > 1)).any() or n < 1:
        raise InputError("p must be a list of probabilities, one a head, and n at least 1")
    right = np.arange(n + 1)
    mass = stats.binom.pmf(right, n, truth[:, None])
    at_most = stats.binom.cdf(right, n, truth[:, None])
    below = at_most - mass
    gain = 0.0
    for k, share in enumerate(truth):  # earlier heads must be below, later ones may be equal
        others = np.prod(below[:k], axis=0) * np.prod(at_most[k + 1 :], axis=0)
        gain += float((mass[k] * others * (right / n - share)).sum())
    return gain


def simulated_maximum(
    n: int, p: float, heads: int, shared: float, rng: np.random.Generator, draws: int
) -> tuple[float, float]:
    """Return the mean of `draws` simulated maxima (see `expected_maximum`) and its standard error."""
    common = rng.binomial(n, shared, size=draws)
    right = rng.binomial((n - common)[:, None], p, size=(draws, heads)).max(axis=1) + rng.binomial(common, p)
    return float(right.mean() / n), float(right.std(ddof=1) / n / np.sqrt(draws))


def selection(cells: pd.DataFrame, fits: Fits) -> pd.DataFrame:
    """Set what the best heads gain over the single reward beside what choosing the best of K gains by chance.

    The tables with single heads give K and the best head of each attribute; a printed row of best heads in another
    table with the same attributes is taken with the same K, which the paper does not print for it. Columns: table,
    test, attribute, n, heads, single (accuracy), best, gain (best - single), chance_gain (K heads as good as the
    single reward, independent), chance_gain_shared (the same, agreeing on half of the pairs), optimism (of the printed
    heads if their accuracies were the truth; missing where single heads are not printed).
    """
    cells = checked(cells)
    one = cells[cells["attribute"] != AVERAGE]
    lines, known = [], {}
    for (table, name), part in one[one["method"].str.contains(HEAD)].groupby(["table", "set"], sort=False):
        order = list(dict.fromkeys(part["attribute"]))
        wide = part.pivot(index="method", columns="attribute", values="accuracy")[order]
        known[name] = (len(wide), list(wide.columns))
        lines += _selection(one, fits, table, name, wide.max(), len(wide), wide)
    for key, row in one[one["supervision"].str.contains("oracle")].groupby(ROW, sort=False):
        name = row["set"].iloc[0]
        if name in known and list(row["attribute"]) == known[name][1]:
            lines += _selection(one, fits, key[0], name, row.set_index("attribute")["accuracy"], known[name][0], None)
    if not lines:
        raise InputError("no table prints single heads: nothing was chosen")
    frame = pd.DataFrame(lines)
    means = frame.groupby(["table", "test"], sort=False).mean(numeric_only=True).reset_index()
    sums = frame.groupby(["table", "test"], sort=False)["n"].sum().to_numpy()
    means = means.assign(attribute=AVERAGE, n=sums, heads=means["heads"].astype(int))[list(frame.columns)]
    order = list(dict.fromkeys(zip(frame["table"], frame["test"], strict=True)))
    both = [f[(f["table"] == t) & (f["test"] == s)] for t, s in order for f in (frame, means)]
    return pd.concat(both, ignore_index=True)


def _selection(one, fits, table, name, best, heads, wide) -> list[dict]:
    """Return the lines of one table; `wide` (heads x attributes) where the heads are printed."""
    single = one[(one["table"] == table) & (one["set"] == name) & one["method"].str.startswith("Single")]
    if not len(single):
        raise InputError(f"table {table} has no row of a single reward to compare the best heads with")
    key = tuple(single[ROW].iloc[0])
    sizes, base = fits.sizes(key), single.set_index("attribute")["accuracy"]
    return [
        {
            "table": table,
            "test": name,
            "attribute": a,
            "n": sizes[a],
            "heads": heads,
            "single": base[a],
            "best": best[a],
            "gain": best[a] - base[a],
            "chance_gain": expected_maximum(sizes[a], base[a], heads) - base[a],
            "chance_gain_shared": expected_maximum(sizes[a], base[a], heads, 0.5) - base[a],
            "optimism": float("nan") if wide is None else optimism(sizes[a], wide[a]),
        }
        for a in best.index
    ]
