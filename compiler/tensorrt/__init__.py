"""TensorRT behind one door: which flavour is installed, its data types, its layers, and a PyTorch evaluation of them.

Importing this package does not import TensorRT; `loader.load()` does.
"""
