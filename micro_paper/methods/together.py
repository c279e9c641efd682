"""Methods whose trainings can be taken together with those of others."""

from __future__ import annotations

from typing import Any, Self

from micro_paper.pairs import Pairs
from micro_paper.stacked import Training, finish


class Together:
    """A method that says what it trains in `fitting` and `adapting`; `fit` and `adapt` do it alone."""

    def fitting(self, train_pairs: Pairs, validation: Pairs) -> Training[None]:
        """Do what `fit` does, and yield the trainings it takes."""
        raise NotImplementedError

    def adapting(self, context_pairs: Pairs, validation: Pairs | None = None) -> Training[None]:
        """Do what `adapt` does, and yield the trainings it takes."""
        raise NotImplementedError

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Learn from training pairs; validation pairs choose the epoch, and what the method leaves open."""
        finish(self.fitting(train_pairs, validation))
        return self

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Adapt to pairs that state their context; each call replaces the one before; see `adapting`."""
        finish(self.adapting(context_pairs, validation))
        return self


def fitting(method: Any, train_pairs: Pairs, validation: Pairs) -> Training[None]:
    """Fit any method: together with others where it can, else alone and at once."""
    if isinstance(method, Together) and type(method).fit is Together.fit:
        yield from method.fitting(train_pairs, validation)
    else:
        method.fit(train_pairs, validation)


def adapting(method: Any, context_pairs: Pairs, validation: Pairs | None) -> Training[None]:
    """Adapt any method: together with others where it can, else alone and at once."""
    if isinstance(method, Together) and type(method).adapt is Together.adapt:
        yield from method.adapting(context_pairs, validation)
    else:
        method.adapt(context_pairs, validation)
