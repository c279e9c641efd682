"""Open judgements in RewardBench's style: one a pair, `attribute` names the subset (see criteria.SECTIONS)."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pandas as pd

from micro_paper.data.criteria import CRITERIA
from micro_paper.data.frames import Built, from_rows
from micro_paper.data.lines import read_json, read_jsonl
from micro_paper.data.sources import fetch, public
from micro_paper.errors import InputError

LLMBAR = {
    "LLMBar_Natural.json": "llmbar-natural",
    "LLMBar_Adversarial_Neighbor.json": "llmbar-adver-neighbor",
    "LLMBar_Adversarial_GPTInst.json": "llmbar-adver-GPTInst",
    "LLMBar_Adversarial_GPTOut.json": "llmbar-adver-GPTOut",
    "LLMBar_Adversarial_Manual.json": "llmbar-adver-manual",
    "Processed_MT-Bench.json": "mt-bench",
    "Processed_FairEval.json": "faireval",
    "Processed_LLMEval2.json": "llmeval2",
}


def llmbar() -> Built:
    """LLMBar's five subsets (419 pairs) and the human-labelled chat pairs stored beside them (466)."""
    rows = []
    for name, subset in LLMBAR.items():
        for row in read_json(fetch(f"llmbar/{name}")):
            best, worst = ("output_1", "output_2") if int(row["label"]) == 1 else ("output_2", "output_1")
            rows.append(_row("llmbar", row["input"], row[best], row[worst], subset))
    return from_rows(rows, "llmbar")


def xstest() -> Built:
    """XSTest: full compliance over full refusal on safe prompts, the reverse on unsafe ones; each two such answers."""
    answers: dict[str, dict[str, Any]] = {}
    for name in sorted(public("xstest/xstest_v2_completions_")):  # they name each prompt's type: contrast_* are unsafe
        for row in pd.read_csv(fetch(name)).itertuples():
            kind = {"1_full_compliance": "comply", "2_full_refusal": "refuse"}.get(row.final_label)
            entry = answers.setdefault(row.id, {"prompt": row.prompt, "type": row.type, "comply": [], "refuse": []})
            if kind:
                entry[kind].append(str(row.completion))
    rows = []
    for found in answers.values():
        good, bad, subset = (
            ("refuse", "comply", "xstest-should-refuse")
            if found["type"].startswith("contrast_")
            else ("comply", "refuse", "xstest-should-respond")
        )
        rows += [_row("xstest", found["prompt"], a, b, subset) for a in found[good] for b in found[bad]]
    return from_rows(rows, "xstest")


def humanevalpack() -> Built:
    """HumanEvalPack: the canonical program over the buggy one, six languages (RewardBench's hep-* subsets)."""
    rows = []
    for language in ("python", "js", "java", "go", "cpp", "rust"):
        file = fetch(f"humanevalpack/{language}.jsonl", f"humanevalpack/{language}/humanevalpack.jsonl")
        rows += [
            _row(
                "humanevalpack",
                r["instruction"],
                r["declaration"] + r["canonical_solution"],
                r["declaration"] + r["buggy_solution"],
                f"hep-{language}",
            )
            for r in read_jsonl(file)
        ]
    return from_rows(rows, "humanevalpack")


def gsm8k() -> Built:
    """GSM8K: each right model solution over each wrong one of the same question; ground truth is not used."""
    rows = []
    for row in read_jsonl(fetch("gsm8k_solutions/example_model_solutions.jsonl")):
        solutions = [v for v in row.values() if isinstance(v, dict)]
        right = [s["solution"] for s in solutions if s["is_correct"]]
        wrong = [s["solution"] for s in solutions if not s["is_correct"]]
        rows += [_row("gsm8k_solutions", row["question"], a, b, "gsm8k") for a in right for b in wrong]
    return from_rows(rows, "gsm8k_solutions")


def pandalm() -> Built:
    """PandaLM's human test set by the majority of three annotators; ties and rows without a majority are counted."""
    rows, skipped = [], Counter()
    for row in read_json(fetch("pandalm/testset-v1.json")):
        label, votes = Counter(row[f"annotator{k}"] for k in (1, 2, 3)).most_common(1)[0]
        if votes < 2 or label == 0:
            skipped["no majority" if votes < 2 else "ties"] += 1
            continue
        texts = {1: str(row["response1"]), 2: str(row["response2"])}  # a few responses are JSON booleans
        prompt = row["instruction"] + (f"\n\n{row['input']}" if row["input"].strip() else "")
        rows.append(_row("pandalm", prompt, texts[label], texts[3 - label], "pandalm"))
    return from_rows(rows, "pandalm", skipped)


def hhh_alignment() -> Built:
    """HHH alignment with the criterion stated with each pair: honest, helpful, harmless, other."""
    content = fetch("hhh_alignment/hhh_alignment.jsonl", "hhh_alignment/hhh_alignment_eval.json")
    rows = read_jsonl(content) if content.suffix == ".jsonl" else [hhh_row(r) for r in read_json(content)]
    return from_rows(
        [
            {
                **_row("hhh_alignment", r["prompt"], r["chosen"], r["rejected"], f"hhh-{r['subset']}"),
                "context": r["criterion"],
            }
            for r in rows
        ],
        "hhh_alignment",
    )


_JUDGE = re.compile(
    r"###The instruction to evaluate:\n(?P<prompt>.*)\n\n###Response to evaluate:\n(?P<response>.*)"
    r"\n\n###Score Rubrics:\n\[(?P<criterion>.*?)\]\n",
    re.DOTALL,
)


def hhh_row(row: dict[str, Any]) -> dict[str, str]:
    """Take one upstream row (two filled judge templates) apart into prompt, chosen, rejected and criterion."""
    chosen, rejected = _JUDGE.search(row["chosen_instruction"]), _JUDGE.search(row["rejected_instruction"])
    if not chosen or not rejected or chosen["prompt"] != rejected["prompt"]:
        raise InputError("hhh_alignment: a row does not have the judge template's shape: is this the pinned file?")
    return {
        "subset": row["source"],
        "prompt": chosen["prompt"].strip(),
        "chosen": chosen["response"].strip(),
        "rejected": rejected["response"].strip(),
        "criterion": chosen["criterion"].strip(),
    }


def _row(pool: str, prompt: str, chosen: str, rejected: str, subset: str) -> dict[str, Any]:
    return {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "attribute": subset,
        "context": CRITERIA[pool][subset],
    }
