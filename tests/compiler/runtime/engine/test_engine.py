"""What `Engine` tells TensorRT, seen by a stand-in for TensorRT; the real one is in test_gpu.py."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import dataclasses
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.engine_spec import Binding, EngineSpec
from trt_passes.compiler.ir.shape_rule import ShapeRule
from trt_passes.compiler.runtime.engine import engine as engine_module
from trt_passes.compiler.runtime.engine.engine import Contexts, Engine, EngineUnavailable, NothingToCompute
from trt_passes.compiler.runtime.engine.exclusive import CAPTURING
from trt_passes.compiler.runtime.options import RuntimeOptions
from trt_passes.compiler.tensorrt.loader import TensorRT

SPEC = EngineSpec(
    "segment-00",
    "tensorrt_rtx",
    "1.6.1.120",
    (Binding("x", torch.float32, ("s0", 2), (0, 2), (2, 2), (8, 2)), Binding.static("b", torch.float32, (2,))),
    (Binding("y", torch.float32, ("s0", 2), (0, 2), (2, 2), (8, 2)),),
)


class FakeContext:
    """y = x + b, read and written through the addresses that it is told."""

    def __init__(self) -> None:
        self.shapes: list[tuple[str, tuple[int, ...]]] = []
        self.addresses: dict[str, int] = {}
        self.streams: list[int] = []
        self.profile: tuple[int, int] | None = None

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile, stream
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes.append((name, shape))
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.streams.append(stream)
        rows = self.shapes[-1][1][0]
        x, b, y = (ctypes.cast(self.addresses[name], ctypes.POINTER(ctypes.c_float)) for name in "xby")
        for i in range(2 * rows):
            y[i] = x[i] + b[i % 2]
        return True


class FakeTensorRT:
    """The module with a runtime that hands out `FakeContext`s."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses, self.deserialized, self.contexts = refuses, 0, list[FakeContext]()
        self.ILogger = type("ILogger", (), {})
        self.ExecutionContextAllocationStrategy = SimpleNamespace(ON_PROFILE_CHANGE="on change")
        self.engine = SimpleNamespace(create_execution_context=self.context, streamable_weights_size=0)

    def Runtime(self, logger: Any) -> Any:
        def deserialize(plan: Any) -> Any:
            self.deserialized += 1
            logger.records.append(("ERROR", "wrong version"))
            return None if self.refuses else self.engine

        return SimpleNamespace(deserialize_cuda_engine=deserialize)

    def context(self, strategy: str = "static") -> FakeContext:
        self.contexts.append(FakeContext())
        return self.contexts[-1]


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The current stream of a GPU that is the CPU."""
    current = SimpleNamespace(cuda_stream=7)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: None)
    monkeypatch.setattr(engine_module, "stream_address", lambda device: current.cuda_stream)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    return current


def engine(fake: FakeTensorRT, **options: Any) -> Engine:
    trt = TensorRT(fake, "tensorrt_rtx", "1.6.1.120")  # type: ignore[arg-type]
    return Engine(trt, torch.zeros(16, dtype=torch.uint8), SPEC, ShapeRule(SPEC), RuntimeOptions(**options))


def aligned(*shape: int) -> torch.Tensor:
    """A random tensor at an address that TensorRT takes, as all of PyTorch's on a GPU are."""
    memory = torch.empty(1024)
    start = -memory.data_ptr() % 256 // 4
    tensor = memory[start : start + torch.Size(shape).numel()].view(shape)
    return tensor.copy_(torch.randn(shape))


def test_results_are_computed_from_the_inputs(stream: SimpleNamespace) -> None:
    run, b = engine(FakeTensorRT()), torch.tensor([1.0, 2.0])
    for size in (3, 3, 5):
        x = torch.randn(size, 2)
        (y,) = run([x, b])
        torch.testing.assert_close(y, x + b)
    with pytest.raises(NothingToCompute):
        run([torch.randn(0, 2), b])


def test_inputs_are_copied_only_where_they_are_not_contiguous(stream: SimpleNamespace) -> None:
    fake = FakeTensorRT()
    run, b, base = engine(fake), torch.tensor([1.0, 2.0]), torch.randn(2, 4)
    torch.testing.assert_close(run([base.t(), b])[0], base.t() + b)
    assert fake.contexts[0].addresses["x"] != base.data_ptr()
    x = aligned(4, 2)
    run([x, b])
    assert fake.contexts[0].addresses["x"] == x.data_ptr()


