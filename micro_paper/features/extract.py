"""From texts to features: phi(x, a), u(x) and u(x, c) of a frozen backbone, encoded once and kept."""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from micro_paper import data
from micro_paper.data.criteria import apply_context
from micro_paper.errors import InputError
from micro_paper.features import store as files
from micro_paper.features.backbone import Backbone, Group, feature_dtype, resolve_dtype
from micro_paper.features.items import CONTEXT, CRITERION, PROMPT, RESPONSE, Item, collect, row_items
from micro_paper.features.model_files import fingerprint
from micro_paper.features.plan import Plan, make_plan, named
from micro_paper.features.settings import FeatureSettings
from micro_paper.features.store import FeatureStore, Index
from micro_paper.features.template import Messages, check_text
from micro_paper.features.tokens import as_messages
from micro_paper.files import sha256
from micro_paper.training import resolve_device

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "FeatureStore",
    "Planned",
    "encode_new",
    "encode_prompts",
    "extract",
    "plan_store",
    "pool_store",
    "seconds_to_encode",
]


def extract(
    datasets: Sequence[Dataset],
    settings: FeatureSettings,
    root: str | Path,
    *,
    backbone: Backbone | None = None,
    device: str = "auto",
    shard: int | None = None,
    of: int | None = None,
    progress: bool = False,
) -> FeatureStore:
    """Encode the distinct texts of the data sets once, or return what is already there.

    Interrupted at any moment, the next call goes on with the shards that are missing. On a cluster each job
    encodes part `shard` of `of`; a last call without them adds the manifest (and whatever is still missing).

    Args:
        datasets: columns prompt, chosen, rejected, and context where criteria are stated.
        root: folder of the stores; each has its own folder named by its content.
        backbone: a loaded one with these settings; loaded when needed otherwise (not for a complete store).
        device: where it is loaded, see `training.resolve_device`. No part of the address: a store is the same wherever
            it was made (but dtype "auto" is what that device computes in).
        shard, of: this part, counted from 0, of how many.
        progress: show a bar where stderr is a terminal.

    Returns:
        The store; after a part it may have `missing` shards.

    Raises:
        InputError: settings or texts that cannot be used, or a damaged file; names it and the fix.
        MissingError: the backbone is not to be had.
    """
    if (shard is None) != (of is None) or (of is not None and not 0 <= shard < of):
        raise InputError(f"shard must be 0 to of - 1, got shard={shard} of={of}")
    planned = plan_store(datasets, settings, root, backbone=backbone, device=device)
    store = planned.store
    if planned.backbone is None:
        return store
    store.folder.mkdir(parents=True, exist_ok=True)
    files.write_index(store.folder, store.index, store.address)
    mine = [s for s in range(store.index.shards) if of is None or s % of == shard]
    _encode_shards(planned, mine, settings, progress)
    if of is not None or store.missing:
        return replace(store, manifest={})
    files.write_manifest(store.folder, store.manifest)
    return store


@dataclass(frozen=True)
class Planned:
    """A store before its texts are encoded.

    Attributes:
        store: with what its manifest will say; on disk where it is complete.
        groups, cuts: the work of its shards, as in `Plan`; empty where it is complete.
        backbone: loaded; None where the store is complete.
    """

    store: FeatureStore
    groups: Sequence[Group] = ()
    cuts: Sequence[int] = ()
    backbone: Backbone | None = None

    def missing(self) -> list[Group]:
        """Return the groups that are still to be encoded."""
        return [g for s in self.store.missing for g in self.groups[self.cuts[s] : self.cuts[s + 1]]]


