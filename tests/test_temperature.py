"""One temperature recovers what simulated logits were scaled by, and changes no decision."""

import numpy as np
import pytest
from scipy import special

from micro_paper import metrics
from micro_paper.errors import InputError
from micro_paper.methods import temperature as scaling


def simulated(n, temperature, seed=0):
    """Probabilities of the side that won, whose logits are `temperature` times too large."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, n)
    won = rng.random(n) < special.expit(z)
    return special.expit(temperature * np.where(won, z, -z))


@pytest.mark.parametrize("truth", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_recovered(truth):
    p = simulated(60_000, truth)
    found = scaling.fit_temperature(p)
    assert found == pytest.approx(truth, rel=0.03)
    # No other temperature does better: the stationary point by brute force.
    grid = found * np.linspace(0.8, 1.25, 91)
    losses = [metrics.nll(scaling.scale(p, t)) for t in grid]
    assert grid[int(np.argmin(losses))] == pytest.approx(found, rel=0.01)
    assert metrics.ece(scaling.scale(p, found)) < 0.01


def test_scaling_is_antisymmetric_and_changes_no_decision():
    p = np.r_[0.0, 1e-300, 1e-9, 0.2, 0.5, 0.7, 1 - 1e-12, 1.0]
    for temperature in (0.3, 1.0, 7.0):
        q = scaling.scale(p, temperature)
        assert np.isfinite(q).all() and np.allclose(q + scaling.scale(1 - p, temperature), 1, atol=1e-15)
        assert np.array_equal(np.sign(q - 0.5), np.sign(p - 0.5))
    assert np.allclose(scaling.scale(p, 1.0), p, atol=1e-14)
    assert np.allclose(scaling.scale(np.array([0.2, 0.7]), 2.0), special.expit(special.logit([0.2, 0.7]) / 2))


def test_extremes():
    assert scaling.fit_temperature(np.array([0.9, 0.8])) == scaling.LEAST
    assert scaling.fit_temperature(np.array([0.1, 0.4, 0.5])) == scaling.MOST
    assert scaling.fit_temperature(np.array([0.5, 0.5])) == scaling.MOST


@pytest.mark.parametrize("p", [np.array([]), np.array([0.2, 1.2]), np.array([np.nan]), np.array([[0.5]])])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(InputError, match="p must be one-dimensional"):
        scaling.fit_temperature(p)


@pytest.mark.parametrize("temperature", [0, -1.0, np.nan])
def test_bad_temperatures_are_refused(temperature):
    with pytest.raises(InputError, match="temperature must be > 0"):
        scaling.scale(np.array([0.5]), temperature)
