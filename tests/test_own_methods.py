"""Methods of one's own: from a file into every table; what is refused; what an edit makes run again."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from micro_paper.errors import InputError
from micro_paper.experiments import bench_runs, budget_curves, evaluation, head_audit, main_tables, reward_bench, sweeps
from micro_paper.experiments.evaluation import merge
from micro_paper.experiments.runs import fit_runs
from micro_paper.experiments.worlds import load_folds
from micro_paper.files import sha256
from micro_paper.method_files import check_methods, split_methods
from micro_paper.methods.own import own_methods
from micro_paper.methods.settings import Settings
from micro_paper.methods.table import METHODS, HeadsMethod
from micro_paper.paper.beside import accuracy_display, beside_paper
from micro_paper.report import plots, plots_bench, plots_sweeps
from micro_paper.workflow import pipeline, publishing
from micro_paper.workflow.artifacts import Artifacts
from micro_paper.workflow.parameters import Parameter, check_value
from micro_paper.workflow.run import run

ROOT = Path(__file__).resolve().parent.parent
SECTION = (ROOT / "docs" / "DATA.md").read_text().split("## Your own method")[1].split("\n## ")[0]
MINE = re.search(r"```python\n(.*?)```", SECTION, re.DOTALL)[1]  # the example that readers copy
HEADED = "from micro_paper.methods.two_stage import TwoStage\n\n\nclass TwoHeads(TwoStage):\n    pass\n"
QUICK = Settings(heads=3, dtype="float64", learning_rate=1e-2, epochs=1, stage2_epochs=1, tau=1e-2)
DECLARED = Parameter("methods", "str")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The documented method in a folder with a blank, one with heads beside it."""
    place = tmp_path_factory.mktemp("own") / "my methods"
    place.mkdir()
    (place / "mine.py").write_text(MINE)
    (place / "two.py").write_text(HEADED)
    return place


@pytest.fixture(scope="module")
def own(folder):
    return own_methods(f"'{folder}/mine.py:Mine' '{folder}/two.py:TwoHeads'")


@pytest.fixture(scope="module")
def worlds():
    return load_folds("synthetic-rated", 2, synthetic_prompts=150)


def test_both_rows_are_named_by_class_and_inputs_by_file(folder, own):
    assert list(own.rows) == ["mine", "two_heads"]
    assert own.inputs == {
        "method: mine (mine.py)": sha256(MINE.encode()),
        "method: two_heads (two.py)": sha256(HEADED.encode()),
    }
    assert own_methods("") == own_methods(" ") and own_methods("").rows == own_methods("").inputs == {}
    assert sorted(p.name for p in folder.iterdir()) == ["mine.py", "two.py"]  # no bytecode beside them


@pytest.mark.parametrize(
    ("name", "row"),
    [("Mine", "mine"), ("MyVPL2", "my_vpl2"), ("HTTPReward", "http_reward"), ("_Mine", "mine"), ("make_it", "make_it")],
)
def test_row_names(name, row):
    assert [file.row for file in split_methods(f"a.py:{name}")] == [row]


