"""The two ways through a compiled module: the graph with the operator, and direct calls of the engines."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.export import Dim
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.engine_operator import NAME, OPERATOR
from trt_passes.compiler.runtime.calls.usual_arguments import usual_arguments
from trt_passes.compiler.runtime.engine_graph import SPLICED, segments_of
from trt_passes.compiler.runtime.save import load
from trt_passes.compiler.runtime.saving.save import save

from tests.compiler.runtime.handmade import spliced


class Model(nn.Module):
    """Two engines with a sort between them; weights, a buffer that changes, a hidden buffer, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 4))
        self.register_buffer("calls", torch.zeros(1))
        self.register_buffer("hidden", torch.ones(4), persistent=False)
        self.inner = nn.Module()
        self.inner.constant = torch.full((4,), 2.0)

    def forward(self, input: Tensor, *, scale: Tensor) -> Tensor:
        self.calls.add_(1)
        h = torch.sort(torch.relu(self.layers[0](input)))[0]
        return self.layers[1](h) * scale + self.calls + self.hidden * self.inner.constant


X, SCALE = torch.randn(3, 4), torch.tensor(2.0)
SHAPES = {"input": {0: Dim("n", min=2, max=9)}, "scale": None}


def compiled(model: nn.Module | None = None, executor: str = "pytorch") -> GraphModule:
    def in_trt(node: torch.fx.Node) -> bool:
        return "sort" not in node.name and not node.name.startswith("getitem")

    torch.manual_seed(0)
    return spliced(model or Model(), (X,), in_trt, kwargs={"scale": SCALE}, dynamic_shapes=SHAPES, executor=executor)


def same(found: GraphModule, expected: GraphModule) -> None:
    for size in (2, 7):
        x = torch.randn(size, 4)
        torch.testing.assert_close(found(x, scale=SCALE), expected(x, scale=SCALE), rtol=1e-5, atol=1e-5)


class Seen(TorchDispatchMode):
    """Records the operators that the dispatcher sees."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators.append(func)
        return func(*args, **(kwargs or {}))


def dispatched(module: GraphModule) -> set[str]:
    """Names of the operators that reach PyTorch's dispatcher in one call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        module(X, scale=SCALE)
    return {event.key for event in profile.key_averages()}


def test_calls_do_not_go_through_the_dispatcher() -> None:
    module = compiled()
    assert "aten::sort" in dispatched(module)
    assert NAME not in dispatched(module)
    type(module).forward = type(module).forward.__wrapped__  # type: ignore[attr-defined]
    assert NAME in dispatched(module)


def test_weights_are_read_only_where_pytorch_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    module, asked = compiled(), []
    for name, segment in segments_of(module).items():
        read = segment.constants
        monkeypatch.setattr(segment, "constants", lambda name=name, read=read: asked.append(name) or read())
    module(X, scale=SCALE)
    assert asked == ["segment_00", "segment_01"]
    asked.clear()
    segment = segments_of(module)["segment_01"]
    results = [torch.zeros(binding.min_shape) for binding in segment.runner.spec.outputs]
    monkeypatch.setattr(segment.runner, "reference", lambda inputs: results)
    segment.executor = "reference"
    module(X, scale=SCALE)
    assert asked == ["segment_00"]


def test_only_executors_can_be_set() -> None:
    segment = segments_of(compiled())["segment_00"]
    with pytest.raises(UserError, match=r"executor is 'tensort'\. Did you mean 'tensorrt'"):
        segment.executor = "tensort"  # type: ignore[assignment]
    assert segment.executor == "pytorch"


def test_hooks_for_all_modules_see_one_module() -> None:
    module, seen = compiled(), list[nn.Module]()
    hook = nn.modules.module.register_module_forward_pre_hook(lambda found, args: seen.append(found))
    try:
        module(X, scale=SCALE)
        with torch.no_grad(), FlopCounterMode(display=False):
            module(X, scale=SCALE)
    finally:
        hook.remove()
    assert seen == [module, module]


def test_tensors_are_what_they_were_in_the_model() -> None:
    model = Model()
    module = compiled(model)
    assert list(module.state_dict()) == list(model.state_dict())
    assert dict(module.named_buffers()).keys() == dict(model.named_buffers()).keys()
    assert dict(module.named_parameters()).keys() == dict(model.named_parameters()).keys()


def test_both_ways_give_the_same_and_have_one_signature() -> None:
    module, official = compiled(), compiled()
    with Seen() as seen:
        expected = official(X, scale=SCALE)
    assert seen.operators.count(OPERATOR) == 2
    torch.testing.assert_close(module(X, scale=SCALE), expected)
    assert list(inspect.signature(module.forward).parameters) == ["input", "scale"]


