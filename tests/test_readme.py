"""The README states what the committed files hold, and nothing typed by hand."""

import pandas as pd
import pytest

from micro_paper.claims import evidence, judge
from micro_paper.errors import InputError
from micro_paper.paths import project_root
from micro_paper.workflow import readme


@pytest.mark.parametrize("name", readme.BLOCKS)
def test_the_readme_states_what_is_committed(name):
    text = (project_root() / "README.md").read_text()
    assert readme.with_block(text, name, readme.BLOCKS[name](None)) == text, "run `make readme`"


def test_the_block_holds_the_numbers_of_the_table(tmp_path):
    folder = tmp_path / "results" / "open"
    folder.mkdir(parents=True)
    base = {"dataset": "d", "low": 0.6, "high": 0.8}
    pd.DataFrame(
        [
            base | {"method": "micro", "supervision": "s", "ours": 0.7},
            base
            | {"method": "single", "supervision": "binary labels", "ours": 0.65, "micro_minus_row": 0.05}
            | {"minus_low": 0.01, "minus_high": 0.0912, "verdict": "holds"},
        ]
    ).to_csv(folder / readme.TABLE, index=False)
    block = readme.results_block(tmp_path)
    assert "`micro` 0.700 [0.600, 0.800]" in block and "1 holds, 0 does not, 0 cannot tell" in block
    assert "| `single` | 0.650 [0.600, 0.800] | +0.050 [+0.010, +0.091] | holds | binary labels |" in block
    assert "No profile is published yet" in readme.results_block(tmp_path / "results")


def publish_claims(root, profile, verdicts, plus):
    """Write a claims.csv with these verdicts on the first claims; the others cannot be told."""
    judged = judge.judge(pd.DataFrame(columns=[*evidence.COLUMNS, *judge.SOURCE_COLUMNS]), profile)
    judged.loc[: len(verdicts) - 1, "verdict"] = verdicts
    judged.loc[: len(plus) - 1, "micro_plus_verdict"] = plus
    folder = root / "results" / profile
    folder.mkdir(parents=True)
    judged.to_csv(folder / "claims.csv", index=False)


def test_the_claims_are_counted_for_each_profile(tmp_path):
    assert "No profile has judged the claims yet" in readme.claims_block(tmp_path)
    publish_claims(tmp_path, "open", ["holds", "holds", "does not"], ["does not"])
    block = readme.claims_block(tmp_path)
    assert "| open | `micro` | 2 | 1 | 42 |" in block and "| open | `micro_plus` | 0 | 1 | 44 |" in block
    assert "constructed" not in block
    publish_claims(tmp_path, "bundled", ["cannot tell", "holds"], [])
    block = readme.claims_block(tmp_path)
    assert "| bundled | `micro` | 1 | 0 | 44 |" in block and "`bundled` is constructed" in block
    line = next(row for row in block.splitlines() if row.startswith("| C01 "))
    assert line.endswith("| cannot tell | cannot tell | holds | does not |")  # bundled, then open
    assert block.count("\n| C") == 45


@pytest.mark.parametrize("form", ["none", "{end} {begin}", "{begin} {begin} {end}", "{begin} {end} {end}", "{begin}"])
@pytest.mark.parametrize("name", readme.BLOCKS)
def test_missing_markers_are_named(form, name):
    begin, end = readme.markers(name)
    with pytest.raises(InputError, match=f"{name}: begin.*once each and in this order"):
        readme.with_block(form.format(begin=begin, end=end), name, "block")


def test_a_block_touches_its_own_place_only():
    text = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb <!-- y: begin -->\nkept\n<!-- y: end -->"
    assert readme.with_block(text, "x", "new") == text.replace("old", "new")


def test_refresh_writes_every_block(tmp_path):
    root = project_root()
    (tmp_path / "profiles").symlink_to(root / "profiles")
    page = "head\n" + "".join("\n".join(readme.markers(name)) + "\n" for name in readme.BLOCKS) + "tail\n"
    (tmp_path / "README.md").write_text(page)
    publish_claims(tmp_path, "open", ["holds"], [])
    readme.refresh(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("head\n") and text.endswith("tail\n")
    assert "| open | `micro` | 1 | 0 | 44 |" in text and "| `alpha` | `0.5` |" in text
    readme.refresh(tmp_path)
    assert (tmp_path / "README.md").read_text() == text
