"""PyTorch's own samples of its operators with complex numbers, lowered, and in whole networks."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo
from torch.utils import _pytree as pytree

DRAWN = (
    "rand",
    "normal",
    "uniform",
    "dropout",
    "bernoulli",
    "multinomial",
    "exponential",
    "cauchy",
    "lowrank",
    "empty",
)
"""What draws random numbers, or leaves memory as it is."""

ENTRIES = {
    entry.full_name: entry
    for entry in op_db
    if torch.complex64 in entry.dtypes
    and not any(word in entry.full_name for word in DRAWN)
    and not entry.name.startswith("jiterator")
}

USUAL = (
    "abs",
    "div.no_rounding_mode",
    "einsum",
    "fft.irfft2",
    "index_put",
    "linalg.det",
    "masked_fill",
    "stft",
    "where",
)


class Sample(torch.nn.Module):
    """A call of an operator, whose tensors are its inputs."""

    def __init__(self, entry: OpInfo, leaves: Sequence[Any], spec: pytree.TreeSpec) -> None:
        super().__init__()
        self.call, self.leaves, self.spec = entry.op, leaves, spec

    def forward(self, *tensors: torch.Tensor) -> Any:
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in self.leaves]
        first, args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return self.call(first, *args, **kwargs)


def samples(entry: OpInfo, dtype: torch.dtype, count: int) -> list[tuple[Sample, list[torch.Tensor]]]:
    """That many samples of an operator, spread over all it has, that torch.export takes, with their tensors."""
    torch.manual_seed(0)
    every = list(entry.sample_inputs("cpu", dtype))
    found = []
    for sample in every[:: max(1, len(every) // count)][:count]:
        leaves, spec = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
        tensors = [leaf.detach().clone() for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if tensors and all(tensor.layout is torch.strided for tensor in tensors):
            found.append((Sample(entry, leaves, spec), tensors))
    return found


def copies(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in tensors]


def assert_right(module: Any, sample: Sample, tensors: list[torch.Tensor]) -> None:
    with torch.no_grad():
        actual, expected = (pytree.tree_leaves(call(*copies(tensors))) for call in (module, sample))
    for mine, theirs in zip(actual, expected, strict=True):
        if isinstance(theirs, torch.Tensor):
            torch.testing.assert_close(mine, theirs, rtol=3e-4, atol=3e-5, equal_nan=True)


@functools.cache
def exported(name: str, dtype: torch.dtype, count: int) -> list[tuple[Any, Sample, list[torch.Tensor]]]:
    """Samples of an operator with the programs that torch.export makes of them, which themselves compute the same.

    The test is skipped where there are none, with what torch.export said of the last; for the usual ones it fails.
    """
    found, said = [], "it has none of dense tensors"
    every = samples(ENTRIES[name], dtype, count)
    for sample, tensors in every:
        try:
            program = torch.export.export(sample, tuple(copies(tensors)))
            assert_right(program.module(), sample, tensors)
        except Exception as error:  # such as sizes that depend on values, which it refuses or bounds too tightly
            said = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:120]}"
            continue
        found.append((program, sample, tensors))
    if not found and name in USUAL:
        pytest.fail(f"none of {len(every)} samples of {name} is tested: {said}")
    if not found:
        pytest.skip(f"none of {len(every)} samples of {name} is tested: {said}")
    return found


def test_most_operators_have_samples_that_are_tested() -> None:
    """What torch.export refuses is skipped: here it is counted, over every fortieth operator."""
    chosen = sorted(ENTRIES)[::40]
    left_out = []
    for name in chosen:
        try:
            exported(name, torch.complex64, 1)
        except pytest.skip.Exception:
            left_out.append(name)
    assert len(chosen) >= 10
    assert set(left_out) <= {"linalg.lstsq"}, left_out  # whose sizes depend on values


def check_lowered(name: str, dtype: torch.dtype, count: int) -> None:
    settings = tp.Settings(truncate_double=True, strict=True)
    for program, sample, tensors in exported(name, dtype, count):
        lowered = tp.PassManager("decompose,lower,annotate", settings=settings).run(tp.trace(program)).program
        assert_right(lowered.exported.module(), sample, tensors)


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.filterwarnings("ignore")
def test_usual_samples_are_lowered_right(name: str) -> None:
    check_lowered(name, torch.complex64, 1)


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.filterwarnings("ignore")
def test_all_samples_are_lowered_right(name: str, dtype: torch.dtype) -> None:
    check_lowered(name, dtype, 4)


@pytest.mark.long
@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.filterwarnings("ignore")
def test_all_samples_are_right_in_networks(name: str) -> None:
    """As compiled modules, their networks evaluated by the reference executor."""
    options: dict[str, Any] = {"min_block_size": 1, "executor": "reference", "strict": True}
    for program, sample, tensors in exported(name, torch.complex64, 2):
        assert_right(tp.compile(program, copies(tensors), **options), sample, tensors)
