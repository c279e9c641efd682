"""What each claim is measured by and which world may decide it: the two tables, the entries, and the judge keep to one
another; each rule rejects a planted fault."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from micro_paper.claims import bench, evidence, judge, protocol, stage1, stage2, sweeps, transfer
from micro_paper.errors import InputError
from micro_paper.experiments.evaluation import Evaluation, HeadRun, Layout, differences
from micro_paper.experiments.router_use import cue_probe
from micro_paper.experiments.sweeps import SELECTIONS, Grid, Sweep
from micro_paper.intervals import Interval
from micro_paper.metrics import MACRO
from micro_paper.pairs import Pairs
from micro_paper.paper import values as paper_values
from micro_paper.paths import project_root
from micro_paper.report.rows import glossary
from micro_paper.workflow import readme

ROOT = project_root()
PLAN = protocol.read()
HOLDS, DOES_NOT, CANNOT = "holds", "does not", "cannot tell"
TEXTS = {name: (ROOT / "micro_paper" / "claims" / name).read_text() for name in (protocol.MEASURES, protocol.WORLDS)}
NAMES = ["coherence", "correctness", "creativity", "helpfulness", "linguistic creativity", "storytelling"]


# The tables


def test_every_claim_has_a_measure_of_its_rule():
    known = paper_values.claims().set_index("id")["rule"]
    assert {claim: m.rule for claim, m in PLAN.measures.items()} == dict(known)


def test_measures_name_rows_of_the_glossary():
    others = {"itself", "chance", "cue_probe", "surface_counts"}  # no method, or one that joins the tables
    for m in PLAN.measures.values():
        read = {*m.rows, *m.references, *m.controls, *m.above, m.probe} - {""}
        assert read - others <= set(glossary()), m.claim
        assert not set(m.references) & set(m.controls), m.claim


def test_every_world_of_a_published_profile_is_in_the_table():
    listed = {dataset for _, dataset in PLAN.standings}
    for profile in ("bundled", "open", "paper"):
        values = yaml.safe_load((ROOT / "profiles" / f"{profile}.yaml").read_text())
        worlds = {values[name] for name in ("helpsteer_like", "rpr_like", "stage1_world")}
        assert worlds - {"none"} <= listed, profile


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("measures.csv", "C02,trend", "C02,ordering", "C02 is judged by trend"),
        ("measures.csv", "C02,trend", "C01,identity", "is there twice"),
        ("measures.csv", "C45,ordering", "C46,ordering", "'C46' is no claim"),
        ("measures.csv", "cue_probe,chance", "cue_probe,", "both a probe and what it must be above"),
        ("measures.csv", "claim,rule", "claim,rules", "must have the columns"),
        ("measures.csv", ",.02,,3,", ",.02,,few,", "min_runs must be a whole number"),
        ("measures.csv", ",0,.01,", ",0,,", "flat must be a number above 0 for a trend"),
        ("measures.csv", ",.02,,3,", ",.02,.01,3,", "flat must be a number above 0 for a trend, and empty else"),
        ("worlds.csv", ",decides,", ",proves,", "may must be one of"),
        ("worlds.csv", "bundled-topics,C07 C18", "bundled-audience,C07 C18", "stands twice beside bundled-audience"),
        ("worlds.csv", "bundled-topics,C07 C18", "bundled-topics,C07 C78", "'C78' is no claim"),
        ("worlds.csv", "labels are constructed\n", "\n", "a reason"),
    ],
)
def test_a_wrong_table_is_refused(name, old, new, says):
    assert old in TEXTS[name]
    texts = TEXTS | {name: TEXTS[name].replace(old, new)}
    with pytest.raises(InputError, match=re.escape(says)):
        protocol.read(texts["measures.csv"], texts["worlds.csv"])


def test_a_measure_that_is_lacking_is_refused():
    lines = TEXTS["measures.csv"].splitlines(True)
    with pytest.raises(InputError, match="must have each of C01 to C45 once"):
        protocol.read("".join(line for line in lines if not line.startswith("C17,")))


def test_an_attribute_is_named_by_itself_only():
    three = PLAN.measures["C32"].attributes
    own = ["creativity and originality", "Linguistic Creativity", "narrative and storytelling", "coherence"]
    assert [protocol.named(a, three) for a in own] == ["creativity", "linguistic creativity", "storytelling", ""]
    assert protocol.named("creativity and originality", PLAN.measures["C33"].attributes) == ""


def test_the_page_is_written_from_the_tables():
    page = (ROOT / "docs" / "CLAIMS.md").read_text()
    for name in readme.PAGES["docs/CLAIMS.md"]:
        assert readme.BLOCKS[name](None) in page
    lines = page.splitlines()
    for claim, measure in PLAN.measures.items():
        own = next(line for line in lines if line.startswith(f"| {claim} |"))
        assert measure.contrast in own and all(f"`{row}`" in own for row in (*measure.references, *measure.controls))
        assert (f"- {claim}: {measure.revised}." in lines) == bool(measure.revised)


# Entries keep to the tables, on findings that have every row


def fabricated(world="bundled-helpsteer", without=()):
    """An evaluation of every row that a claim reads: 12 prompts, two pairs of each attribute a prompt, two runs."""
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame(
        [{"prompt_id": f"t{t}", "attribute": a} for t in range(12) for a in NAMES for _ in range(2)]
    ).assign(fold=0)
    pairs.insert(0, "pair_id", [f"p{i}" for i in range(len(pairs))])
    found = Evaluation(world, pairs, [0, 1])
    rows = {"micro", "micro_plus", "criterion_fewshot"}
    for m in PLAN.measures.values():
        rows |= {*m.rows, *m.references, *m.controls, *m.above, m.probe}
    for row in sorted(rows - {"", "itself", "chance", "cue_probe", *without}):
        found.probability[row] = rng.uniform(size=(len(pairs), 2))
        found.chosen[row] = [{"fold": 0, "seed": seed, "search": []} for seed in (0, 1)]
    for row in ("micro_stage1", "micro_plus", "single", "static_uniform", "shared_base", "random_heads", "pca_heads"):
        found.heads[row] = [
            HeadRun(0, s, np.arange(len(pairs)), rng.integers(0, 2, (len(pairs), 3)) * 1.0, dict.fromkeys(NAMES, a), a)
            for s, a in enumerate(rng.uniform(size=(2, 3)))
        ]
    return found


def rest_of(found):
    lines = []
    for reference in ("hyre", "pca_hyre", "micro_stage1", "single", "single_exact"):
        for method in ("micro", "micro_plus", "micro_hyre", "pca_hyre"):
            numbers = {"difference": 0.1, "difference_low": 0.05, "difference_high": 0.15}
            line = {
                "method": method,
                "reference": reference,
                "attribute": MACRO,
                "n_prompts": 12,
                "n_runs": 2,
                "n_seeds": 2,
                "free": 11.0,
            }
            lines.append(line | numbers)
    return pd.DataFrame(lines)


def swept(world="bundled-rpr"):
    rng = np.random.default_rng(1)
    grid = Grid((1, 2, 5, 10, 20), (0, 5, 50), 50, alphas=(0.0, 0.5), further=(50, 150))
    n, attributes = 120, [NAMES[2], NAMES[4], NAMES[5], NAMES[0], NAMES[1]] * 24
    pairs = {"pair_id": range(n), "prompt_id": np.repeat([f"t{i}" for i in range(12)], 10), "attribute": attributes}
    found = Sweep(world, 10, grid, {}, 3, Layout(pd.DataFrame(pairs).assign(fold=0), (n, 3), (n,), 3))
    rows = ("micro", "micro_plus", "random_heads")
    cells = [("routed", m, k, b) for m in rows for k in grid.heads for b in (0, 5, 50, 150)]
    cells += [(s, m, k) for s in SELECTIONS for m in rows for k in grid.heads]
    cells += [("routed", other, 1, 0) for other in ("single", "single_exact")]
    cells += [("kept", m, 20) for m in rows[:2]]
    found.decided = {cell: rng.integers(0, 2, (n, 3)) * 1.0 for cell in cells}
    runs = range(3)
    table = [
        {"run": r, "method": m, "heads": 10, "budget": b, "attribute": a, "value": rng.uniform()}
        for r in runs
        for m in rows
        for b in (0, 5, 50, 150)
        for a in {*attributes, MACRO}
    ]
    redundant = [
        {"run": r, "method": m, "heads": 20, "budget": 50, "redundant": 2, "share_of_heads": 0.1}
        | {"share_of_weight": 0.05 + 0.01 * r}
        for r in runs
        for m in rows[:2]
    ]
    found.tables = {
        "accuracy": pd.DataFrame(table),
        "redundancy": pd.DataFrame(redundant),
        "alpha": pd.DataFrame([{"run": r, "alpha": a, "largest_share": rng.uniform()} for r in runs for a in (0, 0.5)]),
        "refresh": pd.DataFrame(
            [
                {"run": r, "refresh": how, "repeat": i, "accuracy": rng.uniform()}
                for r in runs
                for how in ("batch", "epoch")
                for i in range(2)
            ]
        ),
    }
    return found


def everything():
    """The evidence of all notebooks that read rows, from fabricated findings."""
    hs, rpr = fabricated(), fabricated("bundled-rpr")
    information = pd.DataFrame(
        [
            {"dataset": "bundled-audience", "method": m, "fold": f, "seed": 0, "n_heads": 5, "information": 0.1 * f}
            for m in ("micro_stage1", "shuffled_router")
            for f in range(3)
        ]
    )
    cues = dict.fromkeys(("helpsteer", "rpr", "stage1"), Interval(0.2, 0.1, 0.3, 12, free=11))
    likes = {"helpsteer": hs, "rpr": rpr}
    gaps = {like: differences(found, "micro") for like, found in likes.items()}
    section = [
        {"dataset": "reward_bench", "reference": m, "method": other, "section": s}
        | {"difference": 0.1, "low": 0.05, "high": 0.15, "free": 11.0, "n_prompts": 12, "n_runs": 5}
        for m in ("micro", "micro_plus")
        for other in ("single", "single_exact", "armo")
        for s in ("chat", "chat-hard", "safety", "reasoning", MACRO)
    ]
    effect = {"dataset": "pku_saferlhf", "attribute": "x", "heads": "as trained", "runs_masked": 3, "n_prompts": 12}
    effect |= {"difference": 0.0, "low": -0.01, "high": 0.01, "free": 11.0, "n_runs": 5}
    merge = effect | {"dataset": "bundled-rpr", "attribute": MACRO, "threshold": 0.9, "runs_merged": 3}
    gain = {"dataset": "bundled-rpr (table 11)", "method": "micro", "attribute": MACRO, "difference": 0.03}
    gain |= {"low": 0.02, "high": 0.04, "free": 11.0, "n_prompts": 12, "n_runs": 2}
    masked, merged = (pd.DataFrame([e | {"method": m} for m in ("micro", "micro_plus")]) for e in (effect, merge))
    return pd.concat(
        [
            stage1.evidence(likes | {"stage1": fabricated("bundled-audience")}, information, cues),
            stage2.evidence(likes, gaps, {like: rest_of(f) for like, f in likes.items()}),
            sweeps.evidence(swept("bundled-helpsteer"), swept()),
            transfer.evidence({"binary": rpr, "rated": rpr}),
            transfer.evidence({"rpr": rpr, "helpsteer": hs}, gains=pd.DataFrame([gain])),
            bench.sections_evidence(pd.DataFrame(section)),
            bench.heads_evidence(masked, merged),
        ],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def found():
    return everything()


METHODS_OF = {e.claim: e.methods for m in (stage1, stage2, sweeps, transfer, bench) for e in m.ENTRIES}


def planned(plan, claim, method):
    """What a method's evidence on a claim must read: (side, row, reference)."""
    m = plan.measures[claim]
    own = {("claimed", m.row(method), reference) for reference in m.references or ("",)}
    own |= {("control", m.row(method), control) for control in m.controls}
    return own


