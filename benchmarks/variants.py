"""What variants of operators take on this GPU, one by one or for a whole model; needs a GPU.

    python benchmarks/variants.py [--out variants.json] [--lock FILE] [resizes convolutions attention]
    python benchmarks/variants.py --model segformer|wav2vec2 [--seconds 240] [--out tuning.json]

The first form tunes single operators with arithmetic around them and prints microseconds and errors by variant. The
second compiles a whole model in float16 untuned and tuned, and prints time (CUDA graph replays), error against float32,
engines and why the rest stayed in PyTorch, beside eager in float16. Models have random weights of their real sizes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Resize(nn.Module):
    """A resize between multiplications, as in decoders."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x * 1.5, **self.options) + 0.5


class Attention(nn.Module):
    """Attention of queries, keys and values that come in."""

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v) * 2


def _convolution(channels: int, maps: int, window: int, groups: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, maps, window, padding=window // 2, groups=groups), nn.GELU())


def _heads(*shape: int) -> list[torch.Tensor]:
    return [torch.randn(*shape) for _ in range(3)]


CASES: Mapping[str, Mapping[str, tuple[nn.Module, list[torch.Tensor]]]] = {
    "resizes": {
        "SegFormer head, bilinear x4": (Resize(scale_factor=4, mode="bilinear"), [torch.randn(4, 256, 32, 32)]),
        "SegFormer head, bilinear x8": (Resize(scale_factor=8, mode="bilinear"), [torch.randn(4, 256, 16, 16)]),
        "logits, bilinear x4": (Resize(scale_factor=4, mode="bilinear"), [torch.randn(4, 150, 128, 128)]),
        "bilinear x2, small": (Resize(scale_factor=2, mode="bilinear"), [torch.randn(1, 64, 32, 32)]),
        "bilinear down": (Resize(scale_factor=0.5, mode="bilinear"), [torch.randn(4, 64, 128, 128)]),
        "bicubic x2": (Resize(scale_factor=2, mode="bicubic"), [torch.randn(2, 64, 64, 64)]),
    },
    "convolutions": {
        "3x3, 64 of 56": (_convolution(64, 64, 3), [torch.randn(8, 64, 56, 56)]),
        "3x3, 512 of 14": (_convolution(512, 512, 3), [torch.randn(8, 512, 14, 14)]),
        "pointwise, 256 of 28": (_convolution(256, 512, 1), [torch.randn(8, 256, 28, 28)]),
        "3x3, 128 of 512": (_convolution(128, 128, 3), [torch.randn(1, 128, 512, 512)]),
        "3x3, 512 of 64": (_convolution(512, 512, 3), [torch.randn(1, 512, 64, 64)]),
        "3x3, 320 of 64": (_convolution(320, 320, 3), [torch.randn(2, 320, 64, 64)]),
        "3x3, 64 of 56, batch 32": (_convolution(64, 64, 3), [torch.randn(32, 64, 56, 56)]),
        "pointwise, 3072 of 128": (_convolution(3072, 768, 1), [torch.randn(4, 3072, 128, 128)]),
        "pointwise, 1024 of 14": (_convolution(1024, 256, 1), [torch.randn(32, 1024, 14, 14)]),
        "pointwise, 64 of 56": (_convolution(64, 256, 1), [torch.randn(32, 64, 56, 56)]),
        "pointwise, 320 of 7": (_convolution(320, 1280, 1), [torch.randn(8, 320, 7, 7)]),
        "depthwise 7x7, 192 of 28": (_convolution(192, 192, 7, 192), [torch.randn(8, 192, 28, 28)]),
        "depthwise 3x3, 256 of 128": (_convolution(256, 256, 3, 256), [torch.randn(4, 256, 128, 128)]),
    },
    "attention": {
        "ViT": (Attention(), _heads(8, 12, 197, 64)),
        "long": (Attention(), _heads(1, 16, 2048, 64)),
    },
}


def single(groups: list[str], out: str | None, lock: str | None) -> None:
    """Tune single operators, and print a line for each."""
    import trt_passes as tp
    from peers import Sharing

    sharing = Sharing(None if lock is None else Path(lock))
    found: dict[str, Any] = {}
    for group in groups:
        for name, (model, inputs) in CASES[group].items():
            tuning = tp.tune(model.half().eval(), [x.half() for x in inputs], alone=sharing.alone)
            for pattern, row in tuning.patterns.items():
                texts = [f"{key} {item.us:.1f} us ({item.error:.1e})" for key, item in row.items()]
                print(f"{name}: {', '.join(texts)}; best {tuning.best(pattern, list(row))}", flush=True)
                found[pattern] = {key: {"us": item.us, "error": item.error} for key, item in row.items()}
    if out is not None:
        with open(out, "w", encoding="utf-8") as file:
            json.dump({"gpu": torch.cuda.get_device_name(), "patterns": found}, file, indent=1)


def _segformer() -> tuple[nn.Module, list[torch.Tensor]]:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    sizes = {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768}
    config = SegformerConfig(**sizes, num_labels=150, return_dict=False)
    return SegformerForSemanticSegmentation(config).eval(), [torch.randn(4, 3, 512, 512)]


def _wav2vec2() -> tuple[nn.Module, list[torch.Tensor]]:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    return Wav2Vec2Model(Wav2Vec2Config(return_dict=False)).eval(), [torch.randn(1, 80_000)]


MODELS: Mapping[str, Callable[[], tuple[nn.Module, list[torch.Tensor]]]] = {
    "segformer": _segformer,
    "wav2vec2": _wav2vec2,
}


def whole(name: str, seconds: float, out: str) -> None:
    """Compile a model untuned and tuned, and print what either takes, beside eager in float16."""
    import trt_passes as tp

    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    model, inputs = model.cuda(), [x.cuda() for x in inputs]
    with torch.no_grad():
        exact = model(*inputs)[0].float()
        halves = [x.half() for x in inputs]
        twin = MODELS[name]()[0].half().cuda()
        state = model.state_dict()
        twin.load_state_dict(
            {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
        )
        _line("eager float16", lambda: twin(*halves), exact)
        options: dict[str, Any] = {"enabled_precisions": {torch.float16}, "cuda_graphs": True}
        for label, more in (("untuned", {}), ("tuned", {"tuning": out})):
            if more:
                begin = time.perf_counter()
                tuning = tp.tune(model, inputs, output=out, seconds=seconds, enabled_precisions={torch.float16})
                print(f"tuning: {len(tuning.patterns)} patterns in {time.perf_counter() - begin:.0f} s")
            compiled = tp.compile(model, inputs, **options, **more)
            _line(label, lambda compiled=compiled: compiled(*inputs), exact)
            graphs = compiled.cuda_graphs
            print(f"  {len(compiled.report.segments)} engines; CUDA graph: {graphs.reason if graphs else 'none'}")
            for row in compiled.report.ledger:
                if row.reasons:
                    print(f"  {row}")
            print(compiled.profile(*inputs))
        print(compiled.errors(*inputs))


def _line(label: str, call: Callable[[], Any], exact: torch.Tensor) -> None:
    for _ in range(5):
        result = call()
    torch.cuda.synchronize()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(50):
        call()
    end.record()
    end.synchronize()
    found = result[0].float()
    error = float((found - exact).norm() / exact.norm())
    print(f"{label}: {begin.elapsed_time(end) / 50:.3f} ms per call, error {error:.1e}", flush=True)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help="resizes, convolutions, attention: all of them by default")
    parser.add_argument("--model", choices=MODELS)
    parser.add_argument("--seconds", type=float, default=240.0, help="for tuning")
    parser.add_argument("--out")
    parser.add_argument("--lock", help="file that is locked while something is timed, on a GPU that is shared")
    arguments = parser.parse_args()
    if arguments.model:
        whole(arguments.model, arguments.seconds, arguments.out or f"{arguments.model}-tuning.json")
    else:
        single(arguments.groups or list(CASES), arguments.out, arguments.lock)


if __name__ == "__main__":
    main()
