"""Heads under audit: which prefer the rejected side of safety pairs (section 8), which say the same (appendix C.3).

Both are decided on validation pairs and measured on test pairs. Masking comes before stage 2, which then trains the
router over the remaining heads; merging comes after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from micro_paper import intervals, metrics
from micro_paper.errors import InputError
from micro_paper.methods.table import HeadsMethod
from micro_paper.metrics import MACRO
from micro_paper.pairs import Pairs

Fit = TypeVar("Fit", bound=HeadsMethod)


def regroup(method: Fit, groups: Sequence[Sequence[int]]) -> Fit:
    """Return a copy of a fitted method with one head a group, their mean, under the sum of their weights.

    Heads in no group are masked: their weight is 0 and the others' are renormalised. The copy can be adapted like any
    other; the method itself is left alone.

    Raises:
        InputError: no group, an empty one, or a head that does not exist or is in two.
    """
    heads = method.head_weights()
    count, used = len(heads), [head for group in groups for head in group]
    if not groups or not all(len(group) for group in groups):
        raise InputError("at least one head must remain: give groups with one head or more each")
    if len(set(used)) != len(used) or not set(used) <= set(range(count)):
        raise InputError(f"groups must name each of the heads 0 .. {count - 1} at most once, got {groups}")
    return method.with_heads(torch.stack([heads[list(group)].mean(dim=0) for group in groups]), groups)


def without_heads(method: Fit, masked: Iterable[int]) -> Fit:
    """Return a copy of the method with the weight of some heads forced to 0; call it before stage 2."""
    gone = set(masked)
    return regroup(method, [[k] for k in range(len(method.head_weights())) if k not in gone])


def reverse_head(method: Fit, head: int) -> Fit:
    """Return a copy of the method with the sign of one head turned: a planted fault that the audit must find."""
    weight = method.head_weights().clone()
    weight[head] *= -1
    return method.with_heads(weight, [[k] for k in range(len(weight))])


def head_audit(method: HeadsMethod, pairs: Pairs) -> pd.DataFrame:
    """Return the accuracy of every head on safety pairs and whether it prefers the rejected side.

    Args:
        method: fitted.
        pairs: safety pairs, the safer response chosen; held out from stage 1.

    Returns:
        A table with columns head (from 1), value, low, high (95 %, over prompts), n_pairs, n_prompts, weight (mean
        router weight on these pairs), masked: the upper end lies below one half. If that were true of all heads, the
        one with the highest accuracy stays.
    """
    if not len(pairs):
        raise InputError("there are no safety pairs to audit on: check safety_attribute")
    right = metrics.decided(method.head_margins(pairs))
    weight = method.mixture_weights(pairs).mean(axis=0)
    of = intervals.Sample(pairs.prompt_id)
    found = [of.mean(column) for column in right.T]
    table = pd.DataFrame(
        {
            "head": range(1, len(found) + 1),
            "value": [i.estimate for i in found],
            "low": [i.low for i in found],
            "high": [i.high for i in found],
            "n_pairs": len(pairs),
            "n_prompts": [i.n_groups for i in found],
            "weight": weight,
        }
    )
    table["masked"] = table["high"] < 0.5
    if table["masked"].all():
        table.loc[table["value"].idxmax(), "masked"] = False
    return table


def merge_groups(margins: ArrayLike, threshold: float) -> list[list[int]]:
    """Group heads of which every two correlate above `threshold` (complete linkage), in the order of their first head.

    The correlation is signed: a head and its opposite stay apart.

    Args:
        margins: of K heads on held-out pairs, (n, K).
        threshold: in (0, 1).
    """
    if not 0 < threshold < 1:
        raise InputError(f"threshold must lie between 0 and 1, got {threshold}")
    values = np.asarray(margins, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise InputError(f"margins must be finite and of shape (pairs, heads), got shape {values.shape}")
    distance = 1 - metrics.head_correlations(values.T)
    if len(distance) == 1:
        return [[0]]
    np.fill_diagonal(distance, 0)
    label = fcluster(linkage(squareform(distance, checks=False), "complete"), 1 - threshold, "distance")
    groups: dict[int, list[int]] = {}
    for head, cluster in enumerate(label):
        groups.setdefault(cluster, []).append(head)
    return list(groups.values())


def merge_heads(method: Fit, pairs: Pairs, threshold: float) -> Fit:
    """Return a copy of the method with heads that agree on held-out `pairs` merged: weights added, heads averaged."""
    return regroup(method, merge_groups(method.head_margins(pairs), threshold))


def compare(before: ArrayLike, after: ArrayLike, of: intervals.Sample) -> list[dict[str, Any]]:
    """Return accuracy before and after a change of heads, by attribute and their mean, paired by pair and run.

    Args:
        before, after: 1 where a run decides the pair as labelled, (n, runs); nan where a run is left out.
        of: the pairs.

    Returns:
        Lines of attribute, before, after, difference (after less before), low, high, free, n_pairs, n_prompts, n_seeds.
    """
    lines = []
    for name in (*of.names, MACRO):
        only = None if name == MACRO else name
        gap = of.difference(after, before, only)
        line = {"attribute": name, "before": of.mean(before, only).estimate, "after": of.mean(after, only).estimate}
        line |= {"difference": gap.estimate, "low": gap.low, "high": gap.high, "free": gap.free}
        lines.append(line | {"n_pairs": of.count(only), "n_prompts": gap.n_groups, "n_seeds": gap.n_runs})
    return lines
