"""Saved models: what their files hold, written all or nothing, and read only as they were written."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from micro_paper import carried
from micro_paper.carried import Carried
from micro_paper.errors import InputError, MissingError, shown
from micro_paper.features.settings import FeatureSettings
from micro_paper.files import DRAFT, file_sha256, parse_json, sha256
from micro_paper.methods.scaling import Scaler
from micro_paper.methods.settings import Settings
from micro_paper.methods.two_stage import TwoStage
from micro_paper.mixture import Heads

FORMAT = 2
PERSONS = 3  # format of a row that adapts to persons
TENSORS, SETTINGS, CARD = "micro.safetensors", "micro.json", "README.md"
_KINDS = {
    "settings": (dict,),
    "features": (dict,),
    "trained_on": (dict,),
    "seed": (int,),
    "tau": (int, float, type(None)),
    "backbone_fingerprint": (str,),
    "tensors_sha256": (str,),
}
_KINDS_PERSONS = {"row": (str,), "users": (list,)}


def write(
    folder: str | Path,
    method: TwoStage | Carried,
    features: FeatureSettings,
    trained_on: Mapping[str, Any],
    fingerprint: str,
) -> None:
    """Write a model's files in place of those of a saved model, or of nothing.

    Raises:
        InputError: as `Micro.save`.
    """
    persons = carried.is_row(method)
    folder, tensors = _place(folder), _tensors(method)
    try:
        if persons:
            _check_persons(tensors, method.settings, carried.row_name(method), method.names.tolist())
        else:
            _check(tensors, method.settings, method.adapted)
    except InputError as error:
        raise InputError(f"only heads and routers as fit left them can be saved: {error}") from None
    content = save(tensors)
    described = {
        "format": PERSONS if persons else FORMAT,
        "settings": asdict(method.settings),
        "seed": method.seed,
        "tau": None if persons or not method.stage2 else method.stage2.tau,  # None: not adapted
        "features": asdict(features),
        "backbone_fingerprint": fingerprint,
        "tensors_sha256": sha256(content),
        "trained_on": dict(trained_on),
    }
    if persons:
        described |= {"row": carried.row_name(method), "users": method.names.tolist()}
    try:
        described = json.loads(json.dumps(described, default=_plain, allow_nan=False))
        card = (_card_persons(described) if persons else _card(described, tensors)).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"trained_on cannot be saved ({error}): give texts and finite numbers") from None
    described["sha256"] = _signature(described)
    files = {TENSORS: content, SETTINGS: json.dumps(described, indent=1, sort_keys=True).encode(), CARD: card}
    try:
        there = {p.name for p in folder.iterdir()} if folder.exists() else set()
        if there and (SETTINGS not in there or there - set(files)):
            raise InputError(f"{folder} exists and holds {min(there - {SETTINGS})}: choose another folder")
        _replace(folder, files)
    except OSError as error:
        raise InputError(f"the model cannot be saved in {folder}: {error.strerror or error}") from error


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put a folder with these files in place of the present one; however this ends, one of the two is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", suffix=DRAFT, dir=folder.parent))
    new, old = draft / "new", draft / "old"
    try:
        new.mkdir()  # unlike the draft itself, as open as the user's other folders
        for name, content in files.items():
            (new / name).write_bytes(content)
        if folder.exists():
            os.rename(folder, old)
        os.rename(new, folder)
    except BaseException:
        if old.exists() and not folder.exists():
            os.rename(old, folder)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def read(folder: str | Path, device: str) -> tuple[TwoStage | Carried, FeatureSettings, dict[str, Any], str]:
    """Return method, feature settings, what it was trained on and the backbone's fingerprint, of a saved model.

    Raises:
        MissingError: a file is missing.
        InputError: a field, a shape or a value is not what `write` wrote; nothing is kept of it.
    """
    folder = _place(folder)
    try:
        for name in (SETTINGS, TENSORS):
            if not (folder / name).is_file():
                raise MissingError(f"{folder / name} is missing: give a folder that Micro.save wrote")
        return _read(folder, device)
    except MissingError:
        raise
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}") from error
    except InputError as error:
        raise InputError(f"{folder} is not as Micro.save wrote it: {error}; save the model again") from error


def _read(folder: Path, device: str) -> tuple[TwoStage | Carried, FeatureSettings, dict[str, Any], str]:
    try:
        described = parse_json((folder / SETTINGS).read_text(encoding="utf-8"))
        signature = _signature(described) if isinstance(described, dict) else None
    except (ValueError, InputError):
        signature = None
    if signature is None:
        raise InputError(f"{SETTINGS} holds no JSON object")
    if described.get("format") not in (FORMAT, PERSONS):
        found = shown(described.get("format"))
        raise InputError(f"{SETTINGS} has format {found}, this version reads {FORMAT} and {PERSONS}")
    persons = described["format"] == PERSONS
    if described.get("sha256") != signature:
        raise InputError(f"{SETTINGS} was changed: its sha256 is not the recorded one")
    for name, kind in (_KINDS | (_KINDS_PERSONS if persons else {})).items():
        if type(value := described.get(name, ...)) not in kind:
            raise InputError(f"{SETTINGS} has {name} = {shown(value)}")
    found, recorded = file_sha256(folder / TENSORS), described["tensors_sha256"]
    if found != recorded:
        raise InputError(f"{TENSORS} has sha256 {found[:12]}..., recorded is {recorded[:12]}...")
    try:
        tensors = load((folder / TENSORS).read_bytes())
    except Exception as error:  # safetensors raises several kinds
        raise InputError(f"{TENSORS} cannot be read ({type(error).__name__})") from None
    try:
        features = FeatureSettings(**described["features"])
    except TypeError:
        raise InputError(f"{SETTINGS} has features that this version does not know") from None
    method = _persons(described, tensors) if persons else _two_stage(described, tensors, device)
    return method, features, described["trained_on"], described["backbone_fingerprint"]


def _persons(described: Mapping[str, Any], tensors: dict[str, Tensor]) -> Carried:
    """Return the row that adapts to persons, on the CPU."""
    settings, name, users = Settings.of(described["settings"] | {"device": "cpu"}), described["row"], described["users"]
    _check_persons(tensors, settings, name, users)
    return carried.restored(name, settings, described["seed"], users, tensors)


def _two_stage(described: Mapping[str, Any], tensors: dict[str, Tensor], device: str) -> TwoStage:
    settings = Settings.of(described["settings"] | {"device": device})
    tau, adapted = described["tau"], described["tau"] is not None
    _check(tensors, settings, adapted)
    heads = Heads(*tensors["heads.weight"].shape, torch.Generator(), settings.torch_dtype)
    heads.load_state_dict(carried.part(tensors, "heads."))
    routers = [carried.restored_router(tensors, place, settings) for place in ("stage1", "router")]
    scalers = {
        kind: Scaler(tensors[f"scale.{kind}.mean"], tensors[f"scale.{kind}.scale"])
        for kind in _scaled(settings, adapted)
    }
    modules = [module.to(settings.torch_device) for module in (heads, *routers)]
    stage2 = settings.stage2(tau) if adapted else None
    return TwoStage.restored(settings, described["seed"], *modules, scalers, stage2)


def _scaled(settings: Settings, adapted: bool) -> list[str]:
    """Return the names of the feature tables that the method has a scale of."""
    reads = settings.router_input == "criterion" and (adapted or settings.stage1_context)
    return ["responses", "prompts", "contexts"] + (["criteria"] if reads else [])


def _check(tensors: Mapping[str, Tensor], settings: Settings, adapted: bool) -> None:
    """Raise an InputError unless a saved model's tensors have the names, shapes, kinds and values that they must."""
    # How many columns features have is for the tensors to say.
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    phi, u = ((found.get(name) or (0,))[-1] for name in ("heads.weight", "stage1.layers.0.weight"))
    shapes = {"heads.weight": (settings.heads, phi)}
    shapes |= carried.router_shapes("stage1", u, settings) | carried.router_shapes("router", u, settings)
    for kind in _scaled(settings, adapted):
        shapes |= carried.scale_shapes(kind, phi if kind == "responses" else u)
    _check_tensors(tensors, shapes, settings)


