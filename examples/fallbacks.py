"""A detector that cannot become one engine, for three different reasons, to see what the report says about each.

trt-passes run examples/fallbacks.py:model --dump-dir dump
cat dump/why.txt
"""

from __future__ import annotations

import torch
import trt_passes as tp
from torch import nn


class Detector(nn.Module):
    """Scores every cell of an image and refines those that matter.

    images f32[B,3,H,W] -> refined cells f32[u0,16] (as many as the images have), best scores f32[B,5], calibration
    f32[B,2], singular values of the cells f32[B,16].
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU()
        )
        self.score = nn.Conv2d(16, 1, 1)
        self.refine = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16), nn.LayerNorm(16))
        self.register_buffer("temperature", torch.tensor([0.5, 2.0], dtype=torch.float64))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.backbone(images)
        scores = torch.sigmoid(self.score(features)).flatten(1)
        cells = features.flatten(2).transpose(1, 2)

        # How many cells are kept depends on the image.
        refined = self.refine(cells[scores > 0.5])

        # The five best scores: a sort, which TensorRT can do.
        ranked, _ = torch.sort(scores, dim=1, descending=True, stable=True)

        # float64, which TensorRT does not have: truncate_double=True computes it in float32.
        calibration = torch.exp(scores.mean(1, keepdim=True).double() / self.temperature).float()

        # A matrix decomposition, for which there is no converter.
        strength = torch.linalg.svdvals(cells)
        return refined, ranked[:, :5], calibration, torch.tanh(strength)


def model() -> tuple[nn.Module, tuple[tp.Input, ...]]:
    """The detector for 2 images of 64x64."""
    torch.manual_seed(0)
    return Detector().eval(), (tp.Input((2, 3, 64, 64)),)
