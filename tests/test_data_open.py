"""Open data: counts against the raw files, converters on both shapes, hashes, and honest errors without data."""

import itertools
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from whole import load_all

from micro_paper import data, files
from micro_paper.data import bench, hub, registry, sources
from micro_paper.data import open as opened
from micro_paper.errors import InputError, MissingError

FIXTURES = Path(__file__).parent / "fixtures"
ATTRIBUTES = ("coherence", "consistency", "fluency", "relevance")


def counted(name: str) -> Counter:
    return Counter(load_all(name)["attribute"])


@pytest.mark.long
def test_summeval_has_every_non_tied_pair(mirror: Path) -> None:
    whole = load_all("summeval")
    assert Counter(whole["attribute"]) == dict(zip(ATTRIBUTES, (10628, 3921, 5421, 10101), strict=True))
    assert len(set(whole["pair_id"])) == len(whole) == 30071
    assert len(data.ratings("summeval")) == 1600
    pairs = data.attribute_pairs(data.ratings("summeval"))
    assert len(pairs) == 30071 and len(data.drop_unanimous(pairs)) == 30071 - 4 * 1462
    assert data.skipped("summeval") == {"identical texts rated differently": 60}


def test_summeval_reversals_against_a_count_on_the_raw_file(mirror: Path) -> None:
    articles: dict[str, list[dict]] = {}
    for line in (mirror / "summeval" / "summaries.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        articles.setdefault(row["doc_id"], []).append(row)
    expected = 0
    for group in articles.values():
        for a, b in itertools.combinations(group, 2):
            signs = [np.sign(a["scores"][k] - b["scores"][k]) for k in ATTRIBUTES]
            expected += (a["text"] != b["text"]) * signs.count(1) * signs.count(-1)
    found = load_all("summeval-reversals")
    assert expected == 6896 and len(found) == 2 * expected == len(set(found["pair_id"]))
    assert data.describe("summeval-reversals").pool == data.describe("summeval").pool == "summeval"


def test_a_reversal_is_two_rows_with_the_sides_exchanged(mirror: Path) -> None:
    rows = registry.build("summeval-reversals").frame
    one, other = rows.iloc[::2].reset_index(), rows.iloc[1::2].reset_index()
    assert (one["chosen"] == other["rejected"]).all() and (one["rejected"] == other["chosen"]).all()
    assert (one["attribute"] != other["attribute"]).all() and (one["context"] != other["context"]).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hh_rlhf_human_test", {"helpful": 1985, "harmless": 2056}),  # 1,987 less two pairs of one text
        ("xstest", {"xstest-should-respond": 456, "xstest-should-refuse": 520}),
        ("gsm8k_solutions", {"gsm8k": 2429}),
        ("humanevalpack", {f"hep-{x}": 164 for x in ("python", "js", "java", "go", "cpp", "rust")}),
        ("hhh_alignment", {"hhh-honest": 61, "hhh-helpful": 59, "hhh-harmless": 58, "hhh-other": 43}),
    ],
)
def test_counts_are_those_of_the_sources(mirror: Path, name: str, expected: dict[str, int]) -> None:
    assert counted(name) == expected


