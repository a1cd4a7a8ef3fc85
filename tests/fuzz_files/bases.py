"""Honest files to mutate: small models that have between them everything that files can hold."""

from __future__ import annotations

import collections
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import trt_passes as tp
from torch import nn
from torch.export import Dim
from trt_passes.compiler.frontends.load_model import load_model
from trt_passes.compiler.runtime.engine.cache import EngineCache
from trt_passes.compiler.runtime.saving import graph_text

from tests.compiler.runtime.engine.test_cache import engine
from tests.compiler.runtime.handmade import spliced

CACHE_KEY = hashlib.sha256(b"fuzz").hexdigest()


@dataclass(frozen=True)
class Base:
    """A kind of file.

    Attributes:
        name: of the kind.
        path: an honest one.
        read: reads one, and says whether it was taken; raises UserError if it is refused.
    """

    name: str
    path: Path
    read: Callable[[Path], bool]


class Sized(nn.Module):
    """Sizes that are formulas, keyword arguments, buffers, and containers."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor, more: dict[str, torch.Tensor]) -> Any:
        self.calls.add_(1)
        y = torch.cat([torch.relu(self.a(x)), x]) * scale
        z = torch.sort(y)[0][: x.shape[0] // 2]
        return {"y": y.reshape(-1) + self.calls, "z": collections.OrderedDict(z=z, n=[torch.nonzero(more["k"]), None])}


class Branching(nn.Module):
    """Graphs as arguments of operators, in a segment and outside of one."""

    def forward(self, x: torch.Tensor, flag: torch.Tensor) -> Any:
        inner = torch.cond(flag, lambda a: a.sin() + 1, lambda a: a.cos() * 2, (x,))
        outer = torch.cond(flag, lambda a: a.relu(), lambda a: a * 3, (torch.sort(x)[0],))
        return torch.full([2], float("inf")).add(inner.sum()), outer.to(torch.float16)


def bases(folder: Path) -> list[Base]:
    """The honest files, made in a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [*_models(folder), *_programs(folder), _graph(folder), _engine(folder)]


def _models(folder: Path) -> list[Base]:
    args, kwargs = (torch.randn(4, 4),), {"scale": torch.tensor(2.0), "more": {"k": torch.ones(3)}}
    shapes = {"x": {0: Dim("n", min=4, max=9)}, "scale": None, "more": {"k": {0: Dim.AUTO}}}
    sized = spliced(Sized(), args, lambda n: "sort" not in n.name, kwargs=kwargs, dynamic_shapes=shapes)
    pair = (torch.randn(2, 3), torch.tensor(True))
    branching = spliced(Branching(), pair, lambda n: n.name.startswith(("full", "sum", "add", "_to_copy")))
    found = []
    for name, module, call in (("sized", sized, (args, kwargs)), ("branching", branching, (pair, {}))):
        tp.save(module, folder / f"{name}.pt2")
        found.append(Base(f"model, {name}", folder / f"{name}.pt2", _model_reader(*call)))
    return found


def _model_reader(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[Path], bool]:
    def read(path: Path) -> bool:
        module = tp.load(path, executor="pytorch")
        # What was damaged in a way that a model may be computes something else, or cannot be called.
        try:
            module(*args, **kwargs)
            str(module.report)
        except Exception:
            return True
        return True

    return read


def _programs(folder: Path) -> list[Base]:
    path = folder / "program.pt2"
    shapes = {"x": {0: Dim("n", min=4, max=9)}, "scale": None, "more": {"k": {0: Dim.AUTO}}}
    kwargs = {"scale": torch.tensor(2.0), "more": {"k": torch.ones(3)}}
    torch.export.save(torch.export.export(Sized(), (torch.randn(4, 4),), kwargs, dynamic_shapes=shapes), path)

    def read(path: Path) -> bool:
        module: Any = load_model(str(path)).module
        try:
            module.module()(torch.randn(4, 4), **kwargs)
        except Exception:
            return True
        return True

    return [Base("program", path, read)]


def _graph(folder: Path) -> Base:
    """The graph of a segment with graphs as arguments of operators."""
    args = torch.randn(2, 3), torch.tensor(True)
    module = torch.export.export(Branching(), args).run_decompositions({}).graph_module
    path = folder / "graph.json"
    path.write_text(graph_text.dumps(module.graph))

    def read(path: Path) -> bool:
        graph = graph_text.loads(path.read_bytes())
        try:
            graph.forward(*args)  # called as a module, fx would print what is wrong with it
        except Exception:
            return True
        return True

    return Base("graph of a segment", path, read)


def _engine(folder: Path) -> Base:
    cache = EngineCache(str(folder / "cache"), 1 << 20)
    cache.put(CACHE_KEY, engine())

    def read(path: Path) -> bool:
        cached = folder / "cache" / f"{CACHE_KEY}.engine"
        cached.write_bytes(path.read_bytes())
        return cache.get(CACHE_KEY, "segment-00") is not None

    honest = folder / "honest.engine"
    honest.write_bytes((folder / "cache" / f"{CACHE_KEY}.engine").read_bytes())
    return Base("engine of the cache", honest, read)
