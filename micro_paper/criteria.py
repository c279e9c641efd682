"""A router over stated criteria, and heads of criteria, from a few context-labelled pairs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from micro_paper.bradley_terry import fit_bradley_terry
from micro_paper.errors import InputError
from micro_paper.router import hedge_targets

STEPS = 50  # of the weights of each criterion


class CriterionRouter(nn.Module):
    """f(u) = sum_a P(a | u) f_a: a linear classifier of the stated criterion, and mixture weights of each criterion.

    Args:
        weight, bias: of the classifier, (A, q) and (A,).
        table: f_a, (A, K), rows on the simplex.
    """

    def __init__(self, weight: Tensor, bias: Tensor, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("log_table", table.log())

    def forward(self, features: Tensor) -> Tensor:
        """Return log weights (n, K) of features (n, q)."""
        criterion = nn.functional.linear(features.to(self.weight), self.weight, self.bias).log_softmax(dim=-1)
        return torch.logsumexp(criterion[:, :, None] + self.log_table, dim=1)


def criterion_weights(margins: Tensor, group: Tensor, start: Tensor, tau: float, strength: float) -> Tensor:
    """Return mixture weights f_a of each criterion, (A, K), by Algorithm 1 for a router that is a table.

    Each step takes the targets of Eq. 5 with f_a as prior and sets f_a to their mean over the criterion's pairs,
    `strength` pairs of `start` among them. At tau = 1 a step is one of EM, which maximises the likelihood of Eq. 2.

    Args:
        margins: D_k of the context-labelled pairs, (n, K).
        group: criterion of each pair, (n,), 0 .. A - 1.
        start: (A, K), rows on the simplex; a head that starts at 0 stays there.
        tau: temperature of Eq. 5, nats.
        strength: > 0, in pairs.
    """
    if not strength > 0:
        raise InputError(f"strength must be > 0, got {strength}")
    losses = -nn.functional.logsigmoid(margins)
    member = nn.functional.one_hot(group, len(start)).to(margins)
    weights = start
    for _ in range(STEPS):
        omega = hedge_targets(weights[group], losses, tau)
        weights = (member.T @ omega + strength * start) / (member.sum(dim=0) + strength)[:, None]
    return weights


def criterion_heads(difference: Tensor, group: Tensor, count: int, penalty: float) -> Tensor:
    """Return a Bradley-Terry head of each criterion, (A, d), fitted on its pairs alone; 0 where it has none.

    Args:
        difference: (n, d) in float64.
        group: criterion of each pair, (n,).
        count: A.
        penalty: see `fit_bradley_terry`; the fit runs in the span of the criterion's pairs, where the optimum lies.
    """
    heads = torch.zeros(count, difference.shape[1], dtype=difference.dtype, device=difference.device)
    for a in group.unique().tolist():
        rows = difference[group == a]
        basis, _ = torch.linalg.qr(rows.T)
        heads[a] = basis @ fit_bradley_terry(rows @ basis, penalty, tolerance=1e-6)
    return heads


def sharpened(p: np.ndarray, factor: float) -> np.ndarray:
    """Return sigmoid(factor logit(p)), exact at 0, 1/2 and 1."""
    if factor == 1:
        return p
    a, b = p**factor, (1 - p) ** factor
    return a / (a + b)
