"""A world: one data set's splits as feature pairs, from text, tabular or synthetic data alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from micro_paper.data import synthetic, synthetic_people
from micro_paper.data.pairs import KEYS
from micro_paper.errors import InputError
from micro_paper.files import sha256
from micro_paper.pairs import Pairs
from micro_paper.paths import stores_dir

if TYPE_CHECKING:
    from micro_paper.features.store import FeatureStore

ALL = "all"  # the budget that asks for as many pairs as every attribute can give


@dataclass(frozen=True)
class World:
    """The three splits of a data set, disjoint by prompt.

    Attributes:
        name: of the data set.
        fold: which of the five rotations of the prompts this is.
        train, validation, test: pairs on features.
        fingerprint: content hash of data and features, for the manifest.
        context_source: where the context-labelled pairs of stage 2 are drawn from; None = `train`.
        context_validation: pairs that choose what stage 2 leaves open (tau); None = `validation`.
        alike: pairs left out of training and validation because the backbone reads the same tokens for both responses.
    """

    name: str
    fold: int
    train: Pairs
    validation: Pairs
    test: Pairs
    fingerprint: str
    context_source: Pairs | None = None
    context_validation: Pairs | None = None
    alike: int = 0

    @property
    def attributes(self) -> list[str]:
        """Attributes of the test pairs, sorted."""
        return sorted(set(self.test.attribute))

    @property
    def context_pairs(self) -> Pairs:
        """The pairs that `contexts` draws from: `context_source`, or the training pairs."""
        return self.train if self.context_source is None else self.context_source

    @property
    def largest_budget(self) -> int:
        """The most context-labelled pairs an attribute that every attribute can give."""
        return largest_budget(self.context_pairs)

    def contexts(self, budget: int | str, seed: int) -> Pairs:
        """Return the context-labelled pairs of stage 2, `budget` of each attribute, as `context_budget` draws them.

        A caller that is content with fewer says so: `min(budget, world.largest_budget)`.

        Raises:
            InputError: an attribute has fewer pairs than the budget; names it and the largest budget.
        """
        return context_budget(self.context_pairs, budget, seed)

    def forget_derived(self) -> None:
        """Drop the scaled tables that methods left with the pairs, which take as much memory as the features."""
        for pairs in (self.train, self.validation, self.test, self.context_source, self.context_validation):
            if pairs is not None:
                pairs.derived.clear()


def load_world(
    name: str,
    *,
    fold: int = 0,
    features=None,
    device: str = "auto",
    store: str | Path | None = None,
    drop_unanimous: bool = True,
    synthetic_prompts: int = 1500,
    progress: bool = False,
    encoded: FeatureStore | None = None,
    most_train_pairs: int = 0,
) -> World:
    """Load a world by name.

    Args:
        name: a text or tabular data set of `micro_paper.data`, or "synthetic-...".
        fold: 0 .. 4.
        features: FeatureSettings of a text world; None for synthetic and tabular ones.
        device: where features are extracted that are not in the store yet.
        store: folder of the feature stores; None = build/features of the checkout.
        drop_unanimous: leave out training and validation pairs that every attribute decides alike, as the paper
            does. Test pairs stay complete.
        synthetic_prompts: training prompts of a synthetic world (a tenth as many for validation, a fifth for test);
            the worlds of people have their own size.
        encoded: a store that holds the data set's texts, read in place of its pool's.
        most_train_pairs: at most so many training pairs, see `stratified`; the same ones for every row and seed of
            runs. 0 = all. Validation and test are never cut, and synthetic worlds have their own size.
    """
    if name in synthetic_people.WORLDS:
        splits = synthetic_people.draw_world(name, fold=fold)
        return World(name, fold, **splits, fingerprint=_fingerprint(splits))
    if name.startswith("synthetic-"):
        n = synthetic_prompts
        samples = synthetic.draw_world(name, fold=fold, train=n, validation=max(20, n // 10), test=max(40, n // 5))
        splits = {split: sample.pairs for split, sample in samples.items()}
        return World(name, fold, **splits, fingerprint=_fingerprint(splits))
    from micro_paper import data

    info = data.describe(name)
    options = {"drop_unanimous": True} if drop_unanimous and info.kind == "rated" else {}
    if most_train_pairs < 0:
        raise InputError(f"most_train_pairs must be at least 1, or 0 for all, got {most_train_pairs}")
    of_split = {"train": options, "validation": options, "test": {}}
    sets = {split: data.load(name, split, fold=fold, **own) for split, own in of_split.items()}
    if 0 < most_train_pairs < len(sets["train"]):
        labels = data.split_frame(name, "train", fold=fold, **options)
        rng = np.random.default_rng(fold)
        kept = stratified(labels["comparison_id"], labels["attribute"], most_train_pairs, rng)
        sets["train"] = sets["train"].select(kept)
    if info.kind == "tabular":
        splits = _tabular(sets)
        return World(name, fold, **splits, fingerprint=_fingerprint(splits))
    if features is None:
        raise InputError(f"{name} is a text world: give feature settings with a backbone")
    if encoded is None:
        root = str(store or stores_dir())
        encoded = _pool_store(name, features, device, root, progress)
    splits = {split: encoded.pairs(rows) for split, rows in sets.items()}
    if info.kind == "rated":
        table = data.ratings(name)
        splits = {split: with_ratings(pairs, sets[split], table) for split, pairs in splits.items()}
    if "mix" in sets["test"].column_names:
        if features.heads_see:
            raise InputError(f"{name} has no one criterion to put before the responses: give response_context without")
        sentences = [data.CRITERIA[info.pool][attribute] for attribute in info.attributes]
        splits = {split: with_mix(pairs, sets[split], encoded, sentences) for split, pairs in splits.items()}
    splits, alike = _without_alike(name, splits)
    return World(name, fold, **splits, fingerprint=_fingerprint(splits, encoded.address), alike=alike)


def stratified(comparison: Sequence[str], attribute: Sequence[str], most: int, rng: np.random.Generator) -> np.ndarray:
    """Return the rows of a random part of labelled pairs that has every attribute in the same share, in order.

    Two responses stay with all of their labels. Of all kinds of comparisons, told apart by their labels, the same share
    is drawn.

    Args:
        comparison, attribute: (n,) which two responses a row compares, and on what.
        most: at most so many rows, and nearly as many where there are.
    """
    rows = pd.DataFrame({"comparison": np.asarray(comparison), "attribute": np.asarray(attribute)})
    whole = rows.groupby("comparison", sort=True)["attribute"].agg([lambda own: "\x1f".join(sorted(own)), "size"])
    whole.columns = ["labels", "size"]
    whole = whole.iloc[rng.permutation(len(whole))]
    of_labels = whole.groupby("labels")["size"]
    reached = of_labels.cumsum() - whole["size"] * rng.random(len(whole))  # a rare kind stands anywhere, not last
    whole = whole.iloc[np.argsort(reached / of_labels.transform("sum"), kind="stable")]
    kept = whole.index[whole["size"].cumsum() <= most]
    return np.flatnonzero(rows["comparison"].isin(kept))


def _without_alike(name: str, splits: Mapping[str, Pairs]) -> tuple[dict[str, Pairs], int]:
    """Return the splits without pairs of one feature row, which teach nothing, and how many; test stays complete."""
    kept, alike = dict(splits), 0
    for split in ("train", "validation"):
        same = (splits[split].chosen == splits[split].rejected).numpy()
        if len(same) and same.all():
            raise InputError(f"every {split} pair of {name} has two responses of the same tokens: raise max_tokens")
        if same.any():
            kept[split] = splits[split].select(np.flatnonzero(~same))
            alike += int(same.sum())
    return kept, alike


def with_ratings(pairs: Pairs, rows: Any, ratings: pd.DataFrame) -> Pairs:
    """Return the pairs with the ratings of their responses.

    Args:
        rows: the data set behind the pairs, in their order.
        ratings: columns prompt_id, prompt, response and one an attribute, as `data.ratings` gives them.
    """
    names = tuple(c for c in ratings.columns if c not in KEYS)
    mean = ratings.groupby(["prompt_id", "response"], sort=False)[list(names)].mean()
    place = {key: i for i, key in enumerate(mean.index)}
    table = torch.full((len(pairs.responses), len(names)), torch.nan, dtype=torch.float64)
    values = torch.tensor(mean.to_numpy(dtype=np.float64))
    for side, where in (("chosen", pairs.chosen), ("rejected", pairs.rejected)):
        keys = zip(rows["prompt_id"][:], rows[side][:], strict=True)
        found = np.array([place.get(key, -1) for key in keys], np.int64)
        table[where[found >= 0]] = values[found[found >= 0]]
    return replace(pairs, ratings=table, rating_names=names)


def with_mix(pairs: Pairs, rows: Any, encoded: FeatureStore, sentences: Sequence[str]) -> Pairs:
    """Return the pairs with mixed contexts: u(x, mix) = sum_c share_c u(x, c), and u(mix) = sum_c share_c u(c).

    Args:
        rows: the data set behind the pairs, in their order, with the column mix: shares of the criteria.
        encoded: features; of every criterion with a share on a prompt it has u(x, c).
        sentences: of the criteria.

    Raises:
        InputError: a share of a criterion that stands before no text; names it.
    """
    from datasets import Dataset

    shares = torch.tensor(rows["mix"][:], dtype=pairs.prompts.dtype).reshape(len(pairs), len(sentences))
    _, first = np.unique(pairs.prompt.numpy(), return_index=True)  # a row of each prompt
    stated = {c: [rows[int(i)][c] for i in first] for c in ("prompt", "chosen", "rejected")}
    contexts = torch.zeros(len(first), len(sentences), pairs.prompts.shape[1], dtype=pairs.prompts.dtype)
    criteria = torch.zeros(len(sentences), pairs.prompts.shape[1], dtype=pairs.prompts.dtype)
    for number, sentence in enumerate(sentences):
        used = pairs.prompt[shares[:, number] > 0].unique()
        if len(used):
            asked = {c: [texts[i] for i in used] for c, texts in stated.items()} | {"context": [sentence] * len(used)}
            try:
                found = encoded.pairs(Dataset.from_dict(asked))
            except InputError as error:
                raise InputError(
                    f"a mix has a share of a criterion that no text states, {sentence!r}: {error}"
                ) from None
            contexts[used, number] = found.context_features.to(contexts)
            criteria[number] = found.criterion_features[0].to(criteria)
    keys = torch.cat([pairs.prompt[:, None].to(shares), shares], dim=1)
    mixes, inverse = torch.unique(keys, dim=0, return_inverse=True)
    weights = mixes[:, 1:]
    return replace(
        pairs,
        contexts=torch.einsum("mc,mcq->mq", weights, contexts[mixes[:, 0].long()]),
        context=inverse,
        criteria=weights @ criteria,
        criterion=inverse,
    )


@lru_cache(maxsize=4)
def _pool_store(name: str, features: Any, device: str, root: str, progress: bool):
    """Open a pool's store once a process: finding its address hashes every text."""
    from micro_paper.features.extract import pool_store

    return pool_store(name, features, root, device=device, progress=progress)


