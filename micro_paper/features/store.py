"""Features on disk: content-addressed folders of safetensors shards with an index and a manifest.

root/<address>/
    index.safetensors       keys (n, 32) uint8, rows (n,) int64, offsets (shards + 1,) int64
    shard-00000.safetensors features (rows, d); the header holds address, number and the sha256 of the values
    manifest.json           settings, backbone, counts; written last, so a folder with it is complete

Every file is written under a draft name and renamed, so a file that exists is whole, and processes that
share a folder only ever replace a file by the same bytes. Features computed in bfloat16 (8 bits of mantissa)
are kept in float16 (11 bits), half the disk of float32: 3072 dimensions of 40,000 responses take 245 MB.
Features computed in float32 or float64 are kept so. Those in float64 are read as such, all others as float32.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from micro_paper.errors import InputError
from micro_paper.features.items import RowKeys, row_keys
from micro_paper.files import DRAFT, sha256, write_atomic
from micro_paper.pairs import Pairs

FORMAT = 1
_INDEX = "index.safetensors"
_FLOAT16_LIMIT = 60000.0  # float16 ends at 65504


@dataclass(frozen=True)
class Index:
    """Where features lie.

    Attributes:
        keys: (n,) item keys, sorted.
        rows: (n,) the table row of each item.
        offsets: (shards + 1,) shard s holds the table rows offsets[s] to offsets[s + 1].
    """

    keys: list[bytes]
    rows: np.ndarray
    offsets: np.ndarray

    @property
    def shards(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class FeatureStore:
    """Features of a set of texts, read from `folder`.

    Attributes:
        folder: root / address.
        address: sha256 over settings, backbone and texts; it names the content.
        index: where each text's features lie.
        manifest: what `report` shows; empty while shards are missing.
    """

    folder: Path
    address: str
    index: Index
    manifest: dict[str, Any]

    @property
    def missing(self) -> list[int]:
        """Numbers of the shards that are not there yet."""
        return [s for s in range(self.index.shards) if not shard_path(self.folder, s).is_file()]

    def report(self) -> dict[str, Any]:
        """Return counts: items by kind, tokens encoded, texts cut to max_tokens, shards. Nothing volatile."""
        keys = ("backbone", "layers", "dtype", "items", "sequences", "tokens", "truncated", "max_tokens")
        shards = {"address": self.address, "shards": self.index.shards, "missing": len(self.missing)}
        return {key: self.manifest[key] for key in keys if key in self.manifest} | shards

    def rows(self, rows: np.ndarray) -> Tensor:
        """Return the features (r, d) of table rows (r,): float64 where they were computed so, else float32.

        Raises:
            InputError: a shard is missing or damaged.
        """
        if missing := self.missing:
            raise InputError(
                f"{len(missing)} of {self.index.shards} shards of {self.folder} are missing (first "
                f"{missing[0]}): run the extraction of the other parts, then once without shard"
            )
        shard = np.searchsorted(self.index.offsets, rows, side="right") - 1
        out: Tensor | None = None
        for s in np.unique(shard):
            values = read_shard(self.folder, int(s), self.address)
            if len(values) != self.index.offsets[s + 1] - self.index.offsets[s]:
                raise _damaged(shard_path(self.folder, int(s)), "a wrong number of rows")
            if out is None:
                out = torch.empty(len(rows), values.shape[1], dtype=torch.promote_types(values.dtype, torch.float32))
            where = np.flatnonzero(shard == s)
            local = torch.from_numpy(rows[where] - self.index.offsets[s])
            out[torch.from_numpy(where)] = values[local].to(out.dtype)
        return torch.empty(0, self.manifest.get("hidden_size", 0)) if out is None else out

    def alike(self, dataset: Any) -> int:
        """Return how many pairs of a data set have two responses of the same tokens, by nature or because of a cut."""
        return int(self.same_tokens(dataset).sum())

    def same_tokens(self, dataset: Any) -> np.ndarray:
        """Return which pairs of a data set have two responses of the same tokens, (n,) bool."""
        keys = self._keys(dataset)
        return self._places([k.chosen for k in keys]) == self._places([k.rejected for k in keys])

    def _keys(self, dataset: Any) -> list[RowKeys]:
        settings = self.manifest.get("settings", {})
        with_context = settings.get("response_context") == "with"
        return row_keys(dataset, settings["context_position"] if with_context else None)

    def _places(self, keys: list[bytes]) -> np.ndarray:
        """Return the table rows (n,) of item keys (n,)."""
        try:
            return np.array([self._place[key] for key in keys], np.int64)
        except KeyError:
            raise InputError(
                f"the data set has texts that the store {self.address[:12]} lacks: extract it too"
            ) from None

    @cached_property
    def _place(self) -> dict[bytes, int]:
        return {key: int(row) for key, row in zip(self.index.keys, self.index.rows, strict=True)}

    def pairs(self, dataset: Any) -> Pairs:
        """Return the pairs of a data set on features.

        Args:
            dataset: columns prompt, chosen, rejected; context, pair_id, prompt_id, attribute, user_id where
                there are any.

        Raises:
            InputError: a text of the data set is not in the store, or a shard is missing or damaged.
        """
        keys = self._keys(dataset)

        def table(wanted: list[bytes]) -> tuple[Tensor, Tensor, np.ndarray]:
            where = self._places(wanted)
            distinct, first, inverse = np.unique(where, return_index=True, return_inverse=True)
            return self.rows(distinct), torch.from_numpy(inverse), first

        n = len(keys)
        responses, both, first = table([k.chosen for k in keys] + [k.rejected for k in keys])
        prompts, prompt, _ = table([k.prompt for k in keys])
        contexts = context = criteria = criterion = None
        if n and keys[0].context is not None:
            contexts, context, _ = table([k.context for k in keys])
            criteria, criterion, _ = table([k.criterion for k in keys])
        texts = [*dataset["chosen"][:], *dataset["rejected"][:]]
        return Pairs(
            responses=responses,
            chosen=both[:n],
            rejected=both[n:],
            prompts=prompts,
            prompt=prompt,
            contexts=contexts,
            context=context,
            criteria=criteria,
            criterion=criterion,
            lengths=torch.tensor([float(len(texts[i].split())) for i in first]),
            pair_id=_strings(dataset, "pair_id", n),
            prompt_id=_strings(dataset, "prompt_id", n),
            attribute=_strings(dataset, "attribute", n),
            user_id=_strings(dataset, "user_id", n) if "user_id" in dataset.column_names else None,
            position=_position(dataset) if "shown_first" in dataset.column_names else None,
        )


def _position(dataset: Any) -> Tensor:
    return torch.tensor([1.0 if side == "chosen" else -1.0 for side in dataset["shown_first"]])


def open_store(folder: Path, address: str, settings: dict[str, Any]) -> FeatureStore | None:
    """Return the store in `folder`, or None where it is not complete.

    Raises:
        InputError: the manifest is damaged, or the folder holds features made with other settings.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["settings"]
        sizes = {s["file"]: s["bytes"] for s in manifest["shards"]}
        written = manifest["address"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "unreadable") from error
    for name in sorted({*settings, *found}):
        if settings.get(name) != found.get(name):
            raise InputError(
                f"the features in {folder} were made with {name}={found.get(name)!r}, not "
                f"{settings.get(name)!r}: delete that folder and run again"
            )
    if written != address:
        raise InputError(f"{folder} holds features of other texts or another backbone: delete it and run again")
    if not (folder / _INDEX).is_file():
        return None
    for file, size in sizes.items():
        shard = folder / file
        if not shard.is_file():
            return None
        if shard.stat().st_size != size:
            raise _damaged(shard, f"{shard.stat().st_size} bytes instead of {size}")
    return FeatureStore(folder, address, read_index(folder, address), manifest)


