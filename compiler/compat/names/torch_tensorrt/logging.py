"""The names of `torch_tensorrt.logging`, for the logger "trt_passes"."""

from typing import Any

from trt_passes.compiler.compat.logs import (
    GRAPHS,
    Level,
    debug,
    errors,
    get_is_colored_output_on,
    get_logging_prefix,
    get_reportable_log_level,
    graphs,
    info,
    internal_errors,
    log,
    set_is_colored_output_on,
    set_level,
    set_logging_prefix,
    set_reportable_log_level,
    trt_logger,
    warnings,
)

__all__ = [
    "GRAPHS",
    "Level",
    "debug",
    "errors",
    "get_is_colored_output_on",
    "get_logging_prefix",
    "get_reportable_log_level",
    "graphs",
    "info",
    "internal_errors",
    "log",
    "set_is_colored_output_on",
    "set_level",
    "set_logging_prefix",
    "set_reportable_log_level",
    "warnings",
]


def __getattr__(name: str) -> Any:
    # TensorRT is loaded when its logger is asked for.
    if name == "TRT_LOGGER":
        return trt_logger()
    raise AttributeError(name)
