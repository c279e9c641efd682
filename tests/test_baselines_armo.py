"""ARMO: ridge against scikit-learn, ratings from labels by hand, the gate, and what may not be read."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from micro_paper import metrics
from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.experiments.worlds import context_budget
from micro_paper.methods import armo, make
from micro_paper.methods.armo import PENALTIES, Armo, ratings_of

QUICK = {"heads": 3, "dtype": "float64", "learning_rate": 1e-2, "epochs": 2}


@pytest.fixture(scope="module")
def people():
    return synthetic.population(seed=3)


@pytest.fixture(scope="module")
def world(people):
    return {s: synthetic.sample(people, n, seed=i).pairs for i, (s, n) in enumerate(SIZES.items())}


SIZES = {"train": 400, "validation": 80, "test": 150}


def rated(pairs, people, noise=0.5):
    """The pairs with noisy ratings 3 + theta_k . phi on the attributes of the population."""
    rng = torch.Generator().manual_seed(len(pairs))
    ratings = 3 + pairs.responses @ people.heads.T
    ratings = ratings + noise * torch.randn(ratings.shape, generator=rng, dtype=torch.float64)
    return replace(pairs, ratings=ratings, rating_names=people.names)


def test_ratings_from_labels_by_hand(world):
    first = world["train"]
    pairs = replace(
        first.select(slice(0, 4)),
        responses=first.responses[:5],
        lengths=first.lengths[:5],
        chosen=torch.tensor([0, 0, 1, 2]),
        rejected=torch.tensor([1, 2, 0, 1]),
        attribute=np.array(["a", "a", "a", "b"]),
    )
    names, table = ratings_of(pairs)
    assert names == ("a", "b")
    nan = float("nan")
    expected = [[1 / 3, nan], [0.0, -1.0], [-1.0, 1.0], [nan, nan], [nan, nan]]
    assert np.allclose(table, expected, equal_nan=True)
    assert ratings_of(pairs, ("b", "c"))[1][:, 1].isnan().all()


def test_given_ratings_count_for_the_compared_responses_only(world, people):
    pairs = rated(world["train"], people).select(slice(0, 3))
    names, table = ratings_of(pairs)
    used = torch.cat([pairs.chosen, pairs.rejected]).unique()
    assert names == people.names and torch.equal(table[used], pairs.ratings[used])
    assert table.isnan().all(dim=1).sum() == len(table) - len(used)


@pytest.mark.parametrize("with_ratings", [True, False])
def test_regressions_are_scikit_learns_on_the_training_responses(with_ratings, world, people):
    train, validation = world["train"], world["validation"]
    if with_ratings:
        train, validation = rated(train, people), rated(validation, people)
    fitted = Armo(QUICK, 0).fit(train, validation)
    names, table = ratings_of(train)
    held = ratings_of(validation, names)[1]
    x, held_x = (fitted._scaled(pairs).responses.numpy() for pairs in (train, validation))
    heads = fitted.heads.weight.detach().numpy()
    scales = []
    for k, name in enumerate(names):
        rows, held_rows = (~t[:, k].isnan().numpy() for t in (table, held))
        y, held_y = table[rows, k].numpy(), held[held_rows, k].numpy()
        fits = {c: Ridge(alpha=c * rows.sum()).fit(x[rows], (y - y.mean()) / y.std(ddof=1)) for c in PENALTIES}
        error = {
            c: (((held_y - y.mean()) / y.std(ddof=1) - fit.predict(held_x[held_rows])) ** 2).mean()
            for c, fit in fits.items()
        }
        best = min(error, key=error.get)
        assert fitted.penalties[name] == best
        scales.append(heads[k] / fits[best].coef_)
    assert np.allclose(scales, scales[0][0]) and scales[0][0] > 0  # one positive scale for all


@pytest.mark.parametrize("with_ratings", [True, False])
def test_the_stated_formula_and_antisymmetry(with_ratings, world, people):
    pairs = {s: rated(p, people) if with_ratings else p for s, p in world.items()}
    fitted = Armo(QUICK, 0).fit(pairs["train"], pairs["validation"])
    test = pairs["test"]
    gates, margins = fitted.mixture_weights(test), fitted.head_margins(test)
    assert gates.shape == margins.shape == (len(test), 4) and np.allclose(gates.sum(axis=1), 1)
    p = fitted.predict_proba(test)
    assert np.allclose(p, 1 / (1 + np.exp(-(gates * margins).sum(axis=1))), atol=1e-12)
    assert np.abs(p + fitted.predict_proba(test.flip()) - 1).max() < 1e-12
    assert (fitted.predict_proba(test.with_tables(rejected=test.chosen)) == 0.5).all()
    assert np.array_equal(fitted.adapt(context_budget(world["train"], 5, 0)).predict_proba(test), p)


def test_known_truth(world, people):
    """Rating heads point along the true ones, and the gate reads the prompt's type: better than one reward."""
    pairs = {s: rated(p, people) for s, p in world.items()}
    fitted = Armo(QUICK, 0).fit(pairs["train"], pairs["validation"])
    learned = fitted.heads.weight.detach() / fitted.scalers["responses"].scale
    assert fitted.names == people.names
    assert torch.nn.functional.cosine_similarity(learned, people.heads).min() > 0.98
    single = make("single", QUICK, 0).fit(world["train"], world["validation"])
    ours, theirs = (metrics.accuracy(m.predict_proba(world["test"])) for m in (fitted, single))
    assert ours > theirs + 0.1
    kind = (world["test"].prompt_features @ people.prompt_cues.T).argmax(dim=1).numpy()
    gates = fitted.mixture_weights(world["test"])
    assert np.mean([gates[kind == k, k].mean() - gates[kind != k, k].mean() for k in range(4)]) > 0.2


