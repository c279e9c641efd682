"""The strict papermill runner: a notebook with checked parameters in, a finished notebook or nothing out."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from micro_paper.errors import InputError, MissingError, refusal, shown, suggest
from micro_paper.files import DRAFT, check_writable, draft_prefix, move, sweep, write_atomic
from micro_paper.paths import absolute, absolute_environment, build_dir, project_root
from micro_paper.workflow.notebooks import normalise, output_problems
from micro_paper.workflow.parameters import Value, check_names, check_value, parse_value, read_parameters, read_profile

# a kernel warns on the terminal that its loopback sockets are not encrypted; errors still show
_QUIET = ["--IPKernelApp.log_level=ERROR"]
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class NotebookError(RuntimeError):
    """A notebook failed while it ran; the message names the cell, the error and where it was kept."""


def find_notebook(text: str, root: Path | None = None) -> Path:
    """Return the notebook that a path, a stem ("05_stage2") or a number ("05", "5") names.

    Raises:
        MissingError: none fits; the message has the nearest stem.
    """
    if os.path.isfile(text):
        return absolute(text)
    folder = (root or project_root()) / "notebooks"
    stems = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    stem = Path(text).name.removesuffix(".ipynb")
    number = f"{int(stem):02d}_" if re.fullmatch(r"\d{1,2}", stem) else None
    for name, path in stems.items():
        if name == stem or (number and name.startswith(number)):
            return path
    raise MissingError(f"no notebook {shown(text)}.{suggest(stem, stems)} Known: {', '.join(stems) or 'none'}.")


def resolve(
    notebook: Path,
    profile: str | None,
    overrides: Iterable[tuple[str, str]] = (),
    root: Path | None = None,
    given: Mapping[str, Value] | None = None,
) -> dict[str, Value]:
    """Return what the notebook is run with: the values of the profile that it declares, then the overrides.

    Args:
        notebook: the file; its parameters cell says names and types.
        profile: a name in `profiles/`, or None for the notebook's own defaults.
        overrides: (name, text as typed) pairs; the last one of a name counts.
        root: the checkout.
        given: values in place of those that the profile's file gives.

    Raises:
        InputError: an unknown profile or name, an ill-typed value, or an override that contradicts `profile`.
    """
    declared = read_parameters(notebook)
    stated = read_profile(profile, root) if profile is not None else {}
    given = stated if given is None else given
    values = {name: check_value(declared[name], value) for name, value in given.items() if name in declared}
    for name, text in overrides:
        check_names([name], declared, f"of {notebook.name}")
        values[name] = parse_value(declared[name], text)
    if profile is not None and values.get("profile", profile) != profile:
        raise InputError(f"profile {shown(values['profile'])} contradicts --profile {profile}: use --profile alone")
    return values


def run(
    notebook: str | Path,
    profile: str = "smoke",
    overrides: Iterable[tuple[str, str]] = (),
    output: str | Path | None = None,
    threads: int = 1,
    root: Path | None = None,
    given: Mapping[str, Value] | None = None,
) -> Path:
    """Run a notebook; return the executed file, `output` or else `build/PROFILE/notebooks/NAME.ipynb`.

    The file appears in one step when all cells are done. Where a cell fails, the notebook up to there is
    kept as `build/PROFILE/failed/NAME.ipynb` and an older finished file of that name, now untrue, is removed.

    Args:
        overrides, given: as for `resolve`.
        output: an .ipynb file, in the working directory where it is relative.

    Raises:
        InputError, MissingError: before anything is imported or run.
        NotebookError: a cell failed, or there is no room left for the finished file.
    """
    root = root or project_root()
    source = find_notebook(str(notebook), root)
    values = resolve(source, profile, overrides, root, given)
    if threads < 1:
        raise InputError(f"threads must be >= 1, got {shown(threads)}")
    build = build_dir(root) / profile
    final = absolute(output) if output is not None else build / "notebooks" / source.name
    if final == source:
        raise InputError(f"the output {final.name} is the notebook itself: give -o another path")
    if final.suffix != ".ipynb":
        raise InputError(f"the output must be an .ipynb file, got {str(output)!r}: give -o another path")
    partial = build / "running" / f"{draft_prefix(source.stem)}{os.urandom(3).hex()}{DRAFT}.ipynb"
    failed = build / "failed" / source.name
    for path in (final, partial):
        check_writable(path)
    sweep(build)
    try:
        with _kernel_environment(threads):
            _execute(source, partial, values)
    except NotebookError as error:
        if partial.exists():
            move(partial, failed)
        final.unlink(missing_ok=True)
        raise NotebookError(f"{error}; the notebook up to there: {_shown(failed, root)}") from None
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    try:
        move(partial, final)
    except OSError as error:
        move(partial, failed)
        raise NotebookError(f"{refusal(error)}; the finished notebook: {_shown(failed, root)}") from None
    return final


def refresh(path: str | Path) -> None:
    """Execute a committed notebook in place at its own defaults and bring it into its committed form.

    Raises:
        NotebookError: a cell failed, wrote to stderr or shows an absolute path; the file is left as it was.
    """
    path = find_notebook(str(path))
    read_parameters(path)
    check_writable(path)
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        kernel_manager_class=_this_python(),
        timeout=None,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=_QUIET,
    )
    try:
        with _kernel_environment(1):
            client.execute()
    except (CellExecutionError, DeadKernelError) as error:
        reason = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else "its kernel died"
        raise NotebookError(f"{path.name} is left as it was: {_ANSI.sub('', reason)}") from None
    normalise(notebook)
    if found := list(output_problems(notebook)):
        raise NotebookError(f"{path.name} is left as it was: {'; '.join(found)}")
    write_atomic(path, (nbformat.writes(notebook).rstrip("\n") + "\n").encode())


def _execute(source: Path, partial: Path, values: Mapping[str, Any]) -> None:
    import warnings

    import papermill
    from nbclient.exceptions import DeadKernelError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # papermill's own deprecations; the notebook's are in its outputs
            papermill.execute_notebook(
                *(str(path).replace("{", "{{").replace("}", "}}") for path in (source, partial)),
                parameters=dict(values),
                kernel_name="python3",
                kernel_manager_class=_this_python(),
                cwd=str(source.parent),
                progress_bar=sys.stderr.isatty(),
                extra_arguments=_QUIET,
            )
    except papermill.PapermillExecutionError as error:
        message = _ANSI.sub("", f"{error.ename}: {error.evalue}").strip()
        raise NotebookError(f"{source.name} failed in In [{error.exec_count}]: {message}") from None
    except DeadKernelError:
        raise NotebookError(f"{source.name} failed: its kernel died, perhaps for want of memory") from None


def _this_python() -> type:
    """Return a kernel manager that starts the running interpreter, whichever kernels others have named python3."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class ThisPython(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _without_folders(self) -> KernelSpecManager:
            return KernelSpecManager(kernel_dirs=[])

    return ThisPython


@contextmanager
def _kernel_environment(threads: int) -> Iterator[None]:
    """Give the kernel a fixed hash seed and number of threads: same machine and parameters, same bytes.

    It works in the notebook's folder, so places that the environment names become absolute.

    One thread is the default also because training heads on cached features gains nothing from more: measured on two
    cores beside other work, two threads took two to six times as long.
    """
    number = str(threads)
    fixed = {
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
        "OPENBLAS_NUM_THREADS": number,
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",  # a library's progress bar is no output
        **absolute_environment(),
    }
    before = {name: os.environ.get(name) for name in fixed}
    os.environ.update(fixed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
