"""What the Snakefile asks for: which notebooks there are, what each depends on, extraction and publication.

A notebook is run again when its code, a parameter that it declares, a library module that it imports
(directly or not), the file of a method of one's own or the lock of the environment changes. All of that is compared by
content: saving a notebook, executing it in place or checking it out again changes no content. So does own data: its
files count by what is in them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from micro_paper.data.named import WORLD_PARAMETERS, named_worlds, own_files
from micro_paper.errors import InputError, shown
from micro_paper.features.settings import DEEPER_PARAMETERS, FEATURE_PARAMETERS
from micro_paper.files import file_sha256, lock, sha256, sweep, write_atomic
from micro_paper.method_files import content_hashes
from micro_paper.paths import absolute_environment, build_dir, project_root, stores_dir
from micro_paper.workflow.notebooks import read_notebook
from micro_paper.workflow.parameters import Value, check_names, read_parameters, read_profile, read_values
from micro_paper.workflow.provenance import PACKAGE, code_closure, content_hash
from micro_paper.workflow.run import resolve

OWN = "mine"  # the profile of one's own data
_AGAIN = "_again"  # in a file of parameters: when it was found that the notebook was made with others


def notebook_files(root: Path | None = None) -> list[Path]:
    """Return `notebooks/NN_*.ipynb` in their order."""
    return sorted(((root or project_root()) / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def parse_settings(settings: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, text) of each `name=value`; InputError for any other form."""
    pairs = []
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"a setting is name=value, got {shown(setting)}")
        pairs.append((name, text))
    return pairs


def encode(overrides: Sequence[tuple[str, str]]) -> str:
    """Return settings as one text of letters and digits that no shell and no configuration reads otherwise."""
    return base64.urlsafe_b64encode(json.dumps(overrides).encode()).decode()


def decode(arguments: Iterable[str] | None) -> list[tuple[str, str]]:
    """Return the settings among Snakemake's `--config name=value ...`, as typed; `encoded` is what `encode` made.

    Snakemake itself reads each value as YAML: `context_1=Note: be brief.` would be a mapping.
    """
    pairs = dict(parse_settings(arguments or ()))
    encoded = pairs.pop("encoded", None)
    for name in ("profile", "shards", "threads"):
        pairs.pop(name, None)
    if encoded is not None:
        try:
            pairs |= dict(json.loads(base64.urlsafe_b64decode(encoded)))
        except ValueError as error:
            raise InputError(f"encoded={shown(encoded)} is none of ours ({error}): write name=value") from None
    return sorted(pairs.items())


def check_settings(
    profile: str,
    overrides: Sequence[tuple[str, str]],
    root: Path | None = None,
    given: Mapping[str, Value] | None = None,
) -> dict[str, dict[str, Value]]:
    """Return {stem: parameters} of every notebook under a profile and overrides; `given` as for `resolve`.

    Raises:
        InputError: unknown profile, a name that no notebook and no profile has, or an ill-typed value.
    """
    root = root or project_root()
    files = notebook_files(root)
    declared = {path.stem: set(read_parameters(path)) for path in files}
    known = set(read_profile(profile, root)).union(*declared.values())
    check_names([name for name, _ in overrides], known, "of the notebooks")
    return {
        path.stem: resolve(path, profile, [o for o in overrides if o[0] in declared[path.stem]], root, given)
        for path in files
    }


def feature_fingerprint(values: Mapping[str, Value], root: Path | None = None) -> str:
    """Return a hash that changes whenever features would: settings, data sets, own data's content, code."""
    root = root or project_root()
    code = content_hash(code_closure([f"import {PACKAGE}.features", f"import {PACKAGE}.data"], root), root)
    settings = {name: values.get(name) for name in (*FEATURE_PARAMETERS, *DEEPER_PARAMETERS, *WORLD_PARAMETERS)}
    return sha256(json.dumps({"settings": settings, "code": code, **data_hashes(values)}, sort_keys=True).encode())


def data_hashes(values: Mapping[str, Value]) -> dict[str, str]:
    """Return the content hash of each file of own data that parameters name, and of the sentences beside it."""
    beside = [p for file in map(Path, own_files(values)) for p in (file, file.with_name("criteria.json"))]
    return {f"data_{n}": file_sha256(path) for n, path in enumerate(beside) if path.is_file()}


