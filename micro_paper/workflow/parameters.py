"""Typed parameters of a notebook: what its `parameters` cell declares, and the checks of every value.

A notebook declares each parameter on one line, `name: type = literal  # help`, in the cell tagged
`parameters`. The types are str, int, float, bool, `Literal[...]` of one of these, and any of them `| None`.
The same rules hold for values from a profile, from the command line, and, inside the notebook, for whatever
papermill has injected. A relative path is that of the working directory: where the command was typed, also for
papermill by hand (whose kernel works there, unless --cwd says otherwise), and `notebooks/` for a notebook opened in
Jupyter.
"""

from __future__ import annotations

import ast
import inspect
import io
import json
import math
import os
import re
import shlex
import tokenize
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from micro_paper.data.named import DATA_PARAMETERS, SEVERAL, split_names
from micro_paper.errors import InputError, MissingError, shown, suggest
from micro_paper.method_files import check_methods
from micro_paper.paths import absolute, project_root

Value = str | int | float | bool | None

_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_FORM = "write `name: type = literal  # help` with type str, int, float, bool, Literal[...] or one of them | None"
_CHECKED = "_parameters_checked"
_BACKBONES = ("backbone", "deeper_backbone")  # may be folders
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_NUMBER = re.compile(r"[+-]?((0|[1-9]\d{0,99})(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?\.inf|\.nan", re.IGNORECASE)
_AS_TEXT = ": give it as a text, by papermill -r NAME VALUE, in YAML in quotes"
_IPYTHON_NAMES = {"In", "Out", "get_ipython", "exit", "quit", "open", "display"}
_PLAIN = (str, int, float, bool, type(None), list, tuple, dict, set, bytes, complex)


@dataclass(frozen=True)
class Parameter:
    """One declared parameter; type is "int", "str | None" and so on, choices are those of a Literal."""

    name: str
    type: str
    default: Value = None
    choices: tuple[Value, ...] | None = None

    @property
    def base(self) -> type:
        """The Python type, without `| None`."""
        return _TYPES[self.type.removesuffix(" | None")]

    @property
    def optional(self) -> bool:
        """Whether None is allowed."""
        return self.type.endswith(" | None")


def check_value(parameter: Parameter, value: Any) -> Value:
    """Return `value` as the parameter's type; an int is accepted for a float and nothing else is converted.

    A path in it, of own data, own methods or a backbone, is that of the working directory and is made absolute; the
    files of own methods must be there.

    Raises:
        InputError: another type (a bool is no int, 3.0 is no int), a number that is not finite or beyond 2^63, a text
        that no file can hold, or none of the choices.
    """
    name, base = parameter.name, parameter.base
    if value is None:
        if parameter.optional:
            return None
        raise InputError(f"{name} must be {parameter.type}, got None{_AS_TEXT if base is str else ': give a value'}")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise InputError(f"{name} must lie between -2^63 and 2^63, got {shown(value)}")
    if base is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not base:
        fix = ""
        if base is int and isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
            fix = f": write {int(value)}"
        elif base is str and isinstance(value, int | float):
            fix = _AS_TEXT
        elif base is float and isinstance(value, str) and _is_number(value):
            fix = f": write {float(value)!r} without quotes (YAML reads 2e-3 as text and 2.0e-3 as a number)"
        raise InputError(f"{name} must be {parameter.type}, got {type(value).__name__} {shown(value)}{fix}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} must be finite, got {value!r}")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            half = f"character {error.start + 1} of {shown(value)}"
            raise InputError(f"{name} is no text: {half} is half of one: give it in UTF-8") from None
    if parameter.choices is not None and value not in parameter.choices:
        listed = ", ".join(map(repr, parameter.choices))
        raise InputError(f"{name} must be one of {listed}, got {shown(value)}.{suggest(value, parameter.choices)}")
    return _placed(name, value) if isinstance(value, str) else value


def _placed(name: str, value: str) -> str:
    """Return a text with the paths that a parameter of that name may hold made absolute."""
    if name == "methods":
        return check_methods(value)
    if name in _BACKBONES and value not in ("none", "smollm2"):
        return str(absolute(value)) if value.startswith(("~", ".", "/")) or os.path.isdir(value) else value
    if name not in DATA_PARAMETERS or "jsonl:" not in value:
        return value
    names = split_names(value) if name in SEVERAL else [value]
    placed = [f"jsonl:{absolute(n.removeprefix('jsonl:'))}" if n.startswith("jsonl:") else n for n in names]
    return shlex.join(placed) if name in SEVERAL else placed[0]


