"""Data sets on the Hugging Face hub: the paper's own five, and the hub's copies of two open ones.

The revision of each repository is looked up at its first download and written to a file of its own in the cache's
folder `hub-revisions`; later downloads use it. A local copy (`path=`, or a folder of the data set's name under
MICRO_PAPER_DATA, of parquet or JSON lines with the split in the file names) is used in place of the hub.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from micro_paper import paths
from micro_paper.data.criteria import CRITERIA, PREFERENCE
from micro_paper.data.frames import Built, Messages, duplicate_conflicts, from_ratings, from_rows, merge_turns
from micro_paper.data.pairs import prompt_key
from micro_paper.data.sources import read_jsonl
from micro_paper.errors import InputError, MissingError
from micro_paper.files import DRAFT, write_atomic

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".json")
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class HubSource:
    """A hub repository and what its splits are to us: "" is cut by prompt, "test" is the official test split."""

    repository: str
    splits: dict[str, str]
    columns: tuple[str, ...]


HUB: dict[str, HubSource] = {
    "helpsteer2": HubSource(
        "nvidia/HelpSteer2",
        {"train": "", "validation": "test"},
        ("prompt", "response", "helpfulness", "correctness", "coherence", "complexity", "verbosity"),
    ),
    "rpr": HubSource(
        "microsoft/rpr",
        {"train": "", "test": "test"},
        ("prompt", "response_a", "response_b", "criteria_x", "criteria_y", "category_x", "category_y"),
    ),
    "preference_700k": HubSource("hendrydong/preference_700K", {"train": ""}, ("chosen", "rejected")),
    "pku_saferlhf": HubSource(
        "PKU-Alignment/PKU-SafeRLHF",
        {"train": "", "test": "test"},
        ("prompt", "response_0", "response_1", "better_response_id", "safer_response_id"),
    ),
    "reward_bench": HubSource("allenai/reward-bench", {"filtered": "test"}, ("prompt", "chosen", "rejected", "subset")),
    "summeval": HubSource("mteb/summeval", {"test": ""}, ("id", "text", "machine_summaries")),
    "hh_rlhf_human_test": HubSource("Anthropic/hh-rlhf", {"test": ""}, ("chosen", "rejected")),
}


def rows(
    name: str,
    split: str,
    path: str | None = None,
    data_dir: str | None = None,
    max_rows: int | None = None,
    seed: int = 0,
) -> Rows:
    """Return the rows of one hub split, from a local copy where there is one.

    Args:
        name: our name, a key of HUB.
        split: the hub's split.
        path: a local file, or a folder of files with the split in their names.
        data_dir: a folder inside the repository.
        max_rows: read at most this many rows, drawn without replacement by `seed`, in file order.

    Raises:
        InputError: a local copy lacks a column or a split. MissingError: no local copy and no hub.
    """
    from datasets import Dataset

    local = _local_files(name, split, path, data_dir)
    if local is not None:
        loaded = [r for file in local for r in _read(file)]
    else:
        table: Dataset = _download(name, split, data_dir)
        loaded = None
    total = len(loaded) if loaded is not None else len(table)
    keep = np.arange(total)
    if max_rows is not None and max_rows < total:
        keep = np.sort(np.random.default_rng(seed).choice(total, max_rows, replace=False))
    found = [loaded[i] for i in keep] if loaded is not None else table.select(keep).to_list()
    missing = [c for c in HUB[name].columns if found and c not in found[0]]
    if missing:
        raise InputError(f"{name} ({split}): no column {missing[0]!r}, found {', '.join(found[0])}: is this {name}?")
    return found


def _local_files(name: str, split: str, path: str | None, data_dir: str | None) -> list[Path] | None:
    """Return the local files of one split, or None where there is no local copy at all."""
    root = Path(path).expanduser() if path else None
    if root is None and (mirror := paths.mirror()):
        root = mirror / name
    if root is None or not root.exists():
        if path:
            raise MissingError(f"path {path!r} does not exist: give a file or folder with a copy of {name}")
        return None
    files = [root] if root.is_file() else sorted(f for f in root.rglob("*") if f.name.endswith(SUFFIXES))
    if data_dir:
        files = [f for f in files if data_dir in f.parts]
    if not files and not path:
        return None
    known = {*HUB[name].splits, "train", "test", "validation"}
    words = {f: set(re.split(r"[^a-z]+", str(f.relative_to(root) if f != root else f.name).lower())) for f in files}
    chosen = [f for f in files if split in words[f]]
    if not chosen and split == next(iter(HUB[name].splits)):
        chosen = [f for f in files if not words[f] & known]  # no split in its name: the first split
    if not chosen and not root.is_file():  # one file is one split, a folder must have them all
        raise InputError(f"{root} has no {split} file for {name}: put {split!r} into a file's name")
    return chosen


def _read(path: Path) -> Rows:
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as parquet

            return parquet.read_table(path).to_pylist()
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        return read_jsonl(path)
    except (ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read ({type(error).__name__}): give parquet or JSON lines") from error


def _download(name: str, split: str, data_dir: str | None) -> Any:
    import datasets

    source = HUB[name]
    try:
        revision = resolve_revision(source.repository)
        where = {"data_dir": data_dir, "split": split, "revision": revision}
        return datasets.load_dataset(source.repository, trust_remote_code=False, **where)
    except Exception as error:  # the hub's client raises many kinds; each means: not there
        raise MissingError(
            f"cannot read {source.repository} from the hub ({type(error).__name__}): allow network access, pass "
            f"path=..., or put its files into the folder {name} under MICRO_PAPER_DATA"
        ) from error


def resolve_revision(repository: str) -> str:
    """Return the commit of a hub data set: the one written down at its first download, else today's, then written."""
    from huggingface_hub import HfApi

    lock = paths.cache_dir() / "hub-revisions" / repository.replace("/", "--")
    if not lock.is_file():
        sha = HfApi().dataset_info(repository, timeout=30).sha
        draft = lock.with_name(f".{lock.name}-{os.getpid()}{DRAFT}")
        write_atomic(draft, sha.encode())
        with contextlib.suppress(FileExistsError):  # of two first downloads, the revision of one holds for both
            try:
                os.link(draft, lock)
            except OSError:  # it is there, or this file system has no links
                with lock.open("x", encoding="utf-8") as file:
                    file.write(sha)
        draft.unlink()
    return lock.read_text(encoding="utf-8")


