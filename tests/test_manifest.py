"""Manifests and committed tables that were damaged are refused by name, whatever the damage."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from micro_paper import files
from micro_paper.claims import evidence, judge
from micro_paper.errors import InputError, MissingError
from micro_paper.report import formatting
from micro_paper.workflow import claims_files, comparison, manifest, publishing, readme

PROFILE = "open"


def beside() -> bytes:
    base = {"dataset": "d", "low": 0.6, "high": 0.8, "ours": 0.7, "supervision": "s"}
    gap = {"micro_minus_row": 0.05, "minus_low": 0.01, "minus_high": 0.09, "verdict": "holds"}
    return formatting.csv(pd.DataFrame([base | {"method": "micro"}, base | {"method": "single"} | gap]))


def build(root: Path) -> None:
    """A finished build of one notebook: evidence, the verdicts on it, the table of README."""
    rows = [evidence.row("C01", "any", "simulation", "a gap", "identity", 1e-9, n_runs=1)]
    found = evidence.frame(rows)
    judged = judge.judge(found.assign(file="", notebook="01_theory", backbone=""), PROFILE)
    contents = {
        "table_00_evidence_01.csv": formatting.csv(found),
        "claims.csv": formatting.csv(judged),
        readme.TABLE: beside(),
    }
    entries = []
    for name, content in contents.items():
        files.write_atomic(root / "build" / PROFILE / "results" / name, content)
        columns = {"value": "a | value"}
        place = {"file": f"results/{PROFILE}/{name}", "sha256": files.sha256(content)}
        entries.append(place | {"caption": "A table.", "columns": columns})
    line = {"notebook": "notebooks/01_theory.ipynb", "profile": PROFILE, "files": entries}
    line |= {"hashes": {"notebook": "n", "code": "c"}, "parameters": {"seed": 1, "backbone": "none"}}
    files.write_atomic(root / "build" / PROFILE / "manifest" / "01_theory.jsonl", manifest.to_lines([line]))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    (root / "notebooks").mkdir()
    build(root)
    publishing.publish(PROFILE, root)
    assert publishing.verify(PROFILE, root) == claims_files.verify(PROFILE, root) == []
    return root


WORDS = [b'"', b"{", b"}", b"[", b",", b"\n", b"\r", b"\0", b"NaN", b"1e999", b"-", b"null", b"\\ud800", b"/../"]
CUT = st.tuples(st.floats(0, 1), st.floats(0, 0.3), st.sampled_from([*WORDS, b"9" * 5000]) | st.binary(max_size=8))
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
VALUE = st.recursive(PLAIN, st.lists, max_leaves=4)
PLACES = ("notebook", "profile", "files", "hashes", "parameters", "carried", "file", "sha256", "caption", "columns")
MANY = settings().max_examples  # a file is written for each: the short run takes a quarter of the usual number
FUZZ = settings(max_examples=MANY if MANY > 1000 else MANY // 4)


def cut(content: bytes, damage: tuple[float, float, bytes]) -> bytes:
    """Replace a part of the content."""
    start = int(damage[0] * len(content))
    return content[:start] + damage[2] + content[start + int(damage[1] ** 4 * len(content)) :]


def refused(call, *arguments):
    """What the call returns, or the message with which it refuses, which says enough."""
    try:
        return call(*arguments)
    except (InputError, MissingError) as error:
        assert len(str(error)) > 20
        return str(error)


def check_damaged(root: Path, name: str, damage: tuple[float, float, bytes], *readers) -> None:
    """`verify` names the damage, and every reader of the file refuses it in a sentence, or reads it."""
    path = root / "results" / PROFILE / name
    whole = path.read_bytes()
    path.write_bytes(cut(whole, damage))
    try:
        problems = publishing.verify(PROFILE, root)
        assert bool(problems) == (path.read_bytes() != whole) or name == "manifest.jsonl"  # which nothing else hashes
        assert all(isinstance(problem, str) for problem in problems)
        for reader, *arguments in readers:
            refused(reader, *arguments)
    finally:
        path.write_bytes(whole)


@FUZZ
@given(CUT)
@example((0.0, 1.0, b""))
@example((0.5, 0.0, b"\r"))
def test_a_damaged_manifest_is_refused(root, damage):
    readers = [(claims_files.gather, PROFILE, root), (publishing.stale, PROFILE, root)]
    check_damaged(root, "manifest.jsonl", damage, *readers)


@FUZZ
@given(CUT)
@example((0.0, 1.0, b""))
@example((0.9, 0.0, b"9" * 400))
def test_damaged_evidence_is_refused(root, damage):
    check_damaged(root, "table_00_evidence_01.csv", damage, (claims_files.verify, PROFILE, root))


@FUZZ
@given(CUT)
@example((0.0, 1.0, b""))
def test_damaged_verdicts_are_refused(root, damage):
    check_damaged(root, "claims.csv", damage, (claims_files.verify, PROFILE, root), (readme.claims_block, root))


@FUZZ
@given(CUT)
@example((0.0, 1.0, b""))
@example((0.9, 0.0, b"9" * 400))
def test_a_damaged_table_is_refused(root, damage):
    folders = (root / "build" / PROFILE / "results", root / "results" / PROFILE)
    compared = (comparison.compare, *folders, [readme.TABLE])
    check_damaged(root, readme.TABLE, damage, (readme.results_block, root), compared)


@FUZZ
@given(st.sampled_from(PLACES), VALUE, st.booleans())
def test_a_manifest_of_other_values_is_refused_or_published(root, place, value, nested):
    path = root / "build" / PROFILE / "manifest" / "01_theory.jsonl"
    whole = path.read_bytes()
    line = json.loads(whole)
    (line["files"][0] if nested else line)[place] = value
    before = {p: p.read_bytes() for p in (root / "results" / PROFILE).iterdir()}
    path.write_text(json.dumps(line))
    try:
        said = refused(publishing.publish, PROFILE, root)
        assert publishing.verify(PROFILE, root) == []
        if isinstance(said, str):
            assert {p: p.read_bytes() for p in (root / "results" / PROFILE).iterdir()} == before
    finally:
        path.write_bytes(whole)
        if not isinstance(said, str):
            publishing.publish(PROFILE, root)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"notebook": 1, "notebook": 2}', "field 'notebook' stands twice"),
        ('{"files": [{"file": 1, "file": 2}]}', "field 'file' stands twice"),
        ("[1]", "it is no object"),
        ('{"x": NaN}', "NaN is no finite number"),
        ('{"x": 1e999}', "1e999 is no finite number"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 900 + "]" * 900, "it is no object"),
        ("{", "invalid JSON"),
        ('{"notebook": "notebooks/a.ipynb"}', "it has no profile"),
    ],
)
def test_what_is_said_of_a_line(tmp_path, text, says):
    path = tmp_path / "manifest.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(InputError, match=f"manifest.jsonl, line 1: {says}.*; restore the file, or delete it"):
        manifest.read_lines(path)


@pytest.mark.parametrize(
    "file",
    ["results/open/../../x.csv", "/etc/x.csv", "results/bundled/x.csv", "results/open/.x.csv", "results/open/X.csv"],
)
def test_a_file_elsewhere_is_refused(root, file):
    (line,) = manifest.read_lines(root / "results" / PROFILE / "manifest.jsonl")
    line["files"][0]["file"] = file
    path = root / "other.jsonl"
    path.write_bytes(json.dumps(line).encode())
    with pytest.raises(InputError, match="is no place of a file of profile 'open'"):
        manifest.read_lines(path)


def test_text_with_line_separators_stays_one_line(root):
    (line,) = manifest.read_lines(root / "results" / PROFILE / "manifest.jsonl")
    line["parameters"] = {"context": "one\u2028two\x85three\x0bfour\r\nfive"}
    path = root / "other.jsonl"
    path.write_bytes(manifest.to_lines([line]))
    assert manifest.read_lines(path) == [line]


@pytest.mark.parametrize(
    "value",
    [
        np.int64(3),
        np.float32(0.5),
        np.bool_(True),
        Path("a"),
        float("nan"),
        float("inf"),
        {1: 2},
        [{"a": {2: 3}}],
        {1, 2},
    ]
    + ["\ud800", b"x", np.arange(2), 10**5000],
    ids=lambda value: type(value).__name__,
)
def test_a_parameter_that_is_not_plain_is_refused_by_name(value):
    with pytest.raises(InputError, match="^parameters must be plain .*; wrong: "):
        manifest.published_parameters({"seed": 1, "wrong": value})


def test_plain_parameters_are_kept():
    plain = {"a": 1, "b": [1.5, None, True], "c": {"d": "é\u2028"}, "e": np.float64(0.5), "f": (1, 2)}
    assert manifest.published_parameters(plain | {"device": "cuda"}) == plain | {"f": [1, 2]}
