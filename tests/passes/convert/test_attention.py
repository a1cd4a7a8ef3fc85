"""Scaled dot-product attention against eager."""

import re

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp

from tests.marks import gpu
from tests.models import TORCH_RELEASE
from tests.oracle import check, converted

sdpa = F.scaled_dot_product_attention
q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, 4, 7, 8), torch.randn(2, 4, 7, 8)
mask = torch.rand(5, 7) > 0.4
mask[0], mask[1] = True, False
DYNAMIC = [{0: "n", 2: "s"}, {0: "n", 2: "t"}, {0: "n", 2: "t"}]
RANGES = {"n": (2, 2, 3), "s": (2, 5, 9), "t": (2, 7, 11)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_dynamic_batch_and_lengths(dtype):
    def function(q, k, v):
        return sdpa(q, k, v), sdpa(q, k, v, is_causal=True), sdpa(q, k, v, scale=0.3)

    check(function, [part.to(dtype) for part in (q, k, v)], DYNAMIC, RANGES, build=True)


def test_masks_with_a_row_that_hides_everything():
    def function(q, k, v, m, f):
        infinite = torch.where(m, 0.0, float("-inf"))
        batched = sdpa(q, k, v, m), sdpa(q, k, v, m[None, None]), sdpa(q, k, v, f), sdpa(q, k, v, infinite)
        return *batched, sdpa(q[0], k[0], v[0], m), sdpa(q[0], k[0], v[0], infinite)

    check(function, [q, k, v, mask, torch.randn(2, 1, 5, 7)], build=True)


def test_a_constant_mask_is_examined_when_converting():
    visible = torch.ones(5, 7, dtype=torch.bool).tril(2)

    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", visible)

        def forward(self, q, k, v):
            return sdpa(q, k, v, self.mask)

    assert "REDUCE" not in check(Masked(), [q, k, v], build=True).layers()


@pytest.mark.skipif(TORCH_RELEASE < (2, 13), reason="torch.export before 2.13 fixes the lengths of grouped queries")
def test_grouped_queries():
    def function(q, k, v):
        return sdpa(q, k, v, enable_gqa=True), sdpa(q[0], k[0], v[0], enable_gqa=True)

    check(function, [q, k[:, :2], v[:, :2]], DYNAMIC, RANGES, build=True)


def test_three_dimensions_and_other_value_sizes():
    def function(q, k, v):
        return sdpa(q[0], k[0], v[0], is_causal=True), sdpa(q, k, v[..., :4])

    check(function, [q.half(), k.half(), v.half()], build=True)


def test_padding_needs_no_layer_after_attention():
    """A mask that is the same for all queries, with its rows repeated by an operator, and one that is not."""

    class Padded(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("everything", torch.ones(5, 1, dtype=torch.bool))

        def forward(self, q, k, v, padding, causal):
            return sdpa(q, k, v, padding[:, None, None, :] & self.everything), sdpa(q, k, v, causal)

    padding = torch.tensor([[True] * 4 + [False] * 3, [False] * 7])
    text = check(Padded(), [q, k, v, padding, mask], build=True).built.text()
    assert re.findall(r"%(\S+seen\S*) = SELECT", text) == [
        "scaled_dot_product_attention.seen_value",
        "scaled_dot_product_attention_1.seen",
    ]


@pytest.mark.parametrize("size", [1, 300, 3000])
@pytest.mark.parametrize("head", [4, 16, 24, 64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_that_halves_cannot_hold(head, size, dtype):
    """PyTorch adds them up and keeps them in float32: they are neither infinite nor scaled by rounded numbers."""
    torch.manual_seed(0)
    shapes = (5, head), (7, head), (7, head)
    query, key, value = (torch.randn(1, 2, *shape).to(dtype) for shape in shapes)
    result = check(sdpa, [query * size, key * size, value], build=size == 1, tolerance=(2e-2, 2e-2))
    # TensorRT fuses scores of halves with their softmax; smaller heads it does not fuse, and all is in float32.
    kind = "f32" if head == 4 else {torch.float16: "f16", torch.bfloat16: "bf16"}[dtype]
    products = [row for row in result.built.text().splitlines() if "MATRIX_MULTIPLY" in row]
    assert [row.split(" : ")[1].split("[")[0] for row in products] == [kind, kind]


def test_large_scores_with_scales_masks_and_causality():
    def function(q, k, v, mask, number):
        scaled = sdpa(q, k, v, scale=2.0), sdpa(q, k, v, scale=1e-4), sdpa(q, k, v, scale=-0.5), sdpa(q, k, v, scale=0)
        return *scaled, sdpa(q, k, v, mask), sdpa(q, k, v, number), sdpa(q, k, v, is_causal=True)

    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, size, 16).half() for size in (5, 7, 7))
    numbers = torch.randn(5, 7).half() * 1000
    check(function, [query * 500, key * 500, value, mask, numbers], tolerance=(2e-2, 2e-2))


@gpu
@pytest.mark.parametrize("head", [16, 32, 64, 128])
def test_scores_in_the_hundreds_are_not_rounded_to_halves_on_a_gpu(head):
    class Attention(torch.nn.Module):
        def forward(self, q, k, v):
            return sdpa(q, k, v)

    torch.manual_seed(0)
    inputs = [torch.randn(2, 8, 256, head).half().cuda() * size for size in (6, 6, 1)]
    compiled = tp.compile(
        Attention(), inputs, enabled_precisions={torch.float16}, executor="tensorrt", min_block_size=1
    )
    exact = sdpa(*(part.double() for part in inputs))
    error = torch.linalg.vector_norm(compiled(*inputs) - exact) / torch.linalg.vector_norm(exact)
    # Rounding each scaled query, let alone each score, makes it 3e-3 and more.
    assert error < 2e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_products_of_one_query_are_of_two_rows(dtype):
    """What follows products of one row in their kernel is wrong on a GPU."""
    query, key = torch.randn(3, 1, 24, dtype=dtype), torch.randn(3, 3, 24, dtype=dtype)

    def attend(q, k, v):
        weights = torch.bmm(q, k.mT).float().softmax(-1).to(q.dtype)
        turned = torch.bmm(q.mT.contiguous().mT, k.mT)
        pooled = torch.ones(1, 1, 24, dtype=dtype) @ k.mT
        return torch.bmm(weights, v) * 2 + 1, F.scaled_dot_product_attention(q, k, v), turned, pooled

    network = converted(attend, [query, key, key + 1]).built.network
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    products = [tuple(layer.get_output(0).shape) for layer in layers if layer.type.name == "MATRIX_MULTIPLY"]
    assert len(products) == 6
    assert all(shape[-2] == 2 for shape in products)
    check(
        attend, [query, key, key + 1], [{0: "n"}, {0: "n", 1: "k"}, {0: "n", 1: "k"}], {"n": (1, 3, 4), "k": (2, 3, 9)}
    )


def test_rows_that_may_be_one_are_not_computed_alone_beside_few_keys():
    query, key = torch.randn(3, 4, 24), torch.randn(3, 3, 24)
    ranges = {"n": (1, 3, 4), "q": (1, 4, 6)}

    def attend(q, k, v):
        return torch.bmm((q @ k.mT).softmax(-1), v) * 2 + 1

    check(attend, [query, key, key + 1], [{0: "n", 1: "q"}, {0: "n"}, {0: "n"}], ranges, build=True)
    network = converted(attend, [query, key, key + 1], [{0: "n", 1: "q"}, {0: "n"}, {0: "n"}], ranges).built.network
    names = [network.get_layer(index).name for index in range(network.num_layers)]
    assert sum(name.rpartition(".")[2].startswith("more") for name in names) == 2, names


def test_products_of_one_term_are_multiplications():
    """Their sum is wrong on a GPU: `(row.mT @ row).sum(-1)`."""
    row = torch.randn(3, 1, 24)
    check(lambda x: ((x.mT @ x).sum(-1), x[0].t() @ x[1]), [row], build=True)
    assert "MATRIX_MULTIPLY" not in converted(lambda x: (x.mT @ x).sum(-1), [row]).layers()


@gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("keys", "size"), [(3, 24), (16, 8), (24, 4), (40, 64)])
def test_one_query_on_a_gpu(keys, size, dtype):
    query, key = (
        torch.randn(3, 1, size, dtype=dtype, device="cuda"),
        torch.randn(3, keys, size, dtype=dtype, device="cuda"),
    )

    class Attention(torch.nn.Module):
        def forward(self, q, k, v):
            scores = torch.bmm(q, k.mT) * q.shape[-1] ** -0.5
            return (
                F.scaled_dot_product_attention(q, k, v) * 2 + 1,
                torch.bmm(torch.tanh(scores), v),
                scores.softmax(-1) @ v,
            )

    compiled = tp.compile(Attention(), [query, key, key + 1], min_block_size=1, executor="tensorrt")
    tolerance = {torch.float32: 5e-3, torch.float16: 6e-3, torch.bfloat16: 5e-2}[dtype]
    for got, want in zip(compiled(query, key, key + 1), Attention()(query, key, key + 1), strict=True):
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
