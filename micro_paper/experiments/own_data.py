"""Your own data before it is encoded: what it can give, what is left out, and the settings that follow."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from micro_paper import data
from micro_paper.data.frames import Built
from micro_paper.data.lines import absolute, read_rows
from micro_paper.data.registry import build
from micro_paper.data.splits import FOLDS
from micro_paper.errors import InputError, shown
from micro_paper.features.settings import FeatureSettings
from micro_paper.paths import stores_dir

if TYPE_CHECKING:
    from micro_paper.features.extract import Planned

LONGEST = 4000  # characters of the texts that notebook 12 shows
LISTED = 12  # attributes with a line of their own


@dataclass(frozen=True)
class OwnData:
    """What a file gives.

    Attributes:
        name: `jsonl:PATH`.
        kind: "rated", "criteria" or "binary".
        frame: its labelled pairs.
        places: parameter -> the data set, for the parameters that it stands for.
        limits: n_folds and the numbers of labelled pairs, as the data can give them.
        tested: test prompts of all folds that are run.
        example: the texts that notebook 12 ranks.
        lines: what there is to say of it.
    """

    name: str
    kind: str
    frame: pd.DataFrame
    places: dict[str, str]
    limits: dict[str, int | str]
    tested: int
    example: dict[str, str]
    lines: list[str]

    @property
    def criteria(self) -> int:
        """How many different criteria are stated."""
        return self.frame["context"].nunique()


def own_data(name: str, values: Mapping[str, Any], alike: Collection[str] = ()) -> OwnData:
    """Read a file of own data and fit folds, budget and labelled pairs to it; nothing is encoded.

    Args:
        name: `jsonl:PATH`.
        values: of the profile; its `n_folds` and numbers of labelled pairs are upper limits.
        alike: ids of pairs that training leaves out, from `encoding`.

    Raises:
        InputError, MissingError: a row that cannot be used, or too few prompts; names it and the fix.
    """
    for limit, least in {"n_folds": 1, "budget": 1, "few_shot": 1, "n_bootstrap": 100}.items():
        if values[limit] < least:
            raise InputError(f"{limit} must be >= {least}, got {values[limit]}")
    if values["n_folds"] > FOLDS:
        raise InputError(f"n_folds must be <= {FOLDS}, got {values['n_folds']}")
    built = build(name)
    kind = data.describe(name).kind
    folds, lines = _folds(name, kind, values["n_folds"], alike)
    fewest = {split: pd.DataFrame(_counts(f)[split] for f in folds).min() for split in ("train", "test")}
    most, budget = int(fewest["train"].min()), values["budget"]
    if most < budget:
        low = fewest["train"][fewest["train"] < budget].sort_values(kind="stable")
        named = ", ".join(f"{shown(a)} has {n}" for a, n in list(low.items())[:LISTED])
        more = f" and {len(low) - LISTED} more attributes" if len(low) > LISTED else ""
        lines.append(
            f"below the budget of {budget} training pairs an attribute in the smallest fold: {named}{more}; {most} are "
            "used of each"
        )
    slot = "helpsteer_like" if kind == "rated" else "rpr_like"
    places = dict.fromkeys((slot, "stage1_world", "text_world", "train_on"), name) | {"bench_train": shlex.quote(name)}
    budgets = values["budgets_by_attribute"].replace(",", " ").split()
    possible = [n for n in budgets if not n.isdigit() or int(n) <= most]
    limits = {
        "n_folds": len(folds),
        "budget": min(budget, most),
        "few_shot": min(values["few_shot"], int(fewest["test"].min()) // 2),
        "budgets_by_attribute": " ".join(possible) or str(min(budget, most)),
    }
    lines = [*_what(name, kind, built), *_agreed(name, kind), *_table(_counts(folds[0])), *lines]
    tested = sum(splits["test"]["prompt_id"].nunique() for splits in folds)
    return OwnData(name, kind, built.frame, places, limits, tested, _example(folds[0]["test"], built.frame), lines)


def encoding(own: OwnData, values: Mapping[str, Any]) -> tuple[list[str], set[str]]:
    """Return what encoding the texts would take on this machine, and what is cut and left out.

    A few texts are encoded to measure it; nothing is written.

    Returns:
        Lines, and ids of the pairs whose two responses are the same tokens.

    Raises:
        InputError: more than 5 % of the texts would be cut, so that notebook 03 would refuse them.
    """
    from micro_paper.features.extract import plan_store

    settings = FeatureSettings.from_parameters(values)
    if settings is None:
        raise InputError(f"backbone is none, and {own.name} is text: name a backbone that reads it")
    whole = data.load_whole(own.name)
    planned = plan_store([whole], settings, stores_dir(), device=str(values["device"]))
    manifest = planned.store.manifest
    cut, texts = manifest["truncated"], sum(manifest["items"].values())
    limit = manifest.get("max_tokens", settings.max_tokens)
    lines = [f"cut to {limit} tokens: {cut['prompts']} prompts and {cut['responses']} responses of {texts} texts"]
    if sum(cut.values()) > 0.05 * texts:
        raise InputError(f"{own.name}: {lines[0]}, more than 5 %: raise max_tokens, or shorten them")
    alike = {pair for pair, same in zip(whole["pair_id"][:], planned.store.same_tokens(whole), strict=True) if same}
    if alike:
        lines.append(f"left out of training: {len(alike)} pairs whose two responses are the same tokens")
    return [*lines, _time(planned, settings)], alike


def _time(planned: Planned, settings: FeatureSettings) -> str:
    from micro_paper.features.extract import seconds_to_encode

    if not (left := sum(group.tokens for group in planned.missing())):
        return f"to encode: nothing, the {planned.store.manifest['tokens']:,} tokens are there from an earlier run"
    minutes = seconds_to_encode(planned, settings) / 60
    took = "less than a minute" if minutes < 1 else f"about {minutes:.0f} minutes"
    return f"to encode: {left:,} tokens, {took} on this machine"


def _folds(name: str, kind: str, most: int, alike: Collection[str]) -> tuple[list[dict[str, pd.DataFrame]], list[str]]:
    """Return the splits of the first folds that give every attribute enough prompts, and what to say of others."""
    found: list[dict[str, pd.DataFrame]] = []
    whole = build(name).frame
    for fold in range(most):
        try:
            training = {"drop_unanimous": kind == "rated"}
            splits = {
                split: data.split_frame(name, split, fold=fold, **({} if split == "test" else training))
                for split in data.SPLITS
            }
            for split in ("train", "validation"):
                splits[split] = splits[split][~splits[split]["pair_id"].isin(alike)]
            for attribute in dict.fromkeys(whole["attribute"]):
                _check(name, kind, fold, attribute, splits)
        except InputError as error:
            if not found:
                raise
            return found, [f"{len(found)} of {most} folds are run: {str(error).partition(': ')[2]}"]
        found.append(splits)
    return found, []


def _check(name: str, kind: str, fold: int, attribute: str, splits: Mapping[str, pd.DataFrame]) -> None:
    for split, least in (("test", 2), ("validation", 1), ("train", 1)):
        rows = splits[split]
        prompts = rows.loc[rows["attribute"] == attribute, "prompt_id"].nunique()
        if prompts < least:
            other = "category" if kind == "criteria" else "attribute"
            fix = f"give more prompts of it (10 are hardly enough), or put its rows under another {other}"
            raise InputError(
                f"{name}: attribute {shown(attribute)} has {prompts} {split} prompts in fold {fold}, at least {least} "
                f"are needed: {fix}"
            )


def _counts(splits: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the pairs of each attribute (index) and split (column)."""
    return pd.DataFrame({split: rows["attribute"].value_counts() for split, rows in splits.items()}).sort_index()


