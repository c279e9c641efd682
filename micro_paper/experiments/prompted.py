"""The prompted row: a language model that is told the criterion and finds one of two responses likelier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.special import expit

from micro_paper import data
from micro_paper.data.criteria import apply_context
from micro_paper.errors import InputError
from micro_paper.experiments.evaluation import Evaluation, evaluate, scores
from micro_paper.experiments.worlds import World
from micro_paper.features.backbone import Backbone
from micro_paper.features.likelihood import Asked, score_all
from micro_paper.methods.settings import Settings

NAME = "prompted"
BESIDE = ("length", "single_exact")  # rows on the same pairs
MOST = 2000  # test pairs
SUPERVISION = "the stated criterion in its prompt"


def prompted_scores(
    worlds: Sequence[World],
    settings: Settings,
    backbone: Backbone,
    *,
    most: int = MOST,
    position: str = "front",
    seed: int = 0,
) -> pd.DataFrame:
    """Return the accuracy of the row "prompted" and of BESIDE on the same test pairs, by attribute and on average.

    Lines are those of `evaluation.scores`, with one seed a fold: the intervals of "prompted" are over prompts alone,
    and those of trained rows too where each fold has test pairs of its own.

    Args:
        worlds: folds of a data set with text.
        settings: of the rows BESIDE.
        backbone, position: as for `prompted`.
        most, seed: as for `sampled`; the seed is also the runs'.
    """
    beside = sampled(evaluate(worlds, BESIDE, settings, seeds=[seed], budget=None), most, seed=seed)
    table = scores(prompted(beside, worlds, backbone, position))
    return table[table["metric"] == "accuracy"].reset_index(drop=True)


def sampled(evaluation: Evaluation, most: int = MOST, *, seed: int = 0) -> Evaluation:
    """Return the evaluation on at most so many of its test pairs, the same share of each attribute, drawn at random.

    Of each attribute at least two are kept, of two prompts where it has them, so that there is an interval. Heads are
    left out.

    Raises:
        InputError: most < 1.
    """
    if most < 1:
        raise InputError(f"most must be >= 1 test pair, got {most}")
    attribute, prompt = (evaluation.pairs[name].to_numpy() for name in ("attribute", "prompt_id"))
    rng, share = np.random.default_rng(seed), min(1.0, most / len(attribute))
    rows = []
    for name in sorted(set(attribute)):
        own = rng.permutation(np.flatnonzero(attribute == name))
        count = max(2, int(share * len(own)))
        if len(set(prompt[own[:count]])) < 2:
            others = np.flatnonzero(prompt[own] != prompt[own[0]])
            own = np.concatenate([own[others[:1]], own])
        rows.append(own[:count])
    chosen = np.sort(np.concatenate(rows))
    probability = {name: p[chosen] for name, p in evaluation.probability.items()}
    pairs = evaluation.pairs.iloc[chosen].reset_index(drop=True)
    return replace(evaluation, pairs=pairs, probability=probability, heads={})


def prompted(
    evaluation: Evaluation, worlds: Sequence[World], backbone: Backbone, position: str = "front"
) -> Evaluation:
    """Return the evaluation with the row "prompted" beside the others, on the same test pairs.

    P(chosen preferred) = sigmoid of the difference in mean log-likelihood a token, given criterion and prompt; nothing
    is trained. Where no criterion is stated, the prompt alone is given.

    Args:
        evaluation: of `worlds`, perhaps `sampled`.
        worlds: folds of a data set with text.
        backbone: a language model with all its layers.
        position: of the criterion, as in `data.criteria.apply_context`.
    """
    ids, texts = evaluation.pairs["pair_id"].tolist(), {}
    for world in worlds:
        rows = data.load(world.name, "test", fold=world.fold)
        names = rows.column_names
        contexts = rows["context"][:] if "context" in names else [None] * len(rows)
        asked = rows["context_prompt"][:] if "context_prompt" in names else rows["prompt"][:]
        columns = zip(rows["pair_id"][:], asked, rows["prompt"][:], contexts, strict=True)
        prompts = {
            pair: apply_context(context, question or plain, position)[0] if context else plain
            for pair, question, plain, context in columns
        }
        sides = zip(rows["pair_id"][:], rows["chosen"][:], rows["rejected"][:], strict=True)
        texts |= {pair: (prompts[pair], chosen, rejected) for pair, chosen, rejected in sides}
    wanted = [texts[pair] for pair in ids]
    found = score_all(backbone, [(prompt, text) for prompt, *both in wanted for text in both])
    margin = [found[Asked(str(prompt), a)] - found[Asked(str(prompt), b)] for prompt, a, b in wanted]
    return replace(
        evaluation,
        probability=evaluation.probability | {NAME: expit(np.array(margin))[:, None]},
        supervision=evaluation.supervision | {NAME: SUPERVISION},
        chosen=evaluation.chosen | {NAME: []},
    )
