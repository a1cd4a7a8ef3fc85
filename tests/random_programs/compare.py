"""What a compiled program gave beside what PyTorch gives, allowing for other roundings and for nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_EPSILON = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float32: 5e-7, torch.float64: 5e-16}
_TF32, _RUNS = 1e-3, 6
_TOLERANCE = {torch.float16: (1e-2, 2e-3), torch.bfloat16: (5e-2, 1e-2), torch.float64: (1e-6, 1e-8)}
_PRODUCTS = ("mm", "conv", "linear", "attention", "mv", "dot", "gru", "lstm", "rnn", "adaptive_avg_pool")
"""Words in the names of operators that engines compute as matrix products or convolutions, which may be TF32's."""

_FACTOR = 12.0
"""How many times the largest of the errors seen with other roundings a result may be off."""

_EXACT = frozenset(
    {
        "_local_scalar_dense",
        "_to_copy",
        "_unsafe_view",
        "abs",
        "all",
        "amax",
        "amin",
        "any",
        "arange",
        "argmax",
        "argmin",
        "as_strided",
        "cat",
        "ceil",
        "clamp",
        "clone",
        "constant_pad_nd",
        "copy",
        "cummax",
        "cummin",
        "detach",
        "diagonal",
        "empty",
        "eq",
        "expand",
        "eye",
        "fill",
        "flip",
        "floor",
        "full",
        "full_like",
        "gather",
        "ge",
        "gt",
        "isfinite",
        "isinf",
        "isnan",
        "le",
        "lift_fresh",
        "lift_fresh_copy",
        "lt",
        "masked_fill",
        "masked_scatter",
        "masked_select",
        "max",
        "maximum",
        "min",
        "minimum",
        "ne",
        "neg",
        "nonzero",
        "ones",
        "ones_like",
        "permute",
        "relu",
        "repeat",
        "reshape",
        "roll",
        "round",
        "scatter",
        "sgn",
        "sign",
        "sort",
        "split",
        "squeeze",
        "stack",
        "t",
        "topk",
        "transpose",
        "tril",
        "triu",
        "trunc",
        "unbind",
        "unfold",
        "unsqueeze",
        "view",
        "where",
        "zero",
        "zeros",
        "zeros_like",
    }
)
"""Operators that only move values, or whose results are exact."""


_UNORDERED = frozenset({"topk", "kthvalue", "median", "mode", "sort"})
"""Operators that do not say which of equal elements comes first."""

_CHOOSE = frozenset({*_UNORDERED, "argmax", "argmin", "max", "min", "cummax", "cummin", "argsort"})
"""Operators that give places of elements; in a lower precision more of these are equal."""


class OtherRoundings(TorchDispatchMode):
    """Runs what PyTorch runs, with each inexact result off by a random error of the size of a rounding."""

    def __init__(self, seed: int, *, least: torch.dtype | None, tf32: bool) -> None:
        super().__init__()
        self._generator = torch.Generator().manual_seed(seed)
        self._least, self._tf32 = least, tf32

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        if (name in _UNORDERED and not (kwargs or {}).get("stable")) or (name in _CHOOSE and self._least is not None):
            args = (self._disturbed(args[0]), *args[1:])
        result = func(*args, **(kwargs or {}))
        returns = func._schema.returns
        if any(item.alias_info is not None and not item.alias_info.is_write for item in returns):
            return result
        moves = name.startswith(("new_", "slice", "select", "index", "bitwise", "logical", "empty"))
        if moves or name.rstrip("_") in _EXACT:
            return result
        product = any(word in name for word in _PRODUCTS)
        for item in result if isinstance(result, tuple | list) else [result]:
            if isinstance(item, Tensor) and item.is_floating_point() and item.numel():
                self._disturb(item, product)
        return result

    def _disturbed(self, item: Tensor) -> Tensor:
        if not item.is_floating_point() or not item.numel():
            return item
        size = _EPSILON[item.dtype]
        if self._least is not None:
            size = max(size, _EPSILON[self._least])
        noise = torch.rand(item.shape, generator=self._generator, dtype=torch.float64) * 4 * size
        return (item.double() + noise * (item.double().abs() + 1e-3)).to(item.dtype)

    def _disturb(self, item: Tensor, product: bool) -> None:
        size = _EPSILON.get(item.dtype, 5e-7)
        if self._least is not None and item.dtype in (torch.float32, torch.float64):
            size = max(size, _EPSILON[self._least])
        if product and self._tf32:
            size = max(size, _TF32)
        noise = torch.rand(item.shape, generator=self._generator, dtype=torch.float64) * 2 - 1
        item.copy_((item.double() * (1 + size * noise)).to(item.dtype))


