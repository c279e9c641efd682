"""The committed notebooks have their form, and the check of it refuses what breaks it."""

import ast
import copy
from pathlib import Path

import pandas as pd
import pytest
import yaml

from micro_paper import notebook
from micro_paper.report.shown import Shown
from micro_paper.workflow.notebooks import normalise, output_problems, problems, read_notebook
from micro_paper.workflow.parameters import read_parameters
from micro_paper.workflow.pipeline import notebook_files

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = notebook_files(ROOT)


def code(source, *outputs, tags=()):
    metadata = {"tags": list(tags), "papermill": {"duration": 1.0}, "execution": {"iopub": "now"}}
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": list(outputs), "execution_count": 7}


def shown(kind, text):
    return {"output_type": "display_data", "metadata": {}, "data": {kind: text}}


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


@pytest.fixture
def good():
    """A notebook as a kernel leaves it, brought into its committed form."""
    result = {"output_type": "execute_result", "execution_count": 9, "metadata": {}, "data": {"text/plain": ["3"]}}
    cells = [
        {"cell_type": "markdown", "source": "# Title", "metadata": {}, "id": "a"},
        code("seed: int = 0  # a seed", tags=["parameters"]),
        code("run = start(globals())", stream("one\n"), stream("two\n")),
        code("1 + 2", result),
        code(""),
    ]
    info = {"name": "python", "version": "3.11.7"}
    return normalise({"cells": cells, "metadata": {"language_info": info, "papermill": {}}, "nbformat": 4})


def test_the_normal_form_passes(good):
    assert problems(good) == []
    assert [c.get("execution_count") for c in good["cells"]][1:4] == [1, 2, 3]
    assert good["cells"][2]["outputs"] == [stream("one\ntwo\n")]
    assert len({cell["id"] for cell in good["cells"]}) == 5
    before = copy.deepcopy(good)
    assert normalise(good) == before


def strip(nb):
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)


def swap(nb):
    nb["cells"][1], nb["cells"][3] = nb["cells"][3], nb["cells"][1]


def tampered(path, value):
    def change(nb):
        place = nb
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def add(source, *outputs, tags=()):
    return lambda nb: nb["cells"].append(code(source, *outputs, tags=tags))


ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (strip, "not executed from top to bottom"),
        (tampered(["cells", 3, "outputs", 0, "data", "text/plain"], ["4"]), "an output was edited or stripped"),
        (tampered(["cells", 2, "outputs"], []), "an output was edited or stripped"),
        (tampered(["cells", 3, "source"], "1 + 3"), "a cell was edited after the last execution"),
        (tampered(["cells", 0, "source"], "# Other"), "a cell was edited after the last execution"),
        (tampered(["cells", 3, "execution_count"], 5), "not executed from top to bottom"),
        (tampered(["cells", 3, "metadata"], {"papermill": {}}), "has metadata ['papermill']"),
        (tampered(["metadata", "papermill"], {}), "metadata ['papermill'] must go"),
        (tampered(["cells", 1, "metadata"], {"tags": ["parameters"]}), "parameters are not folded"),
        (tampered(["cells", 0, "source"], "at $\tau=1$"), "holds the control character"),
        (tampered(["cells", 0, "source"], "so that\n$$x$$"), "put a blank line before its $$"),
        (swap, "it must be the first"),
        (tampered(["cells", 2, "source"], "x = 1"), "the second code cell must call start(globals())"),
        (add("def f():\n    pass"), "defines f"),
        (add("class A:\n    pass"), "defines A"),
        (add("f = lambda x: x"), "names a lambda"),
        (add("%matplotlib inline"), "is not plain Python"),
        (add("1;"), "ends with a semicolon"),
        (add("x: int = 1  # again", tags=["parameters"]), "it needs exactly one"),
        (lambda nb: [add("1")(nb) for _ in range(10)], "11 code cells behind the start: at most 10"),
        (add("x = [\n" + 14 * "    1,\n" + "]"), "has 16 lines: at most 15"),
        (add("1", ERROR), "ended with ValueError: no"),
        (add("1", stream("careful", "stderr")), "wrote to stderr"),
        (add("1", stream("saved to /home/someone/x.csv")), "an absolute path: '/home/someone'"),
        (add("1", stream(r"saved to C:\data")), "an absolute path"),
        (add("1", stream("    a  ...    z\n0   1  ...    2")), "shows something cut"),
        (add("1", shown("text/markdown", "| a |\n| --- |\n| it is … |")), "shows something cut"),
    ],
)
def test_what_breaks_the_form_is_refused(good, change, says):
    change(good)
    assert any(says in problem for problem in problems(good)), problems(good)


