"""Rotary embeddings whose frequencies depend on the length of the text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..compiler.errors import UserError


@contextmanager
def settled_rope(model: Any, positions: int) -> Iterator[None]:
    """Let models be traced without asking for each step whether texts have become longer than they were trained for.

    Rotary embeddings of the type "dynamic" change their frequencies then; a graph has those of texts that fit.

    Raises:
        UserError: the cache has more positions than that.
    """
    growing = [module for module in model.modules() if getattr(module, "rope_type", None) == "dynamic"]
    for module in growing:
        most = int(module.original_max_seq_len)
        if positions > most:
            raise UserError(
                f"the rotary embedding of {type(model).__name__} changes for texts of more than {most} tokens "
                f"(rope_type 'dynamic'), and a compiled model has one: compile with a max_cache_len of at most {most}."
            )
    for module in growing:
        module.rope_type = "default"
    try:
        yield
    finally:
        for module in growing:
            module.rope_type = "dynamic"