def plan_store(
    datasets: Sequence[Dataset],
    settings: FeatureSettings,
    root: str | Path,
    *,
    backbone: Backbone | None = None,
    device: str = "auto",
) -> Planned:
    """Return what `extract` would encode, and how; arguments and errors as there. Nothing is written."""
    _check_backbone(backbone, settings)
    dtype = backbone.dtype if backbone else resolve_dtype(settings.dtype, resolve_device(device))
    items = collect(datasets, settings.heads_see)
    identity = _identity(items, settings, backbone, dtype)
    address = sha256(json.dumps(identity, sort_keys=True).encode())
    folder = Path(root) / address
    if store := files.open_store(folder, address, identity["settings"]):
        return Planned(store)
    backbone = backbone or Backbone.load(settings.backbone, settings.layers, settings.dtype, device)

    def name(item: Item) -> str:
        for dataset in datasets:
            for i, row in enumerate(row_items(dataset, settings.heads_see)):
                if item in row:
                    source = dataset[i].get("source") or "the data set"
                    return f"row {i + 1} of {source}, {named(item)}"
        return named(item)

    plan = make_plan(list(items.values()), settings, backbone, name)
    index = Index(list(items), plan.rows, plan.offsets)
    names = {RESPONSE: "responses", PROMPT: "prompts", CONTEXT: "contexts", CRITERION: "criteria"}
    counts = {name: sum(i.kind == kind for i in items.values()) for kind, name in names.items()}
    manifest = {
        "address": address,
        "backbone": settings.backbone,
        "layers": settings.layers,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "settings": identity["settings"],
        "fingerprint": backbone.fingerprint,
        "hidden_size": backbone.hidden_size,
        "items": counts,
        "sequences": int(plan.offsets[-1]),
        "tokens": sum(g.tokens for g in plan.groups),
        "truncated": plan.truncated,
        "shard_count": index.shards,
    }
    if backbone.chat.max_tokens < settings.max_tokens:
        manifest["max_tokens"] = backbone.chat.max_tokens
    return Planned(FeatureStore(folder, address, index, manifest), plan.groups, plan.cuts, backbone)


