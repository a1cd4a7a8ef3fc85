"""`trt_passes::write_rows`: rows of a cache of keys or values at the next places, as an engine can write them in place.

Importing this module registers it, so that `torch.export.load` accepts programs that call it.
"""

from __future__ import annotations

import torch

_LIBRARY = torch.library.Library("trt_passes", "FRAGMENT")  # type: ignore[no-untyped-call]


def write_rows(cache: torch.Tensor, rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The cache with new rows at consecutive places.

    An engine writes them into the memory of `cache` and returns that, if the cache is an input of the engine which
    nothing else reads and the result leaves the engine. The caller sees to it that all places are inside.

    Args:
        cache: [B,H,M,D], floats.
        rows: [B,H,S,D], of the same type.
        start: i64[1], the place of the first row; start + S is at most M.

    Raises:
        IndexError: a place is outside (on a GPU an assertion of the device).
    """
    places = start + torch.arange(rows.shape[2], device=start.device)
    return cache.index_copy(2, places, rows)


def _shapes(cache: torch.Tensor, rows: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(cache)


_LIBRARY.define("write_rows(Tensor cache, Tensor rows, Tensor start) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
_LIBRARY.impl("write_rows", write_rows, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("trt_passes::write_rows", _shapes, lib=_LIBRARY)

WRITE_ROWS = torch.ops.trt_passes.write_rows.default
