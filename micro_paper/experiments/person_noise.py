"""What rows gain from a person's labels where no person has a taste, and whether a measured gain exceeds it.

Labels are drawn anew from a noisy Bradley-Terry model of the same people and pairs: skills and leanings to one side
differ, what is wanted does not. The whole protocol of `persons` runs on them, so that every row has a limit of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from micro_paper.errors import InputError
from micro_paper.experiments.disagreement import Judgements, from_pairs
from micro_paper.experiments.person_rounds import Folds
from micro_paper.experiments.person_rows import PERSON_ROWS, REFERENCE
from micro_paper.experiments.persons import BUDGETS, LEAST, gains_table, person_scores
from micro_paper.experiments.planted_taste import drawn
from micro_paper.intervals import t_reach
from micro_paper.methods.settings import Settings
from micro_paper.noisy_bradley_terry import NoisyBradleyTerry
from micro_paper.pairs import Pairs

KEYS = ["people_with", "method", "labels", "metric"]
LEVEL = 0.05  # of Holm's p below which a gain lies beside 0


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
    seeds: Iterable[int],
    rows: Sequence[str] = tuple(PERSON_ROWS),
    budgets: Sequence[int] = BUDGETS,
    least: int = LEAST,
    folds: Folds | None = None,
    most: Sequence[int] = (LEAST, 50),
) -> pd.DataFrame:
    """Run rows on labels without taste, drawn anew for each seed, and return what they gain.

    Args:
        pairs, settings, rows, budgets, least, folds: as for `persons.person_scores`.
        seeds: one a draw, of its labels and of its folds.
        most: as for `persons.gains_table`.

    Returns:
        draw, people_with, method, labels, metric, gain.
    """
    judgements = from_pairs(pairs)
    model = judgements.fit()
    how = {"rows": list(dict.fromkeys([REFERENCE, *rows])), "budgets": budgets, "least": least, "folds": folds}
    parts = []
    for number, seed in enumerate(seeds):
        labelled = tasteless(pairs, judgements, model, np.random.default_rng([seed, 1]))
        scores = person_scores(labelled, settings, seeds=[seed], **how)
        gains = gains_table(scores, np.random.default_rng(seed), most=most, n_bootstrap=100)  # no interval is read
        parts.append(gains.assign(draw=number))
    if not parts:
        raise InputError("seeds: what noise gives needs at least one draw")
    return pd.concat(parts, ignore_index=True)[["draw", *KEYS, "gain"]]


def against_noise(gains: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """Return the gains with each row's own limit of noise, and whether a gain counts.

    The limit is the upper end of the two-sided 95 % prediction interval (Student's t) of one more draw. A draw has one
    run, so the limit is wide for gains that are means over several. A gain counts that lies above 0 by Holm's p-value
    over the rows (below LEVEL) and above the row's own limit.

    Args:
        gains: of `persons.gains_table`.
        noise: of `noise_gains`, two draws at least, with the same rows, labels and people.

    Returns:
        The columns of `gains`, noise_gain (mean over draws), noise_limit, counts, counts_uncorrected (the 95 % interval
        of the row alone in place of Holm's p-value) and n_draws.

    Raises:
        InputError: a row has fewer than two draws at its labels.
    """
    by = noise.groupby(KEYS)["gain"]
    found = by.agg(noise_gain="mean", n_draws="size")
    reach = t_reach(by.std().to_numpy(), found["n_draws"].to_numpy()) * np.sqrt(found["n_draws"].to_numpy() + 1)
    found["noise_limit"] = found["noise_gain"] + reach
    own = gains.merge(found.reset_index(), on=KEYS, how="left")
    if (few := ~(own["n_draws"] > 1)).any():
        row = own[few].iloc[0]
        raise InputError(f"{row['method']} at {row['labels']} labels has fewer than two draws of noise: draw more")
    above = own["gain"] > own["noise_limit"]
    own["counts"] = (own["gain"] > 0) & (own["p_holm"] < LEVEL) & above
    own["counts_uncorrected"] = (own["low"] > 0) & above
    own["n_draws"] = own["n_draws"].astype(int)
    return own[[*gains.columns, "noise_gain", "noise_limit", "counts", "counts_uncorrected", "n_draws"]]
