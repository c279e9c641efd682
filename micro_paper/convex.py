"""Exact fits of convex problems, many at once: Bradley-Terry rewards with an L2 penalty, and ridge regressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linprog
from torch import Tensor

from micro_paper.bradley_terry import log_preference
from micro_paper.errors import InputError

TOLERANCE = 1e-10  # of the gradient's norm, as a share of that at the start where this is above 1
STEPS = 200
PROGRESS = 0.4  # a step that leaves more of the gradient's norm was of too old a Hessian
CELLS = 500_000  # of the rows that are solved together: large problems are faster one by one


@dataclass(frozen=True, eq=False)
class Fits:
    """Minimisers of R problems under P penalties each, float64.

    Attributes:
        weight: w, (R, P, d).
        objective: the penalised mean loss at w, (R, P), in nats.
        gradient_norm: |gradient| at w, (R, P).
    """

    weight: Tensor
    objective: Tensor
    gradient_norm: Tensor


def fit_bradley_terry(
    differences: Tensor | Sequence[Tensor],
    penalties: Tensor | Sequence[float],
    *,
    weights: Tensor | Sequence[Tensor] | None = None,
    towards: Tensor | None = None,
    offsets: Sequence[Tensor] | None = None,
    tolerance: float = TOLERANCE,
) -> Fits:
    """Minimise sum_i s_i -log sigmoid(o_i + w . d_i) + penalty |w - w0|^2 for every problem and penalty, all at once.

    s_i are the pairs' weights as shares of their sum. Damped Newton steps, float64, with the Hessian of an earlier step
    as long as that makes progress. The loss along a direction that changes no margin by more than c satisfies
    |g'''| <= c g'', so the Newton step by log(1 + c) / c always descends; the whole step is taken where it descends
    too. Where a problem has fewer pairs than features, w - w0 is sought in the span of the pairs, which holds the
    minimiser. One problem equals scikit-learn's LogisticRegression without intercept on the differences and their
    negatives, C = 1 / (4 n penalty).

    Args:
        differences: phi(x, a_w) - phi(x, a_l): (R, n, d), or R tensors (n_r, d), each n_r >= 1.
        penalties: (P,) for all problems, or (R, P); each > 0, or 0 where the data alone have one finite minimiser.
        weights: of the pairs, >= 0 and not all 0 in a problem, (R, n) or R tensors (n_r,); None = equal.
        towards: w0, (d,) or (R, d); None = 0.
        offsets: o of the pairs, R tensors (n_r,), in nats: margins that stay as they are; None = 0.
        tolerance: stop where the gradient's norm is below it, or below its share of the start's norm above 1.

    Raises:
        InputError: shapes, values or penalties that cannot be used; with penalty 0, pairs that some reward separates
            or collinear features; a gradient that stays above the tolerance. Names the problem.
    """
    x, share = _stacked(differences, weights)
    count, n, d = x.shape
    penalty = torch.as_tensor(penalties, dtype=x.dtype)
    if penalty.ndim not in (1, 2) or not penalty.numel() or (penalty.ndim == 2 and len(penalty) != count):
        raise InputError(f"penalties must be (P,) or ({count}, P), got shape {tuple(penalty.shape)}")
    if not ((penalty >= 0) & penalty.isfinite()).all():
        raise InputError(f"penalty must be > 0, or 0 for data that are not separable, got {penalty.tolist()}")
    penalty = penalty.expand(count, -1)
    for r in (penalty == 0).any(dim=1).nonzero()[:, 0].tolist():
        _check_unpenalised(x[r, share[r] > 0], r)
    penalty = penalty.to(x.device)
    start = x.new_zeros(d) if towards is None else torch.as_tensor(towards).detach().to(x)
    if start.shape not in ((d,), (count, d)) or not start.isfinite().all():
        raise InputError(f"towards must be finite, ({d},) or ({count}, {d}), got shape {tuple(start.shape)}")
    start = start.expand(count, d)
    offset, rows, basis = (x @ start[..., None])[..., 0], x, None
    if offsets is not None:
        offset = offset + _constant(offsets, differences).to(x)
    if n < d:
        basis, triangle = torch.linalg.qr(x.mT)
        rows = triangle.mT
    order = penalty.argsort(dim=1, descending=True)  # each fit starts from that under the next larger penalty
    move = x.new_zeros(count, penalty.shape[1], rows.shape[2])
    objective, norm = torch.empty_like(penalty), torch.empty_like(penalty)
    for part in torch.arange(count, device=x.device).split(max(1, CELLS // rows[0].numel())):
        problem = slice(int(part[0]), int(part[-1]) + 1)
        v, curvature = move[problem, 0], None
        for column in order[problem].unbind(dim=1):
            of = rows[problem], share[problem], offset[problem], penalty[part, column]
            v, curvature, f, g = _newton(v, curvature, *of, tolerance, part)
            move[part, column], objective[part, column], norm[part, column] = v, f, g
    if basis is not None:
        move = move @ basis.mT
    return Fits(start[:, None] + move, objective, norm)


def fit_ridge(features: Tensor, ratings: Tensor, penalties: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return w (A, P, d) and b (A, P) that minimise sum_i (y_i - w . x_i - b)^2 + penalty n |w|^2, float64.

    The sum is over the n rows that a column rates; columns that rate the same rows share their factorisations.

    Args:
        features: x, (m, d).
        ratings: y, (m, A), NaN where unknown.
        penalties: P, each > 0, per row, so that it means the same for any n (scikit-learn's alpha = penalty n).

    Raises:
        InputError: a column without ratings, or a penalty that is not above 0.
    """
    x, y = features.double(), ratings.double()
    if not (known := ~y.isnan()).any(dim=0).all() or not y.numel():
        raise InputError("ridge regression needs at least one rated response of each attribute")
    if not min(penalties) > 0:
        raise InputError(f"penalty must be > 0, got {min(penalties)}")
    weight = x.new_empty(y.shape[1], len(penalties), x.shape[1])
    bias = x.new_empty(weight.shape[:2])
    patterns, which = known.unique(dim=1, return_inverse=True)
    for i, rows in enumerate(patterns.T):
        own, part = which == i, x[rows]
        target = y[rows][:, own]
        mean_x, mean_y = part.mean(dim=0), target.mean(dim=0)
        part = part - mean_x
        shift = x.new_tensor(penalties)[:, None, None] * len(part) * torch.eye(x.shape[1], dtype=x.dtype).to(x)
        factor = torch.linalg.cholesky(part.T @ part + shift)
        w = torch.cholesky_solve((part.T @ (target - mean_y)).expand(len(penalties), -1, -1), factor)  # (P, d, own)
        weight[own], bias[own] = w.permute(2, 0, 1), (mean_y - mean_x @ w).T
    return weight, bias


def _newton(
    v: Tensor,
    curvature: Tensor | None,
    x: Tensor,
    share: Tensor,
    offset: Tensor,
    penalty: Tensor,
    tolerance: float,
    number: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return v (B, k), curvature (B, k, k), objective and gradient norm (B,) for margins offset + x v.

    `curvature`, the loss's Hessian without the penalty, is computed anew where a step with that of an earlier one has
    not left less than PROGRESS of the gradient; `number` names the problems.
    """
    v, objective, norm = v.clone(), x.new_zeros(len(x)), x.new_full((len(x),), torch.inf)
    going, enough = torch.arange(len(x), device=x.device), None
    if curvature is None:
        norm.zero_()  # there is no earlier step
        curvature = factor = x.new_zeros(len(x), x.shape[2], x.shape[2])
    else:
        factor = _factor(curvature, penalty)
    curvature, factor = curvature.clone(), factor.clone()

    def value(at: Tensor, margin: Tensor) -> Tensor:
        return -(share * log_preference(margin)).sum(dim=1) + penalty * at.square().sum(dim=1)

    for _ in range(STEPS):
        at, before = v[going], norm[going]
        margin = offset + _times(x, at)
        lose = (-margin).sigmoid()
        gradient = 2 * penalty[:, None] * at - _times(x.mT, share * lose)
        objective[going], norm[going] = value(at, margin), gradient.norm(dim=1)
        if enough is None:
            enough = tolerance * norm.clamp_min(1)
        if not (left := norm[going] > enough[going]).any():
            return v, curvature, objective, norm
        if not left.all():
            going, x, share, offset, penalty = (t[left] for t in (going, x, share, offset, penalty))
            at, before, margin, lose, gradient = (t[left] for t in (at, before, margin, lose, gradient))
        if (stale := norm[going] > PROGRESS * before).any():
            root = x[stale] * (share * lose * (1 - lose))[stale].sqrt()[..., None]
            curvature[going[stale]] = root.mT @ root
            factor[going[stale]] = _factor(curvature[going[stale]], penalty[stale])
        step = -torch.cholesky_solve(gradient[..., None], factor[going])[..., 0]
        moved = _times(x, step)
        most = (moved.abs() * (share > 0)).amax(dim=1)
        slope = (gradient * step).sum(dim=1)
        whole = (most < 0.5) | (value(at + step, margin + moved) <= objective[going] + 1e-4 * slope)
        length = torch.where(whole, 1.0, most.log1p() / most.clamp_min(0.5))
        v[going] = at + length[:, None] * step
    worst = going[norm[going].argmax()]
    raise InputError(
        f"problem {int(number[worst])}: the gradient's norm is still {norm[worst].item():.1e} after {STEPS} Newton "
        "steps: scale the features, or raise the penalty"
    )


def _factor(curvature: Tensor, penalty: Tensor) -> Tensor:
    """Return the Cholesky factors of the Hessians, (B, k, k)."""
    hessian = curvature.clone()
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    # Beyond rounding in collinear directions; it changes steps, not the minimiser.
    diagonal += 2 * penalty[:, None] + 1e-14 * diagonal.mean(dim=1, keepdim=True)
    return torch.linalg.cholesky(hessian)


def _constant(offsets: Sequence[Tensor], differences: Tensor | Sequence[Tensor]) -> Tensor:
    """Return the offsets of all problems, (R, n), filled up with 0."""
    given, wanted = [o.detach().double() for o in offsets], [part.shape[:1] for part in differences]
    if [o.shape for o in given] != wanted or not all(torch.isfinite(o).all() for o in given):
        raise InputError("offsets must be finite, one a pair of every problem: check the margins that they come from")
    return torch.nn.utils.rnn.pad_sequence(given, batch_first=True)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector[..., None])[..., 0]


def _stacked(
    differences: Tensor | Sequence[Tensor], weights: Tensor | Sequence[Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Return differences (R, n, d) and shares (R, n), float64, shorter problems filled up with rows of share 0."""
    parts = list(differences)
    given = [None] * len(parts) if weights is None else list(weights)
    if not parts or len(given) != len(parts):
        raise InputError(
            f"differences are of {len(parts)} problems, weights of {len(given)}: both of each, of at least 1 problem"
        )
    for r, (part, weight) in enumerate(zip(parts, given, strict=True)):
        if part.ndim != 2 or 0 in part.shape or part.shape[1] != parts[0].shape[-1]:
            raise InputError(
                f"problem {r}: differences must be (n, d) with n >= 1 and one d, got shape {tuple(part.shape)}"
            )
        if not (finite := torch.isfinite(part)).all():
            row, column = (~finite).nonzero()[0].tolist()
            raise InputError(
                f"problem {r}: differences hold a non-finite feature in row {row}, column {column}: "
                "check the feature store"
            )
        if weight is not None and (
            weight.shape != part.shape[:1] or not ((weight >= 0) & weight.isfinite()).all() or not weight.sum() > 0
        ):
            raise InputError(f"problem {r}: weights must be ({len(part)},), finite, >= 0 and not all 0")
    x = torch.nn.utils.rnn.pad_sequence([part.detach().double() for part in parts], batch_first=True)
    shares = [x.new_ones(len(p)) if w is None else w.detach().to(x) for p, w in zip(parts, given, strict=True)]
    share = torch.nn.utils.rnn.pad_sequence(shares, batch_first=True)
    return x, share / share.sum(dim=1, keepdim=True)


def _check_unpenalised(x: Tensor, number: int) -> None:
    """Refuse a problem, (n, d), whose unpenalised loss has no minimiser, or many."""
    rows = (x / x.abs().amax().clamp_min(torch.finfo(x.dtype).tiny)).cpu().numpy()
    found = linprog(-rows.sum(axis=0), A_ub=-rows, b_ub=[0.0] * len(rows), bounds=(-1, 1))
    if found.status != 0 or -found.fun > 1e-6:
        raise InputError(
            f"problem {number}: with penalty 0 the pairs are separable, so the loss has no minimiser: use a penalty > 0"
        )
    if (rank := int(torch.linalg.matrix_rank(x))) < x.shape[1]:
        raise InputError(
            f"problem {number}: with penalty 0 its {x.shape[1]} features are collinear (rank {rank}), so the loss has "
            "many minimisers: use a penalty > 0"
        )
