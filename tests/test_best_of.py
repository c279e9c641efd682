"""Best-of: picks and regrets by hand and by brute force, on pairs that a tiny world gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit
from scipy.stats import spearmanr

from micro_paper.data import open as open_data
from micro_paper.errors import InputError
from micro_paper.experiments import best_of
from micro_paper.experiments.runs import Fitted, Run
from micro_paper.experiments.worlds import World, load_world
from micro_paper.methods.settings import Settings
from micro_paper.pairs import Pairs

QUICK = Settings(heads=2, dtype="float64", learning_rate=1e-2, epochs=1, stage2_epochs=2, tau=1e-2)
# two prompts of four responses, and one whose two items have two responses each; attributes: good, short
RATINGS = np.array(
    [[1, 4], [2, 3], [4, 3], [3, 1], [5, 1], [5, 2], [2, 2], [1, 2], [3, 1], [1, 1], [2, 5], [4, 5]], dtype=float
)
GROUPS = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [10, 11]]
PROMPT = ["p", "q", "r", "r"]
NAMES = ("good", "short")


def pairs_of(ratings: np.ndarray, groups: list[list[int]], prompts: list[str]) -> Pairs:
    """The labelled pairs of rated responses, ties left out, each response with itself as feature."""
    rows = []
    for prompt, members in zip(prompts, groups, strict=True):
        for number, name in enumerate(NAMES):
            for i in members:
                rows += [(i, j, prompt, name) for j in members if ratings[i, number] > ratings[j, number]]
    chosen, rejected, prompt, attribute = zip(*rows, strict=True)
    names = sorted(set(prompt))
    return Pairs(
        responses=torch.tensor(ratings),
        chosen=torch.tensor(chosen),
        rejected=torch.tensor(rejected),
        prompts=torch.zeros(len(names), 1, dtype=torch.float64),
        prompt=torch.tensor([names.index(p) for p in prompt]),
        contexts=torch.eye(2, dtype=torch.float64),
        context=torch.tensor([NAMES.index(a) for a in attribute]),
        lengths=torch.zeros(len(ratings), dtype=torch.float64),
        pair_id=np.array([f"{i}-{j}-{a}" for i, j, _, a in rows]),
        prompt_id=np.array(prompt),
        attribute=np.array(attribute),
        ratings=torch.tensor(ratings),
        rating_names=NAMES,
    )


PAIRS = pairs_of(RATINGS, GROUPS, PROMPT)


class Linear:
    """A method with rewards w_c . phi for context c; no more than what `Fitted.predict` asks of it."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = torch.as_tensor(weights, dtype=torch.float64)

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        return torch.sigmoid((pairs.difference * (pairs.context_features @ self.weights)).sum(dim=1)).numpy()


def fitted(name: str, weights: object, pairs: Pairs = PAIRS, seed: int = 0) -> Fitted:
    world = World("tiny", 0, pairs, pairs, pairs, fingerprint="")
    return Fitted(name, Run(world, seed), Linear(np.array(weights, dtype=float)))


ORACLE = [[1, 0], [0, 1]]
ROWS = {"oracle": ORACLE, "good always": [[1, 0], [1, 0]], "worst": [[-1, 0], [0, -1]], "coin": [[0, 0], [0, 0]]}


def big(seed: int = 0, prompts: int = 12, size: int = 6) -> Pairs:
    ratings = np.random.default_rng(seed).integers(1, 6, size=(prompts * size, 2)).astype(float)
    groups = [list(range(size * x, size * (x + 1))) for x in range(prompts)]
    return pairs_of(ratings, groups, [f"p{x:02d}" for x in range(prompts)])


