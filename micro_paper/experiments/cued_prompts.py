"""Stage 1 on prompts that say whose taste judges: ten heads, by what the router reads and which labels test it.

Training and every choice take labels as they were drawn, some against the taste that gave them. Tested is on these and
on labels as meant, where no label is turned; the pairs are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from micro_paper import data, metrics
from micro_paper.data import synthetic
from micro_paper.errors import InputError
from micro_paper.experiments.evaluation import SELECTIONS, Evaluation, best_head_values, evaluate, sample
from micro_paper.experiments.worlds import World
from micro_paper.features.extract import encode_prompts
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods.settings import Settings
from micro_paper.metrics import MACRO
from micro_paper.pairs import Pairs

HEADS = 10  # more than the world has tastes
ALPHA = 0.05
READINGS = {"last": "last token", "mean": "mean over prompt"}  # prompt_pooling -> its name in the table
NO_READING = "none"  # of rows that read no prompt
DRAWN, MEANT = "as drawn", "as meant"
PREDICTION = "prediction"
UNREAD = ("static_learned", "single_exact", "oracle_attribute_exact")
READ = ("micro_stage1", "pca_heads", "random_heads")
COLUMNS = (
    *("dataset", "labels", "reading", "method", "judged", "attribute", "value", "low", "high"),
    *("over_static", "over_low", "over_high", "n_pairs", "n_prompts", "n_runs"),
)


def cued_prompts(
    worlds: Sequence[World],
    settings: Settings,
    seeds: Sequence[int],
    features: FeatureSettings | None = None,
    device: str = "auto",
) -> pd.DataFrame:
    """Return accuracies of stage 1 with HEADS heads and ALPHA, with intervals over prompts and runs.

    Lines: labels (as drawn, as meant) x reading (READINGS; one alone where there are no texts) x method x what is
    judged, the row's own prediction or its best head of each attribute, chosen on test or on validation. `over_static`
    is the accuracy less that of the static mixture's prediction under the same labels, paired. Columns: COLUMNS.

    Args:
        worlds: folds of bundled-audience or of a synthetic world.
        settings: of stage 1, but for K and alpha.
        features: with which the worlds were read; None without texts.
        device: where prompts are encoded by the other reading.

    Raises:
        InputError: nothing is known about the labels as meant.
    """
    settings = replace(settings, heads=HEADS, alpha=ALPHA)
    against = np.concatenate([turned(world) for world in worlds])
    how = {"seeds": seeds, "budget": None}
    drawn = {NO_READING: evaluate(worlds, UNREAD, settings, **how)}
    for name, folds in read_by(worlds, features, device).items():
        drawn[name] = evaluate(folds, READ, settings, **how, keep_heads=READ)
    static = drawn[NO_READING]
    lines: list[dict] = []
    for labels in (DRAWN, MEANT):
        named = {name: e if labels == DRAWN else as_meant(e, against) for name, e in drawn.items()}
        base = metrics.correct_by_run(named[NO_READING].probability["static_learned"])
        for reading, evaluation in named.items():
            for (method, judged), right in _judged(evaluation).items():
                head = {"dataset": static.world, "labels": labels, "reading": reading}
                lines += _lines(evaluation, right, base, head | {"method": method, "judged": judged})
    return pd.DataFrame(lines, columns=list(COLUMNS))


def turned(world: World) -> np.ndarray:
    """Return which test pairs are labelled against the taste that judged, (n,) bool.

    Raises:
        InputError: nothing is known about the labels as meant.
    """
    if world.name.startswith("synthetic-"):
        drawn = synthetic.draw_world(world.name, fold=world.fold, train=1, validation=1, test=_prompts(world.test))
        test = drawn["test"]
        ids, against = test.pairs.pair_id, (test.margins.gather(1, test.group[:, None])[:, 0] < 0).numpy()
    elif world.name == "bundled-audience":
        frames = [data.split_frame(world.name, "test", fold=world.fold, labels=labels) for labels in ("drawn", "meant")]
        ids = frames[0]["pair_id"].to_numpy(str)
        against = (frames[0]["chosen"] != frames[1]["chosen"]).to_numpy()
    else:
        raise InputError(
            f"nothing is known about the labels of {world.name} as meant: use bundled-audience or synthetic-audience"
        )
    place = {name: i for i, name in enumerate(ids.tolist())}
    return against[[place[name] for name in world.test.pair_id.tolist()]]


def as_meant(evaluation: Evaluation, against: np.ndarray) -> Evaluation:
    """Return the evaluation with the labels of some test pairs turned; heads are chosen on validation as before.

    Args:
        against: (n,) bool, the pairs whose other response is preferred.
    """

    def other(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.where(rows[:, None], 1 - values, values)

    heads = {}
    for name, runs in evaluation.heads.items():
        heads[name] = [
            replace(
                run,
                test=other(run.test, against[run.rows]),
                margins=np.where(against[run.rows, None], -run.margins, run.margins),
            )
            for run in runs
        ]
    probability = {name: other(p, against) for name, p in evaluation.probability.items()}
    return replace(evaluation, probability=probability, heads=heads)


def read_by(
    worlds: Sequence[World], features: FeatureSettings | None, device: str = "auto"
) -> dict[str, Sequence[World]]:
    """Return {reading: the worlds with u(x) so read}: as they are, and where there are texts the other of READINGS."""
    if features is None or worlds[0].name.startswith("synthetic-"):
        return {READINGS["last"]: worlds}
    found = {READINGS[features.prompt_pooling]: worlds}
    for pooling in READINGS.keys() - {features.prompt_pooling}:
        asked = [{split: _prompts_of(world, split) for split in ("train", "validation", "test")} for world in worlds]
        distinct = sorted({text for splits in asked for texts in splits.values() for text in texts.values()})
        table = encode_prompts(distinct, replace(features, prompt_pooling=pooling), device=device)
        row = {text: i for i, text in enumerate(distinct)}
        found[READINGS[pooling]] = [
            replace(
                world, **{split: _reading(getattr(world, split), table, row, texts) for split, texts in own.items()}
            )
            for world, own in zip(worlds, asked, strict=True)
        ]
    return {name: found[name] for name in READINGS.values()}


def _prompts_of(world: World, split: str) -> dict[str, str]:
    frame = data.split_frame(world.name, split, fold=world.fold)
    return dict(zip(frame["pair_id"], frame["prompt"], strict=True))


def _reading(pairs: Pairs, table: torch.Tensor, row: dict[str, int], texts: dict[str, str]) -> Pairs:
    where = torch.tensor([row[texts[name]] for name in pairs.pair_id.tolist()])
    return replace(pairs, prompts=table, prompt=where)


def _prompts(pairs: Pairs) -> int:
    return len(set(pairs.prompt_id.tolist()))


def _judged(evaluation: Evaluation) -> dict[tuple[str, str], np.ndarray]:
    """Return {(method, what is judged): whether it decides each pair as labelled, (n, runs)}."""
    found = {(name, PREDICTION): metrics.correct_by_run(p) for name, p in evaluation.probability.items()}
    for name in evaluation.heads:
        for selection in SELECTIONS:
            found[name, f"best head, {selection}"] = best_head_values(evaluation, name, selection)
    return found


def _lines(evaluation: Evaluation, right: np.ndarray, static: np.ndarray, head: dict[str, str]) -> list[dict]:
    of, lines = sample(evaluation.pairs), []
    for attribute in (*of.names, MACRO):
        share = None if attribute == MACRO else attribute
        found, gap = of.mean(right, share), of.difference(right, static, share)
        line = {"attribute": attribute, "value": found.estimate, "low": found.low, "high": found.high}
        line |= {"over_static": gap.estimate, "over_low": gap.low, "over_high": gap.high}
        counts = {"n_pairs": of.count(share), "n_prompts": int(found.n_groups), "n_runs": found.n_runs}
        lines.append(head | line | counts)
    return lines
