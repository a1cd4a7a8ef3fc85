"""User errors that code which was written for Torch-TensorRT catches by Python's own classes."""

from __future__ import annotations

from ..errors import UserError


class InvalidValue(UserError, ValueError):
    """An argument has a value that it cannot have."""


class InvalidType(UserError, TypeError):
    """An argument is of a type that it cannot be of."""


class NotThere(UserError, NotImplementedError):
    """What is asked for is not there, or not on this machine."""


class NotPossible(UserError, RuntimeError):
    """What is asked for cannot be done with what was given."""
