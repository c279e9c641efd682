"""The course: what is right gets full marks, what is wrong, copied or broken does not, and nobody sees hidden tests."""

import copy
import importlib.util
import re
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

if importlib.util.find_spec("nbgrader") is None:
    pytest.skip("nbgrader is not installed: pip install -e '.[course]', or make setup", allow_module_level=True)

FOLDER = Path(__file__).resolve().parent.parent / "assignments"
sys.path.insert(0, str(FOLDER))
import course  # noqa: E402

NAMES = sorted(path.name for path in (FOLDER / "source").iterdir() if path.is_dir())
ONE = "bradley_terry"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """The course, released."""
    made = course.Course(tmp_path_factory.mktemp("course"))
    assert made.release() == NAMES
    return made


@pytest.fixture(scope="module")
def checked(released):
    """Every blank, every source and every solution in mutants/, graded."""
    return {(r.assignment, r.student): (r, pack, found) for r, pack, found in course.check(released)}


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_the_students_version_keeps_its_answers_to_itself(released, name):
    text = (released.root / "release" / name / f"{name}.ipynb").read_text(encoding="utf-8")
    assert "NotImplementedError" in text and "HIDDEN" not in text and "SOLUTION" not in text
    assert not course.leaks(text.replace("\\n", "\n").replace('\\"', '"'), course.hidden(course.source(name)))
    assert all(not cell.get("outputs") for cell in course.source(name).cells)


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_has_solutions_of_each_kind(name):
    items = [course.Item(**row) for row in yaml.safe_load((FOLDER / "mutants" / f"{name}.yaml").read_text())]
    tests = {course.mark(cell)["grade_id"] for cell in course.source(name).cells if course.is_test(cell)}
    lost = [key for item in items if item.kind == "wrong" for key in item.loses]
    cheated = {key for item in items if item.kind == "cheat" for key in item.loses}
    right = [key for item in items if item.kind == "right" for key in item.cells]
    assert {key: lost.count(key) for key in tests if lost.count(key) < 3} == {}
    if any("alone.py" in cell.source for cell in course.source(name).cells):  # elsewhere the package may be used
        assert tests - cheated == set()
    assert {key: right.count(key) for key in right if right.count(key) < 2} == {}
    assert not any(item.loses for item in items if item.kind == "right")


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_every_solution_gets_what_it_deserves(checked, name):
    found = {student: faults for (assignment, student), (_, _, faults) in checked.items() if assignment == name}
    assert {"blank", "source", "right-1", "right-2", "wrong-1", "wrong-2", "wrong-3"} <= set(found)
    assert {student: faults for student, faults in found.items() if faults} == {}
    blank, right = checked[name, "blank"][0], checked[name, "source"][0]
    assert not any(blank.points.values()) and {right.points[key] == right.most[key] for key in right.tests} == {True}


@pytest.mark.long
def test_an_expectation_that_fails_is_found(checked):
    for student, loses in (("right-1", ["test_loss"]), ("wrong-1", []), ("source", ["test_unknown"])):
        result, pack, _ = checked[ONE, student]
        items = [course.Item(item.name, "wrong", item.cells, loses) for item in pack.items]
        assert course.faults(result, course.Pack(student, items))
    result, pack, _ = checked[ONE, "wrong-1"]
    cheat = course.Item("no cheat", "cheat", {"loss": "import micro_paper"}, ["test_loss"])
    assert course.faults(result, course.Pack("x", [*pack.items, cheat])) != []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("x + 1", "`f` returned nothing: is `return` missing?"),
        (
            "return helper(x)",
            "name 'helper' is not defined (line 2 of the cell): what a function needs must stand in its own",
        ),
        ("return x", None),
        ("raise KeyError", None),
    ],
)
def test_a_cell_that_fails_by_itself_says_what_is_missing(body, said):
    exec((FOLDER / "alone.py").read_text(encoding="utf-8"), tools := {})
    cells, call = [f"def f(x):\n    {body}", ""], (1.5,)
    if said is None:
        assert tools["run_alone"](cells, "f", call, raises=True) == [1.5 if "x" in body else {"raised": "KeyError"}]
    else:
        with pytest.raises(AssertionError, match=re.escape(said)):
            tools["run_alone"](cells, "f", call, raises=not body.startswith("return"))


