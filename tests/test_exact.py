"""The converged rows: minimisers of what they say, chosen on validation pairs alone, the same for every seed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from micro_paper import metrics
from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.experiments.worlds import context_budget
from micro_paper.methods import exact, make
from micro_paper.methods.exact import PENALTIES
from micro_paper.methods.search import set_aside
from micro_paper.pairs import Derived, Pairs

SETTINGS = {"dtype": "float64"}
ROWS = ("single_exact", "oracle_attribute_exact", "criterion_fewshot_exact")


@pytest.fixture(scope="module")
def rated() -> dict[str, Pairs]:
    drawn = synthetic.draw_world("synthetic-rated", train=400, validation=80, test=200)
    return {split: sample.pairs for split, sample in drawn.items()}


def fitted(name: str, world: dict[str, Pairs], seed: int = 0, **settings):
    method = make(name, SETTINGS | settings, seed).fit(world["train"], world["validation"])
    return method.adapt(context_budget(world["train"], 20, 0))


def accuracy(method, pairs: Pairs) -> float:
    return metrics.macro_mean(metrics.correct(method.predict_proba(pairs)), pairs.attribute)


def nll(method, pairs: Pairs) -> float:
    return metrics.macro_mean(metrics.pair_nll(method.predict_proba(pairs)), pairs.attribute)


def loss_at(w: torch.Tensor, differences: torch.Tensor, penalty: float, towards=0.0) -> torch.Tensor:
    return torch.nn.functional.softplus(-(differences @ w)).mean() + penalty * (w - towards).square().sum()


def slope(w: torch.Tensor, *arguments) -> float:
    w = w.clone().requires_grad_()
    return torch.autograd.grad(loss_at(w, *arguments), w)[0].norm().item()


def test_single_is_scikit_learns_under_the_penalty_of_least_validation_nll(world):
    method = fitted("single_exact", world)
    train, held = (method._scaled(world[split]).difference.numpy() for split in ("train", "validation"))
    both, labels = np.vstack([train, -train]), np.repeat([1, 0], len(train))
    found = {}
    for penalty in PENALTIES:
        c = 1 / (4 * len(train) * penalty)
        w = LogisticRegression(C=c, fit_intercept=False, tol=1e-12, solver="newton-cg").fit(both, labels).coef_[0]
        found[penalty] = np.logaddexp(0, -held @ w).mean(), w
    penalty = min(found, key=lambda p: found[p][0])
    assert method.penalty == penalty
    assert np.abs(method.head_weights()[0].numpy() - found[penalty][1]).max() < 1e-6
    assert method.gradient_norm < 1e-9


@pytest.mark.parametrize("name", ROWS)
def test_no_seed_step_size_or_epoch_matters(name, world):
    first = fitted(name, world).predict_proba(world["test"])
    other = fitted(name, world, seed=5, learning_rate=0.5, epochs=3).predict_proba(world["test"])
    assert np.array_equal(first, other)


def test_heads_are_worked_out_once_for_all_seeds(world, monkeypatch):
    calls, solve = [], exact.fit_bradley_terry
    monkeypatch.setattr(exact, "fit_bradley_terry", lambda *a, **k: calls.append(1) or solve(*a, **k))
    afresh = world | {"train": replace(world["train"], derived=Derived())}
    for seed in range(3):
        fitted("oracle_attribute_exact", afresh, seed)
        fitted("single_exact", afresh, seed)
    assert len(calls) == 2
    fitted("single_exact", afresh | {"train": afresh["train"].select(slice(0, 400))})
    assert len(calls) == 3


def test_the_oracle_heads_are_minimisers_near_the_single_reward(rated):
    single, oracle = (fitted(name, rated) for name in ROWS[:2])
    towards, pairs = single.head_weights()[0], oracle._scaled(rated["train"])
    for k, name in enumerate(oracle.names):
        own = pairs.difference[torch.from_numpy(rated["train"].attribute == name)]
        assert slope(oracle.head_weights()[k], own, oracle.penalty, towards) < 1e-9
        assert slope(oracle.head_weights()[k], own, oracle.penalty) > 1e-3  # shrunk to 0 it would be another
    assert nll(oracle, rated["validation"]) <= nll(single, rated["validation"])
    # Attributes of this world disagree.
    assert accuracy(oracle, rated["test"]) > 0.8 > accuracy(single, rated["test"])


def test_where_attributes_agree_the_oracle_is_the_single_reward(rated):
    """One attribute's labels under two names at random, and few of them: nothing but noise tells the names apart."""
    name = np.unique(rated["train"].attribute)[0]

    def renamed(pairs: Pairs) -> Pairs:
        own = pairs.select(pairs.attribute == name)
        return replace(own, attribute=np.random.default_rng(0).choice(["a", "b"], len(own)))

    same = {split: renamed(pairs) for split, pairs in rated.items()}
    same["train"] = same["train"].select(slice(0, 60))
    single, oracle = (make(row, SETTINGS).fit(same["train"], same["validation"]) for row in ROWS[:2])
    assert nll(oracle, same["validation"]) <= nll(single, same["validation"])
    assert abs(accuracy(oracle, same["test"]) - accuracy(single, same["test"])) < 0.03


