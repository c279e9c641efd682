"""Data sets by name: one door to all of them."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from micro_paper import paths
from micro_paper.data import jsonl
from micro_paper.data.catalogue import ENTRIES, DatasetInfo, Entry
from micro_paper.data.criteria import CRITERIA
from micro_paper.data.frames import COLUMNS, INTERNAL, Built
from micro_paper.data.lines import absolute, below
from micro_paper.data.pairs import drop_unanimous as without_unanimous
from micro_paper.data.sources import public
from micro_paper.data.splits import FOLDS, assign_folds, check_fold, check_split, paper_first_500
from micro_paper.errors import InputError, suggest
from micro_paper.files import sha256

if TYPE_CHECKING:
    from datasets import Dataset

COMMON = ("fold", "drop_unanimous", "rule", "max_prompts", "size")
RULES = ("grouped", "paper_first_500")


def names() -> list[str]:
    """Return the names that `load` knows, besides `jsonl:PATH`."""
    return list(ENTRIES)


def describe(name: str) -> DatasetInfo:
    """Return where a data set comes from and what is in it; of `jsonl:PATH`, after reading it.

    Raises:
        InputError: unknown name. MissingError: no such file.
    """
    if _own(name):
        kind, built = jsonl.read(name.removeprefix("jsonl:"))
        attributes = tuple(dict.fromkeys(built.frame["attribute"]))
        return DatasetInfo(name, name, kind, "your own", (), (), "", attributes)
    entry = _entry(name)
    pool = entry.pool or name
    files = list(public(entry.files).values()) if entry.files else []
    urls = tuple(url for url, _ in files) or ((f"https://huggingface.co/datasets/{entry.hub}",) if entry.hub else ())
    attributes = entry.attributes or tuple(CRITERIA[pool])
    return DatasetInfo(
        name,
        pool,
        entry.kind,
        entry.licence,
        urls,
        tuple(sha256 for _, sha256 in files),
        entry.citation,
        attributes,
        entry.kind != "tabular",
        tuple(entry.options),
    )


def load(name: str, split: str = "train", **options: Any) -> Dataset:
    """Load one split of a data set.

    Args:
        name: one of `names()`, or `jsonl:PATH`.
        split: train, validation or test. Disjoint by prompt (for conjoint data: by person), together every non-tied
            labelled pair.
        **options:
            fold (0): which fifth of the prompts is test (see `assign_folds`).
            drop_unanimous (False): leave out pairs on which one response wins on every attribute; none where there is
                only one.
            rule ("grouped"): "paper_first_500" cuts the test pairs as the paper's code does, prompts leak (rated only).
            max_prompts (None): only the first so many prompts of the split, in file order.
            size (None): at most so many labelled pairs of the split, spread over its prompts; all labels of two
                responses stay together, and a smaller size is part of a larger one.
            seed, sealed, phrasing, labels: bundled data sets only, see `corpus.build`.
            path, max_rows, seed: hub data sets only, see `hub.build`. group: conjoint only, see `open.conjoint`.
            uncoded: `ukp.criteria`. raters: `wmt.build`.

    Returns:
        A datasets.Dataset in file order, columns pair_id, prompt_id, prompt (text or chat messages), chosen, rejected,
        attribute, context (the criterion's text, untemplated), source; where the data has them user_id, features,
        stated attitudes, mix (shares of the attributes' criteria), item_id (one of several tasks under a prompt),
        chosen_id and rejected_id (who wrote them), and shown_first. prompt_id is what splits keep together: a topic or
        a document in data that have such.

    Raises:
        InputError: unknown name, split or option, or unusable data. MissingError: data that cannot be reached.
    """
    frame = split_frame(name, split, **options)
    return _dataset(frame, build(name, **_own_options(name, options)).frame)


def load_whole(name: str, **options: Any) -> Dataset:
    """Load every row that a split of some fold has, for taking features once for all of them.

    More than the three splits of one fold hold where a prompt's rows differ between training and test.

    Args:
        name: as for `load`.
        options: those that only this data set has.
    """
    own = _own_options(name, options)
    if common := set(options) - set(own):
        raise InputError(f"option {min(common)!r} is about splits: load_whole takes none of those")
    frame = build(name, **own).frame
    return _dataset(frame, frame)


def _dataset(frame: pd.DataFrame, whole: pd.DataFrame) -> Dataset:
    from datasets import Dataset, Value

    features = _features(whole)
    text = Value("string")
    columns = {c: _texts(frame[c]) if kind == text else frame[c].tolist() for c, kind in features.items()}
    return Dataset.from_dict(columns, features=features)


def split_frame(name: str, split: str, **options: Any) -> pd.DataFrame:
    """Return a split as a DataFrame, with comparison_id (one for all judgements of two responses); as `load` else."""
    check_split(split)
    common = {"fold": 0, "drop_unanimous": False, "rule": "grouped", "max_prompts": None, "size": None}
    own = _own_options(name, options)
    common.update({k: v for k, v in options.items() if k in common})
    _check_common(name, common)
    frame = _splits(name, split, common, own)
    prompts = build(name, **own).frame["prompt_id"].nunique()
    if _own(name) and frame.empty:
        raise InputError(
            f"{name}: no pair is in {split} (rule {common['rule']!r}, fold {common['fold']}, prompts: {prompts}): give "
            f"at least {FOLDS} prompts, and leave the rule out"
        )
    attributes = frame.attrs["attributes"]
    if common["drop_unanimous"] and len(attributes) > 1:
        frame = without_unanimous(frame, attributes)
        if _own(name) and frame.empty:
            raise InputError(
                f"{name}: one response wins on every attribute in all pairs of {split}: leave drop_unanimous out, or "
                "give pairs on which attributes disagree"
            )
    if common["max_prompts"] is not None:
        kept = frame["prompt_id"].drop_duplicates().head(common["max_prompts"])
        frame = frame[frame["prompt_id"].isin(kept)]
    if common["size"] is not None:
        frame = _sized(frame, common["size"])
    return frame.reset_index(drop=True)


def _sized(frame: pd.DataFrame, size: int) -> pd.DataFrame:
    """Keep whole comparisons in an order that no file order can bias, as long as their labels fit."""
    labels = frame.groupby("comparison_id").size()
    order = sorted(labels.index, key=lambda c: sha256(c.encode()))
    fits = labels[order].cumsum() <= size
    return frame[frame["comparison_id"].isin(fits.index[fits])]


def skipped(name: str, **options: Any) -> dict[str, int]:
    """Return reason -> number of upstream rows that make no pair."""
    return dict(build(name, **_own_options(name, options)).skipped)


def ratings(name: str, **options: Any) -> pd.DataFrame:
    """Return the wide rating table of a rated data set: prompt_id, prompt, response, one column an attribute.

    Where prompts have several items, item_id and response_id too: only responses to one item are compared. Where people
    rate for themselves, a response has one row for each of them.

    Raises:
        InputError: the data set has judgements, not ratings.
    """
    table = build(name, **_own_options(name, options)).ratings
    if table is None:
        raise InputError(f"{name} has judgements, no ratings: use a rated data set")
    return table.drop(columns="user_id", errors="ignore")


def build(name: str, **own: Any) -> Built:
    """Return the whole data set before splitting, built once in a process while its files and options stay the same."""
    if not _own(name):
        _entry(name)
    state = (str(paths.mirror()), str(paths.cache_dir()), *_stamp(name, own))
    return _build(name, tuple(sorted(own.items())), state)


@lru_cache(maxsize=24)
def _build(name: str, own: tuple, state: tuple) -> Built:
    if _own(name):
        return jsonl.read(name.removeprefix("jsonl:"))[1]
    return _entry(name).build(**dict(own))


def _stamp(name: str, own: dict[str, Any]) -> tuple:
    """Return what changes when the user's own files change."""
    roots = []
    if _own(name):
        file = absolute(name.removeprefix("jsonl:"))
        roots = [file, file.with_name("criteria.json")]
    elif "path" in _entry(name).options:
        mirror = paths.mirror()
        root = absolute(own["path"]) if own.get("path") else mirror / name if mirror else None
        roots = [] if root is None else below(root) if os.path.isdir(root) else [root]
    return tuple((str(f), f.stat().st_mtime_ns, f.stat().st_size) for f in roots if os.path.isfile(f))


def _splits(name: str, split: str, common: dict[str, Any], own: dict[str, Any]) -> pd.DataFrame:
    whole = build(name, **own).frame
    official = whole["official"] == "test"
    useful = whole["use"] != ("train" if split == "test" else "test")
    if common["rule"] == "paper_first_500":
        train, test = paper_first_500(whole[~official & useful])
        if split == "test":
            return test
        where = assign_folds(train["prompt_id"], common["fold"])
        side = train["prompt_id"].map(where).eq("validation")
        return train[side if split == "validation" else ~side]
    where = assign_folds(whole["prompt_id"], common["fold"], whole.loc[official, "prompt_id"])
    return whole[(whole["prompt_id"].map(where) == split) & useful]


def _entry(name: str) -> Entry:
    """Return the table's line of `name`, or raise naming it, the known ones and the nearest."""
    if name in ENTRIES:
        return ENTRIES[name]
    raise InputError(
        f"unknown data set {name!r}: use one of {', '.join(ENTRIES)}, or jsonl:PATH.{suggest(name, ENTRIES)}"
    )


def _own_options(name: str, options: dict[str, Any]) -> dict[str, Any]:
    defaults = {} if _own(name) else _entry(name).options
    known = (*COMMON, *defaults)
    for option in options:
        if option not in known:
            raise InputError(f"unknown option {option!r} for {name}: use {', '.join(known)}.{suggest(option, known)}")
    return {k: (str(v) if isinstance(v := options[k], Path) else v) for k in defaults if k in options}


def _check_common(name: str, common: dict[str, Any]) -> None:
    check_fold(common["fold"])
    if not isinstance(common["drop_unanimous"], bool):
        raise InputError(f"drop_unanimous must be true or false, got {common['drop_unanimous']!r}")
    if common["rule"] not in RULES:
        raise InputError(
            f"rule must be one of {', '.join(RULES)}, got {common['rule']!r}.{suggest(common['rule'], RULES)}"
        )
    kind = "jsonl" if _own(name) else _entry(name).kind
    if common["rule"] != "grouped" and kind not in ("rated", "jsonl"):
        raise InputError(f"rule {common['rule']!r} is for rated data, {name} is {kind}: use rule='grouped'")
    for option in ("max_prompts", "size"):
        most = common[option]
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
            raise InputError(f"{option} must be an int of at least 1 or None, got {most!r}")


def _features(whole: pd.DataFrame) -> Any:
    """Return the column types, told from the whole data set, so that all its splits agree, empty ones too."""
    from datasets import Features, List, Value

    types = {c: Value("string") for c in whole if c not in INTERNAL}
    if len(whole) and isinstance(whole["prompt"].iloc[0], list):
        types["prompt"] = List({"role": Value("string"), "content": Value("string")})
    vectors = {"features", "mix"} & set(types)
    types |= dict.fromkeys(vectors, List(Value("float64")))
    for column in set(types) - {*COLUMNS, "user_id", *vectors}:  # stated attitudes: numbers or words
        if all(v is None or isinstance(v, float) for v in whole[column].astype(object)):
            types[column] = Value("float64")
    return Features(types)


def _texts(values: pd.Series) -> pa.Array:
    """Return the texts for datasets; each distinct one is converted once, as an article is in many pairs."""
    codes, distinct = pd.factorize(values.to_numpy(object))
    texts = pa.array([None if v is None else str(v) for v in distinct], pa.string())
    return texts.take(pa.array(codes, mask=codes < 0))


def _own(name: str) -> bool:
    return str(name).startswith("jsonl:")