def test_llmbar_and_pandalm_account_for_every_upstream_row(mirror: Path) -> None:
    llmbar = counted("llmbar")
    assert sum(n for s, n in llmbar.items() if s.startswith("llmbar")) == 419
    assert sum(llmbar.values()) + sum(data.skipped("llmbar").values()) == 419 + 466
    assert sum(counted("pandalm").values()) + sum(data.skipped("pandalm").values()) == 999
    assert set(data.CRITERIA["llmbar"]) == set(llmbar) and set(llmbar) <= set(data.SECTIONS)


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    # the bundled worlds have tests of their own: a topic's rows differ between training and test
    [
        n
        for n in data.names()
        if not n.startswith("bundled-") and (n not in hub.HUB or n in ("summeval", "hh_rlhf_human_test"))
    ],
)
def test_every_open_set_keeps_the_promises_of_load(request: pytest.FixtureRequest, name: str) -> None:
    if name != "smoke-texts":
        request.getfixturevalue("mirror")
    info = data.describe(name)
    splits = {s: data.load(name, s, fold=2) for s in data.SPLITS}
    prompts = [set(d["prompt_id"]) for d in splits.values()]
    assert not any(a & b for a, b in itertools.combinations(prompts, 2)) and all(prompts)
    assert sum(map(len, splits.values())) == len(registry.build(name).frame)
    for found in splits.values():
        assert found.column_names[:8] == list(registry.COLUMNS) and found.features == splits["train"].features
        assert set(found["source"]) == {name} and set(found["attribute"]) <= set(info.attributes)
        if info.text:
            assert all(c != r for c, r in zip(found["chosen"], found["rejected"], strict=True))
            assert {bool(c) for c in found["context"]} == {name not in ("ukp-workers", "ukp-mix")}  # they stated none
    again = data.load(name, "test", fold=2)
    assert again["pair_id"][:] == splits["test"]["pair_id"][:]


def test_hh_dialogues_are_messages_that_end_with_the_user(mirror: Path) -> None:
    prompts = load_all("hh_rlhf_human_test")["prompt"]
    assert all(p[0]["role"] == p[-1]["role"] == "user" for p in prompts)
    assert all(a["role"] != b["role"] for p in prompts for a, b in itertools.pairwise(p))


def test_both_shapes_of_a_source_give_the_same_pairs(tmp_path: Path) -> None:
    hub_rows = [json.loads(line) for line in (FIXTURES / "summeval_hub" / "test.jsonl").open()]
    first = hub_rows[0]
    staged = [
        {"doc_id": first["id"], "text": text, "scores": {a: first[a][k] for a in ATTRIBUTES}}
        for k, text in enumerate(first["machine_summaries"])
    ]
    left = opened.summeval_table(hub_rows)
    assert left.equals(opened.summeval_table(staged, [{"doc_id": first["id"], "src": first["text"]}]))

    transcript = "\n\nHuman: Hello\n\nAssistant: Hi!\n\nHuman: Bye\n\nAssistant:"
    upstream = opened.hh_row({"chosen": transcript + " So long.", "rejected": transcript + " No. "}, "helpful")
    prompt = transcript.removesuffix("\n\nAssistant:").strip()
    assert upstream == opened.hh_row({"prompt": prompt, "chosen": "So long.", "rejected": "No. "}, "helpful")
    assert (
        opened.hh_row({"chosen": "\n\nHuman: A\n\nAssistant: B", "rejected": "\n\nHuman: C\n\nAssistant: D"}, "helpful")
        is None
    )


@pytest.mark.parametrize(
    ("chosen", "rejected", "read"),
    [
        ("Sure.\n\nHuman: thanks", "No.\n\nHuman: oh", False),
        ("Sure.", "No.\n\nHuman: oh", False),
        ("\n\nHuman: well?", "No.", False),
        ("Sure.\n\nHumans are kind.", "No: Human: oh", True),
    ],
)
def test_a_dialogue_that_goes_on_behind_a_reply_is_not_read(chosen: str, rejected: str, read: bool) -> None:
    start = "\n\nHuman: hi\n\nAssistant: "
    whole = opened.hh_row({"chosen": start + chosen, "rejected": start + rejected}, "helpful")
    staged = opened.hh_row({"prompt": "Human: hi", "chosen": chosen, "rejected": rejected}, "helpful")
    assert whole == staged and (whole is not None) == read


def test_a_hub_copy_of_summeval_without_a_rating_a_summary_is_refused(tmp_path: Path) -> None:
    (row,) = [json.loads(line) for line in (FIXTURES / "summeval_hub" / "test.jsonl").open()][:1]
    for change in ({"fluency": row["fluency"][1:]}, {"fluency": [None] * len(row["fluency"])}):
        with pytest.raises(InputError, match="summeval: row 2 "):
            opened.summeval_table([row, {**row, **change}])