def _check_persons(tensors: Mapping[str, Tensor], settings: Settings, name: str, users: list[Any]) -> None:
    """Raise an InputError unless the tensors of a row that adapts to persons, and their names, are as they must be."""
    if not all(isinstance(user, str) and "\0" not in user for user in users) or users != sorted(set(users)):
        raise InputError(f"users {shown(users)} are no sorted names of different people")
    shapes = carried.shapes(name, settings, len(users), {k: tuple(v.shape) for k, v in tensors.items()})
    if missing := shapes.keys() - tensors.keys():
        raise InputError(f"{min(missing)} is missing")
    _check_tensors(tensors, shapes, settings)


def _check_tensors(tensors: Mapping[str, Tensor], shapes: carried.Shapes, settings: Settings) -> None:
    """Raise an InputError unless there are these tensors and no others, each of its shape, kind and possible values."""
    for name in sorted(tensors.keys() | shapes.keys()):
        found = tuple(tensors[name].shape) if name in tensors else None
        if found != shapes.get(name) or 0 in found:
            raise InputError(f"{name} has shape {found}, the settings ask for {shown(shapes.get(name))}")
    for name, tensor in tensors.items():
        if tensor.dtype != carried.dtype(name, settings):
            raise InputError(f"{name} is of {tensor.dtype}")
        if not carried.possible(name, tensor):
            raise InputError(f"{name} holds a value that no training gives")


