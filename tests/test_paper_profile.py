"""The paper profile's whole path, offline on the CPU: tiny random Llamas, small files in the hub's schemas.

Each notebook runs as `python -m micro_paper run NOTEBOOK --profile paper -p ...` runs it, extraction before and
publication after, in a copy of the checkout. What the numbers say of a random model means nothing; that all are there,
count what the files hold and are averaged as they should be, does.
"""

import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import hub_files
import pandas as pd
import pytest
import tiny_models
import torch

from micro_paper.claims import judge
from micro_paper.workflow import claims_files, pipeline, publishing
from micro_paper.workflow.parameters import read_parameters
from micro_paper.workflow.run import run

ROOT = Path(__file__).resolve().parent.parent
SIZES = {  # everything else is as profiles/paper.yaml has it, the data sets and bfloat16 too
    "heads_helpsteer": 2,
    "heads_rpr": 3,
    "heads_grid": "1 2",
    "alphas": "0 0.5",
    "learning_rate": 0.02,  # a few steps have to do
    "epochs": 4,
    "taus": "0.001 0.1",
    "budget": 4,
    "budgets": "0 4 50",  # 50 is in the files of HelpSteer2 alone: RPR leaves it out
    "budgets_by_attribute": "2 4",
    "few_shot": 2,
    "stage2_epochs": 2,
    "n_seeds": 2,
    "n_folds": 2,
    "resamples": 2,
    "n_bootstrap": 100,
    "max_pairs": 300,
    "repeats": 2,
    "synthetic_prompts": 300,
    "person_labels": "0 5 20",
    "people_folds": 2,
    "topic_folds": 3,
    "noise_draws": 2,
    "power_draws": 2,
    "prompted_pairs": 12,
}


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The finished profile: its checkout, the rows of the generated files, tables by name."""
    folder = tmp_path_factory.mktemp("paper")
    root = folder / "checkout"
    for name in ("notebooks", "profiles"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns(".*"))
    (root / "micro_paper").symlink_to(ROOT / "micro_paper")
    rows = hub_files.write(folder / "data")
    models = {
        "backbone": tiny_models.folder(folder / "llama", head="classification"),
        "deeper_backbone": tiny_models.folder(
            folder / "larger", head="classification", seed=1, num_hidden_layers=6, hidden_size=48
        ),
    }
    overrides = [(name, str(value)) for name, value in (SIZES | models).items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICRO_PAPER_DATA", str(folder / "data"))
        patch.setenv("MICRO_PAPER_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(root)
        torch.set_num_threads(1)  # two threads on tiny matrices wait for each other more than they compute
        pipeline.extract("paper", overrides=overrides, root=root)
        declarations = pipeline.check_settings("paper", overrides, root).items()
        for stem, declared in sorted(declarations, key=lambda d: d[0] == "11_claims"):  # it reads the evidence of all
            names = set(declared) | set(read_parameters(root / "notebooks" / f"{stem}.ipynb"))
            run(stem, "paper", [o for o in overrides if o[0] in names], root=root)
        published = pipeline.publish("paper", root)

    def table(stem):
        return pd.read_csv(root / "build" / "paper" / "results" / f"{stem}.csv")

    return SimpleNamespace(root=root, rows=rows, models=models, published=published, table=table)


def text_of(prompt):
    """A prompt of one turn as text, whichever form it has; None for a dialogue."""
    if isinstance(prompt, str):
        return None if "<extra_id_1>" in prompt else prompt
    return prompt[0]["content"] if len(prompt) == 1 else None


def rated_pairs(rows):
    """(prompt, {attribute: sign of the first response's rating less the second's}) of each two HelpSteer2 rows."""
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert first["prompt"] == second["prompt"]
        yield first["prompt"], {a: (first[a] > second[a]) - (first[a] < second[a]) for a in hub_files.HELPSTEER}


def trained_on(rows):
    """Prompts of HelpSteer2 rows that have a pair on which the attributes do not all agree."""
    signs = {prompt: set(won.values()) for prompt, won in rated_pairs(rows)}
    return {p for p, s in signs.items() if s not in ({0}, {1}, {-1})}


def test_the_generated_files_have_the_schema_of_the_fixtures(paper):
    for name, splits in paper.rows.items():
        for split, rows in splits.items():
            (fixture,) = (ROOT / "tests" / "fixtures" / name).rglob(f"{split}.jsonl")
            wanted = json.loads(fixture.read_text().splitlines()[0])
            assert {c: type(v) for c, v in rows[0].items()} == {c: type(v) for c, v in wanted.items()}


def test_every_notebook_finishes_and_everything_is_published(paper):
    stems = [p.stem for p in sorted((paper.root / "notebooks").glob("*.ipynb"))]
    build = paper.root / "build" / "paper"
    assert sorted(p.stem for p in (build / "notebooks").glob("*.ipynb")) == stems and len(stems) == 15
    assert not (build / "failed").exists() and not list((build / "running").iterdir())
    assert publishing.verify("paper", paper.root) == []
    assert {p.split("/")[1] for p in paper.published} == {"paper"}


def test_every_item_of_the_paper_is_there(paper):
    build = paper.root / "build" / "paper"
    for number in range(1, 13):
        found = {p.suffix for p in (build / "results").glob(f"table_{number:02d}_*")}
        assert found == {".csv", ".md"}, number
    for number in range(1, 7):
        assert {p.suffix for p in (build / "figures").glob(f"figure_{number:02d}_*")} == {".png", ".pdf"}, number
    assert not list(build.rglob("*not_applicable*"))  # the paper's data have everything


def test_features_are_the_two_backbones_in_bfloat16(paper):
    stores = [json.loads(p.read_text()) for p in (paper.root / "build" / "features").glob("*/manifest.json")]
    found = Counter((s["backbone"], s["hidden_size"], s["layers"], s["dtype"]) for s in stores)
    small, larger = (paper.models[name] for name in ("backbone", "deeper_backbone"))
    # a store a data set, and one of smoke-texts (notebook 12); tables 11 and 12 share one
    assert found == {(small, 32, 0, "bfloat16"): 6, (larger, 48, 0, "bfloat16"): 1}
    for name in ("table_11_deeper_rpr", "table_12_deeper_helpsteer"):
        assert set(paper.table(name).features) == {f"{m}, all layers" for m in (small, larger)}


def test_table_5_counts_what_the_files_hold(paper):
    table = paper.table("table_05_counts").query("attribute != 'all'")
    tested = {row["prompt"] for row in paper.rows["rpr"]["test"]}
    wanted = Counter()
    for split, rows in paper.rows["rpr"].items():
        for row in rows:
            if split == "test" or row["prompt"] not in tested:
                names = [hub_files.RPR[row[f"category_{side}"]] for side in "xy"]
                wanted.update(("rpr", split, name) for name in names if name)
    for split, rows in paper.rows["helpsteer2"].items():
        place = {"train": "train", "validation": "test"}[split]
        wanted.update(("helpsteer2", place, a) for _, won in rated_pairs(rows) for a, sign in won.items() if sign)
    # validation prompts are cut from the training files
    assert {"preference_700k", "reward_bench"} <= set(table.dataset)
    two = table[table.dataset.isin(["rpr", "helpsteer2"])]
    found = two.assign(split=two.split.replace("validation", "train")).groupby(["dataset", "split", "attribute"])
    assert found.pairs.sum().to_dict() == wanted
    assert set(table.split) == {"train", "validation", "test"}


def test_transfer_leaves_out_prompts_that_are_tested_on(paper):
    sizes = paper.table("table_04c_transfer_sizes").query("dataset == 'helpsteer2 -> rpr'")
    learnt = trained_on(paper.rows["helpsteer2"]["train"])
    tested = {row["prompt"] for row in paper.rows["rpr"]["test"]}
    assert learnt & tested
    prompts = sizes[sizes.part.isin(["train", "validation"])].groupby("fold").prompts.sum()
    assert prompts.to_dict() == dict.fromkeys((0, 1), len(learnt - tested))


def test_reward_bench_counts_and_weights_its_subsets(paper):
    rows = paper.rows["reward_bench"]["filtered"]
    seen = {text_of(p) for p in trained_on(paper.rows["helpsteer2"]["train"])}
    seen |= {row["prompt"] for row in paper.rows["pku_saferlhf"]["train"]}
    assert sum(row["prompt"] in seen for row in rows) == 2
    counts = Counter(row["subset"] for row in rows if row["prompt"] not in seen)
    subsets = paper.table("table_10b_subsets")
    assert set(subsets.dataset) == {"reward_bench"} and set(subsets.stands_for) == {"itself"}
    for method, table in subsets.groupby("method"):
        assert dict(zip(table.subset, table.n_pairs, strict=True)) == counts, method
        section = {s: k for k, names in hub_files.SUBSETS.items() for s in names}
        assert dict(zip(table.subset, table.section, strict=True)) == section

    sections = paper.table("table_10_sections").set_index(["method", "section"]).value
    plain_differs = False
    for method, table in subsets.groupby("method"):
        value = table.set_index("subset").value

        def mean(names, value=value):
            return sum(counts[s] * value[s] for s in names) / sum(counts[s] for s in names)

        wanted = {k: mean(names) for k, names in hub_files.SUBSETS.items()}
        plain = wanted["reasoning"]
        maths, *code = hub_files.SUBSETS["reasoning"]
        wanted["reasoning"] = (value[maths] + mean(code)) / 2  # mathematics weighs as much as code
        plain_differs |= abs(plain - wanted["reasoning"]) > 1e-3
        wanted["average"] = sum(wanted.values()) / 4
        assert sections[method].to_dict() == pytest.approx(wanted, abs=1e-5)
    assert plain_differs


@pytest.mark.parametrize(
    ("stem", "methods", "attributes"),
    [
        ("table_02_accuracy_helpsteer", 15, 5),
        ("table_03_accuracy_rpr", 15, 9),
        ("table_04_transfer", 11, 9),
        ("table_11_deeper_rpr", 6, 9),
        ("table_12_deeper_helpsteer", 8, 5),
    ],
)
def test_macro_averages_are_means_of_rows(paper, stem, methods, attributes):
    table = paper.table(stem).query("metric == 'accuracy'")
    assert table.method.nunique() >= methods and table.value.between(0, 1).all()
    by = ["dataset", "method", *(["features"] if "features" in table else [])]
    for name, part in table.groupby(by):
        cells = part.set_index("attribute").value
        own = cells.drop("average")
        assert len(own) == attributes and cells["average"] == pytest.approx(own.mean(), abs=1e-5), name


def test_printed_values_are_compared_with_the_papers_backbone_alone(paper):
    judged = pd.read_csv(paper.root / "build" / "paper" / "results" / "claims.csv")
    assert list(judged.id) == [f"C{n:02d}" for n in range(1, 46)]
    values = judged[judged.rule == "value"]
    assert len(values) >= 10 and (values.n_runs > 0).all()
    assert (values[["verdict", "micro_plus_verdict"]] == "cannot tell").all(axis=None)
    assert values.why.str.contains("ours is shown, not compared").all()
    assert judged.loc[judged.rule == "identity", "verdict"].eq("holds").all()

    found = claims_files.gather("paper", paper.root, built=True)
    assert set(found.loc[found.kind == "value", "backbone"]) == {paper.models["backbone"]}
    for name in (judge.PAPER_BACKBONE, f"{judge.PAPER_BACKBONE}@{'0' * 40}"):
        theirs = judge.judge(found.assign(backbone=name), "paper").set_index("id")
        assert set(theirs.loc[values.id, "verdict"]) <= {"holds", "does not"}
    elsewhere = judge.judge(found.assign(backbone=judge.PAPER_BACKBONE), "open").set_index("id")
    assert set(elsewhere.loc[values.id, "verdict"]) == {"cannot tell"}
