"""What machine this is, and which PyTorch, by the functions that Torch-TensorRT has for it."""

from __future__ import annotations

import platform

import torch
from torch.torch_version import TorchVersion

from ..errors import UserError
from ..report.versions import versions
from ..tensorrt.loader import TensorRTNotFound, load
from .features import ENABLED_FEATURES


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


def is_tensorrt_version_supported(min_version: str) -> bool:
    """Whether the TensorRT that is used has what a release of TensorRT has.

    Args:
        min_version: the release, such as "10.8.0". TensorRT-RTX 1.4 and later have the layers of TensorRT 11.2.
    """
    try:
        found = load()
    except TensorRTNotFound:
        return False
    return TorchVersion("11.2" if found.is_rtx else found.version) >= min_version


def is_tensorrt_rtx_version_supported(min_version: str) -> bool:
    """Whether TensorRT-RTX is used, of that release or a later one."""
    try:
        found = load()
    except TensorRTNotFound:
        return False
    return found.is_rtx and TorchVersion(found.version) >= min_version


def check_cross_compile_trt_win_lib() -> bool:
    """Whether engines for Windows can be built here, see `ENABLED_FEATURES.windows_cross_compile`."""
    return ENABLED_FEATURES.windows_cross_compile


def get_build_info() -> str:
    """The versions of everything that a compilation depends on, a line each."""
    return "\n".join(f"{name}: {version}" for name, version in versions().items())


def dump_build_info() -> None:
    """Print `get_build_info()`."""
    print(get_build_info())


def set_device(gpu_id: int) -> None:
    """Make a GPU PyTorch's current one, which is the one that tensors are made on; nothing without a GPU.

    Raises:
        UserError: there is no such GPU.
    """
    if not isinstance(gpu_id, int) or gpu_id < 0:
        raise UserError(f"gpu_id is {gpu_id!r}: give the number of a GPU.")
    if not torch.cuda.is_available():
        return
    if gpu_id >= torch.cuda.device_count():
        raise UserError(f"gpu_id is {gpu_id}, and there are {torch.cuda.device_count()} GPUs here.")
    torch.cuda.set_device(gpu_id)
