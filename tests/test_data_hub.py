"""The hub's data sets on small files of ours in their schemas; the hub itself is never asked."""

import gzip
import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from whole import load_all

from micro_paper import data
from micro_paper.data import hub, registry
from micro_paper.data.pairs import prompt_key
from micro_paper.errors import InputError, MissingError

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MICRO_PAPER_DATA", str(FIXTURES))
    monkeypatch.setenv("MICRO_PAPER_CACHE", str(tmp_path / "cache"))


def sizes(name: str, **options: object) -> dict[str, int]:
    return {s: len(data.load(name, s, **options)) for s in data.SPLITS}


def test_helpsteer2_keeps_its_validation_split_as_test() -> None:
    test = data.load("helpsteer2", "test")
    # The haiku differs on three attributes, the basil prompt on two; all other ratings tie.
    assert Counter(test["attribute"]) == {"helpfulness": 1, "correctness": 2, "complexity": 1, "verbosity": 1}
    train_prompts = {json.dumps(p) for s in ("train", "validation") for p in data.load("helpsteer2", s)["prompt"]}
    assert not train_prompts & {json.dumps(p) for p in test["prompt"]}
    assert data.skipped("helpsteer2")["train rows with a test prompt"] == 2
    assert len({frozenset(data.load("helpsteer2", "validation", fold=f)["prompt_id"]) for f in range(5)}) > 1
    assert {p for f in range(5) for p in data.load("helpsteer2", "test", fold=f)["prompt_id"]} == set(test["prompt_id"])


def test_helpsteer2_pairs_and_turns() -> None:
    whole = load_all("helpsteer2").to_pandas()
    dialogue = whole[[len(p) == 3 for p in whole["prompt"]]]
    assert dict(zip(dialogue["attribute"], dialogue["chosen"].str.startswith("A cherry"), strict=True)) == {
        "helpfulness": True,
        "correctness": True,
        "complexity": False,
        "verbosity": False,
    }
    assert [m["role"] for m in dialogue["prompt"].iloc[0]] == ["user", "assistant", "user"]
    assert not any(p[-1]["content"].startswith("Question 0") for p in whole["prompt"])  # its ratings all tie


def test_the_papers_rule_cuts_the_training_file() -> None:
    assert sizes("helpsteer2", rule="paper_first_500")["train"] == 0  # the file has fewer than 500 pairs
    test = data.load("helpsteer2", "test", rule="paper_first_500")
    assert len(test) == sum((registry.build("helpsteer2").frame["official"] == "").to_list())


def test_rpr_keeps_nine_dimensions_and_counts_the_rest() -> None:
    whole = load_all("rpr")
    assert Counter(whole["attribute"]) == {
        n: 1 + (n in ("scientific rigor", "linguistic creativity")) for n in data.CRITERIA["rpr"]
    }
    assert data.skipped("rpr")["judgements outside the nine dimensions"] == 3
    assert sizes("rpr")["test"] == 2
    assert set(whole["context"]) == {"Prefer plain facts.", "Prefer a story."}
    for row in whole:
        assert row["chosen"].startswith("The moon" if row["context"] == "Prefer plain facts." else "Once")


def test_a_prompt_has_one_id_in_every_data_set(tmp_path: Path) -> None:
    asked = "Explain tide number 0."  # a training prompt of the fixture of rpr, there a text
    message = [{"content": asked, "role": "user"}]
    pair = {side: [*message, {"content": side, "role": "assistant"}] for side in ("chosen", "rejected")}
    (tmp_path / "preference.jsonl").write_text(json.dumps(pair))
    found = load_all("preference_700k", path=str(tmp_path / "preference.jsonl"))
    assert found["prompt"][0] == message
    rpr = load_all("rpr").to_pandas()
    assert set(found["prompt_id"]) == set(rpr.loc[rpr["prompt"] == asked, "prompt_id"])
    later = [*message, {"content": "Low", "role": "assistant"}, {"content": asked, "role": "user"}]
    assert len({prompt_key(p) for p in (asked, message, later, [{"content": asked, "role": "system"}])}) == 3


