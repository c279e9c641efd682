"""From notebook to committed result: what is written, what is refused, and that a crash publishes nothing."""

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from micro_paper import files
from micro_paper.errors import InputError, MissingError
from micro_paper.report import formatting
from micro_paper.report.columns import meanings
from micro_paper.workflow import artifacts, manifest, publishing
from micro_paper.workflow.artifacts import Artifacts
from micro_paper.workflow.provenance import fingerprint
from micro_paper.workflow.tex import write_tex

COLUMNS = ("method", "attribute", "value")


def notebook(root: Path, name: str, source: str = "import micro_paper.one") -> None:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# prose"]},
        {"cell_type": "code", "metadata": {}, "source": [source], "outputs": [], "execution_count": None},
    ]
    (root / "notebooks" / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("notebooks", "profiles", "micro_paper"):
        (tmp_path / folder).mkdir()
    (tmp_path / "micro_paper" / "one.py").write_text("a = 1\n")
    for name in ("04_stage1", "05_stage2"):
        notebook(tmp_path, name)
    return tmp_path


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "method": ["micro", "micro", "single"],
            "attribute": ["b", "a", "b"],
            "value": [0.123456789, 1.0, np.nan],
        }
    )


def figure() -> Figure:
    shown = Figure(figsize=(3.3, 2))
    shown.add_subplot().plot([0, 1], [0, 1], label="a line")
    shown.axes[0].set_title("Title")
    return shown


def run(root: Path, frame: pd.DataFrame, name: str = "05_stage2", number: int = 2, profile: str = "bundled"):
    out = Artifacts(profile, name, {"seed": 1, "n_seeds": 2}, root, {"data": "abc"})
    out.table(frame, number, "accuracy", "Accuracy of all.", pivot=("method", "attribute", "value"))
    return out


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# Writing


def test_table_in_two_forms(root, frame):
    shown = run(root, frame)
    folder = shown.build / "results"
    csv = (folder / "table_02_accuracy.csv").read_bytes()
    assert csv == b"method,attribute,value\nmicro,b,0.123457\nmicro,a,1\nsingle,b,\n"
    markdown = (folder / "table_02_accuracy.md").read_text()
    head = "Accuracy of all.\n\n| method | b | a |\n| --- | ---: | ---: |\n"
    assert markdown == head + "| micro | 0.123 | 1.000 |\n| single |  |  |\n"
    assert sorted(tree(folder)) == ["table_02_accuracy.csv", "table_02_accuracy.md"]


def test_captions_say_how_many_pairs_train(root, frame):
    for most, said in ((8000, " At most 8,000 pairs of a data set train in each fold."), (0, "")):
        out = Artifacts("bundled", "05_stage2", {"most_train_pairs": most}, root)
        out.table(frame, 2, "accuracy", "Accuracy.")
        out.figure(figure(), 2, "accuracy", "A figure.")
        assert (out.build / "results" / "table_02_accuracy.md").read_text().startswith(f"Accuracy.{said}\n")
        entries = [json.loads(line) for line in (out.build / "manifest" / "05_stage2.partial.jsonl").open()]
        captions = {f["file"]: f["caption"] for f in entries[0]["files"]}
        assert captions["results/bundled/table_02_accuracy.csv"] == f"Accuracy.{said}"
        assert captions["figures/bundled/figure_02_accuracy.png"] == f"A figure.{said}"


def test_formats_display_and_special_characters():
    frame = pd.DataFrame({"name": ["a|b", "50 %_x"], "n": [3, 4], "share": [0.5, -0.0]})
    shown = formatting.display_frame(frame, {"share": lambda v: f"{v:.0%}", "n": "03d"})
    assert shown["share"].tolist() == ["50%", "0%"] and shown["n"].tolist() == ["003", "004"]
    assert "a\\|b" in formatting.markdown(shown)
    assert r"50 \%\_x & 004" in formatting.latex(shown, "A & B", "x") and r"\caption{A \& B}" in formatting.latex(
        shown, "A & B", "x"
    )
    assert b",0\n" in formatting.csv(frame) and b"-0" not in formatting.csv(frame)
    other = pd.DataFrame({"z": ["1 (2)"]})
    assert formatting.display_frame(frame, display=other)["z"].tolist() == ["1 (2)"]
    assert formatting.csv(pd.DataFrame({"a": []})) == b"a\n"
    assert formatting.csv(pd.DataFrame({"a": [1e-9, 123456789.0, np.inf], "b": [True, None, "x"]})) == (
        b"a,b\n1e-09,True\n1.23457e+08,\ninf,x\n"
    )


