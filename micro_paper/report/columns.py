"""What every column of a table means: the one glossary."""

from __future__ import annotations

import pandas as pd

COLUMNS = {
    "dataset": "data set of the test pairs",
    "method": "row name in METHODS",
    "supervision": "what the method sees beyond the texts",
    "attribute": "attribute of the pair; average = mean of the attribute rows",
    "metric": "accuracy (share, ties one half), nll (nats) or ece (share)",
    "value": "the metric, mean over runs",
    "low": "lower end of the 95 % bootstrap interval over prompts",
    "high": "upper end of the 95 % bootstrap interval over prompts",
    "std": "standard deviation over seeds",
    "n_pairs": "test pairs",
    "n_prompts": "test prompts (bootstrap groups)",
    "n_runs": "seeds a fold",
    "n_heads": "number of heads K",
    "selection": "which pairs chose the head: test (oracle) or validation",
    "head": "number of the head, matched over runs to the first run",
    "stability": "mean correlation of the head's margins with its partners in the other runs",
    "reference": "the method whose accuracy stands first in the difference",
    "difference": "accuracy of the reference less that of the method, paired",
    "p_value": "two-sided bootstrap p of the difference",
    "p_holm": "p adjusted over the attributes of one method (Holm)",
    "budget": "context-labelled pairs an attribute; 0 = stage 1 alone",
    "run": "number of the run (its seed and fold)",
    "ours": "average accuracy, ours",
    "paper": "average accuracy that the paper prints for that row (its own data and backbone)",
    "micro_minus_row": "average accuracy of micro less that of the row, paired",
    "minus_low": "lower end of its 95 % interval over prompts",
    "minus_high": "upper end of its 95 % interval over prompts",
    "paper_minus_row": "the same difference from the paper's printed averages",
    "verdict": "does 'MiCRo exceeds this row' hold here: holds, does not, cannot tell",
    "prompt": "number of the prompt in the figure",
    "weight": "stage-1 router weight of the head",
}


def meanings(frame: pd.DataFrame, **own: str) -> dict[str, str]:
    """Return the meaning of each column of `frame`, for `Artifacts.table`; `own` adds or replaces some."""
    known = COLUMNS | own
    return {column: known[column] for column in frame.columns}
