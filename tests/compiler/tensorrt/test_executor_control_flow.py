"""The reference executor on loops, conditionals and assertions, and on everything it must refuse."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from trt_passes.compiler.tensorrt.executor import ExecutorError, ReferenceExecutor

F16, BF16, F32 = torch.float16, torch.bfloat16, torch.float32
I32, I64, BOOL = torch.int32, torch.int64, torch.bool


def _sum(net: Any, left: Any, right: Any) -> Any:
    return net.network.add_elementwise(left, right, net.module.ElementWiseOperation.SUM).get_output(0)


@pytest.mark.parametrize("reverse", [False, True])
def test_counted_loop_is_a_running_sum(net: Any, reverse: bool) -> None:
    kinds = net.module.LoopOutput
    x, count = net.input("x", F32, (3, -1)), net.input("count", I32, ())
    loop = net.network.add_loop()
    loop.add_trip_limit(count, net.module.TripLimit.COUNT)
    state = loop.add_recurrence(net.constant(torch.zeros(3)))
    item = loop.add_iterator(x, 1, reverse)
    total = _sum(net, state.get_output(0), item.get_output(0))
    state.set_input(1, total)
    net.output(loop.add_loop_output(state.get_output(0), kinds.LAST_VALUE).get_output(0), "last")
    for kind in ("CONCATENATE", "REVERSE"):
        collected = loop.add_loop_output(total, kinds.__members__[kind], 1)
        collected.set_input(1, count)
        net.output(collected.get_output(0), kind)
    value = torch.randn(3, 5)
    results = net.run(x=value, count=torch.tensor(4, dtype=I32))
    used = value[:, :4].flip(1) if reverse else value[:, :4]
    torch.testing.assert_close(results["last"], used.sum(1))
    torch.testing.assert_close(results["CONCATENATE"], used.cumsum(1))
    torch.testing.assert_close(results["REVERSE"], used.cumsum(1).flip(1))


def test_while_loop_stops_before_the_iteration_its_condition_forbids(net: Any) -> None:
    """Double until the value is at least the limit."""
    start, limit = net.input("start", F32, ()), net.input("limit", F32, ())
    loop = net.network.add_loop()
    state = loop.add_recurrence(start)
    below = net.network.add_elementwise(state.get_output(0), limit, net.module.ElementWiseOperation.LESS)
    loop.add_trip_limit(below.get_output(0), net.module.TripLimit.WHILE)
    state.set_input(1, _sum(net, state.get_output(0), state.get_output(0)))
    net.output(loop.add_loop_output(state.get_output(0), net.module.LoopOutput.LAST_VALUE).get_output(0))
    assert net.result(start=torch.tensor(3.0), limit=torch.tensor(20.0)) == 24
    assert net.result(start=torch.tensor(30.0), limit=torch.tensor(20.0)) == 30


def test_loop_inside_a_loop(net: Any) -> None:
    """The sum over rows of (the row's sum, times the row's number of elements seen before)."""
    x = net.input("x", F32, (3, 4))
    rows, columns = net.constant(3, I32), net.constant(4, I32)
    zero = net.constant(0.0)
    kinds, limits = net.module.LoopOutput, net.module.TripLimit
    outer = net.network.add_loop()
    outer.add_trip_limit(rows, limits.COUNT)
    total = outer.add_recurrence(zero)
    row = outer.add_iterator(x).get_output(0)
    inner = net.network.add_loop()
    inner.add_trip_limit(columns, limits.COUNT)
    partial = inner.add_recurrence(total.get_output(0))
    partial.set_input(1, _sum(net, partial.get_output(0), inner.add_iterator(row).get_output(0)))
    row_total = inner.add_loop_output(partial.get_output(0), kinds.LAST_VALUE).get_output(0)
    doubled = _sum(net, row_total, row_total)
    total.set_input(1, doubled)
    net.output(outer.add_loop_output(total.get_output(0), kinds.LAST_VALUE).get_output(0))
    value = torch.arange(12.0).reshape(3, 4)
    expected = 0.0
    for values in value.tolist():
        expected = 2 * (expected + sum(values))
    assert net.result(x=value) == expected


def test_result_of_a_loop_must_have_the_declared_length(net: Any) -> None:
    loop = net.network.add_loop()
    loop.add_trip_limit(net.input("count", I32, ()), net.module.TripLimit.COUNT)
    state = loop.add_recurrence(net.constant(torch.zeros(2)))
    state.set_input(1, _sum(net, state.get_output(0), net.constant(torch.ones(2))))
    output = loop.add_loop_output(state.get_output(0), net.module.LoopOutput.CONCATENATE, 0)
    output.set_input(1, net.constant(3, I32))
    net.output(output.get_output(0))
    torch.testing.assert_close(net.result(count=torch.tensor(3, dtype=I32))[:, 0], torch.arange(3.0))
    with pytest.raises(ExecutorError, match="2 iterations do not make a result of length 3"):
        net.run(count=torch.tensor(2, dtype=I32))


def test_conditional_evaluates_the_taken_branch_only(net: Any) -> None:
    x, wanted = net.input("x", F32, (-1,)), net.input("wanted", BOOL, ())
    conditional = net.network.add_if_conditional()
    conditional.set_condition(wanted)
    inside = conditional.add_input(x).get_output(0)
    strict = net.network.add_slice(inside, (0,), (4,), (1,))
    then = net.network.add_unary(strict.get_output(0), net.module.UnaryOperation.NEG)
    otherwise = net.constant(torch.ones(4))
    net.output(conditional.add_output(then.get_output(0), otherwise).get_output(0))
    seen: list[str] = []
    executor = ReferenceExecutor(net.trt, net.network)
    # Three elements are too few for the strict slice of the branch that is not taken.
    (result,) = executor.run(
        {"x": torch.zeros(3), "wanted": torch.tensor(False)}, observe=lambda name, _: seen.append(name)
    ).values()
    torch.testing.assert_close(result, torch.ones(4))
    assert strict.name not in seen
    torch.testing.assert_close(net.result(x=torch.arange(5.0), wanted=torch.tensor(True)), -torch.arange(4.0))
    with pytest.raises(ExecutorError, match="out of bounds"):
        net.run(x=torch.zeros(3), wanted=torch.tensor(True))


def test_what_a_branch_in_a_loop_needs_from_outside_is_computed_before_the_loop(net: Any) -> None:
    """Whether the branch is taken is known only inside of the loop; the negated input is computed outside of it."""
    x = net.input("x", F32, (2,))
    negated = net.network.add_unary(x, net.module.UnaryOperation.NEG).get_output(0)
    loop = net.network.add_loop()
    loop.add_trip_limit(net.constant(3, I32), net.module.TripLimit.COUNT)
    state = loop.add_recurrence(net.constant(torch.zeros(2)))
    total = net.network.add_reduce(state.get_output(0), net.module.ReduceOperation.SUM, 1, False).get_output(0)
    conditional = net.network.add_if_conditional()
    below = net.network.add_elementwise(total, net.constant(-5.0), net.module.ElementWiseOperation.GREATER)
    conditional.set_condition(below.get_output(0))
    inside = conditional.add_input(state.get_output(0)).get_output(0)
    then = _sum(net, inside, negated)
    otherwise = net.network.add_unary(inside, net.module.UnaryOperation.ABS).get_output(0)
    state.set_input(1, conditional.add_output(then, otherwise).get_output(0))
    net.output(loop.add_loop_output(state.get_output(0), net.module.LoopOutput.LAST_VALUE).get_output(0))
    torch.testing.assert_close(net.result(x=torch.tensor([1.0, 1.0])), torch.tensor([-3.0, -3.0]))
    torch.testing.assert_close(net.result(x=torch.tensor([2.0, 1.0])), torch.tensor([4.0, 2.0]))


def test_value_used_inside_and_outside_of_a_branch_is_always_evaluated(net: Any) -> None:
    x, wanted = net.input("x", F32, (2,)), net.input("wanted", BOOL, ())
    negated = net.network.add_unary(x, net.module.UnaryOperation.NEG).get_output(0)
    conditional = net.network.add_if_conditional()
    conditional.set_condition(wanted)
    inside = conditional.add_input(negated).get_output(0)
    doubled = _sum(net, inside, inside)
    net.output(conditional.add_output(doubled, conditional.add_input(x).get_output(0)).get_output(0), "chosen")
    net.output(negated, "negated")
    results = net.run(x=torch.ones(2), wanted=torch.tensor(False))
    torch.testing.assert_close(results["chosen"], torch.ones(2))
    torch.testing.assert_close(results["negated"], -torch.ones(2))


def test_assertion(net: Any) -> None:
    x = net.input("x", F32, (-1,))
    size = net.network.add_shape(x).get_output(0)
    is_three = net.network.add_elementwise(size, net.constant([3]), net.module.ElementWiseOperation.EQUAL)
    layer = net.network.add_assertion(is_three.get_output(0), "x must have three elements")
    layer.name = "check"
    net.output(net.network.add_identity(x).get_output(0))
    net.run(x=torch.zeros(3))
    with pytest.raises(ExecutorError, match="ASSERTION layer 'check': assertion failed: x must have three elements"):
        net.run(x=torch.zeros(4))


# -- what the executor holds against TensorRT, and refuses -------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": torch.zeros(2, 4)}, r"input 'x' is f32\[\?,3\], the tensor given is f32\[2,4\]"),
        ({"x": torch.zeros(2, 3, dtype=F16)}, r"input 'x' is f32\[\?,3\], the tensor given is f16\[2,3\]"),
        ({"x": torch.zeros(2)}, r"the tensor given is f32\[2\]"),
        ({}, r"inputs are \['x'\], the tensors given are \[\]"),
        ({"x": torch.zeros(1, 3), "y": torch.zeros(1)}, r"the tensors given are \['x', 'y'\]"),
    ],
)
def test_inputs_that_do_not_fit(net: Any, inputs: dict[str, Tensor], message: str) -> None:
    net.output(net.network.add_identity(net.input("x", F32, (-1, 3))).get_output(0))
    with pytest.raises(ExecutorError, match=message):
        net.run(**inputs)


def test_random_fill_is_refused(net: Any) -> None:
    layer = net.network.add_fill((3,), net.module.FillOperation.RANDOM_UNIFORM)
    layer.name = "noise"
    net.output(layer.get_output(0))
    with pytest.raises(ExecutorError, match="FILL layer 'noise': RANDOM_UNIFORM has no reproducible values"):
        net.run()


def test_layer_kind_without_evaluation_is_refused_before_anything_runs(net: Any) -> None:
    boxes, scores = net.input("boxes", F32, (1, 4, 4)), net.input("scores", F32, (1, 4, 1))
    layer = net.network.add_nms(boxes, scores, net.constant(2, I32))
    layer.name, layer.metadata = "boxes_kept", "[fx:nms]"
    net.output(layer.get_output(0))
    with pytest.raises(ExecutorError, match=r"NMS layer 'boxes_kept' \[fx:nms\]: .* not supported"):
        ReferenceExecutor(net.trt, net.network)


def test_wrong_result_of_a_layer_is_noticed(net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from trt_passes.compiler.tensorrt.executor import run

    layer = net.network.add_softmax(net.input("x", F32, (2, -1)))
    layer.name = "probabilities"
    net.output(layer.get_output(0))
    message = r"SOFTMAX layer 'probabilities': the result is {}, TensorRT declares f32\[2, -1\]"
    for wrong, text in ((torch.zeros(3, 5), r"f32\[3,5\]"), (torch.zeros(2, 5, dtype=I32), r"i32\[2,5\]")):
        monkeypatch.setattr(run, "_HANDLERS", {"SOFTMAX": lambda _, value=wrong: (value,)})
        with pytest.raises(ExecutorError, match=message.format(text)):
            net.run(x=torch.zeros(2, 5))


def test_weights_that_cannot_be_read_come_from_the_side_table(net: Any) -> None:
    value = torch.randn(4).to(BF16)
    weights = net.module.Weights(net.module.DataType.BF16, value.data_ptr(), value.numel())
    layer = net.network.add_constant((4,), weights)
    layer.name = "offsets"
    net.output(_sum(net, net.input("x", BF16, (4,)), layer.get_output(0)))
    x = torch.ones(4, dtype=BF16)
    (result,) = net.run({"offsets": value}, x=x).values()
    torch.testing.assert_close(result, x + value)
    with pytest.raises(ExecutorError, match=r"BF16 weights back: pass them to the executor as weights\['offsets'\]"):
        net.run(x=x)


def test_outputs_do_not_alias_inputs_or_weights(net: Any) -> None:
    constant = torch.ones(3)
    net.output(net.network.add_identity(net.input("x", F32, (3,))).get_output(0), "same")
    net.output(net.network.add_identity(net.constant(constant)).get_output(0), "fixed")
    x = torch.zeros(3)
    results = net.run(x=x)
    for result in results.values():
        result.add_(5)
    assert x.sum() == 0
    assert constant.sum() == 3


def test_intermediate_values_are_freed_after_their_last_use(net: Any) -> None:
    value = net.input("x", F32, (1000,))
    for _ in range(6):
        value = net.network.add_unary(value, net.module.UnaryOperation.NEG).get_output(0)
    net.output(value)
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def observe(name: str, results: list[Tensor]) -> None:
        nonlocal most
        alive.extend(weakref.ref(result) for result in results)
        gc.collect()
        most = max(most, sum(reference() is not None for reference in alive))

    ReferenceExecutor(net.trt, net.network).run({"x": torch.zeros(1000)}, observe=observe)
    assert len(alive) == 6
    assert most <= 2


def test_layers_that_no_output_needs_are_not_evaluated(net: Any) -> None:
    x = net.input("x", F32, (-1,))
    unused = net.network.add_slice(x, (0,), (9,), (1,))
    net.output(net.network.add_identity(x).get_output(0))
    seen: list[str] = []
    ReferenceExecutor(net.trt, net.network).run({"x": torch.zeros(2)}, observe=lambda name, _: seen.append(name))
    assert len(seen) == 1
    assert unused.name not in seen


def test_inputs_on_several_devices_are_refused(net: Any) -> None:
    left, right = net.input("a", F32, (2,)), net.input("b", F32, (2,))
    net.output(_sum(net, left, right))
    with pytest.raises(ExecutorError, match="several devices: cpu, meta"):
        net.run(a=torch.zeros(2), b=torch.zeros(2, device="meta"))
