"""The seven stages of the pipeline, and what hands the converters of `convert` to those that only ask about them."""

from __future__ import annotations

from typing import Any

from ..compiler.tensorrt.handed_over import hand_over


def _converters() -> Any:
    # Not before they are asked for: all families together take longer to import than the rest of the compiler.
    from .convert.families import package_registry

    return package_registry()


hand_over(_converters)
