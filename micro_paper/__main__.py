"""`python -m micro_paper COMMAND`: run notebooks, make whole profiles, verify and diagnose."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from micro_paper.errors import InputError, refusal, shown
from micro_paper.paths import absolute

if TYPE_CHECKING:
    from micro_paper.workflow.parameters import Value

_OVERRIDE = {
    "action": "append",
    "default": [],
    "metavar": "NAME=VALUE",
    "dest": "parameters",
    "help": "also -p NAME VALUE; may be repeated; a path is that of the working directory",
}


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the options as every other refusal is said."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}: see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m micro_paper", description="Run and check the notebooks of micro-paper.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run one notebook with checked parameters")
    run.add_argument("notebook", help="path, stem (05_stage2) or number (05)")
    run.add_argument("--profile", default="smoke", help="a name in profiles/ (default: smoke)")
    run.add_argument("-p", **_OVERRIDE)
    run.add_argument("--values", help="a JSON file of values in place of the profile's, for the Snakefile")
    run.add_argument("-o", "--output", help="default: build/PROFILE/notebooks/NAME.ipynb")
    run.add_argument("--threads", type=int, default=1, help="threads of the kernel (default: 1)")

    refresh = commands.add_parser("refresh", help="execute committed notebooks in place at their defaults")
    refresh.add_argument("notebooks", nargs="*", help="default: all")

    reproduce = commands.add_parser("reproduce", help="make every table and figure of a profile")
    reproduce.add_argument("--profile", help="default: bundled, or smoke and open until it is published")
    mine = commands.add_parser("mine", help="every table and figure that your own data can feed, into build/mine")
    mine.add_argument("data", help="a file of JSON lines; docs/DATA.md has its form")
    mine.add_argument("--dry-run", action="store_true", help="say what is in it and what would be run")
    for command in (reproduce, mine):
        command.add_argument("--jobs", type=int, default=2, help="cores to use (default: 2)")
        command.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", dest="settings")
        command.add_argument("--settings", default="", dest="text", help="the same in one text, quoted as for a shell")

    extract = commands.add_parser("extract", help="extract the features that a profile needs")
    extract.add_argument("--profile", required=True)
    extract.add_argument("--shard", type=int, help="this part, counted from 0")
    extract.add_argument("--of", type=int, help="number of parts")
    extract.add_argument("-p", **_OVERRIDE)
    extract.add_argument("--values", help="a JSON file of values in place of the profile's, for the Snakefile")

    publish = commands.add_parser("publish", help="copy a finished profile to results/ and figures/")
    publish.add_argument("--profile", required=True)

    tex = commands.add_parser("tex", help="write committed tables as LaTeX")
    tex.add_argument("tables", nargs="*", metavar="TABLE", help="02, 02b or table_02_accuracy_rpr (default: all)")
    tex.add_argument("--profile", default="bundled", help="default: bundled")
    tex.add_argument("-o", "--output", type=absolute, help="folder (default: build/PROFILE/tex)")

    compare = commands.add_parser("compare", help="compare two folders of result tables cell by cell")
    compare.add_argument("before", type=absolute)
    compare.add_argument("after", type=absolute)

    carry = commands.add_parser("carry", help="keep published results under changed code that gives the same numbers")
    carry.add_argument("--profile", required=True)
    carry.add_argument("--before", required=True, type=absolute, help="a build folder made by the published code")
    carry.add_argument("--after", type=absolute, help="the same made by the present code (default: build/PROFILE)")

    commands.add_parser("readme", help="write the published results into README.md and docs/")
    commands.add_parser("verify", help="check the committed results and the verdicts on the claims")
    commands.add_parser("doctor", help="say what is installed and what each profile would need")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 (it failed) or 2 (the input was refused)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        for argument in given:
            if not argument.isascii() and argument != argument.encode(errors="replace").decode():
                raise InputError(f"the argument {shown(argument)} is no text: give it in UTF-8")
        return _dispatch(_parser().parse_args(_joined(given)))
    except InputError as error:
        status = 2
        message = error
    except BrokenPipeError:  # a reader such as `head` has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        status = 2
        message = refusal(error)
    except (RecursionError, UnicodeDecodeError) as error:
        status = 2
        message = f"a file that {given[0]} read is nested too deeply or no UTF-8 text ({error}): restore it"
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


def _joined(arguments: list[str]) -> list[str]:
    """Return the arguments with each `-p NAME VALUE` or `-p NAME=VALUE` as one: a value may begin with a dash."""
    left, joined = list(arguments), []
    while left:
        argument = left.pop(0)
        if argument == "-p" and left:
            setting = left.pop(0)
            argument = f"-p{setting}" if "=" in setting or not left else f"-p{setting}={left.pop(0)}"
        joined.append(argument)
    return joined


def _dispatch(options: argparse.Namespace) -> int:
    if options.command == "run":
        from micro_paper.workflow.run import run

        overrides, given = _overrides(options)
        path = run(options.notebook, options.profile, overrides, options.output, threads=options.threads, given=given)
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

        if options.profile == pipeline.OWN:
            raise InputError("the profile mine wants your data: make mine DATA=pairs.jsonl")
        if not options.profile:
            chosen = " and then ".join(pipeline.default_profiles(project_root()))
            print(f"No PROFILE given: making {chosen}.", flush=True)
        return pipeline.reproduce(options.profile, options.jobs, _settings(options))
    elif options.command == "mine":
        from micro_paper.workflow.mine import mine

        return mine(options.data, options.jobs, _settings(options), dry_run=options.dry_run)
    elif options.command == "extract":
        from micro_paper.workflow.pipeline import extract

        overrides, given = _overrides(options)
        names = extract(options.profile, options.shard, options.of, overrides, given=given)
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


def _settings(options: argparse.Namespace) -> list[str]:
    try:
        return options.settings + shlex.split(options.text)
    except ValueError as error:
        raise InputError(f"settings {shown(options.text)}: {error}: quote them as for a shell") from None


def _overrides(options: argparse.Namespace) -> tuple[list[tuple[str, str]], dict[str, Value] | None]:
    from micro_paper.workflow.parameters import read_values
    from micro_paper.workflow.pipeline import parse_settings

    return parse_settings(options.parameters), read_values(options.values) if options.values else None


if __name__ == "__main__":
    sys.exit(main())
