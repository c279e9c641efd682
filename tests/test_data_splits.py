"""Splits: disjoint, complete, stable; the paper's rule leaks and the report says how much."""

import numpy as np
import pandas as pd
import pytest

from micro_paper.data import assign_folds, leakage_report, paper_first_500
from micro_paper.data.splits import halves
from micro_paper.errors import InputError

IDS = [f"prompt {i}" for i in range(103)]


def test_the_five_test_folds_cut_the_prompts_into_fifths() -> None:
    tests = [{p for p, s in assign_folds(IDS, fold).items() if s == "test"} for fold in range(5)]
    assert set.union(*tests) == set(IDS) and sum(map(len, tests)) == len(IDS)
    assert {len(t) for t in tests} == {20, 21}


@pytest.mark.parametrize("fold", range(5))
def test_validation_is_half_of_the_next_fifth(fold: int) -> None:
    here, following = assign_folds(IDS, fold), assign_folds(IDS, (fold + 1) % 5)
    validation = {p for p, s in here.items() if s == "validation"}
    fifth = {p for p, s in following.items() if s == "test"}
    assert validation < fifth and abs(len(validation) - len(fifth) / 2) <= 0.5


def test_folds_do_not_depend_on_the_order_of_prompts() -> None:
    assert assign_folds(IDS) == assign_folds(IDS[::-1] + IDS[:5])


def test_an_official_test_split_is_kept_and_only_validation_rotates() -> None:
    official = IDS[:10]
    folds = [assign_folds(IDS, fold, official) for fold in range(5)]
    assert all({p for p, s in f.items() if s == "test"} == set(official) for f in folds)
    assert len({frozenset(p for p, s in f.items() if s == "validation") for f in folds}) == 5


@pytest.mark.parametrize("fold", [-1, 5, 1.0, True, "0"])
def test_a_fold_outside_0_to_4_is_refused(fold: object) -> None:
    with pytest.raises(InputError, match="fold"):
        assign_folds(IDS, fold)


def pairs() -> pd.DataFrame:
    rows = [
        {"prompt_id": f"p{i}", "chosen": f"a{i}", "rejected": f"b{i}", "attribute": name}
        for i in range(8)
        for name in (["x", "y"] if i % 2 else ["y"])
    ]
    return pd.DataFrame(rows)


def test_the_papers_rule_takes_the_first_rows_of_each_attribute_and_leaks() -> None:
    train, test = paper_first_500(pairs(), rows=3)
    assert test.groupby("attribute")["prompt_id"].apply(list).to_dict() == {
        "x": ["p1", "p3", "p5"],
        "y": ["p0", "p1", "p2"],
    }
    assert len(train) + len(test) == len(pairs())
    report = leakage_report(train, test).set_index("attribute")
    assert report.loc["x", ["test_prompts", "shared_prompts", "shared_texts", "shared_pairs"]].tolist() == [3, 2, 4, 2]
    assert report.loc["y", "shared_prompts"] == 0 and report.loc["all", "shared_prompts"] == 2


def test_a_split_by_prompt_does_not_leak() -> None:
    where = assign_folds(pairs()["prompt_id"])
    side = pairs()["prompt_id"].map(where)
    report = leakage_report(pairs()[side != "test"], pairs()[side == "test"])
    assert (report[["shared_prompts", "shared_texts", "shared_pairs"]] == 0).all().all() and report["test_pairs"].iloc[
        -1
    ]


def test_the_report_refuses_what_are_no_pairs_and_the_rule_no_rows() -> None:
    with pytest.raises(InputError, match="attribute"):
        leakage_report(pairs().drop(columns="attribute"), pairs())
    with pytest.raises(InputError, match="rows"):
        paper_first_500(pairs(), rows=0)


def test_halves_keep_groups_whole_and_are_as_even_as_those_allow() -> None:
    groups = {"u": "aaaaabbbccd", "v": "aabb", "w": "a"}
    users = [user for user, of in groups.items() for _ in of]
    small = halves(users, "".join(groups.values()))
    found = {}
    for user, group, here in zip(users, "".join(groups.values()), small, strict=True):
        found.setdefault((user, bool(here)), []).append(group)
    assert {key: "".join(value) for key, value in found.items()} == {
        ("u", False): "aaaaad",
        ("u", True): "bbbcc",
        ("v", True): "aa",
        ("v", False): "bb",
        ("w", False): "a",
    }
    order = np.random.default_rng(0).permutation(len(users))
    again = halves([users[i] for i in order], ["".join(groups.values())[i] for i in order])
    assert again.tolist() == small[order].tolist()
    assert halves([], []).tolist() == []
