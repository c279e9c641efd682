"""What each choice of `micro_plus` brings: alone over the paper's settings, and taken away from all."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from micro_paper import metrics
from micro_paper.errors import InputError, suggest
from micro_paper.methods import make
from micro_paper.micro_plus import CHOICES, MicroPlus
from micro_paper.pairs import Pairs
from micro_paper.search import Choice
from micro_paper.settings import Settings
from micro_paper.worlds import World

NAMES = ("router", "added", "objective", "input", "stage1")
NO_STAGE1 = "- heads of stage 1"
COLUMNS = {
    "dataset": "data set",
    "variant": "micro: the paper's options; + one choice searched over micro; - one choice left out of micro_plus",
    "value": "accuracy on test pairs, mean over attributes and runs",
    "low": "lower end of its 95 % interval, over prompts",
    "high": "upper end of its 95 % interval, over prompts",
    "reference": "row that it is compared with",
    "difference": "value less the reference's, paired",
    "difference_low": "lower end of its 95 % interval",
    "difference_high": "upper end of its 95 % interval",
    "p_value": "two-sided, of no difference",
    "nll": "mean negative log-likelihood of test pairs, nats",
    "trials": "settings scored on validation pairs in each run",
    "n_prompts": "test prompts",
    "n_runs": "runs (each with its own fold and seed)",
}
TRIAL_COLUMNS = {
    "dataset": "data set",
    "variant": "row of the ablation",
    "fold": "of the run",
    "seed": "of the run",
    "choice": "what is chosen",
    "option": "what was tried",
    "nll": "negative log-likelihood of validation pairs, nats",
    "chosen": "whether it was kept",
}


@dataclass(frozen=True)
class Ablation:
    """The table of variants (COLUMNS) and every trial behind it (TRIAL_COLUMNS)."""

    table: pd.DataFrame
    trials: pd.DataFrame


def variants(names: Sequence[str] = NAMES) -> dict[str, tuple[Choice, ...]]:
    """Return what each variant searches: micro, "+ name", micro_plus, "- name", and criteria heads alone.

    Raises:
        InputError: a name is no choice.
    """
    known = {c.name: c for c in CHOICES}
    for name in names:
        if name not in known:
            raise InputError(f"unknown choice {name!r}.{suggest(name, known)} Known: {', '.join(known)}")
    found: dict[str, tuple[Choice, ...]] = {"micro": ()}
    found |= {f"+ {name}": (replace(known[name], start=0),) for name in names}
    found["micro_plus"] = CHOICES
    found |= {f"- {name}": _fixed(name, known[name].options[0]) for name in names}
    # All weight on the head of the criterion: the few-shot control within the same search.
    found[NO_STAGE1] = _fixed("share", 1.0)
    return found


def _fixed(name: str, option: Any) -> tuple[Choice, ...]:
    return tuple(replace(c, options=(option,), start=0) if c.name == name else c for c in CHOICES)


def ablation(
    worlds: Sequence[World],
    settings: Settings | Mapping[str, Any],
    seeds: Sequence[int],
    budget: int,
    *,
    names: Sequence[str] = NAMES,
    controls: Sequence[str] = ("criterion_fewshot",),
    seed: int = 0,
    n_bootstrap: int = 10_000,
) -> Ablation:
    """Fit every variant in each run and compare: "+" rows and micro_plus with micro, all others with micro_plus.

    The variants of a run share their stage 1. Run i uses fold i modulo the number of folds, and seeds[i].

    Args:
        budget: context-labelled pairs an attribute.
        names: choices that are switched.
        controls: further rows of `methods.METHODS`, compared with micro_plus.
        seed: of the bootstrap.
    """
    if not worlds or not seeds:
        raise InputError("the ablation needs at least one fold and one seed")
    searched = variants(names)
    scored: dict[str, list[pd.DataFrame]] = {name: [] for name in (*searched, *controls)}
    trials: list[dict[str, Any]] = []
    counts: dict[str, int] = {}
    for i, run_seed in enumerate(seeds):
        world = worlds[i % len(worlds)]
        labelled = world.contexts(budget, run_seed)
        fitted = MicroPlus(settings, run_seed).fit(world.train, world.validation)
        for name in scored:
            if name in searched:
                method = copy.copy(fitted).restrict(searched[name])
            else:
                method = make(name, settings, run_seed).fit(world.train, world.validation)
            if world.context_validation is not None:
                method.stage2_validation = world.context_validation
            method.adapt(labelled)
            scored[name].append(_scored(method.predict_proba(world.test), world.test))
            log = getattr(method, "log", ())
            counts[name] = len(log) - len({t.name for t in log}) + 1 if log else 0
            where = {"dataset": world.name, "variant": name, "fold": world.fold, "seed": run_seed}
            trials += [
                where | {"choice": t.name, "option": str(t.option), "nll": t.nll, "chosen": t.chosen} for t in log
            ]
    mean = {name: pd.concat(runs).groupby(level=[0, 1, 2]).mean() for name, runs in scored.items()}
    lines = []
    for name, own in mean.items():
        reference = {"micro": "", "micro_plus": "micro"}.get(name, "micro" if name.startswith("+") else "micro_plus")
        line = {"dataset": worlds[0].name, "variant": name}
        line |= _intervals(own, mean.get(reference), np.random.default_rng(seed), n_bootstrap) | {
            "reference": reference
        }
        line |= {"nll": own["nll"].mean(), "trials": counts[name], "n_runs": len(seeds)}
        lines.append(line)
    return Ablation(pd.DataFrame(lines, columns=list(COLUMNS)), pd.DataFrame(trials, columns=list(TRIAL_COLUMNS)))


def _scored(p: np.ndarray, pairs: Pairs) -> pd.DataFrame:
    where = pd.MultiIndex.from_arrays([pairs.prompt_id, pairs.pair_id, pairs.attribute])
    return pd.DataFrame({"correct": metrics.correct(p), "nll": -np.log(np.maximum(p, 1e-300))}, index=where)


def _intervals(
    own: pd.DataFrame, reference: pd.DataFrame | None, rng: np.random.Generator, n: int
) -> dict[str, float | int]:
    prompt, attribute = (own.index.get_level_values(level).to_numpy() for level in (0, 2))
    found = metrics.bootstrap_macro(own["correct"], prompt, attribute, rng=rng, n=n)
    line = {"value": found.estimate, "low": found.low, "high": found.high, "n_prompts": found.n_groups}
    if reference is None:
        return line
    gap = metrics.paired_bootstrap_macro(own["correct"], reference["correct"], prompt, attribute, rng=rng, n=n)
    line |= {"difference": gap.estimate, "difference_low": gap.low, "difference_high": gap.high}
    return line | {"p_value": gap.p_value}
