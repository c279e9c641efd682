"""The run loop: what methods of one run share, and what a method must be able to do."""

from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
import torch
from told import with_criteria

from micro_paper.errors import InputError
from micro_paper.experiments.evaluation import evaluate
from micro_paper.experiments.runs import Run, crossed_runs
from micro_paper.experiments.worlds import World
from micro_paper.methods import METHODS, make
from micro_paper.methods.micro_plus import MicroPlus
from micro_paper.methods.settings import Settings
from micro_paper.methods.static import Single, StaticUniform
from micro_paper.methods.table import HeadsMethod, Method
from micro_paper.methods.two_stage import PromptOnly, TwoStage

QUICK = Settings(heads=4, dtype="float64", learning_rate=1e-2, epochs=1, stage2_epochs=2, tau=1e-2)


@pytest.fixture(scope="module")
def tiny(world):
    splits = {"train": slice(0, 240), "validation": slice(0, 80), "test": slice(0, 80)}
    return World("tiny", 0, **{s: world[s].select(rows) for s, rows in splits.items()}, fingerprint="")


def with_heads(factory, count):
    return lambda settings, seed: factory({**asdict(settings), "heads": count}, seed)


@pytest.mark.parametrize("factory", [TwoStage, StaticUniform, PromptOnly, MicroPlus])
def test_rows_of_one_class_with_other_settings_share_nothing(tiny, factory):
    rows = {"two": with_heads(factory, 2), "seven": with_heads(factory, 7)}
    together = evaluate([tiny], rows, QUICK, seeds=[0], budget=5, keep_heads=["two", "seven"])
    assert [together.heads[name][0].test.shape[1] for name in rows] == [2, 7]
    for name, row in rows.items():
        alone = evaluate([tiny], {name: row}, QUICK, seeds=[0], budget=5)
        np.testing.assert_allclose(alone.probability[name], together.probability[name], rtol=0, atol=1e-10)
    assert not np.array_equal(together.probability["two"], together.probability["seven"])


def test_two_rows_of_the_single_reward_stand_side_by_side(tiny):
    rows = {"slow": Single, "fast": lambda settings, seed: Single({**asdict(settings), "learning_rate": 0.1}, seed)}
    found = evaluate([tiny], rows, QUICK, seeds=[0], budget=5)
    assert not np.array_equal(found.probability["slow"], found.probability["fast"])


def test_equal_keys_share_one_stage_1(tiny, monkeypatch):
    fits, fit = [], TwoStage.fit
    monkeypatch.setattr(TwoStage, "fit", lambda self, *pairs: fits.append(type(self).__name__) or fit(self, *pairs))
    run = Run(tiny, 0)
    both, alone = run.fit("micro", QUICK).adapt(5), run.fit("micro_stage1", QUICK)
    assert fits == ["TwoStage"]
    assert np.array_equal(alone.predict(), Run(tiny, 0).fit("micro_stage1", QUICK).predict())
    assert not np.array_equal(alone.predict(), both.predict())
    run.fit("shuffled_router", QUICK)  # a subclass, which fits otherwise
    assert fits[-1] == "ShuffledRouter"


def test_a_stage_1_under_another_key_is_refused(tiny):
    fitted = make("micro", QUICK, 0).fit(tiny.train, tiny.validation)
    for other in (TwoStage({"heads": 3}, 0), make("shuffled_router", QUICK, 0), make("single", QUICK, 0)):
        with pytest.raises(InputError, match="call fit"):
            other.share_stage1(fitted)
    with pytest.raises(InputError, match="call fit"):
        MicroPlus({"heads": 3}, 0).share_stage1(MicroPlus(QUICK, 0))


def test_restricted_searches_share_fits_but_choose_for_themselves(tiny):
    rows = {"all": MicroPlus, "none": partial(MicroPlus, choices=[])}
    together = evaluate([tiny], rows, QUICK, seeds=[0], budget=None)
    alone = evaluate([tiny], {"none": rows["none"]}, QUICK, seeds=[0], budget=None)
    assert np.array_equal(together.probability["none"], alone.probability["none"])
    plain = evaluate([tiny], ["micro_stage1"], QUICK, seeds=[0], budget=None)
    assert np.array_equal(plain.probability["micro_stage1"], alone.probability["none"])


