"""Inputs that a small model of transformers may take, the likeliest first."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch
from sweep_configs import first, is_size, parts
from torch import nn

VOCABULARY, BATCH, LENGTH, PATCHES, CHOICES = 320, 2, 12, 4, 3

Inputs = dict[str, torch.Tensor]

_MISSING = re.compile(r"'(\w+)'")


def candidates(model: nn.Module) -> Iterator[Inputs]:
    """Inputs that a model may take, the likeliest first."""
    names = list(inspect.signature(model.forward).parameters)
    config: Any = model.config
    main = getattr(model, "main_input_name", "input_ids")
    seen_ids = [name for name in ("input_ids", "decoder_input_ids") if name in names]
    decodes = "decoder_input_ids" in names
    main = main if main in names else (seen_ids or names)[0]
    if type(model).__name__.endswith("ForMultipleChoice"):
        choices = torch.stack([tokens(config) for _ in range(CHOICES)], 1)
        yield {"input_ids": choices, "attention_mask": torch.ones_like(choices)}
    for given in _main_inputs(main, config):
        inputs = dict(given)
        if decodes and getattr(config, "is_encoder_decoder", False):
            inputs["decoder_input_ids"] = tokens(config)
        if "input_ids" in inputs and "attention_mask" in names:
            yield {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}
        yield inputs
        if "input_ids" in names and "input_ids" not in inputs:
            yield {**inputs, "input_ids": tokens(config)}
        if "bbox" in names and "input_ids" in inputs:
            yield {**inputs, "bbox": torch.zeros(*inputs["input_ids"].shape, 4, dtype=torch.int64)}
        others = [name for name in ("pixel_values", "input_features", "input_values") if name in names]
        for other in others if "input_ids" in inputs else ():
            for more in _main_inputs(other, config):
                yield {**inputs, **more}
    dummy = getattr(model, "dummy_inputs", None)
    if isinstance(dummy, dict) and all(isinstance(value, torch.Tensor) for value in dummy.values()):
        yield dict(dummy)
    yield from _rarer(model, main, names)


def _rarer(model: nn.Module, main: str, names: list[str]) -> Iterator[Inputs]:
    """What only few models take."""
    config: Any = model.config
    if any(name.endswith("grid_thw") for name in names):
        yield _patches(main, names, config)
    if main == "past_values":
        yield from _series(names, config)
    if main == "flattened_patches":
        width = first(config, "patch_embed_hidden_size", default=64)
        places = torch.arange(1, LENGTH + 1).expand(BATCH, LENGTH)[..., None].repeat(1, 1, 2)
        yield {main: torch.cat([places.float(), torch.randn(BATCH, LENGTH, width)], -1)}
    if main.startswith("pixel_values"):
        channels = first(config, "num_channels", "in_channels", default=3)
        for size in (64, 224):
            yield {main: torch.randn(BATCH, 2, channels, size, size)}
    width = _first_width(model)
    if width is not None and not main.endswith("input_ids"):
        yield {main: torch.randn(BATCH, LENGTH, width)}
        yield {main: torch.randn(BATCH, width, 64)}
    everything: Inputs = {}
    for name in ("input_ids", "pixel_values", "input_features", "input_values"):
        given = next(_main_inputs(name, config), {}) if name in names else {}
        everything.update(given)
    if "attention_mask" in names and "input_ids" in everything:
        everything["attention_mask"] = torch.ones_like(everything["input_ids"])
    if everything:
        yield everything


def with_missing(error: Exception, inputs: Inputs, config: Any) -> Inputs | None:
    """Inputs with those that a model misses, as its TypeError says; None if it is not known what they are."""
    if not isinstance(error, TypeError) or "missing" not in str(error):
        return None
    added = dict(inputs)
    for name in _MISSING.findall(str(error).split("missing", 1)[1]):
        value = _by_name(name, inputs, config)
        if value is None:
            return None
        added[name] = value
    return added


def _by_name(name: str, inputs: Inputs, config: Any) -> torch.Tensor | None:
    if name.endswith("input_ids") or name == "task_inputs":
        return tokens(config)
    if name.endswith("_mask") or name.endswith("_masks"):
        main = next(iter(inputs.values()))
        images = name.startswith(("pixel", "prompt"))
        shape = main.shape if images else (BATCH, max(main.shape[1:]) if main.dim() > 2 else LENGTH)
        return torch.ones(shape, dtype=torch.float32 if name.startswith("prompt") else torch.int64)
    if name.startswith(("pixel", "prompt_pixel")):
        like = next((value for key, value in inputs.items() if key.startswith("pixel")), None)
        return torch.randn(like.shape) if like is not None else next(iter(_main_inputs(name, config)))[name]
    if name in ("input_features", "input_values"):
        return next(iter(_main_inputs(name, config)))[name]
    if name.endswith(("embeds", "hidden_states", "embeddings")):
        return torch.randn(BATCH, LENGTH, first(config, "hidden_size", "d_model", default=64))
    return None


def _patches(main: str, names: list[str], config: Any) -> Inputs:
    """One image, as the patches that towers of vision take."""
    size = first(config, "patch_size", default=14)
    channels = first(config, "in_channels", "in_chans", "num_channels", default=3)
    frames = first(config, "temporal_patch_size", default=1)
    grid = next(name for name in names if name.endswith("grid_thw"))
    given = {main: torch.randn(PATCHES * PATCHES, channels * frames * size * size)}
    given[grid] = torch.tensor([[1, PATCHES, PATCHES]])
    return {**given, "merge_sizes": torch.tensor([1])} if "merge_sizes" in names else given


def _series(names: list[str], config: Any) -> Iterator[Inputs]:
    """Series of numbers with what is known of their times."""
    past = first(config, "context_length", default=32)
    yield {"past_values": torch.randn(BATCH, past, first(config, "num_input_channels", default=1))}
    past += max(first(config, "lags_sequence", default=[0]))
    to_come, features = first(config, "prediction_length", default=4), first(config, "num_time_features", default=0)
    values = {
        "past_values": torch.randn(BATCH, past),
        "past_time_features": torch.randn(BATCH, past, features),
        "past_observed_mask": torch.ones(BATCH, past),
        "future_values": torch.randn(BATCH, to_come),
        "future_time_features": torch.randn(BATCH, to_come, features),
        "past_values_padding": torch.zeros(BATCH, past, dtype=torch.int64),
        "freq": torch.zeros(BATCH, 1, dtype=torch.int64),
    }
    yield {name: value for name, value in values.items() if name in names}


def _first_width(model: nn.Module) -> int | None:
    """The width that the first layer of a model takes."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            return module.in_features
        if isinstance(module, nn.LayerNorm):
            return int(module.normalized_shape[-1])
        if isinstance(module, nn.Conv1d):
            return module.in_channels
    return None


