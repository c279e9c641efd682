"""PAL's ideal points by brute force: distances measured one by one, and the affine form of the margin."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from micro_paper import metrics
from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.methods.exact import OracleAttributeExact
from micro_paper.methods.pal import Pal, Prototypes
from micro_paper.methods.static import Single

QUICK = {"heads": 3, "dtype": "float64", "learning_rate": 1e-2, "epochs": 4}


@pytest.fixture(scope="module")
def method(world):
    return Pal(QUICK, 0).fit(world["train"], world["validation"])


def test_the_margin_is_a_difference_of_squared_distances(method, world):
    """Predictions follow from the distances to the user's ideal point; head margins from those to a prototype."""
    test = world["test"].select(slice(30))
    scaler = method.scalers["responses"]
    scaled = ((test.responses - scaler.mean) / scaler.scale).numpy()
    projection, points = method.heads.projection.detach().numpy(), method.heads.points.detach().numpy()
    weights, heads = method.mixture_weights(test), method.head_margins(test)
    assert np.allclose(weights.sum(1), 1) and (weights >= 0).all()
    for i, p in enumerate(method.predict_proba(test)):
        a, b = projection @ scaled[test.chosen[i]], projection @ scaled[test.rejected[i]]
        ideal = sum(weights[i, k] * points[k] for k in range(3))
        margin = np.linalg.norm(b - ideal) ** 2 - np.linalg.norm(a - ideal) ** 2
        assert p == pytest.approx(1 / (1 + np.exp(-margin)), abs=1e-12)
        for k in range(3):
            on_prototype = np.linalg.norm(b - points[k]) ** 2 - np.linalg.norm(a - points[k]) ** 2
            assert heads[i, k] == pytest.approx(on_prototype, abs=1e-10)
        # Another ideal point gives another margin: the check can fail.
        assert abs(np.linalg.norm(b - 2 * ideal) ** 2 - np.linalg.norm(a - 2 * ideal) ** 2 - margin) > 1e-6


def test_a_common_ideal_inside_the_cloud_of_responses():
    """Users who want the middle: no linear reward can say so, an ideal point can."""
    generator = torch.Generator().manual_seed(0)
    phi = torch.randn(2400, 6, generator=generator, dtype=torch.float64)
    base = synthetic.sample(synthetic.population(dimension=6), 600, seed=1).pairs
    near, far = base.chosen.clone(), base.rejected.clone()
    swap = phi[near, :2].norm(dim=1) > phi[far, :2].norm(dim=1)
    pairs = replace(base, responses=phi, chosen=torch.where(swap, far, near), rejected=torch.where(swap, near, far))
    train, validation, test = pairs.select(slice(900)), pairs.select(slice(900, 1000)), pairs.select(slice(1000, None))
    settings = QUICK | {"epochs": 10}
    curved = metrics.accuracy(Pal(settings, 0).fit(train, validation).predict_proba(test))
    straight = metrics.accuracy(OracleAttributeExact(settings, 0).fit(train, validation).predict_proba(test))
    assert curved > 0.85 and straight < 0.6


@pytest.mark.long
def test_four_groups_of_users():
    """Over four populations, each of four groups: well above the single reward that must serve all."""
    gain = []
    for seed in range(4):
        people = synthetic.population(seed=seed)
        train, validation, test = (
            synthetic.sample(people, n, by_context=True, seed=10 * seed + i).pairs
            for i, n in enumerate((1500, 150, 500))
        )
        single, pal = (kind(QUICK | {"heads": 4}, 0).fit(train, validation) for kind in (Single, Pal))
        gain.append(metrics.accuracy(pal.predict_proba(test)) - metrics.accuracy(single.predict_proba(test)))
    assert np.mean(gain) > 0.08 and min(gain) > 0


def test_prototypes():
    generator = torch.Generator().manual_seed(1)
    heads = Prototypes(4, 40, generator, torch.float64)
    features = torch.randn(5, 40, generator=generator, dtype=torch.float64)
    expected = -torch.cdist(features @ heads.projection.T, heads.points).square()
    assert torch.allclose(heads(features), expected, atol=1e-12)
    # Nothing is better than the place of the prototype itself, where the reward is 0.
    at = torch.linalg.lstsq(heads.projection, heads.points[:1].T).solution.T
    assert heads(at)[0, 0].item() == pytest.approx(0, abs=1e-12)
    assert (heads(at + 0.1 * features)[:, 0] < -1e-6).all()
    with pytest.raises(InputError, match="heads must be >= 1"):
        Pal(QUICK | {"heads": 0})
