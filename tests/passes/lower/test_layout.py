"""Layouts of views against the elements that PyTorch puts there."""

from __future__ import annotations

import itertools
from math import prod

import hypothesis.strategies as st
import torch
from hypothesis import given, settings
from trt_passes.passes.lower.layout import Layout


def elements(layout: Layout) -> torch.Tensor:
    """Where every element of a view lies: i64 of the view's shape."""
    modes = [mode for dim in layout.dims for mode in dim]
    places = [layout.offset + sum(i * m.stride for i, m in zip(at, modes, strict=True)) for at in steps(modes)]
    return torch.tensor(places, dtype=torch.int64).reshape(layout.shape)


def steps(modes):
    return itertools.product(*(range(mode.size) for mode in modes))


@st.composite
def factorings(draw, total):
    """A shape with so many elements."""
    shape = []
    while total > 1:
        size = draw(st.sampled_from([d for d in range(1, total + 1) if total % d == 0]))
        shape.append(size)
        total //= size
    return tuple(draw(st.permutations(shape)))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_views_of_views(data):
    shape = data.draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4))
    tensor, layout = torch.arange(prod(shape)).reshape(shape), Layout.contiguous(shape)
    for _ in range(data.draw(st.integers(1, 6))):
        kind = data.draw(st.sampled_from(["permute", "transpose", "view", "narrow", "select"]))
        dims = len(tensor.shape)
        if not dims:
            break
        dim = data.draw(st.integers(-dims, dims - 1))
        if kind == "permute":
            order = data.draw(st.permutations(range(dims)))
            tensor, layout = tensor.permute(*order), layout.permute(order)
        elif kind == "transpose":
            other = data.draw(st.integers(0, dims - 1))
            tensor, layout = tensor.transpose(dim, other), layout.transpose(dim, other)
        elif kind == "view":
            wanted = data.draw(factorings(tensor.numel()))
            viewed = layout.view(wanted)
            if viewed is None:
                continue
            tensor, layout = tensor.reshape(wanted), viewed
        elif kind == "narrow":
            start = data.draw(st.integers(0, tensor.shape[dim] - 1))
            size = data.draw(st.integers(1, tensor.shape[dim] - start))
            part = layout.narrow(dim, start, size)
            if part is None:
                continue
            tensor, layout = tensor.narrow(dim, start, size), part
        else:
            index = data.draw(st.integers(0, tensor.shape[dim] - 1))
            part = layout.select(dim, index)
            if part is None:
                continue
            tensor, layout = tensor.select(dim, index), part
        assert layout.shape == tuple(tensor.shape)
        assert elements(layout).equal(tensor)


def test_no_elements():
    empty = Layout.contiguous((0, 4))
    assert empty.view((0, 2, 2)).shape == (0, 2, 2)
    assert Layout.contiguous((4, 0)).view((2, 0)).shape == (2, 0)
    assert Layout.contiguous((2, 3)).view((0, 6)) is None


def test_dimensions_that_were_merged_and_parted_again():
    merged = Layout.contiguous((5, 2, 12)).permute((1, 0, 2)).view((10, 12))
    assert merged.view((2, 5, 3, 4)) == Layout.contiguous((5, 2, 3, 4)).permute((1, 0, 2, 3))
    assert merged.view((5, 2, 12)) is None
    assert merged.narrow(0, 1, 2) is None
    assert merged.view((11, 12)) is None
    assert merged.view((10, 6)) is None
