"""HyRe's protocol against a brute-force loop: same draws for all rows, and no label of the rest is read."""

import numpy as np
import pandas as pd
import pytest

from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.experiments.evaluation import Evaluation, HeadRun, evaluate
from micro_paper.experiments.hyre_protocol import COLUMNS, compare_on_rest, few_shot_rest, rest_rows, rest_values
from micro_paper.experiments.worlds import World
from micro_paper.methods.drms import Drms, DrmsRandom
from micro_paper.methods.hyre import hyre_weights, pair_losses

N, K = 60, 3
ATTRIBUTE = np.array(["a", "b", "c"])[np.arange(N) % 3]
PROMPT = np.array([f"p{i // 4:02d}" for i in range(N)])


@pytest.fixture
def margins():
    return np.random.default_rng(0).normal(size=(N, K)) + np.array([0.5, 0.0, -0.5])


def rng():
    return np.random.default_rng(7)


def test_against_brute_force(margins):
    correct, counted = few_shot_rest(margins, ATTRIBUTE, PROMPT, 4, 9, rng())
    again, hits = rng(), {i: [] for i in range(N)}
    for first in range(3):  # attributes a, b, c
        rows = np.arange(first, N, 3)
        for _ in range(9):
            shots = again.permutation(rows)[:4]
            likelihood = np.prod(1 / (1 + np.exp(-margins[shots])), axis=0)
            weights = likelihood / likelihood.sum()
            for i in set(rows) - set(shots):
                hits[i].append(float(weights @ (1 / (1 + np.exp(-margins[i]))) > 0.5))
    assert counted.tolist() == [len(hits[i]) for i in range(N)] and counted.sum() == 3 * 9 * 16
    assert np.allclose(correct, [np.mean(hits[i]) for i in range(N)])


def test_pairs_never_in_the_rest_are_nan():
    correct, counted = few_shot_rest(np.ones((N, K)), ATTRIBUTE, PROMPT, 19, 1, rng())
    assert counted.sum() == 3 and np.isnan(correct).sum() == N - 3 and (correct[counted > 0] == 1).all()


def test_identical_heads_are_their_own_accuracy_and_ties_count_half(margins):
    same = np.repeat(margins[:, :1], K, axis=1)
    same[:6] = 0
    correct, counted = few_shot_rest(same, ATTRIBUTE, PROMPT, 4, 9, rng())
    seen = counted > 0
    assert np.array_equal(correct[seen], ((same[:, 0] > 0) + 0.5 * (same[:, 0] == 0))[seen])


def test_labels_of_the_rest_change_no_weight(margins):
    """Poison: flipping a pair's label changes its own score by 1 - score while it is in the rest, and nothing else."""
    correct, counted = few_shot_rest(margins, ATTRIBUTE, PROMPT, 4, 1, rng())
    rest = counted > 0
    poisoned = np.where(rest[:, None], -margins, margins)
    flipped, same = few_shot_rest(poisoned, ATTRIBUTE, PROMPT, 4, 1, rng())
    assert np.array_equal(counted, same) and np.allclose(flipped[rest], 1 - correct[rest])
    labelled, _ = few_shot_rest(np.where(rest[:, None], margins, -margins), ATTRIBUTE, PROMPT, 4, 1, rng())
    assert not np.array_equal(labelled[rest], correct[rest])


def test_draws_are_the_same_for_other_margins_and_differ_by_source(margins):
    _, first = few_shot_rest(margins, ATTRIBUTE, PROMPT, 4, 9, rng())
    _, other = few_shot_rest(np.hstack([margins, margins]) ** 2, ATTRIBUTE, PROMPT, 4, 9, rng(), 3.0, loss="error")
    _, elsewhere = few_shot_rest(margins, ATTRIBUTE, PROMPT, 4, 9, np.random.default_rng(8))
    assert np.array_equal(first, other) and not np.array_equal(first, elsewhere)


def test_a_good_head_is_found(margins):
    margins[:, 1] = np.abs(margins[:, 1]) + 1
    margins[:, [0, 2]] *= 5
    found, _ = few_shot_rest(margins, ATTRIBUTE, PROMPT, 8, 20, rng())
    uniform = (1 / (1 + np.exp(-margins))).mean(axis=1) > 0.5
    assert np.nanmean(found) > 0.95 > uniform.mean()
    hot, _ = few_shot_rest(margins, ATTRIBUTE, PROMPT, 8, 20, rng(), 1e9)
    assert np.array_equal(hot[~np.isnan(hot)], uniform[~np.isnan(hot)])


