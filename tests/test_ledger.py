"""The ledger names every default's source, and things that exist."""

import dataclasses
import importlib
import shutil

import pytest
import yaml

from micro_paper.errors import InputError
from micro_paper.methods.settings import Settings
from micro_paper.paths import project_root
from micro_paper.workflow import ledger

ROOT = project_root()
PARAMETERS = yaml.safe_load((ROOT / "profiles" / "paper.yaml").read_text())


def exists(name):
    """Whether a name is a parameter of the profiles, or a module, object, or field of a dataclass of the package."""
    if name in PARAMETERS:
        return True
    words = name.split(".")
    for cut in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:cut]))
        except ModuleNotFoundError:
            continue
        for word in words[cut:]:
            if not hasattr(found, word) and word not in getattr(found, "__dataclass_fields__", ()):
                return False
            found = getattr(found, word, None)
        return words[0] == "micro_paper" and len(words) > 1
    return False


def test_every_place_exists():
    table = ledger.deviations()
    missing = [name for where in table["where"] for name in where.split() if not exists(name)]
    assert missing == []
    assert (table["where"].str.len() > 0).all()


@pytest.mark.parametrize(
    "name", ["micro_paper.router.Router2", "alfa", "os.path", "micro_paper", "micro_paper.nothing"]
)
def test_a_place_that_does_not_exist_is_found(name):
    assert not exists(name)


@pytest.mark.parametrize(
    "name", ["alpha", "micro_paper.router.Stage2.tau", "micro_paper.methods.settings.Settings.stage2"]
)
def test_a_place_that_exists_is_found(name):
    assert exists(name)


def test_every_known_problem_has_a_row():
    table = ledger.deviations()
    assert sorted(table["problem"].unique()) == list(range(1, 13)) and table["problem"].is_monotonic_increasing
    assert set(table["source"]) == {"paper", "released code"}
    assert set(table.loc[table["problem"].between(8, 11), "source"]) == {"released code"}
    assert not table.duplicated(["theirs"]).any()
    assert (table[["theirs", "ours"]].apply(lambda column: column.str.endswith("."))).all(axis=None)


def test_every_setting_has_its_source():
    """Each field of Settings is a parameter of the profiles, whose comment is its source, or has a row of its own."""
    renamed = {"heads": "heads_rpr", "steps": "steps_rpr", "tau": "tau_rpr", "dtype": "train_dtype"}
    rows = set(" ".join(ledger.deviations()["where"]).split())
    named = {f.name for f in dataclasses.fields(Settings) if f"micro_paper.methods.settings.Settings.{f.name}" in rows}
    bare = [f.name for f in dataclasses.fields(Settings) if renamed.get(f.name, f.name) not in PARAMETERS]
    assert bare and set(bare) <= named


@pytest.mark.parametrize(
    ("comment", "source", "rest"),
    [
        ("paper", "paper", ""),
        ("paper B.1: 4 x 8", "paper", "B.1: 4 x 8"),
        ("paper: last", "paper", "last"),
        ("released code; the paper does not say", "released code", "the paper does not say"),
        ("ours: the paper does not say", "ours", "the paper does not say"),
        ("the paper has none", "ours", "the paper has none"),
        ("papers disagree", "ours", "papers disagree"),
        ("", "ours", ""),
    ],
)
def test_a_comment_is_tagged_by_how_it_begins(comment, source, rest):
    assert ledger.tag(comment) == (source, rest)


def test_every_default_of_the_profiles_is_there():
    table = ledger.defaults().set_index("parameter")
    assert list(table.index) == [name for name in PARAMETERS if name != "profile"]
    assert table.loc["alpha", ["paper", "open", "bundled"]].tolist() == [0.5, 0.5, 0.5]
    assert table.loc["alpha", "source"] == "paper" and table.loc["stage2_learning_rate", "source"] == "ours"
    assert table.loc["epochs", "source"] == "released code (paper), ours (open, bundled)"
    assert table.loc["backbone", "source"] == "paper (paper), ours (open, bundled)"
    assert table.loc["backbone", "reason"].endswith("CPU (open, bundled)")
    for name in ledger.PROFILES:
        values = yaml.safe_load((ROOT / "profiles" / f"{name}.yaml").read_text())
        assert table[name].tolist() == [values[parameter] for parameter in table.index]


def test_a_value_without_a_source_is_refused(tmp_path):
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    path = tmp_path / "profiles" / "open.yaml"
    path.write_text(path.read_text().replace("alpha: 0.5  # paper 4.1, Eq. 4", "alpha: 0.5"))
    with pytest.raises(InputError, match="open.yaml: alpha has no comment"):
        ledger.defaults(tmp_path)


def test_a_changed_profile_changes_the_ledger(tmp_path):
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    assert ledger.block(tmp_path) == ledger.block()
    path = tmp_path / "profiles" / "open.yaml"
    path.write_text(path.read_text().replace("alpha: 0.5  # paper 4.1, Eq. 4", "alpha: 0.1  # ours: it works"))
    row = next(line for line in ledger.block(tmp_path).splitlines() if line.startswith("| `alpha` "))
    assert row == (
        "| `alpha` | `0.5` | `0.1` | `0.5` | paper (paper, bundled), ours (open) | "
        "4.1, Eq. 4 (paper, bundled); it works (open) |"
    )


def test_the_block_is_a_table_in_markdown():
    rows = [line for line in ledger.block().splitlines() if line.startswith("|")]
    widths = [line.replace("\\|", "").count("|") for line in rows]
    defaults = len(ledger.defaults()) + 2
    assert widths == [6] * (len(rows) - defaults) + [7] * defaults
    assert len(rows) - defaults == len(ledger.deviations()) + 2
