"""Which responses of a topic are compared, and which pairs a taste can judge, balanced by length and surface counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from micro_paper.data.corpus.compose import compose, generator, levels
from micro_paper.data.corpus.surface import not_meant, surface_counts
from micro_paper.data.corpus.text import DIMENSIONS, WORDINGS

LONGEST_GAP = 6  # words between two compared responses
KEPT = 0.6  # of the pairs that a dimension could judge, those whose surface counts balance best
ACCURACY = DIMENSIONS.index("factual accuracy")


@dataclass(frozen=True)
class Candidates:
    """Pairs of a topic's responses.

    Attributes:
        pairs: (n, 2) positions in `compose(slug)`.
        wording: (n,) number of their prompt.
        margin: (n, 9) level of the first less that of the second, in the order of DIMENSIONS.
        gap: (n,) words of the first less those of the second.
        decided: (n, 9) whether a dimension may judge the pair: its levels differ, among all such pairs of the wording
            that differ in length the longer response wins one half, and those were kept whose winners have no more of
            any surface count than their losers, as far as the topic's pairs allow.
    """

    pairs: np.ndarray
    wording: np.ndarray
    margin: np.ndarray
    gap: np.ndarray
    decided: np.ndarray

    def judged(self, wording: int, z: int) -> list[int]:
        """Return the pairs of a wording that dimension z may judge."""
        return self._lists[wording, z]

    def counts(self, wording: int) -> np.ndarray:
        """Return how many pairs of a wording each dimension may judge, (9,)."""
        return np.array([len(self._lists[wording, z]) for z in range(len(DIMENSIONS))])

    def conflicts(self, wording: int, z: int) -> list[tuple[int, int]]:
        """Return (pair, o) where z and o may both judge the pair and prefer different sides."""
        return self._conflicts[wording, z]

    @cached_property
    def signs(self) -> list[list[int]]:
        """(n, 9) 1 where a dimension prefers the longer response of a pair, -1 the shorter, 0 at equal lengths."""
        return np.sign(self.gap[:, None] * self.margin).tolist()

    @cached_property
    def _conflicts(self) -> dict[tuple[int, int], list[tuple[int, int]]]:
        out: dict[tuple[int, int], list[tuple[int, int]]] = {key: [] for key in self._lists}
        side = np.sign(self.margin) * self.decided
        pair, z, o = np.nonzero(side[:, :, None] * side[:, None, :] < 0)
        for w, p, a, b in zip(self.wording[pair].tolist(), pair.tolist(), z.tolist(), o.tolist(), strict=True):
            out[w, a].append((p, b))
        return out

    @cached_property
    def _lists(self) -> dict[tuple[int, int], list[int]]:
        return {
            (w, z): np.flatnonzero((self.wording == w) & self.decided[:, z]).tolist()
            for w in range(WORDINGS)
            for z in range(len(DIMENSIONS))
        }


@lru_cache(maxsize=256)
def candidates(slug: str, seed: int = 0) -> Candidates:
    """Return the pairs of a topic that may be compared.

    Both responses answer one wording, differ by at most six words, and state facts that differ in truth only as twins:
    otherwise the number or the subject of the facts would tell the true response from the false one.
    """
    pool = compose(slug, seed)
    level = levels(pool)
    words = np.array([r.words for r in pool])
    place = np.array([r.wording for r in pool])
    fact = np.array([r.fact for r in pool])
    first, second = np.triu_indices(len(pool), 1)
    margin = level[first] - level[second]
    gap = words[first] - words[second]
    twin = (margin[:, ACCURACY] == 0) | ((fact[first] == fact[second]) & (fact[first] >= 0))
    keep = (place[first] == place[second]) & (abs(gap) <= LONGEST_GAP) & twin & margin.any(axis=1)
    first, second, margin, gap = first[keep], second[keep], margin[keep], gap[keep]
    wording = place[first]
    counts = surface_counts([r.text for r in pool])  # in standard deviations over the topic
    scale = counts.std(axis=0)
    counts = np.divide(counts, scale, out=np.zeros_like(counts), where=scale > 0)
    counts = counts[first] - counts[second]
    rng = np.random.default_rng(generator("balance", seed, slug).getrandbits(64))
    decided = np.zeros(margin.shape, bool)
    for z, dimension in enumerate(DIMENSIONS):
        excess = np.zeros(counts.shape[1])
        for w in range(WORDINGS):
            here = rng.permutation(np.flatnonzero((wording == w) & (margin[:, z] != 0)))
            side = np.sign(margin[here, z])
            won = side[:, None] * counts[here] * not_meant(dimension)
            left, excess = balanced(won, side * np.sign(gap[here]), excess, KEPT)
            decided[here[left], z] = True
    return Candidates(np.stack([first, second], axis=1), wording, margin, gap, decided)


def balanced(won: np.ndarray, longer: np.ndarray, excess: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which pairs to keep so that winners and losers have like counts, (m,) positions, and the excess then.

    Pairs are left out one by one, always the one without which the summed excess is smallest, until `share` of them are
    left; the longer response then wins as many pairs as it loses.

    Args:
        won: (n, k) counts of the winner less those of the loser.
        longer: (n,) 1 where the longer response wins, -1 where the shorter does, 0 at equal lengths.
        excess: (k,) summed over the pairs kept before.
        share: of the pairs to keep, above 0; fewer only where lengths would not balance.
    """
    left = np.ones(len(won), bool)
    total = excess + won.sum(axis=0)
    while left.any():
        tilt = int(longer[left].sum())
        if tilt == 0 and left.sum() <= share * len(won):
            break
        may = np.flatnonzero(left & ((longer == np.sign(tilt)) if tilt else True))
        gone = may[((total - won[may]) ** 2).sum(axis=1).argmin()]
        left[gone] = False
        total = total - won[gone]
    return np.flatnonzero(left), total