def test_csv_reads_back(frame):
    again = pd.read_csv(io.BytesIO(formatting.csv(frame)))
    pd.testing.assert_frame_equal(again, frame, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": pd.DataFrame({"valeu": [1]})}, "'valeu' of table 02_a has no meaning.*Did you mean 'value'"),
        ({"number": 100}, "number must be"),
        ({"number": True}, "number must be"),
        ({"slug": "Not good"}, "slug must be"),
        ({"slug": "../x"}, "slug must be"),
        ({"slug": "Accuracy"}, "slug must be"),  # only the case apart from another
        ({"slug": "not_applicable"}, "names a page that says why there is no table"),
        ({"number": "٠٢"}, "number must be"),
        ({"frame": pd.DataFrame({"value": [[1]]})}, "column value, row 1: a cell holds"),
        ({"formats": {"x": ".2f"}}, "formats names 'x'"),
        ({"pivot": ("method", "x", "value")}, "pivot names 'x'"),
        ({"pivot": ("attribute", "attribute", "value")}, "two values"),
        ({"pivot": ("method", "attribute", "value"), "display": pd.DataFrame()}, "not both"),
    ],
)
def test_table_refuses_and_writes_nothing(root, frame, change, message):
    out = Artifacts("bundled", "05_stage2", {}, root)
    before = tree(root)
    with pytest.raises(InputError, match=message):
        out.table(**({"frame": frame, "number": 2, "slug": "a", "caption": "c"} | change))
    assert tree(root) == before


def test_refuses_unknown_notebook_profile_and_parameters(root):
    with pytest.raises(MissingError, match="05_stage3.*Did you mean '05_stage2'"):
        Artifacts("bundled", "05_stage3", {}, root)
    with pytest.raises(InputError, match="profile"):
        Artifacts("../x", "05_stage2", {}, root)
    with pytest.raises(InputError, match="must not begin with table_"):
        Artifacts("bundled", "05_stage2", {}, root).frame(pd.DataFrame({"value": [1]}), "table_02_accuracy", "c")
    for value in (float("nan"), object(), np.float32(1)):
        with pytest.raises(InputError, match="parameters"):
            Artifacts("bundled", "05_stage2", {"x": value}, root)


@pytest.mark.long
def test_figure_is_deterministic_also_in_another_process(root):
    out = Artifacts("bundled", "05_stage2", {}, root)
    shown = figure()
    assert out.figure(shown, 4, "budget", "Budget.") is shown
    first = tree(out.build / "figures")
    assert set(first) == {"figure_04_budget.pdf", "figure_04_budget.png"}
    code = (
        "import sys, hashlib; sys.path.insert(0, sys.argv[1]);"
        "from test_artifacts import figure; from micro_paper.report.formatting import pictures;"
        "print(*[hashlib.sha256(v).hexdigest() for v in pictures(figure()).values()])"
    )
    env = os.environ | {"PYTHONHASHSEED": "7", "SOURCE_DATE_EPOCH": "", "TZ": "Asia/Tokyo"}
    env.pop("SOURCE_DATE_EPOCH")
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    package = Path(artifacts.__file__).parents[1]
    said = subprocess.run(command, env=env, cwd=package, capture_output=True, text=True, check=True).stdout.split()
    assert said == [files.sha256(first[f"figure_04_budget.{e}"]) for e in ("png", "pdf")]
    assert b"CreationDate" not in first["figure_04_budget.pdf"] and b"Matplotlib" not in first["figure_04_budget.png"]


