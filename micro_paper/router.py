"""The router, and stage 2: context-aware routing by Hedge targets (Eq. 5 and Algorithm 1 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from micro_paper.errors import InputError
from micro_paper.mixture import mixture_nll
from micro_paper.training import History, Schedule, train


class Router(nn.Module):
    """log f = log softmax(g(u)): mixture weights from prompt features.

    Args:
        dimension: q, of the prompt features u.
        count: K, number of heads.
        hidden: units of the one hidden layer (the paper: 128); 0 = a linear router (the released code).
        generator: source of the initial weights, uniform in +-1/sqrt(fan in).
    """

    def __init__(
        self,
        dimension: int,
        count: int,
        hidden: int,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        sizes = [dimension, hidden, count] if hidden else [dimension, count]
        layers: list[nn.Module] = []
        for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            with torch.random.fork_rng(devices=[]):  # leaves the global seed alone
                linear = nn.Linear(fan_in, fan_out, dtype=dtype)
            with torch.no_grad():
                for parameter in (linear.weight, linear.bias):
                    draw = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
                    parameter.copy_((2 * draw - 1) / fan_in**0.5)
            layers += ([nn.ReLU()] if i else []) + [linear]
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return log weights (n, K) of prompt features (n, q)."""
        return self.layers(features).log_softmax(dim=-1)


def hedge_targets(prior: Tensor, losses: Tensor, tau: float | Tensor) -> Tensor:
    """Return omega_ik = prior_ik exp(-L_ik / tau) / sum_j prior_ij exp(-L_ij / tau), (n, K), rows summing to 1 (Eq. 5).

    It minimises sum_k f_k L_ik + tau KL(f || prior_i) over the simplex. The smallest loss among heads with a prior
    above zero is subtracted first, so that the result stays exact at tau = 1e-6 and tied heads keep their prior
    ratio; a head whose prior is zero keeps weight zero.

    Args:
        prior: omega before the step, (n, K) or (R, n, K) of R routers, rows on the simplex.
        losses: L_ik = -log sigmoid(D_ik) in nats, of the same shape.
        tau: temperature > 0, in nats; (R, 1, 1) where each router has its own.
    """
    _check_tau(tau)
    if prior.shape != losses.shape or losses.ndim not in (2, 3):
        raise InputError(f"prior and losses must both be (n, K), got {tuple(prior.shape)} and {tuple(losses.shape)}")
    if not ((prior >= 0).all() and (prior.sum(-1) > 0).all()):
        raise InputError("prior must be >= 0 with a positive sum in every row")
    best = losses.masked_fill(prior == 0, torch.inf).amin(dim=-1, keepdim=True)
    logits = prior.log() - (losses - best) / tau
    return logits.softmax(dim=-1)  # Eq. 5


def _check_tau(tau: float | Tensor) -> None:
    if not torch.as_tensor(tau > 0).all():
        raise InputError(f"tau must be > 0 (in `Settings`, 0 has it chosen on validation pairs), got {tau}")


def cross_entropy(targets: Tensor, log_weights: Tensor) -> Tensor:
    """Return mean_i CE(omega_i, f_i) = -mean_i sum_k omega_ik log f_ik, a scalar in nats (Algorithm 1)."""
    return -(targets * log_weights).sum(dim=-1).mean()


def weighted_loss(margins: Tensor, log_weights: Tensor) -> Tensor:
    """Return mean_i sum_k f_ik L_ik, in nats: by Jensen an upper bound of `mixture_nll` (section 4.2)."""
    return -(log_weights.exp() * nn.functional.logsigmoid(margins)).sum(dim=-1).mean()


PRIORS = ("current", "stage1", "carried")
REFRESH = ("epoch", "batch")
OBJECTIVES = ("hedge", "mixture")


@dataclass(frozen=True)
class Stage2:
    """How Algorithm 1 is run.

    Attributes:
        tau: temperature of Eq. 5, nats.
        prior: omega before Eq. 5: "current" router with context; "stage1", the stage-1 router without context; or
            "carried" over from the epoch before.
        refresh: omega is recomputed at the start of each "epoch" (the paper) or for each "batch".
        objective: "hedge" = cross-entropy to omega (the paper); "mixture" = Eq. 2 directly, without omega.
        schedule: optimiser of the router.
    """

    tau: float = 1e-3
    prior: str = "current"
    refresh: str = "epoch"
    objective: str = "hedge"
    schedule: Schedule = Schedule(learning_rate=1e-3, batch_size=32, epochs=10, decay="constant", warmup_ratio=0.0)

    def __post_init__(self) -> None:
        _check_tau(self.tau)
        for name, allowed in (("prior", PRIORS), ("refresh", REFRESH), ("objective", OBJECTIVES)):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")


def adapt_router(
    router: nn.Module,
    margins: Tensor,
    features: Tensor,
    stage2: Stage2,
    generator: torch.Generator,
    *,
    stage1_log_weights: Tensor | None = None,
) -> History:
    """Fit the router to context-labelled pairs with the heads frozen, in place (Algorithm 1).

    Args:
        router: starts from stage 1; maps features to log weights (n, K).
        margins: of the frozen heads on the context-labelled pairs, (n, K).
        features: u(x, c), (n, q).
        generator: order of the minibatches.
        stage1_log_weights: (n, K) of the stage-1 router on u(x); needed for prior "stage1".
    """
    if stage2.prior == "stage1" and stage1_log_weights is None:
        raise InputError("prior 'stage1' needs stage1_log_weights")
    margins = margins.detach()
    losses = -nn.functional.logsigmoid(margins)
    if stage2.objective == "mixture":
        return train(
            router,
            lambda rows: mixture_nll(margins[rows], router(features[rows])),
            len(margins),
            stage2.schedule,
            generator,
        )
    with torch.no_grad():
        start = stage1_log_weights if stage2.prior == "stage1" else router(features)
        prior = start.exp()
    omega = torch.empty_like(losses)

    def refresh(rows: Tensor | slice) -> None:
        with torch.no_grad():
            if stage2.prior == "current":
                prior[rows] = router(features[rows]).exp()
            omega[rows] = hedge_targets(prior[rows], losses[rows], stage2.tau)
            if stage2.prior == "carried":
                prior[rows] = omega[rows]

    return train(
        router,
        lambda rows: cross_entropy(omega[rows], router(features[rows])),
        len(margins),
        stage2.schedule,
        generator,
        on_epoch=(lambda _: refresh(slice(None))) if stage2.refresh == "epoch" else None,
        on_batch=refresh if stage2.refresh == "batch" else None,
    )
