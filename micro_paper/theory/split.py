"""The exact split of what a single Bradley-Terry model pays on a population of groups.

The split assumes that the pair A which is shown is independent of the group Z given the prompt X: pi(a, b | x) is one
for all groups. Where the pair depends on the group, seeing it tells about the group already, by
`selection_information`, and the split is not that of the data. The information budget assumes that A is independent of
(Z, C), group and context, given X, and that Y is independent of C given X, A and Z.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import expit, xlogy

from micro_paper.errors import InputError
from micro_paper.theory.population import Population, weights_of
from micro_paper.theory.solver import BestReward, best_reward


@dataclass(frozen=True, eq=False)
class ErrorDecomposition:
    """L_CE of the best single reward, split; all in nats, averages over prompts and pairs. A independent of Z given X.

    cross_entropy = conditional_entropy + group_information + misspecification, and
    group_information >= pointwise_bound >= paper_bound.

    Attributes:
        cross_entropy: min over r of L_CE(r), an infimum where `status` is `separable`.
        conditional_entropy: H(Y | X, A, Z), the people's own noise. Nobody can remove it.
        group_information: I(Y; Z | X, A), paid by every predictor that does not see the group.
        misspecification: KL(marginal || best BT), what a single scalar reward adds on top.
        paper_bound: 2 rho K E_x Var_k[E_pairs sigmoid(s_k)], Theorem 3.2 with the sigmoid its proof needs; rho is the
            least group weight over all prompts and groups, Var has weights 1/K.
        pointwise_bound: 2 E_x E_pairs Var_{z|x}[sigmoid(s_k)], variance with the group weights, inside the pairs.
        status: one name a prompt: `finite`, `separable` or `disconnected` (see `BestReward.status`).
        best: the rewards themselves: `best.rewards` (X, N), `best.differences` (X, N, N), infinite where they are.
    """

    cross_entropy: float
    conditional_entropy: float
    group_information: float
    misspecification: float
    paper_bound: float
    pointwise_bound: float
    status: tuple[str, ...] = field(repr=False)
    best: BestReward = field(repr=False)

    @property
    def irreducible(self) -> float:
        """group_information + misspecification: the least excess of a single reward over H(Y | X, A, Z)."""
        return self.group_information + self.misspecification


def binary_entropy(margins: np.ndarray) -> np.ndarray:
    """Entropy of Bernoulli(sigmoid(s)) in nats, exact in both tails."""
    size = np.abs(margins)
    return np.log1p(np.exp(-size)) + size * expit(-size)


def binary_kl(p: np.ndarray, p_not: np.ndarray, log_q: np.ndarray, log_q_not: np.ndarray) -> np.ndarray:
    """KL(Ber(p) || Ber(q)) in nats. Complements come apart and q as logarithms, so both tails stay exact.

    Where q has underflowed to 0 (log q = -inf) its weight has too, and the term counts as 0.
    """
    total = 0.0
    for x, log_y in ((p, log_q), (p_not, log_q_not)):
        log_y = np.where(np.isneginf(log_y), 0.0, log_y)
        total = total + np.where(x > 0, xlogy(x, x) - x * log_y, 0.0)
    return np.maximum(total, 0.0)  # rounding only: the sum is never negative


def cross_entropy(population: Population, rewards: np.ndarray) -> float:
    """L_CE(r) of any single reward r(x, a), (X, N), in nats."""
    margins = rewards[:, :, None] - rewards[:, None, :]
    lost = np.logaddexp(0, -margins)
    marginal = population.marginal
    return population.mean(marginal * lost + marginal.transpose(0, 2, 1) * lost.transpose(0, 2, 1))


def _log(p: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(p)


def mutual_information(population: Population) -> float:
    """I(Y; Z | X, A) = E sum_k P(z = k | x) KL(p_k || p), in nats."""
    p, q = population.preferences, population.marginal
    log_q = _log(q)
    divergence = binary_kl(p, p.transpose(0, 1, 3, 2), log_q[:, None], log_q.transpose(0, 2, 1)[:, None])
    return population.mean(np.einsum("xk,xkab->xab", population.group_weights, divergence))


def selection_information(group_weights, pairs_given_group, prompt_weights=None) -> float:
    """I(A; Z | X) = E_x sum_k P(z = k | x) KL(P(a | x, z = k) || P(a | x)), in nats: 0 where the split is exact.

    Args:
        group_weights: P(z = k | x), (X, K).
        pairs_given_group: P(a | x, z = k), (X, K, A): which of A pairs is shown to whom.
        prompt_weights: P(x), (X,); None = uniform.

    Raises:
        InputError: a shape, a sign or a sum is wrong; the message names the argument.
    """
    shown = np.asarray(pairs_given_group, dtype=np.float64)
    if shown.ndim != 3 or 0 in shown.shape:
        raise InputError(f"pairs_given_group must be (X, K, A), got shape {shown.shape}")
    x, k, a = shown.shape
    shown = weights_of("pairs_given_group", shown, (x, k, a), (2,))
    groups = weights_of("group_weights", group_weights, (x, k), (1,))
    prompts = weights_of("prompt_weights", np.full(x, 1 / x) if prompt_weights is None else prompt_weights, (x,), (0,))
    marginal = np.einsum("xk,xka->xa", groups, shown)
    ratio = np.divide(shown, marginal[:, None], out=np.ones_like(shown), where=shown > 0)
    return max(float(np.einsum("x,xk,xka->", prompts, groups, xlogy(shown, ratio))), 0.0)  # rounding only


def decompose_error(rewards, group_weights, pair_weights, prompt_weights=None) -> ErrorDecomposition:
    """Split the error of the best single Bradley-Terry reward, exactly, where A is independent of Z given X.

    Args:
        rewards: r_k(x, a), (X, K, N), numpy or torch; float64 inside.
        group_weights: P(z = k | x), (X, K).
        pair_weights: pi(a, b | x), (X, N, N), ordered pairs, sums to 1 a prompt; the diagonal counts as probability
            one half.
        prompt_weights: P(x), (X,); None = uniform.

    Raises:
        InputError: an argument has a wrong shape, a negative weight or a wrong sum; the message names it.
        ArithmeticError: the best reward was not found to a gradient of 1e-10.
    """
    return split(Population(rewards, group_weights, pair_weights, prompt_weights))


def split(population: Population) -> ErrorDecomposition:
    """`decompose_error` of a population that is already checked."""
    p, weights = population.marginal, population.group_weights
    best = best_reward(population.shown * p)
    difference = np.where(best.strong, best.differences, 0.0)
    difference = np.nan_to_num(difference, nan=0.0)
    # Across strong parts the outcome is certain and the best model agrees in the limit: p, and no loss.
    lost = np.where(best.strong, np.logaddexp(0, -difference), 0.0)  # -log q
    log_q = np.where(best.strong, -lost, _log(p))
    p_not = p.transpose(0, 2, 1)

    entropy = np.einsum("xk,xkab->xab", weights, binary_entropy(population.margins))
    # Var of the averages: E_pairs first, as the paper's statement has it.
    average = np.einsum("xab,xkab->xk", population.pair_weights, population.preferences)
    spread = float(population.prompt_weights @ average.var(axis=1))
    return ErrorDecomposition(
        cross_entropy=population.mean(p * lost + p_not * lost.transpose(0, 2, 1)),
        conditional_entropy=population.mean(entropy),
        group_information=mutual_information(population),
        misspecification=population.mean(binary_kl(p, p_not, log_q, log_q.transpose(0, 2, 1))),
        paper_bound=2 * float(weights.min()) * weights.shape[1] * spread,
        pointwise_bound=2 * population.mean(population.group_variance(population.preferences)),
        status=best.status,
        best=best,
    )


@dataclass(frozen=True)
class InformationBudget:
    """Who can remove which part of a single reward's error, in nats.

    Attributes:
        by_prompt_mixture: KL(marginal || best BT): a mixture whose weights see only the prompt removes this.
        by_context: I(Y; C | X, A): removed by weights that see the context too.
        remaining: I(Y; Z | X, A, C): what the context does not say about the group.
        total: the sum, = group_information + misspecification.
    """

    by_prompt_mixture: float
    by_context: float
    remaining: float

    @property
    def total(self) -> float:
        return self.by_prompt_mixture + self.by_context + self.remaining


def information_budget(
    rewards, context_weights, groups_given_context, pair_weights, prompt_weights=None
) -> InformationBudget:
    """Split the irreducible error by what removes it: I(Y; Z | X, A) = I(Y; C | X, A) + I(Y; Z | X, A, C).

    The pair is independent of group and context given the prompt (A of (Z, C) given X), and the context tells about the
    group only (Y of C given X, A, Z).

    Args:
        rewards: (X, K, N).
        context_weights: P(c | x), (X, C).
        groups_given_context: P(z = k | x, c), (X, C, K).
        pair_weights: (X, N, N).
        prompt_weights: (X,); None = uniform.

    Raises:
        InputError: as `decompose_error`, also for the two context arguments.
    """
    given = np.asarray(groups_given_context, dtype=np.float64)
    contexts = np.asarray(context_weights, dtype=np.float64)
    if given.ndim != 3 or contexts.shape != given.shape[:2]:
        raise InputError(
            f"context_weights must be (X, C) and groups_given_context (X, C, K), got {contexts.shape} and {given.shape}"
        )
    if (contexts < 0).any() or np.abs(contexts.sum(axis=1) - 1).max() > 1e-5:
        raise InputError("context_weights must be >= 0 and sum to 1 for every prompt")
    x, c, k = given.shape
    whole = Population(rewards, np.einsum("xc,xck->xk", contexts, given), pair_weights, prompt_weights)
    # One prompt-and-context is one prompt of a larger population: the remaining part is its mutual information.
    split_up = Population(
        np.repeat(whole.rewards, c, axis=0),
        given.reshape(x * c, k),
        np.repeat(whole.pair_weights, c, axis=0),
        (whole.prompt_weights[:, None] * contexts / contexts.sum(axis=1, keepdims=True)).reshape(-1),
    )
    told = split_up.marginal.reshape(x, c, *whole.marginal.shape[1:])
    log_p = _log(whole.marginal)
    gain = binary_kl(told, told.transpose(0, 1, 3, 2), log_p[:, None], log_p.transpose(0, 2, 1)[:, None])
    return InformationBudget(
        by_prompt_mixture=split(whole).misspecification,
        by_context=whole.mean(np.einsum("xc,xcab->xab", contexts, gain)),
        remaining=mutual_information(split_up),
    )