def test_predictions_keep_decisions_and_are_small(root):
    n = 20_000
    p = np.random.default_rng(0).uniform(size=n)
    p[:4] = [0.5 + 1e-12, 0.5 - 1e-12, 0.5, 1.0]
    frame = pd.DataFrame(
        {
            "method": np.repeat(["micro", "single"], n // 2),
            "seed": np.arange(n) % 5,
            "pair_id": [f"pair-{i:05d}-of-a-long-name" for i in range(n)],
            "p": p,
        }
    )
    out = Artifacts("bundled", "05_stage2", {}, root)
    out.predictions(frame)
    path = out.build / "results" / "predictions.parquet"
    again = pd.read_parquet(path)
    assert path.stat().st_size < 6 * n
    assert np.array_equal(np.sign(again["p"] - 0.5), np.sign(p - 0.5)) and np.allclose(again["p"], p, atol=1.01e-4)
    assert (again["method"] == frame["method"]).all() and (again["seed"] == frame["seed"]).all()
    assert formatting.parquet(frame) == formatting.parquet(frame.copy())


def test_predictions_refuse(root, monkeypatch):
    out = Artifacts("bundled", "05_stage2", {}, root)
    good = pd.DataFrame({"pair_id": ["a"], "p": [0.4]})
    for bad, message in [
        (good.drop(columns="p"), "column 'p'"),
        (good.assign(p=1.5), "row 0"),
        (good.assign(p=np.nan), "row 0"),
        (good.assign(other=1), "'other' of table predictions has no meaning"),
    ]:
        with pytest.raises(InputError, match=message):
            out.predictions(bad)
    out.predictions(good)
    monkeypatch.setattr(artifacts, "PREDICTIONS_LIMIT", 1000)
    with pytest.raises(InputError, match="the limit"):
        out.predictions(good.rename(columns={"p": "right"}), "decisions_05")
    out.predictions(good)  # the same file again does not count twice


def test_not_applicable(root):
    out = Artifacts("bundled", "05_stage2", {}, root)
    out.not_applicable("table", 10, "No safety pairs.")
    text = (out.build / "results" / "table_10_not_applicable.md").read_text()
    assert "Table 10 does not apply" in text and "No safety pairs." in text
    with pytest.raises(InputError, match="kind"):
        out.not_applicable("tabel", 10, "x")


# Manifest


def test_manifest_line_names_everything_and_nothing_volatile(root, frame):
    run(root, frame).done()
    (line,) = manifest.read_lines(root / "build/bundled/manifest/05_stage2.jsonl")
    assert set(line) == {"notebook", "profile", "hashes", "parameters", "files"}
    csv, markdown = line["files"]
    assert csv == {
        "file": "results/bundled/table_02_accuracy.csv",
        "sha256": files.sha256((root / "build/bundled/results/table_02_accuracy.csv").read_bytes()),
        "caption": "Accuracy of all.",
        "columns": meanings("02_accuracy", COLUMNS),
    }
    assert markdown["file"].endswith(".md") and markdown["columns"] == {}
    assert line["notebook"] == "notebooks/05_stage2.ipynb" and line["profile"] == "bundled"
    assert line["parameters"] == {"seed": 1, "n_seeds": 2} and line["hashes"]["inputs"] == {"data": "abc"}
    assert str(root) not in json.dumps(line)
    host = json.loads((root / "build/bundled/manifest/05_stage2.host.json").read_text())
    assert "finished" in host and "torch" in host["versions"]
    before = (
        tree(root / "build/bundled/results"),
        (root / "build/bundled/manifest/05_stage2.jsonl").read_bytes(),
    )
    run(root, frame).done()
    after = (
        tree(root / "build/bundled/results"),
        (root / "build/bundled/manifest/05_stage2.jsonl").read_bytes(),
    )
    assert before == after


def test_the_device_is_no_part_of_a_result(root):
    written = []
    for parameters in ({"seed": 1}, {"seed": 1, "device": "cuda"}, {"seed": 2, "device": "cuda"}):
        Artifacts("bundled", "05_stage2", parameters, root).done()
        written.append((root / "build/bundled/manifest/05_stage2.jsonl").read_bytes())
    assert written[0] == written[1] != written[2]


def test_what_is_no_manifest_is_refused(root):
    path = root / "build/bundled/manifest/05_stage2.jsonl"
    files.write_atomic(path, b'{"notebook": "notebooks/05_stage2.ipynb", "file": "results/bundled/a.csv"}\n')
    with pytest.raises(InputError, match="05_stage2.jsonl, line 1: it has no profile; restore the file, or delete it"):
        Artifacts("bundled", "05_stage2", {}, root)


def test_hashes_see_what_matters_only(root):
    path = root / "notebooks/05_stage2.ipynb"
    before = fingerprint(path, root)
    cells = json.loads(path.read_text())
    cells["cells"][0]["source"] = "other prose"
    cells["cells"][1]["outputs"] = [{"output_type": "stream", "text": "x"}]
    cells["cells"][1]["source"] = "import micro_paper.one"  # a string in place of a list of lines
    cells["cells"].append({"cell_type": "code", "metadata": {"tags": ["injected-parameters"]}, "source": "y = 2"})
    path.write_text(json.dumps(cells))
    (root / "micro_paper" / "not_imported.py").write_text("x = 1")
    assert fingerprint(path, root) == before
    (root / "micro_paper" / "one.py").write_text("a = 3\n")
    changed = fingerprint(path, root)
    assert changed["notebook"] == before["notebook"] and changed["code"] != before["code"]
    notebook(root, "05_stage2", "import micro_paper.one as x")
    assert fingerprint(path, root)["notebook"] != before["notebook"]


def test_a_new_run_removes_what_it_no_longer_writes(root, frame):
    out = run(root, frame)
    out.frame(frame, "extra", "Extra.")
    out.done()
    run(root, frame)  # crashes before done
    crashed = run(root, frame, number=3)  # crashes too, having written another file
    del crashed
    run(root, frame, number=4).done()
    assert {Path(p).stem for p in tree(root / "build/bundled/results")} == {"table_04_accuracy"}


def test_a_file_that_moved_to_another_notebook_is_kept(root, frame):
    run(root, frame, "05_stage2").done()
    run(root, frame, "04_stage1").done()
    Artifacts("bundled", "05_stage2", {}, root).done()
    assert len(tree(root / "build/bundled/results")) == 2


def test_two_runs_at_once_are_noticed(root, frame):
    first = run(root, frame)
    run(root, frame.assign(value=0.5)).done()
    with pytest.raises(InputError, match="another run"):
        first.done()


def test_write_is_atomic(root, monkeypatch):
    path = root / "file"
    files.write_atomic(path, b"old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in root.glob(".file*")] == []


# Publishing


def published(root, frame):
    out = run(root, frame)
    out.figure(figure(), 4, "budget", "Budget | curve.")
    out.frame(frame, "claims", "Claims.")
    out.not_applicable("table", 10, "No safety pairs.")
    out.done()
    return artifacts.publish("bundled", root)


def edit(root: Path, old: str, new: str) -> None:
    path = root / "results/bundled/manifest.jsonl"
    path.write_text(path.read_text().replace(old, new))


def test_publish_then_verify(root, frame):
    files = published(root, frame)
    assert artifacts.verify("bundled", root) == [] == artifacts.stale("bundled", root)
    assert set(tree(root / "results")) | set(tree(root / "figures")) == {f.split("/", 1)[1] for f in files}
    page = (root / "results/bundled/README.md").read_text()
    for word in (
        "table_02_accuracy.md",
        "the metric, mean over runs",
        "notebooks/05_stage2.ipynb",
        "make reproduce",
    ):
        assert word in page
    assert "figure_04_budget.pdf" in (root / "figures/bundled/README.md").read_text()
    before = tree(root / "results")
    published(root, frame)
    assert tree(root / "results") == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / "results/bundled/claims.csv").write_text("x"), "claims.csv differs"),
        (lambda r: (r / "results/bundled/claims.csv").unlink(), "claims.csv is missing"),
        (lambda r: (r / "figures/bundled/extra.png").write_text("x"), "extra.png is not in the manifest"),
        (lambda r: (r / "results/bundled/README.md").write_text("x"), "README.md does not follow"),
        (lambda r: (r / "results/bundled/manifest.jsonl").unlink(), "manifest.jsonl is missing"),
        (
            lambda r: edit(r, '"n_seeds": 2', '"n_seeds": 9'),
            "parameters of notebooks/05",
        ),
        (lambda r: edit(r, '": "', '":  "'), "manifest.jsonl was edited by hand"),
        (lambda r: (r / "results/bundled/manifest.jsonl").write_text("{"), "cannot be read"),
        (lambda r: (r / "results/bundled/manifest.jsonl").write_text('{"a": 1}\n'), "cannot be read"),
    ],
)
def test_verify_finds_the_damage(root, frame, damage, message):
    published(root, frame)
    damage(root)
    problems = artifacts.verify("bundled", root)
    assert len(problems) == 1 and message in problems[0]


