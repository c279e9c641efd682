"""Decomposed reward models (Luo et al. 2025): principal directions of feature differences as heads, reweighted."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from micro_paper.methods.controls import PcaHeads, RandomHeads
from micro_paper.methods.hyre import MANY, SUPERVISION, Reweighted
from micro_paper.methods.static import StaticUniform
from micro_paper.pairs import Pairs


class Drms(Reweighted, StaticUniform, PcaHeads):
    """Heads +-v_j along the principal directions of chosen-minus-rejected features, weighted as in HyRe.

    Principal component analysis removes the mean difference first, so unlike `PcaHeads` it reads which response was
    preferred. Nothing is trained. The rewards of each head are brought to unit root-mean-square margin on the training
    pairs (the released code standardises them on the labelled pairs), as the softmax of losses needs a common scale.
    """

    def directions(self, scaled: Pairs) -> Tensor:
        """Return +v_1, -v_1, +v_2, ... up to K rows, by falling variance about the mean difference."""
        d = scaled.difference
        n = len(d)
        about_mean = scaled.with_tables(
            responses=torch.cat([torch.zeros_like(d[:1]), d - d.mean(dim=0)]),
            chosen=torch.arange(1, n + 1, device=d.device),
            rejected=torch.zeros(n, dtype=torch.long, device=d.device),
            ratings=None,
        )
        return super().directions(about_mean)

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred), (n,); 1/2 before `adapt`, where every head stands beside its opposite."""
        if not self.reweighted and self.settings.heads % 2 == 0:
            return np.full(len(pairs), 0.5)  # set, as the sum of opposites is 1/2 up to rounding only
        return super().predict_proba(pairs)


class Drms100(Drms):
    """DRMs with as many directions as their authors take, in place of the K of the other rows.

    Fewer where the features have no more: both signs of d directions are all that there are.
    """

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Take the directions, as many as there are up to `MANY`."""
        heads = min(MANY, 2 * train_pairs.responses.shape[1])
        self.settings = replace(self.settings, heads=heads)
        return super().fit(train_pairs, validation)


class DrmsRandom(Reweighted, StaticUniform, RandomHeads):
    """Control: random directions in place of the principal ones, reweighted alike."""

    supervision = SUPERVISION
