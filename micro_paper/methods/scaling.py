"""Scaling of feature tables by their spread over the training texts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from micro_paper.errors import InputError
from micro_paper.pairs import Pairs


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
    def of_responses(cls, pairs: Pairs, enabled: bool = True) -> Scaler:
        """Return `fit` over the distinct responses that the pairs compare, worked out once for all methods."""
        table, rows = pairs.responses, (pairs.chosen, pairs.rejected)
        made = lambda: cls.fit(table[torch.cat(rows).unique()], enabled)  # noqa: E731
        return pairs.derived.get(("scaler of responses", enabled), (table, *rows), made)

    @classmethod
    def of_prompts(cls, pairs: Pairs, enabled: bool = True) -> Scaler:
        """Return `fit` over the distinct prompts of the pairs, worked out once for all methods."""
        table, rows = pairs.prompts, pairs.prompt
        made = lambda: cls.fit(table[rows.unique()], enabled)  # noqa: E731
        return pairs.derived.get(("scaler of prompts", enabled), (table, rows), made)

    def __call__(self, table: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the scaled `table`, computed in float64."""
        return ((table.to(self.mean) - self.mean) / self.scale).to(device=device, dtype=dtype)

    def whole(self, pairs: Pairs, name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return the feature table `name` of the pairs scaled; the last result is kept with the table.

        Raises:
            InputError: a value is not finite; says of which table.
        """
        table = pairs.table(name)

        def made() -> Tensor:
            if not torch.isfinite(table).all():
                raise InputError(f"the features of the {name} hold a non-finite value: check the feature store")
            return self(table, dtype, device)

        return pairs.derived.get((name, dtype, device), (table, self), made)