def test_stale_names_notebook_and_code(root, frame):
    published(root, frame)
    notebook(root, "05_stage2", "import micro_paper.one\nx = 3")
    (root / "micro_paper" / "one.py").write_text("a = 2\n")
    assert [p.split(" since")[0] for p in artifacts.stale("bundled", root)] == [
        "micro_paper changed",
        "notebooks/05_stage2.ipynb changed",
    ]
    (root / "notebooks/05_stage2.ipynb").unlink()
    assert artifacts.stale("bundled", root) == [
        "notebooks/05_stage2.ipynb is gone, its files are still in profile bundled"
    ]


def test_publish_refuses_what_is_not_finished(root, frame):
    with pytest.raises(MissingError, match="nothing was built"):
        artifacts.publish("bundled", root)
    run(root, frame).done()
    with pytest.raises(MissingError, match="unfinished: 04_stage1"):
        artifacts.publish("bundled", root, ["04_stage1", "05_stage2"])
    out = run(root, frame)  # a second run that never ends
    with pytest.raises(MissingError, match="unfinished: 05_stage2"):
        artifacts.publish("bundled", root)
    out.done()
    out.frame(frame, "late", "Late.")  # opens the run again
    with pytest.raises(MissingError, match="unfinished"):
        artifacts.publish("bundled", root)
    out.done()
    assert "results/bundled/late.csv" in artifacts.publish("bundled", root, ["05_stage2.ipynb"])