def difference(found: Sequence[Any], expected: Sequence[Any]) -> str:
    """The first difference between two lists of results, in words; "" if there is none within tolerance."""
    if len(found) != len(expected):
        return f"{len(found)} results instead of {len(expected)}"
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        text = _leaf_difference(a, b)
        if text:
            return f"result {index}: {text}"
    return ""


def _leaf_difference(a: Any, b: Any) -> str:
    if not isinstance(b, Tensor):
        if type(a) is not type(b):
            return f"a {type(a).__name__} instead of a {type(b).__name__}"
        same = a == b or (isinstance(a, float) and (abs(a - b) <= 1e-4 * abs(b) + 1e-5))
        return "" if same else f"{a!r} instead of {b!r}"
    if not isinstance(a, Tensor):
        return f"a {type(a).__name__} instead of a tensor"
    if a.dtype != b.dtype:
        return f"dtype {a.dtype} instead of {b.dtype}"
    if a.shape != b.shape:
        return f"shape {tuple(a.shape)} instead of {tuple(b.shape)}"
    a, b = a.detach().cpu(), b.detach().cpu()
    if not (b.is_floating_point() or b.is_complex()):
        return "" if torch.equal(a, b) else f"values {_some(a)} instead of {_some(b)}"
    relative, absolute = _TOLERANCE.get(b.dtype, (1e-4, 1e-5))
    scale = b.abs()[b.isfinite()].max().item() if b.isfinite().any() else 0.0
    close = torch.isclose(a, b, rtol=relative, atol=absolute * max(1.0, scale), equal_nan=True)
    return "" if close.all() else f"values {_some(a[~close])} instead of {_some(b[~close])}"


def _some(item: Tensor) -> str:
    return str([round(v, 5) if isinstance(v, float) else v for v in item.flatten()[:4].tolist()])


def is_rounding(
    found: Sequence[Any],
    expected: Sequence[Any],
    run: Callable[[AbstractContextManager[Any]], Sequence[Any]],
    *,
    least: torch.dtype | None,
    tf32: bool,
) -> bool:
    """Whether results differ no more than those of PyTorch do when every inexact operation rounds otherwise.

    Args:
        found, expected: results, flat.
        run: runs the program in PyTorch within a context, on new copies of its inputs, and gives its results.
        least: the lower precision that the compiled program may compute in.
        tf32: whether products of float32 may be those of TF32.
    """
    others = []
    for seed in range(_RUNS):
        try:
            others.append(list(run(OtherRoundings(seed, least=least, tf32=tf32))))
        except Exception:
            # With other roundings it fails, or another branch is taken: nothing can be said.
            return True
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        if _leaf_difference(a, b) and not _within(a, b, [other[index] for other in others]):
            return False
    return True


def _within(a: Any, b: Any, others: Sequence[Any]) -> bool:
    if not isinstance(b, Tensor):
        return any(_leaf_difference(other, b) for other in others)
    if any(not isinstance(o, Tensor) or o.shape != b.shape for o in others):
        return True
    if not isinstance(a, Tensor) or a.dtype != b.dtype or a.shape != b.shape:
        return False
    if not b.is_floating_point():
        return any(not torch.equal(o.cpu(), b.cpu()) for o in others)
    a, b = a.detach().cpu().double(), b.detach().cpu().double()
    rest = [o.detach().cpu().double() for o in others]
    if any(not torch.equal(o.isfinite(), b.isfinite()) for o in rest):
        return True
    spread = torch.stack([(o - b).abs().nan_to_num(0, 0, 0) for o in rest]).amax(0)
    off = (a - b).abs()
    settled = b.isfinite()
    # An element's own spread may be small by chance; that of all elements says how large errors are.
    limit = _FACTOR * torch.maximum(spread, spread.max() * 0.3) + 1e-9
    same = (a == b) | (a.isnan() & b.isnan())
    return bool(((off <= limit) & settled | same).all())