def test_inputs_that_begin_anywhere_are_copied_to_where_tensorrt_takes_them(stream: SimpleNamespace) -> None:
    fake = FakeTensorRT()
    run, x, b = engine(fake), aligned(5, 2), torch.tensor([1.0, 2.0])
    torch.testing.assert_close(run([x[1:], b])[0], x[1:] + b)
    assert fake.contexts[0].addresses["x"] != x[1:].data_ptr()


def test_addresses_are_told_only_when_they_change(stream: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, told = FakeTensorRT(), list[str]()
    run, x, b = engine(fake), aligned(3, 2), aligned(2)
    run([x, b])
    monkeypatch.setattr(fake.contexts[0], "set_tensor_address", lambda name, address: told.append(name) or True)
    fake.contexts[0].execute_async_v3 = lambda stream: True  # type: ignore[method-assign]
    run([x, b])
    assert "x" not in told
    run([aligned(3, 2), b])
    assert "x" in told


def test_kernels_that_do_not_run_make_it_unavailable(stream: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeTensorRT()
    run, x, b = engine(fake), aligned(3, 2), aligned(2)
    run([x, b])
    fake.contexts[0].execute_async_v3 = lambda stream: False  # type: ignore[method-assign]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    with pytest.raises(EngineUnavailable, match="could not run it: no reason given"):
        run([x, b])
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="in a capture"):
        run([x, b])


def test_outputs_are_reused_on_request(stream: SimpleNamespace) -> None:
    run, b = engine(FakeTensorRT(), reuse_outputs=True), torch.tensor([1.0, 2.0])
    first, second = torch.randn(3, 2), torch.randn(3, 2)
    with torch.inference_mode():
        (y,) = run([first, b])
    (again,) = run([second, b])
    assert again.data_ptr() == y.data_ptr()
    assert not again.is_inference()
    torch.testing.assert_close(y, second + b)
    (other,) = run([torch.randn(4, 2), b])
    assert other.data_ptr() != y.data_ptr()


def test_reused_outputs_may_be_inputs_of_the_next_call(stream: SimpleNamespace) -> None:
    fake, b = FakeTensorRT(), torch.tensor([1.0, 2.0])
    run = engine(fake, reuse_outputs=True)
    first = torch.randn(3, 2)
    (y,) = run([first, b])
    run([y[:], b])
    assert fake.contexts[0].addresses["x"] != fake.contexts[0].addresses["y"]
    torch.testing.assert_close(y, first + 2 * b)


def test_copies_share_what_is_deserialized_but_no_outputs(stream: SimpleNamespace) -> None:
    fake, x, b = FakeTensorRT(), torch.randn(3, 2), torch.tensor([1.0, 2.0])
    run = engine(fake, reuse_outputs=True)
    kept = run([x, b])[0]
    copy.copy(run)([2 * x, b])
    torch.testing.assert_close(kept, x + b)
    assert (fake.deserialized, len(fake.contexts)) == (1, 2)


def test_negated_views_are_read_with_their_sign(stream: SimpleNamespace) -> None:
    x, b = torch._neg_view(aligned(3, 2)), torch.zeros(2)
    torch.testing.assert_close(engine(FakeTensorRT())([x, b])[0], x.resolve_neg())


def test_memory_that_tensorrt_refuses_is_told_again(stream: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, x, b = FakeTensorRT(), aligned(3, 2), aligned(2)
    run = engine(fake)
    run([x, b])
    told = fake.contexts[0].set_tensor_address
    other = aligned(3, 2)
    monkeypatch.setattr(fake.contexts[0], "set_tensor_address", lambda name, address: False)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="does not take the memory of 'x' for segment-00"):
            run([other, b])
    monkeypatch.setattr(fake.contexts[0], "set_tensor_address", told)
    torch.testing.assert_close(run([x, b])[0], x + b)


def test_new_outputs_by_default(stream: SimpleNamespace) -> None:
    run, x, b = engine(FakeTensorRT()), torch.randn(3, 2), torch.tensor([1.0, 2.0])
    kept = run([x, b])[0]
    assert run([x * 2, b])[0].data_ptr() != kept.data_ptr()
    torch.testing.assert_close(kept, x + b)


def test_own_contexts_are_used_meanwhile_and_then_no_more(stream: SimpleNamespace) -> None:
    fake = FakeTensorRT()
    run, inputs = engine(fake), [torch.randn(3, 2), torch.zeros(2)]
    run(inputs)
    own: Contexts = {}
    with run.own_contexts(own):
        run(inputs)
        run(inputs)
    run(inputs)
    assert [len(context.streams) for context in fake.contexts] == [2, 2]
    assert [item.context for item in own.values()] == [fake.contexts[1]]


def test_given_outputs_are_written_to_by_one_call(stream: SimpleNamespace) -> None:
    run, x, b = engine(FakeTensorRT()), torch.randn(3, 2), torch.tensor([1.0, 2.0])
    own: Contexts = {}
    with run.own_contexts(own):
        run([x, b])
        given = aligned(3, 2)
        (state,) = own.values()
        state.given_outputs[0] = given
        assert run([x, b])[0] is given
        torch.testing.assert_close(given, x + b)
        assert run([x, b])[0] is not given


@pytest.mark.parametrize(("budget", "expected"), [(None, 40), (0, 0), (70, 70), (1000, 100)])
def test_weight_streaming(stream: SimpleNamespace, budget: int | None, expected: int) -> None:
    fake = FakeTensorRT()
    fake.engine.streamable_weights_size = 100
    fake.engine.get_weight_streaming_automatic_budget = lambda: 40
    engine(fake, weight_streaming_budget=budget)([torch.randn(3, 2), torch.zeros(2)])
    assert fake.engine.weight_streaming_budget_v2 == expected


def test_kernels_are_specialized_as_asked_and_before_a_capture(stream: SimpleNamespace) -> None:
    fake, strategies = FakeTensorRT(), list[str]()
    fake.IRuntimeCache = object
    fake.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(LAZY="lazy", EAGER="eager", NONE="none")

    def context(config: SimpleNamespace) -> FakeContext:
        strategies.append(config.dynamic_shapes_kernel_specialization_strategy)
        return fake.context()

    fake.engine.create_runtime_config = SimpleNamespace
    fake.engine.create_execution_context = context
    inputs = [torch.randn(3, 2), torch.zeros(2)]
    for wanted in ("lazy", "none"):
        run = engine(fake, dynamic_shapes_kernel_specialization_strategy=wanted)
        run(inputs)
        with run.own_contexts({}):
            run(inputs)
    assert strategies == ["lazy", "eager", "none", "none"]


def test_shapes_are_told_only_when_they_change(stream: SimpleNamespace) -> None:
    fake = FakeTensorRT()
    run, b = engine(fake), torch.zeros(2)
    for size in (3, 3, 3, 4, 3):
        run([torch.randn(size, 2), b])
    assert fake.contexts[0].shapes == [("x", (3, 2)), ("x", (4, 2)), ("x", (3, 2))]


def test_a_context_per_stream_and_one_engine(stream: SimpleNamespace) -> None:
    fake = FakeTensorRT()
    run, inputs = engine(fake), [torch.randn(3, 2), torch.zeros(2)]
    for number in (7, 8, 7, 8):
        stream.cuda_stream = number
        run(inputs)
    assert fake.deserialized == 1
    assert [context.streams for context in fake.contexts] == [[7, 7], [8, 8]]


def test_a_context_per_thread(stream: SimpleNamespace) -> None:
    fake = FakeTensorRT()
    run, inputs = engine(fake), [torch.randn(3, 2), torch.zeros(2)]
    threads = [threading.Thread(target=run, args=(inputs,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (fake.deserialized, len(fake.contexts)) == (1, 3)


def test_engines_are_loaded_while_nobody_captures(stream: SimpleNamespace) -> None:
    fake = FakeTensorRT()
    thread = threading.Thread(target=engine(fake), args=([torch.randn(3, 2), torch.zeros(2)],))
    with CAPTURING:
        thread.start()
        thread.join(0.05)
        assert (fake.deserialized, fake.contexts) == (0, [])
    thread.join()
    assert (fake.deserialized, len(fake.contexts)) == (1, 1)


def test_a_wrong_size_is_found_before_tensorrt_is_told(stream: SimpleNamespace) -> None:
    fake = FakeTensorRT()
    run, b = engine(fake), torch.zeros(2)
    run([torch.randn(3, 2), b])
    with pytest.raises(UserError, match="'x' has size 9 in dimension 0"):
        run([torch.randn(9, 2), b])
    assert len(fake.contexts[0].shapes) == 1
    run([torch.randn(3, 2), b])
    assert len(fake.contexts[0].shapes) == 1


def test_a_wrong_dtype_is_named(stream: SimpleNamespace) -> None:
    with pytest.raises(UserError, match="'b' is f16, but the engine takes f32"):
        engine(FakeTensorRT())([torch.randn(3, 2), torch.zeros(2).half()])


def test_contexts_of_other_streams_and_cached_memory_are_given_back_where_memory_is_short(
    stream: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, freed = FakeTensorRT(), list[str]()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: freed.append("waited"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: freed.append("emptied"))
    run, inputs = engine(fake), [torch.randn(3, 2), torch.zeros(2)]
    run(inputs)

    def context() -> FakeContext | None:
        if freed:
            return fake.context()
        run._logger.records.append(("ERROR", "Error Code 2: OutOfMemory (Requested size was 7 bytes.)"))
        return None

    fake.engine.create_execution_context = context
    stream.cuda_stream = 8
    torch.testing.assert_close(run(inputs)[0], inputs[0])
    assert freed == ["waited", "emptied"]
    assert list(run._local.contexts) == [(None, 8, 0)]
    own: Contexts = {}
    with run.own_contexts(own):
        run(inputs)
    assert len(own) == 1


def test_a_sparse_input_is_named(stream: SimpleNamespace) -> None:
    with pytest.raises(UserError, match="'b' is sparse, but the engine takes dense tensors"):
        engine(FakeTensorRT())([torch.randn(3, 2), torch.zeros(2).to_sparse()])


def test_a_refused_engine_gives_the_words_of_tensorrt(stream: SimpleNamespace) -> None:
    with pytest.raises(EngineUnavailable, match="refuses it: wrong version"):
        engine(FakeTensorRT(refuses=True))([torch.randn(3, 2), torch.zeros(2)])


def test_each_profile_has_a_context(stream: SimpleNamespace) -> None:
    one, many = ((1, 2),) * 3, ((2, 2), (4, 2), (8, 2))
    x = Binding("x", torch.float32, ("s0", 2), (1, 2), (1, 2), (8, 2), (one, many))
    spec = dataclasses.replace(SPEC, inputs=(x, SPEC.inputs[1]))
    fake, b = FakeTensorRT(), torch.tensor([1.0, 2.0])
    asked: list[str] = []
    fake.engine.create_execution_context = lambda strategy: asked.append(strategy) or fake.context()
    trt = TensorRT(fake, "tensorrt", "10.16.0.1")  # type: ignore[arg-type]
    run = Engine(trt, torch.zeros(16, dtype=torch.uint8), spec, ShapeRule(spec), RuntimeOptions())
    for rows in (5, 1, 1, 8, 1, 2):
        given = torch.randn(rows, 2)
        torch.testing.assert_close(run([given, b])[0], given + b)
    # As many as profiles, and coming back to one tells TensorRT nothing that it knows.
    assert [(item.profile, [shape[0] for _, shape in item.shapes]) for item in fake.contexts] == [
        ((1, 7), [5, 8, 2]),
        ((0, 7), [1]),
    ]
    assert asked == ["on change"] * 2
    with pytest.raises(UserError, match="takes 1 to 8"):
        run([torch.randn(9, 2), b])
    stream.cuda_stream = 8
    run([torch.randn(1, 2), b])
    assert fake.contexts[2].profile == (0, 8)


def test_a_context_without_its_profile_is_none(stream: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    x = Binding("x", torch.float32, ("s0", 2), (1, 2), (1, 2), (2, 2), (((1, 2),) * 3, ((2, 2),) * 3))
    spec = dataclasses.replace(SPEC, inputs=(x, SPEC.inputs[1]))
    monkeypatch.setattr(FakeContext, "set_optimization_profile_async", lambda self, profile, stream: False)
    trt = TensorRT(FakeTensorRT(), "tensorrt", "10.16.0.1")  # type: ignore[arg-type]
    run = Engine(trt, torch.zeros(16, dtype=torch.uint8), spec, ShapeRule(spec), RuntimeOptions())
    with pytest.raises(EngineUnavailable, match="no execution context"):
        run([torch.randn(2, 2), torch.zeros(2)])


def test_an_output_in_the_memory_of_an_input_is_that_input(stream: SimpleNamespace) -> None:
    y = SPEC.outputs[0]
    spec = dataclasses.replace(SPEC, outputs=(dataclasses.replace(y, alias="x"),))
    fake, b = FakeTensorRT(), torch.tensor([1.0, 2.0])
    for reuses in (False, True):
        trt = TensorRT(fake, "tensorrt_rtx", "1.6.1.120")  # type: ignore[arg-type]
        run = Engine(
            trt, torch.zeros(16, dtype=torch.uint8), spec, ShapeRule(spec), RuntimeOptions(reuse_outputs=reuses)
        )
        given = aligned(3, 2)
        before = given.clone()
        for times in (1, 2):
            (found,) = run([given, b])
            assert found is given
            torch.testing.assert_close(given, before + times * b)
        assert fake.contexts[-1].addresses["x"] == fake.contexts[-1].addresses["y"] == given.data_ptr()
        # At an address that TensorRT does not take, and across it: a copy is written, and what was given gets it.
        for other in (aligned(4, 2)[1:], aligned(2, 3).t()):
            before = other.clone()
            (found,) = run([other, b])
            assert found is other
            torch.testing.assert_close(other, before + b)
