"""What the sweeps say about the paper's claims C06, C29 to C37 and C43: definitions first, numbers second.

Intervals are 95 %. Differences of accuracy on the same test pairs resample prompts (paired). Trends take one slope or
step a run, each within the run's own stage 1 where the budget varies, and the t-interval of their mean over runs.
Spreads over runs or repeats resample runs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from micro_paper import intervals
from micro_paper.claims import evidence
from micro_paper.experiments.budget_curves import table_9_attributes
from micro_paper.experiments.sweeps import SELECTIONS, Sweep, paired
from micro_paper.intervals import Interval, runs_bootstrap, t_interval
from micro_paper.metrics import MACRO
from micro_paper.paper import values as paper_values

METHODS = ("micro", "micro_plus")


def sweep_evidence(helpsteer: Sweep, rpr: Sweep, *, seed: int = 0, n_bootstrap: int = 10_000) -> pd.DataFrame:
    """Return the evidence of both sweeps, in the columns of `evidence.COLUMNS`."""
    rows: list[dict] = []
    for found, dataset in ((helpsteer, "HelpSteer2"), (rpr, "RPR")):
        of = _Evidence(found, np.random.default_rng(seed), n_bootstrap)
        of.alpha()
        of.refresh()
        for method in METHODS:
            of.budget_steps(method)
            of.more_heads(method)
            of.redundancy(method)
            of.heads_and_budget(method)
            of.printed(method, dataset)
            if dataset == "RPR":
                of.fewer_heads(method)
                of.three_attributes(method)
        rows += of.rows
    return evidence.frame(rows)


class _Evidence:
    def __init__(self, found: Sweep, rng: np.random.Generator, n_bootstrap: int) -> None:
        self.found, self.rng, self.n = found, rng, n_bootstrap
        self.rows: list[dict] = []

    def add(self, claim: str, method: str, part: str, kind: str, interval: Interval, **more) -> None:
        """Add one part."""
        of = self.found
        self.rows.append(evidence.row(claim, method, of.world, part, kind, interval, n_runs=of.n_runs, **more))

    def alpha(self) -> None:
        """C06: slope over alpha of the largest mean head share, within +-.01 a unit of alpha flat; expected down."""
        table = self.found.tables.get("alpha", pd.DataFrame())
        if len(table) and table.alpha.nunique() > 1:
            slopes = [_slope(t.alpha, t.largest_share) for _, t in table.groupby("run")]
            part = "largest mean head share (stage 1), slope over alpha"
            self.add("C06", "any", part, "down", t_interval(slopes))

    def refresh(self) -> None:
        """C43: spread of test accuracy over repeats that differ in minibatch order alone, batch less epoch, above 0."""
        wide = self.found.tables["refresh"].pivot(index="run", columns=["refresh", "repeat"], values="accuracy")
        gap = np.array([wide["batch"].std(axis=1, ddof=1), wide["epoch"].std(axis=1, ddof=1)]).T
        interval = runs_bootstrap(gap[:, 0] - gap[:, 1], np.mean, self.rng, self.n)
        part = "standard deviation of accuracy over minibatch orders: omega each batch less each epoch"
        self.add("C43", "micro", part, "ordering", interval)

    def printed(self, method: str, dataset: str) -> None:
        """C29, C30: mean accuracy at the budgets of which the paper prints it."""
        scalars = paper_values.scalars().query("quantity == 'budget_average' and dataset == @dataset")
        claim = "C29" if dataset == "RPR" else "C30"
        for line in scalars.itertuples():
            decided = self.found.decided.get(("routed", method, self.found.heads, int(line.against)))
            if decided is not None:
                interval = self._mean(decided)
                part = f"mean accuracy at {line.against} contexts an attribute"
                self.add(claim, method, part, "value", interval, printed=line.printed)

    def budget_steps(self, method: str) -> None:
        """C31: each step of the curve up to the fixed budget (the paper's 50) up, the steps beyond it flat."""
        wide = self._routed(method).pivot(index="run", columns="budget", values="value")
        budgets = [b for b in self.found.grid.budgets if b in wide]
        for low, high in zip(budgets, budgets[1:], strict=False):
            kind = "up" if high <= self.found.grid.budget else "flat"
            self.add("C31", method, f"accuracy, {low} to {high} contexts", kind, t_interval(wide[high] - wide[low]))

    def three_attributes(self, method: str) -> None:
        """C32 and C33, on the three attributes of table 9 (or those that stand in for them).

        C32: accuracy at the largest of its budgets less that at the smallest, each attribute up; the standard deviation
        over runs (mean of the three), the same way, down. C33: linguistic creativity at the largest budget less the
        single reward.
        """
        found, budgets = self.found, self.found.grid.further
        if not budgets:
            return
        low, high = budgets[0], budgets[-1]
        three, by_name = table_9_attributes(sorted(set(found.attributes)))
        said = {a: a if by_name else f"{a} (for {theirs.lower()})" for theirs, a in three.items()}
        table = self._routed(method, None)
        wide = table.pivot(index="run", columns=["attribute", "budget"], values="value")
        if low < high:
            for a, name in said.items():
                step = t_interval(wide[a, high] - wide[a, low])
                self.add("C32", method, f"accuracy on {name}, {low} to {high} contexts", "up", step)
            both = np.stack([wide[[(a, b) for a in said]].to_numpy() for b in (low, high)], axis=-1)
            spread = runs_bootstrap(both, _spread_step, self.rng, self.n)
            self.add("C32", method, f"standard deviation over runs, {low} to {high} contexts", "down", spread)
        last = three.get("Linguistic Creativity")
        if last:
            cells = [found.decided["routed", method, found.heads, high], found.decided["routed", "single", 1, 0]]
            own = found.attributes == last
            gap = intervals.paired_bootstrap(*(c[own] for c in cells), found.prompts[own], rng=self.rng, n=self.n)
            self.add(
                "C33", method, f"accuracy on {said[last]} at {high} contexts less the single reward", "ordering", gap
            )

    def more_heads(self, method: str) -> None:
        """C34: best heads at each K above the default less those at the default, by test and by validation."""
        for heads in self._heads(above=True):
            for selection in SELECTIONS:
                part = f"best heads by {selection}: K = {heads} less K = {self.found.heads}"
                gap = self._gap((selection, method, heads), (selection, method, self.found.heads))
                self.add("C34", method, part, "equivalence", gap)

    def fewer_heads(self, method: str) -> None:
        """C35: best heads at the default K less those at K = 1 and 5, by test (an oracle) and by validation."""
        for heads in sorted({1, 5} & set(self._heads(above=False))):
            for selection in SELECTIONS:
                part = f"best heads by {selection}: K = {self.found.heads} less K = {heads}"
                gap = self._gap((selection, method, self.found.heads), (selection, method, heads))
                self.add("C35", method, part, "ordering", gap)

    def redundancy(self, method: str) -> None:
        """C36, at the largest K: redundant heads (margins correlate above .9 with an earlier head's on validation).

        Their mean weight after stage 2 as a multiple of 1/K, less 1, over the runs that have such heads: down. And the
        best heads (by validation) without them less those with them: equivalent.
        """
        found, largest = self.found, max((*self.found.grid.heads, self.found.heads))
        table = found.tables["redundancy"].query(
            "method == @method and heads == @largest and budget == @found.grid.budget and redundant > 0"
        )
        if len(table) < 2:
            return  # no such heads, nothing to say
        excess = t_interval(table.share_of_weight / table.share_of_heads - 1)
        part = f"weight of redundant heads at K = {largest} over 1/K, less 1 ({len(table)} runs with such heads)"
        self.add("C36", method, part, "down", excess)
        gap = self._gap(("kept", method, largest), ("validation", method, largest))
        self.add(
            "C36", method, f"best heads at K = {largest}: without the redundant less with them", "equivalence", gap
        )

    def heads_and_budget(self, method: str) -> None:
        """C37, both slopes over log2 K, a run each.

        Up to the default K: gain from contexts (accuracy at the fixed budget less that of stage 1 alone), up: a small K
        gains less. From the default K on: accuracy still missing at the smallest budget (that at the fixed budget less
        it), up: a larger K needs more.
        """
        found, budget = self.found, self.found.grid.budget
        smallest = min(b for b in found.grid.budgets if b)
        few = sorted({*self._heads(above=False), found.heads})
        many = sorted({*self._heads(above=True), found.heads})
        parts = (
            (few, 0, f"gain from {budget} contexts"),
            (many, smallest, f"accuracy missing at {smallest} contexts against {budget}"),
        )
        table = found.tables["accuracy"].query("method == @method and attribute == @MACRO")
        cells = table.set_index(["run", "heads", "budget"])["value"]
        for heads, start, name in parts:
            if len(heads) < 2 or start == budget or (0, heads[0], start) not in cells.index:
                continue
            gain = [[cells[r, k, budget] - cells[r, k, start] for k in heads] for r in range(found.n_runs)]
            slopes = [_slope(np.log2(heads), g) for g in gain]
            part = f"{name}, slope over log2 K, K = {', '.join(map(str, heads))}"
            self.add("C37", method, part, "up", t_interval(slopes))

    def _heads(self, above: bool) -> list[int]:
        own = self.found.heads
        return [k for k in sorted(set(self.found.grid.heads)) if (k > own if above else k < own)]

    def _routed(self, method: str, attribute: str | None = MACRO) -> pd.DataFrame:
        table = self.found.tables["accuracy"]
        table = table[(table.method == method) & (table.heads == self.found.heads)]
        return table if attribute is None else table[table.attribute == attribute]

    def _mean(self, decided: np.ndarray) -> Interval:
        found = self.found
        return intervals.bootstrap_macro(decided, found.prompts, found.attributes, rng=self.rng, n=self.n)

    def _gap(self, first: tuple, second: tuple) -> Interval:
        return paired(self.found, first, second, rng=self.rng, n=self.n)


def _slope(x, y) -> float:
    return float(np.polyfit(np.asarray(x, dtype=float), np.asarray(y, dtype=float), 1)[0])


def _spread_step(runs: np.ndarray) -> float:
    """Standard deviation over runs (axis 0), mean over attributes, last budget less first; runs (R, attributes, 2)."""
    spread = runs.std(axis=0, ddof=1).mean(axis=0)
    return float(spread[1] - spread[0])
