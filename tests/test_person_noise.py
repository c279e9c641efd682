"""What noise alone gives rows of persons: labels without taste, gains by hand, and which gains count."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from micro_paper.errors import InputError
from micro_paper.experiments import best_of, person_noise
from micro_paper.experiments.disagreement import from_pairs
from micro_paper.experiments.person_rounds import Folds, everyone
from micro_paper.experiments.worlds import load_world
from micro_paper.intervals import t_interval

PAIRS = everyone(load_world("synthetic-people"))
JUDGED = from_pairs(PAIRS)
QUICK = {"seeds": [0, 1], "budgets": [0, 20], "folds": Folds(people=2, topics=3, dimensions=8)}


class TestFromPairs:
    def test_sides_are_as_they_were_shown(self):
        shown = np.where(PAIRS.position.numpy() > 0, PAIRS.chosen.numpy(), PAIRS.rejected.numpy())
        assert JUDGED.shown and (JUDGED.first == shown).all()
        assert (JUDGED.preferred == (JUDGED.first == PAIRS.chosen.numpy())).all()
        assert (JUDGED.names[JUDGED.person] == PAIRS.user_id).all()
        longer = PAIRS.lengths[JUDGED.first] > PAIRS.lengths[JUDGED.second]
        assert (longer.numpy() == (JUDGED.length > 0)).all() and np.mean(JUDGED.length**2) == pytest.approx(1)

    def test_one_comparison_whoever_judged_it_and_whatever_was_shown_first(self):
        assert (from_pairs(PAIRS.flip()).comparison == JUDGED.comparison).all()
        assert (from_pairs(PAIRS.flip()).preferred == ~JUDGED.preferred).all()
        sides = {frozenset(pair) for pair in zip(PAIRS.chosen.tolist(), PAIRS.rejected.tolist(), strict=True)}
        assert len(np.unique(JUDGED.comparison)) == len(sides)

    def test_without_positions_sides_mean_nothing(self):
        judged = from_pairs(replace(PAIRS, position=None))
        assert not judged.shown and (judged.preferred == (PAIRS.chosen < PAIRS.rejected).numpy()).all()

    def test_what_it_cannot_use_is_refused(self):
        with pytest.raises(InputError, match="name no people"):
            from_pairs(replace(PAIRS, user_id=None))
        with pytest.raises(InputError, match="choice000000 has one response on both sides"):
            from_pairs(replace(PAIRS, rejected=PAIRS.chosen).select(PAIRS.pair_id == "choice000000"))


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

    def test_a_row_that_learns_tastes_gains_by_labels_and_not_by_drawn_ones(self):
        noise = person_noise.noise_gains(PAIRS, {"heads": 2}, rows=["person_ridge"], **QUICK)
        assert set(noise["draw"]) == {0, 1} and set(noise["row"]) == {"person_ridge"}
        at = noise[noise["labels"] == 20]
        assert (at["gain"].abs() < 0.02).all()
        assert (noise[noise["labels"] == 0]["gain"] == 0).all()


def test_mean_gains_by_hand():
    lines = [
        ("person_none", 20, "u", 4, 2),
        ("person_none", 20, "v", 2, 2),
        ("person_none", 50, "v", 2, 1),
        ("a", 20, "u", 4, 3),
        ("a", 20, "v", 2, 1),
        ("a", 50, "v", 2, 2),
    ]
    scores = pd.DataFrame(lines, columns=["row", "labels", "user_id", "pairs", "correct"])
    found = person_noise.mean_gains(scores, [20, 50]).set_index(["people_with", "labels"])["gain"]
    # u and v: (.25 - .5) / 2; of v alone: -.5 at 20 and .5 at 50
    assert found.to_dict() == {(20, 20): -0.125, (50, 20): -0.5, (50, 50): 0.5}


KEYS = {"people_with": 20, "labels": 20}
GAINS = pd.DataFrame(
    [
        KEYS | {"row": row, "metric": metric, "gain": gain, "low": low, "high": gain + 0.01, "control": False}
        for row, gain, low in (("above", 0.05, 0.03), ("unsure", 0.05, -0.01), ("as noise", 0.05, 0.03))
        for metric in ("accuracy", "nll")
    ]
).assign(n_people=9)
DRAWS = {"above": [0.0, 0.002, 0.004], "unsure": [0.0, 0.002, 0.004], "as noise": [0.03, 0.05, 0.04]}
NOISE = pd.DataFrame(
    [
        KEYS | {"row": row, "draw": number, "gain": gain}
        for row, draws in DRAWS.items()
        for number, gain in enumerate(draws)
    ]
)


class TestBeyondNoise:
    def test_what_counts(self):
        found = person_noise.beyond_noise(GAINS, NOISE).set_index("row")
        assert found["counts"].to_dict() == {"above": True, "unsure": False, "as noise": False}
        assert found.loc["above", "noise_gain"] == pytest.approx(0.002)
        # of one more draw: wider than the interval of the mean by sqrt(n + 1)
        reach = t_interval(DRAWS["above"]).high - 0.002
        assert found.loc["above", "noise_limit"] == pytest.approx(0.002 + 2 * reach)

    @pytest.mark.parametrize("kept", [NOISE["row"] != "above", (NOISE["row"] != "above") | (NOISE["draw"] == 0)])
    def test_a_row_without_two_draws_is_refused(self, kept):
        with pytest.raises(InputError, match="above at 20 labels has fewer than two draws"):
            person_noise.beyond_noise(GAINS, NOISE[kept])

    def test_what_counts_has_a_star(self):
        shown = person_noise.gains_display(person_noise.beyond_noise(GAINS, NOISE)).set_index("row")["20 labels"]
        assert shown["above"] == "+0.050 [+0.030, +0.060]*" and not shown["unsure"].endswith("*")


def test_the_synthetic_options_can_be_picked_from():
    world = load_world("synthetic-options", synthetic_prompts=40)
    found = best_of.candidates(world.test)
    assert set(found.choices["attribute"]) == set(world.test.rating_names) and len(found.choices) == 20
    sizes = np.bincount(found.choice)
    assert sizes.max() == 16 * 15 // 2
    wins = world.test.ratings[world.test.chosen] > world.test.ratings[world.test.rejected]
    column = [world.test.rating_names.index(a) for a in world.test.attribute]
    assert wins[range(len(column)), column].double().mean() > 0.8
    assert best_of.fixed_systems([world]) is None
