"""How many test pairs stand behind a printed accuracy: the fits k / n of all cells of a column.

An accuracy on n pairs is k / n for a whole k, so four printed decimals betray n while n is far below 10,000. A value
that comes from elsewhere fits a given n by chance about once in 10,000 / n, and every fit is weighed against that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from micro_paper.errors import InputError

AVERAGE = "Average"
ROW = ["table", "train", "test", "method"]
DECIMALS = 4
SLACK = 1e-9  # of a float that stands for a decimal number
SIZES = range(20, 1501)  # numbers of test pairs that are tried
OFFSETS = range(1, 33)  # test pairs left out, an attribute
RUNS = range(2, 11)  # runs averaged
ROW_LEVEL, GROUP_LEVEL = 1e-3, 1e-3  # chance of a form, of a set of counts, that is accepted


def checked(cells: pd.DataFrame) -> pd.DataFrame:
    """Return printed cells with the column `set` (the test set without a bracketed remark), or refuse them.

    Raises:
        InputError: a column is missing, there is no row, an accuracy is not in [0, 1], or a cell occurs twice.
    """
    if missing := [name for name in [*ROW, "attribute", "accuracy"] if name not in cells.columns]:
        raise InputError(f"the printed cells lack the column {missing[0]!r}")
    if not len(cells):
        raise InputError("there are no printed cells to audit")
    outside = ~cells["accuracy"].between(0, 1)
    if outside.any():
        bad = cells[outside].iloc[0]
        raise InputError(f"table {bad.table}, {bad.method}, {bad.attribute}: accuracy {bad.accuracy} is not in [0, 1]")
    double = cells.duplicated([*ROW, "attribute"])
    if double.any():
        bad = cells[double].iloc[0]
        raise InputError(f"table {bad.table}, {bad.method}, {bad.attribute} occurs twice: give each cell once")
    return cells.assign(set=[re.sub(r" \([^)]*\)$", "", name) for name in cells["test"]])


def is_fraction(printed: ArrayLike, n: ArrayLike, *, truncated: bool = False) -> NDArray[np.bool_]:
    """Return whether a printed share is k / n for a whole k, rounded (or cut off, `truncated`) to four decimals.

    `printed` and `n` broadcast against each other; both ways of rounding a half are allowed.
    """
    x, size = np.asarray(printed, dtype=float), np.asarray(n)
    if (size < 1).any():
        raise InputError("n must be at least 1")
    unit = 10.0**-DECIMALS
    low, high = (x, x + unit - 2 * SLACK) if truncated else (x - unit / 2, x + unit / 2)
    return np.floor((high + SLACK) * size) >= np.ceil((low - SLACK) * size)


def chance(n: ArrayLike) -> NDArray[np.float64]:
    """Return the share of four-decimal numbers in [0, 1] that are some k / n."""
    return np.minimum(1.0, (np.asarray(n, dtype=float) + 1) / (10**DECIMALS + 1))


@dataclass(frozen=True)
class Fits:
    """What the printed cells say about the numbers of test pairs.

    Attributes:
        columns: one line a test set, group of rows and attribute: n, values (distinct, printed), fitting (of them),
            chance (of n, times the candidates), smallest_n (that all whole-test-set cells of the group fit), test_pairs
            (table 5), tables (most of whose identified rows are
            of that group).
        rows: one line a row: group ("" if its counts are not identified), left_out, runs, cells, fitting, chance, form.
        leftovers: cells of identified rows that do not fit the row's form, with the nearest share and what would fit.
    """

    columns: pd.DataFrame
    rows: pd.DataFrame
    leftovers: pd.DataFrame

    def sizes(self, row: Sequence) -> dict[str, int]:
        """Return the test pairs of each attribute of a row (table, train, test, method).

        Raises:
            InputError: there is no such row.
        """
        match = self.rows[(self.rows[ROW] == list(row)).all(axis=1)]
        if not len(match):
            raise InputError(f"no row {tuple(row)} in the fits")
        line = match.iloc[0]
        some = self.columns[(self.columns["set"] == line["set"]) & (self.columns["group"] == self._group(line))]
        return {c.attribute: int(c.n) - int(line.left_out) for c in some.itertuples()}

    def _group(self, line: pd.Series) -> str:
        """Return the row's group; where it has none, that of most rows of its table, else of its test set, if any."""
        known = self.rows[(self.rows["set"] == line["set"]) & (self.rows["group"] != "")]
        for some in (self.rows.loc[[line.name]], known[known["table"] == line["table"]], known):
            if len(some) and some["group"].mode().iloc[0]:
                return some["group"].mode().iloc[0]
        return ""


