"""Splits by prompt, the paper's own rule under its name, and a count of what a split lets through."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from micro_paper.errors import InputError, suggest
from micro_paper.files import sha256

SPLITS = ("train", "validation", "test")
FOLDS = 5


def check_split(split: str) -> str:
    """Return `split`, or raise InputError naming it and the nearest known split."""
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}: use one of {', '.join(SPLITS)}.{suggest(split, SPLITS)}")
    return split


def check_fold(fold: int) -> int:
    """Return `fold`, or raise InputError unless it is an int in 0..4."""
    if isinstance(fold, bool) or not isinstance(fold, (int, np.integer)) or not 0 <= fold < FOLDS:
        raise InputError(f"fold must be an int from 0 to {FOLDS - 1}, got {fold!r}")
    return int(fold)


def assign_folds(prompt_ids: Iterable[str], fold: int = 0, official_test: Iterable[str] = ()) -> dict[str, str]:
    """Return the split of each prompt.

    Prompts are put in the order of sha256(prompt_id), which no file order can bias, and cut into fifths. Fifth `fold`
    is test, the first half of the next fifth validation, the rest train. Where a data set has an official test split,
    its prompts are test, and the fifths of the others only choose the validation prompts.

    Args:
        prompt_ids: ids, repeats allowed.
        fold: 0..4.
        official_test: ids of the official test prompts, if any.

    Returns:
        prompt_id -> "train", "validation" or "test".
    """
    fold = check_fold(fold)
    official = {str(p) for p in official_test}
    rest = sorted({str(p) for p in prompt_ids} - official, key=lambda p: sha256(p.encode()))
    edges = [k * len(rest) // FOLDS for k in range(FOLDS + 1)]
    after = (fold + 1) % FOLDS
    half = edges[after] + (edges[after + 1] - edges[after] + 1) // 2
    where = dict.fromkeys(rest, "train")
    where.update(dict.fromkeys(rest[edges[after] : half], "validation"))
    where.update(dict.fromkeys(official if official else rest[edges[fold] : edges[fold + 1]], "test"))
    return where


def halves(users: Iterable[str], groups: Iterable[str]) -> np.ndarray:
    """Cut each user's rows in two by group, as evenly as whole groups allow: one half to adapt on, one to test on.

    A user's groups, those with the most rows first, then by name, go one by one to the half with fewer rows so far.

    Args:
        users, groups: (n,) who judged each row, and what must stay together (a topic, a document).

    Returns:
        (n,) boolean: whether a row is in its user's smaller half (the first one where both are alike).
    """
    rows = pd.DataFrame({"user": list(users), "group": list(groups)})
    half: dict[tuple[str, str], int] = {}
    small: dict[str, int] = {}
    for user, counts in rows.groupby("user")["group"].value_counts().groupby(level=0):
        filled = [0, 0]
        for group, n in sorted(counts.droplevel(0).items(), key=lambda found: (-found[1], found[0])):
            half[user, group] = side = int(filled[1] < filled[0])
            filled[side] += n
        small[user] = int(filled[1] < filled[0])
    return np.array([half[user, group] == small[user] for user, group in rows.itertuples(index=False)], bool)


def paper_first_500(pairs: pd.DataFrame, rows: int = 500) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cut as the authors' released code does: the first 500 pairs of each attribute are test, the rest train.

    The attributes are cut separately, so one prompt can be in test for one attribute and in train for another
    (`leakage_report` counts it). Here for comparison; the default is `assign_folds`.

    Args:
        pairs: labelled pairs of the training file, in its order.
        rows: pairs held out for each attribute.

    Returns:
        (train, test), each in the order of `pairs`.
    """
    if isinstance(rows, bool) or not isinstance(rows, (int, np.integer)) or rows < 1:
        raise InputError(f"rows must be an int of at least 1, got {rows!r}")
    test = (pairs.groupby("attribute").cumcount() < rows).to_numpy()
    return pairs[~test].reset_index(drop=True), pairs[test].reset_index(drop=True)


def leakage_report(train: Any, test: Any) -> pd.DataFrame:
    """Count what test shares with train, per attribute of test and in all.

    Args:
        train, test: labelled pairs (DataFrame or datasets.Dataset) with prompt_id, chosen, rejected, attribute.

    Returns:
        One row an attribute and a last row "all", with columns attribute, test_pairs, test_prompts, shared_prompts,
        test_texts, shared_texts (distinct responses, told apart by prompt), shared_pairs (the same two responses,
        under any attribute and either way round). Shared always means: found anywhere in train.
    """
    train, test = _frame(train), _frame(test)
    known = _contents(train)
    rows = []
    for name in [*sorted(test["attribute"].unique()), "all"]:
        part = test if name == "all" else test[test["attribute"] == name]
        prompts, texts, pairs = _contents(part)
        both = [_unordered(r) in known[2] for r in part[["prompt_id", "chosen", "rejected"]].itertuples(index=False)]
        rows.append(
            {
                "attribute": name,
                "test_pairs": len(part),
                "test_prompts": len(prompts),
                "shared_prompts": len(prompts & known[0]),
                "test_texts": len(texts),
                "shared_texts": len(texts & known[1]),
                "shared_pairs": int(sum(both)),
            }
        )
    return pd.DataFrame(rows)


def _frame(pairs: Any) -> pd.DataFrame:
    frame = pairs if isinstance(pairs, pd.DataFrame) else pairs.to_pandas()
    for column in ("prompt_id", "chosen", "rejected", "attribute"):
        if column not in frame:
            raise InputError(f"pairs need a column {column!r} for a leakage report")
    return frame


def _unordered(row: tuple) -> tuple:
    prompt, a, b = row
    return (prompt, *sorted((a, b)))


def _contents(frame: pd.DataFrame) -> tuple[set, set, set]:
    rows = list(frame[["prompt_id", "chosen", "rejected"]].itertuples(index=False, name=None))
    prompts = {p for p, _, _ in rows}
    texts = {(p, t) for p, a, b in rows for t in (a, b)}
    return prompts, texts, {_unordered(r) for r in rows}
