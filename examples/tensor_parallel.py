"""A Llama, and a program of one process, divided over the GPUs of a machine: tensor parallelism.

    torchrun --nproc_per_node=2 examples/tensor_parallel.py

Without GPUs the processes exchange tensors by Gloo, and engines run in PyTorch. Each process builds the engines of its
own shards; the collectives between them stay in PyTorch, in the order of the model.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import trt_passes as tp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

_functional = torch.ops._c10d_functional


def llama() -> nn.Module:
    """A small Llama with random weights, the same in every process: ids int64[B,S] -> logits f32[B,S,128]."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    model: nn.Module = LlamaForCausalLM(LlamaConfig(vocab_size=128, num_key_value_heads=2, use_cache=False, **sizes))
    return model.eval()


def shard(model: nn.Module, device: str) -> nn.Module:
    """Divide the products of every layer over all processes: heads, and columns of the feed-forward part."""
    mesh = init_device_mesh(device, (dist.get_world_size(),))
    columns = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
    rows = ("self_attn.o_proj", "mlp.down_proj")
    plan = {name: ColwiseParallel() for name in columns} | {name: RowwiseParallel() for name in rows}
    for layer in model.model.layers:  # type: ignore[union-attr]
        parallelize_module(layer, mesh, plan)  # type: ignore[arg-type]
    return model


class Part(nn.Module):
    """What one process has of two layers: columns of the first, rows of the second. x f32[B,64] -> f32[B,64]."""

    def __init__(self, up: nn.Linear, down: nn.Linear) -> None:
        super().__init__()
        rank, size = dist.get_rank(), dist.get_world_size()
        self.up, self.down = nn.Parameter(up.weight.chunk(size)[rank]), nn.Parameter(down.weight.chunk(size, 1)[rank])
        self.group = dist.group.WORLD.group_name  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum of the parts of all processes."""
        part = torch.relu(x @ self.up.t()) @ self.down.t()
        total: torch.Tensor = _functional.wait_tensor(_functional.all_reduce(part, "sum", self.group))
        return total


@torch.no_grad()
def run_llama(executor: str = "auto") -> tuple[float, int]:
    """Compile the Llama's shards by torch.compile: the largest difference to the whole one, and how many engines."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ids = torch.arange(12, device=device).reshape(2, 6)
    whole, backend = llama().to(device), tp.TorchCompileBackend(min_block_size=1, executor=executor)
    compiled = torch.compile(shard(llama().to(device), device), backend=backend)
    error = float((compiled(ids).logits - whole(ids).logits).abs().max())
    return error, sum(len(graph.report.segments) for graph in backend.graphs if graph.report)


@torch.no_grad()
def run_part(folder: Path, executor: str = "auto") -> float:
    """Compile this process's part of two layers, save and load it: the largest difference to both layers, whole."""
    torch.manual_seed(1)
    up, down, x = nn.Linear(64, 256, bias=False), nn.Linear(256, 64, bias=False), torch.randn(8, 64)
    expected = down(torch.relu(up(x)))
    compiled = tp.compile(torch.export.export(Part(up, down).eval(), (x,)), min_block_size=1, executor=executor)
    error = 0.0 if torch.cuda.is_available() else float((compiled(x) - expected).abs().max())
    mine = folder / f"part-{dist.get_rank()}-of-{dist.get_world_size()}.pt2"
    tp.save(compiled, mine)
    loaded = tp.load(mine, operators=["_c10d_functional"])
    if torch.cuda.is_available():
        loaded, x = loaded.cuda(), x.cuda()
    return max(error, float((loaded(x).cpu() - expected).abs().max()))


def main() -> None:
    """Join the processes that torchrun started, and say what differs."""
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if gpu else "gloo")
    try:
        with tempfile.TemporaryDirectory() as folder:
            (error, engines), part = run_llama(), run_part(Path(folder))
            place = f"process {dist.get_rank()} of {dist.get_world_size()}"
            print(f"{place}: Llama of {engines} engines, error {error:.1e}; saved part, error {part:.1e}", flush=True)
            dist.barrier()
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
