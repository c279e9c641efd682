"""Published results may be carried over to other code only where that code was shown to give the same numbers."""

import json
import shutil

import pandas as pd
import pytest

from micro_paper import files
from micro_paper.errors import InputError
from micro_paper.workflow import carry, manifest, publishing
from micro_paper.workflow.comparison import compare

NOTEBOOK = "notebooks/05_stage2.ipynb"
TABLE = pd.DataFrame({"method": ["micro", "single"], "value": [0.7, 0.6]})


def made(folder, table, hashes, parameters):
    """A build folder with one table and the manifest of its notebook."""
    (folder / "results").mkdir(parents=True)
    table.to_csv(folder / "results" / "table_02_x.csv", index=False)
    sha = files.sha256((folder / "results" / "table_02_x.csv").read_bytes())
    entry = {"file": "results/open/table_02_x.csv", "sha256": sha, "caption": "A table.", "columns": {}}
    line = {"notebook": NOTEBOOK, "profile": "open", "hashes": hashes, "parameters": parameters, "files": [entry]}
    manifest_file = folder / "manifest" / "05_stage2.jsonl"
    manifest_file.parent.mkdir()
    manifest_file.write_bytes(manifest.to_lines([line]))
    return line


@pytest.fixture
def root(tmp_path, monkeypatch):
    present = {"notebook": "n2", "code": "c2"}
    monkeypatch.setattr(carry, "fingerprint", lambda notebook, root: present)
    monkeypatch.setattr(carry, "read_profile", lambda profile, root: {"layers": 15, "seed": 0, "max_tokens": 2048})
    old, full, small = {"notebook": "n1", "code": "c1"}, {"layers": 15, "seed": 0}, {"layers": 1, "seed": 0}
    line = made(tmp_path / "published", TABLE, old, full)
    for kind in publishing.KINDS:
        (tmp_path / kind / "open").mkdir(parents=True)
        (tmp_path / kind / "open" / "README.md").write_text(publishing.readme(kind, "open", [line]))
    shutil.copy(tmp_path / "published" / "results" / "table_02_x.csv", tmp_path / "results" / "open")
    (tmp_path / "results" / "open" / "manifest.jsonl").write_bytes(manifest.to_lines([line]))
    made(tmp_path / "before", TABLE, old, small)
    made(tmp_path / "build" / "open", TABLE, present, small)
    return tmp_path


def test_equal_tables_are_carried_over(root):
    done = carry.carry("open", root / "before", root=root)
    assert (done.notebooks, done.left) == ([NOTEBOOK], [])
    assert (done.comparison.cells, done.comparison.largest, done.comparison.problems) == (2, 0.0, [])
    (line,) = manifest.read_lines(root / "results" / "open" / "manifest.jsonl")
    sha = manifest.json_hash({"layers": 15, "seed": 0})
    assert line["hashes"] == {"notebook": "n2", "code": "c2", "parameters": sha}
    assert line["parameters"] == {"layers": 15, "seed": 0}
    ground = {"from": {"notebook": "n1", "code": "c1"}, "setting": {"layers": 1}, "cells": 2, "largest": 0.0}
    assert line["carried"] == [ground]
    assert publishing.verify("open", root) == []
    assert "Made by an earlier state of the code" in (root / "results" / "open" / "README.md").read_text()
    assert carry.carry("open", root / "before", root=root).notebooks == []  # it names the present code already


def test_a_parameter_that_is_new_is_named_at_its_value(root):
    change(root / "build" / "open", parameters={"layers": 1, "seed": 0, "max_tokens": 2048})
    carry.carry("open", root / "before", root=root)
    (line,) = manifest.read_lines(root / "results" / "open" / "manifest.jsonl")
    assert line["parameters"] == {"layers": 15, "seed": 0, "max_tokens": 2048}
    assert line["hashes"]["parameters"] == manifest.json_hash(line["parameters"])
    assert line["carried"][0]["setting"] == {"layers": 1}


def change(folder, **changes):
    path = folder / "manifest" / "05_stage2.jsonl"
    line = json.loads(path.read_text())
    path.write_text(json.dumps(line | changes) + "\n")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda r: change(r / "before", hashes={"notebook": "n1", "code": "c0"}),
            "neither build shows",
        ),
        (lambda r: change(r / "build" / "open", hashes={"notebook": "n1", "code": "c2"}), "neither build shows"),
        (lambda r: change(r / "before", parameters={"layers": 2, "seed": 0}), "run with other parameters"),
        (
            lambda r: change(r / "build" / "open", parameters={"layers": 1, "seed": 0, "max_tokens": 512}),
            "run with other parameters",
        ),
        (lambda r: (r / "before" / "manifest" / "05_stage2.jsonl").unlink(), "neither build shows"),
        (
            lambda r: TABLE.assign(value=[0.7, 0.6 + 1e-6]).to_csv(
                r / "build" / "open" / "results" / "table_02_x.csv", index=False
            ),
            "table_02_x.csv, value, row 2: 0.6 became 0.600001",
        ),
    ],
)
def test_anything_else_is_refused_and_nothing_changes(root, spoil, says):
    spoil(root)
    before = (root / "results" / "open" / "manifest.jsonl").read_bytes()
    with pytest.raises(InputError, match=says):
        carry.carry("open", root / "before", root=root)
    assert (root / "results" / "open" / "manifest.jsonl").read_bytes() == before


def test_tables_are_compared_cell_by_cell(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        TABLE.to_csv(folder / "t.csv", index=False)
    TABLE.assign(value=TABLE.value + 1e-12).to_csv(folders[1] / "t.csv", index=False)
    assert compare(*folders).problems == [] and 0 < compare(*folders).largest < 1e-9
    TABLE.iloc[::-1, ::-1].to_csv(folders[1] / "t.csv", index=False)
    assert compare(*folders).problems == [] and compare(*folders).largest == 0
    for broken, says in (
        (TABLE.assign(method=["micro", "other"]), "'single' became 'other'"),
        (TABLE.rename(columns={"value": "v"}), "have other names"),
        (TABLE.iloc[:1], r"\(2, 2\) rows and columns became \(1, 2\)"),
        (TABLE.assign(value=[None, 0.6]), "'0.7' became ''"),
    ):
        broken.to_csv(folders[1] / "t.csv", index=False)
        (problem,) = compare(*folders).problems
        assert pd.Series([problem]).str.contains(says).all()
    (folders[1] / "t.csv").rename(folders[1] / "u.csv")
    assert [p.split(" is not in")[0] for p in compare(*folders).problems] == ["t.csv", "u.csv"]
    with pytest.raises(InputError, match="holds no tables"):
        compare(folders[0], tmp_path)