def parse_value(parameter: Parameter, text: str) -> Value:
    """Return the value that `text`, as typed on a command line, has for the parameter's type.

    Raises:
        InputError: as `check_value`; an int takes digits only, a bool true or false, `none` stands for None.
    """
    base, word = parameter.base, text.strip()
    if parameter.optional and word.lower() in ("none", "null"):
        return None
    if base is int:
        if not re.fullmatch(r"[+-]?\d{1,99}", word):
            whole = _is_number(word) and float(word).is_integer() and abs(float(word)) < 2**63
            fix = f": write {int(float(word))}" if whole else ": give a whole number"
            raise InputError(f"{parameter.name} must be {parameter.type}, got {shown(text)}{fix}")
        return check_value(parameter, int(word))
    if base is float:
        try:
            return check_value(parameter, float(word))
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{parameter.name} must be {parameter.type}, got {shown(text)}: give a number") from None
    if base is bool:
        if word.lower() not in ("true", "false"):
            raise InputError(f"{parameter.name} must be {parameter.type}, got {shown(text)}: give true or false")
        return check_value(parameter, word.lower() == "true")
    return check_value(parameter, text)


def check_names(names: Iterable[str], declared: Iterable[str], where: str) -> None:
    """Refuse the first name that is not declared.

    Raises:
        InputError: names it, the nearest declared name and all that are declared.
    """
    known = sorted(declared)
    for name in names:
        if name not in known:
            hint = suggest(name, known)
            raise InputError(f"unknown parameter {shown(name)} {where}.{hint} Known: {', '.join(known) or 'none'}.")


def check_parameters(namespace: MutableMapping[str, Any]) -> dict[str, Value]:
    """Check a notebook's parameters and return them; the cell after `parameters` calls it with `globals()`.

    The annotations of the parameters cell say what is declared. At the first call in a kernel every other
    plain value in the namespace must be a name that some profile knows (it is removed, so that one profile
    file serves every notebook) and anything else is refused: papermill itself only warns about a misspelt
    name. Later calls check types only, so that Run All works twice.

    Args:
        namespace: the notebook's `globals()`.

    Returns:
        {name: value} of the declared parameters, in their order.

    Raises:
        InputError: an unknown name, an ill-typed value, or no declared parameter at all.
    """
    annotations = namespace.get("__annotations__") or {}
    if not annotations:
        raise InputError(f"no parameters are declared: {_FORM}, in the cell tagged `parameters` above")
    declared = {name: _from_annotation(name, annotation) for name, annotation in annotations.items()}
    if not namespace.get(_CHECKED):
        known = profile_names()
        unknown = []
        for name, value in list(namespace.items()):
            if name in declared or name.startswith("_") or name in _IPYTHON_NAMES or not isinstance(value, _PLAIN):
                continue
            if name in known:
                del namespace[name]
            else:
                unknown.append(name)
        check_names(unknown, declared, "in this notebook")
    values = {}
    for name, parameter in declared.items():
        if name not in namespace:
            raise InputError(f"{name} is declared without a value: run the `parameters` cell first")
        values[name] = namespace[name] = check_value(parameter, namespace[name])
    namespace[_CHECKED] = True
    return values


def read_parameters(notebook: str | Path | Mapping[str, Any]) -> dict[str, Parameter]:
    """Return the declared parameters of a notebook (a path, or the notebook itself), in their order.

    The cell is parsed, not run; papermill's own reading misses unions.

    Raises:
        MissingError: there is no such file.
        InputError: none or two parameters cells, or a line that is not `name: type = literal  # help`.
    """
    if isinstance(notebook, Mapping):
        content, where = notebook, "the notebook"
    else:
        path = Path(notebook)
        if not path.is_file():
            raise MissingError(f"no notebook at {notebook}: give the path of an .ipynb file")
        where = path.name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not a notebook: {error}") from None
        if not isinstance(content, dict) or not all(isinstance(cell, dict) for cell in content.get("cells", ())):
            raise InputError(f"{where} is not a notebook: it has no cells")
    cells = [cell for cell in content.get("cells", ()) if "parameters" in cell.get("metadata", {}).get("tags", ())]
    if len(cells) != 1:
        raise InputError(f"{where} has {len(cells)} cells tagged `parameters`: it needs exactly one")
    if cells[0].get("cell_type") != "code":
        raise InputError(f"{where}: the cell tagged `parameters` is not a code cell")
    return _read_cell("".join(cells[0]["source"]), where)


