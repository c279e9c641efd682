"""The bundled corpus: fragments written for this project, composed into responses whose levels are known.

Labels are constructed from those levels, not given by people. CARD.md beside this file is its data card.
"""

from micro_paper.data.corpus.compose import compose, levels
from micro_paper.data.corpus.ratings import RATERS, rater_ratings
from micro_paper.data.corpus.text import DIMENSIONS, SEALED, cues, phrasings, prompt_cues, topics
from micro_paper.data.corpus.worlds import rpr_rows, topic_tastes

__all__ = [
    "DIMENSIONS",
    "RATERS",
    "SEALED",
    "compose",
    "cues",
    "levels",
    "phrasings",
    "prompt_cues",
    "rater_ratings",
    "rpr_rows",
    "topic_tastes",
    "topics",
]
