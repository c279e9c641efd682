"""Declared parameters: what the cell may say, and which values pass."""

from typing import Literal

import pytest

from micro_paper.errors import InputError, MissingError
from micro_paper.workflow.parameters import (
    Parameter,
    check_parameters,
    check_value,
    parse_value,
    profile_names,
    read_parameters,
    read_profile,
)

CELL = """from typing import Literal
profile: str = "smoke"  # the profile
pooling: Literal["mean", "last"] = "mean"  # how tokens are pooled
# the number of pairs,
# or none for all
limit: int | None = 3
rate: float = 2e-3  # a rate
flag: bool = False  # a switch"""


def cell(source, tags=("parameters",)):
    return {"cell_type": "code", "source": source, "metadata": {"tags": list(tags)}}


def test_a_cell_is_read_with_types_and_choices():
    found = read_parameters({"cells": [cell("x = 1", ()), cell(CELL)]})
    assert list(found) == ["profile", "pooling", "limit", "rate", "flag"]
    assert found["pooling"] == Parameter("pooling", "str", "mean", ("mean", "last"))
    assert found["limit"] == Parameter("limit", "int | None", 3)
    assert found["rate"].default == 0.002 and found["rate"].type == "float"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("seed = 0  # no annotation", "line 1: write `name: type = literal"),
        ("seed: int = 0", "seed has no help comment"),
        ("seed: int = int('3')  # computed", "seed must have a literal value"),
        ("seed: list = []  # not a plain type", "seed has the type list"),
        ("seed: int | str = 0  # two types", "seed has the type int | str"),
        ("seed: int = 0.5  # ill-typed default", "seed must be int, got float 0.5"),
        ("seed: int = True  # a bool is no int", "seed must be int, got bool True"),
        ("seed: int = 0  # one\nseed: int = 1  # two", "seed is declared twice"),
        ("import os\nseed: int = 0  # one", "line 1"),
        ('kind: Literal["a"] = "b"  # no choice', "kind must be one of 'a'"),
        ("seed: int =", "line 1: invalid syntax"),
        ("# nothing", "no parameter is declared"),
    ],
)
def test_bad_cells_are_refused(source, says):
    with pytest.raises(InputError) as error:
        read_parameters({"cells": [cell(source)]})
    assert says in str(error.value)


@pytest.mark.parametrize("cells", [[], [cell("x = 1", ())], [cell(CELL), cell(CELL)]])
def test_exactly_one_cell_is_needed(cells):
    with pytest.raises(InputError, match="it needs exactly one"):
        read_parameters({"cells": cells})


def test_no_file_and_no_notebook(tmp_path):
    with pytest.raises(MissingError, match="no notebook at"):
        read_parameters(tmp_path / "absent.ipynb")
    (tmp_path / "broken.ipynb").write_text("{")
    with pytest.raises(InputError, match="broken.ipynb is not a notebook"):
        read_parameters(tmp_path / "broken.ipynb")


def test_values_keep_their_type_and_an_int_may_be_a_float():
    assert check_value(Parameter("rate", "float"), 1) == 1.0
    assert isinstance(check_value(Parameter("rate", "float"), 1), float)
    assert check_value(Parameter("limit", "int | None"), None) is None


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("int", 1e3, "seed must be int, got float 1000.0: write 1000"),
        ("int", 1.5, "seed must be int, got float 1.5"),
        ("int", True, "got bool True"),
        ("float", True, "got bool True"),
        ("float", "2e-3", "write 0.002 without quotes"),
        ("float", float("nan"), "must be finite"),
        ("int", None, "got None"),
        ("str", 3, "must be str, got int 3"),
        ("bool", 1, "must be bool, got int 1"),
    ],
)
def test_ill_typed_values_are_refused(kind, value, says):
    with pytest.raises(InputError) as error:
        check_value(Parameter("seed", kind), value)
    assert says in str(error.value)


