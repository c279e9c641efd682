"""The glossary knows every column of every published table, and refuses a column that it does not know."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from micro_paper.errors import InputError
from micro_paper.report.columns import glossary, meanings
from micro_paper.workflow import manifest

ROOT = Path(__file__).resolve().parent.parent
PROFILES = ("bundled", "open")


def tables(profile: str) -> dict[str, dict[str, str]]:
    """Return {number and slug: {column: meaning}} as a profile's manifest has them."""
    entries = manifest.files_of(manifest.read_lines(ROOT / "results" / profile / "manifest.jsonl"))
    return {Path(e["file"]).stem.removeprefix("table_"): e["columns"] for e in entries if e["columns"]}


@pytest.mark.parametrize("profile", PROFILES)
def test_every_published_column_has_its_meaning(profile):
    published = tables(profile)
    assert len(published) > 70
    assert {table: meanings(table, columns) for table, columns in published.items()} == published


def test_nothing_in_the_glossary_is_without_a_table():
    published = {}
    for profile in PROFILES:
        for table, columns in tables(profile).items():
            published.setdefault(table, {}).update(columns)
    for tables_of, column, meaning in glossary():
        having = {t for t in published for pattern in tables_of.split() if fnmatchcase(t, pattern)}
        assert any(published[t].get(column) == meaning for t in having), (tables_of, column)
    assert len({line[:2] for line in glossary()}) == len(glossary())


def test_a_table_has_its_own_meaning_of_a_common_name():
    assert meanings("02d_differences", ["difference"])["difference"].startswith("accuracy of the reference")
    assert meanings("10c_differences", ["difference"])["difference"].startswith("score of the reference")
    assert meanings("00_audit_forms", ["fitting"]) != meanings("00_audit_fits", ["fitting"])  # the narrower wins
    assert list(meanings("02_a", ["value", "dataset"])) == ["value", "dataset"]


@pytest.mark.parametrize(
    ("table", "column", "message"),
    [
        ("02_accuracy_rpr", "joy", "column 'joy' of table 02_accuracy_rpr has no meaning: add it to .*columns.csv"),
        ("02_accuracy_rpr", "methd", "'methd'.*Did you mean 'method'"),
        ("02_accuracy_rpr", "pairing", "'pairing' of table 02_accuracy_rpr"),  # it belongs to tables of the theory
        ("predictions", "split", "'split' of table predictions"),
    ],
)
def test_an_unknown_column_is_refused(table, column, message):
    with pytest.raises(InputError, match=message):
        meanings(table, ["method", column])
