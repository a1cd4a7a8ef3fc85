"""`torch.cond`, `while_loop`, `scan` and `map`: their graphs become branches and loops of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import GraphModule, Node

from ...compiler.ir.call import Call
from ...compiler.ir.program import bodies_of
from ...compiler.ir.symbols import dims_of
from ...compiler.tensorrt import arithmetic as ar
from ...compiler.tensorrt import shapes
from ...compiler.tensorrt.context import ConversionError
from ...compiler.tensorrt.loops import Loop
from ...compiler.tensorrt.registry import Condition, Family
from ...compiler.tensorrt.tensor import Tensor

if TYPE_CHECKING:
    from ...compiler.tensorrt.context import ConverterContext

higher_order = torch.ops.higher_order
aten = torch.ops.aten
FAMILY = Family("control_flow")

_COPIES = frozenset({aten.clone.default, aten._to_copy.default, aten.alias.default})
_DIVISIONS = frozenset({aten.div, aten.floor_divide, aten.remainder, aten.fmod, aten.reciprocal})


# --- conditions ------------------------------------------------------------------------------------------------------
def _yields_a_size(call: Call) -> str | None:
    results = call.out if isinstance(call.out, tuple | list) else (call.out,)
    other = [str(result) for result in results if not isinstance(result, torch.Tensor)]
    return f"{call.op}: its result {other[0]} is not a tensor" if other else None


_TENSORS = Condition("TP205", "all results are tensors", _yields_a_size)


def _carries_a_number(call: Call) -> str | None:
    other = [item for item in _arguments(call)[2] if not _is_tensor(item)]
    if not other:
        return None
    return f"{call.op}: it carries the number {other[0]}, but TensorRT's loops carry tensors; start with a 0-d tensor"


def _scans_nothing(call: Call) -> str | None:
    return _no_elements(call, _arguments(call)[2])


def _maps_nothing(call: Call) -> str | None:
    return _no_elements(call, _arguments(call)[1])


def _no_elements(call: Call, tensors: Sequence[Node]) -> str | None:
    lengths = [item.meta["val"].shape[0] for item in tensors]
    if lengths and lengths[0] != 0:
        return None
    return f"{call.op}: it scans {'a dimension of size 0' if lengths else 'no tensor'}"


def _is_tensor(item: Any) -> bool:
    return isinstance(item, Node) and isinstance(item.meta.get("val"), torch.Tensor)


# --- operators -------------------------------------------------------------------------------------------------------
@FAMILY.converter(higher_order.cond, conditions=[_TENSORS])
def cond(ctx: ConverterContext, call: Call) -> tuple[Tensor, ...]:
    """A conditional: only the branch that is taken is computed.

    Beside sizes that vary, both branches are computed where they are arithmetic, and their results selected: in a
    network with a conditional, TensorRT-RTX 1.6 has no kernels for convolutions, products and pooling of such sizes.
    """
    predicate, then, otherwise, operands = _arguments(call)
    if ctx.sizes.ranges and all(_is_arithmetic(bodies_of(call.node)[str(item.target)]) for item in (then, otherwise)):
        chosen = shapes.reshape(ctx, ctx.tensor(predicate), (), "predicate")
        pairs = zip(*(_converted(ctx, call, branch, operands) for branch in (then, otherwise)), strict=True)
        return tuple(ar.where(ctx, chosen, left, right, "chosen") for left, right in pairs)
    conditional = ctx.network.add_if_conditional()
    chosen = shapes.reshape(ctx, ctx.tensor(predicate), (), "predicate")
    ctx.enter(conditional.set_condition(chosen.trt), "condition")
    inputs = []
    for operand in operands:
        if not _is_tensor(operand) or ctx.constant_value(operand) is not None:
            inputs.append(operand)
            continue
        outside = ctx.tensor(operand)
        inputs.append(ctx.emit(conditional.add_input(outside.trt), outside.shape, "input"))
    branches = [_converted(ctx, call, branch, inputs) for branch in (then, otherwise)]
    results = []
    for left, right, out in zip(*branches, call.out, strict=True):
        layer = conditional.add_output(_own(ctx, left, inputs).trt, _own(ctx, right, inputs).trt)
        results.append(ctx.emit(layer, dims_of(out.shape)))
    return tuple(results)


@FAMILY.converter(
    higher_order.while_loop,
    conditions=[_TENSORS, Condition("TP205", "the loop carries tensors, no numbers", _carries_a_number)],
)
def while_loop(ctx: ConverterContext, call: Call) -> tuple[Tensor, ...]:
    """A loop that ends when its condition, computed anew before each iteration, is False."""
    condition, body, carried, others = _arguments(call)
    loop = Loop(ctx)
    states = [loop.carried(ctx.tensor(item)) for item in carried]
    inputs = [*states, *others]
    (goes_on,) = _converted(ctx, call, condition, inputs)
    loop.continues_while(shapes.reshape(ctx, goes_on, (), "condition"))
    for state, following in zip(states, _converted(ctx, call, body, inputs), strict=True):
        loop.carry(state, _own(ctx, following, inputs))
    return tuple(loop.last(state) for state in states)


@FAMILY.converter(
    higher_order.scan,
    conditions=[_TENSORS, Condition("TP205", "there is something to scan", _scans_nothing)],
)
def scan(ctx: ConverterContext, call: Call) -> tuple[Tensor, ...]:
    """A loop over the first dimension of tensors that carries a state and collects results."""
    body, initial, scanned, others = _arguments(call)
    tensors = [ctx.tensor(item) for item in scanned]
    loop = Loop(ctx, tensors[0].shape[0])
    states = [loop.carried(ctx.tensor(item)) for item in initial]
    elements = [loop.element(tensor) for tensor in tensors]
    inputs = [*states, *elements, *others]
    results = _converted(ctx, call, body, inputs)
    for state, following in zip(states, results, strict=False):
        loop.carry(state, _own(ctx, following, inputs))
    collected = [loop.collected(_own(ctx, result, inputs)) for result in results[len(states) :]]
    return (*(loop.last(state) for state in states), *collected)


@FAMILY.converter(
    higher_order.map_impl,
    conditions=[_TENSORS, Condition("TP205", "there is something to map", _maps_nothing)],
)
def map_elements(ctx: ConverterContext, call: Call) -> tuple[Tensor, ...]:
    """A loop over the first dimension of tensors that collects results."""
    body, mapped, others = _arguments(call)
    tensors = [ctx.tensor(item) for item in mapped]
    loop = Loop(ctx, tensors[0].shape[0])
    inputs = [*(loop.element(tensor) for tensor in tensors), *others]
    results = _converted(ctx, call, body, inputs)
    return tuple(loop.collected(_own(ctx, result, inputs)) for result in results)


def _is_arithmetic(branch: GraphModule) -> bool:
    """Whether a branch is of operators on elements, none of which fails for some of them, as integers divide by 0."""
    return all(_is_of_elements(node) for node in branch.graph.nodes if node.op == "call_function" and node.users)


def _is_of_elements(node: Node) -> bool:
    result, operator = node.meta.get("val"), node.target
    if not isinstance(operator, torch._ops.OpOverload) or not isinstance(result, torch.Tensor):
        return False
    if operator.overloadpacket in _DIVISIONS:
        return result.is_floating_point()
    return torch.Tag.pointwise in operator.tags or operator in _COPIES


# --- graphs ----------------------------------------------------------------------------------------------------------
def _arguments(call: Call) -> tuple[Any, ...]:
    return tuple(call.node.args)


def _converted(ctx: ConverterContext, call: Call, reference: Any, inputs: Sequence[Any]) -> list[Tensor]:
    """The results of a graph for some inputs: tensors of the network, or nodes and numbers of the graph around it.

    Raises:
        ConversionError: an operator of the graph cannot be converted; the message names its node.
    """
    name = str(reference.target)
    body: GraphModule = bodies_of(call.node)[name]
    placeholders = body.graph.find_nodes(op="placeholder")
    constants, values = {}, {}
    for placeholder, item in zip(placeholders, inputs, strict=True):
        constant = ctx.constant_value(item)
        if constant is not None:
            constants[placeholder.name] = constant
        elif isinstance(item, Tensor) or _is_tensor(item):
            values[placeholder.name] = item if isinstance(item, Tensor) else ctx.tensor(item)
    with ctx.subgraph(name, constants):
        for placeholder, value in values.items():
            ctx.bind(placeholder, value)
        for node in (item for item in body.graph.nodes if item.op == "call_function" and item.users):
            _convert_node(ctx, name, node)
        results: Any = body.graph.output_node().args[0]
        return [ctx.tensor(result) for result in (results if isinstance(results, tuple | list) else (results,))]


def _convert_node(ctx: ConverterContext, graph: str, node: Node) -> None:
    convert = ctx.converter_of(node.target)
    inner = Call(node)
    try:
        if convert is None:
            raise ConversionError(node.name, f"{inner.op} has no converter")
        ctx.convert(inner, convert)
    except ConversionError as error:
        raise ConversionError(error.node, f"in %{graph}, at %{node.name}: {error.message}") from error


def _own(ctx: ConverterContext, result: Tensor, inputs: Sequence[Any]) -> Tensor:
    """A result that is not one of the graph's inputs or a constant: TensorRT wants a layer inside of the graph."""
    borrowed = any(isinstance(item, Tensor) and item.trt is result.trt for item in inputs)
    if not borrowed and not result.trt.is_network_input and not ctx.is_constant(result):
        return result
    return ctx.emit(ctx.network.add_identity(result.trt), result.shape, "result")
