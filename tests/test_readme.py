"""The README and the pages of docs/ state what the committed files hold, and link to what exists."""

import re

import pandas as pd
import pytest

from micro_paper.claims import evidence, judge
from micro_paper.errors import InputError
from micro_paper.experiments.attribution import HEADS, LAST, MEAN, ONE_HOT, TRUE
from micro_paper.paths import project_root
from micro_paper.report.sentences import exceeds
from micro_paper.workflow import readme

PLACES = [(page, name) for page, names in readme.PAGES.items() for name in names]
DOCUMENTS = ["README.md", "CONTRIBUTING.md"]
DOCUMENTS += [
    f"{folder}/{p.name}" for folder in ("docs", "assignments") for p in (project_root() / folder).glob("*.md")
]


@pytest.mark.parametrize(("page", "name"), PLACES)
def test_the_pages_state_what_is_committed(page, name):
    text = (project_root() / page).read_text()
    assert readme.with_block(text, name, readme.BLOCKS[name](None), page) == text, "run `make readme`"


def test_every_block_has_a_page():
    assert sorted(name for _, name in PLACES) == sorted(readme.BLOCKS)


def dead_links(page, text):
    """Return the targets of links in a page of the checkout that are not there; web addresses are not looked up."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    folder = (project_root() / page).parent
    return [t for t in targets if "://" not in t and not (folder / t.partition("#")[0]).exists()]


@pytest.mark.parametrize("page", DOCUMENTS)
def test_links_lead_somewhere(page):
    text = (project_root() / page).read_text()
    assert dead_links(page, text) == []
    assert dead_links(page, text + "[x](no/such.file)") == ["no/such.file"]


def test_the_readme_is_a_page_that_one_reads():
    text = (project_root() / "README.md").read_text()
    assert len(text.encode()) < 12_000 and "![" in text
    for page in DOCUMENTS[1:]:
        assert f"]({page})" in text, f"README.md does not lead to {page}"


def publish_beside(root, profile, gaps, without=()):
    """Write a profile's comparison: data set -> micro less every other row of FRONT, or {row: that, "": else}."""
    lines = []
    for dataset, gap in gaps.items():
        base = {"dataset": dataset, "supervision": "s", "low": 0.6, "high": 0.8}
        lines.append(base | {"method": "micro", "ours": 0.7})
        for method in set(readme.FRONT) - {"micro", *without}:
            less = gap.get(method, gap[""]) if isinstance(gap, dict) else gap
            verdict = "holds" if less > 0 else "does not" if less < 0 else "cannot tell"
            said = {"micro_minus_row": less, "minus_low": less, "minus_high": less, "verdict": verdict}
            lines.append(base | {"method": method, "ours": 0.7 - less} | said)
    folder = root / "results" / profile
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(lines).to_csv(folder / readme.TABLE, index=False)


def test_the_answer_is_computed_from_the_tables(tmp_path):
    assert readme.front_block(tmp_path) == readme.front_table(tmp_path) == readme.NOTHING
    assert exceeds(readme.committed_rows(tmp_path), {"single": "one reward"}) == ""
    assert readme.deciding_rows(tmp_path).empty
    publish_beside(tmp_path, "bundled", {"bundled-rpr": 0.05})
    publish_beside(tmp_path, "open", {"summeval": -0.04})
    block = readme.front_block(tmp_path)
    assert "| bundled-rpr (constructed) | summeval (people) |" in block
    assert "| one Bradley-Terry reward | 0.650 [0.600, 0.800] | 0.740 [0.600, 0.800] |" in block
    assert (
        "one Bradley-Terry reward of as many steps on 1 of 2 data sets (bundled-rpr +0.050); it is below on 1." in block
    )
    assert "Above MiCRo: MiCRo+ with the same labels on 1 (below on 1)," in block
    assert block.count("\n- ") == len(readme.EXCEEDED) + 2
    assert "claims" not in block and "Not counted" not in block
    assert block.startswith(readme.front_table(tmp_path) + "\n\n- ")
    assert set(readme.committed_rows(tmp_path).profile) == {"bundled", "open"}


def test_what_decides_nothing_is_shown_and_not_counted(tmp_path):
    publish_beside(tmp_path, "open", {"summeval": 0.02, "summeval-reversals": 0.03, "ukp-criteria": -0.01})
    block = readme.front_block(tmp_path)
    assert "| summeval (people) | summeval-reversals (people, control) | ukp-criteria (people, companion) |" in block
    lines = [line for line in block.splitlines() if line.startswith("- ")]
    *counted, control, companion = lines
    assert all("reversals" not in line and "ukp" not in line for line in counted)
    assert sum("on 1 of 1 data sets (summeval +0.020)." in x for x in counted) == len(readme.EXCEEDED)
    assert "MiCRo+ with the same labels on 0 (below on 1)" in counted[-1]
    assert control.startswith("- Not counted: summeval-reversals (control): both labels of every pair")
    assert companion.startswith("- Not counted: ukp-criteria (companion): given the justification")
    assert set(readme.deciding_rows(tmp_path).dataset) == {"summeval"}
    assert set(readme.committed_rows(tmp_path).dataset) > {"summeval"}
    publish_beside(tmp_path, "bundled", {"unheard-of": 0.02})
    assert "| unheard-of (constructed, not counted) |" in readme.front_table(tmp_path)


