"""Choices on validation: the order, the log, the same number of trials for baselines, and the ablation."""

from dataclasses import replace

import numpy as np
import pytest

from micro_paper import metrics, synthetic
from micro_paper.ablation import COLUMNS, NO_STAGE1, TRIAL_COLUMNS, ablation, variants
from micro_paper.errors import InputError
from micro_paper.methods import Method, make
from micro_paper.micro_plus import CHOICES, MicroPlus
from micro_paper.search import GRID, TRIALS, TUNED, Choice, Trial, Tuned, candidates, choose, count_trials
from micro_paper.settings import Settings
from micro_paper.worlds import World

QUICK = {"heads": 3, "dtype": "float64", "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def worlds():
    found = []
    for fold in range(2):
        draw = synthetic.draw_world("synthetic-audience", fold=fold, train=200, validation=40, test=50)
        found.append(World("synthetic-audience", fold, **{k: s.pairs for k, s in draw.items()}, fingerprint=""))
    return found


def test_choose_is_coordinate_descent():
    """Against a direct walk over the table of losses."""
    rng = np.random.default_rng(0)
    choices = [Choice("a", (0, 1, 2), start=1), Choice("b", (0, 1)), Choice("c", (0, 1, 2, 3), start=3)]
    for _ in range(20):
        table = rng.normal(size=(3, 2, 4))
        found, log = choose(choices, lambda o: table[o["a"], o["b"], o["c"]])  # noqa: B023
        at = [1, 0, 3]
        for axis in range(3):
            line = table[tuple(slice(None) if i == axis else at[i] for i in range(3))]
            at[axis] = int(line.argmin())
        assert [found[n] for n in "abc"] == at
        assert [(t.name, t.option) for t in log] == [(c.name, o) for c in choices for o in c.options]
        assert {t.name: t.option for t in log if t.chosen} == found and sum(t.chosen for t in log) == 3


def test_what_stands_wins_a_tie_and_is_scored_once():
    calls = []
    choices = [Choice("a", ("x", "y", "z"), start=1), Choice("b", (None, 2))]
    found, log = choose(choices, lambda o: calls.append(dict(o)) or 1.0)
    assert found == {"a": "y", "b": None} and len(calls) == count_trials(choices) == 4
    assert len(calls) == len({tuple(c.items()) for c in calls})
    assert log[0] == Trial("a", "x", 1.0, False)
    assert choose([], lambda o: 0.5) == ({}, ())


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: Choice("a", ()), "choice 'a' has no option"),
        (lambda: Choice("a", (1, 1)), "has an option twice"),
        (lambda: Choice("a", (1, 2), start=2), "start of choice 'a' must lie in 0 .. 1, got 2"),
        (lambda: choose([Choice("a", (1,)), Choice("a", (2,))], lambda o: 0.0), "a choice is named twice: a, a"),
        (lambda: choose([Choice("a", (1, 2))], lambda o: float("nan")), "the validation NLL of .* is nan"),
        (lambda: Tuned("singel"), "unknown baseline 'singel'. Did you mean 'single'"),
        (lambda: Tuned("single", 10_000)(QUICK), "trials must lie in 1 .. "),
        (lambda: Tuned("single", 0)(QUICK), "trials must lie in 1 .. "),
        (lambda: variants(["rooter"]), "unknown choice 'rooter'. Did you mean 'router'"),
        (lambda: ablation([], QUICK, [0], 5), "at least one fold and one seed"),
    ],
)
def test_bad_requests_are_named(make_it, message):
    with pytest.raises(InputError, match=message):
        make_it()


@pytest.mark.parametrize("base", TUNED)
def test_a_tuned_baseline_is_its_best_candidate(base, worlds):
    world = worlds[0]
    method = Tuned(base, trials=4)(QUICK, 1).fit(world.train, world.validation)
    losses = {}
    for settings in candidates(base, Settings.of(QUICK), 4):
        losses[settings] = metrics.nll(
            make(base, settings, 1).fit(world.train, world.validation).predict_proba(world.validation)
        )
    assert method.best.settings.learning_rate == min(losses, key=losses.get).learning_rate
    assert [t.nll for t in method.log] == list(losses.values()) and sum(t.chosen for t in method.log) == 1
    assert isinstance(method, Method) and "validation" in method.supervision
    p = method.predict_proba(world.test)
    assert np.abs(p + method.adapt(world.contexts(5, 0)).predict_proba(world.test.flip()) - 1).max() < 1e-12
    none = world.validation.select(slice(0, 0))
    assert len(Tuned(base)(QUICK, 1).fit(world.train, none).log) == 1