def read_profile(name: str, root: Path | None = None) -> dict[str, Value]:
    """Return the values of `profiles/NAME.yaml`.

    Raises:
        InputError: no such profile (with the nearest name), or not a flat mapping of names to plain values, each name
        once; dates stay texts.
    """
    folder = (root or project_root()) / "profiles"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise InputError(f"unknown profile {shown(name)}.{suggest(name, known)} Known: {', '.join(known) or 'none'}.")
    try:
        return _plain_values((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    except InputError as error:
        raise InputError(f"profiles/{name}.yaml {error}") from None
    except (yaml.YAMLError, ValueError, KeyError, RecursionError) as error:  # KeyError: a !!bool that is none
        raise InputError(f"profiles/{name}.yaml is not YAML: {' '.join(str(error).split())[:300]}") from None


class _Loader(yaml.SafeLoader):
    """YAML without aliases, which one line can grow into gigabytes, and with numbers only where readers see them."""

    yaml_implicit_resolvers = {
        first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise InputError(f"line {self.peek_event().start_mark.line + 1}: write the value itself, not *alias")
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if node.tag in _NUMBERS and not _NUMBER.fullmatch(node.value):  # 010 is 8 in YAML, and 1:30 is 90
            place = f"line {node.start_mark.line + 1}: {shown(node.value)}"
            raise InputError(f"{place} is no plain number: write its digits, or quotes around a text")
        return super().construct_object(node, deep)


def _plain_values(text: str) -> dict[str, Value]:
    """Return the values of a YAML text of lines `name: value`; the errors of YAML, or an InputError."""
    if len(text) > 200_000:
        raise InputError(f"has {len(text)} characters: it must hold lines of `name: value`")
    loader = _Loader(text)
    node = loader.get_single_node()
    if not isinstance(node, yaml.MappingNode):
        raise InputError("must hold lines of `name: value`")
    values: dict[str, Value] = {}
    for key, inner in node.value:
        place = f"line {key.start_mark.line + 1}: {shown(key.value)}"
        if key.tag != "tag:yaml.org,2002:str" or not isinstance(inner, yaml.ScalarNode):
            raise InputError(f"{place} must be a name with one plain value")
        if key.value in values:
            raise InputError(f"{place} is there twice: leave one out")
        values[key.value] = value = loader.construct_object(inner)
        if not isinstance(value, str | int | float | bool | None):
            raise InputError(f"{place} must be a name with one plain value, got {shown(value)}")
    return values


def read_values(path: str | Path) -> dict[str, Value]:
    """Return the values of a JSON file {name: value}, without names that begin with an underscore.

    Raises:
        InputError: it is no such file.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): give a file that the Snakefile wrote") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no names and values: give a file that the Snakefile wrote")
    return {name: value for name, value in values.items() if not name.startswith("_")}


def profile_names(root: Path | None = None) -> set[str]:
    """Return every parameter name that any profile gives; empty outside a checkout."""
    try:
        folder = (root or project_root()) / "profiles"
    except MissingError:
        return set()
    return {name for path in folder.glob("*.yaml") for name in read_profile(path.stem, folder.parent)}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _typed(name: str, annotation: ast.expr) -> Parameter:
    """Return the parameter that an annotation's syntax declares; ValueError for any other type."""
    optional = False
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        left, right = annotation.left, annotation.right
        if isinstance(right, ast.Constant) and right.value is None:
            annotation, optional = left, True
    elif isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Optional":
        annotation, optional = annotation.slice, True
    choices = None
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        choices = ast.literal_eval(annotation.slice)
        choices = choices if isinstance(choices, tuple) else (choices,)
        kinds = {type(choice).__name__ for choice in choices}
        base = kinds.pop() if len(kinds) == 1 else ""
    else:
        base = ast.unparse(annotation)
    if base not in _TYPES:
        raise ValueError(base)
    return Parameter(name, base + (" | None" if optional else ""), choices=choices)


def _from_annotation(name: str, annotation: object) -> Parameter:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    try:
        return _typed(name, ast.parse(text, mode="eval").body)
    except (ValueError, SyntaxError):
        raise InputError(f"{name} has the type {text}: {_FORM}") from None


def _read_cell(source: str, where: str) -> dict[str, Parameter]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise InputError(f"{where}, parameters cell, line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # a null character; brackets within brackets
        raise InputError(f"{where}, parameters cell: {error}: {_FORM}") from None
    comments = {
        token.start[0]: (token.string.lstrip("#").strip(), not token.line[: token.start[1]].strip())
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: dict[str, Parameter] = {}
    for node in tree.body:
        place = f"{where}, parameters cell, line {node.lineno}"
        if ast.unparse(node) == "from typing import Literal":
            continue
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
            raise InputError(f"{place}: {_FORM}")
        name = node.target.id
        if name in found:
            raise InputError(f"{place}: {name} is declared twice")
        try:
            default = ast.literal_eval(node.value)
        except ValueError:
            raise InputError(f"{place}: {name} must have a literal value, got {ast.unparse(node.value)}") from None
        help_text, _ = comments.get(node.end_lineno or node.lineno, ("", False))
        line = node.lineno - 1
        above: list[str] = []
        while not help_text and comments.get(line, ("", False))[1]:
            above.insert(0, comments[line][0])
            line -= 1
        help_text = help_text or " ".join(above)
        if not help_text:
            raise InputError(f"{place}: {name} has no help comment: {_FORM}")
        try:
            parameter = _typed(name, node.annotation)
        except ValueError:
            raise InputError(f"{place}: {name} has the type {ast.unparse(node.annotation)}: {_FORM}") from None
        try:
            found[name] = replace(parameter, default=check_value(parameter, default))
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
    if not found:
        raise InputError(f"{where}, parameters cell: no parameter is declared: {_FORM}")
    return found
