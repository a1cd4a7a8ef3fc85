"""Whole compiled modules as CUDA graphs: what can be captured, captures, and results written in place."""
