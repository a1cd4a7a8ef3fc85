"""What products took on a GPU, by the form of their operands: one table, by which forms are chosen where none is tuned.

Measured with TensorRT-RTX 1.6.1 on an H200, microseconds of a CUDA graph's replay (`benchmarks/quantised.py forms`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

GPU = "an H200"
"""Where the table was measured."""

MARGIN = 1.05
"""How much longer a form that takes less memory may take."""


@dataclass(frozen=True)
class ProductTimes:
    """Products of rows x inner with inner x columns.

    Attributes:
        rows, columns, inner: the sizes.
        us: microseconds by the form: "f16", "int8 weights", "int4 weights", "int8", "fp8", and "… apart" for weights
            that are dequantised by a kernel of their own.
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
    known = [item for item in TIMES if all(form in item.us for form in forms)]
    return min(known, key=lambda item: _distance(item, rows, columns, inner), default=None)


def _distance(item: ProductTimes, rows: int, columns: int, inner: int) -> float:
    """Of the logarithms of sizes; for a product it matters more how many rows there are than how the rest is shaped."""
    pairs = ((rows, item.rows, 2.0), (columns, item.columns, 1.0), (inner, item.inner, 1.0))
    return sum(weight * math.log(max(one, 1) / other) ** 2 for one, other, weight in pairs)


def slower(form: str, other: str, rows: int, columns: int, inner: int) -> ProductTimes | None:
    """The measured product by which a form takes longer than another that takes more memory; None if it does not."""
    item = nearest(rows, columns, inner, (form, other))
    return item if item is not None and item.us[form] > MARGIN * item.us[other] else None


def _table(*rows: tuple[int, int, int, dict[str, float]]) -> tuple[ProductTimes, ...]:
    return tuple(ProductTimes(*row) for row in rows)


TIMES = _table(
    (
        *(1, 4096, 4096),
        {"f16": 16.6, "int4 weights": 14.5, "int8": 18.0, "fp8": 17.9, "fp8 pytorch": 8.1, "int4 weights pytorch": 6.9},
    ),
    (
        *(1, 14336, 4096),
        {"f16": 40.2, "int8 weights": 33.7, "int4 weights": 30.4, "int8": 27.0, "fp8": 28.6}
        | {"fp8 pytorch": 18.3, "int4 weights pytorch": 18.2},
    ),
    (
        *(8, 14336, 4096),
        {"f16": 35.2, "int8 weights": 34.2, "int4 weights": 30.4, "int8": 27.0, "fp8": 28.6}
        | {"fp8 pytorch": 18.8, "int4 weights pytorch": 41.2},
    ),
    (
        *(64, 4096, 4096),
        {"f16": 11.7, "int8 weights": 36.8, "int4 weights": 21.3, "int8": 12.2, "fp8 pytorch": 9.7, "fp8": 12.0}
        | {"int4 weights pytorch": 79.3},
    ),
    (
        *(512, 14336, 4096),
        {"f16": 95.7, "int8 weights": 146.4, "int4 weights": 422.5, "int8": 72.8, "fp8": 93.1, "fp8 pytorch": 46.4},
    ),
    (3072, 768, 768, {"f16": 12.3, "int8 weights": 21.9, "int8": 16.7, "fp8": 16.0, "fp8 pytorch": 7.2}),
    (3072, 3072, 768, {"f16": 26.3, "int8": 47.5, "fp8": 44.0, "fp8 pytorch": 16.0}),
    (3072, 768, 3072, {"f16": 27.9, "int8": 23.0, "fp8": 36.3, "fp8 pytorch": 13.0}),
)