@pytest.mark.parametrize("executor", ["pytorch", "auto", "tensorrt", "reference"])
def test_the_operator_uses_the_runner_of_the_module(executor: Any) -> None:
    module, calls = compiled(executor="auto"), []
    for segment in segments_of(module).values():
        segment.executor = executor
        results = [torch.zeros(binding.min_shape) for binding in segment.runner.spec.outputs]
        segment.runner.reference = lambda inputs, results=results: calls.append(len(inputs)) or results

    def outcome(run: Any) -> str:
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                run(X, scale=SCALE)
            return str([str(item.message) for item in caught if item.category is RuntimeWarning])
        except (UserError, RuntimeError) as error:
            return str(error).splitlines()[0]

    def official(*args: Any, **kwargs: Any) -> Any:
        with Seen():
            return module(*args, **kwargs)

    exported = torch.export.export(module, (X,), {"scale": SCALE}).module()
    outcomes = []
    for run in (module, official, exported):
        for segment in segments_of(module).values():
            segment.runner.notice.given.clear()
        outcomes.append(outcome(run))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(calls) == (6 if executor == "reference" else 0)


def test_engines_stay_where_they_are_when_the_module_moves() -> None:
    module = compiled()
    engines = {name: (item.engine.data_ptr(), item.fallback.data_ptr()) for name, item in segments_of(module).items()}
    module.to("meta")
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
    for name, item in segments_of(module).items():
        assert engines[name] == (item.engine.data_ptr(), item.fallback.data_ptr())
        assert item.engine.device.type == "cpu"
        assert not any(item.engine is buffer for buffer in module.buffers())


@pytest.mark.parametrize("strict", [False, True])
def test_export_save_load(strict: bool) -> None:
    module, buffer = compiled(), io.BytesIO()
    exported = torch.export.export(module, (X,), {"scale": SCALE}, dynamic_shapes=SHAPES, strict=strict)
    module(X, scale=SCALE)
    torch.export.save(exported, buffer)
    buffer.seek(0)
    loaded = torch.export.load(buffer).module()
    loaded.load_state_dict(module.state_dict())
    with pytest.warns(RuntimeWarning, match="run in PyTorch"):
        same(loaded, module)
    assert set(exported.state_dict) >= set(module.state_dict())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_torch_compile(backend: str) -> None:
    module, expected = compiled(), compiled()
    with torch.no_grad():
        same(torch.compile(module, backend=backend, fullgraph=True, dynamic=True), expected)


def test_tracers_record_the_operator() -> None:
    module = compiled()
    traced = make_fx(lambda x: module(x, scale=SCALE))(X)
    symbolic = torch.fx.symbolic_trace(module)
    for graph in (traced.graph, symbolic.graph):
        assert len(graph.find_nodes(op="call_function", target=OPERATOR)) == 2


@pytest.mark.parametrize(
    ("transformed", "name"),
    [
        (lambda call: torch.func.vmap(call)(torch.randn(2, 3, 4)), "vmap"),
        (lambda call: torch.func.grad(lambda x: call(x).sum())(X), "grad"),
        (lambda call: torch.func.jvp(call, (X,), (X,)), "jvp"),
    ],
)
def test_transforms_of_functions_are_refused(transformed: Any, name: str) -> None:
    module = compiled()
    with pytest.raises(UserError, match=rf"cannot be called under torch\.func\.{name}, which cannot look into"):
        transformed(lambda x: module(x, scale=SCALE))
    module(X, scale=SCALE)


def test_an_edited_graph_runs_as_it_reads() -> None:
    module, expected = compiled(), compiled()(X, scale=SCALE)
    output = module.graph.output_node()
    (result,) = output.all_input_nodes
    with module.graph.inserting_before(output):
        output.replace_input_with(result, module.graph.call_function(torch.ops.aten.neg.default, (result,)))
    module.recompile()
    torch.testing.assert_close(module(X, scale=SCALE), -expected)
    same(copy.deepcopy(module), module)
    with pytest.raises(UserError, match="was edited"):
        pickle.dumps(module)
    assert list(segments_of(module)) == ["segment_00", "segment_01"]


def test_an_engine_call_with_computed_weights_goes_through_the_operator() -> None:
    module, expected = compiled(), compiled()
    call = module.graph.find_nodes(op="call_function", target=OPERATOR)[0]
    with module.graph.inserting_before(call):
        doubled = module.graph.call_function(torch.ops.aten.mul.Scalar, (call.args[4][0], 2))
    call.update_arg(4, [doubled, *call.args[4][1:]])
    module.recompile()
    assert list(segments_of(module)) == ["segment_01"]
    with torch.no_grad():
        expected.get_parameter("layers.0.weight").mul_(2)
    same(module, expected)


