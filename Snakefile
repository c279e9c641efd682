# One rule a notebook. On one machine `make reproduce PROFILE=open JOBS=2` (or `snakemake --cores 2 --config
# profile=open`), on a cluster the same file: `snakemake --executor slurm --jobs 20 --config profile=open shards=8`.
#
# --config: profile; shards (parts of the extraction); threads (of one notebook: fixed, since the last digit of a sum
# may depend on it); and name=value for any parameter of the notebooks.
import json
import shlex
import sys

sys.path.insert(0, workflow.basedir)

from pathlib import Path

from micro_paper.workflow import pipeline
from micro_paper.workflow import provenance
from micro_paper.features.settings import DEEPER_PARAMETERS, FEATURE_PARAMETERS
from micro_paper.data.named import WORLD_PARAMETERS
from micro_paper.workflow.parameters import read_parameters

# What must be there before a notebook runs, by its number; everything else is independent.
FEATURES = "features"
DEPENDS = {number: [FEATURES] for number in ("03", "04", "05", "06", "07", "08", "09", "12")}
EVIDENCE = ("01", "04", "05", "06", "07", "08", "09")  # what notebook 11 judges
LONGEST = ("06", "05", "04", "07", "09", "08")  # started first, so that no core waits for the last one
EXTRACTED = FEATURE_PARAMETERS + DEEPER_PARAMETERS + WORLD_PARAMETERS + ("device",)

ROOT = Path(workflow.basedir)
PYTHON = shlex.quote(sys.executable)
PROFILE = config.get("profile", "smoke")
SHARDS = int(config.get("shards", 1))
THREADS = int(config.get("threads", 1))
OVERRIDES = [(name, str(config[name])) for name in sorted(config) if name not in ("profile", "shards", "threads")]

BUILD = f"build/{PROFILE}"
PARAMETERS = pipeline.check_settings(PROFILE, OVERRIDES, ROOT)
VALUES = pipeline.profile_values(PROFILE, OVERRIDES, ROOT)
NOTEBOOKS = [f"{BUILD}/notebooks/{stem}.ipynb" for stem in PARAMETERS]


def options(names):
    """The overrides among `names`, as the command line takes them."""
    return " ".join(f"-p {name} {shlex.quote(text)}" for name, text in OVERRIDES if name in names)


def needed(stem):
    """The marker of every dependency of a notebook."""
    if stem[:2] == "11":
        return [f"{BUILD}/notebooks/{other}.ipynb" for other in PARAMETERS if other[:2] in EVIDENCE]
    place = {FEATURES: f"{BUILD}/features.done"}
    return [place.get(what, f"{BUILD}/notebooks/{what}.ipynb") for what in DEPENDS.get(stem[:2], [])]


wildcard_constraints:
    shard=r"\d+",


rule all:
    default_target: True
    input:
        NOTEBOOKS if PROFILE == "smoke" else f"{BUILD}/published",


rule publish:
    input:
        NOTEBOOKS,
    output:
        f"{BUILD}/published",
    shell:
        "{PYTHON} -m micro_paper publish --profile {PROFILE}"


rule extract:  # one part of the texts; parts run side by side, on several machines if need be
    output:
        touch(BUILD + "/features/{shard}-of-" + f"{SHARDS}.done"),
    params:
        features=pipeline.feature_fingerprint(VALUES, ROOT),
        options=options(EXTRACTED),
    threads: workflow.cores or 1
    shell:
        "{PYTHON} -m micro_paper extract --profile {PROFILE} --shard {wildcards.shard} --of {SHARDS} {params.options}"


rule features:  # all of it, which is little after the parts, and the manifest
    input:
        [f"{BUILD}/features/{shard}-of-{SHARDS}.done" for shard in range(SHARDS) if SHARDS > 1],
    output:
        touch(f"{BUILD}/features.done"),
    params:
        features=pipeline.feature_fingerprint(VALUES, ROOT),
        options=options(EXTRACTED),
    threads: workflow.cores or 1
    shell:
        "{PYTHON} -m micro_paper extract --profile {PROFILE} {params.options}"


for STEM, CHOSEN in PARAMETERS.items():

    rule:
        name:
            f"notebook_{STEM}"
        input:
            needed(STEM),
        output:
            f"{BUILD}/notebooks/{STEM}.ipynb",
        priority: len(LONGEST) - LONGEST.index(STEM[:2]) if STEM[:2] in LONGEST else 0
        params:
            stem=STEM,
            parameters=json.dumps(CHOSEN),
            options=options(CHOSEN.keys() | read_parameters(ROOT / "notebooks" / f"{STEM}.ipynb").keys()),
            **provenance.fingerprint(ROOT / "notebooks" / f"{STEM}.ipynb", ROOT),
        threads: THREADS
        shell:
            "{PYTHON} -m micro_paper run {params.stem} --profile {PROFILE} --threads {threads} {params.options}"
