# One rule a notebook. On one machine `make reproduce PROFILE=open JOBS=2` (or `snakemake --cores 2 --config
# profile=open`), on a cluster the same file: `snakemake --executor slurm --jobs 20 --config profile=open shards=8`.
#
# --config: profile; shards (parts of the extraction); threads (of one notebook: fixed, since the last digit of a sum
# may depend on it); and name=value for any parameter of the notebooks, its paths those of the working directory.
import sys

sys.path.insert(0, workflow.basedir)

from pathlib import Path

from micro_paper.errors import InputError
from micro_paper.paths import build_dir
from micro_paper.workflow import pipeline
from micro_paper.workflow import provenance
from micro_paper.features.settings import DEEPER_PARAMETERS, FEATURE_PARAMETERS
from micro_paper.data.named import WORLD_PARAMETERS

# What must be there before a notebook runs, by its number; everything else is independent.
FEATURES = "features"
DEPENDS = {number: [FEATURES] for number in ("03", "04", "05", "06", "07", "08", "09", "12", "13", "14")}
EVIDENCE = ("01", "04", "05", "06", "07", "08", "09", "13")  # what notebook 11 judges
# Started first: what the data are, in seconds, and the longest, so that no core waits for the last one.
FIRST = ("02", "05", "14", "13", "06", "09", "03", "04", "07", "08", "01")
EXTRACTED = FEATURE_PARAMETERS + DEEPER_PARAMETERS + WORLD_PARAMETERS + ("device",)

ROOT = Path(workflow.basedir)
PYTHON = sys.executable
PROFILE = str(config.get("profile", "smoke"))
SHARDS = int(config.get("shards", 1))
THREADS = int(config.get("threads", 1))
OVERRIDES = pipeline.decode(workflow.config_settings.config_args)
if unseen := set(config) - {"profile", "shards", "threads", "encoded", *dict(OVERRIDES)}:
    raise InputError(f"{min(unseen)} comes from a configuration file: give it as --config {min(unseen)}=VALUE")

BUILD = build_dir(ROOT) / PROFILE
BUILD = str(BUILD.relative_to(ROOT) if BUILD.is_relative_to(ROOT) else BUILD)
PARAMETERS = pipeline.check_settings(PROFILE, OVERRIDES, ROOT)
VALUES = pipeline.profile_values(PROFILE, OVERRIDES, ROOT)
EXTRACTION = {name: VALUES[name] for name in EXTRACTED if name in VALUES}
pipeline.prepare(PROFILE, PARAMETERS | {FEATURES: EXTRACTION}, ROOT)
NOTEBOOKS = [f"{BUILD}/notebooks/{stem}.ipynb" for stem in PARAMETERS]


def values(name):
    """The file that holds what a rule's command is given."""
    return f"{BUILD}/parameters/{name}.json"


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
        f"{BUILD}/published" if pipeline.published(PROFILE, VALUES) else NOTEBOOKS,


rule publish:
    input:
        NOTEBOOKS,
    output:
        f"{BUILD}/published",
    shell:
        "{PYTHON:q} -m micro_paper publish --profile {PROFILE:q}"


rule extract:  # one part of the texts; parts run side by side, on several machines if need be
    input:
        values=values(FEATURES),
    output:
        touch(BUILD + "/features/{shard}-of-" + f"{SHARDS}.done"),
    params:
        features=pipeline.feature_fingerprint(VALUES, ROOT),
    threads: workflow.cores or 1
    shell:
        "{PYTHON:q} -m micro_paper extract --profile {PROFILE:q} --values {input.values:q} "
        "--shard {wildcards.shard} --of {SHARDS}"


rule features:  # all of it, which is little after the parts, and the manifest
    input:
        [f"{BUILD}/features/{shard}-of-{SHARDS}.done" for shard in range(SHARDS) if SHARDS > 1],
        values=values(FEATURES),
    output:
        touch(f"{BUILD}/features.done"),
    params:
        features=pipeline.feature_fingerprint(VALUES, ROOT),
    threads: workflow.cores or 1
    shell:
        "{PYTHON:q} -m micro_paper extract --profile {PROFILE:q} --values {input.values:q}"


for STEM in PARAMETERS:

    rule:
        name:
            f"notebook_{STEM}"
        input:
            needed(STEM),
            values=values(STEM),
        output:
            f"{BUILD}/notebooks/{STEM}.ipynb",
        priority: len(FIRST) - FIRST.index(STEM[:2]) if STEM[:2] in FIRST else 0
        params:
            stem=STEM,
            **provenance.fingerprint(ROOT / "notebooks" / f"{STEM}.ipynb", ROOT),
            **pipeline.method_hashes(PARAMETERS[STEM]),
            **pipeline.data_hashes(PARAMETERS[STEM]),
        threads: THREADS
        shell:
            "{PYTHON:q} -m micro_paper run {params.stem:q} --profile {PROFILE:q} --values {input.values:q} "
            "--threads {threads}"