@pytest.mark.parametrize(
    "text", ["<td>1</td></tr>", "https://example.org/a/b", "and/or/both", "results/open/a.csv", "3/4"]
)
def test_what_only_looks_like_a_path_passes(good, text):
    good["cells"][2]["outputs"] = [stream(text)]
    assert list(output_problems(good)) == []


WIDE = {
    "a cell": pd.DataFrame({"says": ["all of this is said in one sentence, and " * 3, "short"]}),
    "rows": pd.DataFrame({"a": range(100)}),
    "columns": pd.DataFrame({f"column {i}": [1] for i in range(40)}),
    "a narrow cell": pd.DataFrame({"a": ["x " * 60]}),
}


# of a kernel; outside of one the number of columns is that of the terminal
DEFAULTS = ("display.max_columns", 20, "display.max_rows", 60, "display.max_colwidth", 50, "display.width", 80)


@pytest.mark.parametrize("form", [lambda x: ("text/html", x._repr_html_()), lambda x: ("text/plain", repr(x))])
@pytest.mark.parametrize("frame", WIDE.values(), ids=WIDE)
def test_a_cut_table_is_refused_and_a_whole_one_passes(good, form, frame):
    with pd.option_context(*DEFAULTS):
        good["cells"][2]["outputs"] = [shown(*form(frame))]
    assert any("shows something cut" in problem for problem in output_problems(good))
    good["cells"][2]["outputs"] = [shown(*form(Shown("Table 2", "All of it.", frame)))]
    assert list(output_problems(good)) == []
    whole = ("display.max_colwidth", None, "display.max_columns", None, "display.max_rows", None, "display.width", None)
    with pd.option_context(*whole):
        good["cells"][2]["outputs"] = [shown(*form(frame))]
    assert list(output_problems(good)) == []


@pytest.mark.parametrize("text", ["1, 2, ..., 9", "v1.2... and more", "<p>x ...y</p>", "a: [1, 2]"])
def test_dots_within_a_sentence_pass(good, text):
    good["cells"][2]["outputs"] = [shown("text/html", text), stream(text)]
    assert list(output_problems(good)) == []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_committed_notebook(path):
    assert problems(read_notebook(path)) == []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_defaults_are_the_smoke_profile(path):
    smoke = yaml.safe_load((ROOT / "profiles" / "smoke.yaml").read_text())
    defaults = {name: parameter.default for name, parameter in read_parameters(path).items()}
    assert {k: v for k, v in defaults.items() if k in smoke} == {k: v for k, v in smoke.items() if k in defaults}


@pytest.mark.parametrize("path", [ROOT / "profiles" / "smoke.yaml", *COMMITTED], ids=lambda p: p.stem)
def test_committed_outputs_are_computed_in_float64(path):
    """Fewer digits differ between processors, and training takes such a difference to accuracies on few pairs."""
    if path.suffix == ".yaml":
        values = yaml.safe_load(path.read_text())
        assert {"dtype", "train_dtype"} <= set(values)
    else:
        values = {name: parameter.default for name, parameter in read_parameters(path).items()}
        assert "dtype" in values or "backbone" not in values
    assert {values.get(name, "float64") for name in ("dtype", "train_dtype")} == {"float64"}


