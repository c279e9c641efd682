"""Notebooks as files: their source, their normal form, and what a committed one must look like."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from micro_paper.errors import InputError
from micro_paper.files import sha256
from micro_paper.workflow.parameters import read_parameters

MAX_CODE_CELLS = 10  # beside the parameters and the start
MAX_LINES = 15  # of a cell

# An absolute POSIX path of two parts or more, or a Windows drive; markup (</td>) and addresses are none.
_ABSOLUTE = re.compile(r"(?<![\w./:<~])/[\w.+-]+/[\w.+-]+|\b[A-Za-z]:\\[\w\\]")
# Dots where a line or a cell of a table ends, and in place of columns and rows.
_CUT = re.compile(r"(?:\.\.\.|…)\s*(?:$|[<|])| (?:\.\.\.|…) |^\.\. ", re.MULTILINE)
_SEAL = "micro_paper"
_FOLDED = {"source_hidden": True}


def read_notebook(path: str | Path) -> dict[str, Any]:
    """Return a notebook's content; InputError where the file is none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{Path(path).name} is not a notebook: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise InputError(f"{Path(path).name} is not a notebook: it has no cells")
    return content


def joined(text: str | list[str]) -> str:
    """Return a notebook's multi-line text, which files hold as a string or as a list of lines, as one
    string."""
    return text if isinstance(text, str) else "".join(text)


def code_cells(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the code cells that hold code."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and joined(cell["source"]).strip()]


def source_hash(notebook: Mapping[str, Any]) -> str:
    """Return the sha256 of the cells' types, sources and tags; outputs and other metadata do not count."""
    content = [
        [cell["cell_type"], joined(cell["source"]), sorted(cell.get("metadata", {}).get("tags", []))]
        for cell in notebook["cells"]
    ]
    return sha256(json.dumps(content).encode())


def output_hash(notebook: Mapping[str, Any]) -> str:
    """Return the sha256 of all outputs and execution counts."""
    content = [[cell.get("execution_count"), _plain(cell.get("outputs", []))] for cell in code_cells(notebook)]
    return sha256(json.dumps(content, sort_keys=True).encode())


def normalise(notebook: dict[str, Any]) -> dict[str, Any]:
    """Bring a notebook as just executed (nbformat 4.5) into the form that is committed, in place; return it.

    Timing and papermill metadata go, the parameters are folded, execution counts run from 1, neighbouring pieces of one
    stream become one, the kernel is named as JupyterLab names it, so that saving there changes nothing, and two hashes
    are put down so that a later edit by hand shows.
    """
    count = 0
    seen: set[str] = set()
    for position, cell in enumerate(notebook["cells"]):
        tags = cell.get("metadata", {}).get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
        if "parameters" in (tags or ()):
            cell["metadata"]["jupyter"] = dict(_FOLDED)
        if not cell.get("id") or cell["id"] in seen:
            text = f"{position} {joined(cell['source'])}"
            cell["id"] = sha256(text.encode())[:8]
        seen.add(cell["id"])
        if cell["cell_type"] != "code":
            continue
        if joined(cell["source"]).strip():
            count += 1
            cell["execution_count"] = count
        outputs: list[dict[str, Any]] = []
        for output in cell.get("outputs", []):
            if "execution_count" in output:
                output["execution_count"] = cell["execution_count"]
            same = outputs and output["output_type"] == outputs[-1]["output_type"] == "stream"
            if same and output["name"] == outputs[-1]["name"]:
                outputs[-1]["text"] = joined(outputs[-1]["text"]) + joined(output["text"])
            else:
                outputs.append(output)
        cell["outputs"] = outputs
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": notebook["metadata"]["language_info"],  # as the kernel gave it
        _SEAL: {"outputs_sha256": output_hash(notebook), "source_sha256": source_hash(notebook)},
    }
    return notebook


