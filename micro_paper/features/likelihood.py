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
from micro_paper.features.tokens import Messages

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
    asked = backbone.chat.prompt(prompt)
    found = []
    for response in responses:
        before, tokens = backbone.chat.fit(asked, backbone.chat.response(response))
        own = tokens.where("mean")
        hidden = backbone.hidden_states(np.concatenate([before.ids, tokens.ids]))
        with torch.inference_mode():
            reads = hidden[len(before.ids) + own - 1].to(weights)  # the state before a token predicts it
            log_p = (reads @ weights.T).double().log_softmax(dim=-1)
            told = torch.from_numpy(tokens.ids[own]).to(log_p.device)
            found.append(float(log_p.gather(1, told[:, None]).mean()))
    return np.array(found)


def score_all(backbone: Backbone, asked: Iterable[tuple[str | Messages, str]]) -> Mapping[Asked, float]:
    """Return the mean log-likelihood of every distinct prompt and response, nats a token."""
    weights = output_weights(backbone)
    found: dict[Asked, float] = {}
    for prompt, response in asked:
        key = Asked(str(prompt), response)
        if key not in found:
            found[key] = float(mean_log_likelihood(backbone, prompt, [response], weights)[0])
    return found
