"""The seven stages of the pipeline, and what hands the converters of `convert` to those that only ask about them."""

from __future__ import annotations

from ..compiler.tensorrt.registry import Registry, hand_over


def _converters() -> Registry:
    # Not before they are asked for: all families together take longer to import than the rest of the compiler.
    from .convert.families import package_registry

    return package_registry()


hand_over(_converters)
