"""Rated responses as a population: each attribute is a group that prefers what it rates higher."""

from __future__ import annotations

import numpy as np
import pandas as pd

from micro_paper.errors import InputError
from micro_paper.files import sha256
from micro_paper.intervals import percentiles
from micro_paper.theory.bounds import bound_chain
from micro_paper.theory.population import Population
from micro_paper.theory.split import split


def fingerprint(ratings: pd.DataFrame) -> str:
    """sha256 of the table's content."""
    return sha256(ratings.to_csv(index=False).encode())


def rated_population(ratings: pd.DataFrame, attributes: list[str], scale: float) -> Population:
    """One group an attribute, evenly weighted, with reward `scale` x rating; every pair of a prompt's texts alike.

    Prompts with fewer texts than others are filled up with texts that are never shown. Repeated texts count once.

    Args:
        ratings: prompt_id, response, item_id where the data has it, and one column an attribute; a row a text.
        attributes: the columns.
        scale: nats of reward a point; large = the rating decides with certainty, ties are coin flips.
    """
    if missing := [a for a in attributes if a not in ratings]:
        raise InputError(f"ratings lack the column {missing[0]!r}; there are {', '.join(map(str, ratings.columns))}")
    compared = [column for column in ("prompt_id", "item_id") if column in ratings]
    texts = ratings.drop_duplicates([*compared, "response"]).dropna(subset=attributes)
    tables = [group[attributes].to_numpy(dtype=np.float64).T for _, group in texts.groupby(compared, sort=False)]
    tables = [table for table in tables if table.shape[1] > 1]
    if not tables:
        raise InputError("ratings hold no prompt with two different texts")
    most = max(table.shape[1] for table in tables)
    rewards = np.zeros((len(tables), len(attributes), most))
    pairs = np.zeros((len(tables), most, most))
    for x, table in enumerate(tables):
        n = table.shape[1]
        rewards[x, :, :n] = scale * table
        pairs[x, :n, :n] = (1 - np.eye(n)) / (n * (n - 1))
    return Population(rewards, np.full((len(tables), len(attributes)), 1 / len(attributes)), pairs)


def attribute_table(
    ratings: pd.DataFrame,
    attributes: list[str],
    scales: list[float],
    rng: np.random.Generator,
    n_bootstrap: int,
) -> pd.DataFrame:
    """Split the error of one reward over attributes, by how surely a rating point decides; intervals resample prompts.

    Returns:
        One row a scale and quantity: scale, quantity, nats, low, high.
    """
    quantities = ("conditional_entropy", "group_information", "misspecification", "cross_entropy")
    rows = []
    for scale in scales:
        whole = rated_population(ratings, attributes, scale)
        n = len(whole.rewards)
        parts = [
            split(Population(whole.rewards[i : i + 1], whole.group_weights[i : i + 1], whole.pair_weights[i : i + 1]))
            for i in range(n)
        ]
        picks = rng.integers(n, size=(n_bootstrap, n))
        for name in quantities:
            values = np.array([getattr(part, name) for part in parts])
            low, high = percentiles(values[picks].mean(axis=1))
            rows.append({"scale": scale, "quantity": name, "nats": values.mean(), "low": low, "high": high})
        rows.append(
            {
                "scale": scale,
                "quantity": "paper_bound",
                "nats": bound_chain(whole).paper,
                "low": np.nan,
                "high": np.nan,
            }
        )
    return pd.DataFrame(rows)
