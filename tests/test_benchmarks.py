"""The benchmarks: verdicts of speed, that it writes what it measured, and that sealed topics are evaluated once."""

import csv
import json
import shutil
import subprocess
import sys

import pytest

from micro_paper.methods.table import find
from micro_paper.paths import project_root

FOLDER = project_root() / "benchmarks"


@pytest.fixture
def speed(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import speed

    return speed


def test_a_goal_is_met_by_the_median_in_its_sense(speed):
    at_least = speed.Line("a", [3.0, 5.0, 20.0], 5)
    assert at_least.met and not speed.Line("a", [3.0, 4.9, 20.0], 5).met
    assert speed.Line("s", [0.9, 1.0, 9.0], 1, speed.AT_MOST).met
    assert not speed.Line("s", [0.9, 1.1, 9.0], 1, speed.AT_MOST).met
    assert at_least.row() | {"note": ""} == {
        "line": "a",
        "ratio": "5",
        "smallest": "3",
        "largest": "20",
        "unit": "times as fast",
        "goal": ">= 5",
        "met": "yes",
        "repeats": 3,
        "note": "",
    }


def test_ways_take_turns_and_the_first_pass_is_not_counted(speed, monkeypatch):
    monkeypatch.setattr(speed, "REPEATS", [])
    said = []
    seconds = speed.race("x", {"a": lambda: said.append("a"), "b": lambda: said.append("b")}, 2)
    assert "".join(said) == "ababab" and {k: len(v) for k, v in seconds.items()} == {"a": 2, "b": 2}
    assert speed.over({"slow": [4.0, 9.0], "fast": [2.0, 3.0]}, "slow", "fast") == [2.0, 3.0]
    assert [(r["way"], r["repeat"]) for r in speed.REPEATS] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


@pytest.mark.long
def test_the_command_writes_ratios_and_the_seconds_behind_them(tmp_path):
    command = [sys.executable, str(FOLDER / "speed.py"), "--only", "exact", "--scale", "1", "--repeats", "2"]
    done = subprocess.run([*command, "--threads", "1", "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = csv.DictReader((tmp_path / "speed.csv").open())
    seconds = {}
    for row in csv.DictReader((tmp_path / "speed_repeats.csv").open()):
        seconds.setdefault(row["way"], []).append(float(row["seconds"]))
    ratios = sorted(a / b for a, b in zip(seconds["scikit-learn"], seconds["all at once"], strict=True))
    assert float(line["smallest"]) == pytest.approx(ratios[0], rel=0.02)
    assert float(line["largest"]) == pytest.approx(ratios[1], rel=0.02) and line["repeats"] == "2"
    assert json.loads((tmp_path / "machine.json").read_text())["threads"] == 1


@pytest.mark.long
def test_scaling_is_measured_in_processes_that_do_not_count_their_parent(speed, monkeypatch):
    held = bytearray(400_000_000)  # of the parent: would be counted by what a child inherits
    monkeypatch.setattr(speed, "POINTS", {"width": (24, 2000)})
    small, wide = speed.scaling(1, 2)
    assert (small["varied"], small["pairs"], small["width"], small["runs"]) == ("width", 10_000, 24, 1)
    assert 0 < float(small["least"]) <= float(small["seconds"]) <= float(small["most"])
    features = 2 * 20_000 * 2000 * 4 / 2**20
    assert float(small["memory_MiB"]) < len(held) / 2**20 / 2 < features < float(wide["memory_MiB"])


@pytest.fixture
def sealed_topics(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import sealed_topics

    return sealed_topics


CORPUS = project_root() / "micro_paper" / "data" / "corpus"


def test_the_corpus_is_the_frozen_one_and_any_other_is_refused(sealed_topics, tmp_path):
    assert sealed_topics.corpus_hash(CORPUS) == sealed_topics.FROZEN, "texts or knobs changed: freeze them anew"
    for name in ("science.txt", "seal.json"):
        changed = tmp_path / name
        shutil.copytree(CORPUS, changed)
        (changed / name).write_bytes((CORPUS / name).read_bytes() + b" ")
        other = sealed_topics.corpus_hash(changed)
        assert other != sealed_topics.FROZEN
        assert "not the frozen one" in sealed_topics.refusal(other, tmp_path / "none")


def test_sealed_topics_are_evaluated_once(sealed_topics, tmp_path, monkeypatch, capsys):
    frozen, page = sealed_topics.FROZEN, tmp_path / "benchmarks" / "sealed_topics" / "README.md"
    assert sealed_topics.refusal(frozen, page.parent) == ""
    page.parent.mkdir(parents=True)
    page.write_text("Results of an earlier form of the corpus.")
    assert sealed_topics.refusal(frozen, page.parent) == ""
    page.write_text(sealed_topics.NOTE.format(corpus=frozen))
    assert "have been evaluated" in sealed_topics.refusal(frozen, page.parent)
    (tmp_path / "micro_paper" / "data").mkdir(parents=True)
    (tmp_path / "micro_paper" / "data" / "corpus").symlink_to(CORPUS)
    monkeypatch.setattr(sealed_topics, "project_root", lambda: tmp_path)
    assert sealed_topics.main() == 1 and "have been evaluated" in capsys.readouterr().err


def test_rows_of_the_sealed_topics_are_methods(sealed_topics):
    assert all(find(name) for name in sealed_topics.ROWS)
    assert {"micro", "micro_plus", "single_exact", "oracle_attribute_exact"} <= set(sealed_topics.ROWS)
