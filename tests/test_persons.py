"""The protocol of persons: who teaches, tells and is asked; the rows; their tables; on people with known tastes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import check_grad
from sklearn.linear_model import LogisticRegression

from micro_paper import intervals
from micro_paper.bradley_terry import log_preference
from micro_paper.convex import fit_bradley_terry
from micro_paper.data import synthetic_people
from micro_paper.errors import InputError
from micro_paper.experiments import persons
from micro_paper.experiments.person_rounds import Folds, Round, check_round, everyone, peers, rounds, shuffled, who_has
from micro_paper.experiments.person_rows import PERSON_ROWS, find_row
from micro_paper.experiments.worlds import load_world
from micro_paper.methods import mrm
from micro_paper.methods.person_offset import PersonNone, PersonPosition, PersonRidge
from micro_paper.methods.person_weights import PersonHyRe, PersonMicroHyRe, PersonRouter
from micro_paper.methods.persons import PersonRow, Told, adapt_person, first_labels, places

SETTINGS = {"heads": 4, "dtype": "float64", "learning_rate": 1e-2, "epochs": 3, "standardize": False}
FOLDS = Folds(people=2, topics=3, dimensions=0)
QUICK = ("person_none", "person_ridge", "peers", "shuffled_people", "person_position")


@pytest.fixture(scope="module")
def pairs():
    return everyone(load_world("synthetic-people"))


@pytest.fixture(scope="module")
def made(pairs) -> Round:
    return next(rounds(pairs, FOLDS, 0))


@pytest.fixture(scope="module")
def ridge(made):
    return PersonRidge(SETTINGS, 0).fit(made.train, made.validation, made.tuning)


class TestRounds:
    def test_everybody_is_tested_once_on_each_pair_of_the_second_half(self, pairs):
        asked, told = [], {}
        for made in rounds(pairs, FOLDS, 3):
            check_round(made)
            asked += made.test.ask.pair_id.tolist()
            for person in np.unique(made.test.tell.user_id):
                own = made.test.tell.pair_id[made.test.tell.user_id == person].tolist()
                assert told.setdefault(person, own) == own  # the same labels in every round of a run
        assert len(asked) == len(set(asked)) and set(told) == set(pairs.user_id)
        both = set(asked) | {label for own in told.values() for label in own}
        assert both == set(pairs.pair_id) and not set(asked) & {label for own in told.values() for label in own}

    @pytest.mark.parametrize(
        ("part", "planted", "said"),
        [
            ("train", "test.ask", "training share the (person|topic)"),
            ("train", "tuning.tell", "tuning and training share the person"),
            ("validation", "train", "validation and training share the topic"),
            ("test.tell", "test.ask", "tells of .* and is asked about it"),
        ],
    )
    def test_a_planted_pair_is_found(self, made, part, planted, said):
        """One pair of another part is put in: its person or its topic must be found."""
        sides = {"train": made.train, "validation": made.validation}
        sides |= {f"{n}.{s}": v for n in ("tuning", "test") for s, v in _sides(getattr(made, n)).items()}
        sides[part] = _with(sides[part], sides[planted])
        told = {n: Told(sides[f"{n}.tell"], sides[f"{n}.ask"]) for n in ("tuning", "test")}
        with pytest.raises(InputError, match=said):
            check_round(Round(made.everybody, sides["train"], sides["validation"], **told))

    def test_budgets_are_of_each_person_and_prefixes(self, made):
        before = first_labels(made.test.tell, 0)
        assert len(before) == 0
        for labels in (2, 5, 10, 20):
            taken = first_labels(made.test.tell, labels)
            assert set(np.unique(taken.user_id, return_counts=True)[1]) == {labels}
            kept = places(taken.user_id) < (len(before) and np.bincount(places(before.user_id)).size)
            assert taken.pair_id[kept].tolist() == before.pair_id.tolist()
            before = taken

    def test_labels_are_in_another_order_in_another_run(self, pairs, made):
        other = next(rounds(pairs, FOLDS, 1))
        who = next(iter(set(made.test.tell.user_id) & set(other.test.tell.user_id)))
        orders = [m.test.tell.pair_id[m.test.tell.user_id == who].tolist() for m in (made, other)]
        assert sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1]

    def test_peers_are_others_on_the_same_pairs(self, made):
        tell, everybody = made.test.tell, made.everybody
        found = peers(tell, everybody, 0)
        assert 0.5 < len(found) / len(tell) <= 1
        own = dict(zip(tell.pair_id, zip(tell.chosen.tolist(), tell.rejected.tolist(), strict=True), strict=True))
        turned = 0
        for i, (name, who) in enumerate(zip(found.pair_id, found.user_id, strict=True)):
            a, b = int(found.chosen[i]), int(found.rejected[i])
            assert {a, b} == set(own[name])
            same = (everybody.chosen == a) & (everybody.rejected == b)
            assert (everybody.user_id[same.numpy()] != who).any()  # somebody else chose so
            turned += (a, b) != own[name]
        assert 0.1 < turned / len(found) < 0.6

    def test_shuffled_labels_are_of_one_other_person_elsewhere(self, made):
        found = shuffled(made.test, made.everybody, 0)
        giver = dict(zip(made.everybody.pair_id, made.everybody.user_id, strict=True))
        for person in np.unique(made.test.tell.user_id):
            own = found.user_id == person
            givers = {giver[name] for name in found.pair_id[own]}
            assert len(givers) == 1 and person not in givers
            asked = made.everybody.user_id == person
            told = made.test.tell.prompt_id[made.test.tell.user_id == person]
            assert not set(found.prompt_id[own]) & (set(made.everybody.prompt_id[asked]) - set(told))
        assert len(who_has(found, 20)) == len(np.unique(made.test.tell.user_id))

    @pytest.mark.parametrize("fault", [{"people": 1}, {"topics": 2}, {"dimensions": -1}, {"people": True}])
    def test_bad_folds_are_refused(self, fault):
        with pytest.raises(InputError, match=next(iter(fault))):
            Folds(**fault)

    def test_pairs_without_people_are_refused(self, pairs):
        with pytest.raises(InputError, match="user_id"):
            next(rounds(replace(pairs, user_id=None), FOLDS, 0))

    def test_reduced_features_keep_what_matters(self, pairs):
        whole, cut = (next(rounds(pairs, replace(FOLDS, dimensions=d), 0)) for d in (24, 6))
        assert whole.train.responses.shape[1] == 24 and cut.train.responses.shape[1] == 6
        power = cut.train.difference.square().mean(dim=0)
        assert (power.diff() <= 1e-9).all()  # leading directions first


def _sides(told):
    return {"tell": told.tell, "ask": told.ask}


def _with(pairs, other):
    """The pairs and the first of the other ones, all on the same tables."""
    one = other.select(slice(0, 1))
    joined = {
        name: torch.cat([getattr(pairs, name), getattr(one, name)])
        for name in ("chosen", "rejected", "prompt", "position")
    }
    joined |= {
        name: np.concatenate([getattr(pairs, name), getattr(one, name)])
        for name in ("pair_id", "prompt_id", "attribute", "user_id")
    }
    return replace(pairs, **joined)


class TestRows:
    @pytest.mark.parametrize("name", PERSON_ROWS)
    def test_protocol(self, name, made):
        """Each row: the protocol; antisymmetry; nobody's labels move anybody else; one person as with all others."""
        row = find_row(name).make(SETTINGS | {"epochs": 1}, 0).fit(made.train, made.validation, made.tuning)
        assert isinstance(row, PersonRow) and row.supervision
        before = row.predict_proba(made.test.ask)
        told = first_labels(made.test.tell, 10)
        p, q = row.adapt(told).predict_proba(made.test.ask), row.predict_proba(made.test.ask.flip())
        assert p.shape == (len(made.test.ask),) and np.abs(p + q - 1).max() < 1e-9
        if name not in ("person_position", "person_length"):  # which tuning people may have told not to follow at all
            assert (p == before).all() == (name == "person_none")
        who = made.test.ask.user_id[0]
        own, asked = (x.select(x.user_id == who) for x in (told, made.test.ask))
        alone = adapt_person(row, own)
        assert alone.name == who
        assert alone.predict_proba(asked) == pytest.approx(p[made.test.ask.user_id == who], abs=2e-4)
        assert row.predict_proba(made.test.ask) == pytest.approx(p, abs=0)  # adapt_person leaves the row as it is
        assert row.adapt(told.select(slice(0, 0))).predict_proba(made.test.ask) == pytest.approx(before, abs=1e-12)

    def test_ridge_is_stationary_and_scikit_learns(self, made, ridge):
        """Without the pooled part it is a logistic regression; with it, the gradient at the solution is 0."""
        told = first_labels(made.test.tell, 10)
        ridge.strength = 3.0
        ridge.adapt(told)
        who = ridge.names[2]
        own = told.select(told.user_id == who)
        x = ridge._feature(own) / ridge.unit
        margin = torch.from_numpy(ridge.pooled.head_margins(own)[:, 0]).double()
        b = ridge.table[2].clone().requires_grad_()
        loss = -log_preference(margin + x @ b).sum() + 3.0 * b.square().sum()
        loss.backward()
        assert b.grad.abs().max() < 1e-6 and b.detach().norm() > 0.05
        model = LogisticRegression(C=1 / (2 * 2 * 3.0), fit_intercept=False, tol=1e-12, max_iter=5000)
        model.fit(np.concatenate([x.numpy(), -x.numpy()]), [1] * len(x) + [0] * len(x))
        bare = fit_bradley_terry([x], [3.0 / len(x)], offsets=[torch.zeros(len(x))]).weight[0, 0]
        assert bare.numpy() == pytest.approx(model.coef_[0], abs=1e-5)

    @pytest.mark.parametrize("offsets", [[torch.zeros(2)], [torch.tensor([0.0, torch.nan, 0.0])], []])
    def test_offsets_must_fit(self, offsets):
        with pytest.raises(InputError, match="offsets"):
            fit_bradley_terry([torch.eye(3)], [0.1], offsets=offsets)

    @pytest.mark.parametrize(("kind", "count"), [(PersonMicroHyRe, 4), (PersonHyRe, 100)])
    def test_hyre_weights_by_hand(self, made, kind, count):
        row = kind(SETTINGS, 0).fit(made.train, made.validation)
        told = first_labels(made.test.tell, 5)
        row.adapt(told)
        who = told.user_id[0]
        own = told.select(told.user_id == who)
        asked = made.test.ask.select(made.test.ask.user_id == who)
        sigmoid = lambda m: 1 / (1 + np.exp(-m))  # noqa: E731
        weights = sigmoid(row.mixture.head_margins(own)).prod(axis=0)
        assert len(weights) == row.table.shape[1] == count
        expected = sigmoid(row.mixture.head_margins(asked)) @ (weights / weights.sum())
        assert row.predict_proba(asked) == pytest.approx(expected, abs=1e-9)

    def test_router_without_labels_is_stage_1(self, made):
        row = PersonRouter(SETTINGS, 0).fit(made.train, made.validation, made.tuning)
        assert row.predict_proba(made.test.ask) == pytest.approx(row.mixture.predict_proba(made.test.ask), abs=1e-9)

    def test_people_and_positions_are_needed(self, made):
        with pytest.raises(InputError, match="user_id"):
            PersonRidge(SETTINGS, 0).fit(made.train, made.validation).adapt(replace(made.test.tell, user_id=None))
        bare = {name: replace(getattr(made, name), position=None) for name in ("train", "validation")}
        with pytest.raises(InputError, match="position"):
            PersonPosition(SETTINGS, 0).fit(bare["train"], bare["validation"])

    def test_one_person_at_a_time(self, made, ridge):
        with pytest.raises(InputError, match="labelled pairs of one person"):
            adapt_person(ridge, made.test.tell)