def read(found, claim, method):
    part = found[(found.claim == claim) & (found.method == method) & ~found.kind.isin(["readable", "shown"])]
    side = part.kind.where(part.kind == "control", "claimed")
    return set(zip(side, part.row, part.reference, strict=True))


def out_of_step(found, plan):
    """Which claims' evidence reads other rows than the plan says, or fewer."""
    wrong = set()
    for claim, methods in METHODS_OF.items():
        wrong |= {claim for method in methods if read(found, claim, method) != planned(plan, claim, method)}
        m, probes = plan.measures[claim], found[(found.claim == claim) & (found.kind == "readable")]
        if set(zip(probes.row, probes.reference, strict=True)) != {(m.probe, a) for a in m.above}:
            wrong.add(claim)
    return wrong


def test_entries_read_what_the_table_says_and_all_of_it(found):
    assert out_of_step(found, PLAN) == set()


def changed(claim, **cells):
    return protocol.Protocol(PLAN.measures | {claim: replace(PLAN.measures[claim], **cells)}, PLAN.standings)


@pytest.mark.parametrize(
    ("claim", "cells"),
    [
        ("C19", {"references": ("single",)}),  # an entry that reads another row than the table says
        ("C45", {"references": ("criterion_fewshot",)}),
        ("C24", {"controls": ("pca_hyre",)}),
        ("C33", {"controls": ("single_exact", "static_uniform")}),  # one that leaves a row out
        ("C08", {"references": ("itself",)}),
        ("C31", {"controls": ()}),
        ("C20", {"above": ("length",)}),
        ("C09", {"rows": ("micro", "micro_plus")}),
        ("C40", {"references": ("single", "armo")}),
    ],
)
def test_an_entry_out_of_step_with_the_table_is_found(found, claim, cells):
    assert out_of_step(found, changed(claim, **cells)) == {claim}


