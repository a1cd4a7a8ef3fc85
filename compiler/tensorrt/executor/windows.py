"""Sliding windows of convolution and pooling: how much of what padding each of TensorRT's padding modes means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .call import Call


@dataclass(frozen=True)
class Window:
    """A sliding window over the spatial dimensions; every tuple has one entry per dimension.

    Attributes:
        size: elements covered, without dilation.
        stride: elements between two windows.
        before: padding in front.
        after: padding behind, the overhang included.
        overhang: what the rounding up of the output size adds behind the explicit padding.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    overhang: tuple[int, ...]

    def pad_amounts(self) -> list[int]:
        """For `torch.nn.functional.pad`: before and after of the last dimension first."""
        return _pad_amounts(self.before, self.after)

    def explicit_pad_amounts(self) -> list[int]:
        after = tuple(total - extra for total, extra in zip(self.after, self.overhang, strict=True))
        return _pad_amounts(self.before, after)

    def overhang_amounts(self) -> list[int]:
        return _pad_amounts((0,) * len(self.overhang), self.overhang)


def _pad_amounts(before: Sequence[int], after: Sequence[int]) -> list[int]:
    pairs = list(zip(before, after, strict=True))
    return [amount for pair in reversed(pairs) for amount in pair]


def read_window(call: Call, size: Iterable[int], dilation: Sequence[int], inputs: Sequence[int]) -> Window:
    """The window of a convolution or pooling layer over an input with these spatial dimensions."""
    handle = call.handle
    sizes, stride = tuple(size), tuple(handle.stride_nd)
    extents = [(width - 1) * step + 1 for width, step in zip(sizes, dilation, strict=True)]
    mode = handle.padding_mode.name
    if mode.startswith("SAME"):
        totals = [
            max(0, (-(-length // step) - 1) * step + extent - length)
            for length, step, extent in zip(inputs, stride, extents, strict=True)
        ]
        smaller = tuple(total // 2 for total in totals)
        larger = tuple(total - half for total, half in zip(totals, smaller, strict=True))
        before, after = (smaller, larger) if mode == "SAME_UPPER" else (larger, smaller)
        return Window(sizes, stride, before, after, (0,) * len(sizes))
    before, after = tuple(handle.pre_padding), tuple(handle.post_padding)
    overhang = (0,) * len(sizes)
    if mode == "EXPLICIT_ROUND_UP":
        overhang = tuple(
            -(length + pre + post - extent) % step
            for length, pre, post, extent, step in zip(inputs, before, after, extents, stride, strict=True)
        )
        after = tuple(post + extra for post, extra in zip(after, overhang, strict=True))
    return Window(sizes, stride, before, after, overhang)
