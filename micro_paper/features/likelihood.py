"""How likely a language model finds a response: the mean log-likelihood of its tokens after a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from micro_paper.errors import InputError
from micro_paper.features.backbone import Backbone
from micro_paper.features.model_files import locate
from micro_paper.features.tokens import Messages, ResponseTokens

HEAD = "lm_head.weight"


class Asked(NamedTuple):
    """A response and the prompt, text or chat messages as JSON text, that it follows."""

    prompt: str
    response: str


def output_weights(backbone: Backbone) -> Tensor:
    """Return the weights of the language-model head, (vocabulary, d), which a backbone is loaded without.

    Raises:
        InputError: a backbone cut to its lower layers, or files that hold no such head.
    """
    if backbone.layers:
        raise InputError(
            f"backbone {backbone.name!r} has {backbone.layers} of its layers: likelihoods need all, layers=0"
        )
    if backbone.model.config.tie_word_embeddings:
        return backbone.model.get_input_embeddings().weight
    from safetensors import safe_open

    for path in sorted(Path(locate(backbone.name)).glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if HEAD in file.keys():  # noqa: SIM118 (a file is no mapping)
                return file.get_tensor(HEAD).to(backbone.dtype).to(backbone.device)
    raise InputError(f"backbone {backbone.name!r} has no language-model head ({HEAD}): likelihoods need one")


def mean_log_likelihood(
    backbone: Backbone, prompt: str | Messages, responses: Iterable[str], weights: Tensor | None = None
) -> np.ndarray:
    """Return the mean log-likelihood of each response's own tokens after the prompt, nats a token, (r,).

    The end of the turn is not counted; an empty response counts by it alone.

    Args:
        backbone: with all its layers.
        weights: as `output_weights` gives them, where they are there already.
    """
    weights = output_weights(backbone) if weights is None else weights
    asked, texts = backbone.chat.prompt(prompt), list(responses)
    groups: dict[bytes, tuple[np.ndarray, list[tuple[int, ResponseTokens]]]] = {}
    for i, text in enumerate(texts):  # beside a long response the prompt is cut, and is another
        before, tokens = backbone.chat.fit(asked, backbone.chat.response(text))
        groups.setdefault(before.ids.tobytes(), (before.ids, []))[1].append((i, tokens))
    found = np.empty(len(texts))
    for ids, members in groups.values():
        states = backbone.states_after(ids, [tokens.ids for _, tokens in members])
        for (i, tokens), hidden in zip(members, states, strict=True):
            found[i] = _mean_log_p(hidden, tokens, weights)
    return found


def _mean_log_p(hidden: Tensor, tokens: ResponseTokens, weights: Tensor) -> float:
    own = tokens.where("mean")
    with torch.inference_mode():
        reads = hidden[own].to(weights)  # hidden[0] is of the prompt, and the state before a token predicts it
        logits = (reads @ weights.T).to(torch.promote_types(weights.dtype, torch.float32))
        told = torch.from_numpy(tokens.ids[own]).to(logits.device)[:, None]
        return float((logits.gather(1, told)[:, 0] - logits.logsumexp(dim=1)).double().mean())


def score_all(backbone: Backbone, asked: Iterable[tuple[str | Messages, str]]) -> Mapping[Asked, float]:
    """Return the mean log-likelihood of every distinct prompt and response, nats a token; each prompt is read once."""
    weights = output_weights(backbone)
    prompts: dict[str, tuple[str | Messages, dict[str, None]]] = {}
    for prompt, response in asked:
        prompts.setdefault(str(prompt), (prompt, {}))[1][response] = None
    found: dict[Asked, float] = {}
    for name, (prompt, responses) in prompts.items():
        values = mean_log_likelihood(backbone, prompt, responses, weights)
        found |= {Asked(name, text): float(v) for text, v in zip(responses, values, strict=True)}
    return found
