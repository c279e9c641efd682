"""The two protocols of methods, and the table of rows: every method that a table compares, by name."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from torch import Tensor

from micro_paper.errors import InputError, suggest
from micro_paper.methods.armo import Armo, ArmoPublished
from micro_paper.methods.controls import CriterionFewShot, Length, PcaHeads, RandomHeads, ShuffledRouter
from micro_paper.methods.drms import Drms, Drms100, DrmsRandom
from micro_paper.methods.exact import CriterionFewShotExact, OracleAttributeExact, SingleExact
from micro_paper.methods.hyre import HyRe, HyRe100, MicroHyRe, SharedBaseBest
from micro_paper.methods.lore import LoRe
from micro_paper.methods.micro_plus import MicroPlus, MicroPlusFull
from micro_paper.methods.pal import Pal
from micro_paper.methods.settings import Settings
from micro_paper.methods.shared_base import SharedBase, SharedBaseMLP
from micro_paper.methods.static import Single, StaticLearned, StaticMaxMin, StaticUniform
from micro_paper.methods.two_stage import Converged, CriterionRead, PromptOnly, TwoStage
from micro_paper.methods.vpl import Vpl
from micro_paper.pairs import Pairs


@runtime_checkable
class Method(Protocol):
    """What a row of a table must be able to do; a method of one's own needs no more.

    Attributes:
        supervision: what the method sees beyond the texts; shown in every table.
    """

    supervision: str

    def fit(self, train_pairs: Pairs, validation: Pairs) -> Self:
        """Learn from training pairs; choices may use the validation pairs."""
        ...

    def adapt(self, context_pairs: Pairs, validation: Pairs | None = None) -> Self:
        """Adapt to pairs that state their context; each call replaces the one before.

        Args:
            context_pairs: pairs that state their context, n >= 1.
            validation: choose what adaptation leaves open; None = the validation pairs of `fit`.
        """
        ...

    def predict_proba(self, pairs: Pairs) -> np.ndarray:
        """Return P(chosen preferred over rejected), (n,), in [0, 1], with p(a, b) + p(b, a) = 1."""
        ...


@runtime_checkable
class HeadsMethod(Method, Protocol):
    """All that tables of heads, sweeps and audits further ask of a method with K heads and mixture weights.

    Such a method predicts before `adapt` too: by its stage 1 alone.

    Attributes:
        search: one line a trial (choice, option, validation_nll, kept) of a method that chooses its settings.
    """

    search: Sequence[Mapping[str, Any]]

    def stage1_key(self) -> Hashable | None:
        """Return what `fit` depends on beside data and seed: class and settings; None: shared with nobody."""
        ...

    def share_stage1(self, fitted: Self) -> Self:
        """Take over what a fitted method of an equal `stage1_key` learnt in `fit`."""
        ...

    def head_margins(self, pairs: Pairs) -> np.ndarray:
        """Return the margin of every pair under every head, (n, K), in nats."""
        ...

    def mixture_weights(self, pairs: Pairs) -> np.ndarray:
        """Return the weights of every pair, (n, K), rows summing to 1."""
        ...

    def head_weights(self) -> Tensor:
        """Return the K heads, (K, d), on scaled features."""
        ...

    def with_heads(self, weight: Tensor, groups: Sequence[Sequence[int]]) -> Self:
        """Return a copy with heads `weight` (G, d), each under the summed weights of a group of the present ones."""
        ...


Factory = Callable[[Settings | Mapping[str, Any] | None, int], Method]
METHODS: dict[str, Factory] = {
    "micro": TwoStage,
    "micro_plus": MicroPlus,
    "micro_plus_full": MicroPlusFull,
    "micro_stage1": PromptOnly,
    "micro_criterion": CriterionRead,
    "micro_converged": Converged,
    "single": Single,
    "static_uniform": StaticUniform,
    "static_learned": StaticLearned,
    "static_maxmin": StaticMaxMin,
    "shared_base": SharedBase,
    "shared_base_mlp": SharedBaseMLP,
    "shared_base_best": SharedBaseBest,
    "hyre": HyRe,
    "hyre_100": HyRe100,
    "micro_hyre": MicroHyRe,
    "drms": Drms,
    "drms_100": Drms100,
    "drms_random": DrmsRandom,
    "armo": Armo,
    "armo_published": ArmoPublished,
    "length": Length,
    "random_heads": RandomHeads,
    "pca_heads": PcaHeads,
    "shuffled_router": ShuffledRouter,
    "criterion_fewshot": CriterionFewShot,
    "lore": LoRe,
    "pal": Pal,
    "vpl": Vpl,
    "single_exact": SingleExact,
    "oracle_attribute_exact": OracleAttributeExact,
    "criterion_fewshot_exact": CriterionFewShotExact,
}


def find(name: str) -> Factory:
    """Return the factory of that row name.

    Raises:
        InputError: no such row; names the nearest.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}.{suggest(name, METHODS)} Known: {', '.join(METHODS)}")
    return METHODS[name]


def make(name: str, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> Method:
    """Return a new, unfitted method of that row name; see `find`."""
    return find(name)(settings, seed)
