"""Find TensorRT or TensorRT-RTX, and answer every question whose answer differs between flavours and releases."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

from ..errors import UserError

Flavor = Literal["tensorrt", "tensorrt_rtx"]

_EXTRAS: dict[Flavor, str] = {"tensorrt_rtx": "rtx", "tensorrt": "tensorrt"}


class TensorRTNotFound(UserError, ImportError):
    """Neither `tensorrt_rtx` nor `tensorrt` (or not the one asked for) can be imported."""


@dataclass(frozen=True)
class TensorRT:
    """An imported TensorRT Python module, with the differences between flavours and releases answered in one place.

    Attributes:
        module: the imported module; its names (`DataType`, `Builder`, …) are the same in both flavours.
        flavor: which of the two it is.
        version: the full version text, such as "1.6.1.120".
    """

    module: ModuleType
    flavor: Flavor
    version: str

    @property
    def release(self) -> tuple[int, ...]:
        """The numeric parts of the version, for comparisons: "11.2.0.dev1" is (11, 2, 0)."""
        parts: list[int] = []
        for part in self.version.split("."):
            if not part.isdigit():
                break
            parts.append(int(part))
        return tuple(parts)

    @property
    def is_rtx(self) -> bool:
        return self.flavor == "tensorrt_rtx"

    def __str__(self) -> str:
        return f"{'TensorRT-RTX' if self.is_rtx else 'TensorRT'} {self.version}"

    def create_network(self, builder: Any) -> Any:
        """A strongly typed `INetworkDefinition`.

        The flag is bit 0 in TensorRT-RTX and TensorRT 11, and bit 1 in TensorRT 10, so its number is always asked for.

        Raises:
            RuntimeError: TensorRT refused to create the network.
        """
        network = builder.create_network(1 << int(self.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        if network is None:
            raise RuntimeError(f"{self} did not create a strongly typed network: see its log for the reason")
        return network

    def has_layer(self, method: str) -> bool:
        """Whether networks of this release have the method, such as "add_attention"."""
        return hasattr(self.module.INetworkDefinition, method)

    @property
    def has_plugins(self) -> bool:
        return self.has_layer("add_plugin_v3")

    @property
    def has_precision_flags(self) -> bool:
        """Whether the builder still has weak-typing flags (`BuilderFlag.FP16`, …), which strong typing never needs."""
        return hasattr(self.module.BuilderFlag, "FP16")

    @property
    def supports_compute_capabilities(self) -> bool:
        """Whether a build can name its target GPUs, and so needs none itself (TensorRT-RTX only)."""
        return hasattr(self.module.IBuilderConfig, "set_compute_capability")

    @property
    def has_runtime_cache(self) -> bool:
        """Whether kernels are compiled on the GPU machine, at run time, and can be kept (TensorRT-RTX only)."""
        return hasattr(self.module, "IRuntimeCache")

    @property
    def builds_without_gpu(self) -> bool:
        """Whether an engine can be built on a machine without a GPU."""
        return self.supports_compute_capabilities

    @property
    def can_build_nonzero(self) -> bool:
        """TensorRT-RTX accepts the layer and infers its shapes, but has no kernel for it."""
        return not self.is_rtx

    @property
    def can_build_nms(self) -> bool:
        """TensorRT-RTX accepts the layer and infers its shapes, but has no kernel for it."""
        return not self.is_rtx

    @property
    def can_build_moe(self) -> bool:
        """Whether a mixture-of-experts layer can become an engine: TensorRT-RTX cannot decompose the layer."""
        return not self.is_rtx and self.has_layer("add_moe")

    @property
    def can_build_bf16_deconvolution(self) -> bool:
        """TensorRT-RTX accepts bf16 deconvolutions but cannot infer their output types; f16 and f32 work."""
        return not self.is_rtx

    @property
    def can_build_int8_convolution(self) -> bool:
        """TensorRT-RTX has f32, f16, bf16 and fp8 convolutions only."""
        return not self.is_rtx

    @property
    def can_build_fp32_attention(self) -> bool:
        """Without `decomposable=True`, TensorRT-RTX fuses f16 and bf16 attention only."""
        return not self.is_rtx

    @property
    def can_build_refittable(self) -> bool:
        """REFIT and STRIP_PLAN builds of networks with weights fail in TensorRT-RTX 1.6."""
        return not (self.is_rtx and self.release[:2] == (1, 6))

    @property
    def supports_hopper(self) -> bool:
        """TensorRT-RTX refuses compute capability 9.0 from release 1.7 on."""
        return not self.is_rtx or self.release < (1, 7)


def dims_or_none(dims: Any) -> tuple[int, ...] | None:
    """A `Dims` as a tuple (-1 = dynamic), or None where it is unset.

    Up to TensorRT 11.1 and TensorRT-RTX 1.5 an unset `Dims` has `nbDims` -1, and its length raises ValueError; later
    releases give None.
    """
    if dims is None:
        return None
    try:
        return tuple(int(dims[index]) for index in range(len(dims)))
    except ValueError:
        return None


def tensor_shape(tensor: Any) -> tuple[int, ...] | None:
    """The shape of an `ITensor` (-1 = dynamic), or None where TensorRT could not infer it.

    An invalid layer shows only here: from TensorRT 11.2 and TensorRT-RTX 1.6 on as a RuntimeError, before as an unset
    `Dims`. The reason is in TensorRT's log.
    """
    try:
        return dims_or_none(tensor.shape)
    except RuntimeError:
        return None


@functools.cache
def load(prefer: str | None = None) -> TensorRT:
    """Import TensorRT: the flavour asked for, else TensorRT-RTX, else TensorRT.

    Args:
        prefer: "tensorrt" or "tensorrt_rtx" to accept that flavour only; None for whichever is installed.

    Raises:
        ValueError: `prefer` is another name.
        TensorRTNotFound: it is not installed, or cannot be imported; the message says which extra to install.
    """
    if prefer is not None and prefer not in _EXTRAS:
        raise ValueError(f"unknown TensorRT flavour {prefer!r}: use 'tensorrt_rtx' or 'tensorrt'")
    candidates: list[Flavor] = list(_EXTRAS) if prefer is None else [prefer]
    failures: list[str] = []
    for flavor in candidates:
        try:
            module = importlib.import_module(flavor)
        except (ImportError, OSError) as error:
            if not (isinstance(error, ModuleNotFoundError) and error.name == flavor):
                failures.append(f"{flavor} is installed but cannot be imported: {error}")
            continue
        return TensorRT(module, flavor, str(module.__version__))
    installs = " or ".join(f'`pip install "trt-passes[{_EXTRAS[flavor]}]"`' for flavor in candidates)
    reason = "; ".join(failures) or f"{' or '.join(candidates)} is not installed"
    raise TensorRTNotFound(f"this step needs TensorRT, but {reason}: {installs}")


def available() -> TensorRT | None:
    """What `load()` gives, or None where no TensorRT can be imported."""
    try:
        return load()
    except TensorRTNotFound:
        return None
