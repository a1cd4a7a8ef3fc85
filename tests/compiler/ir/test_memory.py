"""Which tensors share memory, and which hold the same numbers."""

from __future__ import annotations

import pytest
import torch
from trt_passes.compiler.ir.memory import (
    fingerprint,
    first_overlap,
    overlap,
    parts_of,
    same_numbers,
    view_key,
)

from tests.subclasses import Quantized

BASE = torch.arange(16.0).reshape(4, 4)
COMPLEX = torch.complex(BASE, BASE + 1)

DIFFERENT = {
    "subclasses": (Quantized.of(BASE + 1), Quantized.of(BASE + 2)),
    "sparse": (BASE.to_sparse(), (BASE * 2).to_sparse()),
    "empty": (torch.zeros(0, 4), torch.zeros(0, 4)),
    "meta": (BASE.to("meta"), BASE.to("meta")),
    "transposed": (BASE, BASE.t()),
    "expanded": (BASE[:1].expand(4, 4), BASE[1:2].expand(4, 4)),
    "conjugated": (COMPLEX, COMPLEX.conj()),
    "negated": (COMPLEX.imag, COMPLEX.conj().imag),
    "other type": (BASE, BASE.view(torch.int32)),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_tensors_that_differ_have_other_keys(case: str) -> None:
    one, other = DIFFERENT[case]
    assert view_key(one) != view_key(other)
    assert view_key(one) == view_key(one)


def test_the_same_view_made_twice_has_one_key() -> None:
    assert view_key(BASE[1:].t()) == view_key(BASE[1:].t())


@pytest.mark.parametrize("case", ["subclasses", "sparse", "transposed", "expanded", "conjugated", "negated"])
def test_other_numbers_have_another_fingerprint(case: str) -> None:
    one, other = DIFFERENT[case]
    assert fingerprint(one) != fingerprint(other)


def test_the_fingerprint_is_of_the_numbers_and_not_of_their_layout() -> None:
    assert fingerprint(BASE.t().contiguous()) == fingerprint(BASE.t())
    assert fingerprint(COMPLEX.conj().imag) == fingerprint(-COMPLEX.imag)
    assert fingerprint(BASE[:1].expand(4, 4)) == fingerprint(BASE[:1].repeat(4, 1))
    changed = BASE.clone()
    before = fingerprint(changed)
    changed.data[3, 3] += 1
    assert fingerprint(changed) != before


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_the_numbers_of_a_quantized_tensor() -> None:
    one, other = (torch.quantize_per_tensor(values, 0.5, 0, torch.qint8) for values in (BASE, BASE + 1))
    assert same_numbers(one, one.clone())
    assert not same_numbers(one, other)


def test_tensors_overlap_where_they_share_bytes() -> None:
    memory = torch.zeros(4, 8)
    assert overlap(memory[:2], memory[1:3])
    assert not overlap(memory[:2], memory[2:])
    assert not overlap(memory[:, ::2], memory[:, 1::2])
    assert overlap(memory[:, ::2], memory.view(torch.int32)[:, 2:3])
    assert first_overlap([memory[:1], memory[1:2], memory[1:]]) == (1, 2)
    assert first_overlap([memory[:1], memory[1:2], memory[2:]]) is None
    assert first_overlap([memory, memory], lambda one, other: False) is None


def test_a_subclass_consists_of_what_it_wraps() -> None:
    weight = Quantized.of(BASE + 1)
    assert [part is item for part, item in zip(parts_of(weight), (weight.q, weight.s), strict=True)] == [True, True]
    assert len(parts_of(BASE.to_sparse())) == 2
    assert parts_of(BASE)[0] is BASE