def test_another_row_cannot_be_written_down():
    def measure(finding, method):
        yield evidence.Part("bundled-rpr", "micro less hyre", Interval(0.1, 0.0, 0.2, 12), 5, reference="hyre")

    entry = evidence.Entry("C21", "average", ("rpr",), "ordering", measure)
    with pytest.raises(InputError, match="C21, kind ordering: reference is 'hyre', measures.csv says single, "):
        evidence.collect([entry], {"rpr": None})
    with pytest.raises(InputError, match="row is 'micro_stage1', measures.csv says micro"):
        evidence.row("C22", "micro", "d", "p", "equivalence", 0.0, n_runs=1, own="micro_stage1")


def test_what_deeper_features_gain_stands_beside_its_own_data_alone(found):
    shown = found.loc[found.kind == "shown", ["claim", "method", "dataset", "value"]]
    assert shown.to_numpy().tolist() == [["C41", "micro", "bundled-rpr", 0.03]]


def prompts_of(attribute_of, seed=0):
    """Training pairs, four of each of 60 prompts, whose prompt tells the attribute that `attribute_of` gives."""
    rng = np.random.default_rng(seed)
    attribute = np.repeat([NAMES[i % 3] for i in range(60)], 4)
    told = np.array([NAMES.index(attribute_of(i, rng)) for i in range(60)])
    prompts = torch.from_numpy(np.eye(3)[told] + rng.normal(0, 0.3, (60, 3)))
    rows = torch.arange(240)
    zeros = torch.zeros(240, dtype=torch.long)
    ids = np.array([f"p{i}" for i in range(240)])
    prompt = rows // 4
    own = np.array([f"t{i}" for i in prompt.tolist()])
    return Pairs(torch.zeros(1, 2), zeros, zeros, prompts, prompt, None, None, torch.zeros(1), ids, own, attribute)


