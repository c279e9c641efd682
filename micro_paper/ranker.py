"""Micro: backbone, heads and router together, for ranking and scoring new text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from micro_paper import saved
from micro_paper.errors import InputError, MissingError, shown
from micro_paper.features.backbone import Backbone
from micro_paper.features.extract import encode_new
from micro_paper.features.model_files import PACKAGED
from micro_paper.features.model_files import fingerprint as fingerprint_of
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods.armo import Armo
from micro_paper.methods.controls import PcaHeads, RandomHeads
from micro_paper.methods.micro_plus import MicroPlus, MicroPlusFull
from micro_paper.methods.table import METHODS
from micro_paper.methods.two_stage import Converged, CriterionRead, PromptOnly, TwoStage, predicted
from micro_paper.training import resolve_device

Messages = list[dict[str, str]]
# Linear heads under a router, and nothing else that predictions need; a subclass may predict otherwise.
CARRIED = (TwoStage, MicroPlus, MicroPlusFull, CriterionRead, Converged, PromptOnly, Armo, RandomHeads, PcaHeads)


class Ranked(NamedTuple):
    """One place of a ranking: the response's index and its mean probability of being preferred over the others."""

    index: int
    probability: float


class Micro:
    """A trained two-stage method with the backbone that reads text for it.

    Args:
        method: fitted, of a class in CARRIED; adapted to contexts, if contexts are to be used.
        features: how the backbone turns text into the features that the method was trained on.
        trained_on: data set, split, budget and whatever else the model card should say.
        fingerprint: content hash of the backbone that gave the training features; None = the one found now.

    Raises:
        InputError: another method (others need more at test than a prompt, responses and a context), or another kind.
    """

    def __init__(
        self,
        method: TwoStage | MicroPlus,
        features: FeatureSettings,
        trained_on: Mapping[str, Any] | None = None,
        fingerprint: str | None = None,
    ) -> None:
        if type(method) not in CARRIED:
            known = ", ".join(name for name, kind in METHODS.items() if kind in CARRIED)
            raise InputError(f"method must be one of {known}; a {type(method).__name__} cannot rank new text")
        if isinstance(method, MicroPlus):
            method = method.kept
        if not method.fitted:
            raise InputError("method is not fitted: call fit (and adapt, for contexts) first")
        if not isinstance(features, FeatureSettings) or not isinstance(trained_on or {}, Mapping):
            raise InputError("features must be FeatureSettings and trained_on a dictionary")
        try:
            place = os.path.expanduser(features.backbone)
        except ValueError as error:
            raise InputError(f"backbone {shown(features.backbone)} is no name: {error}") from None
        if features.backbone != PACKAGED and os.path.isdir(place):  # for processes that run elsewhere
            features = replace(features, backbone=os.path.abspath(place))
        self.method = method
        self.features = features
        self.trained_on = dict(trained_on or {})
        self._fingerprint = fingerprint
        self._backbone: Backbone | None = None

    @property
    def backbone(self) -> Backbone:
        """The frozen language model, loaded at first use on the device of the method's settings.

        Raises:
            InputError: its content differs from the backbone that the heads were trained on.
        """
        if self._backbone is None:
            features, device = self.features, self.method.settings.device
            found = fingerprint_of(features.backbone)  # before anything of it is loaded
            if self._fingerprint not in (None, found):
                raise InputError(
                    f"backbone {features.backbone!r} is not the one that this model was trained on (content "
                    f"{found[:12]}, expected {self._fingerprint[:12]}): install that version"
                )
            backbone = Backbone.load(features.backbone, features.layers, features.dtype, device)
            width = self.method.heads.weight.shape[1]
            if backbone.hidden_size != width:
                raise InputError(
                    f"features of {features.backbone!r} have {backbone.hidden_size} columns, the heads {width}: this "
                    "model was trained on others"
                )
            self._backbone, self._fingerprint = backbone, found
        return self._backbone

    def reward(self, prompt: str | Messages, response: str, context: str | None = None) -> float:
        """Return sum_k w_k r_k(x, a), with the router's weights for the prompt (and the stated context).

        Only differences between responses to one prompt carry meaning.
        """
        rewards, log_weights = self._score(prompt, [response], context)
        return float((log_weights.exp() * rewards[0]).sum())

    def rank(self, prompt: str | Messages, responses: Sequence[str], context: str | None = None) -> list[Ranked]:
        """Return the responses' indices, best first, each with its mean probability of being preferred.

        P(a over b) = sum_k w_k sigmoid(r_k(x, a) - r_k(x, b)) (Eq. 1), or by the settings' other `prediction`,
        at their temperature; the mean is over all other responses.

        Args:
            prompt: text, or a dialogue as chat messages.
            responses: at least two. What `max_tokens` cuts, and different responses that are the same to the backbone,
                are told by a warning.
            context: a stated criterion, such as "I prefer short answers."; None = stage 1's weights of the prompt.

        Raises:
            InputError: another kind, an empty text, half a character, or a context of a model that knows none.
        """
        rewards, log_weights = self._score(prompt, responses, context, least=2)
        n = len(rewards)
        a, b = rewards.repeat_interleave(n, dim=0), rewards.repeat(n, 1)
        wins = torch.from_numpy(predicted(a, b, log_weights, self.method.settings)).view(n, n)
        wins.fill_diagonal_(0.0)
        mean = (wins.sum(dim=1) / (n - 1)).tolist()
        order = sorted(range(n), key=lambda i: (-mean[i], i))
        return [Ranked(i, mean[i]) for i in order]

    def weights(self, prompt: str | Messages, context: str | None = None) -> list[float]:
        """Return the mixture weights w_k, (K,), for a prompt and a stated context."""
        return self._score(prompt, ["."], context)[1].exp().tolist()

    def _score(
        self, prompt: str | Messages, responses: Sequence[str], context: str | None, least: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return rewards (n, K) and log weights (K,), in float64."""
        _check_texts(prompt, responses, context, least)
        if context is not None and not self.method.adapted:
            raise InputError("this model was not adapted to contexts: call adapt before, or leave context out")
        settings = self.method.settings
        if context is None and settings.stage1_context:
            raise InputError("the heads of this model were learnt under stated contexts: give a context")
        phi, u, uc, c = encode_new(self.backbone, self.features, prompt, list(responses), context)
        kind, feature = ("criteria", c) if settings.router_input == "criterion" else ("contexts", uc)
        if context is None:
            kind, feature = "prompts", u
        router = self.method.stage1_weights if context is None else self.method.weights
        scalers, device = self.method.scalers, self.method.heads.weight.device
        dtype = settings.torch_dtype
        with torch.no_grad():
            rewards = self.method.heads(scalers["responses"](phi, dtype, device))
            log_weights = router(scalers[kind](feature[None], dtype, device))[0]
        return rewards.double().cpu(), log_weights.double().cpu()

    def save(self, folder: str | Path) -> None:
        """Write the model (not the backbone) as safetensors, settings and model card; all or nothing.

        Args:
            folder: new, empty, or one that holds a saved model, which this one replaces.

        Raises:
            InputError: the folder holds something else or cannot be written, or the model holds what cannot be saved.
        """
        known = self._fingerprint or fingerprint_of(self.features.backbone)
        saved.write(folder, self.method, self.features, self.trained_on, known)

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto", backbone: str | None = None) -> Self:
        """Return the model saved in `folder`, whatever device it was trained on.

        Args:
            device: of backbone, heads and router, see `training.resolve_device`.
            backbone: where the backbone now is, if it moved; its content must be the same.

        Raises:
            MissingError: a file or the backbone's folder is missing.
            InputError: the files are not as they were saved, or there is no such device.
        """
        resolve_device(device)
        method, features, trained_on, fingerprint = saved.read(folder, device)
        if backbone:
            features = replace(features, backbone=backbone)
        if os.path.isabs(features.backbone) and not os.path.isdir(features.backbone):
            raise MissingError(
                f"backbone folder {features.backbone}, which {folder} needs, is missing: put it back, or say where it "
                "is: Micro.load(folder, backbone=...)"
            )
        return cls(method, features, trained_on, fingerprint)


def _check_texts(prompt: Any, responses: Any, context: Any, least: int) -> None:
    """Raise an InputError unless each is of its kind, and a text that says something."""
    texts, turns = {"prompt": prompt}, {}
    if isinstance(prompt, list | tuple):
        if not prompt or not all(isinstance(message, Mapping) for message in prompt):
            raise InputError(f"prompt must be a text or a list of chat messages, got {shown(prompt)}")
        turns = {f"{k} of prompt message {i}": m.get(k) for i, m in enumerate(prompt, 1) for k in ("role", "content")}
        texts = {"prompt": prompt[-1].get("content")}
    if not isinstance(responses, list | tuple) or len(responses) < least:
        raise InputError(f"responses must be a list of at least two texts, got {shown(responses)}")
    texts |= {f"response {i}": text for i, text in enumerate(responses)}
    texts |= {} if context is None else {"context": context}
    for name, text in (turns | texts).items():
        if not isinstance(text, str):
            raise InputError(f"{name} must be a text, got {shown(text)}")
        if name in texts and not text.strip():
            raise InputError(f"{name} is empty: give a text")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InputError(f"{name} holds half a character (a lone surrogate): decode it anew")