def test_choices_suggest_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'mean'"):
        check_value(Parameter("pooling", "str", choices=("mean", "last")), "maen")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("int", "12", 12),
        ("int", "-3", -3),
        ("float", "1e-4", 1e-4),
        ("bool", "True", True),
        ("bool", "false", False),
        ("str", "7", "7"),
        ("int | None", "none", None),
        ("str | None", "null", None),
    ],
)
def test_text_is_parsed_by_the_declared_type(kind, text, value):
    found = parse_value(Parameter("x", kind), text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("int", "1e3", "x must be int, got '1e3': write 1000"),
        ("int", "2.5", "give a whole number"),
        ("int", "none", "give a whole number"),
        ("float", "fast", "give a number"),
        ("float", "inf", "must be finite"),
        ("bool", "1", "give true or false"),
    ],
)
def test_bad_text_is_refused(kind, text, says):
    with pytest.raises(InputError) as error:
        parse_value(Parameter("x", kind), text)
    assert says in str(error.value)


def kernel(**names):
    """What `globals()` holds in a notebook: annotations, IPython's own names and whatever was injected."""
    annotations = {"seed": int, "limit": int | None, "pooling": Literal["mean", "last"]}
    own = {"In": [""], "Out": {}, "exit": print, "quit": print, "get_ipython": print, "_i1": "", "__name__": "m"}
    return {"__annotations__": annotations, "pytest": pytest, **own, "seed": 0, "limit": 3, "pooling": "mean", **names}


def test_a_kernel_passes_and_again_after_it_has_made_variables(checkout):
    names = kernel(check_parameters=check_parameters)
    assert check_parameters(names) == {"seed": 0, "limit": 3, "pooling": "mean"}
    names.update(total=5, rows=[1, 2])
    assert check_parameters(names)["seed"] == 0
    names["seed"] = 1.0
    with pytest.raises(InputError, match="seed must be int, got float 1.0: write 1"):
        check_parameters(names)


def test_an_unknown_name_is_refused_by_name(checkout):
    with pytest.raises(InputError, match=r"unknown parameter 'sed' in this notebook. Did you mean 'seed'\?"):
        check_parameters(kernel(sed=4))


def test_a_name_that_only_profiles_know_is_removed(checkout):
    names = kernel(elsewhere=3)
    assert "elsewhere" not in check_parameters(names) and "elsewhere" not in names


@pytest.mark.parametrize(
    ("change", "says"),
    [({"seed": 1e3}, "write 1000"), ({"limit": "3"}, "must be int | None"), ({"pooling": "max"}, "one of 'mean'")],
)
def test_a_kernel_with_an_ill_typed_value_is_refused(checkout, change, says):
    with pytest.raises(InputError) as error:
        check_parameters(kernel(**change))
    assert says in str(error.value)


def test_a_kernel_without_declarations_is_refused(checkout):
    with pytest.raises(InputError, match="no parameters are declared"):
        check_parameters({"seed": 0})
    names = kernel()
    del names["limit"]
    with pytest.raises(InputError, match="limit is declared without a value"):
        check_parameters(names)


def test_an_annotation_of_another_type_is_refused(checkout):
    with pytest.raises(InputError, match="seed has the type dict"):
        check_parameters({"__annotations__": {"seed": dict}, "seed": {}})


def test_profiles_are_read_and_bad_ones_refused(checkout):
    assert read_profile("open")["seed"] == 7
    assert profile_names() == {"profile", "seed", "scale", "elsewhere"}
    with pytest.raises(InputError, match=r"unknown profile 'opne'. Did you mean 'open'\?"):
        read_profile("opne")
    (checkout / "profiles" / "nested.yaml").write_text("a:\n  b: 1\n")
    with pytest.raises(InputError, match="'a' must be a name with one plain value"):
        read_profile("nested")
    (checkout / "profiles" / "broken.yaml").write_text("a: [")
    with pytest.raises(InputError, match="broken.yaml is not YAML"):
        read_profile("broken")
