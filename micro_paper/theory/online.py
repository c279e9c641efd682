"""Stage 2 as online learning: Eq. 5 against a solver, Hedge regret, the Jensen gap and the effect of tau."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp, softmax
from threadpoolctl import threadpool_limits

from micro_paper.errors import InputError
from micro_paper.metrics import entropy_share
from micro_paper.router import hedge_targets
from micro_paper.theory.checks import Check, at_least, equal

SEQUENCES = ("stochastic", "drifting", "adversarial")


def _log_mixture(log_p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """log sum_k f_k p_k over the last axis; a zero weight drops out."""
    with np.errstate(divide="ignore"):
        return logsumexp(log_p + np.log(weights), axis=-1)


def hedge_objective(f: np.ndarray, prior: np.ndarray, losses: np.ndarray, tau: float) -> float:
    """sum_k f_k L_k + tau KL(f || prior) of one example, (K,) each, in nats."""
    kl = np.where(f > 0, f * (np.log(np.maximum(f, 1e-300)) - np.log(prior)), 0.0).sum()
    return float(f @ losses + tau * kl)


def solve_hedge_objective(prior: np.ndarray, losses: np.ndarray, tau: float) -> np.ndarray:
    """Minimise `hedge_objective` over the simplex by SLSQP, a general convex solver that knows no closed form, (K,)."""
    scale = max(tau, 1.0)
    found = minimize(
        lambda f: hedge_objective(f, prior, losses, tau) / scale,
        np.full(len(prior), 1 / len(prior)),
        jac=lambda f: (losses + tau * (np.log(np.maximum(f, 1e-300)) - np.log(prior) + 1)) / scale,
        bounds=[(1e-12, 1)] * len(prior),
        constraints={"type": "eq", "fun": lambda f: f.sum() - 1, "jac": lambda f: np.ones_like(f)},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    return found.x


def check_hedge_targets(
    prior: np.ndarray, losses: np.ndarray, tau: float, targets: np.ndarray, tolerance: float = 1e-5
) -> Check:
    """Claimed targets of Eq. 5, (K,), against the convex solver: the largest difference of weights is 0."""
    gap = np.abs(solve_hedge_objective(prior, losses, tau) - np.asarray(targets)).max()
    return equal("Eq. 5 = argmin of the regularised loss", float(gap), 0.0, tolerance)


def check_duality(prior: np.ndarray, losses: np.ndarray, tau: float, targets: np.ndarray) -> Check:
    """The claimed targets reach the minimum -tau log sum_k prior_k exp(-L_k / tau) that convex duality gives."""
    minimum = -tau * _log_mixture(-np.asarray(losses) / tau, np.asarray(prior))
    return equal(
        "objective(Eq. 5) = -tau log E_prior exp(-L / tau)",
        hedge_objective(np.asarray(targets), prior, losses, tau),
        minimum,
    )


@dataclass(frozen=True, eq=False)
class HedgeRun:
    """Hedge over T rounds: weights (T, K) before each round, and regret after each round, (T,)."""

    weights: np.ndarray
    regret: np.ndarray


def run_hedge(losses: np.ndarray, eta: float) -> HedgeRun:
    """Run Hedge from uniform weights, f_t proportional to exp(-eta sum_{s<t} L_s): Eq. 5, eta = 1 / tau.

    Args:
        losses: (T, K).
        eta: learning rate > 0.
    """
    if not eta > 0:
        raise InputError(f"eta must be > 0, got {eta}")
    past = np.cumsum(losses, axis=0) - losses
    weights = softmax(-eta * past, axis=1)
    paid = np.cumsum((weights * losses).sum(axis=1))
    return HedgeRun(weights, paid - (past + losses).min(axis=1))


def regret_bound(eta: float, rounds: int, heads: int, loss_range: float = 1.0) -> float:
    """ln K / eta + eta T B^2 / 8, for losses in an interval of length B."""
    return float(np.log(heads) / eta + eta * rounds * loss_range**2 / 8)


def tuned_eta(rounds: int, heads: int, loss_range: float = 1.0) -> float:
    """sqrt(8 ln K / T) / B, where the bound is least: B sqrt(T ln K / 2)."""
    return float(np.sqrt(8 * np.log(heads) / rounds) / loss_range)


def check_regret(losses: np.ndarray, eta: float, loss_range: float = 1.0) -> Check:
    """Regret of Hedge <= ln K / eta + eta T B^2 / 8; false for losses outside an interval of length `loss_range`."""
    rounds, heads = losses.shape
    bound = regret_bound(eta, rounds, heads, loss_range)
    return at_least("ln K / eta + eta T B^2 / 8 >= regret", bound, run_hedge(losses, eta).regret[-1])


def check_mixture_regret(losses: np.ndarray, eta: float = 1.0) -> Check:
    """For unbounded L = -log sigmoid, eta = 1 and the mixture's loss -log sum_k f_k exp(-L_k): regret <= ln K."""
    weights = run_hedge(losses, eta).weights
    regret = -_log_mixture(-losses, weights).sum() - losses.sum(axis=0).min()
    return at_least("ln K >= regret of the mixture", np.log(losses.shape[1]), regret)


