"""Transfer and the larger backbone: what their notebooks say about the claims C26, C27, C41 and C42."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pandas as pd

from micro_paper.claims.evidence import Entry, Part, collect, of_line
from micro_paper.errors import InputError
from micro_paper.experiments import evaluation
from micro_paper.experiments.evaluation import Evaluation
from micro_paper.metrics import MACRO


def ordering(rows: Sequence[str], found: Evaluation, method: str) -> Iterator[Part]:
    """Yield the average accuracy of the method less that of each row, paired."""
    gaps = evaluation.differences(found, method)
    average = gaps[gaps.attribute == MACRO].set_index("method", drop=False)
    for other in rows:
        if other not in average.index:
            raise InputError(f"{method} is compared with {other!r}, which was not evaluated on {found.world}")
        yield of_line(average.loc[other], f"{method} - {other}", evaluation.fits(found, method, other))


REWARDS = ("single", "static_learned", "static_uniform", "shared_base")
DEEPER = ("single", "static_learned", "armo")
ENTRIES = (
    Entry("C26", "trained on a large binary set: over each", ("binary",), "ordering", partial(ordering, REWARDS)),
    Entry("C27", "trained on a rated set: over each", ("rated",), "ordering", partial(ordering, REWARDS)),
    Entry("C41", "on a larger backbone: over each", ("rpr",), "ordering", partial(ordering, DEEPER)),
    Entry("C42", "on a larger backbone: over each", ("helpsteer",), "ordering", partial(ordering, DEEPER)),
)
TRAINING = {"binary": "preference-700K", "rated": "HelpSteer2"}  # the paper's, that such a source stands for


def training_sets(sources: Sequence[str], helpsteer_like: str) -> dict[str, str]:
    """Return source -> "rated" for the rated set, "binary" for the first other one; further ones are no evidence."""
    others = [name for name in sources if name != helpsteer_like]
    return dict.fromkeys(others[:1], "binary") | {name: "rated" for name in sources if name == helpsteer_like}


def evidence(results: Mapping[str, Evaluation]) -> pd.DataFrame:
    """Return the evidence on "MiCRo exceeds each row", for micro and micro_plus, on the average accuracy.

    Args:
        results: "binary" and "rated" (the training set of a transfer), or "rpr" and "helpsteer" (on a larger backbone)
            -> evaluation.

    Raises:
        InputError: a row to compare with was not evaluated.
    """
    return collect(ENTRIES, results)
