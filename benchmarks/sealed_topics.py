"""The ten sealed topics of the bundled corpus, evaluated once, after corpus and code were frozen.

    python benchmarks/sealed_topics.py

Trains on the other topics (five rotations of the validation topics, five seeds) and tests on the sealed ones. It
refuses to overwrite `benchmarks/sealed_topics/`: a second look would make the sealed topics test data like any other.
Not part of `make reproduce`.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd

from micro_paper import data
from micro_paper.experiments import evaluation, router_use
from micro_paper.experiments.worlds import World, with_ratings
from micro_paper.features.extract import extract, pool_store
from micro_paper.features.settings import FeatureSettings
from micro_paper.files import write_atomic
from micro_paper.methods.settings import Settings
from micro_paper.paths import project_root
from micro_paper.report import columns, formatting
from micro_paper.workflow.parameters import read_profile
from micro_paper.workflow.pipeline import features_root

STAGE2 = {"bundled-helpsteer": "helpsteer", "bundled-rpr": "rpr", "bundled-rpr-balanced": "rpr"}
STAGE1 = {"bundled-audience": "helpsteer", "bundled-topics": "helpsteer"}
ROWS = (
    "micro",
    "micro_plus",
    "micro_stage1",
    "single",
    "static_uniform",
    "pca_heads",
    "criterion_fewshot",
    "oracle_attribute",
)
SEEDS = range(5)
NOTE = """Labels are constructed, not human.

`micro_plus` was then the two-stage method with alpha .05, its tau and the best of five epochs chosen on validation,
and every row trained all its epochs. Rows that came later were not run on these topics.
"""


def world(name: str, fold: int, features) -> World:
    """One rotation: training and validation topics as ever, the sealed topics as test."""
    root = features_root()
    options = {"drop_unanimous": True} if data.describe(name).kind == "rated" else {}
    known, splits = pool_store(name, features, root), {}
    for split in ("train", "validation", "test"):
        rows = data.load(name, split, fold=fold, sealed=True, **({} if split == "test" else options))
        store = extract([rows], features, root) if split == "test" else known
        splits[split] = store.pairs(rows)
        if data.describe(name).kind == "rated":
            splits[split] = with_ratings(splits[split], rows, data.ratings(name, sealed=True))
    return World(name, fold, **splits, fingerprint="")


def main() -> int:
    folder = project_root() / "benchmarks" / "sealed_topics"
    if folder.exists():
        print(f"{folder.relative_to(project_root())} is there: the sealed topics have been evaluated", file=sys.stderr)
        return 1
    parameters = read_profile("bundled")
    features = FeatureSettings.from_parameters(parameters)
    scores, gaps, best = [], [], []
    for name, like in (STAGE2 | STAGE1).items():
        worlds = [world(name, fold, features) for fold in range(5)]
        settings = Settings.from_parameters(parameters, like)
        stage2 = name in STAGE2
        rows = ROWS if stage2 else router_use.rows_of(True)
        result = evaluation.evaluate(
            worlds,
            rows,
            settings,
            seeds=SEEDS,
            budget=parameters["budget"] if stage2 else None,
            keep_heads=() if stage2 else router_use.HEADS,
        )
        scores.append(evaluation.scores(result))
        gaps.append(evaluation.differences(result, "micro" if stage2 else "micro_stage1"))
        if not stage2:
            best.append(evaluation.best_heads(result))
        print(name, "done", flush=True)
    tables = {"accuracy": scores, "differences": gaps, "best_heads": best}
    page = ["# The sealed topics\n", __doc__.split("\n\n")[0] + "\n\n" + NOTE]
    for slug, parts in tables.items():
        frame = pd.concat(parts, ignore_index=True)
        write_atomic(folder / f"sealed_{slug}.csv", formatting.csv(frame))
        shown = frame[frame.attribute == "average"].drop(columns="attribute")
        page.append(f"## sealed_{slug}.csv\n\n{formatting.markdown(formatting.display_frame(shown))}\n")
        page += [f"- `{c}`: {text}" for c, text in columns.meanings(f"sealed_{slug}", frame).items()] + [""]
    write_atomic(folder / "README.md", "\n".join(page).encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
