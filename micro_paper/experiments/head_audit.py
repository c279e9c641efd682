"""The two audits run on data sets: tables of heads, of what masking and merging change, and the evidence on claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from micro_paper import metrics
from micro_paper.errors import InputError
from micro_paper.experiments import head_surgery
from micro_paper.experiments.runs import Fitted, Run
from micro_paper.experiments.worlds import World
from micro_paper.methods.settings import Settings
from micro_paper.metrics import MACRO

TRAINED, PLANTED = "as trained", "one head reversed"
THRESHOLDS = (0.8, 0.9, 0.95)
HEADS = [
    "dataset",
    "method",
    "heads",
    "run",
    "head",
    "value",
    "low",
    "high",
    "n_pairs",
    "n_prompts",
    "weight",
    "masked",
]
EFFECT = ["dataset", "method", "heads", "attribute", "before", "after", "difference", "low", "high"]
EFFECT += ["n_pairs", "n_prompts", "n_runs", "runs_masked", "heads_masked"]
MERGED = ["dataset", "method", "threshold", "correlation", "heads_before", "heads_left", "runs_merged"]
MERGED += ["attribute", "before", "after", "difference", "low", "high", "n_pairs", "n_prompts", "n_runs"]


def safety_audit(
    trained: Sequence[World],
    safety: Sequence[World],
    attribute: str,
    methods: Iterable[str],
    settings: Settings | Mapping[str, Any],
    *,
    seeds: Sequence[int],
    budget: int,
    seed: int = 0,
    n_bootstrap: int = 10_000,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Audit heads on validation safety pairs, mask the harmful ones, train stage 2, and measure on test pairs.

    Each run is audited twice: as trained, and with the sign of its best safety head turned, which the audit must find.

    Args:
        trained: folds that stage 1 is trained on; their pairs on a test or audited prompt are left out.
        safety: folds with safety pairs, validation to audit on, test to measure on, training pairs for stage 2. No
            folds: both tables are empty.
        attribute: of the safety pairs.

    Returns:
        The heads (columns HEADS) and the effect by attribute (columns EFFECT); the difference is missing where no head
        was masked.
    """
    heads, effects = [], []
    for name in methods if len(safety) else ():
        kept: dict[str, list[Any]] = {TRAINED: [], PLANTED: []}
        for number, run_seed in enumerate(seeds):
            target = safety[number % len(safety)]
            audited = target.validation.select(target.validation.attribute == attribute)
            if not len(audited):
                known = ", ".join(sorted(set(target.validation.attribute)))
                raise InputError(f"{target.name} has no validation pairs of {attribute!r}: safety_attribute is {known}")
            run = Run(_audit_world(trained[number % len(trained)], target), run_seed, number)
            fitted = run.fit(name, settings)
            best = int(metrics.decided(fitted.heads.head_margins(audited)).mean(axis=0).argmax())
            planted = fitted.replaced(head_surgery.reverse_head(fitted.heads, best))
            for kind, variant in ((TRAINED, fitted), (PLANTED, planted)):
                rng = np.random.default_rng(seed)
                table = head_surgery.head_audit(variant.heads, audited, rng=rng, n_bootstrap=n_bootstrap)
                heads.append(table.assign(dataset=target.name, method=name, heads=kind, run=number))
                masked = np.flatnonzero(table["masked"])
                safe = variant.replaced(head_surgery.without_heads(variant.heads, masked)).adapt(budget)
                p = [after.predict() for after in (variant.adapt(budget), safe)]
                kept[kind].append((len(masked), *map(metrics.correct, p), target.test))
        for kind, runs in kept.items():
            base = {"dataset": safety[0].name, "method": name, "heads": kind, "n_runs": len(runs)}
            base |= {"runs_masked": sum(r[0] > 0 for r in runs), "heads_masked": sum(r[0] for r in runs)}
            effects += [base | line for line in _effect(runs, seed, n_bootstrap)]
    if not heads:
        return pd.DataFrame(columns=HEADS), pd.DataFrame(columns=EFFECT)
    return pd.concat(heads, ignore_index=True)[HEADS], pd.DataFrame(effects)[EFFECT]


def _audit_world(source: World, target: World) -> World:
    """Return the world that is trained on `source`, adapted with contexts of `target`, and tested on it.

    Training leaves out pairs on prompts that the target audits or tests on.
    """
    splits = {"train": source.train, "validation": source.validation}
    if source.fingerprint != target.fingerprint:
        held_out = list(set(target.validation.prompt_id) | set(target.test.prompt_id))
        splits = {s: pairs.select(~np.isin(pairs.prompt_id, held_out)) for s, pairs in splits.items()}
    return replace(target, **splits, context_source=target.train)