def test_both_single_rewards_must_be_exceeded(tmp_path):
    publish_beside(tmp_path, "bundled", {"bundled-helpsteer": 0.05, "bundled-rpr": {"single_exact": 0.0, "": 0.01}})
    publish_beside(tmp_path, "open", {"summeval": {"single": 0.0, "": 0.02}})
    block = readme.front_block(tmp_path)
    assert "exceeds one that has converged on 2 of 3 data sets (bundled-helpsteer +0.050; summeval +0.020)." in block
    assert "exceeds both on 1; above the first alone" in block
    publish_beside(tmp_path, "bundled", {"bundled-helpsteer": -0.05, "bundled-rpr": 0.0})
    assert "exceeds both on 0; above the first alone" in readme.front_block(tmp_path)


def test_a_row_that_a_table_lacks_leaves_its_place_empty(tmp_path):
    publish_beside(tmp_path, "bundled", {"bundled-rpr": 0.05}, without=("single_exact", "length"))
    publish_beside(tmp_path, "open", {"summeval": 0.02}, without=("single_exact",))
    block = readme.front_block(tmp_path)
    assert "| the length of a response |  | 0.680 [0.600, 0.800] |" in block
    assert "one Bradley-Terry reward, converged" not in block
    assert "one that has converged" not in block and "exceeds both" not in block


def publish_attribution(root, values, probes, dataset="bundled-rpr"):
    """Write the tables of attribution: (heads, reading) -> accuracy, and reading -> share that a probe tells."""
    folder = root / "results" / readme.DIAGNOSED
    folder.mkdir(parents=True, exist_ok=True)
    ends = {"low": 0.5, "high": 0.9, "dataset": dataset}
    cells = [ends | {"heads": h, "reading": r, "attribute": "average", "value": v} for (h, r), v in values.items()]
    cells += [cell | {"attribute": "humor", "value": 0.999} for cell in cells]
    pd.DataFrame(cells).to_csv(folder / readme.ATTRIBUTION, index=False)
    lines = [ends | {"reading": read, "value": value, "chance": 0.125} for read, value in probes.items()]
    pd.DataFrame(lines).to_csv(folder / readme.READABILITY, index=False)


CELLS = {("learned", LAST): 0.578, ("learned", MEAN): 0.582, ("learned", ONE_HOT): 0.589}
CELLS |= {(TRUE, LAST): 0.592, (TRUE, MEAN): 0.613, (TRUE, ONE_HOT): 0.681}
PROBES = {LAST: 0.324, MEAN: 0.671, ONE_HOT: 1.0}


def test_where_accuracy_is_lost_is_computed_from_the_tables(tmp_path):
    assert readme.diagnosis_block(tmp_path) == ""
    publish_attribution(tmp_path, CELLS, PROBES)
    assert readme.diagnosis_block(tmp_path) == ""  # the oracle is not published
    publish_beside(tmp_path, "bundled", {"bundled-rpr": {"oracle_attribute_exact": -0.123, "": 0.0}})
    block = readme.diagnosis_block(tmp_path)
    assert {"learned", TRUE} <= set(HEADS)
    assert "on bundled-rpr" in block and "the oracle 0.823." in block
    assert "the learned heads reach 0.578, 0.582, 0.589, and the true levels" in block
    assert "as heads 0.592, 0.613, 0.681;" in block
    assert "in 0.324, 0.671 of them (chance 0.125)" in block
    assert "the heads lose 0.014 at the paper's reading and 0.092 with the criterion known" in block
    assert "the reading loses 0.011 with the learned heads and 0.089 with the true levels" in block
    assert "together they lose 0.103." in block
    without = {cell: value for cell, value in CELLS.items() if MEAN not in cell}
    publish_attribution(tmp_path, without, PROBES)
    assert "0.613" not in readme.diagnosis_block(tmp_path)


