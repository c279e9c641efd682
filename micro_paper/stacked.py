"""Many small trainings in one computation: heads and weights of stage 1, routers of stage 2.

Every training keeps its own initial values, order of minibatches, step sizes and early stopping, so it ends where
`training.train` on the same loss would end. Parameters of one kind are stacked, (R, ...), and the trainings take
their steps together; a training with fewer heads than others is padded with heads of weight zero.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from micro_paper.bradley_terry import log_preference
from micro_paper.mixture import Heads, StaticWeights, stage1_loss
from micro_paper.router import Router, Stage2, adapt_router, hedge_targets
from micro_paper.training import History, Schedule, Watch, check_loss, train

# A rounding error grows while a router is trained: in float32, one in the last place of the first heads turned a ninth
# of a run's decisions. Stacked sums round otherwise, so in float32 each training is taken alone, as ever.
STACKED = (torch.float64,)
NUMBERS = 2**21  # parameters trained together on a CPU; of more, gradients and moments leave its caches


@dataclass(frozen=True)
class Job:
    """One training of n pairs: Eq. 4 of stage 1, or Algorithm 1 where `stage2` is given.

    Attributes:
        weights: mixture weights, trained in place where they have something to train.
        read: table (p, q) that the weights read, and each pair's row of it, (n,).
        schedule, generator: optimiser and order of the minibatches, as `training.train` takes them.
        heads, pairs: of stage 1: heads, trained in place where they have something to train; and what they read, a
            feature table (m, d) and the rows of the chosen and of the rejected responses, (n,).
        margins: of stage 2, whose heads stay: (n, K).
        alpha: weight of the uniformity penalty, Eq. 4.
        stage2: Algorithm 1's settings, with `schedule` as its own.
        before: (n, K) log weights of the stage-1 router, the prior of `stage2` "stage1".
        validate, patience: as `training.train` takes them.
    """

    weights: nn.Module
    read: tuple[Tensor, Tensor]
    schedule: Schedule
    generator: torch.Generator
    heads: Heads | None = None
    pairs: tuple[Tensor, Tensor, Tensor] | None = None
    margins: Tensor | None = None
    alpha: float = 0.0
    stage2: Stage2 | None = None
    before: Tensor | None = None
    validate: Callable[[], float] | None = None
    patience: int = 0

    def __len__(self) -> int:
        return len(self.read[1])

    @property
    def per_epoch(self) -> int:
        """Steps an epoch."""
        return self.schedule.per_epoch(len(self))

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.schedule.total(len(self))

    @property
    def rates(self) -> tuple[float, float]:
        """Step size and weight decay."""
        return self.schedule.learning_rate, self.schedule.weight_decay

    @property
    def hedge(self) -> bool:
        """Whether the router follows the targets of Eq. 5."""
        return self.stage2 is not None and self.stage2.objective == "hedge"

    def modules(self) -> nn.ModuleList:
        """Return what is trained."""
        return nn.ModuleList([self.weights] if self.heads is None else [self.heads, self.weights])

    @property
    def learns_heads(self) -> bool:
        """Whether heads are trained."""
        return self.heads is not None and self.heads.weight.requires_grad

    @property
    def stacks(self) -> bool:
        """Whether it can be trained together with others."""
        parameters = list(self.modules().parameters())
        known = isinstance(self.weights, Router | StaticWeights)
        return known and parameters[0].dtype in STACKED and any(p.requires_grad for p in parameters)

    def alone(self) -> History:
        """Train it by itself."""
        table, rows = self.read
        if self.stage2 is not None:
            read = self.margins, table[rows], self.stage2, self.generator
            return adapt_router(self.weights, *read, stage1_log_weights=self.before)
        early = {"validate": self.validate, "patience": self.patience}

        def loss(batch: Tensor) -> Tensor:
            phi, chosen, rejected = self.pairs
            margins = self.heads(phi[chosen[batch]] - phi[rejected[batch]])
            return stage1_loss(margins, self.weights(table[rows[batch]]), self.alpha)

        return train(self.modules(), loss, len(self), self.schedule, self.generator, **early)

    def places(self) -> dict[str, tuple[nn.Module, str]]:
        """Return where each parameter is, by kind: "heads"; "theta", or "w0", "b0", .. of each layer."""
        found: dict[str, tuple[nn.Module, str]] = {"heads": (self.heads, "weight")} if self.learns_heads else {}
        if isinstance(self.weights, StaticWeights):
            return found | {"theta": (self.weights, "theta")}
        linear = [layer for layer in self.weights.layers if isinstance(layer, nn.Linear)]
        for i, layer in enumerate(linear):
            found |= {f"w{i}": (layer, "weight"), f"b{i}": (layer, "bias")}
        return found

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters by kind."""
        return {name: module.get_parameter(own) for name, (module, own) in self.places().items()}

    def put(self, values: Mapping[str, Tensor]) -> None:
        """Let the parameters be these tensors, by kind."""
        for name, (module, own) in self.places().items():
            trained = module.get_parameter(own).requires_grad
            module.register_parameter(own, nn.Parameter(values[name], requires_grad=trained))

    def kind(self) -> Hashable:
        """Return what trainings must have in common to be stacked; numbers of heads and of pairs may differ."""
        parameters = self.parameters()
        last = len(parameters) - 2  # weight and bias of the layer that gives the K logits stand at the end
        sizes = tuple(
            (name, p.requires_grad, p.dtype, p.device, p.shape[name in ("heads", "theta") or i >= last :])
            for i, (name, p) in enumerate(parameters.items())
        )
        rules = (self.stage2.prior, self.stage2.refresh) if self.hedge else None
        return sizes, rules, self.schedule.batch_size


