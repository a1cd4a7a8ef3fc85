"""Time quantised products and models on a GPU, beside the same in halves.

    python benchmarks/quantised.py [products] [models] [peers] [--seconds 0.2] [--only TEXT]

Products are of rows x columns x inner in float16, with the weight or both operands in few bits. Models are stacks of
blocks as in BERT (8 x 384 tokens), ViT (8 x 197), Llama 1B with 512 tokens and two blocks of Llama 7B with one. All are
replayed as CUDA graphs; microseconds of one call, the megabytes of the plan, and the relative error beside the same
numbers computed in float32. Weights are random, and the operators are this package's own, so nothing else is needed.
With "peers", two blocks of each model are quantised by torchao, and compiled by this package and by torch.compile.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import os
import tempfile
import warnings
from collections.abc import Callable

import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.operators import DEQUANTIZE, QUANTIZE
from trt_passes.compiler.ir.quantized_operators import INT4_RANGE

HALF = torch.float16
KINDS = ("f16", "int8-weights", "int4-weights", "fp8-weights", "int8", "int8-rows", "fp8")
PRODUCTS = [(1, 4096, 4096), (1, 14336, 4096), (8, 14336, 4096), (64, 4096, 4096), (512, 14336, 4096)]
PRODUCTS += [(4096, 4096, 4096)]


class Linear(nn.Module):
    """A linear layer in few bits: inputs have a scale that is known, or one per row ("-rows"), or none ("-weights")."""

    def __init__(self, kind: str, columns: int, inner: int) -> None:
        super().__init__()
        weight = torch.randn(columns, inner) / inner**0.5
        limits = {"int8": (-128, 127), "int4": INT4_RANGE, "fp8": (-448, 448)}[kind.partition("-")[0]]
        self.kept = torch.float8_e4m3fn if kind.startswith("fp8") else torch.int8
        block = 128 if kind.startswith("int4") else inner
        scale = weight.view(columns, -1, block).abs().amax(2) / limits[1]
        self.register_buffer("q", QUANTIZE(weight, scale, None, *limits, self.kept))
        self.register_buffer("scale", scale)
        self.register_buffer("step", torch.tensor(6.0 / limits[1]))
        self.inputs, self.limit = kind.partition("-")[2], limits[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.inputs != "weights":
            step = x.float().abs().amax(-1, keepdim=True) / self.limit if self.inputs else self.step
            x = DEQUANTIZE(QUANTIZE(x, step, None, -128, 127, self.kept), step, None, x.dtype)
        return nn.functional.linear(x, DEQUANTIZE(self.q, self.scale, None, x.dtype))


def linear(kind: str, columns: int, inner: int) -> nn.Module:
    return nn.Linear(inner, columns, bias=False) if kind == "f16" else Linear(kind, columns, inner)


class Block(nn.Module):
    """Attention and an MLP with a norm before each; gated as in Llama, or with gelu as in BERT and ViT."""

    def __init__(self, kind: str, width: int, heads: int, hidden: int, gated: bool) -> None:
        super().__init__()
        self.heads, self.gated = heads, gated
        self.q, self.k, self.v, self.o = (linear(kind, width, width) for _ in "qkvo")
        self.up, self.down = linear(kind, hidden, width), linear(kind, width, hidden)
        self.gate = linear(kind, hidden, width) if gated else None
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.one(x)
        parts = (part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        y = nn.functional.scaled_dot_product_attention(*parts, is_causal=self.gated)
        x = x + self.o(y.transpose(1, 2).flatten(2))
        y = self.two(x)
        y = nn.functional.gelu(self.up(y)) if self.gate is None else nn.functional.silu(self.gate(y)) * self.up(y)
        return x + self.down(y)


MODELS = {
    "BERT 8x384": (12, (768, 12, 3072, False), (8, 384, 768)),
    "ViT 8x197": (12, (768, 12, 3072, False), (8, 197, 768)),
    "Llama 1B 512": (16, (2048, 32, 8192, True), (1, 512, 2048)),
    "Llama 7B 1 (2 blocks)": (2, (4096, 32, 14336, True), (1, 1, 4096)),
}


def microseconds(call: Callable[[], object], seconds: float) -> float:
    """Of one call, over all that fit into some seconds; alone on the GPU among processes that share a lock."""
    with open(os.path.join(tempfile.gettempdir(), "gpu.lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _microseconds(call, seconds)


def _microseconds(call: Callable[[], object], seconds: float) -> float:
    for _ in range(5):
        call()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
    count = 10
    while True:
        start.record()
        for _ in range(count):
            call()
        end.record()
        torch.cuda.synchronize()
        spent = start.elapsed_time(end)
        if spent > 1000 * seconds:
            return 1000 * spent / count
        count *= max(2, int(1100 * seconds / max(spent, 0.1)))


def halve(model: nn.Module) -> None:
    """Compute in halves, with the weights in the bits that they have."""
    for module in model.modules():
        if isinstance(module, Linear):
            continue
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.half()


PEERS = {
    "f16": None,
    "int8 weights": lambda api: api.Int8WeightOnlyConfig(),
    "int8 rows": lambda api: api.Int8DynamicActivationInt8WeightConfig(),
    "fp8 rows": lambda api: api.Float8DynamicActivationFloat8WeightConfig(granularity=api.PerRow()),
    "fp8 tensors": lambda api: api.Float8DynamicActivationFloat8WeightConfig(granularity=api.PerTensor()),
    "int4 weights": lambda api: api.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=api.PerGroup(128)),
}
"""What torchao does to a model, by name."""


def peers(
    name: str, sizes: tuple[int, int, int, bool], shape: tuple[int, ...], dtype: torch.dtype, seconds: float
) -> None:
    """Two blocks, quantised by torchao: compiled here, with products in engines only, and by torch.compile."""
    import torchao.quantization as api

    for kind, config in PEERS.items():
        torch.manual_seed(0)
        model = nn.Sequential(*(Block("f16", *sizes) for _ in range(2))).eval().to("cuda", dtype)
        x = torch.randn(shape, device="cuda", dtype=dtype)
        times = []
        with torch.no_grad():
            try:
                if config is not None:
                    api.quantize_(model, config(api))
                right = model(x).float()
            except Exception as failure:
                print(f"{name:24} {kind:13} torchao: {type(failure).__name__}: {str(failure)[:100]}", flush=True)
                continue
            for products in ("fast", "engines"):
                try:
                    compiled = tp.compile(
                        *(model, [x]),
                        min_block_size=1,
                        executor="tensorrt",
                        cuda_graphs=True,
                        reuse_outputs=True,
                        quantised_products=products,
                    )
                    error = float((compiled(x).float() - right).norm() / right.norm())
                    spent = microseconds(functools.partial(compiled, x), seconds)
                    times.append(f"{products} {spent:8.1f} us {error:8.1e} {len(compiled.report.segments):3} engines")
                except Exception as failure:
                    times.append(f"{products} {type(failure).__name__}: {str(failure)[:120]}")
            try:
                torch._dynamo.reset()
                compiled = torch.compile(model)
                compiled(x)
                times.append(f"torch.compile {microseconds(captured(compiled, x), seconds):8.1f} us")
            except Exception as failure:
                times.append(f"torch.compile {type(failure).__name__}: {str(failure)[:120]}")
        print(f"{name:24} {kind:13} {' | '.join(times)}", flush=True)
        del model, compiled
        torch.cuda.empty_cache()


def captured(model: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Callable[[], None]:
    """The replay of a CUDA graph of a call."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            model(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        model(x)
    return graph.replay


