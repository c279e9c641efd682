"""The gate of the world that decides, its seal, and that each line rejects a fault."""

import json
import re
from dataclasses import asdict, replace

import numpy as np
import pytest

from micro_paper.data import corpus
from micro_paper.data.corpus import tastes
from micro_paper.data.corpus.gate import (
    BOUNDS,
    Rows,
    failures,
    gate,
    gate_table,
    macro,
    margins,
    planted,
    rows_of,
    turning,
)
from micro_paper.data.corpus.tastes import KNOBS, SEAL, WRITTEN, fingerprint
from micro_paper.errors import InputError
from micro_paper.intervals import Sample


@pytest.fixture(scope="module")
def rows() -> Rows:
    return rows_of("bundled-rpr")


def measure(rows: Rows, **more) -> dict[str, float]:
    return gate(rows, rng=np.random.default_rng(1), **{"draws": 100} | more)


def test_the_default_world_passes(rows: Rows) -> None:
    measured = measure(rows, draws=200)
    assert failures(measured) == [] and set(BOUNDS) < set(measured)
    assert measured["taste_gain"] > measured["criterion_gain"]


# Faults: each makes the named lines fail.


def stated_at_random(rows: Rows) -> Rows:
    return replace(rows, stated=np.random.default_rng(2).permutation(rows.stated))


def always_the_same(rows: Rows) -> Rows:
    """Labels that follow from the pair alone: whatever has more of the dimensions, weighted unevenly, wins."""
    side = np.sign(rows.difference @ np.arange(1, 10))
    return replace(rows, difference=rows.difference * np.where(side == 0, 1, side)[:, None])


def coins(rows: Rows) -> Rows:
    return replace(
        rows, difference=rows.difference * np.random.default_rng(3).choice([-1, 1], len(rows.topic))[:, None]
    )


def of_one_taste(rows: Rows) -> Rows:
    """What one taste alone would have said."""
    weights = tastes.population(KNOBS["bundled-rpr"]).weights[0]
    first = np.random.default_rng(4).random(len(rows.topic)) < 1 / (1 + np.exp(-rows.difference @ weights))
    return replace(rows, difference=rows.difference * np.where(first, 1, -1)[:, None])


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "lines"),
    [
        (stated_at_random, {"criterion_gain", "information"}),
        (always_the_same, {"single", "criterion_gain", "information"}),
        (coins, {"single", "criterion_gain", "information"}),
        (of_one_taste, {"single", "criterion_gain", "information"}),
    ],
)
def test_a_world_with_a_fault_is_rejected(rows: Rows, fault, lines: set[str]) -> None:
    assert lines <= set(failures(measure(fault(rows), draws=2)))


@pytest.mark.long
def test_too_few_topics_cannot_find_a_gain(rows: Rows) -> None:
    few = np.isin(rows.topic, np.unique(rows.topic)[:10])
    cut = Rows(**{name: values[few] for name, values in asdict(rows).items()})
    assert "planted_found" in failures(measure(cut))


@pytest.mark.long
def test_intervals_that_are_too_short_find_what_is_not_there(rows: Rows) -> None:
    def short(values, topics, attributes):
        return Sample(topics, attributes).mean(values, level=0.5)

    assert "none_found" in failures(measure(rows, interval=short))


@pytest.mark.long
def test_criteria_that_are_not_shuffled_are_found(rows: Rows) -> None:
    assert "information_shuffled" in failures(measure(rows, draws=2, shuffle=lambda codes, rng: codes))


def test_a_value_that_is_no_number_fails() -> None:
    assert failures(dict.fromkeys(BOUNDS, float("nan"))) == list(BOUNDS)


@pytest.mark.long
def test_heads_are_fitted_on_training_rows_alone(rows: Rows) -> None:
    found = margins(rows, np.random.default_rng(0))
    assert sorted(found.row) == np.flatnonzero(rows.tested).tolist()  # each topic is tested once
    spoilt = rows.difference.copy()
    spoilt[rows.tested] *= -1
    turned = margins(replace(rows, difference=spoilt), np.random.default_rng(0))
    assert np.allclose(turned.single, -found.single) and np.allclose(turned.criterion, -found.criterion)


