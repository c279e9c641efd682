"""Scores before and after temperature scaling agree with the plain metrics."""

from dataclasses import replace

import numpy as np
import pytest

from micro_paper import intervals, metrics
from micro_paper.errors import InputError
from micro_paper.experiments import calibration, runs
from micro_paper.experiments.worlds import load_folds
from micro_paper.methods import temperature
from micro_paper.report import plots_bench
from micro_paper.report.formatting import display_frame

QUICK = {"heads": 2, "dtype": "float64", "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def fitted():
    folds = load_folds("synthetic-audience", 2, synthetic_prompts=200)
    return runs.fit_runs(folds, ["micro", "single"], QUICK, seeds=[0, 1, 2], budget=10)


@pytest.fixture(scope="module")
def table(fitted):
    return calibration.calibration_table(fitted, n_bootstrap=300)


def test_scores_are_means_of_the_plain_metrics(fitted, table):
    plain = {"ece": metrics.ece, "brier": lambda p: np.mean((1 - p) ** 2), "nll": metrics.nll}
    for row in table.itertuples():
        own = [f for f in fitted if f.name == row.method]
        p = [f.method.predict_proba(f.world.test) for f in own]
        t = [temperature.fit_temperature(f.method.predict_proba(f.world.validation)) for f in own]
        after = np.mean([plain[row.metric](temperature.scale(q, s)) for q, s in zip(p, t, strict=True)])
        assert row.before == pytest.approx(np.mean([plain[row.metric](q) for q in p]))
        assert row.after == pytest.approx(after, abs=1e-6) and row.difference == pytest.approx(
            after - row.before, abs=1e-6
        )
        assert row.temperature == pytest.approx(np.median(t)) and row.n_runs == 6
        assert row.before_low <= row.before <= row.before_high and row.low <= row.difference <= row.high


def test_what_is_calibrated_already_stays_to_the_last_bit():
    """micro_plus_full has its temperature from the same pairs: no difference, of whatever sign of rounding."""
    folds = load_folds("synthetic-audience", 1, synthetic_prompts=200)
    table = calibration.calibration_table(
        runs.fit_runs(folds, ["micro_plus_full"], QUICK, seeds=[0], budget=10), n_bootstrap=200
    )
    assert (table.temperature == 1).all()
    changes = table[["difference", "low", "high"]].to_numpy()
    assert (changes == 0).all() and not np.signbit(changes).any()


def test_intervals_agree_with_t_over_prompts(fitted):
    one = [f for f in fitted if f.name == "single"][:1]
    ours = calibration.calibration_table(one, n_bootstrap=4000).set_index("metric").loc["brier"]
    test = one[0].world.test
    values = (1 - one[0].method.predict_proba(test)) ** 2
    plain = intervals.Sample(test.prompt_id).mean(values)
    assert (ours.before_low, ours.before_high) == pytest.approx((plain.low, plain.high), abs=4e-3)


def test_the_ece_of_a_resample_is_the_plain_ece():
    p, group = np.random.default_rng(0).uniform(size=200), np.arange(200)
    weights = np.random.default_rng(1).multinomial(200, np.full(200, 1 / 200), size=3).astype(float)
    _, draws = calibration._score("ece", p, group, weights)
    expected = [metrics.ece(np.repeat(p, w.astype(int)), calibration.BINS) for w in weights]
    assert np.allclose(draws, expected)


def test_reliability_counts_and_draws(fitted):
    curve = calibration.reliability(fitted, least=5)
    assert set(curve["calibration"]) == {"as predicted", "scaled"}
    assert ((curve["confidence"] >= 0.5) & (curve["confidence"] <= 1)).all()
    runs = [f for f in fitted if f.name == "micro"]
    p = np.concatenate([f.method.predict_proba(f.world.test) for f in runs])
    top = curve[(curve.method == "micro") & (curve.calibration == "as predicted")].iloc[0]
    own = np.minimum(((np.maximum(p, 1 - p) - 0.5) * 16).astype(int), 7) == 0
    assert top.n_pairs == own.sum() and top.value == pytest.approx((p[own] > 0.5).mean())
    assert plots_bench.reliability_figure(curve).axes
    with pytest.raises(InputError, match="lacks the column 'value'"):
        plots_bench.reliability_figure(curve.drop(columns="value"))
    none = calibration.reliability(fitted, least=10_000)
    assert not len(none) and list(none) == list(curve)
    with pytest.raises(InputError, match="no rows"):
        plots_bench.reliability_figure(none)
    for entry in calibration.entries(calibration.calibration_table(fitted[:1], n_bootstrap=200), none):
        assert "calibration" not in display_frame(entry["frame"], display=entry["display"]).columns
    assert len(calibration.entries(calibration.calibration_table(fitted[:1], n_bootstrap=200), curve)) == 2


def test_one_prompt_is_refused(fitted):
    one = replace(fitted[0].world, test=fitted[0].world.test.select(slice(0, 1)))
    alone = [runs.Fitted(fitted[0].name, runs.Run(one, 0), fitted[0].method)]
    with pytest.raises(InputError, match="one group"):
        calibration.calibration_table(alone, n_bootstrap=200)
    with pytest.raises(InputError, match="at least 100"):
        calibration.calibration_table(fitted, n_bootstrap=10)


def test_other_validation_pairs_decide_the_temperature(fitted):
    one = [f for f in fitted if f.name == "single"][:1]
    world = one[0].world
    other = {(world.name, world.fold): world.test}
    table = calibration.calibration_table(one, other, n_bootstrap=200)
    assert table.temperature[0] == pytest.approx(temperature.fit_temperature(one[0].method.predict_proba(world.test)))
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