def loss_sequence(kind: str, rounds: int, heads: int, rng: np.random.Generator) -> np.ndarray:
    """Losses in [0, 1], (T, K).

    stochastic: Bernoulli with means from .4 to .6. drifting: the best head changes every T / 5 rounds. adversarial:
    each round the head with Hedge's largest weight loses 1 and the others 0 (ties: the first).
    """
    if kind not in SEQUENCES:
        raise InputError(f"kind must be one of {', '.join(SEQUENCES)}, got {kind!r}")
    if kind == "adversarial":
        losses, past = np.zeros((rounds, heads)), np.zeros(heads)
        for t in range(rounds):
            losses[t, past.argmin()] = 1.0  # Hedge's largest weight is the smallest past loss
            past += losses[t]
        return losses
    means = np.tile(np.linspace(0.4, 0.6, heads), (rounds, 1))
    if kind == "drifting":
        turn = np.arange(rounds) * 5 // rounds
        means = np.stack([np.roll(means[0], shift) for shift in turn])
    return (rng.random((rounds, heads)) < means).astype(float)


def regret_table(rounds: list[int], heads: int, rng: np.random.Generator, n_seeds: int) -> pd.DataFrame:
    """Regret of tuned Hedge and of following the leader: sequence, rounds, learner, seed, regret, bound."""
    rows = []
    for kind in SEQUENCES:
        for n in rounds:
            eta = tuned_eta(n, heads)
            for seed in range(1 if kind == "adversarial" else n_seeds):
                losses = loss_sequence(kind, n, heads, rng)
                for learner, rate in (("Hedge, tuned", eta), ("follow the leader", 1e9)):
                    regret = run_hedge(losses, rate).regret[-1]
                    rows.append(
                        {
                            "sequence": kind,
                            "rounds": n,
                            "learner": learner,
                            "seed": seed,
                            "regret": regret,
                            "bound": regret_bound(eta, n, heads),
                        }
                    )
    return pd.DataFrame(rows)


