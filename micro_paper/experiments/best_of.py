"""Use decides: of the many responses to one prompt, how good is the one that a method would pick?

A method prefers the response that it expects to win most often against the others of its prompt. The pick's regret is
what the best response is rated above it, by the attribute that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from scipy.stats import rankdata

from micro_paper import data
from micro_paper.data import open as open_data
from micro_paper.errors import InputError
from micro_paper.experiments.runs import Fitted
from micro_paper.experiments.worlds import World
from micro_paper.intervals import Sample, check_resamples, expanded_percentiles, resamples
from micro_paper.metrics import MACRO, Floats, correct
from micro_paper.pairs import Pairs

KEYS = ["prompt_id", "item", "attribute"]  # of one choice among several responses
MEASURES = ("regret", "share", "random_regret", "fixed_regret")


@dataclass(frozen=True, eq=False)
class Candidates:
    """Every two responses that could be picked for one prompt (or item of it), under each attribute.

    Attributes:
        pairs: n pairs, "chosen" being the response of the smaller row: no label, only which two are compared.
        choice: (n,) number of the choice that a pair belongs to, 0 .. C - 1.
        choices: C rows with the columns of KEYS.
        ratings: (n, 2) of the two responses by the pair's attribute.
    """

    pairs: Pairs
    choice: np.ndarray
    choices: pd.DataFrame
    ratings: Floats

    def preferences(self, rewards: np.ndarray) -> Floats:
        """Return P(the first beats the second), (n,), by rewards of the responses (m,), in nats."""
        rewards = np.asarray(rewards, dtype=np.float64)
        if rewards.shape != (len(self.pairs.responses),):
            raise InputError(f"rewards must be ({len(self.pairs.responses)},), one a response, got {rewards.shape}")
        return expit(rewards[self.pairs.chosen.numpy()] - rewards[self.pairs.rejected.numpy()])


def candidates(pairs: Pairs) -> Candidates:
    """Return all that can be picked from the responses of labelled pairs.

    Responses belong together that a chain of pairs connects: those of one prompt, or of one item of it. An attribute
    whose ratings tie for a whole prompt has no pair and no choice there; responses that it does not rate are left out.

    Args:
        pairs: labelled pairs with ratings, those of a world's test split.

    Raises:
        InputError: the responses carry no ratings, or an attribute of the pairs is not rated.
    """
    if pairs.ratings is None:
        raise InputError("best-of needs rated responses, these pairs have none: use a rated data set such as summeval")
    if unrated := sorted(set(pairs.attribute) - set(pairs.rating_names)):
        raise InputError(f"attribute {str(unrated[0])!r} is not rated; there are {', '.join(pairs.rating_names)}")
    chosen, rejected = pairs.chosen.cpu().numpy(), pairs.rejected.cpu().numpy()
    m = len(pairs.responses)
    group = connected_components(coo_array((np.ones(len(chosen)), (chosen, rejected)), shape=(m, m)))[1]
    table = pairs.ratings.cpu().numpy()
    members = pd.Series(np.arange(m)).groupby(group).indices
    firsts = pd.DataFrame({"group": group[chosen], "attribute": pairs.attribute}).drop_duplicates()
    rows, lower, upper, number = [], [], [], []
    choices = []
    for row, item, attribute in zip(firsts.index, firsts["group"], firsts["attribute"], strict=True):
        values = table[:, pairs.rating_names.index(attribute)]
        own = members[item][np.isfinite(values[members[item]])]
        i, j = np.triu_indices(len(own), 1)
        lower.append(own[i])
        upper.append(own[j])
        rows.append(np.full(len(i), row))
        number.append(np.full(len(i), len(choices)))
        choices.append({"prompt_id": pairs.prompt_id[row], "item": item, "attribute": attribute})
    one, other = np.concatenate(lower), np.concatenate(upper)
    asked = pairs.select(np.concatenate(rows))
    where = torch.from_numpy(np.stack([one, other])).to(pairs.chosen.device)
    asked = replace(asked, chosen=where[0], rejected=where[1])
    column = np.array([pairs.rating_names.index(a) for a in asked.attribute])
    ratings = np.stack([table[one, column], table[other, column]], axis=1)
    return Candidates(asked, np.concatenate(number), pd.DataFrame(choices), ratings)


def picks(found: Candidates, p: np.ndarray, fixed: np.ndarray | None = None) -> pd.DataFrame:
    """Return how good the picked response of every choice is.

    The pick is the response with the highest mean probability to win against each other one; among equal ones the
    mean of their ratings counts.

    Args:
        p: P(first of the pair is preferred), (n,), in the order of `found.pairs`.
        fixed: (m, A) whether a response is of the one system that is best elsewhere, by attribute in the order of
            rating_names; None = systems are not known.

    Returns:
        One row a choice: prompt_id, item, attribute, n_responses, n_pairs (of unequal ratings), accuracy (on them),
        regret (rating points of the best above the pick), share (regret of the range of ratings), random_regret (of a
        pick at random) and fixed_regret (of the fixed system; nan where it has none here).
    """
    p = np.asarray(p, dtype=np.float64)
    if p.shape != (len(found.pairs),):
        raise InputError(f"p must be ({len(found.pairs)},), one a pair of candidates, got {p.shape}")
    right = correct(np.where(found.ratings[:, 0] > found.ratings[:, 1], p, 1 - p))
    unequal = found.ratings[:, 0] != found.ratings[:, 1]
    sides = np.stack([found.pairs.chosen.cpu().numpy(), found.pairs.rejected.cpu().numpy()], axis=1)
    long = pd.DataFrame(
        {
            "choice": np.repeat(found.choice, 2),
            "response": sides.ravel(),
            "wins": np.stack([p, 1 - p], axis=1).ravel(),
            "rating": found.ratings.ravel(),
        }
    )
    each = long.groupby(["choice", "response"], as_index=False).agg({"wins": "mean", "rating": "first"})
    by = each.groupby("choice")
    # sums in another order differ in the last digits
    top = each["wins"] >= by["wins"].transform("max") - 1e-12
    out = found.choices.copy()
    best, worst = by["rating"].max(), by["rating"].min()
    out["n_responses"] = by.size()
    out["n_pairs"] = np.bincount(found.choice, unequal, len(out)).astype(int)
    hits = np.bincount(found.choice, right * unequal, len(out))
    out["accuracy"] = hits / out["n_pairs"].where(out["n_pairs"] > 0)
    out["regret"] = best - each[top].groupby("choice")["rating"].mean()
    out["share"] = out["regret"] / (best - worst).where(best > worst)
    out["random_regret"] = best - by["rating"].mean()
    out["fixed_regret"] = np.nan
    if fixed is not None:
        column = [found.pairs.rating_names.index(a) for a in found.choices["attribute"]]
        own = np.asarray(fixed)[each["response"], np.asarray(column)[each["choice"]]]
        out["fixed_regret"] = best - each[own].groupby("choice")["rating"].mean()
    return out


def fixed_system(pairs: Pairs, rows: np.ndarray, systems: np.ndarray, elsewhere: pd.DataFrame) -> np.ndarray:
    """Return which responses are of the system with the best mean rating on other prompts, (m, A), by attribute.

    Args:
        pairs: with ratings.
        rows: (k,) rows of the responses.
        systems: (k,) who wrote them; a text of two systems has two entries.
        elsewhere: ratings of responses to other prompts: system and one column an attribute.
    """
    out = np.zeros((len(pairs.responses), len(pairs.rating_names)), bool)
    means = elsewhere.groupby("system")[list(pairs.rating_names)].mean()
    for column, name in enumerate(pairs.rating_names):
        out[rows[systems == means[name].idxmax()], column] = True
    return out


def known_systems(pairs: Pairs, data: Iterable[tuple[str, str, str]], systems: pd.DataFrame) -> np.ndarray:
    """Return `fixed_system` of a world's test pairs, from a table of who wrote which response.

    Args:
        data: (prompt_id, chosen, rejected) of the data set behind the pairs, in their order.
        systems: prompt_id, response, system and one column an attribute, such as `open.summeval_systems` gives.

    Raises:
        InputError: every prompt is a test prompt, so that no system can be chosen elsewhere.
    """
    row = {}
    sides = zip(data, pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True)
    for (prompt, chosen, rejected), one, other in sides:
        row[prompt, chosen], row[prompt, rejected] = one, other
    keys = zip(systems["prompt_id"].astype(str), systems["response"], strict=True)
    place = np.array([row.get(key, -1) for key in keys], np.int64)
    elsewhere = systems[~systems["prompt_id"].astype(str).isin(set(pairs.prompt_id))]
    if elsewhere.empty:
        raise InputError("every prompt is a test prompt: the best system has to be chosen on other prompts")
    here = place >= 0
    return fixed_system(pairs, place[here], systems["system"].to_numpy()[here], elsewhere)


def fixed_systems(worlds: Iterable[World]) -> dict[int, np.ndarray] | None:
    """Return fold -> `known_systems` of the test pairs, for `best_of`; None of data whose authors are not known.

    Args:
        worlds: folds of one data set. Of SummEval it is known which system wrote a summary.
    """
    out = {}
    for world in worlds:
        if world.name != "summeval":
            return None
        rows = data.load(world.name, "test", fold=world.fold)
        texts = zip(rows["prompt_id"], rows["chosen"], rows["rejected"], strict=True)
        out[world.fold] = known_systems(world.test, texts, open_data.summeval_systems())
    return out


def best_of(fitted: Iterable[Fitted], fixed: dict[int, np.ndarray] | None = None) -> pd.DataFrame:
    """Return `picks` of every fitted method on the test prompts of its fold.

    Args:
        fitted: methods in their runs, adapted where they need it.
        fixed: fold -> `known_systems` of its test pairs; None = systems are not known.

    Returns:
        The columns of `picks`, with dataset, method, fold and seed.

    Raises:
        InputError: no method, or test responses without ratings.
    """
    asked: dict[int, Candidates] = {}
    parts = []
    for one in fitted:
        fold = one.world.fold
        if fold not in asked:
            asked[fold] = candidates(one.world.test)
        found = picks(asked[fold], one.predict(asked[fold].pairs), (fixed or {}).get(fold))
        base = {"dataset": one.world.name, "method": one.name, "fold": fold, "seed": one.run.seed}
        parts.append(found.assign(**base)[[*base, *found.columns]])
    if not parts:
        raise InputError("best-of needs at least one fitted method")
    return pd.concat(parts, ignore_index=True)


def _by_choice(found: pd.DataFrame) -> pd.DataFrame:
    """Mean over runs of every method and choice; an item's number means something within its fold only."""
    keys = ["dataset", "method", "fold", *KEYS]
    return found.groupby(keys, sort=False, as_index=False)[["accuracy", "n_responses", "n_pairs", *MEASURES]].mean()


