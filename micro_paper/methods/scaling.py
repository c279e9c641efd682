"""Scaling of feature tables by their spread over the training texts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from micro_paper.errors import InputError
from micro_paper.pairs import Pairs


@dataclass(frozen=True, eq=False)
class Scaler:
    """Affine scaling of a feature table: (x - mean) / scale, each (d,).

    A column without spread in training has scale inf, so it counts 0 wherever it moves: what is learnt there is noise,
    the initial weights, which a moving column would carry into every prediction.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def fit(cls, table: Tensor, enabled: bool = True) -> Scaler:
        """Return the scaling that gives the rows of `table` (m, d) mean 0 and standard deviation 1.

        Args:
            enabled: False leaves all but columns without spread as they are.
        """
        table = table.to(torch.float64)
        top = table.abs().amax(dim=0)
        # Squares of such numbers leave the range of floats.
        unit = torch.where((top > 1e100) | (top < 1e-100) & (top > 0), top, torch.ones_like(top))
        table = table / unit
        scale = table.std(dim=0) if len(table) > 1 else torch.zeros_like(top)
        # A spread at rounding level is no signal: dividing by it would blow noise up.
        moves = scale > 1e-6 * (top / unit)
        mean, scale = table.mean(dim=0) * unit, scale * unit
        if not enabled:
            mean, scale = torch.where(moves, 0.0, mean), torch.ones_like(scale)
        return cls(mean, torch.where(moves, scale, torch.inf))

    def seeing(self, table: Tensor) -> Scaler:
        """Return the scaling for training on further rows, (m, d): columns that move in those alone have scale 1."""
        moves = self.fit(table).scale.isfinite() & self.scale.isinf()
        return Scaler(self.mean, self.scale.masked_fill(moves, 1.0)) if moves.any() else self

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
            InputError: a value is not finite, or so large that training would overflow; says where.
        """
        table = pairs.table(name)

        def made() -> Tensor:
            scaled = self(check_finite(table, name), dtype, device)
            most = torch.finfo(dtype).max ** 0.5
            if (large := scaled.abs() > most).any():
                row, column = large.nonzero()[0].tolist()
                raise InputError(
                    f"the features of the {name} hold {table[row, column]:.3g} in row {row}, column {column}: scaled "
                    f"it is above {most:.1g}, too large to train on or predict from; check the feature store"
                )
            return scaled

        return pairs.derived.get((name, dtype, device), (table, self), made)


def check_finite(table: Tensor, name: str) -> Tensor:
    """Return the feature table as it is.

    Raises:
        InputError: a value is not finite; names the first.
    """
    if not (finite := torch.isfinite(table)).all():
        row, column = (~finite).nonzero()[0].tolist()
        raise InputError(
            f"the features of the {name} hold a non-finite value: {table[row, column]:g} in row {row}, column "
            f"{column}; check the feature store"
        )
    return table
