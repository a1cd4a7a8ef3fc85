"""`Profile`: where the run time of a compiled module goes, by kernel, node, line and module."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...ir.strict_json import strict_json

SCHEMA = 1
"""Version of the layout of `profile.json`."""

GPU = "kernels on the GPU"
CPU = "PyTorch's operators on the CPU"


@dataclass(frozen=True)
class NodeTime:
    """The run time of an op node, in microseconds.

    Attributes:
        node, op, source, module, segment: where it is; `segment` is None for PyTorch.
        us: its share of the kernels that it is fused into.
        floor_us: what it would take at least: its bytes over the memory bandwidth of the GPU, or its operations over
            the peak, whichever is more. None if that is not known.
    """

    node: str
    op: str
    source: str | None
    module: str
    segment: str | None
    us: float
    floor_us: float | None = None


@dataclass(frozen=True)
class KernelTime:
    """A kernel, copy or fill of one call.

    Attributes:
        name: its name.
        kind: "kernel", "copy" or "fill"; "operator" for PyTorch on a CPU.
        us: microseconds, the median over the calls.
        segment: the engine that it is part of; None for PyTorch.
        layers: TensorRT's layers that it belongs to, by name.
        nodes: the op nodes that it computes, as far as they are known.
        operator: the operator of PyTorch that launched it.
    """

    name: str
    kind: str
    us: float
    segment: str | None
    layers: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    operator: str = ""


@dataclass(frozen=True)
class Limits:
    """What a GPU can do, as it was measured: bytes per second, and operations per second by type."""

    bandwidth: float
    peak: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Run time of a line, a module or an operator: microseconds, share of all, and the floor where it is known."""

    name: str
    us: float
    share: float
    floor_us: float | None
    ops: tuple[str, ...]