def regret_table(found: pd.DataFrame) -> pd.DataFrame:
    """Return each method's regret by attribute and on average, with 95 % intervals over prompts and runs.

    Choices without a spread of ratings are left out.

    Returns:
        dataset, method, attribute, regret, low, high (points), share (of the range), random_regret, fixed_regret (nan
        where not known), saved (share of the random pick's regret that the method saves), accuracy (pairs of unequal
        ratings, mean over choices), n_choices, n_prompts, n_runs (where 1, the interval is over prompts alone).
    """
    means = _by_choice(found).dropna(subset=["share"])
    runs = found.pivot(index=["dataset", "method", "fold", *KEYS], columns="seed", values="regret")
    lines = []
    for (dataset, method), part in means.groupby(["dataset", "method"], sort=False):
        for attribute in [*sorted(part["attribute"].unique()), MACRO]:
            own = part if attribute == MACRO else part[part["attribute"] == attribute]
            each = runs.loc[pd.MultiIndex.from_frame(own[runs.index.names])]
            interval = Sample(own["prompt_id"], own["attribute"], own["fold"]).mean(each)
            value = own.groupby("attribute")[["accuracy", *MEASURES]].mean().mean()
            lines.append(
                {"dataset": dataset, "method": method, "attribute": attribute}
                | {"regret": interval.estimate, "low": interval.low, "high": interval.high, "share": value["share"]}
                | {"random_regret": value["random_regret"], "fixed_regret": value["fixed_regret"]}
                | {"saved": 1 - value["regret"] / value["random_regret"], "accuracy": value["accuracy"]}
                | {"n_choices": len(own), "n_prompts": interval.n_groups, "n_runs": interval.n_runs}
            )
    return pd.DataFrame(lines)


