"""What a partition costs and what would improve it: fallbacks and gains, the boundary bill.

Pure functions from a program to data; none needs TensorRT.
"""