def load_folds(name: str, folds: int, **options) -> list[World]:
    """Return the first `folds` rotations of a world (1 .. 5)."""
    if not 1 <= folds <= 5:
        raise InputError(f"n_folds must lie in 1 .. 5, got {folds}")
    return [load_world(name, fold=fold, **options) for fold in range(folds)]


def context_budget(pairs: Pairs, budget: int | str, seed: int) -> Pairs:
    """Return as many context-labelled pairs of each attribute, drawn without replacement.

    Args:
        budget: pairs an attribute, or "all": as many as every attribute can give (`largest_budget`).
        seed: of the draw; a smaller budget of the same seed takes the first pairs of a larger one.

    Raises:
        InputError: budget is not "all" or a whole number of at least 1, or an attribute has fewer pairs than the
            budget; names it and the largest budget.
    """
    most = largest_budget(pairs)
    if isinstance(budget, str) and budget == ALL:
        budget = most
    if isinstance(budget, bool) or not isinstance(budget, (int, np.integer)) or budget < 1:
        raise InputError(f"budget must be >= 1 pair an attribute, or {ALL!r} for the largest, got {budget!r}")
    names, counts = np.unique(pairs.attribute, return_counts=True)
    if budget > most:
        scarce = str(names[counts.argmin()])
        raise InputError(
            f"budget {budget} is larger than the {most} training pairs of {scarce!r}: use at most {most}, or {ALL!r}"
        )
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(pairs.attribute == name))[:budget] for name in names]
    return pairs.select(np.concatenate(rows))


