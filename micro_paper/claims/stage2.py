"""Stage 2: what its notebook says about the claims C19 to C25, C28 and C45."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd

from micro_paper.claims.evidence import Entry, Part, collect, of_line
from micro_paper.experiments.evaluation import Evaluation, differences
from micro_paper.experiments.main_tables import CONVERGED
from micro_paper.intervals import Interval
from micro_paper.metrics import MACRO


@dataclass(frozen=True)
class Finding:
    """Table 2 or 3.

    Attributes:
        evaluation: from `main_tables.evaluate_rows`.
        gaps: method -> `evaluation.differences` of that method to every row.
        rest: from `main_tables.on_rest`.
    """

    evaluation: Evaluation
    gaps: Mapping[str, pd.DataFrame]
    rest: pd.DataFrame

    @property
    def n_runs(self) -> int:
        """Runs of the row `micro`: columns, times the folds that test on pairs of their own."""
        folds = self.evaluation.pairs["fold"].nunique()
        return self.evaluation.probability["micro"].shape[1] * folds


def _over(rows: tuple[str, ...], of: Finding, method: str, attributes: tuple[str, ...] = (MACRO,)) -> Iterator[Part]:
    """Less each of the rows; micro_plus is compared with the converged ones, where there are such."""
    gaps = of.gaps[method]
    for attribute in attributes:
        for row in rows:
            other = CONVERGED.get(row, row) if method == "micro_plus" else row
            line = gaps[(gaps.method == other) & (gaps.attribute == attribute)]
            if attribute == MACRO or len(line):
                named = "" if attribute == MACRO else f", {attribute}"
                yield of_line(line.iloc[0], f"{method} less {other}{named}", of.n_runs)


def _on_rest(row: str, of: Finding, method: str) -> Iterator[Part]:
    row = row or method
    line = of.rest[(of.rest.method == row) & (of.rest.attribute == MACRO)].iloc[0]
    interval = Interval(line.difference, line.difference_low, line.difference_high, int(line.n_prompts))
    text = f"{row} less hyre, on the pairs that HyRe has no label of"
    yield Part(of.evaluation.world, text, interval, int(line.n_runs))


ROWS = ("single", "shared_base", "static_uniform", "static_learned")
SHARED = ("helpfulness", "correctness", "coherence")  # attributes of C20, where the data have them
HELPSTEER, RPR = ("helpsteer",), ("rpr",)
ENTRIES = (
    Entry("C19", "average over each baseline", HELPSTEER, "ordering", partial(_over, ROWS)),
    Entry("C20", "three attributes over single", HELPSTEER, "ordering", partial(_over, ("single",), attributes=SHARED)),
    Entry("C21", "average over each baseline", RPR, "ordering", partial(_over, ROWS)),
    Entry("C22", "average against ARMO", RPR, "equivalence", partial(_over, ("armo",))),
    Entry("C23", "average over ARMO", HELPSTEER, "ordering", partial(_over, ("armo",))),
    Entry("C24", "HyRe on our heads over HyRe", HELPSTEER, "ordering", partial(_on_rest, "micro_hyre"), ("any",)),
    Entry("C25", "HyRe on our heads over HyRe", RPR, "ordering", partial(_on_rest, "micro_hyre"), ("any",)),
    Entry("C28", "the routed row over HyRe", RPR, "ordering", partial(_on_rest, "")),
    Entry("C45", "over the few-shot control", HELPSTEER + RPR, "ordering", partial(_over, ("criterion_fewshot",))),
)


def evidence(
    evaluations: Mapping[str, Evaluation],
    gaps: Mapping[str, pd.DataFrame],
    rest: Mapping[str, pd.DataFrame],
    *,
    seed: int,
    n_bootstrap: int,
) -> pd.DataFrame:
    """Return the evidence of tables 2 and 3 on the claims C19 to C25, C28 and C45.

    Args:
        evaluations, gaps, rest: "helpsteer" and "rpr" -> from `evaluate_rows`, `differences` (reference micro) and
            `on_rest`; a control world is no evidence.
    """
    found = {}
    for like in ("helpsteer", "rpr"):
        plus = differences(evaluations[like], "micro_plus", seed=seed, n_bootstrap=n_bootstrap)
        found[like] = Finding(evaluations[like], {"micro": gaps[like], "micro_plus": plus}, rest[like])
    return collect(ENTRIES, found)