class TestCandidates:
    def test_every_two_responses_of_an_item_once(self) -> None:
        found = best_of.candidates(PAIRS)
        assert len(found.choices) == 4 + 2  # r: its first item ties by "short", its second too
        sizes = found.choices.assign(n=np.bincount(found.choice)).set_index(["prompt_id", "attribute", "item"])["n"]
        assert sizes[["p", "q"]].tolist() == [6] * 4 and sizes["r"].tolist() == [1, 1]
        couples = set(zip(found.choice, found.pairs.chosen.tolist(), found.pairs.rejected.tolist(), strict=True))
        assert len(couples) == len(found.pairs) == 26  # ties are in: a tied response can be picked too
        assert all(one < other for _, one, other in couples)
        for row in range(len(found.pairs)):
            column = NAMES.index(found.pairs.attribute[row])
            sides = [int(found.pairs.chosen[row]), int(found.pairs.rejected[row])]
            assert found.ratings[row].tolist() == RATINGS[sides, column].tolist()
            assert int(found.pairs.context[row]) == column

    def test_a_response_without_a_rating_is_left_out(self) -> None:
        ratings = PAIRS.ratings.clone()
        ratings[0, 0] = torch.nan
        found = best_of.candidates(replace(PAIRS, ratings=ratings))
        of_p = found.choices[(found.choices["prompt_id"] == "p") & (found.choices["attribute"] == "good")].index[0]
        assert np.bincount(found.choice)[of_p] == 3

    def test_what_is_not_rated_is_refused(self) -> None:
        with pytest.raises(InputError, match="best-of needs rated responses"):
            best_of.candidates(replace(PAIRS, ratings=None, rating_names=()))
        with pytest.raises(InputError, match="'good' is not rated; there are nice, short"):
            best_of.candidates(replace(PAIRS, rating_names=("nice", "short")))
        with pytest.raises(InputError, match="best-of needs rated responses"):
            best_of.candidates(load_world("synthetic-rated", synthetic_prompts=40).test)


class TestPicks:
    def test_by_hand(self) -> None:
        found = best_of.best_of([fitted(*row) for row in ROWS.items()])
        table = found.set_index(["method", "prompt_id", "attribute"]).sort_index()
        assert (found[found["method"] == "oracle"][["regret", "share"]] == 0).all(axis=None)
        assert (found[found["method"] == "oracle"]["accuracy"] == 1).all()
        assert (found[found["method"] == "worst"]["share"] == 1).all()
        # p by "short": response 2 is the best by "good" and rated 3 of 4, 3, 3, 1
        row = table.loc[("good always", "p", "short")]
        assert (row["regret"], row["share"], row["random_regret"]) == pytest.approx((1, 1 / 3, 4 - 11 / 4))
        # unequal by "short": 0 over 1, 2 and 3, 1 and 2 over 3; by "good" 2 > 3 > 1 > 0: only 2 over 3 is right
        assert (row["n_pairs"], row["accuracy"]) == (5, pytest.approx(1 / 5))
        # q by "short": 4 and 5 are equal by "good", the mean of their ratings counts
        assert table.loc[("good always", "q", "short")]["regret"] == pytest.approx(2 - 1.5)
        coin = found[found["method"] == "coin"]
        np.testing.assert_allclose(coin["regret"], coin["random_regret"])
        assert (coin["accuracy"] == 0.5).all()

    def test_brute_force_of_uneven_preferences(self) -> None:
        """Probabilities that follow no reward, each response's mean taken one by one."""
        pairs = big()
        found = best_of.candidates(pairs)
        p = np.random.default_rng(1).random(len(found.pairs))
        table = best_of.picks(found, p)
        for number, choice in found.choices.iterrows():
            own = np.flatnonzero(found.choice == number)
            wins: dict[int, list[float]] = {}
            for row in own:
                one, other = int(found.pairs.chosen[row]), int(found.pairs.rejected[row])
                wins.setdefault(one, []).append(p[row])
                wins.setdefault(other, []).append(1 - p[row])
            best = max(wins, key=lambda r: np.mean(wins[r]))
            values = pairs.ratings[sorted(wins), NAMES.index(choice["attribute"])].numpy()
            rated = float(pairs.ratings[best, NAMES.index(choice["attribute"])])
            assert table.loc[number, "regret"] == pytest.approx(values.max() - rated)
            assert table.loc[number, "n_responses"] == len(wins) == 6

    def test_rewards_pick_their_highest(self) -> None:
        pairs = big(2)
        found = best_of.candidates(pairs)
        rewards = np.random.default_rng(3).normal(size=len(pairs.responses))
        table = best_of.picks(found, found.preferences(rewards))
        for number, choice in found.choices.iterrows():
            own = found.pairs.select(found.choice == number)
            members = np.unique(torch.cat([own.chosen, own.rejected]).numpy())
            values = pairs.ratings[:, NAMES.index(choice["attribute"])].numpy()
            pick = members[rewards[members].argmax()]
            assert table.loc[number, "regret"] == values[members].max() - values[pick]
        turned = best_of.picks(found, 1 - found.preferences(rewards))
        assert not np.allclose(turned["regret"], table["regret"])
        with pytest.raises(InputError, match="one a response"):
            found.preferences(rewards[:-1])
        with pytest.raises(InputError, match="one a pair of candidates"):
            best_of.picks(found, np.ones(3))

    def test_the_best_fixed_system_is_chosen_elsewhere(self) -> None:
        texts = {row: f"text {row}" for row in range(12)}
        data = [
            (x, texts[i], texts[j])
            for x, i, j in zip(PAIRS.prompt_id, PAIRS.chosen.tolist(), PAIRS.rejected.tolist(), strict=True)
        ]
        here = [
            (PROMPT[g], texts[row], "AB"[k % 2], *RATINGS[row]) for g in range(4) for k, row in enumerate(GROUPS[g])
        ]
        there = [("other", "x", "A", 1.0, 5.0), ("other", "y", "B", 2.0, 1.0)]
        systems = pd.DataFrame(here + there, columns=["prompt_id", "response", "system", *NAMES])
        fixed = best_of.known_systems(PAIRS, data, systems)
        assert np.flatnonzero(fixed[:, 0]).tolist() == [1, 3, 5, 7, 9, 11]  # B is better by "good" elsewhere
        assert np.flatnonzero(fixed[:, 1]).tolist() == [0, 2, 4, 6, 8, 10]
        table = best_of.best_of([fitted("oracle", ORACLE)], {0: fixed}).set_index(["prompt_id", "attribute"])
        assert table.loc[("p", "good"), "fixed_regret"] == 4 - 2.5
        assert table.loc[("p", "short"), "fixed_regret"] == 4 - 3.5
        with pytest.raises(InputError, match="every prompt is a test prompt"):
            best_of.known_systems(PAIRS, data, systems.iloc[:-2])


