"""Methods of one's own: the files that the parameter `methods` names, as `FILE.py:Class`, separated by blanks.

Nothing of a file is run here; `methods.own` does that.
"""

from __future__ import annotations

import ast
import keyword
import re
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from micro_paper.errors import InputError, refusal, shown, suggest
from micro_paper.files import sha256
from micro_paper.paths import absolute

_FORM = "write FILE.py:Class, several separated by blanks, and a path with a blank in quotes"


@dataclass(frozen=True)
class MethodFile:
    """One method of one's own.

    Attributes:
        path: of the file, absolute.
        name: of the class, or of a function (settings, seed) that returns a method.
    """

    path: Path
    name: str

    @property
    def row(self) -> str:
        """What tables and figures call it: the name in lower case, words joined by `_`; `MyMethod` is `my_method`."""
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", self.name)
        return words.lower().strip("_")

    @property
    def label(self) -> str:
        """What a manifest calls it: row and file, without the folders of this machine."""
        return f"method: {self.row} ({self.path.name})"

    def read(self) -> bytes:
        """Return the file's content."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise InputError(f"methods: {refusal(error)}") from None

    def compiled(self, content: bytes) -> CodeType:
        """Return the file's code, without running it.

        Raises:
            InputError: it is no Python, or defines no such name; the message has the file, the line or the nearest.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of doubtful escapes: they come once more where the file is run
                tree = ast.parse(content)
                code = compile(content, self.path, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise InputError(f"methods: {self.path}, line {error.lineno}: {error.msg}: mend the file") from None
        except (ValueError, RecursionError, MemoryError) as error:  # a null character; brackets within brackets
            raise InputError(f"methods: {self.path} is no Python file: {error}") from None
        bound = set()
        for node in ast.walk(tree):
            match node:
                case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                    bound.add(name)
                case ast.alias(name=name, asname=other):
                    bound.add(other or name)
        if not {self.name, "*"} & bound:
            defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
            hint = f"{suggest(self.name, defined)} It has {', '.join(defined) or 'none'}"
            raise InputError(f"methods: {self.path} has no class {self.name}.{hint}")
        return code


def split_methods(text: str) -> list[MethodFile]:
    """Return the methods that a parameter names, paths absolute; [] for an empty text.

    Raises:
        InputError: another form than `FILE.py:Class`, a quote that is not closed, or two of one row name.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"methods {shown(text)}: {error}: {_FORM}") from None
    found: dict[str, MethodFile] = {}
    for word in words:
        place, colon, name = word.rpartition(":")
        if not colon or not place.endswith(".py") or not name.isidentifier() or keyword.iskeyword(name):
            raise InputError(f"methods: {shown(word)} names no method: {_FORM}")
        file = MethodFile(absolute(place), name)
        if not file.row:
            raise InputError(f"methods: the class {name} has no letter in its name: give it one")
        if other := found.get(file.row):
            raise InputError(f"methods: {other.path}:{other.name} and {word} are both the row {file.row}: rename one")
        found[file.row] = file
    return list(found.values())


def check_methods(text: str) -> str:
    """Return the parameter with absolute paths, once every file is there and defines what it should.

    Raises:
        InputError: as `split_methods` and `MethodFile.compiled`, or a file cannot be read.
    """
    files = split_methods(text)
    for file in files:
        file.compiled(file.read())
    return shlex.join(f"{file.path}:{file.name}" for file in files) if files else text


def content_hashes(text: str) -> dict[str, str]:
    """Return {label: sha256 of the file} of the methods that a parameter names."""
    return {file.label: sha256(file.read()) for file in split_methods(text)}
