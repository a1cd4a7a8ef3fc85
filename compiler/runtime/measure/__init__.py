"""What a compiled module costs and how exact it is: errors of nodes, microseconds of kernels."""
