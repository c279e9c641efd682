"""The control that is told nobody's own mix: exact on small pairs, blind to who is who, and below what knows people."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from micro_paper.errors import InputError
from micro_paper.experiments.average_mix import AVERAGE_MIX, average_mix, with_average_mix
from micro_paper.experiments.evaluation import evaluate
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings
from micro_paper.pairs import Pairs

PEOPLE, QUICK = 8, Settings(heads=2, alpha=0.05, learning_rate=0.05, steps=300, tau=0.1, stage2_learning_rate=0.01)


def pairs_of(prompts: range, seed: int, labels: int = 6) -> Pairs:
    """Choices of PEOPLE, one half by the first feature and one by the second; a context says which, by prompt."""
    rng = np.random.default_rng(seed)
    rows = [(p, person) for p in range(len(prompts)) for person in range(PEOPLE) for _ in range(labels)]
    prompt, person = (torch.tensor(column) for column in zip(*rows, strict=True))
    taste, n = person % 2, len(rows)
    difference = torch.tensor(rng.normal(size=(n, 2)))
    difference *= difference[torch.arange(n), taste].sign()[:, None]
    mixes = torch.zeros(len(prompts), PEOPLE, 3, dtype=torch.float64)
    mixes[..., 0], mixes[..., 1] = torch.arange(PEOPLE) % 2 * 2.0 - 1.0, torch.arange(PEOPLE) / PEOPLE
    mixes[..., 2] = torch.arange(len(prompts))[:, None] / len(prompts)
    return Pairs(
        responses=torch.cat([torch.zeros(1, 2, dtype=torch.float64), difference]),
        chosen=torch.arange(1, n + 1),
        rejected=torch.zeros(n, dtype=torch.long),
        prompts=torch.zeros(len(prompts), 3, dtype=torch.float64),
        prompt=prompt,
        contexts=mixes.flatten(0, 1),
        context=prompt * PEOPLE + person,
        lengths=torch.zeros(n + 1, dtype=torch.float64),
        pair_id=np.array([f"{prompts.start}-{i}" for i in range(n)]),
        prompt_id=np.array([f"p{prompts[p]}" for p in prompt]),
        attribute=np.where(taste.numpy() == 0, "first", "second"),
        user_id=np.array([f"u{i}" for i in person]),
        criteria=mixes[0],
        criterion=person,
    )


@pytest.fixture(scope="module")
def world() -> World:
    return World("people", 0, pairs_of(range(0, 12), 0), pairs_of(range(12, 16), 1), pairs_of(range(16, 28), 2), "made")


def test_every_person_counts_once_on_a_prompt(world: World):
    busy = world.train.select(np.concatenate([np.zeros(50, int), np.arange(len(world.train))]))
    same = with_average_mix(replace(world, train=busy)).train
    for p in range(12):
        rows = (busy.prompt == p).nonzero()[:, 0]
        expected = busy.contexts[p * PEOPLE : (p + 1) * PEOPLE].mean(dim=0)
        assert torch.allclose(same.context_features[rows], expected.expand(len(rows), -1))
        assert torch.allclose(same.criterion_features[rows], busy.criteria.mean(dim=0).expand(len(rows), -1))
        assert not torch.allclose(busy.context_features[rows].mean(dim=0), expected) or p  # what the busy one would do
    assert torch.equal(same.difference, busy.difference) and same.user_id.tolist() == busy.user_id.tolist()


def test_the_control_cannot_tell_people_apart_and_micro_can(world: World):
    row = average_mix([world], QUICK, [0], 50)
    assert list(row.probability) == list(row.supervision) == list(row.chosen) == [AVERAGE_MIX]
    assert row.supervision[AVERAGE_MIX].endswith("the average person's mix in place of a person's own")
    turned = {s: getattr(world, s) for s in ("train", "validation", "test")}
    turned = {s: replace(p, context=p.prompt * PEOPLE + (p.criterion + 1) % PEOPLE) for s, p in turned.items()}
    again = average_mix([replace(world, **turned)], QUICK, [0], 50)
    assert np.allclose(row.probability[AVERAGE_MIX], again.probability[AVERAGE_MIX], atol=1e-9)
    own = evaluate([world], ["micro"], QUICK, seeds=[0], budget=50).probability["micro"]
    accuracy = [(p > 0.5).mean() for p in (own, row.probability[AVERAGE_MIX])]
    assert accuracy[0] > 0.9 and accuracy[1] < 0.85  # the planted gain is seen, and only by who reads the mix


def test_an_average_needs_people_and_contexts(world: World):
    for lacking in ({"user_id": None}, {"contexts": None, "context": None}, {"criteria": None, "criterion": None}):
        with pytest.raises(InputError, match="user_id, a context and a criterion"):
            with_average_mix(replace(world, test=replace(world.test, **lacking)))
