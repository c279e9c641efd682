"""LoRe against the single reward, brute force and another solver; and what all user-level methods share."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from micro_paper import metrics
from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.methods.lore import LoRe, refit_weights
from micro_paper.methods.pal import Pal
from micro_paper.methods.static import Single
from micro_paper.methods.table import Method
from micro_paper.methods.vpl import Vpl

QUICK = {"heads": 3, "dtype": "float64", "learning_rate": 1e-2, "epochs": 6}
USER_LEVEL = (LoRe, Pal, Vpl)


def named(sample, users_per_group=3):
    """Return the sample's pairs, given by users g0u0, g0u1, ..., each of one group."""
    which = np.arange(len(sample.pairs)) // 2 % users_per_group
    users = np.array([f"g{g}u{u}" for g, u in zip(sample.group.tolist(), which.tolist(), strict=True)])
    return replace(sample.pairs, user_id=users)


@pytest.fixture(scope="module")
def people():
    """Two groups of users who want the opposite of one another, asked the same questions."""
    population = synthetic.population(("more", "less"), dimension=12, seed=3)
    population = replace(population, heads=torch.stack([population.heads[0], -population.heads[0]]))
    return {
        split: synthetic.sample(population, n, by_context=True, seed=seed, prefix=split)
        for seed, (split, n) in enumerate({"train": 600, "validation": 100, "test": 300, "later": 30}.items())
    }


@pytest.fixture(scope="module")
def pairs(people):
    return {split: named(sample) for split, sample in people.items()}


@pytest.fixture(scope="module")
def fitted(pairs):
    return {kind: kind(QUICK, 0).fit(pairs["train"], pairs["validation"]) for kind in (*USER_LEVEL, Single)}


