"""Micro: backbone, heads and router together, for ranking and scoring new text."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from micro_paper import carried, saved
from micro_paper.carried import Carried
from micro_paper.data import jsonl
from micro_paper.errors import InputError, MissingError, shown
from micro_paper.features.backbone import Backbone
from micro_paper.features.extract import encode_new
from micro_paper.features.model_files import PACKAGED
from micro_paper.features.model_files import fingerprint as fingerprint_of
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods.armo import Armo
from micro_paper.methods.controls import PcaHeads, RandomHeads
from micro_paper.methods.micro_plus import MicroPlus, MicroPlusFull
from micro_paper.methods.persons import PersonRow
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
    """A trained method with the backbone that reads text for it: it ranks for a stated context, or for a person.

    Args:
        method: fitted, one of two kinds. Of a class in CARRIED, adapted to contexts, if contexts are to be used. Or a
            row that adapts to persons (`carried.make_row`): `person_router`, `person_micro_hyre`, `person_hyre`,
            `person_classes`, `person_ridge`, `lore`, `pal`, `vpl` or `mrm`, with the people that it is adapted to;
            `adapt_to_user` adds others. The people of its training are not carried.
        features: how the backbone turns text into the features that the method was trained on.
        trained_on: data set, split, budget and whatever else the model card should say.
        fingerprint: content hash of the backbone that gave the training features; None = the one found now.

    Raises:
        InputError: another method (others need more at test than a prompt, responses and a context or a person), or
            another kind.
    """

    def __init__(
        self,
        method: TwoStage | MicroPlus | PersonRow,
        features: FeatureSettings,
        trained_on: Mapping[str, Any] | None = None,
        fingerprint: str | None = None,
    ) -> None:
        if not carried.is_row(method) and type(method) not in CARRIED:
            known = ", ".join([*(name for name, kind in METHODS.items() if kind in CARRIED), *carried.ROWS])
            raise InputError(f"method must be one of {known}; a {type(method).__name__} cannot rank new text")
        if isinstance(method, MicroPlus):
            method = method.kept
        if carried.is_row(method):
            method = carried.carry(method)
        elif not method.fitted:
            raise InputError("method is not fitted: call fit (and adapt, for contexts) first")
        if not isinstance(features, FeatureSettings) or not isinstance(trained_on or {}, Mapping):
            raise InputError("features must be FeatureSettings and trained_on a dictionary")
        try:
            place = os.path.expanduser(features.backbone)
        except ValueError as error:
            raise InputError(f"backbone {shown(features.backbone)} is no name: {error}") from None
        if features.backbone != PACKAGED and os.path.isdir(place):  # for processes that run elsewhere
            features = replace(features, backbone=os.path.abspath(place))
        if carried.is_row(method) and features.heads_see:
            raise InputError("heads_see: persons state no context; give a method whose heads read none")
        self.method: TwoStage | Carried = method
        self.features = features
        self.trained_on = dict(trained_on or {})
        self._fingerprint = fingerprint
        self._backbone: Backbone | None = None
        self._device = method.settings.device

    @property
    def backbone(self) -> Backbone:
        """The frozen language model, loaded at first use on the device of the method's settings, or of `load`.

        Raises:
            InputError: its content differs from the backbone that the heads were trained on.
        """
        if self._backbone is None:
            features, device = self.features, self._device
            found = fingerprint_of(features.backbone)  # before anything of it is loaded
            if self._fingerprint not in (None, found):
                raise InputError(
                    f"backbone {features.backbone!r} is not the one that this model was trained on (content "
                    f"{found[:12]}, expected {self._fingerprint[:12]}): install that version"
                )
            backbone = Backbone.load(features.backbone, features.layers, features.dtype, device)
            persons = carried.is_row(self.method)
            width = carried.width(self.method) if persons else self.method.heads.weight.shape[1]
            if backbone.hidden_size != width:
                raise InputError(
                    f"features of {features.backbone!r} have {backbone.hidden_size} columns, the heads {width}: this "
                    "model was trained on others"
                )
            self._backbone, self._fingerprint = backbone, found
        return self._backbone

    @property
    def users(self) -> list[str]:
        """Names of the people that `rank` knows, sorted."""
        return self.method.names.tolist() if carried.is_row(self.method) else []

    def adapt_to_user(self, pairs: str | Path | Sequence[Mapping[str, Any]]) -> Self:
        """Learn one person from the person's own labels; what was known of the person is replaced, others stay.

        Args:
            pairs: a JSONL file of rows {"prompt", "chosen", "rejected", "user_id"}, or a list of such rows, at least
                two, all of one person. `attribute` and `context` may stand there and are not read.

        Raises:
            MissingError: no such file.
            InputError: the model's row does not adapt to persons; a row of the pairs cannot be used, user_id is missing
                or there is more than one; fewer than two pairs; or pairs that decide nothing: all ties, or the same to
                the backbone.
        """
        if not carried.is_row(self.method):
            raise InputError(
                f"a {type(self.method).__name__} does not adapt to persons: train one of {', '.join(carried.ROWS)} "
                "(carried.make_row) and give it to Micro"
            )
        labels = jsonl.read_person(pairs)
        self.method = carried.adapted(self.method, carried.encode_labels(self.backbone, self.features, labels))
        return self

    def reward(
        self, prompt: str | Messages, response: str, context: str | None = None, user: str | None = None
    ) -> float:
        """Return sum_k w_k r_k(x, a), with the router's weights for the prompt (and the stated context), or a person's.

        Only differences between responses to one prompt carry meaning.
        """
        if carried.is_row(self.method):
            return self._person_scores(prompt, [response], context, user).rewards.item()
        self._check_nobody(user)
        rewards, log_weights = self._score(prompt, [response], context)
        return float((log_weights.exp() * rewards[0]).sum())

    def rank(
        self,
        prompt: str | Messages,
        responses: Sequence[str],
        context: str | None = None,
        user: str | None = None,
    ) -> list[Ranked]:
        """Return the responses' indices, best first, each with its mean probability of being preferred.

        P(a over b) = sum_k w_k sigmoid(r_k(x, a) - r_k(x, b)) (Eq. 1), or by the settings' other `prediction`,
        at their temperature; a row that adapts to persons predicts as in tables of persons. The mean is over all other
        responses.

        Args:
            prompt: text, or a dialogue as chat messages.
            responses: at least two. What `max_tokens` cuts, and different responses that are the same to the backbone,
                are told by a warning.
            context: a stated criterion, such as "I prefer short answers."; None = stage 1's weights of the prompt.
            user: one of `users`, of a model that adapts to persons; None = somebody of whom nothing is known.

        Raises:
            InputError: another kind, an empty text, half a character, a context of a model that knows none, or somebody
                whom the model does not know.
        """
        n = len(responses) if isinstance(responses, list | tuple) else 0
        if carried.is_row(self.method):
            wins = self._person_scores(prompt, responses, context, user, least=2).wins
        else:
            self._check_nobody(user)
            rewards, log_weights = self._score(prompt, responses, context, least=2)
            a, b = rewards.repeat_interleave(n, dim=0), rewards.repeat(n, 1)
            wins = torch.from_numpy(predicted(a, b, log_weights, self.method.settings)).view(n, n)
        wins.fill_diagonal_(0.0)
        mean = (wins.sum(dim=1) / (n - 1)).tolist()
        order = sorted(range(n), key=lambda i: (-mean[i], i))
        return [Ranked(i, mean[i]) for i in order]

    def weights(self, prompt: str | Messages, context: str | None = None, user: str | None = None) -> list[float]:
        """Return the mixture weights w_k, (K,), for a prompt and a stated context or a person.

        They are on the simplex, but for three rows: of `vpl` they are 1 and z, of `mrm` any numbers, and of
        `person_ridge` 1 and the person's offset, one number a column of the features.
        """
        if carried.is_row(self.method):
            return self._person_scores(prompt, ["."], context, user).weights.tolist()
        self._check_nobody(user)
        return self._score(prompt, ["."], context)[1].exp().tolist()

    def _person_scores(
        self, prompt: str | Messages, responses: Sequence[str], context: str | None, user: str | None, least: int = 1
    ) -> carried.Scores:
        """Return what a row that adapts to persons says for somebody whom it knows."""
        _check_texts(prompt, responses, context, least)
        user = carried.check_user(self.method, user)
        if context is not None:
            raise InputError("this model adapts to persons, not to contexts: leave context out")
        phi, u, _, _ = encode_new(self.backbone, self.features, prompt, list(responses))
        return carried.score(self.method, phi, u, user)

    def _check_nobody(self, user: str | None) -> None:
        if user is not None:
            raise InputError(f"a {type(self.method).__name__} does not adapt to persons: leave user out")

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
            device: of backbone, heads and router, see `training.resolve_device`; what adapts to persons is small and
                stays on the CPU.
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
        loaded = cls(method, features, trained_on, fingerprint)
        loaded._device = device
        return loaded


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
