"""What the theory notebook found about the paper's claims C01 to C05."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch

from micro_paper import intervals
from micro_paper.claims.evidence import Entry, Part, collect
from micro_paper.mixture import mixture_nll
from micro_paper.router import hedge_targets, weighted_loss
from micro_paper.theory.checks import Check
from micro_paper.theory.online import hedge_objective, solve_hedge_objective

PAPER_TAUS = (1e-3, 1e-4)  # B.1: on HelpSteer2 and on RPR


def gap(check: Check) -> float:
    """Return by how much a relation is violated, 0 where it holds exactly."""
    return abs(check.slack) if check.relation == "=" else max(0.0, -check.slack)


def slopes(sweeps: pd.DataFrame, variable: str, against: str | None = None) -> np.ndarray:
    """Return the least-squares slope of the irreducible error in each repeat of a sweep, (repeats,).

    Args:
        sweeps: from `simulations.sweep_all`.
        variable: what varies.
        against: the quantity on the horizontal axis; None = the variable itself.
    """
    frame = sweeps[sweeps.variable == variable]
    wide = frame.pivot(index=["repeat", "value"], columns="quantity", values="nats").reset_index()
    return np.array(
        [
            np.polyfit(part["value" if against is None else against], part["irreducible"], 1)[0]
            for _, part in wide.groupby("repeat")
        ]
    )


def jensen_violation(rng: np.random.Generator, instances: int = 200) -> float:
    """Return the largest amount by which the mixture NLL exceeds the weighted loss on random instances, in nats."""
    worst = 0.0
    for _ in range(instances):
        margins = torch.from_numpy(rng.normal(scale=rng.choice([0.1, 1, 10]), size=(20, 5)))
        log_weights = torch.from_numpy(rng.normal(size=(20, 5))).log_softmax(dim=-1)
        worst = max(worst, (mixture_nll(margins, log_weights) - weighted_loss(margins, log_weights)).item())
    return worst


def hedge_gap(rng: np.random.Generator, instances: int = 200, taus: Sequence[float] = PAPER_TAUS) -> float:
    """Return the largest difference between the objective at Eq. 5 and at a convex solver's minimum, in nats.

    Args:
        rng: draws prior, losses and one tau from .1 to 10 of each instance.
        instances: how many.
        taus: at which each instance is tried besides its own; the paper's by default.
    """
    worst = 0.0
    for _ in range(instances):
        prior = rng.dirichlet(np.ones(5))
        losses = rng.exponential(size=5)
        for tau in (float(10 ** rng.uniform(-1, 1)), *taus):
            closed = hedge_targets(torch.from_numpy(prior[None]), torch.from_numpy(losses[None]), tau)[0].numpy()
            solved = solve_hedge_objective(prior, losses, tau)
            values = [hedge_objective(f, prior, losses, tau) for f in (closed, solved)]
            worst = max(worst, abs(values[0] - values[1]))
    return worst


@dataclass(frozen=True)
class Finding:
    """The theory notebook.

    Attributes:
        checks: of the exact split and the bounds on the notebook's populations.
        sweeps: from `simulations.sweep_all`.
        rng: draws the random instances of C04 and C05.
    """

    checks: Sequence[Check]
    sweeps: pd.DataFrame
    rng: np.random.Generator

    def largest(self, relation: str) -> float:
        """Return the largest violation of that relation."""
        return max(gap(check) for check in self.checks if check.relation == relation)


def _exact(of: Finding, method: str) -> Iterator[Part]:
    yield Part(POPULATION, "identities of the split, largest gap", of.largest("="), 1)
    yield Part(POPULATION, "bounds of the irreducible error, largest violation", of.largest(">="), 1)


def _jensen(of: Finding, method: str) -> Iterator[Part]:
    yield Part(POPULATION, "mixture NLL above the weighted loss, largest violation", jensen_violation(of.rng), 1)


def _hedge(of: Finding, method: str) -> Iterator[Part]:
    yield Part(POPULATION, "objective at Eq. 5 against a convex solver, largest gap", hedge_gap(of.rng), 1)


def _slope(text: str, variable: str, against: str | None, of: Finding, method: str) -> Iterator[Part]:
    values = slopes(of.sweeps, variable, against)
    yield Part(POPULATION, text, intervals.t_interval(values), len(values))


POPULATION = "simulation"
VARIANCE = ("slope of the irreducible error on 2 E Var of the group probabilities", "separation", "pointwise")
DIVERSITY = ("slope of the irreducible error (nats) on K rho, from 0 to 1", "diversity", None)
ON, ANY = ("simulation",), ("any",)
ENTRIES = (
    Entry("C01", "both sides of the error split, and its bounds", ON, "identity", _exact, ANY),
    Entry("C02", "the error grows with the groups' variance", ON, "up", partial(_slope, *VARIANCE), ANY),
    Entry("C03", "the error grows with the groups' diversity", ON, "up", partial(_slope, *DIVERSITY), ANY),
    Entry("C04", "the mixture NLL never exceeds the weighted loss", ON, "identity", _jensen, ANY),
    Entry("C05", "Eq. 5 minimises its objective", ON, "identity", _hedge, ANY),
)


def evidence(checks: Sequence[Check], sweeps: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the evidence on C01 to C05; arguments as of `Finding`."""
    return collect(ENTRIES, {"simulation": Finding(checks, sweeps, rng)})
