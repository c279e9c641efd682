"""The Bradley-Terry pair likelihood."""

import torch.nn.functional as F
from torch import Tensor


def log_preference(margins: Tensor) -> Tensor:
    """Return log P(a_w > a_l) = log sigmoid(r(x, a_w) - r(x, a_l)), in nats.

    Args:
        margins: reward differences, any shape; finite up to |margin| = 1e4 and beyond.
    """
    return F.logsigmoid(margins)