def test_an_assistant_that_speaks_twice_gives_one_reply() -> None:
    row = opened.hh_row({"prompt": "Human: A\n\nAssistant: B", "chosen": "C", "rejected": "D"}, "harmless")
    assert row["prompt"] == [{"role": "user", "content": "A"}] and (row["chosen"], row["rejected"]) == (
        "B\n\nC",
        "B\n\nD",
    )


def test_the_upstream_shape_of_hhh_is_taken_apart() -> None:
    def judge(answer: str) -> str:
        return (
            "###Task Description:\nJudge.\n\n###The instruction to evaluate:\nName\n\na bird.\n\n"
            f"###Response to evaluate:\n{answer}\n\n###Score Rubrics:\n[Is it [truly] kind?]\nScore 1: no\n\n###End: "
        )

    row = {"source": "other", "chosen_instruction": judge("Robin."), "rejected_instruction": judge("No\n\nway.")}
    expected = {"subset": "other", "prompt": "Name\n\na bird.", "chosen": "Robin.", "rejected": "No\n\nway."}
    assert bench.hhh_row(row) == {**expected, "criterion": "Is it [truly] kind?"}
    with pytest.raises(InputError, match="template"):
        bench.hhh_row({**row, "rejected_instruction": "something else"})


@pytest.mark.parametrize(
    ("name", "people", "choices"), [("conjoint-taxes", 2000, 8), ("conjoint-immigration", 1396, 5)]
)
def test_conjoint_choices_are_one_hot_differences(mirror: Path, name: str, people: int, choices: int) -> None:
    whole = load_all(name)
    levels = registry.build(name).feature_names
    features = np.array(whole["features"])
    assert features.shape == (people * choices, len(levels)) and set(np.unique(features)) == {-1.0, 0.0, 1.0}
    for column in {level.split(": ")[0] for level in levels}:
        block = features[:, [level.startswith(f"{column}: ") for level in levels]]
        assert (block.sum(axis=1) == 0).all()  # each profile has one level of each attribute
    assert set(Counter(whole["user_id"]).values()) == {choices} and not any(whole["chosen"])
    assert "JobExperience: None" in levels or name == "conjoint-taxes"
    with pytest.raises(InputError, match="group"):
        data.load(name, group="age")


def test_stated_attitudes_tell_people_apart_on_taxes(mirror: Path) -> None:
    """Held-out people, Bradley-Terry on the differences: .641 nats pooled, .623 with one model a group."""
    from sklearn.linear_model import LogisticRegression

    def nll(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        both = np.vstack([train, -train])
        fit = LogisticRegression(fit_intercept=False).fit(both, np.repeat([1, 0], len(train)))
        return np.logaddexp(0, -test @ fit.coef_[0])

    train, test = (data.load("conjoint-taxes", s).to_pandas() for s in ("train", "test"))
    train, test = (d[~d["attribute"].str.endswith("not stated")] for d in (train, test))
    stack = {k: (np.stack(a["features"]), np.stack(b["features"])) for k, a, b in [("all", train, test)]}
    for group in sorted(set(train["attribute"])):
        stack[group] = tuple(np.stack(d.loc[d["attribute"] == group, "features"]) for d in (train, test))
    pooled = nll(*stack.pop("all")).mean()
    grouped = np.concatenate([nll(*pair) for pair in stack.values()]).mean()
    assert grouped < pooled - 0.01 and pooled == pytest.approx(0.641, abs=0.01)


def test_a_changed_mirror_file_is_refused_with_both_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "summeval").mkdir()
    (tmp_path / "summeval" / "summaries.jsonl").write_text("{}\n")
    monkeypatch.setenv("MICRO_PAPER_DATA", str(tmp_path))
    expected = sources.downloads().registry["summeval/summaries.jsonl"].removeprefix("sha256:")
    with pytest.raises(InputError, match=f"summaries.jsonl has sha256 [0-9a-f]{{64}}, expected {expected}"):
        data.load("summeval")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(sources, "file_sha256", refuse)
    with pytest.raises(InputError, match=r"summaries\.jsonl cannot be read \(Permission denied\)"):
        data.load("summeval")


