"""PyTorch's autocast, which must not touch a graph that has its casts in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def autocast_off(kinds: Iterable[str]) -> Iterator[None]:
    """While entered, operators on these kinds of devices ("cpu", "cuda") run in the types that they are given."""
    with ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield
