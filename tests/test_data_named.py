"""Which data sets a notebook's parameters name, blanks in paths included."""

import pytest

from micro_paper.data.named import named_worlds, split_names
from micro_paper.errors import InputError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("llmbar  xstest", ["llmbar", "xstest"]),
        ("'jsonl:/my data/a.jsonl' rpr", ["jsonl:/my data/a.jsonl", "rpr"]),
        ('rpr jsonl:"my data/a.jsonl"', ["rpr", "jsonl:my data/a.jsonl"]),
        ("jsonl:my\\ data/a.jsonl", ["jsonl:my data/a.jsonl"]),
        ("jsonl:a.jsonl jsonl:b.jsonl", ["jsonl:a.jsonl", "jsonl:b.jsonl"]),
        ("jsonl:~/a.jsonl none", ["jsonl:~/a.jsonl", "none"]),
        ("", []),
    ],
)
def test_names_are_separated_by_blanks_and_quoted_as_in_a_shell(text: str, names: list[str]) -> None:
    assert split_names(text) == names


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("jsonl:/my data/a.jsonl", "'jsonl:/my data/a.jsonl'"),
        ("rpr jsonl:our data.jsonl", "'jsonl:our data.jsonl'"),
        ("jsonl:it's.jsonl", "No closing quotation"),
    ],
)
def test_a_path_that_is_cut_in_two_is_refused(text: str, what: str) -> None:
    with pytest.raises(InputError) as error:
        named_worlds({"bench_train": text})
    assert what in str(error.value) and "\n" not in str(error.value)


def test_only_some_parameters_name_several() -> None:
    values = {
        "rpr_like": "jsonl:my data/a.jsonl",
        "bench": "llmbar none",
        "transfer_from": "llmbar xstest",
        "seed": "x y",
    }
    assert named_worlds(values) == ["jsonl:my data/a.jsonl", "llmbar", "xstest"]
