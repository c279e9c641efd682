"""On which code a notebook's results depend: its own cells, and the library modules that it imports."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

from micro_paper.files import digest, sha256
from micro_paper.paths import project_root
from micro_paper.workflow.manifest import notebook_hash
from micro_paper.workflow.notebooks import code_cells, joined, read_notebook

PACKAGE = "micro_paper"


def imported_modules(source: str, root: Path) -> set[str]:
    """Return the package's modules that a source text imports, at any depth of its code, as dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] == PACKAGE and _module_file(name, root)}


def code_closure(sources: Iterable[str], root: Path | None = None) -> list[Path]:
    """Return the files of the package on which the sources depend: modules, and data beside subpackages.

    A module that imports by a computed name makes every file count, since what it loads cannot be read off.
    """
    root = root or project_root()
    todo = set().union(*(imported_modules(source, root) for source in sources))
    modules: dict[str, Path] = {}
    while todo:
        name = todo.pop()
        path = _module_file(name, root)
        if name in modules or path is None:
            continue
        modules[name] = path
        text = path.read_text(encoding="utf-8")
        if _imports_by_name(text):
            return sorted(_package_files(root / PACKAGE))
        parents = {name.rsplit(".", 1)[0]} if "." in name else set()
        # the package's own __init__ only imports on demand what is named `micro_paper.Micro`
        todo |= parents | (imported_modules(text, root) if name != PACKAGE else set())
    files = set(modules.values())
    for path in list(files):
        if path.name == "__init__.py" and path.parent != root / PACKAGE:
            files |= {file for file in _package_files(path.parent) if file.suffix != ".py"}
    return sorted(files)


def _imports_by_name(text: str) -> bool:
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in ("import_module", "__import__"):
                return True
    return False


def content_hash(files: Iterable[Path], root: Path) -> str:
    """Return one sha256 of the files' contents and of their places below `root`."""
    return sha256(f"{path.relative_to(root).as_posix()}\0".encode() + digest(path.read_bytes()) for path in files)


def fingerprint(notebook: Path, root: Path | None = None) -> dict[str, str]:
    """Return the content hashes on which a notebook's results depend, beside its parameters."""
    root = root or project_root()
    sources = [joined(cell["source"]) for cell in code_cells(read_notebook(notebook))]
    if any(f"{PACKAGE}.Micro" in text or "import Micro" in text for text in sources):
        sources.append(f"import {PACKAGE}.ranker")
    lock = root / "requirements.lock"
    return {
        "notebook": notebook_hash(notebook),
        "code": content_hash(code_closure(sources, root), root),
        "lock": content_hash([lock], root) if lock.is_file() else "",
    }


def _module_file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _package_files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
