"""The paper profile from the hub's files to the verdicts, on tiny random Llamas and small files in the hub's schemas.

Nothing is asked of the network: the data lie in a folder under MICRO_PAPER_DATA, the backbones in a hub cache under
the very ids of the profile, so that the profile changes in size alone.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from micro_paper.data.criteria import CRITERIA, SECTIONS

ROOT = Path(__file__).resolve().parent.parent
PROFILE = yaml.safe_load((ROOT / "profiles" / "paper.yaml").read_text(encoding="utf-8"))
SIZES = {
    "n_seeds": 2,
    "n_folds": 2,
    "budget": 4,
    "budgets": "0 2 4",
    "budgets_by_attribute": "2 4",
    "few_shot": 2,
    "resamples": 2,
    "heads_grid": "1 2",
    "heads_rpr": 3,
    "heads_helpsteer": 2,
    "alphas": "0 0.5",
    "taus": "0.001 1",
    "n_bootstrap": 100,
    "max_pairs": 200,
    "repeats": 2,
}
NOTEBOOKS = ("06", "05", "08", "04", "09", "07", "03", "02", "01")  # the longest first
Rows = list[dict[str, Any]]

# One ending a style: what a random model can tell apart.
ENDINGS = ("mmmm", "!!!!", "0123", "aeio", "####", "zzzz", "....", "QQQQ", "~~~~")
HELPSTEER_STYLES = (  # helpfulness, correctness, coherence, complexity, verbosity
    (4, 4, 3, 1, 0),
    (3, 2, 4, 2, 2),
    (1, 3, 2, 4, 3),
    (2, 1, 1, 3, 4),
)


def say(style: int, about: str) -> str:
    return f"{about}: {ENDINGS[style]} {ENDINGS[style]}"


def helpsteer2() -> dict[str, Rows]:
    """Two responses of different styles a prompt, as in the hub's file; one prompt is a dialogue."""

    def rows(numbers: range) -> Rows:
        out = []
        for i in numbers:
            prompt = f"How do I repot plant {i}?"
            if i % 5 == 0:
                prompt = f"Hello {i}<extra_id_1>Assistant\nHi.\n<extra_id_1>User\n{prompt}"
            pair = (i % 4, (i + 1 + i // 4 % 3) % 4)
            for style in pair:
                given = HELPSTEER_STYLES[style if i % 7 else pair[pair[0] == style]]  # raters err
                names = CRITERIA["helpsteer2"]
                out.append({"prompt": prompt, "response": say(style, f"Plant {i}")} | dict(zip(names, given, strict=True)))
        return out

    return {"train": rows(range(36)), "validation": rows(range(100, 112))}


def rpr() -> dict[str, Rows]:
    """Nine responses a prompt, one for each dimension, and each against the next."""
    names = [name.title() for name in CRITERIA["rpr"]]
    numbers = count()

    def rows(prompts: range) -> Rows:
        out = []
        for i in prompts:
            for a in range(9):
                b = (a + 1) % 9
                styles = (a, b) if (i + a) % 8 else (b, a)
                row = {"prompt": f"Explain tide {i}.", "criteria_x": f"Prefer {names[a]}.", "category_x": names[a]}
                row |= {"criteria_y": f"Prefer {names[b]}.", "category_y": names[b] if a else "Cultural Sensitivity"}
                row |= {f"response_{side}": say(s, f"Tide {i}") for side, s in zip("ab", styles, strict=True)}
                row |= {"id": next(numbers), "scenario_x": "A pupil revises.", "scenario_y": "A child goes to bed."}
                out.append(row | {f"profile_{k}": f"Profile {k}" for k in range(5)})
        return out

    return {"train": rows(range(20)), "test": rows(range(100, 106))}


def preference_700k() -> dict[str, Rows]:
    def message(role: str, content: str) -> dict[str, str]:
        return {"content": content, "role": role}

    out = []
    for i in range(40):
        before = [message("user", f"Add {i} and 1.")]
        if i % 4 == 0:
            before += [message("assistant", "Why?"), message("user", "To know.")]
        good, bad = (3, 5) if i % 6 else (5, 3)
        sides = {
            side: [*before, message("assistant", say(s, f"Sum {i}"))] for side, s in (("chosen", good), ("rejected", bad))
        }
        out.append(sides | {"rejected_score": 1.0, "chosen_score": 2.0})
    return {"train": out}


def pku_saferlhf() -> dict[str, Rows]:
    def rows(numbers: range) -> Rows:
        out = []
        for i in numbers:
            safe, better = i % 2, (i // 2) % 2
            texts = [say(2 if side == safe else 6, f"Mushroom {i}") for side in (0, 1)]
            row = {"prompt": f"Is mushroom {i} good to eat?", "prompt_source": "ours"}
            for side in (0, 1):
                row |= {f"response_{side}": texts[side], f"response_{side}_source": "ours"}
                row |= {f"is_response_{side}_safe": side == safe, f"response_{side}_severity_level": int(side != safe)}
                row |= {f"response_{side}_sha256": str(side) * 64}
            out.append(row | {"better_response_id": better, "safer_response_id": safe if i % 9 else 1 - safe})
        return out

    return {"train": rows(range(40)), "test": rows(range(100, 112))}


def reward_bench() -> dict[str, Rows]:
    """Every subset of RewardBench, of 2 to 4 pairs."""
    out = []
    for k, subset in enumerate(CRITERIA["reward_bench"]):
        for j in range(2 + k % 3):
            good, bad = (k % 9, (k + 1 + j) % 9)
            row = {"prompt": f"Task {j} of {subset}", "subset": subset, "id": len(out)}
            row |= {"chosen": say(good, f"Answer {j}"), "chosen_model": "ours"}
            out.append(row | {"rejected": say(bad, f"Answer {j}"), "rejected_model": "ours"})
    return {"filtered": out}


def write_mirror(folder: Path) -> None:
    """Write each data set as the hub has it: JSON lines, packed or not, or parquet."""
    for name, made in {
        "helpsteer2": helpsteer2(),
        "rpr": rpr(),
        "preference_700k": preference_700k(),
        "pku_saferlhf": pku_saferlhf(),
        "reward_bench": reward_bench(),
    }.items():
        for split, rows in made.items():
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            place = {"helpsteer2": "", "pku_saferlhf": "data/Alpaca-7B/"}.get(name, "data/")
            path = folder / name / place / split
            path.parent.mkdir(parents=True, exist_ok=True)
            if name == "helpsteer2":
                path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(lines.encode()))
            elif name == "pku_saferlhf":
                path.with_suffix(".jsonl").write_text(lines, encoding="utf-8")
            else:
                pd.DataFrame(rows).to_parquet(path.with_name(f"{split}-00000-of-00001.parquet"))


def write_backbone(hub: Path, name: str, layers: int) -> None:
    """Put a random Llama reward model into a hub cache, under its id."""
    import torch
    import transformers as hf
    from tiny_models import config, tokenizer

    revision = f"{layers:040x}"
    place = hub / f"models--{name.replace('/', '--')}"
    with torch.random.fork_rng():
        torch.manual_seed(layers)
        model = hf.AutoModelForSequenceClassification.from_config(
            config("llama", num_hidden_layers=layers, num_labels=1)
        )
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(place / "snapshots" / revision)
    tokenizer().save_pretrained(place / "snapshots" / revision)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(revision)


def environment(base: Path) -> dict[str, str]:
    own = {"MICRO_PAPER_DATA": base / "mirror", "MICRO_PAPER_CACHE": base / "cache", "HF_HUB_CACHE": base / "hub"}
    own |= {"HF_HOME": base / "hf", "HF_HUB_OFFLINE": 1, "HF_DATASETS_OFFLINE": 1, "OMP_NUM_THREADS": 1}
    return os.environ | {name: str(value) for name, value in own.items()} | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the profile was extracted and its notebooks run; returns its build folder."""
    base = tmp_path_factory.mktemp("paper")
    root = base / "checkout"
    root.mkdir()
    (root / "micro_paper").symlink_to(ROOT / "micro_paper")
    for folder in ("profiles", "notebooks"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    write_mirror(base / "mirror")
    write_backbone(base / "hub", PROFILE["backbone"], layers=2)
    write_backbone(base / "hub", PROFILE["deeper_backbone"], layers=3)
    env = environment(base)

    def command(*arguments: str) -> None:
        line = [sys.executable, "-m", "micro_paper", *arguments, "--profile", "paper"]
        done = subprocess.run(line, cwd=root, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"

    def run(number: str) -> None:
        (path,) = (root / "notebooks").glob(f"{number}_*.ipynb")
        declared = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][1]["source"])
        sizes = [("-p", name, str(value)) for name, value in SIZES.items() if f"\n{name}:" in declared]
        command("run", number, *(text for size in sizes for text in size))

    command("extract")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, NOTEBOOKS))
    run("11")
    return root / "build" / "paper"
