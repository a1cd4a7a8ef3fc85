"""Decomposition: what it leaves is what converters take."""

import torch
import trt_passes as tp
from torch import nn
from trt_passes.passes.decompose import is_decomposed


class Halves(nn.Module):
    """The first half of all elements: x f32[B,4] -> f32[2*B]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(-1)[: x.numel() // 2] * 2


def test_sizes_are_kept():
    queries = ("sym_size.int", "sym_stride.int", "sym_numel.default", "sym_storage_offset.default")
    for query in queries:
        packet, overload = query.split(".")
        assert not is_decomposed(getattr(getattr(torch.ops.aten, packet), overload))


def test_the_number_of_elements_of_a_dynamic_tensor():
    compiled = tp.compile(
        Halves(),
        [tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(8, 4))],
        min_block_size=1,
        executor="reference",
    )
    assert compiled.report.coverage == 1
    for batch in (1, 5, 8):
        x = torch.randn(batch, 4)
        torch.testing.assert_close(compiled(x), Halves()(x))
