"""Surface counts of texts: what can be counted without reading, and which counts are themselves a dimension."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch

from micro_paper.convex import fit_bradley_terry
from micro_paper.errors import InputError

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
END = re.compile(r"[.!?]+[\"'”’)]*(?:\s+|$)")
LONG = 8  # letters of a long word, at least
PENALTY = 1e-3  # of the fit on all counts, standardised


def _all(words: str) -> frozenset[str]:
    return frozenset(words.split())


FUNCTION = _all(
    "a an the this that these those of to in on at by for from with without into onto over under up down out off as "
    "and or but nor so yet if than then while when where which who whom whose what how there here is are was were be "
    "been being am do does did has have had can could may might must shall should will would not no it its they them "
    "their he she him her his i you we me my your our us any all each every some"
)
ARTICLES = _all("a an the")
FIRST = _all("i me my mine myself we us our ours ourselves i'm i'd i'll i've we're we'd we'll we've")
SECOND = _all("you your yours yourself yourselves you're you'd you'll you've")
THIRD = _all("he she him her his hers himself herself he's she's he'd she'd he'll she'll")
HEDGES = _all(
    "about roughly nearly almost perhaps maybe probably possibly likely usually often sometimes may might could seem "
    "seems mostly mainly partly fairly rather quite somewhat around approximately generally largely"
)
NEGATIONS = _all("no not never none nothing nobody nor neither nowhere without cannot hardly")
NUMBERS = _all(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion half "
    "quarter third twice once double first second"
)
PAST = _all("was were had did went came took said saw made gave left kept told stood sat ran found fell")


@lru_cache(maxsize=64)
def _words(text: str) -> tuple[str, ...]:
    return tuple(w.lower().replace("’", "'") for w in WORD.findall(text))


def _sentences(text: str) -> list[str]:
    return [s for s in END.split(text) if WORD.search(s)] or [text]


def _rate(count: float, text: str) -> float:
    return 100 * count / max(len(_words(text)), 1)


def _marks(pattern: str) -> Callable[[str], float]:
    found = re.compile(pattern)
    return lambda text: _rate(len(found.findall(text)), text)


def _among(words: frozenset[str]) -> Callable[[str], float]:
    return lambda text: _rate(sum(w in words for w in _words(text)), text)


def _which(test: Callable[[str], bool]) -> Callable[[str], float]:
    return lambda text: _rate(sum(map(test, _words(text))), text)


def _negations(text: str) -> float:
    return _rate(sum(w in NEGATIONS or w.endswith("n't") for w in _words(text)), text)


def _capitals(text: str) -> float:
    """Capitals inside sentences, but for I."""
    inside = [w for s in _sentences(text) for w in WORD.findall(s)[1:]]
    return _rate(sum(w[0].isupper() and not re.match(r"I(?:$|['’])", w) for w in inside), text)


def _types(text: str) -> float:
    words = _words(text)
    return len(set(words)) / max(len(words), 1)


# Lengths, and means and shares as they are; everything else in each hundred words.
COUNTS: dict[str, Callable[[str], float]] = {
    "characters": lambda t: float(len(t)),
    "words": lambda t: float(len(_words(t))),
    "sentences": lambda t: float(len(_sentences(t))),
    "lines": lambda t: float(len([line for line in t.splitlines() if line.strip()])),
    "sentence length": lambda t: len(_words(t)) / len(_sentences(t)),
    "word length": lambda t: sum(map(len, _words(t))) / max(len(_words(t)), 1),
    "long words": _which(lambda w: len(w) >= LONG),
    "commas": _marks(","),
    "semicolons": _marks(";"),
    "colons": _marks(r":(?!\d)"),
    "dashes": _marks(r"[–—-]"),
    "question marks": _marks(r"\?"),
    "exclamation marks": _marks("!"),
    "digits": _marks(r"\d"),
    "quotation marks": _marks("[\"“”]|(?<!\\w)['‘]|['’](?!\\w)"),
    "brackets": _marks(r"[()\[\]]"),
    "contractions": _which(lambda w: "'" in w),
    "capitals inside": _capitals,
    "first person": _among(FIRST),
    "second person": _among(SECOND),
    "she and he": _among(THIRD),
    "past tense": _which(lambda w: w in PAST or (w.endswith("ed") and len(w) > 4)),
    "-ing": _which(lambda w: w.endswith("ing") and len(w) > 4),
    "hedges": _among(HEDGES),
    "negations": _negations,
    "number words": _among(NUMBERS),
    "articles": _among(ARTICLES),
    "function words": _among(FUNCTION),
    "types": _types,
}
NAMES = tuple(COUNTS)
# The counts that are a dimension or an attribute: it is told by them because it means them.
MEANT: dict[str, tuple[str, ...]] = {
    "clarity and conciseness": ("sentences", "sentence length"),
    "coherence": ("sentences", "sentence length"),  # follows clarity
    "complexity": ("word length", "long words", "characters"),
    "verbosity": ("characters", "words", "sentences", "lines", "types"),  # longer texts repeat more words
}


@lru_cache(maxsize=20_000)
def _counted(text: str) -> tuple[float, ...]:
    return tuple(count(text) for count in COUNTS.values())


def surface_counts(texts: Sequence[str]) -> np.ndarray:
    """Return the surface counts of texts, (n, len(NAMES)) float64, in the order of NAMES."""
    return np.array([_counted(text) for text in texts], dtype=float).reshape(len(texts), len(NAMES))


def not_meant(dimension: str) -> np.ndarray:
    """Return which counts must not tell a dimension or attribute, (len(NAMES),) bool."""
    return np.array([name not in MEANT.get(dimension, ()) for name in NAMES])


def by_one_count(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return how often each count by itself tells the chosen response on test pairs, (k,); equal counts are one half.

    Args:
        train: counts of the chosen response less those of the rejected one, (n, k); the sign of the mean says which
            side of a count is preferred.
        test: the same of other pairs, (m, k).

    Raises:
        InputError: no pairs.
    """
    _check(train, test)
    return (0.5 + 0.5 * np.sign(test) * np.sign(train.mean(axis=0))).mean(axis=0)


def by_all_counts(train: np.ndarray, test: np.ndarray) -> float:
    """Return how often a logistic regression on all counts together tells the chosen response; as `by_one_count`."""
    _check(train, test)
    scale = train.std(axis=0)
    used = scale > 0
    x, y = (torch.from_numpy(d[:, used] / scale[used]) for d in (train, test))
    weight = fit_bradley_terry(x[None], [PENALTY]).weight[0, 0]
    return float((0.5 + 0.5 * torch.sign(y @ weight)).mean())


def told_apart(counts: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Return how well each count tells member texts from others: the AUC or one less it, whichever is larger, (k,).

    Args:
        counts: (n, k).
        member: (n,) bool.

    Raises:
        InputError: no member, or nothing else.
    """
    inside, outside = counts[member], counts[~member]
    _check(inside, outside)
    auc = (0.5 + 0.5 * np.sign(inside[:, None] - outside[None])).mean(axis=(0, 1))
    return np.maximum(auc, 1 - auc)


def _check(one: np.ndarray, other: np.ndarray) -> None:
    if not len(one) or not len(other):
        raise InputError(f"surface counts need texts on both sides, got {len(one)} and {len(other)}")