@pytest.mark.parametrize("kind", USER_LEVEL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_protocol_and_antisymmetry(kind, dtype, pairs):
    method = kind(QUICK | {"dtype": dtype, "epochs": 1}, 0).fit(pairs["train"], pairs["validation"])
    assert isinstance(method, Method)
    for _ in range(2):
        p, q = method.predict_proba(pairs["test"]), method.predict_proba(pairs["test"].flip())
        assert p.shape == (len(pairs["test"]),) and (p >= 0).all() and (p <= 1).all()
        assert np.abs(p + q - 1).max() < 1e-12
        assert method.head_margins(pairs["test"]).shape == (len(p), 3)
        method.adapt(pairs["later"])
    same = replace(pairs["test"], rejected=pairs["test"].chosen)
    assert (method.predict_proba(same) == 0.5).all()


@pytest.mark.parametrize("kind", USER_LEVEL)
def test_opposed_users_are_told_apart(kind, fitted, people, pairs):
    """A single reward cannot serve both groups; knowing the user reaches the true rewards' accuracy."""
    truth = people["test"].margins.gather(1, people["test"].group[:, None])[:, 0].sigmoid().numpy()
    single = metrics.accuracy(fitted[Single].predict_proba(pairs["test"]))
    own = metrics.accuracy(fitted[kind].predict_proba(pairs["test"]))
    assert single < 0.6
    assert own > metrics.accuracy(truth) - 0.04 and own > single + 0.25
    # Broken input: names dealt at random teach nothing about the user.
    shuffled = replace(pairs["train"], user_id=np.random.default_rng(0).permutation(pairs["train"].user_id))
    blind = kind(QUICK, 0).fit(shuffled, pairs["validation"])
    assert metrics.accuracy(blind.predict_proba(pairs["test"])) < single + 0.1


@pytest.mark.parametrize("kind", USER_LEVEL)
def test_new_users_are_learnt_from_few_pairs_and_unknown_ones_get_the_middle(kind, fitted, people, pairs):
    method = fitted[kind]
    rename = lambda p: replace(p, user_id=np.char.add("new ", p.user_id))  # noqa: E731
    test, few = rename(pairs["test"]), rename(pairs["later"])
    before = method.predict_proba(test)
    table, heads = method.table.clone(), [p.detach().clone() for p in method.heads.parameters()]
    assert torch.allclose(table[-1], table[:-1].mean(dim=0), atol=1e-12)
    assert np.allclose(method.mixture_weights(test), table[-1].numpy())
    known = method.predict_proba(pairs["test"])
    after = method.adapt(few).predict_proba(test)
    truth = people["test"].margins.gather(1, people["test"].group[:, None])[:, 0].sigmoid().numpy()
    assert metrics.accuracy(before) < 0.6 < metrics.accuracy(truth) - 0.08 < metrics.accuracy(after)
    # Rewards and the users who gave no new pairs stay; a user in neither set still gets the middle.
    assert all(torch.equal(a, b) for a, b in zip(heads, method.heads.parameters(), strict=True))
    assert np.array_equal(method.predict_proba(pairs["test"]), known)
    nobody = replace(test, user_id=np.array(["nobody"] * len(test)))
    assert np.array_equal(method.predict_proba(nobody), before)
    # Each call starts from what fit learnt.
    method.adapt(pairs["later"])
    assert np.array_equal(method.predict_proba(test), before)
    assert np.array_equal(method.adapt(few).predict_proba(test), after)
    method.names, method.table = method._trained


@pytest.mark.parametrize("kind", USER_LEVEL)
def test_nothing_is_read_from_the_test_pairs_but_features_and_user(kind, fitted, pairs):
    """Poisoned labels, attributes and contexts at test, prompts in training: no prediction moves."""
    method, test = fitted[kind], pairs["test"]
    p = method.predict_proba(test)
    poison = torch.from_numpy(np.random.default_rng(1).random(len(test)) < 0.5)
    poisoned = replace(
        test,
        chosen=torch.where(poison, test.rejected, test.chosen),
        rejected=torch.where(poison, test.chosen, test.rejected),
        attribute=np.array(["?"] * len(test)),
        contexts=None,
        context=None,
        prompts=torch.randn_like(test.prompts),
    )
    assert np.abs(method.predict_proba(poisoned) - np.where(poison, 1 - p, p)).max() < 1e-12
    order = np.random.default_rng(2).permutation(len(test))
    assert np.allclose(method.predict_proba(test.select(order)), p[order], atol=1e-12)
    hidden = replace(
        pairs["train"], attribute=poisoned.attribute[:1].repeat(len(pairs["train"])), contexts=None, context=None
    )
    again = kind(QUICK, 0).fit(hidden, pairs["validation"])
    assert np.array_equal(again.predict_proba(test), p)


@pytest.mark.parametrize("kind", USER_LEVEL)
def test_the_epoch_kept_is_the_best_of_validation_by_its_own_users(kind, fitted, pairs):
    method = fitted[kind]
    nll = metrics.nll(method.predict_proba(pairs["validation"]))
    assert nll == pytest.approx(min(method.history.validation), abs=1e-9)
    strangers = replace(pairs["validation"], user_id=np.array(["?"] * len(pairs["validation"])))
    assert metrics.nll(method.predict_proba(strangers)) > nll + 0.1


@pytest.mark.parametrize("kind", USER_LEVEL)
def test_the_attribute_plays_the_user_where_none_is_named(kind, people, pairs, fitted):
    method = kind(QUICK | {"epochs": 1}, 0).fit(people["train"].pairs, people["validation"].pairs)
    assert list(method.names) == ["less", "more"]
    assert "user identity (here: the attribute), in training and at test" in method.supervision
    assert "user identity, in training and at test" in fitted[kind].supervision
    with pytest.raises(InputError, match="user_id: the training pairs do not name users, these pairs do"):
        method.predict_proba(pairs["test"])
    with pytest.raises(InputError, match="user_id: the training pairs name users, these pairs do not"):
        fitted[kind].adapt(people["later"].pairs)


@pytest.mark.parametrize("kind", USER_LEVEL)
def test_bad_requests_are_named(kind, pairs, fitted):
    with pytest.raises(InputError, match="context_pairs is empty"):
        fitted[kind].adapt(pairs["later"].select(slice(0)))
    with pytest.raises(InputError, match="call fit first"):
        kind(QUICK).adapt(pairs["later"])
    with pytest.raises(InputError, match="call fit first"):
        kind(QUICK).predict_proba(pairs["later"])
    with pytest.raises(InputError, match="there are no training pairs"):
        kind(QUICK).fit(pairs["train"].select(slice(0)), pairs["validation"])
    with pytest.raises(InputError, match="unknown setting 'haeds'. Did you mean 'heads'"):
        kind({"haeds": 2})


@pytest.mark.parametrize("kind", USER_LEVEL)
def test_same_seed_same_bits_other_seed_other_run(kind, pairs):
    short = QUICK | {"epochs": 1}
    runs = [kind(short, s).fit(pairs["train"], pairs["validation"]).predict_proba(pairs["test"]) for s in (0, 0, 1)]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])


