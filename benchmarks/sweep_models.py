"""Every architecture of transformers, made small by rule: which classes there are, their sizes, their inputs.

A configuration is made small as a whole, so that what must fit together still does: depths become two,
vocabularies 320, and every width is divided by the same number, the largest of `DIVISORS` with which the model can be
made and called.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

DIVISORS = (16, 8, 4, 2, 1)
VOCABULARY, BATCH, LENGTH, LAYERS, EXPERTS = 320, 2, 12, 2, 4
LARGEST = 60_000_000
"""Parameters. A model that is larger after all rules was not made small, and is left out as such."""

_DEPTH = re.compile(
    r"^(num_hidden_layers|n_layers?|num_layers|(encoder|decoder|num_encoder|num_decoder|vision|text)_(num_)?(hidden_)?"
    r"(layers|depth)|depth|num_blocks|num_block_layers|n_blocks|num_text_layers|num_vision_layers|.*_num_hidden_layers)$"
)
_WIDTH = re.compile(
    r"(hidden|dim|width|embd|embed|inner|ffn|intermediate|proj|d_model|d_ff|d_kv|d_inner|rank|units|channels|filters)"
)
_NO_WIDTH = re.compile(
    r"(layer_dim|dropout|act|num_channels|in_channels|out_indices|position|num_|_num|n_head|heads|kernel|stride|groups?$|conv_"
    r"|image|patch_size|dims_per|input_dim|time|rotary_pct|temporal|bins|ratio|_size_per|prob|eps|scale|_id$|codebook|depth|layers)"
)
_EXPERTS = re.compile(
    r"^(num_experts|num_local_experts|n_routed_experts|moe_num_experts|num_routed_experts|router_num_experts)$"
)
_CHOSEN = re.compile(
    r"^(num_experts_per_tok(en)?|moe_topk|moe_k|num_selected_experts|experts_per_token|top_k_experts)$"
)
_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
_OTHER_SIZES = ("num_channels", "in_channels", "num_mel_bins", "feature_size", "input_dim")


@dataclass(frozen=True)
class Made:
    """A model that answers, with inputs for it by keyword, and the divisor of its widths."""

    model: nn.Module
    inputs: Mapping[str, torch.Tensor]
    divisor: int


class NotMade(Exception):
    """No model of this class could be made small and called by the rules; the message is the last reason."""


def model_classes() -> dict[str, str]:
    """The class that stands for each kind of model: its base model, else the first task that has one."""
    from transformers.models.auto import modeling_auto

    tables = {name: table for name, table in vars(modeling_auto).items() if name.endswith("_MAPPING_NAMES")}
    del tables["CONFIG_MAPPING_NAMES"]
    ordered = [tables.pop("MODEL_MAPPING_NAMES"), tables.pop("MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"), *tables.values()]
    found: dict[str, str] = {}
    for table in ordered:
        for kind, names in table.items():
            found.setdefault(kind, names if isinstance(names, str) else names[0])
    return dict(sorted(found.items()))


def made(kind: str, class_name: str) -> Made:
    """The model of that kind with random weights, in eval mode, called once.

    Raises:
        NotMade: no divisor gives a model that can be made and called.
    """
    reason = "no configuration"
    for divisor in DIVISORS:
        try:
            torch.manual_seed(0)
            config = small(kind, divisor)
            model = _model(class_name, config)
            reasons = []
            for inputs in candidates(model):
                try:
                    with torch.no_grad():
                        model(**inputs)
                except Exception as error:
                    reasons.append(_said(error))
                    continue
                return Made(model, inputs, divisor)
            reason = reasons[0] if reasons else "no inputs"
        except Exception as error:
            reason = _said(error)
    raise NotMade(reason)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _model(class_name: str, config: Any) -> nn.Module:
    import transformers

    kind = getattr(transformers, class_name)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in kind(copy.deepcopy(config)).parameters())
    if size > LARGEST:
        raise ValueError(f"{size:,} parameters after all rules")
    return randomised(kind(config).eval())


def randomised(model: nn.Module) -> nn.Module:
    """The model, with random weights that keep the size of what passes through them."""
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            if parameter.dim() > 1 and parameter.numel():
                parameter.normal_(0, parameter[0].numel() ** -0.5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1)
    return model


# --- configurations --------------------------------------------------------------------------------------------------
def small(kind: str, divisor: int) -> Any:
    """The default configuration of a kind of model with small depths, vocabularies and widths."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[kind]()
    for part in _parts(config):
        _shrink(part, divisor)
        for name, value in (("use_cache", False), ("return_dict", True)):
            if hasattr(part, name):
                setattr(part, name, value)
    return config


