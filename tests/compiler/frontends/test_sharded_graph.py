"""Models that are divided over processes: collectives stay in PyTorch, in order, and files know whose part they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.collectives import Processes, collectives_in

from examples import tensor_parallel

OPS = torch.ops._c10d_functional
X = torch.randn(4, 8)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as the first of two, whose collectives do nothing."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()


def summed(x: torch.Tensor) -> torch.Tensor:
    total: torch.Tensor = OPS.wait_tensor(OPS.all_reduce(x, "sum", dist.group.WORLD.group_name))  # type: ignore[union-attr]
    return total


class Twice(nn.Module):
    """Two equal sums, and one before a product that could run earlier than the others."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.two(torch.relu(self.one(torch.relu(self.one(x)))))
        late = summed(y) + summed(y)
        early = summed(x)
        return torch.relu(self.two(early)) + torch.tanh(late)


def test_collectives_keep_their_order_and_number(two: None) -> None:
    model = Twice().eval()
    program = torch.export.export(model, (X,))
    compiled = tp.compile(program, min_block_size=1, executor="reference")

    def shown(graph: torch.fx.Graph) -> list[str]:
        return [f"{node.target} of {node.args[0]}" for node in collectives_in(graph)]

    assert shown(compiled.graph) == shown(program.graph)
    assert sum("all_reduce.default of" in text.split(" of")[0] + " of" for text in shown(compiled.graph)) == 3
    torch.testing.assert_close(compiled(X), model(X))
    reasons = {row.reasons[0].code for row in compiled.report.ledger if "c10d" in row.op}
    assert reasons == {"TP105"}
    messages = [row.reasons[0].message for row in compiled.report.ledger if row.op.endswith("all_reduce")]
    assert all("group '0'" in message or "group" in message for message in messages)


def test_what_nothing_reads_is_still_called(two: None) -> None:
    class Unread(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(x)
            summed(y)
            return torch.tanh(y)

    program = torch.export.export(Unread(), (X,))
    compiled = tp.compile(program, min_block_size=1, executor="reference")
    assert len(collectives_in(compiled.graph)) == len(collectives_in(program.graph))


@pytest.mark.parametrize("name", ["all_gather_into_tensor", "reduce_scatter_tensor", "all_to_all_single"])
def test_every_collective_stays_between_engines(two: None, name: str) -> None:
    group = dist.group.WORLD.group_name  # type: ignore[union-attr]
    arguments: dict[str, tuple[Any, ...]] = {
        "all_gather_into_tensor": (2, group),
        "reduce_scatter_tensor": ("sum", 2, group),
        "all_to_all_single": ([2, 2], [2, 2], group),
    }

    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(OPS.wait_tensor(getattr(OPS, name)(torch.relu(x), *arguments[name])))

    compiled = tp.compile(torch.export.export(Model(), (X,)), min_block_size=1, executor="reference")
    assert compiled.report.verdicts["trt"] == 2
    assert compiled(X).shape == Model()(X).shape


def test_a_file_says_whose_part_it_is(two: None, tmp_path: Path) -> None:
    compiled = tp.compile(torch.export.export(Twice().eval(), (X,)), min_block_size=1, executor="pytorch")
    path = tmp_path / "part.pt2"
    tp.save(compiled, path)
    with pytest.raises(tp.UserError, match="operators="):
        tp.load(path)
    tp.load(path, operators=["_c10d_functional"])
    with pytest.raises(tp.UserError, match="part of process 0 of 2, and this is process 1 of 4"):
        _as(Processes(1, 4), path)
    dist.destroy_process_group()
    try:
        with pytest.raises(tp.UserError, match=r"call torch\.distributed\.init_process_group first"):
            tp.load(path, operators=["_c10d_functional"])
    finally:
        from torch.testing._internal.distributed.fake_pg import FakeStore

        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)


def _as(processes: Processes, path: Path) -> None:
    before = Processes.here
    Processes.here = classmethod(lambda cls: processes)  # type: ignore[method-assign, assignment]
    try:
        tp.load(path, operators=["_c10d_functional"])
    finally:
        Processes.here = before  # type: ignore[method-assign]


def test_the_place_of_a_process_is_checked() -> None:
    assert Processes.from_json(None) is None
    assert Processes.from_json({"rank": 1, "world_size": 2}) == Processes(1, 2)
    for row in ({"rank": 2, "world_size": 2}, {"rank": "0", "world_size": 2}):
        with pytest.raises(ValueError, match="no place of a process"):
            Processes.from_json(row)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)))


def test_shards_of_torch_compile_are_compiled(two: None) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    torch._dynamo.reset()
    plan = {"up": ColwiseParallel(), "down": RowwiseParallel()}
    model = parallelize_module(Mlp().eval(), init_device_mesh("cpu", (2,)), plan)
    backend = tp.TorchCompileBackend(min_block_size=1, executor="reference")
    compiled = torch.compile(model, backend=backend)
    with torch.no_grad():
        torch.testing.assert_close(compiled(X), model(X))
        (graph,) = backend.graphs
        assert graph.reason is None
        assert graph.report is not None
        assert graph.report.verdicts["trt"] >= 3
        for weight in model.parameters():
            weight.mul_(2.0)
        torch.testing.assert_close(compiled(X), model(X))
    theirs = torch.compile(model, backend="trt_passes", options={"min_block_size": 1})
    with torch.no_grad():
        torch.testing.assert_close(theirs(X), model(X))


def _with_gloo(rank: int, folder: str, what: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        if what == "part":
            assert tensor_parallel.run_part(Path(folder), executor="reference") < 1e-4
        else:
            error, engines = tensor_parallel.run_llama(executor="reference")
            assert (error < 1e-4, engines) == (True, 5)
    finally:
        dist.destroy_process_group()


@pytest.mark.long
def test_two_processes_run_a_part_each(tmp_path: Path) -> None:
    mp.spawn(_with_gloo, args=(str(tmp_path), "part"), nprocs=2)


@pytest.mark.long
def test_two_processes_run_a_sharded_llama(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the Llama is that of transformers")
    mp.spawn(_with_gloo, args=(str(tmp_path), "llama"), nprocs=2)
