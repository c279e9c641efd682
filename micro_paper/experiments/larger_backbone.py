"""The same data sets on features of a deeper cut, or of a larger backbone (tables 11 and 12)."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from micro_paper import data
from micro_paper.data.named import likes_of
from micro_paper.errors import InputError
from micro_paper.experiments.worlds import World, load_folds
from micro_paper.features.extract import FeatureStore, extract
from micro_paper.features.settings import FeatureSettings
from micro_paper.paths import stores_dir

NOT_APPLICABLE = (
    "This profile reads no texts at a second depth. That took twice as long as all else, and a deeper cut of one small "
    "model is not the paper's step from a 3B to an 8B backbone, so the claims on it could not be told. The profile "
    "open has both depths, the profile paper has both backbones."
)
# Rows of tables 12 and 11.
ROWS = (
    "micro",
    "micro_plus",
    "single",
    "single_exact",
    "static_learned",
    "shared_base",
    "shared_base_best",
    "armo",
    "pca_heads",
    "criterion_fewshot",
)


def deeper_settings(parameters: Mapping[str, Any]) -> FeatureSettings:
    """Return the FeatureSettings with `deeper_backbone` and `deeper_layers`, all else as the parameters state it.

    Raises:
        InputError: there is no deeper backbone, or it is the same as `backbone` and `layers`.
    """
    names = {"backbone": "deeper_backbone", "layers": "deeper_layers"}
    wanted = {name: parameters[theirs] for name, theirs in names.items()}
    settings = FeatureSettings.from_parameters({**parameters, **wanted})
    if settings is None:
        raise InputError("deeper_backbone is none: name a backbone to compare with")
    if all(parameters.get(name) == value for name, value in wanted.items()):
        raise InputError("deeper_backbone and deeper_layers are those of backbone and layers: nothing to compare")
    return settings


def with_text(name: str, text_world: str) -> str:
    """Return `name`, or `text_world` where `name` is synthetic: without text there is nothing to read deeper.

    Raises:
        InputError: `text_world` has no text either.
    """
    if not name.startswith("synthetic-"):
        return name
    if text_world == "none" or text_world.startswith("synthetic-"):
        raise InputError(f"{name} has no text and text_world is {text_world!r}: name a data set with text")
    return text_world


def stand_in(asked: str, read: str) -> str:
    """Return the sentence of a caption that says where `with_text` put another data set in place of the asked one."""
    return "" if asked == read else f" The short texts of {read} stand in for {asked}, which has no text."


def deeper_names(parameters: Mapping[str, Any]) -> list[str]:
    """Return the data sets of tables 12 and 11, with text, each once; [] where there is no deeper backbone."""
    if parameters.get("deeper_backbone", "none") == "none":
        return []
    wanted = [with_text(name, str(parameters["text_world"])) for name in likes_of(parameters).values()]
    return list(dict.fromkeys(wanted))


def deeper_store(
    names: Sequence[str],
    settings: FeatureSettings,
    root: str | Path | None = None,
    *,
    device: str = "auto",
    shard: int | None = None,
    of: int | None = None,
    progress: bool = False,
) -> FeatureStore:
    """Return one store of the texts of these data sets alone; texts that they share are encoded once.

    A pool's store (`features.pool_store`) holds all data sets of the pool, several times the texts that tables 11 and
    12 need.

    Args:
        names: data sets with text.
        root: folder of the stores; None = build/features of the checkout.
        device, shard, of, progress: as in `features.extract`.
    """
    sets = [rows for name in dict.fromkeys(names) if len(rows := data.load_whole(name))]
    folder = root or stores_dir()
    return extract(sets, settings, folder, device=device, shard=shard, of=of, progress=progress and sys.stderr.isatty())


def deeper_folds(
    names: Sequence[str], folds: int, settings: FeatureSettings, *, most_train_pairs: int = 0, **options: Any
) -> dict[str, list[World]]:
    """Return name -> its first `folds` rotations on the deeper features; only texts of these names are encoded.

    Args:
        most_train_pairs: of `worlds.load_world`.
        options: of `deeper_store`: root, device.
    """
    encoded = deeper_store(names, settings, **options)
    how = {"features": settings, "encoded": encoded, "most_train_pairs": most_train_pairs}
    return {name: load_folds(name, folds, **how) for name in dict.fromkeys(names)}


def label(settings: FeatureSettings) -> str:
    """Return what a table calls these features."""
    return f"{settings.backbone}, {f'{settings.layers} layers' if settings.layers else 'all layers'}"
