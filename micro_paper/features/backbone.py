"""Frozen language models: token groups in, hidden states out.

A stack cut to its first `layers` layers gives the raw hidden state after the last of them. The complete stack
(`layers=0`, or as many as the model has) keeps the final norm, as the language or reward head reads it.
Features are standardised later in both cases.

In float32 and bfloat16 the last digits of a hidden state depend on the processor. In float64 every step runs in
float64, norms and rotary positions included, which the models' own code takes to float32: hidden states of two
processors then differ by less than 1e-13 of their size.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from micro_paper.errors import InputError
from micro_paper.features.model_files import SAFE, fingerprint, first_line, locate, quiet
from micro_paper.features.tokens import ChatTokens
from micro_paper.training import resolve_device

_CACHED = 8192  # tokens whose keys and values a batch of responses to one prompt may hold
_FINAL_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")


@dataclass(frozen=True)
class Group:
    """One prompt with all that is read from it.

    Attributes:
        ids: (t,) token ids of the prompt.
        reads: (row, positions) pairs; the mean hidden state of the prompt at these positions goes to that
            row.
        responses: (row, ids, positions) triples; the same for responses that follow the prompt.
    """

    ids: np.ndarray
    reads: list[tuple[int, np.ndarray]] = field(default_factory=list)
    responses: list[tuple[int, np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return len(self.ids) + sum(len(ids) for _, ids, _ in self.responses)


@dataclass(frozen=True)
class Backbone:
    """A frozen decoder (no head) and its tokenizer; `hidden_size` is the feature dimension d = q."""

    name: str
    layers: int
    dtype: torch.dtype
    device: torch.device
    fingerprint: str
    model: nn.Module
    tokenizer: Any

    @property
    def hidden_size(self) -> int:
        return self.model.config.hidden_size

    @property
    def max_positions(self) -> int | None:
        return _setting(self.model.config, "max_position_embeddings")

    @cached_property
    def chat(self) -> ChatTokens:
        """What gives the tokens of prompts and responses, within the model's positions."""
        try:
            return ChatTokens(self.tokenizer, self.max_positions or sys.maxsize)
        except InputError as error:
            raise InputError(f"backbone {self.name!r} cannot be used: {error}") from error

    @classmethod
    def load(cls, name: str, layers: int = 0, dtype: str = "auto", device: str = "auto") -> Backbone:
        """Load a causal or sequence-classification model without its head.

        Args:
            name: "smollm2" (packaged), a folder, or a hub id, `org/model` or `org/model@revision`.
            layers: how many layers to keep from the bottom; 0 keeps all and the final norm.
            dtype: "auto", "bfloat16", "float32" or "float64" (see `resolve_dtype`).
            device: as `training.resolve_device` takes it.

        Raises:
            MissingError: the model is neither here nor reachable.
            InputError: not a causal text model with complete weights and its own tokenizer, fewer than `layers` layers,
                a chat template that cannot be followed, too little memory, or no such device.
        """
        from transformers import AutoConfig, AutoModel, AutoTokenizer

        target = resolve_device(device)
        kind = resolve_dtype(dtype, target)
        folder = locate(name)
        with quiet():
            try:
                config = AutoConfig.from_pretrained(folder, **SAFE)
                tokenizer = AutoTokenizer.from_pretrained(folder, **SAFE)
            except Exception as error:  # the tokenizers' own errors are of no narrower kind
                raise _unreadable(name, folder, error) from error
            if "text_config" in config.to_dict():
                raise InputError(
                    f"backbone {name!r} ({config.model_type}) is an image-and-text model or has other parts beside "
                    "text: name a text model, or a folder that holds its text part alone"
                )
            total = _setting(config, "num_hidden_layers")
            if total is None or layers > total or layers < 0:
                raise InputError(f"layers={layers}: backbone {name!r} has {total}; give 0 (all) to {total}")
            keep = layers or total
            config.num_hidden_layers = keep
            if kinds := _setting(config, "layer_types"):
                config.layer_types = kinds[:keep]
            try:
                with _throughout(kind), _enough_memory(name, target):
                    model, info = AutoModel.from_pretrained(
                        folder,
                        config=config,
                        dtype=kind,
                        attn_implementation="sdpa",
                        output_loading_info=True,
                        use_safetensors=True,
                        **SAFE,
                    )
            except InputError:
                raise
            except Exception as error:  # safetensors and transformers raise several kinds for a damaged file
                raise _unreadable(name, folder, error) from error
        if info["missing_keys"]:
            lacking = sorted(info["missing_keys"])[0]
            raise InputError(f"backbone {name!r} lacks weights, e.g. {lacking}: get its complete files")
        if keep < total:
            _drop_final_norm(model, name)
        with _enough_memory(name, target):
            model = model.eval().requires_grad_(False).to(target)
        backbone = cls(name, layers, kind, target, fingerprint(name), model, tokenizer)
        backbone._check_causal()
        backbone._check_tokens()
        return backbone

    @torch.inference_mode()
    def encode(self, groups: Sequence[Group], token_budget: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Encode each prompt once and its responses on the prompt's keys and values.

        Args:
            groups: sorted by prompt length, so that batches hold little padding.
            token_budget: tokens in one forward pass, padding included (a single longer sequence passes
                alone); 0 = 1024 on a CPU, 16384 on CUDA.

        Yields:
            rows (b,) int64 and their features (b, d), float64 of a float64 backbone and float32 of any other, both on
            the CPU.
        """
        token_budget = token_budget or (16384 if self.device.type == "cuda" else 1024)
        start = 0
        while start < len(groups):
            stop = start + 1
            while stop < len(groups) and (stop - start + 1) * len(groups[stop].ids) <= token_budget:
                stop += 1
            with _enough_memory(self.name, self.device):
                yield from self._encode_batch(groups[start:stop], token_budget)
            start = stop

    @torch.inference_mode()
    def hidden_states(self, ids: np.ndarray) -> Tensor:
        """Return the hidden states (t, d) of one token sequence (t,), on the CPU: what features are means of."""
        tokens = torch.from_numpy(np.asarray(ids, np.int64))[None]
        with _enough_memory(self.name, self.device):
            mask, positions = torch.ones_like(tokens, dtype=torch.bool), torch.arange(tokens.shape[1])[None]
            return self._forward(tokens, mask, positions, use_cache=False)[0][0].cpu()

    def _encode_batch(self, groups: Sequence[Group], budget: int) -> Iterator[tuple[Tensor, Tensor]]:
        # Prompts are padded on the left, responses on the right: what a row holds stays contiguous.
        lengths = torch.tensor([len(g.ids) for g in groups])
        width = int(lengths.max())
        ids = torch.zeros(len(groups), width, dtype=torch.long)
        for i, group in enumerate(groups):
            ids[i, width - len(group.ids) :] = torch.from_numpy(group.ids)
        pad = width - lengths
        columns = torch.arange(width)
        mask = columns >= pad[:, None]
        sharing = any(g.responses for g in groups)
        hidden, cache = self._forward(ids, mask, (columns - pad[:, None]).clamp(min=0), use_cache=sharing)
        reads = [(row, i, where + int(pad[i])) for i, g in enumerate(groups) for row, where in g.reads]
        if reads:
            yield _pool(hidden, reads)
        todo = [(i, *r) for i, g in enumerate(groups) for r in g.responses]
        todo.sort(key=lambda r: len(r[2]))
        while todo:
            # Memory bound: keys and values of a batch may hold eight times the tokens of its forward pass.
            size = 1
            while size < len(todo):
                longest = len(todo[size][2])
                if (size + 1) * longest > budget or (size + 1) * (width + longest) > 8 * budget:
                    break
                size += 1
            part, todo = todo[:size], todo[size:]
            yield self._encode_responses(part, lengths, mask, cache)

    @torch.inference_mode()
    def states_after(self, prompt: np.ndarray, responses: Sequence[np.ndarray]) -> list[Tensor]:
        """Return the hidden states (1 + r, d) of the prompt's last token and of a response's r, of each response.

        The prompt (t,) is read once for all responses.
        """
        tokens, length = torch.from_numpy(np.asarray(prompt, np.int64))[None], torch.tensor([len(prompt)])
        mask = torch.ones_like(tokens, dtype=torch.bool)
        size = max(1, _CACHED // (len(prompt) + max(map(len, responses), default=0)))
        found = []
        with _enough_memory(self.name, self.device):
            before, cache = self._forward(tokens, mask, torch.arange(len(prompt))[None])
            for start in range(0, len(responses), size):
                part = responses[start : start + size]
                after = self._after(part, torch.zeros(len(part), dtype=torch.long), length, mask, cache)
                found += [torch.cat([before[0, -1:], h[: len(ids)]]) for h, ids in zip(after, part, strict=True)]
        return found

    def _encode_responses(self, part: list, lengths: Tensor, prompt_mask: Tensor, cache: Any) -> tuple[Tensor, Tensor]:
        owner = torch.tensor([i for i, *_ in part])
        hidden = self._after([ids for *_, ids, _ in part], owner, lengths, prompt_mask, cache)
        return _pool(hidden, [(row, b, where) for b, (_, row, _, where) in enumerate(part)])

    def _after(
        self, responses: Sequence[np.ndarray], owner: Tensor, lengths: Tensor, prompt_mask: Tensor, cache: Any
    ) -> Tensor:
        """Return the hidden states (b, width, d) of b responses, each on the keys and values of its owner's prompt."""
        sizes = torch.tensor([len(ids) for ids in responses])
        columns = torch.arange(int(sizes.max()))
        ids = torch.zeros(len(responses), len(columns), dtype=torch.long)
        for row, tokens in enumerate(responses):
            ids[row, : len(tokens)] = torch.from_numpy(tokens)
        mask = torch.cat([prompt_mask[owner], columns < sizes[:, None]], dim=1)
        positions = lengths[owner][:, None] + columns
        return self._forward(ids, mask, positions, past=_select(cache, owner.to(self.device)))[0]

    def _forward(
        self, ids: Tensor, mask: Tensor, positions: Tensor, *, use_cache: bool = True, past: Any = None
    ) -> tuple[Tensor, Any]:
        from transformers import DynamicCache

        if past is None and use_cache:
            # Not made from the config: sliding-window layers keep all keys, their mask hides the far.
            past = DynamicCache()
        with _throughout(self.dtype):
            out = self.model(
                input_ids=ids.to(self.device),
                attention_mask=None if mask.all() else mask.long().to(self.device),
                position_ids=positions.to(self.device),
                past_key_values=past,
                use_cache=use_cache,
            )
        return out.last_hidden_state, past

    def _check_causal(self) -> None:
        ids = torch.tensor([[3, 4, 5, 6], [3, 4, 5, 7]])
        try:
            with torch.inference_mode(), _enough_memory(self.name, self.device):
                hidden, cache = self._forward(ids, torch.ones(2, 4, dtype=torch.bool), torch.arange(4)[None])
            causal = torch.allclose(hidden[0, :3], hidden[1, :3], atol=1e-2, rtol=1e-2)
            causal = causal and cache.get_seq_length() == 4
        except InputError:
            raise
        except RuntimeError as error:  # of the device or the weights
            raise InputError(f"backbone {self.name!r} does not run on {self.device}: {first_line(error)}") from error
        except Exception as error:  # many kinds, by what a model that is no decoder makes of the cache
            raise InputError(f"backbone {self.name!r} is no causal model: {first_line(error)}") from error
        if not causal:
            raise InputError(f"backbone {self.name!r} is no causal model: features need a decoder")

    def _check_tokens(self) -> None:
        known, unwritten = self.model.get_input_embeddings().num_embeddings, self.chat.unwritten
        for word, i in sorted(self.tokenizer.get_vocab().items(), key=lambda entry: entry[1]):
            if i >= known and i not in unwritten:
                raise InputError(
                    f"backbone {self.name!r}: its tokenizer has the token {word!r} ({i}), its weights only {known} "
                    "tokens, so they do not belong together: use the tokenizer of these weights"
                )


def resolve_dtype(dtype: str = "auto", device: torch.device | None = None) -> torch.dtype:
    """Return the dtype; "auto" is bfloat16 where the device computes in it, else float32.

    "float64" is slower and for few texts: what is learnt from such features is the same on every processor.
    """
    known = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
    if dtype in known:
        return known[dtype]
    if dtype != "auto":
        raise InputError(f"dtype must be auto, {', '.join(known)}, got {dtype!r}")
    if (device or resolve_device()).type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has = torch.cpu.get_capabilities()
        fast = any(has.get(k, False) for k in ("avx512_bf16", "amx_bf16", "amx_tile"))
    return torch.bfloat16 if fast else torch.float32


def feature_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of the features of a backbone that computes in `dtype`: float64 stays, others are float32."""
    return torch.promote_types(dtype, torch.float32)


class _Float64(TorchFunctionMode):
    """Takes every request for float32 in Python code as one for float64; models ask for it by name."""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        wide = {torch.float32: torch.float64}
        args = [wide.get(a, a) if isinstance(a, torch.dtype) else a for a in args]
        kwargs = {k: wide.get(v, v) if isinstance(v, torch.dtype) else v for k, v in (kwargs or {}).items()}
        return func(*args, **kwargs)


def _throughout(dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Return the context in which a model computes; of float64 it leaves no step in float32."""
    return _Float64() if dtype == torch.float64 else contextlib.nullcontext()


def _setting(config: Any, name: str) -> Any:
    """Return a setting of a model's config under its common name, or None where this kind of model has none."""
    return config.to_dict().get(config.attribute_map.get(name, name))


def _drop_final_norm(model: nn.Module, name: str) -> None:
    parts = dict(model.named_children())
    for part in _FINAL_NORMS:
        if part in parts:
            setattr(model, part, nn.Identity())
            return
    raise InputError(f"backbone {name!r} ({type(model).__name__}) has no final norm known here: use layers=0")


def _select(cache: Any, rows: Tensor) -> Any:
    """Return a new cache with the prompts at `rows` (b,); the given one is left as it is."""
    from transformers import DynamicCache

    new = DynamicCache()
    same = len(rows) == 1 or bool((rows == rows[0]).all())
    for i, (keys, values, *_) in enumerate(cache):
        if same:  # one prompt for all: a view, no copy
            first = int(rows[0])
            keys, values = (x[first : first + 1].expand(len(rows), -1, -1, -1) for x in (keys, values))
        else:
            keys, values = keys[rows], values[rows]
        new.update(keys[..., :0, :], values[..., :0, :], i)
        new.layers[i].keys, new.layers[i].values = keys, values
    return new


def _pool(hidden: Tensor, reads: list[tuple[int, int, np.ndarray]]) -> tuple[Tensor, Tensor]:
    """Return rows (r,) and the means (r, d) of hidden (b, t, d) over (row, batch index, positions)."""
    where = [torch.from_numpy(positions).to(hidden.device) for *_, positions in reads]
    kind = feature_dtype(hidden.dtype)
    features = torch.stack([hidden[b, w].to(kind).mean(0) for (_, b, _), w in zip(reads, where, strict=True)])
    return torch.tensor([row for row, *_ in reads]), features.cpu()


@contextlib.contextmanager
def _enough_memory(name: str, device: torch.device) -> Iterator[None]:
    """Say so where the device's memory does not suffice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        out = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
        if not out:
            raise
        raise InputError(
            f"backbone {name!r} needs more memory than {device} has: lower token_budget, max_tokens or layers, choose "
            "dtype bfloat16, a smaller backbone or another device"
        ) from error


def _unreadable(name: str, folder: Any, error: Exception) -> InputError:
    return InputError(
        f"backbone {name!r} cannot be loaded from {folder}: {first_line(error)}; if it is damaged, delete it"
    )
