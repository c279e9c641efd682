"""The Bradley-Terry pair likelihood and its exact single-reward fit."""

import torch
import torch.nn.functional as F
from torch import Tensor

from micro_paper.errors import InputError


def log_preference(margins: Tensor) -> Tensor:
    """Return log P(a_w > a_l) = log sigmoid(r(x, a_w) - r(x, a_l)), in nats.

    Args:
        margins: reward differences, any shape; finite up to |margin| = 1e4 and beyond.
    """
    return F.logsigmoid(margins)


def fit_bradley_terry(difference: Tensor, penalty: float) -> Tensor:
    """Return the linear reward w, (d,), that minimises mean -log sigmoid(w . d_i) + penalty |w|^2.

    The problem is convex; L-BFGS runs in float64 until the largest gradient entry is below 1e-9, for at most 2,000
    iterations. It equals logistic regression on feature differences without intercept (C = 1 / (2 n penalty)
    in scikit-learn's terms).

    Args:
        difference: phi(x, a_w) - phi(x, a_l), (n, d).
        penalty: lambda > 0; at 0 separable data would have no minimiser.

    Raises:
        InputError: penalty <= 0, no pairs, or non-finite features.
    """
    if not penalty > 0:
        raise InputError(f"penalty must be > 0, got {penalty}")
    if difference.ndim != 2 or not len(difference):
        raise InputError(f"difference must be (n, d) with n >= 1, got shape {tuple(difference.shape)}")
    if not torch.isfinite(difference).all():
        raise InputError("difference holds a non-finite feature: check the feature store")
    d = difference.detach().to(torch.float64)
    share = torch.full((len(d),), 1.0 / len(d), dtype=d.dtype, device=d.device)
    w = torch.zeros(d.shape[1], dtype=d.dtype, device=d.device, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [w],
        max_iter=2000,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -(share * log_preference(d @ w)).sum() + penalty * w.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return w.detach().to(difference.dtype)
