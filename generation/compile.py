"""`compile_for_generation`."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
import transformers

from ..compiler.api import compile as compile_model
from ..compiler.api import trace
from ..compiler.errors import UserError
from ..compiler.ir.input import Input
from .model import CompiledGeneration, Plan, assembled, class_named
from .step import DecoderStep, NotKeysAndValues, layout_of


def compile_for_generation(
    model: Any,
    *,
    max_cache_len: int,
    batch: int = 1,
    prefill: int | None = None,
    all_logits: bool = False,
    **settings: Any,
) -> Any:
    """Compile a language model of transformers so that its `generate` runs in TensorRT.

    The result is a model of the same kind: `generate` is transformers' own, with sampling, beams, streamers, stopping
    criteria, and batches with padding on the left. Prompts of every length, and steps of one token, run in the same
    engine. `tp.save` writes it to one file.

    Args:
        model: a decoder-only model with a language modeling head, such as `AutoModelForCausalLM` gives.
        max_cache_len: the most positions (prompt and new tokens) of a sequence.
        batch: the most sequences at once; with beams, texts times beams.
        prefill: the most tokens that one step takes; longer prompts take several steps. By default `max_cache_len`.
        all_logits: return the logits of all tokens of a step, which assisted decoding needs, not of the last one only.
        settings: as for `compile`, such as `enabled_precisions` and `cuda_graphs`.

    Returns:
        The model. `programs` has the compiled programs, each with its `report`; `new_cache()` makes an empty cache.

    Raises:
        UserError: a mistake in the arguments, or a model that keeps something else than keys and values.
        PassFailure: a pass failed.
    """
    if isinstance(model, CompiledGeneration):
        raise UserError("this model is compiled already.")
    if not isinstance(model, transformers.PreTrainedModel) or not model.can_generate():
        raise UserError(f"compile_for_generation takes a model of transformers that generates, not {_kind(model)}.")
    prefill = max_cache_len if prefill is None else prefill
    for name, value in {"max_cache_len": max_cache_len, "batch": batch, "prefill": prefill}.items():
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{name} is {value!r}: give a whole number of at least 1.")
    if prefill > max_cache_len:
        raise UserError(f"prefill is {prefill}, more than the {max_cache_len} positions of the cache.")
    name = type(model).__name__
    class_named(name)
    if model.config.is_encoder_decoder:
        raise UserError(
            f"{name} has an encoder and a decoder: only decoder-only models can be compiled for generation."
        )
    model.eval()
    try:
        layout = layout_of(model, max_cache_len)
    except NotKeysAndValues as error:
        raise UserError(f"{error}: such models cannot be compiled for generation; use compile_config.") from error
    positions = "position_ids" in inspect.signature(type(model).forward).parameters
    # A step's graph reads and writes the cache in place, which that of a compiled module would copy.
    graphs = bool(settings.pop("cuda_graphs", False))
    plan = Plan(name, layout, batch, prefill, all_logits, positions, model.dtype, graphs)
    program = trace(DecoderStep(model, layout, all_logits), None, _inputs(plan))
    step = compile_model(program, **settings)
    return assembled(
        type(model), model.config, copy.deepcopy(model.generation_config), plan, {"step": step}, model.device
    )


def _kind(model: Any) -> str:
    return type(model).__name__ if isinstance(model, torch.nn.Module) else repr(type(model).__name__)


def _inputs(plan: Plan) -> dict[str, Any]:
    """The inputs of a step: usually one token of one sequence."""

    def sizes(*dims: tuple[int, int] | int, dtype: torch.dtype = torch.int64) -> Input:
        low = [dim if isinstance(dim, int) else dim[0] for dim in dims]
        high = [dim if isinstance(dim, int) else dim[1] for dim in dims]
        return Input(min_shape=low, opt_shape=low, max_shape=high, dtype=dtype)

    layout, batch, tokens = plan.layout, (1, plan.batch), (1, plan.prefill)
    inputs: dict[str, Any] = {
        "input_ids": sizes(batch, tokens),
        "attention_mask": sizes(batch, layout.positions),
        "start": sizes(1),
        "caches": [sizes(batch, heads, layout.positions, dim, dtype=layout.dtype) for heads, dim in layout.tensors],
    }
    if plan.positions:
        inputs["position_ids"] = sizes(batch, tokens)
    return inputs
