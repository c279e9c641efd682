"""LoRe, PAL and VPL as rows that adapt to persons."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import numpy as np
from torch import Tensor

from micro_paper.methods.lore import LoRe
from micro_paper.methods.pal import Pal
from micro_paper.methods.persons import PersonMethod, Told, people_of
from micro_paper.methods.settings import Settings
from micro_paper.methods.users import UserMethod
from micro_paper.methods.vpl import Vpl
from micro_paper.pairs import Pairs


class PersonKnown:
    """A `UserMethod` whose training users are other people; whoever gives labels is a new user.

    Attributes:
        fitted: as training left it.
        method: with the people of the last `adapt`.
        names: these people, (U,), sorted.
    """

    supervision = PersonMethod.supervision

    def __init__(
        self, kind: type[UserMethod], settings: Settings | Mapping[str, Any] | None = None, seed: int = 0
    ) -> None:
        self.fitted = kind(settings, seed)
        self.settings, self.seed = self.fitted.settings, seed
        self.method = self.fitted
        self.names: np.ndarray = np.array([], dtype=str)

    def fit(self, train_pairs: Pairs, validation: Pairs, tuning: Told | None = None) -> Self:
        """Learn rewards and the coefficients of the training people; the tuning people choose nothing."""
        people_of(train_pairs)
        self.method = self.fitted.fit(train_pairs, validation)
        self.names = self.names[:0]
        return self

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Learn the coefficients of the people of these labels; no pairs: as training left it."""
        self.names = np.unique(people_of(context_pairs))
        self.method = copy.copy(self.fitted).adapt(context_pairs) if len(context_pairs) else self.fitted
        return self

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(the person of each pair prefers chosen over rejected), (n,)."""
        return self.method.predict_proba(pairs)

    def head_margins(self, pairs: Pairs) -> np.ndarray:
        """Return the margin of every pair under every reward that people weigh, (n, K), in nats."""
        return self.method.head_margins(pairs)

    def mixture_weights(self, pairs: Pairs) -> np.ndarray:
        """Return the weights that the person of each pair gives these rewards, (n, K)."""
        return self.method.mixture_weights(pairs)

    def people(self) -> dict[str, Tensor]:
        """Return the coefficients, (K,), of each person that the row is adapted to."""
        known = dict(zip(self.method.names.tolist(), self.method.table, strict=False))
        return {name: known[name] for name in self.names.tolist()}

    def knowing(self, people: Mapping[str, Tensor]) -> Self:
        """Return a copy that is adapted to these people alone; those of training are forgotten."""
        new = copy.copy(self)
        unknown = self.fitted.table[-1]
        new.fitted, new.method = self.fitted.knowing({}, unknown), self.fitted.knowing(people, unknown)
        new.names = new.method.names
        return new


PersonLoRe, PersonPal, PersonVpl = (partial(PersonKnown, kind) for kind in (LoRe, Pal, Vpl))
