"""Scaling of feature tables by their spread over the training texts, worked out once for all methods of a run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from micro_paper.errors import InputError


class Recent:
    """The last results of a function; tensors and scalers among its arguments are known by identity, others by value.

    Arguments are kept alive with their result, so that no identity is given to another object meanwhile.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[tuple, tuple[tuple, Any]] = OrderedDict()

    def get(self, arguments: tuple, make: Callable[[], Any]) -> Any:
        """Return the result for these arguments, made where it is not among the last `size` ones."""
        key = tuple(id(a) if isinstance(a, Tensor | Scaler) else a for a in arguments)
        if key not in self._kept:
            self._kept[key] = (arguments, make())
        self._kept.move_to_end(key)
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return self._kept[key][1]


# Whole feature tables: few are kept. One run reads responses, prompts, contexts and criteria.
_SCALERS, _TABLES = Recent(16), Recent(6)


@dataclass(frozen=True, eq=False)
class Scaler:
    """Affine scaling of a feature table: (x - mean) / scale, each (d,); constant features keep scale 1."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, table: Tensor, enabled: bool = True) -> Scaler:
        """Return the scaling that gives the rows of `table` (m, d) mean 0 and standard deviation 1 (or none)."""
        table = table.to(torch.float64)
        if not enabled or len(table) < 2:
            return cls(torch.zeros_like(table[0]), torch.ones_like(table[0]))
        scale = table.std(dim=0)
        # A spread at rounding level is no signal: dividing by it would blow noise up.
        scale = torch.where(scale > 1e-6 * table.abs().amax(dim=0), scale, torch.ones_like(scale))
        return cls(table.mean(dim=0), scale)

    @classmethod
    def of_rows(cls, table: Tensor, *rows: Tensor, enabled: bool = True) -> Scaler:
        """Return `fit` over the distinct rows of `table` that `rows` name; the same object for the same arguments."""
        return _SCALERS.get((table, *rows, enabled), lambda: cls.fit(table[torch.cat(rows).unique()], enabled))

    def __call__(self, table: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the scaled `table`, computed in float64."""
        return ((table.to(self.mean) - self.mean) / self.scale).to(device=device, dtype=dtype)

    def whole(self, table: Tensor, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the scaled `table` of a data set; the last few are kept, as splits and methods share tables.

        Raises:
            InputError: a value is not finite; `name` says of which table.
        """

        def make() -> Tensor:
            if not torch.isfinite(table).all():
                raise InputError(f"the features of the {name} hold a non-finite value: check the feature store")
            return self(table, dtype, device)

        return _TABLES.get((self, table, dtype, device), make)