def test_the_few_shot_control_is_no_worse_than_its_own_choices(world):
    """Against the plain control under each of its penalties, on the pairs that choose; its fits have converged."""
    method = fitted("criterion_fewshot_exact", world)
    assert method.choosing_nll <= fitted("criterion_fewshot", world).choosing_nll + 1e-3
    assert method.gradient_norm < 1e-6
    context = context_budget(world["train"], 20, 0)
    method.classifier.coef_[0] += 1e-2  # a planted fault: no minimiser any more
    assert method._classifier_gradient(context, method.classifier_penalty) > 1e-5


def test_the_few_shot_control_reads_the_better_input(world):
    """Criteria by themselves say the attribute outright; contexts are noise here."""
    names = np.unique(world["train"].attribute)
    read = {}
    for split, pairs in world.items():
        noise = torch.randn(len(pairs), 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        read[split] = replace(
            pairs,
            contexts=noise,
            context=torch.arange(len(pairs)),
            criteria=torch.eye(len(names), dtype=torch.float64),
            criterion=torch.from_numpy(np.searchsorted(names, pairs.attribute)),
        )
    method = fitted("criterion_fewshot_exact", read)
    assert method.reads == "criterion"
    assert accuracy(method, read["test"]) > accuracy(fitted("criterion_fewshot", read), read["test"]) + 0.05
    again = method.adapt(replace(context_budget(read["train"], 20, 0), criteria=None, criterion=None))
    assert again.reads == "context"


@pytest.mark.parametrize("name", ["criterion_fewshot", "criterion_fewshot_exact"])
def test_the_few_shot_controls_choose_within_their_labels(name, world):
    """Validation pairs, whatever they say, change nothing; the labels set aside do."""
    context = context_budget(world["train"], 20, 0)
    method = make(name, SETTINGS).fit(world["train"], world["validation"])
    p = method.adapt(context).predict_proba(world["test"])
    spoiled = make(name, SETTINGS).fit(world["train"], world["validation"].flip())
    assert np.array_equal(spoiled.adapt(context, world["validation"].flip()).predict_proba(world["test"]), p)
    learning, choosing = set_aside(context)
    rows = [np.flatnonzero(context.pair_id == name)[0] for name in choosing.pair_id]
    turned = replace(
        context,
        chosen=context.chosen.index_copy(0, torch.tensor(rows), choosing.rejected),
        rejected=context.rejected.index_copy(0, torch.tensor(rows), choosing.chosen),
    )
    assert method.adapt(turned).choosing_nll > method.adapt(context).choosing_nll + 0.05


@pytest.mark.parametrize("name", ROWS[:2])
def test_without_validation_pairs_nothing_is_chosen(name, world):
    method = fitted(name, world | {"validation": world["validation"].select(slice(0, 0))})
    assert method.penalty == exact.UNCHOSEN and np.isfinite(method.predict_proba(world["test"])).all()


def test_with_one_label_an_attribute_nothing_is_chosen(world):
    method = make(ROWS[2], SETTINGS).fit(world["train"], world["validation"])
    method.adapt(context_budget(world["train"], 1, 0))
    assert (method.penalty, method.classifier_penalty) == (exact.UNCHOSEN, exact.UNCHOSEN_CLASSIFIER)


def test_an_attribute_without_validation_pairs_has_its_head(world):
    names = np.unique(world["train"].attribute)
    some = world["validation"].select(world["validation"].attribute != names[0])
    assert fitted("oracle_attribute_exact", world | {"validation": some}).head_weights().shape[0] == len(names)


@pytest.mark.parametrize("name", ROWS[:2])
def test_bad_pairs_are_refused(name, world):
    with pytest.raises(InputError, match="there are no training pairs"):
        make(name).fit(world["train"].select(slice(0, 0)), world["validation"])
    spoiled = world["train"].responses.clone()
    spoiled[3] = torch.nan
    with pytest.raises(InputError, match="features of the responses hold a non-finite value"):
        make(name).fit(world["train"].with_tables(responses=spoiled), world["validation"])


def test_an_unknown_attribute_and_missing_contexts_are_refused(world):
    known = world["train"].select(world["train"].attribute != np.unique(world["train"].attribute)[0])
    with pytest.raises(InputError, match="was not in training: it has no head"):
        make("oracle_attribute_exact").fit(known, world["validation"])
    blind = replace(world["train"], context=None, contexts=None)
    with pytest.raises(InputError, match="needs context-labelled pairs"):
        make("criterion_fewshot_exact").fit(world["train"], world["validation"]).adapt(blind)
