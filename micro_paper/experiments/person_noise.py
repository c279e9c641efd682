"""What rows gain from a person's labels where no person has a taste, and whether a measured gain exceeds it.

Labels are drawn anew from a noisy Bradley-Terry model of the same people and pairs: skills and leanings to one side
differ, what is wanted does not. The whole protocol of `persons` runs on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from micro_paper.digits import interval
from micro_paper.errors import InputError
from micro_paper.experiments.disagreement import Judgements, from_pairs
from micro_paper.experiments.person_rounds import Folds
from micro_paper.experiments.person_rows import REFERENCE
from micro_paper.experiments.persons import BUDGETS, LEAST, person_scores
from micro_paper.experiments.planted_taste import drawn
from micro_paper.intervals import t_reach
from micro_paper.methods.settings import Settings
from micro_paper.noisy_bradley_terry import NoisyBradleyTerry
from micro_paper.pairs import Pairs


def tasteless(pairs: Pairs, judgements: Judgements, model: NoisyBradleyTerry, rng: np.random.Generator) -> Pairs:
    """Return the same pairs with labels drawn from a model in which all people want the same.

    Args:
        judgements: `from_pairs` of these pairs.
        model: of the judgements.
    """
    labels = drawn(judgements, model, judgements.length, rng, turned=0.0).preferred
    turn = torch.from_numpy(labels != judgements.preferred)
    return replace(
        pairs,
        chosen=torch.where(turn, pairs.rejected, pairs.chosen),
        rejected=torch.where(turn, pairs.chosen, pairs.rejected),
        position=None if pairs.position is None else torch.where(turn, -pairs.position, pairs.position),
    )


def noise_gains(
    pairs: Pairs,
    settings: Settings | Mapping[str, Any] | None = None,
    *,
    rows: Sequence[str],
    seeds: Iterable[int],
    budgets: Sequence[int] = BUDGETS,
    least: int = LEAST,
    folds: Folds | None = None,
) -> pd.DataFrame:
    """Run rows on labels without taste, drawn anew for each seed, and return what they gain in accuracy.

    Args:
        pairs, settings, rows, budgets, least, folds: as for `persons.person_scores`.
        seeds: one a draw, of its labels and of its folds.

    Returns:
        draw, people_with, row, labels, gain (mean over people).
    """
    judgements = from_pairs(pairs)
    model = judgements.fit()
    rows = list(dict.fromkeys([REFERENCE, *rows]))
    parts = []
    for number, seed in enumerate(seeds):
        labelled = tasteless(pairs, judgements, model, np.random.default_rng([seed, 1]))
        how = {"rows": rows, "seeds": [seed], "budgets": budgets, "least": least, "folds": folds}
        parts.append(mean_gains(person_scores(labelled, settings, **how), [least, *budgets]).assign(draw=number))
    if not parts:
        raise InputError("seeds: what noise gives needs at least one draw")
    return pd.concat(parts, ignore_index=True)[["draw", "people_with", "row", "labels", "gain"]]


def mean_gains(scores: pd.DataFrame, most: Iterable[int]) -> pd.DataFrame:
    """Return each row's mean accuracy over people less that of REFERENCE: people_with, row, labels, gain.

    Args:
        scores: of `person_scores`.
        most: largest budgets; each takes the people who have so many labels.
    """
    accuracy = scores["correct"] / scores["pairs"]
    each = scores.assign(accuracy=accuracy).groupby(["row", "labels", "user_id"])["accuracy"].mean().unstack("user_id")
    parts = []
    for labels in sorted(set(most) & set(scores["labels"])):
        people = each.loc[(REFERENCE, labels)].dropna().index
        own = each.loc[each.index.get_level_values("labels") <= labels, people].mean(axis=1, skipna=False)
        gain = (own - own[REFERENCE].reindex(own.index, level="labels")).drop(REFERENCE, level="row")
        parts.append(gain.rename("gain").reset_index().assign(people_with=labels))
    return pd.concat(parts, ignore_index=True)[["people_with", "row", "labels", "gain"]]


def beyond_noise(gains: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """Return whether each row's gain in accuracy counts: its interval lies above 0, and it exceeds what noise gives.

    The limit of noise is the upper end of the two-sided 95 % prediction interval (Student's t) of one more draw. A
    draw has one run, so the limit is wide for gains that are means over several.

    Args:
        gains: of `persons.gains_table`.
        noise: of `noise_gains`, two draws at least, with the same rows, labels and people.

    Returns:
        people_with, row, labels, gain, low, high, noise_gain (mean over draws), noise_limit, counts, control, n_people,
        n_draws.

    Raises:
        InputError: a row has fewer than two draws at its labels.
    """
    keys = ["people_with", "row", "labels"]
    by = noise.groupby(keys)["gain"]
    found = by.agg(noise_gain="mean", n_draws="size").reset_index()
    reach = t_reach(by.std().to_numpy(), found["n_draws"].to_numpy()) * np.sqrt(found["n_draws"].to_numpy() + 1)
    found["noise_limit"] = found["noise_gain"] + reach
    own = gains[gains["metric"] == "accuracy"].merge(found, on=keys, how="left")
    if (few := ~(own["n_draws"] > 1)).any():
        row = own[few].iloc[0]
        raise InputError(f"{row['row']} at {row['labels']} labels has fewer than two draws of noise: draw more")
    own["counts"] = (own["low"] > 0) & (own["gain"] > own["noise_limit"])
    names = [*keys, "gain", "low", "high", "noise_gain", "noise_limit", "counts", "control", "n_people", "n_draws"]
    return own[names]


def gains_display(table: pd.DataFrame) -> pd.DataFrame:
    """Return `beyond_noise` as it is read: a line a population and row, a column a number of labels, * if it counts."""
    table = table.assign(
        cell=[interval(r.gain, r.low, r.high, "+.3f") + ("*" if r.counts else "") for r in table.itertuples()],
        row=[f"{r.row} (control)" if r.control else r.row for r in table.itertuples()],
        people_with=[f"{r.people_with} labels: {r.n_people}" for r in table.itertuples()],
    )
    names = ["people_with", "row"]
    order = table[names].drop_duplicates()
    wide = table.pivot(index=names, columns="labels", values="cell").fillna("")
    wide = wide.reindex(pd.MultiIndex.from_frame(order)).reset_index()
    return wide.rename(columns={labels: f"{labels} labels" for labels in table["labels"].unique()})
