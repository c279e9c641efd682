"""The course: release, grade and check its assignments with nbgrader's own converters, and say what it refuses.

    python assignments/course.py release                 the students' versions, in build/course/release
    python assignments/course.py grade FOLDER            FOLDER/STUDENT/NAME/NAME.ipynb; feedback and grades.csv
    python assignments/course.py check [NAME ...]        blanks and every solution in mutants/, against what they lose

nbgrader exits with 0 on many failures: every verdict here is read from its gradebook.
"""

from __future__ import annotations

import argparse
import copy
import csv
import html
import json
import re
import shutil
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import yaml
from IPython.core.inputtransformer2 import TransformerManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from nbgrader.preprocessors import ClearHiddenTests, Execute
from sqlalchemy.exc import SAWarning
from traitlets import Bool
from traitlets.config import Config, PyFileConfigLoader

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "course"
warnings.filterwarnings("ignore", category=SAWarning)  # of nbgrader's own queries


def source(name: str) -> NotebookNode:
    """The notebook of an assignment with answers and hidden tests."""
    return nbformat.read(HERE / "source" / name / f"{name}.ipynb", as_version=4)


def mark(cell: NotebookNode) -> dict:
    """What nbgrader knows of a cell; empty where it is the student's own."""
    return cell.metadata.get("nbgrader") or {}


def is_test(cell: NotebookNode) -> bool:
    """Whether the cell is graded by running it."""
    return cell.cell_type == "code" and bool(mark(cell).get("grade")) and not mark(cell).get("solution")


def plain(source: str) -> str:
    """A cell as Python, its magics as calls; as it is where that fails."""
    try:
        return TransformerManager().transform_cell(source)
    except SyntaxError:
        return source


def hidden(notebook: NotebookNode) -> set[str]:
    """The lines of the hidden tests of a source notebook that are long enough to be known again."""
    regions = (re.findall("BEGIN HIDDEN TESTS(.*?)### END HIDDEN TESTS", c.source, re.DOTALL) for c in notebook.cells)
    lines = {line.strip() for region in regions for text in region for line in text.splitlines()}
    return {line for line in lines if len(line) > 20} - {x.strip() for c in notebook.cells for x in shown(c)}


def shown(cell: NotebookNode) -> list[str]:
    """The lines of a cell that students see."""
    return re.sub("### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS", "", cell.source, flags=re.DOTALL).splitlines()


def leaks(page: str, lines: set[str]) -> list[str]:
    """Which lines stand in an HTML page, whatever its markup."""
    text = html.unescape(re.sub("<[^>]*>", "", page))
    return sorted(line for line in lines if line in text)


class Apart(Execute):
    """Runs the student's cells in one kernel and the test cells in another, which knows the former only as text (`In`).

    So nothing that a student's cell overrides reaches a test.
    """

    answers = Bool(True, help="Whether to run the student's cells at all; points do not depend on it.").tag(config=True)

    def preprocess(self, nb, resources, **options):
        for cell in nb.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        history, tests = [""], []
        for cell in nb.cells:
            if is_test(cell):
                tests += [nbformat.v4.new_code_cell(f"In = {[*history, '']!r}"), cell]
            elif cell.cell_type == "code":
                history.append(plain(cell.source))
        own = [cell for cell in nb.cells if cell.cell_type == "code" and not is_test(cell)]
        for cells in (own, tests) if self.answers else (tests,):
            self.stopped = False
            try:
                super().preprocess(NotebookNode({**nb, "cells": cells}), resources, **options)
            except (CellTimeoutError, DeadKernelError) as error:
                if cells is tests:
                    raise
                why = str(error).partition("\n")[0]
                self.cell.outputs.append(nbformat.v4.new_output("error", ename=type(error).__name__, evalue=why))
        return nb, resources

    def preprocess_cell(self, cell, resources, index):
        """Run a cell, unless one of the student's did not end: it may hold the kernel for ever."""
        self.cell = cell
        if not self.stopped:
            cell, resources = super().preprocess_cell(cell, resources, index)
            late = any(output.get("ename") == "CellTimeoutError" for output in cell.outputs)
            self.stopped = late and not is_test(cell)
        return cell, resources


