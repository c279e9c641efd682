"""Stage 1: what its notebook says about the claims C07 to C18."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from micro_paper import intervals, metrics
from micro_paper.claims import protocol
from micro_paper.claims.evidence import Entry, Part, collect
from micro_paper.experiments.evaluation import SELECTIONS, Evaluation, best_head_values, fits, sample
from micro_paper.intervals import Interval
from micro_paper.paper import values as paper_values
from micro_paper.paper.verdicts import CONTROL, READABLE

PAPER_NAME = {"rpr": "RPR", "helpsteer": "HelpSteer2"}
SHARE = 0.05  # of log K, that the router's information must exceed the shuffled router's by


@dataclass(frozen=True)
class Finding:
    """Stage 1 on one data set.

    Attributes:
        like: "helpsteer", "rpr" or "stage1".
        evaluation: with the heads of `router_use.HEADS` kept.
        cue: accuracy less chance of a probe that reads the prompt's cue on training data; None where none was fitted.
        plan: which rows are compared.
    """

    like: str
    evaluation: Evaluation
    cue: Interval | None
    plan: protocol.Protocol

    def part(self, text: str, interval: Interval, *rows: str, **more) -> Part:
        """Return a part with the fewest runs of the rows."""
        return Part(self.evaluation.world, text, interval, fits(self.evaluation, *rows), **more)

    def difference(self, a: np.ndarray, b: np.ndarray, only: str = "") -> Interval:
        """Return the paired difference of two correctnesses, (n, runs), on one attribute or the mean over all."""
        return sample(self.evaluation.pairs).difference(a, b, only or None)

    def printed(self, quantity: str, against: str = "") -> float:
        """Return the paper's number for this data set."""
        table = paper_values.scalars()
        found = table[(table.quantity == quantity) & (table.dataset == PAPER_NAME[self.like])]
        return float((found[found.against == against] if against else found).printed.iloc[0])

    def best(self, row: str, selection: str) -> np.ndarray:
        """Return correctness, (n, runs), of the row's best heads; that of a row without heads is its own."""
        if row in self.evaluation.heads:
            return best_head_values(self.evaluation, row, selection)
        return _correct(self.evaluation, row)

    def has(self, row: str) -> bool:
        """Return whether the row was evaluated."""
        return row in self.evaluation.probability


def _correct(found: Evaluation, method: str) -> np.ndarray:
    return metrics.correct_by_run(found.probability[method])


def _over_static(of: Finding, method: str) -> Iterator[Part]:
    measure, found = of.plan.measures["C07"], of.evaluation
    own = measure.row(method)
    for other in measure.references:
        gap = of.difference(_correct(found, own), _correct(found, other))
        yield of.part(f"{method} (stage 1) less {other}", gap, own, other, reference=other)
    if of.cue is not None:
        text = "a probe of the prompt's cue on training data, accuracy less chance"
        yield of.part(text, of.cue, own, kind=READABLE)


def _own_head(of: Finding, method: str) -> Iterator[Part]:
    measure, validation = of.plan.measures["C08"], SELECTIONS[1]
    own = measure.row(method)
    ours = of.best(own, validation)
    one = best_head_values(of.evaluation, own, validation, one_for_all=True)
    text = "head of each attribute less one head for all, both chosen on validation"
    yield of.part(text, of.difference(ours, one), own, reference=protocol.ITSELF)
    others = [(row, "") for row in measure.references if row != protocol.ITSELF]
    for other, kind in [*others, *((row, CONTROL) for row in measure.controls)]:
        if of.has(other):
            text = f"head of each attribute, chosen on validation, less {other}"
            yield of.part(text, of.difference(ours, of.best(other, validation)), own, other, reference=other, kind=kind)


def _every_attribute(of: Finding, method: str) -> Iterator[Part]:
    measure, found, test = of.plan.measures["C09"], of.evaluation, SELECTIONS[0]
    own = measure.row(method)
    ours = of.best(own, test)
    others = [(row, "") for row in measure.references] + [(row, CONTROL) for row in measure.controls]
    for other, kind in others:
        if not of.has(other):
            continue
        theirs = of.best(other, test)
        for attribute in sorted(found.pairs["attribute"].unique()):
            gap = of.difference(ours, theirs, only=attribute)
            text = f"best heads less {other}'s, {attribute}"
            yield of.part(text, gap, own, other, reference=other, attribute=attribute, kind=kind)


def _average(of: Finding, method: str) -> Iterator[Part]:
    own = of.plan.measures["C10"].row(method)
    interval = sample(of.evaluation.pairs).mean(of.best(own, SELECTIONS[0]))
    text = "average of the best heads, chosen on test"
    yield of.part(text, interval, own, printed=of.printed("best_average"))


def _gain(claim: str, against: str, of: Finding, method: str) -> Iterator[Part]:
    """The relative gain; its interval is that of the difference, divided by the baseline's accuracy."""
    measure = of.plan.measures[claim]
    own, other = measure.row(method), measure.references[0]
    ours, theirs = (of.best(row, SELECTIONS[0]) for row in (own, other))
    gap = of.difference(ours, theirs)
    interval = gap.times(1 / sample(of.evaluation.pairs).mean(theirs).estimate)
    text = f"best heads over {other}'s, both chosen on test, as a share of the latter"
    yield of.part(text, interval, own, other, printed=of.printed("gain", against) / 100)


def _information(table: pd.DataFrame, method: str) -> Iterator[Part]:
    """Mean KL of the weights to their mean, which is their information about the prompt, above both chance and margin.

    A fold is what varies independently: seeds of one fold share their prompts, so they are averaged first.
    """
    wide = table.pivot(index=["dataset", "fold", "seed"], columns="method", values="information")
    gap = wide["micro_stage1"] - wide["shuffled_router"] - SHARE * np.log(table["n_heads"].iloc[0])
    by_fold = gap.groupby(level="fold").mean().to_numpy()
    text = f"mean KL of the router's weights to their mean, less the shuffled router's, less {SHARE:g} log K, nats"
    if len(by_fold) > 1:  # one fold gives no interval
        found = intervals.t_interval(by_fold)
        yield Part(str(table.dataset.iloc[0]), text, found, len(gap))


def _gains(claim: str, on: str, against: str) -> Entry:
    sentence = f"best heads over the row {against}, relative gain, chosen on test as in the paper"
    return Entry(claim, sentence, (on,), "value", partial(_gain, claim, against))


LIKES = ("rpr", "helpsteer")
ENTRIES = (
    Entry("C07", "accuracy of stage 1 over static weights", (*LIKES, "stage1"), "ordering", _over_static),
    Entry("C08", "the attribute's own head over one for all and over random heads'", LIKES, "ordering", _own_head),
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


def evidence(
    evaluations: Mapping[str, Evaluation], information: pd.DataFrame, cues: Mapping[str, Interval | None] | None = None
) -> pd.DataFrame:
    """Return the evidence on C07 to C18.

    Args:
        evaluations: "helpsteer", "rpr" and, where it is neither of these, "stage1" -> stage-1 evaluation with the heads
            of `router_use.HEADS` kept; "control" is no evidence: nothing can be found there by design.
        information: from `router_use.router_information`, on all folds.
        cues: the same names -> from `router_use.cue_probe`; C07 cannot be told where it is lacking.
    """
    plan, cues = protocol.read(), cues or {}
    found = {like: Finding(like, e, cues.get(like), plan) for like, e in evaluations.items()}
    return collect(ENTRIES, found | {"use": information})
