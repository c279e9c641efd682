"""`jsonl:PATH`: the three row shapes, and every bad row named by its number."""

import json
from pathlib import Path

import pytest

from micro_paper import data
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
    (tmp_path / "criteria.json").write_text('{"good": 3}')
    with pytest.raises(InputError, match=r"criteria\.json"):
        data.load(name)


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


def test_a_byte_order_mark_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    text = "\ufeff\r\n" + json.dumps(judged()) + "\r\n\r\n" + json.dumps(judged(prompt="R")) + "\r\n"
    (tmp_path / "own.jsonl").write_bytes(text.encode())
    assert len(everything(f"jsonl:{tmp_path / 'own.jsonl'}")) == 2


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
