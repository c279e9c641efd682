"""HyRe's protocol: a few labelled test pairs of each attribute set the weights, and every row is judged on the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from micro_paper import metrics
from micro_paper.errors import InputError
from micro_paper.experiments.evaluation import Evaluation, sample
from micro_paper.methods.hyre import SUPERVISION, ensemble_probability, hyre_weights, pair_losses
from micro_paper.metrics import MACRO

Floats = NDArray[np.float64]
RESTS = ("pairs", "prompts")
COLUMNS = (
    "dataset",
    "method",
    "supervision",
    "attribute",
    "value",
    "low",
    "high",
    "reference",
    "difference",
    "difference_low",
    "difference_high",
    "free",
    "p_value",
    "n_pairs",
    "n_prompts",
    "n_seeds",
    "n_runs",
)


def few_shot_rest(
    margins: ArrayLike,
    attribute: ArrayLike,
    prompt_id: ArrayLike,
    shots: int,
    resamples: int,
    rng: np.random.Generator,
    temperature: float = 1.0,
    *,
    loss: str = "nll",
    rest: str = "pairs",
) -> tuple[Floats, NDArray[np.int64]]:
    """Return accuracy of reweighted heads on the pairs that were not labelled, by pair.

    For each attribute, `resamples` times: `shots` of its pairs are drawn without replacement, the heads are weighted
    by their losses on them (`hyre.hyre_weights`), and the attribute's other pairs are decided by sum_k w_k
    sigmoid(D_k). The draws depend on attribute, prompt_id and `rng` alone, so that sources of equal seed give several
    methods the same labelled pairs.

    Args:
        margins: D_k of n test pairs, (n, K), in nats.
        attribute, prompt_id: (n,).
        shots: labelled pairs an attribute (the paper: 16).
        resamples: draws an attribute.
        loss: see `hyre.pair_losses`.
        rest: "pairs" leaves out the labelled pairs alone, as the paper does; "prompts" every pair of their prompts,
            since these share responses with the labelled ones.

    Returns:
        correct (n,): mean over the draws in which the pair belongs to the rest, NaN where there was none; 1/2 a tie.
        counted (n,): the number of those draws.
    """
    margins = np.asarray(margins, dtype=np.float64)
    attribute, prompt_id = np.asarray(attribute), np.asarray(prompt_id)
    if margins.ndim != 2 or not np.isfinite(margins).all():
        raise InputError(f"margins must be finite and (n, K), got shape {margins.shape}")
    for name, column in (("attribute", attribute), ("prompt_id", prompt_id)):
        if len(column) != len(margins):
            raise InputError(f"{name} has {len(column)} rows, margins has {len(margins)}: give one a pair")
    losses = pair_losses(margins, loss)
    total, counted = np.zeros(len(margins)), np.zeros(len(margins), dtype=np.int64)
    for labelled, others in _draws(attribute, prompt_id, shots, resamples, rng, rest):
        weights = hyre_weights(losses[labelled], temperature)
        total[others] += metrics.correct(ensemble_probability(margins[others], weights))
        counted[others] += 1
    return np.divide(total, counted, out=np.full(len(total), np.nan), where=counted > 0), counted


def _draws(
    attribute: np.ndarray, prompt_id: np.ndarray, shots: int, resamples: int, rng: np.random.Generator, rest: str
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield labelled and other pairs of each attribute and draw; draws that leave no other pair are passed over."""
    if shots < 1 or resamples < 1:
        raise InputError(f"shots and resamples must be >= 1, got {shots} and {resamples}")
    if rest not in RESTS:
        raise InputError(f"rest must be one of {', '.join(RESTS)}, got {rest!r}")
    for name in np.unique(attribute):
        rows = np.flatnonzero(attribute == name)
        if len(rows) <= shots:
            raise InputError(
                f"attribute {str(name)!r} has {len(rows)} test pairs: {shots} labelled ones leave none to judge on"
            )
        some = False
        for _ in range(resamples):
            order = rng.permutation(rows)
            labelled, others = order[:shots], order[shots:]
            if rest == "prompts":
                others = others[~np.isin(prompt_id[others], prompt_id[labelled])]
            if len(others):
                some = True
                yield labelled, others
        if not some:
            raise InputError(
                f"attribute {str(name)!r}: {shots} labelled pairs reach every prompt and leave none to judge on: use "
                "fewer shots, or rest = 'pairs'"
            )


def rest_rows(probability: ArrayLike, counted: ArrayLike) -> Floats:
    """Return correctness (n,) of a row that uses no labelled pairs, NaN on the pairs that `few_shot_rest` never judged.

    Its prediction is the same in every draw, so the mean over the draws is the prediction's own correctness.

    Args:
        probability: P(chosen preferred), (n,).
        counted: from `few_shot_rest`, (n,).
    """
    counted = np.asarray(counted)
    correct = metrics.correct(probability)
    if counted.shape != correct.shape:
        raise InputError(f"probability has {len(correct)} rows, counted has shape {counted.shape}: give the same pairs")
    return np.where(counted > 0, correct, np.nan)


