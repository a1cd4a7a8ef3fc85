"""Models that seed torch's random numbers when they are called, which no graph does again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch.fx import Node

from ..errors import UserError
from ..ir.randomness import draws
from ..ir.source import source_of

_NOBODYS = 0x5EED_0F_0BED1ECE
"""A seed that no model sets."""


@contextmanager
def seed_watched() -> Iterator[list[int]]:
    """Gives a list that has a seed in it afterwards, if torch's random numbers were seeded meanwhile.

    Those of the CPU are then as they were before.
    """
    found: list[int] = []
    with torch.random.fork_rng(devices=[]):
        # A model may set the seed that is set already.
        torch.default_generator.manual_seed(_NOBODYS)
        yield found
        if torch.initial_seed() != _NOBODYS:
            found.append(torch.initial_seed())


def check_draws_as_seeded(seeds: Iterable[int], nodes: Iterable[Node]) -> None:
    """Raise UserError if a graph draws numbers that the model draws anew from its own seed in every call."""
    drawn = next((node for node in nodes if draws(node)), None)
    if drawn is not None and any(True for _ in seeds):
        at = f" at {line}" if (line := source_of(drawn)) else ""
        raise UserError(
            f"the model draws random numbers{at} from a seed that it sets itself when it is called, and a graph sets "
            "none: set it outside of the model (torch.manual_seed), or give the numbers as an input."
        )
