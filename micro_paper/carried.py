"""Rows that adapt to persons as a model carries them: which there are, what is written of each, new texts as pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from micro_paper.errors import InputError, shown, suggest
from micro_paper.experiments.latent_classes import LatentClasses
from micro_paper.experiments.person_classes import CLASSES, PersonClasses
from micro_paper.experiments.person_rows import find_row
from micro_paper.features.backbone import Backbone
from micro_paper.features.extract import encode_new
from micro_paper.features.settings import FeatureSettings
from micro_paper.methods.exact import SingleExact
from micro_paper.methods.lore import LoRe
from micro_paper.methods.mrm import Mrm
from micro_paper.methods.pal import DIMENSION, Pal, Prototypes
from micro_paper.methods.person_known import PersonKnown
from micro_paper.methods.person_offset import PersonLength, PersonNone, PersonPosition, PersonRidge
from micro_paper.methods.person_weights import PersonHyRe, PersonMicroHyRe, PersonRouter, PersonWeights
from micro_paper.methods.persons import PersonMethod, PersonRow, adapt_person
from micro_paper.methods.scaling import Scaler
from micro_paper.methods.settings import Settings
from micro_paper.methods.shared_base import UNITS as PRIOR_UNITS
from micro_paper.methods.shared_base import PriorHeads, SharedBaseMLP, TanhPrior
from micro_paper.methods.two_stage import MixtureMethod, PromptOnly
from micro_paper.methods.users import UserMethod
from micro_paper.methods.vpl import UNITS, PairSetEncoder, Vpl
from micro_paper.mixture import Heads
from micro_paper.pairs import Pairs
from micro_paper.router import Router

Tensors = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
Carried = PersonMethod | PersonKnown
NETWORKS = ("heads.", "stage1.", "router.", "encoder.")  # names of tensors of trained modules begin so
REFUSED: dict[str, str] = {
    "person_none": "it learns nothing of a person",
    "person_length": "a control: it reads of a response how long it is, and nothing else",
    "person_position": "a control: it follows which response a person was shown first, which new text does not have",
    "peers": "a control: person_ridge on the labels of others, so it knows nobody; carry person_ridge",
    "shuffled_people": "a control: person_ridge on the labels of somebody else; carry person_ridge",
}


@dataclass(frozen=True)
class _Kind:
    """How a row is written down and made again.

    Attributes:
        shapes: settings, columns of responses and of prompts (0 where they are not read), number of directions (0 where
            there are none) -> the shape of each tensor of what all people share.
        width: settings, columns of responses -> length of a person's vector.
        tensors: the row -> these tensors.
        restored: settings, seed and these tensors -> the row, which knows nobody yet.
    """

    shapes: Callable[[Settings, int, int, int], Shapes]
    width: Callable[[Settings, int], int]
    tensors: Callable[[Any], Tensors]
    restored: Callable[[Settings, int, Tensors], Any]


# --- the method beneath a row: heads, scales of features


def _base_tensors(method: MixtureMethod, *, prompts: bool = False, heads: bool = True) -> Tensors:
    found = {f"heads.{k}": v for k, v in method.heads.state_dict().items()} if heads else {}
    for name in ("responses", "prompts")[: 1 + prompts]:
        scaler = method.scalers[name]
        found |= {f"scale.{name}.mean": scaler.mean, f"scale.{name}.scale": scaler.scale}
    return found


def _base(method: MixtureMethod, tensors: Tensors, make_heads: Callable[..., nn.Module] = Heads) -> MixtureMethod:
    """Give a new method its heads, where they were written, and its scales."""
    for name in ("responses", "prompts"):
        if f"scale.{name}.mean" in tensors:
            method.scalers[name] = Scaler(tensors[f"scale.{name}.mean"], tensors[f"scale.{name}.scale"])
    if state := part(tensors, "heads."):
        settings, d = method.settings, len(method.scalers["responses"].mean)
        method.heads = make_heads(settings.heads, d, torch.Generator(), dtype=settings.torch_dtype)
        method.heads.load_state_dict(state)
    return method


def part(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors whose names begin so, by the rest of the name."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def scale_shapes(name: str, columns: int) -> Shapes:
    """Return the shapes of the scale of a table of features."""
    return {f"scale.{name}.mean": (columns,), f"scale.{name}.scale": (columns,)}


def _linear(name: str, sizes: Sequence[int]) -> Shapes:
    """Return the shapes of linear layers one after the other, with a nonlinearity between any two."""
    found: Shapes = {}
    for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        found |= {f"{name}.{2 * i}.weight": (fan_out, fan_in), f"{name}.{2 * i}.bias": (fan_out,)}
    return found


def router_shapes(prefix: str, columns: int, settings: Settings) -> Shapes:
    """Return the shapes of a router on so many columns of prompt features."""
    hidden = [settings.router_hidden] if settings.router_hidden else []
    return _linear(f"{prefix}.layers", [columns, *hidden, settings.heads])


def restored_router(found: Tensors, prefix: str, settings: Settings) -> Router:
    """Return the router whose tensors begin with the prefix."""
    state = part(found, f"{prefix}.")
    columns = state["layers.0.weight"].shape[1]
    router = Router(columns, settings.heads, settings.router_hidden, torch.Generator(), settings.torch_dtype)
    router.load_state_dict(state)
    return router


def _number(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


# --- weights over heads: the router, HyRe on MiCRo's heads, HyRe


def _mixtures(row: type[PersonWeights]) -> _Kind:
    routed, prior = row is PersonRouter, row is PersonHyRe

    def shapes(s: Settings, d: int, q: int, _: int) -> Shapes:
        found = {"heads.weight": (s.heads, d), "own.temperature": (1,)} | scale_shapes("responses", d)
        if prior:
            found |= {"heads.prior.outer": (s.heads, PRIOR_UNITS), "heads.prior.inner": (PRIOR_UNITS, d)}
            found |= {"heads.prior.bias": (PRIOR_UNITS,)}
        if routed:
            found |= router_shapes("router", q, s) | scale_shapes("prompts", q)
        return found

    def tensors(made: PersonWeights) -> Tensors:
        router = {f"router.{k}": v for k, v in made.mixture.weights.state_dict().items()} if routed else {}
        return _base_tensors(made.mixture, prompts=routed) | router | {"own.temperature": _number(made.temperature)}

    def prior_heads(count: int, d: int, generator: torch.Generator, dtype: torch.dtype) -> PriorHeads:
        return PriorHeads(count, d, generator, TanhPrior(count, d, generator), dtype)

    def restored(settings: Settings, seed: int, found: Tensors) -> PersonWeights:
        made = row(settings, seed)
        if prior:
            made.mixture = _base(SharedBaseMLP(settings, seed), found, prior_heads)
        else:
            made.mixture = _base(PromptOnly(settings, seed), found)
        if routed:
            made.mixture.weights = made.mixture.stage1_weights = restored_router(found, "router", settings)
        made.temperature = found["own.temperature"].item()
        return made

    return _Kind(shapes, lambda s, d: s.heads, tensors, restored)


# --- classes, a ridge, MRM: on the features as the pooled head scales them


def _classes_shapes(s: Settings, d: int, q: int, directions: int) -> Shapes:
    own = {"own.directions": (directions, d), "own.heads": (CLASSES, directions), "own.shares": (CLASSES,)}
    return own | scale_shapes("responses", d)


def _classes_tensors(row: PersonClasses) -> Tensors:
    own = {"own.heads": torch.from_numpy(row.classes.heads), "own.shares": torch.from_numpy(row.classes.weights)}
    return _base_tensors(row.mixture, heads=False) | own | {"own.directions": row.directions.double()}


def _classes(settings: Settings, seed: int, found: Tensors) -> PersonClasses:
    row = PersonClasses(settings, seed)
    row.mixture = _base(SingleExact(settings, seed), found)
    row.directions = found["own.directions"]
    of_training = np.zeros((0, CLASSES))  # people of whom a model says nothing
    row.classes = LatentClasses(found["own.heads"].numpy(), found["own.shares"].numpy(), of_training, ())
    return row


def _ridge_tensors(row: PersonRidge) -> Tensors:
    return _base_tensors(row.pooled) | {"own.strength": _number(row.strength), "own.unit": _number(row.unit)}


def _ridge(settings: Settings, seed: int, found: Tensors) -> PersonRidge:
    row = PersonRidge(settings, seed)
    row.pooled = _base(SingleExact(settings, seed), found)
    row.strength, row.unit = found["own.strength"].item(), found["own.unit"].item()
    return row


def _mrm_tensors(row: Mrm) -> Tensors:
    own = {"own.heads": row.heads, "own.start": row.start, "own.step": _number(row.step)}
    return _base_tensors(row.pooled, heads=False) | own


def _mrm(settings: Settings, seed: int, found: Tensors) -> Mrm:
    row = Mrm(settings, seed)
    row.pooled = _base(SingleExact(settings, seed), found)
    row.heads, row.start, row.step = found["own.heads"], found["own.start"], found["own.step"].item()
    return row


# --- LoRe, PAL, VPL


def _known(method: type[UserMethod]) -> _Kind:
    def shapes(s: Settings, d: int, q: int, _: int) -> Shapes:
        found = scale_shapes("responses", d) | {"own.unknown": (s.heads,)}
        if method is Pal:
            return found | {"heads.stored_projection": (DIMENSION, d), "heads.stored_points": (s.heads, DIMENSION)}
        found["heads.weight"] = (s.heads, d)
        if method is Vpl:
            found |= _linear("encoder.embed.0", [d, UNITS])
            found |= _linear("encoder.infer", [UNITS, UNITS, max(1, 2 * (s.heads - 1))])
        return found

    def tensors(row: PersonKnown) -> Tensors:
        fitted = row.fitted
        encoder = fitted.weights.state_dict() if method is Vpl else {}
        own = {"own.unknown": fitted.table[-1].double()} | {f"encoder.{k}": v for k, v in encoder.items()}
        return _base_tensors(fitted) | own

    def restored(settings: Settings, seed: int, found: Tensors) -> PersonKnown:
        row = PersonKnown(method, settings, seed)
        new = _base(row.fitted, found, Prototypes if method is Pal else Heads)
        if method is Vpl:
            d = len(found["scale.responses.mean"])
            new.weights = PairSetEncoder(d, settings.heads - 1, torch.Generator(), settings.torch_dtype)
            new.weights.load_state_dict(part(found, "encoder."))
        row.fitted = row.method = new.knowing({}, found["own.unknown"])
        return row

    return _Kind(shapes, lambda s, d: s.heads, tensors, restored)


_KINDS: dict[str, _Kind] = {
    "person_router": _mixtures(PersonRouter),
    "person_micro_hyre": _mixtures(PersonMicroHyRe),
    "person_hyre": _mixtures(PersonHyRe),
    "person_classes": _Kind(_classes_shapes, lambda s, d: CLASSES, _classes_tensors, _classes),
    "person_ridge": _Kind(
        lambda s, d, q, _: (
            {"heads.weight": (1, d), "own.strength": (1,), "own.unit": (1,)} | scale_shapes("responses", d)
        ),
        lambda s, d: d,
        _ridge_tensors,
        _ridge,
    ),
    "lore": _known(LoRe),
    "pal": _known(Pal),
    "vpl": _known(Vpl),
    "mrm": _Kind(
        lambda s, d, q, _: (
            {"own.heads": (s.heads, d), "own.start": (s.heads,), "own.step": (1,)} | scale_shapes("responses", d)
        ),
        lambda s, d: s.heads,
        _mrm_tensors,
        _mrm,
    ),
}
ROWS = tuple(_KINDS)
_NAMES: dict[type, str] = {
    PersonRouter: "person_router",
    PersonMicroHyRe: "person_micro_hyre",
    PersonHyRe: "person_hyre",
    PersonClasses: "person_classes",
    PersonRidge: "person_ridge",
    LoRe: "lore",
    Pal: "pal",
    Vpl: "vpl",
    Mrm: "mrm",
    PersonNone: "person_none",
    PersonLength: "person_length",
    PersonPosition: "person_position",
}


def make_row(name: str, settings: Settings | Mapping[str, Any] | None = None, seed: int = 0) -> PersonRow:
    """Return a new, unfitted row that `Micro` can carry.

    Args:
        name: one of ROWS.

    Raises:
        InputError: no such row, or one that no model can carry; says why.
    """
    row = find_row(name)
    if name in REFUSED:
        raise InputError(f"{name} cannot be carried, {REFUSED[name]}: take one of {', '.join(ROWS)}")
    return row.make(settings, seed)


def is_row(method: Any) -> bool:
    """Whether this is a row that adapts to persons, one that a model can carry or not."""
    return isinstance(method, PersonMethod | PersonKnown | UserMethod)


def carry(row: PersonMethod | PersonKnown | UserMethod) -> Carried:
    """Return a fitted row as a model carries it: with the people that it is adapted to, and none of training.

    Args:
        row: one of ROWS. A bare LoRe, PAL or VPL knows nobody then: everybody who gives labels is new.

    Raises:
        InputError: another row, one that is not fitted, one that needs a context, or one that was trained on pairs that
            name no users.
    """
    bare = isinstance(row, UserMethod)
    name = row_name(row)
    if name in REFUSED or name not in _KINDS:
        raise InputError(f"{name} cannot be carried, {REFUSED.get(name, 'it is no row of tables of persons')}")
    if bare:
        wrapped = PersonKnown(type(row), row.settings, row.seed)
        wrapped.fitted = wrapped.method = row
        row = wrapped
    fitted = row.fitted.names is not None if isinstance(row, PersonKnown) else len(row.table) > 0
    if not fitted:
        raise InputError(f"{name} is not fitted: call fit first")
    if isinstance(row, PersonKnown) and not row.fitted.names_users:
        raise InputError(f"{name} was trained on pairs without user_id, so it knows no persons: give one a pair")
    if isinstance(row, PersonRouter) and row.settings.stage1_context:
        raise InputError("stage1_context: a router that reads stated contexts cannot be carried; train it without")
    return row.knowing(row.people())


def row_name(row: PersonMethod | PersonKnown | UserMethod) -> str:
    """Return the name of a row; that of its class where tables have none."""
    kind = type(row.fitted) if isinstance(row, PersonKnown) else type(row)
    return _NAMES.get(kind, kind.__name__)


def _scaler(row: Carried) -> Scaler:
    """Return the scale of responses."""
    if isinstance(row, PersonKnown):
        return row.fitted.scalers["responses"]
    return (row.mixture if isinstance(row, PersonWeights) else row.pooled).scalers["responses"]


def width(row: Carried) -> int:
    """Return d, how many columns the features of a response have."""
    return len(_scaler(row).mean)


# --- what is written


def tensors(row: Carried) -> Tensors:
    """Return all that a row needs to predict and to adapt, by name; `users` (U, W) are the people, in order of name."""
    found = _KINDS[row_name(row)].tensors(row)
    if people := row.people():
        found["users"] = torch.stack([people[name] for name in sorted(people)]).double()
    return copies(found)


def copies(found: Tensors) -> Tensors:
    """Return copies on the CPU, as they are written."""
    return {k: v.detach().cpu().clone().contiguous() for k, v in found.items()}


def shapes(name: str, settings: Settings, users: int, found: Shapes) -> Shapes:
    """Return the shape that each tensor of a row must have; how many columns features have is for `found` to say.

    Args:
        name: of the row.
        users: U, how many people it knows.
        found: shapes of the tensors that there are.

    Raises:
        InputError: no such row.
    """
    if name not in _KINDS:
        raise InputError(f"the row is {shown(name)}, this version knows {', '.join(ROWS)}")
    d, q = ((found.get(f"scale.{of}.mean") or (0,))[0] for of in ("responses", "prompts"))
    kind = _KINDS[name]
    wanted = kind.shapes(settings, d, q, (found.get("own.directions") or (0,))[0])
    return wanted | ({"users": (users, kind.width(settings, d))} if users else {})


def dtype(name: str, settings: Settings) -> torch.dtype:
    """Return the kind of numbers in the tensor of that name: the settings' in networks, else float64."""
    return settings.torch_dtype if name.startswith(NETWORKS) else torch.float64


