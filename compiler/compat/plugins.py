"""`conversion.plugins`: what Torch-TensorRT makes plugins of custom operators by says here where they run instead."""

from __future__ import annotations

import warnings
from typing import Any

from ..tensorrt.plugins import overloads_of


def generate_plugin(plugin_name: str, *args: Any, **options: Any) -> None:
    """Check that there is such an operator, which stays in PyTorch, between two engines: nothing is generated.

    Args:
        plugin_name: the operator, such as "mylib::op".
        args, options: as there, which say how the plugin is made.

    Warns:
        UserWarning: it stays in PyTorch, and what to do for one that shall not.

    Raises:
        UserError: there is no such operator in this process.
    """
    overloads_of([plugin_name])
    warnings.warn(
        f"TensorRT-RTX has no plugins, so that {plugin_name} stays in PyTorch, between two engines: register a "
        "converter of TensorRT's layers or a decomposition for it, and it is part of an engine.",
        UserWarning,
        stacklevel=2,
    )


def generate_plugin_converter(plugin_name: str, *args: Any, **options: Any) -> None:
    """Check that there is such an operator; see `generate_plugin`.

    Args:
        plugin_name: the operator.
        args, options: as there: what the plugin takes.
    """
    overloads_of([plugin_name])


def custom_op(op_name: str, *args: Any, **options: Any) -> None:
    """`generate_plugin` and `generate_plugin_converter` in one.

    Args:
        op_name: the operator.
        args, options: as there.
    """
    generate_plugin(op_name)
