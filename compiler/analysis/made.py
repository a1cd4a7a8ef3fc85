"""What a pass made that is not in the graph: networks, engines, the compiled module."""

from __future__ import annotations

from ..ir.engine_operator import engine_calls
from ..ir.program import Program
from .tensor_bytes import bytes_text


def made_by(before: Program, after: Program) -> str:
    """What a pass made, in a few words such as "2 engines, 3.4 MiB"; "" if nothing.

    Args:
        before, after: the programs that it was given and that it returned.
    """
    networks = {id(segment.network) for segment in before.segments}
    engines = {id(segment.engine) for segment in before.segments}
    converted = [s.network for s in after.segments if s.network is not None and id(s.network) not in networks]
    built = [s.engine for s in after.segments if s.engine is not None and id(s.engine) not in engines]
    parts = []
    if converted and not built:
        parts.append(f"{_count(len(converted), 'network')}, {_count(sum(map(_layers, converted)), 'layer')}")
    if built:
        cached = sum(engine.cached is True for engine in built)
        size = bytes_text(sum(engine.nbytes for engine in built))
        parts.append(f"{_count(len(built), 'engine')}, {size}{f', {cached} from the cache' if cached else ''}")
    if after.compiled is not None and before.compiled is None:
        parts.append(f"{_count(len(engine_calls(after.compiled)), 'engine call')} in the module")
    return ", ".join(parts)


def _layers(network: object) -> int:
    definition = getattr(network, "network", None)
    return int(getattr(definition, "num_layers", 0))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