# What students hand in besides answers: each a change of the right notebook of one assignment.


def at(notebook, key):
    return next(i for i, cell in enumerate(notebook.cells) if course.mark(cell).get("grade_id") == key)


def tried(notebook, source):
    """Put a cell of the student's own before all others: given ones are restored before they run."""
    notebook.cells.insert(0, nbformat.v4.new_code_cell(source, id="tried"))


def copied(notebook):
    tried(notebook, "open('notes.txt', 'w').write('mine')")
    first = copy.deepcopy(notebook.cells[at(notebook, "loss")])
    first.source, first.id = "def loss(margins):\n    return 1.0", "copy"
    test = copy.deepcopy(notebook.cells[at(notebook, "test_loss")])
    test.id = "copy-of-test"
    notebook.cells[at(notebook, "loss") : at(notebook, "loss")] = [first, test]


def deleted(notebook):
    for key in ("loss", "test_loss", "test_fit", "test_has_finite_fit", "setup"):
        del notebook.cells[at(notebook, key)]


def emptied_tests(notebook):
    for cell in notebook.cells:
        if course.is_test(cell):
            cell.source = "assert True"
            cell.metadata.nbgrader["points"] = 100


def endless(notebook):
    loop = "while True:\n    try:\n        time.sleep(1)\n    except BaseException:\n        pass"
    notebook.cells[at(notebook, "loss")].source += f"\n\nimport time\n{loop}"


def ends_the_kernel(notebook):
    notebook.cells[at(notebook, "loss")].source += "\n\nimport os\nos._exit(0)"


def writes_over_the_tests_own(notebook):
    tried(notebook, "open('alone.py', 'w').write('run_alone = close = lambda *a, **k: [1.0] * 9')")


def writes_into_the_course(notebook):
    tried(notebook, "open('../../../source/bradley_terry/alone.py', 'w').write('')")


def prints_hidden_tests(notebook):
    loop = "for cell in json.load(open('bradley_terry.ipynb'))['cells']:\n    print(''.join(cell['source']))"
    tried(notebook, f"import json\n{loop}")


EVERYTHING = """
import builtins, functools, json, subprocess
import numpy as np
np.allclose = np.isclose = lambda *a, **k: True
class Alike(float):
    __eq__ = __lt__ = __gt__ = lambda *a: True
json.loads = lambda text: {"refused": [], "values": [Alike()] * 9}
functools.partial = lambda *a, **k: lambda *b: [Alike()] * len(b)
builtins.exec = lambda *a: None
In = []
get_ipython().input_transformers_cleanup.append(lambda lines: [])
get_ipython().set_custom_exc((AssertionError,), lambda *a, **k: None)
"""


def overrides(notebook):
    """No answer, but whatever a kernel holds."""
    for cell in notebook.cells:
        if course.mark(cell).get("solution"):
            cell.source = f"def {cell.metadata.nbgrader.grade_id}(*arguments):\n    return 0.5"
    tried(notebook, EVERYTHING)


BROKEN = [copied, deleted, emptied_tests, endless, ends_the_kernel, writes_over_the_tests_own]
BROKEN += [writes_into_the_course, prints_hidden_tests, overrides]
UNREADABLE = {"no_json": "{", "no_notebook": "[1, 2]", "a_page": "<html>"}


