"""The one engine: one method in one run, which is a fold of a world and a seed.

Every table, curve, sweep, audit and benchmark fits, adapts and predicts here; what is fitted and adapted side by side
(`stacked.gather`) is trained together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np

from micro_paper.errors import InputError
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings
from micro_paper.methods.table import Factory, HeadsMethod, Method, find
from micro_paper.methods.together import adapting, fitting
from micro_paper.pairs import Pairs
from micro_paper.stacked import Once, Training, finish, gather

log = logging.getLogger(__name__)
APART = 1000  # seeds between the draws of two folds
NO_OWN: Mapping[str, Factory] = MappingProxyType({})  # rows of one's own, `methods.own.OwnMethods.rows`, where none are


class Run:
    """One fold with one seed: what its methods have in common.

    Methods with an equal `stage1_key` (class and settings) share one stage 1 within a run; others share nothing.

    Args:
        world: the fold.
        seed: of initial weights, minibatches and the context-labelled sample, which are drawn anew in every fold: the
            intervals take runs of one seed for independent.
        number: of the run.

    Attributes:
        drawn: the seed of these draws; in fold 0 `seed` itself.
    """

    def __init__(self, world: World, seed: int, number: int = 0) -> None:
        self.world, self.seed, self.number = world, seed, number
        self.drawn = seed + APART * world.fold
        self._stage1 = Once()
        self._contexts: dict[int | str, Pairs] = {}

    def fit(self, row: str | Factory, settings: Settings | Mapping[str, Any], name: str = "") -> Fitted:
        """Return the row's method after stage 1.

        Args:
            row: a row name of `methods.METHODS`, or a factory.
            settings: of the method.
            name: of the row, where `row` is a factory.
        """
        return finish(self.fitting(row, settings, name))

    def fitting(self, row: str | Factory, settings: Settings | Mapping[str, Any], name: str = "") -> Training[Fitted]:
        """Do what `fit` does, side by side with others."""
        method = (find(row) if isinstance(row, str) else row)(settings, self.drawn)
        key = method.stage1_key() if isinstance(method, HeadsMethod) else None

        def made() -> Training[Method]:
            yield from fitting(method, self.world.train, self.world.validation)
            return method

        if key is None:
            yield from made()
        elif (first := (yield from self._stage1.get(key, made))) is not method:
            method.share_stage1(first)
        return Fitted(name or (row if isinstance(row, str) else ""), self, method)

    def contexts(self, budget: int | str) -> Pairs:
        """Return the context-labelled pairs of stage 2, the same for every method of the run; see `World.contexts`."""
        if budget not in self._contexts:
            self._contexts[budget] = self.world.contexts(budget, self.drawn)
        return self._contexts[budget]


class Fitted:
    """A fitted method in its run.

    Attributes:
        name: of the row.
        run: fold and seed.
        method: the method.
    """

    def __init__(self, name: str, run: Run, method: Method) -> None:
        self.name, self.run, self.method = name, run, method

    @property
    def world(self) -> World:
        """The fold."""
        return self.run.world

    @property
    def heads(self) -> HeadsMethod:
        """The method, where it has heads.

        Raises:
            InputError: it has none.
        """
        if not isinstance(self.method, HeadsMethod):
            raise InputError(f"the row {self.name!r} has no heads: leave it out here")
        return self.method

    @property
    def predicts_alone(self) -> bool:
        """Whether the method predicts before stage 2; without a stage 1 there is nothing to predict by."""
        return isinstance(self.method, HeadsMethod)

    def adapt(self, budget: int | str) -> Fitted:
        """Run stage 2 on the run's context-labelled pairs and return this; what it leaves open, validation chooses."""
        return finish(self.adapting(budget))

    def adapting(self, budget: int | str) -> Training[Fitted]:
        """Do what `adapt` does, side by side with others."""
        yield from adapting(self.method, self.run.contexts(budget), self.world.context_validation)
        return self

    def budgets(self, wanted: Iterable[int]) -> list[int]:
        """Return the budgets in rising order; 0, stage 1 alone, where the method has one."""
        return [budget for budget in sorted(set(wanted)) if budget or self.predicts_alone]

    def predict(self, pairs: Pairs | None = None, *, check: bool = False) -> np.ndarray:
        """Return P(chosen preferred), (n,), of `pairs`; None = the test pairs.

        Args:
            check: see that it is one, as a method of one's own might get it wrong.

        Raises:
            InputError: with `check`, values that are no probabilities, or that depend on which response stands first.
        """
        pairs = self.world.test if pairs is None else pairs
        p = self.method.predict_proba(pairs)
        if check:
            p = self._checked(p, len(pairs))
            uneven = np.abs(p + self._checked(self.method.predict_proba(pairs.flip()), len(pairs)) - 1)
            if uneven.max() > 1e-3:
                found = f"they differ from it by up to {uneven.max():.2g}"
                fix = "predict from what is antisymmetric in the two, such as pairs.difference"
                raise InputError(f"the row {self.name!r}: p(a, b) + p(b, a) must be 1, {found}: {fix}")
        return p

    def _checked(self, p: Any, n: int) -> np.ndarray:
        try:
            values = np.asarray(p, dtype=np.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"the row {self.name!r}: predict_proba gave no array of numbers: {error}") from None
        if values.shape != (n,) or not ((values >= 0) & (values <= 1)).all():
            found = f"shape {values.shape}" if values.shape != (n,) else "a value that is none"
            raise InputError(
                f"the row {self.name!r}: predict_proba must give {n} probabilities, ({n},), it gave {found}"
            )
        return values

    def replaced(self, method: Method) -> Fitted:
        """Return the same row and run with another method, such as one with changed heads."""
        return Fitted(self.name, self.run, method)


def crossed_runs(worlds: Sequence[World], seeds: Sequence[int]) -> list[Run]:
    """Return a run of every fold with every seed, fold by fold: only seeds within a fold show what a seed changes.

    Raises:
        InputError: no fold or no seed.
    """
    if not worlds or not len(seeds):
        raise InputError("runs need at least one fold and one seed")
    return [Run(world, seed, i) for i, (world, seed) in enumerate(product(worlds, seeds))]


def fit_runs(
    worlds: Sequence[World],
    methods: Iterable[str],
    settings: Settings | Mapping[str, Any],
    *,
    seeds: Sequence[int],
    budget: int | str,
    own: Mapping[str, Factory] = NO_OWN,
) -> list[Fitted]:
    """Fit and adapt methods and `own` ones, every fold with every seed (`crossed_runs`); they serve several audits."""
    runs = crossed_runs(worlds, seeds)
    rows = {name: find(name) for name in methods} | dict(own)
    log.info("%s: %d rows, %d runs", worlds[0].name, len(rows), len(runs))

    def done(run: Run, name: str) -> Training[Fitted]:
        fitted = yield from run.fitting(rows[name], settings, name)
        return (yield from fitted.adapting(budget))

    fitted = finish(gather(done(run, name) for name in rows for run in runs))
    for one in fitted:
        if one.name in own:
            one.predict(check=True)
    return fitted