@pytest.mark.parametrize("kind", [LoRe, Vpl])
def test_one_linear_reward_is_the_single_reward(kind, pairs):
    one = QUICK | {"heads": 1}
    method = kind(one, 5).fit(pairs["train"], pairs["validation"])
    single = Single(one, 5).fit(pairs["train"], pairs["validation"])
    p = single.predict_proba(pairs["test"])
    assert np.abs(method.predict_proba(pairs["test"]) - p).max() < 1e-6
    assert np.abs(method.adapt(pairs["later"]).predict_proba(pairs["test"]) - p).max() < 1e-6
    two = kind(one | {"heads": 2}, 5).fit(pairs["train"], pairs["validation"])
    assert np.abs(two.predict_proba(pairs["test"]) - p).max() > 1e-2


def test_lore_predicts_by_its_formula(fitted, pairs):
    method, test = fitted[LoRe], pairs["test"].select(slice(20))
    table = method.weights.table.numpy()
    heads = method.heads.weight.detach().numpy()
    scale = method.scalers["responses"].scale.numpy()
    for i, p in enumerate(method.predict_proba(test)):
        own = table[sorted(set(pairs["train"].user_id)).index(test.user_id[i])]
        direction = own @ heads
        difference = (test.responses[test.chosen[i]] - test.responses[test.rejected[i]]).numpy() / scale
        assert p == pytest.approx(1 / (1 + np.exp(-direction @ difference)), abs=1e-12)


def test_refitted_weights_against_sequential_quadratic_programming():
    """Each user alone, on the simplex itself, by another solver."""
    rng = np.random.default_rng(0)
    margins = rng.normal(size=(40, 4)) + np.array([1.0, 0.2, 0.0, -0.5])
    user, start = np.arange(40) % 3, rng.dirichlet(np.ones(4), size=3)
    ours = refit_weights(torch.tensor(margins), torch.tensor(user), torch.tensor(start)).numpy()
    assert np.allclose(ours.sum(1), 1) and (ours > 0).all()

    def objective(w, u):
        return np.logaddexp(0, -margins[user == u] @ w).sum() - start[u] @ np.log(w)

    for u in range(3):
        found = minimize(
            objective,
            np.full(4, 0.25),
            args=(u,),
            bounds=[(1e-9, 1)] * 4,
            constraints=[{"type": "eq", "fun": lambda w: w.sum() - 1}],
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert np.allclose(ours[u], found.x, atol=1e-4)
        assert objective(ours[u], u) <= found.fun + 1e-9 < objective(np.roll(ours[u], 1), u)
    alone = refit_weights(
        torch.tensor(margins[user == 1]), torch.zeros((user == 1).sum()).long(), torch.tensor(start[1:2])
    )
    assert np.allclose(alone[0], ours[1], atol=1e-5)


def test_refitted_weights_without_evidence_stay_and_refuse_bad_input():
    start = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    none = torch.zeros(5, 3, dtype=torch.float64)
    user = torch.zeros(5, dtype=torch.long)
    assert torch.allclose(refit_weights(none, user, start), start, atol=1e-6)
    with pytest.raises(InputError, match="prior_pairs must be > 0, got 0"):
        refit_weights(none, user, start, prior_pairs=0)
    with pytest.raises(InputError, match="user must name one of 1 users"):
        refit_weights(none, user + 1, start)
    with pytest.raises(InputError, match="margins hold a non-finite value"):
        refit_weights(none / 0, user, start)