def train_together(jobs: Sequence[Job]) -> list[History]:
    """Train every job, in place, and return what each training saw.

    Raises:
        TrainingError: a loss is not finite; names the step, the batch and the likely cause.
    """
    histories: list[History] = [None if job.stacks else job.alone() for job in jobs]
    kinds: dict[Hashable, list[int]] = defaultdict(list)
    for i, job in enumerate(jobs):
        if histories[i] is None:
            kinds[job.kind()].append(i)
    with torch.no_grad():
        for members in kinds.values():
            # Beside each other: trainings of one length, of one step size, and those that read one table.
            tables = {id(jobs[i].read[0]): n for n, i in reversed(list(enumerate(members)))}
            members.sort(key=lambda i: (-jobs[i].steps, -len(jobs[i]), *jobs[i].rates, tables[id(jobs[i].read[0])], i))
            for chunk in _chunks(members, jobs):
                stack = Stack([jobs[i] for i in chunk])
                for i, history in zip(chunk, stack.train(), strict=True):
                    histories[i] = history
    return histories


T = TypeVar("T")
# What a computation with trainings in it is: it yields jobs, is sent what their trainings saw, and returns a result.
Training = Generator[list[Job], list[History], T]


def gather(parts: Iterable[Training[T]]) -> Training[list[T]]:
    """Advance computations side by side: the jobs that each waits for are trained together; return their results."""
    parts, results = list(parts), {}
    sent: dict[int, list[History] | None] = dict.fromkeys(range(len(parts)))
    try:
        while sent:
            waiting = {}
            for i, histories in sent.items():
                try:
                    waiting[i] = parts[i].send(histories)
                except StopIteration as end:
                    results[i] = end.value
            seen = iter((yield [job for jobs in waiting.values() for job in jobs]) if waiting else ())
            sent = {i: [next(seen) for _ in jobs] for i, jobs in waiting.items()}
    finally:
        for part in parts:
            part.close()
    return [results[i] for i in range(len(parts))]


def finish(training: Training[T]) -> T:
    """Return the result of a computation; each time it waits, all its jobs are trained together."""
    histories = None
    try:
        while True:
            histories = train_together(training.send(histories))
    except StopIteration as end:
        return end.value
    finally:
        training.close()


