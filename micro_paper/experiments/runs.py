"""One method in one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from micro_paper.errors import InputError
from micro_paper.experiments.worlds import World, largest_budget
from micro_paper.methods import make
from micro_paper.methods.settings import Settings


@dataclass(frozen=True)
class Fitted:
    """A method after both stages, with the run that made it; `run` i has fold i (cyclic) and seed i."""

    name: str
    run: int
    seed: int
    world: World
    method: Any


def fit_runs(
    worlds: Sequence[World],
    methods: Iterable[str],
    settings: Settings | Mapping[str, Any],
    *,
    seeds: Sequence[int],
    budget: int,
) -> list[Fitted]:
    """Fit and adapt methods, one run a seed; few fits serve several audits."""
    if not worlds or not len(seeds):
        raise InputError("an audit needs at least one fold and one seed")
    fitted = []
    for name in methods:
        for i, seed in enumerate(seeds):
            world = worlds[i % len(worlds)]
            method = make(name, settings, seed).fit(world.train, world.validation)
            method.adapt(world.contexts(min(budget, largest_budget(world.train)), seed))
            fitted.append(Fitted(name, i, seed, world, method))
    return fitted