def _what(name: str, kind: str, built: Built) -> Iterator[str]:
    frame, file = built.frame, absolute(name.removeprefix("jsonl:"))
    users = f", {frame['user_id'].nunique()} users" if "user_id" in frame else ""
    yield (
        f"{file.name}: {sum(1 for _ in read_rows(file))} {kind} rows, {frame['prompt_id'].nunique()} prompts, "
        f"{frame['attribute'].nunique()} attributes, {len(frame)} labelled pairs{users}"
    )
    dropped = dict(built.skipped)
    if built.ratings is not None:
        dropped["ties"] = _ties(built.ratings, frame)
    if dropped := {reason: n for reason, n in dropped.items() if n}:
        yield "besides these, left out: " + ", ".join(f"{n} pairs ({reason})" for reason, n in dropped.items())


def _agreed(name: str, kind: str) -> Iterator[str]:
    """Say how many pairs of fold 0 training goes without, as the paper's does."""
    if kind == "rated":
        every, kept = (
            sum(len(data.split_frame(name, split, drop_unanimous=drop)) for split in ("train", "validation"))
            for drop in (False, True)
        )
        if every > kept:
            yield f"left out of training and validation: {every - kept} pairs that all attributes decide alike"


def _ties(ratings: pd.DataFrame, frame: pd.DataFrame) -> int:
    """Return how many pairs of responses rated on the same attribute make no labelled pair."""
    keys = [key for key in ("prompt_id", "user_id") if key in ratings]
    rated = ratings.groupby(keys, sort=False)[list(dict.fromkeys(frame["attribute"]))].count()
    return int((rated * (rated - 1) // 2).to_numpy().sum()) - len(frame)


def _table(counts: pd.DataFrame) -> Iterator[str]:
    width = max(9, *(len(str(a)[:40]) for a in counts.index[:LISTED]))
    yield f"{'attribute':{width}} {'train':>7} {'validation':>11} {'test':>7}   (pairs of fold 0)"
    for attribute, line in list(counts.iterrows())[:LISTED]:
        yield f"{str(attribute)[:40]:{width}} {line.train:>7} {line.validation:>11} {line.test:>7}"
    if len(counts) > LISTED:
        yield f"and {len(counts) - LISTED} more"
    total = counts.sum()
    yield f"{'all':{width}} {total.train:>7} {total.validation:>11} {total.test:>7}"


def _example(test: pd.DataFrame, whole: pd.DataFrame) -> dict[str, str]:
    """Return the texts that notebook 12 ranks: the shortest test pair, under its criterion and another one."""
    prompts = test["prompt"].map(lambda p: p if isinstance(p, str) else p[-1]["content"])
    length = prompts.str.len() + test["chosen"].str.len() + test["rejected"].str.len()
    row = test.loc[length.idxmin()]
    if length.min() > LONGEST:
        return {}
    others = [c for c in dict.fromkeys(whole["context"]) if c != row["context"]]
    return {
        "prompt": prompts[length.idxmin()],
        "answer_1": row["chosen"],
        "answer_2": row["rejected"],
        "context_1": row["context"],
        "context_2": (others or [row["context"]])[0],
    }
