"""The paper's printed numbers against each other: averages, repeated cells, claimed gains.

Nothing here is told which rows are odd: every finding is computed from the printed cells, and a set of consistent
cells yields none. What the cells say about test pairs is in `paper_audit_fits`, about errors in `paper_audit_errors`.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd

from micro_paper.errors import InputError
from micro_paper.paper.audit_counts import AVERAGE, DECIMALS, ROW, SLACK, checked
from micro_paper.paper.audit_errors import HEAD

ROUNDING = 10.0**-DECIMALS  # half a unit from the cells' mean and half a unit from the average itself
ALIKE = 2 / 3  # share of equal cells from which a couple of rows is listed
SAME, TRAINING, OTHER, HEADS = "same row", "same training data", "other training data", "single heads"


def row_means(cells: pd.DataFrame) -> pd.DataFrame:
    """Compare each printed average with the mean of its row, and the row's place in its table by either.

    Columns: table, train, test, method, cells, printed, mean, gap (printed - mean), beyond_rounding (|gap| above one
    unit of the last digit, which is all that rounding can do), place_printed, place_mean (1 is the largest average of
    the table and training set).
    """
    lines = []
    for key, row in checked(cells).groupby(ROW, sort=False):
        average = row.loc[row["attribute"] == AVERAGE, "accuracy"]
        ours = row.loc[row["attribute"] != AVERAGE, "accuracy"]
        if len(average) and len(ours):
            lines.append((*key, len(ours), average.item(), ours.mean()))
    frame = pd.DataFrame(lines, columns=[*ROW, "cells", "printed", "mean"])
    frame["gap"] = frame["printed"] - frame["mean"]
    frame["beyond_rounding"] = frame["gap"].abs() > ROUNDING + SLACK
    for name in ("printed", "mean"):
        places = frame.groupby(["table", "train", "test"])[name].rank(ascending=False, method="min")
        frame[f"place_{name}"] = places.astype(int)
    return frame


def _run(equal: np.ndarray) -> int:
    """Return the length of the longest run of True."""
    longest = here = 0
    for value in equal:
        here = here + 1 if value else 0
        longest = max(longest, here)
    return longest


def _couple(a: tuple, b: tuple, row: dict, other: dict) -> dict:
    common = [name for name in row if name in other]
    equal = np.array([row[name] == other[name] for name in common], dtype=bool)
    differing = [f"{n}: {row[n]:.4f}, {other[n]:.4f}" for n, same in zip(common, equal, strict=True) if not same]
    kind = OTHER if a[1] != b[1] else SAME if a[3] == b[3] else TRAINING
    return {
        "table": a[0], "train": a[1], "method": a[3], "other_table": b[0], "other_train": b[1], "other": b[3],
        "kind": kind, "cells": len(common), "equal": int(equal.sum()), "longest_run": _run(equal),
        "differing": "; ".join(differing),
    }  # fmt: skip


def _couples(cells: pd.DataFrame) -> pd.DataFrame:
    """Return all couples of rows with the same test set and at least 3 common attributes."""
    rows = {
        key: (part["set"].iloc[0], dict(zip(part["attribute"], part["accuracy"], strict=True)))
        for key, part in cells.groupby(ROW, sort=False)
    }
    lines = []
    for (a, (name, row)), (b, (other_name, other)) in combinations(rows.items(), 2):
        if name == other_name and len(row.keys() & other.keys()) >= 3:
            lines.append(_couple(a, b, row, other) | {"test": name})
    return pd.DataFrame(lines)


def _any_head(cells: pd.DataFrame) -> pd.DataFrame:
    """Return, for each row trained and tested as printed single heads are, how many cells equal some head's cell."""
    heads = cells[cells["method"].str.contains(HEAD)]
    chosen = cells["supervision"].str.contains("oracle")
    lines = []
    for (table, train, name), part in heads.groupby(["table", "train", "set"], sort=False):
        values = part.groupby("attribute", sort=False)["accuracy"].agg(set)
        rest = cells[(cells["train"] == train) & (cells["set"] == name) & (cells["table"] != table) & ~chosen]
        for key, row in rest.groupby(ROW, sort=False):
            if not set(row["attribute"]) <= set(values.index):
                continue
            equal = np.array([x in values[a] for a, x in zip(row["attribute"], row["accuracy"], strict=True)])
            lines.append(
                {
                    "table": key[0], "train": train, "method": key[3], "other_table": table, "other_train": train,
                    "other": f"any of {part['method'].nunique()} heads", "kind": HEADS, "cells": len(row),
                    "equal": int(equal.sum()), "longest_run": _run(equal), "differing": "", "test": name,
                }
            )  # fmt: skip
    return pd.DataFrame(lines)