def row(name: str, make: Callable[[str], nn.Module], shape: tuple[int, ...], seconds: float, kinds: list[str]) -> None:
    for kind in kinds:
        torch.manual_seed(0)
        model = make(kind).eval().cuda()
        x = torch.randn(shape, device="cuda")
        with torch.no_grad():
            right = model(x)
            halve(model)
            half = x.half()
            try:
                compiled = tp.compile(
                    model, [half], min_block_size=1, executor="tensorrt", cuda_graphs=True, reuse_outputs=True
                )
                error = float((compiled(half).float() - right).norm() / right.norm())
                spent = microseconds(functools.partial(compiled, half), seconds)
                size = sum(each.engine_bytes for each in compiled.report.segments) / 1e6
                engines = len(compiled.report.segments)
                print(f"{name:24} {kind:13} {spent:9.1f} us {size:8.1f} MB {error:8.1e}  {engines} engines", flush=True)
            except Exception as failure:
                print(f"{name:24} {kind:13} {type(failure).__name__}: {str(failure)[:160]}", flush=True)
        del model
        torch.cuda.empty_cache()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["products", "models"], choices=["products", "models", "peers"])
    parser.add_argument("--only", default="", help="a part of the names of models")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS, help="of products and models")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each measurement")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    if "products" in options.what:
        for rows, columns, inner in PRODUCTS:
            shape = (rows, inner)
            name = f"{rows} x {columns} x {inner}"
            row(name, lambda kind, c=columns, i=inner: linear(kind, c, i), shape, options.seconds, options.kinds)
    if "models" in options.what:
        for name, (depth, sizes, shape) in MODELS.items():
            if options.only not in name:
                continue
            make = lambda kind, d=depth, s=sizes: nn.Sequential(*(Block(kind, *s) for _ in range(d)))  # noqa: E731
            row(name, make, shape, options.seconds, options.kinds)
    if "peers" in options.what:
        for name, (_, sizes, shape) in MODELS.items():
            if options.only in name:
                dtype = torch.bfloat16 if "7B" in name else HALF
                peers(name, sizes, shape, dtype, options.seconds)


if __name__ == "__main__":
    main()
