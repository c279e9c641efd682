"""`python -m micro_paper COMMAND`: run notebooks, make whole profiles, verify and diagnose."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from micro_paper.errors import InputError, MissingError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m micro_paper", description="Run and check the notebooks of micro-paper."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run one notebook with checked parameters")
    run.add_argument("notebook", help="path, stem (05_stage2) or number (05)")
    run.add_argument("--profile", default="smoke", help="a name in profiles/ (default: smoke)")
    run.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    run.add_argument("-o", "--output", help="default: build/PROFILE/notebooks/NAME.ipynb")
    run.add_argument("--threads", type=int, default=1, help="threads of the kernel (default: 1)")

    refresh = commands.add_parser("refresh", help="execute committed notebooks in place at their defaults")
    refresh.add_argument("notebooks", nargs="*", help="default: all")

    reproduce = commands.add_parser("reproduce", help="make every table and figure of a profile")
    reproduce.add_argument("--profile", help="default: bundled, or smoke and open until it is published")
    reproduce.add_argument("--jobs", type=int, default=2, help="cores to use (default: 2)")
    reproduce.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", dest="settings")

    extract = commands.add_parser("extract", help="extract the features that a profile needs")
    extract.add_argument("--profile", required=True)
    extract.add_argument("--shard", type=int, help="this part, counted from 0")
    extract.add_argument("--of", type=int, help="number of parts")
    extract.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")

    publish = commands.add_parser("publish", help="copy a finished profile to results/ and figures/")
    publish.add_argument("--profile", required=True)

    tex = commands.add_parser("tex", help="write committed tables as LaTeX")
    tex.add_argument("tables", nargs="*", metavar="TABLE", help="02, 02b or table_02_accuracy_rpr (default: all)")
    tex.add_argument("--profile", default="bundled", help="default: bundled")
    tex.add_argument("-o", "--output", help="folder (default: build/PROFILE/tex)")

    compare = commands.add_parser("compare", help="compare two folders of result tables cell by cell")
    compare.add_argument("before", type=Path)
    compare.add_argument("after", type=Path)

    carry = commands.add_parser("carry", help="keep published results under changed code that gives the same numbers")
    carry.add_argument("--profile", required=True)
    carry.add_argument("--before", required=True, type=Path, help="a build folder made by the published code")
    carry.add_argument("--after", type=Path, help="the same made by the present code (default: build/PROFILE)")

    commands.add_parser("readme", help="write the published results into README.md and docs/")
    commands.add_parser("verify", help="check the committed results and the verdicts on the claims")
    commands.add_parser("doctor", help="say what is installed and what each profile would need")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 (it failed) or 2 (the input was refused)."""
    options = _parser().parse_args(arguments)
    try:
        return _dispatch(options)
    except (InputError, MissingError) as error:
        status = 2
        message = error
    except RuntimeError as error:
        from micro_paper.workflow.run import NotebookError

        if not isinstance(error, NotebookError):
            raise
        status = 1
        message = error
    except KeyboardInterrupt:
        status = 130
        message = "interrupted"
    print(f"micro_paper: {' '.join(str(message).split())}", file=sys.stderr)
    return status


def _dispatch(options: argparse.Namespace) -> int:
    if options.command == "run":
        from micro_paper.workflow.run import run

        path = run(options.notebook, options.profile, options.parameters, options.output, threads=options.threads)
        print(os.path.relpath(path))
    elif options.command == "refresh":
        from micro_paper.workflow.pipeline import notebook_files
        from micro_paper.workflow.run import refresh

        for notebook in options.notebooks or notebook_files():
            refresh(notebook)
            print(f"executed {notebook}" if options.notebooks else f"executed {notebook.name}", flush=True)
    elif options.command == "reproduce":
        from micro_paper.paths import project_root
        from micro_paper.workflow import pipeline

        if not options.profile:
            chosen = " and then ".join(pipeline.default_profiles(project_root()))
            print(f"No PROFILE given: making {chosen}.", flush=True)
        return pipeline.reproduce(options.profile, options.jobs, options.settings)
    elif options.command == "extract":
        from micro_paper.workflow.pipeline import extract

        names = extract(options.profile, options.shard, options.of, options.parameters)
        print(f"features of {', '.join(names) or 'no data set: none of this profile has text'}")
    elif options.command == "publish":
        from micro_paper.workflow.pipeline import publish

        files = publish(options.profile)
        print(f"published {len(files)} files to results/{options.profile} and figures/{options.profile}")
    elif options.command == "tex":
        from micro_paper.workflow.tex import write_tex

        for path in write_tex(options.profile, options.tables, options.output):
            print(os.path.relpath(path))
    elif options.command == "compare":
        from micro_paper.workflow.comparison import compare

        found = compare(options.before, options.after)
        for problem in found.problems:
            print(problem)
        print(f"{found.cells} numeric cells, largest difference {found.largest:.1e}, {len(found.problems)} problems")
        return 1 if found.problems else 0
    elif options.command == "carry":
        from micro_paper.workflow.carry import carry

        done = carry(options.profile, options.before, options.after)
        found = done.comparison
        print(
            f"carried over {len(done.notebooks)} notebooks: {found.cells} cells, largest difference {found.largest:.1e}"
        )
        for notebook in done.left:
            print(f"not shown by these builds: {notebook}")
    elif options.command == "readme":
        from micro_paper.workflow import readme

        readme.refresh()
    else:
        from micro_paper.workflow import doctor

        lines, good = doctor.verify() if options.command == "verify" else doctor.report()
        if options.command == "verify":
            from micro_paper.workflow import claims_files

            judged, right = claims_files.verify_published()
            lines, good = lines + judged, good and right
        for line in lines:
            print(line)
        return 0 if good else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
