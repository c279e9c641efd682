"""The exact split: against explicit sums, a general optimiser, closed forms and identities."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from micro_paper.errors import InputError
from micro_paper.theory import Population, bound_chain, decompose_error, information_budget, split
from micro_paper.theory.checks import check_chain, check_identity
from micro_paper.theory.simulations import condorcet, default_instance


def random_instance(rng, x=2, k=3, n=4, scale=2.0):
    return (
        scale * rng.normal(size=(x, k, n)),
        rng.dirichlet(np.ones(k), x),
        rng.dirichlet(np.ones(n * n), x).reshape(x, n, n),
        rng.dirichlet(np.ones(x)),
    )


def sigmoid(s):
    return 1 / (1 + math.exp(-s)) if s >= 0 else math.exp(s) / (1 + math.exp(s))


def by_enumeration(rewards, groups, pairs, prompts):
    """Every term from the joint table of (x, a, b, z, y), one cell after the other."""
    entropy = information = pointwise = paper = 0.0
    x_count, k_count, n = rewards.shape
    for x in range(x_count):
        means = [0.0] * k_count
        for a in range(n):
            for b in range(n):
                weight = prompts[x] * pairs[x, a, b]
                p = [sigmoid(rewards[x, k, a] - rewards[x, k, b]) for k in range(k_count)]
                mean = sum(groups[x, k] * p[k] for k in range(k_count))
                for k in range(k_count):
                    means[k] += pairs[x, a, b] * p[k]
                    for mine, all_ in ((p[k], mean), (1 - p[k], 1 - mean)):
                        if mine > 0:
                            entropy -= weight * groups[x, k] * mine * math.log(mine)
                            information += weight * groups[x, k] * mine * math.log(mine / all_)
                    pointwise += 2 * weight * groups[x, k] * (p[k] - mean) ** 2
        centre = sum(means) / k_count
        paper += prompts[x] * sum((m - centre) ** 2 for m in means) / k_count
    return entropy, information, pointwise, 2 * groups.min() * k_count * paper


def by_general_optimiser(rewards, groups, pairs, prompts):
    """Cross-entropy of the best reward by scipy, one prompt after the other, over the free rewards."""
    total = 0.0
    for r, g, pi, weight in zip(rewards, groups, pairs, prompts, strict=True):
        p = np.einsum("k,kab->ab", g, 1 / (1 + np.exp(-(r[:, :, None] - r[:, None, :]))))

        def loss(free, p=p, pi=pi):
            u = np.concatenate([[0.0], free])
            s = u[:, None] - u[None, :]
            q = 1 / (1 + np.exp(-s))
            value = -(pi * (p * np.log(q) + (1 - p) * np.log(1 - q))).sum()
            gradient = pi * (q - p)
            return value, (gradient.sum(axis=1) - gradient.sum(axis=0))[1:]

        found = minimize(loss, np.zeros(r.shape[1] - 1), jac=True, method="BFGS", options={"gtol": 1e-9})
        total += weight * found.fun
    return total


def test_agrees_with_enumeration_and_a_general_optimiser_on_200_instances():
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, k, n = rng.integers(1, 4), rng.integers(1, 5), rng.integers(2, 6)
        instance = random_instance(rng, x, k, n, scale=rng.uniform(0.1, 2.5))
        parts = decompose_error(*instance)
        entropy, information, pointwise, paper = by_enumeration(*instance)
        assert parts.conditional_entropy == pytest.approx(entropy, abs=1e-8)
        assert parts.group_information == pytest.approx(information, abs=1e-8)
        assert parts.pointwise_bound == pytest.approx(pointwise, abs=1e-8)
        assert parts.paper_bound == pytest.approx(paper, abs=1e-8)
        assert parts.cross_entropy == pytest.approx(by_general_optimiser(*instance), abs=1e-8)
        assert parts.best.gradient <= 1e-10


@st.composite
def instances(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x, k, n = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    scale = draw(st.sampled_from([0.0, 0.3, 2.0, 10.0, 50.0]))
    rewards = scale * rng.normal(size=(x, k, n))
    match draw(st.sampled_from(["plain", "equal groups", "ties", "extreme"])):
        case "equal groups":
            rewards[:] = rewards[:, :1]
        case "ties":
            rewards = np.round(rewards)
        case "extreme":
            rewards = 50.0 * rng.choice([-1, 0, 1], size=(x, k, n))
    groups = rng.dirichlet(np.full(k, draw(st.sampled_from([0.02, 1.0, 50.0]))), x)  # 0.02: rho next to 0
    groups = groups / groups.sum(axis=1, keepdims=True)
    pairs = rng.dirichlet(np.full(n * n, draw(st.sampled_from([0.05, 1.0]))), x).reshape(x, n, n)
    return Population(rewards, groups, pairs, rng.dirichlet(np.ones(x)))


@pytest.mark.long
@settings(max_examples=1000, deadline=None)
@given(instances())
def test_identity_and_every_bound(population):
    parts, chain = split(population), bound_chain(population)
    assert check_identity(parts).holds
    assert parts.group_information >= parts.pointwise_bound - 1e-12 >= parts.paper_bound - 2e-12
    failed = [check for check in check_chain(chain) if not check.holds]
    assert not failed
    assert chain.lost_by_averaging == pytest.approx(chain.pointwise - chain.averaged, abs=1e-12)
    assert min(parts.group_information, parts.misspecification) >= 0
    assert all(math.isfinite(v) for v in (parts.cross_entropy, parts.misspecification, parts.group_information))
    if population.rewards.shape[1] == 1:
        assert parts.irreducible == pytest.approx(0, abs=1e-9)


def test_two_responses_have_a_closed_form():
    g = 0.3
    p = g * sigmoid(2.0) + (1 - g) * sigmoid(-1.0)
    parts = decompose_error([[[2.0, 0.0], [0.0, 1.0]]], [[g, 1 - g]], [[[0.0, 1.0], [0.0, 0.0]]])
    assert parts.misspecification == pytest.approx(0, abs=1e-12)
    assert parts.cross_entropy == pytest.approx(-p * math.log(p) - (1 - p) * math.log(1 - p), abs=1e-12)
    assert parts.best.differences[0, 0, 1] == pytest.approx(math.log(p / (1 - p)), abs=1e-9)


def test_the_diagonal_is_a_fair_coin():
    parts = decompose_error(np.ones((1, 2, 2)), [[0.5, 0.5]], [[[0.25, 0.25], [0.25, 0.25]]])
    assert parts.cross_entropy == pytest.approx(math.log(2)) == pytest.approx(parts.conditional_entropy)
    only = decompose_error([[[3.0, 1.0], [0.0, 2.0]]], [[0.5, 0.5]], [[[0.5, 0.0], [0.0, 0.5]]])
    assert only.cross_entropy == pytest.approx(math.log(2))
    assert only.irreducible == pytest.approx(0, abs=1e-15)


def test_condorcet_cycle_is_misspecified_and_its_first_pair_is_not():
    strength = 2.0
    p = (sigmoid(strength) + sigmoid(-2 * strength) + sigmoid(strength)) / 3
    cycle = split(condorcet(strength))
    # By symmetry no reward beats the zero reward, and all pairs have the same marginal.
    assert cycle.cross_entropy == pytest.approx(math.log(2), abs=1e-12)
    kl = math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p)
    assert cycle.misspecification == pytest.approx(kl, abs=1e-12)
    assert cycle.misspecification > 0.01
    assert split(condorcet(strength, cyclic=False)).misspecification == pytest.approx(0, abs=1e-12)


def test_disjoint_pairs_are_never_misspecified_and_are_named_disconnected():
    parts = split(default_instance(np.random.default_rng(3), "disjoint"))
    assert parts.misspecification == pytest.approx(0, abs=1e-12)
    assert set(parts.status) == {"disconnected"}
    assert np.isnan(parts.best.differences[0, 0, 2])
    assert np.isfinite(parts.best.differences[0, 0, 1])


def test_certain_wins_are_named_separable_and_reported_infinite():
    rewards = [[[5000.0, 1.0, 0.0, -5000.0]]]
    pairs = np.zeros((1, 4, 4))
    pairs[0, [0, 1, 2], [1, 2, 3]] = 1 / 3
    parts = decompose_error(rewards, [[1.0]], pairs)
    assert parts.status == ("separable",)
    assert parts.best.rewards[0].tolist() == [math.inf, math.inf, math.inf, 0.0]
    d = parts.best.differences[0]
    assert d[0, 1] == d[0, 3] == d[2, 3] == math.inf and d[3, 0] == -math.inf
    assert d[1, 2] == pytest.approx(1.0, abs=1e-9)
    h = -sigmoid(1) * math.log(sigmoid(1)) - sigmoid(-1) * math.log(sigmoid(-1))
    assert parts.cross_entropy == pytest.approx(h / 3, abs=1e-12)  # the infimum, only the middle pair is noisy
    assert parts.misspecification == pytest.approx(0, abs=1e-12)


def test_infimum_of_a_partly_certain_mixture_is_approached_by_ever_larger_rewards():
    rewards = np.array([[[4000.0, 1.0, 0.0, 2.0], [4000.0, 0.0, 1.5, -1.0]]])
    pairs = np.full((1, 4, 4), 1 / 16)
    parts = decompose_error(rewards, [[0.4, 0.6]], pairs)
    assert parts.status == ("separable",)
    below = []
    for top in (5.0, 20.0, 40.0):
        u = np.where(np.isinf(parts.best.rewards), top, parts.best.rewards)
        p = np.einsum(
            "k,kab->ab",
            [0.4, 0.6],
            1 / (1 + np.exp(-(rewards[0, :, :, None] - rewards[0, :, None, :]).clip(-700, 700))),
        )
        lost = np.logaddexp(0, -(u[0][:, None] - u[0][None, :]))
        below.append((pairs[0] * (p * lost + p.T * lost.T)).sum())
    assert below[0] > below[1] > below[2] - 1e-15
    assert below[2] == pytest.approx(parts.cross_entropy, abs=1e-12)


def test_zero_weight_groups_and_prompts_change_nothing():
    rng = np.random.default_rng(5)
    r, g, pi, w = random_instance(rng)
    plain = decompose_error(r, g, pi, w)
    wider = decompose_error(
        np.concatenate([r, rng.normal(size=(2, 1, 4))], axis=1), np.concatenate([g, np.zeros((2, 1))], axis=1), pi, w
    )
    assert wider.cross_entropy == pytest.approx(plain.cross_entropy, abs=1e-12)
    assert wider.group_information == pytest.approx(plain.group_information, abs=1e-12)
    assert wider.paper_bound == 0  # rho is 0
    doubled = decompose_error(np.tile(r, (2, 1, 1)), np.tile(g, (2, 1)), np.tile(pi, (2, 1, 1)), [*(w * 0), *w])
    assert doubled.cross_entropy == pytest.approx(plain.cross_entropy, abs=1e-12)


def test_shift_of_a_groups_rewards_and_order_of_groups_do_not_matter():
    rng = np.random.default_rng(6)
    r, g, pi, w = random_instance(rng)
    plain = decompose_error(r, g, pi, w)
    moved = decompose_error((r + rng.normal(size=(2, 3, 1)))[:, ::-1], g[:, ::-1], pi, w)
    for name in ("cross_entropy", "group_information", "misspecification", "paper_bound", "pointwise_bound"):
        assert getattr(moved, name) == pytest.approx(getattr(plain, name), abs=1e-12)


def test_torch_and_float32_are_read_and_floats_come_out():
    r, g, pi, w = random_instance(np.random.default_rng(7))
    plain = decompose_error(r, g, pi, w)
    tensors = decompose_error(torch.tensor(r, requires_grad=True), torch.tensor(g), torch.tensor(pi), torch.tensor(w))
    assert tensors.cross_entropy == plain.cross_entropy
    assert type(tensors.cross_entropy) is float
    single = decompose_error(*(torch.tensor(v, dtype=torch.float32) for v in (r, g, pi, w)))
    assert single.cross_entropy == pytest.approx(plain.cross_entropy, abs=1e-5)
    assert check_identity(single).holds


def test_exchangeable_pairs_empty_the_papers_bound_only():
    parts = split(default_instance(np.random.default_rng(0)))
    assert parts.paper_bound < 1e-12
    assert parts.pointwise_bound >= 0.5 * parts.group_information > 0.01
    assert split(default_instance(np.random.default_rng(0), "two policies")).paper_bound > 1e-3


def test_prompt_weights_default_to_uniform():
    r, g, pi, _ = random_instance(np.random.default_rng(8))
    assert decompose_error(r, g, pi).cross_entropy == decompose_error(r, g, pi, [0.5, 0.5]).cross_entropy


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rewards", lambda a: {"rewards": a["rewards"][0]}),
        ("rewards", lambda a: {"rewards": np.where(a["rewards"] > 0, np.nan, a["rewards"])}),
        ("rewards", lambda a: {"rewards": a["rewards"] * np.inf}),
        ("rewards", lambda a: {"rewards": np.zeros((0, 3, 4))}),
        ("group_weights", lambda a: {"group_weights": a["group_weights"][:, :2]}),
        ("group_weights", lambda a: {"group_weights": a["group_weights"] * 1.01}),
        ("group_weights", lambda a: {"group_weights": a["group_weights"] - [[1.0, -1.0, 0.0]]}),
        ("pair_weights", lambda a: {"pair_weights": a["pair_weights"][:, :3, :3]}),
        ("pair_weights", lambda a: {"pair_weights": a["pair_weights"] / 2}),
        ("pair_weights", lambda a: {"pair_weights": -a["pair_weights"]}),
        ("prompt_weights", lambda a: {"prompt_weights": [1.0]}),
        ("prompt_weights", lambda a: {"prompt_weights": [0.5, 0.6]}),
        ("prompt_weights", lambda a: {"prompt_weights": [1.5, -0.5]}),
        ("group_weights", lambda a: {"group_weights": "even"}),
    ],
)
def test_bad_arguments_are_refused_by_name(name, change):
    arguments = dict(
        zip(("rewards", "group_weights", "pair_weights"), random_instance(np.random.default_rng(9)), strict=False)
    )
    with pytest.raises(InputError, match=name):
        decompose_error(**(arguments | change(arguments)))


def test_information_budget_adds_up_and_moves_from_remaining_to_context():
    rng = np.random.default_rng(10)
    r, g, pi, w = random_instance(rng, x=3, k=3, n=4)
    parts = decompose_error(r, g, pi, w)
    mute = information_budget(r, np.ones((3, 1)), g[:, None, :], pi, w)
    assert mute.by_context == pytest.approx(0, abs=1e-12)
    assert mute.remaining == pytest.approx(parts.group_information, abs=1e-12)
    full = information_budget(r, g, np.tile(np.eye(3), (3, 1, 1)), pi, w)
    assert full.by_context == pytest.approx(parts.group_information, abs=1e-12)
    assert full.remaining == pytest.approx(0, abs=1e-12)
    confusion = rng.dirichlet(np.ones(2), 3)  # P(c | z)
    joint = g[:, :, None] * confusion
    contexts = joint.sum(axis=1)
    some = information_budget(r, contexts, (joint / contexts[:, None]).transpose(0, 2, 1), pi, w)
    assert some.total == pytest.approx(parts.irreducible, abs=1e-12)
    assert 0 < some.by_context < parts.group_information
    assert some.by_prompt_mixture == pytest.approx(parts.misspecification, abs=1e-12)
    with pytest.raises(InputError, match="context_weights"):
        information_budget(r, contexts * 2, (joint / contexts[:, None]).transpose(0, 2, 1), pi, w)
    with pytest.raises(InputError, match="groups_given_context"):
        information_budget(r, contexts, g, pi, w)