def _distance(cells: pd.DataFrame, line: pd.Series, side: str) -> float:
    """Return the mean absolute difference of a row's cells from its block's other rows with the same supervision."""
    name = line[f"{side}table"], line[f"{side}train"]
    block = cells[(cells["table"] == name[0]) & (cells["train"] == name[1]) & (cells["set"] == line["test"])]
    mine = block[block["method"] == line["other" if side else "method"]]
    peers = block[(block["method"] != mine["method"].iloc[0]) & (block["supervision"] == mine["supervision"].iloc[0])]
    both = peers.merge(mine[["attribute", "accuracy"]], on="attribute", suffixes=("", "_mine"))
    return float((both["accuracy"] - both["accuracy_mine"]).abs().mean())


def copies(cells: pd.DataFrame) -> pd.DataFrame:
    """List rows of different tables or training sets that are equal in two thirds of their cells or more.

    Columns: table, train, method and other_table, other_train, other (the two rows), test, kind ("same row": same
    training data and name, a repetition; "same training data"; "other training data"; "single heads": each cell beside
    the heads of the table that prints them), cells, equal, longest_run (of neighbouring equal cells), elsewhere (share
    of equal cells among all other couples of that kind and test set), next_most (most equal cells among those), chance
    (elsewhere ** equal: how often as many cells would agree if they agreed one by one as elsewhere), distance and
    other_distance (of "other training data": mean absolute difference from the other rows of the one and of the other
    block with the same supervision; the block that is far away is the likelier one to hold the copy), differing.
    """
    cells = checked(cells)
    cells = cells[cells["attribute"] != AVERAGE]
    couples = _couples(cells)
    everything = pd.concat([couples, _any_head(cells)], ignore_index=True)
    if not len(everything):
        raise InputError("no two rows share a test set and 3 attributes: there is nothing to compare")
    lines = []
    for place, line in everything.iterrows():
        apart = (line["table"], line["train"]) != (line["other_table"], line["other_train"])
        least = 1.0 if line["kind"] == HEADS else ALIKE
        if not apart or line["equal"] < least * line["cells"] - SLACK:
            continue
        peers = everything[(everything["kind"] == line["kind"]) & (everything["test"] == line["test"])].drop(place)
        peers = peers[(peers["equal"] < peers["cells"]) | (peers["cells"] < line["cells"])]
        share = peers["equal"].sum() / peers["cells"].sum() if len(peers) else float("nan")
        known = len(peers) and line["kind"] != SAME
        lines.append(
            line.to_dict()
            | {
                "elsewhere": share if known else float("nan"),
                "next_most": int(peers["equal"].max()) if known else pd.NA,
                "chance": share ** line["equal"] if known else float("nan"),
                "distance": _distance(cells, line, "") if line["kind"] == OTHER else float("nan"),
                "other_distance": _distance(cells, line, "other_") if line["kind"] == OTHER else float("nan"),
            }
        )
    names = ["table", "train", "method", "other_table", "other_train", "other", "test", "kind", "cells", "equal",
             "longest_run", "elsewhere", "next_most", "chance", "distance", "other_distance", "differing"]  # fmt: skip
    frame = pd.DataFrame(lines, columns=names).assign(next_most=lambda f: pd.array(f["next_most"], dtype="Int64"))
    rank = frame["kind"].map({OTHER: 0, HEADS: 1, TRAINING: 2, SAME: 3})
    return frame.assign(rank=rank).sort_values("rank", kind="stable", ignore_index=True).drop(columns="rank")


