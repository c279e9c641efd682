"""Whatever stands in a file of own data: it is loaded as rows that features can be taken of, or refused in one line."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from micro_paper import data
from micro_paper.errors import InputError, MissingError
from micro_paper.features.items import row_keys

SIDES = ("chosen", "rejected")
CHAT = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "R"}]
VALID: list[tuple[list[dict[str, Any]], dict[str, str]]] = [
    (
        [
            {"prompt": f"Q{k}", "response": r, "ratings": {"good": n, "bad": -n}, "user_id": u}
            for k in range(6)
            for u in "uv"
            for n, r in enumerate(("one", "two"))
        ],
        {"good": "Be good.", "bad": "Be bad."},
    ),
    (
        [
            {"prompt": f"Q{k}", "response_a": "a", "response_b": "b", "criteria_x": "Short.", "criteria_y": "Long."}
            for k in range(6)
        ],
        {"Short.": "Be short."},
    ),
    (
        [{"prompt": f"Q{k}", "chosen": "a", "rejected": "b", "attribute": "fun", "user_id": k} for k in range(6)],
        {"fun": "Be fun."},
    ),
    (
        [{"prompt": [*CHAT, {"role": "user", "content": f"Q{k}"}], "chosen": "a", "rejected": "b"} for k in range(6)],
        {"preference": "Be nice."},
    ),
    (
        [
            {s: [*CHAT, {"role": "user", "content": f"Q{k}"}, {"role": "assistant", "content": s}] for s in SIDES}
            for k in range(6)
        ],
        {},
    ),
]
ODD = ("", " ", "\r", "\n", "\x0b", "\x85", "\u2028", "\ufeff", "\0", "\ud800", "user", "assistant", "system", "prompt")
TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=8) | st.sampled_from(ODD)
NUMBERS = (
    st.integers()
    | st.floats()
    | st.sampled_from([10**400, 1e308, -1e308, float("nan"), float("inf"), -0.0, 2**63, 5e-324])
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(TEXTS | st.sampled_from(["role", "content", "good"]), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    sorted({name for rows, _ in VALID for name in rows[0]} | {"context", "prompt_id", "category_x"})
)
DEEP = st.integers(1, 2000).map(lambda n: "[" * n + "]" * n)
numbers = itertools.count()


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every entry below `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def dumped(value: Any, ascii_only: bool) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


@st.composite
def changed(draw: st.DrawFn, valid: Any) -> Any:
    """A copy of a JSON value, a few of whose entries are lost, added, moved or have another value."""
    value = json.loads(json.dumps(valid))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        *path, last = draw(st.sampled_from(list(places(value)) or [(0,)]))
        inner = value
        for key in path:
            inner = inner[key]
        if not inner:
            break
        how = draw(st.sampled_from(["replace", "remove", "add", "move"]))
        if how == "replace":
            inner[last] = draw(VALUES)
        elif how == "remove":
            del inner[last]
        elif isinstance(inner, list):
            inner.insert(draw(st.integers(0, len(inner))), inner[last] if how == "move" else draw(VALUES))
        else:
            inner[draw(NAMES | TEXTS)] = inner.pop(last) if how == "move" else draw(VALUES)
    return value


@st.composite
def files(draw: st.DrawFn, valid: Any, row_wise: bool) -> bytes:
    """The bytes of a JSON or JSON-lines file, more or less like a valid one."""
    ascii_only = draw(st.booleans())
    value = draw(changed(valid))
    parts = [dumped(row, ascii_only) for row in value] if row_wise else [dumped(value, ascii_only)]
    if draw(st.integers(0, 9)) == 0:  # what no Python value is written as
        odd = draw(DEEP.map(str.encode) | st.sampled_from([b'{"a": 1, "a": 2}', b'{"prompt": ' + b"9" * 5000 + b"}"]))
        where = draw(st.integers(0, len(parts)))
        parts.insert(where, draw(st.sampled_from([odd, b'{"prompt": ' + odd + b"}"])))
    content = draw(st.sampled_from([b"\n", b"\r\n", b"\r"])).join(parts)
    if draw(st.integers(0, 9)) == 0:
        start, end = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
        content = content[:start] + draw(st.binary(max_size=4)) + content[end:]
    if draw(st.integers(0, 9)) == 0:
        content = b"\xef\xbb\xbf" + content
    if draw(st.integers(0, 9)) == 0:
        content = gzip.compress(content)[: draw(st.none() | st.integers(-8, 60))]
    return content


@st.composite
def folders(draw: st.DrawFn) -> tuple[bytes, bytes | None]:
    """A file of rows, and one of criteria beside it or none."""
    rows, criteria = draw(st.sampled_from(VALID))
    return (
        draw(st.one_of(files(rows, True), files(rows, True), st.binary(max_size=60))),
        draw(st.one_of(st.none(), st.none(), files(criteria, False), st.binary(max_size=30))),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("own")


@pytest.mark.long
@given(folders())
def test_own_data_are_loaded_or_refused_in_one_line(folder: Path, content: tuple[bytes, bytes | None]) -> None:
    rows, criteria = content
    here = folder / str(next(numbers))  # a name of its own, because what was read is remembered
    here.mkdir()
    (here / "own.jsonl").write_bytes(rows)
    if criteria is not None:
        (here / "criteria.json").write_bytes(criteria)
    name = f"jsonl:{here / 'own.jsonl'}"
    try:
        whole = data.load_whole(name)
        assert len(row_keys(whole)) == len(whole) > 0
        assert all(c != r for c, r in zip(whole["chosen"], whole["rejected"], strict=True))
        event("loaded")
        found = [data.load(name, split) for split in data.SPLITS]
        assert sum(map(len, found)) == len(whole)
        ids = [set(part["prompt_id"]) for part in found]
        assert not any(a & b for a, b in itertools.combinations(ids, 2))
        data.load(name, drop_unanimous=True, fold=3)
        event("split")
    except (InputError, MissingError) as error:
        assert "\n" not in str(error) and str(here) in str(error), error


COPIES: dict[str, list[dict[str, Any]]] = {
    "helpsteer2": [
        {"prompt": p, "response": r, **dict.fromkeys(data.CRITERIA["helpsteer2"], n)}
        for p in ("Q", "Q\n<extra_id_1>Assistant\nR\n<extra_id_1>User\nS")
        for n, r in enumerate(("one", "two"))
    ],
    "rpr": [{**row, "category_x": "humor", "category_y": "clarity and conciseness"} for row in VALID[1][0]],
    "preference_700k": VALID[4][0],
    "pku_saferlhf": [
        {"prompt": f"Q{k}", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1}
        for k in range(3)
    ],
    "reward_bench": [{**row, "subset": "hep-go"} for row in VALID[2][0]],
}


@pytest.mark.long
@given(st.sampled_from(sorted(COPIES)).flatmap(lambda name: st.tuples(st.just(name), files(COPIES[name], True))))
def test_copies_of_hub_data_are_loaded_or_refused_in_one_line(folder: Path, copy: tuple[str, bytes]) -> None:
    name, content = copy
    path = folder / f"copy{next(numbers)}.jsonl"
    path.write_bytes(content)
    try:
        whole = data.load_whole(name, path=str(path))
        assert len(row_keys(whole)) == len(whole)
        event("loaded" if len(whole) else "none left")
    except InputError as error:
        assert "\n" not in str(error) and (str(path) in str(error) or str(error).startswith(f"{name} (")), error


def test_the_valid_rows_are_loaded(folder: Path) -> None:
    """Else the property above would hold by refusing everything."""
    for rows, _ in VALID:
        path = folder / f"valid{next(numbers)}.jsonl"
        path.write_bytes(b"\n".join(dumped(row, True) for row in rows))
        assert len(data.load_whole(f"jsonl:{path}")) >= 6
    for name, rows in COPIES.items():
        path = folder / f"valid{next(numbers)}.jsonl"
        path.write_bytes(b"\n".join(dumped(row, True) for row in rows))
        assert len(data.load_whole(name, path=str(path))) >= len(rows)
