"""Arguments that share memory with what a call writes to."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import GraphModule, Node

from ...errors import UserError
from ...ir.aliasing import written_tensors
from ...ir.engine_operator import OPERATOR
from ...ir.memory import first_overlap, parts_of, view_key


@dataclass(frozen=True)
class SharedMemory:
    """Refuses arguments of which one is written to while another, or a tensor of the model's, has the same memory.

    So it does with those that share memory with a buffer that is written to. A compiled graph reads what it is given
    before it writes, and what it writes through one name is not seen through another.

    Attributes:
        names: of all arguments, by position.
        written: positions of those that are written to.
        written_state: names of the model's tensors that are written to.
        state: names of its other tensors, if an argument is written to.
    """

    names: tuple[str, ...]
    written: frozenset[int]
    written_state: tuple[str, ...]
    state: tuple[str, ...]
    _found_separate: list[Hashable] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def of(cls, module: GraphModule) -> SharedMemory | None:
        """That of a compiled module; None if its graph writes to nothing."""
        written_state, positions = written_tensors(module.graph)
        if not written_state and not positions:
            return None
        names = [node.name for node in module.graph.find_nodes(op="placeholder")]
        read = [str(node.target) for node in module.graph.find_nodes(op="get_attr") if not _is_engine(node)]
        # Branches of torch.cond are attributes too.
        read = [name for name in read if isinstance(attrgetter(name)(module), torch.Tensor)]
        state = sorted({*read} - {*written_state}) if positions else []
        return cls(tuple(names), frozenset(positions), tuple(written_state), tuple(state))

    def check(self, module: nn.Module, leaves: Sequence[Any]) -> None:
        """Raise UserError for such arguments, which are given in the order of the graph's."""
        given = [(place, leaf) for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        if torch.compiler.is_compiling() or any(isinstance(leaf, FakeTensor) for _, leaf in given):
            return
        if torch._C._functorch.peek_interpreter_stack() is not None:
            return  # tensors of torch.func have no memory; the call itself is refused
        key = [view_key(part) for _, leaf in given for part in parts_of(leaf)]
        if key == self._found_separate:
            return
        owned = [*self.written_state, *self.state]
        written = [number for number, (place, _) in enumerate(given) if place in self.written]
        written += range(len(given), len(given) + len(self.written_state))
        pair = clash([leaf for _, leaf in given], [attrgetter(name)(module) for name in owned], written)
        if pair is not None:
            names = [f"input {self.names[place]!r}" for place, _ in given]
            names += [f"the model's tensor {name!r}" for name in owned]
            one, other = sorted(pair, key=lambda place: place not in written)
            raise UserError(
                f"{names[one]}, which the model writes to, shares memory with {names[other]}, and a compiled model "
                "does not see through one what it writes to the other: give a clone() of one of them."
            )
        self._found_separate[:] = key


def clash(inputs: Sequence[Any], state: Sequence[Any], written: Sequence[int]) -> tuple[int, int] | None:
    """Places of an input and another tensor that overlap, where one of them is written to; None if there are none.

    Args:
        inputs: of a call.
        state: tensors of the model's. Those that overlap with one another were told apart when it was compiled.
        written: places in `inputs` and `state`, one after the other, of what is written to.
    """
    return first_overlap(
        [*inputs, *state], lambda one, other: one < len(inputs) and (one in written or other in written)
    )


def _is_engine(node: Node) -> bool:
    """Whether a node is an engine, or the PyTorch graph of a segment."""
    return any(user.target is OPERATOR and node in (user.args[1], user.args[3]) for user in node.users)
