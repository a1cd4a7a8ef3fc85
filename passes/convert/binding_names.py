"""Names of a user's own for the inputs and results of an engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch.utils import _pytree as pytree

from ...compiler.errors import BindingNameMismatch, UserError
from ...compiler.ir.engine_spec import Binding
from ...compiler.ir.program import Program, Segment
from ...compiler.pass_base import Context, Kind, Pass
from ...compiler.tensorrt.network import BuiltNetwork


@dataclass(frozen=True)
class NameBindings(Pass):
    """Give the bindings of the engine that is the whole model names, which C++ or a server finds them by.

    `inputs` and `outputs` have the new names by the nodes whose tensors they are; what they leave out keeps its name.
    """

    name: ClassVar[str] = "convert.name-bindings"
    kind: ClassVar[Kind] = "build"
    requires: ClassVar[frozenset[str]] = frozenset({"converted"})
    inputs: Mapping[str, str] = field(default_factory=dict, hash=False)
    outputs: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, program: Program, input_names: Any = None, output_names: Any = None) -> NameBindings:
        """The pass for names in the containers of a program's arguments and results, or in a list of all of them.

        A text with "{}" is a name for each, with its number.

        Raises:
            BindingNameMismatch: they are in other containers, or no names.
        """
        signature, spec = program.exported.graph_signature, program.exported.call_spec
        return cls(
            _by_node("input_names", input_names, signature.user_inputs, spec.in_spec),
            _by_node("output_names", output_names, signature.user_outputs, spec.out_spec),
        )

    def run(self, program: Program, ctx: Context) -> Program:
        """Rename the bindings of every segment.

        Raises:
            UserError: a name is given twice, or TensorRT refuses it.
        """
        return program.with_segments(tuple(self._named(segment) for segment in program.segments))

    def _named(self, segment: Segment) -> Segment:
        network = segment.network
        assert isinstance(network, BuiltNetwork), "the fact 'converted' says that every segment has a network"
        ends = {node: (self.inputs, binding) for node, binding in zip(segment.inputs, network.inputs, strict=True)}
        results = {node: (self.outputs, item) for node, item in zip(segment.outputs, network.outputs, strict=True)}
        pairs = [(binding.name, names.get(node, binding.name)) for node, (names, binding) in ends.items()]
        pairs += [(binding.name, names.get(node, binding.name)) for node, (names, binding) in results.items()]
        twice = [name for name, count in Counter(new for _, new in pairs).items() if count > 1]
        if twice:
            raise UserError(f"two bindings of the engine are called {twice[0]!r}: give each a name of its own.")
        renamed = dict(pairs)
        _rename(network, renamed)
        changed = replace(
            network,
            inputs=tuple(_with_name(binding, renamed) for binding in network.inputs),
            outputs=tuple(_with_name(binding, renamed) for binding in network.outputs),
            node_tensors={
                node: tuple(renamed.get(name, name) for name in names) for node, names in network.node_tensors.items()
            },
        )
        return replace(segment, network=changed)


def _by_node(option: str, names: Any, nodes: Sequence[Any], structure: Any) -> dict[str, str]:
    if names is None:
        return {}
    if isinstance(names, str) and "{}" in names:
        names = [names.format(number) for number in range(len(nodes))]
    leaves, found = pytree.tree_flatten(names)
    flat = isinstance(names, list | tuple) and all(isinstance(item, str) for item in names)
    if len(leaves) != len(nodes) or (found != structure and not flat):
        raise BindingNameMismatch(
            f"{option} is {names!r}, which has not one name for each of the {len(nodes)}: give names in the "
            f"containers of {pytree.tree_unflatten(list(nodes), structure)!r}."
        )
    if not all(isinstance(leaf, str) and leaf for leaf in leaves):
        raise BindingNameMismatch(f"{option} is {names!r}: give texts.")
    chosen = {node: name for node, name in zip(nodes, leaves, strict=True) if isinstance(node, str)}
    if len(set(chosen.values())) < len(chosen):
        raise BindingNameMismatch(f"{option} has a name twice: {names!r}.")
    return chosen


def _with_name(binding: Binding, renamed: Mapping[str, str]) -> Binding:
    alias = binding.alias if binding.alias is None else renamed[binding.alias]
    return replace(binding, name=renamed[binding.name], alias=alias)


def _rename(network: BuiltNetwork, renamed: Mapping[str, str]) -> None:
    net = network.network
    ends = [net.get_input(index) for index in range(net.num_inputs)]
    ends += [net.get_output(index) for index in range(net.num_outputs)]
    wanted = [renamed[tensor.name] for tensor in ends]
    for index, tensor in enumerate(ends):
        tensor.name = f"binding {index}"  # so that names can be exchanged
    for tensor, name in zip(ends, wanted, strict=True):
        tensor.name = name
        if tensor.name != name:
            raise UserError(f"TensorRT does not take {name!r} as the name of a binding: give another one.")
