"""Put blocks into a TorchScript graph: where the condition of one holds, it runs, else the ops that it was made of."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch

from ...ir.module_state import blank_module
from .block import Block
from .block_weights import insert_attribute, without_weights
from .code import Op
from .regions import Graph


def block_module(block: Block, engine: torch.jit.ScriptModule, weights: int) -> torch.jit.ScriptModule:
    """What is called from the graph: `fits`, whether it may run, and `forward`, which runs engines.

    Args:
        block: the block.
        engine: takes the block's tensors, and so many weights.
        weights: how many.
    """
    root = blank_module()
    root.training = False
    root.engine = engine
    region = block.region
    tensors, numbers = block.names[: len(region.tensors)], block.names[len(region.tensors) :]
    kinds = [type(number).__name__ for number in block.numbers]
    parameters = [f"{name}: Tensor" for name in tensors]
    all_parameters = [*parameters, *(f"{name}: {kind}" for name, kind in zip(numbers, kinds, strict=True))]
    own = [f"w{index}" for index in range(weights)]
    taken = ", ".join([*parameters, *(f"{name}: Tensor" for name in own)])
    results = ", ".join("Tensor" for _ in region.outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script: torch.jit.ScriptModule = torch.jit.script(root)
        script.define(f"def fits(self, {', '.join(all_parameters)}) -> bool:\n    return {block.condition}\n")
        given = [f"r[{i}].clone()" if name in region.copied else f"r[{i}]" for i, name in enumerate(region.outputs)]
        script.define(
            f"def forward(self, {taken}) -> Tuple[{results}]:\n"
            f"    r = self.engine({', '.join([*tensors, *own])})\n"
            f"    return ({', '.join(given)},)\n"
        )
    return script.eval()


def put(graph: Graph, module: Any, name: str, block: Block, engine: torch.jit.ScriptModule) -> None:
    """Put a block in the place of its region, whose ops stand one after another.

    Args:
        graph: what the block's region is in.
        module: the module whose `forward` it is, and which gets the attribute.
        name: of the attribute.
        block: the block.
        engine: a ScriptModule that runs its engines.
    """
    taken, weights = without_weights(engine, module)
    script = block_module(block, taken, len(weights))
    region = block.region
    native = graph.model.graph
    last = region.ops[-1].node
    module._c._register_attribute(name, script._c._type(), script._c)
    root = graph.values[graph.root]
    tensors = [graph.values[value] for value in region.tensors]
    numbers = [graph.values[value] for value in region.numbers]
    owner = native.create("prim::GetAttr", [root], 1).s_("name", name)
    owner.output().setType(script._c._type())
    owner.insertAfter(last)
    fits = native.create("prim::CallMethod", [owner.output(), *tensors, *numbers], 1).s_("name", "fits")
    fits.output().setType(torch._C.BoolType.get())
    fits.insertAfter(owner)
    choice = native.create("prim::If", [fits.output()], len(region.outputs))
    choice.insertAfter(fits)
    new, old = choice.addBlock(), choice.addBlock()
    outputs = [graph.values[value] for value in region.outputs]
    clones = _clone_outside(graph, region.ops, choice)
    for value, result in zip(outputs, choice.outputs(), strict=True):
        result.setType(torch._C.TensorType.get())
        value.replaceAllUsesWith(result)  # also inside, which is put right below
        for op in region.ops:
            _restore(op.node, result, value)
    for op in region.ops:
        op.node.moveBefore(old.returnNode())
    for value in outputs:
        old.registerOutput(value)
    kind, last = torch._C.TensorType.get(), new.returnNode()
    own = [insert_attribute(native, (root, module), path, kind, last) for path in weights]
    call = native.create("prim::CallMethod", [owner.output(), *tensors, *own], 1).s_("name", "forward")
    call.output().setType(torch._C.TupleType([torch._C.TensorType.get() for _ in outputs]))
    call.insertBefore(new.returnNode())
    unpacked = native.create("prim::TupleUnpack", [call.output()], len(outputs))
    unpacked.insertBefore(new.returnNode())
    for value in unpacked.outputs():
        value.setType(torch._C.TensorType.get())
        new.registerOutput(value)
    graph.values.update(zip(region.outputs, choice.outputs(), strict=True))
    graph.values.update(clones)


def _restore(node: Any, result: Any, value: Any) -> None:
    """Let a node of the region, and those in it, take a value of the region again."""
    node.replaceInputWith(result, value)
    for block in node.blocks():
        for inner in block.nodes():
            _restore(inner, result, value)
        block.returnNode().replaceInputWith(result, value)


def _clone_outside(graph: Graph, ops: Sequence[Op], after: Any) -> dict[str, Any]:
    """Repeat, after the block, what is no tensor and used outside; the values by name."""
    clones: dict[int, Any] = {}  # by number: a clone takes the name of what it is a clone of
    made: dict[str, Any] = {}
    place = after
    for op in ops:
        if not graph.is_cloned(op):
            continue
        clone = graph.model.graph.createClone(op.node, lambda value: clones.get(value.unique(), value))
        clone.insertAfter(place)
        place = clone
        for name, value, copy in zip(op.outputs, op.node.outputs(), clone.outputs(), strict=True):
            clones[value.unique()] = made[name] = copy
            value.replaceAllUsesWith(copy)
            for member in ops:
                _restore(member.node, copy, value)
    for op in [op for op in reversed(ops) if op.outputs and op.outputs[0] in made]:
        node = made[op.outputs[0]].node()
        if not any(value.uses() for value in node.outputs()):
            for name in op.outputs:
                del made[name]
            node.destroy()
    return made
