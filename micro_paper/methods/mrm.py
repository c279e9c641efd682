"""MRM: base heads and one shared initial weight vector, learnt so that a few gradient steps suit a new person."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from micro_paper import metrics
from micro_paper.bradley_terry import log_preference
from micro_paper.methods.exact import SingleExact
from micro_paper.methods.persons import TUNING_LABELS, PersonMethod, Told, first_labels, people_of
from micro_paper.pairs import Pairs

INNER_STEPS = 3
STEP_SIZES = (0.005, 0.02, 0.05, 0.1, 0.5)  # of the inner loop; one that is too long ruins the rewards of everybody
UNTUNED = 0.02
PEOPLE, LABELS = 16, 10  # of an outer step: people, and labels of each in either loop
OUTER_STEPS, CHECKED = 300, 50
OUTER_RATE = 0.02  # of AdamW, on heads whose entries have root mean square 1


def inner_loop(margins: Tensor, counted: Tensor, start: Tensor, step: Tensor | float, steps: int = INNER_STEPS):
    """Return the weights after gradient steps on the mean of -log sigmoid(w . D_i) over a person's labels, (..., K).

    Written with the loss's gradient in closed form, so that whatever it is given can be differentiated through it.

    Args:
        margins: D_k of each label, (..., n, K), in nats.
        counted: 1 for a label, 0 for filling, (..., n); without labels the start is returned.
        start: w before, (..., K).
        step: size of a step, a number or of a shape that broadcasts with `start`.
    """
    share = counted / counted.sum(dim=-1, keepdim=True).clamp_min(1)
    w = start
    for _ in range(steps):
        lose = (-(margins * w[..., None, :]).sum(dim=-1)).sigmoid() * share
        w = w + step * (lose[..., None] * margins).sum(dim=-2)
    return w


def outer_loss(losses: Tensor) -> Tensor:
    """Return the mean of people's losses, (..., B) -> (...), each weighted by exp(loss) over the sum of these.

    The weights take no gradient: they say whom a step is for. With equal losses it is the plain mean.
    """
    return (losses.detach().softmax(dim=-1) * losses).sum(dim=-1)


class Mrm(PersonMethod):
    """The reward of person u is sum_k w_uk r_k; w_u is what INNER_STEPS gradient steps make of the shared w_0.

    Heads and w_0 are learnt by the loss on a person's other labels after the inner loop, people with a large loss
    counting more. All STEP_SIZES are trained side by side, and the tuning people choose step size and outer step
    (none, too). Departure: the first head starts as the converged single reward with w_0 = 1, the others as random
    directions with w_0 = 0, so that before any training the row is that single reward.
    """

    def _share(self, train_pairs: Pairs, validation: Pairs) -> None:
        single = SingleExact(self.settings, self.seed).fit(train_pairs, validation)
        self.pooled, count = single, self.settings.heads
        first = single.head_weights()[0].double()
        difference = single._scaled(train_pairs).difference.double()
        generator = torch.Generator().manual_seed(self.seed)
        heads = torch.randn(count, len(first), generator=generator, dtype=torch.float64)
        rms = (difference @ heads.T).square().mean(dim=0).sqrt().clamp_min(1e-12)
        # A single reward that the penalty has made tiny would make heads that no label can move.
        reach = (difference @ first).square().mean().sqrt().clamp_min(0.1)
        heads = heads / rms[:, None] * reach
        heads[0] = first
        self.step = UNTUNED
        self.heads = heads
        self.start = torch.nn.functional.one_hot(torch.tensor(0), count).double()
        self._trained = self._outer_loop(difference, people_of(train_pairs), generator)
        if self._trained:
            heads, start = self._trained[-1]
            own = STEP_SIZES.index(UNTUNED)
            self.heads, self.start = heads[own], start[own]

    def _outer_loop(self, difference: Tensor, people: np.ndarray, generator: torch.Generator):
        """Return heads (G, K, d) and starts (G, K) of the G step sizes after every CHECKED outer steps."""
        own = np.unique(people, return_inverse=True)[1]
        rows = [torch.from_numpy(np.flatnonzero(own == u)) for u in range(own.max() + 1)]
        rows = [of for of in rows if len(of) > 1]
        if not rows:
            return []
        sizes = torch.tensor(STEP_SIZES, dtype=torch.float64)[:, None, None]
        unit = float(self.heads.square().mean().sqrt())
        heads = nn.Parameter((self.heads / unit).expand(len(STEP_SIZES), -1, -1).clone())
        start = nn.Parameter(self.start.expand(len(STEP_SIZES), -1).clone())
        optimiser = torch.optim.AdamW(
            [{"params": [heads], "lr": OUTER_RATE}, {"params": [start], "lr": OUTER_RATE}],
            weight_decay=self.settings.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, OUTER_STEPS)
        kept = []
        for number in range(1, OUTER_STEPS + 1):
            drawn = torch.randperm(len(rows), generator=generator)[:PEOPLE].tolist()
            told, asked = zip(*(self._parts(rows[u], generator) for u in drawn), strict=True)
            sides = []
            for part in (told, asked):
                at = nn.utils.rnn.pad_sequence(list(part), batch_first=True, padding_value=-1)
                margins = torch.einsum("bnd,gkd->gbnk", difference[at.clamp_min(0)], heads * unit)
                sides.append((margins, (at >= 0).double()))
            w = inner_loop(*sides[0], start[:, None].expand(-1, len(drawn), -1), sizes)
            margins, counted = sides[1]
            losses = -log_preference((margins * w[..., None, :]).sum(dim=-1)) * counted
            loss = outer_loss(losses.sum(dim=-1) / counted.sum(dim=-1)).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if number % CHECKED == 0:
                kept.append(((heads.detach() * unit).clone(), start.detach().clone()))
        return kept

    @staticmethod
    def _parts(rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return two disjoint draws of a person's labels, at most LABELS each."""
        mixed = rows[torch.randperm(len(rows), generator=generator)]
        half = min(LABELS, len(mixed) // 2)
        return mixed[:half], mixed[half : half + LABELS]

    def _tune(self, tuning: Told) -> None:
        person = np.unique(people_of(tuning.ask), return_inverse=True)[1]

        def judged() -> float:
            each = [self.adapt(first_labels(tuning.tell, n)).predict_proba(tuning.ask) for n in (0, *TUNING_LABELS)]
            losses = [np.bincount(person, metrics.pair_nll(p)) / np.bincount(person) for p in each]
            return float(np.mean(losses))

        single = self.pooled.head_weights()[0].double()
        untrained = self.heads.clone()
        untrained[0] = single
        nothing = torch.nn.functional.one_hot(torch.tensor(0), len(untrained)).double()
        trials = [(0.0, 0, untrained, nothing)]
        for number, (heads, start) in enumerate(self._trained, start=1):
            trials += [(size, number * CHECKED, heads[g], start[g]) for g, size in enumerate(STEP_SIZES)]
        losses = []
        for self.step, _, self.heads, self.start in trials:
            losses.append(judged())
        self.step, steps, self.heads, self.start = trials[int(np.argmin(losses))]
        self.chosen = {"step": self.step, "outer_steps": steps}

    def _unknown(self) -> Tensor:
        return self.start[None]

    def _margins(self, pairs: Pairs) -> Tensor:
        return self.pooled._scaled(pairs).difference.double() @ self.heads.T

    def _vectors(self, pairs: Pairs, own: Tensor, count: int) -> Tensor:
        order = own.argsort(stable=True)
        parts = self._margins(pairs)[order].split(torch.bincount(own, minlength=count).tolist())
        counted = nn.utils.rnn.pad_sequence([part.new_ones(len(part)) for part in parts], batch_first=True)
        margins = nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
        return inner_loop(margins, counted, self.start.expand(count, -1), self.step)

    def _probability(self, pairs: Pairs, vectors: Tensor) -> np.ndarray:
        return (self._margins(pairs) * vectors).sum(dim=1).sigmoid().numpy()