@dataclass(frozen=True)
class Profile:
    """The run time of a compiled module for some inputs. All times are microseconds of one call.

    Attributes:
        measured: what was measured, `GPU` or `CPU`.
        device: the name of the GPU, or of the CPU's executor.
        call_us: one call from its beginning to the end of its last kernel, as it is usually called (with CUDA graphs,
            if it has them).
        host_us: until the call returns, which is when the next can begin to be enqueued.
        idle_us: of the GPU between the first and the last kernel, without CUDA graphs.
        kernels: what ran.
        nodes: op nodes with their share of it.
        limits: of the device; None if they were not measured.
    """

    measured: str
    device: str
    call_us: float
    host_us: float
    idle_us: float
    kernels: tuple[KernelTime, ...]
    nodes: tuple[NodeTime, ...]
    limits: Limits | None = None

    @property
    def busy_us(self) -> float:
        """The sum of all kernels."""
        return sum(kernel.us for kernel in self.kernels)

    @property
    def copies_us(self) -> float:
        """The sum of copies and fills, most of which are at borders between engines and PyTorch."""
        return sum(kernel.us for kernel in self.kernels if kernel.kind in ("copy", "fill"))

    @property
    def unknown_us(self) -> float:
        """The sum of the kernels of which no node is known."""
        return sum(kernel.us for kernel in self.kernels if not kernel.nodes)

    @property
    def islands_us(self) -> float:
        """The sum of what PyTorch ran."""
        return sum(kernel.us for kernel in self.kernels if kernel.segment is None)

    def lines(self) -> tuple[Place, ...]:
        """By line of the model, most first; what has no line goes by its module or node."""
        return self._places(lambda row: row.source or row.module or row.node)

    def modules(self) -> tuple[Place, ...]:
        """By innermost module, most first."""
        return self._places(lambda row: row.module)

    def engines(self) -> tuple[Place, ...]:
        """By engine, most first; those of a TorchScript model in blocks are called "block_00/segment-00"."""
        return self._places(lambda row: row.segment or "", lambda row: row.segment is not None)

    def operators(self) -> tuple[Place, ...]:
        """What PyTorch runs between the engines, by operator, most first."""
        return self._places(lambda row: row.op, lambda row: row.segment is None)

    def _places(
        self, name: Callable[[NodeTime], str], among: Callable[[NodeTime], bool] = lambda row: True
    ) -> tuple[Place, ...]:
        groups: dict[str, list[NodeTime]] = {}
        for row in self.nodes:
            if among(row):
                groups.setdefault(name(row), []).append(row)
        total = self.busy_us or 1.0
        places = []
        for key, rows in groups.items():
            us = sum(row.us for row in rows)
            floors = [row.floor_us for row in rows if row.floor_us is not None]
            ops = dict.fromkeys(row.op.removeprefix("aten.") for row in sorted(rows, key=lambda row: -row.us))
            places.append(Place(key, us, us / total, sum(floors) if floors else None, tuple(ops)))
        return tuple(sorted(places, key=lambda place: -place.us))

    @property
    def node_us(self) -> dict[str, float]:
        """The run time of every node, by name."""
        return {row.node: row.us for row in self.nodes}

    def __str__(self) -> str:
        return "\n".join([self.head, *map(place_text, [place for place in self.lines()[:10] if place.us > 0])])

    @property
    def head(self) -> str:
        """What one call takes, in a sentence."""
        kind = "operators" if self.measured == CPU else "kernels"
        text = (
            f"run time: {us_text(self.call_us)} per call ({self.measured}, {self.device}): {us_text(self.busy_us)} in "
            f"{len(self.kernels)} {kind}"
        )
        if self.measured == CPU:
            return text
        return (
            f"{text}, of which {us_text(self.islands_us)} in PyTorch and {us_text(self.copies_us)} copies; "
            f"{us_text(self.idle_us)} idle between them without CUDA graphs; the host enqueues for "
            f"{us_text(self.host_us)}"
        )

    # --- files -----------------------------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """The object that `profile.json` holds."""
        limits = None if self.limits is None else {"bandwidth": self.limits.bandwidth, "peak": dict(self.limits.peak)}
        return {
            "schema": SCHEMA,
            "kind": "trt-passes profile",
            "measured": self.measured,
            "device": self.device,
            "call_us": self.call_us,
            "host_us": self.host_us,
            "idle_us": self.idle_us,
            "limits": limits,
            "kernels": [{**vars(row), "layers": list(row.layers), "nodes": list(row.nodes)} for row in self.kernels],
            "nodes": [dict(vars(row)) for row in self.nodes],
        }

    @classmethod
    def from_json(cls, data: Any) -> Profile:
        """The profile that `to_json` wrote.

        Raises:
            UserError: it is something else, or of a newer release.
        """
        try:
            if data["kind"] != "trt-passes profile":
                raise ValueError(f"its kind is {data['kind']!r}")
            if data["schema"] > SCHEMA:
                raise UserError(
                    f"the profile has schema {data['schema']}, and this release of trt-passes reads up to {SCHEMA}: "
                    "upgrade trt-passes."
                )
            limits = data["limits"]
            return cls(
                str(data["measured"]),
                str(data["device"]),
                float(data["call_us"]),
                float(data["host_us"]),
                float(data["idle_us"]),
                tuple(
                    KernelTime(**{**row, "layers": tuple(row["layers"]), "nodes": tuple(row["nodes"])})
                    for row in data["kernels"]
                ),
                tuple(NodeTime(**row) for row in data["nodes"]),
                None if limits is None else Limits(float(limits["bandwidth"]), dict(limits["peak"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this is no profile of trt-passes ({error}): give a profile.json.") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `profile.json`."""
        Path(path).write_text(f"{json.dumps(self.to_json(), indent=1, ensure_ascii=False)}\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read what `save` wrote; UserError if it is something else."""
        try:
            return cls.from_json(strict_json(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
        except ValueError as error:
            raise UserError(f"{path} is no profile of trt-passes ({error}): give a profile.json.") from error


def us_text(us: float) -> str:
    """Microseconds as text: "3.40 ms" or "12.5 us"."""
    return f"{us / 1000:.2f} ms" if us >= 1000 else f"{us:.1f} us"


def place_text(place: Place) -> str:
    """A line of the table: "model.py:88 resize: 3.40 ms, 52 %, floor 20.0 us"."""
    floor = "" if place.floor_us is None else f", floor {us_text(place.floor_us)}"
    ops = ", ".join(place.ops[:3]) + (", …" if len(place.ops) > 3 else "")
    return f"{place.name or '(the model itself)'} {ops}: {us_text(place.us)}, {100 * place.share:.0f} %{floor}"


def shares(nodes: Iterable[str], floors: Mapping[str, float]) -> dict[str, float]:
    """How much of a kernel's time counts for each of its nodes: in proportion to their floors, as far as known."""
    names = list(dict.fromkeys(nodes))
    known = [floors[name] for name in names if floors.get(name)]
    if not names:
        return {}
    # A node without a floor, such as a view, counts for next to nothing beside one that has work to do.
    least = min(known) / 100 if known else 1.0
    weights = {name: floors.get(name) or least for name in names}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}
