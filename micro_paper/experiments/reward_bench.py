"""RewardBench's four sections (table 10): its weighting of subsets, intervals over prompts and runs, and the tables.

A subset's score is the share of its pairs that are decided as labelled. A section's score is the mean over its subsets,
weighted by their numbers of examples; in reasoning the mathematics subsets together weigh as much as the code subsets
together (RewardBench counts its 447 mathematics pairs as 984, the number of its code pairs). The overall score is the
mean of the sections. RewardBench has one pair a prompt, some stand-ins have several: an example is a pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from micro_paper import digits, intervals, metrics
from micro_paper.data.criteria import SECTIONS
from micro_paper.errors import InputError
from micro_paper.experiments.bench_runs import Bench
from micro_paper.experiments.evaluation import COVERED, Evaluation, gap
from micro_paper.intervals import Interval, Sample
from micro_paper.metrics import MACRO
from micro_paper.paper import values as paper_values

ORDER = ("chat", "chat-hard", "safety", "reasoning")
MATHS = ("math-prm", "gsm8k")
CODE = "hep-"  # HumanEvalPack, one subset a language
Floats = NDArray[np.float64]
ROWS = (
    "micro",
    "micro_plus",
    "micro_stage1",
    "single",
    "single_exact",
    "static_learned",
    "shared_base",
    "length",
    "pca_heads",
    "random_heads",
)
PAPER_ROWS = {"micro": "MiCRo", "single": "Single Reward (3B)"}  # of table 10
STANDS_FOR = {
    "reward_bench": "itself",
    "llmbar": "llmbar-*, the same pairs",
    "humanevalpack": "hep-*, the same construction",
    "xstest": "xstest-*, other completions",
    "gsm8k_solutions": "math-prm",
    "pandalm": "alpacaeval, mt-bench-easy and -med",
}
"""What the subsets of a data set stand for in RewardBench."""
NOT_APPLICABLE = (
    "This profile has no benchmark pairs with chat, safety and reasoning sections: its data set is one corpus of "
    "composed responses, without offensive text, so heads cannot be audited for safety (section 8) either. The profile "
    "open has stand-ins for RewardBench and human harmlessness pairs, the profile paper has the originals."
)
CHAT_OF_LLMBAR = ("mt-bench", "faireval", "llmeval2")  # stored beside LLMBar, chat in RewardBench's sense


def section_of(subset: str) -> str:
    """Return the section of a subset; one that RewardBench does not know is a section of its own."""
    return SECTIONS.get(str(subset), str(subset))


def sections_in_order(subsets: Iterable[str]) -> list[str]:
    """Return the sections of the subsets, each once, RewardBench's first and in its order."""
    found = {section_of(s) for s in subsets}
    return [s for s in ORDER if s in found] + sorted(found - set(ORDER))


def subset_weights(subset: ArrayLike) -> pd.DataFrame:
    """Return what each subset weighs in its section.

    Args:
        subset: of each pair, (n,).

    Returns:
        Columns subset, section, n_pairs, weight (share of the section, summing to 1 in each).
    """
    names, counts = np.unique(np.asarray(subset, dtype=str), return_counts=True)
    if not len(names):
        raise InputError("there are no pairs to weigh: give at least one")
    table = pd.DataFrame({"subset": names, "section": [section_of(s) for s in names], "n_pairs": counts})
    weight = table["n_pairs"].astype(float)
    maths, code = table["subset"].isin(MATHS), table["subset"].str.startswith(CODE)
    if maths.any() and code.any():
        weight[maths] *= weight[code].sum() / weight[maths].sum()
    table["weight"] = weight / weight.groupby(table["section"]).transform("sum")
    place = {s: i for i, s in enumerate(sections_in_order(names))}
    return table.sort_values("section", key=lambda c: c.map(place), kind="stable", ignore_index=True)


def section_scores(values: ArrayLike, subset: ArrayLike, prompt: ArrayLike) -> dict[str, Interval]:
    """Return the score of each section, and last their average, with 95 % intervals over prompts and runs.

    Args:
        values: 1 where a run decides the pair as labelled, (n, runs); of a difference, those of one row less another's.
        subset, prompt: of each pair, (n,).
    """
    return {section: Sample(prompt, subset).mean(values, share) for section, share in _section_shares(subset).items()}


