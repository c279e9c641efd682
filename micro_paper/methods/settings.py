"""Every choice of the two stages, with the paper's value as the default where the paper states one."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from micro_paper.errors import InputError, shown, suggest
from micro_paper.router import Stage2
from micro_paper.training import Schedule, resolve_device

PREDICTIONS = ("probability", "reward", "log_sigmoid")
TAU_GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
CONVERGED_EPOCHS, CONVERGED_PATIENCE = 50, 3
ROUTER_INPUTS = ("context", "criterion")
_KINDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}


@dataclass(frozen=True)
class Settings:
    """Settings of the two-stage method; the baselines read the fields that concern them.

    Attributes:
        heads: K (paper: 10 on RPR, 5 on HelpSteer2).
        alpha: weight of the uniformity penalty, Eq. 4.
        learning_rate, batch_size, warmup_ratio, weight_decay: stage 1 (AdamW, cosine).
        steps: of stage 1, whatever the number of pairs; all are taken, and validation pairs choose none of them. Rows
            of equal `steps` are matched. 0 = `epochs` passes over the pairs.
        epochs, early_stopping: without `steps`: passes, and whether to keep the one of the smallest validation NLL.
        patience: with early stopping, end after so many epochs without a smaller validation NLL; 0 = run all.
        router_hidden: units of the router's hidden layer; 0 = linear (released code).
        standardize: scale features by their spread over the training texts.
        head_scale: "raw", or "unit": after stage 1 each head has root-mean-square margin 1 on the training pairs.
        prediction: "probability" sum_k f_k sigmoid(D_k) (the paper's model); "reward" sigmoid(sum_k f_k D_k);
            "log_sigmoid" sigmoid of the difference of sum_k f_k log sigmoid(r_k) (the released code).
        tau: temperature of Eq. 5; 0 means chosen on validation pairs from 1e-4 .. 1.
        prior, refresh, objective: see `router.Stage2`.
        stage2_learning_rate, stage2_batch_size, stage2_epochs: Algorithm 1.
        router_input: what the router reads in stage 2: "context" u(x, c) (the paper), or "criterion" u(c), the
            criterion by itself.
        stage1_context: the router reads the same in stage 1, where every training pair then states its context.
        context_scaling: scale u(x, c) by the spread of "prompt" features, or by its "own" over the pairs that the
            router first reads it on. u(c) always has its own.
        temperature: predictions become sigmoid(logit(p) / temperature); 1 leaves them as they are.
        dtype: "float32" or "float64".
        device: where heads and routers are trained and read, see `training.resolve_device`.
    """

    heads: int = 10
    alpha: float = 0.5
    learning_rate: float = 2e-3
    batch_size: int = 32
    steps: int = 0
    epochs: int = 1
    warmup_ratio: float = 0.05
    weight_decay: float = 0.01
    early_stopping: bool = True
    patience: int = 1
    router_hidden: int = 128
    standardize: bool = True
    head_scale: str = "raw"
    prediction: str = "probability"
    tau: float = 1e-3
    prior: str = "current"
    refresh: str = "epoch"
    objective: str = "hedge"
    stage2_learning_rate: float = 1e-3
    stage2_batch_size: int = 32
    stage2_epochs: int = 10
    router_input: str = "context"
    stage1_context: bool = False
    context_scaling: str = "prompt"
    temperature: float = 1.0
    dtype: str = "float32"
    device: str = "cpu"

    def __post_init__(self) -> None:
        for column in fields(self):
            name, value, kind = column.name, getattr(self, column.name), type(column.default)
            if isinstance(value, np.generic):
                value = value.item()
                object.__setattr__(self, name, value)
            # No float holds a whole number above the largest, and NaN compares with none.
            number = kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max
            if not number and (kind is float or type(value) is not kind):
                raise InputError(f"{name} must be {_KINDS[kind]}, got {shown(value)}")
        least = dict.fromkeys(("steps", "router_hidden", "patience", "alpha", "weight_decay"), 0) | {"heads": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise InputError(f"{name} must be >= {bound}, got {shown(getattr(self, name))}")
        if not self.temperature > 0:
            raise InputError(f"temperature must be > 0, got {self.temperature}")
        choices = {
            "head_scale": ("raw", "unit"),
            "prediction": PREDICTIONS,
            "router_input": ROUTER_INPUTS,
            "context_scaling": ("prompt", "own"),
            "dtype": ("float32", "float64"),
        }
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {shown(value)}")
        self.stage1_schedule(), self.stage2(), resolve_device(self.device)  # their own checks

    @classmethod
    def of(cls, settings: Settings | Mapping[str, Any] | None) -> Settings:
        """Return `settings` as Settings; a mapping may name any field and nothing else."""
        if settings is None:
            return cls()
        if isinstance(settings, cls):
            return settings
        known = [f.name for f in fields(cls)]
        for name in settings:
            if name not in known:
                raise InputError(f"unknown setting {name!r}.{suggest(name, known)}")
        return cls(**settings)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any], like: str) -> Settings:
        """Return the settings that a notebook's parameters state.

        Args:
            parameters: as `check_parameters` returns them; `heads_LIKE`, `steps_LIKE`, `tau_LIKE` are of the data set.
            like: "helpsteer" or "rpr", the data set of the paper whose settings count.
        """
        renamed = {name: f"{name}_{like}" for name in ("heads", "steps", "tau")} | {"dtype": "train_dtype"}
        names = {f.name: renamed.get(f.name, f.name) for f in fields(cls)}
        return cls(**{name: parameters[theirs] for name, theirs in names.items() if theirs in parameters})

    def stage1_schedule(self) -> Schedule:
        """Return the optimiser schedule of stage 1."""
        return Schedule(
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            epochs=self.epochs,
            steps=self.steps,
            warmup_ratio=self.warmup_ratio,
            weight_decay=self.weight_decay,
        )

    @property
    def stops_early(self) -> bool:
        """Whether validation pairs end stage 1 and choose its epoch."""
        return self.early_stopping and not self.steps

    def converged(self) -> Settings:
        """Return the settings under which stage 1 runs until validation pairs no longer improve."""
        epochs, patience = max(CONVERGED_EPOCHS, self.epochs), max(CONVERGED_PATIENCE, self.patience)
        return replace(self, steps=0, epochs=epochs, early_stopping=True, patience=patience)

    def stage2(self, tau: float | None = None) -> Stage2:
        """Return Algorithm 1's settings at the temperature that was chosen; None = the settings' own, 1 if open."""
        schedule = Schedule(
            learning_rate=self.stage2_learning_rate,
            batch_size=self.stage2_batch_size,
            epochs=self.stage2_epochs,
            warmup_ratio=0.0,
            decay="constant",
            weight_decay=self.weight_decay,
        )
        tau = tau or self.tau or 1.0  # one is needed where none is read: Eq. 2 has no tau
        return Stage2(tau=tau, prior=self.prior, refresh=self.refresh, objective=self.objective, schedule=schedule)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The torch dtype of features and parameters."""
        return getattr(torch, self.dtype)

    @property
    def torch_device(self) -> torch.device:
        """The device to train on."""
        return resolve_device(self.device)
