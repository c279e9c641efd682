"""Small files in the schemas of the hub's data sets, drawn from a seed: enough rows for splits, budgets and intervals.

A response is a handful of words, one for each quality that it has, so that its features tell what it was written for.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Rows = list[dict[str, Any]]

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
# a category as the hub spells it -> the paper's dimension; None: outside the nine
RPR = {
    "Clarity and Conciseness": "clarity and conciseness",
    "Creativity and Originality": "creativity and originality",
    "Scientific Rigor": "scientific rigor",
    "User-Friendliness": "user-friendliness",
    "Narrative and Storytelling Quality": "narrative and storytelling",
    "Pedagogical Effectiveness": "pedagogical effectiveness",
    "Linguistic Creativity": "linguistic creativity",
    "Factual Accuracy": "factual accuracy",
    "Humor and Entertainment Value": "humor",
    "Cultural Sensitivity": None,
}
WORDS = ("basil", "tides", "haiku", "prime", "moon", "bread", "maps")
PLACES = {
    "helpsteer2": "{split}.jsonl.gz",
    "rpr": "data/{split}-00000-of-00001.parquet",
    "preference_700k": "data/{split}-00000-of-00001.parquet",
    "pku_saferlhf": "data/Alpaca-7B/{split}.jsonl",
    "reward_bench": "data/{split}-00000-of-00001.parquet",
}
MARKS = dict(zip((*HELPSTEER, "safety", *RPR), "hcoxvsCOSUNPLFHZ", strict=True))  # quality -> its letter
SUBSETS = {  # RewardBench's 23 subsets by section
    "chat": ("alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard", "mt-bench-easy", "mt-bench-med"),
    "chat-hard": (
        "mt-bench-hard",
        "llmbar-natural",
        "llmbar-adver-neighbor",
        "llmbar-adver-GPTInst",
        "llmbar-adver-GPTOut",
        "llmbar-adver-manual",
    ),
    "safety": (
        "refusals-dangerous",
        "refusals-offensive",
        "xstest-should-refuse",
        "xstest-should-respond",
        "donotanswer",
    ),
    "reasoning": ("math-prm", "hep-cpp", "hep-go", "hep-java", "hep-js", "hep-python", "hep-rust"),
}


def helpsteer2(rng: np.random.Generator, prompts: range) -> Rows:
    """Two rated responses a prompt; every fourth prompt is a dialogue."""
    found = []
    for i in prompts:
        prompt = f"Question {i}: {WORDS[i % 7]}?"
        if i % 4 == 3:
            prompt += f"\n<extra_id_1>Assistant\nReply {i}\n<extra_id_1>User\nMore?"
        for _ in range(2):
            ratings = {a: int(r) for a, r in zip(HELPSTEER, rng.integers(0, 5, 5), strict=True)}
            found.append({"prompt": prompt, "response": _text(i, ratings), **ratings})
    return found


def rpr(rng: np.random.Generator, ids: range) -> Rows:
    """Two responses a prompt, each best by a criterion of its own; one criterion in twenty is outside the nine."""
    *nine, other = RPR
    found = []
    for i in ids:
        x, y = (nine[k] for k in rng.permutation(9)[:2])
        x = other if i % 10 == 5 else x
        line = {"prompt": f"Request {i}: {WORDS[i % 7]}."}
        line |= {f"response_{side}": _text(i, {c: int(rng.integers(3, 6))}) for side, c in (("a", x), ("b", y))}
        line |= {"criteria_x": f"Prefer {x.lower()}, case {i}.", "criteria_y": f"Prefer {y.lower()}, case {i}."}
        line |= {"category_x": x, "category_y": y, "id": i}
        line |= {f"scenario_{side}": f"Scenario {i}" for side in "xy"}
        found.append(line | {f"profile_{k}": f"Profile {k}" for k in range(5)})
    return found


def preference_700k(rng: np.random.Generator, ids: range) -> Rows:
    """Dialogues that differ in the last answer."""
    found = []
    for i in ids:
        asked = [{"content": f"Task {i}: {WORDS[i % 7]}!", "role": "user"}]
        if i % 4 == 3:
            asked += [{"content": f"Reply {i}", "role": "assistant"}, {"content": "More?", "role": "user"}]
        better, worse = (_text(i, dict.fromkeys(HELPSTEER, int(r))) for r in (rng.integers(2, 4), 1))
        found.append(
            {
                side: [*asked, {"content": t, "role": "assistant"}]
                for side, t in (("chosen", better), ("rejected", worse))
            }
            | {"rejected_score": 0.0, "chosen_score": 1.0}
        )
    return found


def pku_saferlhf(rng: np.random.Generator, ids: range) -> Rows:
    """A safe and an unsafe response a prompt, either of them the more helpful one."""
    found = []
    for i in ids:
        safe, better = (int(k) for k in rng.integers(0, 2, 2))
        line: dict[str, Any] = {"prompt": f"Plea {i}: {WORDS[i % 7]}?"}
        for k in (0, 1):
            line[f"response_{k}"] = _text(i, {"safety": 4 * (k == safe), "helpfulness": 4 * (k == better)})
            line |= {f"is_response_{k}_safe": k == safe, f"response_{k}_severity_level": int(k != safe)}
            line |= {f"response_{k}_source": "ours", f"response_{k}_sha256": f"{k}" * 64}
        found.append(line | {"prompt_source": "ours", "better_response_id": better, "safer_response_id": safe})
    return found


def reward_bench(rng: np.random.Generator) -> Rows:
    """Three to five pairs of each subset, ten of mathematics."""
    names = [s for subsets in SUBSETS.values() for s in subsets]
    counts = {s: 10 if s == "math-prm" else int(rng.integers(3, 6)) for s in names}
    found = []
    for subset, count in counts.items():
        for _ in range(count):
            i = len(found)
            better, worse = (_text(i, dict.fromkeys(("safety", *HELPSTEER[:2]), r)) for r in (2, 1))
            line = {"prompt": f"Trial {i}: {WORDS[i % 7]}?", "chosen": better, "chosen_model": "m1"}
            found.append(line | {"rejected": worse, "rejected_model": "m2", "subset": subset, "id": i})
    return found


def write(folder: Path, seed: int = 3) -> dict[str, dict[str, Rows]]:
    """Write every data set into `folder`, each in a folder of its name; return data set -> split -> rows.

    By the default seed every attribute has validation pairs in folds 0 and 1.
    """
    rngs = iter(np.random.default_rng(seed).spawn(5))
    made: dict[str, dict[str, Rows]] = {}
    for name, make, sizes in (
        ("helpsteer2", helpsteer2, {"train": 80, "validation": 30}),
        ("rpr", rpr, {"train": 130, "test": 36}),
        ("preference_700k", preference_700k, {"train": 60}),
        ("pku_saferlhf", pku_saferlhf, {"train": 60, "test": 20}),
    ):
        rng, starts = next(rngs), np.cumsum([0, *sizes.values()]).tolist()
        made[name] = {
            s: make(rng, range(start, start + n)) for (s, n), start in zip(sizes.items(), starts, strict=False)
        }
    made["reward_bench"] = {"filtered": reward_bench(next(rngs))}
    _share_prompts(made)
    for name, splits in made.items():
        for split, rows in splits.items():
            path = folder / name / PLACES[name].format(split=split)
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".parquet":
                pd.DataFrame(rows).to_parquet(path)
                continue
            content = "".join(json.dumps(row) + "\n" for row in rows).encode()
            path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return made


def _share_prompts(made: dict[str, dict[str, Rows]]) -> None:
    """Let training data sets have prompts that others test on, as texts or as dialogues, as each has its prompts."""
    asked = [row["prompt"] for row in made["rpr"]["test"][:3]]
    made["rpr"]["train"][0]["prompt"] = asked[0]
    for row in made["helpsteer2"]["train"][:2]:  # both responses of its first prompt
        row["prompt"] = asked[1]
    for side in ("chosen", "rejected"):
        made["preference_700k"]["train"][0][side][0]["content"] = asked[2]
    bench = made["reward_bench"]["filtered"]
    bench[0]["prompt"] = made["helpsteer2"]["train"][4]["prompt"]
    bench[-1]["prompt"] = made["pku_saferlhf"]["train"][0]["prompt"]


def _text(i: int, levels: dict[str, int]) -> str:
    """A text whose words say how much it has of each quality."""
    return f"{i % 10} " + " ".join(MARKS[q] * (2 * n) for q, n in levels.items() if n)
