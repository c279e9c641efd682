"""Data files are found and read in one way, and every file that cannot be read says why in one line."""

import gzip
import json
from pathlib import Path

import pytest

from micro_paper.data import lines
from micro_paper.errors import InputError

TWO = [{"a": "x\u2028y\x85z\u000b"}, {"a": 2}]
PLAIN = "\n".join(json.dumps(row, ensure_ascii=False) for row in TWO) + "\n"
SAME = {
    "plain": PLAIN.encode(),
    "byte-order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "gzip": gzip.compress(PLAIN.encode()),
    "gzip, byte-order mark": gzip.compress(b"\xef\xbb\xbf" + PLAIN.encode()),
    "CRLF": PLAIN.replace("\n", "\r\n").encode(),
    "CR": PLAIN.replace("\n", "\r").encode(),
    "no last line end": PLAIN.strip().encode(),
    "blank lines": PLAIN.replace("\n", "\n \n\t\r\n").encode(),
}


@pytest.mark.parametrize("how", SAME)
def test_the_same_rows_whatever_the_file_is_like(tmp_path: Path, how: str) -> None:
    (tmp_path / "x").write_bytes(SAME[how])
    assert lines.read_jsonl(tmp_path / "x") == TWO


def test_json_files_are_read_like_rows(tmp_path: Path) -> None:
    for content in (b"[1]\r\n", b"\xef\xbb\xbf[1]", gzip.compress(b"[1]")):
        (tmp_path / "x").write_bytes(content)
        assert lines.read_json(tmp_path / "x") == [1]
    (tmp_path / "x").write_bytes(b"[\n1,]")
    with pytest.raises(InputError, match=r"x: invalid JSON .* at line 2, column 3\)"):
        lines.read_json(tmp_path / "x")


def test_rows_are_numbered_by_their_lines(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b'\xef\xbb\xbf\r\n{"a": 1}\r\n\r\n{"a": 2}')
    assert list(lines.read_rows(tmp_path / "x")) == [(2, {"a": 1}), (4, {"a": 2})]
    (tmp_path / "x").write_bytes(b"")
    assert lines.read_jsonl(tmp_path / "x") == []


BAD = {
    "not UTF-8": b'{}\r{}\r\n{"a": "\xff"}',
    "invalid JSON": b'{}\n\n{"a": 1} {"b": 2}',
    "a number that is too long": b"{}\n{}\n" + b'{"a": ' + b"9" * 5000 + b"}",
    "nested too deeply": b"{}\n{}\n" + b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "field 'a' stands twice": b'{}\n{}\n{"b": {"a": 1, "c": 2, "a": 1}}',
    "a JSON int, not an object": b"{}\n{}\n3",
    "a JSON NoneType, not an object": b"{}\n{}\nnull",
    "Invalid control character": b'{}\n{}\n{"a": "\x0b"}',
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_row_is_named_by_file_and_row(tmp_path: Path, what: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(BAD[what])
    with pytest.raises(InputError) as error:
        lines.read_jsonl(tmp_path / "x.jsonl")
    assert str(error.value).startswith(f"{tmp_path / 'x.jsonl'} row 3: ") and what in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(PLAIN.encode())
    flipped = packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]
    for content in (packed[:30], packed[:-6], flipped, packed[:12] + b"\xff" * 20):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(InputError, match=r"x cannot be unpacked"):
            lines.read_text(tmp_path / "x")
    with pytest.raises(InputError, match="Is a directory"):
        lines.read_text(tmp_path)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"x cannot be read \(Permission denied\)"):
        lines.read_json(tmp_path / "x")


def test_linked_folders_are_looked_into_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there" / "deep").mkdir(parents=True)
    (tmp_path / "there" / "deep" / "x").touch()
    (tmp_path / "there" / "up").symlink_to(tmp_path / "there")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "there")
    (tmp_path / "here" / "y").symlink_to(tmp_path / "there" / "deep" / "x")
    assert lines.below(tmp_path / "here") == [tmp_path / "here" / "linked" / "deep" / "x", tmp_path / "here" / "y"]
    with pytest.raises(InputError, match=r"none cannot be read"):
        lines.below(tmp_path / "none")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "here")
    assert lines.absolute("~/x") == tmp_path / "x" and lines.absolute("../x") == tmp_path / "x"