def tokens(config: Any, length: int = LENGTH) -> torch.Tensor:
    """Tokens that no model takes for special ones."""
    limit = min(int(getattr(part, "vocab_size", 0) or VOCABULARY) for part in parts(config))
    reserved = 40 if limit > 80 else 0  # special tokens are at the ends
    low = 10 if limit > 80 else 0
    return torch.randint(low, max(limit - reserved, low + 1), (BATCH, length))


def _main_inputs(name: str, config: Any) -> Iterator[Inputs]:
    if name in ("input_ids", "decoder_input_ids"):
        yield {name: tokens(config)}
    elif name.startswith("pixel_values"):
        for size in _image_sizes(config):
            channels = first(config, "num_channels", "in_channels", "in_chans", default=3)
            frames = first(config, "num_frames", "frames_per_clip", default=None)
            if is_size(frames):
                yield {name: torch.randn(BATCH, frames, channels, *size)}
            yield {name: torch.randn(BATCH, channels, *size)}
    else:
        features = first(config, "num_mel_bins", "feature_size", "input_feat_per_channel", "input_dim", default=80)
        longest = first(config, "max_source_positions", "max_length", default=None)
        for length in (2 * longest if is_size(longest) else 64, longest if is_size(longest) else 128, 64):
            yield {name: torch.randn(BATCH, features, length)}
            yield {name: torch.randn(BATCH, length, features)}
        yield {name: torch.randn(BATCH, 4000)}
        yield {name: torch.randn(BATCH, 1, 4000)}
        yield {name: torch.randn(BATCH, LENGTH, first(config, "hidden_size", "d_model", default=64))}


def _image_sizes(config: Any) -> Iterator[tuple[int, int]]:
    size = first(config, "image_size", "img_size", "input_size", default=None)
    if isinstance(size, list | tuple) and len(size) == 2:
        yield int(size[0]), int(size[1])
    elif is_size(size) and size <= 512:
        yield size, size
    yield 64, 64
    yield 224, 224
    yield 512, 512
    if is_size(size) and 512 < size <= 1024:
        yield size, size
