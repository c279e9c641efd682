"""Run methods on worlds and say how well they predict, with intervals; never chooses anything on test pairs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from micro_paper import intervals, metrics
from micro_paper.errors import InputError
from micro_paper.experiments.runs import NO_OWN, Fitted, Run
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings
from micro_paper.methods.table import Factory, HeadsMethod, find
from micro_paper.metrics import MACRO
from micro_paper.stacked import Training, finish, gather

log = logging.getLogger(__name__)
IDS = ("pair_id", "prompt_id", "attribute")  # of a pair, in every evaluation
SELECTIONS = ("test (oracle)", "validation")  # which pairs choose a head
# what every caption of intervals says of them
COVERED = "Intervals are 95 %, over prompts and runs; what the overlap of training folds adds is not covered."
DECIDED = "How every row decided every test pair, by run."
PER_PAIR = {"accuracy": metrics.correct_by_run, "nll": metrics.pair_nll}


@dataclass(frozen=True)
class HeadRun:
    """The heads of one run on its validation and test pairs.

    Attributes:
        rows: positions of the run's test pairs in the evaluation's pairs.
        test: (n, K) 1 where the head decides the test pair as labelled, 1/2 for a tie.
        validation: attribute -> (K,) accuracy on validation pairs.
        margins: (n, K) margins on the test pairs.
    """

    fold: int
    seed: int
    rows: np.ndarray
    test: np.ndarray
    validation: dict[str, np.ndarray]
    margins: np.ndarray


@dataclass
class Evaluation:
    """Predictions of several methods on the same test pairs.

    Attributes:
        world: name of the data set.
        pairs: pair_id, prompt_id, attribute, fold of each of n test pairs, and user_id where all name users.
        seeds: of the runs.
        probability: method -> P(chosen preferred), (n, number of seeds).
        supervision: method -> what it sees beyond the texts.
        heads: method -> its runs' heads, for methods that have heads.
        chosen: method -> one line a run: fold, seed, and the search of a method that has one.
        own: the methods of one's own among them.
    """

    world: str
    pairs: pd.DataFrame
    seeds: list[int]
    probability: dict[str, np.ndarray] = field(default_factory=dict)
    supervision: dict[str, str] = field(default_factory=dict)
    heads: dict[str, list[HeadRun]] = field(default_factory=dict)
    chosen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    own: tuple[str, ...] = ()


def evaluate(
    worlds: Sequence[World],
    methods: Iterable[str] | Mapping[str, Factory],
    settings: Settings | Mapping[str, Any],
    *,
    seeds: Sequence[int],
    budget: int | None,
    keep_heads: Sequence[str] = (),
    own: Mapping[str, Factory] = NO_OWN,
) -> Evaluation:
    """Fit, adapt and test each method on each fold with each seed, then those of one's own.

    Args:
        worlds: folds of one data set: with disjoint test prompts, or all with the same (official) test pairs, which
            then are further runs on those.
        methods: row names of `methods.METHODS`, or row name -> factory.
        settings: of every method alike.
        seeds: one run each; a seed sets the initial weights, the minibatches and the context-labelled sample.
        budget: context-labelled training pairs an attribute for stage 2; None = stage 1 only, for all methods.
        keep_heads: methods whose single heads are kept for the tables of heads; where there are any, those of `own`
            methods with heads are kept too.
        own: row name -> factory of methods of one's own. With `budget` None only those with heads run: others need not
            predict before they adapt.

    Raises:
        InputError: no fold or seed, folds that share some test prompts, or predictions of an own method that are no
            probabilities.
    """
    factories = dict(methods) if isinstance(methods, Mapping) else {name: find(name) for name in methods}
    headed = [name for name, make in own.items() if isinstance(make(settings, 0), HeadsMethod)]
    rows = {name: make for name, make in own.items() if budget is not None or name in headed}
    result = _evaluate(worlds, factories, settings, seeds, budget, keep_heads)
    if not rows:
        return result
    # after all others, so that nothing that it sets, such as a seed for all of torch, reaches them
    theirs = _evaluate(worlds, rows, settings, seeds, budget, headed if keep_heads else (), check=True)
    return merge(result, replace(theirs, own=tuple(rows)))


def _evaluate(
    worlds: Sequence[World],
    factories: Mapping[str, Factory],
    settings: Settings | Mapping[str, Any],
    seeds: Sequence[int],
    budget: int | None,
    keep_heads: Sequence[str],
    check: bool = False,
) -> Evaluation:
    if not worlds or not seeds:
        raise InputError("evaluation needs at least one fold and one seed")
    layout = Layout.of(worlds, len(seeds))
    pairs = layout.pairs
    result = Evaluation(worlds[0].name, pairs, list(seeds))
    counts = {"row": len(factories), "fold": len(worlds), "seed": len(seeds)}
    said = ", ".join(f"{n} {what}{'s' * (n != 1)}" for what, n in counts.items())
    if factories:
        log.info("%s: %s", worlds[0].name, said)
    for name in factories:
        result.probability[name] = np.empty(layout.shape)
        result.chosen[name] = []
    for number, world in enumerate(worlds):
        runs = [Run(world, seed) for seed in seeds]
        done = finish(gather(_done(run, name, factories[name], settings, budget) for run in runs for name in factories))
        for i, fitted in enumerate(done):
            name, method = fitted.name, fitted.method
            rows, column = layout.place(number * len(seeds) + i // len(factories))
            result.probability[name][rows, column] = fitted.predict(check=check)
            result.supervision[name] = method.supervision
            search = method.search if isinstance(method, HeadsMethod) else ()
            result.chosen[name].append({"fold": world.fold, "seed": fitted.run.seed, "search": list(search)})
            if name in keep_heads:
                result.heads.setdefault(name, []).append(_head_run(fitted, rows))
        world.forget_derived()
    return result


def _done(
    run: Run, name: str, factory: Factory, settings: Settings | Mapping[str, Any], budget: int | None
) -> Training[Fitted]:
    """Fit the method in the run and adapt it to the budget, if any."""
    fitted = yield from run.fitting(factory, settings, name)
    return fitted if budget is None else (yield from fitted.adapting(budget))


def renamed(evaluation: Evaluation, row: str, name: str, supervision: str) -> Evaluation:
    """Return the evaluation with `row` under another name, as a control that sees what `supervision` says."""
    tables = {table: dict(getattr(evaluation, table)) for table in ("probability", "supervision", "chosen")}
    for table in tables.values():
        table[name] = table.pop(row)
    tables["supervision"][name] = supervision
    return replace(evaluation, **tables)


def merge(*evaluations: Evaluation) -> Evaluation:
    """Return one evaluation with the methods of all, which were tested on the same pairs.

    Numbers of runs may differ between methods: headline rows have more than controls.

    Raises:
        InputError: the test pairs differ, or a method occurs twice.
    """
    first = evaluations[0]
    result = Evaluation(first.world, first.pairs, first.seeds)
    for other in evaluations:
        if not other.pairs.equals(first.pairs):
            raise InputError(f"the evaluations of {first.world} and {other.world} have other test pairs")
        if twice := sorted(set(result.probability) & set(other.probability)):
            raise InputError(f"method {twice[0]!r} was evaluated twice")
        result.probability |= other.probability
        result.supervision |= other.supervision
        result.heads |= other.heads
        result.chosen |= other.chosen
        result.own += other.own
    return result


def predictions(evaluations: Iterable[Evaluation], methods: Sequence[str], profile: str) -> pd.DataFrame:
    """Return the probability of every test pair in every run, long, as `Artifacts.predictions` stores it.

    Methods of one's own stand beside `methods`. Columns: profile, dataset, method, fold, seed, pair_id, prompt_id,
    attribute, p. Where all folds test on the same pairs, `seed` counts the runs.
    """
    parts = [
        by_pair(e.world, e.pairs, {m: e.probability[m] for m in (*methods, *e.own)}, "p", e.seeds) for e in evaluations
    ]
    return stored(parts, profile)


def decisions(evaluations: Iterable[Evaluation], profile: str) -> pd.DataFrame:
    """Return how every row decided every test pair in every run, long, as `Artifacts.predictions` stores it.

    The best heads of kept heads are rows too, named by method and what chose them. Columns as of `predictions`, with
    `right` in place of p.
    """
    parts = []
    for e in evaluations:
        rows = {name: metrics.correct_by_run(p) for name, p in e.probability.items()}
        for name, selection in ((m, s) for m in e.heads for s in SELECTIONS):
            rows[f"{name}, best heads by {selection}"] = best_head_values(e, name, selection)
        for name in e.heads:
            chosen = best_head_values(e, name, SELECTIONS[1], one_for_all=True)
            rows[f"{name}, one head by {SELECTIONS[1]}"] = chosen
        parts.append(by_pair(e.world, e.pairs, rows, "right", e.seeds))
    return stored(parts, profile)


def by_pair(
    dataset: str, pairs: pd.DataFrame, rows: Mapping[str, np.ndarray], value: str, seeds: Sequence[int]
) -> pd.DataFrame:
    """Return scores of pairs, row -> (n, runs), long: a line a row, run and pair; one without a score has no line."""
    parts = []
    for name, table in rows.items():
        numbers = list(seeds if table.shape[1] <= len(seeds) else range(table.shape[1]))[: table.shape[1]]
        part = pd.concat([pairs] * table.shape[1], ignore_index=True)
        line = {"dataset": dataset, "method": name, "seed": np.repeat(numbers, len(pairs)), value: table.T.ravel()}
        parts.append(part.assign(**line).dropna(subset=[value]))
    return pd.concat(parts, ignore_index=True)


def stored(parts: Sequence[pd.DataFrame], profile: str) -> pd.DataFrame:
    """Return the frames of `by_pair` as one, in the columns that are stored."""
    frame = pd.concat(parts, ignore_index=True).assign(profile=profile)
    frame = frame.astype(dict.fromkeys(["profile", "dataset", "method", *IDS], "category"))
    value = "p" if "p" in frame else "right"
    return frame[["profile", "dataset", "method", "fold", "seed", *IDS, value]]


@dataclass(frozen=True)
class Layout:
    """Where the runs of folds stand in one table of test pairs and runs; runs are counted fold by fold.

    Attributes:
        pairs: the columns of `Evaluation.pairs`.
        shape: test pairs, and runs of each: seeds, or where all folds test on the same pairs folds x seeds.
        sizes: test pairs of each fold.
        seeds: number of seeds.
    """

    pairs: pd.DataFrame
    shape: tuple[int, int]
    sizes: tuple[int, ...]
    seeds: int

    @classmethod
    def of(cls, worlds: Sequence[World], seeds: int) -> Layout:
        """Return the layout of every fold with that many seeds.

        Raises:
            InputError: the folds share some test prompts, or an attribute has a single one in a fold.
        """
        shared = _check_tests(worlds)
        ids = [*IDS, *(["user_id"] if all(w.test.user_id is not None for w in worlds) else [])]
        tested = worlds[:1] if shared else worlds
        parts = [pd.DataFrame({c: getattr(w.test, c) for c in ids}).assign(fold=w.fold) for w in tested]
        pairs = pd.concat(parts, ignore_index=True)
        columns = seeds * (len(worlds) if shared else 1)
        return cls(pairs, (len(pairs), columns), tuple(len(w.test) for w in worlds), seeds)

    def place(self, run: int) -> tuple[np.ndarray, int]:
        """Return rows and column of a run."""
        fold, seed = divmod(run, self.seeds)
        if self.shape[1] > self.seeds:
            return np.arange(self.shape[0]), run
        start = sum(self.sizes[:fold])
        return np.arange(start, start + self.sizes[fold]), seed

    def table(self, runs: Mapping[int, np.ndarray]) -> np.ndarray:
        """Return scores by run, number of the run -> (n of its fold,), as one table of `shape`; nan elsewhere."""
        values = np.full(self.shape, np.nan)
        for run, scores in runs.items():
            rows, column = self.place(run)
            values[rows, column] = scores
        return values

    @property
    def sample(self) -> intervals.Sample:
        """The test pairs as a sample of prompts, in folds that each have runs of their own."""
        return sample(self.pairs)


def layout_of(fitted: Sequence[Fitted]) -> Layout:
    """Return the layout of one row's runs, as `runs.fit_runs` gives them: every fold with every seed."""
    worlds = list({f.world.fold: f.world for f in fitted}.values())
    return Layout.of(worlds, len(fitted) // len(worlds))


def _head_run(fitted: Fitted, rows: np.ndarray) -> HeadRun:
    world, margins = fitted.world, fitted.heads.head_margins(fitted.world.test)
    held_out = metrics.decided(fitted.heads.head_margins(world.validation))
    validation = metrics.by_attribute(held_out, world.validation.attribute)
    return HeadRun(world.fold, fitted.run.seed, rows, metrics.decided(margins), validation, margins)


def _check_tests(worlds: Sequence[World]) -> bool:
    """Return whether all folds test on the same pairs; refuse what no interval can be given for."""
    for world in worlds:
        for name in metrics.attribute_names(world.test.attribute):
            if len(set(world.test.prompt_id[world.test.attribute == name])) < 2:
                raise InputError(
                    f"attribute {name!r} has a single test prompt in fold {world.fold} of {world.name}: "
                    "an interval over prompts needs two"
                )
    prompts = [set(world.test.prompt_id) for world in worlds]
    if len(worlds) > 1 and all(p == prompts[0] for p in prompts):
        if any(not np.array_equal(w.test.pair_id, worlds[0].test.pair_id) for w in worlds):
            raise InputError(f"the folds of {worlds[0].name} have the same test prompts but other pairs")
        return True
    if sum(map(len, prompts)) != len(set().union(*prompts)):
        raise InputError(f"the folds of {worlds[0].name} share some test prompts: give disjoint or identical tests")
    return False


def sample(pairs: pd.DataFrame) -> intervals.Sample:
    """Return the pairs of an evaluation as a sample of prompts, in folds that each have runs of their own."""
    return intervals.Sample(*(pairs[c].to_numpy() for c in ("prompt_id", "attribute", "fold")))


def fits(evaluation: Evaluation, *methods: str) -> int:
    """Return the fits (folds x seeds) behind each of the methods, the fewest."""
    seeds = min(evaluation.probability[m].shape[1] for m in methods)
    return seeds * evaluation.pairs["fold"].nunique()


def scores(evaluation: Evaluation) -> pd.DataFrame:
    """Return accuracy, NLL and ECE of each method, by attribute and on average.

    Columns: dataset, method, supervision, attribute, metric, value, low, high, std, n_pairs, n_prompts, n_runs.
    Accuracy and NLL carry 95 % intervals over prompts and runs (`intervals.Sample.mean`); with `n_runs` = 1 they are
    over prompts alone. `std` is the standard deviation over seeds. The average is the mean of the attribute rows.
    """
    lines = []
    attribute = evaluation.pairs["attribute"].to_numpy()
    prompt = evaluation.pairs["prompt_id"].to_numpy()
    names = sorted(set(attribute))
    of = sample(evaluation.pairs)
    count = {a: {"n_pairs": len(attribute[rows]), "n_prompts": len(set(prompt[rows]))} for a, rows in _rows(attribute)}
    for method, p in evaluation.probability.items():
        base = {
            "dataset": evaluation.world,
            "method": method,
            "supervision": evaluation.supervision[method],
        }
        for metric, score in PER_PAIR.items():
            values = score(p)
            by_seed = np.stack([values[attribute == a].mean(axis=0) for a in names])
            spread = dict(zip(names, _std(by_seed), strict=True)) | {MACRO: _std(by_seed.mean(axis=0))}
            for a in (*names, MACRO):
                found = of.mean(values, None if a == MACRO else a)
                line = {"attribute": a, "metric": metric, "value": found.estimate, "low": found.low}
                line |= {"high": found.high, "std": spread[a]} | count[a]
                lines.append(base | line | {"n_runs": found.n_runs})
        ece = np.array([[metrics.ece(p[attribute == a, s]) for a in names] for s in range(p.shape[1])])
        for a, by_seed in [*zip(names, ece.T, strict=True), (MACRO, ece.mean(axis=1))]:
            line = {"attribute": a, "metric": "ece", "value": by_seed.mean(), "low": np.nan, "high": np.nan}
            lines.append(base | line | {"std": _std(by_seed)} | count[a] | {"n_runs": p.shape[1]})
    return pd.DataFrame(lines)


def worst_attribute(table: pd.DataFrame) -> pd.DataFrame:
    """Return the line of each data set and method with the least accuracy among the attributes, from `scores`.

    Which attribute that is was chosen by the same pairs, so the value is a little too low.
    """
    single = table[(table.metric == "accuracy") & (table.attribute != MACRO)]
    order = single.groupby(["dataset", "method"], sort=False)["value"].idxmin()
    return single.loc[order].reset_index(drop=True)


def _rows(attribute: np.ndarray) -> list[tuple[str, Any]]:
    """Return each attribute of the pairs with its rows, sorted, and last the average with all."""
    return [*((a, attribute == a) for a in sorted(set(attribute))), (MACRO, slice(None))]


def _std(values: np.ndarray):
    return values.std(axis=-1, ddof=1) if values.shape[-1] > 1 else np.zeros(values.shape[:-1])[()]


def differences(evaluation: Evaluation, reference: str = "micro") -> pd.DataFrame:
    """Return accuracy of `reference` less that of each other method, paired by pair and run.

    Columns: dataset, reference, method, attribute, difference, low, high, free (degrees of freedom), p_value, p_holm
    (adjusted over the attributes of one method; the average stands alone), n_prompts, n_runs (the fewer of both; with
    1 the interval is over prompts alone).
    """
    right = {m: metrics.correct_by_run(p) for m, p in evaluation.probability.items()}
    if reference not in right:
        raise InputError(f"reference {reference!r} was not evaluated; there are {', '.join(right)}")
    of, lines = sample(evaluation.pairs), []
    for method, own in right.items():
        if method == reference:
            continue
        found = {a: of.difference(right[reference], own, a) for a in of.names}
        adjusted = dict(zip(found, intervals.holm([each.p_value for each in found.values()]), strict=True))
        found[MACRO] = of.difference(right[reference], own)
        base = {"dataset": evaluation.world, "reference": reference, "method": method}
        for a, each in found.items():
            lines.append(base | {"attribute": a} | gap(each, adjusted.get(a, each.p_value)))
    return pd.DataFrame(lines)


def gap(found: intervals.Interval, p_holm: float) -> dict[str, Any]:
    """Return the cells of a paired difference: difference, low, high, free, p_value, p_holm, n_prompts, n_runs."""
    cells = {"difference": found.estimate, "low": found.low, "high": found.high, "free": found.free}
    cells |= {"p_value": found.p_value, "p_holm": p_holm}
    return cells | {"n_prompts": int(found.n_groups), "n_runs": found.n_runs}


def best_heads(evaluation: Evaluation) -> pd.DataFrame:
    """Return the accuracy of the best head of each attribute, chosen on test pairs (oracle) and on validation.

    The oracle grows with the number of heads by chance alone: compare it with the random heads' oracle.
    Columns: dataset, method, selection, attribute, value, low, high, n_heads.
    """
    of, lines = sample(evaluation.pairs), []
    for method in evaluation.heads:
        for selection in SELECTIONS:
            values = best_head_values(evaluation, method, selection)
            for a in (*of.names, MACRO):
                found = of.mean(values, None if a == MACRO else a)
                lines.append(
                    {"dataset": evaluation.world, "method": method, "selection": selection, "attribute": a}
                    | {"value": found.estimate, "low": found.low, "high": found.high}
                    | {"n_heads": evaluation.heads[method][0].test.shape[1]}
                )
    return pd.DataFrame(lines)


def best_head_values(evaluation: Evaluation, method: str, selection: str, *, one_for_all: bool = False) -> np.ndarray:
    """Return whether the best head of its attribute decides each test pair as labelled in each run, (n, runs).

    Args:
        selection: "test (oracle)" or "validation": the pairs that choose the head.
        one_for_all: the one head that is best on the average of the attributes, in place of one an attribute.
    """
    attribute = evaluation.pairs["attribute"].to_numpy()
    values = np.empty(evaluation.probability[method].shape)
    for i, run in enumerate(evaluation.heads[method]):
        own = attribute[run.rows]
        accuracy = metrics.by_attribute(run.test, own) if selection == SELECTIONS[0] else run.validation
        column = i % values.shape[1]  # runs lie fold by fold, the columns of one fold seed by seed
        values[run.rows, column] = metrics.best_head_decisions(run.test, own, accuracy, one_for_all=one_for_all)
    return values


def head_table(evaluation: Evaluation, method: str) -> pd.DataFrame:
    """Return every head's accuracy on every attribute, heads of all runs matched to the first run's.

    Runs of one fold are matched by their margins on the same test pairs (Hungarian, signed); the table shows the
    first fold. Columns: dataset, method, head (1 .. K), attribute, value, std, n_runs, stability (mean correlation of
    the head's margins with its partners').
    """
    runs = [run for run in evaluation.heads[method] if run.fold == evaluation.heads[method][0].fold]
    first = runs[0]
    attribute = evaluation.pairs["attribute"].to_numpy()[first.rows]
    count = first.test.shape[1]
    aligned, correlation = [first.test], []
    for run in runs[1:]:
        match = metrics.match_heads(first.margins.T, run.margins.T, signed=True)
        aligned.append(run.test[:, match.second[np.argsort(match.first)]])
        correlation.append(match.correlation[np.argsort(match.first)])
    stability = np.mean(correlation, axis=0) if correlation else np.full(count, np.nan)
    lines = []
    for a in [*sorted(set(attribute)), MACRO]:
        if a == MACRO:
            names = sorted(set(attribute))
            values = np.mean([[t[attribute == b].mean(axis=0) for t in aligned] for b in names], axis=0)
        else:
            values = np.stack([t[attribute == a].mean(axis=0) for t in aligned])
        for k in range(count):
            lines.append(
                {"dataset": evaluation.world, "method": method, "head": k + 1, "attribute": a}
                | {"value": values[:, k].mean(), "std": _std(values[:, k]), "n_runs": len(runs)}
                | {"stability": stability[k]}
            )
    return pd.DataFrame(lines)