def rank_correlation(found: pd.DataFrame, rng: np.random.Generator, *, n_bootstrap: int = 2000) -> pd.DataFrame:
    """Return Spearman's correlation over methods of pair accuracy with regret turned round: 1 = both rank alike.

    Accuracy and regret are means over choices within an attribute. Intervals resample prompts, for both alike.

    Returns:
        dataset, attribute, correlation, low, high, n_methods, n_prompts; on average over attributes last.

    Raises:
        InputError: fewer than three methods, or methods with different choices.
    """
    lines = []
    for dataset, part in _by_choice(found).dropna(subset=["share"]).groupby("dataset", sort=False):
        methods = part["method"].unique()
        if len(methods) < 3:
            raise InputError(f"{dataset} has {len(methods)} methods: a rank correlation over methods needs 3")
        wide = part.pivot(index=["fold", *KEYS], columns="method", values=["accuracy", "regret"])
        if wide.isna().to_numpy().any():
            raise InputError(f"methods of {dataset} have different choices: give all the same folds")
        attribute = wide.index.get_level_values("attribute").to_numpy()
        names, codes = np.unique(attribute, return_inverse=True)
        prompts, prompt = np.unique(wide.index.get_level_values("prompt_id").to_numpy(), return_inverse=True)
        check_resamples(len(prompts), n_bootstrap)
        values = np.concatenate([wide["accuracy"][methods], -wide["regret"][methods], np.ones((len(wide), 1))], axis=1)
        cells = np.zeros((len(prompts), len(names), values.shape[1]))
        np.add.at(cells, (prompt, codes), values)
        times = np.vstack([np.ones(len(prompts)), resamples(len(prompts), rng, n_bootstrap)])
        sums = np.tensordot(times, cells, 1)  # first the data as they are
        with np.errstate(invalid="ignore"):
            means = sums[..., :-1] / sums[..., -1:]
        for number, name in enumerate([*names, MACRO]):
            own = np.nanmean(means, axis=1) if name == MACRO else means[:, number]
            rho = _spearman(own[:, : len(methods)], own[:, len(methods) :])
            known = rho[1:][np.isfinite(rho[1:])]  # a resample without the attribute, or of equal methods, has none
            low, high = expanded_percentiles(known, len(prompts)) if len(known) else (np.nan, np.nan)
            lines.append(
                {"dataset": dataset, "attribute": name, "correlation": rho[0], "low": low, "high": high}
                | {"n_methods": len(methods), "n_prompts": len(prompts)}
            )
    return pd.DataFrame(lines)


def _spearman(a: Floats, b: Floats) -> Floats:
    """Spearman's correlation along the last axis; nan where one side is constant."""
    left, right = (rankdata(np.round(x, 12), axis=-1) for x in (a, b))
    left, right = (x - x.mean(axis=-1, keepdims=True) for x in (left, right))
    size = np.sqrt((left**2).sum(axis=-1) * (right**2).sum(axis=-1))
    return np.divide((left * right).sum(axis=-1), size, out=np.full(len(a), np.nan), where=size > 0)
