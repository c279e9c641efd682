"""One's own data through the notebooks that it can feed, into `build/mine/`; nothing is published."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from micro_paper.data.named import DATA_PARAMETERS
from micro_paper.digits import interval
from micro_paper.errors import InputError
from micro_paper.experiments import own_data
from micro_paper.paths import absolute, build_dir, project_root
from micro_paper.workflow import pipeline
from micro_paper.workflow.manifest import files_of, read_lines

ANY, CRITERIA = "any judgements", "two criteria"
# The notebooks that own data can feed, by number, and what they need of it.
FED = {"02": ANY, "03": ANY, "04": ANY, "05": CRITERIA, "06": CRITERIA, "12": ANY, "13": CRITERIA}
REASONS = {
    "00": "it shows the published results",
    "01": "it is about the paper's theory",
    "07": "it trains on a second data set",
    "08": "it tests on benchmark pairs",
    "09": "it encodes every text a second time, deeper: run it by hand",
    "10": "it audits the paper's printed numbers",
    "11": "it judges the paper's claims",
    "14": "it is about data sets that name the people who judged",
}
ONE = "every pair states the same criterion, and stage 2 routes between at least two"
FEW = 50  # test prompts, below which intervals are some points wide
# The table to read first: of these, the first that there is.
FIRST = ("table_03_accuracy_rpr.md", "table_02_accuracy_helpsteer.md", "table_04b_stage1_scores.md")
# Where the line at the end is read: file, the row that is compared with `single`.
ANSWERS = {
    "table_02d_differences.csv": "MiCRo, with its contexts,",
    "table_03e_stage1_differences.csv": "Stage 1 of MiCRo, without contexts,",
}


def mine(
    path: str, jobs: int = 2, settings: Iterable[str] = (), root: Path | None = None, dry_run: bool = False
) -> int:
    """Say what is in the file and what will be run, run it, and say what came out.

    Args:
        path: a JSONL file, of the working directory where it is relative.
        jobs: cores to use.
        settings: `name=value` of any parameter; `n_folds`, `budget` and `few_shot` are lowered to what the data give.
        dry_run: say only what would be run.

    Returns:
        Snakemake's exit status.

    Raises:
        InputError, MissingError: before anything is encoded: data that cannot be used, or a bad setting.
    """
    root = root or project_root()
    if not path:
        raise InputError("no data: name a file of JSON lines, make mine DATA=pairs.jsonl (docs/DATA.md has its form)")
    overrides = dict(pipeline.parse_settings(settings))
    if taken := sorted(set(overrides) & set(DATA_PARAMETERS)):
        raise InputError(
            f"{taken[0]} names a data set, and mine runs the one file: python -m micro_paper run takes more"
        )
    values = pipeline.profile_values(pipeline.OWN, list(overrides.items()), root)
    file = absolute(path)
    own = own_data.own_data(f"jsonl:{file}", values)
    work, alike = own_data.encoding(own, values)
    own = own_data.own_data(own.name, values, alike) if alike else own
    reasons = {notebook.stem: why_not(notebook.stem, own) for notebook in pipeline.notebook_files(root)}
    wanted = [stem for stem, reason in reasons.items() if not reason]
    left = [f"not {stem}: {reason}" for stem, reason in reasons.items() if reason]
    runs = f"{own.limits['n_folds']} folds x {values['n_seeds']} seeds"
    print(*own.lines, *work, f"to run, {runs}: {', '.join(wanted)}", *left, sep="\n", flush=True)
    if dry_run:
        return 0
    given = own.places | own.example | overrides | own.limits
    folder = build_dir(root) / pipeline.OWN
    targets = [_named(folder / "notebooks" / f"{stem}.ipynb", root) for stem in wanted]
    note = json.dumps({"path": str(file), "run": wanted} | pipeline.data_hashes(own.places))
    options = ["--keep-going", *targets]
    status = pipeline.reproduce(pipeline.OWN, jobs, [f"{n}={v}" for n, v in given.items()], root, options, note)
    print(*outcome(folder, wanted, own.tested), sep="\n")
    return status


def why_not(stem: str, own: own_data.OwnData) -> str:
    """Return why own data cannot feed a notebook, or "" where it can."""
    needs = FED.get(stem[:2])
    if needs is None:
        return REASONS.get(stem[:2], "it is not about one's own data")
    return ONE if needs == CRITERIA and own.criteria < 2 else ""


def outcome(folder: Path, wanted: Iterable[str], tested: int) -> Iterator[str]:
    """Yield where results lie, what is missing, and micro less the single reward with its interval.

    Args:
        folder: of the profile below build/.
        wanted: notebooks that were to run.
        tested: test prompts.
    """
    done = [folder / "manifest" / f"{stem}.jsonl" for stem in wanted]
    files = [entry["file"] for path in done for entry in files_of(read_lines(path))]
    for kind, folder_of in (("table", "results"), ("figure", "figures")):
        names = {Path(f).stem for f in files if Path(f).name.startswith(f"{kind}_")}
        yield f"{kind}s: {len(names)} in {_named(folder / folder_of)}"
    if (folder / "model").is_dir():
        yield f"saved model: {_named(folder / 'model')} (micro_paper.Micro.load reads it)"
    for path in done:
        if not path.is_file():
            yield f"{path.stem} did not finish: see {_named(folder / 'failed')}"
    made = {Path(f).name for f in files}
    for name, row in ANSWERS.items():
        if name in made:
            table = pd.read_csv(folder / "results" / name)
            line = table[(table.method == "single") & (table.attribute == "average")].iloc[0]
            yield (
                f"{row} less one Bradley-Terry reward, average accuracy on unseen prompts: "
                f"{interval(line.difference, line.low, line.high)} (95 %, {tested} test prompts"
                f"{': too few to tell small differences' if tested < FEW else ''})"
            )
            break
    if first := next((name for name in FIRST if name in made), None):
        yield f"read first: {_named(folder / 'results' / first)}"


def _named(path: Path, root: Path | None = None) -> str:
    """Return a path from a folder, the working directory if none is given, or whole where it lies elsewhere."""
    root = root or Path.cwd().resolve()
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
