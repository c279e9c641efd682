"""PAL (Chen et al. 2024), the ideal-point form: a user prefers the response nearer to their ideal point."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from micro_paper.methods.lore import LoRe
from micro_paper.mixture import Heads
from micro_paper.pairs import Pairs

DIMENSION = 32  # of the projected space


class Prototypes(nn.Module):
    """K prototypes p_k in a projected space: r_k(phi) = -|P phi - p_k|^2.

    A bias of the projection would be undone by the prototypes, so there is none. P and p_k are stored times 32^.5:
    a prototype then has length about 1, and a step of the optimiser moves a reward's slope 2 P^T p_k as far as it moves
    a linear head. Stored as they are, the rewards' squares diverge at the step size of linear heads.

    Args:
        count: K >= 1.
        dimension: d.
        generator: source of the initial values, uniform in +-1/sqrt(d) for P and standard normal for p_k, as stored.
    """

    def __init__(
        self, count: int, dimension: int, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.stored_projection = Heads(DIMENSION, dimension, generator, dtype).weight
        draw = torch.randn(count, DIMENSION, generator=generator, dtype=torch.float64)
        self.stored_points = nn.Parameter(draw.to(dtype))

    @property
    def projection(self) -> Tensor:
        """P, (32, d)."""
        return self.stored_projection / DIMENSION**0.5

    @property
    def points(self) -> Tensor:
        """p_k, (K, 32)."""
        return self.stored_points / DIMENSION**0.5

    def forward(self, features: Tensor) -> Tensor:
        """Return r_k, (n, K), of features (n, d)."""
        place, points = features @ self.projection.T, self.points
        return 2 * place @ points.T - place.square().sum(dim=1, keepdim=True) - points.square().sum(dim=1)


class Pal(LoRe):
    """PAL-A: the ideal point of a user is a_u = sum_k w_uk p_k, w_u on the simplex over K shared prototypes.

    The margin is |f(b) - a_u|^2 - |f(a) - a_u|^2 with a linear f. It is affine in a_u and the w_uk sum to 1, so it
    equals sum_k w_uk (|f(b) - p_k|^2 - |f(a) - p_k|^2): the prototypes are heads with curved rewards, users combine
    them as in LoRe, and `head_margins` are those of a user who sits on one prototype. `adapt` learns w_u from the
    user's few pairs with f and the prototypes frozen; a user never seen gets the mean weights.
    """

    def _make_heads(self, pairs: Pairs) -> Prototypes:
        d = pairs.responses.shape[1]
        heads = Prototypes(self.settings.heads, d, self.generator("heads"), self.settings.torch_dtype)
        return heads.to(self.settings.torch_device)