def _tail(fitting: ArrayLike, of: int, share: ArrayLike) -> NDArray[np.float64]:
    """Return log10 of the chance that at least `fitting` of `of` values fit."""
    return stats.binom.logsf(np.asarray(fitting) - 1, of, share) / np.log(10)


def _best(values: NDArray[np.float64]) -> tuple[int, float]:
    """Return the n whose fits are the least likely by chance, and log10 of that chance times the candidates."""
    candidates = np.array(SIZES)
    fitting = is_fraction(values[:, None], candidates).sum(axis=0)
    tail = _tail(fitting, len(values), chance(candidates))
    place = int(np.argmin(tail))
    return int(candidates[place]), min(0.0, float(tail[place] + np.log10(len(candidates))))


def _chance_of(values: NDArray[np.float64], n: int) -> float:
    """Return log10 of the chance that as many values fit n, times the candidates."""
    tail = _tail(is_fraction(values, n).sum(), len(values), chance(n))
    return min(0.0, float(tail + np.log10(len(SIZES))))


def _counts(columns: Mapping[str, NDArray[np.float64]]) -> tuple[dict[str, int], dict[str, float], float]:
    """Return n by attribute, log10 chance by attribute, and of all: one n each, or one for all if less likely."""
    each = {name: _best(values) for name, values in columns.items()}
    common, tail = _best(np.concatenate(list(columns.values())))
    total = sum(t for _, t in each.values())
    if tail < total:
        return dict.fromkeys(columns, common), dict.fromkeys(columns, tail), tail
    return {k: n for k, (n, _) in each.items()}, {k: t for k, (_, t) in each.items()}, total


def _form(cells: Mapping[str, float], n: Mapping[str, int]) -> tuple[int, int, int, float]:
    """Return (left_out, runs, fitting cells, chance) of the form of a row that is least likely by chance.

    Bonferroni over the forms with half the weight on the plain one: all test pairs, one run.
    """
    values, sizes = np.array(list(cells.values())), np.array([n[name] for name in cells])
    forms = [(0, 1), *((d, 1) for d in OFFSETS if d < sizes.min()), *((0, r) for r in RUNS)]
    left_out, runs = np.array(forms).T
    size = (sizes - left_out[:, None]) * runs[:, None]
    fitting = is_fraction(values, size).sum(axis=1)
    weight = np.where(np.arange(len(forms)) == 0, 0.5, 0.5 / (len(forms) - 1))
    tail = _tail(fitting, len(values), chance(size).mean(axis=1)) - np.log10(weight)
    best = int(np.argmin(tail))
    return *forms[best], int(fitting[best]), min(1.0, 10 ** float(tail[best]))