@pytest.mark.parametrize(
    ("category", "name"),
    [
        ("Humor and Entertainment Value", "humor"),
        ("humor", "humor"),
        ("User-Friendliness", "user-friendliness"),
        ("Cultural Sensitivity", None),
        ("", None),
        (None, None),
        ("Creativity", None),
    ],
)
def test_categories_of_rpr(category: str | None, name: str | None) -> None:
    assert hub.rpr_category(category) == name


def test_preference_700k_shares_the_dialogue_before_the_last_answer() -> None:
    whole = load_all("preference_700k")
    assert sorted(len(p) for p in whole["prompt"]) == [1] * 5 + [3]
    assert data.skipped("preference_700k")["dialogues that differ before the last answer"] == 1
    assert len(load_all("preference_700k", max_rows=4)) <= 4
    assert (
        load_all("preference_700k", max_rows=4)["pair_id"][:] == load_all("preference_700k", max_rows=4)["pair_id"][:]
    )


def test_pku_saferlhf_gives_two_judgements_a_pair() -> None:
    whole = load_all("pku_saferlhf").to_pandas()
    assert Counter(whole["attribute"]) == {"helpfulness": 8, "safety": 8} and sizes("pku_saferlhf")["test"] == 4
    assert whole.loc[whole["attribute"] == "safety", "chosen"].str.startswith("Ask").all()
    table = data.counts("pku_saferlhf").query("split == 'test' and attribute == 'all'")
    assert table["unanimous"].tolist() == [1]
    assert len(data.load("pku_saferlhf", "test", drop_unanimous=True)) == 2


def test_reward_bench_is_all_test() -> None:
    assert sizes("reward_bench") == {"train": 0, "validation": 0, "test": 4}
    assert {data.SECTIONS[s] for s in data.load("reward_bench", "test")["attribute"]} == {
        "chat",
        "chat-hard",
        "safety",
        "reasoning",
    }
    assert data.load("reward_bench", "train").column_names == data.load("reward_bench", "test").column_names


def test_the_hubs_copies_of_the_open_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ours, theirs in (("summeval", "summeval_hub"), ("hh_rlhf_human_test", "hh_hub")):
        shutil.copytree(FIXTURES / theirs, tmp_path / "mirror" / ours)
    monkeypatch.setenv("MICRO_PAPER_DATA", str(tmp_path / "mirror"))
    assert Counter(load_all("summeval")["attribute"]) == {"relevance": 2, "coherence": 3, "fluency": 2}
    found = load_all("hh_rlhf_human_test")
    assert sorted(zip(found["attribute"], found["chosen"], strict=True)) == [
        ("harmless", "No, never drink it."),
        ("helpful", "Robin"),
    ]
    assert data.skipped("hh_rlhf_human_test")["unreadable dialogues"] == 1


def copy_of(folder: Path, **splits: list[dict]) -> str:
    folder.mkdir()
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder)


def helpsteer(prompt: object, response: object = "r", good: object = 1) -> dict:
    return {"prompt": prompt, "response": response, **dict.fromkeys(data.CRITERIA["helpsteer2"], good)}


def turns(*contents: object) -> list[dict]:
    return [{"role": ("user", "assistant")[k % 2], "content": text} for k, text in enumerate(contents)]


def bench(**change: object) -> dict:
    return {"prompt": "q", "chosen": "a", "rejected": "b", "subset": "hep-go", **change}


def criteria(**change: object) -> dict:
    sides = {"criteria_x": "x", "criteria_y": "y", "category_x": "humor", "category_y": "humor"}
    return {"prompt": "q", "response_a": "a", "response_b": "b", **sides, **change}


def safe(**change: object) -> dict:
    sides = {"better_response_id": 0, "safer_response_id": 1}
    return {"prompt": "q", "response_0": "a", "response_1": "b", **sides, **change}


