import warnings

import pytest
import torch
from torch.fx import Graph, GraphModule
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.engine_spec import Binding, EngineSpec
from trt_passes.compiler.ir.program import Segment
from trt_passes.compiler.runtime import runner as runner_module
from trt_passes.compiler.runtime.engine.engine import EngineUnavailable
from trt_passes.compiler.runtime.engine_graph import segments_of
from trt_passes.compiler.runtime.runner import Notice, unavailable
from trt_passes.compiler.runtime.spliced_graph import SegmentParts
from trt_passes.compiler.tensorrt.executor.call import ExecutorError

from tests.compiler.runtime.handmade import spliced
from tests.oracle import converted

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.sort(torch.relu(self.linear(x)))[0]
        return torch.tanh(y), y.view(-1).sigmoid()


def compiled(executor: str) -> GraphModule:
    def in_trt(node: torch.fx.Node) -> bool:
        return "sort" not in node.name and not node.name.startswith("getitem")

    return spliced(Model(), (torch.randn(3, 4),), in_trt, executor=executor)


class NoContext:
    """An engine that has no memory for an execution context."""

    def __call__(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        raise EngineUnavailable("there is no execution context")


def test_an_engine_without_context_falls_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = compiled("auto"), torch.randn(3, 4)
    for segment in segments_of(module).values():
        monkeypatch.setattr(segment.runner, "_loaded_on", lambda device, constants: NoContext())
    with pytest.warns(RuntimeWarning, match="because there is no execution context") as caught:
        found = module(x)
    assert len(caught) == 1
    for segment in segments_of(module).values():
        segment.executor = "pytorch"
    torch.testing.assert_close(found, module(x))


@no_gpu
def test_auto_warns_once_for_all_segments_and_says_why() -> None:
    module = compiled("auto")
    x = torch.ones(3, 4)
    with pytest.warns(RuntimeWarning, match="no GPU that PyTorch can use") as caught:
        results = [module(x) for _ in range(3)]
    assert len(caught) == 1
    for segment in segments_of(module).values():
        segment.executor = "pytorch"
    torch.testing.assert_close(results[2], module(x))


def test_a_new_reason_is_told_too() -> None:
    notice = Notice()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for reason in ("a", "b", "a"):
            notice.warn(reason)
    assert ["because a" in str(item.message) for item in caught] == [True, False]


def test_pytorch_does_not_warn() -> None:
    module = compiled("pytorch")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module(torch.ones(3, 4))


@no_gpu
def test_tensorrt_is_an_error_where_it_cannot_run() -> None:
    with pytest.raises(UserError, match=r"executor='tensorrt' cannot run segment-00: this machine has no GPU"):
        compiled("tensorrt")(torch.ones(3, 4))


def test_reference_needs_the_network() -> None:
    with pytest.raises(UserError, match="only in the process that compiled it"):
        compiled("reference")(torch.ones(3, 4))


def test_inputs_are_checked_without_tensorrt_too() -> None:
    module = segments_of(compiled("pytorch"))["segment_00"]
    with pytest.raises(UserError, match=r"input 'x' has size 5 in dimension 0 .*takes 3"):
        module(torch.ones(5, 4))
    with pytest.raises(UserError, match=r"input 'x' is torch\.float64"):
        module(torch.ones(3, 4, dtype=torch.float64))


@pytest.mark.parametrize("executor", ["pytorch", "reference"])
def test_inputs_on_other_devices_and_sparse_ones_are_named(executor: str) -> None:
    class Sum(torch.nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return torch.relu(x) * y

    x = torch.ones(3, 4)
    module = spliced(Sum(), (x, x.clone()), lambda node: True, executor=executor)
    (segment,) = segments_of(module).values()
    segment.runner.reference = lambda inputs: [inputs[0]]
    with pytest.raises(UserError, match="input 'y' is on meta, but others are on cpu: put all on one"):
        module(x, x.to("meta"))
    with pytest.raises(UserError, match="input 'y' is sparse, but the engine takes dense tensors"):
        module(x, x.to_sparse())


def test_results_share_no_memory_with_inputs_or_each_other() -> None:
    def forward(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return x.view(-1), x.t(), x.view(4, 3)

    class Views(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            return forward(x)

    x = torch.randn(3, 4)
    results = spliced(Views(), (x,), lambda node: True, executor="pytorch")(x)
    torch.testing.assert_close(results, forward(x), check_stride=False)
    assert len({t.untyped_storage().data_ptr() for t in (x, *results)}) == 4


def test_results_need_no_gradient() -> None:
    assert not any(result.requires_grad for result in compiled("pytorch")(torch.ones(3, 4, requires_grad=True)))


def test_reasons_why_an_engine_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = segments_of(compiled("pytorch"))["segment_00"].runner.spec
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no GPU" in str(unavailable(spec, torch.device("cuda", 0)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert "inputs are on the CPU" in str(unavailable(spec, torch.device("cpu")))

    class Other:
        flavor, version = "tensorrt_rtx", "1.4.0.76"

    monkeypatch.setattr(runner_module, "load", Other)
    text = str(unavailable(spec, torch.device("cuda", 0)))
    assert "built by tensorrt_rtx 1.6.1.120" in text
    assert "1.4.0.76 is installed" in text


def test_a_network_whose_result_has_another_shape_than_recorded_is_found() -> None:
    network = converted(torch.relu, [torch.ones(2, 3)]).built
    given, returned = network.inputs[0], network.outputs[0]
    wrong = Binding.static(returned.name, torch.float32, (1, 3))
    segment = Segment("segment-00", (), (given.name,), (returned.name,), network=network)
    spec = EngineSpec("segment-00", "tensorrt_rtx", "1.6.1.120", network.inputs, (wrong,))
    run = SegmentParts(segment, spec, torch.empty(0), GraphModule({}, Graph()), torch.empty(0)).reference()
    assert run is not None
    with pytest.raises(ExecutorError, match=r"output .* has shape \[2, 3\], but its specification says \[1, 3\]"):
        run([torch.ones(2, 3)])