def possible(name: str, tensor: Tensor) -> bool:
    """Whether a tensor of that name holds values that training and adapting can give."""
    if name == "own.shares" and not abs(tensor.sum().item() - 1) < 1e-6:
        return False
    if name.endswith((".scale", ".strength")):  # infinite: a column that never moves, or no offset at all
        return bool((tensor > 0).all())
    if not torch.isfinite(tensor).all():
        return False
    if name in ("own.temperature", "own.unit", "own.shares"):
        return bool((tensor > 0).all())
    return name != "own.step" or bool((tensor >= 0).all())


def restored(name: str, settings: Settings, seed: int, users: Sequence[str], found: Tensors) -> Carried:
    """Return the row that `tensors` was given, of tensors that are as `shapes`, `dtype` and `possible` say."""
    row = _KINDS[name].restored(settings, seed, found)
    return row.knowing(dict(zip(users, found["users"], strict=True)) if users else {})


# --- new texts as pairs


def encode_labels(backbone: Backbone, features: FeatureSettings, labels: pd.DataFrame) -> Pairs:
    """Return labelled pairs with the features of their texts.

    Args:
        labels: columns prompt, prompt_id, chosen, rejected, user_id.

    Raises:
        InputError: a text that cannot be encoded, or responses that are the same to the backbone in all pairs.
    """
    tables, prompts, rows = [], [], {}
    for prompt_id, own in labels.groupby("prompt_id", sort=False):
        texts = list(dict.fromkeys([*own["chosen"], *own["rejected"]]))
        phi, u, _, _ = encode_new(backbone, features, own["prompt"].iloc[0], texts)
        start = sum(len(table) for table in tables)
        rows |= {(prompt_id, text): (start + i, len(prompts)) for i, text in enumerate(texts)}
        tables.append(phi)
        prompts.append(u)
    chosen, prompt = zip(*(rows[key] for key in zip(labels["prompt_id"], labels["chosen"], strict=True)), strict=True)
    rejected = [rows[key][0] for key in zip(labels["prompt_id"], labels["rejected"], strict=True)]
    pairs = _pairs(torch.cat(tables), chosen, rejected, torch.stack(prompts), prompt, labels["user_id"])
    if not pairs.difference.any():
        raise InputError("the responses of each pair are the same to the backbone: give pairs that differ earlier on")
    return pairs


