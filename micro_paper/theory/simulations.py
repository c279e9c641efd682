"""Random populations and how the error of a single reward moves with what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from micro_paper.errors import InputError, suggest
from micro_paper.intervals import t_reach
from micro_paper.theory.bounds import bound_chain
from micro_paper.theory.population import Population
from micro_paper.theory.split import ErrorDecomposition, InformationBudget, information_budget

PAIRINGS = ("exchangeable", "two policies", "uniform", "disjoint")
SWEEPS = ("diversity", "n_groups", "separation", "n_responses")


def pair_weights(pairing: str, n_prompts: int, n_responses: int, rng: np.random.Generator) -> np.ndarray:
    """How pairs are drawn, (X, N, N).

    exchangeable: both responses from one policy (the paper's assumption), so a response may meet itself.
    two policies: the first response from one policy, the second from another.
    uniform: every pair of different responses alike. disjoint: responses 0 and 1, 2 and 3, ... only.
    """
    x, n = n_prompts, n_responses
    if pairing not in PAIRINGS:
        raise InputError(f"pairing must be one of {', '.join(PAIRINGS)}, got {pairing!r}.{suggest(pairing, PAIRINGS)}")
    if pairing in ("exchangeable", "two policies"):
        first = rng.dirichlet(np.ones(n), x)
        second = first if pairing == "exchangeable" else rng.dirichlet(np.ones(n), x)
        return first[:, :, None] * second[:, None, :]
    weights = np.zeros((n, n))
    if pairing == "uniform":
        weights[~np.eye(n, dtype=bool)] = 1
    else:
        weights[np.arange(0, n - 1, 2), np.arange(1, n, 2)] = 1
    return np.broadcast_to(weights / weights.sum(), (x, n, n)).copy()


def random_population(
    rng: np.random.Generator,
    *,
    n_prompts: int = 40,
    n_groups: int = 3,
    n_responses: int = 6,
    separation: float = 1.0,
    diversity: float = 1.0,
    pairing: str = "exchangeable",
) -> Population:
    """Draw groups that share a taste and deviate from it.

    Args:
        rng: source of all randomness.
        n_prompts, n_groups, n_responses: X, K, N (N >= 2).
        separation: standard deviation of a group's own reward around the shared one (whose deviation is 1).
        diversity: rho K in [0, 1]; one group a prompt, drawn at random, has 1 - (K - 1) rho, all others rho.
        pairing: how pairs are drawn, see `pair_weights`.
    """
    if not 0 <= diversity <= 1:
        raise InputError(f"diversity must be in [0, 1], got {diversity}")
    shared = rng.normal(size=(n_prompts, 1, n_responses))
    own = rng.normal(size=(n_prompts, n_groups, n_responses))
    rho = diversity / n_groups
    weights = np.full((n_prompts, n_groups), rho)
    weights[np.arange(n_prompts), rng.integers(n_groups, size=n_prompts)] += 1 - diversity
    return Population(shared + separation * own, weights, pair_weights(pairing, n_prompts, n_responses, rng))


def default_instance(rng: np.random.Generator, pairing: str = "exchangeable") -> Population:
    """The notebook's instance: 40 prompts, 3 even groups, 6 responses, separation 1.5."""
    return random_population(rng, separation=1.5, pairing=pairing)


def condorcet(strength: float, cyclic: bool = True) -> Population:
    """Three even groups with a > b > c, b > c > a and c > a > b, `strength` between neighbours; one prompt.

    All three pairs are shown where `cyclic`, so the majority goes round in a circle; else only the pair a, b, whose
    log-odds any single reward can fit.
    """
    rewards = strength * np.array([[2.0, 1, 0], [0, 2, 1], [1, 0, 2]])
    weights = 1 - np.eye(3) if cyclic else np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]])
    return Population(rewards[None], np.full((1, 3), 1 / 3), (weights / weights.sum())[None])


