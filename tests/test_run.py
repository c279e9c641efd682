"""The strict runner: parameters are checked first, and only a finished notebook looks finished."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from micro_paper import files
from micro_paper.errors import InputError, MissingError
from micro_paper.workflow.notebooks import problems, read_notebook
from micro_paper.workflow.run import NotebookError, find_notebook, refresh, resolve, run

ROOT = Path(__file__).resolve().parent.parent


def command(*arguments, cwd=None, env=None):
    return subprocess.run(
        [sys.executable, "-m", "micro_paper", *arguments], cwd=cwd, env=env, capture_output=True, text=True
    )


def shown(path):
    """All text that the notebook's cells printed."""
    cells = [cell for cell in read_notebook(path)["cells"] if cell["cell_type"] == "code"]
    return "".join("".join(o.get("text", "")) for cell in cells for o in cell["outputs"])


@pytest.fixture
def notebook(checkout, make_notebook):
    """A notebook that prints its parameters, its folder and the kernel's settings."""
    return make_notebook(
        checkout / "notebooks" / "05_stage2.ipynb",
        "import os\nfrom pathlib import Path\n\nprint(profile, seed, scale, limit)\nprint(Path.cwd().name)",
        "print(*(os.environ.get(n) for n in ('PYTHONHASHSEED', 'OMP_NUM_THREADS', 'TOKENIZERS_PARALLELISM')))",
    )


def test_a_notebook_runs_with_profile_overrides_and_fixed_surroundings(notebook, checkout):
    before = dict(os.environ)
    out = run("05", "open", [("limit", "3"), ("scale", "1")], threads=1)
    assert out == checkout / "build" / "open" / "notebooks" / "05_stage2.ipynb"
    assert shown(out) == "open 7 1.0 3\nnotebooks\n0 1 false\n"
    assert dict(os.environ) == before
    assert list((checkout / "build" / "open" / "running").iterdir()) == []
    assert sorted(p.name for p in (checkout / "build" / "open").iterdir()) == ["notebooks", "running"]


def test_a_notebook_is_found_by_path_stem_and_number(notebook, checkout):
    for text in ("05", "5", "05_stage2", "05_stage2.ipynb", str(notebook), "notebooks/05_stage2.ipynb"):
        assert find_notebook(text) == notebook
    with pytest.raises(MissingError, match=r"no notebook '05_stage'. Did you mean '05_stage2'\?"):
        find_notebook("05_stage")


def test_only_declared_values_of_a_profile_are_passed(notebook):
    assert resolve(notebook, "open") == {"profile": "open", "seed": 7, "scale": 0.5}
    assert resolve(notebook, None, [("seed", "1"), ("seed", "2")]) == {"seed": 2}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "05", "--profile", "opne"], "unknown profile 'opne'. Did you mean 'open'?"),
        (["run", "05", "-p", "sed", "1"], "unknown parameter 'sed' of 05_stage2.ipynb. Did you mean 'seed'?"),
        (["run", "05", "-p", "elsewhere", "1"], "unknown parameter 'elsewhere' of 05_stage2.ipynb"),
        (["run", "05", "-p", "seed", "1e3"], "seed must be int, got '1e3': write 1000"),
        (["run", "05", "-p", "profile", "smoke", "--profile", "open"], "profile 'smoke' contradicts --profile open"),
        (["run", "06"], "no notebook '06'"),
        (["run", "05", "--threads", "0"], "threads must be >= 1, got 0"),
        (["run", "05", "-o", "notebooks/05_stage2.ipynb"], "is the notebook itself"),
        (["reproduce", "--profile", "smok"], "Did you mean 'smoke'?"),
        (["reproduce", "--profile", "smoke", "--set", "sed=1"], "unknown parameter 'sed' of the notebooks"),
        (["reproduce", "--profile", "smoke", "--set", "seed"], "a setting is name=value, got 'seed'"),
        (["reproduce", "--profile", "smoke", "--set", "seed=x"], "seed must be int, got 'x'"),
        (["extract", "--profile", "open", "--shard", "2", "--of", "2"], "got shard 2 of 2"),
        (["publish", "--profile", "clsed"], "unknown profile 'clsed'"),
    ],
)
def test_bad_input_is_one_message_before_anything_runs(notebook, checkout, arguments, says):
    before = {p: p.read_bytes() for p in checkout.rglob("*.ipynb")}
    done = command(*arguments, cwd=checkout)
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert not (checkout / "build").exists()
    assert {p: p.read_bytes() for p in checkout.rglob("*.ipynb")} == before


