"""VPL: the KL term against torch.distributions, sets as sets, and a latent that cannot see its own label."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from micro_paper import metrics
from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.methods import vpl
from micro_paper.methods.vpl import OthersOfUser, PairSetEncoder, Vpl, kl_to_standard_normal

QUICK = {"heads": 4, "dtype": "float64", "learning_rate": 1e-2, "epochs": 5}


@pytest.fixture(scope="module")
def method(world):
    return Vpl(QUICK, 0).fit(world["train"], world["validation"])


@pytest.fixture
def encoder():
    return PairSetEncoder(6, 3, torch.Generator().manual_seed(0), torch.float64)


def test_kl_against_torch_distributions():
    generator = torch.Generator().manual_seed(0)
    mean, log_variance = torch.randn(2, 50, 5, generator=generator, dtype=torch.float64)
    prior = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), prior).sum(dim=1)
    assert torch.allclose(kl_to_standard_normal(mean, log_variance), expected, atol=1e-12)
    # Broken inputs: a standard deviation in place of a variance, a mean with the wrong sign of its square.
    assert not torch.allclose(kl_to_standard_normal(mean, 0.5 * log_variance), expected, atol=1e-2)
    assert kl_to_standard_normal(torch.zeros(1, 5), torch.zeros(1, 5)) == 0
    assert (kl_to_standard_normal(mean, log_variance) > 0).all()


def test_the_encoder_sees_a_set(encoder):
    generator = torch.Generator().manual_seed(1)
    difference = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    member = torch.tensor([0, 0, 0, 2, 2, 3, 3, 3, 3])
    order = torch.randperm(9, generator=generator)
    before, after = encoder(difference, member, 4), encoder(difference[order], member[order], 4)
    for a, b in zip(before, after, strict=True):
        assert a.shape == (4, 3)
        assert torch.allclose(a, b, atol=1e-12)
    # Each set alone, its embedded pairs averaged by hand; and a set repeated says no more than itself.
    for s in (0, 2, 3):
        pooled = encoder.embed(difference[member == s]).mean(dim=0)
        assert torch.allclose(encoder.infer(pooled), torch.cat([before[0][s], before[1][s]]), atol=1e-12)
    twice = encoder(difference.repeat(2, 1), member.repeat(2), 4)
    assert torch.allclose(twice[0], before[0], atol=1e-12)
    assert (before[0][1] == 0).all() and (before[1][1] == 0).all()  # an empty set: the prior
    # The sets differ, the label matters, and a pair moved to another set shows.
    assert not torch.allclose(encoder(-difference, member, 4)[0], before[0], atol=1e-3)
    assert not torch.allclose(encoder(difference, member.roll(1), 4)[0], before[0], atol=1e-3)
    with pytest.raises(InputError, match="member has 8 rows, difference has 9"):
        encoder(difference, member[:8], 4)


def test_the_context_of_a_pair_is_of_its_user_and_never_itself():
    user = torch.tensor([1, 0, 1, 2, 1, 0, 4, 4, 4, 4])  # user 2 gave one pair, user 3 none
    draw = OthersOfUser(user, torch.Generator().manual_seed(0))
    rows = torch.tensor([4, 3, 0, 1, 7, 7])
    seen = [set() for _ in rows]
    for _ in range(20):
        others, member = draw(rows)
        assert (user[others] == user[rows[member]]).all() and (others != rows[member]).all()
        assert torch.bincount(member, minlength=6).tolist() == [16, 0, 16, 16, 16, 16]
        for other, i in zip(others.tolist(), member.tolist(), strict=True):
            seen[i].add(other)
    assert seen == [{0, 2}, set(), {2, 4}, {5}, {6, 8, 9}, {6, 8, 9}]


def test_the_loss_is_the_negative_elbo(world, method):
    """One minibatch by hand, from the same random draws."""
    model = Vpl(QUICK, 0).fit(world["train"].select(slice(200)), world["validation"])
    pairs = model._scaled(world["train"].select(slice(200)))
    names, user = np.unique(pairs.attribute, return_inverse=True)
    user, rows = torch.from_numpy(user), torch.arange(7)
    state = model._noise.get_state()
    loss = model._loss(pairs, user)(rows).item()
    model._noise.set_state(state)
    others, member = OthersOfUser(user, model._noise)(rows)
    noise = torch.randn(7, 3, generator=model._noise, dtype=torch.float64)
    difference, total = pairs.difference, 0.0
    for i in rows.tolist():
        own = difference[others[member == i]]
        mean, log_variance = model.weights(own, torch.zeros(len(own), dtype=torch.long), 1)
        posterior = Normal(mean[0], (0.5 * log_variance[0]).exp())
        z = posterior.mean + posterior.stddev * noise[i]
        direction = model.heads.weight[0] + sum(z[k] * model.heads.weight[1 + k] for k in range(3))
        kl = kl_divergence(posterior, Normal(torch.zeros(3).double(), torch.ones(3).double())).sum()
        total += (torch.nn.functional.softplus(-direction @ difference[i]) + vpl.BETA * kl).item()
    assert loss == pytest.approx(total / 7, abs=1e-12)


def test_predictions_use_the_posterior_mean(method, world):
    test = world["test"].select(slice(20))
    scaled = method._scaled(world["train"])
    scale = method.scalers["responses"].scale
    for i, p in enumerate(method.predict_proba(test)):
        own = torch.from_numpy(world["train"].attribute == test.attribute[i])
        mean, _ = method.weights(scaled.difference[own], torch.zeros(int(own.sum()), dtype=torch.long), 1)
        direction = method.heads.weight[0] + mean[0] @ method.heads.weight[1:]
        difference = (test.responses[test.chosen[i]] - test.responses[test.rejected[i]]) / scale
        assert p == pytest.approx((direction @ difference).sigmoid().item(), abs=1e-10)


def test_adapt_infers_from_the_given_pairs_alone():
    """Labels turned round in the context pairs turn the user: the user's training pairs have no say any more."""
    people = synthetic.population(("more", "less"), dimension=12, seed=3)
    people = replace(people, heads=torch.stack([people.heads[0], -people.heads[0]]))
    train, few, test = (synthetic.sample(people, n, by_context=True, seed=n).pairs for n in (600, 30, 300))
    method = Vpl(QUICK, 0).fit(train, test.select(slice(0)))
    accuracy = {
        name: metrics.accuracy(method.adapt(context).predict_proba(test))
        for name, context in {"kept": few, "turned": few.flip(), "all": train}.items()
    }
    assert accuracy["kept"] > 0.8 and accuracy["turned"] < 0.2
    assert accuracy["all"] == metrics.accuracy(Vpl(QUICK, 0).fit(train, test.select(slice(0))).predict_proba(test))


