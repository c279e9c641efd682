"""What the sweeps say about the paper's claims C06, C29 to C37 and C43: definitions first, numbers second.

Intervals are 95 %. What is linear in the decisions of test pairs (differences, steps and slopes of accuracy) has one
over prompts and runs. Shares of weight take one value a run, spreads over runs one pseudo-value a run (jackknife), and
the t interval of their mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from micro_paper.claims import protocol
from micro_paper.claims.evidence import Entry, Part, collect, frame
from micro_paper.experiments.evaluation import sample
from micro_paper.experiments.sweeps import SELECTIONS, Sweep
from micro_paper.intervals import Interval, jackknife, t_interval
from micro_paper.metrics import MACRO
from micro_paper.paper import values as paper_values
from micro_paper.paper.verdicts import CONTROL

RANDOM = "random_heads"


@dataclass(frozen=True)
class Finding:
    """The sweeps of one data set.

    Attributes:
        sweep: from `sweeps.sweep`.
        paper: the paper's data set that it stands for, "RPR" or "HelpSteer2".
        plan: which rows are compared.
    """

    sweep: Sweep
    paper: str
    plan: protocol.Protocol

    def part(self, text: str, interval: Interval, **more) -> Part:
        """Return a part of the evidence, of all runs unless `n_runs` says which."""
        return Part(self.sweep.world, text, interval, more.pop("n_runs", self.sweep.n_runs), **more)

    def heads(self, above: bool) -> list[int]:
        """Return the numbers of heads above, or below, the settings' own."""
        own = self.sweep.heads
        return [k for k in sorted(set(self.sweep.grid.heads)) if (k > own if above else k < own)]

    def routed(self, method: str, attribute: str | None = MACRO) -> pd.DataFrame:
        """Return the accuracies of the method at its own number of heads."""
        table = self.sweep.tables["accuracy"]
        table = table[(table.method == method) & (table.heads == self.sweep.heads)]
        return table if attribute is None else table[table.attribute == attribute]

    def contrast(self, weights: Mapping[tuple, float], text: str, *, attribute: str = "", **more) -> Iterator[Part]:
        """Yield the weighted sum of accuracies of cells of `Sweep.decided`, paired; nothing where a cell is lacking.

        The average over attributes, or the accuracy on one.
        """
        cells = self.sweep.decided
        if not weights.keys() <= cells.keys():
            return
        total = sum(cells[cell] * weight for cell, weight in weights.items())
        there = np.isfinite(total).any(axis=1)  # folds with a run that has all of the cells
        found = sample(self.sweep.layout.pairs[there]).mean(total[there], attribute or None)
        yield self.part(text, found, attribute=attribute, **more)


def _alpha(of: Finding, method: str) -> Iterator[Part]:
    """Slope over alpha of the largest mean head share, within +-.01 a unit of alpha flat; expected down."""
    table = of.sweep.tables.get("alpha", pd.DataFrame())
    if len(table) and table.alpha.nunique() > 1:
        slopes = [_slope(t.alpha, t.largest_share) for _, t in table.groupby("run")]
        yield of.part("largest mean head share (stage 1), slope over alpha", t_interval(slopes))


def _refresh(of: Finding, method: str) -> Iterator[Part]:
    """Spread of test accuracy over repeats that differ in minibatch order alone, batch less epoch, above 0."""
    wide = of.sweep.tables["refresh"].pivot(index="run", columns=["refresh", "repeat"], values="accuracy")
    gap = np.array([wide["batch"].std(axis=1, ddof=1), wide["epoch"].std(axis=1, ddof=1)]).T
    text = "standard deviation of accuracy over minibatch orders: omega each batch less each epoch"
    yield of.part(text, t_interval(gap[:, 0] - gap[:, 1]))


def _printed(of: Finding, method: str) -> Iterator[Part]:
    """Mean accuracy at the budgets of which the paper prints it."""
    found, scalars = of.sweep, paper_values.scalars()
    for line in scalars[(scalars.quantity == "budget_average") & (scalars.dataset == of.paper)].itertuples():
        decided = found.decided.get(("routed", method, found.heads, int(line.against)))
        if decided is not None:
            interval = found.layout.sample.mean(decided)
            yield of.part(f"mean accuracy at {line.against} contexts an attribute", interval, printed=line.printed)


