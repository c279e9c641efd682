"""Own data: what is said before anything is encoded, what is run, and that nothing is published."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from micro_paper import Micro, data
from micro_paper.data.named import likes_of, own_files
from micro_paper.errors import InputError
from micro_paper.experiments import data_overview, own_data
from micro_paper.workflow import mine, pipeline
from micro_paper.workflow.parameters import read_profile

ROOT = Path(__file__).resolve().parent.parent
VALUES = read_profile("mine", ROOT)
PLAIN, FUNNY = "{} First look at {}, then {} it step by step.", "{} Oh dear, sing to {} and {} it with cake!"


def texts(i: int) -> tuple[str, str, str]:
    """A prompt with a clear and a funny answer."""
    rng = random.Random(i)
    thing, act = rng.choice(["a pan", "a bike", "a tent", "a cat"]), rng.choice(["clean", "mend", "move"])
    start = rng.choice(["Well.", "Sure.", "Hm."])
    return f"How do I {act} {thing}, number {i}?", PLAIN.format(start, thing, act), FUNNY.format(start, thing, act)


def rated(n: int = 40) -> list[dict]:
    rows = []
    for i in range(n):
        prompt, plain, funny = texts(i)
        for text, clarity, humor in ((plain, 4, 1), (funny, 2, 5), (f"{plain} And again.", 4, 2)):
            rows.append({"prompt": prompt, "response": text, "ratings": {"clarity": clarity, "humor": humor}})
    return rows


def criteria(n: int = 40, *, named: bool = True) -> list[dict]:
    rows = []
    for i in range(n):
        prompt, plain, funny = texts(i)
        row = {"prompt": prompt, "response_a": plain, "response_b": funny}
        row |= {"criteria_x": "Be clear.", "criteria_y": "Make me laugh."}
        rows.append(row | ({"category_x": "clarity", "category_y": "humor"} if named else {}))
    return rows


def binary(n: int = 40, *fields: str) -> list[dict]:
    rows = []
    for i in range(n):
        prompt, plain, funny = texts(i)
        for attribute, chosen, rejected in (("clarity", plain, funny), ("humor", funny, plain)):
            more = {"attribute": attribute, "context": f"I want {attribute}.", "user_id": i % 3}
            row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
            rows.append(row | {name: more[name] for name in fields})
    return rows


def written(folder: Path, rows: list[dict], name: str = "pairs.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"jsonl:{path}"


KINDS = {
    "rated": (rated(), "helpsteer_like", {"clarity", "humor"}, True),
    "criteria": (criteria(), "rpr_like", {"clarity", "humor"}, True),
    "criteria without categories": (criteria(named=False), "rpr_like", {"Be clear.", "Make me laugh."}, True),
    "judgements with contexts": (binary(40, "attribute", "context"), "rpr_like", {"clarity", "humor"}, True),
    "judgements of attributes": (binary(40, "attribute"), "rpr_like", {"clarity", "humor"}, True),
    "judgements of users": (binary(40, "attribute", "user_id"), "rpr_like", {"clarity", "humor"}, True),
    "bare judgements": (binary(40), "rpr_like", {"preference"}, False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_data_feeds_what_it_can(tmp_path, kind):
    rows, slot, attributes, stage2 = KINDS[kind]
    name = written(tmp_path, rows)
    own = own_data.own_data(name, VALUES)
    assert set(own.frame["attribute"]) == attributes
    assert {p for p in ("helpsteer_like", "rpr_like") if p in own.places} == {slot}
    assert own.places["train_on"] == own.places["stage1_world"] == name
    assert own.limits["n_folds"] == 5 and 1 <= own.limits["budget"] <= 50 and own.limits["few_shot"] >= 1
    run = [p.stem[:2] for p in pipeline.notebook_files(ROOT) if not mine.why_not(p.stem, own)]
    assert {"02", "03", "04", "12"} <= set(run) and ({"05", "06"} <= set(run)) == stage2
    assert not {"00", "01", "07", "08", "09", "10", "11"} & set(run)
    assert set(own.example) == {"prompt", "answer_1", "answer_2", "context_1", "context_2"}
    assert (own.example["context_1"] != own.example["context_2"]) == stage2
    text = "\n".join(own.lines)
    assert f"pairs.jsonl: {len(rows)} {own.kind} rows, 40 prompts, {len(attributes)} attributes" in text
    assert (", 3 users" in text) == (kind == "judgements of users")


def test_every_notebook_is_fed_or_has_a_reason(tmp_path):
    own = own_data.own_data(written(tmp_path, binary(40)), VALUES)
    for path in pipeline.notebook_files(ROOT):
        assert (path.stem[:2] in mine.FED) != bool(mine.REASONS.get(path.stem[:2])), path.stem
    assert mine.why_not("05_stage2", own) == mine.ONE
    assert mine.why_not("99_new", own) == "it is not about one's own data"


def test_the_counts_are_those_of_the_pairs(tmp_path):
    rows = [*rated(), {**rated(1)[0], "response": "Another.", "ratings": {"clarity": 3}}]
    own = own_data.own_data(written(tmp_path, rows), VALUES)
    text = "\n".join(own.lines)
    assert "besides these, left out: 40 pairs (ties)" in text, text  # two of three responses are equally clear
    assert "all attributes decide alike" not in text
    counts = data.counts(own.name, drop_unanimous=False)
    test = counts.query("split == 'test' and attribute == 'humor'").pairs.item()
    line = next(x for x in own.lines if x.startswith("humor"))
    assert int(line.split()[-1]) == test
    train = data.split_frame(own.name, "train", drop_unanimous=True)  # as training sees them
    assert int(line.split()[1]) == (train["attribute"] == "humor").sum()


def test_pairs_that_training_goes_without_are_counted(tmp_path):
    """On every other prompt both attributes say the same: three pairs by each, of which two tie on clarity."""
    rows = rated()
    for i, row in enumerate(rows):
        if i // 3 % 2:
            row["ratings"]["humor"] = row["ratings"]["clarity"]
    own = own_data.own_data(written(tmp_path, rows), VALUES)
    held = {i for split in ("train", "validation") for i in data.split_frame(own.name, split)["prompt_id"]}
    agreed = own.frame.groupby("prompt_id")["attribute"].value_counts().unstack()
    alike = agreed[(agreed["clarity"] == 2) & (agreed["humor"] == 2)].index
    expected = 4 * len(held & set(alike))
    line = f"left out of training and validation: {expected} pairs that all attributes decide alike"
    assert expected > 0 and line in own.lines, own.lines


def test_a_budget_beyond_the_data_is_lowered_and_said(tmp_path):
    rows = [r for i, r in enumerate(binary(40, "attribute")) if r["attribute"] == "clarity" or i % 4 == 1]
    own = own_data.own_data(written(tmp_path, rows), VALUES)
    trains = [data.split_frame(own.name, "train", fold=f)["attribute"] for f in range(own.limits["n_folds"])]
    least = min((t == "humor").sum() for t in trains)
    assert own.limits["budget"] == least < 50 and own.limits["budgets_by_attribute"] == str(least)
    line = next(x for x in own.lines if "below the budget" in x)
    assert f"'humor' has {least}" in line and f"{least} are used of each" in line
    few = own_data.own_data(own.name, VALUES | {"budget": 3})
    assert few.limits["n_folds"] == 5
    assert (
        few.limits["budget"] == 3 and few.limits["n_folds"] == 5 and not any("below the budget" in x for x in few.lines)
    )


def test_pairs_of_equal_tokens_count_for_no_budget(tmp_path):
    name = written(tmp_path, binary(40, "attribute"))
    whole = own_data.own_data(name, VALUES)
    alike = set(whole.frame.loc[whole.frame["attribute"] == "humor", "pair_id"][:20])
    assert own_data.own_data(name, VALUES, alike).limits["budget"] < whole.limits["budget"]


def test_folds_that_lack_an_attribute_are_not_run(tmp_path):
    frame = data.split_frame(written(tmp_path, binary(40, "attribute")), "test", fold=2)
    rare = set(frame["prompt"])  # fold 1 takes its validation prompts from them
    rows = [r for r in binary(40, "attribute") if r["attribute"] == "clarity" or r["prompt"] not in rare]
    own = own_data.own_data(written(tmp_path, rows, "rare.jsonl"), VALUES)
    assert own.limits["n_folds"] == 1
    said = "1 of 5 folds are run: attribute 'humor' has 0 validation prompts in fold 1, at least 1 are needed"
    assert said in "\n".join(own.lines)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (binary(3, "attribute"), r"no pair is in .*give at least 5 prompts"),
        (binary(6, "attribute"), r"attribute 'clarity' has 1 test prompts in fold 0, at least 2 are needed: give more"),
        ([*binary(40), *binary(1, "attribute")], "attribute 'clarity' has . (test|validation|train) prompts"),
        ([{"prompt": "p", "chosen": "a"}], "row 1: field 'rejected' is missing"),
    ],
)
def test_too_little_or_bad_data_is_refused_with_the_fix(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        own_data.own_data(written(tmp_path, rows), VALUES)


@pytest.mark.parametrize(
    ("limit", "value"), [("n_folds", 0), ("n_folds", 6), ("budget", 0), ("few_shot", -1), ("n_bootstrap", 50)]
)
def test_a_limit_that_leaves_nothing_is_refused(tmp_path, limit, value):
    with pytest.raises(InputError, match=f"{limit} must be [<>]= \\d+, got {value}"):
        own_data.own_data(written(tmp_path, binary(20)), VALUES | {limit: value})


def test_data_without_texts_to_show_keep_those_of_the_notebook(tmp_path):
    rows = [{**r, "chosen": r["chosen"] * 100} for r in binary(20, "attribute")]
    assert own_data.own_data(written(tmp_path, rows), VALUES).example == {}


def test_a_conversation_is_shown_by_its_last_question(tmp_path):
    rows = binary(20, "attribute")
    for row in rows:
        row["prompt"] = [{"role": "user", "content": row["prompt"]}]
    own = own_data.own_data(written(tmp_path, rows), VALUES)
    assert own.example["prompt"].startswith("How do I ")


def test_encoding_is_timed_and_a_cut_of_many_texts_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MICRO_PAPER_BUILD", str(tmp_path / "build"))
    own = own_data.own_data(written(tmp_path, binary(10, "attribute")), VALUES)
    values = VALUES | {"layers": 1}
    lines, alike = own_data.encoding(own, values)
    assert lines[0].startswith("cut to 2048 tokens: 0 prompts and 0 responses of ") and not alike
    assert lines[-1].startswith("to encode: ") and lines[-1].endswith("tokens, less than a minute on this machine")
    assert not (tmp_path / "build").exists()  # nothing is written
    with pytest.raises(InputError, match="cut to 48 tokens: .* more than 5 %: raise max_tokens"):
        own_data.encoding(own, values | {"max_tokens": 48})
    with pytest.raises(InputError, match="backbone is none"):
        own_data.encoding(own, values | {"backbone": "none"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine", ""], "no data: name a file of JSON lines, make mine DATA="),
        (["mine", "no.jsonl"], "no.jsonl' is no file"),
        (["mine", "."], "is a folder: name the file in it"),
        (["mine", "x.jsonl", "--set", "rpr_like=llmbar"], "rpr_like names a data set, and mine runs the one file"),
        (["mine", "x.jsonl", "--set", "budgett=2"], "unknown parameter 'budgett'"),
        (["reproduce", "--profile", "mine"], "the profile mine wants your data: make mine DATA=pairs.jsonl"),
        (["publish", "--profile", "mine"], "mine is never published"),
    ],
)
def test_refusals(arguments, message, capsys):
    from micro_paper.__main__ import main

    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_few_own_ratings_are_not_cut_by_the_rule_of_the_released_code(tmp_path):
    name = written(tmp_path, rated(12))
    assert data_overview.compare_splits([name])["rule"].tolist() == [data_overview.GROUPED]
    name = written(tmp_path, rated(300))
    assert data_overview.compare_splits([name])["rule"].tolist() == [data_overview.GROUPED, data_overview.FIRST_500]


def test_one_data_set_serves_alone():
    names = {"helpsteer_like": "jsonl:a", "rpr_like": "none"}
    assert likes_of(names) == {"helpsteer": "jsonl:a"}
    assert likes_of({"helpsteer_like": "a", "rpr_like": "b"}) == {"helpsteer": "a", "rpr": "b"}
    with pytest.raises(InputError, match="both none"):
        likes_of(dict.fromkeys(names, "none"))


def test_own_files_count_by_content_and_are_not_published(tmp_path):
    name = written(tmp_path, binary(2))
    values = {"rpr_like": name, "bench": f"llmbar '{name}'", "rated": "summeval"}
    assert own_files(values) == [name.removeprefix("jsonl:")]
    first = pipeline.data_hashes(values)
    (tmp_path / "criteria.json").write_text("{}")
    second = pipeline.data_hashes(values)
    written(tmp_path, binary(3))
    third = pipeline.data_hashes(values)
    assert len({json.dumps(h) for h in (first, second, third)}) == 3
    prints = {pipeline.feature_fingerprint(values, ROOT)}
    written(tmp_path, binary(4))
    assert pipeline.feature_fingerprint(values, ROOT) not in prints
    assert pipeline.data_hashes({"rpr_like": "llmbar"}) == {}
    assert pipeline.published("open", {"rpr_like": "llmbar"}) and not pipeline.published("open", values)
    assert not pipeline.published("mine", {}) and not pipeline.published("smoke", {})


def test_another_file_begins_anew(tmp_path):
    for name in ("results/table_02.csv", "notebooks/02.ipynb", ".lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    pipeline._begin_anew(tmp_path, "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "made_of.json"]
    (tmp_path / "kept").touch()
    pipeline._begin_anew(tmp_path, "a")
    assert (tmp_path / "kept").exists()
    pipeline._begin_anew(tmp_path, "b")
    assert not (tmp_path / "kept").exists()


@pytest.fixture
def shown_by_the_docs(tmp_path, monkeypatch, capsys):
    """Run the one example of docs/DATA.md that has a text in it, in a folder of its own: the lines that it prints."""

    def run(text):
        blocks = (ROOT / "docs" / "DATA.md").read_text().split("```python\n")
        (code,) = (block.partition("```")[0] for block in blocks if text in block)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MICRO_PAPER_BUILD", str(tmp_path / "build"))
        exec(compile(code, "docs/DATA.md", "exec"), {})
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.long
def test_the_example_of_one_person_runs(shown_by_the_docs):
    nobody, dora = shown_by_the_docs("adapt_to_user")
    assert "index=0" in nobody.split("),")[0] and "index=1" in dora.split("),")[0]


def test_the_example_of_the_docs_runs(shown_by_the_docs):
    shown = shown_by_the_docs("differences(results)")
    assert {"micro", "single", "length"} <= {line.split()[1] for line in shown if len(line.split()) == 6}


QUICK = (
    "layers=1 n_folds=2 n_seeds=1 n_bootstrap=100 resamples=2 epochs=2 stage2_epochs=2 heads_rpr=2 'heads_grid=1 2' "
    "alphas=0.5 taus=0.1 'budgets=0 5' budgets_by_attribute=5 ranker_epochs=2 ranker_stage2_epochs=2"
)


def published_state() -> list[tuple[str, int]]:
    folders = [ROOT / name for name in ("results", "figures")]
    return sorted((str(p), p.stat().st_mtime_ns) for f in folders for p in f.rglob("*") if p.is_file())


@pytest.mark.long
def test_forty_prompts_become_tables_figures_and_a_saved_model(tmp_path):
    written(tmp_path, binary(40, "attribute", "context"))
    before = published_state()
    build = tmp_path / "build"
    done = subprocess.run(
        [sys.executable, "-m", "micro_paper", "mine", "pairs.jsonl", "--settings", QUICK],
        cwd=tmp_path,
        env=os.environ | {"MICRO_PAPER_BUILD": str(build), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert published_state() == before
    results, figures = build / "mine" / "results", build / "mine" / "figures"
    main = pd.read_csv(results / "table_03_accuracy_rpr.csv")
    assert {"micro", "micro_plus", "single", "length"} <= set(main["method"])
    assert set(main["attribute"]) == {"clarity", "humor", "average"}
    assert (results / "table_05_counts.csv").is_file() and not list(results.glob("*evidence*"))
    assert not list(results.glob("*helpsteer*"))
    assert all(
        (figures / f"figure_{name}.png").is_file() for name in ("02_best_heads", "03_router_weights", "04_budget")
    )
    model = Micro.load(build / "mine" / "model")
    ranked = model.rank("How do I move a cat?", ["Step by step.", "Sing to it!"], "I want humor.")
    assert sorted(place.index for place in ranked) == [0, 1]
    gap = pd.read_csv(results / "table_02d_differences.csv").query("method == 'single' and attribute == 'average'")
    assert f"one Bradley-Terry reward, average accuracy on unseen prompts: {gap.difference.item():.3f} [" in done.stdout
    assert "saved model: build/mine/model" in done.stdout and "did not finish" not in done.stdout
