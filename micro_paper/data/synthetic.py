"""Populations with known truth: subgroups, their linear rewards, and contexts that name them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from micro_paper.errors import InputError, suggest
from micro_paper.pairs import Pairs

RATED_ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
CRITERIA_ATTRIBUTES = (
    "clarity",
    "creativity",
    "rigor",
    "user-friendliness",
    "storytelling",
    "pedagogy",
    "linguistic creativity",
    "factual accuracy",
    "humor",
)
AUDIENCE_ATTRIBUTES = ("in a hurry", "beginner", "expert", "playful")
WORLDS = {
    "synthetic-rated": RATED_ATTRIBUTES,
    "synthetic-criteria": CRITERIA_ATTRIBUTES,
    "synthetic-audience": AUDIENCE_ATTRIBUTES,
    "synthetic-options": AUDIENCE_ATTRIBUTES,
}
OPTIONS, OPTION_PAIRS = 16, 40  # rated responses to a prompt of synthetic-options, and labelled pairs of them
PROMPT_DIMENSION = 2 * len(CRITERIA_ATTRIBUTES)  # of every world, so that one can be trained on and another tested


@dataclass(frozen=True)
class Population:
    """K subgroups z with linear rewards r*_z, prompts that hint at z, contexts that name it.

    P(z | x) = softmax(sharpness * [z = t(x)]) with t(x) the prompt's type, and 1 / K for a neutral prompt.

    Attributes:
        names: of the K subgroups.
        heads: true reward directions theta, (K, d); the margin of a pair is theta_z . d.
        prompt_cues: mean of u(x) for each prompt type, (K, q).
        context_cues: what a stated context adds to u(x), (K, q).
        sharpness: log-odds by which a prompt's own type leads the other subgroups.
        neutral: share of prompts that say nothing about the subgroup.
        noise: standard deviation of the noise on u(x) and u(x, c).
    """

    names: tuple[str, ...]
    heads: Tensor
    prompt_cues: Tensor
    context_cues: Tensor
    sharpness: float
    neutral: float
    noise: float


@dataclass(frozen=True)
class Sample:
    """Pairs drawn from a population, with the truth behind them.

    Attributes:
        pairs: labelled pairs; `attribute` is the subgroup that gave the label.
        group: z of each pair, (n,).
        margins: true D_k of each pair, chosen less rejected, (n, K).
    """

    pairs: Pairs
    group: Tensor
    margins: Tensor


def population(
    names: tuple[str, ...] = AUDIENCE_ATTRIBUTES,
    *,
    dimension: int = 24,
    prompt_dimension: int = 16,
    separation: float = 4.0,
    overlap: float = 0.5,
    context_strength: float = 2.0,
    sharpness: float = 3.0,
    neutral: float = 0.3,
    noise: float = 0.2,
    seed: int = 0,
) -> Population:
    """Return a population of len(names) subgroups.

    Args:
        dimension, prompt_dimension: d of phi and q of u.
        separation: length of each true head: the standard deviation of its margins is separation * sqrt(2).
        context_strength: length of what a stated context adds, in lengths of a prompt's own cue.
        overlap: cosine between what a prompt and what a context shows of the same subgroup; below 1 the stage-1
            router must be adapted before it reads contexts well.
        seed: of the directions.
    """
    count = len(names)
    if count < 1:
        raise InputError("a population needs at least one subgroup name")
    if prompt_dimension < 2 * count:
        prompt_dimension = 2 * count
    generator = torch.Generator().manual_seed(seed)
    heads = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    heads = separation * heads / heads.norm(dim=1, keepdim=True)
    # Orthogonal cues: types differ equally, and a context's own direction is new to the stage-1 router.
    basis, _ = torch.linalg.qr(torch.randn(prompt_dimension, 2 * count, generator=generator, dtype=torch.float64))
    prompt_cues, other = 2.0 * basis.T[:count], 2.0 * basis.T[count:]
    context_cues = context_strength * (overlap * prompt_cues + (1 - overlap**2) ** 0.5 * other)
    return Population(tuple(names), heads, prompt_cues, context_cues, sharpness, neutral, noise)


def sample(
    population: Population,
    prompts: int,
    *,
    responses: int = 4,
    pairs_per_prompt: int = 2,
    by_context: bool = False,
    seed: int = 0,
    prefix: str = "",
) -> Sample:
    """Draw labelled pairs.

    Args:
        prompts: number of prompts; each has `responses` responses and gives `pairs_per_prompt` pairs.
        by_context: the subgroup of a pair is uniform, so that it shows only in the stated context; else it is drawn
            from P(z | x). Every pair states its subgroup as context in either case.
        seed: of the draw.
        prefix: of the ids, to keep splits apart.
    """
    rng = torch.Generator().manual_seed(seed)
    count, d = population.heads.shape
    q = population.prompt_cues.shape[1]
    n = prompts * pairs_per_prompt
    normal = {"generator": rng, "dtype": torch.float64}
    kind = torch.randint(count, (prompts,), generator=rng)
    is_neutral = torch.rand(prompts, **normal) < population.neutral
    logits = population.sharpness * torch.nn.functional.one_hot(kind, count).double()
    logits[is_neutral] = 0.0
    p_group = logits.softmax(dim=1)
    u = torch.where(is_neutral[:, None], torch.zeros(()).double(), population.prompt_cues[kind])
    u = u + population.noise * torch.randn(prompts, q, **normal)
    phi = torch.randn(prompts * responses, d, **normal)

    prompt = torch.arange(prompts).repeat_interleave(pairs_per_prompt)
    order = torch.rand(n, responses, **normal).argsort(dim=1)[:, :2]
    a, b = (prompt[:, None] * responses + order).T
    if by_context:
        group = torch.randint(count, (n,), generator=rng)
    else:
        group = torch.multinomial(p_group[prompt].float(), 1, generator=rng)[:, 0]
    margin = (phi[a] - phi[b]) @ population.heads.T
    a_wins = torch.rand(n, **normal) < margin.gather(1, group[:, None])[:, 0].sigmoid()
    chosen, rejected = torch.where(a_wins, a, b), torch.where(a_wins, b, a)
    contexts = u[prompt] + population.context_cues[group]
    pairs = Pairs(
        responses=phi,
        chosen=chosen,
        rejected=rejected,
        prompts=u,
        prompt=prompt,
        contexts=contexts,
        context=torch.arange(n),
        lengths=torch.zeros(len(phi), dtype=torch.float64),
        pair_id=np.array([f"{prefix}pair{i:06d}" for i in range(n)]),
        prompt_id=np.array([f"{prefix}prompt{i:05d}" for i in prompt.tolist()]),
        attribute=np.array(population.names)[group.numpy()],
    )
    return Sample(pairs, group, torch.where(a_wins[:, None], margin, -margin))


def sample_options(population: Population, prompts: int, *, seed: int = 0, prefix: str = "") -> Sample:
    """Draw prompts with OPTIONS responses, rated by every subgroup, and OPTION_PAIRS labelled pairs each.

    A rating is the subgroup's true reward, in nats; the subgroup of a pair is uniform.
    """
    counts = {"responses": OPTIONS, "pairs_per_prompt": OPTION_PAIRS, "by_context": True}
    drawn = sample(population, prompts, **counts, seed=seed, prefix=prefix)
    ratings = drawn.pairs.responses @ population.heads.T
    return replace(drawn, pairs=replace(drawn.pairs, ratings=ratings, rating_names=population.names))


def draw_world(
    name: str, *, fold: int = 0, train: int = 1500, validation: int = 150, test: int = 300
) -> dict[str, Sample]:
    """Return the splits of a synthetic world: train, validation and test samples of one population.

    Args:
        name: "synthetic-rated" (5 attributes), "synthetic-criteria" (9), "synthetic-audience" (4 subgroups) or
            "synthetic-options" (the same subgroups, many rated responses a prompt).
        fold: seed of the draw; the population of a name is always the same.
        train, validation, test: number of prompts, two pairs each, all drawn alike; an eighth of it (four at least) of
            synthetic-options, by `sample_options`.
    """
    if name not in WORLDS:
        raise InputError(f"unknown synthetic world {name!r}.{suggest(name, WORLDS)}")
    people = population(WORLDS[name], prompt_dimension=PROMPT_DIMENSION, seed=len(WORLDS[name]))
    sizes = {"train": train, "validation": validation, "test": test}
    found = {}
    for i, (split, size) in enumerate(sizes.items()):
        which = {"seed": 1000 * fold + i, "prefix": f"{name}-{fold}-{split}-"}
        if name == "synthetic-options":
            found[split] = sample_options(people, max(4, size // 8), **which)
        else:
            found[split] = sample(people, size, **which)
    return found
