"""What machine this is, and which PyTorch, by the functions that Torch-TensorRT has for it."""

from __future__ import annotations

import platform

import torch


def is_tegra_platform() -> bool:
    """Whether this is a Jetson, or another machine with a Tegra processor."""
    return "tegra" in platform.release().lower()


def _has_generation(major: int, minor: int) -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability() == (major, minor)


def is_orin() -> bool:
    """Whether the GPU is that of a Jetson Orin."""
    return _has_generation(8, 7)


def is_thor() -> bool:
    """Whether the GPU is that of a Jetson Thor."""
    return _has_generation(11, 0)


def sanitized_torch_version() -> str:
    """The release of PyTorch, without what is after a plus sign."""
    return torch.__version__.partition("+")[0]
