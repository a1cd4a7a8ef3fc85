"""What a call costs: host microseconds beyond TensorRT's own enqueue, and GPU milliseconds; with CUDA graphs or not.

    python benchmarks/runtime.py [--models mlp resnet50 bert] [--json result.json]

Models of one engine, in float16, compiled on this machine, which needs a GPU. Host times are medians over bursts of 20
calls that start on an idle GPU, so the host never waits for it; GPU times are means over 100 calls between two events.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.frontends.load_model import load_model

BURST, BURSTS, CALLS = 20, 25, 100
DEVICE = torch.device("cuda", 0)

Model = tuple[nn.Module, list[torch.Tensor]]


def mlp() -> Model:
    """Three small layers: all that a call costs besides them shows."""
    layers = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 8))
    return layers.eval(), [torch.randn(16, 64)]


def resnet50() -> Model:
    """ResNet-50, one image."""
    loaded = load_model(str(Path(__file__).parents[1] / "examples" / "resnet50.py:model"))
    return loaded.module, [torch.randn(1, 3, 224, 224)]


def bert() -> Model:
    """BERT-base, 128 tokens."""
    from transformers import BertConfig, BertModel

    ids = torch.randint(0, 30522, (1, 128))
    return BertModel(BertConfig(return_dict=False)).eval(), [ids]


MODELS: dict[str, Callable[[], Model]] = {"mlp": mlp, "resnet50": resnet50, "bert": bert}


def host_microseconds(*calls: Callable[[], object]) -> list[float]:
    """Median microseconds that the host spends in each of several calls, which take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(BURSTS):
        for call, row in zip(calls, times, strict=True):
            torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(BURST):
                call()
            row.append((time.perf_counter() - started) / BURST * 1e6)
    torch.cuda.synchronize()
    return [statistics.median(row) for row in times]


def gpu_milliseconds(call: Callable[[], object]) -> float:
    """Mean milliseconds per call between two events; includes the host's time where the GPU waits for it."""
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(5):
        call()
    torch.cuda.synchronize()
    before.record()
    for _ in range(CALLS):
        call()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after) / CALLS


def compiled(module: nn.Module, inputs: list[torch.Tensor], **options: Any) -> Any:
    """The model, compiled for float16 and moved to the GPU; the module that is given stays as it is."""
    twin = copy.deepcopy(module)
    return tp.compile(twin, inputs, enabled_precisions={torch.float16}, executor="tensorrt", **options).cuda()


def measure(name: str) -> dict[str, Any]:
    """The row of one model."""
    module, inputs = MODELS[name]()
    plain = compiled(module, inputs)
    arguments = [tensor.cuda() for tensor in inputs]
    row: dict[str, Any] = {"model": name, "engines": len(plain.segments)}
    with torch.inference_mode():
        started = time.perf_counter()
        plain.warm_up(*arguments)
        row["warm_up_seconds"] = time.perf_counter() - started
        (segment,) = plain.segments.values()
        engine = segment.runner.engine_on(DEVICE)
        contexts: dict[Any, Any] = {}
        with engine.own_contexts(contexts):
            engine_inputs = [arguments[0]] if len(segment.runner.spec.inputs) == 1 else arguments
            held = engine(engine_inputs)
        (state,) = contexts.values()
        stream = torch.cuda.current_stream().cuda_stream
        enqueue, host = host_microseconds(lambda: state.context.execute_async_v3(stream), lambda: plain(*arguments))
        row |= {"enqueue_us": enqueue, "host_us": host, "beyond_us": host - enqueue, "outputs": len(held)}
        row["gpu_ms"] = gpu_milliseconds(lambda: plain(*arguments))
    for label, options in (("graphs", {}), ("graphs_reusing_outputs", {"reuse_outputs": True})):
        row |= _with_graphs(label, compiled(module, inputs, cuda_graphs=True, **options), arguments, enqueue)
    return row


@torch.inference_mode()
def _with_graphs(label: str, graphed: Any, arguments: list[torch.Tensor], enqueue: float) -> dict[str, Any]:
    started = time.perf_counter()
    graphed.warm_up(*arguments)
    seconds = time.perf_counter() - started
    (capture,) = graphed.cuda_graphs.captures
    replay, host = host_microseconds(capture.graph.replay, lambda: graphed(*arguments))
    return {
        f"{label}_warm_up_seconds": seconds,
        f"{label}_replay_us": replay,
        f"{label}_host_us": host,
        f"{label}_beyond_replay_us": host - replay,
        f"{label}_beyond_enqueue_us": host - enqueue,
        f"{label}_replay_gpu_ms": gpu_milliseconds(capture.graph.replay),
        f"{label}_gpu_ms": gpu_milliseconds(lambda: graphed(*arguments)),
    }


def main() -> None:
    """Measure the models, print a table, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--json")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for name in arguments.models:
        rows.append(measure(name))
        for key, value in rows[-1].items():
            print(f"{key:38} {value:.4g}" if isinstance(value, float) else f"{key:38} {value}", flush=True)
        print(flush=True)
    if arguments.json:
        record = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}
        Path(arguments.json).write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
