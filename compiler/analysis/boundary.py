"""The boundary bill: the tensors that enter and leave each engine on every call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node

from ..ir.dtypes import short_name
from ..ir.program import Program, Segment, is_symbolic
from ..ir.text import op_name, type_text
from .islands import Island, islands
from .tensor_bytes import TensorBytes, bytes_text

CALLER = "caller"
"""The place of the model's inputs and outputs."""

STATE = "state"
"""The place of buffers that the model writes to."""

PYTORCH = "pytorch"
"""The place of a `getitem` that alone of its operator stays in PyTorch, and so belongs to no island."""

Direction = Literal["in", "out"]


@dataclass(frozen=True)
class Cast:
    """A change of data type right at a boundary: `node`, run at `place`, turns `source` (such as f64) into `target`."""

    node: str
    source: str
    target: str
    place: str

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order."""
        return {"node": self.node, "source": self.source, "target": self.target, "place": self.place}

    def __str__(self) -> str:
        return f"{self.source} -> {self.target} in {self.place}"


@dataclass(frozen=True)
class Crossing:
    """A tensor that enters ("in") or leaves ("out") an engine.

    Attributes:
        name: the node that yields it.
        type: such as "f32[2,16,s0]".
        nbytes: with the opt sizes of the inputs; None where a size depends on values of tensors.
        direction: as the engine sees it.
        made_in: where it is made: a segment, a PyTorch island ("pytorch-00"), "caller" or "state".
        read_in: where it is read; for "in" only the engine itself, for "out" every place but it.
        casts: casts that make this tensor or read it there.
    """

    name: str
    type: str
    nbytes: int | None
    direction: Direction
    made_in: str
    read_in: tuple[str, ...]
    casts: tuple[Cast, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order."""
        return {
            "name": self.name,
            "type": self.type,
            "nbytes": self.nbytes,
            "direction": self.direction,
            "made_in": self.made_in,
            "read_in": list(self.read_in),
            "casts": [cast.to_json() for cast in self.casts],
        }

    def __str__(self) -> str:
        """One line: "%sort f32[4] 16 B pytorch-00 -> segment-01, cast f64 -> f32 in pytorch-00"."""
        size = "size unknown" if self.nbytes is None else bytes_text(self.nbytes)
        casts = "".join(f", cast {cast}" for cast in self.casts)
        return f"%{self.name} {self.type} {size} {self.made_in} -> {', '.join(self.read_in)}{casts}"


@dataclass(frozen=True)
class EngineBoundary:
    """What crosses the boundary of one engine."""

    segment: str
    inputs: tuple[Crossing, ...]
    outputs: tuple[Crossing, ...]

    @property
    def crossings(self) -> tuple[Crossing, ...]:
        """Inputs, then outputs."""
        return (*self.inputs, *self.outputs)

    @property
    def input_bytes(self) -> int:
        """Known bytes that enter per call."""
        return _total(self.inputs)

    @property
    def output_bytes(self) -> int:
        """Known bytes that leave per call."""
        return _total(self.outputs)

    def to_json(self) -> dict[str, Any]:
        """JSON-able values in field order, with the totals."""
        return {
            "segment": self.segment,
            "input_bytes": self.input_bytes,
            "output_bytes": self.output_bytes,
            "inputs": [crossing.to_json() for crossing in self.inputs],
            "outputs": [crossing.to_json() for crossing in self.outputs],
        }


