"""`jsonl:PATH`: the three row shapes, and every bad row named by its number."""

import json
from pathlib import Path

import pytest

from micro_paper import data
from micro_paper.data import registry
from micro_paper.errors import InputError, MissingError

A, B = "A first answer.", "A second answer."
CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]


def rated(response: str = A, prompt: object = "Q", ratings: object = None, **more: object) -> dict:
    return {"prompt": prompt, "response": response, "ratings": {"good": 1} if ratings is None else ratings, **more}


def two(**change: object) -> dict:
    row = {"prompt": "Q", "response_a": A, "response_b": B, "criteria_x": "Be short.", "criteria_y": "Be long."}
    return {**row, **change}


def judged(**change: object) -> dict:
    return {"prompt": "Q", "chosen": A, "rejected": B, **change}


def write(folder: Path, *rows: object) -> str:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / "own.jsonl").write_text(text + "\n", encoding="utf-8")
    return f"jsonl:{folder / 'own.jsonl'}"


def everything(name: str) -> list[dict]:
    return data.load_whole(name).to_list()


def test_rated_rows_compare_every_two_responses(tmp_path: Path) -> None:
    rows = [rated(f"r{k}", ratings={"good": k // 2, "bad": -k}) for k in range(4)]
    found = everything(write(tmp_path, *rows))
    assert sum(r["attribute"] == "good" for r in found) == 4  # six pairs, two of them tied
    assert sum(r["attribute"] == "bad" for r in found) == 6
    assert all(r["chosen"] < r["rejected"] for r in found if r["attribute"] == "bad")
    assert {r["context"] for r in found} == {
        "The better response shows more good.",
        "The better response shows more bad.",
    }


def test_criteria_json_beside_the_file_names_the_criteria(tmp_path: Path) -> None:
    (tmp_path / "criteria.json").write_text('{"good": "Be good."}')
    name = write(tmp_path, rated(), rated(B, ratings={"good": 2}))
    assert [r["context"] for r in everything(name)] == ["Be good."]


BAD_CRITERIA = {
    '{"good": 3}': "sentence of 'good' is int, not text",
    '{"good": " "}': "sentence of 'good' is empty",
    '{"good": "\\ud800"}': "surrogate",
    '{"goood": "Be good."}': "no row has an attribute 'goood'. Did you mean 'good'?",
    '{"good": "a", "good": "b"}': "field 'good' stands twice",
    '["good"]': "a JSON list, not an object",
    "": "invalid JSON",
    "[" * 100_000: "nested too deeply",
}


@pytest.mark.parametrize("text", BAD_CRITERIA, ids=range(len(BAD_CRITERIA)))
def test_criteria_that_cannot_be_used_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "criteria.json").write_text(text)
    with pytest.raises(InputError) as error:
        data.load(write(tmp_path, rated(), rated(B, ratings={"good": 2})))
    assert f"{tmp_path / 'criteria.json'}: " in str(error.value) and BAD_CRITERIA[text] in str(error.value)


def test_criteria_may_name_what_some_row_has(tmp_path: Path) -> None:
    (tmp_path / "criteria.json").write_bytes(
        b'\xef\xbb\xbf{"fun": "Be funny.", "preference": "Be nice.", "Be kind.": "?"}'
    )
    rows = [judged(attribute="fun"), judged(prompt="R"), judged(prompt="S", context="Be kind.")]
    assert {r["context"] for r in everything(write(tmp_path, *rows))} == {"Be funny.", "Be nice.", "Be kind."}
    (tmp_path / "criteria.json").unlink()
    (tmp_path / "criteria.json").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"criteria\.json cannot be read"):
        data.load(write(tmp_path, *rows))


def test_criteria_rows_give_both_labels(tmp_path: Path) -> None:
    x, y = everything(write(tmp_path, two(category_x="brevity")))
    assert (x["chosen"], x["attribute"], x["context"]) == (A, "brevity", "Be short.")
    assert (y["chosen"], y["attribute"], y["context"]) == (B, "Be long.", "Be long.")
    assert x["prompt_id"] == y["prompt_id"] and x["pair_id"] != y["pair_id"]


def test_judged_rows_keep_user_and_context(tmp_path: Path) -> None:
    name = write(tmp_path, judged(attribute="fun", user_id=7), judged(context="Be kind.", prompt="R", user_id="u"))
    one, other = sorted(everything(name), key=lambda r: r["prompt"])
    assert (one["attribute"], one["context"], one["user_id"]) == ("fun", "The better response shows more fun.", "7")
    assert (other["attribute"], other["context"], other["user_id"]) == ("Be kind.", "Be kind.", "u")
    assert data.describe(name).kind == "binary"


def test_dialogues_make_every_prompt_a_message_list(tmp_path: Path) -> None:
    found = everything(write(tmp_path, judged(prompt=CHAT), judged(prompt="Q")))
    assert sorted(len(r["prompt"]) for r in found) == [1, 3]
    assert all(r["prompt"][-1]["role"] == "user" for r in found)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    assert len(everything(write(tmp_path, judged()))) == 1
    assert len(everything(write(tmp_path, judged(), judged(prompt="R", chosen="Another.")))) == 2


def test_repeated_judgements_get_their_own_ids(tmp_path: Path) -> None:
    found = everything(write(tmp_path, judged(), judged(), judged(chosen=B, rejected=A)))
    assert len({r["pair_id"] for r in found}) == 3


TALK = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "R"}, {"role": "user", "content": "S"}]