def jensen_gap(margins: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gap of the weighted loss over the mixture NLL, (n,), and the same as KL(f || Eq. 5 at tau = 1), (n,).

    sum_k f_k L_k + log sum_k f_k exp(-L_k) = KL(f || f exp(-L) / Z): the weighted loss is tight only where all heads
    that carry weight agree on the pair.

    Args:
        margins: (n, K). weights: f, (n, K), > 0.
    """
    log_p = log_expit(margins)
    gap = _log_mixture(log_p, weights) - (weights * log_p).sum(axis=1)
    target = hedge_targets(torch.as_tensor(weights), torch.as_tensor(-log_p), 1.0).numpy()
    return gap, (weights * (np.log(weights) - np.log(target))).sum(axis=1)


@dataclass(frozen=True, eq=False)
class Stage2World:
    """Frozen heads and contexts whose people mix them: margins of B pairs a context to adapt on, and of held-out pairs.

    Attributes:
        adapt: (C, B, K). test: (C, M, K), both oriented chosen - rejected.
    """

    adapt: np.ndarray
    test: np.ndarray


def stage2_world(
    rng: np.random.Generator,
    *,
    n_contexts: int = 5,
    n_heads: int = 5,
    budget: int = 50,
    n_test: int = 2000,
    main_share: float = 0.7,
    strength: float = 2.0,
) -> Stage2World:
    """Draw correlated heads, and contexts in which `main_share` follow one head and the rest the others."""
    d = 6
    heads = rng.normal(size=(1, d)) + rng.normal(size=(n_heads, d))
    heads *= strength / np.linalg.norm(heads, axis=1, keepdims=True)
    margins = []
    for n in (budget, n_test):
        margin = rng.normal(size=(n_contexts, n, d)) @ heads.T
        shares = np.full((n_contexts, n_heads), (1 - main_share) / max(n_heads - 1, 1))
        shares[np.arange(n_contexts), np.arange(n_contexts) % n_heads] = main_share if n_heads > 1 else 1.0
        who = np.stack([rng.choice(n_heads, size=n, p=share) for share in shares])
        own = np.take_along_axis(margin, who[:, :, None], axis=2)
        margins.append(np.where(rng.random(own.shape) < expit(own), 1, -1) * margin)
    return Stage2World(*margins)


def adapt_weights(margins: np.ndarray, tau: float, epochs: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Algorithm 1 for one context, a free weight a head: the cross-entropy step, done exactly, averages the targets.

    At tau = 1 this is EM for the mixture weights, so the mixture NLL never rises; as tau goes to 0 it is hard EM: each
    pair gives its vote to the head that explains it best.

    Args:
        margins: (B, K) of frozen heads.

    Returns:
        weights (K,), the last targets (B, K), and the mixture NLL before each epoch and at the end, (epochs + 1,).
    """
    losses = -log_expit(margins)
    weights = np.full(margins.shape[1], 1 / margins.shape[1])
    trace = []
    targets = np.broadcast_to(weights, losses.shape)
    for _ in range(epochs):
        trace.append(-_log_mixture(-losses, weights).mean())
        prior = np.broadcast_to(weights, losses.shape)
        targets = hedge_targets(torch.as_tensor(prior.copy()), torch.as_tensor(losses), tau).numpy()
        weights = targets.mean(axis=0)
    trace.append(-_log_mixture(-losses, weights).mean())
    return weights, targets, np.array(trace)


def check_em(margins: np.ndarray, tau: float = 1.0) -> Check:
    """The mixture NLL falls at every epoch of Algorithm 1: true at tau = 1 (EM), not in general."""
    trace = adapt_weights(margins, tau)[2]
    return at_least("least fall of the mixture NLL in an epoch >= 0", -np.diff(trace).max(), 0.0)


@threadpool_limits.wrap(limits=1)  # threads cost more than they give on 50 pairs
def tau_sweep(taus: list[float], rng: np.random.Generator, n_seeds: int, **world) -> pd.DataFrame:
    """Run Algorithm 1 at each tau on the same worlds.

    Returns:
        One row a tau, seed and quantity (tau, seed, quantity, value): target_entropy and weight_entropy (1 = uniform),
        accuracy and nll of the mixture on held-out pairs, jensen_gap (nats), regret: weighted loss of the adapted
        weights less the best head's, on held-out pairs (nats), hedge_regret: of Hedge with eta = 1 / tau over the
        adaptation pairs with losses scaled to [0, 1], a round, and hedge_bound for it.
    """
    rows = []
    for seed in range(n_seeds):
        setting = stage2_world(rng, **world)
        for tau in taus:
            values: dict[str, list[float]] = {}
            for adapt, test in zip(setting.adapt, setting.test, strict=True):
                f, targets, _ = adapt_weights(adapt, tau)
                losses = -log_expit(test)
                p = np.exp(_log_mixture(-losses, f))
                scaled = -log_expit(adapt)
                scaled = scaled / scaled.max()
                rounds, heads = scaled.shape
                row = {
                    "target_entropy": entropy_share(targets),
                    "weight_entropy": entropy_share(f),
                    "accuracy": float((p > 0.5).mean()),
                    "nll": float(-np.log(p).mean()),
                    "jensen_gap": float((losses @ f + np.log(p)).mean()),
                    "regret": float((losses @ f).mean() - losses.mean(axis=0).min()),
                    "hedge_regret": run_hedge(scaled, 1 / tau).regret[-1] / rounds,
                    "hedge_bound": regret_bound(1 / tau, rounds, heads) / rounds,
                }
                for name, value in row.items():
                    values.setdefault(name, []).append(value)
            rows += [{"tau": tau, "seed": seed, "quantity": q, "value": float(np.mean(v))} for q, v in values.items()]
    return pd.DataFrame(rows)


def against_tau(frame: pd.DataFrame, reference: float, quantities: tuple[str, ...]) -> pd.DataFrame:
    """`tau_sweep` with the named quantities less their value at `reference`, seed by seed, the others as they are."""
    base = frame[frame["tau"] == reference].set_index(["seed", "quantity"])["value"]
    keys = pd.MultiIndex.from_frame(frame[["seed", "quantity"]])
    paired = frame["value"] - base.loc[keys].to_numpy()
    return frame.assign(value=paired.where(frame["quantity"].isin(quantities), frame["value"]))


def check_all(rng: np.random.Generator) -> list[Check]:
    """Every check of this module on one stage-2 world and one sequence of each kind."""
    world = stage2_world(rng)
    losses = -log_expit(world.adapt[0])
    prior = rng.dirichlet(np.ones(losses.shape[1]), len(losses))
    found = []
    for tau in (0.1, 1.0, 10.0):
        targets = hedge_targets(torch.as_tensor(prior), torch.as_tensor(losses), tau).numpy()
        for row in range(10):
            found.append(check_hedge_targets(prior[row], losses[row], tau, targets[row]))
            found.append(check_duality(prior[row], losses[row], tau, targets[row]))
    for kind in SEQUENCES:
        found.append(check_regret(loss_sequence(kind, 1000, 5, rng), tuned_eta(1000, 5)))
    found.append(check_mixture_regret(10 * losses))
    found += [check_em(margins) for margins in world.adapt]
    gap, divergence = jensen_gap(world.adapt[0], prior)
    return [*found, equal("Jensen gap = KL(f || Eq. 5 at tau = 1)", gap.mean(), divergence.mean())]
