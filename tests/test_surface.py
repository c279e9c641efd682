"""What can be counted without reading tells no dimension, but where the count is the dimension."""

import re
from collections.abc import Collection

import numpy as np
import pandas as pd
import pytest

from micro_paper import data
from micro_paper.data import corpus
from micro_paper.data.corpus import surface
from micro_paper.data.corpus.text import STYLES
from micro_paper.errors import InputError
from micro_paper.experiments import surface_tells

WORLDS = [name for name in data.names() if name.startswith("bundled-")]
ONE, ALL = 0.65, 0.70  # what one count may reach in a dimension, and all of them together in the average
TOPICS = [t for t in corpus.topics() if not t.sealed]


def told(name: str, topics: Collection[str] | None = None, mark: str = "", marked: str = "") -> pd.DataFrame:
    """As the library's, of the topics named alone, with `mark` at the end of what wins by the attribute `marked`."""

    def changed(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows if topics is None else rows[rows["prompt_id"].isin(topics)]
        return rows.assign(chosen=rows["chosen"] + np.where(rows["attribute"] == marked, mark, ""))

    return surface_tells.told(name, changed=changed)


def tells(table: pd.DataFrame) -> list[str]:
    """What a table shows that it must not: single counts above ONE, and the average of all above ALL."""
    one = table.drop(columns="all").stack()
    out = [f"{attribute}: {count} {value:.2f}" for (attribute, count), value in one[one > ONE].items()]
    return [*out, *([f"all: {table['all'].mean():.2f}"] if table["all"].mean() > ALL else [])]


@pytest.mark.long
@pytest.mark.parametrize("name", WORLDS)
def test_no_surface_count_tells_a_dimension(name: str) -> None:
    assert tells(told(name)) == []


def test_the_strongest_count_is_that_of_the_table() -> None:
    table = surface_tells.strongest(["smoke-texts"], folds=2).set_index("attribute")
    whole = surface_tells.told("smoke-texts", 2)
    assert set(table.index) == set(whole.index) and len(table)
    for attribute, row in table.iterrows():
        assert row["by_one"] == whole.drop(columns="all").loc[attribute].max() == whole.loc[attribute, row["count"]]
        assert row["by_all"] == whole.loc[attribute, "all"]


@pytest.mark.parametrize(
    ("mark", "count"), [(" Why?", "question marks"), (" She did.", "she and he"), (" It was 7.", "digits")]
)
def test_a_mark_on_one_dimension_is_found(mark: str, count: str) -> None:
    topics = [t.slug for t in TOPICS[::3]]
    found = tells(told("bundled-rpr", topics, mark, "humor"))
    assert any(line.startswith(f"humor: {count}") for line in found)


def test_fragments_of_a_style_are_not_told_apart() -> None:
    codes, texts = zip(*((c, x) for t in TOPICS for c in STYLES for x in t.fragments[c]), strict=True)
    counts = surface.surface_counts(texts)
    apart = {c: surface.told_apart(counts, np.array(codes) == c) for c in STYLES}
    loud = [(c, n) for c, a in apart.items() for n, v in zip(surface.NAMES, a, strict=True) if v > 0.75]
    assert loud == []
    asked = np.array([re.sub(r"\.$", "?", x) if c == "ped" else x for c, x in zip(codes, texts, strict=True)])
    assert surface.told_apart(surface.surface_counts(asked), np.array(codes) == "ped").max() > 0.75


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("Isn't it late? No: he said 12.", {"question marks": 1, "contractions": 1, "colons": 1, "digits": 2}),
        ("I saw Ada; you (and she) didn't!", {"semicolons": 1, "brackets": 2, "capitals inside": 1, "first person": 1}),
        ("One, two – three well-known things.", {"commas": 1, "dashes": 2, "number words": 3, "negations": 0}),
        ("She had never planned on walking.", {"she and he": 1, "past tense": 2, "-ing": 1, "negations": 1}),
        ("Nearly all the water in the sea is salty.", {"hedges": 1, "articles": 2, "second person": 0}),
        ("“Go,” we said. Your turn!", {"quotation marks": 2, "exclamation marks": 1, "second person": 1}),
    ],
)
def test_counts_are_what_a_reader_counts(text: str, counts: dict[str, int]) -> None:
    (row,) = surface.surface_counts([text])
    words = len(surface.WORD.findall(text))
    found = dict(zip(surface.NAMES, row * words / 100, strict=True))
    assert {name: round(found[name], 6) for name in counts} == counts


def test_lengths_are_counted_as_they_are() -> None:
    (row,) = surface.surface_counts(["The sea rose. It fell again.\n\nTides, isn't it?"])
    found = dict(zip(surface.NAMES, row, strict=True))
    assert found["characters"] == 46 and found["words"] == 9 and found["sentences"] == 3 and found["lines"] == 2
    assert found["sentence length"] == 3 and found["types"] == pytest.approx(8 / 9)
    assert found["word length"] == pytest.approx(33 / 9)


def test_meant_counts_exist_and_dimensions_without_any_have_all() -> None:
    assert {name for names in surface.MEANT.values() for name in names} <= set(surface.NAMES)
    assert surface.not_meant("humor").all() and surface.not_meant("verbosity").sum() == len(surface.NAMES) - 5


def test_single_counts_and_all_are_told_by_what_is_learnt_in_training() -> None:
    train = np.array([[1.0, -1.0, 0.0], [2.0, 1.0, 0.0], [1.0, -3.0, 0.0]])
    test = np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, 0.0], [0.0, -2.0, 2.0], [3.0, -1.0, -5.0]])
    assert surface.by_one_count(train, test).tolist() == [0.625, 0.75, 0.5]
    assert surface.by_all_counts(train, test) == 0.75
    with pytest.raises(InputError, match="both sides"):
        surface.by_one_count(train, test[:0])


def test_two_groups_are_told_apart_by_rank() -> None:
    counts = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [0.0, 5.0]])
    assert surface.told_apart(counts, np.array([True, True, False, False])).tolist() == [0.5, 0.5]
    assert surface.told_apart(counts, np.array([True, False, False, True])).tolist() == [1.0, 0.5]
    with pytest.raises(InputError, match="both sides"):
        surface.told_apart(counts, np.zeros(4, bool))
