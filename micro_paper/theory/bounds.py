"""From the paper's bound to the truth in proved steps, and from above: a sandwich around the irreducible error.

As for the split, the pair A that is shown is independent of the group Z given the prompt X.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from micro_paper.theory.population import Population
from micro_paper.theory.solver import additive_fit, best_reward
from micro_paper.theory.split import split


@dataclass(frozen=True)
class BoundChain:
    """Bounds of a population's group information and irreducible error, in nats, smallest first.

    paper <= averaged <= pointwise <= refined <= group_information <= information_upper, and
    group_information <= irreducible <= irreducible_upper.

    Attributes:
        paper: 2 rho K E_x Var_k[E_pairs sigmoid(s_k)], Var with weights 1/K (Theorem 3.2).
        averaged: 2 E_x Var_{z|x}[E_pairs sigmoid(s_k)]: the group weights in place of rho K / K.
        pointwise: 2 E_x E_pairs Var_{z|x}[sigmoid(s_k)]: the variance before the average over pairs (Pinsker).
        refined: E_x E_pairs phi(p) Var_{z|x}[sigmoid(s_k)], phi(p) = log((1 - p) / p) / (1 - 2 p) >= 2: the best
            constant of Pinsker's inequality for a Bernoulli with mean p (Ordentlich and Weinberger, 2005).
        group_information: I(Y; Z | X, A).
        information_upper: E_x E_pairs min{log(1 + Var / (p (1 - p))), H(Z | x), H(p)}.
        irreducible: group_information + misspecification.
        irreducible_upper: information_upper + curl / 8.
        curl: E over pairs of the squared part of the marginal log-odds that no reward difference fits, in nats^2.
        lost_by_weights: averaged - paper.
        lost_by_averaging: pointwise - averaged, computed on its own as twice the interaction of group and pair.
    """

    paper: float
    averaged: float
    pointwise: float
    refined: float
    group_information: float
    information_upper: float
    irreducible: float
    irreducible_upper: float
    curl: float
    lost_by_weights: float
    lost_by_averaging: float


def pinsker_constant(p: np.ndarray, p_not: np.ndarray) -> np.ndarray:
    """phi(p) = log((1 - p) / p) / (1 - 2 p), the largest c with KL(q || p) >= c (q - p)^2 for all q; 2 at p = 1/2.

    `p_not` = 1 - p comes apart, so that both tails stay exact.
    """
    skew = p_not - p
    near = np.abs(skew) < 1e-4
    with np.errstate(divide="ignore"):
        exact = (np.log(p_not) - np.log(p)) / np.where(near, 1.0, skew)
    return np.where(near, 2 * (1 + skew**2 / 3), exact)


def interaction(population: Population) -> float:
    """E_x of the two-way interaction of group and pair in sigmoid(s_k): what Var loses by averaging over pairs first.

    With f(k, pair), weights P(z|x) and pi, and its margins f(k), f(pair), f():
    E_pairs Var_k f - Var_k E_pairs f = E (f(k, pair) - f(k) - f(pair) + f())^2.
    """
    f, pi = population.preferences, population.pair_weights
    of_group = np.einsum("xab,xkab->xk", pi, f)
    of_pair = population.marginal
    overall = np.einsum("xab,xab->x", pi, of_pair)
    rest = f - of_group[:, :, None, None] - of_pair[:, None] + overall[:, None, None, None]
    return population.mean(np.einsum("xk,xkab->xab", population.group_weights, rest**2))


def log_odds_curl(population: Population) -> float:
    """Weighted mean square of the marginal log-odds around their best additive fit u_a - u_b; 0 iff BT is exact.

    Infinite where float64 cannot hold the log-odds of a pair that is not settled.
    """
    p = population.marginal
    best = best_reward(population.shown * p)
    inside = best.strong & (population.shown > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_odds = np.where(inside, np.log(p) - np.log(p.transpose(0, 2, 1)), 0.0)
    if not np.isfinite(log_odds).all():
        return float("inf")
    u = additive_fit(log_odds, population.shown, best.strong)
    return population.mean(np.where(inside, (log_odds - (u[:, :, None] - u[:, None, :])) ** 2, 0.0))


def raw_score_bound(population: Population) -> float:
    """2 rho K E_x Var_k[E_pairs s_k], the theorem's number as printed, of raw scores: no lower bound."""
    average = np.einsum("xab,xkab->xk", population.pair_weights, population.margins)
    rho = float(population.group_weights.min())
    return 2 * rho * average.shape[1] * float(population.prompt_weights @ average.var(axis=1))


def bound_chain(population: Population) -> BoundChain:
    """Compute every bound of a population beside the truth."""
    parts = split(population)
    p = population.marginal
    p_not = p.transpose(0, 2, 1)
    variance = population.group_variance(population.preferences)
    average = np.einsum("xab,xkab->xk", population.pair_weights, population.preferences)
    averaged = 2 * float(population.prompt_weights @ population.group_variance(average))
    with np.errstate(divide="ignore", invalid="ignore"):
        # KL <= log(1 + chi^2), and the logarithm of the mean is above the mean of the logarithm.
        chi = np.where(variance > 0, np.log1p(variance / (p * p_not)), 0.0)
        refined = np.where(variance > 0, pinsker_constant(p, p_not) * variance, 0.0)
    outcome = -xlogy(p, p) - xlogy(p_not, p_not)
    groups = -xlogy(population.group_weights, population.group_weights).sum(axis=1)
    upper = population.mean(np.minimum(np.minimum(chi, outcome), groups[:, None, None]))
    curl = log_odds_curl(population)
    return BoundChain(
        paper=parts.paper_bound,
        averaged=averaged,
        pointwise=parts.pointwise_bound,
        refined=population.mean(refined),
        group_information=parts.group_information,
        information_upper=upper,
        irreducible=parts.irreducible,
        irreducible_upper=upper + curl / 8,
        curl=curl,
        lost_by_weights=max(averaged - parts.paper_bound, 0.0),  # rounding only
        lost_by_averaging=2 * interaction(population),
    )