def sweep(variable: str, values: list, rng: np.random.Generator, n_repeats: int, **fixed) -> pd.DataFrame:
    """Compute every bound on random populations while one thing varies.

    Every value sees the same `n_repeats` random streams, so that neighbouring values are paired.

    Args:
        variable: `diversity` (rho K), `n_groups`, `separation` or `n_responses`.
        values: what it takes.
        fixed: other arguments of `random_population`.

    Returns:
        One row a value, repeat and quantity: variable, value, repeat, quantity, nats.
    """
    if variable not in SWEEPS:
        raise InputError(f"variable must be one of {', '.join(SWEEPS)}, got {variable!r}.{suggest(variable, SWEEPS)}")
    seeds = rng.integers(2**62, size=n_repeats)
    rows = []
    for value in values:
        for repeat, seed in enumerate(seeds):
            population = random_population(np.random.default_rng(seed), **{**fixed, variable: value})
            chain = asdict(bound_chain(population))
            chain["misspecification"] = chain["irreducible"] - chain["group_information"]
            rows += [
                {"variable": variable, "value": value, "repeat": repeat, "quantity": name, "nats": number}
                for name, number in chain.items()
            ]
    return pd.DataFrame(rows)


def sweep_all(rng: np.random.Generator, n_repeats: int) -> pd.DataFrame:
    """`sweep` over diversity, groups, separation and responses, from the default instance's setting."""
    grid = {
        "diversity": [0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
        "n_groups": [1, 2, 3, 5, 8, 12],
        "separation": [0.0, 0.5, 1.0, 2.0, 4.0],
        "n_responses": [2, 3, 4, 8, 16],
    }
    fixed = {"separation": 1.5}
    frames = [
        sweep(name, values, rng, n_repeats, **{k: v for k, v in fixed.items() if k != name})
        for name, values in grid.items()
    ]
    return pd.concat(frames, ignore_index=True)


def summarise(frame: pd.DataFrame, by: list[str], value: str, level: float = 0.95) -> pd.DataFrame:
    """Mean of `value` over repeats with Student's t interval: columns `by`, mean, low, high, repeats."""
    grouped = frame.groupby(by, sort=False)[value]
    table = grouped.agg(mean="mean", std="std", repeats="size").reset_index()
    half = t_reach(table["std"], table["repeats"], level)
    table["low"], table["high"] = table["mean"] - half, table["mean"] + half
    return table[[*by, "mean", "low", "high", "repeats"]]


def bounds_table(seed: int, pairings: tuple[str, ...] = PAIRINGS) -> pd.DataFrame:
    """Every bound of the default instance, a way to draw the pairs: pairing, quantity, nats."""
    rows = []
    for pairing in pairings:
        chain = asdict(bound_chain(default_instance(np.random.default_rng(seed), pairing)))
        rows += [{"pairing": pairing, "quantity": name, "nats": value} for name, value in chain.items()]
    return pd.DataFrame(rows)


REMOVED = {  # by whom -> which part of the information budget
    "any mixture": "by_prompt_mixture",
    "a context right in 4 of 5": "by_context",
    "nothing observed": "remaining",
}


def split_table(parts: ErrorDecomposition) -> pd.DataFrame:
    """The error of the best single reward and its three parts: term, nats."""
    terms = ["cross_entropy", "conditional_entropy", "group_information", "misspecification"]
    return pd.DataFrame({"term": terms, "nats": [getattr(parts, term) for term in terms]})


def told_budget(population: Population) -> InformationBudget:
    """Return the budget where each of three even contexts names a group of three and is right in four of five."""
    x = len(population.rewards)
    told = 0.7 * np.eye(3) + 0.1  # P(group | context)
    even = np.full((x, 3), 1 / 3)
    return information_budget(population.rewards, even, np.tile(told, (x, 1, 1)), population.pair_weights)


def budget_table(budgets: Mapping[str, InformationBudget]) -> pd.DataFrame:
    """Who removes which part of a single reward's error: case, removed_by, nats; a line a case and part."""
    return pd.DataFrame(
        {"case": case, "removed_by": by, "nats": getattr(budget, part)}
        for case, budget in budgets.items()
        for by, part in REMOVED.items()
    )
