"""A population of persons with known tastes, who judge pairs of a few topics; or one in which all want the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from micro_paper.data.splits import SPLITS, assign_folds
from micro_paper.errors import InputError, suggest
from micro_paper.pairs import Pairs

TASTES = 3
WORLDS = {"synthetic-people": 1.0, "synthetic-people-alike": 0.0}  # how far people differ
SEED = 15  # of the population, which is always the same


@dataclass(frozen=True)
class Persons:
    """People, their rewards, and what they chose.

    Attributes:
        pairs: labelled pairs of all people; `prompt_id` is the topic, `user_id` the person.
        rewards: true direction of each person, (P, d), in the order of their names; the margin is reward . d.
        shares: of the tastes in each person, (P, TASTES), rows summing to 1.
    """

    pairs: Pairs
    rewards: Tensor
    shares: Tensor


def persons(
    *,
    people: int = 60,
    topics: int = 16,
    labels: int = 120,
    pairs_per_topic: int = 60,
    dimension: int = 24,
    difference: float = 1.0,
    seed: int = SEED,
) -> Persons:
    """Draw people and their choices; several people judge the same pair.

    A person's reward is a common direction, plus `difference` times a mixture of TASTES directions whose shares are
    the person's own (Dirichlet 0.3, so that one mostly leads; the mean over people is taken off), plus a small
    direction of the person alone. What is better by the common direction is longer on average (correlation .8); length
    itself moves no choice, nor does which response a person was shown first, a coin flip.

    Args:
        people, topics: how many.
        labels: of each person, drawn without replacement from all pairs of all topics.
        dimension: d of phi.
        difference: >= 0; 0 = everybody has the common reward, and whatever is learnt of a person is noise.
        seed: of everything.
    """
    if not 1 <= labels <= topics * pairs_per_topic:
        raise InputError(f"labels must lie in 1 .. {topics * pairs_per_topic}, the number of pairs, got {labels}")
    if not difference >= 0:
        raise InputError(f"difference must be >= 0, got {difference}")
    rng = np.random.default_rng(seed)
    unit = lambda count: (x := rng.normal(size=(count, dimension))) / np.linalg.norm(x, axis=1)[:, None]  # noqa: E731
    shares = rng.dirichlet(np.full(TASTES, 0.3), size=people)
    own = 2.5 * shares @ unit(TASTES) + 0.3 * unit(people)
    common = unit(1)
    rewards = common + difference * (own - own.mean(axis=0))

    pool = topics * pairs_per_topic
    topic = np.repeat(np.arange(topics), pairs_per_topic)
    shift = 0.5 * rng.normal(size=(topics, dimension))  # what the responses of a topic have in common
    responses = shift[np.repeat(topic, 2)] + rng.normal(size=(2 * pool, dimension))
    judged = np.concatenate([rng.permutation(pool)[:labels] for _ in range(people)])
    person = np.repeat(np.arange(people), labels)
    margin = ((responses[2 * judged] - responses[2 * judged + 1]) * rewards[person]).sum(axis=1)
    first = rng.random(len(judged)) < 1 / (1 + np.exp(-margin))
    n = len(judged)
    lengths = 40 + 10 * (0.8 * (responses @ common[0]) + 0.6 * rng.normal(size=len(responses)))
    pairs = Pairs(
        responses=torch.from_numpy(responses),
        chosen=torch.from_numpy(2 * judged + ~first),
        rejected=torch.from_numpy(2 * judged + first),
        prompts=torch.from_numpy(shift),
        prompt=torch.from_numpy(topic[judged]),
        contexts=None,
        context=None,
        lengths=torch.from_numpy(np.round(lengths).clip(1)),
        pair_id=np.array([f"choice{i:06d}" for i in range(n)]),
        prompt_id=np.array([f"topic{t:02d}" for t in topic[judged]]),
        attribute=np.full(n, "choice"),
        user_id=np.array([f"person{p:03d}" for p in person]),
        position=torch.from_numpy(rng.choice([-1.0, 1.0], size=n)),
    )
    return Persons(pairs, torch.from_numpy(rewards), torch.from_numpy(shares))


def draw_world(name: str, *, fold: int = 0) -> dict[str, Pairs]:
    """Return the splits of a world of WORLDS by topic; `fold` rotates the topics, the people and choices stay.

    Raises:
        InputError: no such world, or a fold outside 0 .. 4.
    """
    if name not in WORLDS:
        raise InputError(f"unknown world of people {name!r}.{suggest(name, WORLDS)}")
    pairs = persons(difference=WORLDS[name]).pairs
    where = assign_folds(pairs.prompt_id, fold)
    split = np.array([where[topic] for topic in pairs.prompt_id])
    return {part: pairs.select(split == part) for part in SPLITS}
