"""Load a compiled model on a GPU machine, compare it with eager, and time it.

    python benchmarks/gpu_check.py compiled.pt2 examples/resnet50.py:model [--json result.json]

The model may have been compiled on a machine without a GPU. Eager runs in float32 with TF32 off, on the same inputs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
import trt_passes as tp
from torch.utils import _pytree as pytree
from trt_passes.compiler.frontends.load_model import load_model
from trt_passes.compiler.instruments.numerics import distance


def milliseconds(call: Callable[[], object], repeats: int = 50) -> float:
    """Median milliseconds of a call, synchronised, after five warm-up calls."""
    for _ in range(5):
        call()
    times = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - started) * 1e3)
    return sorted(times)[len(times) // 2]


def check(path: str, model: str) -> dict[str, object]:
    """Answers and times of one compiled model."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    loaded = load_model(model)
    args, kwargs = pytree.tree_map(
        lambda item: (item.example() if isinstance(item, tp.Input) else item).cuda(),
        (loaded.args, dict(loaded.kwargs)),
        is_leaf=lambda item: isinstance(item, tp.Input | torch.Tensor),
    )
    eager = loaded.module.cuda()
    started = time.perf_counter()
    compiled = tp.load(path, executor="tensorrt").cuda()
    load_seconds = time.perf_counter() - started
    with torch.no_grad():
        started = time.perf_counter()
        found = compiled(*args, **kwargs)
        torch.cuda.synchronize()
        first_call = time.perf_counter() - started
        expected = eager(*args, **kwargs)
        errors = [
            distance(a, b)[1] for a, b in zip(pytree.tree_leaves(expected), pytree.tree_leaves(found), strict=True)
        ]
        half = eager.half()
        half_args = pytree.tree_map(lambda item: item.half() if item.is_floating_point() else item, args)
        times = {
            "compiled_ms": milliseconds(lambda: compiled(*args, **kwargs)),
            "eager_f16_ms": milliseconds(lambda: half(*half_args, **kwargs)),
        }
    return {
        "model": model,
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "load_seconds": load_seconds,
        "first_call_seconds": first_call,
        "relative_l2": errors,
        **times,
    }


def main() -> None:
    """Check one model and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("compiled")
    parser.add_argument("model")
    parser.add_argument("--json")
    arguments = parser.parse_args()
    result = json.dumps(check(arguments.compiled, arguments.model), indent=2)
    print(result)
    if arguments.json:
        Path(arguments.json).write_text(result + "\n")


if __name__ == "__main__":
    main()