def published(profile: str, values: Mapping[str, Value]) -> bool:
    """Return whether a run of the profile ends in `results/`: not smoke, and nothing of own data or methods."""
    return profile not in ("smoke", OWN) and not own_files(values) and not values.get("methods")


def method_hashes(values: Mapping[str, Value]) -> dict[str, str]:
    """Return the content hashes of the files of own methods, as parameters of a notebook's rule; {} without any."""
    found = content_hashes(str(values.get("methods", "")))
    return {"methods": json.dumps(found)} if found else {}


def profile_values(
    profile: str,
    overrides: Sequence[tuple[str, str]] = (),
    root: Path | None = None,
    given: Mapping[str, Value] | None = None,
) -> dict[str, Value]:
    """Return the profile's values with the overrides in place, typed as the notebooks declare them."""
    values = read_profile(profile, root) | dict(given or {})
    for parameters in check_settings(profile, overrides, root, given).values():
        values.update(parameters)
    return values


def extract(
    profile: str,
    shard: int | None = None,
    of: int | None = None,
    overrides: Sequence[tuple[str, str]] = (),
    root: Path | None = None,
    given: Mapping[str, Value] | None = None,
) -> list[str]:
    """Extract the features of every data set with text that the profile names; return their names.

    Args:
        shard, of: this part (counted from 0) of how many; None for whatever is missing, and the manifest.
        given: as for `resolve`.

    Raises:
        InputError: an unknown profile, setting, data set or device, or a shard out of range.
    """
    root = root or project_root()
    if (shard is None) != (of is None) or (of is not None and not 0 <= shard < of):
        raise InputError(f"shard must be 0 to of - 1, got shard {shard} of {of}")
    values = profile_values(profile, overrides, root, given)
    sweep(stores_dir(root))
    from micro_paper import data
    from micro_paper.experiments import larger_backbone
    from micro_paper.features.extract import pool_store
    from micro_paper.features.settings import FeatureSettings

    settings = FeatureSettings.from_parameters(values)
    pools: dict[str, str] = {}
    for name in named_worlds(values):
        if name.startswith("synthetic-"):
            continue
        info = data.describe(name)
        if info.text:
            pools.setdefault(info.pool, name)
    if pools and settings is None:
        raise InputError(f"backbone is none, and {next(iter(pools.values()))} is text: name a backbone that reads it")
    device = str(values.get("device", "auto"))
    options = {"device": device, "shard": shard, "of": of, "progress": sys.stderr.isatty()}
    for name in pools.values():
        pool_store(name, settings, stores_dir(root), **options)
    if deep := larger_backbone.deeper_names(values):
        settings = larger_backbone.deeper_settings(values)
        larger_backbone.deeper_store(deep, settings, stores_dir(root), **options)
    return list(pools.values())


def publish(profile: str, root: Path | None = None) -> list[str]:
    """Publish a finished profile, note it in `build/PROFILE/published` and return the files.

    Waits for a run of the same profile, unless it is that run which publishes.
    """
    root = root or project_root()
    read_profile(profile, root)
    if profile == OWN:
        raise InputError(f"results of own data stay in {build_dir(root) / OWN}: {OWN} is never published")
    from micro_paper.workflow import publishing

    with _lock(profile, root, wait=True):
        manifests = build_dir(root) / profile / "manifest"
        started = [p.stem for p in notebook_files(root) if list(manifests.glob(f"{p.stem}.*jsonl"))]
        published = publishing.publish(profile, root=root, notebooks=started or None)
        write_atomic(_marker(profile, root), f"{_published_hash(profile, root)}\n".encode())
    return published