def test_a_probe_reads_a_cue_that_is_there_and_no_other():
    there = cue_probe(prompts_of(lambda i, rng: NAMES[i % 3]), seed=0)
    assert there.low > 0.4 and there.n_groups == 60
    absent = cue_probe(prompts_of(lambda i, rng: NAMES[rng.integers(3)]), seed=0)
    assert absent.low <= 0
    pairs = prompts_of(lambda i, rng: NAMES[0])
    assert cue_probe(replace(pairs, attribute=np.full(240, "one")), seed=0) is None


def test_c18_takes_all_folds_and_its_margin(found):
    own = found[found.claim == "C18"].iloc[0]
    assert own.n_runs == 3 and np.isnan(own.n_prompts) and own.value == pytest.approx(-0.05 * np.log(5))


# The judge keeps to the tables


def part(claim, low, high, reference="", kind="ordering", method="micro", dataset="bundled-rpr", **more):
    """A part with its interval, of 42 topics and 25 runs."""
    interval = Interval((low + high) / 2, low, high, more.pop("n_groups", 42), n_runs=5, free=1000)
    name = f"less {reference} {more.get('attribute', '')}{kind}"
    more = {"n_runs": 25, "reference": reference} | more
    return evidence.row(claim, method, dataset, name, kind, interval, plan=PLAN, **more)