def largest_budget(pairs: Pairs) -> int:
    """Return the largest context budget that every attribute of `pairs` can give."""
    return int(np.unique(pairs.attribute, return_counts=True)[1].min())


def _tabular(sets) -> dict[str, Pairs]:
    """Point each pair's difference features at row 2i + 1 and a zero row, as a linear reward sees them."""
    stated = sorted({str(c) for rows in sets.values() for c in rows["context"]})
    out = {}
    for split, rows in sets.items():
        difference = torch.tensor(np.asarray(rows["features"], dtype=np.float64))
        n = len(difference)
        context = np.searchsorted(stated, np.asarray(rows["context"], dtype=str))
        user = np.asarray(rows["user_id"], dtype=str) if "user_id" in rows.column_names else None
        out[split] = Pairs(
            responses=torch.cat([torch.zeros_like(difference[:1]), difference]),
            chosen=torch.arange(1, n + 1),
            rejected=torch.zeros(n, dtype=torch.long),
            prompts=torch.zeros(1, len(stated), dtype=torch.float64),
            prompt=torch.zeros(n, dtype=torch.long),
            contexts=torch.eye(len(stated), dtype=torch.float64),
            context=torch.from_numpy(context),
            lengths=torch.zeros(n + 1, dtype=torch.float64),
            pair_id=np.asarray(rows["pair_id"], dtype=str),
            prompt_id=np.asarray(rows["prompt_id"], dtype=str),
            attribute=np.asarray(rows["attribute"], dtype=str),
            user_id=user,
        )
    return out


def names_of(worlds: Sequence[World]) -> dict[str, str]:
    """Return {name: hash over the fingerprints of its folds}, as a manifest wants its inputs."""
    names = dict.fromkeys(world.name for world in worlds)
    folds = {name: "".join(w.fingerprint for w in worlds if w.name == name) for name in names}
    return {name: sha256(text.encode()) for name, text in folds.items()}


def _fingerprint(splits: Mapping[str, Pairs], address: str = "") -> str:
    """Hash which pairs are in which split, with their labels, and their features (by a store's address if any)."""

    def pieces() -> Iterator[bytes]:
        yield address.encode()
        for split, pairs in splits.items():
            for column in (pairs.pair_id, pairs.prompt_id, pairs.attribute):
                yield "\0".join([split, *column]).encode()
            if not address:
                for table in (pairs.difference, pairs.prompts, pairs.contexts):
                    yield b"" if table is None else table.cpu().numpy().tobytes()

    return sha256(pieces())
