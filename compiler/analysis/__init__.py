"""What a partition costs and what would improve it: fallbacks and gains, the boundary bill.

Pure functions from a program to data; none needs TensorRT.
"""

from __future__ import annotations

from .boundary import BoundaryBill, Cast, Crossing, EngineBoundary, boundary_bill
from .cost import BoundaryCost, boundary_cost
from .fallbacks import FallbackGroup, demoted_groups, fallback_groups
from .gains import FallbackGain, Gain, Gains, PairGain, TensorCopies, fallback_gains
from .islands import Island, islands
from .tensor_bytes import TensorBytes

__all__ = [
    "BoundaryBill",
    "BoundaryCost",
    "Cast",
    "Crossing",
    "EngineBoundary",
    "FallbackGain",
    "FallbackGroup",
    "Gain",
    "Gains",
    "Island",
    "PairGain",
    "TensorBytes",
    "TensorCopies",
    "boundary_bill",
    "boundary_cost",
    "demoted_groups",
    "fallback_gains",
    "fallback_groups",
    "islands",
]
