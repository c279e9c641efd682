"""Data in which people differ: UKPConvArg1 and WMT's error annotations, against what their sources say.

The arguments are offensive at places: no assertion here may print one.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_models
import torch

from micro_paper import data, files
from micro_paper.data import registry, sources, ukp, wmt
from micro_paper.data.splits import halves
from micro_paper.errors import InputError
from micro_paper.experiments import counted, main_tables
from micro_paper.experiments.average_mix import AVERAGE_MIX, has_mixes
from micro_paper.experiments.worlds import load_world, stratified, with_mix
from micro_paper.features import FeatureSettings
from micro_paper.features.extract import pool_store
from micro_paper.methods.settings import Settings

FIXTURE = Path(__file__).parent / "fixtures" / "ukp" / "tea-or-coffee_tea.xml"
SETS = {"ukp-criteria": 16, "ukp-workers": 16, "ukp-mix": 16, "wmt-mqm": 38}
HEADER = [*wmt.COLUMNS, "metadata", "# Documentation: a link"]
TOPICS = ("tea-or-coffee", "cats-or-dogs-", "town-vs-country", "sea-or-hills", "pen-or-keys", "bus-or-bike")


def unequal(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["value"] != "equal"]


class TestStaged:
    """The files of the mirror, counted again."""

    @pytest.mark.long
    def test_judgements_are_those_of_the_source(self, mirror: Path) -> None:
        table = ukp.judgements()
        assert table["value"].value_counts().to_dict() == {"a1": 32849, "a2": 32491, "equal": 19105}
        assert len(table) == 84445 and table["worker"].nunique() == 3815 and table["topic"].nunique() == 16
        assert table["pair_id"].nunique() == 16927 and table["prompt"].nunique() == 32
        assert table.groupby("pair_id").size().value_counts().to_dict() == {5: 16737, 4: 190}
        assert not table.duplicated(["pair_id", "worker"]).any()
        stated = unequal(table)["criteria"].map(len)
        assert round((stated > 0).mean(), 2) == 0.62 and round((stated == 1).mean(), 2) == 0.46
        ids = table["pair_id"].str.split("_")
        texts = dict(zip(ids.str[0], table["first"], strict=True)) | dict(zip(ids.str[1], table["second"], strict=True))
        assert len(texts) == 1052 and len(set(texts.values())) == 1038  # 14 say what another one says
        assert np.median([len(text.split()) for text in texts.values()]) == 43

    def test_workers_turn_round_between_criteria(self, mirror: Path) -> None:
        table = unequal(ukp.judgements())
        table = table[table["criteria"].map(len) == 1].assign(stated=lambda d: d["criteria"].str[0])
        both = table.merge(table, on="pair_id")
        both = both[both["worker_x"] < both["worker_y"]]
        turned = both["value_x"] != both["value_y"]
        same = both["stated_x"] == both["stated_y"]
        two = {"detail and evidence", "clear and to the point"}
        extreme = [{x, y} == two for x, y in zip(both["stated_x"], both["stated_y"], strict=True)]
        shares = [round(100 * float(turned[which].mean()), 1) for which in (same, ~same, extreme)]
        assert shares == [15.8, 28.9, 51.6] and sum(extreme) == 1505

    def test_the_longer_argument_wins_on_detail_and_not_on_clearness(self, mirror: Path) -> None:
        """Over all choices that state the criterion, with others too, by characters, a tie counting one half."""
        table = unequal(ukp.judgements())
        gap = np.sign(table["first"].str.len() - table["second"].str.len()) * np.where(table["value"] == "a1", 1, -1)
        found = {name: (1 + gap[[name in c for c in table["criteria"]]].mean()) / 2 for name in ukp.PATTERNS}
        assert round(100 * found["detail and evidence"], 1) == 80.3
        assert round(100 * found["clear and to the point"], 1) == 44.3

    def test_every_judgement_is_a_pair_or_counted(self, mirror: Path) -> None:
        counts = {"ukp-criteria": 30320, "ukp-workers": 40542}  # 30,323 and 40,546 less those of one text
        for name, pairs in counts.items():
            assert len(registry.build(name).frame) == pairs
            assert pairs + sum(data.skipped(name).values()) == 84445
        assert data.skipped("ukp-workers")["identical texts"] == 40546 - 40542

    def test_a_mix_of_criteria_is_told_by_the_other_topics(self, mirror: Path) -> None:
        """Shares of one person and topic counted again, and how many people there are."""
        frame = registry.build("ukp-mix").frame
        assert len(frame) == 40352 and frame["user_id"].nunique() == 171
        leaning = frame.groupby("attribute")["user_id"].nunique()  # whose lean differs by topic counts for each
        assert leaning[list(ukp.PATTERNS)].tolist() == [60, 27, 30, 42, 45, 14, 21]
        assert frame["context"].isna().all() and frame["prompt_id"].nunique() == 16
        shares = np.array(frame["mix"].tolist())
        assert shares.sum(axis=1) == pytest.approx(np.ones(len(frame))) and (shares > 0).all()  # all 224 contexts exist
        table = unequal(ukp.judgements())
        made = table["worker"].map(table["worker"].value_counts()) >= 50
        coded = table[made & (table["criteria"].map(len) == 1)].assign(stated=lambda d: d["criteria"].str[0])
        one = frame.iloc[123]
        other = coded[coded["topic"] != one["prompt_id"]]
        counts = pd.crosstab(other["worker"], other["stated"])[list(ukp.PATTERNS)]
        # everybody who judged the topic at all, with ten reasons on the others
        judged = table.loc[made & (table["topic"] == one["prompt_id"]), "worker"].unique()
        enough = counts[(counts.sum(axis=1) >= 10) & counts.index.isin(judged)]
        average = enough.div(enough.sum(axis=1), axis=0).mean()
        own = counts.loc[one["user_id"]]
        assert one["mix"] == pytest.approx(((own + average) / (own.sum() + 1)).tolist())
        assert one["attribute"] == ((own + average) / (own.sum() + 1) - average).idxmax()

    def test_workers_with_fifty_choices_halve_by_topic(self, mirror: Path) -> None:
        frame = registry.build("ukp-workers").frame
        adapt = halves(frame["user_id"], frame["prompt_id"])
        labels = frame[adapt].groupby("user_id").size()
        assert frame["user_id"].nunique() == 173
        assert [int((labels >= n).sum()) for n in (20, 50)] == [173, 90]
        assert (labels <= frame[~adapt].groupby("user_id").size()).all()
        sides = frame.assign(adapt=adapt).groupby(["user_id", "prompt_id"])["adapt"].nunique()
        assert (sides == 1).all()

    def test_translations_are_rated_by_three_of_eight(self, mirror: Path) -> None:
        table, checks = wmt.ratings(sources.fetch(wmt.FILE))
        sizes = table[["item_id", "response_id", "prompt_id", "user_id"]].nunique().tolist()
        assert sizes == [377, 10, 38, 8] and len(table) == 11310 and checks == 461
        mean = table[list(wmt.ATTRIBUTES)].mean() / 10
        assert mean.round(2).tolist() == [3.53, 0.38, 0.46]
        assert not table["response"].str.contains("</?v>").any()

    @pytest.mark.long
    @pytest.mark.parametrize(
        ("raters", "pairs", "comparisons", "share"),
        # Of one rater, 13,508 by the source: one more, where sums of a tenth differ by rounding.
        [(True, 49473, 13507, 56.2), (False, 16491, 9969, 51.3)],
    )
    def test_accuracy_turns_against_language(
        self, mirror: Path, raters: bool, pairs: int, comparisons: int, share: float
    ) -> None:
        wide = registry.build("wmt-mqm", raters=raters).ratings
        wide = wide.assign(language=(wide["fluency"] + wide["style"]).round(6), always=range(len(wide)))
        found = data.attribute_pairs(wide, ["accuracy", "language", "always"])
        assert found["comparison_id"].nunique() == pairs
        found = found[found["attribute"] != "always"].groupby("comparison_id")["chosen"].agg(["size", "nunique"])
        both = found[found["size"] == 2]
        assert len(both) == comparisons and round(100 * (both["nunique"] == 2).mean(), 1) == share

    @pytest.mark.long
    @pytest.mark.parametrize("name", SETS)
    def test_a_topic_or_document_stands_in_one_split(self, mirror: Path, name: str) -> None:
        whole = registry.build(name).frame
        assert whole["prompt_id"].nunique() == SETS[name]
        tested = []
        for fold in range(5):
            splits = {s: set(data.split_frame(name, s, fold=fold)["prompt_id"]) for s in data.SPLITS}
            assert all(splits.values()) and sum(map(len, splits.values())) == SETS[name]
            tested += splits["test"]
        assert sorted(tested) == sorted(set(whole["prompt_id"]))
        if name == "wmt-mqm":  # a segment is of one document
            assert whole.groupby("item_id")["prompt_id"].nunique().max() == 1
        else:  # both sides of a debate are one topic
            assert whole.groupby("prompt_id")["prompt"].nunique().tolist() == [2] * 16

    @pytest.mark.parametrize("name", ["ukp-criteria", "ukp-workers", "ukp-mix"])
    def test_no_reason_is_in_any_column(self, mirror: Path, name: str) -> None:
        lines = gzip.decompress((mirror / "ukp_convarg" / "judgements.jsonl.gz").read_bytes()).splitlines()
        reasons = {json.loads(line)["reason"] for line in lines}
        frame = registry.build(name).frame
        values = set().union(*(frame[column].dropna() for column in frame if column != "mix"))
        assert len(values & reasons) == 0 and len(reasons) > 80000
        assert list(frame) == [*registry.COLUMNS, *registry.INTERNAL, "item_id", "user_id", "shown_first"] + (
            ["mix"] if name == "ukp-mix" else []
        )


def upstream(folder: Path, topics: int = 6) -> list[Path]:
    """Write made-up debates in upstream's schema, the fixture's with argument ids of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{topic}_tea.xml" for topic in sorted(TOPICS)[:topics]]
    for k, path in enumerate(paths):
        text = re.sub(r"(?<=[>_])(10[123])(?=[<_])", rf"{k}\1", FIXTURE.read_text(encoding="utf-8"))
        path.write_text(text, encoding="utf-8")
    return paths