# What reads features and encodes those that are not there yet; `run.folds` hands the device on by itself.
READS = {"load_world", "load_folds", "load_bench", "load_training", "deeper_folds", "store_reports"}
READS |= {"complete_validation"}
DATA = "run.data"  # with the device


def device_problems(source):
    """Calls that encode texts, settings of methods and saved models that are not told the notebook's device."""
    tree = ast.parse(source)
    told = {ast.dump(node) for node in ast.walk(tree) if isinstance(node, ast.Dict) and "device" in _keys(node)}
    named = {
        ast.unparse(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AugAssign) and ast.dump(node.value) in told
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) and "dtype" in _keys(node) and "device" not in _keys(node):
            yield f"settings {ast.unparse(node)} name a dtype and no device"
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).split(".")[-1]
        given = {k.arg or ("device" if ast.dump(k.value) in told else ast.unparse(k.value)) for k in node.keywords}
        if name in READS and not given & {"device", DATA, *named}:
            synthetic = node.args and isinstance(node.args[0], ast.Constant) and "synthetic" in str(node.args[0].value)
            if not synthetic:
                yield f"{ast.unparse(node)} is not told the device"
        if ast.unparse(node.func) == "Micro.load" and len(node.args) + len(node.keywords) < 2:
            yield f"{ast.unparse(node)} is not told the device"


def _keys(node):
    return {key.value for key in node.keys if isinstance(key, ast.Constant)}


def code_of(path):
    return "\n".join("".join(c["source"]) for c in read_notebook(path)["cells"] if c["cell_type"] == "code")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda p: p.stem)
def test_notebooks_that_compute_hand_their_device_on(path):
    parameters = read_parameters(path)
    assert ("device" in parameters) == bool({"backbone", "train_dtype"} & set(parameters))
    if "device" in parameters:
        assert list(device_problems(code_of(path))) == []


@pytest.mark.parametrize(
    "source",
    [
        "load_folds(name, 2, features=features)",
        "options = {'features': features}\nbench_runs.load_bench(bench, **options)",
        "bench_runs.load_training(name, 2, **run.interval)",
        "calibration.complete_validation(worlds, **{'features': features})",
        "settings = {'heads': 3, 'dtype': train_dtype}",
        "Micro.load('model')",
    ],
)
def test_a_device_that_is_not_handed_on_is_found(source):
    assert len(list(device_problems(source))) == 1
    for without, told in (
        ("features=features", "features=features, device=device"),
        ("**run.interval", "**run.data"),
        ("'model'", "'model', device"),
        ("{", "{'device': device, "),
    ):
        source = source.replace(without, told)
    assert list(device_problems(source)) == []


def test_a_notebooks_data_has_its_device(monkeypatch):
    run = notebook.Notebook({"backbone": "none", "device": "cpu", "n_folds": 2})
    assert run.data == {"features": None, "device": "cpu"}
    monkeypatch.setattr(notebook, "load_folds", lambda name, folds, **options: options)
    assert run.folds("a set") == run.data and run.folds("a set", device="cuda")["device"] == "cuda"


PROFILES = {path.stem: path for path in sorted((ROOT / "profiles").glob("*.yaml"))}


def test_profiles_have_the_same_names():
    names = {name: list(yaml.safe_load(path.read_text())) for name, path in PROFILES.items()}
    assert set(names) == {"smoke", "bundled", "open", "mine", "paper"}
    assert all(given == names["smoke"] for given in names.values()), names


def without_source(text):
    return [x for x in text.splitlines() if x.strip() and not x.startswith("#") and not x.partition("  # ")[2].strip()]


@pytest.mark.parametrize("name", PROFILES)
def test_every_value_has_its_source(name):
    assert without_source(PROFILES[name].read_text()) == []
    assert yaml.safe_load(PROFILES[name].read_text())["profile"] == name


def test_a_value_without_source_is_found():
    assert without_source("# head\n\na: 1  # paper\nb: 2\nc: 3  # \n") == ["b: 2", "c: 3  # "]
