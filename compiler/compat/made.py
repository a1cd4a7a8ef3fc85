"""What is done to everything that `trt_passes.torch_tensorrt` compiles or loads."""

from __future__ import annotations

from typing import Any

from ..runtime.compiled_module import CompiledModule
from .engine_modules import add_engines_as_children
from .modes import compiled_in, follow_modes
from .runtime_settings import RuntimeSettings, apply_runtime_settings, settings_of


def _set(module: CompiledModule, settings: RuntimeSettings) -> None:
    apply_runtime_settings(module, settings)


# Of the class, so that copies have it; `trt_passes` itself has options, and knows nothing of these settings.
setattr(  # noqa: B010
    CompiledModule, "runtime_settings", property(settings_of, _set, doc="How the engines run, see `RuntimeSettings`.")
)
add_engines_as_children()


def remember(compiled: Any) -> Any:
    """The same, which runs as the process's modes say from now on."""
    for module in compiled_in(compiled):
        follow_modes(module)
    return compiled
