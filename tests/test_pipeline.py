"""The whole path through Snakemake, in a small checkout: what runs, what does not run again, what is published."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from micro_paper.errors import InputError
from micro_paper.workflow import pipeline, provenance
from micro_paper.workflow.run import run

WRITE = """from micro_paper.workflow.artifacts import Artifacts
import pandas as pd

out = Artifacts(profile, "{stem}", chosen)
out.table(pd.DataFrame({{"value": [{name}]}}), {number}, "{name}", "The value.")
out.done()"""


@pytest.fixture
def project(checkout, make_notebook):
    """Two notebooks, each with a parameter of its own, and a profile that is published."""
    for number, name in ((2, "seed"), (4, "scale")):
        stem = f"{number:02d}_{name}"
        kind = "int = 0" if name == "seed" else "float = 0.5"
        parameters = f'profile: str = "smoke"  # its name\n{name}: {kind}  # a value'
        source = WRITE.format(stem=stem, name=name, number=number)
        make_notebook(checkout / "notebooks" / f"{stem}.ipynb", source, parameters=parameters)
    text = (checkout / "Snakefile").read_text()  # no backbone here
    assert text.count("EVIDENCE = (") == 1
    (checkout / "Snakefile").write_text(text.replace("EVIDENCE = (", 'DEPENDS["04"] = ["02_seed"]\nEVIDENCE = ('))
    return checkout


def reproduce(root, *arguments, profile="open"):
    done = subprocess.run(
        [sys.executable, "-m", "micro_paper", "reproduce", "--profile", profile, *arguments],
        cwd=root,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def times(root, profile="open"):
    return {p.stem: p.stat().st_mtime_ns for p in (root / "build" / profile / "notebooks").glob("*.ipynb")}


def rerun(before, after):
    return sorted(name for name in after if before.get(name) != after[name])


@pytest.mark.long
def test_first_second_and_changed_runs(project):
    status, text = reproduce(project)
    assert status == 0, text
    table = project / "results" / "open" / "table_02_seed.csv"
    assert table.read_text() == "value\n7\n"
    first = times(project)
    assert sorted(first) == ["02_seed", "04_scale"]

    status, text = reproduce(project)
    assert status == 0 and "Nothing to be done" in text and times(project) == first

    # 04 declares scale and nothing depends on it
    status, text = reproduce(project, "--set", "scale=2")
    second = times(project)
    assert status == 0 and rerun(first, second) == ["04_scale"], text
    assert (project / "results" / "open" / "table_04_scale.csv").read_text() == "value\n2\n"

    # 04 depends on 02
    profile = project / "profiles" / "open.yaml"
    profile.write_text(profile.read_text().replace("seed: 7", "seed: 8"))
    status, text = reproduce(project, "--set", "scale=2")
    third = times(project)
    assert status == 0 and rerun(second, third) == ["02_seed", "04_scale"], text
    assert table.read_text() == "value\n8\n"

    # saved again, executed in place, prose edited: the code is the same
    for path in (project / "notebooks").glob("*.ipynb"):
        content = json.loads(path.read_text())
        content["cells"][0]["source"] = "# Another title"
        content["cells"][2]["execution_count"] = 12
        path.write_text(json.dumps(content))
    status, text = reproduce(project, "--set", "scale=2")
    assert status == 0 and times(project) == third, text

    # a run by hand with another value, and a table edited by hand, are both put right
    run("02", "open", [("seed", "99")], root=project)
    plain = [sys.executable, "-m", "snakemake", "-n", "--nolock", "--config", "profile=open", "scale=2"]
    planned = subprocess.run(plain, cwd=project, capture_output=True, text=True).stdout
    assert "rule notebook_02_seed" in planned and times(project)["02_seed"] != third["02_seed"]
    (project / "results" / "open" / "table_04_scale.csv").write_text("value\n3\n")
    status, text = reproduce(project, "--set", "scale=2")
    assert status == 0 and table.read_text() == "value\n8\n", text
    assert (project / "results" / "open" / "table_04_scale.csv").read_text() == "value\n2\n"


@pytest.mark.long
def test_a_failing_notebook_publishes_nothing_and_is_taken_up_again(project, make_notebook):
    path = project / "notebooks" / "04_scale.ipynb"
    good = path.read_text()
    parameters = 'profile: str = "smoke"  # its name\nscale: float = 0.5  # a value'
    make_notebook(path, "raise RuntimeError('too little data')", parameters=parameters)
    status, text = reproduce(project)
    assert status != 0 and "RuntimeError: too little data" in text
    assert not (project / "results").exists() and not (project / "build" / "open" / "published").exists()
    assert sorted(times(project)) == ["02_seed"]
    assert (project / "build" / "open" / "failed" / "04_scale.ipynb").is_file()
    first = times(project)

    path.write_text(good)
    status, text = reproduce(project)
    assert status == 0 and rerun(first, times(project)) == ["04_scale"], text
    assert (project / "results" / "open" / "manifest.jsonl").is_file()


@pytest.mark.long
def test_smoke_is_made_and_not_published(project):
    status, text = reproduce(project, profile="smoke")
    assert status == 0, text
    assert sorted(times(project, "smoke")) == ["02_seed", "04_scale"]
    assert not (project / "results").exists()


@pytest.mark.long
def test_own_data_in_a_profile_are_not_published_and_count_by_content(project, make_notebook):
    parameters = 'profile: str = "smoke"  # its name\nrpr_like: str = "none"  # data'
    make_notebook(project / "notebooks" / "02_seed.ipynb", "rpr_like", parameters=parameters)
    (project / "own.jsonl").write_text("1")
    status, text = reproduce(project, "--set", "rpr_like=jsonl:own.jsonl")
    assert status == 0 and "Nothing was published." in text and not (project / "results").exists(), text
    first = times(project)
    (project / "own.jsonl").write_text("2")
    status, text = reproduce(project, "--set", "rpr_like=jsonl:own.jsonl")
    assert status == 0 and "02_seed" in rerun(first, times(project)), text


def test_a_second_run_of_a_profile_is_kept_out(project):
    with (
        pipeline._lock("open", project),
        pytest.raises(InputError, match=r"process \d+ .* is at work here .*open/.lock"),
    ):
        pipeline.reproduce("open", root=project)
    with pipeline._lock("open", project):
        pass


def test_bundled_is_the_default_once_it_is_published(tmp_path):
    assert pipeline.default_profiles(tmp_path) == ["smoke", "open"]
    results = tmp_path / "results" / "bundled"
    results.mkdir(parents=True)
    assert pipeline.default_profiles(tmp_path) == ["smoke", "open"]
    (results / "manifest.jsonl").write_text("{}")
    assert pipeline.default_profiles(tmp_path) == ["bundled"]


@pytest.fixture
def package(tmp_path) -> Path:
    """A package with a chain a -> b, a module c apart, and data beside a subpackage."""
    for name, text in {
        "__init__.py": "from micro_paper.c import late",
        "a.py": "from micro_paper import b",
        "b.py": "x = 1",
        "c.py": "late = 1",
        "sub/__init__.py": "",
        "sub/one.py": "def f():\n    from micro_paper.a import b",
        "sub/words.txt": "w",
    }.items():
        path = tmp_path / "micro_paper" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "files"),
    [
        ("import numpy", []),
        ("from micro_paper.b import x", ["__init__.py", "b.py"]),
        ("import micro_paper.a", ["__init__.py", "a.py", "b.py"]),
        ("from micro_paper import c", ["__init__.py", "c.py"]),
        (
            "from micro_paper.sub.one import f",
            ["__init__.py", "a.py", "b.py", "sub/__init__.py", "sub/one.py", "sub/words.txt"],
        ),
    ],
)
def test_code_that_a_source_depends_on(package, source, files):
    found = provenance.code_closure([source], package)
    assert [p.relative_to(package / "micro_paper").as_posix() for p in found] == files


def test_an_import_by_a_computed_name_makes_all_code_count(package):
    (package / "micro_paper" / "b.py").write_text("import importlib\nimportlib.import_module('micro_paper.' + 'c')")
    assert len(provenance.code_closure(["import micro_paper.a"], package)) == 7


def test_the_hash_follows_content_and_place(package):
    files = provenance.code_closure(["import micro_paper.a"], package)
    first = provenance.content_hash(files, package)
    files[0].touch()
    assert provenance.content_hash(files, package) == first
    files[0].write_text("# other")
    assert provenance.content_hash(files, package) != first
