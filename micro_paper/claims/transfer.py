"""Transfer and the larger backbone: what their notebooks say about the claims C26, C27, C41 and C42."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from micro_paper.claims import evidence
from micro_paper.errors import InputError
from micro_paper.experiments import evaluation
from micro_paper.experiments.evaluation import Evaluation
from micro_paper.metrics import MACRO


def ordering(
    claim: str, result: Evaluation, over: Sequence[str], *, seed: int = 0, n_bootstrap: int = 10_000
) -> list[dict[str, Any]]:
    """Return the evidence on "MiCRo exceeds each row of `over`", for micro and micro_plus, on the average accuracy."""
    rows = []
    for method in ("micro", "micro_plus"):
        gaps = evaluation.differences(result, method, seed=seed, n_bootstrap=n_bootstrap)
        average = gaps[gaps.attribute == MACRO].set_index("method", drop=False)
        for other in over:
            if other not in average.index:
                raise InputError(f"{claim} compares with {other!r}, which was not evaluated on {result.world}")
            line, runs = average.loc[other], len(result.chosen[method])
            rows.append(evidence.of_difference(claim, method, line, f"{method} - {other}", n_runs=runs))
    return rows


def claims_of(sources: Sequence[str], helpsteer_like: str) -> dict[str, tuple[str, str]]:
    """Return source -> (claim, the paper's training set): C27 for the rated set, C26 for the first other one."""
    others = [name for name in sources if name != helpsteer_like]
    found = {name: ("C26", "preference-700K") for name in others[:1]}
    return found | {name: ("C27", "HelpSteer2") for name in sources if name == helpsteer_like}
