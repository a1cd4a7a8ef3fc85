"""`ts.ptq`: calibration data, as calibrators of Torch-TensorRT have it, for `trt_passes.quantize`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import Any

from torch import nn

from ..frontends.module_view import is_torchscript
from ..frontends.quantize import quantize
from .mistakes import InvalidType, NotPossible


class CalibrationAlgo(Enum):
    """How TensorRT found scales; here each layer's inputs get one by the largest number that they have."""

    ENTROPY_CALIBRATION = auto()
    ENTROPY_CALIBRATION_2 = auto()
    LEGACY_CALIBRATION = auto()
    MINMAX_CALIBRATION = auto()


class DataLoaderCalibrator:
    """The batches of a data loader, by which a model is quantised to int8 when it is compiled.

    Args:
        dataloader: gives batches; of a list or tuple, the first item is the model's input.
        cache_file, use_cache, algo_type, device: of TensorRT's calibration, which there is none of here.
    """

    def __init__(self, dataloader: Iterable[Any], **options: Any) -> None:
        if not isinstance(dataloader, Iterable):
            raise InvalidType(f"dataloader is a {type(dataloader).__name__}: give a DataLoader, or batches.")
        unknown = set(options) - {"cache_file", "use_cache", "algo_type", "device"}
        if unknown:
            raise InvalidType(f"a DataLoaderCalibrator has no {min(unknown)!r}.")
        self.dataloader = dataloader

    def batches(self) -> Iterator[Any]:
        """The model's inputs, batch by batch."""
        for batch in self.dataloader:
            yield batch[0] if isinstance(batch, list | tuple) else batch


class CacheCalibrator:
    """Scales in a file of TensorRT's calibration, which cannot be used here."""

    def __init__(self, cache_file: str | os.PathLike[str], **options: Any) -> None:
        raise NotPossible(
            f"{os.fspath(cache_file)} has scales for the tensors of another network: give the calibration data, by a "
            "DataLoaderCalibrator or trt_passes.quantize."
        )


def quantised(module: Any, options: dict[str, Any]) -> Any:
    """A model, in int8 if a `DataLoaderCalibrator` is among the options, from which it is taken.

    Raises:
        RuntimeError: the model is TorchScript, in which layers cannot be replaced.
    """
    calibrator = options.get("calibrator")
    if not isinstance(calibrator, DataLoaderCalibrator):
        return module
    del options["calibrator"]
    if is_torchscript(module) or not isinstance(module, nn.Module):
        raise NotPossible(
            "layers of TorchScript cannot be replaced by others in int8: give the nn.Module, or quantize it before it "
            "is scripted, by trt_passes.quantize(model, 'int8', batches)."
        )
    return quantize(module, "int8", list(calibrator.batches()))