def build(name: str, path: str | None = None, max_rows: int | None = None, seed: int = 0) -> Built:
    """Build one of the paper's data sets from the hub or a local copy; arguments as for `rows`.

    Training rows whose prompt is also in the official test split are left out and counted.
    """
    if max_rows is not None and (isinstance(max_rows, bool) or not isinstance(max_rows, int) or max_rows < 1):
        raise InputError(f"max_rows must be an int of at least 1, got {max_rows!r}")
    skipped: Counter[str] = Counter()
    found = []
    for split, official in HUB[name].splits.items():
        converted = _CONVERTERS[name](rows(name, split, path, None, max_rows, seed), skipped)
        found += [{**row, "official": official, "prompt_id": prompt_key(row["prompt"])} for row in converted]
    tested = {row["prompt_id"] for row in found if row["official"]}
    kept = [row for row in found if row["official"] or row["prompt_id"] not in tested]
    skipped["train rows with a test prompt"] = len(found) - len(kept)
    if name != "helpsteer2":
        return from_rows(kept, name, skipped)
    attributes = list(CRITERIA[name])
    wide = pd.DataFrame(kept, columns=["prompt_id", "prompt", "response", *attributes, "official"])
    skipped["identical texts rated differently"] = duplicate_conflicts(wide, attributes)
    return from_ratings(wide, name, CRITERIA[name], skipped, attributes)


