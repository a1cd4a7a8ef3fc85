"""List arguments of convolutions and pools, which may hold one number for all dimensions."""

from __future__ import annotations

from typing import Any


def per_axis(values: Any, spatial: int) -> tuple[int, ...]:
    """A number, or a list of one number or one for each, as one number per spatial dimension."""
    values = [values] if isinstance(values, int) else list(values)
    return tuple(values * spatial if len(values) == 1 else values)
