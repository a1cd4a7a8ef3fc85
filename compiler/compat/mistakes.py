"""User errors that code which was written for Torch-TensorRT catches by Python's own classes.

It raises AssertionError for some of the mistakes for which it raises ValueError or RuntimeError elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..errors import UserError

Given = ParamSpec("Given")
Result = TypeVar("Result")


class InvalidValue(UserError, ValueError, AssertionError):
    """An argument has a value that it cannot have."""


class InvalidType(UserError, TypeError):
    """An argument is of a type that it cannot be of."""


class NotThere(UserError, NotImplementedError):
    """What is asked for is not there, or not on this machine."""


class NotPossible(UserError, RuntimeError, AssertionError):
    """What is asked for cannot be done with what was given."""


class Refused(UserError, ValueError, RuntimeError, AssertionError):
    """What `trt_passes` refuses, by a message of its own."""


def python_errors(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Let a function raise what `trt_passes` refuses as one of Python's own errors, with the same message."""

    @functools.wraps(function)
    def called(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            if type(error) is not UserError:
                raise
            raise Refused(str(error)).with_traceback(error.__traceback__) from error

    return called
