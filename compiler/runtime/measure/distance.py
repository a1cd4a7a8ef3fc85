"""How far tensors are from others, and what is lost of them in a narrower type."""

from __future__ import annotations

import torch

ROW = 16
"""Elements that a row has at least: a single small number is nothing out of the ordinary, a small row is."""

LOST = 2.0**-6
"""Share of a row's length that a type must keep, as an error relative to it; halves round by 2^-11 to 2^-8."""


def distance(expected: torch.Tensor, found: torch.Tensor) -> tuple[float, float]:
    """Largest absolute difference, and |found - expected| / |expected| over all elements.

    Both are infinite where only `found` is NaN, or shapes or types differ. Elements of which `expected` is NaN are left
    out. Integers and bools count as numbers.
    """
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return float("inf"), float("inf")
    if expected.numel() == 0:
        return 0.0, 0.0
    wide = torch.complex128 if expected.is_complex() else torch.float64
    left, right = expected.detach().to("cpu", wide), found.detach().to("cpu", wide)
    same = (left == right) | left.isnan()
    difference = torch.where(same, torch.zeros_like(left), (left - right)).abs()
    if bool(difference.isnan().any()):
        return float("inf"), float("inf")
    finite = torch.where(left.isfinite(), left, torch.zeros_like(left))
    norm = float(finite.abs().square().sum().sqrt())
    error = float(difference.square().sum().sqrt())
    return float(difference.max()), error / norm if norm else error


def wide_distance(expected: torch.Tensor, found: torch.Tensor) -> float:
    """The relative distance of tensors whose types differ in width only; on the device of `expected`."""
    return distance(expected, found.to(expected.device, expected.dtype))[1]


def lost_rows(tensor: torch.Tensor, narrow: torch.dtype) -> tuple[int, int, float]:
    """Rows of a float32 tensor that a narrower type cannot hold, all rows, and the largest number of those lost.

    A row is lost where its rounding to the type is further from it than `LOST`, since its numbers are too large for the
    type, or all so small that they become zero or keep few digits. NaN and infinity are no loss. Rows are along the
    last dimensions, as many as it takes for `ROW` elements.
    """
    if not tensor.numel():
        return 0, 0, 0.0
    length, dim = 1, tensor.dim()
    while dim > 0 and length < ROW:
        dim -= 1
        length *= tensor.shape[dim]
    rows = tensor.detach().reshape(-1, length).nan_to_num(0.0, 0.0, 0.0)
    off = (rows.to(narrow).to(rows.dtype) - rows).abs().nan_to_num(float("inf"))
    scale = rows.abs().amax(1)
    # Divided by the largest number, whose square might underflow or overflow itself.
    per_row = (off / scale.clamp_min(torch.finfo(rows.dtype).tiny).unsqueeze(1)).square().sum(1).sqrt()
    size = (rows / scale.clamp_min(torch.finfo(rows.dtype).tiny).unsqueeze(1)).square().sum(1).sqrt()
    lost = (per_row > LOST * size) & (scale > 0)
    count = int(lost.sum())
    return count, rows.shape[0], float(scale[lost].max()) if count else 0.0
