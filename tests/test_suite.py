"""`make test` and `make test-all` run once for each state of the tree; CI accepts no skip for want of data."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import suite

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree with one module, and phases that write down that they ran."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "module.py").write_text("x = 1\n")
    log = tmp_path.parent / f"{tmp_path.name}.log"
    code = f"import sys; open({str(log)!r}, 'a').write('ran '); sys.exit(int(sys.argv[1]))"
    status = {"unit tests": "0", "notebooks": "5"}
    monkeypatch.setattr(suite, "ROOT", tmp_path)
    monkeypatch.setattr(
        suite, "phases", lambda jobs, every: {n: [sys.executable, "-c", code, s] for n, s in status.items()}
    )
    return tmp_path, log, status


def test_an_unchanged_tree_is_tested_once(tree, capsys):
    root, log, _ = tree
    assert suite.main([]) == 0 and log.read_text() == "ran ran "
    assert suite.main([]) == 0 and log.read_text() == "ran ran "
    assert "Tests passed already for exactly this tree" in capsys.readouterr().out
    (root / "build" / "other").write_text("generated")
    (root / "module.py").touch()
    assert suite.main([]) == 0 and log.read_text() == "ran ran "
    assert suite.main(["--force"]) == 0 and log.read_text() == "ran ran ran ran "


def test_the_quick_tests_leave_out_the_long_ones_and_the_notebooks():
    quick, every = suite.phases(2, False), suite.phases(2, True)
    assert "not long" in quick["unit tests"] and "not long" not in every["unit tests"]
    assert list(quick) == ["ruff", "format", "unit tests"] and list(every) == [*quick, "notebooks"]


def test_who_passed_all_tests_passed_the_quick_ones(tree):
    _, log, _ = tree
    assert suite.main(["--all"]) == 0 and suite.main([]) == 0 and log.read_text() == "ran ran "
    (suite.ROOT / "module.py").write_text("x = 2\n")
    assert suite.main([]) == 0 and log.read_text() == "ran ran ran ran "
    assert suite.main(["--all"]) == 0 and log.read_text() == "ran ran ran ran ran ran "


def test_quick_tests_that_fail_take_back_that_all_passed(tree):
    _, log, status = tree
    assert suite.main(["--all"]) == 0
    status["unit tests"] = "3"
    assert suite.main(["--force"]) == 3 and suite.main([]) == 3 and suite.main(["--all"]) == 3
    assert log.read_text() == "ran ran ran ran ran "


@pytest.mark.parametrize("change", ["edit", "add", "rename", "mirror"])
def test_a_changed_tree_is_tested_again(tree, change, monkeypatch):
    root, log, _ = tree
    monkeypatch.delenv("MICRO_PAPER_DATA", raising=False)
    assert suite.main([]) == 0
    if change == "edit":
        (root / "module.py").write_text("x = 2\n")
    elif change == "add":
        (root / "notebooks" / "00_new.txt").write_text("")
    elif change == "rename":
        (root / "module.py").rename(root / "other.py")
    else:
        monkeypatch.setenv("MICRO_PAPER_DATA", str(root))
    assert suite.main([]) == 0 and log.read_text() == "ran ran ran ran "


def test_a_failure_stops_and_leaves_no_stamp(tree):
    root, log, status = tree
    assert suite.main([]) == 0
    (root / "module.py").write_text("x = 2\n")
    status["unit tests"] = "3"
    assert suite.main([]) == 3 and log.read_text() == "ran ran ran "
    (root / "module.py").write_text("x = 1\n")
    status["unit tests"] = "0"
    assert suite.main([]) == 0 and log.read_text() == "ran ran ran ran ran "


def test_notebooks_that_hold_no_test_fail(tree):
    root, _, _ = tree
    (root / "notebooks" / "00_empty.ipynb").write_text("{}")
    assert suite.main([]) == suite.NO_TESTS


SKIPPING = """
import pytest

def test_skips():
    pytest.skip("needs the data mirror: set MICRO_PAPER_DATA")

@pytest.mark.skipif(True, reason="no mirror here")
def test_marked():
    pass

def test_other():
    pytest.skip("needs a GPU")
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("required", "status", "counts"), [("1", 1, "1 failed, 1 skipped, 1 error"), ("", 0, "3 skipped")]
)
def test_a_skip_for_want_of_data_fails_where_data_are_required(tmp_path, required, status, counts):
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_skips.py").write_text(SKIPPING)
    environment = os.environ | {"MICRO_PAPER_REQUIRE_DATA": required}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == status and counts in done.stdout, done.stdout


@pytest.mark.long
def test_a_module_skipped_for_want_of_data_fails_too(tmp_path):
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_module.py").write_text("import pytest\npytest.skip('no mirror', allow_module_level=True)\n")
    environment = os.environ | {"MICRO_PAPER_REQUIRE_DATA": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode not in (0, 5), done.stdout
