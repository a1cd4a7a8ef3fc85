"""The reference executor on attention, rotary embedding, the key-value cache and quantization."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from trt_passes.compiler.tensorrt.executor import ExecutorError

F16, F32 = torch.float16, torch.float32
I32, I64, BOOL = torch.int32, torch.int64, torch.bool


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _attention(net: Any, dtype: torch.dtype, causal: str = "NONE", heads: int = 4, groups: int = 4) -> Any:
    query = net.input("q", dtype, (-1, heads, -1, 16))
    key, value = (net.input(name, dtype, (-1, groups, -1, 16)) for name in "kv")
    layer = net.network.add_attention_v2(
        query,
        key,
        value,
        net.module.AttentionNormalizationOp.SOFTMAX,
        net.module.CausalMaskKind.__members__[causal],
    )
    layer.decomposable, layer.name = True, "attention"
    return layer


def _operands(dtype: torch.dtype, queries: int, keys: int, groups: int = 4) -> dict[str, Tensor]:
    return {
        "q": torch.randn(2, 4, queries, 16).to(dtype),
        "k": torch.randn(2, groups, keys, 16).to(dtype),
        "v": torch.randn(2, groups, keys, 16).to(dtype),
    }


def _expected(operands: dict[str, Tensor], mask: Tensor | None = None) -> Tensor:
    q, k, v = (operands[name].float() for name in "qkv")
    enable_gqa = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, mask, scale=1.0, enable_gqa=enable_gqa).to(operands["q"].dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(F32, 1e-5), (F16, 4e-3)])
def test_grouped_query_attention(net: Any, dtype: torch.dtype, tolerance: float) -> None:
    net.output(_attention(net, dtype, groups=2).get_output(0))
    for queries, keys in ((5, 7), (1, 3)):
        operands = _operands(dtype, queries, keys, groups=2)
        torch.testing.assert_close(net.result(**operands), _expected(operands), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["UPPER_LEFT", "LOWER_RIGHT"])
def test_causal_attention_when_the_lengths_differ(net: Any, kind: str) -> None:
    net.output(_attention(net, F32, kind).get_output(0))
    operands = _operands(F32, 3, 5)
    allowed = [[j <= i + (2 if kind == "LOWER_RIGHT" else 0) for j in range(5)] for i in range(3)]
    torch.testing.assert_close(net.result(**operands), _expected(operands, torch.tensor(allowed)))


@pytest.mark.parametrize("dtype", [F32, BOOL])
def test_masked_attention(net: Any, dtype: torch.dtype) -> None:
    layer = _attention(net, F32)
    layer.mask = net.input("mask", dtype, (-1, 1, -1, -1))
    net.output(layer.get_output(0))
    operands = _operands(F32, 4, 6)
    allowed = torch.rand(2, 1, 4, 6) > 0.4
    allowed[..., 0] = True
    mask = allowed if dtype == BOOL else torch.randn(2, 1, 4, 6)
    torch.testing.assert_close(net.result(**operands, mask=mask), _expected(operands, mask))


@pytest.mark.parametrize("dtype", [F32, F16])
def test_query_that_may_attend_to_nothing_as_measured_on_a_gpu(net: Any, dtype: torch.dtype) -> None:
    net.output(_attention(net, dtype, "LOWER_RIGHT").get_output(0))
    operands = _operands(dtype, 5, 3)
    result = net.result(**operands)
    # The first two of five queries come before the first of three keys.
    assert bool((result[:, :, :2].isnan() if dtype == F32 else result[:, :, :2] == 0).all())
    seen = {**operands, "q": operands["q"][:, :, 2:]}
    torch.testing.assert_close(
        result[:, :, 2:], _expected(seen, torch.ones(3, 3, dtype=BOOL).tril()), rtol=4e-3, atol=4e-3
    )


@pytest.mark.parametrize("with_positions", [False, True])
@pytest.mark.parametrize("interleaved", [False, True])
def test_rotary_embedding_is_a_complex_rotation(net: Any, with_positions: bool, interleaved: bool) -> None:
    x = net.input("x", F32, (2, 3, 5, 12))
    angles = torch.randn(9, 4) if with_positions else torch.randn(2, 5, 4)
    cos, sin = net.constant(angles.cos()), net.constant(angles.sin())
    layer = net.network.add_rotary_embedding(x, cos, sin, interleaved, 8)
    arguments = {"x": torch.randn(2, 3, 5, 12)}
    if with_positions:
        layer.set_input(3, net.input("positions", I64, (2, 5)))
        arguments["positions"] = torch.randint(0, 9, (2, 5))
        angles = angles[arguments["positions"]]
    net.output(layer.get_output(0))

    head, rest = arguments["x"].split((8, 4), -1)
    pairs = head.unflatten(-1, (4, 2)) if interleaved else head.unflatten(-1, (2, 4)).transpose(-1, -2)
    turned = torch.view_as_complex(pairs.contiguous()) * torch.polar(torch.ones_like(angles), angles)[:, None]
    turned_pairs = torch.view_as_real(turned)
    turned_head = turned_pairs if interleaved else turned_pairs.transpose(-1, -2)
    torch.testing.assert_close(net.result(**arguments), torch.cat((turned_head.flatten(-2), rest), -1))


def test_key_value_cache(net: Any) -> None:
    cache, update = net.input("cache", F32, (2, 3, 8, 4)), net.input("update", F32, (2, 3, 2, 4))
    where = net.input("where", I32, (2,))
    layer = net.network.add_kv_cache_update(cache, update, where, net.module.KVCacheMode.LINEAR)
    net.output(layer.get_output(0))
    old, new = torch.randn(2, 3, 8, 4), torch.randn(2, 3, 2, 4)
    before = old.clone()
    result = net.result(cache=old, update=new, where=torch.tensor([1, 6], dtype=I32))
    expected = old.clone()
    expected[0, :, 1:3], expected[1, :, 6:8] = new[0], new[1]
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(old, before, msg="the caller's cache was changed")
    with pytest.raises(ExecutorError, match="2 tokens written at 7 do not fit a cache of 8"):
        net.run(cache=old, update=new, where=torch.tensor([0, 7], dtype=I32))


def test_quantization_to_int8_per_tensor_and_per_channel(net: Any) -> None:
    x, types = net.input("x", F32, (3, 8)), net.module.DataType
    steps = torch.tensor([0.1, 0.02, 0.5])
    for name, scale in (("whole", net.constant(torch.tensor(0.05))), ("rows", net.constant(steps))):
        quantized = net.network.add_quantize(x, scale, types.INT8)
        quantized.axis = 0
        restored = net.network.add_dequantize(quantized.get_output(0), scale, types.FLOAT)
        restored.axis = 0
        net.output(restored.get_output(0), name)
    value = torch.randn(3, 8) * 5
    results = net.run(x=value)
    whole = torch.fake_quantize_per_tensor_affine(value, 0.05, 0, -128, 127)
    rows = torch.fake_quantize_per_channel_affine(value, steps, torch.zeros(3, dtype=I32), 0, -128, 127)
    torch.testing.assert_close(results["whole"], whole)
    torch.testing.assert_close(results["rows"], rows)


def test_quantization_to_fp8_saturates(net: Any) -> None:
    types, scale = net.module.DataType, net.constant(torch.tensor(2.0))
    quantized = net.network.add_quantize(net.input("x", F16, (5,)), scale, types.FP8).get_output(0)
    net.output(net.network.add_dequantize(quantized, scale, types.HALF).get_output(0))
    x = torch.tensor([0.0, 3.3, -5000.0, 1e4, 0.01], dtype=F16)
    expected = (x.float() / 2).clamp(-448, 448).to(torch.float8_e4m3fn).float() * 2
    torch.testing.assert_close(net.result(x=x), expected.to(F16))
