"""Fixtures that several test modules share, and the rule that CI may not skip for want of data."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Fuzzing: HYPOTHESIS_PROFILE=long tries new examples, and many of them. No example may take ten seconds; how long one
# takes to be drawn is the machine's affair.
FUZZ = {"deadline": 10_000, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much]}
settings.register_profile("short", max_examples=200, derandomize=True, **FUZZ)
settings.register_profile("long", max_examples=20_000, database=None, **FUZZ)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

ROOT = Path(__file__).resolve().parent.parent
WANTS_DATA = re.compile(r"mirror|MICRO_PAPER_DATA", re.IGNORECASE)

PARAMETERS = """profile: str = "smoke"  # the profile's name
seed: int = 0  # the first seed
scale: float = 0.5  # a factor
limit: int | None = None  # none: all"""
CHECK = "from micro_paper.workflow.parameters import check_parameters\n\nchosen = check_parameters(globals())"


os.environ.pop("MICRO_PAPER_BUILD", None)  # tests build in folders of their own
for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # a make that a test calls does not run below `make test`
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def display_options() -> Iterator[None]:
    """Put pandas' display options back after each test: a notebook that starts sets them for its whole process."""
    import pandas as pd

    names = [f"display.{name}" for name in ("max_rows", "max_columns", "max_colwidth", "width")]
    with pd.option_context(*(part for name in names for part in (name, pd.get_option(name)))):
        yield


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point MICRO_PAPER_DATA at the mirror of the open data beside the checkout, or skip where there is none."""
    folder = Path(os.environ.get("MICRO_PAPER_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no mirror of the open data: set MICRO_PAPER_DATA, or put one at ../shared/data")
    monkeypatch.setenv("MICRO_PAPER_DATA", str(folder))
    return folder


@pytest.fixture(scope="module")
def world() -> dict:
    """Pairs of each split of a small synthetic audience, with contexts; for the tests of methods."""
    from micro_paper.data import synthetic

    drawn = synthetic.draw_world("synthetic-audience", train=300, validation=60, test=80)
    return {split: sample.pairs for split, sample in drawn.items()}


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip for want of the data mirror into a failure where MICRO_PAPER_REQUIRE_DATA is set."""
    required = os.environ.get("MICRO_PAPER_REQUIRE_DATA")
    if not required or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if WANTS_DATA.search(reason):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} may not be skipped here: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture
def make_notebook() -> Callable[..., Path]:
    """A function (path, *sources, parameters=..., check=...) that writes an unexecuted notebook."""
    from nbformat import v4, write

    def make(path: Path, *sources: str, parameters: str | None = PARAMETERS, check: str | None = CHECK) -> Path:
        cells = [v4.new_markdown_cell("# A notebook", id="title")]
        if parameters is not None:
            cells.append(v4.new_code_cell(parameters, id="parameters", metadata={"tags": ["parameters"]}))
        if check is not None:
            cells.append(v4.new_code_cell(check, id="check"))
        cells += [v4.new_code_cell(source, id=f"cell-{i}") for i, source in enumerate(sources)]
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = v4.new_notebook(cells=cells, metadata={"kernelspec": spec, "language_info": {"name": "python"}})
        path.parent.mkdir(parents=True, exist_ok=True)
        write(notebook, path)
        return path

    return make


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout as working directory: the package linked, two profiles, no notebooks."""
    root = tmp_path / "checkout"
    (root / "notebooks").mkdir(parents=True)
    (root / "profiles").mkdir()
    (root / "micro_paper").symlink_to(ROOT / "micro_paper")
    shutil.copy(ROOT / "Snakefile", root / "Snakefile")
    for name, seed in (("smoke", 0), ("open", 7)):
        text = f"profile: {name}  # ours\nseed: {seed}  # ours\nscale: 0.5  # ours\nelsewhere: 3  # ours\n"
        (root / "profiles" / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(root)
    return root
