"""Whether the first size of a segment's tensors is a batch: whether its rows are computed each on its own."""

from __future__ import annotations

import torch

from ...ir.engine_spec import Binding
from ..compiled_segment import CompiledSegment


@torch.no_grad()
def rows_are_apart(segment: CompiledSegment) -> bool:
    """Whether two rows give what each of them gives alone, found by running the segment's PyTorch graph three times.

    That a first size varies does not tell: it may be that of a sequence, or rows may be compared with each other.
    Numbers are random, small and none of them negative, so that they can be places in tables as well. Where the graph
    cannot be run on them, rows are taken to depend on each other.

    Args:
        segment: all of its tensors have a first size, which is the same and can be 1.
    """
    generator = torch.Generator().manual_seed(0)
    weights = segment.constants()
    device = weights[0].device if weights else torch.device("cpu")
    ones = [[_row(binding, generator).to(device) for binding in segment.spec.inputs] for _ in range(2)]
    both = [torch.cat(rows) for rows in zip(*ones, strict=True)]
    try:
        first, second, together = (_results(segment, inputs) for inputs in (*ones, both))
    except Exception:  # an operator may refuse such numbers, by errors of any kind
        return False
    return all(
        _alike(torch.cat(rows), rows_of_both) for *rows, rows_of_both in zip(first, second, together, strict=True)
    )


def _row(binding: Binding, generator: torch.Generator) -> torch.Tensor:
    shape = (1, *binding.opt_shape[1:])
    numbers = torch.rand(shape, generator=generator)
    if binding.dtype.is_floating_point:
        return numbers.to(binding.dtype)
    return (numbers > 0.5).to(binding.dtype)


def _results(segment: CompiledSegment, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    graph, weights = segment.placed(inputs)
    return [result.clone() for result in graph.forward(*inputs, *weights)]


def _alike(apart: torch.Tensor, together: torch.Tensor) -> bool:
    """Whether results are the same but for roundings, by which a comparison may come out differently here and there."""
    if apart.shape != together.shape:
        return False
    if not apart.dtype.is_floating_point:
        return bool((apart != together).double().mean() < 0.05)
    apart, together = apart.double(), together.double()
    limit = 1e-2 * apart.abs().nan_to_num(0, 0, 0).max() if apart.numel() else 0.0
    return bool(torch.isclose(apart, together, rtol=0.0, atol=float(limit), equal_nan=True).all())
