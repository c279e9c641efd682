"""The ledger of deviations: where the paper, its released code and we differ, and where each default comes from.

The known problems are the rows of `paper_values/deviations.csv`; the defaults are read from the profiles, whose
comments name the source of every value.
"""

from __future__ import annotations

from importlib.resources import files
from io import StringIO
from pathlib import Path

import pandas as pd

from micro_paper.errors import InputError
from micro_paper.paths import project_root
from micro_paper.workflow.parameters import read_profile

PROFILES = ("paper", "open", "bundled")
TAGS = ("paper", "released code", "ours")


def deviations() -> pd.DataFrame:
    """Return the known problems: problem (1 to 12), source (paper or released code), theirs, ours, where.

    `where` lists parameters and dotted names of the package, separated by spaces.
    """
    text = (files("micro_paper.paper") / "deviations.csv").read_text(encoding="utf-8")
    return pd.read_csv(StringIO(text), dtype=str, keep_default_na=False).astype({"problem": int})


def tag(comment: str) -> tuple[str, str]:
    """Return the source that the comment behind a value names, one of TAGS, and the rest of the comment.

    A comment that begins with neither the paper nor the released code is ours: "the paper does not say" is no source.
    """
    for name in TAGS:
        if comment == name or comment.startswith((f"{name} ", f"{name}:", f"{name};", f"{name},")):
            return name, comment.removeprefix(name).lstrip(" :;,")
    return "ours", comment


def comments(profile: str, root: Path | None = None) -> dict[str, str]:
    """Return {parameter: the comment behind its value} of `profiles/PROFILE.yaml`.

    Raises:
        InputError: a value has no comment.
    """
    values = read_profile(profile, root)
    path = (root or project_root()) / "profiles" / f"{profile}.yaml"
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, colon, rest = line.partition(":")
        if colon and name in values:
            found[name] = rest.partition("  # ")[2].strip()
    if bare := [name for name in values if not found.get(name)]:
        raise InputError(f"profiles/{profile}.yaml: {bare[0]} has no comment that names its source")
    return found


def defaults(root: Path | None = None) -> pd.DataFrame:
    """Return every parameter: parameter, its value in each of PROFILES, source, reason.

    Source and reason are those of the profile paper, followed by those of other profiles where these differ.
    """
    values = {profile: read_profile(profile, root) for profile in PROFILES}
    said = {profile: comments(profile, root) for profile in PROFILES}
    lines = []
    for name in values["paper"]:
        if name == "profile":
            continue
        tagged = {profile: tag(said[profile].get(name, "")) for profile in PROFILES if name in values[profile]}
        line = {"parameter": name} | {profile: values[profile].get(name) for profile in PROFILES}
        sources = _together({profile: source for profile, (source, _) in tagged.items()}, ", ")
        reasons = _together({profile: reason for profile, (_, reason) in tagged.items()}, "; ")
        lines.append(line | {"source": sources, "reason": reasons})
    return pd.DataFrame(lines)


def _together(said: dict[str, str], joint: str) -> str:
    """Return what all profiles say, once; where they differ, each text with the profiles that say it."""
    if len(set(said.values())) <= 1:
        return "".join(set(said.values()))
    groups: dict[str, list[str]] = {}
    for profile, text in said.items():
        groups.setdefault(text, []).append(profile)
    return joint.join(f"{text} ({', '.join(profiles)})" for text, profiles in groups.items() if text)


def block(root: Path | None = None) -> str:
    """Return the ledger as Markdown: known problems first, every default behind."""
    known = deviations()
    names = known["where"].str.replace("micro_paper.", "", regex=False).str.split()
    problems = pd.DataFrame(
        {
            "no.": known["problem"],
            "of": known["source"],
            "what it does": known["theirs"],
            "what we do": known["ours"],
            "where": [", ".join(f"`{name}`" for name in row) for row in names],
        }
    )
    table = defaults(root)
    for name in ("parameter", *PROFILES):
        table[name] = [f"`{value}`" if value != "" else "" for value in table[name]]
    count = table["source"].str.contains("ours").sum()
    return "\n\n".join(
        [
            f"<details><summary>Known problems of the paper and of its released code, and what we do: {len(problems)} "
            "rows</summary>",
            _markdown(problems),
            "</details>",
            f"<details><summary>Source of every default: {len(table)} parameters, {count} of them ours in some "
            "profile</summary>",
            _markdown(table),
            "</details>",
        ]
    )


def _markdown(frame: pd.DataFrame) -> str:
    rows = [list(frame.columns), ["---"] * len(frame.columns), *frame.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