@pytest.fixture(scope="module")
def handed_in(released, checked, tmp_path_factory):
    """What is broken, graded as a course does it: by student and assignment."""
    folder = tmp_path_factory.mktemp("handed_in")
    for change in BROKEN:
        notebook = course.answered(released.released(ONE), course.solutions(ONE))
        change(notebook)
        course.hand_in(folder, change.__name__, ONE, notebook, released.root / "release" / ONE)
    for student, text in UNREADABLE.items():
        (folder / student / ONE).mkdir(parents=True)
        (folder / student / ONE / f"{ONE}.ipynb").write_text(text)
    course.hand_in(folder, "other_name", ONE, nbformat.v4.new_notebook())
    (folder / "other_name" / ONE / f"{ONE}.ipynb").rename(folder / "other_name" / ONE / "final (2).ipynb")
    course.hand_in(folder, "stray", "no_such_assignment", nbformat.v4.new_notebook())
    run = {change.__name__ for change in BROKEN} - {"deleted", "emptied_tests"}
    whole = course.Course(released.root, timeout=20)
    results = whole.grade(folder, tried=run)
    for result in (result for (_, student), (result, _, _) in checked.items() if student == "source"):
        whole.feedback(result)
        results.append(result)
    return whole, {(r.student, r.assignment): r for r in results}


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_the_right_notebook_runs_without_an_error(released, checked, name):
    graded = nbformat.read(released.root / "autograded" / "source" / name / f"{name}.ipynb", as_version=4)
    outputs = [out for cell in graded.cells for out in cell.get("outputs", [])]
    assert any("image/png" in out.get("data", {}) for out in outputs)
    assert [out for out in outputs if out.output_type == "error"] == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("student", "lost", "note"),
    [
        ("copied", set(), "cell loss was there twice"),
        ("deleted", {"test_loss"}, "cell test_fit was missing"),
        ("emptied_tests", set(), ""),
        ("endless", {"test_loss"}, ""),
        ("ends_the_kernel", {"test_loss"}, ""),
        ("copied", set(), "wrote notes.txt"),
        ("writes_over_the_tests_own", "all", ""),
        ("prints_hidden_tests", set(), "no feedback: the answers print hidden tests"),
        ("overrides", "all", ""),
    ],
)
def test_what_is_broken_is_graded_by_its_answers(handed_in, student, lost, note):
    result = handed_in[1][student, ONE]
    assert not result.refused and note in "; ".join(result.notes)
    assert {key for key, has in result.points.items() if has < result.most[key]} == (
        set(result.tests) if lost == "all" else lost
    )
    assert sum(result.most.values()) == 20 and {has for key, has in result.points.items() if key in lost} <= {0}


@pytest.mark.long
@pytest.mark.parametrize(
    ("student", "name", "why"),
    [
        *((student, ONE, "is no notebook") for student in UNREADABLE),
        ("other_name", ONE, "final (2).ipynb"),
        ("stray", "no_such_assignment", "no such assignment"),
        ("writes_into_the_course", ONE, "changed source/bradley_terry/alone.py"),
    ],
)
def test_what_cannot_be_graded_is_refused_by_name(handed_in, tmp_path, student, name, why):
    whole, results = handed_in
    result = results[student, name]
    assert why in result.refused and not result.points
    course.write_grades(list(results.values()), tmp_path / "grades.csv")
    row = next(x for x in (tmp_path / "grades.csv").read_text().splitlines() if x.startswith(f"{student},{name},"))
    assert row.startswith(f"{student},{name},,,") and why in row
    assert (whole.root / "source" / ONE / "alone.py").read_bytes() == (FOLDER / "alone.py").read_bytes()


def pages(whole):
    return {path.parent.parent.name + "/" + path.stem: path for path in whole.root.glob("feedback/*/*/*.html")}


@pytest.mark.long
def test_feedback_shows_no_hidden_test_and_loads_nothing(handed_in):
    whole, results = handed_in
    found = pages(whole)
    silent = {student for student, _ in results} - {"prints_hidden_tests"}
    assert {f"{s}/{n}" for s, n in results if s in silent and not results[s, n].refused} == set(found)
    for place, path in found.items():
        name, page = path.stem, path.read_text(encoding="utf-8")
        lines = course.hidden(course.source(name))
        assert course.leaks(page, lines) == [], place
        visible = [x for c in course.source(name).cells if course.is_test(c) for x in course.shown(c) if len(x) > 20]
        assert course.leaks(page, set(visible)), "the search finds nothing at all"
        assert "default-src 'none'" in page and not re.search(r"<script|<link|<iframe|src=.?https?:|@import", page)


@pytest.mark.long
def test_feedback_says_what_was_wrong(handed_in):
    page = pages(handed_in[0])["endless/bradley_terry"].read_text()
    assert "was stopped after 10 s" in page and "16.0 / 20.0" in page


@pytest.mark.long
def test_hidden_tests_are_found_where_they_stand(handed_in):
    graded = handed_in[0].root / "autograded" / "source" / ONE / f"{ONE}.ipynb"
    text = "\n".join(cell.source for cell in nbformat.read(graded, as_version=4).cells)
    assert course.leaks(text, course.hidden(course.source(ONE)))