class TestTables:
    def test_regret_is_the_mean_over_attributes(self) -> None:
        found = best_of.best_of([fitted(name, w, big(), seed) for name, w in ROWS.items() for seed in (0, 1)])
        table = best_of.regret_table(found).set_index(["method", "attribute"])
        assert table.loc[("oracle", "average"), "saved"] == 1 and abs(table.loc[("coin", "average"), "saved"]) < 1e-12
        for method in ROWS:
            own = found[(found["method"] == method) & found["share"].notna()]
            by_hand = own.groupby("attribute")["regret"].mean()
            assert table.loc[(method, "good"), "regret"] == pytest.approx(by_hand["good"])
            row = table.loc[(method, "average")]
            assert row["regret"] == pytest.approx(by_hand.mean()) and row["n_prompts"] == 12
            assert row["low"] <= row["regret"] <= row["high"]

    def test_ranks_against_scipy(self) -> None:
        rng = np.random.default_rng(0)
        rows = {f"m{k}": rng.normal(size=(2, 2)) for k in range(7)}
        found = best_of.best_of([fitted(name, w, big(4)) for name, w in rows.items()])
        table = best_of.rank_correlation(found, np.random.default_rng(1)).set_index("attribute")
        for attribute in NAMES:
            means = found[found["attribute"] == attribute].groupby("method")[["accuracy", "regret"]].mean().round(12)
            assert table.loc[attribute, "correlation"] == pytest.approx(
                spearmanr(means["accuracy"], -means["regret"])[0]
            )
        assert (table["low"] <= table["correlation"] + 1e-9).all() and (table["n_methods"] == 7).all()

    def test_alike_ranks_are_one_and_turned_ones_minus_one(self) -> None:
        rows = [
            {"dataset": "d", "method": m, "fold": 0, "seed": 0, "prompt_id": f"p{x}", "item": x, "attribute": "a"}
            | {"n_responses": 4, "n_pairs": 6, "accuracy": 0.5 + 0.1 * k, "regret": 1 - 0.1 * k, "share": 0.5}
            | {"random_regret": 1.0, "fixed_regret": np.nan}
            for k, m in enumerate("uvwx")
            for x in range(5)
        ]
        found = pd.DataFrame(rows)
        line = best_of.rank_correlation(found, np.random.default_rng(0)).iloc[0]
        assert (line["correlation"], line["low"], line["high"]) == pytest.approx((1, 1, 1))
        turned = found.assign(regret=2 - found["regret"])
        assert best_of.rank_correlation(turned, np.random.default_rng(0))["correlation"][0] == pytest.approx(-1)
        same = found.assign(regret=1.0)  # no ranks
        assert np.isnan(best_of.rank_correlation(same, np.random.default_rng(0))["correlation"]).all()
        with pytest.raises(InputError, match="2 methods: a rank correlation over methods needs 3"):
            best_of.rank_correlation(found[found["method"].isin(["u", "v"])], np.random.default_rng(0))
        with pytest.raises(InputError, match="have different choices"):
            best_of.rank_correlation(found.iloc[1:], np.random.default_rng(0))

    def test_fitted_methods_are_judged(self) -> None:
        """Rows of METHODS on ratings that their features hold: told the attribute, the pick is the best."""
        world = World("tiny", 0, big(7, 40), big(8), big(9), fingerprint="")
        rows = ("oracle_attribute_exact", "single_exact", "single")
        found = best_of.best_of([Run(world, 0).fit(row, QUICK).adapt(20) for row in rows])
        table = best_of.regret_table(found).set_index(["method", "attribute"])["share"].unstack()["average"]
        assert table["oracle_attribute_exact"] < 0.02 < table["single_exact"] < 0.6
        assert len(best_of.rank_correlation(found, np.random.default_rng(0))) == 3

    def test_no_method_is_refused(self) -> None:
        with pytest.raises(InputError, match="at least one fitted method"):
            best_of.best_of([])


