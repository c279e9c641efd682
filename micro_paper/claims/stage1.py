"""Stage 1: what its notebook says about the claims C07 to C18."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from micro_paper import intervals, metrics
from micro_paper.claims.evidence import Entry, Part, collect
from micro_paper.experiments.evaluation import SELECTIONS, Evaluation, best_head_values, fits, sample
from micro_paper.intervals import Interval
from micro_paper.paper import values as paper_values

BASELINES = {"Single": "single", "Shared-Base": "shared_base", "Static": "static_uniform"}
STAGE1 = {"micro": "micro_stage1", "micro_plus": "micro_plus"}
PAPER_NAME = {"rpr": "RPR", "helpsteer": "HelpSteer2"}


@dataclass(frozen=True)
class Finding:
    """Stage 1 on one data set.

    Attributes:
        like: "helpsteer", "rpr" or "stage1".
        evaluation: with the heads of `router_use.HEADS` kept.
    """

    like: str
    evaluation: Evaluation

    def part(self, text: str, interval: Interval, *rows: str, printed: float = np.nan) -> Part:
        """Return a part with the fewest runs of the rows."""
        found = self.evaluation
        return Part(found.world, text, interval, fits(found, *rows), printed=printed)

    def difference(self, a: np.ndarray, b: np.ndarray, only: str = "") -> Interval:
        """Return the paired difference of two correctnesses, (n, runs), on one attribute or the mean over all."""
        return sample(self.evaluation.pairs).difference(a, b, only or None)

    def printed(self, quantity: str, against: str = "") -> float:
        """Return the paper's number for this data set."""
        table = paper_values.scalars()
        found = table[(table.quantity == quantity) & (table.dataset == PAPER_NAME[self.like])]
        return float((found[found.against == against] if against else found).printed.iloc[0])


def _correct(found: Evaluation, method: str) -> np.ndarray:
    return metrics.correct_by_run(found.probability[method])


def _over_static(of: Finding, method: str) -> Iterator[Part]:
    stage1, found = STAGE1[method], of.evaluation
    for other in ("static_uniform", "static_learned"):
        gap = of.difference(_correct(found, stage1), _correct(found, other))
        yield of.part(f"{method} (stage 1) less {other}", gap, stage1, other)


def _own_head(of: Finding, method: str) -> Iterator[Part]:
    stage1 = STAGE1[method]
    chosen = [best_head_values(of.evaluation, stage1, SELECTIONS[1], one_for_all=one) for one in (False, True)]
    text = "head of each attribute less one head for all, both chosen on validation"
    yield of.part(text, of.difference(*chosen), stage1)


def _every_attribute(of: Finding, method: str) -> Iterator[Part]:
    stage1, found = STAGE1[method], of.evaluation
    ours = best_head_values(found, stage1, SELECTIONS[0])
    for other in BASELINES.values():
        theirs = best_head_values(found, other, SELECTIONS[0])
        for attribute in sorted(found.pairs["attribute"].unique()):
            gap = of.difference(ours, theirs, only=attribute)
            yield of.part(f"best heads less {other}'s, {attribute}", gap, stage1, other)


def _average(of: Finding, method: str) -> Iterator[Part]:
    stage1 = STAGE1[method]
    values = best_head_values(of.evaluation, stage1, SELECTIONS[0])
    interval = sample(of.evaluation.pairs).mean(values)
    text = "average of the best heads, chosen on test"
    yield of.part(text, interval, stage1, printed=of.printed("best_average"))


def _gain(against: str, of: Finding, method: str) -> Iterator[Part]:
    """The relative gain; its interval is that of the difference, divided by the baseline's accuracy."""
    stage1, other = STAGE1[method], BASELINES[against]
    ours, theirs = (best_head_values(of.evaluation, m, SELECTIONS[0]) for m in (stage1, other))
    gap = of.difference(ours, theirs)
    interval = gap.times(1 / sample(of.evaluation.pairs).mean(theirs).estimate)
    text = f"best heads over {other}'s, both chosen on test, as a share of the latter"
    yield of.part(text, interval, stage1, other, printed=of.printed("gain", against) / 100)


def _information(table: pd.DataFrame, method: str) -> Iterator[Part]:
    wide = table.pivot(index=["dataset", "fold", "seed"], columns="method", values="information")
    gap = (wide["micro_stage1"] - wide["shuffled_router"]).to_numpy()
    text = "information of the stage-1 weights about the prompt less the shuffled router's, nats"
    yield Part(str(table.dataset.iloc[0]), text, intervals.t_interval(gap), len(gap))


def _gains(claim: str, on: str, against: str) -> Entry:
    sentence = f"best heads over those of the row {BASELINES[against]}, relative gain, chosen on test as in the paper"
    return Entry(claim, sentence, (on,), "value", partial(_gain, against))


LIKES = ("rpr", "helpsteer")
ENTRIES = (
    Entry("C07", "accuracy of stage 1 over static weights", (*LIKES, "stage1"), "ordering", _over_static),
    Entry("C08", "the attribute's own head over one head for all, by validation", LIKES, "ordering", _own_head),
    Entry("C09", "best heads over the baselines' on every attribute, by test", LIKES, "ordering", _every_attribute),
    Entry("C10", "average of the best heads, by test", ("rpr",), "value", _average),
    Entry("C11", "average of the best heads, by test", ("helpsteer",), "value", _average),
    _gains("C12", "rpr", "Single"),
    _gains("C13", "helpsteer", "Single"),
    _gains("C14", "rpr", "Shared-Base"),
    _gains("C15", "helpsteer", "Shared-Base"),
    _gains("C16", "rpr", "Static"),
    _gains("C17", "helpsteer", "Static"),
    Entry("C18", "the router's information over the shuffled router's", ("use",), "ordering", _information, ("any",)),
)


def evidence(evaluations: Mapping[str, Evaluation], information: pd.DataFrame) -> pd.DataFrame:
    """Return the evidence on C07 to C18.

    Args:
        evaluations: "helpsteer", "rpr" and, where it is neither of these, "stage1" -> stage-1 evaluation with the heads
            of `router_use.HEADS` kept; "control" is no evidence: nothing can be found there by design.
        information: from `router_use.router_information`.
    """
    found = {like: Finding(like, e) for like, e in evaluations.items()}
    return collect(ENTRIES, found | {"use": information})