def rest_values(
    evaluation: Evaluation,
    rows: Sequence[str],
    heads_of: Mapping[str, str],
    *,
    shots: int,
    resamples: int,
    seed: int = 0,
    temperature: float = 1.0,
    loss: str = "nll",
    rest: str = "pairs",
) -> dict[str, Floats]:
    """Return {row: correctness (n, runs)} on the same rest for every row; NaN where a pair was never judged.

    Args:
        evaluation: with probabilities of `rows` and kept heads of the values of `heads_of`.
        rows: rows of the evaluation that are judged as they are.
        heads_of: new row -> evaluated method whose heads are reweighted, e.g. {"hyre": "shared_base_mlp"}.
        seed: of the draws; each run (fold and seed) has its own, the same for every row.
        shots, resamples, temperature, loss, rest: see `few_shot_rest`.
    """
    if not heads_of:
        raise InputError("heads_of names no row: say whose heads are reweighted, e.g. {'hyre': 'shared_base_mlp'}")
    for source in heads_of.values():
        if source not in evaluation.heads:
            known = ", ".join(evaluation.heads) or "none"
            raise InputError(f"the heads of {source!r} were not kept (kept: {known}): name it in keep_heads")
    for name in rows:
        if name not in evaluation.probability:
            raise InputError(f"row {name!r} was not evaluated; there are {', '.join(evaluation.probability)}")
    if twice := set(rows) & set(heads_of):
        raise InputError(f"row {sorted(twice)[0]!r} is named twice: reweighted heads need a name of their own")
    attribute = evaluation.pairs["attribute"].to_numpy()
    prompt = evaluation.pairs["prompt_id"].to_numpy()
    values = {}
    for name, source in heads_of.items():
        values[name] = np.full(evaluation.probability[source].shape, np.nan)
        counted = np.zeros(values[name].shape, dtype=np.int64)  # the same for every source: draws see no margins
        for i, run in enumerate(evaluation.heads[source]):
            column = i % counted.shape[1]  # runs lie fold by fold, the columns of one fold seed by seed
            rng = np.random.default_rng([seed, run.fold, run.seed])
            values[name][run.rows, column], counted[run.rows, column] = few_shot_rest(
                run.margins,
                attribute[run.rows],
                prompt[run.rows],
                shots,
                resamples,
                rng,
                temperature,
                loss=loss,
                rest=rest,
            )
    for name in rows:
        columns = zip(evaluation.probability[name].T, counted.T, strict=True)
        values[name] = np.stack([rest_rows(p, c) for p, c in columns], axis=1)
    return values


def compare_on_rest(
    evaluation: Evaluation,
    rows: Sequence[str],
    heads_of: Mapping[str, str],
    *,
    shots: int,
    resamples: int,
    seed: int = 0,
    reference: str = "hyre",
    further: Sequence[str] = (),
    **options,
) -> pd.DataFrame:
    """Return accuracy of every row on the same rest, and its difference to `reference`; columns as COLUMNS.

    Correctness is averaged over draws by pair and run; intervals are over prompts and runs.

    Args: as `rest_values`; `options` are its temperature, loss and rest. The lines are repeated with the difference to
        each of the rows `further`.
    """
    values = rest_values(evaluation, rows, heads_of, shots=shots, resamples=resamples, seed=seed, **options)
    for name in (reference, *further):
        if name not in values:
            raise InputError(f"reference {name!r} is not among the rows {', '.join(values)}")
    tables = [_against(evaluation, values, heads_of, name, shots) for name in (reference, *further)]
    return pd.concat(tables, ignore_index=True)


def _against(
    evaluation: Evaluation, values: Mapping[str, Floats], heads_of: Mapping[str, str], reference: str, shots: int
) -> pd.DataFrame:
    judged = ~np.isnan(values[reference]).all(axis=1)
    values = {name: value[judged] for name, value in values.items()}
    pairs = evaluation.pairs[judged]
    of, folds, lines = sample(pairs), pairs["fold"].nunique(), []
    for name, own in values.items():
        supervision = evaluation.supervision[heads_of.get(name, name)]
        if name in heads_of:  # what the heads see, without what their method's own weights see
            of_heads = supervision.replace(SUPERVISION, "").split(";")[0]
            labelled = f"{shots} labelled test pairs of each attribute, and its name"
            supervision = "; ".join(filter(None, (of_heads, labelled)))
        for a in (*of.names, MACRO):
            only = None if a == MACRO else a
            accuracy = of.mean(own, only)
            line = {"dataset": evaluation.world, "method": name, "supervision": supervision, "attribute": a}
            line |= {"value": accuracy.estimate, "low": accuracy.low, "high": accuracy.high, "reference": reference}
            gap = dict.fromkeys(("difference", "difference_low", "difference_high", "free", "p_value"), np.nan)
            n_seeds = accuracy.n_runs
            if name != reference:
                found = of.difference(own, values[reference], only)
                gap = dict(zip(gap, (found.estimate, found.low, found.high, found.free, found.p_value), strict=True))
                n_seeds = found.n_runs
            count = {"n_pairs": of.count(only), "n_prompts": accuracy.n_groups}
            lines.append(line | gap | count | {"n_seeds": n_seeds, "n_runs": n_seeds * folds})
    return pd.DataFrame(lines, columns=COLUMNS)