def test_runs_pair_folds_and_seeds(tiny):
    found = crossed_runs([tiny, other := replace(tiny, fold=1)], [7, 8])
    assert [(run.number, run.seed) for run in found] == [(0, 7), (1, 8), (2, 7), (3, 8)]
    assert [run.world is other for run in found] == [False, False, True, True]
    with pytest.raises(InputError, match="at least one fold and one seed"):
        crossed_runs([], [0])
    with pytest.raises(InputError, match="no heads"):
        Run(tiny, 0).fit("length", QUICK).heads  # noqa: B018


def test_a_seed_draws_other_heads_and_contexts_in_every_fold(tiny):
    first, again, other = Run(tiny, 7), Run(tiny, 7), Run(replace(tiny, fold=1), 7)
    weights = [run.fit("random_heads", QUICK).heads.head_weights() for run in (first, again, other)]
    chosen = [run.contexts(5).pair_id for run in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and np.array_equal(chosen[0], chosen[1])
    assert not torch.equal(weights[0], weights[2]) and set(chosen[0]) != set(chosen[2])
    assert first.drawn == 7 and len({Run(replace(tiny, fold=f), s).drawn for f in range(5) for s in range(100)}) == 500


def conforms(name, world):
    """Yield what a row of METHODS does that its protocol rules out."""
    method, again = make(name, QUICK, 0), make(name, QUICK, 0)
    if not isinstance(method, Method):
        yield "it lacks a part of the protocol"
        return
    before, test = asdict(QUICK), world.test
    contexts, fewer = world.contexts(5, 0), world.contexts(2, 1)
    for one in (method, again):
        if one.fit(world.train, world.validation) is not one:
            yield "fit returns something else"
    again.adapt(fewer)
    for one in (method, again):
        if one.adapt(contexts, world.validation) is not one:
            yield "adapt returns something else"
    p, flipped = method.predict_proba(test), method.predict_proba(test.flip())
    if p.shape != (len(test),) or p.dtype != np.float64 or not ((p >= 0) & (p <= 1)).all():
        yield "predictions are no probabilities (n,)"
    elif np.abs(p + flipped - 1).max() > 1e-12:
        yield "p(a, b) + p(b, a) is not 1"
    elif not np.array_equal(p, again.predict_proba(test)):
        yield "adapting twice, or the same seed, gives other predictions"
    if asdict(QUICK) != before:
        yield "the given settings were changed"
    if not method.supervision:
        yield "it does not say what it sees"
    if isinstance(method, HeadsMethod):
        count = method.head_margins(test).shape[1]
        if method.mixture_weights(test).shape != (len(test), count):
            yield "weights and margins are of other heads"


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_every_row_conforms(name, tiny):
    told = {split: with_criteria(pairs) for split, pairs in splits_of(tiny).items()}
    assert list(conforms(name, replace(tiny, **told))) == []


def splits_of(world: World) -> dict:
    return {"train": world.train, "validation": world.validation, "test": world.test}


class Lopsided(TwoStage):
    def predict_proba(self, pairs):
        return super().predict_proba(pairs) ** 2


class Cumulative(TwoStage):
    def adapt(self, context_pairs, validation=None):
        adapted = super().adapt(context_pairs, validation)
        self.stage1_weights = self.weights
        return adapted


class OldForm:
    supervision = "none"

    def fit(self, train_pairs, validation):
        return self


@pytest.mark.parametrize(
    ("row", "says"),
    [(Lopsided, "is not 1"), (Cumulative, "adapting twice"), (lambda *_: OldForm(), "lacks a part")],
)
def test_a_row_that_does_not_conform_is_found(row, says, tiny, monkeypatch):
    monkeypatch.setitem(METHODS, "row", row)
    assert says in " ".join(conforms("row", tiny))
