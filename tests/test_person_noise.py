"""What noise alone gives rows of persons: labels without taste, gains by hand, and which gains count."""

import numpy as np
import pandas as pd
import pytest

from micro_paper.errors import InputError
from micro_paper.experiments import person_noise, persons
from micro_paper.experiments.disagreement import from_pairs
from micro_paper.experiments.person_rounds import Folds, everyone
from micro_paper.experiments.worlds import load_world
from micro_paper.intervals import t_interval

PAIRS = everyone(load_world("synthetic-people"))
JUDGED = from_pairs(PAIRS)
SETTINGS = {"heads": 2}
QUICK = {"seeds": [0, 1], "budgets": [0, 20], "folds": Folds(people=2, topics=3, dimensions=8)}


class TestTasteless:
    def test_labels_follow_the_model_and_pairs_stay(self):
        model = JUDGED.fit()
        drawn = person_noise.tasteless(PAIRS, JUDGED, model, np.random.default_rng(0))
        again = from_pairs(drawn)
        for name in ("first", "second", "person", "comparison"):
            assert (getattr(again, name) == getattr(JUDGED, name)).all()
        p = model.probability(JUDGED.first, JUDGED.second, JUDGED.person)
        assert again.preferred.mean() == pytest.approx(p.mean(), abs=0.02)
        assert 0.1 < (again.preferred != JUDGED.preferred).mean() < 0.6
        surprise = (again.preferred - p) / np.sqrt(p * (1 - p))
        assert np.mean(surprise**2) == pytest.approx(1, abs=0.05)

    def test_a_row_that_learns_tastes_gains_by_peoples_labels_and_not_by_drawn_ones(self):
        how = {"rows": ["person_ridge", "person_none"]} | QUICK
        own = persons.gains_table(persons.person_scores(PAIRS, SETTINGS, **how), np.random.default_rng(0))
        noise = person_noise.noise_gains(PAIRS, SETTINGS, **how | {"seeds": range(4)})
        assert set(noise["draw"]) == set(range(4)) and set(noise["method"]) == {"person_ridge"}
        accuracy = noise[noise["metric"] == "accuracy"]
        assert (accuracy.loc[accuracy["labels"] == 20, "gain"].abs() < 0.02).all()
        assert (accuracy.loc[accuracy["labels"] == 0, "gain"] == 0).all()
        found = person_noise.against_noise(own, noise).set_index(["metric", "labels"])
        assert found.loc[("accuracy", 20), "counts"] and not found.loc[("accuracy", 0), "counts"]


KEYS = {"people_with": 20, "labels": 20}
GAINS = pd.DataFrame(
    [
        KEYS | {"method": name, "metric": metric, "gain": gain, "low": low, "high": gain + 0.01, "p_holm": p}
        for name, gain, low, p in (
            ("above", 0.05, 0.03, 0.01),
            ("by itself", 0.05, 0.03, 0.2),
            ("unsure", 0.05, -0.01, 0.4),
            ("as noise", 0.05, 0.03, 0.01),
            ("below 0", -0.05, -0.06, 0.01),
        )
        for metric in ("accuracy", "nll")
    ]
).assign(control=False, n_people=9)
DRAWS = dict.fromkeys(GAINS["method"].unique(), (0.0, 0.002, 0.004)) | {"as noise": (0.03, 0.05, 0.04)}
DRAWS["below 0"] = (-0.1, -0.102, -0.104)
NOISE = pd.DataFrame(
    [
        KEYS | {"method": name, "metric": metric, "draw": number, "gain": scale * gain}
        for name, draws in DRAWS.items()
        for metric, scale in (("accuracy", 1), ("nll", 100))
        for number, gain in enumerate(draws)
    ]
)


class TestAgainstNoise:
    def test_what_counts(self):
        found = person_noise.against_noise(GAINS, NOISE)
        assert tuple(found)[: len(GAINS.columns)] == tuple(GAINS) and len(found) == len(GAINS)
        at = found[found["metric"] == "accuracy"].set_index("method")
        assert at.index[at["counts"]].tolist() == ["above"]
        assert at.index[at["counts_uncorrected"]].tolist() == ["above", "by itself"]
        assert found.loc[found["metric"] == "nll", "counts"].sum() == 0  # by noise of their own, a hundred times that
        assert (at["noise_gain"]["above"], at["n_draws"]["above"]) == (pytest.approx(0.002), 3)
        # of one more draw: wider than the interval of the mean by sqrt(n + 1)
        reach = t_interval(DRAWS["above"]).high - 0.002
        assert at["noise_limit"]["above"] == pytest.approx(0.002 + 2 * reach)

    @pytest.mark.parametrize("kept", [NOISE["method"] != "above", (NOISE["method"] != "above") | (NOISE["draw"] == 0)])
    def test_a_row_without_two_draws_is_refused(self, kept):
        with pytest.raises(InputError, match="above at 20 labels has fewer than two draws"):
            person_noise.against_noise(GAINS, NOISE[kept])


def test_no_draw_is_refused():
    with pytest.raises(InputError, match="at least one draw"):
        person_noise.noise_gains(PAIRS, SETTINGS, rows=["person_ridge"], **QUICK | {"seeds": []})
