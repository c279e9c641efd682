"""Where accuracy is lost: heads times what the router reads of a context, and how each reading tells the criterion.

Everything else is as in the row `micro`: its alpha, tau, steps and budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from micro_paper.data.corpus.truth import SOURCES, truth
from micro_paper.errors import InputError
from micro_paper.experiments.evaluation import Evaluation, evaluate, merge, scores
from micro_paper.experiments.worlds import World
from micro_paper.intervals import Sample
from micro_paper.methods.controls import FixedHeads, PcaHeads, RandomHeads
from micro_paper.methods.exact import CLASSIFIER_PENALTIES
from micro_paper.methods.scaling import Scaler
from micro_paper.methods.settings import Settings
from micro_paper.methods.table import Factory
from micro_paper.methods.two_stage import TwoStage
from micro_paper.pairs import Pairs
from micro_paper.stacked import Training

LAST, MEAN, ONE_HOT = "last token", "criterion", "one-hot"
READINGS = {
    LAST: "the last token of context and prompt",
    MEAN: "the mean over the tokens of the criterion by itself",
    ONE_HOT: "which criterion it is",
}
TRUE = "true levels"
MOST_PROBED = 4000  # training pairs of a probe
SPLITS = ("train", "validation", "test", "context_source", "context_validation")


class TrueHeads(FixedHeads):
    """A head a column of the response features, which are the true levels."""

    supervision = "the true levels of the responses; context-labelled pairs within the budget"

    def fitting(self, train_pairs: Pairs, validation: Pairs) -> Training[None]:
        """Take as many heads as there are levels."""
        self.settings = replace(self.settings, heads=train_pairs.responses.shape[1])
        return super().fitting(train_pairs, validation)

    def directions(self, scaled: Pairs) -> Tensor:
        """Return the identity, (K, K)."""
        return torch.eye(self.settings.heads).to(scaled.responses)


HEADS: dict[str, Factory] = {"learned": TwoStage, "PCA": PcaHeads, "random": RandomHeads, TRUE: TrueHeads}


def readings(world: World) -> list[str]:
    """Return what a router can read of the world's contexts: MEAN only where criteria have features by themselves."""
    return [name for name in READINGS if name != MEAN or world.test.criteria is not None]


def with_one_hot(world: World) -> World:
    """Return the world with the number of the attribute, one-hot, in place of the criterion's features.

    Raises:
        InputError: more attributes than prompt features, as one router reads both.
    """
    names = np.unique(np.concatenate([world.train.attribute, world.test.attribute]))
    width = world.train.prompts.shape[1]
    if len(names) > width:
        raise InputError(f"{len(names)} attributes do not fit into the {width} columns that the router reads")
    table = torch.eye(len(names), width, dtype=torch.float64)

    def told(pairs: Pairs | None) -> Pairs | None:
        if pairs is None:
            return None
        return replace(pairs, criteria=table, criterion=torch.from_numpy(np.searchsorted(names, pairs.attribute)))

    return replace(world, **{split: told(part) for split, part in _parts(world).items()})


def with_true_levels(world: World) -> World:
    """Return the world with the true levels of the responses in place of their features.

    Raises:
        InputError: nothing is known about its levels.
    """
    known = {}
    for split in ("train", "validation", "test"):
        found = truth(world.name, split, fold=world.fold)
        known |= dict(zip(found.pair_id.tolist(), zip(found.chosen, found.rejected, strict=True), strict=True))

    def leveled(pairs: Pairs | None) -> Pairs | None:
        if pairs is None:
            return None
        both = [known[name] for name in pairs.pair_id.tolist()]
        n = len(pairs)
        levels = np.array([chosen for chosen, _ in both] + [rejected for _, rejected in both], dtype=np.float64)
        where = torch.arange(n)
        moved = replace(pairs, chosen=where, rejected=n + where, ratings=None, rating_names=())
        return moved.with_tables(responses=torch.from_numpy(levels), lengths=torch.zeros(2 * n, dtype=torch.float64))

    return replace(world, **{split: leveled(part) for split, part in _parts(world).items()})