def test_training_starts_at_the_best_scale_and_keeps_the_best_epoch(world, people):
    pairs = {s: rated(p, people) for s, p in world.items()}
    fitted = Armo(QUICK, 0).fit(pairs["train"], pairs["validation"])
    nll = metrics.nll(fitted.predict_proba(world["validation"]))
    assert min(fitted.history.validation) == pytest.approx(nll, abs=1e-12) and nll < np.log(2)
    assert fitted.heads.weight.grad is None


def test_no_rating_or_label_of_a_test_pair_is_read(world, people):
    """Train and test share one table of responses, as text worlds do; the test's ratings change nothing."""
    train, validation = rated(world["train"], people), rated(world["validation"], people)
    half = len(train) // 2
    mine, test = train.select(slice(0, half)), train.select(slice(half, None))
    before = Armo(QUICK, 0).fit(mine, validation)
    used = torch.cat([mine.chosen, mine.rejected]).unique()
    ratings = train.ratings.clone()
    others = torch.ones(len(ratings), dtype=torch.bool)
    others[used] = False
    assert others.any()
    ratings[others] = 1e6
    after = Armo(QUICK, 0).fit(replace(mine, ratings=ratings), validation)
    assert torch.equal(before.heads.weight, after.heads.weight)
    assert np.array_equal(before.predict_proba(test), after.predict_proba(replace(test, ratings=None, rating_names=())))
    ratings[used[0]] = 1e6
    assert not torch.equal(
        before.heads.weight, Armo(QUICK, 0).fit(replace(mine, ratings=ratings), validation).heads.weight
    )


def test_unknown_ratings_are_left_out_of_their_attribute_only(world, people):
    train, validation = rated(world["train"], people), rated(world["validation"], people)
    ratings = train.ratings.clone()
    ratings[::2, 1] = torch.nan
    whole, holes = (Armo(QUICK, 0).fit(t, validation) for t in (train, replace(train, ratings=ratings)))
    a, b = (f.heads.weight.detach() / f.heads.weight.detach()[0].norm() for f in (whole, holes))
    assert torch.allclose(a[[0, 2, 3]], b[[0, 2, 3]]) and not torch.allclose(a[1], b[1], rtol=1e-3)
    ratings[:, 1] = torch.nan
    assert Armo(QUICK, 0).fit(replace(train, ratings=ratings), validation).names == tuple(np.delete(people.names, 1))
    unrated = replace(validation, ratings=torch.full_like(validation.ratings, torch.nan))
    assert set(Armo(QUICK, 0).fit(train, unrated).penalties.values()) == {PENALTIES[2]}


