"""What is on in PyTorch while a call is made, and decides what types it computes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

_KINDS = ("cpu", "cuda")


@dataclass(frozen=True)
class Modes:
    """Autocast, by kind of device: whether it is on, and the type it casts to; and the default type of floats."""

    autocast: tuple[tuple[str, bool, torch.dtype], ...]
    default_dtype: torch.dtype

    @classmethod
    def now(cls) -> Modes:
        """Those that are on now."""
        autocast = ((kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in _KINDS)
        return cls(tuple(autocast), torch.get_default_dtype())

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Meanwhile, these are on."""
        before = Modes.now()
        with ExitStack() as stack:
            for state, other in zip(self.autocast, before.autocast, strict=True):
                kind, enabled, dtype = state
                if state != other:
                    stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=enabled))
            if self.default_dtype != before.default_dtype:
                stack.callback(torch.set_default_dtype, before.default_dtype)
                torch.set_default_dtype(self.default_dtype)
            yield
