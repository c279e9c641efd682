"""Micro: backbone, heads and router together, for ranking and scoring new text."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from micro_paper.errors import InputError, MissingError
from micro_paper.features.backbone import Backbone
from micro_paper.features.extract import encode_new
from micro_paper.features.settings import FeatureSettings
from micro_paper.files import file_sha256
from micro_paper.methods.micro_plus import MicroPlus
from micro_paper.methods.scaling import Scaler
from micro_paper.methods.settings import Settings
from micro_paper.methods.temperature import scale
from micro_paper.methods.two_stage import TwoStage
from micro_paper.mixture import Heads
from micro_paper.router import Router

FORMAT = 1
TENSORS, SETTINGS, CARD = "micro.safetensors", "micro.json", "README.md"
Messages = list[dict[str, str]]


class Ranked(NamedTuple):
    """One place of a ranking: the response's index and its mean probability of being preferred over the others."""

    index: int
    probability: float


class Micro:
    """A trained two-stage method with the backbone that reads text for it.

    Args:
        method: a fitted `micro` or `micro_plus`; adapted to contexts, if contexts are to be used.
        features: how the backbone turns text into the features that the method was trained on.
        trained_on: data set, split, budget and whatever else the model card should say.
        fingerprint: content hash of the backbone that gave the training features; None = the one found now.
    """

    def __init__(
        self,
        method: TwoStage | MicroPlus,
        features: FeatureSettings,
        trained_on: dict[str, Any] | None = None,
        fingerprint: str | None = None,
    ) -> None:
        if isinstance(method, MicroPlus):
            method = method.kept
        if not isinstance(method, TwoStage):
            raise InputError(f"method must be a two-stage method such as micro, got {type(method).__name__}")
        if not method.fitted:
            raise InputError("method is not fitted: call fit (and adapt, for contexts) first")
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
            found = Backbone.load(features.backbone, features.layers, features.dtype, device)
            if self._fingerprint not in (None, found.fingerprint):
                raise InputError(
                    f"backbone {self.features.backbone!r} is not the one that this model was trained on (content "
                    f"{found.fingerprint[:12]}, expected {self._fingerprint[:12]}): install that version"
                )
            self._backbone, self._fingerprint = found, found.fingerprint
        return self._backbone

    def reward(self, prompt: str | Messages, response: str, context: str | None = None) -> float:
        """Return sum_k w_k r_k(x, a), with the router's weights for the prompt (and the stated context).

        Only differences between responses to one prompt carry meaning.
        """
        rewards, log_weights = self._score(prompt, [response], context)
        return float((log_weights.exp() * rewards[0]).sum())

    def rank(self, prompt: str | Messages, responses: Sequence[str], context: str | None = None) -> list[Ranked]:
        """Return the responses' indices, best first, each with its mean probability of being preferred.

        P(a over b) = sum_k w_k sigmoid(r_k(x, a) - r_k(x, b)) (Eq. 1), at the settings' temperature; the mean is over
        all other responses.

        Args:
            prompt: text, or a dialogue as chat messages.
            responses: at least two. What `max_tokens` cuts, and different responses that are the same to the backbone,
                are told by a warning.
            context: a stated criterion, such as "I prefer short answers."; None = stage 1's weights of the prompt.
        """
        if isinstance(responses, str) or not isinstance(responses, Sequence) or len(responses) < 2:
            raise InputError("responses must be a list of at least two texts")
        rewards, log_weights = self._score(prompt, responses, context)
        margins = rewards[:, None, :] - rewards[None, :, :]
        wins = (log_weights.exp() * margins.sigmoid()).sum(dim=-1)
        if self.method.settings.temperature != 1:
            wins = torch.from_numpy(scale(wins.flatten().numpy(), self.method.settings.temperature)).view_as(wins)
        wins.fill_diagonal_(0.0)
        mean = (wins.sum(dim=1) / (len(responses) - 1)).tolist()
        order = sorted(range(len(responses)), key=lambda i: (-mean[i], i))
        return [Ranked(i, mean[i]) for i in order]

    def weights(self, prompt: str | Messages, context: str | None = None) -> list[float]:
        """Return the mixture weights w_k, (K,), for a prompt and a stated context."""
        return self._score(prompt, ["."], context)[1].exp().tolist()

    def _score(self, prompt: str | Messages, responses: Sequence[str], context: str | None) -> tuple[Tensor, Tensor]:
        """Return rewards (n, K) and log weights (K,), in float64."""
        for i, text in enumerate(responses):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"response {i} is empty: give a text")
        if not prompt or (isinstance(prompt, str) and not prompt.strip()):
            raise InputError("prompt is empty: give a text or chat messages")
        if context is not None:
            if not isinstance(context, str) or not context.strip():
                raise InputError("context is empty: state a criterion, or leave it out")
            if not self.method.adapted:
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

        Raises:
            InputError: the folder exists and holds something other than a saved model.
        """
        folder = Path(folder)
        if folder.exists() and (other := {p.name for p in folder.iterdir()} - {TENSORS, SETTINGS, CARD}):
            raise InputError(f"{folder} exists and holds {min(other)}: choose another folder")
        tensors = self._tensors()
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            save_file(tensors, temporary / TENSORS)
            described = {
                "format": FORMAT,
                "settings": asdict(self.method.settings),
                "seed": self.method.seed,
                "tau": self.method.stage2.tau if self.method.stage2 else self.method.settings.tau,
                "adapted": self.method.adapted,
                "features": asdict(self.features),
                "backbone_fingerprint": self.backbone.fingerprint,
                "tensors_sha256": file_sha256(temporary / TENSORS),
                "trained_on": self.trained_on,
            }
            (temporary / SETTINGS).write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")
            (temporary / CARD).write_text(_card(described, tensors))
            temporary.chmod(0o755)
            before = temporary.with_name(temporary.name + "-before")
            if folder.exists():
                os.replace(folder, before)
            os.replace(temporary, folder)
            shutil.rmtree(before, ignore_errors=True)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Self:
        """Return the model saved in `folder`, whatever device it was trained on.

        Args:
            device: of backbone, heads and router, see `training.resolve_device`.

        Raises:
            MissingError: a file is missing.
            InputError: the weights do not match their recorded hash, the format is another, or there is no such device.
        """
        folder = Path(folder)
        for name in (SETTINGS, TENSORS):
            if not (folder / name).is_file():
                raise MissingError(f"{folder / name} is missing: give a folder that Micro.save wrote")
        described = json.loads((folder / SETTINGS).read_text())
        if described.get("format") != FORMAT:
            raise InputError(f"{folder} has format {described.get('format')}, this version reads {FORMAT}")
        found = file_sha256(folder / TENSORS)
        if found != described["tensors_sha256"]:
            raise InputError(
                f"{folder / TENSORS} has sha256 {found[:12]}..., recorded is "
                f"{described['tensors_sha256'][:12]}...: the file was changed or cut off; save the model again"
            )
        tensors = load_file(folder / TENSORS)
        settings = Settings.of(described["settings"] | {"device": device})
        heads = Heads(*tensors["heads.weight"].shape, torch.Generator(), settings.torch_dtype)
        heads.load_state_dict(_part(tensors, "heads."))
        routers = [_router(tensors, place, settings).to(settings.torch_device) for place in ("stage1.", "router.")]
        scalers = {
            kind: Scaler(tensors[f"scale.{kind}.mean"], tensors[f"scale.{kind}.scale"])
            for kind in ("responses", "prompts", "contexts", "criteria")
            if f"scale.{kind}.mean" in tensors
        }
        method = TwoStage.restored(
            settings,
            described["seed"],
            heads.to(settings.torch_device),
            *routers,
            scalers,
            settings.stage2(described["tau"]) if described["adapted"] else None,
        )
        features = FeatureSettings(**described["features"])
        return cls(method, features, described["trained_on"], described["backbone_fingerprint"])

    def _tensors(self) -> dict[str, Tensor]:
        method = self.method
        tensors = {f"heads.{k}": v for k, v in method.heads.state_dict().items()}
        tensors |= {f"stage1.{k}": v for k, v in method.stage1_weights.state_dict().items()}
        tensors |= {f"router.{k}": v for k, v in method.weights.state_dict().items()}
        for kind, scaler in method.scalers.items():
            tensors |= {f"scale.{kind}.mean": scaler.mean, f"scale.{kind}.scale": scaler.scale}
        return {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _router(tensors: dict[str, Tensor], prefix: str, settings: Settings) -> Router:
    state = _part(tensors, prefix)
    first = state["layers.0.weight"]
    router = Router(first.shape[1], settings.heads, settings.router_hidden, torch.Generator(), settings.torch_dtype)
    router.load_state_dict(state)
    return router


def _card(described: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    count, dimension = tensors["heads.weight"].shape
    features = described["features"]
    trained = "\n".join(f"- {k}: {v}" for k, v in described["trained_on"].items()) or "- not recorded"
    return f"""# A personalised preference model (MiCRo)

{count} linear reward heads on {dimension}-dimensional features of the frozen backbone
`{features["backbone"]}`, under a router that reads the prompt
{"and a stated context" if described["adapted"] else "alone"}. Made by micro-paper; load it with
`micro_paper.Micro.load(folder)`.

## Trained on
{trained}

## What it is for
Ranking a few responses to one prompt, by itself or under a stated criterion. Rewards compare responses to the same
prompt only. It inherits the tastes and errors of its training labels and of the backbone: do not use it to decide
about people, nor as a safety filter.

## Settings
`micro.json` holds every setting, the backbone's content hash and the hash of `micro.safetensors`.
"""