class Once:
    """Results by key, each worked out once however many computations side by side ask for it."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Any] = {}
        self._made: set[Hashable] = set()

    def get(self, key: Hashable, make: Callable[[], Training[T]]) -> Training[T]:
        """Return the result of `make` of the first who asked."""
        while key in self._made:
            yield []
        if key not in self._kept:
            self._made.add(key)
            try:
                self._kept[key] = yield from make()
            finally:
                self._made.remove(key)
        return self._kept[key]


def _chunks(members: Sequence[int], jobs: Sequence[Job]) -> Iterator[Sequence[int]]:
    parameters = jobs[members[0]].parameters().values()
    most = max(1, NUMBERS // sum(p.numel() for p in parameters))
    if next(iter(parameters)).is_cuda:
        most *= 64
    count = math.ceil(len(members) / most)
    for c in range(count):
        yield members[c * len(members) // count : (c + 1) * len(members) // count]


class Stack:
    """R trainings of one kind, in step."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = list(jobs)
        first, parameters = jobs[0], [job.parameters() for job in jobs]
        self.names = [name for name, p in parameters[0].items() if p.requires_grad]
        self.layers = sum(name.startswith("w") for name in parameters[0])
        self.watches = [Watch(job.modules(), job.validate, job.patience) for job in jobs]
        self.done = list(self.watches)
        self.steps = 0
        # of each training, (R, ...); one row more than pairs, for the places that a short minibatch leaves empty
        n, per_epoch, size = max(map(len, jobs)), max(job.per_epoch for job in jobs), first.schedule.batch_size
        device = first.read[1].device
        self.of: dict[str, Tensor] = {"read": _padded([job.read[1] for job in jobs], (n + 1,))}
        for name in parameters[0]:
            values = [p[name].detach() for p in parameters]
            shape = tuple(max(v.shape[i] for v in values) for i in range(values[0].ndim))
            self.of[name] = _padded(values, shape)
            if name in self.names:
                self.of[f"{name} m"] = torch.zeros_like(self.of[name])
                self.of[f"{name} v"] = torch.zeros_like(self.of[name])
        counts = [p["theta" if "theta" in p else f"b{self.layers - 1}"].shape[0] for p in parameters]
        dtype, heads = values[0].dtype, max(counts)
        self.of["pad"] = torch.zeros(len(jobs), 1, heads, dtype=dtype, device=device)
        for r, count in enumerate(counts):
            self.of["pad"][r, :, count:] = -torch.inf
        if first.learns_heads:
            for side, i in (("chosen", 1), ("rejected", 2)):
                self.of[side] = _padded([job.pairs[i] for job in jobs], (n + 1,))
        else:
            margins = [
                job.heads(job.pairs[0][job.pairs[1]] - job.pairs[0][job.pairs[2]]) if job.heads else job.margins
                for job in jobs
            ]
            self.of["margins"] = _padded(margins, (n + 1, heads))
        self.of["alpha"] = torch.tensor([job.alpha for job in jobs], dtype=dtype, device=device)[:, None, None]
        if first.hedge:
            tau = [job.stage2.tau for job in jobs]
            self.of["tau"] = torch.tensor(tau, dtype=dtype, device=device)[:, None, None]
            self.of["losses"] = -log_preference(self.of["margins"])
            self.of["omega"] = torch.zeros_like(self.of["losses"])
            if first.stage2.prior == "stage1":
                self.of["prior"] = _padded([job.before.exp() for job in jobs], (n + 1, heads))
                self.of["prior"] += self.of["prior"].sum(-1, keepdim=True) == 0  # of no pair: anything but nothing
        # rows of each minibatch, and the share of each in its mean
        self.of["rows"] = torch.full((len(jobs), per_epoch, size), n, device=device)
        self.of["share"] = torch.zeros(len(jobs), per_epoch, size, dtype=dtype, device=device)
        self.of["loss"] = torch.zeros(len(jobs), per_epoch, dtype=dtype, device=device)
        for r, job in enumerate(jobs):
            for i in range(job.per_epoch):
                length = min(size, len(job) - i * size)
                self.of["share"][r, i, :length] = 1 / length
        self._lay()
        if first.hedge and first.stage2.prior == "carried":
            self.of["prior"] = self._weights(self._read(slice(None)))[0].exp()

    def train(self) -> list[History]:
        """Take all steps of all trainings."""
        while self.jobs:
            places = [self.steps % n for n in self.per_epoch]
            if starting := [r for r, place in enumerate(places) if place == 0]:
                self._start_epoch(starting)
            self._step(torch.tensor(places, device=self.of["rows"].device))
            self.steps += 1
            lengths = zip(self.per_epoch, self.schedules, strict=True)
            if ending := [r for r, (n, (_, steps)) in enumerate(lengths) if self.steps % n == 0 or self.steps == steps]:
                self._end_epoch(ending)
        return [watch.history for watch in self.done]

    def _lay(self) -> None:
        """Let each training's modules be views of the stacked parameters."""
        for r, job in enumerate(self.jobs):
            shapes = {name: p.shape for name, p in job.parameters().items()}
            job.put({name: self.of[name][r][tuple(map(slice, shape))] for name, shape in shapes.items()})
        self.per_epoch = [job.per_epoch for job in self.jobs]
        self.schedules = [(job.schedule, job.steps) for job in self.jobs]
        self.index = torch.arange(len(self.jobs), device=self.of["rows"].device)[:, None]

    def _start_epoch(self, starting: Sequence[int]) -> None:
        for r in starting:
            job, rows = self.jobs[r], self.of["rows"][r]
            rows.view(-1)[: len(job)] = torch.randperm(len(job), generator=job.generator).to(rows.device)
        if self.jobs[0].hedge and self.jobs[0].stage2.refresh == "epoch":
            for n, same in groupby(starting, key=lambda r: len(self.jobs[r])):
                r = list(same)
                which = slice(r[0], r[-1] + 1) if r[-1] - r[0] < len(r) else torch.tensor(r, device=self.index.device)
                at = which, slice(n)
                now = self._weights(self._read(*at), which)[0] if self.jobs[0].stage2.prior == "current" else None
                self._refresh(at, which, now)

    def _refresh(self, at: tuple, which: slice | Tensor, now: Tensor | None) -> None:
        """Renew omega at those trainings and pairs by Eq. 5; `now` are the present log weights."""
        prior = self.of["prior"][at] if now is None else now.exp()
        self.of["omega"][at] = hedge_targets(prior, self.of["losses"][at], self.of["tau"][which])
        if self.jobs[0].stage2.prior == "carried":
            self.of["prior"][at] = self.of["omega"][at]

    def _end_epoch(self, ending: Sequence[int]) -> None:
        over = []
        for r in ending:
            job, watch, total = self.jobs[r], self.watches[r], 0.0
            epoch, taken = len(watch.history.train), (self.steps - 1) % self.per_epoch[r] + 1
            losses = self.of["loss"][r, :taken].double().cpu().tolist()
            batches = self.of["rows"][r].view(-1)[: len(job)].split(job.schedule.batch_size)[:taken]
            for i, (value, rows) in enumerate(zip(losses, batches, strict=True)):
                check_loss(value, epoch, i, rows, len(job), job.schedule)
                total += value * len(rows)
            if not watch.goes_on(total / sum(map(len, batches))) or self.steps == job.steps:
                watch.end()
                job.put({name: p.detach().clone() for name, p in job.parameters().items()})
                over.append(r)
        if over:
            kept = [r for r in range(len(self.jobs)) if r not in over]
            self.jobs, self.watches = [self.jobs[r] for r in kept], [self.watches[r] for r in kept]
            rows = torch.tensor(kept, dtype=torch.long, device=self.index.device)
            self.of = {name: value[rows] for name, value in self.of.items()}
            self._lay()

    def _gather(self, tables: Sequence[Tensor], rows: Tensor) -> Tensor:
        """Return the rows (R, B) of each training's table, (R, B, q)."""
        out = tables[0].new_empty(*rows.shape, tables[0].shape[1])
        start = 0
        for _, same in groupby(tables, key=id):
            end = start + len(list(same))
            torch.index_select(tables[start], 0, rows[start:end].flatten(), out=out[start:end].flatten(0, 1))
            start = end
        return out

    def _read(self, which: slice | Tensor, pairs: slice = slice(None)) -> Tensor:
        """Return what the weights of those trainings read of those pairs, (R', n, q)."""
        tables = [job.read[0] for job in self.jobs]
        tables = tables[which] if isinstance(which, slice) else [tables[r] for r in which.tolist()]
        return self._gather(tables, self.of["read"][which, pairs])

    def _weights(self, x: Tensor, which: slice | Tensor = slice(None)) -> tuple[Tensor, list[Tensor]]:
        """Return log weights (R', n, K) of what is read, (R', n, q), and the input of each layer."""
        pad = self.of["pad"][which]
        if not self.layers:
            return (self.of["theta"][which][:, None] + pad).log_softmax(-1).expand(-1, x.shape[1], -1), []
        inputs = [x]
        for i in range(self.layers):
            x = torch.baddbmm(self.of[f"b{i}"][which][:, None], inputs[-1], self.of[f"w{i}"][which].mT)
            if i + 1 < self.layers:
                inputs.append(x.relu_())
        return (x + pad).log_softmax(-1), inputs

    def _step(self, places: Tensor) -> None:
        """Take one step of AdamW in every training, at its minibatch of that number."""
        of, index, first = self.of, self.index, self.jobs[0]
        rows, share = of["rows"][index[:, 0], places], of["share"][index[:, 0], places]
        x = self._gather([job.read[0] for job in self.jobs], of["read"][index, rows])
        log_f, inputs = self._weights(x)
        f, finite = log_f.exp(), log_f.clamp_min(torch.finfo(log_f.dtype).min)
        if first.hedge:
            if first.stage2.refresh == "batch":
                self._refresh((index, rows), slice(None), log_f if first.stage2.prior == "current" else None)
            target = of["omega"][index, rows]
            loss = -(target * finite).sum(-1)
        else:
            if not first.learns_heads:
                margins = of["margins"][index, rows]
            else:
                tables = [job.pairs[0] for job in self.jobs]
                difference = self._gather(tables, of["chosen"][index, rows])
                difference -= self._gather(tables, of["rejected"][index, rows])
                margins = torch.bmm(difference, of["heads"].mT)
            joint = log_f + log_preference(margins)
            likelihood = joint.logsumexp(-1, keepdim=True)
            target = (joint - likelihood).exp()  # responsibility of each head
            entropy = (f * finite).sum(-1, keepdim=True)
            loss = (of["alpha"] * entropy - likelihood)[..., 0]
        of["loss"][index[:, 0], places] = (loss * share).sum(-1)
        share = share[..., None]
        # Gradients: of the logits f - target, and alpha f (log f - sum f log f) for the penalty.
        gradient: dict[str, Tensor] = {}
        slope = f - target
        if not first.hedge:
            slope += of["alpha"] * f * (finite - entropy)
            if first.learns_heads:
                gradient["heads"] = torch.bmm((target * share * -torch.sigmoid(-margins)).mT, difference)
        slope *= share
        if not self.layers:
            gradient["theta"] = slope.sum(1)
        for i in reversed(range(self.layers)):
            gradient[f"w{i}"], gradient[f"b{i}"] = torch.bmm(slope.mT, inputs[i]), slope.sum(1)
            if i:
                slope = torch.bmm(slope, of[f"w{i}"]) * (inputs[i] > 0)
        self._descend(gradient)

    def _descend(self, gradient: dict[str, Tensor]) -> None:
        """Take AdamW's step with those gradients, at each training's own step size."""
        start, names = 0, self.names
        for (schedule, steps), same in groupby(self.schedules):
            end = start + len(list(same))
            count = torch.full((len(names),), float(self.steps), device=self.index.device)
            adamw(
                [self.of[name][start:end] for name in names],
                [gradient[name][start:end] for name in names],
                [self.of[f"{name} m"][start:end] for name in names],
                [self.of[f"{name} v"][start:end] for name in names],
                [],
                list(count.unbind()),
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=schedule.learning_rate * schedule.factor(self.steps, steps),
                weight_decay=schedule.weight_decay,
                eps=1e-8,
                maximize=False,
            )
            start = end


def _padded(values: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Return the tensors stacked, (R, *shape), with zeros behind the smaller ones."""
    out = values[0].new_zeros(len(values), *shape)
    for r, value in enumerate(values):
        out[r][tuple(map(slice, value.shape))] = value
    return out