@pytest.mark.parametrize("fault", ["cell", "probe", "dataset", "column", "text"])
def test_damaged_tables_of_attribution_are_named(tmp_path, fault):
    publish_beside(tmp_path, "bundled", {"bundled-rpr": 0.0})
    cells = {k: v for k, v in CELLS.items() if fault != "cell" or k != (TRUE, ONE_HOT)}
    probes = {k: v for k, v in PROBES.items() if fault != "probe" or k != LAST}
    publish_attribution(tmp_path, cells, probes, "another" if fault == "dataset" else "bundled-rpr")
    table = tmp_path / "results" / "bundled" / readme.ATTRIBUTION
    if fault == "column":
        pd.read_csv(table).drop(columns="value").to_csv(table, index=False)
    if fault == "text":
        table.write_text("")
    with pytest.raises(InputError, match="table_00_attribution.csv.*publish profile bundled again"):
        readme.diagnosis_block(tmp_path)


def test_the_block_holds_the_numbers_of_the_table(tmp_path):
    folder = tmp_path / "results" / "open"
    folder.mkdir(parents=True)
    base = {"dataset": "d", "low": 0.6, "high": 0.8}
    pd.DataFrame(
        [
            base | {"method": "micro", "supervision": "s", "ours": 0.7},
            base
            | {"method": "single", "supervision": "binary labels", "ours": 0.65, "micro_minus_row": 0.05}
            | {"minus_low": 0.01, "minus_high": 0.0912, "verdict": "holds"},
        ]
    ).to_csv(folder / readme.TABLE, index=False)
    block = readme.results_block(tmp_path)
    assert "`micro` 0.700 [0.600, 0.800]" in block and "1 holds, 0 does not, 0 cannot tell" in block
    assert "| `single` | 0.650 [0.600, 0.800] | +0.050 [+0.010, +0.091] | holds | B |" in block
    assert "No profile is published yet" in readme.results_block(tmp_path / "results")


def publish_claims(root, profile, verdicts, plus):
    """Write a claims.csv with these verdicts on the first claims; the others cannot be told."""
    judged = judge.judge(pd.DataFrame(columns=[*evidence.COLUMNS, *judge.SOURCE_COLUMNS]), profile)
    judged.loc[: len(verdicts) - 1, "verdict"] = verdicts
    judged.loc[: len(plus) - 1, "micro_plus_verdict"] = plus
    folder = root / "results" / profile
    folder.mkdir(parents=True)
    judged.to_csv(folder / "claims.csv", index=False)


def test_the_claims_are_counted_for_each_profile(tmp_path):
    assert "No profile has judged the claims yet" in readme.claims_block(tmp_path)
    publish_claims(tmp_path, "open", ["holds", "holds", "does not"], ["does not"])
    block = readme.claims_block(tmp_path)
    assert "| open | `micro` | 2 | 1 | 42 |" in block and "| open | `micro_plus` | 0 | 1 | 44 |" in block
    assert "constructed" not in block
    publish_claims(tmp_path, "bundled", ["cannot tell", "holds"], [])
    block = readme.claims_block(tmp_path)
    assert "| bundled | `micro` | 1 | 0 | 44 |" in block and "`bundled` is constructed" in block
    line = next(row for row in block.splitlines() if row.startswith("| C01 "))
    assert line.endswith("| cannot tell | cannot tell | holds | does not |")  # bundled, then open
    assert block.count("\n| C") == 45


@pytest.mark.parametrize("form", ["none", "{end} {begin}", "{begin} {begin} {end}", "{begin} {end} {end}", "{begin}"])
@pytest.mark.parametrize("name", readme.BLOCKS)
def test_missing_markers_are_named(form, name):
    begin, end = readme.markers(name)
    with pytest.raises(InputError, match=f"page.md needs .*{name}: begin.*once each and in this order"):
        readme.with_block(form.format(begin=begin, end=end), name, "block", "page.md")


def test_a_block_touches_its_own_place_only():
    text = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb <!-- y: begin -->\nkept\n<!-- y: end -->"
    assert readme.with_block(text, "x", "new", "page.md") == text.replace("old", "new")


def test_refresh_writes_every_block(tmp_path):
    (tmp_path / "profiles").symlink_to(project_root() / "profiles")
    (tmp_path / "docs").mkdir()
    for page, names in readme.PAGES.items():
        blocks = "".join("\n".join(readme.markers(name)) + "\n" for name in names)
        (tmp_path / page).write_text(f"head\n{blocks}tail\n")
    publish_claims(tmp_path, "open", ["holds"], [])
    readme.refresh(tmp_path)
    texts = [(tmp_path / page).read_text() for page in readme.PAGES]
    assert all(text.startswith("head\n") and text.endswith("tail\n") for text in texts)
    assert "| open | `micro` | 1 | 0 | 44 |" in texts[1] and "| `alpha` | `0.5` |" in texts[2]
    readme.refresh(tmp_path)
    assert [(tmp_path / page).read_text() for page in readme.PAGES] == texts
