"""Given with the assignment `own_data`: example judgements, the splits of a file of judgements, and intervals."""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd

from micro_paper import data
from micro_paper.intervals import Sample


def write_example(path="example.jsonl"):
    """Write 180 made-up judgements of 60 prompts, by two attributes, as JSON lines; return the path."""
    draw = random.Random(0)
    verbs, things = ["clean", "repair", "paint", "store", "sell", "ship"], ["a pan", "a bike", "a door", "a lamp"]
    times = ["in an hour", "without tools", "on a rainy day"]
    prompts = [f"How do I {v} {t} {w}?" for v in verbs for t in things for w in times][:60]
    steps = [
        "Read the label.",
        "Take your time.",
        "Start at the top.",
        "Dry it well.",
        "Ask a neighbour.",
        "Use a cloth.",
    ]
    warm = ["You can do it!", "Great question.", "I am happy to help."]
    rows = []
    for prompt in prompts:
        for _ in range(3):
            texts = []
            for _ in range(2):
                parts = draw.sample(steps, draw.randint(1, 4)) + draw.sample(warm, draw.randint(0, 1))
                texts.append(" ".join(draw.sample(parts, len(parts))))
            kind = [sum(w in t for w in warm) for t in texts]
            attribute = "friendly" if kind[0] != kind[1] and draw.random() < 0.7 else "brief"
            best = kind[1] > kind[0] if attribute == "friendly" else len(texts[1]) < len(texts[0])
            best = best != (draw.random() < 0.1)  # judges err
            if texts[0] != texts[1]:
                chosen, rejected = texts[best], texts[not best]
                rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, "attribute": attribute})
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def splits(path):
    """Return the pairs of a JSON-lines file as data frames, by split: train, validation, test."""
    return {split: data.load(f"jsonl:{path}", split).to_pandas() for split in data.SPLITS}


def answer(history, name):
    """Return the function `name`, from the last cell that was run and defines it, run by itself with the names above.

    Args:
        history: the cells run so far (`In`), the test cell last.
    """
    cell = next((c for c in reversed(history[:-1]) if f"def {name}(" in c), None)
    assert cell is not None, f"no cell that was run defines {name}: keep its line `def {name}(...)` and run the cell"
    given = {
        "Path": Path,
        "json": json,
        "np": np,
        "pd": pd,
        "Sample": Sample,
    }
    space = given | {"splits": splits, "write_example": write_example, "__name__": "__main__"}
    exec(compile(cell, "<your cell>", "exec"), space)
    return space[name]
