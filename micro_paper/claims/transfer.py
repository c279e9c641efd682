"""Transfer and the larger backbone: what their notebooks say about the claims C26, C27, C41 and C42."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from micro_paper.claims import protocol
from micro_paper.claims.evidence import Entry, Part, collect, interval_of, of_line
from micro_paper.errors import InputError
from micro_paper.experiments import evaluation
from micro_paper.experiments.evaluation import Evaluation
from micro_paper.metrics import MACRO
from micro_paper.paper.verdicts import CONTROL, SHOWN


@dataclass(frozen=True)
class Finding:
    """One evaluation, the plan, and what each row gains through deeper features."""

    evaluation: Evaluation
    plan: protocol.Protocol
    gain: pd.DataFrame


def _over(claim: str, of: Finding, method: str) -> Iterator[Part]:
    """Yield the average accuracy of the method less that of each reference and control, paired."""
    found, measure = of.evaluation, of.plan.measures[claim]
    gaps = evaluation.differences(found, method)
    average = gaps[gaps.attribute == MACRO].set_index("method", drop=False)
    for other, kind in [*((row, "") for row in measure.references), *((row, CONTROL) for row in measure.controls)]:
        if other not in average.index:
            if kind:
                continue  # without its control the claim cannot hold, which judging says
            raise InputError(f"{method} is compared with {other!r}, which was not evaluated on {found.world}")
        runs = evaluation.fits(found, method, other)
        yield of_line(average.loc[other], f"{method} - {other}", runs, kind=kind, reference=other)
    for line in of.gain[(of.gain["method"] == method) & (of.gain["attribute"] == MACRO)].itertuples():
        text = f"{method} through the deeper features less itself through the others"
        yield Part(found.world, text, interval_of(line), evaluation.fits(found, method), kind=SHOWN)


def _entry(claim: str, compared: str, on: str) -> Entry:
    return Entry(claim, compared, (on,), "ordering", partial(_over, claim))


ENTRIES = (
    _entry("C26", "trained on a large binary set: over each", "binary"),
    _entry("C27", "trained on a rated set: over each", "rated"),
    _entry("C41", "on a larger backbone: over each", "rpr"),
    _entry("C42", "on a larger backbone: over each", "helpsteer"),
)
TRAINING = {"binary": "preference-700K", "rated": "HelpSteer2"}  # the paper's, that such a source stands for


def training_sets(sources: Sequence[str], helpsteer_like: str) -> dict[str, str]:
    """Return source -> "rated" for the rated set, "binary" for the first other one; further ones are no evidence."""
    others = [name for name in sources if name != helpsteer_like]
    return dict.fromkeys(others[:1], "binary") | {name: "rated" for name in sources if name == helpsteer_like}


def evidence(results: Mapping[str, Evaluation], *, gains: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the evidence on "MiCRo exceeds each row", for micro and micro_plus, on the average accuracy.

    Args:
        results: "binary" and "rated" (the training set of a transfer), or "rpr" and "helpsteer" (on a larger backbone)
            -> evaluation.
        gains: what each row gains through the deeper features (the cells of `evaluation.gap` beside dataset, method and
            attribute), shown beside; `dataset` may have its table behind it, in brackets.

    Raises:
        InputError: a row to compare with was not evaluated.
    """
    plan, found = protocol.read(), {}
    if gains is None:
        gains = pd.DataFrame(columns=["dataset", "method", "attribute"])
    for name, result in results.items():
        own = gains[gains["dataset"].str.partition(" (")[0] == result.world] if len(gains) else gains
        found[name] = Finding(result, plan, own)
    return collect(ENTRIES, found)