class TestMrm:
    def test_inner_loop_is_gradient_descent(self):
        rng = np.random.default_rng(0)
        margins, start = torch.tensor(rng.normal(size=(2, 4, 3))), torch.tensor(rng.normal(size=(2, 3)))
        counted = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]]).double()
        found = mrm.inner_loop(margins, counted, start, 0.3, steps=2)
        for person in range(2):
            own = margins[person][counted[person] > 0]
            w = start[person].clone().requires_grad_()
            for _ in range(2):
                (gradient,) = torch.autograd.grad(-log_preference(own @ w).mean(), w)
                w = (w - 0.3 * gradient).detach().requires_grad_()
            assert found[person].tolist() == pytest.approx(w.tolist(), abs=1e-12)
        assert torch.equal(mrm.inner_loop(margins, counted * 0, start, 0.3), start)

    def test_the_outer_gradient_goes_through_the_inner_loop(self):
        """Against finite differences; with the inner loop cut off the gradient would be another."""
        rng = np.random.default_rng(1)
        told, asked = (torch.tensor(rng.normal(size=(3, 5, 2))) for _ in range(2))
        counted = torch.ones(3, 5, dtype=torch.float64)

        def losses(w: torch.Tensor) -> torch.Tensor:
            own = mrm.inner_loop(told, counted, w.expand(3, -1), 0.5)
            return -log_preference((asked * own[:, None]).sum(dim=-1)).mean(dim=1)

        fixed = losses(torch.tensor([0.2, -0.4], dtype=torch.float64)).softmax(dim=0)

        def value(w):
            return float((fixed * losses(torch.tensor(w))).sum())

        def gradient(w):
            at = torch.tensor(w).requires_grad_()
            (found,) = torch.autograd.grad((fixed * losses(at)).sum(), at)
            return found.numpy()

        at = np.array([0.2, -0.4])
        assert check_grad(value, gradient, at) < 1e-6
        w = torch.tensor(at).requires_grad_()
        (found,) = torch.autograd.grad(mrm.outer_loss(losses(w)), w)
        assert found.numpy() == pytest.approx(gradient(at), abs=1e-12)  # people's weights take no gradient
        inner = mrm.inner_loop(told, counted, torch.tensor(at).expand(3, -1), 0.5).detach()
        cut = torch.tensor(at).requires_grad_()
        moved = inner + cut - cut.detach()
        (short,) = torch.autograd.grad(
            (fixed * -log_preference((asked * moved[:, None]).sum(dim=-1)).mean(dim=1)).sum(), cut
        )
        assert np.abs(short.numpy() - found.numpy()).max() > 1e-3

    def test_people_with_a_large_loss_count_more(self):
        losses = torch.tensor([1.0, 3.0], requires_grad=True)
        loss = mrm.outer_loss(losses)
        loss.backward()
        assert losses.grad.tolist() == pytest.approx(torch.tensor([1.0, 3.0]).softmax(0).tolist())
        assert float(mrm.outer_loss(torch.tensor([2.0, 2.0]))) == 2.0

    def test_before_training_it_is_the_single_reward(self, made, monkeypatch):
        monkeypatch.setattr(mrm.Mrm, "_outer_loop", lambda *_: [])
        row = mrm.Mrm(SETTINGS, 0).fit(made.train, made.validation, made.tuning)
        single = PersonNone(SETTINGS, 0).fit(made.train, made.validation)
        assert row.predict_proba(made.test.ask) == pytest.approx(single.predict_proba(made.test.ask), abs=1e-9)


