"""Build the serialized engine of one network, on a machine with or without a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, BinaryIO

import torch

from ..errors import Cancelled, UserError, did_you_mean
from ..ir.engine_spec import Binding, EngineArtifact, EngineSpec
from ..ir.input import Profile
from ..ir.network import Network
from ..settings import Settings
from .build_log import BuildLog, shown
from .builders import builder_guard
from .loader import TensorRT
from .plan_file import mapped, plan_file, weight_bytes, write_plan

Progress = Callable[[str, int, int], None]
"""Called with TensorRT's name of a phase, and its steps done and in all."""

MAX_LAYERS = 2500
"""Layers, constants and casts of them not counted, of the largest network that is given to the builder.

Its time grows faster than linearly (2,000 layers 9 s, 4,000 layers 55 s), and a chain of 5,000 layers overflows its
stack and ends the process.
"""


class BuildError(Exception):
    """TensorRT could not build an engine: `name` of the segment, and `errors` in TensorRT's words."""

    def __init__(self, name: str, errors: tuple[str, ...]) -> None:
        self.name, self.errors = name, errors
        super().__init__(f"TensorRT could not build the engine of {name}: {shown(errors)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.errors)


class BuildTimeout(BuildError):
    """An engine was not done in the seconds that the setting `build_seconds` allows, which is nobody's fault."""

    ours = False

    def __init__(self, name: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(name, (f"it was not done in {seconds:g} s (setting build_seconds: raise it)",))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.seconds)


def build_engine(
    network: Network,
    settings: Settings,
    *,
    name: str,
    progress: Progress,
    cancelled: Callable[[], bool],
    file: BinaryIO | None = None,
) -> EngineArtifact:
    """Build the engine of a network; safe in several threads at once, since each call has a builder of its own.

    Args:
        network: what `convert` made; it can be built again.
        settings: TF32, workspace size, optimization level, compute capabilities and weight streaming are read.
        name: what messages and the engine's specification call the segment.
        progress: called with TensorRT's name of the phase, and its steps done and in all.
        cancelled: asked at every step; the build stops soon after it says True.
        file: an empty file that the engine is written to; one without a name by default.

    Raises:
        UserError: a setting that this TensorRT, or this machine, cannot honour.
        OSError: the file cannot be written.
        BuildError: TensorRT built nothing, with the reasons it logged.
        Cancelled: `cancelled` said so.
    """
    trt = network.trt
    check_settings(trt, settings)
    if network.size > MAX_LAYERS:
        raise BuildError(name, (f"the network has {network.size} layers, more than {MAX_LAYERS}",))
    log = BuildLog(trt)
    started = time.perf_counter()
    with builder_guard():
        builder = trt.module.Builder(log.logger)
    with plan_file(weight_bytes(network)) if file is None else nullcontext(file) as target:
        try:
            built = _written(builder, network, settings, _progress_monitor(trt, progress, cancelled), target)
        finally:
            with builder_guard():
                del builder
        if cancelled():
            raise Cancelled(f"the build of {name} was stopped")
        if not built:
            raise BuildError(name, log.errors)
        plan = mapped(target, target.tell())
    return EngineArtifact(
        plan=plan,
        spec=EngineSpec(
            name=name,
            flavor=trt.flavor,
            version=trt.version,
            inputs=tuple(network.inputs),
            outputs=tuple(network.outputs),
            compute_capabilities=settings.compute_capabilities,
            tf32=uses_tf32(network, settings),
        ),
        build_seconds=time.perf_counter() - started,
        log=log.text(),
        layers=log.layers(),
    )


def uses_tf32(network: Network, settings: Settings) -> bool:
    """Whether products of float32 may be rounded to TF32: not in a network with Fourier transforms."""
    return not (settings.disable_tf32 or network.exact)


def _written(builder: Any, network: Network, settings: Settings, monitor: Any, file: BinaryIO) -> bool:
    """Whether there is an engine, which is in the file; the configuration, which keeps the builder, ends with this."""
    config = _config(network.trt, builder, settings, network.inputs, uses_tf32(network, settings))
    config.progress_monitor = monitor
    return write_plan(network.trt, builder, network.network, config, file)


def check_settings(trt: TensorRT, settings: Settings) -> None:
    """Raise UserError for settings that this TensorRT, or this machine, cannot honour."""
    if not (trt.builds_without_gpu or torch.cuda.is_available()):
        raise UserError(f"{trt} builds engines on machines with a GPU only: use one, or install TensorRT-RTX.")
    level, capabilities = settings.optimization_level, settings.compute_capabilities
    if level is not None and level > 5 and not trt.is_rtx:
        raise UserError(f"option 'optimization_level' is {level}, but {trt} knows levels 0 to 5: give one of them.")
    runtime_cache = settings.runtime_cache_path is not None
    if not trt.has_runtime_cache and (
        runtime_cache or settings.dynamic_shapes_kernel_specialization_strategy != "lazy"
    ):
        name = "runtime_cache_path" if runtime_cache else "dynamic_shapes_kernel_specialization_strategy"
        raise UserError(
            f"option {name!r} is about kernels that TensorRT-RTX compiles, but {trt} is used: leave it out."
        )
    if not capabilities:
        return
    if not trt.supports_compute_capabilities:
        raise UserError(
            f"option 'compute_capabilities' is {', '.join(capabilities)}, but {trt} builds for the GPU of this machine "
            "only: leave it out, or install TensorRT-RTX."
        )
    known = known_capabilities(trt)
    for capability in capabilities:
        if capability not in known:
            close = did_you_mean(capability, known)
            raise UserError(
                f"option 'compute_capabilities' contains {capability}, which {trt} has no target for.{close}"
            )


def known_capabilities(trt: TensorRT) -> dict[str, Any]:
    """The GPU generations that engines can be built for ("8.9"), with TensorRT's enumeration member of each."""
    members = trt.module.ComputeCapability.__members__ if trt.supports_compute_capabilities else {}
    return {f"{name[2:-1]}.{name[-1]}": member for name, member in members.items() if name[2:].isdigit()}


def _config(trt: TensorRT, builder: Any, settings: Settings, inputs: Iterable[Binding], tf32: bool) -> Any:
    module, config = trt.module, builder.create_builder_config()
    config.profiling_verbosity = module.ProfilingVerbosity.DETAILED
    if tf32:
        config.set_flag(module.BuilderFlag.TF32)
    else:
        config.clear_flag(module.BuilderFlag.TF32)
    if settings.workspace_size:
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, settings.workspace_size)
    if settings.optimization_level is not None:
        config.builder_optimization_level = settings.optimization_level
    if settings.enable_weight_streaming:
        config.set_flag(module.BuilderFlag.WEIGHT_STREAMING)
    if settings.compute_capabilities:
        known = known_capabilities(trt)
        config.num_compute_capabilities = len(settings.compute_capabilities)
        for index, capability in enumerate(settings.compute_capabilities):
            config.set_compute_capability(known[capability], index)
    dynamic = [binding for binding in inputs if binding.is_dynamic]
    ranges = [binding.profiles or ((binding.min_shape, binding.opt_shape, binding.max_shape),) for binding in dynamic]
    for corners in zip(*ranges, strict=True):
        _add_profile(builder, config, dict(zip(dynamic, corners, strict=True)))
    return config


def _add_profile(builder: Any, config: Any, inputs: Mapping[Binding, Profile]) -> None:
    profile = builder.create_optimization_profile()
    for binding, corners in inputs.items():
        profile.set_shape(binding.name, *corners)
        # set_shape drops what it does not like, or keeps it until the build, without a word.
        taken = tuple(tuple(shape) for shape in profile.get_shape(binding.name)) == corners
        if not taken or not all(low <= usual <= high for low, usual, high in zip(*corners, strict=True)):
            raise UserError(
                f"TensorRT does not accept the range min {corners[0]}, opt {corners[1]}, max {corners[2]} of "
                f"{binding.name}: sizes must grow from min to opt to max."
            )
    config.add_optimization_profile(profile)


def _progress_monitor(trt: TensorRT, progress: Progress, cancelled: Callable[[], bool]) -> Any:
    class Monitor(trt.module.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self.steps.get(phase_name, step + 1))
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    return Monitor()
