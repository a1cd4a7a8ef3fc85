"""What became of a case: its engine run on a GPU, or its network evaluated in PyTorch, beside eager."""

from __future__ import annotations

import time
from typing import Any

import torch
from trt_passes.compiler.ir.dtypes import short_name
from trt_passes.compiler.tensorrt.dtypes import from_trt
from trt_passes.compiler.tensorrt.executor import ReferenceExecutor
from trt_passes.compiler.tensorrt.log import error_lines

from .case import Case, Made, Refused, made

Outcome = dict[str, Any]
"""`case`, `status` (right, wrong, refused or failed), and `detail` unless it is right; `microseconds` if timed."""


def outcome(case: Case, executor: str) -> Outcome:
    """Build and run a case.

    Args:
        case: the case.
        executor: "tensorrt" runs the engine on the GPU; "reference" builds it too, and evaluates the network.
    """
    try:
        network = made(case)
        plan = network.plan()
    except Refused as error:
        return {"case": case.name, "status": "refused", "detail": str(error)}
    try:
        if executor == "reference":
            feeds = {f"x{index}": tensor for index, tensor in enumerate(case.inputs)}
            result, seconds = ReferenceExecutor(network.library, network.network).run(feeds)["y"], None
        else:
            result, seconds = _on_gpu(network, plan, case)
    except Exception as error:
        return {"case": case.name, "status": "failed", "detail": f"{type(error).__name__}: {error}"[:400]}
    found: Outcome = {"case": case.name, "status": "right"}
    if seconds is not None:
        found["microseconds"] = round(seconds * 1e6, 1)
    text = difference(result, case.eager(*case.inputs), case.tolerance)
    return found if text is None else {**found, "status": "wrong", "detail": text}


def _on_gpu(network: Made, plan: Any, case: Case) -> tuple[torch.Tensor, float | None]:
    runtime = network.library.module.Runtime(network.log)
    engine = runtime.deserialize_cuda_engine(plan)
    context = None if engine is None else engine.create_execution_context()
    if context is None:
        raise RuntimeError("no execution context: " + "; ".join(error_lines(network.log.records)))
    inputs = [tensor.cuda() for tensor in case.inputs]
    for index, tensor in enumerate(inputs):
        context.set_tensor_address(f"x{index}", tensor.data_ptr() or 256)
    shape = tuple(context.get_tensor_shape("y"))
    result = torch.empty(shape, dtype=from_trt(engine.get_tensor_dtype("y")), device="cuda")
    context.set_tensor_address("y", result.data_ptr() or 256)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    if not context.execute_async_v3(stream.cuda_stream):
        raise RuntimeError("not run: " + "; ".join(error_lines(network.log.records)))
    stream.synchronize()
    return result.cpu(), _seconds(context, stream) if case.timed else None


def _seconds(context: Any, stream: torch.cuda.Stream) -> float:
    """The least time of a call, of a hundred in a row, in five tries."""
    least = float("inf")
    for _ in range(5):
        stream.synchronize()
        start = time.perf_counter()
        for _ in range(100):
            context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        least = min(least, (time.perf_counter() - start) / 100)
    return least


def difference(result: torch.Tensor, eager: torch.Tensor, tolerance: tuple[float, float] | None) -> str | None:
    """How a result differs from eager's; None if it does not."""
    if (result.dtype, tuple(result.shape)) != (eager.dtype, tuple(eager.shape)):
        return (
            f"{short_name(result.dtype)}{list(result.shape)} in place of {short_name(eager.dtype)}{list(eager.shape)}"
        )
    left, right = result.double().flatten(), eager.double().flatten()
    same = (left == right) | (left.isnan() & right.isnan())
    if tolerance is not None:
        relative, absolute = tolerance
        same |= (left - right).abs() <= absolute + relative * right.abs()
    if bool(same.all()):
        return None
    first = int((~same).nonzero()[0])
    return (
        f"{int((~same).sum())} of {same.numel()} elements, the first at {first}: {left[first]:g} in place of "
        f"{right[first]:g}"
    )