def staged(folder: Path, arguments: list[dict], judged: list[dict]) -> list[Path]:
    """Write rows as the mirror's converted files have them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, rows in (("arguments", arguments), ("judgements", judged)):
        paths.append(folder / f"{name}.jsonl.gz")
        paths[-1].write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return paths


TEXTS = {
    "101": "Tea costs less & keeps.\nLeaves last for years.",
    "102": "Tea is nicer.",
    "103": "Coffee keeps people awake at night; tea does not, or less.",
}
ARGUMENTS = [
    {"debate": FIXTURE.stem, "argument_id": i, "title": "Tea or Coffee?", "stance": "Tea", "text": t, "url": "u"}
    for i, t in TEXTS.items()
]
JUDGEMENTS = [
    {
        "debate": FIXTURE.stem,
        "pair_id": f"{a}_{b}",
        "a1": a,
        "a2": b,
        "worker": w,
        "value": v,
        "reason": r,
        "gold": "a1",
    }
    for a, b, w, v, r in (
        ("101", "102", "w0001", "a1", "A1 gives Facts where A2 has none."),
        ("101", "102", "w0002", "equal", "Both are short and both are on the topic."),
        ("102", "103", "w0002", "a2", "The logic of A2 is sound and it is well written"),
        ("102", "103", "w0001", "a1", "I like it more"),
        ("102", "103", "w0003", "a1", "A1 is concise."),
    )
]


def placed(rows: list[dict]) -> list[tuple[str, dict]]:
    return [(f"file row {number}", row) for number, row in enumerate(rows, start=1)]


def register(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Make the files below `root` a mirror and the registry, where upstream's have an address."""
    lines = []
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name, converted = path.relative_to(root).as_posix(), ".jsonl" in path.name
        address = "" if converted else f" https://example.org/{path.name}"
        lines.append(f"{name} sha256:{files.sha256(path.read_bytes())}{address}\n")
    (root.parent / "sources.txt").write_text("".join(lines))
    monkeypatch.setattr(sources, "REGISTRY", root.parent / "sources.txt")
    monkeypatch.setenv("MICRO_PAPER_DATA", str(root))