def test_attributes_and_contexts_are_not_read_where_there_are_ratings(world, people):
    train, validation = rated(world["train"], people), rated(world["validation"], people)
    p = Armo(QUICK, 0).fit(train, validation).predict_proba(world["test"])
    blind = replace(train, attribute=np.array(["?"] * len(train)), context=None, contexts=None)
    assert np.array_equal(Armo(QUICK, 0).fit(blind, validation).predict_proba(world["test"]), p)
    assert np.array_equal(Armo(QUICK, 0).fit(train, validation).predict_proba(world["test"]), p)
    assert not np.array_equal(Armo(QUICK, 1).fit(train, validation).predict_proba(world["test"]), p)
    refit = Armo(QUICK, 0).fit(world["train"].select(slice(0, 50)), validation).fit(train, validation)
    assert np.array_equal(refit.predict_proba(world["test"]), p)


def test_bad_inputs_are_named(world, people):
    train, validation = rated(world["train"], people), rated(world["validation"], people)
    none = train.select(slice(0, 0))
    with pytest.raises(InputError, match="there are no training pairs"):
        Armo(QUICK).fit(none, validation)
    assert np.isfinite(Armo(QUICK).fit(train, none).predict_proba(world["test"])).all()
    with pytest.raises(InputError, match="ratings hold an infinite value"):
        Armo(QUICK).fit(replace(train, ratings=train.ratings.fill_diagonal_(torch.inf)), validation)
    with pytest.raises(InputError, match="no attribute has two different ratings"):
        Armo(QUICK).fit(replace(train, ratings=torch.ones_like(train.ratings)), validation)


def test_regressions_are_worked_out_once_for_all_runs(world, people, monkeypatch):
    calls, fit = [], armo.fit_ridge
    monkeypatch.setattr(armo, "fit_ridge", lambda *a: calls.append(1) or fit(*a))
    train, validation = rated(world["train"], people), rated(world["validation"], people)
    for seed in range(2):
        Armo(QUICK, seed).fit(train, validation)
    assert len(calls) == 1
    Armo(QUICK, 0).fit(replace(train, ratings=-train.ratings), validation)
    assert len(calls) == 2


def test_the_published_gate_by_hand_and_what_it_drops():
    gate = armo.Gate(6, 4, torch.Generator().manual_seed(0))
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    hidden = x
    for layer in list(gate.layers)[:-1]:
        hidden = (hidden @ layer[0].weight.T + layer[0].bias).relu()
        assert hidden.shape[1] == 1024
    last = gate.layers[-1][0]
    expected = ((hidden @ last.weight.T + last.bias) / 10).log_softmax(dim=1)
    assert len(gate.layers) == 4 and torch.allclose(gate(x), expected, atol=1e-6)
    assert torch.equal(gate(x), gate(x)) and not torch.equal(gate(x, dropping=True), gate(x, dropping=True))


def test_published_ratings_do_not_follow_length(world, people):
    """Longer responses are rated higher on all but verbosity; what the gate mixes no longer knows it."""
    train = rated(world["train"], people)
    rng = torch.Generator().manual_seed(5)
    lengths = train.responses[:, 0] * 4 + torch.randn(len(train.responses), generator=rng, dtype=torch.float64)
    ratings = train.ratings + 2 * lengths[:, None]
    train = replace(train, ratings=ratings, lengths=lengths)
    names = ("verbosity", *train.rating_names[1:])
    train = replace(train, rating_names=names)
    plain, adjusted = (
        make(name, QUICK, 0).fit(train, replace(rated(world["validation"], people), rating_names=names))
        for name in ("armo", "armo_published")
    )

    def told(method) -> np.ndarray:
        used = torch.cat([train.chosen, train.rejected]).unique()
        responses = method._scaled(train).responses[used]
        reward = (responses @ method.head_weights().T).numpy()
        length = Ridge(alpha=PENALTIES[2] * len(used)).fit(responses, lengths[used]).predict(responses)
        return np.abs([np.corrcoef(r, length)[0, 1] for r in reward.T])

    assert told(plain).min() > 0.3
    assert told(adjusted)[0] > 0.3 and told(adjusted)[1:].max() < 0.02


def test_the_published_gate_is_trained_by_its_own_schedule(world):
    method = make("armo_published", QUICK | {"epochs": 1, "steps": 3}, 0).fit(world["train"], world["validation"])
    seen = method.history.validation
    assert len(seen) > armo.PATIENCE and len(seen) - 1 - method.history.best_epoch <= armo.PATIENCE
    assert metrics.nll(method.predict_proba(world["validation"])) == pytest.approx(min(seen), abs=1e-6)
    again = make("armo_published", QUICK, 0).fit(world["train"], world["validation"])
    assert np.array_equal(method.predict_proba(world["test"]), again.predict_proba(world["test"]))