def reproduce(
    profile: str | None = None,
    jobs: int = 2,
    settings: Iterable[str] = (),
    root: Path | None = None,
    options: Sequence[str] = (),
    note: str | None = None,
) -> int:
    """Run Snakemake for a profile; with None, for what `default_profiles` says.

    Settings are checked before Snakemake starts, in which paths are those of the working directory. A run with own
    data or methods is not published: `results/` keeps what the profile alone makes. A lock keeps a second run of the
    same profile out and vanishes with its process, so that the same command takes up a killed run.

    Args:
        options: for Snakemake.
        note: of what the build folder is made; a folder that notes something else is emptied first.

    Returns:
        Snakemake's exit status.
    """
    root = root or project_root()
    if jobs < 1:
        raise InputError(f"jobs must be >= 1, got {jobs}")
    overrides = parse_settings(settings)
    profiles = [profile] if profile else default_profiles(root)
    encoded, own = {}, {}
    for name in profiles:
        stated, values = read_profile(name, root).items(), profile_values(name, overrides, root)
        own[name] = own_files(values) or values.get("methods")
        # a path is absolute in the values; an override of another type goes as it was typed
        texts = [i for i in values.items() if isinstance(i[1], str) and i not in stated]
        encoded[name] = encode([*overrides, *texts])
    for name in profiles:
        with _lock(name, root) as inside:
            if note is not None:
                _begin_anew(build_dir(root) / name, note)
            command = [sys.executable, "-m", "snakemake", "--cores", str(jobs)]
            command += ["--rerun-incomplete", "--nolock", "--quiet", "host", "reason", *options]
            command += ["--config", f"profile={name}", f"encoded={encoded[name]}"]
            environment = os.environ | absolute_environment() | inside
            status = subprocess.run(command, cwd=root, env=environment, check=False).returncode
        if status:
            return status
        if own[name]:
            print(f"Made with what is yours: {build_dir(root) / name}. Nothing was published.", flush=True)
    return 0


def default_profiles(root: Path) -> list[str]:
    """Return what `make reproduce` makes when no profile is named: bundled once its results have been published."""
    return ["bundled"] if (root / "results" / "bundled" / "manifest.jsonl").is_file() else ["smoke", "open"]


def prepare(profile: str, wanted: Mapping[str, Mapping[str, Value]], root: Path) -> dict[str, Path]:
    """Write `build/PROFILE/parameters/NAME.json` for each name in `wanted`, its values; return {name: file}.

    A rule makes its notebook again when its file changes. One changes with its values, and also where the finished
    notebook was made with others, by hand. The note of a publication that was changed by hand since is removed, and
    what killed runs left.
    """
    build = build_dir(root) / profile
    sweep(build)
    files = {name: build / "parameters" / f"{name}.json" for name in wanted}
    for name, path in files.items():
        values = dict(wanted[name])
        done = build / "notebooks" / f"{name}.ipynb"
        other = done.is_file() and _made_with(done) != values
        if other or not path.is_file() or read_values(path) != values:
            write_atomic(path, json.dumps(values | ({_AGAIN: time.time_ns()} if other else {}), indent=1).encode())
    marker = _marker(profile, root)
    if marker.is_file() and marker.read_text().strip() != _published_hash(profile, root):
        marker.unlink()
    return files


def _begin_anew(build: Path, note: str) -> None:
    """Empty a build folder, but for its lock, unless it notes that it is made of the same."""
    path = build / "made_of.json"
    if path.is_file() and path.read_text(encoding="utf-8") == note:
        return
    for old in build.iterdir():
        if old.name != ".lock":
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    write_atomic(path, note.encode())


def _made_with(notebook: Path) -> dict[str, Value] | None:
    """Return the parameters of an executed notebook, or None where the file does not say."""
    try:
        return read_notebook(notebook).get("metadata", {}).get("papermill", {}).get("parameters")
    except InputError:
        return None


def _marker(profile: str, root: Path) -> Path:
    return build_dir(root) / profile / "published"


def _published_hash(profile: str, root: Path) -> str:
    folders = [root / kind / profile for kind in ("results", "figures")]
    return content_hash(sorted(p for f in folders for p in f.rglob("*") if p.is_file()), root)


@contextmanager
def _lock(profile: str, root: Path, *, wait: bool = False) -> Iterator[dict[str, str]]:
    """Keep other processes from making or publishing the profile, but for children that get the variables given."""
    path = (build_dir(root) / profile / ".lock").resolve()
    inside = {"MICRO_PAPER_INSIDE": str(path)}
    with nullcontext() if inside.items() <= os.environ.items() else lock(path, wait=wait):
        yield inside
