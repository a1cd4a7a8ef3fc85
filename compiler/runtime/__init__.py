"""What runs a compiled program: engines, the torch operator that calls them, the PyTorch fallback, and save/load.

Importing this package imports neither TensorRT nor anything that needs CUDA.
"""
