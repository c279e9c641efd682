"""The ten sealed topics of the bundled corpus, evaluated once, after corpus and code were frozen.

    python benchmarks/sealed_topics.py

Trains on the other topics (five rotations of the validation topics, five seeds) and tests on the sealed ones. The
corpus is that of commit 26c8497: FROZEN is the hash of its texts, wordings and seal, and with any other nothing is run.
Nor is it where `benchmarks/sealed_topics/` has results of this corpus: a second look would make the sealed topics test
data like any other. Results of an earlier form of the corpus are replaced. Not part of `make reproduce`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd

from micro_paper import data
from micro_paper.experiments import evaluation, router_use
from micro_paper.experiments.worlds import World, with_ratings
from micro_paper.features.extract import extract, pool_store
from micro_paper.features.settings import FeatureSettings
from micro_paper.files import sha256, write_atomic
from micro_paper.methods.settings import Settings
from micro_paper.paths import project_root, stores_dir
from micro_paper.report import columns, formatting
from micro_paper.workflow.parameters import read_profile

FROZEN = "9a9b1f7a78765f6e1ce5b0d8f54bd27e391d23b900a51feba44cd6bfe1bb0b6e"
STAGE2 = {"bundled-helpsteer": "helpsteer", "bundled-rpr": "rpr"}
STAGE1 = {"bundled-audience": "helpsteer", "bundled-topics": "helpsteer"}
ROWS = (
    "micro",
    "micro_plus",
    "micro_plus_full",
    "micro_criterion",
    "micro_stage1",
    "single",
    "single_exact",
    "static_uniform",
    "static_learned",
    "random_heads",
    "pca_heads",
    "criterion_fewshot_exact",
    "oracle_attribute_exact",
    "length",
)
SEEDS = range(5)
NOTE = """Labels are constructed, not human.

Corpus: sha256 {corpus} over its texts, wordings and seal.
"""


def corpus_hash(folder: Path) -> str:
    """Return the sha256 of the texts, wordings and seal of the corpus in a folder, by name and content."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".txt", ".json"))
    return sha256(part for path in files for part in (path.name.encode(), b"\0", path.read_bytes(), b"\0"))


def refusal(corpus: str, results: Path) -> str:
    """Return why the corpus of that hash may not be evaluated into the folder of results; "" where it may."""
    if corpus != FROZEN:
        return "the corpus is not the frozen one: nothing is run on its sealed topics"
    page = results / "README.md"
    if page.is_file() and corpus in page.read_text(encoding="utf-8"):
        return f"{results} has the results of this corpus: its sealed topics have been evaluated"
    return ""


def world(name: str, fold: int, features) -> World:
    """One rotation: training and validation topics as ever, the sealed topics as test."""
    root = stores_dir()
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
    corpus = corpus_hash(project_root() / "micro_paper" / "data" / "corpus")
    if reason := refusal(corpus, folder):
        print(reason, file=sys.stderr)
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
    page = ["# The sealed topics\n", __doc__.split("\n\n")[0] + "\n\n" + NOTE.format(corpus=corpus)]
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
