"""What of Torch-TensorRT's features there is here."""

from __future__ import annotations

from ..tensorrt.loader import TensorRTNotFound, load


class Features:
    """Whether a feature is there, by the names of `torch_tensorrt.ENABLED_FEATURES`."""

    torch_tensorrt_runtime = True
    dynamo_frontend = True
    torchscript_frontend = True
    fx_frontend = True
    qdp_plugin = False
    aot_plugin = False
    trtllm_for_nccl = False
    executorch = False

    @property
    def tensorrt_rtx(self) -> bool:
        """Whether the TensorRT that is used is TensorRT-RTX."""
        try:
            return load().is_rtx
        except TensorRTNotFound:
            return False

    @property
    def windows_cross_compile(self) -> bool:
        """Whether engines that are built here run on Windows, as those of TensorRT-RTX do."""
        return self.tensorrt_rtx

    @property
    def native_trt_collectives(self) -> bool:
        """Whether collectives of several GPUs are layers of engines: here PyTorch runs them, between engines."""
        return False

    @property
    def refit(self) -> bool:
        """Whether weights of engines can be changed, which `mutable_weights` is for."""
        return True

    def __repr__(self) -> str:
        names = [name for name in dir(self) if not name.startswith("_")]
        return f"Features({', '.join(f'{name}={getattr(self, name)}' for name in names)})"


ENABLED_FEATURES = Features()