def test_a_path_is_that_of_the_working_directory(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    (tmp_path / "link").symlink_to(folder)
    meant = f"'{folder}/mine.py:Mine'"
    typed = [
        "mine.py:Mine",
        "./mine.py:Mine",
        "'../my methods/mine.py:Mine'",
        "~/mine.py:Mine",
        f"{tmp_path}/link/mine.py:Mine",
    ]
    assert {check_value(DECLARED, text) for text in typed} == {meant}
    assert check_value(DECLARED, meant) == meant and check_value(DECLARED, "") == ""
    assert check_value(DECLARED, "two.py:TwoHeads mine.py:Mine") == f"'{folder}/two.py:TwoHeads' {meant}"


def test_the_door_runs_and_imports_nothing(tmp_path):
    (tmp_path / "loud.py").write_text("import torch\n\nprint('run')\n\n\nclass Loud: ...\n")
    code = (
        "import sys\nfrom micro_paper.workflow.parameters import Parameter, check_value\n"
        "check_value(Parameter('methods', 'str'), 'loud.py:Loud')\nprint('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mine.py", "'mine.py' names no method: write FILE.py:Class"),
        ("mine:Mine", "'mine:Mine' names no method"),
        ("mine.py:", "names no method"),
        ("mine.py:class", "names no method"),
        ("mine.py:Mine()", "names no method"),
        ("mine.py:a.b", "names no method"),
        ("my methods/mine.py:Mine", "'my' names no method: .* a path with a blank in quotes"),
        ("'mine.py:Mine", 'methods "\'mine.py:Mine": No closing quotation'),
        ("mine.py:__", "the class __ has no letter in its name"),
        ("mine.py:Mine mine.py:Mine", "are both the row mine: rename one"),
        ("mine.py:MineToo mine.py:mine_too", "are both the row mine_too"),
        ("nowhere.py:Mine", "nowhere.py: No such file or directory: check the path"),
        ("folder.py:Mine", "folder.py: Is a directory"),
        ("mine.py:Main", r"has no class Main. Did you mean 'Mine'\? It has Mine"),
        ("mine.py:fit_all", r"has no class fit_all. It has Mine$"),
        ("broken.py:Mine", "broken.py, line 2: .*: mend the file"),
        ("nothing.py:Mine", "no class Mine. It has none"),
        ("binary.py:Mine", "binary.py.*null"),
        ("deep.py:Mine", "deep.py"),
    ],
)
def test_the_door_refuses(text, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "broken.py").write_text("class Mine:\n  def (\n")
    (tmp_path / "nothing.py").write_text("")
    (tmp_path / "binary.py").write_bytes(b"class Mine: ...\n\0")
    (tmp_path / "deep.py").write_text("x = " + "(" * 1000 + "\n")
    with pytest.raises(InputError, match=says) as error:
        check_value(DECLARED, text)
    assert str(error.value).startswith("methods")


GOOD = MINE.replace("class Mine", "class {}")
LINES = len(MINE.splitlines())


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("Single", GOOD.format("Single"), "the row single of .*mine.py is there already: rename its class"),
        ("BagOfWords", GOOD.format("BagOfWords"), "the row bag_of_words .* is there already"),
        ("PcaHyre", GOOD.format("PcaHyre"), "the row pca_hyre"),
        (
            "Mine",
            MINE + "\n\n1 / 0\n",
            f"mine.py, line {LINES + 3}: ZeroDivisionError: division by zero: mend the file",
        ),
        (
            "Mine",
            "import nowhere\n" + MINE,
            "mine.py, line 1: ModuleNotFoundError: .*nowhere.*: install it, or put into",
        ),
        ("Mine", "import sys\n\nsys.exit(3)\n" + MINE, "mine.py, line 3: SystemExit: 3"),
        ("Mine", MINE + "\n\nreturn\n", "mine.py, line .*'return' outside function"),
        ("Mine", MINE.replace("self.penalty = ", "self.penalty = self.alpha + "), "line 10: AttributeError: .*alpha"),
        ("Mine", MINE.replace("supervision =", "supervized ="), "Mine of .*mine.py lacks supervision: a method has"),
        ("Mine", MINE.replace('"binary labels"', "None"), "supervision must be a text"),
        ("Mine", MINE.replace("def adapt", "def adopt"), "lacks adapt: a method has supervision, fit, adapt, pred"),
        ("Mine", MINE.replace("def fit(self, train_pairs, validation)", "def fit(self, train_pairs)"), "fit must take"),
        ("Mine", MINE.replace("(self, settings, seed)", "(self)"), r"must take \(settings, seed\)"),
        ("Mine", MINE + "\n\nMine = 3\n", "is no class"),
        ("Mine", MINE + "\n\ndel Mine\n", "is no class"),
        ("Mine", MINE + "\n    fit = 3\n", "fit is no method"),
    ],
)
def test_what_is_no_method_is_refused(name, source, says, tmp_path):
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(InputError, match=says):
        own_methods(f"{tmp_path}/mine.py:{name}")


def test_an_edited_file_is_read_anew_and_a_function_may_make_methods(tmp_path, worlds):
    file = tmp_path / "mine.py"
    made = (
        "\n\ndef lax(settings, seed):\n    made = Mine(settings, seed)\n    made.penalty = PENALTY\n    return made\n"
    )
    found = []
    for penalty in ("1e1", "1e9"):  # of equal length, in one second: nothing but the content tells them apart
        file.write_text(MINE + made.replace("PENALTY", penalty))
        rows = own_methods(f"{file}:lax").rows
        found.append(evaluation.evaluate(worlds, (), QUICK, seeds=[0], budget=5, own=rows).probability["lax"])
    assert np.ptp(found[0]) > 0.1 > np.ptp(found[1])