def best_heads(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the best printed head of each attribute: columns set, train, table, attribute, best."""
    cells = checked(cells)
    heads = cells[cells["method"].str.contains(HEAD) & (cells["attribute"] != AVERAGE)]
    best = heads.groupby(["set", "train", "table", "attribute"], sort=False)["accuracy"].max()
    return best.rename("best").reset_index()


def dimensions(cells: pd.DataFrame) -> pd.DataFrame:
    """Compare the best head of each attribute with every printed baseline cell that was trained and tested alike.

    Columns: test, attribute, best, table, method, accuracy, margin (best - accuracy), verdict ("above", "equal",
    "below"). Tables with the heads' own backbone only: those whose single reward agrees in two thirds of its cells
    or more with that of the table with the heads.
    """
    cells = checked(cells)
    cells = cells[cells["attribute"] != AVERAGE]
    best = best_heads(cells)
    single = cells["method"].str.startswith("Single")
    lines = []
    for (name, train, table), part in best.groupby(["set", "train", "table"], sort=False):
        alike = cells[(cells["set"] == name) & (cells["train"] == train)]
        base = alike[single.loc[alike.index] & (alike["table"] == table)].set_index("attribute")["accuracy"]
        for other, rows in alike[alike["table"] != table].groupby("table", sort=False):
            there = rows[rows["method"].str.startswith("Single")].set_index("attribute")["accuracy"]
            if (there.reindex(base.index) == base).mean() < ALIKE:
                continue
            baselines = rows[~rows["method"].str.startswith("MiCRo")]
            joined = baselines.merge(part[["attribute", "best"]], on="attribute")
            lines += [(name, r.attribute, r.best, other, r.method, r.accuracy) for r in joined.itertuples()]
    frame = pd.DataFrame(lines, columns=["test", "attribute", "best", "table", "method", "accuracy"])
    frame["margin"] = (frame["best"] - frame["accuracy"]).round(DECIMALS)
    return frame.assign(verdict=np.select([frame["margin"] > 0, frame["margin"] == 0], ["above", "equal"], "below"))


def gains(cells: pd.DataFrame, scalars: pd.DataFrame, counts: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    """Recompute the numbers of the text from the tables.

    Columns: id, place, quantity, dataset, against, printed, unit, recomputed (missing where no table holds it), source
    (of it), gap (printed - recomputed), follows ("yes", "no", "no table": within rounding, or within ten times that
    where the paper says "about"), in_errors (a gap of accuracies in binomial standard errors of the average),
    nearest (for a gain: the baseline row that would give the printed number best), nearest_value.

    Args:
        scalars, counts: from `paper_values`. errors: from `paper_audit_errors.cell_errors`.
    """
    cells = checked(cells)
    means = best_heads(cells).groupby("set")["best"].mean()
    compared = dimensions(cells).drop_duplicates(["test", "table", "method"]).set_index("test")
    averages = cells[cells["attribute"] == AVERAGE].set_index(["table", "method"])["accuracy"]
    train = counts[counts["test_pairs"].notna()].groupby("dataset")["train_pairs"].sum()
    lines = []
    for s in scalars.itertuples():
        found, source, error, nearest, value = float("nan"), "", float("nan"), "", float("nan")
        rows = compared.loc[[s.dataset]] if s.dataset in compared.index else compared.iloc[:0]
        if s.quantity == "best_average":
            found, source = means[s.dataset], "best heads, mean over attributes"
        elif s.quantity == "gain":
            every = {(r.table, r.method): 100 * (means[s.dataset] / averages[r.table, r.method] - 1)
                     for r in rows.itertuples()}  # fmt: skip
            (key,) = [key for key in every if key[1].startswith(s.against)] or [None]
            if key is None:
                raise InputError(f"{s.id}: no row {s.against!r} beside the best heads of {s.dataset}")
            found, source = every[key], f"best heads over {key[1]}, table {key[0]}"
            near = min(every, key=lambda k: abs(every[k] - s.printed))
            nearest, value = near[1], every[near]
        elif s.quantity == "budget_average" and float(s.against) > 0:
            table = rows["table"].iloc[0]
            found, source = averages[table, "MiCRo"], f"MiCRo, table {table}"
            of = errors[(errors["table"] == table) & (errors["method"] == "MiCRo") & (errors["attribute"] == AVERAGE)]
            error = (s.printed - found) / of["error"].iloc[0]
        elif s.quantity == "train_pairs":
            found, source = train[s.dataset] / 1000, "table 5, sum over attributes"
        elif s.quantity not in ("budget_average", "labelled_pairs"):
            raise InputError(f"{s.id}: no rule for the quantity {s.quantity!r} of printed_scalars.csv")
        if s.quantity == "labelled_pairs":
            continue  # judged with the fits
        unit = 10.0**-s.decimals * (10 if s.approximate == "yes" else 1)
        room = unit / 2 + (0.02 if s.quantity == "gain" else ROUNDING)  # what rounding of the tables can do
        follows = "no table" if np.isnan(found) else "yes" if abs(s.printed - found) <= room + SLACK else "no"
        lines.append((s.id, s.place, s.quantity, s.dataset, s.against, s.printed, s.unit, found, source,
                      s.printed - found, follows, error, nearest, value))  # fmt: skip
    names = ["id", "place", "quantity", "dataset", "against", "printed", "unit", "recomputed", "source", "gap",
             "follows", "in_errors", "nearest", "nearest_value"]  # fmt: skip
    return pd.DataFrame(lines, columns=names)
