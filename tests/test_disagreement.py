"""Disagreement of people and planted tastes: small cases by hand, populations of known truth, the staged files."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_expit

from micro_paper.data import sources, ukp, wmt
from micro_paper.errors import InputError
from micro_paper.experiments import disagreement, planted_taste
from micro_paper.experiments.disagreement import Judgements, from_frame, from_pairs, simulated
from micro_paper.experiments.person_rounds import everyone
from micro_paper.experiments.worlds import load_world
from micro_paper.intervals import Interval
from micro_paper.pairs import Pairs

# pair 1: two for a, one for b; pair 2: one each; pair 3 of the other topic: one person alone; pair 4: both for b
VOTES = [
    ("1", "u", "a", "b", "clear"),
    ("1", "v", "a", "b", "clear"),
    ("1", "w", "b", "a", "detail"),
    ("2", "u", "c", "b", "clear"),
    ("2", "v", "b", "c", "detail"),
    ("3", "u", "d", "e", "clear"),
    ("4", "v", "e", "f", "clear"),
    ("4", "w", "e", "f", "clear"),
]


def frame(shown: bool = True) -> pd.DataFrame:
    table = pd.DataFrame(VOTES, columns=["item_id", "user_id", "chosen", "rejected", "attribute"])
    table["prompt_id"] = np.where(table["item_id"].isin(["3", "4"]), "second", "first")
    table["prompt"] = table["prompt_id"]
    if shown:
        alphabetic = table["chosen"] < table["rejected"]
        table["shown_first"] = np.where(alphabetic, "chosen", "rejected")
    return table


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return everyone(load_world("synthetic-people"))


def test_a_taste_planted_along_length_is_seen_in_the_made_population() -> None:
    table, _ = planted_taste.power("synthetic-people", [50], rng(0), n_draws=20)
    seen = table.set_index("taste")["seen"]
    assert seen["planted"] > 0.8 and seen["none"] < 0.2


class TestFromPairs:
    def test_sides_are_as_they_were_shown(self, pairs) -> None:
        judged = from_pairs(pairs)
        shown = np.where(pairs.position.numpy() > 0, pairs.chosen.numpy(), pairs.rejected.numpy())
        assert judged.shown and (judged.first == shown).all()
        assert (judged.preferred == (judged.first == pairs.chosen.numpy())).all()
        assert (judged.names[judged.person] == pairs.user_id).all()
        longer = pairs.lengths[judged.first] > pairs.lengths[judged.second]
        assert (longer.numpy() == (judged.length > 0)).all() and np.mean(judged.length**2) == pytest.approx(1)

    def test_one_comparison_whoever_judged_it_and_whatever_was_shown_first(self, pairs) -> None:
        judged, turned = from_pairs(pairs), from_pairs(pairs.flip())
        assert (turned.comparison == judged.comparison).all() and (turned.preferred == ~judged.preferred).all()
        sides = {frozenset(pair) for pair in zip(pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True)}
        assert len(np.unique(judged.comparison)) == len(sides)

    @pytest.mark.parametrize("name", ["user_id", "position"])
    def test_what_does_not_say_who_saw_what_is_refused(self, pairs, name) -> None:
        with pytest.raises(InputError, match="need user_id and position"):
            from_pairs(replace(pairs, **{name: None}))


class TestAgreement:
    @pytest.mark.parametrize("shown", [True, False])
    def test_by_hand(self, shown: bool) -> None:
        found = disagreement.agreement(from_frame(frame(shown)))
        # in both orders: pair 1 has 6 couples, 2 of them agree; pair 2 has 2, none; pair 4 has 2, both
        assert found["agreement"] == pytest.approx(4 / 10)
        # pair 1: u and v meet a tie, w is wrong; pair 2: both wrong; pair 4: both right
        assert found["majority"] == pytest.approx((0.5 + 0.5 + 0 + 0 + 0 + 1 + 1) / 7)
        assert (found["n_people"], found["n_comparisons"], found["n_judgements"]) == (3, 3, 7)

    def test_one_criterion_and_two(self) -> None:
        judged = from_frame(frame())
        assert disagreement.agreement(judged, alike=True)["agreement"] == pytest.approx(1)
        turned = frame()
        turned.loc[7, ["chosen", "rejected", "shown_first"]] = ["f", "e", "rejected"]
        assert disagreement.agreement(from_frame(turned), alike=True)["agreement"] == pytest.approx(1 / 2)

    def test_the_scored_meet_all_others(self) -> None:
        judged = from_frame(frame())
        scored = judged.names[judged.person] == "w"
        found = disagreement.agreement(judged, scored=scored)
        assert found["agreement"] == pytest.approx(2 / 4 - 1 / 6) and found["n_people"] == 1

    def test_sides_do_not_matter_to_agreement(self) -> None:
        judged = from_frame(frame())
        turn = rng(1).random(len(judged)) < 0.5
        other = replace(
            judged,
            first=np.where(turn, judged.second, judged.first),
            second=np.where(turn, judged.first, judged.second),
            preferred=judged.preferred ^ turn,
        )
        assert disagreement.agreement(other) == disagreement.agreement(judged)
        wrong = replace(judged, preferred=judged.preferred ^ turn)  # labels turned, sides not: another agreement
        assert disagreement.agreement(wrong)["agreement"] != disagreement.agreement(judged)["agreement"]

    def test_what_has_no_people_is_refused(self) -> None:
        with pytest.raises(InputError, match="no column 'user_id'"):
            from_frame(frame().drop(columns="user_id"))
        with pytest.raises(InputError, match="summeval has no pairs that several people judged"):
            disagreement.load_judgements("summeval")
        judged = from_frame(frame())
        with pytest.raises(InputError, match="no two people judged the same pair"):
            disagreement.agreement(judged.select(judged.person == 0))
        with pytest.raises(InputError, match="no pair of differing texts"):
            from_frame(frame().assign(rejected=lambda d: d["chosen"]))


class TestComponents:
    def test_slopes_by_hand(self) -> None:
        """One direction: sum over clusters c != c' of M_c M_c' over that of S_c S_c', people weighted by 1 / S."""
        person, cluster = np.array([0, 0, 0, 1, 1, 1, 1, 2]), np.array([0, 0, 1, 0, 1, 1, 2, 0])
        x = np.array([1.0, -1, 2, 1, 1, -2, 1, 1])
        r = np.array([0.5, 0.2, 1, -1, -0.3, 0.4, 0.1, 0.7])
        found = disagreement.person_slopes(r, x[:, None], person, cluster)
        left = r - x * (x @ r) / (x @ x)
        top = bottom = 0.0
        for w in (0, 1):  # person 2 has one cluster
            m = [(x * left)[(person == w) & (cluster == c)].sum() for c in range(3)]
            s = [(x * x)[(person == w) & (cluster == c)].sum() for c in range(3)]
            other = [(a, b) for a in range(3) for b in range(3) if a != b]
            top += sum(m[a] * m[b] for a, b in other) / sum(s)
            bottom += sum(s[a] * s[b] for a, b in other) / sum(s)
        assert found.shares() == pytest.approx([top / bottom * np.mean(x**2)])
        assert len(found.moment) == 2

    def test_slopes_of_known_variance_are_found(self) -> None:
        """Two correlated directions, slopes of which one varies, noise in every choice."""
        g = rng(3)
        people, n = 2000, 40
        person = np.repeat(np.arange(people), n)
        cluster = g.integers(6, size=len(person))
        x = g.normal(size=(len(person), 2)) @ np.array([[1.0, 0.6], [0, 0.8]])
        for sd in (0.0, 0.3):
            slope = g.normal(0.2, sd, people)
            r = slope[person] * x[:, 1] + g.normal(size=len(person))
            found = disagreement.person_slopes(r, x, person, cluster).shares()
            assert found == pytest.approx([0, sd**2], abs=0.01)
        shuffled = disagreement.person_slopes(r, x, g.permutation(person), cluster).shares()
        assert shuffled == pytest.approx([0, 0], abs=0.01)  # no people, no slopes

    def test_taste_is_told_from_noise(self) -> None:
        with_taste = simulated(rng(1), people=150, taste=1.0)
        without = simulated(rng(1), people=150, taste=0.0)
        parts = [disagreement.components(j, rng(), n_bootstrap=400).set_index("part") for j in (with_taste, without)]
        assert parts[0].loc["length", "low"] > 0.02
        assert parts[1].loc["length", "low"] <= 0.005 and abs(parts[1].loc["length", "share"]) < 0.01
        for table, judged in zip(parts, (with_taste, without), strict=True):
            assert table["share"].sum() == pytest.approx(1)
            same = disagreement.agreement(judged)["agreement"]
            assert table.loc["shared", "share"] == pytest.approx(2 * same - 1)
            assert (table["low"] <= table["share"]).all() and (table["share"] <= table["high"]).all()

    def test_scores_have_not_seen_the_person(self) -> None:
        judged = simulated(rng(2), people=20)
        before = disagreement.expected(judged, rng(5))
        own = judged.person == 3
        after = disagreement.expected(replace(judged, preferred=judged.preferred ^ own), rng(5))
        np.testing.assert_allclose(after[own], before[own], atol=1e-12)
        assert np.abs(after[~own] - before[~own]).max() > 0.01

    @pytest.mark.parametrize(
        ("x", "cluster", "message"),
        [
            (np.ones((4, 2)), [0, 1, 0, 1], "collinear"),
            (np.arange(4.0)[:, None], [0, 1, 1, 1], "fewer than two people"),
        ],
    )
    def test_what_tells_no_slopes_is_refused(self, x: np.ndarray, cluster: list[int], message: str) -> None:
        with pytest.raises(InputError, match=message):
            disagreement.person_slopes(np.arange(4.0), x, np.array([0, 0, 1, 1]), np.array(cluster))