def seconds_to_encode(planned: Planned, settings: FeatureSettings, probe: int = 1500) -> float:
    """Return how long this machine would take, by the time that it takes for some `probe` tokens of the work."""
    left = planned.missing()
    if not left:
        return 0.0
    some, tokens = [], 0
    for group in left[:: max(1, len(left) // 16)]:
        some.append(group)
        tokens += group.tokens
        if tokens >= probe:
            break
    for _ in planned.backbone.encode(some[:1], settings.token_budget):  # the first pass sets things up
        pass
    began = time.perf_counter()
    for _ in planned.backbone.encode(some, settings.token_budget):
        pass
    return (time.perf_counter() - began) * sum(g.tokens for g in left) / tokens


def pool_store(
    name: str,
    settings: FeatureSettings,
    root: str | Path,
    *,
    backbone: Backbone | None = None,
    device: str = "auto",
    shard: int | None = None,
    of: int | None = None,
    progress: bool = False,
    **options: Any,
) -> FeatureStore:
    """Return one store for every split and fold of every data set that shares its texts with `name`.

    Args:
        name: a text data set of `micro_paper.data`.
        backbone, device, shard, of, progress: as in `extract`.
        options: handed to `data.load_whole`.

    Raises:
        InputError, MissingError: as `extract` and `data.load_whole`.
    """
    pool = data.describe(name).pool
    names = sorted({name, *(other for other in data.names() if data.describe(other).pool == pool)})
    sets = [rows for n in names if len(rows := data.load_whole(n, **options))]
    return extract(sets, settings, root, backbone=backbone, device=device, shard=shard, of=of, progress=progress)


def encode_new(
    backbone: Backbone,
    settings: FeatureSettings,
    prompt: str | Messages,
    responses: Sequence[str],
    context: str | None = None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Encode one prompt with its responses, and with a criterion where one is given, without a store.

    What is cut to `max_tokens`, and responses that are then alike, are told by a warning.

    Returns:
        phi (n, d), u(x) (q,), u(x, c) (q,) or None, and u(c) (q,) or None; float64 of a float64 backbone, else
        float32.

    Raises:
        InputError: a text that cannot be encoded; names it.
    """
    _check_backbone(backbone, settings)
    if not isinstance(responses, list | tuple):
        raise InputError("responses must be a list of texts")
    for i, response in enumerate(responses):
        check_text(response, f"response {i}")
    if context is not None:
        check_text(context, "context")
    as_messages(prompt)
    base = prompt
    if context and settings.heads_see:
        base, _ = apply_context(context, prompt, settings.heads_see)
    items = [Item(RESPONSE, base, r) for r in responses] + [Item(PROMPT, prompt)]
    items += [Item(CONTEXT, prompt, context), Item(CRITERION, context)] if context else []
    plan = make_plan(items, settings, backbone)
    _warn(plan, responses)
    table = _encode(plan.groups, 0, int(plan.offsets[-1]), settings, backbone)[torch.from_numpy(plan.rows)]
    n = len(responses)
    return table[:n], table[n], *((table[n + 1], table[n + 2]) if context else (None, None))


def encode_prompts(
    prompts: Sequence[str | Messages],
    settings: FeatureSettings,
    *,
    backbone: Backbone | None = None,
    device: str = "auto",
) -> Tensor:
    """Return u(x) of each prompt, (n, q), without a store: float64 of a float64 backbone, else float32.

    Raises:
        InputError: a prompt that cannot be encoded, or a backbone of other settings.
        MissingError: the backbone is not to be had.
    """
    _check_backbone(backbone, settings)
    backbone = backbone or Backbone.load(settings.backbone, settings.layers, settings.dtype, device)
    plan = make_plan([Item(PROMPT, prompt) for prompt in prompts], settings, backbone)
    return _encode(plan.groups, 0, int(plan.offsets[-1]), settings, backbone)[torch.from_numpy(plan.rows)]


def _warn(plan: Plan, responses: Sequence[str]) -> None:
    """Warn of texts that were cut, and of different responses that are one to the backbone."""
    if cut := sum(plan.truncated.values()):
        warnings.warn(f"{cut} of the prompts and responses are cut to max_tokens", stacklevel=3)
    first: dict[int, int] = {}
    for i, row in enumerate(plan.rows[: len(responses)].tolist()):
        j = first.setdefault(row, i)
        if responses[i] != responses[j]:
            warnings.warn(f"responses {j} and {i} are the same to the backbone: their rewards are equal", stacklevel=3)


def _check_backbone(backbone: Backbone | None, settings: FeatureSettings) -> None:
    if backbone is None:
        return
    wanted = {"backbone": settings.backbone, "layers": settings.layers}
    given = {"backbone": backbone.name, "layers": backbone.layers}
    if settings.dtype != "auto":
        wanted["dtype"], given["dtype"] = settings.dtype, str(backbone.dtype).removeprefix("torch.")
    for name, value in wanted.items():
        if given[name] != value:
            raise InputError(f"the backbone has {name}={given[name]!r}, the settings {value!r}: make them equal")


def _identity(
    items: Mapping[bytes, Item], settings: FeatureSettings, backbone: Backbone | None, dtype: torch.dtype
) -> dict[str, Any]:
    """Return all that a store's content depends on; `dtype` is the one that is computed in."""
    named = asdict(settings) | {"dtype": str(dtype).removeprefix("torch.")}
    # A folder is known by what is in it, not by where it lies.
    named.pop("backbone")
    if settings.heads_see is None:  # the items alone tell the two apart; only a store that has it must say so
        named.pop("response_context")
    sample = None
    if any(item.kind == CONTEXT for item in items.values()):
        sample = apply_context("C", "P", settings.context_position)
    return {
        "format": files.FORMAT,
        "settings": named,
        "fingerprint": backbone.fingerprint if backbone else fingerprint(settings.backbone),
        "context": sample,
        "items": sha256(items),
    }


def _encode(groups: Sequence[Group], start: int, stop: int, settings: FeatureSettings, backbone: Backbone) -> Tensor:
    """Return the features (stop - start, d) of the rows start to stop, which `groups` fill."""
    table = torch.full((stop - start, backbone.hidden_size), torch.nan, dtype=feature_dtype(backbone.dtype))
    for rows, values in backbone.encode(groups, settings.token_budget):
        table[rows - start] = values
    return table


def _encode_shards(planned: Planned, mine: Sequence[int], settings: FeatureSettings, progress: bool) -> None:
    from tqdm import tqdm

    store, backbone = planned.store, planned.backbone
    offsets, cuts = store.index.offsets, planned.cuts
    total = sum(int(offsets[s + 1] - offsets[s]) for s in mine)
    with tqdm(total=total, unit="text", disable=not (progress and sys.stderr.isatty())) as bar:
        for s in mine:
            start, stop = int(offsets[s]), int(offsets[s + 1])
            if files.shard_path(store.folder, s).is_file():
                files.read_shard(store.folder, s, store.address)  # refuse a damaged one here, not after hours
            else:
                table = _encode(planned.groups[cuts[s] : cuts[s + 1]], start, stop, settings, backbone)
                files.write_shard(store.folder, s, table, store.address, backbone.dtype)
            bar.update(stop - start)