def test_a_planted_row_gains_what_is_planted() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random(4000) < 0.65).astype(float)
    attributes = rng.integers(0, 9, 4000)
    for gain in (0.03, 0.0):
        turn = turning(right, attributes, gain, 0.3)
        drawn = [macro(planted(right, turn, rng).mean(axis=1), attributes) for _ in range(60)]
        assert np.mean(drawn) == pytest.approx(gain, abs=0.004)


@pytest.mark.long
def test_the_table_says_what_passes() -> None:
    table = gate_table(("bundled-rpr",)).set_index("quantity")
    assert set(BOUNDS) | {"taste_gain", "tastes", "alignment"} == set(table.index)
    assert (table.loc[list(BOUNDS), "passes"] == "yes").all() and table.loc["tastes", "value"] == 6
    with pytest.raises(InputError, match="bundled-rpr"):
        rows_of("bundled-helpsteer")


# Knobs and wordings


def test_knobs_and_wordings_are_sealed() -> None:
    assert json.loads(SEAL.read_text()) == {"sha256": fingerprint()}


def test_a_changed_knob_or_wording_breaks_the_seal(tmp_path) -> None:
    other = KNOBS | {"bundled-rpr": replace(KNOBS["bundled-rpr"], scale=KNOBS["bundled-rpr"].scale + 0.1)}
    assert fingerprint(other) != fingerprint()
    for name in WRITTEN:
        (tmp_path / name).write_bytes((SEAL.parent / name).read_bytes())
    assert fingerprint(folder=tmp_path) == fingerprint()
    path = tmp_path / WRITTEN[1]
    path.write_text(path.read_text().replace("taxi", "cab"))
    assert fingerprint(folder=tmp_path) != fingerprint()


def groups_of_wordings() -> dict[str, dict[str, tuple[str, ...]]]:
    found = {c.name: {"train": c.train, "test": c.test} for c in corpus.prompt_cues()}
    return found | {d: {k: p[k] for k in ("train", "test")} for d, p in corpus.phrasings().items()}


def faults_of_wordings(groups: dict[str, dict[str, tuple[str, ...]]]) -> list[str]:
    """What is wrong with the wordings: too few, not halved, the same sentence twice, or one word that tells."""
    out = []
    words = {name: [content(s) for part in g.values() for s in part] for name, g in groups.items()}
    for name, group in groups.items():
        train, test = set(group["train"]), set(group["test"])
        if len(train | test) < 40 or len(train) != len(test):
            out.append(f"{name}: number")
        if train & set().union(*(set(g["test"]) for g in groups.values())):
            out.append(f"{name}: in both")
        for word in set().union(*words[name]):
            if sum(word in w for w in words[name]) > 0.3 * len(words[name]):
                out.append(f"{name}: {word}")
    return out


# Words that name what is judged or bind sentences, in every criterion alike.
COMMON = """
the a an and or of to in on at is it that this i i'd i'm i've me my for with which be should what one whatever reply
response answer text better win wins than as by not from but have has who was were so are more most prefer how like want
whichever give let any anybody when we our if just only do does about
"""


def content(sentence: str) -> set[str]:
    return set(re.findall(r"[a-z']+", sentence.lower())) - set(COMMON.split())


def test_wordings_are_forty_half_of_them_only_in_test_and_no_word_tells() -> None:
    assert faults_of_wordings(groups_of_wordings()) == []


def test_faulty_wordings_are_found() -> None:
    good = groups_of_wordings()
    humor = good["humor"]
    assert faults_of_wordings(good | {"humor": humor | {"test": humor["test"][:-1]}}) == ["humor: number"]
    both = humor | {"test": (humor["train"][0], *humor["test"][1:])}
    assert "humor: in both" in faults_of_wordings(good | {"humor": both})
    telling = {k: tuple(f"{s} Funny." for s in part) for k, part in humor.items()}
    assert "humor: funny" in faults_of_wordings(good | {"humor": telling})
