"""Ratings to pairs: the paper's construction (section 2 of its data description), for any table of ratings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from micro_paper.errors import InputError, suggest
from micro_paper.files import sha256

KEYS = ("prompt_id", "item_id", "prompt", "response", "user_id", "response_id")


def prompt_key(prompt: Any) -> str:
    """Return a prompt's id, the same for a text and for one user message of it, whatever white space is around it.

    Some data sets have texts, others dialogues, and templates trim them: what one is trained on and another tested on
    is told by this id.
    """
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    messages = [{**message, "content": message["content"].strip()} for message in messages]
    return digest(messages[0]["content"] if [m["role"] for m in messages] == ["user"] else messages)


def digest(*parts: Any) -> str:
    """Return a stable id, 16 hexadecimal digits of the sha256 of the parts (each text, or JSON of anything else)."""
    texts = [p if isinstance(p, str) else json.dumps(p, sort_keys=True, ensure_ascii=False) for p in parts]
    return sha256("\x1f".join(texts).encode("utf-8", "surrogatepass"))[:16]


def attribute_pairs(ratings: pd.DataFrame, attributes: Sequence[str] | None = None) -> pd.DataFrame:
    """Compare every two responses of one prompt on every attribute.

    The higher rating is chosen; ties, missing ratings and pairs of identical texts make no pair. Where `user_id` is
    given, only ratings of one user are compared with each other; where `item_id` is, only responses to one item (one
    sentence of a document that is the prompt).

    Args:
        ratings: one row a rated response, wide: columns `prompt` and `response` (text; a prompt may also be a list of
            chat messages), optionally `prompt_id` (default: from the prompt), `item_id`, `user_id` and `response_id`,
            and one numeric column an attribute. Other columns that are not numeric are ignored.
        attributes: the attribute columns; default: every remaining numeric column.

    Returns:
        One row a labelled pair, by prompt, then pair, then attribute, each in order of appearance, with columns
        pair_id, comparison_id (equal for the attributes of one pair of responses), prompt_id, prompt, chosen, rejected,
        attribute, and where given item_id, user_id, and (from response_id) chosen_id and rejected_id.
        `.attrs["attributes"]` lists all attributes that were compared.

    Raises:
        InputError: a column is missing or not numeric, no attribute is left, or a rating is infinite.
    """
    frame = ratings.reset_index(drop=True)
    names = _attribute_columns(frame, attributes)
    if "prompt_id" not in frame:
        frame = frame.assign(prompt_id=[prompt_key(p) for p in frame["prompt"]])
    key = frame["prompt_id"].astype(str)
    within = {c: frame[c].astype(str) for c in ("item_id", "user_id") if c in frame}
    for ids in within.values():
        key = key + "\x1f" + ids
    first, second = _index_pairs(pd.factorize(key)[0])

    text = frame["response"].to_numpy(object)
    differ = text[first] != text[second]
    first, second = first[differ.astype(bool)], second[differ.astype(bool)]

    values = frame[names].to_numpy(float, na_value=np.nan)
    gap = values[first] - values[second]  # (pairs, attributes), NaN where a rating is missing
    pair, column = np.nonzero(np.nan_to_num(gap, nan=0.0) != 0)
    a_wins = gap[pair, column] > 0
    winner = np.where(a_wins, first[pair], second[pair])
    loser = np.where(a_wins, second[pair], first[pair])

    identity = _response_ids(frame, key)
    comparison = np.array(
        [
            digest(k, *sorted((identity[i], identity[j])))
            for k, i, j in zip(key.to_numpy(object)[first], first, second, strict=True)
        ],
        dtype=object,
    )
    attribute = np.array(names, dtype=object)[column]
    pairs = pd.DataFrame(
        {
            "pair_id": [digest(c, a) for c, a in zip(comparison[pair], attribute, strict=True)],
            "comparison_id": comparison[pair],
            "prompt_id": frame["prompt_id"].astype(str).to_numpy(object)[winner],
            "prompt": frame["prompt"].to_numpy(object)[winner],
            "chosen": text[winner],
            "rejected": text[loser],
            "attribute": attribute,
        }
    )
    for column, ids in within.items():
        pairs[column] = ids.to_numpy(object)[winner]
    if "response_id" in frame:
        pairs["chosen_id"], pairs["rejected_id"] = identity[winner], identity[loser]
    pairs.attrs["attributes"] = list(names)
    return pairs


def unanimous(pairs: pd.DataFrame, attributes: Iterable[str] | None = None) -> np.ndarray:
    """Mark the pairs on which strictly the same response wins on every attribute, a boolean array (n,).

    A tie or a missing rating on any attribute makes a pair not unanimous; where `user_id` is given, so does another
    user who prefers the other response, or who does not decide every attribute.

    Args:
        pairs: as `attribute_pairs` returns them; without `comparison_id`, prompt, user and texts tell pairs apart.
        attributes: all attributes of the data set; default: what `attribute_pairs` compared, else those in `pairs`.
    """
    if len(pairs) == 0:
        return np.zeros(0, dtype=bool)
    wanted = set(attributes or pairs.attrs.get("attributes") or pairs["attribute"].unique())
    flipped = (pairs["chosen"].to_numpy(object) > pairs["rejected"].to_numpy(object)).astype(bool)
    if "user_id" in pairs or "comparison_id" not in pairs:
        prompts = pairs["prompt_id"] if "prompt_id" in pairs else [prompt_key(p) for p in pairs["prompt"]]
        items = pairs["item_id"] if "item_id" in pairs else [""] * len(pairs)
        texts = zip(prompts, items, pairs["chosen"], pairs["rejected"], strict=True)
        key = [digest(str(p), i, *sorted(two)) for p, i, *two in texts]
    else:  # texts that occur twice under one prompt are two responses
        key = pairs["comparison_id"]
    table = pd.DataFrame(
        {
            "key": np.asarray(key, dtype=object),
            "user": pairs["user_id"].to_numpy(object) if "user_id" in pairs else "",
            "flipped": flipped,
            "attribute": pairs["attribute"].to_numpy(object),
        }
    )
    counted = table[table["attribute"].isin(wanted)]
    whole = counted.groupby(["key", "user"])["attribute"].nunique().eq(len(wanted)).groupby("key").all()
    agree = (counted.groupby("key")["flipped"].nunique() == 1) & whole
    return table["key"].map(agree).fillna(False).to_numpy(bool)


def drop_unanimous(pairs: pd.DataFrame, attributes: Iterable[str] | None = None) -> pd.DataFrame:
    """Return the pairs without those on which strictly the same response wins on every attribute of the data set.

    Arguments as for `unanimous`. The paper leaves such pairs out of training.
    """
    return pairs[~unanimous(pairs, attributes)].reset_index(drop=True)


def _attribute_columns(frame: pd.DataFrame, attributes: Sequence[str] | None) -> list[str]:
    for column in ("prompt", "response"):
        if column not in frame:
            raise InputError(f"ratings need a column {column!r}: they have {', '.join(map(str, frame.columns))}")
    rest = [c for c in frame.columns if c not in KEYS]

    def numeric(column: str) -> bool:
        return pd.api.types.is_numeric_dtype(frame[column]) and not pd.api.types.is_bool_dtype(frame[column])

    names = [c for c in rest if numeric(c)] if attributes is None else list(attributes)
    for name in names:
        if name not in rest:
            raise InputError(f"ratings have no attribute column {name!r}.{suggest(name, rest)}")
        if not numeric(name):
            raise InputError(f"attribute column {name!r} is {frame[name].dtype}, not numbers: convert it first")
        if np.isinf(frame[name].to_numpy(float, na_value=np.nan)).any():
            raise InputError(f"attribute column {name!r} has an infinite rating: remove it")
    if not names:
        raise InputError("ratings have no numeric attribute column: give one column an attribute, or attributes=[...]")
    return names


def _index_pairs(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (i, j), i before j, of every two members of each group, by group then i then j."""
    order = np.argsort(group, kind="stable")
    size = np.bincount(group, minlength=0)
    start = np.cumsum(size) - size
    firsts, seconds, owners = [], [], []
    for n in np.unique(size[size > 1]):  # all groups of one size at once
        i, j = np.triu_indices(n, 1)
        which = np.nonzero(size == n)[0]
        firsts.append((start[which][:, None] + i).ravel())
        seconds.append((start[which][:, None] + j).ravel())
        owners.append(np.repeat(which, len(i)))
    if not owners:
        return np.zeros(0, int), np.zeros(0, int)
    by_group = np.argsort(np.concatenate(owners), kind="stable")
    return order[np.concatenate(firsts)[by_group]], order[np.concatenate(seconds)[by_group]]


def _response_ids(frame: pd.DataFrame, key: pd.Series) -> np.ndarray:
    """Name each row's response; texts that occur twice under one prompt stay two responses, as their ratings do."""
    if "response_id" in frame:
        return frame["response_id"].astype(str).to_numpy(object)
    again = frame["response"].groupby([key, frame["response"]]).cumcount()
    return np.array(
        [digest(t) + (f"#{k}" if k else "") for t, k in zip(frame["response"], again, strict=True)],
        dtype=object,
    )
