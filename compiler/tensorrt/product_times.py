"""What products took on a GPU, by the form of their operands: the table by which forms are chosen without a tuning.

Measured with TensorRT-RTX 1.6.1 on an H200: microseconds of a CUDA graph's replay; see `docs/quantisation.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..ir.symbols import example_size

GPU = "an H200"
"""Where the table was measured."""

MARGIN = 1.05
"""How much longer weights in few bits may take, which are a gain in memory; products in eight bits must be faster."""

LARGE = 1 << 16
"""Numbers of a weight from which on it matters how it is stored and multiplied."""

LEAST = 7.0
"""Microseconds that PyTorch's kernels take at least, with what quantises for them."""

LEAST_OF_HALVES = 4.0
"""Microseconds that TensorRT's products of halves take, however small they are."""


@dataclass(frozen=True)
class ProductTimes:
    """Products of rows x inner with inner x columns.

    Attributes:
        rows, columns, inner: the sizes.
        us: microseconds by the form: "f16", "int8 weights", "int4 weights", "int8", "fp8", and "… pytorch" for
            PyTorch's own kernels.
    """

    rows: int
    columns: int
    inner: int
    us: Mapping[str, float]

    @property
    def sizes(self) -> str:
        """The three sizes as text."""
        return f"{self.rows} x {self.columns} x {self.inner}"


def nearest(rows: int, columns: int, inner: int, forms: tuple[str, ...]) -> ProductTimes | None:
    """The measured product of the most similar sizes for which some forms were measured; None if there is none."""
    beside = any(form.endswith(_PYTORCH) for form in forms)
    known = [item for item in (_KERNELS if beside else _ENGINES) if all(form in item.us for form in forms)]
    return min(known, key=lambda item: _distance(item, rows, columns, inner), default=None)


_PYTORCH = " pytorch"


def _distance(item: ProductTimes, rows: int, columns: int, inner: int) -> float:
    """Of the logarithms of sizes; for a product it matters more how many rows there are than how the rest is shaped."""
    pairs = ((rows, item.rows, 2.0), (columns, item.columns, 1.0), (inner, item.inner, 1.0))
    return sum(weight * math.log(max(one, 1) / other) ** 2 for one, other, weight in pairs)


def slower(form: str, rows: int, columns: int, inner: int) -> ProductTimes | None:
    """The measured product by which a form gains nothing beside halves; None if it does."""
    item = nearest(rows, columns, inner, (form, "f16"))
    allowed = MARGIN if form.endswith(" weights") else 1.0
    return item if item is not None and item.us[form] > allowed * item.us["f16"] else None


def faster_in_pytorch(rows: int, columns: int, inner: int, form: str, others: tuple[str, ...]) -> ProductTimes | None:
    """The measured product by which a kernel of PyTorch's takes less time than TensorRT's forms; None if it does not.

    Few of its sizes were measured: where the nearest is another, it counts as much longer or shorter as there is more
    or less to multiply, and is compared with what TensorRT takes for halves of the sizes that were measured there.
    """
    item = nearest(rows, columns, inner, (form, *others))
    halves = nearest(rows, columns, inner, ("f16",))
    if item is None or halves is None or any(item.us[form] >= item.us[other] for other in others):
        return None
    share = rows * columns * inner / (item.rows * item.columns * item.inner)
    ours = rows * columns * inner / (halves.rows * halves.columns * halves.inner)
    # What does not grow with the sizes is in all times.
    theirs = LEAST_OF_HALVES + (halves.us["f16"] - LEAST_OF_HALVES) * max(1.0, ours)
    is_faster = max(LEAST, item.us[form] * share) < theirs
    return item if share == 1 or is_faster else None


def usual_sizes(left: torch.Tensor, weight: int) -> tuple[int, int, int] | None:
    """Rows, columns and inner size of a product with so many weights, the usual ones; None if one is not known."""
    *batch, inner = map(example_size, left.shape)
    if inner is None or any(size is None for size in batch):
        return None
    return math.prod(size for size in batch if size is not None), weight // inner, inner


_FORMS = ("f16", "int8 weights", "int4 weights", "int8", "fp8")


def _of(columns: int, inner: int, rows: Mapping[int, tuple[float, ...]]) -> list[ProductTimes]:
    return [ProductTimes(count, columns, inner, dict(zip(_FORMS, us, strict=True))) for count, us in rows.items()]