def problems(notebook: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a committed notebook, one sentence each; empty where all is well.

    Refused are a missing, second or misplaced parameters cell, one that no `start(globals())` follows, definitions, too
    many or too long cells, magics, control characters, an equation that no blank line precedes, unexecuted cells, edits
    by hand since the last execution, errors, warnings, absolute paths, cut tables and metadata that a machine leaves
    behind.
    """
    return [
        *_text_problems(notebook),
        *_form_problems(notebook),
        *_execution_problems(notebook),
        *output_problems(notebook),
    ]


def output_problems(notebook: Mapping[str, Any]) -> Iterator[str]:
    """Yield what may not be in an output: an error, anything on stderr, an absolute path, what is cut."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        for output in cell.get("outputs", []):
            if output["output_type"] == "error":
                yield f"code cell {number} ended with {output['ename']}: {output['evalue']}"
                continue
            if output.get("name") == "stderr":
                yield f"code cell {number} wrote to stderr: {joined(output['text']).strip()[:200]!r}"
            texts = [output["text"]] if "text" in output else []
            texts += [value for kind, value in output.get("data", {}).items() if kind.startswith("text/")]
            for text in texts:
                if found := _ABSOLUTE.search(joined(text)):
                    yield f"code cell {number} shows an absolute path: {found.group()!r}"
                if found := _CUT.search(whole := joined(text)):
                    yield f"code cell {number} shows something cut: {whole[max(0, found.start() - 40) : found.end()]!r}"


def _text_problems(notebook: Mapping[str, Any]) -> Iterator[str]:
    for number, cell in enumerate(notebook["cells"]):
        source = joined(cell["source"])
        if found := re.search(r"[\x00-\x09\x0b-\x1f]", source):
            yield f"cell {number} holds the control character {found.group()!r}: a backslash was lost there"
        if cell["cell_type"] == "markdown" and re.search(r"[^\n]\n\$\$", source):
            yield f"cell {number} has an equation right behind a line of text: put a blank line before its $$"


def _form_problems(notebook: Mapping[str, Any]) -> Iterator[str]:
    cells = code_cells(notebook)
    try:
        read_parameters(notebook)
    except InputError as error:
        yield str(error)
    tagged = [n for n, cell in enumerate(cells) if "parameters" in cell.get("metadata", {}).get("tags", [])]
    if tagged and tagged[0] != 0:
        yield f"the parameters cell is code cell {tagged[0] + 1}: it must be the first"
    if len(cells) < 2 or "start(globals())" not in joined(cells[1]["source"]):
        yield "the second code cell must call start(globals())"
    if len(cells) - 2 > MAX_CODE_CELLS:
        yield f"{len(cells) - 2} code cells behind the start: at most {MAX_CODE_CELLS}"
    for number, cell in enumerate(cells, start=1):
        source = joined(cell["source"])
        if number > 1 and (lines := len(source.splitlines())) > MAX_LINES:
            yield f"code cell {number} has {lines} lines: at most {MAX_LINES}"
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            yield f"code cell {number} is not plain Python ({error.msg}, line {error.lineno})"
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield f"code cell {number} defines {node.name}: put it into the library"
            elif isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Lambda):
                yield f"code cell {number} names a lambda: put the function into the library"
        if source.rstrip().endswith(";"):
            yield f"code cell {number} ends with a semicolon, which nbval cannot run"


def _execution_problems(notebook: Mapping[str, Any]) -> Iterator[str]:
    cells = code_cells(notebook)
    counts = [cell.get("execution_count") for cell in cells]
    if counts != list(range(1, len(cells) + 1)) or not any(cell.get("outputs") for cell in cells):
        yield f"it was not executed from top to bottom (execution counts {counts}): run `make notebooks`"
    seal = notebook.get("metadata", {}).get(_SEAL, {})
    if seal.get("source_sha256") != source_hash(notebook):
        yield "a cell was edited after the last execution: run `make notebooks`"
    if seal.get("outputs_sha256") != output_hash(notebook):
        yield "an output was edited or stripped after the last execution: run `make notebooks`"
    if extra := set(notebook["metadata"]) - {"kernelspec", "language_info", _SEAL}:
        yield f"metadata {sorted(extra)} must go: run `make notebooks`"
    for position, cell in enumerate(notebook["cells"], start=1):
        metadata = dict(cell.get("metadata", {}))
        if "parameters" in metadata.pop("tags", []) and metadata.pop("jupyter", None) != _FOLDED:
            yield "the parameters are not folded: run `make notebooks`"
        if metadata:
            yield f"cell {position} has metadata {sorted(metadata)}: run `make notebooks`"


def _plain(value: Any) -> Any:
    """Lists of lines and joined lines are the same content: compare them joined."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return "".join(value) if value and all(isinstance(i, str) for i in value) else [_plain(i) for i in value]
    return value
