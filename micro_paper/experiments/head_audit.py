"""The two audits run on data sets: tables of heads, of what masking and merging change, and the evidence on claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from micro_paper import metrics
from micro_paper.errors import InputError
from micro_paper.experiments import head_surgery
from micro_paper.experiments.evaluation import Layout, by_pair, layout_of, sample
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
EFFECT = ["dataset", "method", "heads", "attribute", "before", "after", "difference", "low", "high", "free"]
EFFECT += ["n_pairs", "n_prompts", "n_seeds", "n_runs", "runs_masked", "heads_masked"]
MERGED = ["dataset", "method", "threshold", "correlation", "heads_before", "heads_left", "runs_merged"]
MERGED += ["attribute", "before", "after", "difference", "low", "high", "free", "n_pairs", "n_prompts"]
MERGED += ["n_seeds", "n_runs"]


def safety_audit(
    trained: Sequence[World],
    safety: Sequence[World],
    attribute: str,
    methods: Iterable[str],
    settings: Settings | Mapping[str, Any],
    *,
    seeds: Sequence[int],
    budget: int,
) -> tuple[pd.DataFrame, pd.DataFrame, list[pd.DataFrame]]:
    """Audit heads on validation safety pairs, mask the harmful ones, train stage 2, and measure on test pairs.

    Each run is audited twice: as trained, and with the sign of its best safety head turned, which should be found.

    Args:
        trained: folds that stage 1 is trained on; their pairs on a test or audited prompt are left out.
        safety: folds with safety pairs, validation to audit on, test to measure on, training pairs for stage 2. No
            folds: both tables are empty.
        attribute: of the safety pairs.

    Returns:
        The heads (columns HEADS), the effect by attribute (columns EFFECT; the difference is missing where no head was
        masked), and the decisions of the runs compared, frames of `evaluation.by_pair`.
    """
    heads, effects, decided = [], [], []
    layout = Layout.of(safety, len(seeds)) if len(safety) else None
    for name in methods if len(safety) else ():
        kept: dict[str, dict[int, Any]] = {TRAINED: {}, PLANTED: {}}
        for number, (fold, run_seed) in enumerate(product(range(len(safety)), seeds)):
            target = safety[fold]
            audited = target.validation.select(target.validation.attribute == attribute)
            if not len(audited):
                known = ", ".join(sorted(set(target.validation.attribute)))
                raise InputError(f"{target.name} has no validation pairs of {attribute!r}: safety_attribute is {known}")
            run = Run(_audit_world(trained[fold % len(trained)], target), run_seed, number)
            fitted = run.fit(name, settings)
            best = int(metrics.decided(fitted.heads.head_margins(audited)).mean(axis=0).argmax())
            planted = fitted.replaced(head_surgery.reverse_head(fitted.heads, best))
            # a copy, so that both sides keep their stage 1: the method as fitted may choose another one when it adapts
            same = fitted.replaced(head_surgery.without_heads(fitted.heads, []))
            for kind, variant in ((TRAINED, same), (PLANTED, planted)):
                table = head_surgery.head_audit(variant.heads, audited)
                heads.append(table.assign(dataset=target.name, method=name, heads=kind, run=number))
                masked = np.flatnonzero(table["masked"])
                safe = variant.replaced(head_surgery.without_heads(variant.heads, masked)).adapt(budget)
                p = [after.predict() for after in (variant.adapt(budget), safe)]
                kept[kind][number] = (len(masked), *map(metrics.correct, p))
        for kind, runs in kept.items():
            base = {"dataset": safety[0].name, "method": name, "heads": kind, "n_runs": len(runs)}
            base |= {"runs_masked": sum(r[0] > 0 for r in runs.values())}
            base |= {"heads_masked": sum(r[0] for r in runs.values())}
            tables = _compared(layout, runs)
            rows = dict(zip((f"{name}, {kind}: all heads", f"{name}, {kind}: masked"), tables, strict=True))
            decided.append(by_pair(safety[0].name, layout.pairs, rows, "right", seeds))
            lines = _changed(layout, *tables)
            if not base["runs_masked"]:
                lines = [line | dict.fromkeys(("difference", "low", "high", "free"), np.nan) for line in lines]
            effects += [base | line for line in lines]
    if not heads:
        return pd.DataFrame(columns=HEADS), pd.DataFrame(columns=EFFECT), []
    return pd.concat(heads, ignore_index=True)[HEADS], pd.DataFrame(effects)[EFFECT], decided


def _audit_world(source: World, target: World) -> World:
    """Return the world that is trained on `source`, adapted with contexts of `target`, and tested on it.

    Training leaves out pairs on prompts that the target audits or tests on.
    """
    splits = {"train": source.train, "validation": source.validation}
    if source.fingerprint != target.fingerprint:
        held_out = list(set(target.validation.prompt_id) | set(target.test.prompt_id))
        splits = {s: pairs.select(~np.isin(pairs.prompt_id, held_out)) for s, pairs in splits.items()}
    return replace(target, **splits, context_source=target.train)


def _compared(layout: Layout, runs: Mapping[int, tuple]) -> tuple[np.ndarray, np.ndarray]:
    """Return decisions before and after, (n, runs) each, of the runs in which heads changed, or of all where none did.

    Args:
        runs: number of the run -> heads that changed, decisions before, and after.
    """
    some = {number: r for number, r in runs.items() if r[0]} or runs
    before, after = (layout.table({number: r[i] for number, r in some.items()}) for i in (1, 2))
    return before, after


def _changed(layout: Layout, before: np.ndarray, after: np.ndarray) -> list[dict[str, Any]]:
    """Return `head_surgery.compare` on the folds that have runs to compare."""
    there = ~np.isnan(before).all(axis=1)
    return head_surgery.compare(before[there], after[there], sample(layout.pairs[there]))


def merging(
    fitted: Sequence[Fitted], thresholds: Sequence[float] = THRESHOLDS
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Merge heads that agree on validation pairs, after stage 2, and measure on test pairs (appendix C.3).

    Where a run has heads that merge, the runs without are left out of the comparison: they change by 0.

    Args:
        fitted: from `runs.fit_runs`: every fold with every seed.

    Returns:
        A table with columns MERGED, by data set, method, threshold and attribute (average last), and the decisions of
        the runs compared, frames of `evaluation.by_pair`. Methods without heads, or with one, are left out.
    """
    lines, decided, fitted = [], [], [f for f in fitted if f.predicts_alone and len(f.heads.head_weights()) > 1]
    for world, name in dict.fromkeys((f.world.name, f.name) for f in fitted):
        runs = [f for f in fitted if (f.world.name, f.name) == (world, name)]
        layout, seeds = layout_of(runs), list(dict.fromkeys(f.run.seed for f in runs))
        before = [metrics.correct(f.predict()) for f in runs]
        closest = [_closest(f.heads.head_margins(f.world.validation)) for f in runs]
        for threshold in thresholds:
            merged = [head_surgery.merge_heads(f.heads, f.world.validation, threshold) for f in runs]
            left = np.array([len(m.head_weights()) for m in merged])
            count = len(runs[0].heads.head_weights())
            after = [metrics.correct(m.predict_proba(f.world.test)) for m, f in zip(merged, runs, strict=True)]
            base = {"dataset": world, "method": name, "threshold": threshold, "heads_before": count}
            base["correlation"] = float(np.mean(closest))
            base |= {"heads_left": left.mean(), "runs_merged": int((left < count).sum()), "n_runs": len(runs)}
            changes = {f.run.number: c for f, *c in zip(runs, count - left, before, after, strict=True)}
            tables = _compared(layout, changes)
            rows = dict(
                zip(
                    (f"{name}, to merge above {threshold:g}", f"{name}, merged above {threshold:g}"),
                    tables,
                    strict=True,
                )
            )
            decided.append(by_pair(world, layout.pairs, rows, "right", seeds))
            lines += [base | line for line in _changed(layout, *tables)]
    return pd.DataFrame(lines, columns=MERGED), decided


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
