"""The passes of the stage `lower`: small rewrites, each visible on its own."""

from __future__ import annotations

from ...compiler.pass_base import Pass
from .cast_precision import CastPrecision
from .complex import Complex
from .deduplicate import Deduplicate
from .fold_batch_norm import FoldBatchNorm
from .fold_constants import FoldConstants
from .narrow_64bit import Narrow64Bit
from .pack_projections import PackProjections
from .quantisation import Quantisation
from .remove_noops import RemoveNoops

PASSES: tuple[type[Pass], ...] = (
    Complex,
    Narrow64Bit,
    RemoveNoops,
    Quantisation,
    FoldBatchNorm,
    CastPrecision,
    Deduplicate,
    PackProjections,
    FoldConstants,
)
"""The lowering passes in the order that `lower` runs them: constants are folded last, casts of weights included."""
