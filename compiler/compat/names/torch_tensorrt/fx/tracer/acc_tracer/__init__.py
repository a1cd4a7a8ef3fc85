"""The tracer of the fx front end."""

from . import acc_tracer

__all__ = ["acc_tracer"]
