"""The README and the pages of docs/ state what the committed files hold, and link to what exists."""

import re

import pandas as pd
import pytest

from micro_paper.claims import evidence, judge
from micro_paper.errors import InputError
from micro_paper.experiments.attribution import LAST, MEAN, ONE_HOT, TRUE
from micro_paper.paths import project_root
from micro_paper.report.rows import glossary
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


def publish_rows(root, profile, sets, methods=readme.FRONT):
    """Write a profile's comparison: data set -> `micro` less every other row, or {row: that, "": less all others}."""
    lines = []
    for dataset, gap in sets.items():
        base = {"dataset": dataset, "supervision": "s", "low": 0.6, "high": 0.8}
        lines.append(base | {"method": "micro", "ours": 0.7})
        for method in methods:
            if method != "micro":
                less = gap.get(method, gap[""]) if isinstance(gap, dict) else gap
                verdict = "holds" if less > 0 else "does not" if less < 0 else "cannot tell"
                said = {"micro_minus_row": less, "minus_low": less, "minus_high": less, "verdict": verdict}
                lines.append(base | {"method": method, "ours": 0.7 - less} | said)
    folder = root / "results" / profile
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(lines).to_csv(folder / readme.TABLE, index=False)


def test_rows_of_the_readme_exist_and_are_said_once():
    for names in (readme.FIRST, readme.FRONT):
        assert set(names) <= set(glossary()) and len(set(names)) == len(names)
    assert {*readme.EXCEEDED, *readme.REFERENCES} <= set(readme.FRONT)
    with pytest.raises(KeyError):
        glossary()["single_tuned"]


@pytest.mark.parametrize(
    ("dataset", "may"),
    [("bundled-helpsteer", "decides"), ("bundled-rpr", "decides"), ("summeval", "decides"), ("ukp-mix", "decides")]
    + [("ukp-criteria", "companion"), ("bundled-rpr-aligned", "companion"), ("summeval-reversals", "control")]
    + [("wmt-mqm", "control"), ("unheard of", "cannot")],
)
def test_what_a_data_set_may_say(dataset, may):
    assert readme.standing(dataset) == may


CELLS = {("learned", LAST): 0.53, ("learned", MEAN): 0.61, ("learned", ONE_HOT): 0.64}
CELLS |= {(TRUE, LAST): 0.7, (TRUE, ONE_HOT): 0.91, ("random", ONE_HOT): 0.55}


def publish_attribution(root, values):
    """Write where accuracy is lost: (heads, reading) -> accuracy, and a probe of the last token."""
    folder = root / "results" / "bundled"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"dataset": "d", "heads": heads, "reading": reading, "attribute": attribute}
        | {"value": value - less, "low": value - less - 0.01, "high": value - less + 0.01}
        for (heads, reading), value in values.items()
        for attribute, less in (("average", 0.0), ("humour", 0.2))
    ]
    pd.DataFrame(lines).to_csv(folder / "table_00_attribution.csv", index=False)
    probe = {"dataset": "d", "reading": LAST, "value": 0.4, "low": 0.35, "high": 0.45, "chance": 0.1}
    pd.DataFrame([probe]).to_csv(folder / "table_00_readability.csv", index=False)


def test_the_diagnosis_is_computed_from_its_tables(tmp_path):
    assert readme.diagnosis_block(tmp_path) == ""
    publish_attribution(tmp_path, CELLS)
    assert readme.diagnosis_block(tmp_path) == (
        "- On d, all else as in `micro`, learned heads reach 0.530 [0.520, 0.540] by the last token, "
        "0.610 [0.600, 0.620] by the criterion's mean, 0.640 [0.630, 0.650] by its number; the true levels as heads "
        "0.700 [0.690, 0.710] by the last token, 0.910 [0.900, 0.920] by its number. A linear probe tells the "
        "criterion in 0.400 [0.350, 0.450] by the last token; the most frequent one is 0.100 of the pairs.\n"
        "- So on d true levels in place of learned heads bring +0.170 at the paper's reading and +0.270 with the "
        "criterion known; the criterion known in place of the last token brings +0.110 with learned heads and +0.210 "
        "with true levels."
    )
    (tmp_path / "results" / "bundled" / "table_00_readability.csv").unlink()
    assert readme.diagnosis_block(tmp_path) == ""  # half of it


@pytest.mark.parametrize("fault", ["cell", "column", "chance", "text"])
def test_damaged_tables_of_attribution_are_named(tmp_path, fault):
    publish_attribution(tmp_path, {at: value for at, value in CELLS.items() if fault != "cell" or at != (TRUE, LAST)})
    table = tmp_path / "results" / "bundled" / "table_00_attribution.csv"
    if fault == "column":
        pd.read_csv(table).drop(columns="value").to_csv(table, index=False)
    if fault == "chance":
        probes = table.with_name("table_00_readability.csv")
        pd.read_csv(probes).drop(columns="chance").to_csv(probes, index=False)
    if fault == "text":
        table.write_text("")
    with pytest.raises(InputError, match="table_00_attribution.csv .*publish profile bundled again"):
        readme.diagnosis_block(tmp_path)