class HideTests(ClearHiddenTests):
    """Feedback without the source of hidden tests: neither in their cells nor in the lines of a traceback."""

    def preprocess_cell(self, cell, resources, index):
        if is_test(cell):
            self._remove_hidden_test_region(cell)
            for output in cell.outputs:
                if output.output_type == "error":
                    output.traceback = [f"{output.ename}: {output.evalue}"]
        return cell, resources


class Feedback(HTMLExporter):
    """Feedback as one page that loads and runs nothing; formulas stay as LaTeX."""

    def from_notebook_node(self, nb, resources=None, **options):
        page, resources = super().from_notebook_node(nb, resources, **options)
        page = re.sub(r"<script\b.*?</script\s*>", "", page, flags=re.DOTALL | re.IGNORECASE)
        policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
        seal = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        return page.replace("<head>", f"<head>\n{seal}", 1), resources


@dataclass
class Result:
    """One submission.

    Attributes:
        points, most: of each graded cell; empty where the submission was refused.
        tests: the cells among them that are graded by running them.
        said: what each failed test cell said.
        by_hand: cells that wait for a person.
        notes: what was put right, or is worth knowing.
        refused: why there are no points.
    """

    student: str
    assignment: str
    points: dict[str, float] = field(default_factory=dict)
    most: dict[str, float] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    tests: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: str = ""