def said(text: object, *before: dict) -> list[dict]:
    return [*before, {"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    "row",
    [
        judged(prompt=TALK, chosen=said(A), rejected=said(B)),
        {"chosen": said(A, *TALK), "rejected": said(B, *TALK)},
        judged(prompt=TALK, chosen=said(A, *TALK), rejected=said(B, *TALK)),
        judged(prompt=TALK, chosen=said(A), rejected=B),
        {"chosen": said(A, *TALK), "rejected": said(B)},
    ],
    ids=["prompt given", "prompt shared", "both", "one side text", "one side alone"],
)
def test_lists_of_messages_are_read_as_prompt_and_replies(tmp_path: Path, row: dict) -> None:
    (found,) = everything(write(tmp_path, row))
    assert (found["prompt"], found["chosen"], found["rejected"]) == (TALK, A, B)


def test_lists_of_messages_may_be_replies_of_every_shape(tmp_path: Path) -> None:
    rows = [rated(said(r), ratings={"good": n}) for n, r in enumerate((A, B))]
    assert everything(write(tmp_path, *rows)) == everything(write(tmp_path, rated(), rated(B, ratings={"good": 3})))
    x, y = everything(write(tmp_path, two(response_a=said(A), response_b=said(B, TALK[0]))))
    assert (x["chosen"], y["chosen"]) == (A, B)


def test_a_prompt_and_the_same_with_white_space_around_it_share_a_split(tmp_path: Path) -> None:
    rows = [judged(prompt=f"Q{k}{end}", chosen=f"{k}{n}") for k in range(30) for n, end in enumerate(("", " ", "\n"))]
    name = write(tmp_path, *rows)
    where = [{p.strip() for p in data.load(name, split)["prompt"]} for split in data.SPLITS]
    assert sum(map(len, where)) == 30 and len(set.union(*where)) == 30
    several = [judged(prompt=[{**m, "content": m["content"] + end} for m in TALK]) for end in ("", " \t")]
    assert len({r["prompt_id"] for r in everything(write(tmp_path, *several))}) == 1
    rated_rows = [rated(prompt="Q"), rated(B, prompt=" Q\n", ratings={"good": 2})]
    assert [r["chosen"] for r in everything(write(tmp_path, *rated_rows))] == [B]


@pytest.mark.parametrize("prompts", range(1, 5))
def test_data_too_small_to_split_are_refused(tmp_path: Path, prompts: int) -> None:
    name = write(tmp_path, *(judged(prompt=f"Q{k}") for k in range(prompts)))
    with pytest.raises(InputError, match=f"prompts: {prompts}.: give at least 5 prompts"):
        [data.load(name, split) for split in data.SPLITS]
    whole = [rated(r, f"Q{k}", {"good": n, "bad": n}) for k in range(5) for n, r in enumerate((A, B))]
    assert [len(data.load(write(tmp_path, *whole), s, fold=4)) for s in data.SPLITS] == [6, 2, 2]
    with pytest.raises(InputError, match="all pairs of train"):
        data.load(write(tmp_path, *whole), drop_unanimous=True)


def test_paths_of_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    name = write(tmp_path / "folder", judged())
    (tmp_path / "linked").symlink_to(tmp_path / "folder")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in ("~/folder/own.jsonl", "linked/own.jsonl", "linked/../folder/own.jsonl"):
        assert everything(f"jsonl:{path}") == everything(name)
    for path, what in (
        ("~/folder", "is a folder"),
        ("none", "is no file"),
        ("", "is a folder"),
        ("a\0b", "is no file"),
    ):
        with pytest.raises(MissingError, match=what):
            data.load(f"jsonl:{path}")
    with pytest.raises(MissingError, match="is no file"):
        data.load(f"jsonl:{'x' * 5000}")


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    text = "\ufeff\r\n" + json.dumps(judged()) + "\r\n\r\n" + json.dumps(judged(prompt="R")) + "\r\n"
    (tmp_path / "own.jsonl").write_bytes(text.encode())
    assert len(everything(f"jsonl:{tmp_path / 'own.jsonl'}")) == 2


def people() -> list[dict]:
    """Six prompts of two responses; u and v agree on all but the first two, w rated one attribute of one prompt."""
    rows = []
    for k in range(6):
        for n, response in enumerate((A, B)):
            rows.append(rated(response, f"Q{k}", {"good": n, "bad": n}, user_id="u"))
            rows.append(rated(response, f"Q{k}", {"good": n, "bad": 3 - n if k < 2 else n}, user_id="v"))
    return [*rows, *(rated(r, "Q5", {"good": n}, user_id="w") for n, r in enumerate((A, B)))]


def test_ratings_are_compared_within_a_user(tmp_path: Path) -> None:
    name = write(tmp_path, *people())
    found = everything(name)
    assert len(found) == 2 * 6 * 2 + 1
    assert {r["user_id"] for r in found if r["chosen"] == A} == {"v"}
    assert list(data.ratings(name)) == ["prompt_id", "prompt", "response", "good", "bad"]
    assert data.ratings(name)["bad"].isna().sum() == 2


def test_a_pair_on_which_people_differ_is_not_unanimous(tmp_path: Path) -> None:
    pairs = registry.build(write(tmp_path, *people())).frame
    left = data.drop_unanimous(pairs)
    # v contradicts u on Q0 and Q1; on Q5 w has decided one attribute only
    assert sorted(zip(left["prompt"], left["user_id"], strict=True)) == sorted(
        [(f"Q{k}", user) for k in (0, 1, 5) for user in "uv" for _ in range(2)] + [("Q5", "w")]
    )
    assert len(data.drop_unanimous(pairs.drop(columns="comparison_id"))) == len(left)


def test_one_attribute_leaves_nothing_out_as_unanimous(tmp_path: Path) -> None:
    name = write(tmp_path, *(rated(r, f"Q{k}", {"good": n}) for k in range(5) for n, r in enumerate((A, B))))
    assert len(data.load(name)) == len(data.load(name, drop_unanimous=True)) == 3


def test_identical_texts_make_no_pair(tmp_path: Path) -> None:
    assert len(everything(write(tmp_path, judged(), judged(rejected=A)))) == 1
    with pytest.raises(InputError, match="itself"):
        everything(write(tmp_path, judged(rejected=A)))


BAD = {
    "invalid JSON": (2, [judged(), "{not json"]),
    "not an object": (1, ["[1]"]),
    "three row shapes": (1, [{"prompt": "Q"}]),
    "'rejected' is missing": (1, [{"prompt": "Q", "chosen": A}]),
    "'prompt' is missing": (2, [judged(), {"chosen": A, "rejected": B}]),
    "rename 'promt'": (1, [{"promt": "Q", "chosen": A, "rejected": B}]),
    "Did you mean 'user_id'": (1, [judged(userid="u")]),
    "one row shape": (2, [judged(), two()]),
    "rejected is empty": (1, [judged(rejected="  ")]),
    "prompt is empty": (1, [judged(prompt="")]),
    "empty list": (1, [judged(prompt=[])]),
    "no role": (1, [judged(prompt=[{"content": "x"}])]),
    "prompt message 1 content": (1, [judged(prompt=[{"role": "user", "content": ""}])]),
    "ends with": (1, [judged(prompt=CHAT[:2])]),
    "surrogate": (1, ['{"prompt": "Q", "chosen": "a \\ud800", "rejected": "b"}']),
    "not text": (1, [judged(chosen=3)]),
    "user_id is True": (1, [judged(user_id=True)]),
    "some rows only": (2, [judged(user_id="u"), judged(prompt="R")]),
    "not finite": (1, ['{"prompt": "Q", "response": "a", "ratings": {"good": NaN}}']),
    "is not finite": (1, ['{"prompt": "Q", "response": "a", "ratings": {"good": 1e999}}']),
    "not a number": (2, [rated(), rated(B, ratings={"good": "2"})]),
    "True, not a number": (2, [rated(), rated(B, ratings={"good": True})]),
    "ratings is not an object": (1, [rated(ratings=[1])]),
    "at least one attribute": (1, [rated(ratings={})]),
    "attribute is named 'prompt'": (1, [rated(ratings={"prompt": 1})]),
    "row 1 rates it": (3, [rated(), rated(B), rated(ratings={"good": 2})]),
    "only one response": (3, [rated(), rated(B, ratings={"good": 2}), rated(prompt="R")]),
    "another prompt than in row 1": (2, [judged(prompt_id="p"), judged(prompt="R", prompt_id="p")]),
    "user_id is empty": (1, [judged(user_id=" ")]),
    "user_id is [1": (1, [judged(user_id=[1] * 1000)]),
    "prompt_id holds half": (1, ['{"prompt": "Q", "chosen": "a", "rejected": "b", "prompt_id": "\\ud800"}']),
    "named '\\ud800'": (1, ['{"prompt": "Q", "response": "a", "ratings": {"\\ud800": 1}}']),
    "has the prompt_id 'p' in row 1": (2, [judged(prompt_id="p"), judged(prompt="Q ", prompt_id="q")]),
    "beyond 1e+100": (1, [rated(ratings={"good": 10**400})]),
    "stands twice": (2, [judged(), '{"prompt": "Q", "prompt": "R", "chosen": "a", "rejected": "b"}']),
    "alternate (user, user)": (2, [judged(), judged(prompt=[CHAT[0], CHAT[2]])]),
    "alternate (assistant, user)": (1, [judged(prompt=CHAT[1:])]),
    "alternate (user, system, user)": (1, [judged(prompt=[CHAT[0], {"role": "system", "content": "s"}, CHAT[2]])]),
    "alternate (system, system, user)": (1, [judged(prompt=[{"role": "system", "content": "s"}] * 2 + CHAT[:1])]),
    "content is null": (1, [judged(prompt=[{"role": "user", "content": None}])]),
    "content is list, not text": (1, [judged(prompt=[{"role": "user", "content": [{"type": "text", "text": "Q"}]}])]),
    "chosen is null": (1, [judged(chosen=None)]),
    "chosen is dict": (1, [judged(chosen={"role": "assistant", "content": A})]),
    "chosen does not end with a message of the assistant": (1, [judged(chosen=[])]),
    "rejected does not end": (1, [judged(chosen=said(A), rejected=[*said(B), CHAT[0]])]),
    "rejected has other messages": (1, [{"chosen": said(A, *TALK), "rejected": said(B, *CHAT)}]),
    "chosen has other messages": (1, [judged(chosen=said(A, CHAT[0]))]),
    "rejected is null": (1, [judged(rejected=said(None))]),
    "are the same": (1, [two(criteria_y="Be short.")]),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_row_is_named_by_its_number(tmp_path: Path, what: str) -> None:
    number, rows = BAD[what]
    with pytest.raises(InputError) as error:
        data.load(write(tmp_path, *rows))
    message = str(error.value)
    assert f"own.jsonl row {number}: " in message and what in message and "\n" not in message


def test_an_attribute_on_which_all_pairs_tie_is_refused(tmp_path: Path) -> None:
    rows = [rated(r, ratings={"good": k, "dull": 3}) for k, r in enumerate((A, B))]
    with pytest.raises(InputError, match="'dull'"):
        data.load(write(tmp_path, *rows))


def test_missing_and_empty_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"none\.jsonl"):
        data.load(f"jsonl:{tmp_path / 'none.jsonl'}")
    with pytest.raises(InputError, match="no rows"):
        data.load(write(tmp_path, ""))
    (tmp_path / "own.jsonl").write_bytes(b'{"prompt": "Q"}\n"\xff"\n')
    with pytest.raises(InputError, match="row 2: not UTF-8"):
        data.load(f"jsonl:{tmp_path / 'own.jsonl'}")
