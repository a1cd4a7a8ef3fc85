"""What PyTorch runs between engines, compiled ahead of time: packages of AOTInductor, for one kind of device each."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx.node import map_arg

from ..errors import first_line
from ..ir.symbols import example_size


@dataclass(frozen=True)
class Target:
    """Where compiled code runs.

    Attributes:
        device: "cuda" or "cpu".
        name: of the GPU, or of the processor's architecture.
        torch: PyTorch's version, whose libraries the code is linked to.
    """

    device: str
    name: str
    torch: str

    @classmethod
    def here(cls, device: str) -> Target:
        """The device at hand."""
        name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
        return cls(device, name, torch.__version__)

    def __str__(self) -> str:
        return f"{self.name} with PyTorch {self.torch}"


@dataclass(frozen=True)
class Packages:
    """Compiled islands of a module.

    Attributes:
        target: what they run on.
        code: the bytes of a package for each digest of an island's graph.
    """

    target: Target
    code: Mapping[str, bytes]

    def to_json(self) -> str:
        """A text for a file."""
        code = {digest: base64.b85encode(data).decode() for digest, data in self.code.items()}
        return json.dumps({"target": vars(self.target), "code": code})

    @classmethod
    def from_json(cls, data: Any) -> Packages:
        """What `to_json` wrote; ValueError, KeyError or TypeError if it is something else."""
        target = Target(**{str(key): str(value) for key, value in data["target"].items()})
        code = {str(digest): base64.b85decode(text) for digest, text in data["code"].items()}
        return cls(target, code)


@dataclass
class Shelf:
    """The packages of a module, of which one warning says where they cannot be used."""

    packages: Packages
    warned: bool = field(default=False)

    def call_for(self, graph: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any] | None:
        """The compiled code of an island for some inputs; None if there is none for it here."""
        data = self.packages.code.get(digest_of(graph))
        if data is None:
            return None
        target, device = self.packages.target, device_of(inputs)
        here = Target.here(device) if device == target.device else None
        try:
            if here != target:
                raise RuntimeError(f"it was compiled for {target}, and this is {here or 'a ' + device.upper()}")
            return _loaded(data)
        except Exception as error:
            if not self.warned:
                self.warned = True
                text = "code for what stays in PyTorch, which came with the file, cannot be used: "
                text += f"{first_line(error)}; it is compiled when it is called first."
                warnings.warn(text, RuntimeWarning, stacklevel=2)
            return None


def packaged(graphs: Sequence[GraphModule], device: str) -> Packages | None:
    """Compile the graphs of islands for the device at hand; None if none of them can be compiled for all its sizes."""
    code = {}
    for graph in graphs:
        data = _compiled(graph, device)
        if data is not None:
            code[digest_of(graph)] = data
    return Packages(Target.here(device), code) if code else None


def digest_of(graph: GraphModule) -> str:
    """What a graph computes, with the types and sizes of its inputs; names and devices of it do not matter."""
    number = {node: f"%{index}" for index, node in enumerate(graph.graph.nodes)}
    lines = []
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        kwargs = {name: value for name, value in node.kwargs.items() if name != "device"}
        kind = f"{value.dtype}{tuple(value.shape)}" if isinstance(value, torch.Tensor) else ""
        target = "" if node.op == "placeholder" else node.target
        lines.append(f"{node.op} {target} {map_arg((node.args, kwargs), number.__getitem__)} {kind}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def device_of(inputs: Sequence[Any]) -> str:
    """The kind of device that tensors are on: "cuda" if one of them is."""
    kinds = {item.device.type for item in inputs if isinstance(item, torch.Tensor)}
    return "cuda" if "cuda" in kinds else "cpu"


def _compiled(graph: GraphModule, device: str) -> bytes | None:
    from torch._inductor import aoti_compile_and_package

    inputs = _examples(graph, device)
    if inputs is None:
        return None
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = os.path.join(folder, "island.pt2")
        try:
            exported = torch.export.export(graph, tuple(inputs), strict=False)
            aoti_compile_and_package(exported, package_path=path)
        except Exception as error:
            text = f"a part of the model that stays in PyTorch is not in the file as compiled code: {first_line(error)}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            return None
        with open(path, "rb") as file:
            return file.read()


def _examples(graph: GraphModule, device: str) -> list[torch.Tensor] | None:
    """Inputs of an island; None where sizes vary, of which its code would know only the usual ones, or devices do."""
    found = []
    elsewhere = {str(node.kwargs["device"]) for node in graph.graph.nodes if node.kwargs.get("device") is not None}
    if any(torch.device(name).type != device for name in elsewhere):
        return None
    for node in graph.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or not all(isinstance(size, int) for size in value.shape):
            return None
        strides = [example_size(stride) for stride in value.stride()]
        empty = torch.empty_strided(tuple(value.shape), strides, dtype=value.dtype, device=device)  # type: ignore[arg-type]
        found.append(empty.zero_())
    return found


def _loaded(data: bytes) -> Callable[..., Any]:
    from torch._inductor import aoti_load_package

    folder = tempfile.TemporaryDirectory(prefix="trt_passes_island_")
    path = os.path.join(folder.name, "island.pt2")
    with open(path, "wb") as file:
        file.write(data)
    # Without threads of its own it can be captured in CUDA graphs; the lock stands for what it leaves out.
    model, lock = aoti_load_package(path, run_single_threaded=True), threading.Lock()

    def call(*inputs: Any) -> Any:
        with lock:
            return model(*inputs)

    call.folder = folder  # type: ignore[attr-defined]  # kept as long as the code
    return call
