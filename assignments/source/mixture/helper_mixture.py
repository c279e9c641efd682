"""Given with the assignment `mixture`: what assignment 1 asks for."""

import numpy as np


def sigmoid(margin):
    """Return 1 / (1 + exp(-margin)), without overflow."""
    return np.exp(log_sigmoid(margin))


def log_sigmoid(margin):
    """Return log(1 / (1 + exp(-margin))), finite at any finite margin."""
    return -np.logaddexp(0.0, -np.asarray(margin, float))