def judged(*rows, profile="bundled"):
    table = evidence.frame(rows).assign(file="table_00_evidence_05.csv", notebook="05_stage2", backbone="smollm2")
    return judge.judge(table, profile).set_index("id").loc[rows[0]["claim"]]


def full(claim, low=0.05, high=0.07, **more):
    """Every part that a claim needs, all well above 0."""
    measure = PLAN.measures[claim]
    kind = {"equivalence": "equivalence", "trend": "up"}.get(measure.rule, "ordering")
    rows = [
        part(claim, low, high, r, kind, attribute=a, **more)
        for r in measure.references
        for a in measure.attributes or ("",)
    ]
    rows += [part(claim, low, high, r, "control", **more) for r in measure.controls]
    rows += [
        part(claim, low, high, r, "readable", attribute=a, **more)
        for r in measure.above
        for a in measure.attributes or ("",)
    ]
    return rows


def swapped(rows, new, **old):
    """Replace the first row that has these cells; drop it for None."""
    at = next(i for i, row in enumerate(rows) if all(row[name] == value for name, value in old.items()))
    return [*rows[:at], *([] if new is None else [new]), *rows[at + 1 :]]


LOST, OPEN = (-0.07, -0.05), (-0.01, 0.02)


@pytest.mark.parametrize("claim", ["C07", "C08", "C21", "C25", "C28", "C31", "C33", "C35", "C45"])
def test_a_claim_with_all_that_it_needs_holds(claim):
    row = judged(*full(claim))
    assert row.verdict == HOLDS and "bundled-rpr: holds" in row.why and "+0.060 [+0.050, +0.070]" in row.why


@pytest.mark.parametrize("ends", [OPEN, LOST])
def test_above_the_trained_single_reward_alone_is_optimisation(ends):
    rows = swapped(full("C21"), part("C21", *ends, "single_exact", "control"), reference="single_exact")
    row = judged(*rows)
    assert row.verdict == CANNOT and "(optimisation: " in row.why and "less single_exact" in row.why
    below = swapped(rows, part("C21", *LOST, "single"), reference="single")
    assert judged(*below).verdict == DOES_NOT  # a control cannot save a claim either


@pytest.mark.parametrize(
    ("claim", "control"),
    [
        ("C08", "pca_heads"),
        ("C08", "single_exact"),
        ("C24", "pca_hyre"),
        ("C25", "single_exact"),
        ("C28", "micro_stage1"),
        ("C28", "single"),
        ("C31", "random_heads"),
        ("C35", "random_heads"),
    ],
)
@pytest.mark.parametrize("ends", [OPEN, LOST, None])
def test_a_claim_that_a_control_reaches_cannot_be_told(claim, control, ends):
    where = {"dataset": "bundled-helpsteer"} if claim == "C24" else {}
    where |= {"method": "any"} if claim in ("C24", "C25") else {}
    new = None if ends is None else part(claim, *ends, control, "control", **where)
    row = judged(*swapped(full(claim, **where), new, reference=control, kind="control"))
    assert row.verdict == CANNOT and control in row.why
    if ends is None:
        assert f"no result against {control}" in row.why


def test_a_reference_that_is_lacking_leaves_nothing_that_holds():
    row = judged(*swapped(full("C21"), None, reference="static_uniform"))
    assert row.verdict == CANNOT and "no result against static_uniform" in row.why


