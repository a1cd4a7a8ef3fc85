import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.export import Dim
from torch.fx import GraphModule
from trt_passes.compiler.ir.engine_operator import OPERATOR
from trt_passes.compiler.runtime.engine_graph import SPLICED, segments_of

from tests.compiler.runtime.handmade import spliced

pytestmark = pytest.mark.filterwarnings("ignore:TensorRT engines run in PyTorch")


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 6)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(self.linear(x))
        return y, torch.cat([y, y]).argmax(1)


MODEL = Model()


def compiled() -> GraphModule:
    return spliced(MODEL, (torch.randn(3, 4),), lambda node: True, dynamic_shapes=({0: Dim("n", min=2, max=16)},))


def arguments(size: int) -> tuple[object, ...]:
    segment = segments_of(compiled())["segment_00"]
    constants = [tensor.detach() for tensor in segment.constants()]
    return [torch.randn(size, 4)], segment.engine, segment.spec_text, segment.fallback, constants


def test_the_operator_computes_what_the_model_does() -> None:
    inputs, *rest = arguments(5)
    torch.testing.assert_close(OPERATOR(inputs, *rest), list(MODEL(inputs[0])))  # type: ignore[index]


def test_what_is_read_once_is_kept_with_the_engine() -> None:
    inputs, engine, *rest = arguments(5)
    OPERATOR(inputs, engine, *rest)
    before = engine._trt_passes_runner  # type: ignore[attr-defined]
    OPERATOR(inputs, engine, *rest)
    assert engine._trt_passes_runner is before  # type: ignore[attr-defined]


def test_pytorch_accepts_the_definition() -> None:
    torch.library.opcheck(OPERATOR, arguments(3), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("traced", [False, True])
def test_results_have_no_history(traced: bool) -> None:
    module = compiled()
    fast = torch.compile(module, backend="aot_eager", fullgraph=True) if traced else module.meta[SPLICED].module()
    x = torch.randn(5, 4, requires_grad=True)
    results = fast(x)
    assert not any(result.requires_grad for result in results)
    torch.testing.assert_close(results, MODEL(x.detach()), check_stride=False)


@pytest.mark.parametrize("dynamic", [False, True])
def test_torch_compile_keeps_the_call_whole(dynamic: bool) -> None:
    module = compiled()
    fast = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for size in (3, 7):
        x = torch.randn(size, 4)
        with torch.no_grad():
            torch.testing.assert_close(fast(x), MODEL(x))


def test_fake_tensors_take_the_traced_path() -> None:
    from torch._subclasses import FakeTensorMode

    module = compiled()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y, index = module(mode.from_tensor(torch.randn(5, 4)))
    assert (tuple(y.shape), y.dtype) == ((5, 6), torch.float32)
    assert (tuple(index.shape), index.dtype) == ((10,), torch.int64)


class CallsOwnOperators(torch.nn.Module):
    def forward(self, x: torch.Tensor, rows: torch.Tensor, start: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ops = torch.ops.trt_passes
        scale = torch.full((), 0.1)
        stored = ops.quantize(x, scale, None, -128, 127, torch.int8)
        return ops.write_rows(x, rows, start), ops.dequantize(stored, scale, None, torch.float32)


def test_a_process_that_only_imports_the_package_loads_programs_with_its_operators(tmp_path: Path) -> None:
    inputs = (torch.randn(1, 2, 8, 4), torch.randn(1, 2, 3, 4), torch.tensor([2]))
    program = torch.export.export(CallsOwnOperators(), inputs)
    torch.export.save(program, tmp_path / "program.pt2")
    torch.jit.save(torch.jit.trace(CallsOwnOperators(), inputs), tmp_path / "script.pt")
    torch.save((inputs, CallsOwnOperators()(*inputs)), tmp_path / "values.pt")
    code = (
        "import sys, torch, trt_passes\n"
        "inputs, expected = torch.load('values.pt')\n"
        "program, script = torch.export.load('program.pt2'), torch.jit.load('script.pt')\n"
        "assert not [name for name in sys.modules if name.startswith('trt_passes.passes')]\n"
        "for loaded in (program.module(), script, program.run_decompositions().module()):\n"
        "    torch.testing.assert_close(loaded(*inputs), expected)\n"
        "print(torch.ops.trt_passes.lstm.default)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said == "trt_passes.lstm.default\n"