def test_publish_refuses_changed_lost_and_double_files(root, frame, monkeypatch):
    run(root, frame).done()
    path = root / "build/bundled/results/table_02_accuracy.md"
    path.write_text("0.999")
    with pytest.raises(InputError, match="was changed"):
        artifacts.publish("bundled", root)
    path.unlink()
    with pytest.raises(InputError, match="is gone"):
        artifacts.publish("bundled", root)
    run(root, frame).done()
    run(root, frame, "04_stage1").done()
    with pytest.raises(InputError, match=r"written by .*04_stage1.* and .*05_stage2"):
        artifacts.publish("bundled", root)
    run(root, frame, profile="smoke").done()
    with pytest.raises(InputError, match="smoke"):
        artifacts.publish("smoke", root)
    assert tree(root / "results") == {}


# 7 files and the note that they are complete are written, then 4 folders are renamed
@pytest.mark.long
@pytest.mark.parametrize("fails_at", [1, 7, 8, 9, 10, 11, 12])
def test_a_crash_while_publishing_publishes_nothing(root, frame, monkeypatch, fails_at):
    published(root, frame)
    old = tree(root / "results") | tree(root / "figures")
    out = run(root, frame.assign(value=0.25))
    out.figure(figure(), 5, "other", "Other.")
    out.done()
    real, calls = os.replace, []

    def broken(source, target):
        calls.append(source)
        if len(calls) == fails_at:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        artifacts.publish("bundled", root)
    monkeypatch.setattr(os, "replace", real)
    assert tree(root / "results") | tree(root / "figures") == old
    assert artifacts.verify("bundled", root) == []
    artifacts.publish("bundled", root)
    assert artifacts.verify("bundled", root) == []
    assert "bundled/figure_05_other.png" in tree(root / "figures")


# Two at once, killed, refused by the disk

BOTH = """
import os, signal, sys
from pathlib import Path
from micro_paper.workflow import publishing
root, kill_at = Path(sys.argv[1]), int(sys.argv[2])
calls = 0
def counted(what):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return what(*arguments, **options)
    return call
for name in ("replace", "unlink", "rename", "rmdir", "mkdir", "open"):
    setattr(os, name, counted(getattr(os, name)))
sys.stdin.readline()
publishing.publish("bundled", root)
print(calls)
"""


def publisher(root: Path, kill_at: int = 0) -> subprocess.Popen:
    """A process that publishes once it is told to go, and kills itself at that call of the system."""
    environment = os.environ | {"PYTHONPATH": str(Path(artifacts.__file__).parents[2])}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen([sys.executable, "-c", BOTH, root, str(kill_at)], text=True, env=environment, **streams)


def go(*processes: subprocess.Popen) -> list[tuple[int, str, str]]:
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


