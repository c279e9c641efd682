"""Verdicts on the claims: each rule on made evidence, what is refused, and the check of committed verdicts."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml

from micro_paper import files
from micro_paper.__main__ import main
from micro_paper.claims import bench as of_bench
from micro_paper.claims import evidence, judge, protocol
from micro_paper.claims import stage1 as of_stage1
from micro_paper.claims import stage2 as of_stage2
from micro_paper.claims import sweeps as of_sweeps
from micro_paper.claims import theory as of_theory
from micro_paper.claims import transfer as of_transfer
from micro_paper.errors import InputError, MissingError
from micro_paper.intervals import Interval
from micro_paper.paper import values as paper_values
from micro_paper.paths import project_root
from micro_paper.report import plots_paper
from micro_paper.workflow import claims_files, manifest
from micro_paper.workflow import claims_files as claims_committed
from micro_paper.workflow.artifacts import Artifacts, publish

ROOT = project_root()
HOLDS, DOES_NOT, CANNOT = "holds", "does not", "cannot tell"


PLAN = protocol.read()
# Data sets that may decide these claims, and one reference of each: the rules are tried out there.
DATA = {"C10": "rpr", "C05": "simulation", "C04": "simulation", "C22": "bundled-rpr", "C45": "bundled-rpr"}


def part(claim, kind, low, high, method="micro", dataset="", name="a part", printed=np.nan, n_runs=5, **more):
    found = Interval((low + high) / 2, low, high, 40, n_runs=5, free=100)
    return of_claim(claim, kind, found, method, dataset, name, n_runs=n_runs, printed=printed, **more)


def of_claim(claim, kind, found, method="micro", dataset="", name="a part", **more):
    more = {"reference": (PLAN.measures[claim].references or ("",))[0], "plan": PLAN} | more
    dataset = dataset or DATA.get(claim, "bundled-helpsteer")
    return evidence.row(claim, method, dataset, name, kind, found, **more)


def gathered(rows, backbone="smollm2"):
    return evidence.frame(rows).assign(file="table_00_evidence_05.csv", notebook="05_stage2", backbone=backbone)


def judged(*rows, profile="open", backbone="smollm2", claim=None):
    table = judge.judge(gathered(rows, backbone), profile).set_index("id")
    return table.loc[claim or rows[0]["claim"]]


@pytest.mark.parametrize(
    ("claim", "kind", "low", "high", "verdict"),
    [
        ("C05", "identity", 1e-9, 1e-9, HOLDS),
        ("C05", "identity", 2e-6, 2e-6, DOES_NOT),
        ("C45", "ordering", 0.001, 0.2, HOLDS),
        ("C45", "ordering", -0.2, -0.001, DOES_NOT),
        ("C45", "ordering", -0.001, 0.2, CANNOT),
        ("C37", "up", 0.001, 0.2, HOLDS),
        ("C31", "up", -0.2, -0.1, DOES_NOT),
        ("C31", "up", -0.009, 0.009, DOES_NOT),
        ("C31", "up", -0.02, 0.03, CANNOT),
        ("C06", "down", -0.2, -0.001, HOLDS),
        ("C06", "down", 0.001, 0.2, DOES_NOT),
        ("C06", "down", -0.009, 0.009, DOES_NOT),
        ("C36", "flat", -0.009, 0.009, HOLDS),
        ("C37", "up", -0.009, 0.009, CANNOT),  # its unit is a doubling of K: flat within .003
        ("C37", "up", -0.0029, 0.0029, DOES_NOT),
        ("C31", "flat", 0.02, 0.03, DOES_NOT),
        ("C31", "flat", 0.0, 0.03, CANNOT),
        ("C36", "equivalence", -0.019, 0.019, HOLDS),
        ("C38", "equivalence", -0.019, 0.019, HOLDS),
        ("C38", "equivalence", -0.03, -0.021, DOES_NOT),
        ("C38", "equivalence", -0.03, 0.01, CANNOT),
    ],
)
def test_each_rule(claim, kind, low, high, verdict):
    row = judged(part(claim, kind, low, high))
    assert row.verdict == verdict and row.n_runs == 5
    assert row.micro_plus_verdict == CANNOT and "no result of micro_plus" in row.why


PAPER = {"profile": "paper", "backbone": judge.PAPER_BACKBONE}


@pytest.mark.parametrize(
    ("low", "high", "dataset", "where", "verdict"),
    [
        (0.90, 0.93, "rpr", PAPER, HOLDS),
        (0.925, 0.94, "rpr", PAPER, HOLDS),  # .921 is inside the interval widened by .01
        (0.935, 0.94, "rpr", PAPER, DOES_NOT),
        (0.90, 0.93, "rpr", PAPER | {"backbone": f"{judge.PAPER_BACKBONE}@0123abc"}, HOLDS),  # its revision pinned
        (0.90, 0.93, "helpsteer2", PAPER, CANNOT),
        (0.90, 0.93, "rpr", PAPER | {"profile": "open"}, CANNOT),
        (0.90, 0.93, "rpr", PAPER | {"backbone": "smollm2"}, CANNOT),
        (0.20, 0.21, "summeval-reversals", {"profile": "open", "backbone": "smollm2"}, CANNOT),
    ],
)
def test_a_printed_value_is_compared_with_its_own_data_and_backbone_only(low, high, dataset, where, verdict):
    row = judged(part("C10", "value", low, high, dataset=dataset, printed=0.921), **where)
    assert row.verdict == verdict
    assert f"[{low:.3f}, {high:.3f}], printed 0.921" in row.ours
    assert ("ours is shown, not compared" in row.why) == (verdict == CANNOT)


def test_the_paper_profile_has_the_backbone_and_data_of_the_values():
    values = yaml.safe_load((ROOT / "profiles" / "paper.yaml").read_text())
    assert values["backbone"] == judge.PAPER_BACKBONE and values["profile"] == judge.PAPER_PROFILE
    assert {"RPR, 3B": values["rpr_like"], "HelpSteer2, 3B": values["helpsteer_like"]} == judge.PAPER_DATA


GOOD, BAD, OPEN = (0.1, 0.2), (-0.2, -0.1), (-0.1, 0.2)


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([GOOD, GOOD], HOLDS),
        ([GOOD, BAD], DOES_NOT),
        ([OPEN, BAD], DOES_NOT),
        ([GOOD, OPEN], CANNOT),
    ],
)
def test_all_parts_must_hold(parts, verdict):
    rows = [part("C45", "ordering", *ends, name=f"part {i}") for i, ends in enumerate(parts)]
    assert judged(*rows).verdict == verdict
    assert judged(*rows[::-1]).verdict == verdict
    worlds = ("bundled-rpr", "bundled-helpsteer")
    across = [part("C45", "ordering", *ends, dataset=world) for world, ends in zip(worlds, parts, strict=True)]
    row = judged(*across)
    assert row.verdict == verdict
    assert "bundled-rpr: " in row.why and "bundled-helpsteer: " in row.why  # which data set says what


def weak(claim, name, dataset="", sign=1, method="micro"):
    """A part whose p-value lies a little below .05: alone it decides."""
    found = Interval(sign * 0.1, sign * 0.1 - 0.098, sign * 0.1 + 0.098, 40, n_runs=5, free=100)
    return of_claim(claim, "ordering", found, method, dataset, name, n_runs=25)


def test_several_parts_are_adjusted_by_holm():
    assert judged(weak("C45", "alone")).verdict == HOLDS and judged(weak("C45", "alone", sign=-1)).verdict == DOES_NOT
    strong = part("C45", "ordering", 0.1, 0.2, name="strong")
    assert judged(weak("C45", "weak"), strong).verdict == HOLDS  # the larger p-value is not multiplied
    two = [weak("C45", "one"), weak("C45", "two")]
    assert judged(*two).verdict == CANNOT
    apart = [weak("C45", "one"), weak("C45", "one", dataset="bundled-helpsteer")]
    assert judged(*apart).verdict == CANNOT  # over data sets too
    others = [weak("C45", "one"), weak("C45", "one", method="micro_plus")]
    assert judged(*others).verdict == judged(*others).micro_plus_verdict == HOLDS  # each method has its own parts
    wrong = judged(weak("C45", "one", sign=-1), weak("C45", "two"), weak("C45", "three"))
    assert wrong.verdict == CANNOT


@pytest.mark.parametrize(("n_runs", "verdict"), [(1, CANNOT), (2, HOLDS)])
def test_parts_over_prompts_alone_decide_nothing(n_runs, verdict):
    row = judged(of_claim("C45", "ordering", Interval(0.1, 0.05, 0.15, 40, n_runs=n_runs, free=39), n_runs=5))
    assert row.verdict == verdict
    assert ("one run of each pair, so that its interval does not cover runs" in row.why) == (verdict == CANNOT)


def test_a_deciding_part_is_named_with_its_effect():
    rows = [part("C45", "ordering", *ends, name=name) for ends, name in ((GOOD, "fine"), (BAD, "micro less single"))]
    row = judged(*rows)
    assert "1 of 2 parts, micro less single -0.150 [-0.200, -0.100]" in row.why and "fine" not in row.why
    assert "fine +0.150 [+0.100, +0.200]; micro less single -0.150 [-0.200, -0.100]" in row.ours
    many = judged(*[part("C45", "ordering", *GOOD, name=f"p{i}") for i in range(5)], *rows)
    assert "7 parts: 6 holds, 1 does not; from -0.150" in many.ours and "1 of 7 parts" in many.why


def test_evidence_of_any_method_counts_for_both():
    row = judged(part("C06", "down", -0.2, -0.1, method="any"))
    assert (row.verdict, row.micro_plus_verdict) == (HOLDS, HOLDS)


def test_the_methods_are_judged_apart():
    row = judged(part("C45", "ordering", *GOOD), part("C45", "ordering", *BAD, method="micro_plus"))
    assert (row.verdict, row.micro_plus_verdict) == (HOLDS, DOES_NOT)
    assert "-0.150" not in row.ours  # the verdict on micro comes first, with its own values


def test_a_method_is_not_judged_by_shared_parts_alone():
    """Where micro has a part of its own, what both share is not all of the claim for micro_plus; and the reverse."""
    shared = part("C36", "down", -0.2, -0.1, method="any", name="shared")
    row = judged(shared, part("C36", "equivalence", 0, 0.001, name="own"))
    assert (row.verdict, row.micro_plus_verdict) == (HOLDS, CANNOT)
    row = judged(shared, part("C36", "equivalence", 0, 0.001, method="micro_plus", name="own"))
    assert (row.verdict, row.micro_plus_verdict) == (CANNOT, HOLDS)
    assert "no result of micro" in row.why
    row = judged(part("C38", "equivalence", 0, 0.001, method="micro_plus"))
    assert (row.verdict, row.micro_plus_verdict, row.n_runs) == (CANNOT, HOLDS, 0)
    assert row.ours.startswith("micro_plus: ")


def test_every_claim_has_a_row_and_a_reason():
    empty = pd.DataFrame(columns=[*evidence.COLUMNS, *judge.SOURCE_COLUMNS])
    table = judge.judge(empty, "open")
    assert list(table.columns) == list(judge.COLUMNS) and table["id"].tolist() == [f"C{i:02d}" for i in range(1, 46)]
    assert (table[["verdict", "micro_plus_verdict"]] == CANNOT).all(axis=None) and (table["n_runs"] == 0).all()
    of_runs = table["id"].isin(["C36", "C38"])  # what they are about is there in some runs only
    assert table["why"].where(~of_runs).dropna().str.startswith("this profile has no result on ").all()
    assert table["why"][of_runs].eq("fewer than 3 runs have what it is about").all()
    assert set(judge.LACKS) == set(paper_values.claims()["needs"])
    known = paper_values.claims()
    assert table[list(known.columns)].equals(known[list(known.columns)])


def test_the_source_of_the_evidence_is_named():
    rows = [part("C45", "ordering", *GOOD, dataset=name) for name in ("first", "second")]
    assert judged(*rows).source == "05_stage2, table_00_evidence_05 (first, second)"


def test_numbers_near_zero_keep_their_sign():
    row = judged(part("C37", "up", 0.0001, 0.0003))
    assert "+2e-04 [+1e-04, +3e-04]" in row.ours and row.verdict == HOLDS
    assert "below 1e-6" in judged(part("C05", "identity", 3e-13, 3e-13)).ours  # no rounding noise in a committed text


def write(path, rows, **changes):
    """Write an evidence table with cells of its first row changed."""
    table = evidence.frame(rows).astype(object)
    for column, value in changes.items():
        table.loc[0, column] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"claim": "C99"}, "no claim 'C99'"),
        ({"claim": "c05"}, "no claim 'c05'. Did you mean"),
        ({"claim": ""}, "no claim ''"),
        ({"method": "micro+"}, "method must be one of"),
        (
            {"kind": "up"},
            "C21 is judged by ordering, so kind must be ordering or control or readable or shown",
        ),
        ({"kind": "wrong"}, "kind must be ordering"),
        ({"row": "micro_plus"}, "row is 'micro_plus', measures.csv says micro"),
        ({"reference": "hyre"}, "reference is 'hyre', measures.csv says single, "),
        ({"kind": "control"}, "reference is 'single', measures.csv says single_exact"),
        ({"kind": "readable"}, "row is 'micro', measures.csv says none"),
        ({"free": ""}, "free must be the degrees of freedom"),
        ({"free": 0}, "free must be the degrees of freedom"),
        ({"n_prompts": 1}, "n_prompts must be at least 2"),
        ({"n_prompts": -1}, "n_prompts must be at least 2"),
        ({"claim": "C31"}, "C31 is judged by trend"),
        ({"value": ""}, "must be finite"),
        ({"low": "nan"}, "must be finite"),
        ({"high": np.inf}, "must be finite"),
        ({"low": 0.5, "high": 0.4}, "low <= high"),
        ({"n_runs": 0}, "n_runs must be a whole number >= 1"),
        ({"n_runs": 2.5}, "n_runs must be a whole number"),
        ({"n_seeds": 0}, "n_seeds must be a whole number >= 1"),
        ({"n_runs": ""}, "n_runs must be a whole number"),
        ({"part": "the same"}, "is there twice"),
    ],
)
def test_wrong_evidence_is_refused_with_its_file(tmp_path, changes, says):
    path = tmp_path / "results" / "open" / "table_00_evidence_05.csv"
    rows = [part("C21", "ordering", *GOOD), part("C21", "ordering", *GOOD, name="the same")]
    claims_files.read_evidence(write(path, rows))
    write(path, rows, **changes)
    with pytest.raises(InputError, match=r"table_00_evidence_05.csv, row [12]: ") as error:
        claims_files.gather("open", tmp_path)
    assert says in str(error.value)


@pytest.mark.parametrize("text", ["", "claim,method\nC05,micro\n", "a\nb,c,d\n"])
def test_what_is_no_evidence_table_is_refused(tmp_path, text):
    path = tmp_path / "table_00_evidence_05.csv"
    path.write_text(text)
    with pytest.raises(InputError, match="table_00_evidence_05.csv (cannot be read|must have the columns)"):
        claims_files.read_evidence(path)


@pytest.mark.parametrize("printed", ["", ".921 or so"])
def test_a_value_without_the_printed_one_is_refused(tmp_path, printed):
    path = tmp_path / "table_00_evidence_04.csv"
    write(path, [part("C10", "value", 0.9, 0.93, printed=0.921)], printed=printed)
    with pytest.raises(InputError, match="needs the printed value"):
        claims_files.read_evidence(path)


def test_smoke_judges_two_identities_and_reads_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(claims_files, "gather", None)
    monkeypatch.setattr(claims_files, "read_evidence", None)
    table = judge.judge(claims_files.found("smoke", 0, tmp_path), "smoke")
    assert table.loc[table["verdict"] == HOLDS, "id"].tolist() == ["C04", "C05"]
    assert (table["verdict"] == table["micro_plus_verdict"]).all() and table["ours"].str.contains(
        "below 1e-6"
    ).sum() == 2
    assert judge.judge(claims_files.found("smoke", 7, tmp_path), "smoke").equals(table)  # the seed shows nowhere
    assert claims_files.evidence_files("smoke", tmp_path) == {}


EVIDENCE = [
    part("C45", "ordering", *GOOD),
    part("C45", "ordering", *BAD, method="micro_plus"),
    part("C04", "identity", 0, 0, method="any", dataset="random instances", n_runs=1),
]


@pytest.fixture
def built(checkout, make_notebook):
    """A checkout whose profile open has run notebook 05 (it writes evidence), and may run 11."""
    make_notebook(checkout / "notebooks" / "05_stage2.ipynb", 'out.table(found, "00", "evidence_05", "")')
    make_notebook(checkout / "notebooks" / "11_claims.ipynb", "out")
    out = Artifacts("open", "05_stage2", {"backbone": "smollm2"})
    out.table(evidence.frame(EVIDENCE), "00", "evidence_05", "Evidence.")
    out.done()
    return checkout


@pytest.fixture
def published(built):
    """The same after notebook 11 and publication."""
    out = Artifacts("open", "11_claims", {}, inputs=claims_files.evidence_files("open"))
    table = judge.judge(claims_files.found("open", 0), "open")
    out.frame(table, "claims", "Claims.")
    out.done()
    publish("open")
    return built


def test_the_evidence_of_a_build_is_gathered(built):
    table = claims_files.found("open", 0)
    assert set(table["notebook"]) == {"05_stage2"} and set(table["backbone"]) == {"smollm2"}
    assert len(table) == 3 and list(claims_files.evidence_files("open")) == ["table_00_evidence_05"]
    row = judge.judge(table, "open").set_index("id").loc["C45"]
    assert (row.verdict, row.micro_plus_verdict) == (HOLDS, DOES_NOT)


def test_an_unfinished_notebook_is_named(built, make_notebook):
    make_notebook(built / "notebooks" / "06_ablations.ipynb", 'out.table(found, "00", "evidence_06", "")')
    with pytest.raises(MissingError, match="no evidence yet of 06_ablations"):
        claims_files.gather("open", built=True)
    Artifacts("open", "05_stage2", {})  # starts again and does not finish
    with pytest.raises(MissingError, match="05_stage2, 06_ablations"):
        claims_files.gather("open", built=True)


def test_a_changed_or_left_file_of_a_build_is_refused(built):
    folder = built / "build" / "open" / "results"
    path = folder / "table_00_evidence_05.csv"
    text = path.read_text()
    shutil.copy(path, folder / "table_00_evidence_07.csv")
    with pytest.raises(InputError, match="table_00_evidence_07.csv is left from an unfinished run"):
        claims_files.gather("open", built=True)
    (folder / "table_00_evidence_07.csv").unlink()
    path.write_text(text.replace("0.15", "0.16"))
    with pytest.raises(InputError, match="table_00_evidence_05.csv is left from an unfinished run, or was changed"):
        claims_files.gather("open", built=True)


def tamper(root, name, change, profile="open"):
    """Change a published file together with its manifest line, so that only the claims' own check can find it."""
    path = root / "results" / profile / name
    path.write_text(change(path.read_text()))
    log = root / "results" / profile / "manifest.jsonl"
    lines = manifest.read_lines(log)
    for entry in (entry for line in lines for entry in line["files"]):
        if entry["file"].endswith(f"/{name}"):
            entry["sha256"] = files.sha256(path.read_bytes())
    log.write_bytes(manifest.to_lines(lines))


