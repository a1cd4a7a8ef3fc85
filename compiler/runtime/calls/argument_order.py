"""The arguments of a call in the order in which a graph takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.fx import GraphModule
from torch.fx import _pytree as fx_pytree
from torch.fx.graph import _PyTreeCodeGen
from torch.utils import _pytree as pytree

from ...errors import UserError


@dataclass(frozen=True)
class ArgumentOrder:
    """Names of the arguments, and how the value of each is nested."""

    names: tuple[str, ...]
    specs: tuple[Any, ...]

    @classmethod
    def of(cls, module: GraphModule) -> ArgumentOrder | None:
        """That of a graph from torch.export; None for another."""
        spec = getattr(module, "_in_spec", None)
        if spec is None or not isinstance(module.graph._codegen, _PyTreeCodeGen):
            return None
        specs = tuple(child for group in spec.children() for child in group.children())
        names = tuple(name for name in module.graph._codegen.pytree_info.orig_args if name != "self")
        return cls(names, specs) if len(names) == len(specs) else None

    @property
    def is_flat(self) -> bool:
        """Whether no argument is nested."""
        return all(spec.is_leaf() for spec in self.specs)

    def leaves(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any] | None:
        """One value for every placeholder; None if arguments are missing or unknown, which a call itself tells.

        Raises:
            UserError: an argument is nested in another way.
        """
        values = [*args, *(kwargs[name] for name in self.names[len(args) :] if name in kwargs)]
        if len(values) != len(self.names) or len(args) + len(kwargs) != len(self.names):
            return None
        if self.is_flat:
            return values
        rows = zip(self.names, self.specs, values, strict=True)
        return [leaf for name, spec, value in rows for leaf in _flattened(name, spec, value)]


def _flattened(name: str, spec: Any, value: Any) -> list[Any]:
    try:
        leaves = list(fx_pytree.tree_flatten_spec(value, spec))
    except (KeyError, IndexError, TypeError, AttributeError):
        leaves = []
    if len(leaves) != spec.num_leaves or len(pytree.tree_leaves(value)) != len(leaves):
        raise UserError(
            f"argument {name!r} is nested otherwise than when the model was compiled, for {_shown(spec)}: give that, "
            "or compile the model for what it is now."
        )
    return leaves


def _shown(spec: Any) -> str:
    """A nest of containers as text such as `{'x': *, 'k': [*, *]}`."""

    class Star:
        def __repr__(self) -> str:
            return "*"

    return repr(pytree.tree_unflatten([Star()] * spec.num_leaves, spec))
