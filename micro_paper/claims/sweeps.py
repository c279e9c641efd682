"""What the sweeps say about the paper's claims C06, C29 to C37 and C43: definitions first, numbers second.

Intervals are 95 %. What is linear in the decisions of test pairs (differences, steps and slopes of accuracy) has one
over prompts and runs. Shares of weight take one value a run, spreads over runs one pseudo-value a run (jackknife), and
the t interval of their mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from micro_paper.claims.evidence import Entry, Part, collect
from micro_paper.experiments.budget_curves import table_9_attributes
from micro_paper.experiments.evaluation import sample
from micro_paper.experiments.sweeps import SELECTIONS, Sweep
from micro_paper.intervals import Interval, Sample, jackknife, t_interval
from micro_paper.metrics import MACRO
from micro_paper.paper import values as paper_values


@dataclass(frozen=True)
class Finding:
    """The sweeps of one data set.

    Attributes:
        sweep: from `sweeps.sweep`.
        paper: the paper's data set that it stands for, "RPR" or "HelpSteer2".
    """

    sweep: Sweep
    paper: str

    def part(self, text: str, interval: Interval, **more) -> Part:
        """Return a part of the evidence."""
        return Part(self.sweep.world, text, interval, self.sweep.n_runs, **more)

    def heads(self, above: bool) -> list[int]:
        """Return the numbers of heads above, or below, the settings' own."""
        own = self.sweep.heads
        return [k for k in sorted(set(self.sweep.grid.heads)) if (k > own if above else k < own)]

    def routed(self, method: str, attribute: str | None = MACRO) -> pd.DataFrame:
        """Return the accuracies of the method at its own number of heads."""
        table = self.sweep.tables["accuracy"]
        table = table[(table.method == method) & (table.heads == self.sweep.heads)]
        return table if attribute is None else table[table.attribute == attribute]

    @property
    def sample(self) -> Sample:
        """The test pairs."""
        return self.sweep.layout.sample

    def gap(self, first: tuple, second: tuple, only: str | None = None) -> Interval:
        """Return the difference of two cells of `Sweep.decided`, on the folds that have both, or on one attribute."""
        both = [self.sweep.decided[cell] for cell in (first, second)]
        there = np.logical_and(*(np.isfinite(table).any(axis=1) for table in both))
        return sample(self.sweep.layout.pairs[there]).difference(*(table[there] for table in both), only)

    def sum(self, cells: Mapping[tuple, float]) -> Interval:
        """Return the interval of the mean accuracies of "routed" cells times their factors, added up."""
        return self.sample.mean(sum(self.sweep.decided["routed", *cell] * factor for cell, factor in cells.items()))


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
    interval = t_interval(gap[:, 0] - gap[:, 1])
    yield of.part("standard deviation of accuracy over minibatch orders: omega each batch less each epoch", interval)


def _printed(of: Finding, method: str) -> Iterator[Part]:
    """Mean accuracy at the budgets of which the paper prints it."""
    found, scalars = of.sweep, paper_values.scalars()
    for line in scalars[(scalars.quantity == "budget_average") & (scalars.dataset == of.paper)].itertuples():
        decided = found.decided.get(("routed", method, found.heads, int(line.against)))
        if decided is not None:
            interval = of.sample.mean(decided)
            yield of.part(f"mean accuracy at {line.against} contexts an attribute", interval, printed=line.printed)


def _budget_steps(of: Finding, method: str) -> Iterator[Part]:
    """Each step of the curve up to the fixed budget (the paper's 50) up, the steps beyond it flat."""
    own = (method, of.sweep.heads)
    budgets = [b for b in of.sweep.grid.budgets if ("routed", *own, b) in of.sweep.decided]
    for low, high in zip(budgets, budgets[1:], strict=False):
        kind = "up" if high <= of.sweep.grid.budget else "flat"
        yield of.part(f"accuracy, {low} to {high} contexts", of.sum({(*own, high): 1, (*own, low): -1}), kind=kind)


def _three(of: Finding) -> tuple[dict[str, str], dict[str, str]]:
    """Return {attribute of table 9: ours} and {ours: what it is called}."""
    three, by_name = table_9_attributes(of.sample.names)
    return three, {a: a if by_name else f"{a} (for {theirs.lower()})" for theirs, a in three.items()}


def _more_budget(of: Finding, method: str) -> Iterator[Part]:
    """Table 9, its largest budget less its smallest: accuracy of each attribute up, the spread over runs down."""
    budgets = of.sweep.grid.further
    if not budgets or not (low := budgets[0]) < (high := budgets[-1]):
        return
    said = _three(of)[1]
    cells = [("routed", method, of.sweep.heads, budget) for budget in (high, low)]
    for a, name in said.items():
        yield of.part(f"accuracy on {name}, {low} to {high} contexts", of.gap(*cells, a))
    wide = of.routed(method, None).pivot(index="run", columns=["attribute", "budget"], values="value")
    both = np.stack([wide[[(a, b) for a in said]].to_numpy() for b in (low, high)], axis=-1)
    spread = jackknife(both, _spread_step)
    yield of.part(f"standard deviation over runs, {low} to {high} contexts", spread, kind="down")


