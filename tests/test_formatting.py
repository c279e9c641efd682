"""Tables and figures say the same on every machine and keep every name in its place."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro_paper import digits
from micro_paper.errors import InputError
from micro_paper.intervals import Interval
from micro_paper.paper.verdicts import judge_equivalence, judge_ordering, judge_trend
from micro_paper.report import formatting, plots_theory, style

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
ODD = ["a\rb", "\r", "a\r\nb", "a\nb", 'say "yes"', "a, b", "a|b", "a | b", "\u2028", "x\x0by", "\x85", "\0", " ", "*"]


def moved(frame: pd.DataFrame, seed: int, by: float = 4e-15) -> pd.DataFrame:
    """The frame as another machine would compute it."""
    rng = np.random.default_rng(seed)
    floats = frame.select_dtypes("floating")
    noise = rng.uniform(-by, by, floats.shape) * np.maximum(1, floats.abs())
    return frame.assign(**(floats + noise))


# Digits


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((1e-17, -3e-18, 0.0, -0.0, 4e-13), "0"),
        ((0.5125, 0.51249999999999996, 0.51250000000000007), "0.5125"),
        ((0.1234565, 0.1234565 + 2e-17, 0.1234565 - 2e-17), "0.123456"),
        ((1 / 3, 1 / 3 + 1e-15), "0.333333"),
        ((2e-11, 2e-11 + 1e-16), "2e-11"),
        ((1.5e20, 1.5e20 * (1 + 1e-15)), "1.5e+20"),
        ((np.float32(0.1), 0.1), "0.1"),
        ((np.inf,), "inf"),
        ((np.nan,), "nan"),
    ],
)
def test_what_differs_by_rounding_errors_is_written_alike(values, text):
    assert {digits.written(value) for value in values} == {text}


def test_a_tie_is_shown_alike_and_a_probability_may_be_tiny():
    assert digits.shown(0.51249999999999996) == digits.shown(0.51250000000000007) == "0.512"
    assert digits.interval(0.5125, -1e-17, 0.6) == "0.512 [0.000, 0.600]"
    assert digits.written(3.15927e-20, tiny=True) == "3.15927e-20"
    frame = pd.DataFrame({"chance": [3.15927e-20, 0.5], "gap": [3e-20, 0.5]})
    assert formatting.csv(frame) == b"chance,gap\n3.15927e-20,0\n0.5,0.5\n"
    shown = formatting.display_frame(frame, {"chance": ".0e", "gap": ".0e"})
    assert shown.to_numpy().tolist() == [["3e-20", "0e+00"], ["5e-01", "5e-01"]]


def test_no_verdict_hangs_on_a_rounding_error():
    for low in (1e-17, 0.0, -1e-17):
        assert judge_ordering(Interval(0.1, low, 0.2, 19)) == judge_trend(Interval(0.1, low, 0.2, 19)) == "cannot tell"
    for end in (0.02, 0.02 + 3e-18, 0.1 * 0.2):
        assert judge_equivalence(Interval(0.0, -end, end, 19)) == "holds"
    assert judge_ordering(Interval(0.1, 1e-9, 0.2, 19)) == "holds"
    assert judge_equivalence(Interval(0.0, -0.02, 0.02 + 1e-9, 19)) == "cannot tell"


def test_another_machine_writes_the_same_bytes():
    shares = np.arange(1, 4000) / 4000  # every fourth is a tie at three decimals
    frame = pd.DataFrame({"value": shares, "low": shares - 0.0625, "gap": np.zeros(3999)})
    first, others = formatting.csv(frame), [moved(frame, seed) for seed in range(3)]
    assert not any(frame.equals(other) for other in others)
    for other in others:
        assert formatting.csv(other) == first
        assert formatting.markdown(formatting.display_frame(other)) == formatting.markdown(
            formatting.display_frame(frame)
        )
    assert formatting.csv(moved(frame, 0, 1e-6)) != first


@pytest.mark.long
def test_another_machine_draws_the_same_figure():
    lines = [
        {"variable": v, "value": x, "quantity": "irreducible", "mean": x / 3, "low": x / 3 - 0.01, "high": x / 3 + 0.01}
        for v in ("diversity", "n_groups", "separation", "n_responses")
        for x in (1.0, 2.0, 3.0)
    ]
    frame = pd.DataFrame(lines)
    first = formatting.pictures(plots_theory.sweeps_figure(frame))
    for seed in range(2):
        assert formatting.pictures(plots_theory.sweeps_figure(moved(frame, seed))) == first
    assert formatting.pictures(plots_theory.sweeps_figure(moved(frame, 0, 1e-3)))["pdf"] != first["pdf"]
    assert style._as_written(np.array([[1 / 3, 1e-17]])).tolist() == [[0.333333, 0.0]]
    assert style._as_written(0.1 + 0.2) == 0.3 and style._as_written("a") == "a" and style._as_written(None) is None


# Names


def read(content: bytes) -> list[list[str]]:
    frame = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, header=None)
    return frame.to_numpy().tolist()


@pytest.mark.parametrize("name", ODD)
def test_every_name_reads_back_in_its_place(name):
    frame = pd.DataFrame({"method": [name, "x"], "value": [0.5, 1.0], name + "!": ["y", name]})
    assert read(formatting.csv(frame)) == [["method", "value", name + "!"], [name, "0.5", "y"], ["x", "1", name]]


@given(st.lists(st.tuples(NAMES, st.floats(allow_infinity=False)), max_size=4), NAMES)
def test_a_csv_reads_back_whatever_the_names_are(rows, head):
    frame = pd.DataFrame(rows, columns=[f"a{head}", "value"]).astype({"value": float})
    written = ["" if value != value else digits.written(value) for _, value in rows]
    cells = [[name, value] for (name, _), value in zip(rows, written, strict=True)]
    assert read(formatting.csv(frame)) == [[f"a{head}", "value"], *cells]


@pytest.mark.parametrize("name", ODD)
def test_a_shown_table_keeps_its_rows_and_columns(name):
    shown = pd.DataFrame({"method": [name, "x"], "value": ["1", "2"]})
    text = formatting.markdown(shown)
    assert len(text.splitlines()) == 4
    again = formatting.read_markdown(text)
    assert again.shape == (2, 2) and again["value"].tolist() == ["1", "2"]
    assert again["method"][0] == formatting.CONTROL.sub(" ", name)


def test_a_pivot_keeps_names_apart():
    frame = pd.DataFrame(
        {
            "method": ["micro"] * 4,
            "a": ["x, y", "x", "method", "z"],
            "b": ["z", "y, z", "", "1"],
            "value": [1, 2, 3, 4],
        }
    )
    shown = formatting.display_frame(frame, pivot=("method", ("a", "b"), "value"))
    assert shown.columns.is_unique and shown.iloc[0].tolist() == ["micro", "1", "2", "3", "4"]
    assert shown.columns.tolist() == ["method", "x, y, z", "a=x, b=y, z", "method, ", "z, 1"]
    one = formatting.display_frame(frame.iloc[2:], pivot=("method", "a", "value"))
    assert one.to_dict("records") == [{"method": "micro", "a=method": "3", "z": "4"}]
    frame = pd.DataFrame({"m": ["x"] * 3, "a": ["m", "a=m", "a=m (2)"], "value": [1, 2, 3]})
    assert formatting.display_frame(frame, pivot=("m", "a", "value")).iloc[0].tolist() == ["x", "1", "2", "3"]


@pytest.mark.parametrize("first", ["[1]", "*", " [x", "*star"])
def test_a_tex_row_is_no_option_of_the_line_above(first):
    tex = formatting.latex(pd.DataFrame({first: [first, "a"], "v": ["1", "2"]}), "c", "l")
    rows = [line for line in tex.splitlines() if line.endswith(r"\\")]
    assert rows == [rf"{{}}{first} & v \\", rf"{{}}{first} & 1 \\", r"a & 2 \\"]


def test_every_special_of_tex_is_escaped():
    tex = formatting.latex(pd.DataFrame({"n": ["%&_#${}~^\\<>|", "a\rb\u2028c\nd"]}), "100 % [x]", "l")
    assert r"\%\&\_\#\$\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}" in tex
    assert "\na b c d \\\\\n" in tex and r"\caption{100 \% [x]}" in tex
    assert not formatting.CONTROL.search(tex.replace("\n", ""))


# Cells


def test_scalars_of_numpy_are_written_plainly():
    cells = [np.int64(3), np.float32(0.1), np.bool_(True), None, pd.NA, np.nan, np.inf, np.str_("a"), True, 10**30]
    said = formatting.csv(pd.DataFrame({"x": pd.Series(cells, dtype=object)})).decode().splitlines()[1:]
    assert said == ["3", "0.1", "True", '""', '""', '""', "inf", "a", "True", str(10**30)]


@pytest.mark.parametrize("cell", [[1], (1, 2), {"a": 1}, {1}, np.array([1.0]), b"a", 1j, object(), "\ud800"])
def test_a_cell_that_is_neither_number_nor_text_is_refused_by_name(cell):
    frame = pd.DataFrame({"y": [1, 2], "x": pd.Series(["fine", cell], dtype=object)})
    with pytest.raises(InputError, match="column x, row 2: a cell holds a number or a text|ends in half a character"):
        formatting.csv(frame)


def test_double_columns_and_formats_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="column 'x' is there twice"):
        formatting.csv(pd.DataFrame([[1, 2]], columns=["x", "x"]))
    with pytest.raises(InputError, match="formats of column x: '.2f' does not fit 'a'"):
        formatting.display_frame(pd.DataFrame({"x": ["a"]}), {"x": ".2f"})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("jsonl:/a b/c/pairs.jsonl: mean", "jsonl:pairs.jsonl: mean"),
        ("jsonl:/a/x.jsonl + jsonl:/b/y.jsonl", "jsonl:x.jsonl + jsonl:y.jsonl"),
        ("jsonl:x.jsonl or a/b", "jsonl:x.jsonl or a/b"),
        ("see /a/b", "see /a/b"),
    ],
)
def test_own_data_go_by_the_name_of_their_file(text, shown):
    assert formatting.without_folders(text) == shown
    figure = style.PaperFigure()
    figure.subplots().set_title(text)
    formatting.pictures(figure)
    assert figure.axes[0].get_title() == shown
