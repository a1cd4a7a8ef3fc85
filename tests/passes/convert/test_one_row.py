"""Products and attention of one row of halves, with weights and caches that are inputs: multiplied and added."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from tests.oracle import Converted, check

HALVES = [torch.float16, torch.bfloat16]


def is_a_sum(found: Converted) -> bool:
    """Whether there is no product of matrices."""
    kinds = found.layers()
    return "MATRIX_MULTIPLY" not in kinds and "REDUCE" in kinds


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(1, 24), (1, 1, 24), (1, 1, 1, 24)])
@pytest.mark.parametrize("bias", [False, True])
def test_one_row_times_a_weight(dtype: torch.dtype, shape: tuple[int, ...], bias: bool) -> None:
    x, weight, added = torch.randn(shape).to(dtype), torch.randn(40, 24).to(dtype), torch.randn(40).to(dtype)
    assert is_a_sum(check(F.linear, [x, weight, added][: 3 if bias else 2]))


@pytest.mark.parametrize(
    "inputs",
    [
        (torch.randn(2, 24).half(), torch.randn(40, 24).half()),
        (torch.randn(1, 24), torch.randn(40, 24)),
        (torch.randn(24).half(), torch.randn(40, 24).half()),
    ],
    ids=["two rows", "float32", "a vector"],
)
def test_others_are_products(inputs: Any) -> None:
    assert not is_a_sum(check(F.linear, inputs))


def test_terms_are_added_up_in_float32() -> None:
    x, weight = torch.full((1, 4096), 16.0).half(), torch.ones(3, 4096).half()
    weight[:, ::2] = -1
    weight[0, 0] = 1
    check(F.linear, [x, weight], tolerance=(0.0, 0.0))


KEYS = {"keys": (1, 80, 100)}


@pytest.mark.parametrize("mask", ["bool", "float", "none", "hides all"])
@pytest.mark.parametrize(
    ("heads", "rows", "gqa"), [(2, 4, False), (8, 1, True), (2, 1, False)], ids=["packed", "grouped", "plain"]
)
def test_attention_of_a_token(mask: str, heads: int, rows: int, gqa: bool) -> None:
    dtype = torch.bfloat16 if mask == "none" else torch.float16
    query, key, value = (
        torch.randn(shape).to(dtype) for shape in ((1, heads, rows, 16), (1, 2, 80, 16), (1, 2, 80, 8))
    )
    masks: dict[str, Any] = {
        "bool": torch.rand(1, 1, 1, 80) > 0.5,
        "float": torch.randn(1, 1, 1, 80).to(dtype),
        "hides all": torch.zeros(1, 1, 1, 80, dtype=torch.bool),
    }
    given = masks.get(mask)
    if mask == "bool":
        given[..., 0] = True
    inputs = [query, key, value] if given is None else [query, key, value, given]

    def attend(query: Any, key: Any, value: Any, mask: Any = None) -> torch.Tensor:
        return F.scaled_dot_product_attention(query, key, value, mask, enable_gqa=gqa)

    dynamic = [None, {2: "keys"}, {2: "keys"}, {3: "keys"}][: len(inputs)]
    assert "TOPK" in check(attend, inputs, dynamic, KEYS).layers()


@pytest.mark.parametrize(("terms", "sums"), [(4096, True), (6144, True), (14336, True), (4099, False)])
def test_long_rows_are_sums_of_parts(terms: int, sums: bool) -> None:
    x, weight = torch.randn(1, terms).half(), torch.randn(5, terms).half()
    assert is_a_sum(check(F.linear, [x, weight])) == sums


@pytest.mark.parametrize(
    ("shapes", "dtype"),
    [
        (((2, 2, 1, 16), (2, 2, 80, 16)), torch.float16),
        (((1, 2, 9, 16), (1, 2, 80, 16)), torch.float16),
        (((1, 2, 1, 16), (1, 2, 8, 16)), torch.float16),
        (((1, 2, 1, 16), (1, 2, 80, 16)), torch.float32),
    ],
    ids=["two sequences", "nine queries", "eight keys", "float32"],
)
def test_other_attention_is_products(shapes: Any, dtype: torch.dtype) -> None:
    query, key = (torch.randn(shape).to(dtype) for shape in shapes)
    assert "TOPK" not in check(F.scaled_dot_product_attention, [query, key, key.clone()]).layers()


def test_large_scores_are_exact() -> None:
    query, key, value = (torch.randn(1, 2, rows, 16).half() for rows in (4, 80, 80))
    # In halves these scores, up to some thousands, have errors of more than 1.
    check(F.scaled_dot_product_attention, [query * 300, key, value])
