"""LoRA adapters of different ranks for one engine: all are padded with zeros to one rank, which changes no result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import UserError

_PREFIX = "base_model.model."
"""What peft puts before the names of the model that it wraps."""


@dataclass(frozen=True)
class _Pair:
    """The two products of an adapter in one layer: `down` has a row for each rank, `up` a column."""

    name: str
    layer: Any
    down: Any
    up: Any

    @property
    def rank(self) -> int:
        rank: int = self.down.weight.shape[0]
        return rank


def pad_adapters(model: nn.Module, rank: int, adapter: str = "default") -> None:
    """Pad the LoRA adapter of a model with zeros to a rank, in place, so that `load_adapter` can replace it later.

    Do it before compiling, with `mutable_weights={"*lora_*"}`: one engine then runs every adapter of at most this rank.

    Args:
        model: with layers of peft, which is not imported: whatever has `lora_A`, `lora_B` and `scaling` by adapter.
        rank: the largest rank of the adapters that will be loaded.
        adapter: the name of the adapter.

    Raises:
        UserError: the model has no such adapter, one of a larger rank, or one that is not two products.
    """
    pairs = list(_pairs(model, adapter))
    for pair in pairs:
        if pair.rank > rank:
            raise UserError(f"the adapter of {pair.name} has rank {pair.rank}, and is to be padded to {rank}.")
    for pair in pairs:
        for module, dim in ((pair.down, 0), (pair.up, 1)):
            weight = module.weight
            module.weight = nn.Parameter(_padded(weight.detach(), dim, rank), requires_grad=weight.requires_grad)
        for name, value in (("out_features", pair.down), ("in_features", pair.up)):
            if hasattr(value, name):
                setattr(value, name, rank)


@torch.no_grad()
def load_adapter(
    model: nn.Module,
    weights: Mapping[str, torch.Tensor],
    *,
    alpha: float | None = None,
    scaling: float | None = None,
    adapter: str = "default",
) -> None:
    """Write the weights of another LoRA adapter into a model that `pad_adapters` prepared: its next call has them.

    Layers of which there are no weights get an adapter that does nothing.

    Args:
        model: the model, compiled or not: engines with `mutable_weights` read the same memory.
        weights: by name, as `peft.get_peft_model_state_dict` gives them or a file of an adapter has them.
        alpha: of the adapter: its products are scaled by `alpha / rank`. That of the model's adapter by default.
        scaling: the factor itself, for adapters that are scaled in another way.
        adapter: the name of the adapter in the model.

    Raises:
        UserError: a weight belongs to no layer of the model, does not fit it, or has a larger rank than was padded for.
    """
    given = {_plain(name, adapter): tensor for name, tensor in weights.items()}
    changes: list[tuple[torch.Tensor, torch.Tensor]] = []
    for pair in _pairs(model, adapter):
        down, up = given.pop(f"{pair.name}.lora_A.weight", None), given.pop(f"{pair.name}.lora_B.weight", None)
        if (down is None) != (up is None):
            raise UserError(f"the weights have one of lora_A and lora_B for {pair.name}: give both.")
        if down is None or up is None:
            changes.append((pair.up.weight, torch.zeros_like(pair.up.weight)))
            continue
        rank = down.shape[0]
        if rank > pair.rank:
            raise UserError(
                f"the adapter has rank {rank} for {pair.name}, and the model was padded to {pair.rank}: compile it "
                f"again after pad_adapters(model, {rank})."
            )
        own = pair.layer.scaling[adapter]
        usual = (pair.layer.lora_alpha[adapter] if alpha is None else alpha) / rank
        factor = (usual if scaling is None else scaling) / own
        for module, tensor, dim, scale in ((pair.down, down, 0, 1.0), (pair.up, up, 1, factor)):
            padded = _padded(tensor.to(module.weight.device), dim, pair.rank) * scale
            if padded.shape != module.weight.shape:
                shapes = f"{tuple(tensor.shape)}, which does not fit {tuple(module.weight.shape)}"
                raise UserError(
                    f"a weight of the adapter for {pair.name} is of shape {shapes}: give that of this model."
                )
            changes.append((module.weight, padded))
    if given:
        raise UserError(f"the weight {min(given)!r} belongs to no layer with the adapter {adapter!r}: leave it out.")
    for place, tensor in changes:
        place.copy_(tensor)


def _pairs(model: nn.Module, adapter: str) -> Iterator[_Pair]:
    found = False
    for name, layer in model.named_modules():
        downs, ups = getattr(layer, "lora_A", None), getattr(layer, "lora_B", None)
        if not isinstance(downs, nn.ModuleDict) or not isinstance(ups, nn.ModuleDict):
            continue
        embedded = getattr(layer, "lora_embedding_A", None)
        if embedded is not None and adapter in embedded:
            raise UserError(f"the adapter {adapter!r} of {name} is one of an embedding, which is not padded: merge it.")
        if adapter not in downs:
            continue
        if getattr(ups[adapter], "bias", None) is not None or adapter in (
            getattr(layer, "lora_magnitude_vector", None) or ()
        ):
            raise UserError(
                f"the adapter {adapter!r} of {name} is more than two products, which is not padded: merge it."
            )
        found = True
        yield _Pair(name.removeprefix(_PREFIX), layer, downs[adapter], ups[adapter])
    if not found:
        raise UserError(f"the model has no LoRA adapter {adapter!r}: give a model that peft.get_peft_model returned.")


def _padded(tensor: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    shape = list(tensor.shape)
    shape[dim] = size - shape[dim]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim)


def _plain(name: str, adapter: str) -> str:
    """The name of an adapter's weight without peft's prefix, and without the name of the adapter."""
    return name.removeprefix(_PREFIX).replace(f".{adapter}.weight", ".weight")