def adapted(row: Carried, pairs: Pairs) -> Carried:
    """Return the row with the one person who gave these labels, anew if it knew the person, and all whom it knew."""
    person = adapt_person(row, pairs)
    return row.knowing(row.people() | person.row.people())


@dataclass(frozen=True)
class Scores:
    """What one person's row says of n responses to a prompt.

    Attributes:
        rewards: (n,), of each; only differences carry meaning.
        weights: of the rewards that people weigh, (K,).
        wins: P(row's response preferred over the column's), (n, n); the diagonal is 1/2.
    """

    rewards: Tensor
    weights: Tensor
    wins: Tensor


def score(row: Carried, responses: Tensor, prompt: Tensor, user: str | None) -> Scores:
    """Return what the row says of responses phi (n, d) to a prompt u (q,), for a person that it knows.

    A reward is the weighted margin over a response of mean features, which linear rewards give 0.

    Args:
        user: None = somebody of whom nothing is known.
    """
    if user is None:
        row, user = row.knowing({}), ""
    n, mean = len(responses), _scaler(row).mean
    table = torch.cat([responses.to(mean), mean[None]])
    first = torch.arange(n)
    a, b = (torch.cat([x, y]) for x, y in ((first.repeat_interleave(n), first), (first.repeat(n), first * 0 + n)))
    every = _pairs(table, a, b, prompt[None], torch.zeros_like(a), np.full(len(a), user))
    wins = torch.from_numpy(row.predict_proba(every))[: n * n].view(n, n)
    alone = every.select(slice(n * n, None))
    weights = torch.from_numpy(row.mixture_weights(alone)).double()
    rewards = (weights * torch.from_numpy(row.head_margins(alone)).double()).sum(dim=1)
    return Scores(rewards, weights[0], wins.double())


