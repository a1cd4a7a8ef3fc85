"""Configurations of transformers made small by rule.

A configuration is made small as a whole, so that what must fit together still does: depths become two,
vocabularies 320, and every width is divided by the same number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

VOCABULARY, LAYERS, EXPERTS = 320, 2, 4

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


_NEEDED = MappingProxyType(
    {
        "vocab_size": VOCABULARY,
        "prediction_length": 4,
        "context_length": 8,
        "num_experts": EXPERTS,
        "n_routed_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "top_k_experts": 2,
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "moe_intermediate_size": 32,
        "pad_token_id": 1,
    }
)
"""Values for what is None by default."""


def small(kind: str, divisor: int, is_completed: bool = False) -> Any:
    """The default configuration of a kind of model with small depths, vocabularies and widths.

    If it `is_completed`, what is None by default and yet needed has values, and what must fit together is made to.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = CONFIG_MAPPING[kind]()
    for part in parts(config):
        _shrink(part, divisor)
        if is_completed:
            _complete(part)
        for name, value in (("use_cache", False), ("return_dict", True)):
            if hasattr(part, name):
                setattr(part, name, value)
    return config


def parts(config: Any) -> Iterator[Any]:
    """A configuration and those in it."""
    from transformers import PretrainedConfig

    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            yield from parts(value)


def _shrink(config: Any, divisor: int) -> None:
    depths = {name: value for name, value in vars(config).items() if _DEPTH.match(name) and is_size(value)}
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


def is_size(value: Any) -> bool:
    """Whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _new_value(name: str, value: Any, divisor: int) -> Any:
    if name == "vocab_size" or name.endswith("_vocab_size"):
        return min(value, VOCABULARY) if is_size(value) and "type" not in name else value
    if _EXPERTS.match(name) and is_size(value):
        return min(value, EXPERTS)
    if _CHOSEN.match(name) and is_size(value):
        return min(value, 2)
    if name in ("n_group", "topk_group", "num_expert_group") and is_size(value):
        return 1
    if name in _POSITIONS and is_size(value):
        return min(value, 256)
    if name == "depths" and isinstance(value, list | tuple):
        return type(value)(min(each, 1) for each in value)
    if not _WIDTH.search(name) or _NO_WIDTH.search(name) or name in _OTHER_SIZES:
        return value
    if is_size(value):
        return value // divisor if value >= 32 and value % divisor == 0 else value
    if isinstance(value, list | tuple) and value and all(is_size(each) and each >= 32 for each in value):
        return type(value)(each // divisor if each % divisor == 0 else each for each in value)
    return value


def _limit_tokens(config: Any) -> None:
    """Give special tokens beyond the vocabulary other numbers within it, no two the same."""
    limit = getattr(config, "vocab_size", None) or VOCABULARY
    following = iter(range(limit - 1, 0, -1))
    for name, value in list(vars(config).items()):
        if (name.endswith("token_id") or name.endswith("_token_index")) and is_size(value) and value >= limit:
            _set(config, name, next(following))
        if name.endswith("token_id") and isinstance(value, list) and any(each >= limit for each in value):
            _set(config, name, [next(following)])


def _complete(config: Any) -> None:
    heads = getattr(config, "num_attention_heads", None)
    width = getattr(config, "hidden_size", None)
    if is_size(heads) and is_size(width) and heads > 0:
        if width % heads:
            heads = max(number for number in range(1, heads + 1) if width % number == 0)
            for name in ("num_attention_heads", "num_key_value_heads"):
                if is_size(getattr(config, name, None)):
                    _set(config, name, heads)
        head_dim = getattr(config, "head_dim", None) or max(width // heads, 2)
        values = {"head_dim": head_dim, "num_key_value_heads": heads, **_NEEDED}
        rope = getattr(config, "rope_parameters", None)
        if isinstance(rope, dict):
            rotated = head_dim * rope.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", None) or 1)
            third = int(rotated) // 2 * 3 // 8
            rope["mrope_section"] = [int(rotated) // 2 - 2 * third, third, third]
    else:
        values = dict(_NEEDED)
    for name, value in values.items():
        if name in vars(config) and getattr(config, name) is None:
            _set(config, name, value)
    layers = getattr(config, "num_hidden_layers", None)
    if "layer_types" in vars(config) and config.layer_types is None and is_size(layers):
        _set(config, "layer_types", ["full_attention"] * layers)
    inner = (getattr(config, "mamba_expand", None) or 0) * (width if is_size(width) else 0)
    if inner and is_size(getattr(config, "mamba_n_heads", None)) and hasattr(config, "mamba_d_head"):
        _set(config, "mamba_n_heads", max(inner // 16, 1))
        _set(config, "mamba_d_head", inner // max(inner // 16, 1))
    languages = getattr(config, "languages", None)
    if languages and getattr(config, "default_language", "") is None:
        _set(config, "default_language", languages[0])


def first(config: Any, *names: str, default: Any) -> Any:
    """The first value of these names in a configuration or those in it."""
    for part in parts(config):
        for name in names:
            if getattr(part, name, None) is not None:
                return getattr(part, name)
    return default
