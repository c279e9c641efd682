"""Methods that are told the user, on small cases, against the best optimum of their own losses from many starts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from micro_paper.methods.lore import LoRe
from micro_paper.methods.pal import DIMENSION, Pal
from micro_paper.methods.vpl import Vpl
from micro_paper.pairs import Pairs

USERS, PAIRS, WIDTH = 5, 120, 3
SETTINGS = {"heads": 2, "dtype": "float64", "learning_rate": 1e-2, "epochs": 120, "patience": 0, "standardize": False}
SETTINGS |= {"weight_decay": 0.0, "early_stopping": False}


def people(seed: int) -> tuple[Pairs, np.ndarray]:
    """Pairs of users whose rewards lie between two, most inside the simplex; and the number of each pair's user."""
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(2, WIDTH))
    share = np.linspace(0.0, 1.0, USERS)
    user = np.repeat(np.arange(USERS), PAIRS)
    difference = rng.normal(size=(len(user), WIDTH))
    reward = np.stack([share, 1 - share], axis=1) @ basis * 2
    win = rng.random(len(user)) < 1 / (1 + np.exp(-(difference * reward[user]).sum(axis=1)))
    difference[~win] *= -1
    n, ids = len(user), np.array([f"{i:04d}" for i in range(len(user))])
    zero = torch.zeros(1, 2, dtype=torch.float64)
    rows = torch.zeros(n, dtype=torch.long)
    table = torch.cat([torch.zeros(1, WIDTH), torch.from_numpy(difference)]).double()
    fields = {"responses": table, "chosen": torch.arange(1, n + 1), "rejected": rows, "prompts": zero, "prompt": rows}
    fields |= {"contexts": None, "context": None, "lengths": torch.zeros(n + 1), "pair_id": ids, "prompt_id": ids}
    names = np.array([f"user {u}" for u in user])
    return Pairs(**fields, attribute=np.full(n, "a"), user_id=names), user


def least(loss, sizes: tuple[tuple[int, ...], ...], starts: int) -> float:
    """The smallest loss that L-BFGS over all parameters together reaches from random starts."""
    return min(_descended(loss, sizes, torch.Generator().manual_seed(seed)) for seed in range(starts))


def _descended(loss, sizes: tuple[tuple[int, ...], ...], generator: torch.Generator) -> float:
    values = [torch.randn(size, generator=generator, dtype=torch.float64).requires_grad_() for size in sizes]
    optimiser = torch.optim.LBFGS(values, max_iter=800, tolerance_change=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = loss(*values)
        value.backward()
        return value

    optimiser.step(closure)
    return loss(*values).item()


def nll(method, pairs: Pairs) -> float:
    return float(-np.log(method.predict_proba(pairs)).mean())


@pytest.mark.long
@pytest.mark.parametrize("case", [0, 2])
def test_lore_reaches_the_least_loss_of_basis_and_weights(case):
    pairs, user = people(case)
    difference, user = pairs.difference, torch.from_numpy(user)

    def loss(basis: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        margins = (theta.softmax(dim=1)[user] * (difference @ basis.T)).sum(dim=1)
        return softplus(-margins).mean()

    best = least(loss, ((2, WIDTH), (USERS, 2)), 8)
    method = LoRe(SETTINGS | {"learning_rate": 0.05}, 0).fit(pairs, pairs)
    assert best - 1e-6 <= nll(method, pairs) < best + 0.002
    inside = method.table[1:-2, 0]  # the users between the two extremes
    assert ((inside > 0.05) & (inside < 0.95)).sum() >= 2
    corners = replace_weights(method, method.table[:-1].round())
    assert nll(corners, pairs) > best + 0.005  # a planted fault: every user on a corner


def replace_weights(method, table: torch.Tensor):
    method.table = torch.cat([table, table.mean(dim=0, keepdim=True)])
    return method


@pytest.mark.long
def test_pal_reaches_the_least_loss_of_map_and_prototypes():
    """Users prefer what is nearer to ideal points between two prototypes, in a map of the responses."""
    rng = np.random.default_rng(0)
    points, share = np.array([[1.2, 0.0, 0.5], [-0.8, 0.9, 0.0]]), np.linspace(0.0, 1.0, USERS)
    user = np.repeat(np.arange(USERS), PAIRS)
    ideal = np.stack([share, 1 - share], axis=1)[user] @ points
    sides = rng.normal(size=(2, len(user), WIDTH))
    far = ((sides - ideal) ** 2).sum(axis=2)
    win = rng.random(len(user)) < 1 / (1 + np.exp(far[0] - far[1]))
    table, n = torch.from_numpy(np.concatenate(sides)), len(user)
    first, second, won = torch.arange(n), n + torch.arange(n), torch.from_numpy(win)
    pairs = replace(
        people(0)[0].with_tables(responses=table, lengths=torch.zeros(2 * n)),
        chosen=torch.where(won, first, second),
        rejected=torch.where(won, second, first),
    )
    user = torch.from_numpy(user)
    chosen, rejected = table[pairs.chosen], table[pairs.rejected]

    def loss(projection: torch.Tensor, points: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        ideal = theta.softmax(dim=1)[user] @ points
        near, far = ((side @ projection.T - ideal).square().sum(dim=1) for side in (chosen, rejected))
        return softplus(near - far).mean()

    best = least(loss, ((DIMENSION, WIDTH), (2, DIMENSION), (USERS, 2)), 4)
    method = min((Pal(SETTINGS, seed).fit(pairs, pairs) for seed in range(3)), key=lambda m: nll(m, pairs))
    assert best - 1e-6 <= nll(method, pairs) < best + 0.003
    corners = replace_weights(method, method.table[:-1].round())
    assert nll(corners, pairs) > best + 0.01


def test_vpl_reaches_the_loss_of_users_on_a_line_of_rewards():
    """Without the price of the latent the users' rewards v_0 + z v_1 would reach `best`; with it a little more.

    Users must differ by more than that price: where they hardly do, the latent is rightly left unused.
    """
    seed = 1
    pairs, user = people(seed)
    difference, user = pairs.difference, torch.from_numpy(user)

    def loss(heads: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        margins = difference @ heads.T
        return softplus(-(margins[:, 0] + z[user] * margins[:, 1])).mean()

    best = least(loss, ((2, WIDTH), (USERS,)), 8)
    shared = least(lambda w: softplus(-(difference @ w)).mean(), ((WIDTH,),), 1)
    assert shared > best + 0.05
    method = Vpl(SETTINGS, seed).fit(pairs, pairs)
    assert best <= nll(method, pairs) < best + 0.15 * (shared - best)
    names = np.random.default_rng(seed).permutation(pairs.user_id)
    assert nll(Vpl(SETTINGS, seed).fit(replace(pairs, user_id=names), pairs), pairs) > best + 0.5 * (shared - best)
