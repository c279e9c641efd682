"""Every table, figure and check of the paper stands in each published profile, or a note says why it cannot."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

from micro_paper.workflow import publishing

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ("bundled", "open")
FORMS = {"table": (".csv", ".md"), "figure": (".png", ".pdf")}


@dataclass(frozen=True)
class Item:
    """What the paper prints or promises: the files that hold it, all made by one notebook."""

    name: str
    notebook: str
    tables: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


def audit(*slugs: str) -> tuple[str, ...]:
    return tuple(f"table_00_audit_{slug}" for slug in slugs)


ITEMS = (
    Item("table 1", "10_paper_audit", ("table_01_methods",)),
    Item("table 2", "05_stage2", ("table_02_accuracy_helpsteer", "table_02c_beside_paper", "table_02d_differences")),
    Item("table 3", "05_stage2", ("table_03_accuracy_rpr",)),
    Item("table 4", "07_transfer", ("table_04_transfer",)),
    Item("table 5", "02_data", ("table_05_counts",)),
    Item("table 6", "02_data", ("table_06_contexts",)),
    Item("table 7", "04_stage1", ("table_07_heads_rpr",)),
    Item("table 8", "04_stage1", ("table_08_heads_helpsteer",)),
    Item("table 9", "06_ablations", ("table_09_three_attributes",)),
    Item("table 10", "08_rewardbench", ("table_10_sections", "table_10b_subsets", "table_10c_differences")),
    Item("table 11", "09_larger_backbone", ("table_11_deeper_rpr",)),
    Item("table 12", "09_larger_backbone", ("table_12_deeper_helpsteer",)),
    Item("figure 1", "00_start_here", figures=("figure_01_pipeline",)),
    Item("figure 2", "04_stage1", ("table_02b_best_heads",), ("figure_02_best_heads",)),
    Item("figure 3", "04_stage1", figures=("figure_03_router_weights",)),
    Item("figure 4", "06_ablations", ("table_00_budget",), ("figure_04_budget",)),
    Item("figure 5", "06_ablations", ("table_00_heads_sweep",), ("figure_05_heads",)),
    Item("figure 6", "06_ablations", ("table_00_heads_budget",), ("figure_06_heads_budget",)),
    Item(
        "Theorem 3.2",
        "01_theory",
        ("table_00_theory_bounds", "table_00_theory_split", "table_00_theory_sweeps", "table_00_evidence_01"),
        ("figure_00_theory_bounds", "figure_00_theory_sweeps"),
    ),
    Item("Algorithm 1", "01_theory", ("table_00_theory_regret", "table_00_theory_tau"), ("figure_00_theory_online",)),
    Item("safety audit", "13_heads_and_calibration", ("table_00_safety_heads", "table_00_safety_mask")),
    Item("head merging", "13_heads_and_calibration", ("table_00_merging",)),
    Item(
        "people",
        "14_people",
        ("table_00_people_agreement", "table_00_people_power", "table_00_people_curve", "table_00_people_gains"),
        ("figure_00_people",),
        ("results/{}/people_scores.csv",),
    ),
    Item(
        "audit of printed numbers",
        "10_paper_audit",
        audit("row_means", "copies", "gains", "fits", "forms", "errors", "orderings", "dimensions", "selection")
        + audit("leftovers", "conclusions"),
    ),
    Item("claims", "11_claims", ("table_00_claims",), ("figure_00_claims",), ("results/{}/claims.csv",)),
    Item("predictions of tables 2 and 3", "05_stage2", files=("results/{}/predictions.parquet",)),
)
# What a world cannot have, and the note that says so.
CANNOT = {
    "bundled": {"table 10": "table_10_not_applicable.md", "safety audit": "table_10_not_applicable.md"}
    | {f"table {n}": f"table_{n}_not_applicable.md" for n in (11, 12)}
}
# The data set of each table: where it is trained and tested, or tested only (table 4).
HELPSTEER, RPR = (
    {"bundled": "bundled-helpsteer", "open": "summeval"},
    {"bundled": "bundled-rpr", "open": "ukp-criteria"},
)
WORLDS = {
    "table_02_accuracy_helpsteer": HELPSTEER,
    "table_08_heads_helpsteer": HELPSTEER,
    "table_12_deeper_helpsteer": HELPSTEER,
    "table_03_accuracy_rpr": RPR,
    "table_04_transfer": RPR,
    "table_07_heads_rpr": RPR,
    "table_09_three_attributes": RPR,
    "table_11_deeper_rpr": RPR,
}


def files_of(item: Item, profile: str) -> list[str]:
    found = [f"results/{profile}/{stem}{end}" for stem in item.tables for end in FORMS["table"]]
    found += [f"figures/{profile}/{stem}{end}" for stem in item.figures for end in FORMS["figure"]]
    return found + [name.format(profile) for name in item.files]


def faults(item: Item, profile: str, root: Path) -> list[str]:
    """Return what is wrong with an item of a published profile, a sentence each."""
    if note := CANNOT.get(profile, {}).get(item.name):
        return note_faults(item, root / "results" / profile / note)
    producer = {}
    log = root / "results" / profile / "manifest.jsonl"
    if log.is_file():
        lines = map(json.loads, log.read_text().splitlines())
        producer = {entry["file"]: Path(line["notebook"]).stem for line in lines for entry in line["files"]}
    wrong = []
    for file in files_of(item, profile):
        path = root / file
        if not path.is_file() or not path.stat().st_size:
            wrong.append(f"{item.name}: {file} is missing or empty")
        elif producer.get(file) != item.notebook:
            wrong.append(f"{item.name}: {file} was made by {producer.get(file)}, not by {item.notebook}")
        elif path.suffix == ".csv":
            table = pd.read_csv(path)
            if not len(table):
                wrong.append(f"{item.name}: {file} has no rows")
            elif world := WORLDS.get(path.stem):
                own = {str(name).split(" -> ")[-1] for name in table["dataset"]}
                if own != {world[profile]}:
                    wrong.append(f"{item.name}: {file} is about {sorted(own)}, not about {world[profile]}")
    return wrong


def note_faults(item: Item, note: Path) -> list[str]:
    """A note says "does not apply", gives a reason of some length, and names what it is about."""
    text = note.read_text() if note.is_file() else ""
    heading, _, reason = text.partition("\n\n")
    if "does not apply" not in heading or len(reason.split()) < 8:
        return [f"{item.name}: {note.name} is missing or gives no reason"]
    about = item.name.split()[0] if item.name == "safety audit" else item.name.capitalize()
    return [] if about in text else [f"{item.name}: {note.name} is not about it"]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.name)
@pytest.mark.parametrize("profile", PROFILES)
def test_the_item_is_published(profile, item):
    assert faults(item, profile, ROOT) == []


@pytest.mark.long
@pytest.mark.parametrize("profile", PROFILES)
def test_the_published_profile_is_not_stale(profile):
    assert (ROOT / "results" / profile / "manifest.jsonl").is_file()
    assert publishing.stale(profile, ROOT) == []


def other_parameters(profile: str, root: Path) -> set[str]:
    """Return the published parameters that are not those of the profile's file; a notebook's own do not count."""
    stated = yaml.safe_load((root / "profiles" / f"{profile}.yaml").read_text())
    lines = (root / "results" / profile / "manifest.jsonl").read_text().splitlines()
    return {
        f"{Path(line['notebook']).stem}: {name} was {value!r}, the profile has {stated[name]!r}"
        for line in map(json.loads, lines)
        for name, value in line["parameters"].items()
        if name in stated and value != stated[name]
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_the_published_profile_has_the_parameters_of_its_file(profile):
    assert other_parameters(profile, ROOT) == set()


def test_every_number_of_the_paper_is_listed():
    names = [item.name for item in ITEMS]
    assert len(set(names)) == len(names)
    assert {f"table {i}" for i in range(1, 13)} | {f"figure {i}" for i in range(1, 7)} <= set(names)


# A broken copy must fail


@pytest.fixture
def copy(tmp_path) -> Path:
    for kind in ("results", "figures"):
        shutil.copytree(ROOT / kind / "bundled", tmp_path / kind / "bundled")
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    return tmp_path


def all_faults(root: Path, profile: str = "bundled") -> list[str]:
    return [fault for item in ITEMS for fault in faults(item, profile, root)]


NOTE = "results/bundled/table_10_not_applicable.md"


def test_every_file_counts(copy):
    """Any one file less is one fault, for the files of every item."""
    wanted = [f for item in ITEMS if item.name not in CANNOT["bundled"] for f in files_of(item, "bundled")]
    assert len(set(wanted)) == len(wanted) > 60
    for file in wanted:
        path = copy / file
        path.rename(path.with_suffix(".away"))
        assert any(f"{file} is missing" in fault for item in ITEMS for fault in faults_naming(item, file, copy))
        path.with_suffix(".away").rename(path)


def faults_naming(item: Item, file: str, root: Path) -> list[str]:
    return faults(item, "bundled", root) if file in files_of(item, "bundled") else []


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("results/bundled/table_09_three_attributes.csv", lambda text: text.splitlines(True)[0], "has no rows"),
        ("results/bundled/table_07_heads_rpr.csv", lambda text: "", "missing or empty"),
        (
            "results/bundled/table_03_accuracy_rpr.csv",
            lambda text: text.replace("bundled-rpr,", "bundled-rpr-balanced,"),
            "not about bundled-rpr",
        ),
        (
            "results/bundled/table_04_transfer.csv",
            lambda text: text.replace("-> bundled-rpr", "-> bundled-topics"),
            "not about bundled-rpr",
        ),
        (
            "results/bundled/manifest.jsonl",
            lambda text: text.replace("notebooks/07_transfer", "notebooks/05_stage2"),
            "made by 05_stage2, not by 07_transfer",
        ),
        (NOTE, lambda text: text.splitlines(True)[0] + "\nNo.\n", "gives no reason"),
        (NOTE, lambda text: text.replace("does not apply", "applies"), "gives no reason"),
        (NOTE, lambda text: text.replace("safety", "other"), "is not about it"),
    ],
)
def test_a_broken_item_is_found(copy, file, change, says):
    before = all_faults(copy)
    path = copy / file
    text = path.read_text()
    path.write_text(change(text))
    assert path.read_text() != text
    assert any(says in fault for fault in set(all_faults(copy)) - set(before))


def test_a_note_is_no_excuse_for_what_the_world_can_have(copy):
    for path in (copy / "results" / "bundled").glob("table_09*"):
        path.unlink()
    note = (copy / NOTE).read_text().replace("Table 10", "Table 9")
    (copy / "results" / "bundled" / "table_09_not_applicable.md").write_text(note)
    assert any(fault.startswith("table 9: ") for fault in all_faults(copy))


def test_a_changed_profile_is_found(copy):
    path = copy / "profiles" / "bundled.yaml"
    path.write_text(path.read_text().replace("\ntau_rpr: 0.0001 ", "\ntau_rpr: 0.001 "))
    found = other_parameters("bundled", copy)
    assert "05_stage2: tau_rpr was 0.0001, the profile has 0.001" in found
