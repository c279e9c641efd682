"""Are predictions right as often as they say? Before and after one temperature, fitted on validation pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from micro_paper import intervals, metrics
from micro_paper.experiments.runs import Fitted
from micro_paper.experiments.worlds import World, load_world
from micro_paper.methods.temperature import fit_temperature, scale
from micro_paper.pairs import Pairs

Floats = NDArray[np.float64]
Validation = Mapping[tuple[str, int], Pairs]  # by name and fold of the world
BINS = 15  # of confidence in [1/2, 1], as in `metrics.ece`
SCALED = {False: "as predicted", True: "scaled"}


def complete_validation(worlds: Sequence[World], **options: Any) -> dict[tuple[str, int], Pairs]:
    """Return the validation pairs of rated worlds with those that every attribute decides alike, as the test pairs are.

    A temperature from the harder validation pairs that training and its choices use would be too large for test pairs.

    Args:
        worlds: of any kind; only rated ones are read again.
        options: of `worlds.load_world`.
    """
    from micro_paper import data

    rated = [w for w in worlds if not w.name.startswith("synthetic-") and data.describe(w.name).kind == "rated"]
    return {
        (w.name, w.fold): load_world(w.name, fold=w.fold, drop_unanimous=False, **options).validation for w in rated
    }


def calibration_table(
    fitted: Sequence[Fitted], validation: Validation | None = None, *, seed: int = 0, n_bootstrap: int = 10_000
) -> pd.DataFrame:
    """Return ECE, Brier score and NLL of each method before and after temperature scaling, with intervals.

    Each run has a temperature of its own, from its validation pairs. Scores are means over runs of the score over the
    run's test pairs. One resample of prompts serves all runs, methods and both states. As resampling adds to an ECE,
    its resamples are centred on the estimate.

    Args:
        fitted: from `runs.fit_runs`.
        validation: pairs to fit the temperature on, in place of a world's own.

    Returns:
        Columns dataset, method, metric, temperature, before, before_low, before_high, after, after_low, after_high,
        difference, low, high, n_pairs, n_prompts, n_runs.
    """
    lines = []
    for dataset, name in dict.fromkeys((f.world.name, f.name) for f in fitted):
        runs, temperature, states = _predicted(fitted, dataset, name, validation)
        prompts = sorted(set().union(*(f.world.test.prompt_id for f in runs)))
        intervals.check_resamples(len(prompts), n_bootstrap)
        weights = intervals.resamples(len(prompts), np.random.default_rng(seed), n_bootstrap).astype(np.float32)
        found = {}
        for scaled, probabilities in states.items():
            for metric in ("ece", "brier", "nll"):
                each = [
                    _score(metric, p, np.searchsorted(prompts, f.world.test.prompt_id), weights)
                    for p, f in zip(probabilities, runs, strict=True)
                ]
                estimate, draws = (np.mean([e[i] for e in each], axis=0) for i in (0, 1))
                if metric == "ece":
                    draws = draws - draws.mean() + estimate
                found[metric, scaled] = (float(estimate), draws)
        base = {"dataset": dataset, "method": name, "temperature": float(np.median(temperature)), "n_runs": len(runs)}
        base |= {"n_pairs": sum(len(f.world.test) for f in runs), "n_prompts": len(prompts)}
        for metric in ("ece", "brier", "nll"):
            before, after = found[metric, False], found[metric, True]
            line = base | {"metric": metric} | _ends("before", *before, len(prompts))
            line |= _ends("after", *after, len(prompts))
            line |= _ends("difference", after[0] - before[0], after[1] - before[1], len(prompts))
            lines.append(line)
    order = ["dataset", "method", "metric", "temperature"]
    order += [f"{s}{end}" for s in ("before", "after") for end in ("", "_low", "_high")]
    table = pd.DataFrame(lines).rename(columns={"difference_low": "low", "difference_high": "high"})
    ends = ["before_low", "after_low"]  # of scores that cannot be negative
    table[ends] = table[ends].clip(lower=0)
    return table[[*order, "difference", "low", "high", "n_pairs", "n_prompts", "n_runs"]]


def _predicted(
    fitted: Sequence[Fitted], dataset: str, name: str, validation: Validation | None
) -> tuple[list[Fitted], list[float], dict[bool, list[Floats]]]:
    """Return the runs of a method, their temperatures, and p of each run's test pairs, not scaled and scaled."""
    runs = [f for f in fitted if (f.world.name, f.name) == (dataset, name)]
    held_out = [(validation or {}).get((f.world.name, f.world.fold), f.world.validation) for f in runs]
    # six digits: what is calibrated already has temperature 1, and stays as it is to the last bit
    temperature = [round(fit_temperature(f.predict(v)), 6) for f, v in zip(runs, held_out, strict=True)]
    plain = [f.predict() for f in runs]
    scaled = [p if t == 1 else scale(p, t) for p, t in zip(plain, temperature, strict=True)]
    return runs, temperature, {False: plain, True: scaled}