def turn(claim, column, value):
    def change(text):
        from io import StringIO

        table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
        table.loc[table["id"] == claim, column] = value
        return table.to_csv(index=False, lineterminator="\n")

    return change


def drop(claim):
    return lambda text: "".join(line for line in text.splitlines(True) if not line.startswith(f"{claim},"))


def test_verify_accepts_what_follows_from_the_evidence(published, capsys):
    assert main(["verify"]) == 0
    assert "[ok] results/open/claims.csv follows from its evidence" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("claims.csv", turn("C45", "verdict", DOES_NOT), ("C45", "verdict is 'does not'", "gives 'holds'")),
        (
            "claims.csv",
            turn("C45", "micro_plus_verdict", HOLDS),
            ("C45", "micro_plus_verdict is 'holds'", "'does not'"),
        ),
        ("claims.csv", turn("C30", "verdict", HOLDS), ("C30", "verdict is 'holds'", "gives 'cannot tell'")),
        ("claims.csv", turn("C30", "verdict", ""), ("C30", "verdict is ''", "gives 'cannot tell'")),
        ("claims.csv", drop("C17"), ("claims.csv lacks C17",)),
        ("claims.csv", turn("C17", "id", "C16"), ("claims.csv lacks C17",)),
        ("claims.csv", lambda text: text + text.splitlines(True)[-1], ("once, in order",)),
        ("claims.csv", lambda text: text.replace("micro_plus_verdict", "plus"), ("no column micro_plus_verdict",)),
        ("claims.csv", lambda text: "", ("claims.csv cannot be read",)),
        ("table_00_evidence_05.csv", lambda text: text.replace("0.1,0.2", "-0.1,0.2"), ("C45", "gives 'cannot tell'")),
        ("table_00_evidence_05.csv", lambda text: text.replace("C04", "C77"), ("evidence_05.csv, row 1", "'C77'")),
        ("table_00_evidence_05.csv", lambda text: text.splitlines(True)[0], ("C04", "C45")),
    ],
)
def test_verify_finds_a_planted_error(published, capsys, name, change, says):
    tamper(published, name, change)
    assert main(["verify"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[wrong]")]
    assert all(any(text in line for line in lines) for text in says), lines
    assert all("manifest" not in line for line in lines)
    assert all("profile open" in line for line in lines)


def test_verify_misses_no_claims_file(published):
    (published / "results" / "open" / "claims.csv").unlink()
    problems = claims_committed.verify("open")
    assert problems == ["profile open: claims.csv is missing, though there is evidence: publish again"]
    (published / "results" / "open" / "table_00_evidence_05.csv").unlink()
    assert claims_committed.verify("open") == []  # a profile published before any claim was judged


def test_the_committed_verdicts_follow_from_the_committed_evidence():
    lines, good = claims_committed.verify_published(ROOT)
    assert good, lines


@pytest.fixture(params=sorted(path.parent.name for path in (ROOT / "results").glob("*/claims.csv")))
def committed(request, tmp_path, monkeypatch):
    """A checkout that holds a copy of one committed profile, as working directory; and the profile's name."""
    for kind in ("results", "figures"):
        shutil.copytree(ROOT / kind / request.param, tmp_path / kind / request.param)
    for name in ("micro_paper", "profiles", "notebooks"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path, request.param


def other(verdict):
    return HOLDS if verdict != HOLDS else DOES_NOT


@pytest.mark.long
def test_the_command_finds_one_changed_verdict_among_the_committed(committed, capsys):
    root, profile = committed
    assert main(["verify"]) == 0, capsys.readouterr().out
    table = pd.read_csv(root / "results" / profile / "claims.csv", dtype=str).set_index("id")
    claim = table.index[table["verdict"] != CANNOT][0]
    tamper(root, "claims.csv", turn(claim, "verdict", other(table.at[claim, "verdict"])), profile)
    command = [sys.executable, "-m", "micro_paper", "verify"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    wrong = [line for line in done.stdout.splitlines() if line.startswith("[wrong]")]
    assert done.returncode == 1 and len(wrong) == 1, done.stdout + done.stderr
    assert f"profile {profile}, {claim}: verdict is {other(table.at[claim, 'verdict'])!r}" in wrong[0]


def test_each_committed_verdict_is_compared(committed):
    root, profile = committed
    path = root / "results" / profile / "claims.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column in claims_committed.JUDGED.values():
        table[column] = table[column].map(other)
    table.to_csv(path, index=False)
    assert len(claims_committed.verify(profile, root)) == 2 * len(table) == 90


def test_verdicts_are_counted():
    table = judge.judge(gathered(EVIDENCE), "open")
    counted = claims_committed.counts(table).set_index("method")
    assert counted.loc["micro"].tolist() == [2, 0, 43] and counted.loc["micro_plus"].tolist() == [1, 1, 43]


def test_the_picture_has_a_tile_for_each_verdict():
    table = judge.judge(gathered(EVIDENCE), "open")
    axes = plots_paper.verdict_figure(table).axes[0]
    signs = [text.get_text() for text in axes.texts if text.get_text() in "+?\N{MINUS SIGN}"]
    assert len(axes.patches) == len(signs) == 90
    assert (signs.count("+"), signs.count("\N{MINUS SIGN}")) == (3, 1)
    assert [t.get_text() for t in axes.get_yticklabels()][:3] == ["section 3.2", "section 4.1", "section 4.2"]
    with pytest.raises(KeyError):
        plots_paper.verdict_figure(table.assign(verdict="perhaps"))


MODULES = (of_theory, of_stage1, of_stage2, of_sweeps, of_transfer, of_bench)


def wrong(entries):
    """Yield what is wrong with the tables of entries, taken together."""
    rules = paper_values.claims().set_index("id")["rule"]
    seen = set()
    for entry in entries:
        if entry.claim in seen:
            yield f"{entry.claim} is there twice"
        seen.add(entry.claim)
        if entry.claim not in rules:
            yield f"there is no claim {entry.claim}"
        elif entry.kind not in judge.KINDS[rules[entry.claim]]:
            yield f"{entry.claim} is judged by {rules[entry.claim]}, not {entry.kind}"
        if not entry.on or not entry.compared or not set(entry.methods) <= set(evidence.METHODS):
            yield f"{entry.claim} does not say what is compared, on what, for whom"
    yield from (f"{claim} has no entry" for claim in sorted(set(rules.index) - seen))


def test_every_claim_has_one_entry_in_the_module_of_its_group():
    entries = [entry for module in MODULES for entry in module.ENTRIES]
    assert list(wrong(entries)) == []
    planted = [
        *entries[1:],
        entries[1],
        replace(entries[2], claim="C99"),
        replace(entries[3], kind="up"),
    ]
    found = " ".join(wrong(planted))
    for says in (f"{entries[0].claim} has no entry", f"{entries[1].claim} is there twice", "no claim C99", "not up"):
        assert says in found


def test_a_module_says_in_its_first_line_which_claims_are_its_own():
    for module in MODULES:
        said = set()
        line = module.__doc__.split("\n")[0].partition("claims")[2]
        for first, last in re.findall(r"C?(\d\d)(?: to C?(\d\d))?", line):
            said |= {f"C{n:02d}" for n in range(int(first), int(last or first) + 1)}
        assert said == {entry.claim for entry in module.ENTRIES}, module.__name__


def test_collect_measures_what_was_found_and_nothing_else():
    def measure(finding, method):
        yield evidence.Part("simulation", f"{finding} {method}", 0.0, 1)

    entry = evidence.Entry("C04", "two sides", ("here",), "identity", measure, ("any",))
    table = evidence.collect([entry], {"here": "x", "elsewhere": "y"})
    assert table[["claim", "method", "part"]].to_numpy().tolist() == [["C04", "any", "x any"]]
    assert evidence.collect([entry], {}).empty
    with pytest.raises(InputError, match="unknown claim 'C99'"):
        evidence.collect([replace(entry, claim="C99")], {"here": "x"})
