"""What users of Torch-TensorRT know, done by this package: what is behind `trt_passes.torch_tensorrt`."""
