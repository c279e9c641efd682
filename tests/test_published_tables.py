"""Averages of the published accuracy tables are the means of their rows, and table 5 counts the data as loaded."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from micro_paper import data
from micro_paper.experiments import reward_bench
from micro_paper.experiments.evaluation import Evaluation

RESULTS = Path(__file__).resolve().parent.parent / "results"
PROFILES = [profile for profile in ("bundled", "open") if (RESULTS / profile).is_dir()]
MACRO = "average"
ROUNDING = 2e-6  # a table has 6 digits
OF_AVERAGES = ("table_00_people_ranks",)  # a rank correlation of averages, not their average
# Accuracies, likelihoods, calibration errors and differences of them: their mean over attributes is one too.
AVERAGED = ("value", "mean", "before", "after", "difference", "accuracy")
AVERAGED += ("regret", "share", "random_regret", "fixed_regret", "over_static")
PRINTED = ("table_02_accuracy_helpsteer", "table_03_accuracy_rpr", "table_04_transfer", "table_07_heads_rpr")
PRINTED += ("table_08_heads_helpsteer", "table_11_deeper_rpr", "table_12_deeper_helpsteer")
OF_A_LINE = (
    "std",
    "free",
    "p_value",
    "p_holm",
    "n_pairs",
    "n_prompts",
    "n_runs",
    "n_seeds",
    "n_choices",
    "saved",
)  # and ends of intervals: no mean is meant


def average_faults(table: pd.DataFrame) -> list[str]:
    """Return the lines of the average that are not the mean of the lines of the single attributes beside them."""
    columns = [c for c in AVERAGED if c in table]
    keys = [c for c in table if c not in (*columns, *OF_A_LINE, "attribute") and not c.endswith(("low", "high"))]
    wrong = []
    for key, part in table.groupby(keys, dropna=False, sort=False):
        average, rows = part[part.attribute == MACRO], part[part.attribute != MACRO]
        if len(average) != 1 or not len(rows) or rows.attribute.duplicated().any():
            wrong.append(f"{key}: {len(average)} averages of {len(rows)} rows")
            continue
        for column in columns:
            stated, mean = average[column].item(), rows[column].mean(skipna=False)
            same = np.isnan(stated) and np.isnan(mean) or abs(stated - mean) <= ROUNDING * max(1, abs(mean))
            if not same:
                wrong.append(f"{key}: the average of {column} is {stated}, its rows have {mean}")
    return wrong


def with_averages(profile: str) -> Iterator[Path]:
    """Yield the published tables that have lines of single attributes and of their average."""
    for path in sorted((RESULTS / profile).glob("table_*.csv")):
        table = pd.read_csv(path)
        if (
            path.stem not in OF_AVERAGES
            and "attribute" in table
            and MACRO in set(table.attribute)
            and set(table.attribute) != {MACRO}
        ):
            yield path


CASES = [pytest.param(path, id=f"{profile}-{path.stem}") for profile in PROFILES for path in with_averages(profile)]


@pytest.mark.parametrize("path", CASES)
def test_averages_are_the_means_of_their_rows(path):
    assert average_faults(pd.read_csv(path)) == []


@pytest.mark.parametrize("profile", PROFILES)
def test_every_accuracy_table_has_its_averages(profile):
    """Of those that are there; table 9 has three attributes and no average, table 10 its own weighting."""
    there = {path.stem for path in (RESULTS / profile).glob("table_*.csv")}
    assert there.intersection(PRINTED) and there.intersection(PRINTED) <= {p.stem for p in with_averages(profile)}
    for path in (RESULTS / profile).glob("table_09_*.csv"):
        table = pd.read_csv(path)
        assert (table.groupby(["method", "budget"]).attribute.nunique() == 3).all() and MACRO not in set(
            table.attribute
        )


@pytest.mark.parametrize("metric", ["accuracy", "nll", "ece"])
@pytest.mark.parametrize("attribute", [MACRO, "coherence"])
def test_a_changed_average_or_row_is_found(metric, attribute):
    table = pd.read_csv(RESULTS / "bundled" / "table_02_accuracy_helpsteer.csv")
    row = table.index[(table.method == "armo") & (table.metric == metric) & (table.attribute == attribute)]
    table.loc[row, "value"] += 2e-5
    assert len(average_faults(table)) == 1
    assert len(average_faults(table.drop(index=row))) == 1


# Table 10: sections of subsets


SECTION_OF = {
    "chat": ("alpacaeval", "mt-bench-easy", "mt-bench-med", "pandalm"),
    "reasoning": ("math-prm", "gsm8k", "hep-"),
}


def section_faults(sections: pd.DataFrame, subsets: pd.DataFrame) -> list[str]:
    """Return what is not RewardBench's weighting: subsets by pairs, mathematics as heavy as code, sections alike."""
    wrong = []
    for section, part in subsets.drop_duplicates("subset").groupby("section"):
        weight = part.n_pairs / part.n_pairs.sum()
        code = part.subset.str.startswith("hep-")
        if section == "reasoning" and code.any() and not code.all():
            weight = 0.5 * part.n_pairs / part.n_pairs.groupby(code).transform("sum")
        if not np.allclose(part.weight, weight, atol=ROUNDING):
            wrong.append(f"{section}: weights {part.weight.tolist()}, not {weight.tolist()}")
    for section, prefixes in SECTION_OF.items():
        own = subsets.subset.str.startswith(prefixes) & ~subsets.subset.str.endswith("-hard")
        if (subsets.section[own] != section).any():
            wrong.append(f"a subset of {section} is in another section")
    for method, part in sections.groupby("method"):
        value, own = part.set_index("section").value, subsets[subsets.method == method]
        score = (own.value * own.weight).groupby(own.section).sum()
        if set(value.index) != {*score.index, MACRO} or part.section.duplicated().any():
            wrong.append(f"{method}: sections {sorted(value.index)}, subsets of {sorted(score.index)}")
            continue
        wrong += [
            f"{method} {s}: {value[s]}, not {score[s]}" for s in score.index if abs(value[s] - score[s]) > ROUNDING
        ]
        if abs(value[MACRO] - value.drop(MACRO).mean()) > ROUNDING:
            wrong.append(f"{method}: the average is {value[MACRO]}, its sections have {value.drop(MACRO).mean()}")
    return wrong