class Course:
    """The course below one folder, with its gradebook.

    Args:
        root: where source, release, submitted, autograded, feedback and gradebook.db go.
        timeout: seconds a cell may run when it is graded.
    """

    def __init__(self, root: Path = BUILD, timeout: int = 30) -> None:
        self.root = Path(root).resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        config: Config = PyFileConfigLoader("nbgrader_config.py", path=str(HERE)).load_config()
        config.CourseDirectory.root = str(self.root)
        config.Execute.timeout = timeout
        self.api = NbGraderAPI(config=config)
        self.api.log_level = "ERROR"

    def gradebook(self) -> Gradebook:
        return Gradebook(self.api.coursedir.db_url, self.api.coursedir.course_id)

    def release(self, names: list[str] | None = None) -> list[str]:
        """Generate the students' versions; return their names.

        Raises:
            SystemExit: an assignment cannot be generated, or a solution or a hidden test is left in it.
        """
        names = names or sorted(p.name for p in (HERE / "source").iterdir() if (p / f"{p.name}.ipynb").is_file())
        for name in names:
            given = self.root / "source" / name
            shutil.rmtree(given, ignore_errors=True)
            shutil.copytree(HERE / "source" / name, given, ignore=shutil.ignore_patterns(".*", "__pycache__"))
            if "alone.py" in (given / f"{name}.ipynb").read_text(encoding="utf-8"):
                shutil.copy(HERE / "alone.py", given)
            done = self.api.generate_assignment(name, force=True, create=True)
            if not done["success"]:
                sys.exit(f"{name} cannot be released:\n{done.get('error') or ''}{done.get('log') or ''}")
            text = (self.root / "release" / name / f"{name}.ipynb").read_text(encoding="utf-8")
            if left := re.findall("(?:BEGIN|END) (?:SOLUTION|HIDDEN TESTS)", text):
                sys.exit(f"{name}: the released notebook still has {left[0]}")
        return names

    def released(self, name: str) -> NotebookNode:
        return nbformat.read(self.root / "release" / name / f"{name}.ipynb", as_version=4)

    def mended(self, notebook: NotebookNode, name: str) -> list[str]:
        """Put back the cells that a submission lost and drop the mark of copies, in place; say which."""
        notes, seen = [], set()
        for cell in reversed(notebook.cells):  # the last copy counts: it is what a run leaves behind
            key = mark(cell).get("grade_id")
            if key in seen:
                notes.append(f"cell {key} was there twice: the last one counts")
                cell.metadata.pop("nbgrader")
            elif key:
                seen.add(key)
        place = 0
        for cell in self.released(name).cells:
            if not (key := mark(cell).get("grade_id")):
                continue
            if key in seen:
                place = 1 + next(i for i, c in enumerate(notebook.cells) if mark(c).get("grade_id") == key)
            else:
                notes.append(f"cell {key} was missing: put back as released")
                notebook.cells.insert(place, copy.deepcopy(cell))
                place += 1
        return notes

    def collect(self, folder: Path) -> list[Result]:
        """Copy FOLDER/STUDENT/NAME into the course, mended; what cannot be read is refused."""
        shutil.rmtree(self.root / "submitted", ignore_errors=True)
        found = []
        for path in sorted(p for p in Path(folder).glob("*/*") if p.is_dir()):
            result = Result(path.parent.name, path.name)
            found.append(result)
            file = path / f"{path.name}.ipynb"
            if not (self.root / "release" / path.name).is_dir():
                result.refused = "no such assignment is released"
            elif not file.is_file():
                there = ", ".join(sorted(p.name for p in path.iterdir())) or "nothing"
                result.refused = f"{file.name} is missing; there is {there}"
            else:
                try:
                    notebook = nbformat.read(file, as_version=4)
                    nbformat.validate(notebook)
                except Exception as error:
                    result.refused = f"{file.name} is no notebook: {str(error).splitlines()[0][:200]}"
                    continue
                result.notes = self.mended(notebook, path.name)
                target = self.root / "submitted" / path.parent.name / path.name
                shutil.copytree(path, target)
                nbformat.write(notebook, target / file.name)
        return found

    def files(self, result: Result) -> dict[Path, bytes]:
        """What a submission may not touch: the course, and what others handed in and got back."""
        own = self.root / "autograded" / result.student / result.assignment
        parts = ("source", "release", "submitted", "autograded", "feedback")
        found = (path for part in parts for path in (self.root / part).rglob("*") if own not in path.parents)
        return {path: path.read_bytes() for path in found if path.is_file()}

    def autograde(self, result: Result, answers: bool = True) -> None:
        """Grade one submission and read its points from the gradebook; undo what it did to files of the course."""
        self.api.config.Apart.answers = answers
        before = self.files(result)
        done = self.api.autograde(result.assignment, result.student, force=True, create=True)
        after = self.files(result)
        if changed := sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path)):
            for path in changed:
                path.unlink(missing_ok=True)
                if path in before:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(before[path])
            result.refused = f"changed {', '.join(p.relative_to(self.root).as_posix() for p in changed)} (put back)"
            return
        if not done["success"]:
            lines = [line.strip() for line in f"{done.get('error')}\n{done.get('log')}".splitlines()]
            said = [x for x in lines if re.match(r"[\w.]+(Error|Exception|Exit)\b", x) and "NbGraderException" not in x]
            result.refused = (said or ["nbgrader gives no reason", *lines])[-1][:300]
            return
        with self.gradebook() as book:
            for notebook in book.find_submission(result.assignment, result.student).notebooks:
                for grade in notebook.grades:
                    given = grade.auto_score if grade.manual_score is None else grade.manual_score
                    if given is None:
                        result.by_hand.append(grade.name)
                    else:
                        result.points[grade.name], result.most[grade.name] = given, grade.max_score
        home, own, sent = (
            self.root / part / who / result.assignment
            for part, who in (("autograded", result.student), ("source", ""), ("submitted", result.student))
        )
        notebook = nbformat.read(home / f"{result.assignment}.ipynb", as_version=4)
        for cell in filter(is_test, notebook.cells):
            result.tests.append(mark(cell)["grade_id"])
            errors = [o for o in cell.outputs if o.output_type == "error"]
            result.said |= {mark(cell)["grade_id"]: f"{o.ename}: {o.evalue}" for o in errors}
        files = {p.relative_to(home) for p in home.rglob("*") if p.is_file()}
        known = {p.relative_to(folder) for folder in (own, sent) for p in folder.rglob("*")}
        if wrote := sorted(map(str, files - known)):
            result.notes.append(f"wrote {', '.join(wrote)}")

    def feedback(self, result: Result) -> None:
        """Write the page for the student, unless a cell of theirs printed hidden tests into it."""
        done = self.api.generate_feedback(result.assignment, result.student, force=True)
        folder = self.root / "feedback" / result.student / result.assignment
        page = folder / f"{result.assignment}.html"
        if not done["success"] or not page.is_file():
            why = " ".join((done.get("error") or done.get("log") or "").split())
            result.notes.append(f"no feedback: {why[-300:]}")
        elif leaks(page.read_text(encoding="utf-8"), hidden(source(result.assignment))):
            shutil.rmtree(folder)
            result.notes.append("no feedback: the answers print hidden tests")

    def grade(self, folder: Path, feedback: bool = True, tried: set[str] | None = None) -> list[Result]:
        """Grade FOLDER/STUDENT/NAME/NAME.ipynb; refused submissions carry the reason and no points.

        Args:
            folder: what was handed in.
            feedback: whether to write the pages for the students.
            tried: the students whose own cells run, besides the tests of them; None = all.
        """
        found = self.collect(folder)
        for result in found:
            if not result.refused:
                self.autograde(result, tried is None or result.student in tried)
            if feedback and not result.refused:
                self.feedback(result)
        return found


