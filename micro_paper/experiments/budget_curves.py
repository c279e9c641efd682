"""Accuracy against the context budget (figure 4, table 9)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from micro_paper import digits, metrics
from micro_paper.errors import InputError
from micro_paper.experiments.runs import Run, crossed_runs
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings
from micro_paper.paper import values as paper_values
from micro_paper.stacked import Training, finish, gather

# The three attributes of table 9, by what their names hold.
TABLE_9 = ("Creativity", "Storytelling", "Linguistic Creativity")


def budget_curve(
    worlds: Sequence[World],
    methods: Iterable[str],
    settings: Settings | Mapping[str, Any],
    *,
    budgets: Sequence[int],
    seeds: Sequence[int],
) -> pd.DataFrame:
    """Return the mean accuracy over attributes against the context budget, a line a run.

    Stage 1 is trained once a run and shared by its budgets; 0 is stage 1 alone. Every fold runs with every seed.
    Columns: dataset, method, budget, run, value.
    """

    def curve(name: str, run: Run) -> Training[list[dict[str, Any]]]:
        fitted, lines = (yield from run.fitting(name, settings)), []
        for budget in fitted.budgets(budgets):
            if budget:
                yield from fitted.adapting(budget)
            value = metrics.macro_mean(metrics.correct(fitted.predict()), run.world.test.attribute)
            cell = {"dataset": run.world.name, "method": name, "budget": budget, "run": run.number}
            lines.append(cell | {"value": value})
        return lines

    curves = finish(gather(curve(name, run) for name in methods for run in crossed_runs(worlds, seeds)))
    return pd.DataFrame([line for lines in curves for line in lines])


def possible_budgets(worlds: Sequence[World], budgets: Iterable[int]) -> tuple[list[int], dict[int, int]]:
    """Split budgets into those that every attribute of every fold can give, and the rest.

    Returns:
        The possible ones in rising order, and {budget: largest possible budget} of the others.
    """
    most = min(world.largest_budget for world in worlds)
    wanted = sorted(set(budgets))
    return [b for b in wanted if b <= most], {b: most for b in wanted if b > most}


def left_out_note(left_out: Mapping[str, Mapping[int, int]]) -> str:
    """Return a sentence for a caption on the budgets that each data set cannot give, or "" where there are none."""
    parts = [
        f"{name} has no budget {', '.join(map(str, budgets))} (at most {max(budgets.values())} pairs an attribute)"
        for name, budgets in left_out.items()
        if budgets
    ]
    return f" Left out: {'; '.join(parts)}." if parts else ""


def curve_summary(curve: pd.DataFrame, by: Sequence[str] = ("dataset", "method", "budget")) -> pd.DataFrame:
    """Return the mean and standard deviation of `value` over runs: the columns `by`, mean, std, n_runs."""
    grouped = curve.groupby(list(by), sort=False)["value"]
    return grouped.agg(mean="mean", std=lambda v: v.std(ddof=1) if len(v) > 1 else 0.0, n_runs="size").reset_index()


def beside_paper(means: pd.DataFrame, papers: Mapping[str, str]) -> pd.DataFrame:
    """Return `curve_summary` with a row a method and a column a budget, the paper's averages below each data set.

    Args:
        means: dataset, method, budget, mean.
        papers: data set of ours -> the paper's, "HelpSteer2" or "RPR".
    """
    printed = paper_values.scalars().query("quantity == 'budget_average'").astype({"against": int})
    lines = []
    for ours, theirs in papers.items():
        part = means[means.dataset == ours]
        for method, row in part.groupby("method", sort=False):
            cells = dict(zip(row.budget, map(digits.shown, row["mean"]), strict=True))
            lines.append({"dataset": ours, "method": method, "source": "ours"} | cells)
        cells = {
            r.against: ("about " if r.approximate == "yes" else "") + digits.shown(r.printed)
            for r in printed[(printed.dataset == theirs) & printed.against.isin(part.budget)].itertuples()
        }
        lines.append({"dataset": theirs, "method": "MiCRo", "source": "paper"} | cells)
    return pd.DataFrame(lines).fillna("")


def table_9_attributes(attributes: Sequence[str]) -> tuple[dict[str, str], bool]:
    """Return {attribute of table 9: attribute of ours}, and whether ours are those by name.

    Where the data lack one of the three, or one of theirs would be two, the first three by name stand in for them.
    """
    lower = {a: a.lower() for a in sorted(attributes)}
    tests = {
        "Creativity": lambda name: "creativ" in name and "linguistic" not in name,
        "Storytelling": lambda name: "storytelling" in name,
        "Linguistic Creativity": lambda name: "linguistic" in name,
    }
    found = {theirs: [a for a, name in lower.items() if test(name)] for theirs, test in tests.items()}
    if all(found.values()) and len({ours[0] for ours in found.values()}) == len(found):
        return {theirs: ours[0] for theirs, ours in found.items()}, True
    return dict(zip(TABLE_9, lower, strict=False)), False


def table_9(
    accuracy: pd.DataFrame, heads: int, left_out: Mapping[int, int], budgets: Sequence[int], own: Collection[str] = ()
) -> pd.DataFrame:
    """Return table 9: three attributes at several budgets beside the single reward.

    Args:
        accuracy: "accuracy" of a sweep on RPR-like data (dataset, method, heads, budget, run, attribute, value).
        heads: K of the two-stage rows.
        left_out: budgets that the data cannot give, with the largest possible one.
        budgets: all that were asked for.
        own: methods of one's own among the rows of `accuracy`.

    Returns:
        Columns dataset, method, budget (0 for the single reward), attribute, mean, std, n_runs, paper, paper_std
        (missing unless the attribute is the paper's by name), note. A budget that is left out has a line without
        a mean.
    """
    names = [a for a in dict.fromkeys(accuracy.attribute) if a != "average"]
    three, by_name = table_9_attributes(names)
    cells = curve_summary(accuracy, ("method", "heads", "budget", "attribute"))
    cells = cells.set_index(["method", "heads", "budget", "attribute"])
    printed = paper_values.accuracy(9).set_index(["method", "attribute"])
    lines = []
    for method in ("single", "micro", "micro_plus", *own):
        for budget in [0] if method == "single" else sorted(budgets):
            for theirs, ours in three.items():
                key = (method, 1 if method == "single" else heads, budget, ours)
                found = cells.loc[key] if key in cells.index else {"mean": math.nan, "std": math.nan, "n_runs": 0}
                row = "Single Reward" if method == "single" else f"MiCRo (B={budget})"
                known = by_name and method not in own and (row, theirs) in printed.index
                paper = printed.loc[(row, theirs)] if known else {}
                notes = [] if by_name else [f"stands in for {theirs.lower()}"]
                if budget in left_out:
                    notes.append(f"an attribute has only {left_out[budget]} training pairs")
                lines.append(
                    {"dataset": accuracy.dataset.iloc[0], "method": method, "budget": budget, "attribute": ours}
                    | {"mean": float(found["mean"]), "std": float(found["std"]), "n_runs": int(found["n_runs"])}
                    | {"paper": float(paper.get("accuracy", math.nan)), "paper_std": float(paper.get("std", math.nan))}
                    | {"note": "; ".join(notes)}
                )
    return pd.DataFrame(lines)


def table_9_display(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table_9` as the paper shows it: a row a method and budget, mean +- std and the paper's mean a cell."""
    shown = table.assign(
        cell=[
            "left out" if math.isnan(r.mean) else f"{digits.shown(r.mean)} ± {digits.shown(r.std)}" + _beside(r.paper)
            for r in table.itertuples()
        ]
    )
    shown["attribute"] = [f"attribute={name}" if name in table else name for name in table.attribute]
    wide = shown.pivot(index=["method", "budget"], columns="attribute", values="cell")
    order = list(dict.fromkeys(zip(table.method, table.budget, strict=True)))
    return wide.loc[order, list(dict.fromkeys(shown.attribute))].reset_index().rename_axis(columns=None)


def _beside(paper: float) -> str:
    return "" if math.isnan(paper) else f" (paper {paper:.3f})"


def whole_numbers(text: str) -> list[int]:
    """Return the whole numbers of a parameter such as "0 5 10 20 50", in rising order.

    Raises:
        InputError: something else stands in it, or it is empty.
    """
    try:
        numbers = sorted({int(word) for word in text.replace(",", " ").split()})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 0:
        raise InputError(f"expected whole numbers >= 0 such as '0 5 10 20 50', got {text!r}")
    return numbers


def numbers(text: str) -> list[float]:
    """Return the numbers of a parameter such as "0 0.05 0.5 1", in rising order.

    Raises:
        InputError: something else stands in it, one is below 0 or not finite, or it is empty.
    """
    try:
        found = sorted({float(word) for word in text.replace(",", " ").split()})
    except ValueError:
        found = []
    if not found or not all(math.isfinite(x) and x >= 0 for x in found):
        raise InputError(f"expected numbers >= 0 such as '0 0.05 0.5 1', got {text!r}")
    return found
