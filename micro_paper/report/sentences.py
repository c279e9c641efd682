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


def agree(agreement: pd.DataFrame) -> str:
    """Return how far people agree and what their majority tells, one line of Markdown a data set.

    Args:
        agreement: as `disagreement.agreement_table` makes it; of a data set the first population is told.
    """
    return "\n".join(
        f"- {r.dataset}, {r.population}: two people choose alike on {interval(r.agreement, r.low, r.high)} of what "
        f"both judged; the majority of the others tells {interval(r.majority, r.majority_low, r.majority_high)} of "
        "choices."
        for r in agreement.drop_duplicates("dataset").itertuples()
    )


def planted(power: pd.DataFrame) -> str:
    """Return how often a planted taste is seen with the most labels, and one that is not there.

    Args:
        power: as `planted_taste.power` makes it.
    """
    most = power[power.budget == power.budget.max()].set_index("taste")
    there, absent = most.loc["planted"], most.loc["none"]
    return (
        f"- A taste planted in {there.dataset}, {there.budget} labels of each of {there.n_people} people: seen in "
        f"{shown(there.seen, '.0%')} of draws (gain {shown(there.gain, '+.3f')}), in {shown(absent.seen, '.0%')} where "
        f"none was planted; a gain is seen from {shown(there.needed)} on."
    )


def known_people(beyond: pd.DataFrame) -> str:
    """Return whether any row gains by a person's labels beyond noise, one line of Markdown a population.

    Args:
        beyond: as `person_noise.beyond_noise` makes it; each population at its most labels.
    """
    lines = []
    for labels, part in beyond[beyond.labels == beyond.people_with].groupby("people_with"):
        control = part.control.astype(bool)
        rows, controls = part[~control], part[control]
        best = rows.loc[rows.gain.idxmax()]
        passed = rows[rows.counts.astype(bool)]
        found = ", ".join(f"`{r.row}` {interval(r.gain, r.low, r.high, '+.3f')}" for r in passed.itertuples())
        told = ", ".join(f"`{name}`" for name in controls.row[controls.counts.astype(bool)]) or "none"
        lines.append(
            f"- {labels} labels of each of {best.n_people} people: {len(passed)} of {len(rows)} rows gain more than "
            f"noise alone gives{f' ({found})' if found else ''}; of {len(controls)} controls: {told}. Largest gain: "
            f"`{best.row}` {interval(best.gain, best.low, best.high, '+.3f')}, by noise alone up to "
            f"{shown(best.noise_limit, '+.3f')}."
        )
    return "\n".join(lines)


def picked(regret: pd.DataFrame, ranks: pd.DataFrame) -> str:
    """Return which row's pick costs least, and whether pair accuracy ranks rows as their picks do.

    Args:
        regret, ranks: as `best_of.regret_table` and `best_of.rank_correlation` make them.
    """
    average = regret[regret.attribute == MACRO]
    best, accurate = average.loc[average.regret.idxmin()], average.loc[average.accuracy.idxmax()]
    rank = ranks[ranks.attribute == MACRO].iloc[0]
    return (
        f"- Of the responses of {best.dataset}, `{best.method}` picks best: "
        f"{interval(best.regret, best.low, best.high)} points below the best one (a pick at random "
        f"{shown(best.random_regret)}"
        f"{'' if pd.isna(best.fixed_regret) else f', the one best system {shown(best.fixed_regret)}'}); "
        f"`{accurate.method}` has the highest pair accuracy. Rank correlation over {rank.n_methods} rows: "
        f"{interval(rank.correlation, rank.low, rank.high, '.2f')}."
    )


def _change(value: float) -> str:
    return shown(value, "+.3f")


def _interval(row: Any) -> str:
    return interval(row.difference, row.low, row.high, "+.3f")