@dataclass
class Item:
    """One solution of mutants/NAME.yaml: what replaces which answers, and which tests must lose points for it."""

    name: str
    kind: str
    cells: dict[str, str]
    loses: list[str]
    alone: bool = False


@dataclass
class Pack:
    """Items of one kind, about different exercises, in one submission."""

    name: str
    items: list[Item]

    @property
    def cells(self) -> dict[str, str]:
        return {key: text for item in self.items for key, text in item.cells.items()}

    @property
    def loses(self) -> set[str]:
        return {key for item in self.items for key in item.loses}


def packs(name: str) -> list[Pack]:
    """The items of an assignment in as few submissions as possible: an exercise is graded by itself."""
    found: list[Pack] = []
    for item in (
        Item(**row) for row in yaml.safe_load((HERE / "mutants" / f"{name}.yaml").read_text(encoding="utf-8"))
    ):
        free = (p for p in found if p.items[0].kind == item.kind and not p.items[0].alone and not item.alone)
        pack = next((p for p in free if not p.cells.keys() & item.cells.keys()), None)
        if pack is None:
            found.append(pack := Pack(f"{item.kind}-{sum(p.items[0].kind == item.kind for p in found) + 1}", []))
        pack.items.append(item)
    return found


def answered(released: NotebookNode, cells: dict[str, str]) -> NotebookNode:
    """A released notebook with some answers filled in."""
    notebook = copy.deepcopy(released)
    left = dict(cells)
    for cell in notebook.cells:
        if mark(cell).get("grade_id") in left:
            cell.source = left.pop(mark(cell)["grade_id"])
    if left:
        raise KeyError(f"no such cells: {', '.join(left)}")
    return notebook


def solutions(name: str) -> dict[str, str]:
    """The answers of an assignment's source."""
    return {mark(cell)["grade_id"]: cell.source for cell in source(name).cells if mark(cell).get("solution")}


def hand_in(folder: Path, student: str, name: str, notebook: NotebookNode, others: Path | None = None) -> None:
    """Write a submission as a student would hand it in, with the released files beside it."""
    place = Path(folder) / student / name
    shutil.copytree(others, place) if others else place.mkdir(parents=True)
    nbformat.write(notebook, place / f"{name}.ipynb")


