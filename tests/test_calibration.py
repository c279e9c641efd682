"""One temperature recovers what simulated logits were scaled by; scores agree with the plain metrics."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from micro_paper import audit, calibration, metrics, plotting_audit
from micro_paper.errors import InputError
from micro_paper.worlds import load_folds

QUICK = {"heads": 2, "dtype": "float64", "learning_rate": 1e-2}


def simulated(n, temperature, seed=0):
    """Probabilities of the side that won, whose logits are `temperature` times too large."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, n)
    won = rng.random(n) < special.expit(z)
    return special.expit(temperature * np.where(won, z, -z))


@pytest.mark.parametrize("truth", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_recovered(truth):
    p = simulated(60_000, truth)
    found = calibration.fit_temperature(p)
    assert found == pytest.approx(truth, rel=0.03)
    # No other temperature does better: the stationary point by brute force.
    grid = found * np.linspace(0.8, 1.25, 91)
    losses = [metrics.nll(calibration.scale(p, t)) for t in grid]
    assert grid[int(np.argmin(losses))] == pytest.approx(found, rel=0.01)
    assert metrics.ece(calibration.scale(p, found)) < 0.01


def test_scaling_is_antisymmetric_and_changes_no_decision():
    p = np.r_[0.0, 1e-300, 1e-9, 0.2, 0.5, 0.7, 1 - 1e-12, 1.0]
    for temperature in (0.3, 1.0, 7.0):
        q = calibration.scale(p, temperature)
        assert np.isfinite(q).all() and np.allclose(q + calibration.scale(1 - p, temperature), 1, atol=1e-15)
        assert np.array_equal(np.sign(q - 0.5), np.sign(p - 0.5))
    assert np.allclose(calibration.scale(p, 1.0), p, atol=1e-14)
    assert np.allclose(calibration.scale(np.array([0.2, 0.7]), 2.0), special.expit(special.logit([0.2, 0.7]) / 2))


def test_extremes():
    assert calibration.fit_temperature(np.array([0.9, 0.8])) == calibration.LEAST
    assert calibration.fit_temperature(np.array([0.1, 0.4, 0.5])) == calibration.MOST
    assert calibration.fit_temperature(np.array([0.5, 0.5])) == calibration.MOST


@pytest.mark.parametrize("p", [np.array([]), np.array([0.2, 1.2]), np.array([np.nan]), np.array([[0.5]])])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(InputError, match="p must be one-dimensional"):
        calibration.fit_temperature(p)


@pytest.mark.parametrize("temperature", [0, -1.0, np.nan])
def test_bad_temperatures_are_refused(temperature):
    with pytest.raises(InputError, match="temperature must be > 0"):
        calibration.scale(np.array([0.5]), temperature)


@pytest.fixture(scope="module")
def fitted():
    folds = load_folds("synthetic-audience", 2, synthetic_prompts=200)
    return audit.fit_runs(folds, ["micro", "single"], QUICK, seeds=[0, 1, 2], budget=10)


@pytest.fixture(scope="module")
def table(fitted):
    return calibration.calibration_table(fitted, n_bootstrap=300)


def test_scores_are_means_of_the_plain_metrics(fitted, table):
    plain = {"ece": metrics.ece, "brier": metrics.brier, "nll": metrics.nll}
    for row in table.itertuples():
        own = [f for f in fitted if f.name == row.method]
        p = [f.method.predict_proba(f.world.test) for f in own]
        t = [calibration.fit_temperature(f.method.predict_proba(f.world.validation)) for f in own]
        after = np.mean([plain[row.metric](calibration.scale(q, s)) for q, s in zip(p, t, strict=True)])
        assert row.before == pytest.approx(np.mean([plain[row.metric](q) for q in p]))
        assert row.after == pytest.approx(after) and row.difference == pytest.approx(after - row.before)
        assert row.temperature == pytest.approx(np.median(t)) and row.n_runs == 3
        assert row.before_low <= row.before <= row.before_high and row.low <= row.difference <= row.high


def test_intervals_agree_with_the_plain_bootstrap(fitted):
    one = [f for f in fitted if f.name == "single"][:1]
    ours = calibration.calibration_table(one, n_bootstrap=4000).set_index("metric").loc["brier"]
    test = one[0].world.test
    values = (1 - one[0].method.predict_proba(test)) ** 2
    plain = metrics.bootstrap(values, test.prompt_id, rng=np.random.default_rng(0), n=4000)
    assert (ours.before_low, ours.before_high) == pytest.approx((plain.low, plain.high), abs=1e-3)


def test_the_ece_of_a_resample_is_the_plain_ece():
    p, group = simulated(200, 2.0), np.arange(200)
    weights = np.random.default_rng(1).multinomial(200, np.full(200, 1 / 200), size=3).astype(float)
    _, draws = calibration._score("ece", p, group, weights)
    expected = [metrics.ece(np.repeat(p, w.astype(int)), calibration.BINS) for w in weights]
    assert np.allclose(draws, expected)


def test_reliability_counts_and_draws(fitted):
    curve = calibration.reliability(fitted, least=5, n_bootstrap=200)
    assert set(curve["calibration"]) == {"as predicted", "scaled"}
    assert ((curve["confidence"] >= 0.5) & (curve["confidence"] <= 1)).all()
    runs = [f for f in fitted if f.name == "micro"]
    p = np.concatenate([f.method.predict_proba(f.world.test) for f in runs])
    top = curve[(curve.method == "micro") & (curve.calibration == "as predicted")].iloc[0]
    own = np.minimum(((np.maximum(p, 1 - p) - 0.5) * 16).astype(int), 7) == 0
    assert top.n_pairs == own.sum() and top.value == pytest.approx((p[own] > 0.5).mean())
    assert plotting_audit.reliability_figure(curve).axes
    with pytest.raises(InputError, match="lacks the column 'value'"):
        plotting_audit.reliability_figure(curve.drop(columns="value"))
    with pytest.raises(InputError, match="no rows"):
        plotting_audit.reliability_figure(curve.iloc[:0])
    assert len(calibration.entries(calibration.calibration_table(fitted[:1], n_bootstrap=200), curve)) == 2


def test_one_prompt_is_refused(fitted):
    with pytest.raises(InputError, match="one prompt"):
        calibration._resamples(1, np.random.default_rng(0), 200)
    with pytest.raises(InputError, match="at least 100"):
        calibration.calibration_table(fitted, n_bootstrap=10)


def test_other_validation_pairs_decide_the_temperature(fitted):
    one = [f for f in fitted if f.name == "single"][:1]
    world = one[0].world
    other = {(world.name, world.fold): world.test}
    table = calibration.calibration_table(one, other, n_bootstrap=200)
    assert table.temperature[0] == pytest.approx(calibration.fit_temperature(one[0].method.predict_proba(world.test)))
    assert calibration.complete_validation([world], features=None) == {}


def test_complete_validation_has_the_unanimous_pairs(monkeypatch):
    world = load_folds("synthetic-audience", 1, synthetic_prompts=100)[0]
    rated = replace(world, name="bundled-helpsteer")
    asked = []

    def load(name, **options):
        asked.append((name, options))
        return world

    monkeypatch.setattr(calibration, "load_world", load)
    found = calibration.complete_validation([world, rated], features="f")
    assert asked == [("bundled-helpsteer", {"fold": 0, "drop_unanimous": False, "features": "f"})]
    assert found == {("bundled-helpsteer", 0): world.validation}
