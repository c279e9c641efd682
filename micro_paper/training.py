"""One minibatch loop for every trained method: AdamW, warm-up, cosine, early stopping; and the device it runs on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from micro_paper.errors import InputError, suggest


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and the likely cause."""


def resolve_device(device: str = "auto") -> torch.device:
    """Return the torch device of that name.

    Args:
        device: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda", or "cuda:N" of several.

    Raises:
        InputError: another name, or CUDA where torch finds none; says which to use.
    """
    known = ("auto", "cpu", "cuda")
    name, _, number = str(device).partition(":")
    if device not in known and not (name == "cuda" and number.isdecimal()):
        raise InputError(f"device must be one of {', '.join(known)}, got {device!r}.{suggest(str(device), known)}")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif name == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device is {device!r}, but torch finds no CUDA here: use auto, cpu or a CUDA build")
    elif number and int(number) >= (count := torch.cuda.device_count()):
        raise InputError(f"device is {device!r}, but there are {count}: use cuda:0 to cuda:{count - 1}")
    return torch.device(device)


@dataclass(frozen=True)
class Schedule:
    """How to optimise.

    Attributes:
        learning_rate: peak of AdamW's step size.
        batch_size: pairs a step.
        epochs: passes over the pairs, at most; not read where `steps` is given.
        steps: minibatches in all, whatever the number of pairs: passes follow one another and the last is cut short.
            0 = those of `epochs` passes.
        warmup_ratio: share of all steps with a linearly rising step size.
        decay: "cosine" to zero after the warm-up, or "constant".
        weight_decay: AdamW's decoupled decay.
    """

    learning_rate: float = 2e-3
    batch_size: int = 32
    epochs: int = 1
    warmup_ratio: float = 0.05
    decay: str = "cosine"
    weight_decay: float = 0.01
    steps: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "batch_size", "epochs"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be > 0, got {getattr(self, name)}")
        if self.steps < 0:
            raise InputError(f"steps must be >= 0 (0: those of the epochs), got {self.steps}")
        if not 0 <= self.warmup_ratio <= 1:
            raise InputError(f"warmup_ratio must lie in [0, 1], got {self.warmup_ratio}")
        if self.decay not in ("cosine", "constant"):
            raise InputError(f"decay must be 'cosine' or 'constant', got {self.decay!r}")

    def per_epoch(self, n: int) -> int:
        """Return the steps of a whole pass over n pairs."""
        return math.ceil(n / self.batch_size)

    def total(self, n: int) -> int:
        """Return the number of all steps over n pairs."""
        return self.steps or self.per_epoch(n) * self.epochs

    def factor(self, step: int, steps: int) -> float:
        """Return the share of the peak step size at `step` = 0 .. steps - 1."""
        warmup = math.ceil(self.warmup_ratio * steps)
        if step < warmup:
            return (step + 1) / warmup
        if self.decay == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@dataclass
class History:
    """What training saw: mean training loss and validation loss (nats) an epoch, and the epoch that was kept."""

    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int = -1


class Watch:
    """Looks at one training after each epoch and keeps the parameters of the smallest validation loss.

    Args:
        modules: in training.
        validate: validation loss of their current parameters; None = the last epoch is kept.
        patience: epochs in a row without a new smallest validation loss that end the training; 0 = never.
    """

    def __init__(self, modules: nn.Module, validate: Callable[[], float] | None, patience: int) -> None:
        self.modules, self.validate, self.patience = modules, validate, patience
        self.history = History()
        self._best: dict[str, Tensor] | None = None

    def goes_on(self, loss: float) -> bool:
        """Take in an epoch that ended with this mean training loss, and return whether another may follow.

        Raises:
            TrainingError: the validation loss is not finite.
        """
        history = self.history
        epoch = len(history.train)
        history.train.append(loss)
        if self.validate is None:
            return True
        with torch.no_grad():
            history.validation.append(float(self.validate()))
        if not math.isfinite(history.validation[-1]):
            raise TrainingError(
                f"the validation loss is {history.validation[-1]} after epoch {epoch}: likely a non-finite "
                "feature in the validation split; check the feature store"
            )
        if history.validation[-1] <= min(history.validation):
            history.best_epoch = epoch
            self._best = {name: value.clone() for name, value in self.modules.state_dict().items()}
            return True
        return not self.patience or epoch - history.best_epoch < self.patience

    def end(self) -> History:
        """Put the kept parameters back."""
        if self._best is not None:
            self.modules.load_state_dict(self._best)
        return self.history


def check_loss(value: float, epoch: int, batch: int, rows: Tensor, n: int, schedule: Schedule) -> None:
    """Raise a TrainingError if the loss of a minibatch of the n pairs is not finite."""
    if not math.isfinite(value):
        step = epoch * schedule.per_epoch(n) + batch
        raise TrainingError(
            f"the loss is {value} at step {step} (epoch {epoch}, batch {batch}, pairs "
            f"{rows[:8].tolist()}...): likely a non-finite feature or a step size too large "
            f"(learning_rate {schedule.learning_rate}); check the feature store, then lower learning_rate"
        )


def train(
    modules: nn.Module,
    loss: Callable[[Tensor], Tensor],
    n: int,
    schedule: Schedule,
    generator: torch.Generator,
    *,
    validate: Callable[[], float] | None = None,
    patience: int = 0,
    on_epoch: Callable[[int], None] | None = None,
    on_batch: Callable[[Tensor], None] | None = None,
) -> History:
    """Minimise loss(rows) over minibatches of the n pairs, in place.

    Where `validate` is given the parameters of the epoch with the smallest validation loss are kept; validation is
    the only data that this choice sees.

    Args:
        modules: holds the parameters; those with requires_grad are trained.
        loss: rows of a minibatch (LongTensor) -> scalar.
        n: number of pairs.
        generator: order of the minibatches (on the CPU).
        validate: validation loss of the current parameters.
        patience: stop after so many epochs in a row without a new smallest validation loss; 0 = never.
        on_epoch, on_batch: called before each epoch (with its number) and each batch (with its rows).

    Raises:
        TrainingError: a loss is not finite; names the step, the batch and the likely cause.
        InputError: n < 1.
    """
    if n < 1:
        raise InputError("there are no training pairs: check the data set's filters and the split")
    parameters = [p for p in modules.parameters() if p.requires_grad]
    watch = Watch(modules, validate, patience)
    if not parameters:
        return watch.history
    device = parameters[0].device
    steps, per_epoch = schedule.total(n), schedule.per_epoch(n)
    optimiser = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: schedule.factor(step, steps))
    for epoch in range(math.ceil(steps / per_epoch)):
        if on_epoch:
            on_epoch(epoch)
        order = torch.randperm(n, generator=generator).to(device)
        total = torch.zeros((), dtype=torch.float64, device=device)
        batches = order.split(schedule.batch_size)[: steps - epoch * per_epoch]
        for i, rows in enumerate(batches):
            if on_batch:
                on_batch(rows)
            value = loss(rows)
            check_loss(value.item(), epoch, i, rows, n, schedule)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            optimiser.step()
            scheduler.step()
            total += value.detach() * len(rows)
        if not watch.goes_on(total.item() / sum(map(len, batches))):
            break
    return watch.end()