def _budget_rise(of: Finding, method: str) -> Iterator[Part]:
    """Accuracy at the fixed budget (the paper's 50) less that of stage 1 alone; and less the same of random heads."""
    k, budget = of.sweep.heads, of.sweep.grid.budget
    rise = {("routed", method, k, budget): 1.0, ("routed", method, k, 0): -1.0}
    yield from of.contrast(rise, f"accuracy, 0 to {budget} contexts")
    random = {("routed", RANDOM, k, budget): -1.0, ("routed", RANDOM, k, 0): 1.0}
    text = f"accuracy, 0 to {budget} contexts, less the rise of {RANDOM}"
    yield from of.contrast(rise | random, text, kind=CONTROL, reference=RANDOM)


def _table_9(of: Finding, claim: str) -> dict[str, str]:
    """Return the data's own attributes that the claim names, each with the name; none stands for another."""
    names = of.plan.measures[claim].attributes
    return {a: name for a in of.sweep.layout.sample.names if (name := protocol.named(a, names))}


def _more_budget(of: Finding, method: str) -> Iterator[Part]:
    """Table 9, its largest budget less its smallest: accuracy of each attribute up, the spread over runs down."""
    budgets, attributes = of.sweep.grid.further, list(_table_9(of, "C32"))
    if not attributes or not budgets or not (low := budgets[0]) < (high := budgets[-1]):
        return
    k = of.sweep.heads
    for a in attributes:
        step = {("routed", method, k, high): 1.0, ("routed", method, k, low): -1.0}
        yield from of.contrast(step, f"accuracy on {a}, {low} to {high} contexts", attribute=a)
    wide = of.routed(method, None).pivot(index="run", columns=["attribute", "budget"], values="value")
    both = np.stack([wide[[(a, b) for a in attributes]].to_numpy() for b in (low, high)], axis=-1)
    spread = jackknife(both, _spread_step)
    text = f"standard deviation over runs (and their folds), {low} to {high} contexts"
    yield of.part(text, spread, kind="down")


def _linguistic(of: Finding, method: str) -> Iterator[Part]:
    """Linguistic creativity at the largest budget of table 9 less the single rewards."""
    budgets, measure = of.sweep.grid.further, of.plan.measures["C33"]
    for a in _table_9(of, "C33") if budgets else ():
        for other in (*measure.references, *measure.controls):
            step = {("routed", method, of.sweep.heads, budgets[-1]): 1.0, ("routed", other, 1, 0): -1.0}
            text = f"accuracy on {a} at {budgets[-1]} contexts less {other}"
            kind = CONTROL if other in measure.controls else ""
            yield from of.contrast(step, text, attribute=a, reference=other, kind=kind)


def _more_heads(of: Finding, method: str) -> Iterator[Part]:
    """Best heads at each K above the default less those at the default, by test and by validation."""
    own = of.sweep.heads
    for heads in of.heads(above=True):
        for selection in SELECTIONS:
            step = {(selection, method, heads): 1.0, (selection, method, own): -1.0}
            yield from of.contrast(step, f"best heads by {selection}: K = {heads} less K = {own}")


def _fewer_heads(of: Finding, method: str) -> Iterator[Part]:
    """Best heads at the default K less those at K = 1 and 5; and less the same of random heads."""
    own = of.sweep.heads
    for heads in sorted({1, 5} & set(of.heads(above=False))):
        for selection in SELECTIONS:
            step = {(selection, method, own): 1.0, (selection, method, heads): -1.0}
            text = f"best heads by {selection}: K = {own} less K = {heads}"
            yield from of.contrast(step, text)
            random = {(selection, RANDOM, own): -1.0, (selection, RANDOM, heads): 1.0}
            yield from of.contrast(step | random, f"{text}, less that of {RANDOM}", kind=CONTROL, reference=RANDOM)