@pytest.mark.long
def test_twelve_double_publishes_end_whole(root, frame):
    published(root, frame)
    for _ in range(12):
        ended = go(publisher(root), publisher(root))
        assert [status for status, _, _ in ended] == [0, 0], ended
        assert artifacts.verify("bundled", root) == []
        assert not [p for kind in ("results", "figures") for p in (root / kind).glob(".*")]


def test_who_waits_is_told_for_whom(root, frame, capfd):
    published(root, frame)
    path = root / "results" / ".bundled.lock"
    with files.lock(path):
        assert artifacts.verify("bundled", root) == [
            "profile bundled is being published: verify again when that is done"
        ]
        with pytest.raises(InputError, match=f"process {os.getpid()} .* is at work here"), files.lock(path, wait=False):
            pass
        waiting = publisher(root)
        waiting.stdin.write("\n")
        waiting.stdin.flush()
        assert f"waiting for process {os.getpid()}" in waiting.stderr.readline()
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0 and artifacts.verify("bundled", root) == [] and not path.exists()


@pytest.mark.long
def test_a_publish_killed_anywhere_leaves_the_old_or_the_new_and_is_mended(root, frame):
    published(root, frame)
    old = tree(root / "results")
    out = run(root, frame.assign(value=0.25))
    out.done()
    ((_, calls, _),) = go(publisher(root))
    new = tree(root / "results")
    ends = set()
    built = root / "build/bundled/manifest/05_stage2.jsonl"
    for kill_at in np.random.default_rng(0).permutation(np.arange(1, int(calls) + 1))[:12]:
        published(root, frame)
        run(root, frame.assign(value=0.25)).done()
        ((status, _, _),) = go(publisher(root, int(kill_at)))
        assert status == -9
        problems = artifacts.verify("bundled", root)
        assert not problems or "`python -m micro_paper publish --profile bundled` mends it" in problems[0], problems
        built.unlink()
        with pytest.raises(MissingError, match="nothing was built"):  # mended before anything is checked
            artifacts.publish("bundled", root)
        assert artifacts.verify("bundled", root) == []
        assert tree(root / "results") in (old, new) and not list((root / "figures").glob(".*"))
        ends.add(tree(root / "results") == new)
    assert ends == {False, True}


def test_what_no_publication_placed_stays(root, frame):
    published(root, frame)
    (root / "results/bundled/mine/notes.txt").parent.mkdir()
    (root / "results/bundled/mine/notes.txt").write_text("mine")
    (root / "results/.bundled.swp").write_text("an editor's")
    run(root, frame, number=3).done()
    assert "results/bundled/table_02_accuracy.csv" not in artifacts.publish("bundled", root)
    assert (root / "results/bundled/mine/notes.txt").read_text() == "mine"
    assert (root / "results/.bundled.swp").exists() and not (root / "results/bundled/claims.csv").exists()
    assert artifacts.verify("bundled", root) == [
        "results/bundled/mine/notes.txt is not in the manifest: move it elsewhere"
    ]


def test_a_full_disk_leaves_the_old_publication(root, frame, monkeypatch):
    published(root, frame)
    old = tree(root / "results") | tree(root / "figures")
    run(root, frame.assign(value=0.25)).done()
    real = os.fsync

    def full(handle):
        real(handle)
        if "README" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*README.md"):
        artifacts.publish("bundled", root)
    assert tree(root / "results") | tree(root / "figures") == old and artifacts.verify("bundled", root) == []
    assert not list((root / "results").glob(".*"))


# Showing


def test_committed_tables(root, frame):
    published(root, frame)
    shown = artifacts.committed(2, root=root)
    assert ">0.123</td>" in shown._repr_html_() and "<b>Table 2, results/bundled/table_02" in shown._repr_html_()
    assert "results/bundled/table_02_accuracy.md" in repr(shown) and "make reproduce PROFILE=open" in repr(shown)
    assert "0.123" not in repr(shown)
    assert "No safety pairs" in artifacts.committed(10, profiles=["bundled"], root=root)._repr_html_()
    assert "not there yet" in repr(artifacts.committed(2, slug="other", root=root))
    with pytest.raises(InputError, match="kind"):
        artifacts.committed(2, "graph", root=root)