def test_dataclasses_and_the_files_own_place_work(tmp_path):
    head = "from __future__ import annotations\n\nfrom dataclasses import dataclass\nfrom pathlib import Path\n\n"
    extra = "\n\n@dataclass\nclass Held:\n    place: Path = Path(__file__)\n\n\nassert Held().place.is_file()\n"
    (tmp_path / "mine.py").write_text(head + MINE + extra)
    assert list(own_methods(f"{tmp_path}/mine.py:Mine").rows) == ["mine"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "return np.full(len(pairs), 0.9)",
            r"'mine': p\(a, b\) \+ p\(b, a\) must be 1, they differ .* up to 0.8",
        ),
        ("return np.full(len(pairs), np.nan)", "must give [0-9]+ probabilities, .* a value that is none"),
        ("return np.full(len(pairs), 1.5)", "must give [0-9]+ probabilities, .* a value that is none"),
        ("return np.full((len(pairs), 1), 0.5)", r"it gave shape \([0-9]+, 1\)"),
        ("return None", "it gave shape|no array"),
        ("return ['a'] * len(pairs)", "the row 'mine': predict_proba gave no array of numbers"),
    ],
)
def test_what_is_no_prediction_is_refused(line, says, tmp_path, worlds):
    lines = MINE.splitlines()
    (tmp_path / "mine.py").write_text("\n".join([*lines[:-1], f"        {line}", ""]))
    rows = own_methods(f"{tmp_path}/mine.py:Mine").rows
    with pytest.raises(InputError, match=says):
        evaluation.evaluate(worlds, (), QUICK, seeds=[0], budget=5, own=rows)


