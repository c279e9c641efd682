"""What a profile's data sets and feature stores hold, as tables for the notebooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from micro_paper import data
from micro_paper.data import synthetic
from micro_paper.data.named import named_worlds
from micro_paper.experiments.worlds import World, load_world
from micro_paper.features.extract import pool_store
from micro_paper.features.settings import FeatureSettings
from micro_paper.files import sha256
from micro_paper.paths import stores_dir

if TYPE_CHECKING:
    from datasets import Dataset

GROUPED, FIRST_500 = "grouped by prompt", "first 500 rows of each attribute"


def used(parameters: Mapping[str, Any]) -> list[str]:
    """Return the data sets that a notebook's parameters name, each once."""
    return named_worlds(parameters)


def _is_text(name: str) -> bool:
    return not name.startswith("synthetic-") and data.describe(name).text


def counts(names: Sequence[str], *, synthetic_prompts: int = 1500) -> pd.DataFrame:
    """Return pairs of each data set, split and attribute (table 5); columns as `data.counts`."""
    parts = []
    for name in names:
        if name.startswith("synthetic-"):
            world = load_world(name, synthetic_prompts=synthetic_prompts)
            parts.append(_synthetic_counts(world))
        else:
            parts.append(data.counts(name))
    return pd.concat(parts, ignore_index=True)


def _synthetic_counts(world: World) -> pd.DataFrame:
    lines = []
    for split in data.SPLITS:
        pairs = getattr(world, split)
        for attribute in [*world.attributes, "all"]:
            here = np.ones(len(pairs), bool) if attribute == "all" else pairs.attribute == attribute
            lines.append(
                {"dataset": world.name, "fold": world.fold, "split": split, "attribute": attribute}
                | {"pairs": int(here.sum()), "prompts": len(set(pairs.prompt_id[here])), "unanimous": 0}
            )
    return pd.DataFrame(lines)


def contexts(names: Sequence[str]) -> pd.DataFrame:
    """Return the criterion of each attribute (table 6): dataset, attribute, criterion."""
    parts = [
        pd.DataFrame(
            {"dataset": name, "attribute": a, "criterion": "(no text: a direction in feature space)"}
            for a in synthetic.WORLDS[name]
        )
        if name.startswith("synthetic-")
        else data.contexts(name)
        for name in names
    ]
    return pd.concat(parts, ignore_index=True)


def length_report(names: Sequence[str]) -> pd.DataFrame:
    """Return the share of pairs that the longer response wins, of the data sets that have text."""
    return pd.concat([data.length_report(name) for name in names if _is_text(name)], ignore_index=True)


def compare_splits(names: Sequence[str]) -> pd.DataFrame:
    """Return what test pairs share with training under our split and under the released code's.

    The second rule is defined for rated data only, and leaves no training pair of own data that have fewer. Columns:
    dataset, rule, test_prompts, shared_prompts, test_pairs, shared_pairs (the same two responses, under any attribute).
    """
    lines = []
    for name in names:
        if not _is_text(name):
            continue
        rules = {GROUPED: {}}
        if data.describe(name).kind == "rated" and not _is_cut_away(name):
            rules[FIRST_500] = {"rule": "paper_first_500"}
        for rule, options in rules.items():
            train, test = (data.split_frame(name, split, **options) for split in ("train", "test"))
            whole = data.leakage_report(train, test).set_index("attribute").loc["all"]
            keys = ("test_prompts", "shared_prompts", "test_pairs", "shared_pairs")
            lines.append({"dataset": name, "rule": rule} | {key: int(whole[key]) for key in keys})
    return pd.DataFrame(lines)


def _is_cut_away(name: str) -> bool:
    return name.startswith("jsonl:") and max(Counter(data.load_whole(name)["attribute"][:]).values()) <= 500


OURS = ("bundled", "smoke-texts")  # pools whose texts were written for this project
SAMPLE_COLUMNS = ("dataset", "attribute", "context", "prompt", "chosen", "rejected")


def sample_page(names: Sequence[str], *, seed: int = 0) -> pd.DataFrame:
    """Return one random test pair of each data set that is in our own words; columns SAMPLE_COLUMNS."""
    lines = []
    for name in names:
        if not _is_text(name) or data.describe(name).pool not in OURS:
            continue
        rows = data.load(name, "test")
        row = rows[int(np.random.default_rng(seed).integers(len(rows)))]
        prompt = row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"]
        lines.append({"dataset": name, "prompt": prompt} | {c: row[c] for c in SAMPLE_COLUMNS[1:] if c != "prompt"})
    return pd.DataFrame(lines, columns=SAMPLE_COLUMNS)


def store_reports(
    names: Sequence[str], features: FeatureSettings | None, *, device: str = "auto", progress: bool = False
) -> pd.DataFrame:
    """Return what was encoded for each text pool.

    Columns: dataset, items, tokens, truncated, and alike, the pairs of these data sets whose two responses are the same
    tokens (by nature, or because they were cut), which are left out of training.

    Args:
        device: where texts are encoded that are not in their store yet.
    """
    lines = []
    if features is not None:
        pools: dict[str, list[str]] = {}
        for name in filter(_is_text, names):
            pools.setdefault(data.describe(name).pool, []).append(name)
        for pool, members in pools.items():
            root = stores_dir()
            store = pool_store(members[0], features, root, device=device, progress=progress)
            report = store.report()
            items = report["items"]
            items = sum(items.values()) if isinstance(items, Mapping) else items
            cut = report["truncated"]
            cut = sum(cut.values()) if isinstance(cut, Mapping) else cut
            line = {"dataset": pool, "items": items, "tokens": report["tokens"], "truncated": cut}
            lines.append(line | {"alike": sum(store.alike(data.load_whole(name)) for name in members)})
    return pd.DataFrame(lines, columns=["dataset", "items", "tokens", "truncated", "alike"])


def first_pair(name: str, features: FeatureSettings | None) -> Dataset | None:
    """Return the first training pair of a data set as one row; None without a backbone, or where it has no text."""
    return data.load(name, "train").select([0]) if features is not None and _is_text(name) else None


def fingerprints(names: Sequence[str]) -> dict[str, str]:
    """Return {data set: sha256 over its pairs' ids and labels}, as a manifest wants its inputs."""
    out = {}
    for name in names:
        if name.startswith("synthetic-"):
            out[name] = name
            continue
        frames = {split: data.split_frame(name, split) for split in data.SPLITS}
        out[name] = sha256("\n".join(f["pair_id"] + f["attribute"] + split).encode() for split, f in frames.items())
    return out