def test_summaries_have_their_systems(mirror: Path) -> None:
    table = open_data.summeval_systems()
    assert len(table) == 1600 and table["system"].nunique() == 16
    assert (table.groupby("prompt_id")["system"].nunique() == 16).all()
    assert "system" not in open_data.summeval().ratings


def test_the_hub_keeps_systems_by_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"id": "1", "text": "news", "machine_summaries": ["a", "b", "c"]}
    row |= {name: [1.0, 2.0, 3.0] for name in open_data.SUMMEVAL_ATTRIBUTES}
    monkeypatch.setattr(open_data, "in_mirror", lambda name: None)
    monkeypatch.setattr(open_data.hub, "rows", lambda *args, **options: [row, {**row, "id": "2"}])
    assert open_data.summeval_systems()["system"].tolist() == ["0", "1", "2", "0", "1", "2"]


@pytest.fixture(scope="module")
def options() -> World:
    return load_world("synthetic-options", synthetic_prompts=40)


class TestSyntheticOptions:
    def test_all_sixteen_can_be_picked_under_every_attribute(self, options):
        found = best_of.candidates(options.test)
        assert set(found.choices["attribute"]) == set(options.test.rating_names) and len(found.choices) == 5 * 4
        assert (np.bincount(found.choice) > 14 * 13 / 2).all() and np.bincount(found.choice).max() == 16 * 15 / 2
        assert best_of.fixed_systems([options]) is None

    def test_labels_follow_the_ratings_of_their_own_subgroup(self, options):
        column = [options.test.rating_names.index(a) for a in options.test.attribute]
        gap = options.test.ratings[options.test.chosen] - options.test.ratings[options.test.rejected]
        own = gap[range(len(column)), column]
        assert (own > 0).double().mean() == pytest.approx(float(own.abs().sigmoid().mean()), abs=0.06)
        assert (gap > 0).double().mean() < (own > 0).double().mean() - 0.1

    def test_the_truth_picks_the_best_and_its_opposite_the_worst(self, options):
        found = best_of.candidates(options.test)
        truth = expit(found.ratings[:, 0] - found.ratings[:, 1])
        best = best_of.picks(found, truth)
        assert (best["regret"] == 0).all() and (best["accuracy"] == 1).all()
        worst = best_of.picks(found, 1 - truth)
        assert worst["share"].to_numpy() == pytest.approx(1) and (worst["accuracy"] == 0).all()
