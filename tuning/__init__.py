"""Measures the ways in which TensorRT and PyTorch compute the operators of a model, on the GPU at hand."""
