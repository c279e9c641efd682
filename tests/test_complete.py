"""Every item that the paper shows is there for each published profile, and comes from the code as it stands."""

from pathlib import Path

import pandas as pd
import pytest

from micro_paper import artifacts
from micro_paper.paper_values import claims

ROOT = Path(__file__).parents[1]
PUBLISHED = sorted(p.parent.name for p in (ROOT / "results").glob("*/manifest.jsonl"))
# What the paper shows -> the files that carry it, below results/PROFILE or figures/PROFILE.
ITEMS = {
    "table 1": ["table_01_methods.csv"],
    "figure 1": ["figure_01_pipeline.png"],
    "figure 2": ["figure_02_best_heads.png", "table_02b_best_heads.csv"],
    "figure 3": ["figure_03_router_weights.png"],
    "table 2": ["table_02_accuracy_helpsteer.csv"],
    "table 3": ["table_03_accuracy_rpr.csv"],
    "table 4": ["table_04_transfer.csv"],
    "table 5": ["table_05_counts.csv"],
    "table 6": ["table_06_contexts.csv"],
    "figure 4": ["figure_04_budget.png", "table_00_budget.csv"],
    "figure 5": ["figure_05_heads.png", "table_00_heads_sweep.csv"],
    "figure 6": ["figure_06_heads_budget.png", "table_00_heads_budget.csv"],
    "tables 7 and 8": ["table_07_heads_rpr.csv", "table_08_heads_helpsteer.csv"],
    "table 9": ["table_09_three_attributes.csv"],
    "table 10": ["table_10_sections.csv"],
    "tables 11 and 12": ["table_11_deeper_rpr.csv", "table_12_deeper_helpsteer.csv"],
    "theorem 3.2": ["table_00_theory_bounds.csv", "figure_00_theory_bounds.png"],
    "algorithm 1": ["table_00_theory_regret.csv"],
    "section 8: safety audit": ["table_00_safety_heads.csv"],
    "appendix C.3: merging heads": ["table_00_merging.csv"],
    "claims": ["claims.csv"],
}

WITHOUT_NUMBER = {"table_00_safety_heads.csv": "table_10"}  # a world without table 10 has no safety pairs either


def missing(profile: str, root: Path = ROOT) -> list[str]:
    """Items of which a file is absent, unless a page says that this profile's data cannot give it."""
    found = []
    for item, files in ITEMS.items():
        for file in files:
            folder = root / ("figures" if file.startswith("figure") else "results") / profile
            number = WITHOUT_NUMBER.get(file, "_".join(file.split("_")[:2]))
            instead = folder / f"{number}_not_applicable.md"
            if not (folder / file).is_file() and (number.endswith("_00") or not instead.is_file()):
                found.append(f"{item}: {file}")
    return found


def test_profiles_are_published():
    assert {"bundled", "open"} <= set(PUBLISHED)


@pytest.mark.parametrize("profile", PUBLISHED)
def test_every_item_is_there_and_fresh(profile):
    assert missing(profile) == []
    assert artifacts.verify(profile) == []
    assert artifacts.stale(profile) == []


def test_an_absent_item_is_noticed(tmp_path):
    assert len(missing("none", tmp_path)) == sum(map(len, ITEMS.values()))


@pytest.mark.parametrize("profile", PUBLISHED)
def test_averages_are_means_of_their_rows(profile):
    for file in ("table_02_accuracy_helpsteer.csv", "table_03_accuracy_rpr.csv"):
        table = pd.read_csv(ROOT / "results" / profile / file)
        wide = table[table.metric == "accuracy"].pivot(index="method", columns="attribute", values="value")
        assert (wide["average"] - wide.drop(columns="average").mean(axis=1)).abs().max() < 2e-6


@pytest.mark.parametrize("profile", PUBLISHED)
def test_every_claim_has_a_verdict(profile):
    table = pd.read_csv(ROOT / "results" / profile / "claims.csv")
    assert table.id.tolist() == claims().id.tolist()
    assert set(table.verdict) | set(table.micro_plus_verdict) <= {"holds", "does not", "cannot tell"}
    assert table.why.notna().all()
