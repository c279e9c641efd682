"""Theorem 3.2 exactly: the error split, its bounds, simulations, real people and stage 2 as online learning.

`population`, `solver` and `split` compute, `bounds` and `checks` prove by numbers, `simulations` and `samples` draw,
`people`, `latent_classes` and `attributes` read real judgements, `online` treats Eq. 5 and Algorithm 1.
"""

from micro_paper.theory.bounds import BoundChain, bound_chain, raw_score_bound
from micro_paper.theory.checks import Check
from micro_paper.theory.population import Population
from micro_paper.theory.solver import BestReward, best_reward
from micro_paper.theory.split import (
    ErrorDecomposition,
    InformationBudget,
    cross_entropy,
    decompose_error,
    information_budget,
    selection_information,
    split,
)

__all__ = [
    "BestReward",
    "BoundChain",
    "Check",
    "ErrorDecomposition",
    "InformationBudget",
    "Population",
    "best_reward",
    "bound_chain",
    "cross_entropy",
    "decompose_error",
    "information_budget",
    "raw_score_bound",
    "selection_information",
    "split",
]
