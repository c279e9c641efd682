"""What the columns of the theory tables mean, with their units."""

from __future__ import annotations

import pandas as pd

MEANINGS = {
    "term": "what is paid; cross_entropy is the sum of the others",
    "nats": "average over prompts and pairs, nats",
    "pairing": "how the two responses are drawn",
    "quantity": "bound or true value",
    "case": "population",
    "removed_by": "what removes the part",
    "variable": "what varies",
    "value": "its value",
    "mean": "mean over draws (nats; accuracy and entropies: 0 to 1)",
    "low": "lower end of the 95 % interval",
    "high": "upper end of the 95 % interval",
    "repeats": "draws",
    "model": "model",
    "pairs": "number of pairs",
    "metric": "nll (nats) or accuracy",
    "tie_breaker": "what there is to tell the heads apart",
    "zero_head": "NLL a pair of one zero head, nats",
    "opposed_heads": "NLL a pair of two opposed heads, nats",
    "gain": "zero_head - opposed_heads, nats",
    "dataset": "data set",
    "grouping": "stated answers that make the groups",
    "kind": "stated groups, or the same groups dealt at random",
    "people": "number of people",
    "groups": "number of groups",
    "classes": "number of latent classes",
    "nll": "NLL of the second half of held-out people's choices, nats",
    "accuracy": "accuracy on the same",
    "nll_difference": "NLL less that of one model for all, nats",
    "accuracy_difference": "accuracy less that of one model for all",
    "adjusted_rand": "adjusted Rand index of classes and stated groups (0 = chance, 1 = the same)",
    "chance": "its 97.5 % point when the stated groups are shuffled",
    "scale": "nats of reward a rating point",
    "sequence": "how the losses come",
    "rounds": "T",
    "learner": "who plays",
    "bound": "sqrt(T ln K / 2)",
    "tau": "temperature of Eq. 5, nats",
}
for _metric in ("nll", "accuracy"):
    MEANINGS |= {
        f"{_metric}_pooled": f"{_metric} of one model for all",
        f"{_metric}_grouped": f"{_metric} of a model a group",
        f"{_metric}_low": f"lower end of the 95 % interval of {_metric}_difference, over people",
        f"{_metric}_high": "upper end",
    }


def meanings(frame: pd.DataFrame) -> dict[str, str]:
    """Return the meaning of every column of a theory table; a KeyError names a column that has none."""
    return {column: MEANINGS[column] for column in frame.columns}
