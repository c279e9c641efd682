"""What a notebook starts with."""

import logging

import pandas as pd
import pytest

from micro_paper.errors import InputError
from micro_paper.experiments.evaluation import evaluate
from micro_paper.experiments.worlds import names_of
from micro_paper.notebook import Notebook, start

VALUES = {"profile": "smoke", "seed": 3, "n_seeds": 2, "n_folds": 2, "n_bootstrap": 50, "synthetic_prompts": 300}
VALUES |= {"device": "cpu", "heads_rpr": 7, "tau_rpr": 0.5, "train_dtype": "float64", "backbone": "none"}


def test_start_checks_the_parameters():
    namespace = {"__annotations__": {"seed": int}, "seed": 1}
    run = start(namespace)
    assert run.parameters == {"seed": 1}
    with pytest.raises(InputError, match="seed"):
        start({"__annotations__": {"seed": int}, "seed": "one"})


def test_tables_are_shown_whole():
    start({"__annotations__": {"seed": int}, "seed": 1})
    wide = pd.DataFrame({f"column {i}": ["word " * 40] * 70 for i in range(30)})
    assert "..." not in wide.to_html() + repr(wide)


def test_what_takes_long_says_what_it_does(capsys):
    for _ in range(2):  # Run All twice
        start({"__annotations__": {"seed": int}, "seed": 1})
    evaluate(Notebook(VALUES).folds("synthetic-criteria"), ["length"], {}, seeds=[0], budget=None)
    assert capsys.readouterr().out == "synthetic-criteria: 1 row, 2 folds, 1 seed\n"
    logging.getLogger("micro_paper").handlers.clear()


def test_what_the_parameters_give():
    run = Notebook(VALUES)
    assert run.seeds == range(3, 5) and run.interval == {"seed": 3, "n_bootstrap": 50}
    assert run.features is None and run.data == {"features": None, "device": "cpu", "synthetic_prompts": 300}
    assert Notebook(VALUES | {"most_train_pairs": 70}).data["most_train_pairs"] == 70
    settings = run.settings("rpr")
    assert (settings.heads, settings.tau, settings.device) == (7, 0.5, "cpu")
    assert Notebook({"backbone": "smollm2", "layers": 3}).features.layers == 3


def test_folds_and_inputs(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "micro-paper"\n')
    (tmp_path / "notebooks" / "05_stage2.ipynb").write_text('{"cells": [], "metadata": {}}')
    run = Notebook(VALUES)
    folds = run.folds("synthetic-criteria")
    assert [world.fold for world in folds] == [0, 1]
    assert len(run.folds("synthetic-criteria", synthetic_prompts=400)[0].train) > len(folds[0].train)
    out = run.artifacts("05_stage2", {"a": folds, "b": [folds[0]]}, {"file": "0" * 64}, root=tmp_path)
    out.done()
    (line,) = pd.read_json(tmp_path / "build/smoke/manifest/05_stage2.jsonl", lines=True).to_dict("records")
    assert line["hashes"]["inputs"] == names_of([*folds, folds[0]]) | {"file": "0" * 64}
    assert line["parameters"] == {name: value for name, value in VALUES.items() if name != "device"}
    with pytest.raises(InputError, match="worlds must be worlds in lists and dictionaries, got str"):
        run.artifacts("05_stage2", {"a": "synthetic-criteria"}, root=tmp_path)