@pytest.mark.parametrize("ends", [OPEN, LOST, None])
@pytest.mark.parametrize(("claim", "other"), [("C33", "surface_counts"), ("C33", "length"), ("C07", "chance")])
def test_what_is_not_read_from_the_text_supports_nothing(claim, other, ends):
    attribute = "linguistic creativity" if claim == "C33" else ""
    new = None if ends is None else part(claim, *ends, other, "readable", attribute=attribute)
    row = judged(*swapped(full(claim), new, reference=other))
    assert row.verdict == CANNOT and "not read from the text" in row.why and other in row.why
    lost = swapped(full(claim, *LOST), new, reference=other)
    assert judged(*lost).verdict == CANNOT  # nor can it be lost there


def test_no_attribute_stands_for_another():
    rows = full("C20", dataset="bundled-helpsteer")
    assert judged(*rows).verdict == HOLDS
    lacking = [row for row in rows if row["attribute"] != "helpfulness"]
    assert judged(*lacking).verdict == CANNOT
    assert judged(*full("C20", dataset="summeval"), profile="open").verdict == CANNOT


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        ("bundled-reversals", "a control: criteria that disagree"),
        ("summeval-reversals", "a control: both labels of every pair"),
        ("bundled-rpr-aligned", "shown, not judged: "),
        ("ukp-criteria", "shown, not judged: given the justification"),
        ("a world of its own", "worlds.csv does not name it"),
    ],
)
@pytest.mark.parametrize("ends", [(0.05, 0.07), LOST])
def test_a_world_that_may_not_decide_a_claim_decides_nothing(dataset, says, ends):
    row = judged(*full("C21", *ends, dataset=dataset))
    assert row.verdict == CANNOT and f"{dataset}: cannot tell ({says}" in row.why
    assert judged(*full("C21"), *full("C21", *ends, dataset=dataset)).verdict == HOLDS  # nor beside one that may


def test_wmt_is_read_above_its_systems_alone():
    rows = [part("C19", 0.05, 0.07, "system_only", "control", dataset="wmt-mqm")]
    assert judged(*full("C19", dataset="wmt-mqm"), *rows).verdict == CANNOT
    with pytest.raises(InputError, match="reference is 'system_only'"):
        part("C19", 0.05, 0.07, "system_only", "control", dataset="summeval")
    assert PLAN.standing("C07", "wmt-mqm").may == PLAN.standing("C18", "wmt-mqm").may == protocol.CANNOT


@pytest.mark.parametrize("claim", ["C21", "C45"])
def test_a_gain_on_a_mix_counts_above_the_average_persons_alone(claim):
    rows = full(claim, dataset="ukp-mix")
    assert judged(*rows).verdict == CANNOT and "no result against micro_average_mix" in judged(*rows).why
    for ends, verdict in (((0.01, 0.03), HOLDS), (OPEN, CANNOT), (LOST, CANNOT)):
        average = part(claim, *ends, "micro_average_mix", "control", dataset="ukp-mix")
        assert judged(*rows, average).verdict == verdict
    with pytest.raises(InputError, match="reference is 'micro_average_mix'"):
        part(claim, 0.01, 0.03, "micro_average_mix", "control", dataset="bundled-rpr")


def test_further_sweeps_speak_of_labelled_contexts_alone():
    assert sweeps.decides("ukp-mix") and sweeps.decides("bundled-rpr")
    assert not sweeps.decides("ukp-criteria") and not sweeps.decides("bundled-rpr-aligned")
    table = sweeps.evidence(swept("bundled-helpsteer"), swept(), [swept("ukp-mix")])
    assert set(table[table.dataset == "ukp-mix"].claim) == {"C31"}
    assert set(table[table.dataset == "ukp-mix"].kind) == {"up", "control"}
    without = sweeps.evidence(swept("bundled-helpsteer"), swept())
    pd.testing.assert_frame_equal(table[table.dataset != "ukp-mix"].reset_index(drop=True), without)


@pytest.mark.parametrize("claim", ["C41", "C42"])
def test_a_deeper_cut_is_no_larger_backbone(claim):
    deeper = part(claim, 0.1, 0.2, kind="shown")
    assert "+0.150" in judged(*full(claim), deeper).ours and judged(*full(claim, dataset="rpr"), deeper).verdict == (
        HOLDS if claim == "C41" else CANNOT
    )
    for dataset in ("bundled-rpr", "bundled-helpsteer", "ukp-criteria", "summeval", "ukp-mix"):
        row = judged(*full(claim, dataset=dataset))
        assert row.verdict == CANNOT and PLAN.standing(claim, dataset).may != protocol.DECIDES