def section_differences(
    values_a: ArrayLike, values_b: ArrayLike, subset: ArrayLike, prompt: ArrayLike
) -> dict[str, Interval]:
    """Return the scores of a less those of b, (n, runs) each, on the same pairs; as `section_scores`."""
    shares = _section_shares(subset)
    return {section: Sample(prompt, subset).difference(values_a, values_b, s) for section, s in shares.items()}


def _section_shares(subset: ArrayLike) -> dict[str, dict[str, float]]:
    """Return what each subset weighs in each section, and in the average over sections."""
    weights = subset_weights(subset)
    shares = {section: dict(zip(p["subset"], p["weight"], strict=True)) for section, p in weights.groupby("section")}
    ordered = {section: shares[section] for section in sections_in_order(subset)}
    every = {name: weight / len(ordered) for share in ordered.values() for name, weight in share.items()}
    return ordered | {MACRO: every}


def _decided(result: Evaluation) -> dict[str, np.ndarray]:
    return {m: metrics.correct_by_run(p) for m, p in result.probability.items()}


def section_table(result: Evaluation | None) -> pd.DataFrame:
    """Return table 10; without a result it has no rows.

    Columns: dataset, method, supervision, section, value, low, high, paper, n_pairs, n_prompts, n_runs.
    """
    names = ["dataset", "method", "supervision", "section", "value", "low", "high", "paper"]
    names += ["n_pairs", "n_prompts", "n_runs"]
    if result is None:
        return pd.DataFrame(columns=names)
    printed = paper_values.accuracy(10)
    printed = printed.assign(section=printed["attribute"].str.lower()).set_index(["method", "section"])["accuracy"]
    lines = []
    subset, prompt = (result.pairs[c].to_numpy() for c in ("attribute", "prompt_id"))
    count = Sample(prompt, subset).count
    shares = _section_shares(subset)
    for method, values in _decided(result).items():
        found = section_scores(values, subset, prompt)
        base = {"dataset": result.world, "method": method, "supervision": result.supervision[method]}
        for section, each in found.items():
            paper = printed.get((PAPER_ROWS.get(method), section), float("nan"))
            known = section != MACRO or set(found) == {*ORDER, MACRO}
            line = {"section": section, "value": each.estimate, "low": each.low, "high": each.high}
            line |= {"paper": paper if known else float("nan"), "n_pairs": count(shares[section])}
            lines.append(base | line | {"n_prompts": each.n_groups, "n_runs": each.n_runs})
    return pd.DataFrame(lines)[names]


def section_display(table: pd.DataFrame) -> pd.DataFrame:
    """Return table 10 as it is shown: a row a method and its printed row below, a column a section."""
    if not len(table):
        return table
    rows = []
    for method, part in table.groupby("method", sort=False):
        cells = {r.section: digits.interval(r.value, r.low, r.high) for r in part.itertuples()}
        rows.append({"method": method, "source": "ours"} | cells)
        if part["paper"].notna().any():
            printed = {r.section: f"{r.paper:.3f}" for r in part.itertuples()}
            rows.append({"method": PAPER_ROWS[method], "source": "paper"} | printed)
    return pd.DataFrame(rows)


def subset_table(result: Evaluation | None, bench: Bench | None) -> pd.DataFrame:
    """Return accuracies by subset, with counts and what stands in for what.

    Columns: dataset, subset, section, stands_for, weight, n_pairs, n_prompts, method, value, low, high.
    """
    names = ["dataset", "subset", "section", "stands_for", "weight", "n_pairs", "n_prompts", "method"]
    names += ["value", "low", "high"]
    if result is None or bench is None:
        return pd.DataFrame(columns=names)
    subset, prompt = (result.pairs[c].to_numpy() for c in ("attribute", "prompt_id"))
    of, lines = Sample(prompt, subset), []
    for method, values in _decided(result).items():
        for row in subset_weights(subset).to_dict("records"):
            interval, dataset = of.mean(values, row["subset"]), bench.dataset[row["subset"]]
            lines.append(
                row
                | {"dataset": dataset, "stands_for": stands_for(dataset, row["subset"]), "method": method}
                | {"value": interval.estimate, "low": interval.low, "high": interval.high}
                | {"n_prompts": interval.n_groups}
            )
    return pd.DataFrame(lines)[names]