def test_bad_input_is_refused_before_heavy_imports(notebook, checkout):
    code = (
        "import sys\nfrom micro_paper.__main__ import main\n"
        "assert main(['run', '05', '-p', 'sed', '1']) == 2\n"
        "print([m for m in ('torch', 'papermill', 'transformers', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.long
def test_a_failing_notebook_leaves_nothing_that_looks_finished(checkout, make_notebook):
    path = make_notebook(checkout / "notebooks" / "05_stage2.ipynb", "print('done')")
    out = run("05", "smoke")
    make_notebook(path, "print('so far')", "raise ValueError('tau must be > 0')", "print('never')")
    done = command("run", "05", cwd=checkout)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "05_stage2.ipynb failed in In [5]: ValueError: tau must be > 0" in done.stderr
    assert "build/smoke/failed/05_stage2.ipynb" in done.stderr
    assert not out.exists() and list((checkout / "build" / "smoke" / "running").iterdir()) == []
    assert "so far" in shown(checkout / "build" / "smoke" / "failed" / "05_stage2.ipynb")


def test_a_dead_kernel_is_a_failure(checkout, make_notebook):
    make_notebook(checkout / "notebooks" / "05_stage2.ipynb", "import os\nos._exit(1)")
    with pytest.raises(NotebookError, match="its kernel died"):
        run("05")
    assert not (checkout / "build" / "smoke" / "notebooks" / "05_stage2.ipynb").exists()


@pytest.mark.long
def test_runs_side_by_side_do_not_collide(checkout, make_notebook):
    make_notebook(checkout / "notebooks" / "05_stage2.ipynb", "import time\ntime.sleep(1)\nprint('seed', seed)")
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "micro_paper", "run", "05", "-p", "seed", str(seed), "-o", f"out/{seed}.ipynb"],
            cwd=checkout,
            stdout=subprocess.DEVNULL,
        )
        for seed in (1, 2)
    ]
    assert [one.wait(timeout=120) for one in running] == [0, 0]
    assert [shown(checkout / "out" / f"{seed}.ipynb") for seed in (1, 2)] == ["seed 1\n", "seed 2\n"]


