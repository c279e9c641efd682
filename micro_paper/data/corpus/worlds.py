"""The worlds of judgements: who judges which pair, and what is said about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from micro_paper.data.corpus.compose import compose, generator
from micro_paper.data.corpus.pairs import ACCURACY, Candidates, candidates
from micro_paper.data.corpus.text import DIMENSIONS, WORDINGS, Cue, Topic, cues, other_criteria, phrasings, topics

PHASES = ("train", "test")  # a topic's rows where it is trained or validated on, and where it is tested on
LABELS = {"train": 204, "test": 84}  # of each topic; 29 of 42 topics are in train, 8 or 9 in test
NEUTRAL = 0.3  # prompts that say nothing about the audience
FLIPPED = 0.1  # labels against the taste that gave them
MAIN = 0.7  # the share of a topic's own taste in bundled-topics
OTHER = 0.35  # chance that a criterion of bundled-rpr lies outside the nine dimensions
CUES_SHOWN = 6  # different cues in the prompts of one wording
CHOICES = 6  # pairs among which the one that keeps lengths balanced is taken


@dataclass(frozen=True)
class Judgement:
    """One label, before it is written as a row.

    Attributes:
        slug, phase: topic, and "train" or "test".
        winner, loser: positions in `compose(slug)`.
        z: number of the dimension that decided.
        taste: (9,) P(z | prompt).
        posterior: (9,) P(z | prompt, pair).
        p_winner: probability of this label given prompt and pair.
        prompt: as it is read for u, cue included.
        cue: its name, "none" for neutral prompts.
    """

    slug: str
    phase: str
    winner: int
    loser: int
    z: int
    taste: np.ndarray
    posterior: np.ndarray
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
        p_first = float(posterior @ np.where(likes_first, 1 - FLIPPED, FLIPPED))
        first = bool(likes_first[z]) == (flip > 0)
        winner, loser = pool.pairs[pair] if first else pool.pairs[pair][::-1]
        p = p_first if first else 1 - p_first
        out.append(Judgement(topic.slug, phase, int(winner), int(loser), z, taste, posterior, p, text, name))
    return out


def _posterior(pool: Candidates, pair: int, taste: np.ndarray) -> np.ndarray:
    """Return P(z | prompt, pair), by Bayes: a taste picks among the pairs that it can judge, all alike."""
    wording = int(pool.wording[pair])
    choices = [pool.judged(wording, z) for z in range(len(DIMENSIONS))]
    weight = np.array([t / len(c) if pair in c else 0.0 for t, c in zip(taste, choices, strict=True)])
    return weight / weight.sum()


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
    said = _said(topic, phase, rng)
    used: set[int] = set()
    longer: Counter[int] = Counter()  # dimension -> wins of the longer response less those of the shorter
    turns = [*range(len(DIMENSIONS)), ACCURACY]  # twice, as few pairs are twins and so it is seldom the other side
    turn = 0
    misses = 0
    while misses < len(turns) * WORDINGS:
        z, wording = turns[turn % len(turns)], (turn // len(turns) + turn) % WORDINGS
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


def _said(topic: Topic, phase: str, rng: Any) -> dict[tuple[int, int], str]:
    """Return the phrasing of each dimension at each wording: another one at each, so that few contexts are encoded."""
    out = {}
    for z, d in enumerate(DIMENSIONS):
        for wording, text in enumerate(rng.sample(phrasings()[d][phase], WORDINGS)):
            out[wording, z] = text
    return out
