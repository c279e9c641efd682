"""An accelerator that is not there: tensors that hold their values on the CPU and count as being elsewhere.

What is moved to the device "meta", or made there, becomes a `Placed` tensor. Every operation on it computes on the
CPU, and is refused where a CUDA device would refuse it: operands on two devices (numbers without dimensions, copies,
and row numbers that index a placed table excepted), a generator of the CPU for draws on the device, values that are
handed to numpy without `.cpu()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map_only

ELSEWHERE = torch.device("meta")
aten = torch.ops.aten
_CROSSING = (aten._to_copy.default, aten.copy_.default)
_INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default)


class Misplaced(RuntimeError):
    """An operation that a CUDA device would refuse."""


class Placed(Tensor):
    """A tensor of the device; `held` are its values."""

    @staticmethod
    def __new__(cls, held: Tensor) -> Placed:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, device=ELSEWHERE, **layout)

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self) -> str:
        return f"Placed({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Device(TorchDispatchMode):
    """Sees what the CPU's own tensors are asked to do: to move, and to be made elsewhere."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Made(TorchFunctionMode):
    """`torch.tensor` on this device would drop its values before any operation is seen."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.tensor and _elsewhere(kwargs.get("device")):
            del kwargs["device"]
            return func(*args, **kwargs).to(ELSEWHERE)
        if func is torch.Tensor.__getitem__:  # so would row numbers in a list
            where = args[1] if isinstance(args[1], tuple) else (args[1],)
            where = tuple(torch.tensor(w) if isinstance(w, list) else w for w in where)
            return func(args[0], where if len(where) > 1 else where[0])
        return func(*args, **kwargs)


def _elsewhere(device: Any) -> bool:
    return device is not None and torch.device(device) == ELSEWHERE


def _run(func: Callable, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    asked = kwargs.get("device")
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    placed = any(isinstance(t, Placed) for t in tensors)
    if not placed and not _elsewhere(asked):
        return func(*args, **kwargs)
    there = placed if asked is None else _elsewhere(asked)
    if func is aten.copy_.default:
        there = isinstance(args[0], Placed)
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if func not in _CROSSING:
        indexed = func in _INDEXING and isinstance(args[0], Placed)  # row numbers may then be on the CPU
        for t in tree_leaves((args[0], args[2:]) if indexed else tensors):
            if isinstance(t, Tensor) and not isinstance(t, Placed) and t.ndim:
                raise Misplaced(f"{func}: operands on two devices, one of shape {tuple(t.shape)} on the CPU")
        if any(isinstance(leaf, torch.Generator) for leaf in tree_leaves((args, kwargs))):
            raise Misplaced(f"{func}: a generator of the CPU draws on the device; draw on the CPU and move")
    bare_args, bare_kwargs = tree_map_only(Placed, lambda t: t.held, (tuple(args), kwargs))
    out = func(*bare_args, **bare_kwargs)
    if there:
        out = tree_map_only(Tensor, Placed, out)
    return return_and_correct_aliasing(func, args, kwargs, out) if placed else out


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it "cuda" names the device that is not there, for settings and backbones alike."""
    from micro_paper.features import backbone
    from micro_paper.methods import settings

    adamw = torch.optim.AdamW
    with monkeypatch.context() as patch, _Made(), _Device():
        for module in (settings, backbone):
            patch.setattr(module, "resolve_device", lambda name: ELSEWHERE if name == "cuda" else torch.device(name))
        # The fused optimiser has no kernel for this device.
        patch.setattr(torch.optim, "AdamW", lambda *args, **options: adamw(*args, **(options | {"fused": False})))
        yield
