"""The worlds of judgements: who judges which pair, and what is said about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from micro_paper.data.corpus.compose import compose, generator, levels
from micro_paper.data.corpus.pairs import ACCURACY, Candidates, candidates
from micro_paper.data.corpus.tastes import Knobs, population
from micro_paper.data.corpus.text import (
    DIMENSIONS,
    WORDINGS,
    Cue,
    Topic,
    cues,
    other_criteria,
    phrasings,
    prompt_cues,
    topics,
)

PHASES = ("train", "test")  # a topic's rows where it is trained or validated on, and where it is tested on
LABELS = {"train": 204, "test": 84}  # of each topic; 29 of 42 topics are in train, 8 or 9 in test
NEUTRAL = 0.3  # prompts that say nothing about the audience
FLIPPED = 0.1  # labels against the taste that gave them
MAIN = 0.7  # the share of a topic's own taste in bundled-topics
OTHER = 0.35  # chance that a criterion of bundled-reversals lies outside the nine dimensions
CUES_SHOWN = 6  # different cues in the prompts of one wording
CHOICES = 6  # pairs among which the one that keeps lengths balanced is taken
TURNS = (*range(len(DIMENSIONS)), ACCURACY)  # accuracy twice, as few pairs are twins


@dataclass(frozen=True)
class Judgement:
    """One label, before it is written as a row.

    Attributes:
        slug, phase: topic, and "train" or "test".
        winner, loser: positions in `compose(slug)`.
        z: number of the group that judged: of a dimension that alone decided, or in bundled-rpr of a taste.
        stated: number of the dimension that the row is about: the one that decided, or the criterion that is stated.
        taste: (G,) P(z | prompt) of each group.
        posterior: (G,) P(z | prompt, pair).
        likelihood: (G,) probability of this label given pair and group.
        p_winner: probability of this label given prompt, stated criterion and pair; where the row names the dimension
            that decided as context (bundled-audience, bundled-topics), given prompt and pair.
        prompt: as it is read for u, cue included.
        cue: its name, "none" for neutral prompts.
    """

    slug: str
    phase: str
    winner: int
    loser: int
    z: int
    stated: int
    taste: np.ndarray
    posterior: np.ndarray
    likelihood: np.ndarray
    p_winner: float
    prompt: str
    cue: str


def spread(taste: dict[str, float]) -> np.ndarray:
    """Return a taste as probabilities (9,): what the named dimensions leave is spread evenly over the others."""
    rest = (1 - sum(taste.values())) / (len(DIMENSIONS) - len(taste))
    return np.array([taste.get(d, rest) for d in DIMENSIONS])


@lru_cache(maxsize=1)
def topic_tastes() -> dict[str, str]:
    """Return topic -> main dimension in bundled-topics, as even over the topics as it can be."""
    order = sorted(topics(), key=lambda t: generator("taste", t.slug).random())
    return {t.slug: DIMENSIONS[i % len(DIMENSIONS)] for i, t in enumerate(order)}


def audience(topic: Topic, phase: str, seed: int) -> list[Judgement]:
    """Return the labels of a topic in bundled-audience: the prompt's cue says whose taste judges.

    P(z | prompt) is the cue's taste, or uniform without a cue. The pair is drawn among the wording's pairs that
    dimension z decides, evenly, so that P(z | prompt, pair) is known; each pair gets one label.
    """
    rng = generator("audience", seed, topic.slug, phase)
    shown = {w: [_cued(topic, w, cue, phase, rng) for cue in rng.sample(cues(), CUES_SHOWN)] for w in range(WORDINGS)}
    uniform = np.full(len(DIMENSIONS), 1 / len(DIMENSIONS))

    def prompt(wording: int) -> tuple[np.ndarray, str, str]:
        if rng.random() < NEUTRAL:
            return uniform, topic.prompts[wording], "none"
        return rng.choice(shown[wording])

    return _labels(topic, phase, seed, prompt, rng)


def by_topic(topic: Topic, phase: str, seed: int) -> list[Judgement]:
    """Return the labels of a topic in bundled-topics: the topic decides the taste, the prompt says nothing else.

    Several people may judge one pair, as one dimension alone would soon run out of pairs.
    """
    taste = spread({topic_tastes()[topic.slug]: MAIN})
    rng = generator("topics", seed, topic.slug, phase)
    return _labels(topic, phase, seed, lambda w: (taste, topic.prompts[w], "none"), rng, once=False)


def _cued(topic: Topic, wording: int, cue: Cue, phase: str, rng: Any) -> tuple[np.ndarray, str, str]:
    sentence = rng.choice(cue.train if phase == "train" else cue.test)
    parts = [sentence, topic.prompts[wording]]
    return spread(cue.taste), " ".join(parts if rng.random() < 0.5 else parts[::-1]), cue.name


@dataclass(frozen=True, eq=False)
class Choice:
    """Who may judge which pair of one topic, exactly, before lengths are balanced.

    Attributes:
        prompts: (X,) P(x), sums to 1.
        groups: (X, G) P(z | x).
        pairs: (X, G, A) P(a | x, z) over the topic's candidates.
    """

    prompts: np.ndarray
    groups: np.ndarray
    pairs: np.ndarray


def audience_choice(topic: Topic, seed: int) -> Choice:
    """Return the choice of bundled-audience: 30 % of prompts are neutral, the others have one of the cues."""
    tastes = np.array([np.full(len(DIMENSIONS), 1 / len(DIMENSIONS)), *(spread(cue.taste) for cue in cues())])
    given = np.array([NEUTRAL, *[(1 - NEUTRAL) / len(cues())] * len(cues())])
    return _choice(topic, seed, tastes, given, _by_deciding)


def topic_choice(topic: Topic, seed: int) -> Choice:
    """Return the choice of bundled-topics."""
    return _choice(topic, seed, spread({topic_tastes()[topic.slug]: MAIN})[None], np.ones(1), _by_deciding)


def taste_choice(topic: Topic, seed: int, knobs: Knobs) -> Choice:
    """Return the choice of a world of tastes: groups are tastes, and all of them see the same pairs."""
    given = np.full(len(prompt_cues()), (1 - knobs.neutral) / len(prompt_cues()))
    return _choice(topic, seed, population(knobs).given_cue, np.array([knobs.neutral, *given]), _by_turns)


def _choice(topic: Topic, seed: int, groups: np.ndarray, given: np.ndarray, law: Callable[..., np.ndarray]) -> Choice:
    pool = candidates(topic.slug, seed)
    pairs = np.concatenate(
        [np.repeat(law(pool, w, groups.shape[1])[None], len(given), axis=0) for w in range(WORDINGS)]
    )
    return Choice(np.tile(given, WORDINGS) / WORDINGS, np.tile(groups, (WORDINGS, 1)), pairs)


def _evenly(pool: Candidates, wording: int, z: int) -> np.ndarray:
    found = pool.judged(wording, z)
    return np.isin(np.arange(len(pool.pairs)), found) / len(found)


def _by_deciding(pool: Candidates, wording: int, groups: int) -> np.ndarray:
    """P(a | z), (9, A): evenly among the pairs that the dimension which judges decides."""
    return np.array([_evenly(pool, wording, z) for z in range(groups)])


def _by_turns(pool: Candidates, wording: int, groups: int) -> np.ndarray:
    """P(a | z), (T, A): as `shown_pairs` takes turns, whoever judges."""
    law = np.mean([_evenly(pool, wording, z) for z in TURNS if pool.judged(wording, z)], axis=0)
    return np.repeat(law[None], groups, axis=0)


def _labels(
    topic: Topic, phase: str, seed: int, prompt: Callable[[int], tuple], rng: Any, once: bool = True
) -> list[Judgement]:
    pool = candidates(topic.slug, seed)
    used: set[int] = set()
    longer: Counter[int] = Counter()
    out: list[Judgement] = []
    tries = 0
    while len(out) < LABELS[phase] and tries < 40 * LABELS[phase]:
        wording = tries % WORDINGS
        tries += 1
        taste, text, name = prompt(wording)
        z = rng.choices(range(len(DIMENSIONS)), taste)[0]
        free = [i for i in pool.judged(wording, z) if i not in used]
        if not free:
            continue
        flip = -1 if rng.random() < FLIPPED else 1
        drawn = rng.sample(free, min(CHOICES, len(free)))
        costs = [abs(longer[z] + flip * pool.signs[p][z]) for p in drawn]
        pair = drawn[costs.index(min(costs))]
        if once:
            used.add(pair)
        longer[z] += flip * pool.signs[pair][z]
        posterior = _posterior(pool, pair, taste)
        likes_first = pool.margin[pair] > 0
        first = bool(likes_first[z]) == (flip > 0)
        winner, loser = pool.pairs[pair] if first else pool.pairs[pair][::-1]
        likely = np.where(likes_first == first, 1 - FLIPPED, FLIPPED)
        p = float(posterior @ likely)
        out.append(Judgement(topic.slug, phase, int(winner), int(loser), z, z, taste, posterior, likely, p, text, name))
    return out


def meant(judgement: Judgement) -> Judgement:
    """Return a judgement of bundled-audience or -topics without its flip, as the dimension that decided has it."""
    if judgement.likelihood[judgement.z] > 0.5:
        return judgement
    return replace(
        judgement,
        winner=judgement.loser,
        loser=judgement.winner,
        likelihood=1 - judgement.likelihood,
        p_winner=1 - judgement.p_winner,
    )


def _posterior(pool: Candidates, pair: int, taste: np.ndarray) -> np.ndarray:
    """Return P(z | prompt, pair), by Bayes: a taste picks among the pairs that it can judge, all alike."""
    wording = int(pool.wording[pair])
    choices = [pool.judged(wording, z) for z in range(len(DIMENSIONS))]
    weight = np.array([t / len(c) if pair in c else 0.0 for t, c in zip(taste, choices, strict=True)])
    return weight / weight.sum()


def judged_by_tastes(topic: Topic, phase: str, seed: int, knobs: Knobs) -> list[Judgement]:
    """Return the labels of a topic in a world of tastes (`tastes.py`): each pair once, by one person who states why.

    The prompt's cue is drawn first, then the person's taste given the cue, then the criterion given the taste, and the
    label by Bradley-Terry from the taste's utility of the true levels. The pair is drawn apart from all of these.
    """
    rng = generator("people", knobs.seed, seed, topic.slug, phase)
    of, pool, level = population(knobs), candidates(topic.slug, seed), levels(compose(topic.slug, seed))
    asked, names = _asked(topic, phase, seed), ("none", *(cue.name for cue in prompt_cues()))
    people = range(knobs.tastes)
    out = []
    for pair in shown_pairs(topic, phase, seed):
        cue = 0 if rng.random() < knobs.neutral else rng.randrange(1, len(names))
        taste = of.given_cue[cue]
        z = rng.choices(people, taste)[0]
        criterion = rng.choices(range(len(DIMENSIONS)), of.stated[z])[0]
        first, second = (int(i) for i in pool.pairs[pair])
        likely = preference(of.weights @ (level[first] - level[second]))
        if rng.random() >= likely[z]:
            first, second, likely = second, first, 1 - likely
        p = float(of.told(cue, criterion) @ likely)
        text, name = asked[int(pool.wording[pair]), cue], names[cue]
        # No group has a say in which pair is shown, so the pair tells nothing about the group.
        out.append(Judgement(topic.slug, phase, first, second, z, criterion, taste, taste, likely, p, text, name))
    return out


def shown_pairs(topic: Topic, phase: str, seed: int) -> list[int]:
    """Return which of a topic's candidates are judged in a world of tastes, each once.

    Each dimension in turn, accuracy twice, has a pair on which it differs, at each wording in turn; among CHOICES of
    them that is taken which keeps the longer response at one half on every dimension.
    """
    rng = generator("shown", seed, topic.slug, phase)
    pool = candidates(topic.slug, seed)
    used: set[int] = set()
    longer: Counter[int] = Counter()
    out: list[int] = []
    turn = 0
    while len(out) < LABELS[phase] and turn < 40 * LABELS[phase]:
        z, wording = TURNS[turn % len(TURNS)], (turn // len(TURNS) + turn) % WORDINGS
        turn += 1
        free = [p for p in pool.judged(wording, z) if p not in used]
        if not free:
            continue
        drawn = rng.sample(free, min(CHOICES, len(free)))
        costs = [_imbalance(pool.signs[p], list(range(len(DIMENSIONS))), longer) for p in drawn]
        pair = drawn[costs.index(min(costs))]
        used.add(pair)
        longer.update({d: sign for d, sign in enumerate(pool.signs[pair])})
        out.append(pair)
    return out


def _asked(topic: Topic, phase: str, seed: int) -> dict[tuple[int, int], str]:
    """Return the prompt of each wording with each cue (0 = none): one sentence a cue, so that few are encoded."""
    rng = generator("asked", seed, topic.slug, phase)
    out = {(wording, 0): topic.prompts[wording] for wording in range(WORDINGS)}
    for number, cue in enumerate(prompt_cues(), 1):
        for wording, sentence in enumerate(rng.sample(cue.train if phase == "train" else cue.test, WORDINGS)):
            parts = [sentence, topic.prompts[wording]]
            out[wording, number] = " ".join(parts if rng.random() < 0.5 else parts[::-1])
    return out


def preference(margin: np.ndarray) -> np.ndarray:
    """Return sigmoid(margin) in [0, 1], exact where its complement is small."""
    return np.exp(-np.logaddexp(0, -margin))


def rpr_rows(topic: Topic, phase: str, seed: int = 0, other: float = OTHER) -> Iterator[dict[str, Any]]:
    """Yield the judgements of a topic in RPR's schema, before rows of other criteria are left out.

    Each row compares two responses by two criteria that disagree: prompt, response_a, response_b, criteria_x and
    category_x (a wins), criteria_y and category_y (b wins). A criterion lies outside the nine dimensions with
    probability `other`. Beside them stand wording, first and second (positions of a and b), z_x and z_y (the dimensions
    behind both sides, also of a side whose criterion was replaced).
    """
    rng = generator("rpr", seed, topic.slug, phase)
    pool = candidates(topic.slug, seed)
    texts = compose(topic.slug, seed)
    said = said_criteria(topic, phase, seed)
    used: set[int] = set()
    longer: Counter[int] = Counter()  # dimension -> wins of the longer response less those of the shorter
    turn = 0
    misses = 0
    while misses < len(TURNS) * WORDINGS:
        z, wording = TURNS[turn % len(TURNS)], (turn // len(TURNS) + turn) % WORDINGS
        turn += 1
        options = [option for option in pool.conflicts(wording, z) if option[0] not in used]
        if not options:
            misses += 1
            continue
        misses = 0
        kept = [rng.random() >= other for _ in range(2)]
        drawn = rng.sample(options, min(CHOICES, len(options)))
        judges = [[d for d, k in zip((z, o), kept, strict=True) if k] for _, o in drawn]
        costs = [_imbalance(pool.signs[p], j, longer) for (p, _), j in zip(drawn, judges, strict=True)]
        pair, against = drawn[costs.index(min(costs))]
        used.add(pair)
        for d, keep in zip((z, against), kept, strict=True):
            longer[d] += keep * pool.signs[pair][d]
        a, b = pool.pairs[pair]
        if pool.margin[pair, z] < 0:
            a, b = b, a
        sides = [(z, kept[0]), (against, kept[1])]
        if rng.random() < 0.5:
            a, b, sides = b, a, sides[::-1]
        row = {
            "prompt": topic.prompts[wording],
            "response_a": texts[a].text,
            "response_b": texts[b].text,
            "wording": wording,
            "first": int(a),
            "second": int(b),
        }
        for side, (d, keep) in zip("xy", sides, strict=True):
            kind = DIMENSIONS[d] if keep else rng.choice(list(other_criteria()))
            row[f"z_{side}"] = d
            row[f"category_{side}"] = kind
            row[f"criteria_{side}"] = said[wording, d] if keep else rng.choice(other_criteria()[kind])
            row[f"said_{side}"] = said[wording, d]
        yield row


def _imbalance(signs: list[int], judges: list[int], longer: Counter[int]) -> int:
    """Return how far a pair would take the labels that the longer response wins from one half."""
    return sum(abs(longer[d] + signs[d]) for d in judges)


def said_criteria(topic: Topic, phase: str, seed: int) -> dict[tuple[int, int], str]:
    """Return the phrasing of each dimension at each wording: another one at each, so that few contexts are encoded."""
    rng = generator("said", seed, topic.slug, phase)
    out = {}
    for z, d in enumerate(DIMENSIONS):
        for wording, text in enumerate(rng.sample(phrasings()[d][phase], WORDINGS)):
            out[wording, z] = text
    return out
