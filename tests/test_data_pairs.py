"""Ratings to pairs, against brute force."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micro_paper.data import attribute_pairs, drop_unanimous, unanimous
from micro_paper.errors import InputError


def brute_force(frame: pd.DataFrame, attributes: list[str]) -> set[tuple]:
    found = set()
    for a, b in itertools.permutations(frame.to_dict("records"), 2):
        if a["prompt_id"] == b["prompt_id"] and a["response"] != b["response"]:
            found |= {(a["prompt_id"], a["response"], b["response"], n) for n in attributes if a[n] > b[n]}
    return found


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pairs_and_unanimity_agree_with_brute_force(data: st.DataObject) -> None:
    attributes = ["x", "y", "z"][: data.draw(st.integers(1, 3))]
    rating = st.one_of(st.integers(0, 2), st.just(float("nan")))
    rows = [
        {"prompt_id": f"p{p}", "prompt": f"p{p}", "response": f"r{r}", **{a: data.draw(rating) for a in attributes}}
        for p in range(data.draw(st.integers(1, 3)))
        for r in range(data.draw(st.integers(1, 4)))
    ]
    frame = pd.DataFrame(rows).astype(dict.fromkeys(attributes, float))
    frame = frame.iloc[data.draw(st.permutations(range(len(frame))))]
    pairs = attribute_pairs(frame)
    got = list(pairs[["prompt_id", "chosen", "rejected", "attribute"]].itertuples(index=False, name=None))
    expected = brute_force(frame, attributes)
    assert len(got) == len(set(got)) and set(got) == expected
    assert pairs["pair_id"].is_unique
    agreed = {r for r in expected if all((*r[:3], a) in expected for a in attributes)}
    left = drop_unanimous(pairs)[["prompt_id", "chosen", "rejected", "attribute"]].itertuples(index=False, name=None)
    assert set(left) == expected - agreed
    bare = pairs.drop(columns="comparison_id")
    assert unanimous(bare, attributes).tolist() == unanimous(pairs).tolist()


def table(**columns: list) -> pd.DataFrame:
    return pd.DataFrame({"prompt": ["p", "p"], "response": ["a", "b"], **columns})


def test_users_are_compared_with_themselves_only() -> None:
    frame = pd.DataFrame(
        {
            "prompt": ["p"] * 4,
            "response": ["a", "b", "a", "b"],
            "user_id": ["u", "u", "v", "v"],
            "good": [1, 2, 5, 3],
        }
    )
    pairs = attribute_pairs(frame)
    assert list(zip(pairs["user_id"], pairs["chosen"], strict=True)) == [("u", "b"), ("v", "a")]


def test_only_responses_to_one_item_are_compared() -> None:
    """Two sentences of a document, translated by systems; "b" is said of both, and rated differently."""
    frame = pd.DataFrame(
        {
            "prompt": ["p"] * 4,
            "item_id": [1, 1, 2, 2],
            "response": ["a", "b", "b", "a"],
            "response_id": ["m", "n", "m", "n"],
            "good": [1, 2, 1, 3],
        }
    )
    pairs = attribute_pairs(frame)
    columns = ["item_id", "chosen", "chosen_id", "rejected_id"]
    assert pairs[columns].values.tolist() == [["1", "b", "n", "m"], ["2", "a", "n", "m"]]
    assert pairs["prompt_id"].nunique() == 1 and pairs["comparison_id"].is_unique
    assert unanimous(pairs).tolist() == unanimous(pairs.assign(user_id="u")).tolist() == [True, True]
    assert not unanimous(pairs.assign(user_id="u").drop(columns="item_id")).any()
    assert len(attribute_pairs(frame.drop(columns=["item_id", "response_id"]))) == 3  # 1 ties with 1


def test_order_is_by_prompt_then_pair_then_attribute_and_ids_do_not_depend_on_row_order() -> None:
    frame = pd.DataFrame(
        {
            "prompt": ["p", "q", "p", "q", "p"],
            "response": list("abcde"),
            "x": [1, 2, 3, 1, 2],
            "y": [3, 1, 1, 2, 2],
        }
    )
    pairs = attribute_pairs(frame)
    assert pairs["prompt"].tolist() == ["p"] * 6 + ["q"] * 2
    assert pairs["attribute"].tolist() == ["x", "y"] * 4
    again = attribute_pairs(frame.iloc[::-1])
    assert set(again["pair_id"]) == set(pairs["pair_id"])


def test_a_tie_on_any_attribute_is_not_unanimous() -> None:
    pairs = attribute_pairs(table(x=[1, 2], y=[1, 2], z=[3, 3]))
    assert len(pairs) == 2 and len(drop_unanimous(pairs)) == 2
    assert len(drop_unanimous(pairs, attributes=["x", "y"])) == 0


def test_identical_texts_make_no_pair() -> None:
    assert attribute_pairs(pd.DataFrame({"prompt": ["p"] * 2, "response": ["a"] * 2, "x": [1, 2]})).empty


@pytest.mark.parametrize(
    ("frame", "attributes", "names"),
    [
        (pd.DataFrame({"prompt": ["p"], "x": [1]}), None, "response"),
        (table(), None, "attribute"),
        (table(x=["1", "2"]), ["x"], "'x'"),
        (table(x=[True, False]), ["x"], "bool"),
        (table(x=[1.0, np.inf]), None, "infinite"),
        (table(quality=[1, 2]), ["qualty"], "quality"),
    ],
)
def test_unusable_ratings_are_refused_by_name(frame: pd.DataFrame, attributes: list[str] | None, names: str) -> None:
    with pytest.raises(InputError, match=names):
        attribute_pairs(frame, attributes)
