"""Constants that rules make, such as the matrix of a Fourier transform: one placeholder of the program for each."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils._python_dispatch import _disable_current_modes

from ....compiler.ir.program import Program, fake_tensor


@dataclass
class Constants:
    """The constants of one program's rules, which are made on `device`: that of the tensors which they meet."""

    program: Program
    device: torch.device = torch.device("cpu")
    _fakes: dict[Hashable, Tensor] = field(default_factory=dict)
    _real: dict[int, tuple[str, Tensor]] = field(default_factory=dict)
    _nodes: dict[int, Node] = field(default_factory=dict)

    def tensor(self, name: str, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """A constant as a rule sees it: of a shape and type, but without values.

        Args:
            name: what to call it in the graph.
            key: equal for equal constants.
            make: computes it.
        """
        key = (key, self.device)
        if key not in self._fakes:
            with _disable_current_modes(), torch.no_grad():
                value = make().to(self.device)
                fake = fake_tensor(self.program.graph, value)
            self._fakes[key] = fake
            self._real[id(fake)] = (name, value)
        return self._fakes[key]

    def node_of(self, fake: Tensor) -> Node:
        """The placeholder of a constant that a rule has used."""
        if id(fake) not in self._nodes:
            name, value = self._real[id(fake)]
            self._nodes[id(fake)] = self.program.add_constant(name, value)
        return self._nodes[id(fake)]