def _score(metric: str, p: Floats, group: np.ndarray, weights: Floats) -> tuple[float, Floats]:
    """Return the score of p, (n,), and its resampled values, (R,)."""
    count = np.bincount(group, minlength=weights.shape[1]).astype(float)
    total = np.maximum(weights @ count, 1)
    if metric == "ece":
        sums = np.stack([np.bincount(group, weights=g, minlength=weights.shape[1]) for g in _gaps(p)], axis=1)
        return metrics.ece(p, BINS), np.abs(weights @ sums).sum(axis=1) / total
    values = (1 - p) ** 2 if metric == "brier" else metrics.pair_nll(p)
    return float(values.mean()), weights @ np.bincount(group, weights=values, minlength=weights.shape[1]) / total


def _gaps(p: Floats) -> list[Floats]:
    """Return, for each bin, right less confidence of its pairs and 0 elsewhere: (BINS, n)."""
    confidence = np.maximum(p, 1 - p)
    where = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    return [np.where(where == b, metrics.correct(p) - confidence, 0.0) for b in range(BINS)]


def _ends(name: str, estimate: float, draws: Floats, n_groups: int) -> dict[str, float]:
    low, high = intervals.expanded_percentiles(draws, n_groups)
    return {name: float(estimate), f"{name}_low": low, f"{name}_high": high}


def reliability(
    fitted: Sequence[Fitted],
    validation: Validation | None = None,
    *,
    bins: int = 8,
    least: int = 20,
) -> pd.DataFrame:
    """Return how often predictions of each confidence are right, the test pairs of all runs together.

    Intervals are over prompts alone: which pairs stand in a bin is another matter in every run.

    Args:
        fitted, validation: as for `calibration_table`.
        bins: equal bins of confidence max(p, 1 - p) in [1/2, 1]. least: bins with fewer pairs or prompts are left out.

    Returns:
        Columns dataset, method, calibration, confidence, value, low, high, n_pairs; no rows where every bin is small.
    """
    lines = []
    for dataset, name in dict.fromkeys((f.world.name, f.name) for f in fitted):
        runs, _, states = _predicted(fitted, dataset, name, validation)
        prompt = np.concatenate([f.world.test.prompt_id for f in runs])
        for scaled, probabilities in states.items():
            p = np.concatenate(probabilities)
            confidence, right = np.maximum(p, 1 - p), metrics.correct(p)
            where = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
            for b in range(bins):
                own = where == b
                if own.sum() < least or len(set(prompt[own])) < least:
                    continue
                interval = intervals.Sample(prompt[own]).mean(right[own])
                lines.append(
                    {"dataset": dataset, "method": name, "calibration": SCALED[scaled]}
                    | {"confidence": confidence[own].mean(), "value": interval.estimate}
                    | {"low": interval.low, "high": interval.high, "n_pairs": int(own.sum())}
                )
    columns = ["dataset", "method", "calibration", "confidence", "value", "low", "high", "n_pairs"]
    return pd.DataFrame(lines, columns=columns)


def entries(table: pd.DataFrame, curve: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the calibration tables as arguments of `Artifacts.table`."""
    keep = ["dataset", "method", "metric", "temperature", "before", "after", "difference", "low", "high"]
    captions = {
        "calibration": "Calibration before and after one temperature that is fitted on validation pairs.",
        "reliability": "How often predictions of each confidence are right (shown: as predicted).",
    }
    plain = curve[curve["calibration"] == SCALED[False]].drop(columns="calibration")
    return [
        {
            "frame": frame,
            "number": "00",
            "slug": slug,
            "caption": captions[slug],
            "display": display,
        }
        for slug, frame, display in (("calibration", table, table[keep]), ("reliability", curve, plain))
    ]