def _linguistic(of: Finding, method: str) -> Iterator[Part]:
    """Linguistic creativity (or what stands in for it) at the largest budget of table 9 less the single reward."""
    found, budgets = of.sweep, of.sweep.grid.further
    three, said = _three(of)
    last = three.get("Linguistic Creativity")
    if not budgets or not last:
        return
    gap = of.gap(("routed", method, found.heads, budgets[-1]), ("routed", "single", 1, 0), last)
    yield of.part(f"accuracy on {said[last]} at {budgets[-1]} contexts less the single reward", gap)


def _more_heads(of: Finding, method: str) -> Iterator[Part]:
    """Best heads at each K above the default less those at the default, by test and by validation."""
    own = of.sweep.heads
    for heads in of.heads(above=True):
        for selection in SELECTIONS:
            gap = of.gap((selection, method, heads), (selection, method, own))
            yield of.part(f"best heads by {selection}: K = {heads} less K = {own}", gap)


def _fewer_heads(of: Finding, method: str) -> Iterator[Part]:
    """Best heads at the default K less those at K = 1 and 5, by test (an oracle) and by validation."""
    own = of.sweep.heads
    for heads in sorted({1, 5} & set(of.heads(above=False))):
        for selection in SELECTIONS:
            gap = of.gap((selection, method, own), (selection, method, heads))
            yield of.part(f"best heads by {selection}: K = {own} less K = {heads}", gap)


def _redundancy(of: Finding, method: str) -> Iterator[Part]:
    """At the largest K: redundant heads (margins correlate above .9 with an earlier head's on validation).

    Their mean weight after stage 2 as a multiple of 1/K, less 1, over the runs that have such heads: down. And the
    best heads (by validation) without them less those with them: equivalent.
    """
    found, largest = of.sweep, max((*of.sweep.grid.heads, of.sweep.heads))
    table = found.tables["redundancy"].query(
        "method == @method and heads == @largest and budget == @found.grid.budget and redundant > 0"
    )
    if len(table) < 2:
        return  # no such heads, nothing to say
    excess = t_interval(table.share_of_weight / table.share_of_heads - 1)
    yield of.part(
        f"weight of redundant heads at K = {largest} over 1/K, less 1 ({len(table)} runs with such heads)", excess
    )
    gap = of.gap(("kept", method, largest), ("validation", method, largest))
    text = f"best heads at K = {largest}: without the redundant less with them"
    yield of.part(text, gap, kind="equivalence")


def _heads_and_budget(of: Finding, method: str) -> Iterator[Part]:
    """Both slopes over log2 K.

    Up to the default K: gain from contexts (accuracy at the fixed budget less that of stage 1 alone), up: a small K
    gains less. From the default K on: accuracy still missing at the smallest budget (that at the fixed budget less
    it), up: a larger K needs more.
    """
    found, budget = of.sweep, of.sweep.grid.budget
    smallest = min(b for b in found.grid.budgets if b)
    parts = (
        (sorted({*of.heads(above=False), found.heads}), 0, f"gain from {budget} contexts"),
        (
            sorted({*of.heads(above=True), found.heads}),
            smallest,
            f"accuracy missing at {smallest} contexts against {budget}",
        ),
    )
    for heads, start, name in parts:
        if len(heads) < 2 or start == budget or ("routed", method, heads[0], start) not in found.decided:
            continue
        x = np.log2(heads) - np.log2(heads).mean()
        factor = dict(zip(heads, x / (x**2).sum(), strict=True))  # the least-squares slope is linear in the gains
        slope = of.sum({(method, k, b): sign * f for k, f in factor.items() for b, sign in ((budget, 1), (start, -1))})
        yield of.part(f"{name}, slope over log2 K, K = {', '.join(map(str, heads))}", slope)


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
    Entry("C31", "steps of the budget", EITHER, "up", _budget_steps),
    Entry("C34", "best heads above the default K", EITHER, "equivalence", _more_heads),
    Entry("C36", "weight of redundant heads, and what they add", EITHER, "down", _redundancy),
    Entry("C37", "contexts that many heads need", EITHER, "up", _heads_and_budget),
    Entry("C29", "mean accuracy at the printed budgets", RPR, "value", _printed),
    Entry("C30", "mean accuracy at the printed budgets", HELPSTEER, "value", _printed),
    Entry("C35", "best heads at the default K over fewer", RPR, "ordering", _fewer_heads),
    Entry("C32", "three attributes with more budget", RPR, "up", _more_budget),
    Entry("C33", "linguistic creativity over the single reward", RPR, "ordering", _linguistic),
)


def evidence(helpsteer: Sweep, rpr: Sweep) -> pd.DataFrame:
    """Return the evidence of both sweeps, in the columns of `evidence.COLUMNS`."""
    return collect(
        ENTRIES,
        {
            "helpsteer": Finding(helpsteer, "HelpSteer2"),
            "rpr": Finding(rpr, "RPR"),
        },
    )