class TestUkpShapes:
    def test_upstream_converts_to_the_staged_rows(self) -> None:
        arguments, judged = ukp.read_xml([FIXTURE])
        assert {row["argument_id"]: row for _, row in arguments} == {
            row["argument_id"]: {k: row[k] for k in ukp.ARGUMENT} for row in ARGUMENTS
        }
        assert [row for _, row in judged] == [{k: row[k] for k in ukp.JUDGEMENT} for row in JUDGEMENTS]
        assert ukp.table(arguments, judged).equals(ukp.table(placed(ARGUMENTS), placed(JUDGEMENTS)))

    def test_what_a_table_holds(self) -> None:
        table = ukp.table(placed(ARGUMENTS), placed(JUDGEMENTS))
        assert set(table["topic"]) == {"tea-or-coffee"}
        assert set(table["prompt"]) == {"Debate: Tea or Coffee?\nGive a convincing argument for this side: Tea"}
        assert table["criteria"].tolist() == [
            ("detail and evidence",),
            ("clear and to the point", "on topic"),
            ("language and form", "reasoning and logic"),
            (),
            ("clear and to the point",),
        ]
        assert table["first"].tolist() == [ARGUMENTS[k]["text"] for k in (0, 0, 1, 1, 1)]

    def test_ids_stances_and_reasons_are_dropped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        upstream(tmp_path / "mirror" / "ukp_convarg")
        register(monkeypatch, tmp_path / "mirror")
        monkeypatch.setattr(ukp, "MIN_CHOICES", 3)
        texts = json.dumps([registry.build(n).frame.to_dict("list") for n in ("ukp-criteria", "ukp-workers")])
        texts += ukp.judgements().to_json()
        for dropped in ("SECRET", "author", "opposite", "0.99", "2016", "Facts", "sound", "Thanks", "http"):
            assert dropped not in texts
        assert "w0001" in texts and "w0003" in texts

    def test_both_shapes_load_alike(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        paths = upstream(tmp_path / "xml" / "ukp_convarg")
        arguments, judged = ukp.read_xml(paths)
        distinct = list({row["argument_id"]: row for _, row in arguments}.values())
        staged(tmp_path / "staged" / "ukp_convarg", distinct, [row for _, row in judged])
        found = []
        for shape in ("xml", "staged"):
            register(monkeypatch, tmp_path / shape)
            found.append([data.load("ukp-criteria", split, fold=1).to_dict() for split in data.SPLITS])
        assert found[0] == found[1]
        assert [len(split["pair_id"]) for split in found[0]] == [8, 2, 2]

    def test_a_criterion_is_exactly_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        upstream(tmp_path / "mirror" / "ukp_convarg", 1)
        register(monkeypatch, tmp_path / "mirror")
        built = ukp.criteria()
        assert built.frame["attribute"].tolist() == ["detail and evidence", "clear and to the point"]
        assert built.frame["context"].tolist() == [data.CRITERIA["ukp"][a] for a in built.frame["attribute"]]
        assert built.frame["shown_first"].tolist() == ["chosen", "chosen"]
        assert built.skipped == {"equally convincing": 1, "no criterion": 1, "several criteria": 1}
        every = ukp.criteria(uncoded=True).frame
        assert every["user_id"].tolist() == ["w0001", "w0002", "w0001", "w0003"]
        assert every["shown_first"].tolist() == ["chosen", "rejected", "chosen", "chosen"]
        assert (every["attribute"] == ukp.CONVINCING).tolist() == [False, True, True, False]
        assert every["item_id"].nunique() == 2
        with pytest.raises(InputError, match="uncoded"):
            data.load("ukp-criteria", uncoded="yes")

    def test_one_converted_file_alone_is_not_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "mirror" / "ukp_convarg"
        upstream(folder, 1)
        staged(folder, ARGUMENTS, JUDGEMENTS[:1])
        register(monkeypatch, tmp_path / "mirror")
        assert len(ukp.judgements()) == 1
        (folder / "arguments.jsonl.gz").unlink()
        assert len(ukp.judgements()) == 5

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"value": "a3"}, "value is not a1, a2 or equal"),
            ({"value": None}, "value is null"),
            ({"worker": None}, "worker is null"),
            ({"worker": " "}, "worker is empty"),
            ({"reason": 7}, "reason is int"),
            ({"a2": "999"}, "a2 is no argument of its debate"),
            ({"debate": "another_debate"}, "a1 is no argument of its debate"),
        ],
    )
    def test_a_bad_judgement_is_refused_by_file_and_row(self, tmp_path: Path, change: dict, message: str) -> None:
        paths = staged(tmp_path, ARGUMENTS, [JUDGEMENTS[0], {**JUDGEMENTS[1], **change}])
        with pytest.raises(InputError, match=rf"judgements\.jsonl\.gz row 2: {message}.*: restore"):
            ukp._read(*paths)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"text": ""}, "text is empty"),
            ({"stance": None}, "stance is null"),
            ({"argument_id": "101"}, "argument_id is that of another argument"),
        ],
    )
    def test_a_bad_argument_is_refused_by_file_and_row(self, tmp_path: Path, change: dict, message: str) -> None:
        paths = staged(tmp_path, [ARGUMENTS[0], {**ARGUMENTS[1], **change}], JUDGEMENTS)
        with pytest.raises(InputError, match=rf"arguments\.jsonl\.gz row 2: {message}"):
            ukp._read(*paths)

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("<value>a2</value>", "<value>b</value>", "value is not"),
            ("<value>a2</value>", "", "value is null"),
            ("<turkID>A5SECRETC</turkID>", "", "worker is null"),
            ("<turkID>A5SECRETC</turkID>", "<turkID> </turkID>", "worker is empty"),
            (
                "<title>Tea or Coffee?</title>\n      <url>http://www.example.org/debates/1</url>\n    </",
                "</",
                "title is",
            ),
            ("<text>Coffee keeps", "<text>Coffee < keeps", "no XML"),
            ("</list>", "", "no XML"),
        ],
    )
    def test_bad_xml_is_refused_by_file_and_pair(self, tmp_path: Path, old: str, new: str, message: str) -> None:
        path = tmp_path / FIXTURE.name
        path.write_text(FIXTURE.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        with pytest.raises(InputError, match=rf"{re.escape(str(path))} row [23]: {message}") as refused:
            ukp._read(path)
        assert "SECRET" not in str(refused.value)

    def test_files_without_a_judgement_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a_b.xml").write_text("<list/>")
        with pytest.raises(InputError, match="no judgements"):
            ukp._read(tmp_path / "a_b.xml")


LINES = [  # two segments of one document, two systems, three raters
    ("1", "A", "r1", "Tea is <v>green</v>.", "Accuracy/Mistranslation", "Major"),
    ("1", "A", "r1", "Tea is green<v>.</v>", "Fluency/Punctuation", "Minor"),
    ("1", "A", "r2", "Tea is green.", "No-error", "No-error"),
    ("1", "A", "r3", "<v>Tea is green.</v>", "Style/Unnatural or awkward", "Minor"),
    ("1", "B", "r1", "<v>The teas.</v>", "Non-translation!", "Major"),
    ("1", "B", "r1", "Found it", "Found", "HOTW-test"),
    ("1", "B", "r2", "The <v>teas.</v> ", "Fluency/Grammar", "Major"),
    ("1", "B", "r3", "The teas.", "Terminology/Inconsistent", "Major"),
    ("2", "A", "r1", "It is hot.", "No-error", "No-error"),
    ("2", "A", "r2", "It is hot.", "Source issue", "Minor"),
    ("2", "A", "r3", "It is hot.", "No-error", "No-error"),
    ("2", "B", "r1", "It is hot.", "Accuracy/Addition", "Minor"),
    ("2", "B", "r2", "It is hot.", "Locale convention/Date format", "Minor"),
    ("2", "B", "r3", "It is hot.", "Other", "Minor"),
]


def archive(
    path: Path, lines: list[tuple], header: list[str] = HEADER, documents: dict[str, str] | None = None
) -> Path:
    """Write a table in upstream's schema; `documents` are those of the segments, else all are of one."""
    rows = ["\t".join(header)]
    for segment, system, rater, target, category, severity in lines:
        document = f"news.{(documents or {}).get(segment, '1')}:zh-en"
        timing = json.dumps({"timestamp": 1724377728301, "side": 1})
        row = (system, document, segment, segment, rater, "<v>茶</v>是绿的。", target, category, severity, timing)
        rows.append("\t".join(row))
    content = ("\n".join(rows) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as made:
        info = tarfile.TarInfo("sxs.tsv")
        info.size = len(content)
        made.addfile(info, io.BytesIO(content))
    return path


def changed(number: int, **change: str) -> list[tuple]:
    """Return LINES with one of them changed."""
    names = ("segment", "system", "rater", "target", "category", "severity")
    return [
        *LINES[:number],
        tuple({**dict(zip(names, LINES[number], strict=True)), **change}.values()),
        *LINES[number + 1 :],
    ]


class TestWmtShape:
    def test_errors_become_ratings(self, tmp_path: Path) -> None:
        table, checks = wmt.ratings(archive(tmp_path / "a.tar.gz", LINES))
        assert checks == 1 and set(table["prompt_id"]) == {"news.1:zh-en"} and set(table["prompt"]) == {wmt.PROMPT}
        assert table["response"].drop_duplicates().tolist() == ["Tea is green.", "The teas.", "It is hot."]
        found = {
            key: part[list(wmt.ATTRIBUTES)].values.tolist() for key, part in table.groupby(["item_id", "response_id"])
        }
        assert found == {
            ("1", "A"): [[50, 1, 0], [0, 0, 0], [0, 0, 10]],
            ("1", "B"): [[250, 0, 0], [0, 50, 0], [0, 0, 0]],
            ("2", "A"): [[0, 0, 0]] * 3,
            ("2", "B"): [[10, 0, 0], [0, 0, 0], [0, 0, 0]],
        }
        assert "17243777" not in table.to_json() and "茶" not in table.to_json(force_ascii=False)

    def test_only_translations_of_a_segment_are_compared(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = archive(tmp_path / "a.tar.gz", LINES)
        monkeypatch.setattr(wmt, "fetch", lambda name: path)
        built = wmt.build()
        rows = built.frame[["attribute", "item_id", "chosen_id", "rejected_id"]].values.tolist()
        assert rows == [
            [name, "1", *sides] for name, *sides in (("accuracy", *"AB"), ("fluency", *"AB"), ("style", *"BA"))
        ]
        assert built.ratings["accuracy"].tolist() == pytest.approx([-5 / 3, -25 / 3, 0, -1 / 3])
        assert built.skipped == {"attention checks": 1, "identical texts rated differently": 1}
        own = wmt.build(raters=True).frame
        assert own[["user_id", "attribute", "chosen_id"]].values.tolist() == [
            ["r1", "accuracy", "A"],
            ["r1", "fluency", "B"],
            ["r2", "fluency", "A"],
            ["r3", "style", "B"],
        ]
        with pytest.raises(InputError, match="raters"):
            wmt.build(raters=1)

    @pytest.mark.parametrize(
        ("lines", "message"),
        [
            (changed(2, severity="Fatal"), "row 4: no weight for category 'No-error' of severity 'Fatal'"),
            (changed(0, category="Beauty/None"), "row 2: no weight for category 'Beauty/None'"),
            (changed(3, target="Tea is blue."), "row 5: the target differs from that of A above"),
            (changed(3, target="<v></v>"), "row 5: .*is empty"),
            (changed(4, rater=""), "row 6: .*is empty"),
            (changed(4, rater="r1\tr2"), "row 6: it has not 10 columns"),
            (changed(4, rater="r4"), "segment 1 has not three raters"),
            (LINES[:-1], "segment 2 has not three raters"),
            (LINES[:0], "no errors in it"),
        ],
    )
    def test_a_bad_row_is_refused_by_file_and_row(self, tmp_path: Path, lines: list[tuple], message: str) -> None:
        path = archive(tmp_path / "a.tar.gz", lines)
        with pytest.raises(InputError, match=rf"{re.escape(str(path))}:? {message}.*: restore"):
            wmt.ratings(path)

    def test_another_table_or_no_archive_is_refused(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "a.tar.gz", LINES, header=HEADER[1:])
        with pytest.raises(InputError, match="row 1: the columns are not system"):
            wmt.ratings(path)
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(InputError, match=r"no archive with a \.tsv file"):
            wmt.ratings(path)


@pytest.fixture
def features(tmp_path: Path) -> dict:
    """What `load_world` needs for texts: a small model, and a folder for its features."""
    settings = FeatureSettings(backbone=tiny_models.folder(tmp_path / "model"), layers=1, dtype="float32")
    return {"features": settings, "store": tmp_path / "store", "device": "cpu"}


def test_people_are_kept_through_features(tmp_path: Path, features: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream(tmp_path / "mirror" / "ukp_convarg")
    register(monkeypatch, tmp_path / "mirror")
    monkeypatch.setattr(ukp, "MIN_CHOICES", 7)
    people = {"ukp-criteria": {"w0001", "w0003"}, "ukp-workers": {"w0001"}}
    for name, expected in people.items():
        world = load_world(name, **features)
        for split in data.SPLITS:
            pairs, rows = getattr(world, split), data.load(name, split)
            for column in ("user_id", "prompt_id", "attribute", "pair_id"):
                assert getattr(pairs, column).tolist() == rows[column][:]
            assert set(pairs.user_id) == expected and (pairs.contexts is None) == (name == "ukp-workers")
            assert pairs.position.tolist() == [1.0 if side == "chosen" else -1.0 for side in rows["shown_first"]]


def test_ratings_of_translations_reach_the_pairs(
    tmp_path: Path, features: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [(f"{k}{segment}", s, r, f"{k}: {text}", *e) for k in range(6) for segment, s, r, text, *e in LINES]
    archive(tmp_path / "mirror" / wmt.FILE, lines, documents={line[0]: line[0][0] for line in lines})
    register(monkeypatch, tmp_path / "mirror")
    world = load_world("wmt-mqm", **features)
    assert set(world.test.prompt_id) < {f"news.{k}:zh-en" for k in range(6)}
    assert world.test.rating_names == wmt.ATTRIBUTES and world.test.user_id is None
    column = [wmt.ATTRIBUTES.index(a) for a in world.test.attribute]
    better, worse = (world.test.ratings[rows, column] for rows in (world.test.chosen, world.test.rejected))
    assert len(better) and bool((better > worse).all())


def choices(changed: dict[int, tuple] | None = None) -> pd.DataFrame:
    """Choices of two people on three topics, three a topic; `changed` replaces the criteria of a row."""
    plan = {"a": ("tone", "tone", "on topic"), "b": ("on topic", "on topic", "on topic")}
    rows = [{"topic": t, "worker": w, "criteria": (plan[w][k],)} for w in "ab" for t in "xyz" for k in range(3)]
    table = pd.DataFrame(rows)
    for row, criteria in (changed or {}).items():
        table.at[row, "criteria"] = criteria
    return table


def test_a_mix_knows_nothing_of_its_own_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ukp, "MIN_REASONS", 6)
    found = ukp.person_mixes(choices())
    # a: 4 of 6 reasons elsewhere are of tone; the average person has (4/6 + 0) / 2 of it
    assert found.loc[("a", "x"), ["tone", "on topic"]].tolist() == pytest.approx([(4 + 1 / 3) / 7, (2 + 2 / 3) / 7])
    assert found["leans"].to_dict() == {(w, t): {"a": "tone", "b": "on topic"}[w] for w in "ab" for t in "xyz"}
    other = ukp.person_mixes(choices({0: ("only opinion",), 2: ("only opinion",)}))  # two reasons of a on x
    pd.testing.assert_frame_equal(other.loc[[("a", "x")]], found.loc[[("a", "x")]])
    assert other.loc[("a", "y"), "only opinion"] > 0 == found.loc[("a", "y"), "only opinion"]
    # reasons of no criterion or several count nowhere: five are left of a on the topics but x, and on those but y
    fewer = ukp.person_mixes(choices({5: (), 8: ("tone", "on topic")}))
    assert ("a", "x") not in fewer.index and ("a", "y") not in fewer.index and ("b", "x") in fewer.index


def mixed_world(tmp_path: Path, features: dict, monkeypatch: pytest.MonkeyPatch):
    upstream(tmp_path / "mirror" / "ukp_convarg")
    register(monkeypatch, tmp_path / "mirror")
    monkeypatch.setattr(ukp, "MIN_CHOICES", 7)
    monkeypatch.setattr(ukp, "MIN_REASONS", 2)
    return load_world("ukp-mix", **features)


def test_a_mixed_context_is_the_mean_of_the_criteria_by_their_shares(
    tmp_path: Path, features: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed_world(tmp_path, features, monkeypatch)
    stated = load_world("ukp-criteria", **features)
    known: dict[tuple, dict[str, tuple]] = {}  # prompt -> criterion -> u(x, c), u(c)
    for part in (stated.train, stated.validation, stated.test):
        for i, name in enumerate(part.attribute):
            both = part.context_features[i], part.criterion_features[i]
            known.setdefault(tuple(part.prompt_features[i].tolist()), {})[str(name)] = both
    names = sorted(set(stated.train.attribute))
    assert len(names) > 1 and all(set(names) <= set(found) for found in known.values())
    rows = data.load("ukp-criteria", "train").remove_columns("context")
    rng = np.random.default_rng(0)
    shares = np.zeros((len(rows), len(ukp.PATTERNS)))
    shares[:, [list(ukp.PATTERNS).index(name) for name in names]] = rng.dirichlet(np.ones(len(names)), len(rows))
    encoded = pool_store("ukp-criteria", features["features"], features["store"], device="cpu")
    sentences = [data.CRITERIA["ukp"][name] for name in ukp.PATTERNS]
    found = with_mix(encoded.pairs(rows), rows.add_column("mix", shares.tolist()), encoded, sentences)
    other = with_mix(encoded.pairs(rows), rows.add_column("mix", shares[::-1].tolist()), encoded, sentences)
    for i in range(len(rows)):
        own = known[tuple(found.prompt_features[i].tolist())]
        for part, table in enumerate((found.context_features, found.criterion_features)):
            expected = sum(shares[i, k] * own[c][part] for k, c in enumerate(ukp.PATTERNS) if shares[i, k])
            assert table[i].numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    assert not torch.allclose(other.context_features, found.context_features, atol=1e-3)
    assert torch.equal(found.difference, encoded.pairs(rows).difference)


def test_a_mix_needs_the_features_of_its_criteria(
    tmp_path: Path, features: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of a criterion that no reason of the debate states has no feature; the data give none such a share."""
    world = mixed_world(tmp_path, features, monkeypatch)
    rows = data.load("ukp-mix", "train")
    stated = set(registry.build("ukp-criteria").frame["attribute"])
    unstated = [number for number, name in enumerate(ukp.PATTERNS) if name not in stated]
    assert has_mixes("ukp-mix") and not has_mixes("ukp-criteria") and not has_mixes("synthetic-audience")
    assert AVERAGE_MIX not in main_tables.left_out(world)
    assert AVERAGE_MIX in main_tables.left_out(load_world("ukp-criteria", **features))
    assert len(world.train) and unstated and not np.array(rows["mix"][:])[:, unstated].any()
    even = rows.remove_columns("mix").add_column("mix", [[1 / 7] * 7] * len(rows))
    encoded = pool_store("ukp-mix", features["features"], features["store"], device="cpu")
    with pytest.raises(InputError, match=f"no text states, '{data.CRITERIA['ukp'][list(ukp.PATTERNS)[unstated[0]]]}"):
        with_mix(encoded.pairs(rows), even, encoded, [data.CRITERIA["ukp"][name] for name in ukp.PATTERNS])


def test_a_mix_stands_before_no_response(tmp_path: Path, features: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    with_criterion = features | {"features": replace(features["features"], response_context="with")}
    with pytest.raises(InputError, match="response_context without"):
        mixed_world(tmp_path, with_criterion, monkeypatch)


def test_training_pairs_are_capped_whole(tmp_path: Path, features: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ones in every call, all labels of two responses together; validation and test stay as they are."""
    upstream(tmp_path / "mirror" / "ukp_convarg")
    register(monkeypatch, tmp_path / "mirror")
    whole, some = (load_world("ukp-criteria", **features, most_train_pairs=n) for n in (0, 5))
    assert len(whole.train) > 5 >= len(some.train) > 0 and set(some.train.pair_id) < set(whole.train.pair_id)
    assert some.test.pair_id.tolist() == whole.test.pair_id.tolist()
    assert some.validation.pair_id.tolist() == whole.validation.pair_id.tolist()
    assert some.fingerprint != whole.fingerprint
    frame = data.split_frame("ukp-criteria", "train").set_index("pair_id")["comparison_id"]
    kept = frame.index.isin(some.train.pair_id)
    assert not set(frame[kept]) & set(frame[~kept])
    again = load_world("ukp-criteria", **features, most_train_pairs=5)
    assert again.train.pair_id.tolist() == some.train.pair_id.tolist() and again.fingerprint == some.fingerprint
    more = load_world("ukp-criteria", **features, most_train_pairs=10**6)
    assert more.fingerprint == whole.fingerprint  # a cap above all is none
    with pytest.raises(InputError, match="most_train_pairs"):
        load_world("ukp-criteria", **features, most_train_pairs=-1)


def test_a_part_of_the_pairs_has_every_attribute_in_its_share() -> None:
    """In file order a prefix would have one attribute alone; a draw by pair would part the labels of two responses."""
    attribute = ["detail"] * 600 + ["tone"] * 60 + ["clear", "detail"] * 170
    comparison = [f"c{i}" for i in range(660)] + [f"d{i // 2}" for i in range(340)]
    drawn = [stratified(comparison, attribute, 200, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert drawn[0].tolist() == drawn[1].tolist() == sorted(drawn[0]) and drawn[0].tolist() != drawn[2].tolist()
    for rows in (drawn[0], drawn[2]):
        assert 198 <= len(rows) <= 200
        kept = {name: sum(attribute[i] == name for i in rows) for name in set(attribute)}
        assert kept == pytest.approx({"detail": 154, "tone": 12, "clear": 34}, abs=2)
        parted = {comparison[i] for i in rows} & {comparison[i] for i in set(range(1000)) - set(rows)}
        assert not parted
    # a kind of which there is one comparison is drawn as often as any other
    names, labels = [f"c{i}" for i in range(700)], ["a"] * 699 + ["b"]
    once = sum(699 in stratified(names, labels, 70, np.random.default_rng(seed)) for seed in range(200))
    assert 8 <= once <= 34


def test_systems_alone_know_who_wrote_and_nothing_else(
    tmp_path: Path, features: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """System A wins on accuracy and B on style, whatever they write; a text that lies about its writer changes it."""
    lines = [(f"{k}{segment}", s, r, f"{k}: {text}", *e) for k in range(20) for segment, s, r, text, *e in LINES]
    archive(tmp_path / "mirror" / wmt.FILE, lines, documents={line[0]: line[0][:-1] for line in lines})
    register(monkeypatch, tmp_path / "mirror")
    world = load_world("wmt-mqm", **features)
    row = counted.system_only([world], Settings(epochs=1), [0])
    p = row.probability["system_only"][:, 0]
    wrote = dict(zip(data.load("wmt-mqm", "test")["pair_id"], data.load("wmt-mqm", "test")["chosen_id"], strict=True))
    assert {(a, wrote[i]) for a, i in zip(world.test.attribute, world.test.pair_id, strict=True)} == {
        ("accuracy", "A"),
        ("fluency", "A"),
        ("style", "B"),
    }
    assert (p > 0.6).all() and len(set(p.round(6))) <= 3  # one value an attribute: nothing of the text
    assert list(row.supervision) == ["system_only"]
    made = counted.systems_of(["A", "B"])
    assert made(["B", "C", "A"]).tolist() == [[0, 1], [0, 0], [1, 0]]  # a system that training lacks has no column
    assert counted.has_systems("wmt-mqm") and not counted.has_systems("smoke-texts")
    assert not counted.has_systems("synthetic-audience")
    assert "system_only" in main_tables.left_out(load_world("smoke-texts", **features))
    assert "system_only" not in main_tables.left_out(world)