@pytest.fixture(scope="module")
def tables(worlds, own):
    """Tables 2 and 3 with few of the package's rows, without and with rows of one's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_tables, "HEADLINE", ["micro", "micro_stage1", "single"])
        patch.setattr(main_tables, "FURTHER", ["length"])
        return [main_tables.evaluate_rows(worlds, QUICK, [0, 1], 5, own=rows) for rows in ({}, own.rows)]


def test_own_rows_stand_in_scores_differences_the_papers_table_and_the_figure(tables, own):
    without, found = tables
    assert found.own == ("mine", "two_heads") and without.own == ()
    assert set(found.probability) - set(without.probability) == set(own.rows)
    for name, p in without.probability.items():  # the other rows keep their numbers
        assert np.array_equal(p, found.probability[name])
    assert found.probability["mine"].shape == found.probability["micro"].shape  # every fold and seed
    scores, gaps = evaluation.scores(found), evaluation.differences(found)
    beside = beside_paper(scores, gaps, 2).set_index("method")
    figure = plots.comparison_forest(gaps[gaps.attribute == "average"])
    drawn = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    stored = evaluation.predictions([found], ["micro"], "smoke")
    for name in own.rows:
        assert name in set(scores.method) & set(gaps.method) & set(accuracy_display(scores).method) & set(drawn)
        assert beside.verdict[name] and np.isnan(beside.paper[name]) and beside.supervision[name]
        assert (stored.method == name).sum() == (stored.method == "micro").sum()
    assert beside.supervision["mine"] == "binary labels"
    assert list(found.probability)[-3:] == ["mine", "two_heads", "length"]  # behind the headline rows
    assert np.array_equal(found.probability["two_heads"], found.probability["micro"])  # same seeds and pairs
    assert scores[scores.method == "mine"].value.between(0, 2).all()


def test_own_rows_stand_in_hyres_protocol(tables):
    found = merge(tables[1])
    for name in ("micro_plus", "micro_plus_full", "criterion_fewshot", "shared_base_mlp", "pca_heads"):
        found.probability[name], found.supervision[name] = found.probability["single"], "some"
        found.heads[name] = found.heads["micro_stage1"]
    rest = main_tables.on_rest(found, shots=2, resamples=2, seed=0)
    assert {"mine", "two_heads"} < set(rest.method)


def test_before_stage_2_rows_with_heads_join_the_tables_of_heads(worlds, own):
    assert isinstance(own.rows["two_heads"](QUICK, 0), HeadsMethod)
    found = evaluation.evaluate(
        worlds, ["micro_stage1"], QUICK, seeds=[0], budget=None, keep_heads=["micro_stage1"], own=own.rows
    )
    assert found.own == ("two_heads",) and "mine" not in found.probability
    best = evaluation.best_heads(found)
    assert set(best.method) == {"micro_stage1", "two_heads"}
    figure = plots.best_heads_figure(best)
    assert "two_heads" in [text.get_text() for text in figure.legends[0].get_texts()]
    assert set(evaluation.scores(found).method) == {"micro_stage1", "two_heads"}


def test_sweeps_run_own_rows_at_every_budget(worlds, own, monkeypatch):
    monkeypatch.setattr(sweeps, "_parts", lambda *_: [])  # without the package's rows
    found = sweeps.sweep(worlds, QUICK, sweeps.Grid((1,), (0, 5), 10, further=(10, 12)), [3, 4], own=own.rows)
    accuracy, best = found.tables["accuracy"], found.tables["best_heads"]
    budgets = {name: set(accuracy[accuracy.method == name].budget) for name in own.rows}
    assert budgets == {"mine": {5, 10, 12}, "two_heads": {0, 5, 10, 12}}  # without heads, nothing predicts at 0
    assert set(accuracy.heads) == {QUICK.heads} and set(best.method) == {"two_heads"}
    assert set(found.tables["redundancy"].method) == {"two_heads"}
    nine = budget_curves.table_9(accuracy, QUICK.heads, {}, (10, 12), own=own.rows)
    assert nine[nine.method.isin(own.rows)]["mean"].notna().all() and (nine.method == "mine").sum() == 6
    theirs = dict(zip(nine.attribute[:3], budget_curves.TABLE_9, strict=True))
    named = accuracy.assign(attribute=accuracy.attribute.replace(theirs))
    named = pd.concat([named, named[named.method == "two_heads"].assign(method="micro")])
    printed = budget_curves.table_9(named, QUICK.heads, {}, (50,), own=own.rows).set_index("method").paper
    assert printed["micro"].notna().all() and printed[list(own.rows)].isna().all()
    curve = budget_curves.curve_summary(accuracy[accuracy.attribute == "average"])
    assert [text.get_text() for text in plots.budget_curve(curve).axes[0].texts] == ["mine", "two_heads"]
    by_heads = budget_curves.curve_summary(best, ("dataset", "method", "heads", "selection", "attribute"))
    assert "two_heads" in [text.get_text() for text in plots_sweeps.heads_figure(by_heads).legends[0].get_texts()]


def test_own_rows_stand_in_table_10_and_the_audits(own, monkeypatch):
    monkeypatch.setitem(METHODS, "micro_plus", METHODS["micro_stage1"])  # without its search
    folds = load_folds("synthetic-audience", 2, synthetic_prompts=150)
    bench = bench_runs.load_bench("synthetic-audience", synthetic_prompts=150)
    rows = iter(["micro", "micro_plus", "single"])
    found = bench_runs.evaluate_bench(bench, folds, rows, QUICK, seeds=[0], budget=5, own=own.rows)
    entries = reward_bench.tables(found, bench)
    assert all(set(own.rows) <= set(entry["frame"].method) for entry in entries)
    assert {"mine", "two_heads"} < set(entries[1]["display"].columns)
    figure = plots_bench.sections_figure(reward_bench.section_table(found))
    assert "mine" in [text.get_text() for text in figure.legends[0].get_texts()]
    fitted = fit_runs(folds, ["micro"], QUICK, seeds=[0], budget=5, own=own.rows)
    assert list(dict.fromkeys(one.name for one in fitted)) == ["micro", "mine", "two_heads"]
    merged, _ = head_audit.merging(fitted)
    assert set(merged.method) == {"micro", "two_heads"}


def test_an_edit_changes_the_fingerprint_of_the_rules_that_show_it(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    values = {"methods": f"{file}:Mine", "seed": 1}
    first = pipeline.method_hashes(values)
    assert json.loads(first["methods"]) == {"method: mine (mine.py)": sha256(MINE.encode())}
    file.touch()
    assert pipeline.method_hashes(values) == first
    file.write_text(MINE.replace("100.0", "10.0"))
    assert pipeline.method_hashes(values) != first
    assert pipeline.method_hashes({"methods": ""}) == pipeline.method_hashes({"seed": 1}) == {}


SHOWS = """import pandas as pd

from micro_paper.method_files import content_hashes, split_methods
from micro_paper.workflow.artifacts import Artifacts

