"""What the operator `trt_passes::execute_engine` does: find, or make, what runs the engine, and run it.

Importing this module registers it, and the other operators of the package, so that `torch.export.load` accepts compiled
programs. It imports nothing but PyTorch until the operator is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..ir import operators as operators

if TYPE_CHECKING:
    from .runner import Runner

_CACHE = "_trt_passes_runner"


def execute_engine(
    inputs: Sequence[torch.Tensor],
    engine: torch.Tensor,
    spec: str,
    fallback: torch.Tensor,
    constants: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    """Run a segment: by TensorRT where its engine can run, else in PyTorch.

    Args:
        inputs: the engine's inputs, in the order of the specification.
        engine: the serialized engine, uint8[nbytes].
        spec: the JSON text of its `EngineSpec`, and of the options with which it runs (see `options_in_graph`).
        fallback: the segment's PyTorch graph without weights, uint8[nbytes], see `graph_text`.
        constants: the weights that the PyTorch graph takes.

    Returns:
        New tensors, on the device of the inputs.
    """
    # A package of AOTInductor's gives None for an empty list.
    return runner_of(engine, spec, fallback)(inputs, lambda: constants or ())


def runner_of(engine: torch.Tensor, spec: str, fallback: torch.Tensor) -> Runner:
    """What runs an engine in this process: what was attached to its tensor, else a new runner, attached now."""
    runner: Runner | None = getattr(engine, _CACHE, None)
    if runner is None:
        from ..ir.engine_spec import EngineSpec
        from .options_in_graph import options_in
        from .runner import Runner

        parsed = EngineSpec.loads(spec)
        runner = Runner(parsed, engine, options=options_in(spec), serialized_fallback=fallback)
        attach_runner(engine, runner)
    return runner


def attach_runner(engine: torch.Tensor, runner: Runner) -> torch.Tensor:
    """Let a runner run the engine wherever the operator gets this tensor; the tensor."""
    # What is deserialized lives as long as the tensor that holds the bytes, and is found by it.
    setattr(engine, _CACHE, runner)
    return engine


def share_no_memory(inputs: Sequence[torch.Tensor], state: Sequence[torch.Tensor], written: Sequence[int]) -> bool:
    """Whether a call may have these inputs: what TorchScript asks, see `calls.shared_memory.clash`."""
    from .calls.shared_memory import clash

    return clash(inputs, state, written) is None


# Not the library of `ir/operators.py`: where that file is what imports PyTorch first, this one is imported in between.
_LIBRARY = torch.library.Library("trt_passes", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define("share_no_memory(Tensor[] inputs, Tensor[] state, int[] written) -> bool")  # type: ignore[no-untyped-call]
_LIBRARY.impl("share_no_memory", share_no_memory, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
_LIBRARY.impl("execute_engine", execute_engine, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
