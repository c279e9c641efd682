"""The sentences that end a notebook, on tables whose answer is known."""

import pandas as pd

from micro_paper.report import sentences

COLUMNS = ["dataset", "method", "metric", "attribute", "value", "low", "high"]
SCORES = pd.DataFrame(
    [
        ["one", "micro", "accuracy", "average", 0.71, 0.6, 0.8],
        ["one", "micro", "accuracy", "humor", 0.1, 0.1, 0.1],
        ["one", "micro", "nll", "average", 0.2, 0.2, 0.2],
        ["one", "single", "accuracy", "average", 0.5, 0.4, 0.65],
        ["two", "single", "accuracy", "average", 0.9, 0.8, 1.0],
    ],
    columns=COLUMNS,
)


def test_what_rows_reach_is_their_average_accuracy():
    assert sentences.reached(SCORES, {"single": "one reward", "micro": "MiCRo", "lore": "LoRe"}).splitlines() == [
        "- Accuracy on unseen prompts of one: one reward 0.500 [0.400, 0.650], MiCRo 0.710 [0.600, 0.800].",
        "- Accuracy on unseen prompts of two: one reward 0.900 [0.800, 1.000].",
    ]


BESIDE = pd.DataFrame(
    [
        ("one", "micro", float("nan"), ""),
        ("one", "single", 0.04, "holds"),
        ("two", "single", -0.02, "does not"),
        ("three", "single", 0.001, "cannot tell"),
    ],
    columns=["dataset", "method", "micro_minus_row", "verdict"],
)


def test_a_row_that_micro_exceeds_here_and_not_there():
    said = sentences.exceeds(BESIDE, {"single": "a single reward", "lore": "LoRe"})
    assert said == (
        "- MiCRo exceeds a single reward on 1 of 3 data sets (one +0.040), "
        "and falls below it on 1 of 3 data sets (two +0.020)."
    )


def test_best_heads_stand_beside_heads_that_learnt_nothing():
    best = pd.DataFrame(
        [
            ("w", m, s, a, v + 0.1 * (s != "validation"), v - 0.1, v + 0.1)
            for m, v in (("micro_stage1", 0.7), ("random_heads", 0.55), ("single", 0.6))
            for s in ("test (oracle)", "validation")
            for a in ("clarity", "average")
        ],
        columns=["dataset", "method", "selection", "attribute", "value", "low", "high"],
    )
    assert sentences.best_heads(best) == (
        "- w: the head of stage 1 that validation pairs choose for an attribute reaches 0.700 [0.600, 0.800] "
        "(one head 0.600, random heads 0.550). Chosen on test: 0.800, of random heads 0.650."
    )


GAP = {"difference": 0.1, "low": 0.05, "high": 0.15}
LOSS = {"difference": -0.1, "low": -0.15, "high": -0.05}
OPEN = {"difference": 0.01, "low": -0.02, "high": 0.04}
AVERAGE = {"attribute": "average"}


def test_budgets():
    lines = [("micro", 5, 0.5), ("micro", 50, 0.6), ("micro", 100, 0.9), ("single", 5, 0.1), ("single", 50, 0.7)]
    table = pd.DataFrame(lines, columns=["method", "budget", "mean"]).assign(dataset="d")
    assert sentences.budgets(table, 50) == (
        "- On d, `micro` goes from 0.500 with 5 labelled contexts an attribute to 0.600 with 50; with as many, the "
        "others have: `single` 0.700."
    )
    twice = pd.concat([table, table.assign(dataset="e")])
    assert len(sentences.budgets(twice, 50).splitlines()) == 2


def test_choices():
    lines = [("all", "together", 0.2), ("a", "alone", 0.01), ("a", "added", -0.03), ("b", "alone", 0.05)]
    lines.append(("b", "added", -0.04))
    table = pd.DataFrame(lines, columns=["choice", "compared", "accuracy"]).assign(dataset="d")
    assert sentences.choices(table) == (
        "- On d, all choices of `micro_plus` change accuracy by +0.200 together; the best alone is `b` (+0.050), the "
        "best in addition to all others `a` (-0.030)."
    )


def test_cost():
    table = pd.DataFrame(
        [
            AVERAGE | {"source": "s", "method": "micro"} | LOSS,
            {"attribute": "x", "source": "s", "method": "micro"} | GAP,
        ]
    )
    assert sentences.cost(table, "t") == (
        "- Accuracy on t when trained on s, less when trained on t: `micro` -0.100 [-0.150, -0.050]."
    )