@pytest.mark.parametrize(
    ("number", "slug", "title"),
    [
        (2, "accuracy_rpr", "Table 2"),
        ("12", "x", "Table 12"),
        (0, "theory_bounds", "Theory bounds"),
        ("00", "claims", "Claims"),
        ("02c", "beside_paper", "Beside paper (table 2c)"),
    ],
)
def test_a_table_without_a_number_in_the_paper_has_a_name(root, frame, number, slug, title):
    assert manifest.title(manifest.stem("table", number, slug)) == title
    out = Artifacts("bundled", "05_stage2", {}, root)
    assert repr(out.table(frame, number, slug, "The accuracy.")).startswith(f"{title}. The accuracy.\n")
    out.done()
    artifacts.publish("bundled", root)
    shown = artifacts.committed(number, profiles=["bundled"], root=root)
    assert repr(shown).startswith(f"{title}, results/bundled/") and f"<b>{title}, results" in shown._repr_html_()


def test_committed_frame(root, frame):
    columns = ["method", "value"]
    none = artifacts.committed_frame(2, columns, root=root)
    assert none.empty and list(none) == ["profile", *columns]
    published(root, frame)
    found = artifacts.committed_frame(2, columns, root=root)
    assert list(found) == ["profile", *columns] and set(found.profile) == {"bundled"}
    assert found.method.tolist() == frame.method.tolist()
    assert artifacts.committed_frame(10, columns, root=root).empty  # a page that says why there is none
    assert artifacts.committed_frame(2, columns, slug="other", root=root).empty


def test_committed_figure(root, frame):
    published(root, frame)
    shown = artifacts.committed_figure(4, "bundled", root=root)
    assert shown.data.startswith(b"\x89PNG") and shown.width == 680
    assert "make reproduce PROFILE=open" in repr(artifacts.committed_figure(4, "open", root=root))
    out = run(root, frame)
    for slug in ("one", "two"):
        out.figure(figure(), 5, slug, "Two.")
    out.done()
    artifacts.publish("bundled", root)
    with pytest.raises(InputError, match="one of one, two"):
        artifacts.committed_figure(5, root=root)
    assert artifacts.committed_figure(5, slug="two", root=root).width == 680


def test_latex_is_written_on_demand_as_the_table_is_shown(root, frame):
    out = run(root, frame)
    odd = pd.DataFrame({"method": ["a|b", " ", "x & y"], "value": [0.5, np.nan, np.nan], "note": ["", "50 %_x", ""]})
    out.table(odd.drop(columns="note"), 3, "odd", "A & B.", display=odd)
    out.not_applicable("table", 10, "No safety pairs.")
    out.done()
    artifacts.publish("bundled", root)
    both = write_tex("bundled", root=root)
    assert [p.relative_to(root).as_posix() for p in both] == [
        "build/bundled/tex/table_02_accuracy.tex",
        "build/bundled/tex/table_03_odd.tex",
    ]
    first, second = (path.read_text() for path in both)
    assert r"\begin{tabular}{lrr}" in first and r"micro & 0.123 & 1.000 \\" in first
    assert r"\caption{Accuracy of all.}" in first and r"\label{tab:table_02_accuracy}" in first
    assert second == formatting.latex(formatting.display_frame(odd), "A & B.", "tab:table_03_odd")
    assert r"50 \%\_x" in second and r"a\textbar{}b & 0.500 &" in second
    for name in ("2", "02", "02_accuracy", "table_02_accuracy"):
        (path,) = write_tex("bundled", [name], root / "other", root)
        assert path == root / "other" / "table_02_accuracy.tex" and path.read_text() == first
    assert len(write_tex("bundled", ["2", "02"], root / "other", root)) == 1
    assert artifacts.verify("bundled", root) == []


def test_latex_refuses_what_is_not_committed(root, frame):
    with pytest.raises(MissingError, match="profile bundled has no committed tables"):
        write_tex("bundled", root=root)
    published(root, frame)
    for name, hint in (("accuracy", ""), ("02_acuracy", "Did you mean 'table_02_accuracy'"), ("10", "pass a number")):
        with pytest.raises(MissingError, match=f"no committed table {name!r}.*{hint}"):
            write_tex("bundled", ["02", name], root=root)
    with pytest.raises(InputError, match="profile"):
        write_tex("../bundled", root=root)
    assert not (root / "build/bundled/tex").exists()


def test_readme_needs_no_files():
    assert "profile `open`" in publishing.readme("figures", "open", [])