def stands_for(dataset: str, subset: str) -> str:
    """Return what a subset of a data set stands for in RewardBench; "nothing" for one that it does not know."""
    if dataset == "llmbar" and subset in CHAT_OF_LLMBAR:
        return STANDS_FOR["pandalm"]
    return STANDS_FOR.get(dataset, "nothing")


def subset_display(table: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Return one row a subset, with the accuracies of some methods."""
    keys = ["dataset", "subset", "section", "stands_for", "weight", "n_pairs", "n_prompts"]
    first = table.drop_duplicates("subset")[keys].reset_index(drop=True)
    for method in methods:
        own = table[table["method"] == method].set_index("subset")["value"]
        first[method] = first["subset"].map(own).astype(float)
    return first


def difference_table(result: Evaluation | None, references: Sequence[str] = ("micro", "micro_plus")) -> pd.DataFrame:
    """Return the scores of each reference less those of every other method, by section, paired by pair and run.

    Columns: dataset, reference, method, section, difference, low, high, free, p_value, p_holm, n_prompts, n_runs.
    """
    names = ["dataset", "reference", "method", "section", "difference", "low", "high", "free", "p_value", "p_holm"]
    names += ["n_prompts", "n_runs"]
    if result is None:
        return pd.DataFrame(columns=names)
    values, lines = _decided(result), []
    subset, prompt = (result.pairs[c].to_numpy() for c in ("attribute", "prompt_id"))
    for reference in references:
        if reference not in values:
            raise InputError(f"reference {reference!r} was not evaluated; there are {', '.join(values)}")
        for method in values:
            if method == reference:
                continue
            found = section_differences(values[reference], values[method], subset, prompt)
            adjusted = intervals.holm([each.p_value for section, each in found.items() if section != MACRO])
            base = {"dataset": result.world, "reference": reference, "method": method}
            for (section, each), p in zip(found.items(), [*adjusted, found[MACRO].p_value], strict=True):
                lines.append(base | {"section": section} | gap(each, p))
    return pd.DataFrame(lines)[names]


def tables(result: Evaluation | None, bench: Bench | None) -> list[dict[str, Any]]:
    """Return tables 10, 10b and 10c as arguments of `Artifacts.table`; none without a bench."""
    if result is None or bench is None:
        return []
    by_section, by_subset, gaps = section_table(result), subset_table(result, bench), difference_table(result)
    kind = f"open stand-ins for RewardBench ({bench.name})"
    if bench.name == "reward_bench":
        kind = "RewardBench"
    elif bench.name.startswith("synthetic-"):
        kind = f"synthetic subgroups in place of RewardBench's subsets ({bench.name})"
    runs = int(by_section["n_runs"].iloc[0])
    shown = [m for m in ("micro", "micro_plus", "single", "length") if m in result.probability] + list(result.own)
    against = gaps[gaps["method"] == "single"]
    return [
        _entry(
            by_section,
            "10",
            "sections",
            f"Accuracy by section: {kind}, {runs} runs. {COVERED}",
            section_display(by_section),
        ),
        _entry(
            by_subset,
            "10b",
            "subsets",
            f"Accuracy by subset, counts, and what each stands for: {kind}.",
            subset_display(by_subset, shown),
        ),
        _entry(
            gaps,
            "10c",
            "differences",
            f"Score of micro and micro_plus less that of each row, paired by pair (shown: single): {kind}.",
            against.drop(columns=["dataset", "method"]),
        ),
    ]


def _entry(frame: pd.DataFrame, number: str, slug: str, caption: str, display: pd.DataFrame) -> dict[str, Any]:
    return {
        "frame": frame,
        "number": number,
        "slug": slug,
        "caption": caption,
        "display": display,
    }