def _refined(rows: Mapping[tuple, Mapping[str, float]], n: Mapping[str, int]) -> dict[str, int]:
    """Replace an n by one of its divisors n / r where that makes the forms of the rows less likely by chance.

    Means of r runs fit r times as many pairs as single runs do, so a column with many of them can point to a multiple.
    """
    n = dict(n)

    def total(sizes: Mapping[str, int]) -> float:
        return sum(float(np.log10(_form(row, sizes)[3])) for row in rows.values())

    together = len(set(n.values())) == 1
    for names in [list(n)] if together else [[name] for name in n]:
        least = total(n)
        whole = n[names[0]]
        for runs in RUNS:
            if whole % runs == 0 and whole // runs in SIZES:
                other = n | dict.fromkeys(names, whole // runs)
                if (here := total(other)) < least:
                    least, n = here, other
    return n


def _name(left_out: int, runs: int) -> str:
    if left_out:
        return f"k / (n - {left_out})"
    return f"mean of {runs} runs" if runs > 1 else "k / n"


def fit_counts(cells: pd.DataFrame, counts: pd.DataFrame) -> Fits:
    """Find the numbers of test pairs behind all printed cells.

    For each test set: the n of each attribute that the distinct values of its rows fit least by chance; each row's
    form given these (all pairs, the same number left out of each attribute, or a mean of runs); then the same again
    for the rows that have none of these forms, until nothing is found beyond chance.

    Args:
        cells: as from `paper_values.accuracy()`.
        counts: as from `paper_values.counts()`: dataset, attribute, test_pairs.
    """
    cells = checked(cells)
    cells = cells[cells["attribute"] != AVERAGE]
    columns, rows, leftovers = [], [], []
    for name, part in cells.groupby("set", sort=False):
        known = counts[counts["dataset"] == name].set_index("attribute")["test_pairs"]
        tried: dict[tuple, tuple[int, int, int, float]] = {}
        left = {key: dict(zip(r["attribute"], r["accuracy"], strict=True)) for key, r in part.groupby(ROW, sort=False)}
        for letter in "ABCDEFGH":
            if not left:
                break
            attributes = list(dict.fromkeys(a for row in left.values() for a in row))
            distinct = {a: np.unique([row[a] for row in left.values() if a in row]) for a in attributes}
            n, tails, total = _counts(distinct)
            if total < np.log10(GROUP_LEVEL):
                first, n = n, _refined(left, n)
                tails |= {a: _chance_of(distinct[a], n[a]) for a in n if n[a] != first[a]}
            forms = {key: _form(row, n) for key, row in left.items()} if total < np.log10(GROUP_LEVEL) else {}
            mine = {key: form for key, form in forms.items() if form[3] < ROW_LEVEL}
            if mine:
                tried = {key: min(form, tried.get(key, form), key=lambda f: f[3]) for key, form in forms.items()}
            group = letter if mine else ""
            plain = [left[key] for key, form in mine.items() if form[:2] == (0, 1)]
            if mine or letter == "A":
                columns += [
                    {
                        "set": name,
                        "group": group,
                        "attribute": a,
                        "n": n[a] if mine else _smallest(left.values(), a, n[a]),
                        "values": len(distinct[a]),
                        "fitting": int(is_fraction(distinct[a], n[a]).sum()),
                        "chance": 10 ** tails[a],
                        "smallest_n": _smallest(plain or left.values(), a, n[a]),
                        "test_pairs": known.get(a, pd.NA),
                        "tables": "",
                    }
                    for a in attributes
                ]
            for key, row in left.items():
                if key in mine:
                    rows.append(_row(key, name, group, row, mine[key]))
                    leftovers += _misfits(key, row, n, *mine[key][:2])
            rest = {key: row for key, row in left.items() if key not in mine}
            if not mine or not rest:
                rows += [_row(key, name, "", row, tried.get(key)) for key, row in rest.items()]
                break
            left = rest
    order = {key: place for place, key in enumerate(dict.fromkeys(map(tuple, cells[ROW].to_numpy().tolist())))}
    by_row = pd.DataFrame(sorted(rows, key=lambda line: order[tuple(line[k] for k in ROW)]))
    by_row["fitting"] = pd.array(by_row["fitting"], dtype="Int64")
    frame = pd.DataFrame(columns).assign(test_pairs=lambda f: pd.array(f["test_pairs"], dtype="Int64"))
    frame["tables"] = [_tables(by_row, c.set, c.group) for c in frame.itertuples()]
    names = [*ROW, "attribute", "accuracy", "pairs", "nearest", "truncated", "other_n"]
    return Fits(frame, by_row, pd.DataFrame(leftovers, columns=names))


def _tables(rows: pd.DataFrame, name: str, group: str) -> str:
    """Return the tables most of whose rows on that test set belong to the group."""
    some = rows[rows["set"] == name]
    some = some[(some["group"] != "") | ~some["table"].isin(some.loc[some["group"] != "", "table"])]
    most = some.groupby("table")["group"].agg(lambda groups: groups.mode().iloc[0])
    return ", ".join(map(str, most.index[most == group]))


def _smallest(rows: Sequence[Mapping[str, float]], attribute: str, fitted: int) -> int:
    """Return the smallest n that all values fit, those aside that do not fit `fitted`."""
    values = np.unique([row[attribute] for row in rows if attribute in row])
    some = values[is_fraction(values, fitted)]
    candidates = np.array(SIZES)
    return int(candidates[np.argmax(is_fraction(some[:, None], candidates).all(axis=0))])


def _row(key: tuple, name: str, group: str, row: Mapping[str, float], form: tuple[int, int, int, float] | None) -> dict:
    """Return the line of a row; a row without a group is taken to have all pairs, and its best form is only told."""
    left_out, runs, fitting, tail = form or (0, 1, pd.NA, float("nan"))
    best = f" (best: {_name(left_out, runs)})" if form else ""
    return dict(zip(ROW, key, strict=True)) | {
        "set": name,
        "group": group,
        "left_out": left_out if group else 0,
        "runs": runs if group else 1,
        "cells": len(row),
        "fitting": fitting,
        "chance": tail,
        "form": _name(left_out, runs) if group else f"not identified{best}",
    }


def _misfits(key: tuple, row: Mapping[str, float], n: Mapping[str, int], left_out: int, runs: int) -> list[dict]:
    lines = []
    for attribute, value in row.items():
        size = (n[attribute] - left_out) * runs
        if is_fraction(value, size):
            continue
        candidates = np.array(SIZES)
        lines.append(
            dict(zip(ROW, key, strict=True))
            | {
                "attribute": attribute,
                "accuracy": value,
                "pairs": size,
                "nearest": round(value * size) / size,
                "truncated": bool(is_fraction(value, size, truncated=True)),
                "other_n": int(candidates[np.argmax(is_fraction(value, candidates))]),
            }
        )
    return lines