def test_equal_trials_for_all():
    assert count_trials(CHOICES) == TRIALS
    for base in TUNED:
        options = Tuned(base)(QUICK, 0).options
        assert len(set(options)) == TRIALS and options[0] == Settings.of(QUICK)
        assert options == Tuned(base)(QUICK, 7).options
        rates = {o.learning_rate / options[0].learning_rate for o in options}
        assert {round(r, 6) for r in rates} <= set(GRID["learning_rate"]) and len(rates) > 2
    assert len({o.alpha for o in Tuned("single")(QUICK).options}) == 1
    assert len({o.alpha for o in Tuned("static_learned")(QUICK).options}) > 1


@pytest.fixture(scope="module")
def found(worlds):
    return ablation(worlds, QUICK, [3, 4], 10, names=("router", "added"), n_bootstrap=200)


def test_ablation_rows_and_references(found, worlds):
    table = found.table.set_index("variant")
    rows = ["micro", "+ router", "+ added", "micro_plus", "- router", "- added", NO_STAGE1, "criterion_fewshot"]
    assert list(table.index) == rows and list(found.table) == list(COLUMNS)
    assert list(table.reference) == ["", "micro", "micro", "micro", *["micro_plus"] * 4]
    assert (table.low <= table.value).all() and (table.value <= table.high).all()
    for _, row in table.iterrows():
        if row.reference:
            assert row.difference == pytest.approx(row.value - table.value[row.reference], abs=1e-12)
    assert list(table.trials) == [0, 3, 4, TRIALS, TRIALS - 2, TRIALS - 3, TRIALS - 1, 0]
    assert (table.n_prompts == sum(len(set(w.test.prompt_id)) for w in worlds)).all() and (table.n_runs == 2).all()


def test_ablation_rows_are_the_methods(found, worlds):
    """The micro row is METHODS' micro, fitted on its own; micro_plus that of its class."""
    table = found.table.set_index("variant")
    for name, factory in {"micro": lambda *a: make("micro", *a), "micro_plus": MicroPlus}.items():
        per_attribute = {}
        for world, seed in zip(worlds, (3, 4), strict=True):
            method = factory(QUICK, seed).fit(world.train, world.validation).adapt(world.contexts(10, seed))
            for a, c in zip(world.test.attribute, metrics.correct(method.predict_proba(world.test)), strict=True):
                per_attribute.setdefault(a, []).append(c)
        assert table.value[name] == pytest.approx(np.mean([np.mean(v) for v in per_attribute.values()]), abs=1e-12)


def test_ablation_trials_are_complete(found):
    log = found.trials
    assert list(log) == list(TRIAL_COLUMNS)
    runs = log.groupby(["variant", "fold", "seed", "choice"])
    assert (runs.chosen.sum() == 1).all()
    kept = log[log.chosen].set_index(["variant", "fold", "choice"]).nll
    assert (kept.to_numpy() <= runs.nll.min().droplevel("seed").loc[kept.index].to_numpy() + 1e-15).all()
    assert set(log.variant) == {"+ router", "+ added", "micro_plus", "- router", "- added", NO_STAGE1}
    assert set(log[log.variant == "micro_plus"].choice) == {c.name for c in CHOICES}
    pinned = log[(log.variant == "- added") & (log.choice == "added")]
    assert set(pinned.option) == {"None"}


def test_test_labels_choose_nothing_in_the_ablation(found, worlds):
    poisoned = [replace(w, test=w.test.flip()) for w in worlds]
    other = ablation(poisoned, QUICK, [3, 4], 10, names=("router", "added"), n_bootstrap=200)
    assert other.trials.equals(found.trials)
    assert np.allclose(other.table.value + found.table.value, 1)