def test_seven_fixed_sentences_are_no_new_contexts():
    for dataset in ("ukp-criteria", "ukp-mix"):
        row = judged(*full("C28", dataset=dataset), profile="open")
        assert row.verdict == CANNOT and "seven fixed sentences" in row.why


def test_a_verdict_on_justified_choices_says_so():
    row = judged(*full("C08", dataset="ukp-criteria"), profile="open")
    assert row.verdict == HOLDS and "given the justification" in row.why
    assert "given the justification" not in judged(*full("C08")).why


def test_few_prompts_tell_nothing():
    for ends in ((0.05, 0.07), LOST):
        row = judged(*full("C21", *ends, n_groups=9))
        assert row.verdict == CANNOT and "9 prompts or topics, 10 are needed" in row.why
    assert judged(*full("C21", n_groups=10)).verdict == HOLDS


@pytest.mark.parametrize("claim", ["C36", "C38"])
def test_merged_and_redundant_heads_need_three_runs(claim):
    kind, ends = ("equivalence", (-0.01, 0.01)) if claim == "C38" else ("down", (-0.4, -0.2))
    rows = [part(claim, *ends, kind=kind, n_runs=n, n_groups=np.nan) for n in (2, 3)]
    assert [judged(row).verdict for row in rows] == [CANNOT, HOLDS]
    assert "2 runs, 3 are needed" in judged(rows[0]).why


def test_parts_are_adjusted_by_holm():
    barely = (0.0005, 0.08)  # p just below .05: enough alone, not beside others that are as near
    rows = full("C45", *barely)
    assert judged(*rows).verdict == HOLDS
    twice = [*rows, *full("C45", *barely, dataset="bundled-helpsteer")]
    assert judged(*twice).verdict == CANNOT
    assert judged(*rows, *full("C45", *barely, dataset="bundled-reversals")).verdict == HOLDS  # what decides counts
    below = full("C45", -0.08, -0.0005)
    assert judged(*below).verdict == DOES_NOT
    assert judged(*below, *full("C45", *OPEN, dataset="bundled-helpsteer")).verdict == CANNOT


def test_holm_takes_the_edge_of_an_equivalence():
    inside, barely = (-0.005, 0.005), (-0.0199, 0.0199)
    kind = {"kind": "equivalence"}
    assert judged(part("C34", *barely, **kind)).verdict == HOLDS
    two = [part("C34", *barely, **kind), part("C34", *inside, dataset="bundled-helpsteer", **kind)]
    assert judged(*two).verdict == HOLDS  # the wide one is last in order, so tested at .05
    both = [part("C34", *barely, **kind), part("C34", *barely, dataset="bundled-helpsteer", **kind)]
    assert judged(*both).verdict == CANNOT


def test_the_printed_bound_is_refused_in_words():
    row = judged(evidence.row("C01", "any", "simulation", "gap", "identity", 0.0, n_runs=1))
    assert row.verdict == HOLDS and "the bound as the paper prints it" in row.why and "refused" in row.why


def test_further_worlds_are_evidence_where_the_table_lets_them_decide():
    assert stage2.decides("ukp-mix") and stage2.decides("bundled-rpr")
    assert not stage2.decides("bundled-reversals") and not stage2.decides("bundled-rpr-aligned")
    found = {"helpsteer": fabricated(), "rpr": fabricated("bundled-rpr"), "ukp-mix": fabricated("ukp-mix")}
    gaps = {name: differences(result, "micro") for name, result in found.items()}
    rest = {name: rest_of(result) for name, result in found.items()}
    table = stage2.evidence(found, gaps, rest)
    assert set(table[table.claim == "C21"].dataset) == {"bundled-rpr", "ukp-mix"}
    del rest["ukp-mix"]  # a control or companion: shown, and no evidence
    assert "ukp-mix" not in set(stage2.evidence(found, gaps, rest).dataset)
