"""Evidence on the claims of theory: gaps, slopes and intervals against values known beforehand."""

import numpy as np
import pandas as pd
import pytest
import torch

from micro_paper.claims import evidence, theory
from micro_paper.errors import InputError
from micro_paper.paper.verdicts import judge_identity
from micro_paper.theory import checks, simulations


def test_a_gap_is_the_violation_only():
    assert theory.gap(checks.equal("a", 1.0, 1.5)) == 0.5
    assert theory.gap(checks.at_least("a", 2.0, 1.0)) == 0.0
    assert theory.gap(checks.at_least("a", 1.0, 2.0)) == 1.0


def test_slopes_are_those_of_the_lines_that_were_drawn():
    lines = [
        {"variable": "diversity", "value": v, "repeat": r, "quantity": q, "nats": n}
        for r, slope in enumerate((2.0, 3.0))
        for v in (0.0, 0.5, 1.0)
        for q, n in (("irreducible", 1 + slope * v), ("pointwise", 0.5 * v))
    ]
    frame = pd.DataFrame(lines)
    assert np.allclose(theory.slopes(frame, "diversity"), [2, 3])
    assert np.allclose(theory.slopes(frame, "diversity", "pointwise"), [4, 6])


def test_jensen_and_eq_5_are_judged_wrong_when_they_are(monkeypatch):
    rng = np.random.default_rng(0)
    assert judge_identity(theory.jensen_violation(rng, 20)) == judge_identity(theory.hedge_gap(rng, 5)) == "holds"
    monkeypatch.setattr(theory, "weighted_loss", lambda m, w: torch.zeros((), dtype=torch.float64))
    assert judge_identity(theory.jensen_violation(rng, 20)) == "does not"
    monkeypatch.setattr(theory, "hedge_targets", lambda prior, losses, tau: prior)
    assert judge_identity(theory.hedge_gap(rng, 5)) == "does not"


@pytest.mark.parametrize("tau", theory.PAPER_TAUS)
def test_eq_5_is_checked_at_the_papers_tau(tau: float, monkeypatch) -> None:
    assert theory.hedge_gap(np.random.default_rng(1), 20, (tau,)) < 1e-6
    right = theory.hedge_targets

    def wrong_there(prior, losses, temperature):
        return prior if temperature == tau else right(prior, losses, temperature)

    monkeypatch.setattr(theory, "hedge_targets", wrong_there)
    assert judge_identity(theory.hedge_gap(np.random.default_rng(1), 5)) == "does not"


def test_rows_cover_the_five_claims():
    rng = np.random.default_rng(0)
    population = simulations.default_instance(rng)
    sweeps = simulations.sweep_all(rng, 2)
    table = theory.evidence(checks.check_all(population), sweeps, rng)
    assert sorted(set(table.claim)) == ["C01", "C02", "C03", "C04", "C05"]
    assert list(table.columns) == list(evidence.COLUMNS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"claim": "C99"}, "unknown claim 'C99'"),
        ({"method": "mirco"}, "Did you mean 'micro'"),
        ({"kind": "order"}, "unknown kind"),
        ({"kind": "value"}, "needs the printed value"),
    ],
)
def test_evidence_refuses(change, message):
    given = {"claim": "C01", "method": "micro", "dataset": "d", "part": "p", "kind": "ordering", "found": 1.0}
    with pytest.raises(InputError, match=message):
        evidence.row(**given | change, n_runs=1)
