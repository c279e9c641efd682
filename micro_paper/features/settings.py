"""How features are taken from texts, and the notebook parameters that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from micro_paper.errors import InputError, suggest


@dataclass(frozen=True)
class FeatureSettings:
    """How features are taken; every field is part of a store's address.

    Attributes:
        backbone: "smollm2", a folder, or a hub id.
        layers: how many layers from the bottom, 0 = all (see `backbone`).
        response_pooling: phi(x, a) is the mean over the response's own tokens, or its "last" (end-of-turn)
            token.
        prompt_pooling: u(x) is the last token before the response (the paper's), or the mean over the user's
            tokens.
        context_pooling: the same for u(x, c), or the mean over the criterion's own tokens. (u(c), the criterion by
            itself, is always the mean over its tokens.)
        context_position: the criterion stands in "front" of the last user message (the paper's), "behind"
            it, or in front between tags ("tagged").
        response_context: phi reads the prompt "without" the criterion (the paper's: stage 2 leaves the heads alone), or
            "with" it.
        dtype: "auto" is bfloat16 where the machine computes in it, else float32; the address holds which. "float64" is
            for few texts: the last digits of the others depend on the processor.
        max_tokens: prompt and response together, at most what the backbone has positions; longer ones are cut
            (`ChatTokens.fit`), counted and reported.
        token_budget: tokens in one forward pass; 0 = 1024 on a CPU (more leaves its caches), 16384 on CUDA.
        shard_tokens: tokens in a shard, the unit of resuming and of sharing work (a shard may pass it by one
            prompt with its responses).

    Raises:
        InputError: a value outside these.
    """

    backbone: str = "smollm2"
    layers: int = 15
    response_pooling: str = "mean"
    prompt_pooling: str = "last"
    context_pooling: str = "last"
    context_position: str = "front"
    response_context: str = "without"
    dtype: str = "auto"
    max_tokens: int = 2048
    token_budget: int = 0
    shard_tokens: int = 32768

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                hint = suggest(value, known)
                raise InputError(f"{name} must be one of {', '.join(known)}, got {value!r}.{hint}")
        lowest = {"layers": 0, "max_tokens": 16, "token_budget": 0, "shard_tokens": 1}
        for name, least in lowest.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
        if not isinstance(self.backbone, str) or not self.backbone.strip():
            raise InputError(f"backbone must be 'smollm2', a folder or a hub id, got {self.backbone!r}")

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self | None:
        """Return the settings that a notebook's parameters state, or None where there is no backbone ("none")."""
        if parameters.get("backbone", "none") == "none":
            return None
        return cls(**{name: parameters[name] for name in FEATURE_PARAMETERS if name in parameters})

    @property
    def heads_see(self) -> str | None:
        """The position at which phi's prompt holds the criterion, or None."""
        return self.context_position if self.response_context == "with" else None


_CHOICES = {
    "response_pooling": ("mean", "last"),
    "prompt_pooling": ("last", "mean"),
    "context_pooling": ("last", "mean", "criterion"),
    "context_position": ("front", "behind", "tagged"),
    "response_context": ("without", "with"),
    "dtype": ("auto", "bfloat16", "float32", "float64"),
}


FEATURE_PARAMETERS = (
    "backbone",
    "layers",
    "response_pooling",
    "prompt_pooling",
    "context_pooling",
    "context_position",
    "response_context",
    "dtype",
    "max_tokens",
)


DEEPER_PARAMETERS = ("deeper_backbone", "deeper_layers")  # the second cut of tables 11 and 12