@pytest.fixture(scope="module")
def scores(pairs):
    return persons.person_scores(pairs, SETTINGS, rows=QUICK, budgets=(0, 5, 20), folds=FOLDS)


class TestTables:
    def test_scores_are_whole(self, scores, pairs):
        assert tuple(scores) == ("run", "method", "labels", "user_id", "pairs", "correct", "loss")
        assert len(scores) == 60 * 3 * len(QUICK) and not scores.duplicated(["method", "labels", "user_id"]).any()
        same = scores.groupby("user_id")["pairs"].nunique()
        assert (same == 1).all()
        assert (scores["correct"] <= scores["pairs"]).all() and (scores["loss"] > 0).all()

    def test_without_labels_all_offsets_are_the_reference(self, scores):
        none = scores[scores["labels"] == 0].pivot(index="user_id", columns="method", values="loss")
        assert (none.sub(none["person_none"], axis=0).abs() < 1e-9).all(axis=None)

    def test_own_labels_gain_and_controls_do_not(self, scores):
        gains = persons.gains_table(scores, np.random.default_rng(0), n_bootstrap=2000)
        at = gains[(gains["labels"] == 20) & (gains["metric"] == "accuracy")].set_index("method")
        assert at.loc["person_ridge", "gain"] > 0.02 and at.loc["person_ridge", "low"] > 0
        assert at.loc["person_ridge", "p_holm"] < 0.05
        for control in ("peers", "shuffled_people", "person_position"):
            assert at.loc[control, "low"] <= 0 and at.loc[control, "control"]

    def test_nobody_differs_nothing_gains(self):
        alike = everyone(load_world("synthetic-people-alike"))
        scores = persons.person_scores(alike, SETTINGS, rows=QUICK[:3], budgets=(0, 20), folds=FOLDS)
        gains = persons.gains_table(scores, np.random.default_rng(0), n_bootstrap=2000)
        accuracy = gains[(gains["metric"] == "accuracy") & (gains["labels"] == 20)]
        assert not ((accuracy["gain"] > 0) & (accuracy["p_holm"] < 0.05)).any()
        assert accuracy["gain"].abs().max() < 0.02

    @pytest.mark.long
    def test_all_rows_on_planted_tastes_and_on_none(self, pairs):
        for world, differ in ((pairs, True), (everyone(load_world("synthetic-people-alike")), False)):
            scores = persons.person_scores(world, SETTINGS, budgets=(0, 20), folds=FOLDS)
            gains = persons.gains_table(scores, np.random.default_rng(0), n_bootstrap=2000)
            at = gains[(gains["labels"] == 20) & (gains["metric"] == "accuracy")].set_index("method")
            found = set(at.index[(at["gain"] > 0) & (at["p_holm"] < 0.05)])
            controls = {name for name, row in PERSON_ROWS.items() if row.control}
            assert not found & controls
            if differ:
                assert {"person_ridge", "person_classes", "mrm"} <= found
            else:
                assert not found

    def test_worst_tenth_by_hand(self):
        values = np.array([0.9, 0.1, 0.5, 0.7, 0.3, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8])
        once = np.ones((1, 11), int)
        assert persons.worst_tenth(values, once) == pytest.approx([0.2])  # two of eleven: .1 and .3
        times = np.array([[0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0], [11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]])
        assert persons.worst_tenth(values, times) == pytest.approx([0.1, 0.9])

    def test_curve_by_hand(self):
        """Two runs of three people; one more has too few labels for the curve to 50."""
        rows = []
        for run in (0, 1):
            for labels in (0, 20, 50):
                for k, person in enumerate("abcd"):
                    if labels < 50 or person != "d":
                        rows.append((run, "person_none", labels, person, 10 * (k + 1), 5 * (k + 1) + run, 7.0))
        scores = pd.DataFrame(rows, columns=persons.SCORES)
        table = persons.curve_table(scores, np.random.default_rng(0), n_bootstrap=200)
        table = table.set_index(["people_with", "labels", "metric"])
        assert table.loc[(20, 0, "accuracy"), "value"] == pytest.approx(
            np.mean([(5 * k + 0.5) / (10 * k) for k in (1, 2, 3, 4)])
        )
        assert table.loc[(50, 0, "accuracy_by_label"), "value"] == pytest.approx((5 * 6 + 1.5) / 60)
        assert table.loc[(20, 0, "nll_by_label"), "value"] == pytest.approx(28 / 100)
        assert set(table.index.get_level_values("labels")[table.index.get_level_values("people_with") == 20]) == {0, 20}
        assert table.loc[50, "n_people"].eq(3).all() and table["n_runs"].eq(2).all()

    def test_a_population_named_twice_counts_once(self, scores):
        once, twice = (persons.curve_table(scores, np.random.default_rng(0), most=most) for most in ([20], [20, 20]))
        pd.testing.assert_frame_equal(once, twice)

    def test_intervals_over_people_are_as_wide_as_those_of_their_mean(self, scores):
        part = scores[(scores["method"] == "person_ridge") & (scores["labels"] == 20)].sort_values("user_id")
        table = persons.curve_table(scores, np.random.default_rng(7), n_bootstrap=4000)
        found = table[
            (table["method"] == "person_ridge") & (table["labels"] == 20) & (table["metric"] == "accuracy")
        ].iloc[0]
        values = (part["correct"] / part["pairs"]).to_numpy()
        expected = intervals.Sample(part["user_id"].to_numpy()).mean(values)
        assert found["value"] == pytest.approx(expected.estimate)
        assert (found["high"] - found["low"]) / (expected.high - expected.low) == pytest.approx(1, abs=0.1)

    def test_gains_need_the_reference_and_the_same_people(self, scores):
        rng = np.random.default_rng(0)
        with pytest.raises(InputError, match="person_none"):
            persons.gains_table(scores[scores["method"] != "person_none"], rng)
        with pytest.raises(InputError, match="same people"):
            persons.curve_table(scores.drop(index=scores.index[5]), rng)

    def test_unknown_rows_and_budgets_are_refused(self, pairs):
        with pytest.raises(InputError, match="person_ridge"):
            persons.person_scores(pairs, SETTINGS, rows=("person_rigde",))
        with pytest.raises(InputError, match="budgets"):
            persons.person_scores(pairs, SETTINGS, rows=QUICK, budgets=(-1,))
        with pytest.raises(InputError, match="lower `least`"):
            persons.person_scores(pairs, SETTINGS, rows=QUICK[:1], budgets=(0,), least=1000, folds=FOLDS)


