"""An encoder with a decoder as two modules that can be exported: what is computed once, and one step."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from .cache import Layer, Layout, Slot, TracedLayer
from .step import NotKeysAndValues, cache_argument, kept, slots_of

CROSS = "cross_"
"""How the entries of an encoder's outputs begin that hold the keys and values of all positions of the source."""


@dataclass(frozen=True)
class Source:
    """What the encoder of a model reads, and what its decoder keeps of that.

    Attributes:
        argument: the name of the input, "input_ids" or "input_features".
        shape: of one sequence without the batch; the first size of one of tokens may be less.
        slots: keys and values of the source, for each layer.
        width: of the encoder's result.
    """

    argument: str
    shape: tuple[int, ...]
    slots: tuple[Slot, ...]
    width: int

    @property
    def has_tokens(self) -> bool:
        """Whether the source is tokens, of varying number, with a mask."""
        return self.argument == "input_ids"

    @property
    def groups(self) -> dict[tuple[int, int], list[int]]:
        """The numbers of the tensors of each size, as in `Layout.groups`."""
        return Layout(self.slots, 0, torch.float32).groups

    def to_json(self) -> dict[str, Any]:
        """JSON-able values."""
        return {**asdict(self), "slots": [asdict(slot) for slot in self.slots], "shape": list(self.shape)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Source:
        """The source that `to_json` wrote."""
        slots = tuple(Slot(**slot) for slot in data["slots"])
        return cls(str(data["argument"]), tuple(data["shape"]), slots, int(data["width"]))


class _NewCross(Layer):
    """A layer that takes the keys and values of the source."""

    def __init__(self) -> None:
        super().__init__(0, False)
        self.rows: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Record and return them."""
        self.rows = key_states, value_states
        return self.rows


class _KnownCross(Layer):
    """A layer that has the keys and values of the source."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__(0, False)
        self.keys, self.values, self.length = keys, values, 1


class Encode(nn.Module):
    """The encoder, and the keys and values that the decoder makes of its result.

    Args of `forward`: the source [B, …], and for tokens their mask i64[B,T].

    Returns the encoder's result [B,T,width], and the keys and values, [B,G,H,T,D] for each size.
    """

    def __init__(self, model: Any, source: Source, layout: Layout) -> None:
        super().__init__()
        self.model, self.source, self.layout = model, source, layout
        self.cache_argument = cache_argument(type(model))

    def forward(self, source: torch.Tensor, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """See the class."""
        masked = {} if mask is None else {"attention_mask": mask}
        states = self.model.get_encoder()(source, **masked, return_dict=True).last_hidden_state
        batch = source.shape[0]
        # One token through the decoder; of that only what it makes of the source is a result.
        layers = [_NewCross() for _ in self.source.slots]
        start = torch.zeros(1, dtype=torch.int64, device=states.device)
        own = []
        for slot in self.layout.slots:
            keys, values = (
                states.new_zeros((1, heads, 2, dim)).expand(batch, -1, -1, -1) for heads, dim in slot.widths()
            )
            own.append(TracedLayer(keys, values, start, False))
        cache = EncoderDecoderCache(Cache(layers=own), Cache(layers=layers))
        ids = torch.zeros((batch, 1), dtype=torch.int64, device=states.device)
        outputs = BaseModelOutput(last_hidden_state=states)
        self.model(
            encoder_outputs=outputs, decoder_input_ids=ids, **masked, **{self.cache_argument: cache}, use_cache=True
        )
        rows = [part for layer in layers for part in layer.rows or ()]
        stacked = [torch.stack([rows[n] for n in numbers], dim=1) for numbers in self.source.groups.values()]
        return (states, *stacked)


class Seq2SeqStep(nn.Module):
    """A decoder with its cache, and the keys and values of the source, as inputs.

    Args of `forward`: as for `DecoderStep`; `cross` is what `Encode` returned, and `source_mask` i64[B,T] for tokens.
    """

    def __init__(self, model: Any, source: Source, layout: Layout, all_logits: bool) -> None:
        super().__init__()
        self.model, self.source, self.layout, self.all_logits = model, source, layout, all_logits
        self.cache_argument = cache_argument(type(model))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        start: torch.Tensor,
        caches: Sequence[torch.Tensor],
        cross: Sequence[torch.Tensor],
        source_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """See the class."""
        pairs = zip(caches[::2], caches[1::2], self.layout.slots, strict=True)
        valid, in_place = attention_mask.shape[1], self.layout.in_place
        layers = [TracedLayer(keys, values, start, slot.sliding, in_place, valid) for keys, values, slot in pairs]
        found: dict[int, torch.Tensor] = {}
        for block, numbers in zip(cross, self.source.groups.values(), strict=True):
            found.update({number: block[:, place] for place, number in enumerate(numbers)})
        known = [_KnownCross(found[2 * n], found[2 * n + 1]) for n in range(len(self.source.slots))]
        cache = EncoderDecoderCache(Cache(layers=layers), Cache(layers=known))
        cache.is_updated = dict.fromkeys(range(len(known)), True)
        # Of the encoder's result only the shape is read any more.
        shape = (input_ids.shape[0], cross[0].shape[3], self.source.width)
        states = cross[0].new_zeros((1, 1, 1)).expand(shape)
        options: dict[str, Any] = {self.cache_argument: cache, "use_cache": True, "return_dict": True}
        if source_mask is not None:
            options["attention_mask"] = source_mask
        if position_ids is not None:
            options["decoder_position_ids"] = position_ids
        outputs = BaseModelOutput(last_hidden_state=states)
        logits = self.model(
            encoder_outputs=outputs, decoder_input_ids=input_ids, decoder_attention_mask=attention_mask, **options
        ).logits
        return (logits if self.all_logits else logits[:, -1:], *kept(layers, self.layout))


def source_of(model: Any, positions: int, length: int) -> tuple[Source, Layout]:
    """What a model reads and keeps, found by running it.

    Raises:
        NotKeysAndValues: it reads something else than tokens or the features of sound, or keeps something else.
    """
    argument = model.main_input_name
    name = type(model).__name__
    ids = torch.zeros((1, 2), dtype=torch.int64, device=model.device)
    if argument == "input_ids":
        shape: tuple[int, ...] = (length,)
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    elif argument == "input_features" and hasattr(model.config, "num_mel_bins"):
        shape = (model.config.num_mel_bins, 2 * model.config.max_source_positions)
        given = {"input_features": torch.zeros((1, *shape), dtype=model.dtype, device=model.device)}
    else:
        raise NotKeysAndValues(f"the encoder of {name} reads {argument}")
    with torch.no_grad():
        found = model(**given, decoder_input_ids=ids[:, :1], use_cache=True, return_dict=True)
    cache = getattr(found, cache_argument(type(model)), None)
    if not isinstance(cache, EncoderDecoderCache):
        raise NotKeysAndValues(f"{name} returns no cache of keys and values")
    own, cross = slots_of(cache.self_attention_cache, name), slots_of(cache.cross_attention_cache, name)
    layout = Layout(own, positions, cache.self_attention_cache.layers[0].keys.dtype)
    return Source(argument, shape, cross, found.encoder_last_hidden_state.shape[-1]), layout


def takes_positions(model: Any) -> bool:
    """Whether a model is told the positions of its decoder's tokens."""
    return "decoder_position_ids" in inspect.signature(type(model).forward).parameters