@pytest.mark.long
def test_plain_papermill_fails_too_on_a_misspelt_parameter(notebook, checkout):
    papermill = [sys.executable, "-m", "papermill", "--no-progress-bar", str(notebook), "out.ipynb"]
    done = subprocess.run([*papermill, "-p", "sed", "3"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode != 0 and "unknown parameter 'sed'" in done.stderr
    done = subprocess.run([*papermill, "-f", "profiles/open.yaml"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert shown(checkout / "out.ipynb").startswith("open 7 0.5 None\n")


def test_the_kernel_is_the_running_interpreter_whatever_is_called_python3(notebook, checkout, monkeypatch):
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "another", "language": "python"}
    folder = checkout / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(checkout / "jupyter"))
    refresh(notebook)
    assert shown(run("05")) == shown(notebook)


@pytest.mark.long
def test_paths_are_those_of_the_command_and_the_build_folder_moves(checkout, make_notebook):
    parameters = 'profile: str = "smoke"  # its name\ntrain_on: str = "none"  # data'
    source = "import os\n\nprint(train_on, os.environ['MICRO_PAPER_CACHE'], os.environ['MICRO_PAPER_DATA'])"
    path = make_notebook(checkout / "notebooks" / "05_stage2.ipynb", source, parameters=parameters)
    here = checkout / "mine {here}"
    here.mkdir()
    places = {"MICRO_PAPER_BUILD": "made", "MICRO_PAPER_CACHE": "cache", "MICRO_PAPER_DATA": "../data"}
    arguments = ("run", "05", "-p", "train_on", "jsonl:a.jsonl", "-o", "out.ipynb")
    done = command(*arguments, cwd=here, env=os.environ | places)
    assert done.returncode == 0, done.stderr
    assert shown(here / "out.ipynb") == f"jsonl:{here}/a.jsonl {here}/cache {checkout}/data\n"
    assert (here / "made" / "smoke" / "running").is_dir() and not (checkout / "build").exists()
    # papermill's own kernel works in the directory of the command
    papermill = [sys.executable, "-m", "papermill", "--no-progress-bar", str(path), "-", "-p", "train_on"]
    done = subprocess.run(
        [*papermill, "jsonl:a.jsonl"], cwd=here, env=os.environ | places, capture_output=True, text=True
    )
    assert f"jsonl:{here}/a.jsonl" in done.stdout, done.stderr


def test_an_output_that_cannot_be_written_is_refused_before_the_run(notebook, checkout):
    (checkout / "there.ipynb").mkdir()
    for output in ("there.ipynb", "Snakefile/out.ipynb", "/proc/none/out.ipynb", "out.txt"):
        with pytest.raises(InputError, match="cannot be written|is there and no file|must be an .ipynb file"):
            run("05", output=output)
    assert not list(checkout.glob("build/*/running/*"))


def test_a_file_passes_to_another_file_system(tmp_path, monkeypatch):
    def crossing(self, target):
        raise OSError(errno.EXDEV, "another file system", str(self))

    source, target = tmp_path / "a" / "out.ipynb", tmp_path / "b" / "out.ipynb"
    source.parent.mkdir()
    source.write_text("done")
    monkeypatch.setattr(Path, "replace", crossing)
    files.move(source, target)
    assert target.read_text() == "done" and [p.name for p in target.parent.iterdir()] == ["out.ipynb"]
    assert not source.exists()


def test_a_finished_run_is_kept_where_there_is_no_room_for_it(notebook, checkout, monkeypatch):
    out = checkout / "elsewhere" / "out.ipynb"

    def full(path, target):
        if target == out:
            raise OSError(errno.ENOSPC, "no room", str(target))
        files.move(path, target)

    monkeypatch.setattr("micro_paper.workflow.run._execute", lambda source, partial, values: partial.write_text("done"))
    monkeypatch.setattr("micro_paper.workflow.run.move", full)
    with pytest.raises(NotebookError, match="No space left on device: make room there.*build/smoke/failed/05_stage2"):
        run("05", output=out)
    assert (checkout / "build" / "smoke" / "failed" / "05_stage2.ipynb").read_text() == "done" and not out.exists()


def test_what_dead_processes_left_is_cleared_and_a_living_one_keeps_its_draft(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours, others = tmp_path / "running" / "deep", tmp_path / "a-draft.ipynb"
    ours.mkdir(parents=True)
    left, kept = [], [others, ours / "05-elsewhere-host-1-ab.draft", ours / "05.ipynb"]
    for name in (".table.csv", "05_stage2"):
        for ending in (".draft", ".draft.ipynb"):
            living = files.draft_prefix(name)
            kept.append(ours / f"{living}ab_1{ending}")
            left.append(ours / f"{living.replace(f'-{os.getpid()}-', f'-{dead.pid}-')}ab_1{ending}")
    for path in left + kept:
        path.write_text("half")
    files.sweep(tmp_path)
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)


@pytest.mark.long
def test_refresh_brings_a_notebook_into_its_committed_form(notebook):
    content = read_notebook(notebook)
    content["metadata"]["papermill"] = {"duration": 1}
    text = json.dumps(content).replace("workflow.parameters import check_parameters", "notebook import start")
    notebook.write_text(text.replace("check_parameters(globals())", "start(globals()).parameters"))
    refresh(notebook)
    assert problems(read_notebook(notebook)) == []
    assert shown(notebook).startswith("smoke 0 0.5 None\nnotebooks\n")
    first = notebook.read_bytes()
    refresh(notebook)
    assert notebook.read_bytes() == first
    assert [p.name for p in notebook.parent.iterdir()] == [notebook.name]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise KeyError('x')", "KeyError"),
        ("import warnings\nwarnings.warn('old')", "wrote to stderr"),
        ("from pathlib import Path\nprint(Path.cwd())", "an absolute path"),
    ],
)
def test_refresh_leaves_the_file_alone_where_the_result_may_not_be_committed(checkout, make_notebook, source, says):
    path = make_notebook(checkout / "notebooks" / "05_stage2.ipynb", source)
    before = path.read_bytes()
    with pytest.raises(NotebookError, match=says):
        refresh(path)
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


def test_a_notebook_that_declares_nothing_is_not_run(checkout, make_notebook):
    make_notebook(checkout / "notebooks" / "05_stage2.ipynb", "1", parameters=None)
    with pytest.raises(InputError, match="it needs exactly one"):
        run("05")