def test_noise_for_labels_teaches_no_users(world):
    """Were a pair's own label in its context, coins could be learnt by heart through z: the loss would fall."""
    rng = np.random.default_rng(0)
    train = world["train"]
    train = replace(train, user_id=np.array([f"u{i // 2}" for i in range(len(train))]))  # two pairs a user
    coin = torch.from_numpy(rng.random(len(train)) < 0.5)
    noise = replace(
        train,
        chosen=torch.where(coin, train.chosen, train.rejected),
        rejected=torch.where(coin, train.rejected, train.chosen),
    )
    # An eighth of the features' room: too few directions to learn 600 coins without users.
    narrow = noise.with_tables(responses=noise.responses[:, :3])
    held_out = narrow.select(slice(0, 100))
    model = Vpl(QUICK | {"epochs": 3, "early_stopping": False}, 0).fit(narrow, held_out)
    assert min(model.history.train) > np.log(2) - 0.03


def test_a_user_never_seen_has_the_mean_coefficients_of_training(method, world):
    few = world["test"].select(slice(12))
    stranger = replace(few, attribute=np.full(len(few), "nobody"))
    known = method.table[:-1].double().numpy()
    assert np.ptp(known[:, 1:], axis=0).max() > 0
    assert method.mixture_weights(stranger) == pytest.approx(np.tile(known.mean(axis=0), (len(few), 1)))
