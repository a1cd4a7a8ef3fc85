"""The names of `torch_tensorrt.ts.ptq`."""

from trt_passes.compiler.compat.calibration import CacheCalibrator, CalibrationAlgo, DataLoaderCalibrator

__all__ = ["CacheCalibrator", "CalibrationAlgo", "DataLoaderCalibrator"]
