"""What every builder returns: a frame of labelled pairs with ids, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from micro_paper.data.criteria import criterion
from micro_paper.data.faults import row_fault, text_fault
from micro_paper.data.pairs import attribute_pairs, digest, prompt_key

COLUMNS = ("pair_id", "prompt_id", "prompt", "chosen", "rejected", "attribute", "context", "source")
INTERNAL = ("comparison_id", "official", "use")

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Built:
    """A data set before it is split.

    Attributes:
        frame: labelled pairs in file order: COLUMNS, comparison_id, official ("train", "test" or "" for none), use
            ("train": only where its prompt is in train or validation, "test": only where it is in test, "": both), and
            user_id, features and extra columns where the data has them.
        skipped: reason -> number of upstream rows that make no pair.
        ratings: the wide rating table, or None.
        feature_names: names of the entries of `features`.
    """

    frame: pd.DataFrame
    skipped: dict[str, int] = field(default_factory=dict)
    ratings: pd.DataFrame | None = None
    feature_names: tuple[str, ...] = ()


def from_rows(rows: Iterable[dict[str, Any]], source: str, skipped: dict[str, int] | None = None) -> Built:
    """Build labelled pairs from rows with prompt, chosen, rejected, attribute, context and any further columns.

    Rows of text with a fault (`faults.row_fault`) and identical texts make no pair and are counted; `prompt_id`
    defaults to a hash of the prompt.
    """
    counted = Counter(skipped or {})
    kept, seen = [], {}
    for row in rows:
        if "features" not in row:
            fault = row_fault(row, ("chosen", "rejected"), empty=True) or text_fault("attribute", row["attribute"])
            if row["context"] is not None:
                fault = fault or text_fault("context", row["context"])
            if fault or row["chosen"] == row["rejected"]:
                counted[fault.kind if fault else "identical texts"] += 1
                continue
        prompt_id = str(row.get("prompt_id") or prompt_key(row["prompt"]))
        texts = sorted((row["chosen"], row["rejected"]))
        comparison = row.get("comparison_id") or digest(prompt_id, str(row.get("user_id", "")), *texts)
        pair = digest(source, comparison, row["attribute"], row["context"] or "", str(row.get("partner", "")))
        again = seen[pair] = seen.get(pair, -1) + 1  # the same judgement twice is two pairs
        kept.append(
            {
                "official": "",
                "use": "",
                **row,
                "pair_id": pair if not again else digest(pair, str(again)),
                "comparison_id": comparison,
                "prompt_id": prompt_id,
                "source": source,
            }
        )
    frame = _ordered(pd.DataFrame(kept, columns=None if kept else [*COLUMNS, *INTERNAL]))
    frame.attrs["attributes"] = list(dict.fromkeys(frame["attribute"]))
    return Built(frame, dict(counted))


def from_ratings(
    wide: pd.DataFrame,
    source: str,
    sentences: dict[str, str],
    skipped: dict[str, int] | None = None,
    attributes: list[str] | None = None,
) -> Built:
    """Build labelled pairs from a wide rating table; `official` may be one of its columns.

    Rows with a fault (`faults.row_fault`) are left out and counted.
    """
    texts = zip(wide["prompt"], wide["response"], strict=True)
    faults = [row_fault({"prompt": p, "response": r}, ("response",), empty=True) for p, r in texts]
    counted = Counter(skipped or {})
    counted.update(fault.kind for fault in faults if fault)
    wide = wide[[fault is None for fault in faults]].reset_index(drop=True)
    official = wide["official"] if "official" in wide else pd.Series("", index=wide.index)
    table = wide.drop(columns="official", errors="ignore")
    pairs = attribute_pairs(table, attributes)
    where = dict(zip(table["prompt_id"].astype(str), official, strict=True))
    names = pairs.attrs["attributes"]
    pairs["context"] = pairs["attribute"].map({a: criterion(a, sentences) for a in names}).astype(object)
    pairs["source"] = source
    pairs["official"] = pairs["prompt_id"].map(where).astype(object)
    pairs["use"] = ""
    return Built(_ordered(pairs), dict(counted), ratings=table)


def duplicate_conflicts(wide: pd.DataFrame, attributes: list[str]) -> int:
    """Count pairs of identical texts under one prompt that are rated differently; they make no pair."""
    count = 0
    for _, group in wide[wide.duplicated(["prompt_id", "response"], keep=False)].groupby(["prompt_id", "response"]):
        values = group[attributes].to_numpy(float)
        i, j = np.triu_indices(len(values), 1)
        count += int((values[i] != values[j]).any(axis=1).sum())
    return count


def merge_turns(messages: Messages) -> Messages:
    """Join neighbouring messages of one role, because chat templates want the roles to alternate."""
    merged: Messages = []
    for message in messages:
        if merged and merged[-1]["role"] == message["role"]:
            merged[-1] = {
                "role": message["role"],
                "content": merged[-1]["content"] + "\n\n" + message["content"],
            }
        else:
            merged.append({"role": message["role"], "content": message["content"]})
    return merged


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    rest = [c for c in frame.columns if c not in COLUMNS + INTERNAL and c != "partner"]
    attrs = frame.attrs
    frame = frame[[*COLUMNS, *INTERNAL, *rest]].reset_index(drop=True)
    frame.attrs.update(attrs)
    return frame