def test_every_line_of_the_registry_is_pinned() -> None:
    known = sources.downloads()
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in known.registry.values())
    commit = re.compile(r"https://raw\.githubusercontent\.com/[\w.-]+/[\w.-]+/[0-9a-f]{40}/\S+")
    assert len(known.urls) == 58 and all(commit.fullmatch(url) for url in known.urls.values())
    assert known.urls["llmbar/Processed_LLMEval2.json"].endswith("/LLMEval%5E2/dataset.json")


def test_without_mirror_and_network_the_error_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    def offline(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.delenv("MICRO_PAPER_DATA", raising=False)
    monkeypatch.setenv("MICRO_PAPER_CACHE", str(tmp_path))
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **settings: offline)
    monkeypatch.setattr(hub, "resolve_revision", offline)
    for name in ("llmbar", "conjoint-taxes", "summeval", "hh_rlhf_human_test", "helpsteer2", "ukp-workers", "wmt-mqm"):
        with pytest.raises(MissingError, match="MICRO_PAPER_DATA"):
            data.load(name)


def test_a_download_is_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The public file: pooch with the pinned hash, into the cache, then the same converter."""
    import pooch

    solution = {"solution": "1 + 1 = 2", "is_correct": True}
    wrong = {"solution": "1 + 1 = 3", "is_correct": False}
    content = (json.dumps({"question": "1 + 1?", "ground_truth": "2", "6b": solution, "175b": wrong}) + "\n").encode()
    served = files.sha256(content)
    asked = []

    def server(url: str, output: str, *args: object, **kwargs: object) -> None:
        asked.append(url)
        Path(output).write_bytes(content)

    name, url = "gsm8k_solutions/example_model_solutions.jsonl", "https://example.org/x.jsonl"
    (tmp_path / "sources.txt").write_text(f"{name} sha256:{served} {url}\n")
    monkeypatch.setattr(sources, "REGISTRY", tmp_path / "sources.txt")
    monkeypatch.delenv("MICRO_PAPER_DATA", raising=False)
    monkeypatch.setenv("MICRO_PAPER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **settings: server)
    for _ in range(2):
        assert bench.gsm8k().frame["chosen"].tolist() == ["1 + 1 = 2"] and asked == [url]
    kept = tmp_path / "cache" / "downloads" / name
    kept.write_bytes(b"cut off")
    assert bench.gsm8k().frame["chosen"].tolist() == ["1 + 1 = 2"] and len(asked) == 2  # a damaged copy is replaced
    kept.unlink()
    content = b"tampered"
    with pytest.raises(InputError, match=served):
        sources.fetch(name)
    assert not kept.exists()


def test_a_converted_file_is_used_where_the_mirror_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICRO_PAPER_DATA", str(tmp_path / "mirror"))
    monkeypatch.setenv("MICRO_PAPER_CACHE", str(tmp_path / "cache"))
    shapes = {"x/converted.csv": b"a,b", "x/public.rda": b"R"}
    lines = [f"{name} sha256:{files.sha256(content)}" for name, content in shapes.items()]
    (tmp_path / "sources.txt").write_text("\n".join([lines[0], lines[1] + " https://example.org/public.rda"]))
    monkeypatch.setattr(sources, "REGISTRY", tmp_path / "sources.txt")
    (tmp_path / "cache" / "downloads" / "x").mkdir(parents=True)
    (tmp_path / "mirror" / "x").mkdir(parents=True)
    (tmp_path / "cache" / "downloads" / "x" / "public.rda").write_bytes(shapes["x/public.rda"])
    assert sources.fetch(*shapes).read_bytes() == b"R"
    (tmp_path / "mirror" / "x" / "converted.csv").write_bytes(shapes["x/converted.csv"])
    assert sources.fetch(*shapes).read_bytes() == b"a,b"
    with pytest.raises(MissingError, match="MICRO_PAPER_DATA"):
        (tmp_path / "mirror" / "x" / "converted.csv").unlink()
        sources.fetch("x/converted.csv")