_ENGINES = (
    *_of(
        768,
        768,
        {
            1: (3.3, 7.9, 5.7, 6.3, 6.2),
            8: (4.4, 6, 5.7, 6.1, 6.5),
            16: (5.7, 6.1, 5.8, 6.1, 6.3),
            32: (6.3, 9, 6, 6, 6.8),
            64: (5, 9.5, 5.8, 6.2, 6.7),
            128: (4.8, 10.9, 7.7, 6.8, 7.1),
            256: (5.6, 13.6, 8.7, 7.4, 8.3),
            512: (5.8, 15.1, 11.4, 8.7, 9.4),
            1024: (6.3, 17.5, 15, 10.3, 11.2),
            4096: (12.8, 22.4, 41.9, 19.5, 24.2),
        },
    ),
    *_of(
        3072,
        768,
        {
            1: (5.6, 8.4, 6.8, 7, 6.5),
            8: (6, 6.3, 5.9, 6.3, 6.7),
            16: (5.5, 6.5, 6.3, 6.5, 7),
            32: (5.5, 15, 7.7, 6.7, 7.3),
            64: (6, 14.9, 8.8, 7.4, 8.1),
            128: (6.2, 18, 11.5, 8.4, 8.5),
            256: (6.8, 17.7, 15, 10.4, 11.3),
            512: (8.2, 13.7, 32.1, 14.6, 16.1),
            1024: (12.7, 22.4, 41.9, 18.6, 23.6),
            4096: (35.3, 59.4, 137.3, 64.8, 80.4),
        },
    ),
    *_of(
        768,
        3072,
        {
            1: (5.4, 8.4, 5.9, 8.5, 11),
            8: (5.4, 6.3, 6.3, 9.3, 10.8),
            16: (5.8, 6.4, 6.2, 11.8, 7.5),
            32: (5.7, 13.1, 7, 11.8, 8),
            64: (7.4, 14.3, 7.7, 11.8, 9.8),
            128: (7.8, 17.8, 10.4, 9.5, 12),
            256: (8.5, 12, 14.6, 9.5, 12.4),
            512: (12.6, 20.1, 25.4, 12.4, 16.8),
            1024: (11.6, 21.9, 34.8, 14.3, 18),
            4096: (34.8, 55.4, 143.8, 40.9, 53.2),
        },
    ),
    *_of(
        2048,
        2048,
        {
            1: (5.1, 8.2, 6.6, 8.2, 7),
            8: (5.9, 6.4, 6.6, 11.3, 7.4),
            16: (5.7, 7.4, 7.4, 12.3, 8.8),
            32: (7.1, 16.7, 9.2, 11, 8.4),
            64: (6.2, 17.8, 9.2, 8.1, 9.8),
            128: (7.2, 12.4, 12.8, 9, 10.8),
            256: (9.3, 15.6, 17.9, 10.8, 13.1),
            512: (10.8, 16.7, 76.6, 12.7, 15),
            1024: (15.9, 22.9, 77.4, 17.8, 21.5),
            4096: (58.4, 77.1, 219.4, 67.4, 80.6),
        },
    ),
    *_of(
        4096,
        4096,
        {
            1: (11.3, 13.7, 11.7, 14.5, 12.7),
            8: (13.1, 11, 16, 10.4, 12.9),
            16: (13.9, 11.7, 14.9, 10.5, 13.1),
            32: (14, 41.8, 23.5, 11, 13.6),
            64: (12.1, 37.2, 21, 11.6, 14.4),
            128: (17.5, 21.3, 30.1, 15.1, 19),
            256: (20.6, 27.4, 147.9, 16.6, 20.5),
            512: (26.4, 36.4, 150.7, 25.3, 31.2),
            1024: (57.5, 71.9, 214.4, 46.3, 56.9),
            4096: (205.9, 296.1, 847.3, 154.4, 233.6),
        },
    ),
    *_of(
        14336,
        4096,
        {
            1: (39.4, 33.4, 30.8, 40.5, 22.2),
            8: (30.5, 30.1, 27, 22.1, 23.7),
            16: (31.3, 30.8, 26.8, 23.2, 25.1),
            32: (57.3, 128.1, 46.3, 27.3, 49.1),
            64: (58.6, 107.6, 55, 24.9, 26.2),
            128: (34.1, 96, 74.6, 32, 31.6),
            256: (48.6, 78, 190.9, 44.4, 54.8),
            512: (91, 147.9, 421.1, 71.8, 102.3),
            1024: (175.4, 246.7, 733.9, 146.6, 208.7),
            4096: (712.9, 1021.9, 2964.1, 492.5, 718.8),
        },
    ),
)
"""TensorRT's products; those of int8 and fp8 with the kernel that quantises their input, of one row padded to eight for
int8 weights."""

_KERNELS = (
    ProductTimes(1, 4096, 4096, {"f16": 11.3, "fp8": 12.7, "fp8 pytorch": 8.1}),
    ProductTimes(1, 4096, 4096, {"f16": 11.3, "int4 weights": 11.7, "int4 weights pytorch": 6.9}),
    ProductTimes(1, 14336, 4096, {"f16": 39.4, "fp8": 22.2, "fp8 pytorch": 18.3}),
    ProductTimes(1, 14336, 4096, {"f16": 39.4, "int4 weights": 30.8, "int4 weights pytorch": 18.2}),
    ProductTimes(8, 14336, 4096, {"f16": 30.5, "fp8": 23.7, "fp8 pytorch": 18.8}),
    ProductTimes(8, 14336, 4096, {"f16": 30.5, "int4 weights": 27.0, "int4 weights pytorch": 41.2}),
    ProductTimes(64, 4096, 4096, {"f16": 12.1, "fp8": 14.4, "fp8 pytorch": 9.7}),
    ProductTimes(64, 4096, 4096, {"f16": 12.1, "int4 weights": 21.0, "int4 weights pytorch": 79.3}),
    ProductTimes(512, 14336, 4096, {"f16": 91.0, "fp8": 102.3, "fp8 pytorch": 46.4}),
    ProductTimes(3072, 768, 768, {"f16": 13.6, "fp8": 12.0, "fp8 pytorch": 7.2}),
    ProductTimes(3072, 3072, 768, {"f16": 26.3, "fp8": 40.0, "fp8 pytorch": 16.0}),
    ProductTimes(3072, 768, 3072, {"f16": 27.9, "fp8": 32.3, "fp8 pytorch": 13.0}),
)
"""PyTorch's kernels beside TensorRT's, with few rows as above, with 3,072 without what is around them in BERT."""

TIMES: tuple[ProductTimes, ...] = (*_ENGINES, *_KERNELS)