def shard_path(folder: Path, number: int) -> Path:
    """Return the file of a shard."""
    return folder / f"shard-{number:05d}.safetensors"


def write_shard(folder: Path, number: int, features: Tensor, address: str, dtype: torch.dtype) -> None:
    """Write features (r, d), float32 or float64, that were computed in `dtype`."""
    if not torch.isfinite(features).all():
        raise InputError("the backbone gave features that are not finite: try dtype=float32")
    half = dtype == torch.bfloat16 and float(features.abs().max()) < _FLOAT16_LIMIT
    values = (features.to(torch.float16) if half else features).contiguous()
    _write_tensors(shard_path(folder, number), {"features": values}, address, number)


def read_shard(folder: Path, number: int, address: str) -> Tensor:
    """Return the features (r, d) of a shard as stored.

    Raises:
        InputError: it is damaged, or another store's; names the file.
    """
    return _read_tensors(shard_path(folder, number), address, number)["features"]


def write_index(folder: Path, index: Index, address: str) -> None:
    """Write the index; every process that plans the same store writes the same bytes."""
    keys = np.frombuffer(b"".join(index.keys), np.uint8).reshape(len(index.keys), 32)
    tensors = {"keys": keys, "rows": index.rows.astype(np.int64), "offsets": index.offsets.astype(np.int64)}
    _write_tensors(folder / _INDEX, {k: torch.from_numpy(v.copy()) for k, v in tensors.items()}, address, -1)