def evaluate_readings(
    worlds: Sequence[World], settings: Settings, seeds: Sequence[int], budget: int
) -> tuple[Evaluation, dict[str, tuple[str, str]]]:
    """Run all heads under all readings on the same pairs.

    Args:
        worlds: folds of one data set that states contexts.
        settings: the paper's.
        budget: context-labelled pairs an attribute.

    Returns:
        The evaluation, and row -> its heads and reading.
    """
    parts, cells = [], {}
    sets = [(worlds, [name for name in HEADS if name != TRUE])]
    if worlds[0].name in SOURCES:
        sets.append(([with_true_levels(world) for world in worlds], [TRUE]))
    for folds, heads in sets:
        told = [with_one_hot(world) for world in folds]
        for read in readings(worlds[0]):
            rows = {f"{name}, {read}": _reading(HEADS[name], read) for name in heads}
            cells |= {row: (name, read) for row, name in zip(rows, heads, strict=True)}
            parts.append(evaluate(told if read == ONE_HOT else folds, rows, settings, seeds=seeds, budget=budget))
    return merge(*parts), cells


def attribution(
    worlds: Sequence[World], settings: Settings, seeds: Sequence[int], budget: int
) -> tuple[pd.DataFrame, Evaluation]:
    """Return the accuracy of heads times readings, a line an attribute, with intervals, and the evaluation.

    Arguments are those of `evaluate_readings`. Columns: dataset, heads, reading, attribute, value, low, high, n_pairs,
    n_prompts, n_runs.
    """
    evaluation, cells = evaluate_readings(worlds, settings, seeds, budget)
    table = scores(evaluation).query("metric == 'accuracy'")
    which = pd.DataFrame([cells[row] for row in table["method"]], columns=["heads", "reading"], index=table.index)
    columns = ["dataset", "heads", "reading", "attribute", "value", "low", "high", "n_pairs", "n_prompts", "n_runs"]
    return pd.concat([table, which], axis=1)[columns].reset_index(drop=True), evaluation


def readability(worlds: Sequence[World], *, seed: int = 0) -> pd.DataFrame:
    """Return how often a linear probe tells the stated criterion from each reading of test pairs, a line a reading.

    The probe, a multinomial logistic regression, learns from training pairs, and validation pairs choose its penalty;
    where test pairs state their criteria in words of their own, these are unseen. `chance` is the share of the most
    frequent criterion among test pairs. Columns: dataset, reading, value, low, high, chance, n_pairs, n_prompts.
    """
    lines = []
    for read in readings(worlds[0]):
        right, prompts = [], []
        for world in worlds:
            guess = _probe(with_one_hot(world) if read == ONE_HOT else world, read, seed)
            right.append(guess == world.test.attribute)
            prompts.append(world.test.prompt_id)
        attribute = np.concatenate([world.test.attribute for world in worlds])
        correct, groups = np.concatenate(right).astype(float), np.concatenate(prompts)
        found = Sample(groups).mean(correct)
        lines.append(
            {"dataset": worlds[0].name, "reading": read}
            | {"value": found.estimate, "low": found.low, "high": found.high}
            | {"chance": np.unique(attribute, return_counts=True)[1].max() / len(attribute)}
            | {"n_pairs": len(correct), "n_prompts": found.n_groups}
        )
    return pd.DataFrame(lines)


def _probe(world: World, read: str, seed: int) -> np.ndarray:
    """Return the attribute that the probe tells of each test pair, (n,)."""

    def features(pairs: Pairs) -> Tensor:
        return (pairs.context_features if read == LAST else pairs.criterion_features).double()

    rows = np.random.default_rng(seed).permutation(len(world.train))[:MOST_PROBED]
    train = world.train.select(np.sort(rows))
    scaler = Scaler.fit(features(train))
    x, held, test = (
        scaler(features(pairs), torch.float64, torch.device("cpu")).numpy()
        for pairs in (train, world.validation, world.test)
    )
    probes = [
        LogisticRegression(C=1 / (2 * len(x) * penalty), max_iter=2000).fit(x, train.attribute)
        for penalty in CLASSIFIER_PENALTIES
    ]
    return max(probes, key=lambda probe: probe.score(held, world.validation.attribute)).predict(test)


def _reading(heads: Factory, read: str) -> Factory:
    router_input = "context" if read == LAST else "criterion"
    return lambda settings, seed: heads(replace(Settings.of(settings), router_input=router_input), seed)


def _parts(world: World) -> dict[str, Pairs | None]:
    parts = (world.train, world.validation, world.test, world.context_source, world.context_validation)
    return dict(zip(SPLITS, parts, strict=True))
