"""Names of arguments and modules that Python's code cannot have, and results in containers of all kinds."""

from __future__ import annotations

import collections
import copy
import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import trt_passes as tp
from torch import nn

OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1, "pass_through_build_failures": True}


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def matrix() -> torch.Tensor:
    return torch.arange(12.0).reshape(3, 4) + 1


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@dataclasses.dataclass
class Found:
    values: torch.Tensor
    pair: Pair
    mask: torch.Tensor | None = None


Plain = collections.namedtuple("Plain", "p q")


class Returns(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


RESULTS: dict[str, Callable[[torch.Tensor], Any]] = {
    "topk": lambda x: torch.sin(x).topk(2),
    "max": lambda x: torch.sin(x).max(1),
    "sort": lambda x: torch.sin(x).sort(1, descending=True),
    "named tuple": lambda x: Pair(torch.relu(x), x * 2),
    "namedtuple": lambda x: Plain(torch.relu(x), (x * 2,)),
    "nested": lambda x: {"a": [Pair(torch.relu(x), x * 2), torch.sin(x).topk(2)], "b": (x - 1,)},
    "dataclass": lambda x: Found(torch.relu(x), Pair(x * 2, x - 1)),
    "dict of dataclasses": lambda x: {"found": [Found(torch.relu(x), Pair(x * 2, x - 1), x > 0)]},
}


def same(actual: Any, expected: Any) -> None:
    assert type(actual) is type(expected)
    if dataclasses.is_dataclass(expected):
        same(vars(actual), vars(expected))
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key, item in expected.items():
            same(actual[key], item)
    elif isinstance(expected, list | tuple):
        for one, other in zip(actual, expected, strict=True):
            same(one, other)
    elif expected is not None:
        torch.testing.assert_close(actual, expected)


@torch.no_grad()
@pytest.mark.parametrize("ir", ["dynamo", "fx"])
@pytest.mark.parametrize("name", RESULTS)
def test_results_are_what_they_were_also_when_loaded(name: str, ir: str, tmp_path: Path) -> None:
    model = Returns(RESULTS[name])
    expected = model(matrix())
    compiled = tp.compile(model, [matrix()], ir=ir, **OPTIONS)
    same(compiled(matrix()), expected)
    same(copy.deepcopy(compiled)(matrix()), expected)
    tp.save(compiled, tmp_path / "m.pt2")
    same(tp.load(tmp_path / "m.pt2", executor="pytorch")(matrix()), expected)


@torch.no_grad()
def test_another_process_makes_classes_that_it_does_not_know(tmp_path: Path) -> None:
    tp.save(tp.compile(Returns(RESULTS["dict of dataclasses"]), [matrix()], **OPTIONS), tmp_path / "m.pt2")
    code = (
        "import sys, torch, trt_passes as tp\n"
        "result = tp.load(sys.argv[1], executor='pytorch')(torch.arange(12.0).reshape(3, 4) + 1)\n"
        "found = result['found'][0]\n"
        "print(type(found).__name__, type(found.pair).__name__, found.pair.second[0, 0].item())\n"
        "print(found.mask.all().item())"
    )
    run = subprocess.run([sys.executable, "-c", code, tmp_path / "m.pt2"], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["Found", "Pair", "0.0", "True"], run.stderr


NAMES = ("input", "max", "type", "id", "print", "float", "device", "inf", "args", "x_1", "output")


def doubling(name: str) -> nn.Module:
    """A model whose argument has a name, and is doubled in place."""
    space: dict[str, Any] = {"torch": torch, "nn": nn}
    body = f"{name}.mul_(2)\n        return {name}.relu() + 1"
    code = f"class Model(nn.Module):\n    def forward(self, {name}):\n        {body}"
    exec(code, space)
    model: nn.Module = space["Model"]()
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_arguments_with_names_of_pythons_are_written_to(name: str, tmp_path: Path) -> None:
    model, x, expected = doubling(name), matrix(), matrix()
    result = model(expected)
    compiled = tp.compile(model, [matrix()], **OPTIONS)
    torch.testing.assert_close(compiled(**{name: x}), result)
    torch.testing.assert_close(x, expected)
    tp.save(compiled, tmp_path / "m.pt2")
    x = matrix()
    torch.testing.assert_close(tp.load(tmp_path / "m.pt2", executor="pytorch")(x), result)
    torch.testing.assert_close(x, expected)


@torch.no_grad()
@pytest.mark.parametrize("ir", ["fx", "ts", "torch_compile"])
def test_an_argument_called_input_is_written_to(ir: str) -> None:
    model, x, expected = doubling("input"), matrix(), matrix()
    result = model(expected)
    torch.testing.assert_close(tp.compile(model, [matrix()], ir=ir, **OPTIONS)(x), result)
    torch.testing.assert_close(x, expected)


@pytest.mark.parametrize("name", ["torch", "fx_pytree"])
def test_names_that_hide_what_graphs_need_are_refused(name: str) -> None:
    with pytest.raises(tp.UserError, match=f"an argument of the model is called '{name}'"):
        tp.compile(doubling(name), [matrix()], **OPTIONS)


def with_module(name: str) -> nn.Module:
    model = nn.Sequential()
    model._modules[name] = nn.Linear(4, 4)
    return model.eval()


@torch.no_grad()
@pytest.mark.parametrize("ir", ["dynamo", "fx", "ts"])
@pytest.mark.parametrize("name", ['a"b', "a'b", "a\nb", "a\\b", "a\tb", "a.b", "class"])
def test_modules_with_names_that_code_cannot_hold_are_refused(name: str, ir: str) -> None:
    with pytest.raises(tp.UserError):
        tp.compile(with_module(name), [matrix()], ir=ir, **OPTIONS)


@torch.no_grad()
@pytest.mark.parametrize("name", ["a b", "1", "a-b", "{x}", "a#b", "é"])
def test_modules_with_other_strange_names(name: str, tmp_path: Path) -> None:
    model = with_module(name)
    compiled = tp.compile(model, [matrix()], **OPTIONS)
    torch.testing.assert_close(compiled(matrix()), model(matrix()))
    tp.save(compiled, tmp_path / "m.pt2")
    torch.testing.assert_close(tp.load(tmp_path / "m.pt2", executor="pytorch")(matrix()), model(matrix()))


@pytest.mark.parametrize("ir", ["dynamo", "fx", "torch_compile"])
@pytest.mark.parametrize("layout", [torch.jagged, torch.strided])
def test_nested_tensors_are_refused(ir: str, layout: torch.layout) -> None:
    nested = torch.nested.nested_tensor([torch.ones(2, 4), torch.ones(3, 4)], layout=layout)
    with pytest.raises(tp.UserError, match="an input is a nested tensor"):
        tp.compile(nn.Linear(4, 4).eval(), [nested], ir=ir, **OPTIONS)


@torch.no_grad()
def test_inputs_that_are_marked_as_conjugated_or_negated() -> None:
    class Parts(nn.Module):
        def forward(self, z: torch.Tensor) -> Any:
            return torch.relu(torch.view_as_real(z.resolve_conj()).sum(-1)) * 2

    values = torch.complex(matrix(), matrix() - 7)
    compiled = tp.compile(Parts(), [values], **OPTIONS)
    for z in (values, values.conj()):
        torch.testing.assert_close(compiled(z), Parts()(z))
    layer = Returns(lambda x: torch.relu(x) + x.conj())
    compiled = tp.compile(layer, [matrix()], **OPTIONS)
    torch.testing.assert_close(compiled(values.conj().imag), layer(values.conj().imag))


@torch.no_grad()
def test_truth_values_of_sizes_are_returned_and_not_saved(tmp_path: Path) -> None:
    compiled = tp.compile(Returns(lambda x: (x.shape[0] > 2, torch.relu(x))), ["2..3..6x4"], **OPTIONS)
    assert [compiled(torch.ones(size, 4))[0] for size in (2, 6)] == [False, True]
    with pytest.raises(tp.UserError, match="returns a truth value that depends on sizes"):
        tp.save(compiled, tmp_path / "m.pt2")


class TakesContainer(nn.Module):
    def forward(self, given: Any) -> torch.Tensor:
        return torch.sin(given.p) * given.q[0]


@dataclasses.dataclass
class Given:
    p: torch.Tensor
    q: Any = None


torch.export.register_dataclass(Given)


@pytest.mark.parametrize("container", [Plain, Given])
def test_inputs_of_sizes_that_vary_in_containers_of_ones_own(container: Any) -> None:
    declared = tp.Input(min_shape=(1, 3), opt_shape=(2, 3), max_shape=(4, 3))
    compiled = tp.compile(TakesContainer().eval(), [container(declared, [torch.ones(3)])], **OPTIONS)
    for size in (1, 4):
        given = container(torch.full((size, 3), 0.5), [torch.tensor([1.0, 2.0, 3.0])])
        torch.testing.assert_close(compiled(given), TakesContainer()(given))


class TakesAnything(nn.Module):
    def forward(self, x: torch.Tensor, **others: torch.Tensor) -> torch.Tensor:
        return x * others["class"]


def test_a_keyword_of_python_cannot_be_the_name_of_an_argument() -> None:
    with pytest.raises(tp.UserError, match="an argument is called 'class', which the code of PyTorch's graphs cannot"):
        tp.compile(TakesAnything().eval(), [matrix()], kwarg_inputs={"class": matrix()}, **OPTIONS)