def test_a_deep_copy_has_weights_of_its_own_and_shares_engines() -> None:
    module = compiled()
    module.report = object()
    twin = copy.deepcopy(module)
    assert list(twin.state_dict()) == list(module.state_dict())
    assert dict(twin.named_buffers()).keys() == dict(module.named_buffers()).keys()
    same(twin, module)
    expected = copy.deepcopy(twin)(X, scale=SCALE)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.zero_()
    torch.testing.assert_close(twin(X, scale=SCALE), expected)
    assert not torch.equal(module(X, scale=SCALE), expected)
    ours, theirs = segments_of(twin)["segment_00"], segments_of(module)["segment_00"]
    assert ours.engine.data_ptr() == theirs.engine.data_ptr()
    assert twin.report is module.report


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_chooses_its_own_executor(copied: Any) -> None:
    module = compiled()
    twin = copied(module)
    segments_of(twin)["segment_00"].executor = "reference"
    assert segments_of(module)["segment_00"].executor == "pytorch"
    with pytest.raises(UserError, match="reference"), Seen():
        twin(X, scale=SCALE)
    module(X, scale=SCALE)


def test_a_deep_copy_of_the_exported_program_runs() -> None:
    module = compiled()
    exported = torch.export.export(module, (X,), {"scale": SCALE}, dynamic_shapes=SHAPES)
    same(copy.deepcopy(exported).module(), module)


def test_copies_are_saved(tmp_path: Path) -> None:
    module = compiled()
    for twin in (copy.copy(module), copy.deepcopy(module)):
        save(twin, tmp_path / "model.pt2")
        same(load(tmp_path / "model.pt2"), twin)


def test_a_shallow_copy_shares_weights() -> None:
    module = compiled()
    twin = copy.copy(module)
    assert list(twin.state_dict()) == list(module.state_dict())
    with torch.no_grad():
        twin.get_parameter("layers.0.weight").zero_()
    assert not module.get_parameter("layers.0.weight").any()
    assert twin(X, scale=SCALE).shape == (3, 4)


def test_a_pickle_is_what_save_writes() -> None:
    module = compiled()
    module(X, scale=SCALE)
    module.report = {"schema": 1}
    loaded = pickle.loads(pickle.dumps(module))
    same(loaded, module)
    assert loaded.report == {"schema": 1}
    assert {item.executor for item in segments_of(loaded).values()} == {"pytorch"}


def test_autocast_of_the_caller_changes_nothing() -> None:
    module = compiled()
    expected = module(X, scale=SCALE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(X, scale=SCALE)
        assert torch.is_autocast_enabled("cpu")
    assert found.dtype is torch.float32
    torch.testing.assert_close(found - 1, expected)


def test_data_types_stay() -> None:
    model = Model()
    module = compiled(model)
    for change in (nn.Module.half, nn.Module.double, lambda module: module.to(torch.bfloat16)):
        with pytest.raises(UserError, match="keeps its data types"):
            change(module)
    assert {item.dtype for item in (*module.state_dict().values(), *model.state_dict().values())} == {torch.float32}
    module.to("cpu").float()(X, scale=SCALE)


class Halved(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.reshape(-1, 2, 4) * 3).sum(1)


def test_warm_up_has_the_sizes_of_engines_where_one_follows_from_another() -> None:
    half = Dim("half", min=1, max=32)
    exported = torch.export.export(Halved(), (torch.randn(16, 4),), dynamic_shapes=({0: 2 * half},))
    module = tp.compile(exported, min_block_size=1, executor="pytorch")
    (segment,) = segments_of(module).values()
    args, _ = usual_arguments(module.meta[SPLICED], torch.device("cpu"))
    assert args[0].shape == segment.runner.spec.inputs[0].opt_shape
    module.warm_up()


class Drawn(nn.Module):
    """Counts its calls, and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return torch.relu(x) + torch.rand_like(x) + self.calls


def test_warm_up_leaves_no_trace_even_if_it_fails() -> None:
    module = tp.compile(Drawn(), [X], min_block_size=1, executor="pytorch")
    before = torch.get_rng_state()
    module.warm_up()
    module.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        module.warm_up(X)
    assert module.calls.item() == 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_compiled_module_is_in_eval_mode() -> None:
    module = compiled()
    assert not module.training
    assert module.eval() is module
    with pytest.raises(UserError, match="cannot be trained"):
        module.train()


class Branches(nn.Module):
    def forward(self, x):
        x.add_(1)
        return torch.cond(x.sum() > 0, lambda t: t * 2 + torch.ones(3), lambda t: t.clone(), (x,))


def test_a_module_with_branches_moves_and_looks_for_shared_memory():
    compiled = tp.compile(Branches(), [torch.ones(2, 3)], min_block_size=99, executor="pytorch")
    moved = compiled.to("cpu")
    torch.testing.assert_close(moved(torch.ones(2, 3)), torch.full((2, 3), 5.0))