def test_sections():
    base = {"reference": "micro", "method": "single"}
    lines = [base | {"section": "chat"} | GAP, base | {"section": "safety"} | OPEN, base | {"section": "average"} | GAP]
    table = pd.DataFrame([*lines, base | {"method": "length", "section": "safety"} | LOSS])
    assert sentences.sections(table) == (
        "- `micro` scores +0.100 [+0.050, +0.150] against one Bradley-Terry reward, mean over sections; sections with "
        "an interval above 0: chat, below 0: none."
    )
    assert sentences.sections(table.assign(difference=-0.1, high=-0.05)).endswith(
        "above 0: chat, below 0: chat, safety."
    )
    assert sentences.sections(table[:0]) == ""


def test_masked():
    lines = [("as trained", 0), ("one head reversed", 5)]
    table = pd.DataFrame([AVERAGE | {"heads": h, "method": "micro", "runs_masked": n, "n_runs": 5} for h, n in lines])
    assert sentences.masked(table) == (
        "- Runs in which the audit masks a head: as trained, `micro` in 0 of 5; one head reversed, `micro` in 5 of 5."
    )
    assert sentences.masked(table[:0]) == ""


def test_merged():
    base = AVERAGE | {"dataset": "d", "heads_before": 5} | OPEN
    lines = [("micro", 0.9, 5.0, 0), ("micro", 0.8, 4.4, 2), ("micro_plus", 0.8, 5.0, 0)]
    names = ("method", "threshold", "heads_left", "runs_merged")
    table = pd.DataFrame([base | dict(zip(names, line, strict=True)) for line in lines])
    assert sentences.merged(table) == (
        "- Above a correlation of 0.8 heads merge in 1 of 2 rows: 4.4 of 5 heads of `micro` on d are left (accuracy "
        "+0.010 [-0.020, +0.040])."
    )
    assert sentences.merged(table[:1]) == "- Above a correlation of 0.9 heads merge in 0 of 1 rows."


def test_calibrated():
    table = pd.DataFrame([{"metric": "ece"} | gap for gap in (LOSS, LOSS, GAP, OPEN)] + [{"metric": "nll"} | LOSS])
    assert "(ECE) of 2 of 4 rows and raises that of 1," in sentences.calibrated(table)


PEOPLE_GAINS = pd.DataFrame(
    [
        (20, "a", 20, 0.01, True, True, False),
        (20, "b", 20, 0.02, False, True, False),
        (20, "c", 20, 0.5, True, True, True),
        (20, "b", 5, 0.9, True, True, False),
        (50, "b", 20, 0.9, True, True, False),
        (50, "b", 50, 0.03, False, False, False),
        (50, "c", 50, 0.04, False, True, True),
    ],
    columns=["people_with", "method", "labels", "gain", "counts", "counts_uncorrected", "control"],
)


def test_persons():
    table = PEOPLE_GAINS.assign(low=0.0, high=0.6, noise_limit=0.004, n_people=7, metric="accuracy")
    table = pd.concat([table, table.assign(metric="nll", counts=True, gain=1.0)], ignore_index=True)
    assert sentences.persons(table).splitlines() == [
        "- With 20 labels of each of 7 people 1 of 2 rows gain accuracy by Holm over rows and beyond their own noise "
        "(2 without Holm); the largest gain is `b` +0.020 [+0.000, +0.600], noise alone gives +0.004 at most. So do 1 "
        "of 1 controls.",
        "- With 50 labels of each of 7 people 0 of 1 rows gain accuracy by Holm over rows and beyond their own noise "
        "(0 without Holm); the largest gain is `b` +0.030 [+0.000, +0.600], noise alone gives +0.004 at most. So do 0 "
        "of 1 controls.",
    ]


def test_deeper():
    gains = pd.DataFrame([AVERAGE | {"dataset": "d"} | gap for gap in (GAP, LOSS, OPEN)])
    values = {"small": (0.5, 0.6, 0.7), "large": (0.6, 0.5, 0.71)}
    scores = pd.DataFrame(
        AVERAGE | {"metric": "accuracy", "method": m, "features": f, "value": v}
        for f, column in values.items()
        for m, v in zip("abc", column, strict=True)
    )
    assert sentences.deeper(gains, scores) == (
        "- On d, 1 of 3 rows gain and 1 lose, by intervals beside 0; 2 of 3 pairs of rows keep their order."
    )
