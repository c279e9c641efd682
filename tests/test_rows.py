"""One vocabulary: every row has its names, and what it sees a code; a table on the screen is whole."""

import csv
from dataclasses import asdict
from html.parser import HTMLParser

import pandas as pd
import pytest

from micro_paper.methods import METHODS, make
from micro_paper.paths import project_root
from micro_paper.report import rows
from micro_paper.report.formatting import CONTROL
from micro_paper.report.shown import LONG, Shown
from micro_paper.report.style import STYLES

# the paper's own rows, as it prints them, and evidence that concerns no row
PRINTED, NO_ROW = ("_audit_", "table_01_methods"), {"any", "", "itself", "chance"}
TABLES = sorted((project_root() / "results").glob("[!.]*/table_*.csv"))
LABELS = """
micro: MiCRo | micro_stage1: MiCRo, stage 1 | micro_plus: MiCRo+ (ours)
micro_plus_full: MiCRo+, full supervision
micro_criterion: MiCRo, criterion alone | micro_converged: MiCRo, converged | single: single
static_uniform: static, uniform
static_learned: static, learned | static_maxmin: static, MaxMin | shared_base: shared base
shared_base_mlp: shared base, curved prior | micro_hyre: HyRe on MiCRo's heads | pca_hyre: HyRe on PCA heads
drms_random: DRMs, random heads | shared_base_best: shared base, best head
hyre_100: HyRe, 100 heads | drms_100: DRMs, 100 heads | armo_published: ARMO, as published
prompted: prompted | surface_counts: surface counts
system_only: systems alone | micro_average_mix: MiCRo, average mix
lore: LoRe | pal: PAL | vpl: VPL | bag_of_words: bag of words, oracle | hyre: HyRe | drms: DRMs | armo: ARMO
length: length | random_heads: random heads | pca_heads: PCA heads | shuffled_router: shuffled router
criterion_fewshot: criterion, few-shot | single_exact: single, converged
oracle_attribute_exact: oracle attribute, converged | criterion_fewshot_exact: criterion, few-shot, converged
person_none: no labels of the person | person_router: router, person's weights | person_hyre: HyRe, person
person_micro_hyre: HyRe on MiCRo's heads, person | person_ridge: ridge to the pooled head
person_classes: latent classes | mrm: MRM | person_length: length offset | person_position: position offset
peers: peers' labels | shuffled_people: people shuffled
"""


def column(path, name):
    with path.open(encoding="utf-8", newline="") as file:
        return {line[name] for line in csv.DictReader(file) if name in line}


def unknown(paths):
    """Rows of tables that the glossary lacks."""
    ours = [path for path in paths if not any(part in path.name for part in PRINTED)]
    found = set().union(*(column(path, name) for path in ours for name in ("method", "reference")))
    return found - NO_ROW - set(rows.glossary())


def test_every_row_of_every_table_is_in_the_glossary(tmp_path):
    assert len(TABLES) > 50 and unknown(TABLES) == set()
    assert set(METHODS) <= set(rows.glossary())
    (tmp_path / "table_02_x.csv").write_text("method,value\nmicro,1\nmicro_pluss,2\n")
    assert unknown([tmp_path / "table_02_x.csv"]) == {"micro_pluss"}


def test_figures_call_every_row_as_before():
    said = dict(entry.split(": ") for entry in LABELS.strip().replace("\n", " | ").split(" | "))
    assert {name: style.label for name, style in STYLES.items()} == said
    assert {name: row.label for name, row in rows.glossary().items()} == said


def test_names_tell_rows_apart_and_sentences_end():
    for name in ("label", "words", "sentence"):
        said = [asdict(row)[name] for row in rows.glossary().values()]
        assert all(said) and len(set(said)) == len(said), name
    assert all(row.sentence.endswith(".") and not row.words.endswith(".") for row in rows.glossary().values())


def without_code(texts):
    """Parts of what rows see that stay in words."""
    return {said for text in texts for said in rows.sees(text)} - set(rows.codes())


def alike(texts):
    """Different texts of what rows see that read alike in codes."""
    first = {}
    return [
        (text, first[seen]) for text in sorted(texts) if first.setdefault(seen := tuple(rows.sees(text)), text) != text
    ]