class TestPlantedTaste:
    def test_own_slopes_are_the_most_probable(self) -> None:
        g = rng()
        person, margin, x = g.integers(4, size=50), g.normal(size=50), 3 * g.normal(size=50)
        sign = np.where(g.random(50) < 0.5, 1.0, -1.0)
        found = planted_taste.own_slopes(margin, x, sign, person, 6, spread=0.7)
        for w in range(4):
            own = person == w

            def loss(t: float, own: np.ndarray = own) -> float:
                return -log_expit(sign[own] * (margin[own] + t * x[own])).sum() + t**2 / (2 * 0.7**2)

            assert found[w] == pytest.approx(minimize_scalar(loss, tol=1e-10).x, abs=1e-5)
        assert (found[4:] == 0).all()

    def test_a_turned_gap_has_the_opposite_slope(self) -> None:
        x, rest = np.array([1.0, -1, 1, -1]), np.array([1.0, 1, -1, -1])
        np.testing.assert_allclose(planted_taste.turned_gap(2 * x + rest, x), -2 * x + rest)
        with pytest.raises(InputError, match="direction is 0"):
            planted_taste.turned_gap(x, 0 * x)

    def test_labels_are_drawn_from_the_model(self) -> None:
        judged = simulated(rng(0), people=100, labels=100, taste=0)
        model = judged.fit()
        p = model.probability(judged.first, judged.second, judged.person)
        again = planted_taste.drawn(judged, model, judged.length, rng(), turned=0)
        assert abs(again.preferred.mean() - p.mean()) < 0.02
        assert abs((again.preferred == (p > 0.5)).mean() - np.maximum(p, 1 - p).mean()) < 0.02
        turned = planted_taste.drawn(judged, model, judged.length, rng(), turned=1.0)
        slopes = [np.polyfit(j.length, j.sign, 1)[0] for j in (again, turned)]
        assert slopes[0] > 0.05 and slopes[1] < -0.05

    def test_gains_never_adapt_on_what_they_test(self) -> None:
        judged = simulated(rng(4), people=30)
        gain = planted_taste.offset_gain(judged, rng())
        sides = pd.DataFrame({"w": judged.person, "c": judged.cluster, "adapt": gain.adapt})
        assert (sides.groupby(["w", "c"])["adapt"].nunique() == 1).all()
        shifted = replace(judged, preferred=judged.preferred ^ ~gain.adapt)  # test labels turned
        a, b = gain(judged, 10, rng()), gain(shifted, 10, rng())
        assert (
            a.estimate == pytest.approx(-b.estimate) and a.estimate != 0
        )  # the same predictions, scored the other way

    def test_the_planted_taste_is_seen_and_noise_is_not(self) -> None:
        judged = simulated(rng(5), people=100, labels=100, taste=0)
        gain = planted_taste.offset_gain(judged, rng())
        found = planted_taste.draws(judged, gain, [5, 30], rng(1), n_draws=12)
        table = planted_taste.power_table(found).set_index(["taste", "budget"])
        assert table.loc[("planted", 30), "seen"] == 1 and table.loc[("none", 30), "seen"] <= 1 / 6
        assert table.loc[("planted", 30), "gain"] > table.loc[("planted", 5), "gain"] > 0.005
        assert abs(table.loc[("none", 30), "gain"]) < 0.005

    def test_a_gain_counts_only_above_noise(self) -> None:
        null = pd.DataFrame({"taste": "none", "budget": 5, "gain": np.linspace(-0.01, 0.03, 41)})
        small, large = Interval(0.0199, 0.01, 0.03, 9), Interval(0.05, 0.01, 0.09, 9)
        vague = Interval(0.05, -0.01, 0.11, 9)
        found = [planted_taste.beyond_noise(g, null, 5) for g in (small, large, vague)]
        assert [f["counts"] for f in found] == [False, True, False]
        assert found[0]["p_noise"] == pytest.approx(12 / 42) and found[1]["p_noise"] == pytest.approx(1 / 42)
        assert found[0]["noise_limit"] == pytest.approx(0.029)
        with pytest.raises(InputError, match="no draw without taste at 20 labels"):
            planted_taste.beyond_noise(small, null, 20)

    def test_any_way_to_personalise_can_be_asked(self) -> None:
        judged = simulated(rng(6), people=10, labels=30)
        seen: list[tuple[int, int]] = []

        def gain(given: Judgements, budget: int, generator: np.random.Generator) -> Interval:
            seen.append((len(given), budget))
            return Interval(0.1, 0.05, 0.2, 10)

        found = planted_taste.draws(judged, gain, [5, 10], rng(), n_draws=2)
        assert len(found) == len(seen) == 8 and set(seen) == {(len(judged), 5), (len(judged), 10)}

    def test_the_synthetic_population_goes_all_the_way(self) -> None:
        table, own = planted_taste.power(disagreement.SYNTHETIC, [5, 20], rng(), n_draws=3)
        assert list(table["taste"].unique()) == ["planted", "none"] and len(own) == 2
        assert disagreement.agreement_table([disagreement.SYNTHETIC])["agreement"].between(0.5, 0.9).all()
        assert len(disagreement.component_table([disagreement.SYNTHETIC], rng())) == 5

    @pytest.mark.parametrize(
        ("budget", "message"), [(0, "budget must be >= 1"), (500, "fewer than two people have 500")]
    )
    def test_a_budget_nobody_has_is_refused(self, budget: int, message: str) -> None:
        judged = simulated(rng(4), people=5)
        with pytest.raises(InputError, match=message):
            planted_taste.offset_gain(judged, rng())(judged, budget, rng())


