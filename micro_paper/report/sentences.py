"""What a table says, in a sentence whose numbers are the table's."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from micro_paper.digits import interval, shown
from micro_paper.metrics import MACRO


def exceeds(beside: pd.DataFrame, rivals: Mapping[str, str]) -> str:
    """Return on how many data sets `micro` exceeds rows, and by how much, one line of Markdown a row.

    Args:
        beside: as `paper.beside.beside_paper` makes it.
        rivals: method -> its name in plain words.
    """
    return "\n".join(
        f"- MiCRo exceeds {name} {counted(beside[beside.method == method], 'holds')}, and falls below it "
        f"{counted(beside[beside.method == method], 'does not')}."
        for method, name in rivals.items()
        if (beside.method == method).any()
    )


def reached(scores: pd.DataFrame, names: Mapping[str, str]) -> str:
    """Return the accuracy that rows reach, mean over attributes, one line of Markdown a data set.

    Args:
        scores: as `experiments.evaluation.scores` makes it.
        names: method -> its name in plain words; one that a data set lacks is left out.
    """
    average = scores[(scores.metric == "accuracy") & (scores.attribute == MACRO)]
    lines = []
    for dataset, rows in average.groupby("dataset", sort=False):
        found = rows.set_index("method")
        told = [
            f"{text} {interval(*found.loc[m, ['value', 'low', 'high']])}"
            for m, text in names.items()
            if m in found.index
        ]
        lines.append(f"- Accuracy on unseen prompts of {dataset}: {', '.join(told)}.")
    return "\n".join(lines)


def counted(rows: pd.DataFrame, verdict: str) -> str:
    """Return "on N of M data sets" that have the verdict, with the difference in accuracy on each of them.

    Args:
        rows: of one method in `beside_paper`'s form, a line a data set.
        verdict: "holds", for differences in favour of `micro`, or "does not", for those in the row's favour.
    """
    found = rows[rows.verdict == verdict]
    sign = 1 if verdict == "holds" else -1
    gains = "; ".join(f"{r.dataset} {shown(sign * r.micro_minus_row, '+.3f')}" for r in found.itertuples())
    return f"on {len(found)} of {len(rows)} data sets" + (f" ({gains})" if gains else "")


def best_heads(best: pd.DataFrame) -> str:
    """Return what the best head of stage 1 reaches beside heads that learnt nothing, one line of Markdown a data set.

    Args:
        best: as `experiments.evaluation.best_heads` makes it.
    """
    average = best[best.attribute == MACRO]
    lines = []
    for name, rows in average.groupby("dataset", sort=False):
        fair = rows[rows.selection == "validation"].set_index("method")
        oracle = rows[rows.selection != "validation"].set_index("method")["value"]
        told = interval(*fair.loc["micro_stage1", ["value", "low", "high"]])
        others = {"single": "one head", "random_heads": "random heads", "pca_heads": "principal directions"}
        beside = ", ".join(f"{text} {shown(fair.value[row])}" for row, text in others.items() if row in fair.index)
        lines.append(
            f"- {name}: the head of stage 1 that validation pairs choose for an attribute reaches {told} ({beside}). "
            f"Chosen on test: {shown(oracle['micro_stage1'])}, of random heads {shown(oracle['random_heads'])}."
        )
    return "\n".join(lines)


def budgets(means: pd.DataFrame, budget: int) -> str:
    """Return what labelled contexts give `micro`, and what other rows reach with as many, a line a data set.

    Args:
        means: dataset, method, budget, mean, as `budget_curves.curve_summary` makes it.
        budget: one of its budgets.
    """
    lines = []
    for dataset, part in means.groupby("dataset", sort=False):
        micro, at = part[part.method == "micro"].set_index("budget")["mean"], part[part.budget == budget]
        least = micro.index.min()
        others = ", ".join(f"`{r.method}` {shown(r.mean)}" for r in at[at.method != "micro"].itertuples())
        lines.append(
            f"- On {dataset}, `micro` goes from {shown(micro[least])} with {least} labelled contexts an attribute to "
            f"{shown(micro[budget])} with {budget}; with as many, the others have: {others}."
        )
    return "\n".join(lines)


def choices(table: pd.DataFrame) -> str:
    """Return what the choices of `micro_plus` bring together, alone and added last, a line a data set.

    Args:
        table: as `choices.choices_table` makes it.
    """
    lines = []
    for dataset, part in table.groupby("dataset", sort=False):
        together, alone, last = (rows.loc[rows.accuracy.idxmax()] for _, rows in part.groupby("compared", sort=False))
        lines.append(
            f"- On {dataset}, all choices of `micro_plus` change accuracy by {_change(together.accuracy)} together; "
            f"the best alone is `{alone.choice}` ({_change(alone.accuracy)}), the best in addition to all others "
            f"`{last.choice}` ({_change(last.accuracy)})."
        )
    return "\n".join(lines)


def cost(table: pd.DataFrame, target: str) -> str:
    """Return how accuracy changes when a row is trained on another data set than the one that it is tested on.

    Args:
        table: source, method, attribute, difference, low, high; the average is read.
        target: the data set that is tested on.
    """
    lines = []
    for source, part in table[table.attribute == "average"].groupby("source", sort=False):
        changes = ", ".join(f"`{r.method}` {_interval(r)}" for r in part.itertuples())
        lines.append(f"- Accuracy on {target} when trained on {source}, less when trained on {target}: {changes}.")
    return "\n".join(lines)


def sections(gaps: pd.DataFrame) -> str:
    """Return how rows score against the single reward, a line a row; "" where nothing was tested.

    Args:
        gaps: as `reward_bench.difference_table` makes it.
    """
    lines = []
    for reference, part in gaps[gaps.method == "single"].groupby("reference", sort=False):
        (average,) = part[part.section == "average"].itertuples()
        single = part[part.section != "average"]
        above, below = (", ".join(single.section[clear]) or "none" for clear in (single.low > 0, single.high < 0))
        lines.append(
            f"- `{reference}` scores {_interval(average)} against one Bradley-Terry reward, mean over sections; "
            f"sections with an interval above 0: {above}, below 0: {below}."
        )
    return "\n".join(lines)


def masked(effects: pd.DataFrame) -> str:
    """Return in how many runs the safety audit masked heads; "" where nothing was audited.

    Args:
        effects: as `head_audit.safety_audit` makes it.
    """
    parts = [
        f"{heads}, " + ", ".join(f"`{r.method}` in {r.runs_masked} of {r.n_runs}" for r in part.itertuples())
        for heads, part in effects[effects.attribute == "average"].groupby("heads", sort=False)
    ]
    return f"- Runs in which the audit masks a head: {'; '.join(parts)}." if parts else ""


def merged(table: pd.DataFrame) -> str:
    """Return in how many rows heads merge at the lowest threshold, what is left, and what that changes.

    Args:
        table: as `head_audit.merging` makes it.
    """
    rows = table[(table.attribute == "average") & (table.threshold == table.threshold.min())]
    parts = [
        f"{r.heads_left:g} of {r.heads_before} heads of `{r.method}` on {r.dataset} are left (accuracy {_interval(r)})"
        for r in rows[rows.runs_merged > 0].itertuples()
    ]
    return (
        f"- Above a correlation of {table.threshold.min():g} heads merge in {len(parts)} of {len(rows)} rows"
        f"{': ' if parts else ''}{', '.join(parts)}."
    )


def calibrated(scores: pd.DataFrame) -> str:
    """Return of how many rows one temperature lowers or raises the calibration error.

    Args:
        scores: as `calibration.calibration_table` makes it.
    """
    ece = scores[scores.metric == "ece"]
    lower, higher = (ece.high < 0).sum(), (ece.low > 0).sum()
    return (
        f"- One temperature lowers the calibration error (ECE) of {lower} of {len(ece)} rows and raises that of "
        f"{higher}, by intervals of the difference beside 0."
    )


def deeper(gains: pd.DataFrame, scores: pd.DataFrame) -> str:
    """Return of how many rows the average rises or falls with other features, and how many pairs keep their order.

    Args:
        gains: of one data set, as `transfer.between` makes it.
        scores: of its rows with both features, as `evaluation.scores` makes it, with the column features.
    """
    average = gains[gains.attribute == "average"]
    up, down = (average.low > 0).sum(), (average.high < 0).sum()
    rows = scores[(scores.metric == "accuracy") & (scores.attribute == "average")]
    values = rows.pivot(index="method", columns="features", values="value").to_numpy()
    pairs = list(combinations(values, 2))
    kept = sum((a - b).prod() > 0 for a, b in pairs)
    return (
        f"- On {average.dataset.iloc[0]}, {up} of {len(average)} rows gain and {down} lose, by intervals beside 0; "
        f"{kept} of {len(pairs)} pairs of rows keep their order."
    )


def persons(gains: pd.DataFrame) -> str:
    """Return what a person's own labels bring, a line of Markdown for the people of each largest number of labels.

    Args:
        gains: as `experiments.person_noise.against_noise` makes it, which says what counts; accuracy at the largest
            numbers of labels is read.
    """
    accuracy = gains[(gains.metric == "accuracy") & (gains.labels == gains.people_with)]
    lines = []
    for most, part in accuracy.groupby("people_with", sort=False):
        rows, controls = part[~part.control.astype(bool)], part[part.control.astype(bool)]
        best = rows.loc[rows.gain.idxmax()]
        top = f"`{best.method}` {interval(best.gain, best.low, best.high, '+.3f')}"
        lines.append(
            f"- With {most} labels of each of {part.n_people.iloc[0]} people {rows.counts.sum()} of {len(rows)} rows "
            f"gain accuracy by Holm over rows and beyond their own noise ({rows.counts_uncorrected.sum()} without "
            f"Holm); the largest gain is {top}, noise alone gives {shown(best.noise_limit, '+.3f')} at most. So do "
            f"{controls.counts.sum()} of {len(controls)} controls."
        )
    return "\n".join(lines)


def disagreement(agreement: pd.DataFrame, power: pd.DataFrame) -> str:
    """Return how far people agree, and how often a planted taste was seen, a line of Markdown a population.

    Args:
        agreement: as `experiments.disagreement.agreement_table` makes it.
        power: as `experiments.planted_taste.power` gives it.
    """
    lines = [
        f"- {r.dataset}, {r.population}: two people choose alike in {interval(r.agreement, r.low, r.high)}; the "
        f"majority of the others tells {interval(r.majority, r.majority_low, r.majority_high)}."
        for r in agreement.itertuples()
    ]
    planted = power[power.taste == "planted"]
    seen = ", ".join(f"{shown(r.seen, '.2f')} at {r.budget}" for r in planted.itertuples())
    return "\n".join([*lines, f"- Share of draws in which a planted taste is seen, by labels of a person: {seen}."])


def lost(attribution: pd.DataFrame, readability: pd.DataFrame) -> str:
    """Return what learned and true heads reach by what the router reads, and how a probe tells the criterion.

    Args:
        attribution: as `experiments.attribution.attribution` makes it; the mean over attributes is read.
        readability: as `experiments.attribution.readability` makes it.

    Returns:
        A line of Markdown a data set.
    """
    lines = []
    average = attribution[attribution.attribute == MACRO]
    for dataset, part in average.groupby("dataset", sort=False):
        parts = []
        for heads, text in {"learned": "learned heads reach", "true levels": "the true levels as heads"}.items():
            if told := _by_reading(part[part.heads == heads]):
                parts.append(f"{text} {told}")
        probes = readability[readability.dataset == dataset]
        lines.append(
            f"- On {dataset}, all else as in `micro`, {'; '.join(parts)}. A linear probe tells the criterion in "
            f"{_by_reading(probes)}; the most frequent one is {shown(probes.chance.iloc[0])} of the pairs."
        )
    return "\n".join(lines)


def _by_reading(rows: pd.DataFrame) -> str:
    found = rows.set_index("reading")
    texts = {"last token": "by the last token", "criterion": "by the criterion's mean", "one-hot": "by its number"}
    return ", ".join(
        f"{interval(*found.loc[reading, ['value', 'low', 'high']])} {text}"
        for reading, text in texts.items()
        if reading in found.index
    )


def ranks(table: pd.DataFrame) -> str:
    """Return how rows rank by pair accuracy and by the regret of their picks, a line of Markdown a data set.

    Args:
        table: as `experiments.best_of.rank_correlation` makes it.
    """
    return "\n".join(
        f"- On {r.dataset}, {r.n_methods} rows rank by pair accuracy and by what they pick with a rank correlation of "
        f"{interval(r.correlation, r.low, r.high, '.2f')}."
        for r in table[table.attribute == MACRO].itertuples()
    )


def _change(value: float) -> str:
    return shown(value, "+.3f")


def _interval(row: Any) -> str:
    return interval(row.difference, row.low, row.high, "+.3f")