NOTHING_ASKED = "hi\n<extra_id_1>Assistant\nhello\n<extra_id_1>User\n \n<extra_id_1>Assistant\nwell"
LEFT_OUT = {
    "helpsteer2": {
        "prompt does not end with the user's message": [helpsteer(NOTHING_ASKED), helpsteer(NOTHING_ASKED, "s")],
        "roles do not alternate": [helpsteer("\n<extra_id_1>Assistant\nhello\n<extra_id_1>User\nhi")],
        "prompt is empty": [helpsteer(" ")],
        "no usable prompt": [helpsteer(None)],
        "no usable response": [helpsteer("q", None), helpsteer("q", 3)],
        "no usable verbosity": [{**helpsteer("q"), "verbosity": v} for v in (None, float("nan"), "2", True)],
    },
    "rpr": {
        "context is empty": [criteria(criteria_x="")],
        "no usable criteria_y": [criteria(criteria_y=None)],
        "prompt holds half of a surrogate pair": 2 * [criteria(prompt="\ud800", category_y="")],
    },
    "preference_700k": {
        "no usable chosen": [{"chosen": c, "rejected": turns("q", "b")} for c in (None, turns("q", None), ["q", "a"])],
        "roles do not alternate": [{s: [turns(0, "hi")[1], *turns("q", s)] for s in ("chosen", "rejected")}],
        "prompt has other roles": [
            {s: [{"role": "tool", "content": "t"}, *turns("q", s)] for s in ("chosen", "rejected")}
        ],
        "prompt is empty": [{s: turns("", s) for s in ("chosen", "rejected")}],
    },
    "pku_saferlhf": {
        "no usable safer_response_id": [safe(safer_response_id=None)],
        "no better_response_id": [safe(better_response_id=-1)],
    },
    "reward_bench": {
        "prompt is empty": [bench(prompt=""), bench(prompt="\n")],
        "attribute is empty": [bench(subset="")],
        "no usable rejected": [bench(rejected=None)],
        "rejected holds half of a surrogate pair": [bench(rejected="\udfff")],
    },
}
GOOD = {
    "helpsteer2": [helpsteer("p"), helpsteer("p", "s", 2)],
    "rpr": [criteria(prompt="p")],
    "preference_700k": [{s: turns("p", s) for s in ("chosen", "rejected")}],
    "pku_saferlhf": [safe(prompt="p")],
    "reward_bench": [bench(prompt="p", chosen="")],  # an empty answer was judged too
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_rows_that_no_backbone_can_read_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    bad = [row for rows in LEFT_OUT[name].values() for row in rows]
    splits = {split: GOOD[name] for split in hub.HUB[name].splits}
    path = copy_of(tmp_path / "copy", **{**splits, next(iter(splits)): [GOOD[name][0], *bad, *GOOD[name][1:]]})
    clean = data.load_whole(name, path=copy_of(tmp_path / "clean", **splits))
    found = data.load_whole(name, path=path)
    counted = data.skipped(name, path=path)
    assert {kind: counted[kind] for kind in LEFT_OUT[name]} == {k: len(rows) for k, rows in LEFT_OUT[name].items()}
    assert set(clean["pair_id"]) <= set(found["pair_id"]) and set(found["chosen"]) == set(clean["chosen"])


def test_local_copies_are_read_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (FIXTURES / "reward_bench" / "filtered.jsonl").read_text()
    whole = data.load_whole("reward_bench").to_list()
    as_list = json.dumps([json.loads(line) for line in rows.splitlines()])
    for suffix, content in {
        "jsonl": b"\xef\xbb\xbf" + rows.encode(),
        "jsonl.gz": gzip.compress(rows.encode()),
        "json": rows.encode(),
        "json.gz": gzip.compress(as_list.encode()),
    }.items():
        (tmp_path / f"filtered.{suffix}").write_bytes(content)
        assert data.load_whole("reward_bench", path=str(tmp_path / f"filtered.{suffix}")).to_list() == whole
    (tmp_path / "filtered.json").write_text(f"[{as_list}]")
    with pytest.raises(InputError, match=r"filtered\.json row 1: not an object"):
        data.load("reward_bench", path=tmp_path / "filtered.json")
    (tmp_path / "mirror" / "reward_bench").mkdir(parents=True)
    monkeypatch.setenv("MICRO_PAPER_DATA", str(tmp_path / "mirror"))
    with pytest.raises(InputError, match="reward_bench has no file of reward_bench"):  # no step to the hub
        data.load("reward_bench")
    (tmp_path / "mirror" / "reward_bench" / "data").symlink_to(FIXTURES / "reward_bench")
    assert data.load_whole("reward_bench").to_list() == whole
    (tmp_path / "mirror" / "reward_bench" / "data").unlink()
    (tmp_path / "mirror" / "reward_bench").rmdir()
    (tmp_path / "mirror" / "reward_bench").symlink_to(tmp_path / "gone")
    with pytest.raises(MissingError, match="reward_bench does not exist"):
        data.load("reward_bench")
    monkeypatch.setenv("HOME", str(FIXTURES))
    assert data.load_whole("reward_bench", path="~/reward_bench").to_list() == whole


def test_parquet_and_path_are_read_like_json_lines(tmp_path: Path) -> None:
    import pandas as pd

    folder = tmp_path / "copy" / "data"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        rows = pd.read_json(FIXTURES / "rpr" / f"{split}.jsonl", lines=True)
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    copy = load_all("rpr", path=str(tmp_path / "copy"))
    assert copy["pair_id"][:] == load_all("rpr")["pair_id"][:]
    one = load_all("rpr", path=folder / "test-00000-of-00001.parquet")
    assert len(one) == 2


def test_wrong_copies_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "p"}\n')
    with pytest.raises(InputError, match="'response_a'"):
        data.load("rpr", path=str(tmp_path / "train.jsonl"))
    with pytest.raises(InputError, match="no test file"):
        shutil.copy(FIXTURES / "rpr" / "train.jsonl", tmp_path / "train.jsonl")
        data.load("rpr", path=str(tmp_path))
    with pytest.raises(MissingError, match="does not exist"):
        data.load("rpr", path=str(tmp_path / "none"))
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"bad\.parquet cannot be read"):
        data.load("rpr", path=str(tmp_path / "bad.parquet"))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match=r"rpr \(train\): no rows"):
        data.load("rpr", path=str(tmp_path / "empty.jsonl"))
    with pytest.raises(InputError, match="max_rows"):
        data.load("rpr", max_rows=0)