def test_the_rest_by_prompts_shares_no_prompt_with_the_labelled_pairs(margins):
    """One draw of one attribute: pairs beside a labelled one are judged by the one rule and not by the other."""
    attribute = np.array(["a"] * N)
    _, pairs = few_shot_rest(margins, attribute, PROMPT, 3, 1, rng())
    _, prompts = few_shot_rest(margins, attribute, PROMPT, 3, 1, rng(), rest="prompts")
    labelled = set(PROMPT[pairs == 0])
    assert pairs.sum() == N - 3 and (prompts > 0).tolist() == [p not in labelled for p in PROMPT]
    with pytest.raises(InputError, match="reach every prompt and leave none"):
        few_shot_rest(margins, attribute, np.array(["p"] * N), 3, 2, rng(), rest="prompts")


def test_rest_rows():
    values = rest_rows([0.9, 0.5, 0.2, 0.8], [3, 1, 2, 0])
    assert np.array_equal(values, [1, 0.5, 0, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shots": 20}, "attribute 'a' has 20 test pairs: 20 labelled ones leave none"),
        ({"shots": 0}, "must be >= 1, got 0"),
        ({"resamples": 0}, "must be >= 1"),
        ({"rest": "users"}, "rest must be one of pairs, prompts"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"temperature": -1.0}, "temperature must be > 0"),
        ({"prompt_id": PROMPT[:5]}, "prompt_id has 5 rows, margins has 60"),
        ({"margins": np.full((N, K), np.inf)}, "margins must be finite"),
    ],
)
def test_bad_inputs_are_named(change, message, margins):
    good = {"margins": margins, "attribute": ATTRIBUTE, "prompt_id": PROMPT, "shots": 4, "resamples": 2, "rng": rng()}
    with pytest.raises(InputError, match=message):
        few_shot_rest(**good | change)
    with pytest.raises(InputError, match="probability has 2 rows, counted has shape"):
        rest_rows([0.5, 0.5], [1, 1, 1])


def handmade(folds=2, seeds=(0, 5), shared=False):
    """An evaluation of random predictions: heads of "base" and "micro_stage1", and rows "plain" and "micro"."""
    draw = np.random.default_rng(3)
    n = N if shared else N * folds
    pairs = pd.DataFrame({"pair_id": np.arange(n).astype(str), "attribute": np.resize(ATTRIBUTE, n)})
    pairs["fold"] = 0 if shared else np.arange(n) // N
    pairs["prompt_id"] = [f"{f}-{p}" for f, p in zip(pairs.fold, np.resize(PROMPT, n), strict=True)]
    columns = len(seeds) * (folds if shared else 1)
    result = Evaluation("w", pairs, list(seeds))
    for name in ("base", "micro_stage1", "plain", "micro"):
        result.probability[name] = draw.uniform(size=(n, columns))
        result.supervision[name] = "binary labels; contexts" if name == "micro" else "binary labels"
    for name in ("base", "micro_stage1"):
        result.heads[name] = [
            HeadRun(f, s, np.arange(N) + (0 if shared else N * f), None, {}, draw.normal(size=(N, K)) + 0.3)
            for f in range(folds)
            for s in seeds
        ]
    return result


SHOTS = {"shots": 5, "resamples": 4}
HEADS = {"hyre": "base", "micro_hyre": "micro_stage1"}


@pytest.mark.parametrize("shared", [False, True])
def test_every_row_is_judged_on_the_same_rest(shared):
    evaluation = handmade(shared=shared)
    values = rest_values(evaluation, ["plain", "micro"], HEADS, **SHOTS, seed=2)
    judged = [~np.isnan(v) for v in values.values()]
    assert list(values) == ["hyre", "micro_hyre", "plain", "micro"]
    assert all(np.array_equal(judged[0], other) for other in judged[1:])
    for i, run in enumerate(evaluation.heads["base"]):
        own = pd.DataFrame(evaluation.pairs).iloc[run.rows]
        expected, counted = few_shot_rest(
            run.margins, own.attribute, own.prompt_id, 5, 4, np.random.default_rng([2, run.fold, run.seed])
        )
        column = i if shared else i % 2
        assert np.array_equal(values["hyre"][run.rows, column], expected, equal_nan=True)
        plain = rest_rows(evaluation.probability["plain"][run.rows, column], counted)
        assert np.array_equal(values["plain"][run.rows, column], plain, equal_nan=True)


