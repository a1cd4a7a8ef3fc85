"""What is done to everything that `trt_passes.torch_tensorrt` compiles or loads."""

from __future__ import annotations

from typing import Any

from ..runtime.compiled_module import CompiledModule
from .modes import compiled_in, follow_modes
from .runtime_settings import RuntimeSettings, apply_runtime_settings, settings_of


def _set(module: CompiledModule, settings: RuntimeSettings) -> None:
    apply_runtime_settings(module, settings)


_RUNTIME_SETTINGS = property(settings_of, _set, doc="How the engines run, see `RuntimeSettings`.")


def remember(compiled: Any) -> Any:
    """The same, which runs as the process's modes say from now on, and whose `runtime_settings` can be set."""
    for module in compiled_in(compiled):
        # Every graph module has a class of its own.
        setattr(type(module), "runtime_settings", _RUNTIME_SETTINGS)  # noqa: B010
        follow_modes(module)
    return compiled