def _effect(runs: Sequence[tuple], seed: int, n_bootstrap: int) -> list[dict[str, Any]]:
    """Compare before and after over the runs with a masked head; over all, without a difference, where none has one."""
    some = [r for r in runs if r[0]] or list(runs)
    before, after = (np.concatenate([r[i] for r in some]) for i in (1, 2))
    attribute, prompt = (np.concatenate([getattr(r[3], c) for r in some]) for c in ("attribute", "prompt_id"))
    lines = head_surgery.compare(before, after, attribute, prompt, seed=seed, n_bootstrap=n_bootstrap)
    if not any(r[0] for r in runs):
        lines = [line | dict.fromkeys(("difference", "low", "high"), np.nan) for line in lines]
    return lines


def merging(
    fitted: Sequence[Fitted], thresholds: Sequence[float] = THRESHOLDS, *, seed: int = 0, n_bootstrap: int = 10_000
) -> pd.DataFrame:
    """Merge heads that agree on validation pairs, after stage 2, and measure on test pairs (appendix C.3).

    Returns:
        Columns MERGED: by data set, method, threshold and attribute (average last); accuracies before and after are of
        the runs in which heads merged, or of all where none did. Methods without heads, or with one, are left out.
    """
    lines, fitted = [], [f for f in fitted if f.predicts_alone and len(f.heads.head_weights()) > 1]
    for world, name in dict.fromkeys((f.world.name, f.name) for f in fitted):
        runs = [f for f in fitted if (f.world.name, f.name) == (world, name)]
        closest = [_closest(f.heads.head_margins(f.world.validation)) for f in runs]
        for threshold in thresholds:
            merged = [head_surgery.merge_heads(f.heads, f.world.validation, threshold) for f in runs]
            left = np.array([len(m.head_weights()) for m in merged])
            count = len(runs[0].heads.head_weights())
            some = left < count if (left < count).any() else np.full(len(runs), True)
            of_some = [(f, m) for f, m, own in zip(runs, merged, some, strict=True) if own]
            tests = [f.world.test for f, _ in of_some]
            attribute, prompt = (np.concatenate([getattr(t, c) for t in tests]) for c in ("attribute", "prompt_id"))
            before = np.concatenate([metrics.correct(f.predict()) for f, _ in of_some])
            after = np.concatenate([metrics.correct(m.predict_proba(f.world.test)) for f, m in of_some])
            base = {"dataset": world, "method": name, "threshold": threshold, "heads_before": count}
            base["correlation"] = float(np.mean(closest))
            base |= {"heads_left": left.mean(), "runs_merged": int((left < count).sum()), "n_runs": len(runs)}
            compared = head_surgery.compare(before, after, attribute, prompt, seed=seed, n_bootstrap=n_bootstrap)
            lines += [base | line for line in compared]
    return pd.DataFrame(lines, columns=MERGED)


def _closest(margins: np.ndarray) -> float:
    """Return the largest correlation of two heads, from margins (n, K)."""
    return np.triu(metrics.head_correlations(margins.T), 1).max()


def safety_tables(heads: pd.DataFrame, effects: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the tables of the safety audit as arguments of `Artifacts.table`; none where nothing was audited."""
    if not len(heads):
        return []
    trained = effects[(effects["heads"] == TRAINED) & (effects["attribute"] == MACRO)]
    counts = ", ".join(
        f"{r.method}: {r.heads_masked} in {r.runs_masked} of {r.n_runs} runs" for r in trained.itertuples()
    )
    grouped = heads.groupby(["method", "heads"], sort=False)
    shown = grouped.agg(
        runs=("run", "nunique"),
        all_heads=("head", "size"),
        lowest=("value", "min"),
        highest=("value", "max"),
        masked=("masked", "sum"),
    )
    keep = ["method", "heads", "attribute", "before", "after", "difference", "low", "high", "runs_masked"]
    return [
        _entry(
            heads,
            "safety_heads",
            "Accuracy of every head on validation safety pairs (shown: range, and how many are masked).",
            shown.reset_index(),
        ),
        _entry(
            effects,
            "safety_mask",
            f"What masking before stage 2 changes on test pairs. Heads masked as trained: {counts}.",
            effects[keep],
        ),
    ]


def merging_table(table: pd.DataFrame) -> dict[str, Any]:
    """Return the table of merging as arguments of `Artifacts.table`."""
    average = table[table["attribute"] == MACRO]
    keep = ["dataset", "method", "threshold", "correlation", "heads_before", "heads_left", "before", "after"]
    caption = "Heads left after merging those that agree on validation pairs, and mean accuracy on test pairs."
    return _entry(table, "merging", caption, average[[*keep, "difference", "low", "high"]])


def _entry(frame: pd.DataFrame, slug: str, caption: str, display: pd.DataFrame) -> dict[str, Any]:
    return {
        "frame": frame,
        "number": "00",
        "slug": slug,
        "caption": caption,
        "display": display,
    }
