"""Linear layers of one input as parts of one layer, whose weight is one parameter."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

_LEAST_WIDTH = 8
"""Of what all parts have a multiple of columns of: others are left apart."""


class _Last:
    """The last input of a layer, its product, and how many parts were taken of that.

    Not attributes of a module: torch.export warns of tensors there.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Be as before the first call."""
        self.of: Any = None
        self.result: Any = None
        self.taken = 0


class Together(nn.Module):
    """Several linear layers as one: weight [N,K], and bias [N] or None."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.sizes = [layer.out_features for layer in layers]
        self.width = math.gcd(*self.sizes)
        self.weight = _joined([layer.weight for layer in layers])
        biases = [layer.bias for layer in layers if layer.bias is not None]
        self.bias = _joined(biases) if biases else None
        self._last = _Last()

    def part(self, number: int, x: torch.Tensor) -> torch.Tensor:
        """The columns of one of the layers, of a product that the others of the same input share."""
        if self._last.of is not x:
            self._last.of, self._last.taken = x, 0
            self._last.result = F.linear(x, self.weight, self.bias)
        start = sum(self.sizes[:number]) // self.width
        count = self.sizes[number] // self.width
        # Cut in a dimension that the product has not: TensorRT-RTX would make several products of cut columns again.
        blocks = self._last.result.unflatten(-1, (-1, self.width)).narrow(-2, start, count)
        self._last.taken += 1
        if self._last.taken == len(self.sizes):
            # As it was before the call: else `trace` calls the model several times to see what it makes of that.
            self.forget()
        columns: torch.Tensor = blocks.reshape(*x.shape[:-1], self.sizes[number])
        return columns

    def forget(self) -> None:
        """Let go of what was computed."""
        self._last.forget()


def _joined(parameters: Sequence[torch.Tensor]) -> nn.Parameter:
    """Parameters one below the other, in one memory that all have from now on."""
    whole = torch.cat([parameter.detach() for parameter in parameters])
    parts = torch.split(whole, [len(parameter) for parameter in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.data = part
    return nn.Parameter(whole, requires_grad=False)


class _Part(nn.Module):
    """Stands for one linear layer."""

    def __init__(self, together: Together, number: int, layer: nn.Linear) -> None:
        super().__init__()
        # Not as a submodule: its parameters have one name only.
        vars(self).update(together=together, number=number, layer=layer)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["layer"], name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        own = vars(self)
        result: torch.Tensor = own["together"].part(own["number"], x)
        return result


@contextmanager
def packed(model: Any, *examples: Any, **given: Any) -> Iterator[nn.ModuleList]:
    """Let linear layers of the same input be computed by one, as long as the context lasts.

    The weights of such layers are then parts of one tensor, and stay so: nothing of the model changes by that.

    Args:
        model: is run once, to see which layers have which input.
        examples, given: what it is run with.

    Yields:
        The layers that stand for several.
    """
    groups = _groups(model, examples, given)
    joined = [Together(layers) for layers in groups]
    places = {id(layer): (parent, name) for parent in model.modules() for name, layer in parent.named_children()}
    try:
        for together, layers in zip(joined, groups, strict=True):
            for number, layer in enumerate(layers):
                parent, name = places[id(layer)]
                setattr(parent, name, _Part(together, number, layer))
        yield nn.ModuleList(joined)
    finally:
        for together, layers in zip(joined, groups, strict=True):
            together.forget()
            for layer in layers:
                parent, name = places[id(layer)]
                setattr(parent, name, layer)


def _groups(model: Any, examples: Any, given: Any) -> list[list[nn.Linear]]:
    """Linear layers that are called once, with the same tensor, and are alike but for their columns."""
    calls: list[tuple[nn.Linear, torch.Tensor]] = []

    def note(layer: nn.Linear, args: tuple[Any, ...]) -> None:
        if len(args) == 1 and isinstance(args[0], torch.Tensor):
            calls.append((layer, args[0]))

    layers = [module for module in model.modules() if type(module) is nn.Linear]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            model(*examples, **given)
    finally:
        for hook in hooks:
            hook.remove()
    owners: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    times = [id(layer) for layer, _ in calls]
    alike: dict[Any, list[nn.Linear]] = {}
    for layer, x in calls:
        parameters = [item for item in (layer.weight, layer.bias) if item is not None]
        alone = all(owners[id(item)] == 1 for item in parameters) and not layer._forward_hooks
        if times.count(id(layer)) == 1 and alone and layer.out_features % _LEAST_WIDTH == 0:
            weight = layer.weight
            key = (id(x), weight.dtype, weight.device, layer.bias is None, weight.requires_grad)
            alike.setdefault(key, []).append(layer)
    return [group for group in alike.values() if len(group) > 1]