def test_a_revision_is_resolved_once_and_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.delenv("MICRO_PAPER_DATA")
    asked, loaded = [], []
    revisions = iter(["a" * 40, "b" * 40])

    def dataset_info(self: object, repository: str, timeout: float) -> SimpleNamespace:
        asked.append(repository)
        return SimpleNamespace(sha=next(revisions))

    def load_dataset(repository: str, data_dir: str | None, split: str, revision: str) -> datasets.Dataset:
        loaded.append((repository, split, revision))
        return datasets.Dataset.from_list([json.loads(line) for line in (FIXTURES / "rpr" / f"{split}.jsonl").open()])

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert len(load_all("rpr")) == 11
    registry._build.cache_clear()  # as in another process
    data.load("rpr")
    assert asked == ["microsoft/rpr"] and {r for *_, r in loaded} == {"a" * 40}
    locks = {f.name: f.read_text() for f in (tmp_path / "cache" / "hub-revisions").iterdir()}
    assert locks == {"microsoft--rpr": "a" * 40}
    registry._build.cache_clear()


def test_two_first_downloads_take_one_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    lock = tmp_path / "cache" / "hub-revisions" / "a--b"

    def meanwhile(self: object, repository: str, timeout: float) -> SimpleNamespace:
        lock.parent.mkdir(parents=True)
        lock.write_text("c" * 40)  # the other download was quicker
        return SimpleNamespace(sha="d" * 40)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", meanwhile)
    assert hub.resolve_revision("a/b") == "c" * 40 and list(lock.parent.iterdir()) == [lock]
    lock.write_text("main")
    with pytest.raises(InputError, match="no commit"):
        hub.resolve_revision("a/b")
