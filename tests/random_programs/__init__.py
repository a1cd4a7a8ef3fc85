"""Random programs, to find arithmetic that TensorRT computes wrong where it fuses it: see __main__.py."""
