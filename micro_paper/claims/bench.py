"""RewardBench and audits of heads, notebooks 08 and 13: what they say about the claims C38 to C40 and C44."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pandas as pd

from micro_paper.claims.evidence import Entry, Part, collect, interval_of, of_line
from micro_paper.experiments.head_audit import TRAINED
from micro_paper.metrics import MACRO
from micro_paper.paper.verdicts import CONTROL


def _merged(table: pd.DataFrame, method: str) -> Iterator[Part]:
    """At the strictest threshold at which heads of the method merged, in the runs in which they did."""
    rows = table[(table["attribute"] == MACRO) & (table["runs_merged"] > 0) & (table["method"] == method)]
    strictest = rows.groupby("dataset")["threshold"].transform("max")
    for line in rows[rows["threshold"] == strictest].itertuples():
        text = f"merged above {line.threshold:g}, accuracy after - before"
        yield of_line(line, text, int(line.runs_merged))


def _masked(effects: pd.DataFrame, method: str) -> Iterator[Part]:
    """Heads as trained; nothing where no head was masked."""
    rows = effects[(effects["heads"] == TRAINED) & (effects["runs_masked"] > 0) & (effects["method"] == method)]
    for line in rows.itertuples():
        yield of_line(line, f"masked, {line.attribute}, accuracy after - before", int(line.runs_masked))


def _over_single(signs: dict[str, int], table: pd.DataFrame, method: str) -> Iterator[Part]:
    """Each section less the single heads', or with sign -1 the other way round."""
    for other, kind in (("single", ""), ("single_exact", CONTROL)):
        for line in table[(table["method"] == other) & (table["reference"] == method)].itertuples():
            if line.section not in signs:
                continue
            found, text = interval_of(line), f"average, {method} - {other}"
            if signs[line.section] < 0:
                found, text = found.times(-1), f"{line.section} falls, {other} - {method}"
            elif line.section != MACRO:
                text = f"{line.section} rises, {method} - {other}"
            yield Part(line.dataset, text, found, int(line.n_runs), kind=kind, reference=other)


SECTIONS = {"chat-hard": 1, "reasoning": 1, "chat": -1, "safety": -1}
SENTENCE = "chat-hard and reasoning rise, chat and safety fall"
OF_SECTIONS = (
    Entry("C39", "average over the single head", ("sections",), "ordering", partial(_over_single, {MACRO: 1})),
    Entry("C40", SENTENCE, ("sections",), "ordering", partial(_over_single, SECTIONS)),
)
OF_HEADS = (
    Entry("C38", "accuracy with heads that agree merged less before", ("merged",), "equivalence", _merged),
    Entry("C44", "accuracy with harmful heads masked less before", ("masked",), "equivalence", _masked),
)
ENTRIES = (*OF_SECTIONS, *OF_HEADS)


def sections_evidence(sections: pd.DataFrame) -> pd.DataFrame:
    """Return the evidence on C39 and C40.

    Args:
        sections: from `reward_bench.difference_table`.
    """
    return collect(OF_SECTIONS, {"sections": sections})


def heads_evidence(effects: pd.DataFrame, merged: pd.DataFrame) -> pd.DataFrame:
    """Return the evidence on C38 and C44.

    Args:
        effects: of masking, from `head_audit.safety_audit`.
        merged: from `head_audit.merging`.
    """
    return collect(OF_HEADS, {"masked": effects, "merged": merged})