def _parts(config: Any) -> Iterator[Any]:
    """A configuration and those in it."""
    from transformers import PretrainedConfig

    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            yield from _parts(value)


def _shrink(config: Any, divisor: int) -> None:
    depths = {name: value for name, value in vars(config).items() if _DEPTH.match(name) and _is_size(value)}
    for name, depth in depths.items():
        kept = _kept_layers(config, depth)
        for other, value in list(vars(config).items()):
            if isinstance(value, list | tuple) and len(value) == depth and depth > LAYERS:
                setattr(config, other, type(value)(value[index] for index in kept))
        _set(config, name, min(depth, len(kept)))
    for name, value in list(vars(config).items()):
        if name in depths:
            continue
        new = _new_value(name, value, divisor)
        if new is not value:
            _set(config, name, new)
    for value in vars(config).values():
        sections = value.get("mrope_section") if isinstance(value, dict) else None
        if sections and all(each % divisor == 0 for each in sections):
            value["mrope_section"] = [each // divisor for each in sections]  # they add up to half a head's width
    _limit_tokens(config)


def _set(config: Any, name: str, value: Any) -> None:
    try:
        setattr(config, name, value)
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return  # derived from others


def _kept_layers(config: Any, depth: int) -> list[int]:
    """Which layers stay: two, or the first of each kind where the configuration names kinds."""
    read = [index for index in getattr(config, "out_indices", None) or () if index > 0]
    if max(read, default=0) > LAYERS:
        return list(range(depth))  # a backbone of which later layers are read
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None)
    if not isinstance(kinds, list | tuple) or len(kinds) != depth:
        return list(range(min(depth, LAYERS)))
    firsts = sorted(list(kinds).index(each) for each in dict.fromkeys(kinds))
    return firsts if len(firsts) >= LAYERS else sorted({*firsts, *range(min(depth, LAYERS))})


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _new_value(name: str, value: Any, divisor: int) -> Any:
    if name == "vocab_size" or name.endswith("_vocab_size"):
        return min(value, VOCABULARY) if _is_size(value) and "type" not in name else value
    if _EXPERTS.match(name) and _is_size(value):
        return min(value, EXPERTS)
    if _CHOSEN.match(name) and _is_size(value):
        return min(value, 2)
    if name in ("n_group", "topk_group", "num_expert_group") and _is_size(value):
        return 1
    if name in _POSITIONS and _is_size(value):
        return min(value, 256)
    if name == "depths" and isinstance(value, list | tuple):
        return type(value)(min(each, 1) for each in value)
    if not _WIDTH.search(name) or _NO_WIDTH.search(name) or name in _OTHER_SIZES:
        return value
    if _is_size(value):
        return value // divisor if value >= 32 and value % divisor == 0 else value
    if isinstance(value, list | tuple) and value and all(_is_size(each) and each >= 32 for each in value):
        return type(value)(each // divisor if each % divisor == 0 else each for each in value)
    return value


def _limit_tokens(config: Any) -> None:
    """Give special tokens beyond the vocabulary other numbers within it, no two the same."""
    limit = getattr(config, "vocab_size", None) or VOCABULARY
    following = iter(range(limit - 1, 0, -1))
    for name, value in list(vars(config).items()):
        if (name.endswith("token_id") or name.endswith("_token_index")) and _is_size(value) and value >= limit:
            _set(config, name, next(following))
        if name.endswith("token_id") and isinstance(value, list) and any(each >= limit for each in value):
            _set(config, name, [next(following)])


# --- inputs ----------------------------------------------------------------------------------------------------------
def candidates(model: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Inputs that a model may take, the likeliest first."""
    names = list(inspect.signature(model.forward).parameters)
    config: Any = model.config
    main = getattr(model, "main_input_name", "input_ids")
    tokens = [name for name in ("input_ids", "decoder_input_ids") if name in names]
    decodes = "decoder_input_ids" in names
    for given in _main_inputs(main if main in names else (tokens or names)[0], config):
        inputs = dict(given)
        if decodes and getattr(config, "is_encoder_decoder", False):
            inputs["decoder_input_ids"] = _tokens(config)
        if "input_ids" in inputs and "attention_mask" in names:
            yield {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])}
        yield inputs
        if "input_ids" in names and "input_ids" not in inputs:
            yield {**inputs, "input_ids": _tokens(config)}
        if "bbox" in names and "input_ids" in inputs:
            yield {**inputs, "bbox": torch.zeros(*inputs["input_ids"].shape, 4, dtype=torch.int64)}
        others = [name for name in ("pixel_values", "input_features", "input_values") if name in names]
        for other in others if "input_ids" in inputs else ():
            for more in _main_inputs(other, config):
                yield {**inputs, **more}
    dummy = getattr(model, "dummy_inputs", None)
    if isinstance(dummy, dict) and all(isinstance(value, torch.Tensor) for value in dummy.values()):
        yield dict(dummy)


def _tokens(config: Any, length: int = LENGTH) -> torch.Tensor:
    limit = min(int(getattr(part, "vocab_size", 0) or VOCABULARY) for part in _parts(config))
    reserved = 40 if limit > 80 else 0  # special tokens are at the ends
    low = 10 if limit > 80 else 0
    return torch.randint(low, max(limit - reserved, low + 1), (BATCH, length))


def _main_inputs(name: str, config: Any) -> Iterator[dict[str, torch.Tensor]]:
    if name in ("input_ids", "decoder_input_ids"):
        yield {name: _tokens(config)}
    elif name.startswith("pixel_values"):
        for size in _image_sizes(config):
            channels = _first(config, "num_channels", "in_channels", "in_chans", default=3)
            frames = _first(config, "num_frames", "frames_per_clip", default=None)
            if _is_size(frames):
                yield {name: torch.randn(BATCH, frames, channels, *size)}
            yield {name: torch.randn(BATCH, channels, *size)}
    else:
        features = _first(config, "num_mel_bins", "feature_size", "input_feat_per_channel", "input_dim", default=80)
        longest = _first(config, "max_source_positions", "max_length", default=None)
        for length in (2 * longest if _is_size(longest) else 64, longest if _is_size(longest) else 128, 64):
            yield {name: torch.randn(BATCH, features, length)}
            yield {name: torch.randn(BATCH, length, features)}
        yield {name: torch.randn(BATCH, 4000)}
        yield {name: torch.randn(BATCH, 1, 4000)}
        yield {name: torch.randn(BATCH, LENGTH, _first(config, "hidden_size", "d_model", default=64))}


def _image_sizes(config: Any) -> Iterator[tuple[int, int]]:
    size = _first(config, "image_size", "img_size", "input_size", default=None)
    if isinstance(size, list | tuple) and len(size) == 2:
        yield int(size[0]), int(size[1])
    elif _is_size(size) and size <= 512:
        yield size, size
    yield 64, 64
    yield 224, 224
    yield 512, 512


def _first(config: Any, *names: str, default: Any) -> Any:
    """The first value of these names in a configuration or those in it."""
    for part in _parts(config):
        for name in names:
            if getattr(part, name, None) is not None:
                return getattr(part, name)
    return default