def _redundancy(of: Finding, method: str) -> Iterator[Part]:
    """At the largest K, in the runs with redundant heads (margins correlate above .9 with an earlier head's).

    Their mean weight after stage 2 as a multiple of 1/K, less 1: down. And the best heads (by validation) without them
    less those with them: equivalent.
    """
    found, largest = of.sweep, max((*of.sweep.grid.heads, of.sweep.heads))
    table = found.tables["redundancy"].query(
        "method == @method and heads == @largest and budget == @found.grid.budget and redundant > 0"
    )
    if len(table) < 2:
        return  # no interval over less than two runs
    excess = t_interval(table.share_of_weight / table.share_of_heads - 1)
    yield of.part(f"weight of redundant heads at K = {largest} over 1/K, less 1", excess, n_runs=len(table))
    text = f"best heads at K = {largest}: without the redundant less with them"
    step = {("kept", method, largest): 1.0, ("validation", method, largest): -1.0}
    yield from of.contrast(step, text, kind="equivalence", n_runs=len(table))


def _heads_and_budget(of: Finding, method: str) -> Iterator[Part]:
    """Slope over log2 K > 0 of what contexts add: accuracy at the fixed budget less that at the smallest.

    Up: a small K gains less from contexts, a larger one lacks more where they are few. K = 1 has no router to adapt.
    """
    found, budget = of.sweep, of.sweep.grid.budget
    smallest = min(b for b in found.grid.budgets if b)
    counts = [k for k in sorted({*found.grid.heads, found.heads}) if k > 1]
    if len(counts) < 2 or smallest == budget:
        return
    x = np.log2(counts)
    slope = (x - x.mean()) / ((x - x.mean()) ** 2).sum()  # least squares: a weighted sum of what each K gains
    weights = {}
    for k, w in zip(counts, slope, strict=True):
        weights |= {("routed", method, k, budget): w, ("routed", method, k, smallest): -w}
    said = ", ".join(map(str, counts))
    yield from of.contrast(weights, f"accuracy, {smallest} to {budget} contexts, slope over log2 K, K = {said}")


def _slope(x, y) -> float:
    return float(np.polyfit(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 1)[0])


def _spread_step(runs: np.ndarray) -> float:
    """Standard deviation over runs (axis 0), mean over attributes, last budget less first; runs (R, attributes, 2)."""
    spread = runs.std(axis=0, ddof=1).mean(axis=0)
    return float(spread[1] - spread[0])


EITHER, RPR, HELPSTEER = ("helpsteer", "rpr"), ("rpr",), ("helpsteer",)
ENTRIES = (
    Entry("C06", "alpha and the largest head's share", EITHER, "down", _alpha, ("any",)),
    Entry("C43", "omega renewed each batch against each epoch", EITHER, "ordering", _refresh, ("micro",)),
    Entry("C31", "accuracy at the fixed budget over that of stage 1 alone", EITHER, "up", _budget_rise),
    Entry("C34", "best heads above the default K", EITHER, "equivalence", _more_heads),
    Entry("C36", "weight of redundant heads, and what they add", EITHER, "down", _redundancy),
    Entry("C37", "what contexts add, over the number of heads", EITHER, "up", _heads_and_budget),
    Entry("C29", "mean accuracy at the printed budgets", RPR, "value", _printed),
    Entry("C30", "mean accuracy at the printed budgets", HELPSTEER, "value", _printed),
    Entry("C35", "best heads at the default K over fewer", RPR, "ordering", _fewer_heads),
    Entry("C32", "three attributes with more budget", RPR, "up", _more_budget),
    Entry("C33", "linguistic creativity over the single reward", RPR, "ordering", _linguistic),
)


FURTHER = "C31"  # what further data sets are swept for: at the fixed budget and number of heads alone


def decides(dataset: str) -> bool:
    """Return whether a further data set may decide the claim that such are swept for."""
    return protocol.read().standing(FURTHER, dataset).may == protocol.DECIDES


def evidence(helpsteer: Sweep, rpr: Sweep, further: Sequence[Sweep] = ()) -> pd.DataFrame:
    """Return the evidence of both sweeps, in the columns of `evidence.COLUMNS`, and of further ones on C31 alone."""
    plan = protocol.read()
    both = {"helpsteer": Finding(helpsteer, "HelpSteer2", plan), "rpr": Finding(rpr, "RPR", plan)}
    rows = collect(ENTRIES, both).to_dict("records")
    entries = [entry for entry in ENTRIES if entry.claim == FURTHER]
    for found in further:
        rows += collect(entries, {"rpr": Finding(found, "", plan)}).to_dict("records")
    return frame(rows)
