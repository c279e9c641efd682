"""Pairs that state their criterion by itself."""

from dataclasses import replace

import numpy as np
import torch

from micro_paper.data import synthetic
from micro_paper.pairs import Pairs


def with_criteria(pairs: Pairs, seed: int = 0) -> Pairs:
    """The pairs with a criterion by itself: one distinct feature row an attribute."""
    names = sorted(synthetic.AUDIENCE_ATTRIBUTES)
    table = torch.randn(len(names), pairs.prompts.shape[1], generator=torch.Generator().manual_seed(seed)).double()
    return replace(pairs, criteria=table, criterion=torch.from_numpy(np.searchsorted(names, pairs.attribute)))