@pytest.mark.parametrize("profile", PROFILES)
def test_table_10_has_rewardbenchs_weighting(profile):
    folder = RESULTS / profile
    if not (folder / "table_10_sections.csv").is_file():
        assert (folder / "table_10_not_applicable.md").is_file() or not list(folder.glob("table_10*"))
        return
    assert (
        section_faults(pd.read_csv(folder / "table_10_sections.csv"), pd.read_csv(folder / "table_10b_subsets.csv"))
        == []
    )


@pytest.fixture
def bench() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables 10 and 10b of random predictions on unequal subsets."""
    sizes = {"alpacaeval-easy": 30, "mt-bench-med": 11, "llmbar-natural": 17, "xstest-should-refuse": 20}
    sizes |= {"gsm8k": 40, "hep-go": 16, "hep-rust": 9}
    subset = np.repeat(list(sizes), list(sizes.values()))
    pairs = pd.DataFrame({"prompt_id": [f"p{i}" for i in range(len(subset))], "attribute": subset, "fold": 0})
    pairs["pair_id"] = pairs.prompt_id
    rng = np.random.default_rng(0)
    p = {method: rng.uniform(size=(len(pairs), 2)) for method in ("micro", "single")}
    result = Evaluation("made", pairs, [0, 1], p, dict.fromkeys(p, "none"))
    made = type("Made", (), {"dataset": dict.fromkeys(sizes, "made"), "name": "made"})
    return reward_bench.section_table(result), reward_bench.subset_table(result, made)


def test_the_weighting_of_made_tables_is_right_and_damage_is_found(bench):
    sections, subsets = bench
    assert section_faults(sections, subsets) == []
    for column, table in (("value", 0), ("value", 1), ("weight", 1)):
        for row in range(len(bench[table]) if column == "value" else 7):
            spoiled = [frame.copy() for frame in bench]
            spoiled[table].loc[row, column] += 1e-3
            assert section_faults(*spoiled), (column, table, row)
    plain = subsets.copy()
    reasoning = plain.section == "reasoning"
    plain.loc[reasoning, "weight"] = plain.n_pairs[reasoning] / 65
    assert any("weights" in fault for fault in section_faults(sections, plain))
    assert section_faults(sections.drop(index=0), subsets)


# Table 5: counts


def counted(name: str, split: str, fold: int) -> dict[str, tuple[int, int]]:
    """Return attribute -> (pairs, prompts) of a data set as it is loaded, counted row by row."""
    pairs: dict[str, int] = {}
    prompts: dict[str, set] = {}
    rows = data.load(name, split, fold=fold)
    for attribute, prompt in zip(rows["attribute"][:], rows["prompt_id"][:], strict=True):
        for key in (attribute, "all"):
            pairs[key] = pairs.get(key, 0) + 1
            prompts.setdefault(key, set()).add(prompt)
    return {key: (pairs[key], len(prompts[key])) for key in pairs}


def count_faults(table: pd.DataFrame) -> list[str]:
    wrong = []
    for (name, fold, split), part in table.groupby(["dataset", "fold", "split"]):
        own = counted(name, split, int(fold))
        stated = {r.attribute: (r.pairs, r.prompts) for r in part.itertuples()}
        if stated != own or len(part) != len(own):
            wrong.append(f"{name} {split}: {set(stated.items()) ^ set(own.items())}")
        single = part[part.attribute != "all"]
        if (single.unanimous > single.pairs).any():
            wrong.append(f"{name} {split}: more unanimous pairs than pairs")
    for name, part in table.groupby("dataset"):
        if set(part.split) != {"train", "validation", "test"}:
            wrong.append(f"{name}: splits {sorted(set(part.split))}")
    return wrong


@pytest.mark.long
@pytest.mark.parametrize("profile", PROFILES)
def test_table_5_counts_the_data_as_loaded(profile, request):
    if profile == "open":
        request.getfixturevalue("mirror")
    table = pd.read_csv(RESULTS / profile / "table_05_counts.csv")
    assert len(table) and count_faults(table) == []


@pytest.mark.parametrize("column", ["pairs", "prompts"])
def test_a_changed_count_is_found(column):
    table = pd.read_csv(RESULTS / "bundled" / "table_05_counts.csv")
    table = table[table.dataset == "bundled-helpsteer"]
    table.loc[table.index[3], column] += 1
    assert len(count_faults(table)) == 1
    assert len(count_faults(table[table.split != "test"])) >= 1


@pytest.mark.parametrize("profile", PROFILES)
def test_tests_count_the_same_pairs_as_the_accuracy_tables(profile, request):
    """The test pairs behind table 2 are those of all folds that can be loaded."""
    if profile == "open":
        request.getfixturevalue("mirror")
    for path in (RESULTS / profile).glob("table_0[23]_accuracy_*.csv"):
        table = pd.read_csv(path).query("method == 'micro' and metric == 'accuracy'").set_index("attribute").n_pairs
        name = pd.read_csv(path).dataset.iloc[0]
        total: dict[str, int] = {}
        for fold in range(5):
            for attribute, (pairs, _) in counted(name, "test", fold).items():
                total[attribute] = total.get(attribute, 0) + pairs
        assert table.rename({MACRO: "all"}).to_dict() == total
