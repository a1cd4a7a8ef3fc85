"""Branches and bodies of loops that compute with complex numbers, as ones with two real tensors for each."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils import _pytree as pytree

from ....compiler.ir.expanded_call import NotExpandable, plain, sizes_stay_open
from ....compiler.ir.graph import insert_call
from ....compiler.ir.program import Program, bodies_of, fake_mode_of
from .constants import Constants
from .found import has_complex
from .pair import Pair
from .rewriting import is_complex
from .rules import rules
from .traced import computed_in, leaves_of

aten = torch.ops.aten


def bodies_in_pairs(program: Program, table: Mapping[Any, Callable[..., Any]], wide: bool) -> None:
    """Let control flow take and give the parts of complex numbers, in place, where its bodies can.

    Args:
        program: complex operators outside of bodies are left as they are.
        table: decompositions for what the rules use.
        wide: whether complex128 may be rewritten, since it becomes float32.
    """
    for node in list(program.op_nodes):
        bodies = bodies_of(node)
        if not any(has_complex(inner) for body in bodies.values() for inner in body.graph.nodes):
            continue
        try:
            made = {name: _in_pairs(program, body, table, wide) for name, body in bodies.items()}
        except Exception:  # a rule is asked for what it was not made for: the node stays in PyTorch
            continue
        if all(user.target is operator.getitem for user in node.users):
            _exchange(program.exported.graph_module, node, made)


def _in_pairs(program: Program, body: GraphModule, table: Mapping[Any, Callable[..., Any]], wide: bool) -> GraphModule:
    """A body that takes and gives two tensors for each that is complex.

    Raises:
        NotExpandable: an operator in it has no rule, or needs constants.
    """
    known = rules(Constants(program))
    inputs = [node.meta["val"] for node in body.graph.find_nodes(op="placeholder")]
    tensors = [leaf for node in body.graph.nodes for leaf in pytree.tree_leaves(node.meta.get("val"))]
    if not wide and any(isinstance(leaf, torch.Tensor) and leaf.dtype is torch.complex128 for leaf in tensors):
        raise NotExpandable("TensorRT has no float64")
    mode: Any = fake_mode_of(program.graph) or nullcontext()
    with torch.no_grad(), mode, sizes_stay_open(program.graph):
        given = [part for value in inputs for part in _parts(value)]
        made = make_fx(lambda *values: _Body(body, known).run(*values), decomposition_table=dict(table))(*given)
    if any(has_complex(node) for node in made.graph.nodes) or made.graph.find_nodes(op="get_attr"):
        raise NotExpandable("something complex, or a constant, is left of the body")
    return made


def _parts(value: Any) -> list[Any]:
    """New values like the parts of a complex tensor; another value alone."""
    if not isinstance(value, torch.Tensor):
        return [value]
    kind = value.dtype.to_real() if value.is_complex() else value.dtype
    return [value.new_empty(value.shape, dtype=kind) for _ in range(1 + value.is_complex())]


class _Body(Interpreter):
    """Runs a body with pairs in the place of complex tensors."""

    def __init__(self, body: GraphModule, known: Mapping[Any, Callable[..., Any]]) -> None:
        super().__init__(body)
        self._rules = known

    def run_node(self, n: Node) -> Any:
        """Run a node: by its rule, if it has to do with complex numbers."""
        if n.op == "placeholder":
            value = super().run_node(n)
            return Pair(value, super().run_node(n)) if is_complex(n) else value
        if n.op == "get_attr":
            value = super().run_node(n)
            if not isinstance(value, torch.Tensor) or value.dim():
                raise NotExpandable("the body has a constant")
            return value.item()
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.op == "output":
            results = plain(args[0])
            if not isinstance(results, list | tuple):  # of a condition
                return results
            return tuple(part for item in results for part in leaves_of(item))
        if n.target is operator.getitem:
            return args[0][args[1]]
        assert callable(n.target)
        if not has_complex(n):
            return n.target(*args, **kwargs)
        if n.target not in self._rules:
            raise NotExpandable(f"there is no rule for {n.target}")
        result = self._rules[n.target](computed_in(n), *plain(args), **plain(kwargs))
        if result is NotImplemented:
            raise NotExpandable(f"there is no rule for these arguments of {n.target}")
        return result


def _exchange(module: GraphModule, node: Node, made: Mapping[str, GraphModule]) -> None:
    """Give a node other bodies, two operands for each complex one, and put its complex results together behind it."""
    graph: Graph = node.graph
    for name, body in made.items():
        module.add_submodule(f"{name}_in_pairs", body)
    with graph.inserting_before(node):
        others = {source: _others(source, node, made) for source in node.all_input_nodes}
    node.args, node.kwargs = (
        _spread(node.args, others),
        {key: _spread(item, others) for key, item in node.kwargs.items()},
    )
    values = list(node.meta["val"])
    places = [0]
    for value in values:
        places.append(places[-1] + len(_parts(value)))
    mode: Any = fake_mode_of(graph) or nullcontext()
    with mode:
        node.meta["val"] = tuple(part for value in values for part in _parts(value))
        for user in list(node.users):
            index = int(str(user.args[1]))
            if not is_complex(user):
                user.args = (node, places[index])
                continue
            with graph.inserting_before(user):
                parts = [insert_call(graph, operator.getitem, (node, places[index] + k), like=user) for k in (0, 1)]
                dim = values[index].dim()
                last = [insert_call(graph, aten.unsqueeze.default, (part, dim), like=user) for part in parts]
                both = insert_call(graph, aten.cat.default, (last, dim), like=user)
                whole = insert_call(graph, aten.view_as_complex.default, (both,), like=user)
            user.replace_all_uses_with(whole)
            graph.erase_node(user)
    graph.eliminate_dead_code()


def _others(source: Node, node: Node, made: Mapping[str, GraphModule]) -> list[Node]:
    """What a node reads in the place of one that it read: the parts of a complex tensor, another body, or the same."""
    graph = node.graph
    if source.op == "get_attr" and source.target in made:
        again = graph.get_attr(f"{source.target}_in_pairs")
        again.meta = dict(source.meta)
        return [again]
    if not is_complex(source):
        return [source]
    both = insert_call(graph, aten.view_as_real.default, (source,), like=node)
    return [insert_call(graph, aten.select.int, (both, -1, index), like=node) for index in (0, 1)]


def _spread(argument: Any, others: Mapping[Node, list[Node]]) -> Any:
    """An argument with other nodes in the place of each, where there are two in the list that it is in."""
    if isinstance(argument, list | tuple):
        items = [others[item] if isinstance(item, Node) else [_spread(item, others)] for item in argument]
        return type(argument)(part for item in items for part in item)
    return others[argument][0] if isinstance(argument, Node) else argument
