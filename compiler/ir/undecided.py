"""Questions about sizes whose answer differs between the sizes that a program is for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.fx import Graph
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from .program import fake_mode_of


class UndecidedSize(ValueError):
    """Something depends on a size that varies: what is true of the example's sizes need not be true of others."""


@contextmanager
def sizes_not_guessed(graph: Graph) -> Iterator[None]:
    """While entered, a decision by a size of the graph's values that is not the same for all its values raises.

    PyTorch would decide for the example's size, and note for whoever asks that the graph holds only where this is so.

    Raises:
        UndecidedSize: there was such a decision.
    """
    shape_env: ShapeEnv | None = getattr(fake_mode_of(graph), "shape_env", None)
    if shape_env is None:
        yield
        return
    before = len(shape_env.guards)
    if not hasattr(shape_env, "error_on_new_guards"):  # torch < 2.13
        yield
    else:
        try:
            with shape_env.error_on_new_guards():
                yield
        except RuntimeError as error:
            if type(error).__name__ != "_ShapeEnvGuardError":
                raise
            raise UndecidedSize(str(error).rpartition(": ")[2]) from error
    if len(shape_env.guards) > before:
        raise UndecidedSize(str(shape_env.guards[before].expr))