def test_what_rows_see_has_codes_that_tell_it_apart():
    texts = {make(name).supervision for name in METHODS} | set().union(*(column(p, "supervision") for p in TABLES))
    texts.add(make("lore").supervision.replace(" (here: the attribute)", ""))  # where the data names users
    assert len(texts) > 12 and without_code(texts) == set() and alike(texts) == []
    assert without_code(["binary labels; the weather"]) == {"the weather"}
    oracle = "attribute labels, in training and at test"
    assert alike([oracle, f"{oracle} (oracle)"]) == [(f"{oracle} (oracle)", oracle)]
    assert rows.sees(make("micro").supervision) == ["B", "C"] != rows.sees(make("micro_plus_full").supervision)
    assert len(set(rows.codes().values())) == len(rows.codes())


class Cells(HTMLParser):
    """The cells of a table in HTML, row by row, and their styles."""

    def __init__(self, text):
        super().__init__()
        self.lines, self.styles, self.at = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.at = tag
        if tag == "tr":
            self.lines.append([])
            self.styles.append([])
        elif tag in ("td", "th"):
            self.lines[-1].append("")
            self.styles[-1].append(dict(attributes)["style"])

    def handle_endtag(self, tag):
        self.at = None

    def handle_data(self, data):
        if self.at in ("td", "th"):
            self.lines[-1][-1] += data


def scores(**more):
    table = {"dataset": ["d", "d", "d"], "method": ["micro", "single", "mine"], **more}
    table["supervision"] = [make("micro").supervision, "binary labels", "binary labels; what I know"]
    table["humor"] = ["0.530", "", "1.000"]
    table["average"] = ["0.530 [0.522, 0.539]", "0.504 [0.498, 0.511]", "0.6 (0.1)"]
    return pd.DataFrame(table)


def test_a_shown_table_is_whole_in_the_order_of_reading():
    shown = Shown("Table 3", "Accuracy < 1.", scores())
    assert list(shown.frame) == ["dataset", "method", "average", "sees", "humor"]
    assert shown.frame["sees"].tolist() == ["B, C", "B", "B, what I know"]
    assert shown.legend == {"B": "binary labels", "C": "context-labelled pairs within the budget"}
    cells = Cells(shown._repr_html_())
    assert cells.lines == [list(shown.frame), *shown.frame.to_numpy().tolist()]
    sides = [style.partition(";")[0].removeprefix("text-align: ") for style in cells.styles[0]]
    assert sides == ["left", "left", "right", "left", "right"]
    assert {style.partition("; ")[2] for line in cells.styles[1:] for style in line} == {"white-space: nowrap"}
    caption, table, legend = shown._repr_html_().partition("<table>")[0], *shown._repr_html_().split("</table>")
    assert caption == "<p><b>Table 3.</b> Accuracy &lt; 1.</p>\n" and table.startswith(caption)
    assert legend == "\n<p><b>B</b> binary labels; <b>C</b> context-labelled pairs within the budget</p>"
    lines = repr(shown).splitlines()
    assert lines[0] == "Table 3. Accuracy < 1." and lines[-2:] == [f"{c}: {text}" for c, text in shown.legend.items()]
    assert [line.split()[:2] for line in lines[2:5]] == [["d", "micro"], ["d", "single"], ["d", "mine"]]


def test_no_cell_is_cut_whatever_pandas_is_told():
    table = pd.DataFrame({f"name {i}": [f"{i} " + "is said in many words, " * 20] * 90 for i in range(25)})
    with pd.option_context("display.max_colwidth", 10, "display.max_rows", 5, "display.max_columns", 3):
        shown = Shown("Words", "Many.", table)
        said, plain = shown._repr_html_(), repr(shown)
    assert all(cell in plain for cell in table.iloc[0]) and len(plain.splitlines()) == 92
    assert Cells(said).lines[1:] == table.to_numpy().tolist()
    assert (said, plain) == (shown._repr_html_(), repr(Shown("Words", "Many.", table.copy())))


def test_prose_may_take_several_lines_and_nothing_else():
    table = pd.DataFrame({"claim": ["x" * (LONG + 1), "y"], "id": ["x" * LONG, "y"], "n": ["a\nb", "c\u2028d"]})
    shown = Shown("Claims", "c", table)
    assert ["nowrap" in style for style in Cells(shown._repr_html_()).styles[1]] == [False, True, True]
    assert shown.frame["n"].tolist() == ["a b", "c d"] and not CONTROL.search(repr(shown).replace("\n", ""))


@pytest.mark.parametrize("table", [pd.DataFrame({"method": [], "average": []}), pd.DataFrame({"value": ["1"]})])
def test_a_table_without_rows_or_codes_is_shown(table):
    shown = Shown("Table 2", "c", table)
    assert Cells(shown._repr_html_()).lines[0] == list(table) and shown._repr_html_().endswith("</table>")
    assert repr(shown).startswith("Table 2. c\n")
