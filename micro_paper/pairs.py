"""Preference pairs on cached features: what every method sees."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from micro_paper.errors import InputError

# one row a text; all else has one a pair
TABLES = ("responses", "prompts", "contexts", "criteria", "lengths", "ratings")


class Derived:
    """What was worked out from feature tables, kept beside them for the methods that come next.

    A result counts for the very objects that it was worked out from, and is made anew for any others.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[tuple[object, ...], Any]] = {}

    def get(self, key: Hashable, sources: tuple[object, ...], made: Callable[[], Any]) -> Any:
        """Return the result kept under `key`, if its sources are these objects, else what `made` returns."""
        before, result = self._kept.get(key, ((), None))
        if len(before) != len(sources) or any(a is not b for a, b in zip(before, sources, strict=True)):
            result = made()
            self._kept[key] = (sources, result)
        return result

    def clear(self) -> None:
        """Forget every result: scaled tables take as much memory as the tables."""
        self._kept.clear()


@dataclass(frozen=True)
class Pairs:
    """n labelled comparisons; the first response of each is the preferred one.

    Features are stored once a distinct text and pairs point into them, because one response takes part in many pairs.

    Attributes:
        responses: phi(x, a), (m, d), one row a distinct prompt and response.
        chosen, rejected: (n,) rows of `responses`.
        prompts: u(x), (p, q), one row a distinct prompt.
        prompt: (n,) rows of `prompts`.
        contexts: u(x, c), (c, q), one row a distinct prompt and criterion; None where no pair states one.
        context: (n,) rows of `contexts`; None together with `contexts`.
        lengths: (m,) length of each response, in words (text) or 0 (tabular).
        pair_id, prompt_id, attribute: (n,) arrays of str.
        user_id: (n,) array of str, or None where the data names no users.
        criteria: u(c), (r, q), one row a distinct criterion, read by itself; None where no pair states one.
        criterion: (n,) rows of `criteria`; None together with `criteria`.
        ratings: (m, A) rating of each response by each of A attributes, nan where unknown; None where there are none.
        rating_names: the A attributes.
        position: (n,) 1 where the chosen response was shown first, -1 where the rejected one was; None where unknown.
        derived: results kept with the tables; pairs that share tables share them.
    """

    responses: Tensor
    chosen: Tensor
    rejected: Tensor
    prompts: Tensor
    prompt: Tensor
    contexts: Tensor | None
    context: Tensor | None
    lengths: Tensor
    pair_id: np.ndarray
    prompt_id: np.ndarray
    attribute: np.ndarray
    user_id: np.ndarray | None = None
    criteria: Tensor | None = None
    criterion: Tensor | None = None
    ratings: Tensor | None = None
    rating_names: tuple[str, ...] = ()
    position: Tensor | None = None
    derived: Derived = field(default_factory=Derived, repr=False, compare=False)

    def __post_init__(self) -> None:
        n = len(self.chosen)
        for column in fields(self):
            value = getattr(self, column.name)
            if column.name in (*TABLES, "rating_names", "derived") or value is None:
                continue
            if len(value) != n:
                raise InputError(f"{column.name} has {len(value)} rows, chosen has {n}: give one row a pair")
        for table, rows in (("contexts", "context"), ("criteria", "criterion")):
            if (getattr(self, table) is None) != (getattr(self, rows) is None):
                raise InputError(f"{table} and {rows} go together: give both or neither")
        if self.ratings is not None and self.ratings.shape != (len(self.responses), len(self.rating_names)):
            raise InputError(
                f"ratings have shape {tuple(self.ratings.shape)}: give a row a response and a column for each of "
                f"the {len(self.rating_names)} rating_names"
            )

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def difference(self) -> Tensor:
        """phi(x, chosen) - phi(x, rejected), (n, d); gathered once, so not to be changed in place."""
        sources = (self.responses, self.chosen, self.rejected)
        return self.derived.get(
            "difference", sources, lambda: self.responses[self.chosen] - self.responses[self.rejected]
        )

    @property
    def prompt_features(self) -> Tensor:
        """u(x), (n, q)."""
        return self.prompts[self.prompt]

    @property
    def context_features(self) -> Tensor:
        """u(x, c), (n, q).

        Raises:
            InputError: the pairs state no criterion.
        """
        if self.contexts is None:
            raise InputError("these pairs state no context: load a data set with criteria, or use prompt features")
        return self.contexts[self.context]

    @property
    def criterion_features(self) -> Tensor:
        """u(c), (n, q).

        Raises:
            InputError: the pairs have no features of criteria by themselves.
        """
        if self.criteria is None:
            raise InputError("these pairs have no criterion read by itself: use the context, or text features")
        return self.criteria[self.criterion]

    @property
    def length_difference(self) -> Tensor:
        """Length of the chosen response less that of the rejected one, (n,)."""
        return self.lengths[self.chosen] - self.lengths[self.rejected]

    def select(self, index: np.ndarray | Tensor | slice) -> Pairs:
        """Return the pairs at `index` (positions or a mask), sharing the feature tables."""
        if isinstance(index, Tensor):
            index = index.cpu().numpy()
        rows = np.ascontiguousarray(np.arange(len(self))[index])  # torch takes no negative strides
        where = torch.from_numpy(rows).to(self.chosen.device)
        return replace(
            self,
            chosen=self.chosen[where],
            rejected=self.rejected[where],
            prompt=self.prompt[where],
            context=None if self.context is None else self.context[where],
            criterion=None if self.criterion is None else self.criterion[where],
            pair_id=self.pair_id[rows],
            prompt_id=self.prompt_id[rows],
            attribute=self.attribute[rows],
            user_id=None if self.user_id is None else self.user_id[rows],
            position=None if self.position is None else self.position[where],
        )

    def flip(self) -> Pairs:
        """Return the pairs with chosen and rejected exchanged."""
        position = None if self.position is None else -self.position
        return replace(self, chosen=self.rejected, rejected=self.chosen, position=position)

    def table(self, name: str) -> Tensor | None:
        """Return the feature table of that name (TABLES)."""
        return getattr(self, name)

    def with_tables(self, **tables: Tensor) -> Pairs:
        """Return the pairs pointing into other feature tables (TABLES) of the same rows."""
        return replace(self, derived=Derived(), **tables)

    def to(self, dtype: torch.dtype, device: str | torch.device = "cpu") -> Pairs:
        """Return the pairs with all features in `dtype`, everything on `device`."""
        moved = {
            name: None if getattr(self, name) is None else getattr(self, name).to(device=device, dtype=dtype)
            for name in TABLES
        }
        moved |= {
            name: None if getattr(self, name) is None else getattr(self, name).to(device)
            for name in ("chosen", "rejected", "prompt", "context", "criterion", "position")
        }
        return replace(self, derived=Derived(), **moved)