def test_the_answer_is_computed_from_the_tables(tmp_path):
    assert readme.front_block(tmp_path) == readme.front_table(tmp_path) == readme.NOTHING
    assert exceeds(readme.deciding_rows(tmp_path), {"single": "one reward"}) == ""
    publish_rows(tmp_path, "bundled", {"bundled-rpr": 0.05})
    publish_rows(tmp_path, "open", {"ukp-mix": -0.04}, [row for row in readme.FRONT if row != "length"])
    block = readme.front_block(tmp_path)
    assert "| bundled-rpr (constructed) | ukp-mix (people) |" in block
    assert "| one Bradley-Terry reward | 0.650 [0.600, 0.800] | 0.740 [0.600, 0.800] |" in block
    assert "| the length of a response | 0.650 [0.600, 0.800] |  |" in block  # the second has no such row
    said = "on 1 of 2 data sets (bundled-rpr +0.050), and falls below it on ukp-mix."
    assert all(f"- MiCRo exceeds {text} {said}" in block for text in readme.EXCEEDED.values())
    assert "classifier of the criterion exceeds MiCRo on 1 of 2 data sets (ukp-mix +0.040)." in block
    assert "claims" not in block and "Not counted" not in block  # none are judged here, and both data sets count
    assert block.startswith(readme.front_table(tmp_path) + "\n\n- ")
    assert set(readme.committed_rows(tmp_path).profile) == {"bundled", "open"}


def test_companions_and_controls_are_named_and_not_counted(tmp_path):
    publish_rows(tmp_path, "open", {"ukp-mix": 0.02, "ukp-criteria": 0.03, "summeval-reversals": -0.02, "new": 0.04})
    block, pages = readme.front_block(tmp_path), readme.results_block(tmp_path)
    assert "| accuracy on unseen prompts | ukp-mix (people) |" in block
    assert block.count("on 1 of 1 data sets (ukp-mix +0.020).") == len(readme.EXCEEDED)
    named = "ukp-criteria (companion), summeval-reversals (control), new (cannot decide)"
    assert f"Not counted: {named}." in block and block.count("ukp-criteria") == 1
    assert set(readme.deciding_rows(tmp_path).dataset) == {"ukp-mix"}
    assert "**open, ukp-mix**: `micro`" in pages and "**open, ukp-criteria** (companion): `micro`" in pages


def test_both_single_rewards_must_be_exceeded(tmp_path):
    publish_rows(tmp_path, "bundled", {"bundled-helpsteer": 0.05, "bundled-rpr": {"single_exact": 0.0, "": 0.01}})
    publish_rows(tmp_path, "open", {"summeval": {"single": 0.0, "": 0.02}})
    assert "exceeds both single rewards on 1;" in readme.front_block(tmp_path)
    publish_rows(tmp_path, "bundled", {"bundled-helpsteer": -0.05, "bundled-rpr": 0.0})
    assert "exceeds both single rewards on 0;" in readme.front_block(tmp_path)
    publish_rows(tmp_path, "open", {"summeval": 0.02}, ["single", "random_heads"])
    publish_rows(tmp_path, "bundled", {"bundled-rpr": 0.02}, ["single"])
    block = readme.front_block(tmp_path)
    assert "both" not in block and "converged" not in block and "random heads on 1 of 1 data sets (summeval" in block


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


def test_what_peoples_own_labels_give_stands_for_people_alone(tmp_path):
    assert readme.people_lines(tmp_path) == []
    lines = [(20, "b", 20, 0.9, False), (50, "b", 50, 0.02, False), (50, "c", 50, 0.7, True)]
    table = pd.DataFrame(lines, columns=["people_with", "method", "labels", "gain", "control"])
    table = table.assign(low=table.gain, high=table.gain, noise_limit=0.01, n_people=90, metric="accuracy")
    for profile in ("open", "bundled"):
        folder = tmp_path / "results" / profile
        folder.mkdir(parents=True)
        named = table.assign(counts=[True, False, True], counts_uncorrected=True)
        named.to_csv(folder / "table_00_people_gains.csv", index=False)
    assert readme.people_lines(tmp_path) == [
        "- With 50 labels of each of 90 people 0 of 1 rows gain accuracy by Holm over rows and beyond their own noise "
        "(1 without Holm); the largest gain is `b` +0.020 [+0.020, +0.020], noise alone gives +0.010 at most. So do 1 "
        "of 1 controls."
    ]


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
