"""Names of Torch-TensorRT's whose purpose TensorRT-RTX or this package serves otherwise: using one says how."""

from __future__ import annotations

from typing import Any

from .mistakes import NotPossible


class Absent:
    """What is not here, by its name there; calling it, or decorating with it, says what to do instead.

    Args:
        name: as there.
        advice: what is the case here, and what to do.
        error: what calling it raises.
    """

    def __init__(self, name: str, advice: str, error: type[NotPossible] = NotPossible) -> None:
        self.name, self.advice, self.error = name, advice, error
        self.__doc__ = f"Not here: {advice}."

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Raise the error."""
        raise self.error(f"{self.name} of Torch-TensorRT is not here: {self.advice}.")

    def __repr__(self) -> str:
        return f"<{self.name}: not here>"


_KERNEL = (
    "TensorRT-RTX has no plugins; register the kernel as an operator by torch.library.custom_op or triton_op, which "
    "runs between engines, and give it a converter or a decomposition where it should be inside one"
)
_STREAMS = "an engine runs on PyTorch's current stream; say `with torch.cuda.stream(…)` around the call"

KERNELS = {
    name: Absent(f"kernels.{name}", _KERNEL)
    for name in ("cuda_kernel_op", "ptx_op", "cutile_op", "triton_op", "KernelSpec")
}
ANNOTATIONS = {
    name: Absent(f"annotation.{name}", _KERNEL)
    for name in ("custom_plugin", "triton", "cutile", "cutedsl", "lower_as", "export_as")
}


class StreamPlanError(NotPossible):
    """What `stream_plan` and `apply_stream_plan` raise."""


STREAM_PLANS = {
    name: Absent(f"runtime.{name}", _STREAMS, StreamPlanError)
    for name in ("stream_plan", "apply_stream_plan", "StreamPlan")
}
RESOURCE_PARTITION = Absent(
    "resource_partition", "give compile the option cpu_memory_budget, which splits segments with large weights"
)
ATOMIC_SUBGRAPH = Absent(
    "register_atomic_subgraph",
    "TensorRT fuses what it is given, and segments are split for memory at their narrowest places only",
)