def submissions(course: Course, name: str, folder: Path) -> dict[str, Pack]:
    """Hand in the blank, the source's answers and every pack of an assignment; return them by student."""
    released, right = course.released(name), solutions(name)
    tests = [mark(cell)["grade_id"] for cell in released.cells if is_test(cell)]
    found = {
        "blank": Pack("blank", [Item("blank", "wrong", {}, tests)]),
        "source": Pack("source", [Item("source", "right", right, [])]),
    } | {pack.name: pack for pack in packs(name)}
    for student, pack in found.items():
        cells = {} if student == "blank" else {**right, **pack.cells}
        hand_in(folder, student, name, answered(released, cells), course.root / "release" / name)
    return found


def faults(result: Result, pack: Pack) -> list[str]:
    """Where a graded submission gets other points than its items say, or a cheat loses for another reason."""
    if result.refused:
        return [f"refused: {result.refused}"]
    found = [f"{key}: no such test" for key in pack.loses - set(result.tests)]
    for key in result.tests:
        has, most, loses = result.points[key], result.most[key], key in pack.loses
        if (has < most) != loses or (has and pack.name == "blank"):
            found.append(f"{key}: has {has:g} of {most:g}, must{'' if loses else ' not'} lose: {result.said.get(key)}")
    for item in pack.items:
        said = [result.said.get(key, "") for key in item.loses]
        if item.kind == "cheat" and "micro_paper" in str(item.cells) and not any("uses the package" in x for x in said):
            found.append(f"{item.name}: loses, but not for using the package: {said}")
    return found


def check(course: Course, names: list[str] | None = None) -> list[tuple[Result, Pack, list[str]]]:
    """Release, then grade every blank, source and pack; return each with its faults. The source's own cells run too."""
    names = course.release(names)
    folder = course.root / "handed_in"
    shutil.rmtree(folder, ignore_errors=True)
    wanted = {(student, name): pack for name in names for student, pack in submissions(course, name, folder).items()}
    return [
        (r, p := wanted[r.student, r.assignment], faults(r, p))
        for r in course.grade(folder, feedback=False, tried={"source"})
    ]


def write_grades(results: list[Result], path: Path) -> None:
    """One row a submission; points are empty where it was refused or waits for a hand."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["student", "assignment", "points", "of", "by_hand", "refused", "notes", "tests"])
        for r in results:
            points = "" if r.refused else f"{sum(r.points.values()):g}"
            tests = json.dumps(r.points) if r.points else ""
            of = f"{sum(r.most.values()):g}" if r.most else ""
            writer.writerow(
                [r.student, r.assignment, points, of, " ".join(r.by_hand), r.refused, "; ".join(r.notes), tests]
            )


def show(results: list[Result]) -> None:
    for r in results:
        total = f"refused: {r.refused}" if r.refused else f"{sum(r.points.values()):g} of {sum(r.most.values()):g}"
        lost = " ".join(k for k, v in r.points.items() if v < r.most[k])
        rest = [f"lost {lost}" if lost else "", f"by hand: {', '.join(r.by_hand)}" if r.by_hand else "", *r.notes]
        print(f"{r.assignment:18} {r.student:14} {total}", *(x for x in rest if x), sep="  ")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("release")
    commands.add_parser("grade").add_argument("folder", type=Path)
    commands.add_parser("check").add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.command == "release":
        course = Course()
        print(*(course.root / "release" / name for name in course.release()), sep="\n")
        return 0
    if options.command == "grade":
        course = Course()
        course.release()
        results = course.grade(options.folder)
        show(results)
        write_grades(results, course.root / "grades.csv")
        print(f"{course.root / 'grades.csv'}; feedback in {course.root / 'feedback'}")
        return int(any(r.refused for r in results) or not results)
    found = check(Course(BUILD / "check"), options.names)
    show([result for result, _, _ in found])
    bad = [f"{r.assignment}, {r.student} ({', '.join(i.name for i in p.items)}): {x}" for r, p, xs in found for x in xs]
    print(*bad, f"{len(found)} submissions, {len(bad)} faults", sep="\n")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
