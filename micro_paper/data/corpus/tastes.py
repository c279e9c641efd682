"""The population behind bundled-rpr: people of a few tastes, what they state, and how they judge.

A person of taste t prefers response a to b with probability sigmoid(s_t), s_t = scale w_t . (l_a - l_b) / sd_t: l are
the true levels and sd_t is the standard deviation of w_t . (l_a - l_b) over the pairs of responses to one prompt, so
every taste decides as clearly as any other. Which pair is shown is drawn without a look at the person, the prompt's cue
or the criterion, so A is independent of (Z, C) given X; cue and criterion tell about the label through the taste alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from micro_paper.data.corpus.compose import compose, generator, levels
from micro_paper.data.corpus.text import DIMENSIONS, WORDINGS, prompt_cues, topics
from micro_paper.files import sha256

SEAL = Path(__file__).with_name("seal.json")
WRITTEN = ("criteria.json", "prompt_cues.json")  # the wordings that the seal covers
FLOOR = 0.02  # added to every share: nobody is wholly without a concern


@dataclass(frozen=True)
class Knobs:
    """What is set in a world of tastes; `gate` judges it, and no mixture was fitted before it was sealed.

    Attributes:
        seed: of the tastes.
        tastes: how many there are.
        concentration: of the Dirichlet distribution of each taste's own shares; small = few dimensions matter to it.
        shared: weight of one taste that all have in common, against 1 - shared of the own one; 0 to 1.
        directions: 0, or to how many directions the own tastes are confined: those in which responses vary most, or if
            negative those in which they vary least.
        sharpness: P(c | t) goes with the power `sharpness` of the taste's share of dimension c, and all criteria are
            stated alike often.
        any_criterion: chance that the stated criterion is drawn evenly, whatever the taste.
        cue_strength: P(t | cue) goes with this power of the taste's share of the cue's dimension.
        neutral: chance of a prompt without a cue, where all tastes are alike likely.
        scale: standard deviation of margins over pairs of responses, in nats: the inverse of the labels' noise.
    """

    seed: int = 0
    tastes: int = 6
    concentration: float = 0.3
    shared: float = 0.1
    directions: int = 0
    sharpness: float = 6.0
    any_criterion: float = 0.05
    cue_strength: float = 1.0
    neutral: float = 0.3
    scale: float = 6.0


DEFAULT = Knobs()
# The default draws its tastes at random; its companions put them where responses vary most, and where they vary least.
KNOBS = {
    "bundled-rpr": DEFAULT,
    "bundled-rpr-aligned": replace(DEFAULT, shared=0.3, directions=5),
    "bundled-rpr-opposed": replace(DEFAULT, shared=0.0, directions=-3),
}


@dataclass(frozen=True, eq=False)
class Population:
    """The tastes of a world, T of them over the nine dimensions (in the order of DIMENSIONS).

    Attributes:
        weights: w_t, (T, 9), scaled so that margins w_t . (l_a - l_b) are those of Bradley-Terry, in nats.
        share: (T, 9) what matters to each taste by itself, >= 0, rows sum to 1; others' dislikes count as 0.
        given_cue: P(t | cue), (1 + cues, T); the first row is that of prompts without a cue.
        stated: P(c | t), (T, 9).
    """

    weights: np.ndarray
    share: np.ndarray
    given_cue: np.ndarray
    stated: np.ndarray

    def told(self, cue: int, criterion: int) -> np.ndarray:
        """Return P(t | cue, c), (T,); cue 0 = none."""
        joint = self.given_cue[cue] * self.stated[:, criterion]
        return joint / joint.sum()


@lru_cache(maxsize=1)
def response_covariance() -> np.ndarray:
    """Return the covariance of level differences over the pairs of responses to one prompt, (9, 9)."""
    differences = []
    for topic in topics():
        pool = compose(topic.slug)
        level = levels(pool).reshape(WORDINGS, -1, len(DIMENSIONS))
        first, second = np.triu_indices(level.shape[1], 1)
        differences.append((level[:, first] - level[:, second]).reshape(-1, len(DIMENSIONS)))
    all_pairs = np.concatenate(differences).astype(float)
    return all_pairs.T @ all_pairs / len(all_pairs)  # a pair has no order, so its mean difference is 0


def alignment(weights: np.ndarray) -> np.ndarray:
    """Return the variance of responses along each row of weights (T, 9) over that of an average direction, (T,)."""
    covariance = response_covariance()
    along = np.einsum("td,de,te->t", weights, covariance, weights) / (weights**2).sum(axis=1)
    return along / (np.trace(covariance) / len(DIMENSIONS))


@lru_cache(maxsize=16)
def population(knobs: Knobs) -> Population:
    """Draw the tastes that the knobs describe."""
    rng = generator("tastes", knobs.seed)
    common, *own = (
        _dirichlet(rng.gammavariate(knobs.concentration, 1) for _ in DIMENSIONS) for _ in range(1 + knobs.tastes)
    )
    own = np.array(own)
    if knobs.directions:
        _, vectors = np.linalg.eigh(response_covariance())
        kept = vectors[:, -knobs.directions :] if knobs.directions > 0 else vectors[:, : -knobs.directions]
        own = (own - own.mean(axis=0)) @ kept @ kept.T
    own /= np.abs(own).sum(axis=1, keepdims=True)
    likes = np.maximum(own, 0)
    share = likes / likes.sum(axis=1, keepdims=True)
    weights = knobs.shared * common + (1 - knobs.shared) * own
    spread = np.sqrt(np.einsum("td,de,te->t", weights, response_covariance(), weights))
    stated = _evenly((share + FLOOR) ** knobs.sharpness)
    of_cue = np.array([DIMENSIONS.index(cue.dimension) for cue in prompt_cues()])
    given = np.vstack([np.ones(knobs.tastes), (share[:, of_cue].T + FLOOR) ** knobs.cue_strength])
    return Population(
        weights=knobs.scale * weights / spread[:, None],
        share=share,
        given_cue=given / given.sum(axis=1, keepdims=True),
        stated=knobs.any_criterion / len(DIMENSIONS) + (1 - knobs.any_criterion) * stated,
    )


def _evenly(weights: np.ndarray) -> np.ndarray:
    """Scale rows and columns of positive weights (T, 9) so that rows sum to 1 and all columns to T / 9.

    Every criterion is then stated as often as any other by tastes that are alike frequent (iterative proportional
    fitting).
    """
    for _ in range(500):
        weights = weights / weights.mean(axis=0)
        weights = weights / weights.sum(axis=1, keepdims=True)
    return weights


def _dirichlet(gammas) -> np.ndarray:
    drawn = np.array(list(gammas))
    return drawn / drawn.sum()


def fingerprint(knobs: dict[str, Knobs] = KNOBS, folder: Path = SEAL.parent) -> str:
    """Return the sha256 of all knobs and of the files with the wordings: what `seal.json` holds."""
    written = [(folder / name).read_bytes() for name in WRITTEN]
    return sha256(b"\0".join([repr((sorted(knobs.items()), FLOOR)).encode(), *written]))
