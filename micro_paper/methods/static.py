"""Heads under weights that do not read the prompt: the single reward and the static mixtures of tables 2 and 3."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn

from micro_paper import metrics
from micro_paper.bradley_terry import log_preference
from micro_paper.errors import InputError
from micro_paper.methods.two_stage import MixtureMethod
from micro_paper.mixture import StaticWeights
from micro_paper.pairs import Pairs

ROUNDS = 4  # of hard EM, at least


class StaticUniform(MixtureMethod):
    """K heads, every weight fixed at 1/K."""

    learned = False

    def _make_weights(self, pairs: Pairs) -> nn.Module:
        return StaticWeights(self.settings.heads, self.learned, self.settings.torch_dtype).to(
            self.settings.torch_device
        )


class StaticLearned(StaticUniform):
    """K heads under learnt weights softmax(theta), the same for every prompt."""

    learned = True


class Single(StaticUniform):
    """One Bradley-Terry reward: the mixture with K = 1."""

    def __init__(self, settings=None, seed: int = 0) -> None:
        super().__init__(settings, seed)
        self.settings = replace(self.settings, heads=1)


class GroupHeads(MixtureMethod):
    """Heads that belong to groups of pairs."""

    def groups(self, pairs: Pairs) -> np.ndarray:
        """Return the group id of each pair, (n,): the user where the data names one, else the attribute."""
        return pairs.attribute if pairs.user_id is None else pairs.user_id


class StaticMaxMin(GroupHeads):
    """MaxMin: hard EM over groups, then the static weights that maximise the worst group's likelihood.

    Hard EM over single pairs is degenerate (a head and its negative explain every pair), so groups are users, or
    attributes where no users are named. There are at most half as many heads as groups, else the assignment would give
    each group its own supervised head; assignments are renewed ROUNDS times or more, at even distances.
    """

    supervision = "binary labels; group of each training and validation pair"

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Alternate between assigning each group to its likeliest head and training the heads."""
        if not len(train_pairs):
            raise InputError("there are no training pairs: check the data set's filters and the split")
        names, group = np.unique(self.groups(train_pairs), return_inverse=True)
        heads = min(self.settings.heads, max(1, len(names) // 2))
        rounds = max(ROUNDS, self.settings.epochs)
        self.settings = replace(self.settings, heads=heads, epochs=rounds)
        group = torch.from_numpy(group).to(self.settings.torch_device)
        known = {name: i for i, name in enumerate(names)}
        held = torch.tensor([known.get(g, -1) for g in self.groups(validation)], dtype=torch.long, device=group.device)
        count = self.settings.heads
        start = torch.randperm(len(names), generator=self.generator("weights")).to(group.device) % count

        pairs, held_out = self._prepared(train_pairs, validation)
        self.heads = self._make_heads(pairs)
        difference, own = pairs.difference, {}
        steps = self.settings.stage1_schedule().total(len(pairs))
        distance = -(-steps // rounds)

        def assign(step: int) -> None:
            if step % distance:
                return
            of_group = start
            if step:
                with torch.no_grad():
                    loss = -log_preference(self._margins(pairs))
                total = torch.zeros(len(names), count, dtype=loss.dtype, device=loss.device)
                of_group = total.index_add_(0, group, loss).argmin(dim=1)
            # A validation group never seen in training is judged by the head of the largest training group.
            largest = of_group[group.bincount().argmax()]
            own["train"] = of_group[group]
            own["validation"] = torch.where(held >= 0, of_group[held.clamp_min(0)], largest)

        def loss(rows: torch.Tensor) -> torch.Tensor:
            return -log_preference(self.heads(difference[rows]).gather(1, own["train"][rows, None])).mean()

        def validate() -> float:
            return -log_preference(self._margins(held_out).gather(1, own["validation"][:, None])).mean().item()

        self._train(nn.ModuleList([self.heads]), loss, len(pairs), validate if len(validation) else None, assign)
        p = torch.from_numpy(self.head_margins(train_pairs)).double().sigmoid().numpy()
        weights = maxmin_weights(p, group.cpu().numpy())
        self.weights = StaticWeights(count, learned=False, dtype=self.settings.torch_dtype)
        with torch.no_grad():
            self.weights.theta.copy_(torch.from_numpy(weights).log())
        self.weights.to(self.settings.torch_device)
        return self


def maxmin_weights(probabilities: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the weights f on the simplex, (K,), that maximise min_g mean_{i in g} log sum_k f_k p_ik.

    The problem is concave; it is solved in epigraph form by sequential quadratic programming.

    Args:
        probabilities: p_ik in (0, 1), (n, K).
        group: integer group of each pair, (n,).
    """
    n, count = probabilities.shape
    if len(group) != n:
        raise InputError(f"group must have {n} rows, got {len(group)}")
    members = [probabilities[group == g] for g in np.unique(group)]

    def worst(x: np.ndarray) -> np.ndarray:
        return np.array([-metrics.pair_nll(p @ x[:count]).mean() - x[count] for p in members])

    def gradient(x: np.ndarray) -> np.ndarray:
        rows = [(p / np.maximum(p @ x[:count], metrics.FLOOR)[:, None]).mean(axis=0) for p in members]
        return np.hstack([np.array(rows), -np.ones((len(members), 1))])

    start = np.full(count + 1, 1.0 / count)
    start[count] = worst(np.append(start[:count], 0.0)).min()
    result = minimize(
        lambda x: -x[count],
        start,
        jac=lambda x: np.append(np.zeros(count), -1.0),
        bounds=[(0.0, 1.0)] * count + [(None, None)],
        constraints=[
            {
                "type": "eq",
                "fun": lambda x: x[:count].sum() - 1,
                "jac": lambda x: np.append(np.ones(count), 0.0),
            },
            {"type": "ineq", "fun": worst, "jac": gradient},
        ],
        method="SLSQP",
        options={"maxiter": 200, "ftol": 1e-10},
    )
    weights = np.clip(result.x[:count], 0, None)
    return weights / weights.sum()