@pytest.mark.long
class TestStaged:
    def test_workers(self, mirror: Path) -> None:
        table = disagreement.agreement_table(["ukp-workers"]).set_index("population")
        many, everyone = table.loc["people with 50 or more choices"], table.loc["everyone"]
        assert round(many["agreement"], 3) == 0.729 and many["n_people"] == 173
        assert (many["low"], many["high"]) == pytest.approx((0.691, 0.769), abs=0.004)
        assert round(everyone["majority"], 3) == 0.745 and everyone["agreement"] == pytest.approx(0.731, abs=5e-4)
        # the source's own count, where a choice that nobody else judged counts one half
        counted = (everyone["majority"] * everyone["n_judgements"] + 0.5 * (65335 - everyone["n_judgements"])) / 65335
        assert round(counted, 3) == 0.743

    def test_agreement_again_by_another_route(self, mirror: Path) -> None:
        """From counts of each pair's votes in the judgements themselves, identical texts and all."""
        table = ukp.judgements()
        counts = table[table["value"] != "equal"].groupby("pair_id")["value"].value_counts().unstack(fill_value=0)
        n, a = counts.sum(axis=1), counts["a1"]
        by_hand = (a * (a - 1) + (n - a) * (n - a - 1)).sum() / (n * (n - 1)).sum()
        found = disagreement.agreement(disagreement.load_judgements("ukp-workers"))
        assert found["agreement"] == pytest.approx(by_hand, abs=2e-4)

    def test_criteria(self, mirror: Path) -> None:
        table = disagreement.agreement_table(["ukp-criteria"]).set_index("population")
        reversals = [round(100 * (1 - table.loc[p, "agreement"]), 1) for p in table.index]
        assert reversals == [15.8, 28.9, 51.6]

    def test_translations(self, mirror: Path) -> None:
        table = disagreement.agreement_table(["wmt-mqm"]).set_index("population")
        assert round(table.loc["accuracy", "agreement"], 3) == 0.783 and table["n_people"].eq(8).all()
        ratings, _ = wmt.ratings(sources.fetch(wmt.FILE))
        agree = total = 0
        for _, part in ratings.groupby("item_id"):
            text = part.drop_duplicates("response_id").sort_values("response_id")["response"].to_numpy()
            wide = part.pivot(index="user_id", columns="response_id", values="accuracy").to_numpy()
            differ = np.not_equal.outer(text, text)[np.triu_indices(len(text), 1)]
            signs = [np.sign(np.subtract.outer(row, row))[np.triu_indices(len(row), 1)][differ] for row in wide]
            for one, other in itertools.combinations(signs, 2):
                total += int((one * other != 0).sum())
                agree += int((one * other > 0).sum())
        assert table.loc["accuracy", "agreement"] == pytest.approx(agree / total)
        assert table.loc["style", "agreement"] < table.loc["fluency", "agreement"] < table.loc["accuracy", "agreement"]

    def test_variances(self, mirror: Path) -> None:
        parts = disagreement.component_table(["ukp-workers"], rng(), n_bootstrap=400)
        parts = parts[parts["population"] != "everyone"].set_index("part")
        assert parts.loc["length", "share"] == pytest.approx(0.02, abs=0.004) and parts.loc["length", "low"] > 0.005
        assert parts.loc["position", "high"] < 0.003 and parts.loc["rest", "share"] > 0.4

    def test_power(self, mirror: Path) -> None:
        table, own = planted_taste.power("ukp-workers", [20, 50], rng(), n_draws=10)
        table = table.set_index(["taste", "budget"])
        assert (table.loc["planted", "seen"] == 1).all() and (table.loc["none", "seen"] <= 0.2).all()
        assert 0.03 < table.loc[("planted", 20), "gain"] < 0.08
        assert own["n_people"].tolist() == [173, 90] and (own["gain"].abs() < 0.01).all()