def test_comparison_by_hand():
    evaluation = handmade()
    table = compare_on_rest(evaluation, ["plain", "micro"], HEADS, **SHOTS)
    assert list(table.columns) == list(COLUMNS) and len(table) == 4 * 4
    values = rest_values(evaluation, ["plain", "micro"], HEADS, **SHOTS)
    attribute = evaluation.pairs.attribute.to_numpy()
    mean = {name: np.nanmean(v, axis=1) for name, v in values.items()}
    for line in table.itertuples():
        own = {
            name: np.mean([m[attribute == a].mean() for a in "abc"])
            if line.attribute == "average"
            else m[attribute == line.attribute].mean()
            for name, m in mean.items()
        }
        assert line.value == pytest.approx(own[line.method]) and line.low <= line.value <= line.high
        assert line.n_runs == 4 and line.n_pairs == (120 if line.attribute == "average" else 40)
        if line.method == "hyre":
            assert np.isnan(line.difference)
        else:
            assert line.difference == pytest.approx(own[line.method] - own["hyre"])
            assert line.difference_low <= line.difference <= line.difference_high and 0 < line.p_value <= 1
    sees = table.drop_duplicates("method").set_index("method").supervision
    assert sees["hyre"] == "binary labels; 5 labelled test pairs of each attribute, and its name"
    assert sees["micro"] == "binary labels; contexts"
    assert table.equals(compare_on_rest(evaluation, ["plain", "micro"], HEADS, **SHOTS))
    evaluation.supervision |= {"base": DrmsRandom.supervision, "micro_stage1": Drms.supervision}
    again = compare_on_rest(evaluation, [], HEADS, **SHOTS).drop_duplicates("method")
    labelled = "5 labelled test pairs of each attribute, and its name"
    assert again.supervision.tolist() == [labelled, f"binary labels; {labelled}"]


def test_bad_requests_are_named():
    evaluation = handmade()
    for rows, heads, message in (
        (["plain"], {}, "heads_of names no row"),
        (["plain"], {"hyre": "plain"}, r"heads of 'plain' were not kept \(kept: base, micro_stage1\)"),
        (["other"], HEADS, "row 'other' was not evaluated"),
        (["plain"], {"plain": "base"}, "row 'plain' is named twice"),
        (["plain"], {"drms": "base"}, "reference 'hyre' is not among the rows drms, plain"),
    ):
        with pytest.raises(InputError, match=message):
            compare_on_rest(evaluation, rows, heads, **SHOTS)


def test_on_a_real_evaluation():
    """Heads kept by `evaluate`: the row of a run equals the weights worked out from its margins."""
    worlds = []
    for fold in range(2):
        drawn = synthetic.draw_world("synthetic-audience", fold=fold, train=150, validation=40, test=80)
        worlds.append(World("w", fold, **{s: d.pairs for s, d in drawn.items()}, fingerprint=""))
    settings = {"heads": 4, "learning_rate": 1e-2}
    evaluation = evaluate(
        worlds, ["micro_stage1", "single"], settings, seeds=[0, 1], budget=None, keep_heads=["micro_stage1"]
    )
    table = compare_on_rest(evaluation, ["single"], {"hyre": "micro_stage1"}, shots=8, resamples=5)
    assert set(table.method) == {"hyre", "single"} and table.value.between(0, 1).all()
    run = evaluation.heads["micro_stage1"][3]
    own = evaluation.pairs.iloc[run.rows]
    values = rest_values(evaluation, [], {"hyre": "micro_stage1"}, shots=8, resamples=5)["hyre"][run.rows, 1]
    draw = np.random.default_rng([0, 1, 1])
    first = np.flatnonzero(own.attribute == "beginner")
    judged = np.zeros(len(own))
    for _ in range(5):
        shots = draw.permutation(first)[:8]
        weights = hyre_weights(pair_losses(run.margins[shots]))
        judged[np.setdiff1d(first, shots)] += 1
        assert weights.sum() == pytest.approx(1)
    assert np.array_equal(np.isnan(values[first]), judged[first] == 0)
