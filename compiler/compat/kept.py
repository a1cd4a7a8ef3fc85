"""What a process registers under Torch-TensorRT's names, for every compilation after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Kept(Generic[Item]):
    """Items of a process, in order."""

    def __init__(self) -> None:
        self.items: list[Item] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is registered meanwhile is forgotten at the end."""
        before = list(self.items)
        try:
            yield
        finally:
            self.items[:] = before
