"""Methods whose coefficients belong to the user who gave the label; the user is named in training and at test."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from micro_paper.bradley_terry import log_preference
from micro_paper.errors import InputError
from micro_paper.methods.settings import Settings
from micro_paper.methods.static import GroupHeads
from micro_paper.pairs import Pairs


class UserMethod(GroupHeads):
    """The margin of a pair is sum_k c_uk D_k: K shared rewards, and coefficients c_u of the user who gave the label.

    The user is named in training and at test. Neither prompt nor context features are read. Subclasses say how c_u is
    learnt. These rows are references that know more than the paper's: where the settings state the steps that match
    those, training runs until validation pairs no longer improve instead.

    Attributes:
        names: known users, (U,), sorted.
        table: their coefficients, (U + 1, K); the last row is that of a user never seen.
    """

    supervision = (
        "binary labels; user identity (here: the attribute), in training and at test; "
        "labelled pairs of each user within the budget"
    )

    def __init__(self, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__(settings, seed)
        if self.settings.steps:
            self.settings = self.settings.converged()
        self.names: np.ndarray | None = None
        self.table: Tensor
        self._names_users: bool | None = None

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Learn rewards and the coefficients of the training pairs' users; validation chooses the epoch."""
        pairs, held_out = self._prepared(train_pairs, validation)
        self._names_users = train_pairs.user_id is not None
        identity = "user identity" if self._names_users else "user identity (here: the attribute)"
        self.supervision = type(self).supervision.replace("user identity (here: the attribute)", identity)
        self.names, own = np.unique(self.groups(train_pairs), return_inverse=True)
        device = self.settings.torch_device
        user = torch.from_numpy(own).to(device)
        held_user = torch.from_numpy(self._rows(validation)).to(device)
        self.heads = self._make_heads(pairs)
        self.weights = self._make_users(pairs, user).to(device)

        def validate() -> float:
            self._settle(pairs, user)
            margin = (self._trained_table()[held_user] * self._margins(held_out)).sum(dim=1)
            return -log_preference(margin).mean().item()

        model = nn.ModuleList([self.heads, self.weights])
        loss = self._loss(pairs, user)
        chooses = len(validation) > 0 and self.settings.stops_early
        per_epoch = self.settings.stage1_schedule().per_epoch(len(pairs))

        def settle(step: int) -> None:
            if step and step % per_epoch == 0:
                self._settle(pairs, user)

        self._train(model, loss, len(pairs), *((validate, None) if chooses else (None, settle)))
        if not chooses:
            self._settle(pairs, user)
        with torch.no_grad():
            self.table = self._trained_table()
        self._trained = self.names, self.table
        return self

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Fit the coefficients of the users of these pairs, seen in training or not; rewards and other users stay.

        Each call starts again from what `fit` learnt.

        Raises:
            InputError: no pairs, or called before `fit`.
        """
        if self.names is None:
            raise InputError("adapt needs what fit learns: call fit first")
        if not len(context_pairs):
            raise InputError("context_pairs is empty: a user's coefficients need labelled pairs, raise the budget")
        self.names, self.table = self._trained
        scaled = self._scaled(context_pairs)
        users, own = np.unique(self.groups(context_pairs), return_inverse=True)
        start = self.table[torch.from_numpy(_find(self.names, users)).to(self.table.device)]
        with torch.no_grad():
            margins = self._margins(scaled)
        refitted = self._refit(scaled, margins, torch.from_numpy(own).to(self.table.device), start)
        names = np.union1d(self.names, users)
        table = self.table[torch.from_numpy(_find(self.names, names)).to(self.table.device)]
        table[torch.from_numpy(_find(names, users)).to(table.device)] = refitted.to(table)
        self.names, self.table = names, torch.cat([table, self.table[-1:]])
        return self

    def mixture_weights(self, pairs: Pairs) -> np.ndarray:
        """Return the coefficients c_uk of each pair's user, (n, K)."""
        return self.table[torch.from_numpy(self._rows(pairs)).to(self.table.device)].double().cpu().numpy()

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred over rejected) = sigmoid(sum_k c_uk D_k), (n,)."""
        rows = torch.from_numpy(self._rows(pairs)).to(self.table.device)
        with torch.no_grad():
            margins = self._margins(self._scaled(pairs))
            # Sigmoid in float64: in float32 p(a, b) + p(b, a) would miss 1 by rounding.
            return (self.table[rows] * margins).sum(dim=1).double().sigmoid().cpu().numpy()

    def groups(self, pairs: Pairs) -> np.ndarray:
        """Return the user of each pair, (n,); the attribute where the training pairs name no users.

        Raises:
            InputError: users are named in some of the method's pairs only.
        """
        if self._names_users is not None and (pairs.user_id is not None) != self._names_users:
            named = ("name", "do not") if self._names_users else ("do not name", "do")
            raise InputError(f"user_id: the training pairs {named[0]} users, these pairs {named[1]}: give all or none")
        return super().groups(pairs)

    def knowing(self, people: Mapping[str, Tensor], unknown: Tensor) -> Self:
        """Return a copy that knows these people alone; training's are forgotten, `adapt` starts everybody anew.

        Args:
            people: coefficients of each, (K,).
            unknown: of anybody else, (K,).
        """
        new = copy.copy(self)
        names = np.array(sorted(people), dtype=str)
        unknown = unknown[None].to(device=self.settings.torch_device, dtype=self.settings.torch_dtype)
        new.names = names
        new.table = torch.cat([*(people[name][None].to(unknown) for name in names.tolist()), unknown])
        new._trained, new._names_users = (names[:0], unknown), True
        return new

    @property
    def names_users(self) -> bool | None:
        """Whether the training pairs named users; None before `fit`."""
        return self._names_users

    def _rows(self, pairs: Pairs) -> np.ndarray:
        if self.names is None:
            raise InputError("predictions need what fit learns: call fit first")
        return _find(self.names, self.groups(pairs))

    def _pair_margins(self, pairs: Pairs, rows: Tensor) -> Tensor:
        return self.heads(pairs.responses[pairs.chosen[rows]]) - self.heads(pairs.responses[pairs.rejected[rows]])

    def _make_users(self, pairs: Pairs, user: Tensor) -> nn.Module:
        """Return what is learnt about users; `user` (n,) are rows of `names`."""
        raise NotImplementedError

    def _trained_table(self) -> Tensor:
        """Return the coefficients as training left them, (U + 1, K)."""
        raise NotImplementedError

    def _loss(self, pairs: Pairs, user: Tensor):
        """Return the loss of a minibatch, as `training.train` wants it."""
        raise NotImplementedError

    def _settle(self, pairs: Pairs, user: Tensor) -> None:
        """Fit what is learnt about users to the rewards as they are, after each epoch; by default nothing.

        Args:
            pairs: those of training, with scaled features.
            user: of each, (n,).
        """

    def _refit(self, scaled: Pairs, margins: Tensor, user: Tensor, start: Tensor) -> Tensor:
        """Return the coefficients of the users 0 .. U' - 1 of n labelled pairs, (U', K).

        Args:
            scaled: the pairs, with scaled features.
            margins: D_k of each, (n, K).
            user: of each, (n,).
            start: coefficients before, (U', K); those of an unknown user where one is new.
        """
        raise NotImplementedError


def _find(names: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the row of each wanted name in the sorted `names`, and len(names) for one that is not there."""
    if not len(names):
        return np.zeros(len(wanted), np.int64)
    rows = np.searchsorted(names, wanted)
    return np.where(names[np.minimum(rows, len(names) - 1)] == wanted, rows, len(names))
