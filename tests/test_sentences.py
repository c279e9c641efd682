"""Sentences of a read-off hold the numbers of their tables."""

import pandas as pd

from micro_paper.report import sentences

COLUMNS = ["dataset", "method", "metric", "attribute", "value", "low", "high"]
SCORES = pd.DataFrame(
    [
        ["one", "micro", "accuracy", "average", 0.71, 0.6, 0.8],
        ["one", "micro", "accuracy", "humor", 0.1, 0.1, 0.1],
        ["one", "micro", "nll", "average", 0.2, 0.2, 0.2],
        ["one", "single", "accuracy", "average", 0.5, 0.4, 0.65],
        ["two", "single", "accuracy", "average", 0.9, 0.8, 1.0],
    ],
    columns=COLUMNS,
)


def test_what_rows_reach_is_their_average_accuracy():
    assert sentences.reached(SCORES, {"single": "one reward", "micro": "MiCRo", "lore": "LoRe"}).splitlines() == [
        "- Accuracy on unseen prompts of one: one reward 0.500 [0.400, 0.650], MiCRo 0.710 [0.600, 0.800].",
        "- Accuracy on unseen prompts of two: one reward 0.900 [0.800, 1.000].",
    ]