def check_user(row: Carried, user: Any) -> str | None:
    """Return the name of a person whom the row knows, or None.

    Raises:
        InputError: nobody of that name; names some whom it knows.
    """
    if user is None:
        return None
    name = str(user) if type(user) is int and abs(user) < 10**18 else user
    known = row.names.tolist()
    if name in known:
        return name
    some = ", ".join(known[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "") or "nobody"
    raise InputError(f"user {shown(user)} is unknown.{suggest(user, known)} Known: {some}; call adapt_to_user first")


def _pairs(
    responses: Tensor, chosen: Any, rejected: Any, prompts: Tensor, prompt: Any, users: Sequence[str] | np.ndarray
) -> Pairs:
    rows = [torch.as_tensor(x, dtype=torch.long) for x in (chosen, rejected, prompt)]
    nothing = np.full(len(rows[0]), "")
    return Pairs(
        responses=responses,
        chosen=rows[0],
        rejected=rows[1],
        prompts=prompts,
        prompt=rows[2],
        contexts=None,
        context=None,
        lengths=torch.full((len(responses),), math.nan, dtype=torch.float64),  # no row that is carried reads them
        pair_id=nothing,
        prompt_id=nothing,
        attribute=nothing,
        user_id=np.asarray(users, dtype=str),
    )