sizes = [len(file.read()) for file in split_methods(methods)]
out = Artifacts(profile, "04_shows", chosen, inputs=content_hashes(methods))
out.table(pd.DataFrame({"value": sizes or [0]}), 4, "scale", "The value.")
out.done()"""


@pytest.mark.long
def test_an_edit_makes_its_notebooks_again_and_nothing_is_published(checkout, make_notebook):
    for name in ("smoke", "open"):
        path = checkout / "profiles" / f"{name}.yaml"
        path.write_text(path.read_text() + 'methods: ""  # ours\n')
    plain = 'profile: str = "smoke"  # its name'
    shows = plain + '\nmethods: str = ""  # rows of your own'
    make_notebook(checkout / "notebooks" / "04_shows.ipynb", SHOWS, parameters=shows)
    make_notebook(checkout / "notebooks" / "02_other.ipynb", "print(1)", parameters=plain)
    (checkout / "Snakefile").write_text((checkout / "Snakefile").read_text().replace('"03", "04"', '"03"'))
    (checkout / "own").mkdir()
    file = checkout / "own" / "mine.py"
    file.write_text(MINE)
    made = checkout / "build" / "open" / "notebooks"

    def reproduce(*arguments):
        command = [sys.executable, "-m", "micro_paper", "reproduce", "--profile", "open", *arguments]
        done = subprocess.run(command, cwd=checkout / "own", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        value = (checkout / "build" / "open" / "results" / "table_04_scale.csv").read_text().split()[1]
        return done.stdout, float(value), (made / "02_other.ipynb").stat().st_mtime_ns

    said, value, other = reproduce("--set", "methods=mine.py:Mine")
    assert value == len(MINE) and "Nothing was published" in said and not (checkout / "results").exists()
    manifest = json.loads((checkout / "build" / "open" / "manifest" / "04_shows.jsonl").read_text())
    assert manifest["hashes"]["inputs"] == {"method: mine (mine.py)": sha256(MINE.encode())}
    with pytest.raises(InputError, match="04_shows.ipynb shows methods of your own, which are not published"):
        pipeline.publish("open", checkout)

    file.write_text(MINE.replace("100.0", "10.0"))
    _, value, untouched = reproduce("--set", "methods=mine.py:Mine")
    assert value == len(MINE) - 1 and untouched == other

    said, value, untouched = reproduce()
    assert value == 0 and untouched == other and "Nothing was published" not in said
    assert (checkout / "results" / "open" / "table_04_scale.csv").is_file() and publishing.verify(
        "open", checkout
    ) == []


@pytest.mark.long
def test_notebook_05_shows_an_own_row_in_every_table(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MICRO_PAPER_BUILD", str(tmp_path / "build"))
    quick = {"synthetic_prompts": 300, "n_seeds": 1, "n_folds": 1, "epochs": 1, "stage2_epochs": 1, "heads_rpr": 5}
    quick |= {"budget": 15, "few_shot": 2, "resamples": 1}
    methods = f"'{folder}/mine.py:Mine'"
    done = run("05", overrides=[*((name, str(value)) for name, value in quick.items()), ("methods", methods)])
    results = tmp_path / "build" / "smoke" / "results"
    for table in (
        "02_accuracy_helpsteer",
        "03_accuracy_rpr",
        "02c_beside_paper",
        "02d_differences",
        "03d_hyre_protocol",
    ):
        assert "mine" in set(pd.read_csv(results / f"table_{table}.csv").method), table
    assert (tmp_path / "build" / "smoke" / "figures" / "figure_02c_differences.png").is_file()
    line = json.loads((tmp_path / "build" / "smoke" / "manifest" / "05_stage2.jsonl").read_text())
    assert sha256((folder / "mine.py").read_bytes()) in line["hashes"]["inputs"].values()
    assert ">mine<" in done.read_text()


def test_many_own_rows_may_store_large_predictions(checkout, make_notebook, monkeypatch):
    make_notebook(checkout / "notebooks" / "05_stage2.ipynb")
    monkeypatch.setattr("micro_paper.workflow.artifacts.PREDICTIONS_LIMIT", 10)
    columns = {"method": "a", "pair_id": "a", "p": 0.5}
    frame = pd.DataFrame([columns])
    with pytest.raises(InputError, match="the limit"):
        Artifacts("smoke", "05_stage2", {"methods": ""}).predictions(frame)
    Artifacts("smoke", "05_stage2", {"methods": "mine.py:Mine"}).predictions(frame)


def test_absolute_paths_survive_the_check(folder):
    once = check_methods(f"'{folder}/mine.py:Mine'")
    assert check_methods(once) == once
