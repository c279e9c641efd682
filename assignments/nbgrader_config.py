"""nbgrader's settings, for `course.py` and the nbgrader command in this folder; what they make goes to build/course."""

import os
import sys
from pathlib import Path

from nbconvert.preprocessors import (
    ClearMetadataPreprocessor,
    CSSHTMLHeaderPreprocessor,
)
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    GetGrades,
    IgnorePattern,
    LimitOutput,
    SaveAutoGrades,
)

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here))
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # nbgrader calls alembic
from course import Apart, Feedback, HideTests  # noqa: E402

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "micro_paper"
c.CourseDirectory.root = str(here.parent / "build" / "course")
c.Exchange.root = str(here.parent / "build" / "exchange")  # never used: students hand files in
c.Autograde.autograde_preprocessors = [
    Apart,
    IgnorePattern,
    ClearMetadataPreprocessor,
    LimitOutput,
    SaveAutoGrades,
    AssignLatePenalties,
    CheckCellMetadata,
]
c.Execute.timeout = 30  # seconds a cell; run_alone stops an answer after 10
c.Execute.extra_arguments = ["--Application.log_level=ERROR"]
c.ClearSolutions.code_stub = {"python": "raise NotImplementedError()"}
c.GenerateFeedback.preprocessors = [GetGrades, HideTests, CSSHTMLHeaderPreprocessor]
c.GenerateFeedback.exporter_class = Feedback
