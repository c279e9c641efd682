"""Methods of one's own from their files, as rows beside those of `methods.METHODS`."""

from __future__ import annotations

import importlib.abc
import importlib.util
import inspect
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from micro_paper.errors import InputError
from micro_paper.files import sha256
from micro_paper.method_files import MethodFile, split_methods
from micro_paper.methods.settings import Settings
from micro_paper.methods.table import METHODS, Factory

# The last four are rows of tables that no class here makes.
_TAKEN = (*METHODS, "bag_of_words", "surface_counts", "prompted", "pca_hyre")
_CALLS = {"fit": ("train_pairs", "validation"), "adapt": ("context_pairs", "validation"), "predict_proba": ("pairs",)}


@dataclass(frozen=True)
class OwnMethods:
    """Rows of one's own.

    Attributes:
        rows: row name -> factory (settings, seed), for the argument `own` of the experiments.
        inputs: for a manifest: what the rows depend on, {"method: ROW (FILE.py)": sha256 of the file}.
    """

    rows: dict[str, Factory] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


def own_methods(text: str) -> OwnMethods:
    """Run the files that a parameter `methods` names and return their rows.

    A row is named by its class, `MyMethod` as `my_method`. Each method is made once, at default settings, to see that
    it can do what `table.Method` asks. A file may import what is installed; its neighbours are not looked at.

    Args:
        text: "mine.py:Mine other.py:Other", quoted as in a shell; "" for none.

    Raises:
        InputError: as `method_files.check_methods`; a file that fails, with its line; a row name that is taken; or a
            class that lacks a member of `table.Method`.
    """
    files = split_methods(text)
    for file in files:
        if file.row in _TAKEN:
            raise InputError(f"methods: the row {file.row} of {file.path} is there already: rename its class")
    contents = {file.path: file.read() for file in files}
    modules: dict[Path, ModuleType] = {}
    for file in files:
        code = file.compiled(contents[file.path])
        if file.path not in modules:
            modules[file.path] = _run(file, code)
    rows = {file.row: _checked(file, modules[file.path]) for file in files}
    return OwnMethods(rows, {file.label: sha256(contents[file.path]) for file in files})


class _Loader(importlib.abc.InspectLoader):
    """Runs code that is compiled already: exactly what was hashed, and no bytecode beside the file."""

    def __init__(self, code: CodeType) -> None:
        self.code = code

    def get_code(self, fullname: str) -> CodeType:
        return self.code

    def get_source(self, fullname: str) -> None:
        return None


def _run(file: MethodFile, code: CodeType) -> ModuleType:
    name = f"own_{file.path.stem}_{sha256(str(file.path).encode())[:8]}"
    spec = importlib.util.spec_from_file_location(name, file.path, loader=_Loader(code))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where dataclasses and pickle look for it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _failed(file, error) from None
    return module


def _failed(file: MethodFile, error: BaseException) -> InputError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file.path)]
    fix = "mend the file"
    if isinstance(error, ModuleNotFoundError):
        fix = "install it, or put into this one file what the method needs"
    where = f"{file.path}, line {lines[-1]}" if lines else str(file.path)
    return InputError(f"methods: {where}: {type(error).__name__}: {error}: {fix}")


def _checked(file: MethodFile, module: ModuleType) -> Factory:
    what = f"methods: {file.name} of {file.path}"
    factory: Any = getattr(module, file.name) if file.name in dir(module) else None
    if not callable(factory):
        raise InputError(f"{what} is no class: give one, or a function (settings, seed)")
    _takes(factory, ("settings", "seed"), what)
    try:
        method = factory(Settings(), 0)
    except (Exception, SystemExit) as error:
        raise _failed(file, error) from None
    for member in ("supervision", *_CALLS):
        if member not in dir(method):
            raise InputError(f"{what} lacks {member}: a method has supervision, {', '.join(_CALLS)}")
    if not isinstance(method.supervision, str) or not method.supervision.strip():
        raise InputError(f"{what}: supervision must be a text that says what the method sees beyond the texts")
    for member, arguments in _CALLS.items():
        _takes(getattr(method, member), arguments, f"{what}: {member}")
    return factory


def _takes(call: Any, arguments: tuple[str, ...], what: str) -> None:
    if not callable(call):
        raise InputError(f"{what} is no method: write def ({', '.join(arguments)})")
    try:
        inspect.signature(call).bind(*arguments)
    except TypeError:
        raise InputError(f"{what} must take ({', '.join(arguments)})") from None
    except ValueError:  # of a built-in function, which has no signature to read
        return
