"""ResNet-50 (He et al., "Deep Residual Learning for Image Recognition", 2015) in plain PyTorch, with random weights.

The stride of a downsampling block sits in its 3x3 convolution. Try:

    trt-passes run examples/resnet50.py:model --dump-dir dump
    trt-passes run examples/resnet50.py:dynamic --set enabled_precisions=float16 --dump-dir dump
"""

from __future__ import annotations

import torch
import trt_passes as tp
from torch import nn


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut: f32[B,C,H,W] -> f32[B,4*width,H/stride,W/stride]."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = nn.Sequential()
        if stride != 1 or channels != 4 * width:
            self.shortcut.append(nn.Conv2d(channels, 4 * width, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(4 * width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A classifier: images f32[B,3,H,W] -> logits f32[B,classes].

    Args:
        depths: number of blocks in each stage; every stage but the first halves the resolution.
        width: channels of the stem, doubled from stage to stage.
        classes: number of logits.
    """

    def __init__(self, depths: tuple[int, ...] = (3, 4, 6, 3), width: int = 64, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1)
        stages, channels = [], width
        for index, depth in enumerate(depths):
            blocks = []
            for block in range(depth):
                stride = 2 if block == 0 and index > 0 else 1
                blocks.append(Bottleneck(channels, width << index, stride))
                channels = 4 * (width << index)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(torch.relu(self.bn(self.stem(x))))
        return self.head(self.stages(x).mean((2, 3)))


def initialized(model: nn.Module, resolution: int) -> nn.Module:
    """The model in eval mode with random weights, and batch norm statistics of random images.

    Without matching statistics the activations would grow from block to block. As in trained networks, a block adds
    little to its shortcut: otherwise rounding errors would grow too.
    """
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            deviation = (2 / module.weight[0].numel()) ** 0.5
            nn.init.normal_(module.weight, 0, deviation, generator=generator)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.1, generator=generator)
            module.momentum = 1.0
    for module in model.modules():
        if isinstance(module, Bottleneck):
            nn.init.uniform_(module.bn3.weight, 0.1, 0.3, generator=generator)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, resolution, resolution, generator=generator))
    return model.eval()


def model() -> tuple[nn.Module, tuple[tp.Input, ...]]:
    """ResNet-50 for one image of 224x224."""
    return initialized(ResNet(), 96), (tp.Input((1, 3, 224, 224)),)


def dynamic() -> tuple[nn.Module, tuple[tp.Input, ...]]:
    """ResNet-50 for 1 to 32 images."""
    shape = (3, 224, 224)
    return initialized(ResNet(), 96), (tp.Input(min_shape=(1, *shape), opt_shape=(8, *shape), max_shape=(32, *shape)),)


def small() -> tuple[nn.Module, tuple[tp.Input, ...]]:
    """The same architecture with one narrow block per stage, for 2 images of 32x32."""
    return initialized(ResNet((1, 1, 1), 8, 10), 32), (tp.Input((2, 3, 32, 32)),)


def small_dynamic() -> tuple[nn.Module, tuple[tp.Input, ...]]:
    """`small` for 1 to 4 images."""
    return small()[0], (tp.Input(min_shape=(1, 3, 32, 32), opt_shape=(2, 3, 32, 32), max_shape=(4, 3, 32, 32)),)
