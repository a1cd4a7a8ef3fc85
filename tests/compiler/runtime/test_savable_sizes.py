"""Functions of numbers written with those that can be saved."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
from trt_passes.compiler.runtime.savable_sizes import WRITTEN_OUT

NUMBERS = (-3, -2.5, -1.5, -1.2, -0.5, 0, 0.49999999999999994, 0.5, 1.5, 2.5, 2.7, 3, 7.000001)


@pytest.mark.parametrize("function", [math.floor, math.ceil, operator.abs, round])
def test_what_is_written_out_is_what_python_does(function: Callable[..., Any]) -> None:
    for number in NUMBERS:
        assert WRITTEN_OUT[function](lambda call, *arguments: call(*arguments), number) == function(number)