def _tensors(method: TwoStage | Carried) -> dict[str, Tensor]:
    if carried.is_row(method):
        return carried.tensors(method)
    tensors = {f"heads.{k}": v for k, v in method.heads.state_dict().items()}
    tensors |= {f"stage1.{k}": v for k, v in method.stage1_weights.state_dict().items()}
    tensors |= {f"router.{k}": v for k, v in method.weights.state_dict().items()}
    for kind, scaler in method.scalers.items():
        tensors |= {f"scale.{kind}.mean": scaler.mean, f"scale.{kind}.scale": scaler.scale}
    return carried.copies(tensors)


def _place(folder: str | Path) -> Path:
    """Return the folder that is meant, absolute."""
    try:
        return Path(folder).expanduser().resolve()
    except (TypeError, ValueError, RuntimeError, OSError) as error:
        raise InputError(f"folder must be a path, got {shown(folder)}: {error}") from None


def _plain(value: Any) -> Any:
    """Return a value of numpy or a path as JSON has it."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"a {type(value).__name__}")


def _signature(described: Mapping[str, Any]) -> str:
    return sha256(json.dumps({k: v for k, v in described.items() if k != "sha256"}, sort_keys=True).encode())


def _trained(described: Mapping[str, Any]) -> str:
    return "\n".join(f"- {k}: {v}" for k, v in described["trained_on"].items()) or "- not recorded"


def _card(described: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    count, dimension = tensors["heads.weight"].shape
    features = described["features"]
    return f"""# A personalised preference model (MiCRo)

{count} linear reward heads on {dimension}-dimensional features of the frozen backbone
`{features["backbone"]}`, under a router that reads the prompt
{"and a stated context" if described["tau"] is not None else "alone"}. Made by micro-paper; load it with
`micro_paper.Micro.load(folder)`.

## Trained on
{_trained(described)}

## What it is for
Ranking a few responses to one prompt, by itself or under a stated criterion. Rewards compare responses to the same
prompt only. It inherits the tastes and errors of its training labels and of the backbone: do not use it to decide
about people, nor as a safety filter.

## Settings
`micro.json` holds every setting, the backbone's content hash and the hash of `micro.safetensors`.
"""


def _card_persons(described: dict[str, Any]) -> str:
    return f"""# A preference model that adapts to persons ({described["row"]})

On features of the frozen backbone `{described["features"]["backbone"]}`. It knows {len(described["users"])} people.
Made by micro-paper; load it with `micro_paper.Micro.load(folder)`, teach it a person with `adapt_to_user`.

## Trained on
{_trained(described)}

## What it is for
Ranking a few responses to one prompt, for a person who gave labels or for anybody. Rewards compare responses to the
same prompt only. It inherits the tastes and errors of its labels and of the backbone: do not use it to decide about
people, nor as a safety filter. It holds names of people and what their labels say of their tastes: treat it as
personal data.

## Settings
`micro.json` holds every setting, the people's names, the backbone's content hash and the hash of `micro.safetensors`.
"""