def _helpsteer2(source: Rows, skipped: Counter[str]) -> Rows:
    attributes = list(CRITERIA["helpsteer2"])
    return [
        {"prompt": helpsteer_messages(r["prompt"]), "response": r["response"], **{a: float(r[a]) for a in attributes}}
        for r in source
    ]


def helpsteer_messages(prompt: str) -> Messages:
    """Return a HelpSteer2 prompt as chat messages; later turns stand behind <extra_id_1>User or ...Assistant."""
    first, *rest = re.split(r"\n?<extra_id_1>(User|Assistant)\n", prompt)
    turns = [("User", first), *zip(rest[::2], rest[1::2], strict=True)]
    messages = [{"role": who.lower(), "content": said} for who, said in turns if said.strip()]
    return merge_turns(messages)


def rpr_category(category: str | None) -> str | None:
    """Return which of the paper's nine dimensions a category of RPR is, or None for any other."""
    words = re.sub(r"[^a-z]+", " ", (category or "").lower()).strip()
    for name in CRITERIA["rpr"]:
        if words.startswith(re.sub(r"[^a-z]+", " ", name)):
            return name
    return None


def _rpr(source: Rows, skipped: Counter[str]) -> Rows:
    out = []
    for r in source:
        a, b = r["response_a"], r["response_b"]
        for chosen, rejected, side in ((a, b, "x"), (b, a, "y")):
            dimension = rpr_category(r[f"category_{side}"])
            if dimension is None:
                skipped["judgements outside the nine dimensions"] += 1
                continue
            out.append(
                {
                    "prompt": r["prompt"],
                    "chosen": chosen,
                    "rejected": rejected,
                    "attribute": dimension,
                    "context": r[f"criteria_{side}"],
                }
            )
    return out


def _preference_700k(source: Rows, skipped: Counter[str]) -> Rows:
    out = []
    for r in source:
        chosen, rejected = list(r["chosen"]), list(r["rejected"])
        last = {m[-1]["role"] if m else "" for m in (chosen, rejected)}
        if last != {"assistant"} or _plain(chosen[:-1]) != _plain(rejected[:-1]) or len(chosen) < 2:
            skipped["dialogues that differ before the last answer"] += 1
            continue
        messages = merge_turns(_plain(chosen[:-1]))
        if messages[-1]["role"] != "user":
            skipped["dialogues that do not end with a user"] += 1
            continue
        out.append(
            {
                "prompt": messages,
                "chosen": chosen[-1]["content"],
                "rejected": rejected[-1]["content"],
                "attribute": "preference",
                "context": PREFERENCE,
            }
        )
    return out


def _plain(messages: Messages) -> Messages:
    return [{"role": m["role"], "content": m["content"]} for m in messages]


def _pku_saferlhf(source: Rows, skipped: Counter[str]) -> Rows:
    out = []
    for r in source:
        for attribute, column in (("helpfulness", "better_response_id"), ("safety", "safer_response_id")):
            best = int(r[column])
            if best not in (0, 1):
                skipped[f"no {column}"] += 1
                continue
            out.append(
                {
                    "prompt": r["prompt"],
                    "chosen": r[f"response_{best}"],
                    "rejected": r[f"response_{1 - best}"],
                    "attribute": attribute,
                    "context": CRITERIA["pku_saferlhf"][attribute],
                }
            )
    return out


def _reward_bench(source: Rows, skipped: Counter[str]) -> Rows:
    return [
        {
            "prompt": r["prompt"],
            "chosen": r["chosen"],
            "rejected": r["rejected"],
            "attribute": r["subset"],
            "context": CRITERIA["reward_bench"].get(r["subset"], PREFERENCE),
        }
        for r in source
    ]


_CONVERTERS = {
    "helpsteer2": _helpsteer2,
    "rpr": _rpr,
    "preference_700k": _preference_700k,
    "pku_saferlhf": _pku_saferlhf,
    "reward_bench": _reward_bench,
}
