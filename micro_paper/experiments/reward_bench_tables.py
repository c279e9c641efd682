"""Table 10 laid out: sections, subsets, differences, and the evidence on the paper's claims C39 and C40."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from micro_paper import intervals, metrics
from micro_paper.errors import InputError
from micro_paper.experiments import reward_bench
from micro_paper.experiments.bench_runs import Bench
from micro_paper.experiments.evaluation import Evaluation
from micro_paper.metrics import MACRO
from micro_paper.paper import values as paper_values

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


def _decided(result: Evaluation) -> dict[str, np.ndarray]:
    return {m: metrics.correct_by_run(p).mean(axis=1) for m, p in result.probability.items()}


def section_table(result: Evaluation | None, *, seed: int, n_bootstrap: int) -> pd.DataFrame:
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
    for method, values in _decided(result).items():
        table = reward_bench.section_scores(
            values,
            result.pairs["attribute"].to_numpy(),
            result.pairs["prompt_id"].to_numpy(),
            rng=np.random.default_rng(seed),
            n=n_bootstrap,
        )
        base = {"dataset": result.world, "method": method, "supervision": result.supervision[method]}
        base["n_runs"] = result.probability[method].shape[1]
        for line in table.to_dict("records"):
            paper = printed.get((PAPER_ROWS.get(method), line["section"]), float("nan"))
            known = line["section"] != MACRO or set(table["section"]) == {*reward_bench.ORDER, MACRO}
            lines.append(base | line | {"paper": paper if known else float("nan")})
    return pd.DataFrame(lines)[names]


def section_display(table: pd.DataFrame) -> pd.DataFrame:
    """Return table 10 as it is shown: a row a method and its printed row below, a column a section."""
    if not len(table):
        return table
    rows = []
    for method, part in table.groupby("method", sort=False):
        cells = {r.section: f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in part.itertuples()}
        rows.append({"method": method, "source": "ours"} | cells)
        if part["paper"].notna().any():
            printed = {r.section: f"{r.paper:.3f}" for r in part.itertuples()}
            rows.append({"method": PAPER_ROWS[method], "source": "paper"} | printed)
    return pd.DataFrame(rows)


def subset_table(result: Evaluation | None, bench: Bench | None, *, seed: int, n_bootstrap: int) -> pd.DataFrame:
    """Return accuracies by subset, with counts and what stands in for what.

    Columns: dataset, subset, section, stands_for, weight, n_pairs, n_prompts, method, value, low, high.
    """
    names = ["dataset", "subset", "section", "stands_for", "weight", "n_pairs", "n_prompts", "method"]
    names += ["value", "low", "high"]
    if result is None or bench is None:
        return pd.DataFrame(columns=names)
    subset, prompt = (result.pairs[c].to_numpy() for c in ("attribute", "prompt_id"))
    lines = []
    for method, values in _decided(result).items():
        rng = np.random.default_rng(seed)
        for row in reward_bench.subset_weights(subset).to_dict("records"):
            own = subset == row["subset"]
            interval = intervals.bootstrap(values[own], prompt[own], rng=rng, n=n_bootstrap)
            dataset = bench.dataset[row["subset"]]
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


def difference_table(
    result: Evaluation | None, references: Sequence[str] = ("micro", "micro_plus"), *, seed: int, n_bootstrap: int
) -> pd.DataFrame:
    """Return the scores of each reference less those of every other method, by section, paired by prompt.

    Columns: dataset, reference, method, section, difference, low, high, p_value, p_holm.
    """
    names = ["dataset", "reference", "method", "section", "difference", "low", "high", "p_value", "p_holm"]
    if result is None:
        return pd.DataFrame(columns=names)
    values, tables = _decided(result), []
    subset, prompt = (result.pairs[c].to_numpy() for c in ("attribute", "prompt_id"))
    for reference in references:
        if reference not in values:
            raise InputError(f"reference {reference!r} was not evaluated; there are {', '.join(values)}")
        for method in values:
            if method == reference:
                continue
            table = reward_bench.section_differences(
                values[reference], values[method], subset, prompt, rng=np.random.default_rng(seed), n=n_bootstrap
            )
            p = table["p_value"].to_numpy()
            adjusted = [*intervals.holm(p[:-1]), p[-1]]
            tables.append(
                table.assign(dataset=result.world, reference=reference, method=method, p_holm=adjusted)[names]
            )
    return pd.concat(tables, ignore_index=True)


def tables(result: Evaluation | None, bench: Bench | None, *, seed: int, n_bootstrap: int) -> list[dict[str, Any]]:
    """Return tables 10, 10b and 10c as arguments of `Artifacts.table`; none without a bench."""
    if result is None or bench is None:
        return []
    stats = {"seed": seed, "n_bootstrap": n_bootstrap}
    by_section, by_subset = section_table(result, **stats), subset_table(result, bench, **stats)
    gaps = difference_table(result, **stats)
    kind = f"open stand-ins for RewardBench ({bench.name})"
    if bench.name == "reward_bench":
        kind = "RewardBench"
    elif bench.name.startswith("synthetic-"):
        kind = f"synthetic subgroups in place of RewardBench's subsets ({bench.name})"
    runs = int(by_section["n_runs"].iloc[0])
    shown = [m for m in ("micro", "micro_plus", "single", "length") if m in result.probability]
    against = gaps[gaps["method"] == "single"]
    return [
        _entry(by_section, "10", "sections", f"Accuracy by section: {kind}, {runs} runs.", section_display(by_section)),
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
            f"Score of micro and micro_plus less that of each row, paired by prompt (shown: single): {kind}.",
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
