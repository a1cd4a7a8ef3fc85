"""The backend of torch.compile: what became of each graph that dynamo found in a model with a graph break.

python examples/torch_compile.py
"""

from __future__ import annotations

import torch
import trt_passes as tp
from torch import nn


class Classifier(nn.Module):
    """Looks at the scores on the host in between, which breaks the graph: x f32[B,16] -> f32[B,4]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 32), nn.GELU())
        self.head = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 4), nn.Softmax(-1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        if not torch.isfinite(features).all().item():
            raise ValueError("the features are not finite")
        return self.head(features)


@torch.no_grad()
def main(dump_dir: str | None = None) -> tp.TorchCompileBackend:
    """Call the model with three batch sizes, and say what was compiled for them."""
    torch.manual_seed(0)
    model = Classifier().eval()
    # `backend="trt_passes", options={"min_block_size": 2}` does the same, and keeps no list of graphs.
    backend = tp.TorchCompileBackend(min_block_size=2, dump_dir=dump_dir)
    compiled = torch.compile(model, backend=backend)
    for batch in (2, 3, 5):
        x = torch.randn(batch, 16)
        error = (compiled(x) - model(x)).abs().max()
        print(f"batch {batch}: {len(backend.graphs)} graphs, largest error {error:.1e}")
    for graph in backend.graphs:
        assert graph.report is not None
        print(f"{graph.name}: {graph.report.coverage:.0%} of its operators in TensorRT, built {graph.builds} times")
    print(f"dynamo recompiled {backend.recompiles} graphs, to make a size dynamic")
    return backend


if __name__ == "__main__":
    main()
