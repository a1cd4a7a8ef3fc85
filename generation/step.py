"""One step of a decoder as a module that can be exported: tokens and a cache in, logits and new rows of it out."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.integrations import sdpa_attention

from ..compiler.errors import UserError
from .cache import Layout, Slot, TracedLayer


def cache_argument(model_class: type[Any]) -> str:
    """What a model's `forward` calls its cache: "cache" since transformers 5.20, before that "past_key_values"."""
    names = inspect.signature(model_class.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


class DecoderStep(nn.Module):
    """A decoder-only language model with its cache as inputs and results.

    Args of `forward`:
        input_ids: i64[B,S], the new tokens.
        attention_mask: i64[B,V] or i64[B,V/N,N], 1 for the positions that hold tokens, 0 for padding: the first V of
            the cache, which are read. In blocks of N it is known that V is a multiple of that.
        start: i64[1], how many positions of the cache are filled.
        caches: keys and values of every layer, [B,H,M,D].
        position_ids: i64[B,S], if the model takes such.
        image_rows: [B,S,width], for a model of images and text: features, where the tokens are image tokens.

    Returns the logits, f32/f16/bf16[B,1 or S,V], and the new rows, [G,B,H,S,D] for each size of `Layout.groups`; if the
    layout says that steps write in place, the caches instead, which engines have in the memory of those given.
    """

    def __init__(self, model: Any, layout: Layout, all_logits: bool, image_token: int | None = None) -> None:
        super().__init__()
        self.image_token = image_token
        self.model, self.layout, self.all_logits = model, layout, all_logits
        names = inspect.signature(type(model).forward).parameters
        self.cache_argument = cache_argument(type(model))
        self.keeps_last = "logits_to_keep" in names

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        start: torch.Tensor,
        caches: Sequence[torch.Tensor],
        position_ids: torch.Tensor | None = None,
        image_rows: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """See the class."""
        pairs = zip(caches[::2], caches[1::2], self.layout.slots, strict=True)
        attention_mask = attention_mask.flatten(1)
        valid, in_place = attention_mask.shape[1], self.layout.in_place
        layers = [TracedLayer(keys, values, start, slot.sliding, in_place, valid) for keys, values, slot in pairs]
        options: dict[str, Any] = {self.cache_argument: Cache(layers=layers), "use_cache": True, "return_dict": True}
        if position_ids is not None:
            options["position_ids"] = position_ids
        if self.keeps_last and not self.all_logits:
            options["logits_to_keep"] = 1
        if image_rows is None:
            options["input_ids"] = input_ids
        else:
            is_image = torch.eq(input_ids, self.image_token or 0).unsqueeze(-1)
            options["inputs_embeds"] = torch.where(is_image, image_rows, self.model.get_input_embeddings()(input_ids))
        logits = self.model(attention_mask=attention_mask, **options).logits
        if not self.all_logits:
            logits = logits[:, -1:]
        return (logits, *kept(layers, self.layout))


def kept(layers: Sequence[TracedLayer], layout: Layout) -> list[torch.Tensor]:
    """The new rows of all layers, those of one size as one tensor; in place, keys and values of every layer."""
    if layout.in_place:
        return [tensor for layer in layers for tensor in (layer.keys, layer.values)]
    rows = [part for layer in layers for part in layer.rows or ()]
    return [torch.stack([rows[number] for number in numbers]) for numbers in layout.groups.values()]


def layout_of(model: Any, positions: int) -> Layout:
    """What a model keeps, found by running it on two tokens.

    Raises:
        NotKeysAndValues: a layer keeps something else, such as the state of a state space model.
        UserError: the model is wrong in a cache of as many positions.
    """
    config, name = model.config, type(model).__name__
    if "local" in getattr(config, "attention_layers", ()) and config.window_size < positions:
        raise UserError(
            f"{name} counts the window of its local attention from the end of the cache, which is right only in a "
            f"cache that grows: use max_cache_len={config.window_size} or less, or another model."
        )
    argument = cache_argument(type(model))
    ids = torch.zeros((1, 2), dtype=torch.int64, device=model.device)
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=True, return_dict=True)
    cache = getattr(found, argument, None)
    if not isinstance(cache, Cache):
        raise NotKeysAndValues(f"{name} returns no cache of keys and values")
    return Layout(slots_of(cache, name), positions, cache.layers[0].keys.dtype)


def slots_of(cache: Cache, name: str) -> tuple[Slot, ...]:
    """The sizes of the layers of a cache that was filled."""
    slots = []
    for number, layer in enumerate(cache.layers):
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if not isinstance(keys, torch.Tensor) or not isinstance(values, torch.Tensor) or keys.dim() != 4:
            raise NotKeysAndValues(f"layer {number} of {name} keeps a {type(layer).__name__}, not keys and values")
        if hasattr(layer, "conv_states") or hasattr(layer, "indexer_keys"):
            raise NotKeysAndValues(f"layer {number} of {name} keeps more than keys and values")
        slots.append(Slot(keys.shape[1], keys.shape[3], values.shape[3], bool(getattr(layer, "is_sliding", False))))
    return tuple(slots)


@contextmanager
def heads_not_repeated() -> Iterator[None]:
    """Let models be traced with heads of keys that several heads of queries share as they are, not repeated.

    transformers repeats them for attention with a mask, since PyTorch's fast kernels do not take it otherwise.
    """
    if not hasattr(sdpa_attention, "use_gqa_in_sdpa"):
        yield
        return
    before = sdpa_attention.use_gqa_in_sdpa
    sdpa_attention.use_gqa_in_sdpa = lambda *args, **kwargs: True
    try:
        yield
    finally:
        sdpa_attention.use_gqa_in_sdpa = before


class NotKeysAndValues(Exception):
    """What a model keeps from step to step is not a key and a value for every position."""
