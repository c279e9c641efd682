"""Stage 2: what its notebook says about the claims C19 to C25, C28 and C45."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from micro_paper.claims import evidence
from micro_paper.experiments.evaluation import Evaluation, differences
from micro_paper.experiments.main_tables import TUNED
from micro_paper.intervals import Interval
from micro_paper.metrics import MACRO


def claims(
    evaluations: Mapping[str, Evaluation],
    gaps: Mapping[str, pd.DataFrame],
    rest: Mapping[str, pd.DataFrame],
    *,
    seed: int,
    n_bootstrap: int,
) -> pd.DataFrame:
    """Return the evidence of tables 2 and 3 on the claims C19 to C25, C28 and C45.

    `micro` is compared with the baselines as set, `micro_plus` with those that had the same search budget where there
    are such.

    Args:
        evaluations, gaps, rest: "helpsteer" and "rpr" -> from `evaluate_rows`, `differences` (reference micro) and
            `on_rest`; other keys are not read.
    """
    ours = {"micro": gaps} | {
        "micro_plus": {
            like: differences(e, "micro_plus", seed=seed, n_bootstrap=n_bootstrap) for like, e in evaluations.items()
        }
    }
    rows: list[dict[str, Any]] = []
    for method, found in ours.items():
        against = TUNED if method == "micro_plus" else {}
        for claim, like in (("C19", "helpsteer"), ("C21", "rpr")):
            for other in ("single", "shared_base", "static_uniform", "static_learned"):
                rows.append(_ordering(claim, method, found[like], against.get(other, other), evaluations[like]))
        for name in ("helpfulness", "correctness", "coherence"):
            line = _line(found["helpsteer"], single := against.get("single", "single"), name)
            if line is not None:
                rows.append(_row("C20", method, line, f"{method} less {single}, {name}", evaluations["helpsteer"]))
        armo, few_shot = (against.get(name, name) for name in ("armo", "criterion_fewshot"))
        rows.append(_ordering("C22", method, found["rpr"], armo, evaluations["rpr"], kind="equivalence"))
        rows.append(_ordering("C23", method, found["helpsteer"], armo, evaluations["helpsteer"]))
        for like in ("helpsteer", "rpr"):  # a control world is no evidence
            rows.append(_ordering("C45", method, found[like], few_shot, evaluations[like]))
        rows.append(_on_rest("C28", method, rest["rpr"], method, evaluations["rpr"]))
    for claim, like in (("C24", "helpsteer"), ("C25", "rpr")):
        rows.append(_on_rest(claim, "any", rest[like], "micro_hyre", evaluations[like]))
    return evidence.frame(rows)


def _line(gaps: pd.DataFrame, other: str, attribute: str) -> Any | None:
    found = gaps[(gaps.method == other) & (gaps.attribute == attribute)]
    return None if found.empty else found.iloc[0]


def _runs(evaluation: Evaluation, method: str) -> int:
    shared = evaluation.pairs["fold"].nunique() == 1
    return evaluation.probability[method].shape[1] * (1 if shared else evaluation.pairs["fold"].nunique())


def _row(claim: str, method: str, line: Any, part: str, evaluation: Evaluation, kind: str = "ordering") -> dict:
    runs = _runs(evaluation, "micro")
    return evidence.of_difference(claim, method, line, part, n_runs=runs, kind=kind)


def _ordering(
    claim: str, method: str, gaps: pd.DataFrame, other: str, evaluation: Evaluation, kind: str = "ordering"
) -> dict:
    return _row(claim, method, _line(gaps, other, MACRO), f"{method} less {other}", evaluation, kind)


def _on_rest(claim: str, method: str, table: pd.DataFrame, row: str, evaluation: Evaluation) -> dict:
    line = table[(table.method == row) & (table.attribute == MACRO)].iloc[0]
    interval = Interval(line.difference, line.difference_low, line.difference_high, int(line.n_prompts))
    part = f"{row} less hyre, on the pairs that HyRe has no label of"
    return evidence.row(claim, method, evaluation.world, part, "ordering", interval, n_runs=int(line.n_runs))