class TestPopulation:
    def test_positions_follow_their_pairs(self, pairs):
        rows = np.array([5, 2, 9])
        assert torch.equal(pairs.select(rows).position, pairs.position[rows])
        assert torch.equal(pairs.flip().position, -pairs.position)
        with pytest.raises(InputError, match="position has 3 rows"):
            replace(pairs, position=pairs.position[:3])

    def test_it_is_what_it_says(self):
        made = synthetic_people.persons()
        assert len(np.unique(made.pairs.user_id)) == 60 and len(np.unique(made.pairs.prompt_id)) == 16
        assert made.shares.sum(dim=1).numpy() == pytest.approx(np.ones(60))
        alike = synthetic_people.persons(difference=0.0)
        assert (alike.rewards - alike.rewards[0]).abs().max() == 0 < (made.rewards - made.rewards[0]).abs().max()
        again = synthetic_people.persons()
        assert torch.equal(made.pairs.chosen, again.pairs.chosen)

    def test_choices_follow_the_rewards(self):
        made = synthetic_people.persons()
        person = np.unique(made.pairs.user_id, return_inverse=True)[1]
        margin = (made.pairs.difference * made.rewards[person]).sum(dim=1)
        expected = margin.abs().sigmoid().mean()
        assert (margin > 0).double().mean() == pytest.approx(float(expected), abs=0.01)

    def test_what_most_want_is_longer_and_length_itself_moves_no_choice(self):
        made = synthetic_people.persons(difference=0.0)
        worth = made.pairs.responses @ made.rewards[0]
        assert np.corrcoef(worth, made.pairs.lengths)[0, 1] == pytest.approx(0.8, abs=0.06)
        gap = made.pairs.lengths[made.pairs.chosen] - made.pairs.lengths[made.pairs.rejected]
        alike = (made.pairs.difference @ made.rewards[0]).abs() < 0.3
        assert (gap > 0).double().mean() > 0.6 and (gap[alike] > 0).double().mean() == pytest.approx(0.5, abs=0.04)

    def test_splits_hold_out_topics(self):
        splits = synthetic_people.draw_world("synthetic-people")
        topics = [set(part.prompt_id) for part in splits.values()]
        assert sum(map(len, topics)) == 16 == len(set().union(*topics))

    @pytest.mark.parametrize("fault", [{"labels": 0}, {"labels": 10_000}, {"difference": -1.0}])
    def test_bad_populations_are_refused(self, fault):
        with pytest.raises(InputError, match=next(iter(fault))):
            synthetic_people.persons(**fault)

    def test_an_unknown_world_is_named(self):
        with pytest.raises(InputError, match="synthetic-people"):
            synthetic_people.draw_world("synthetic-peple")