@dataclass(frozen=True)
class BoundaryBill:
    """The boundaries of all engines, in order of the segments, per call of the model."""

    engines: tuple[EngineBoundary, ...]

    @property
    def crossings(self) -> tuple[Crossing, ...]:
        """All crossings; a tensor that goes from one engine to another counts as output and as input."""
        return tuple(crossing for engine in self.engines for crossing in engine.crossings)

    @property
    def nbytes(self) -> int:
        """Known bytes that enter or leave engines."""
        return _total(self.crossings)

    @property
    def casts(self) -> tuple[Cast, ...]:
        """Every cast at a boundary, once."""
        return tuple(dict.fromkeys(cast for crossing in self.crossings for cast in crossing.casts))

    @property
    def unknown(self) -> int:
        """Crossings whose bytes are not known."""
        return sum(crossing.nbytes is None for crossing in self.crossings)

    def to_json(self) -> dict[str, Any]:
        """JSON-able values, totals first."""
        return {
            "crossings": len(self.crossings),
            "bytes": self.nbytes,
            "casts": len(self.casts),
            "unknown": self.unknown,
            "engines": [engine.to_json() for engine in self.engines],
        }

    @property
    def total(self) -> str:
        """One line: "7 tensors cross engine boundaries per call, 66 KiB, 2 casts"."""
        count = len(self.crossings)
        words = [
            f"{count:,} tensor{'' if count == 1 else 's'} cross{'es' if count == 1 else ''} engine boundaries per call"
        ]
        words.append(bytes_text(self.nbytes) + (f" and {self.unknown} of unknown size" if self.unknown else ""))
        if self.casts:
            words.append(f"{len(self.casts)} cast{'' if len(self.casts) == 1 else 's'}")
        return ", ".join(words)

    def __repr__(self) -> str:
        return f"BoundaryBill({self.total})"

    def __str__(self) -> str:
        """A total, then a line per engine and an indented line per tensor."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield self.total
        for engine in self.engines:
            yield f"{engine.segment}: {bytes_text(engine.input_bytes)} in, {bytes_text(engine.output_bytes)} out"
            for crossing in engine.crossings:
                yield f"  {crossing.direction:3} {crossing}"


def boundary_bill(program: Program, between: Iterable[Island] | None = None) -> BoundaryBill:
    """What crosses the boundaries of a partitioned program's engines; an empty bill where there are no segments.

    Args:
        program: the program.
        between: its `islands`, if they are known already.
    """
    if not program.segments:
        return BoundaryBill(())
    surveyor = _Surveyor(program, islands(program) if between is None else between)
    return BoundaryBill(tuple(map(surveyor.boundary, program.segments)))


class _Surveyor:
    def __init__(self, program: Program, between: Iterable[Island]) -> None:
        self._nodes = program.nodes_by_name
        self._bytes = TensorBytes(program)
        kinds = {name: spec.kind for name, spec in program.input_specs.items()}
        self._place = {name: CALLER if kind is InputKind.USER_INPUT else STATE for name, kind in kinds.items()}
        self._place |= {name: island.name for island in between for name in island.nodes}
        self._place |= {name: item.name for item in program.segments for name in item.nodes}
        self._taken: dict[str, list[str]] = {}
        for spec in program.exported.graph_signature.output_specs:
            taker = STATE if spec.kind is OutputKind.BUFFER_MUTATION else CALLER
            self._taken.setdefault(spec.arg.name, []).append(taker)

    def boundary(self, segment: Segment) -> EngineBoundary:
        inputs = (self._crossing(self._nodes[name], segment.name, "in") for name in segment.inputs)
        outputs = (self._crossing(self._nodes[name], segment.name, "out") for name in segment.outputs)
        return EngineBoundary(segment.name, tuple(inputs), tuple(outputs))

    def _crossing(self, node: Node, engine: str, direction: Direction) -> Crossing:
        inward = direction == "in"
        tensor_users = [user for user in node.users if user.op != "output" and not is_symbolic(user)]
        readers = [user for user in tensor_users if (self._of(user) == engine) is inward]
        places = [self._of(user) for user in readers] + ([] if inward else self._taken.get(node.name, []))
        return Crossing(
            name=node.name,
            type=type_text(node.meta.get("val")),
            nbytes=self._bytes.of(node),
            direction=direction,
            made_in=self._of(node),
            read_in=tuple(dict.fromkeys(places)) or (engine,),
            casts=tuple(self._casts([node, *readers])),
        )

    def _of(self, node: Node) -> str:
        return self._place.get(node.name, PYTORCH)

    def _casts(self, nodes: Iterable[Node]) -> Iterator[Cast]:
        for node in nodes:
            before = node.args[0].meta.get("val") if node.args and isinstance(node.args[0], Node) else None
            after = node.meta.get("val")
            if not isinstance(before, torch.Tensor) or not isinstance(after, torch.Tensor):
                continue
            if before.dtype is not after.dtype and op_name(node.target) in _CAST_OPS:
                yield Cast(node.name, short_name(before.dtype), short_name(after.dtype), self._of(node))


_CAST_OPS = frozenset({"aten._to_copy", "prims.convert_element_type"})


def _total(crossings: Iterable[Crossing]) -> int:
    return sum(crossing.nbytes or 0 for crossing in crossings)