def read_index(folder: Path, address: str) -> Index:
    """Return the index of a store."""
    tensors = _read_tensors(folder / _INDEX, address, -1)
    data = tensors["keys"].numpy().tobytes()
    keys = [data[i : i + 32] for i in range(0, len(data), 32)]
    return Index(keys, tensors["rows"].numpy(), tensors["offsets"].numpy())


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, with the size and checksum of each shard."""
    shards = []
    for number in range(manifest["shard_count"]):
        path = shard_path(folder, number)
        header = _header(path)
        shards.append({"file": path.name, "bytes": path.stat().st_size, "sha256": header["sha256"]})
    text = json.dumps({**manifest, "shards": shards}, indent=1, sort_keys=True) + "\n"
    write_atomic(folder / "manifest.json", text.encode())
    for draft in folder.glob(f".*{DRAFT}"):  # of processes that were killed; a living one's is younger
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > 3600:
                draft.unlink()


def _write_tensors(path: Path, tensors: dict[str, Tensor], address: str, number: int) -> None:
    from safetensors.torch import save

    about = {"format": FORMAT, "address": address, "number": number, "sha256": _checksum(tensors)}
    # One metadata entry: the library does not promise an order of several, and shards must be byte-identical.
    write_atomic(path, save(tensors, metadata={"about": json.dumps(about, sort_keys=True)}))


def _read_tensors(path: Path, address: str, number: int) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        about, tensors = _header(path), load_file(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _damaged(path, "unreadable") from error
    if about["sha256"] != _checksum(tensors):
        raise _damaged(path, "its values do not match its checksum")
    if about["address"] != address or about["number"] != number or about["format"] != FORMAT:
        raise _damaged(path, "it belongs to another store or place")
    return tensors


def _header(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return json.loads((file.metadata() or {})["about"])


def _checksum(tensors: dict[str, Tensor]) -> str:
    def pieces() -> Iterator[bytes]:
        for name in sorted(tensors):
            value = tensors[name].contiguous()
            yield f"{name}:{value.dtype}:{tuple(value.shape)}:".encode()
            yield value.view(torch.uint8).numpy().tobytes() if value.numel() else b""

    return sha256(pieces())


def _damaged(path: Path, what: str) -> InputError:
    return InputError(f"{path} is damaged ({what}): delete that file and run the extraction again")


def _strings(dataset: Any, column: str, n: int) -> np.ndarray:
    """Return a column as (n,) str; "" for what is absent, the row number for an absent id."""
    if column not in dataset.column_names:
        return np.array([str(i) if column == "pair_id" else "" for i in range(n)], dtype=str)
    return np.array(["" if v is None else str(v) for v in dataset[column][:]], dtype=str)
