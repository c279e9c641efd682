"""Sweeps over heads, budgets, alpha, tau and switches that share their stage-1 fits (figures 4 to 6, table 9)."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from micro_paper import metrics
from micro_paper.errors import InputError
from micro_paper.experiments.budget_curves import budget_curve, numbers, possible_budgets, whole_numbers
from micro_paper.experiments.evaluation import COVERED, SELECTIONS, Layout, by_pair, stored
from micro_paper.experiments.runs import NO_OWN, Fitted, Run, crossed_runs
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import PREDICTIONS, Settings
from micro_paper.methods.table import Factory, HeadsMethod
from micro_paper.methods.two_stage import TwoStage
from micro_paper.metrics import MACRO
from micro_paper.pairs import Pairs
from micro_paper.router import OBJECTIVES, PRIORS, REFRESH
from micro_paper.stacked import Training, finish, gather

log = logging.getLogger(__name__)
REDUNDANT = 0.9  # correlation of margins above which a head repeats an earlier one
# Switches on one stage 1, the default's choice first; prediction, which shares the default's stage 2, stands first.
SWITCHES = {"prediction": PREDICTIONS, "prior": PRIORS, "refresh": REFRESH, "objective": OBJECTIVES}
FURTHER = ("micro_plus_full", "criterion_fewshot")  # rows of figure 4 that no sweep runs


@dataclass(frozen=True)
class Grid:
    """What a sweep runs over.

    Attributes:
        heads: numbers of heads K; the settings' own K is always run too.
        budgets: context-labelled pairs an attribute; 0 is stage 1 alone.
        budget: the one budget of the sweeps that do not vary it.
        alphas, taus: of stage 1 and of Eq. 5; tau > 0.
        further: more budgets at the settings' own K (table 9), with the single reward beside; empty = neither.
        repeats: stage-2 trainings of each refresh rule, at least 2.
    """

    heads: tuple[int, ...]
    budgets: tuple[int, ...]
    budget: int
    alphas: tuple[float, ...] = ()
    taus: tuple[float, ...] = ()
    further: tuple[int, ...] = ()
    repeats: int = 5

    def __post_init__(self) -> None:
        if not self.heads or min(self.heads) < 1:
            raise InputError(f"heads_grid needs whole numbers >= 1, got {list(self.heads)}")
        if not self.budgets or min((*self.budgets, *self.further)) < 0:
            raise InputError(f"budgets needs whole numbers >= 0, got {list(self.budgets)}")
        if self.budget < 1:
            raise InputError(f"budget must be >= 1 pair an attribute, got {self.budget}")
        if any(not tau > 0 for tau in self.taus):
            raise InputError(f"taus must be > 0, got {list(self.taus)}")
        if any(not alpha >= 0 for alpha in self.alphas):
            raise InputError(f"alphas must be >= 0, got {list(self.alphas)}")
        if self.repeats < 2:
            raise InputError(f"repeats must be >= 2 for a spread, got {self.repeats}")

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any], like: str) -> Grid:
        """Return the grid that a notebook's parameters state; table 9's budgets for `like` = "rpr" alone."""
        return cls(
            heads=tuple(whole_numbers(parameters["heads_grid"])),
            budgets=tuple(whole_numbers(parameters["budgets"])),
            budget=parameters["budget"],
            alphas=tuple(numbers(parameters["alphas"])),
            taus=tuple(numbers(parameters["taus"])),
            further=tuple(whole_numbers(parameters["budgets_by_attribute"])) if like == "rpr" else (),
        )


@dataclass
class Sweep:
    """What a sweep found on one data set.

    Attributes:
        world: its name.
        heads: the settings' own K.
        grid: with the budgets that were possible.
        left_out: {budget: largest possible budget} of the others.
        n_runs: runs.
        tables: name -> tidy frame, a line a run: "accuracy" (method, heads, budget, attribute), "best_heads"
            (method, heads, selection, attribute), "redundancy", "alpha", "tau", "refresh", "switches".
        layout: of the test pairs and runs.
        decided: cell -> 1 for each of these pairs that a run decided as labelled, 1/2 for a tie, (n, runs); nan in runs
            without the cell. Cells:
            ("routed", method, K, budget), (selection of the best head, method, K), ("switch", switch, choice),
            and ("kept", method, K): best head by validation without the redundant ones.
        counts: calls of `fit` and of `adapt` that it took.
    """

    world: str
    heads: int
    grid: Grid
    left_out: dict[int, int]
    n_runs: int
    layout: Layout
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    decided: dict[tuple, np.ndarray] = field(default_factory=dict)
    counts: Counter = field(default_factory=Counter)


def sweep(
    worlds: Sequence[World],
    settings: Settings | Mapping[str, Any],
    grid: Grid,
    seeds: Sequence[int],
    own: Mapping[str, Factory] = NO_OWN,
) -> Sweep:
    """Run every sweep on one data set; each fold with each seed.

    Within a run every K, alpha and method is fitted once. `micro` is adapted to every budget at every K; `micro_plus`,
    which makes its choices anew each time, away from its own K only to 0, the smallest and the fixed budget;
    `random_heads` only at its own K (its heads do not depend on training). Methods of one's `own` (row name -> factory)
    run at the settings' K and every budget, and with heads join the tables of heads. Test pairs choose nothing but the
    heads of the rows "test (oracle)".

    Raises:
        InputError: fewer than 2 seeds, or the fixed budget is larger than an attribute has.
    """
    settings = Settings.of(settings)
    if not worlds or len(seeds) < 2:
        raise InputError(f"a sweep needs a fold and at least 2 seeds for its intervals, got {len(seeds)}")
    budgets, left_out = possible_budgets(worlds, (*grid.budgets, grid.budget))
    further, more = possible_budgets(worlds, grid.further)
    if grid.budget in left_out:
        raise InputError(f"budget {grid.budget} is larger than an attribute of {worlds[0].name} has: lower it")
    grid = replace(grid, budgets=tuple(budgets), further=tuple(further))
    found = Sweep(
        worlds[0].name, settings.heads, grid, left_out | more, len(worlds) * len(seeds), Layout.of(worlds, len(seeds))
    )
    runs, parts = crossed_runs(worlds, seeds), []
    for run in runs:
        log.info("%s: sweeps, run %d of %d", found.world, run.number + 1, len(runs))
        of_run = list(_parts(found, run, settings))
        finish(gather(recording for _, recording in of_run))
        parts += [part for part, _ in of_run]
        run.world.forget_derived()
    for run in runs if own else ():
        for name, factory in own.items():
            parts.append(_Part(found, run))
            finish(parts[-1].own(name, factory, settings))
        run.world.forget_derived()
    found.tables = {name: pd.DataFrame(lines) for name, lines in _gathered(part.lines for part in parts).items()}
    cells = _gathered(part.decided for part in parts)
    found.decided = {key: found.layout.table(dict(by_run)) for key, by_run in cells.items()}
    return found


def _gathered(parts: Iterable[Mapping[Any, list]]) -> dict[Any, list]:
    together = defaultdict(list)
    for part in parts:
        for key, values in part.items():
            together[key] += values
    return dict(together)


def _parts(found: Sweep, run: Run, settings: Settings) -> Iterator[tuple[_Part, Training[None]]]:
    """Yield the parts of one run, in the order of the tables, each with what fills it."""

    def part() -> _Part:
        return _Part(found, run)

    grid, own = found.grid, settings.heads
    for heads in sorted({*grid.heads, own}):
        for name in ("micro", "micro_plus", "random_heads"):
            yield (rows := part()), rows.rows(name, replace(settings, heads=heads), heads == own)
    if grid.further:
        yield (single := part()), single.single(settings)
    for alpha in grid.alphas:
        if alpha != settings.alpha:
            yield (other := part()), other.alpha(replace(settings, alpha=alpha))


class _Part:
    """A part of one run of a sweep: its lines by table, and its decisions by cell, (number of the run, decisions)."""

    def __init__(self, found: Sweep, run: Run) -> None:
        self.found, self.run, self.world, self.grid = found, run, run.world, found.grid
        self.lines: dict[str, list[dict]] = defaultdict(list)
        self.decided: dict[tuple, list[tuple[int, np.ndarray]]] = {}

    def own(self, name: str, factory: Factory, settings: Settings) -> Training[None]:
        """Record a method of one's own at the settings' K and every budget."""
        self.found.counts["stage 1"] += 1
        fitted = yield from self.run.fitting(factory, settings, name)
        headed = isinstance(fitted.method, HeadsMethod)
        if headed:
            self._best_heads(name, fitted.heads)
        for budget in fitted.budgets({*self.grid.budgets, *self.grid.further}):
            if budget:
                self.found.counts["stage 2"] += 1
                yield from fitted.adapting(budget)
            self._accuracy(name, settings.heads, budget, fitted.predict(check=True))
            if headed and budget in (0, self.grid.budget):
                self._redundancy(name, fitted.heads, budget)

    def rows(self, name: str, settings: Settings, own: bool) -> Training[None]:
        """Record one method with its number of heads; `own`: that of the settings."""
        grid, heads = self.grid, settings.heads
        light = name == "random_heads" and not own  # its heads are all that is read
        fitted = yield from self._fit(name, replace(settings, epochs=1, steps=0) if light else settings)
        self._best_heads(name, fitted.heads)
        if name == "micro" and own:
            self._alpha(fitted, settings.alpha)
        budgets = set() if light else {*grid.budgets, *(grid.further if own and name != "random_heads" else ())}
        if name == "micro_plus" and not own:
            budgets &= {0, min(b for b in budgets if b), grid.budget}
        for budget in fitted.budgets(budgets):
            if budget and heads > 1:  # a router over one head has nothing to learn
                self.found.counts["stage 2"] += 1
                yield from fitted.adapting(budget)
            self._accuracy(name, heads, budget, fitted.predict())
            if name != "random_heads" and budget in (0, grid.budget):
                self._redundancy(name, fitted.heads, budget)
        if name == "micro" and own:
            yield from self._variants(fitted)

    def single(self, settings: Settings) -> Training[None]:
        """Record the single reward, and the decisions of the converged one."""
        fitted = yield from self._fit("single", settings)
        self._accuracy("single", 1, 0, fitted.predict())
        exact = yield from self.run.fitting("single_exact", settings)
        self._decide(("routed", "single_exact", 1, 0), metrics.correct(exact.predict()))

    def alpha(self, settings: Settings) -> Training[None]:
        """Record stage 1 under the alpha of the settings."""
        self._alpha((yield from self._fit("micro_stage1", settings)), settings.alpha)

    def _fit(self, name: str, settings: Settings) -> Training[Fitted]:
        self.found.counts["stage 1"] += 1
        return self.run.fitting(name, settings)

    def _decide(self, cell: tuple, right: np.ndarray) -> None:
        self.decided.setdefault(cell, [(self.run.number, right)])

    def _line(self, table: str, **values) -> None:
        self.lines[table].append({"dataset": self.world.name, "run": self.run.number} | values)

    def _accuracy(self, name: str, heads: int, budget: int, p: np.ndarray) -> None:
        self._decide(("routed", name, heads, budget), metrics.correct(p))
        self._by_attribute("accuracy", metrics.correct(p), method=name, heads=heads, budget=budget)

    def _by_attribute(self, table: str, right: np.ndarray, **cell) -> None:
        attribute = self.world.test.attribute
        values = metrics.by_attribute(right, attribute) | {MACRO: metrics.macro_mean(right, attribute)}
        for name, value in values.items():
            self._line(table, **cell, attribute=name, value=value)

    def _best_heads(self, name: str, method: HeadsMethod) -> None:
        held_out, test = method.head_margins(self.world.validation), method.head_margins(self.world.test)
        for selection in SELECTIONS:
            chooses = (test, self.world.test) if selection == SELECTIONS[0] else (held_out, self.world.validation)
            best = _best_heads(test, self.world.test, *chooses)
            self._decide((selection, name, test.shape[1]), best)
            self._by_attribute("best_heads", best, method=name, heads=test.shape[1], selection=selection)

    def _redundancy(self, name: str, method: HeadsMethod, budget: int) -> None:
        """Record which heads repeat others; those of micro_plus may be others after stage 2."""
        held_out, test = method.head_margins(self.world.validation), method.head_margins(self.world.test)
        repeated = redundant_heads(held_out)
        best, kept = (
            _best_heads(test[:, heads], self.world.test, held_out[:, heads], self.world.validation)
            for heads in (np.full(len(repeated), True), ~repeated)
        )
        if repeated.any():  # where no head repeats another, nothing is left out
            self._decide(("kept", name, len(repeated)), kept)
        weight = method.mixture_weights(self.world.test)[:, repeated].sum(axis=1).mean()
        self._line(
            "redundancy",
            method=name,
            heads=len(repeated),
            budget=budget,
            redundant=int(repeated.sum()),
            share_of_heads=float(repeated.mean()),
            share_of_weight=float(weight),
            best_head=metrics.macro_mean(best, self.world.test.attribute),
            best_head_kept=metrics.macro_mean(kept, self.world.test.attribute),
        )

    def _alpha(self, fitted: Fitted, alpha: float) -> None:
        if alpha not in self.grid.alphas:
            return
        _, first = np.unique(self.world.test.prompt_id, return_index=True)
        f = fitted.heads.mixture_weights(self.world.test.select(first))
        values = {
            "entropy": metrics.entropy_share(f),
            "largest_share": f.mean(axis=0).max(),
            "top_weight": f.max(1).mean(),
        }
        for split, pairs in (("validation", self.world.validation), ("test", self.world.test)):
            values |= {f"{split}_{name}": value for name, value in _scores(fitted.predict(pairs), pairs).items()}
        self._line("alpha", alpha=alpha, **values)

    def _variants(self, fitted: Fitted) -> Training[None]:
        """Record tau, switches and refresh rules, all from one stage 1 and one context-labelled sample."""
        budget, own, test = self.grid.budget, self.run.drawn, self.world.test
        method: TwoStage = fitted.method
        wanted: dict[tuple, Training[Fitted]] = {}

        def ask(*cell: Any, seed: int = own, **changes: Any) -> None:
            self.found.counts["stage 2"] += 1
            wanted[cell] = fitted.replaced(method.varied(seed, **changes)).adapting(budget)

        for tau in self.grid.taus:
            ask("tau", tau, tau=tau)
        ask("default")
        for switch, (_, *others) in SWITCHES.items():
            for choice in others if switch != "prediction" else ():  # it reads the default's router
                ask(switch, choice, **{switch: choice})
        for refresh in REFRESH:
            for repeat in range(self.grid.repeats):
                ask("repeat", refresh, repeat, seed=1000 * (own + 1) + repeat, refresh=refresh)
        adapted = dict(zip(wanted, (yield from gather(wanted.values())), strict=True))

        for tau in self.grid.taus:
            spread = metrics.entropy_share(method.first_targets(self.run.contexts(budget), tau))
            self._line("tau", tau=tau, **_scores(adapted["tau", tau].predict(), test), target_entropy=spread)
        default = adapted["default",]
        for switch, choices in SWITCHES.items():
            for choice in choices:
                if switch == "prediction" and choice != choices[0]:
                    p = default.replaced(default.method.varied(prediction=choice)).predict()
                else:
                    p = adapted.get((switch, choice), default).predict()
                self._decide(("switch", switch, choice), metrics.correct(p))
                self._line("switches", switch=switch, choice=choice, **_scores(p, test))
        for refresh in REFRESH:
            for repeat in range(self.grid.repeats):
                p = adapted["repeat", refresh, repeat].predict()
                self._line("refresh", refresh=refresh, repeat=repeat, **_scores(p, test))


def _scores(p: np.ndarray, pairs: Pairs) -> dict[str, float]:
    accuracy = metrics.macro_mean(metrics.correct(p), pairs.attribute)
    return {"accuracy": float(accuracy), "nll": metrics.nll(p)}


def _best_heads(test_margins: np.ndarray, test: Pairs, choosing_margins: np.ndarray, choosing: Pairs) -> np.ndarray:
    """Return how the best head of each attribute by the `choosing` pairs decides the test pairs, (n,)."""
    accuracy = metrics.by_attribute(metrics.decided(choosing_margins), choosing.attribute)
    return metrics.best_head_decisions(metrics.decided(test_margins), test.attribute, accuracy)


def redundant_heads(margins: np.ndarray, threshold: float = REDUNDANT) -> np.ndarray:
    """Return which heads repeat an earlier one, (K,): correlation of margins (n, K) about zero above `threshold`.

    An opposed head repeats nothing.
    """
    return (np.tril(metrics.head_correlations(margins.T), -1) > threshold).any(axis=1)


def joined(sweeps: Iterable[Sweep], table: str) -> pd.DataFrame:
    """Return one table of several sweeps, one below the other."""
    return pd.concat([found.tables[table] for found in sweeps], ignore_index=True)


def routed(found: Sweep) -> pd.DataFrame:
    """Return the mean accuracies of the two-stage rows at every K and budget of figures 4 and 6, a line a run."""
    table = found.tables["accuracy"]
    return table[(table.attribute == MACRO) & (table.method != "single") & table.budget.isin(found.grid.budgets)]


def budget_runs(found: Sweep, worlds: Sequence[World], settings: Settings, seeds: Sequence[int]) -> pd.DataFrame:
    """Return figure 4: the sweep's rows at its own K, and FURTHER, in the columns of `budget_curve`.

    Args:
        worlds, settings, seeds: of the sweep.
    """
    further = budget_curve(worlds, FURTHER, settings, budgets=found.grid.budgets, seeds=seeds)
    own = routed(found)
    return pd.concat([own[own.heads == found.heads], further], ignore_index=True)[list(further)]


def tables(sweeps: Sequence[Sweep]) -> list[dict[str, Any]]:
    """Return the tables of alpha, tau, the refresh rules and the switches as arguments of `Artifacts.table`."""
    entries = []
    for by in ("alpha", "tau"):
        runs = joined(sweeps, by)
        means = runs.groupby(["dataset", by]).mean().drop(columns="run").reset_index()
        caption = f"Sweep over {by}, every run (shown: means over runs)."
        entries.append({"frame": runs, "slug": by, "caption": caption, "display": means, "formats": {by: "g"}})
    refresh = joined(sweeps, "refresh")
    spread = refresh.groupby(["dataset", "refresh", "run"], sort=False)[["accuracy", "nll"]].std()
    entries.append(
        {
            "frame": refresh,
            "slug": "refresh",
            "caption": "Stage 2 repeated in other minibatch orders (shown: standard deviation over orders, "
            "mean over runs).",
            "display": spread.groupby(["dataset", "refresh"], sort=False).mean().reset_index(),
            "formats": {"accuracy": ".4f", "nll": ".5f"},
        }
    )
    caption = f"Open choices at budget {sweeps[0].grid.budget}, against the default, by pair and run. {COVERED}"
    frame = switches_table(sweeps)
    return [entry | {"number": "00"} for entry in (*entries, {"frame": frame, "slug": "switches", "caption": caption})]


def switches_table(sweeps: Iterable[Sweep]) -> pd.DataFrame:
    """Return each switch's accuracy, NLL and difference from the default, paired by pair and run.

    Columns: dataset, switch, choice, accuracy, nll, difference (choice less default), low, high, n_runs.
    """
    lines = []
    for found in sweeps:
        of = found.layout.sample
        nll = found.tables["switches"].groupby(["switch", "choice"])["nll"].mean()
        for switch, choices in SWITCHES.items():
            for choice in choices:
                cell, default = (found.decided["switch", switch, c] for c in (choice, choices[0]))
                gap = of.difference(cell, default)
                lines.append(
                    {"dataset": found.world, "switch": switch, "choice": choice}
                    | {"accuracy": of.mean(cell).estimate, "nll": nll[switch, choice]}
                    | {"difference": gap.estimate, "low": gap.low, "high": gap.high, "n_runs": found.n_runs}
                )
    return pd.DataFrame(lines)


def decisions(sweeps: Iterable[Sweep], seeds: Sequence[int], profile: str) -> pd.DataFrame:
    """Return `Sweep.decided` as `evaluation.decisions` has its rows, a cell a row, its parts separated by blanks."""
    parts = []
    for found in sweeps:
        rows = {" ".join(map(str, cell)): table for cell, table in found.decided.items()}
        parts.append(by_pair(found.world, found.layout.pairs, rows, "right", seeds))
    return stored(parts, profile)
