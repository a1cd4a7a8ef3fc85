"""`compile_for_generation`."""

from __future__ import annotations

import copy
import inspect
import os
import warnings
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
import transformers
from torch.utils import _pytree as pytree

from ..compiler.api import trace
from ..compiler.errors import UserError
from ..compiler.ir.input import Input
from ..compiler.ir.program import Program
from ..compiler.ir.tracing import tracing
from ..compiler.tensorrt import loader
from .beside import Beside
from .cache import Layout
from .images import ImageFeatures, images_of
from .model import TOKEN, CompiledGeneration, Plan, assembled, class_named
from .packed import packed
from .rope import settled_rope
from .seq2seq import Encode, Seq2SeqStep, Source, source_of, takes_positions
from .step import DecoderStep, NotKeysAndValues, heads_not_repeated, layout_of


def compile_for_generation(
    model: Any,
    *,
    max_cache_len: int,
    batch: int = 1,
    prefill: int | None = None,
    max_source_len: int | None = None,
    all_logits: bool = False,
    in_place: bool | None = None,
    token_engine: bool | None = None,
    **settings: Any,
) -> Any:
    """Compile a language model of transformers so that its `generate` runs in TensorRT.

    The result is a model of the same kind: `generate` is transformers' own, with sampling, beams, streamers, stopping
    criteria, and batches with padding on the left. Prompts of every length, and steps of one token, run in the same
    engine, which has its weights once and an optimization profile for each. `tp.save` writes it to one file.

    Args:
        model: a decoder with a language modeling head, such as `AutoModelForCausalLM` gives, or an encoder with such a
            decoder (T5, BART, Whisper), or a decoder that reads images of one size as tokens of its own (LLaVA).
        max_cache_len: the most positions (prompt and new tokens) of a sequence.
        batch: the most sequences at once; with beams, texts times beams.
        prefill: the most tokens that one step takes; longer prompts take several steps. By default `max_cache_len`.
        max_source_len: for a model with an encoder of tokens, the most of these; by default `max_cache_len`.
        all_logits: return the logits of all tokens of a step, which assisted decoding needs, not of the last one only.
        in_place: let the engine write to the cache itself, by TensorRT's own layer (10.16 and later, and TensorRT-RTX);
            otherwise it returns new keys and values, which PyTorch writes there. By default where that holds for all
            of the cache.
        token_engine: make an engine of its own for one token of one sequence, which shares its weights with the other
            in the memory of the model. By default for models in half precision without an encoder and
            without images.
        settings: as for `compile`, such as `enabled_precisions` and `cuda_graphs`.

    Returns:
        The model. `programs` has the compiled programs, each with its `report`; `new_cache()` makes an empty cache.

    Raises:
        UserError: a mistake in the arguments, or a model that keeps something else than keys and values.
        PassFailure: a pass failed.
    """
    prefill = max_cache_len if prefill is None else prefill
    _check(model, max_cache_len=max_cache_len, batch=batch, prefill=prefill)
    name = type(model).__name__
    class_named(name)
    source, length = None, max_cache_len if max_source_len is None else max_source_len
    try:
        if model.config.is_encoder_decoder:
            source, layout = source_of(model, max_cache_len, length)
        else:
            layout = layout_of(model, max_cache_len)
    except NotKeysAndValues as error:
        raise UserError(f"{error}: such models cannot be compiled for generation; use compile_config.") from error
    if max_source_len is not None and (source is None or not source.has_tokens):
        raise UserError(f"max_source_len is for models with an encoder of tokens, and {name} has none.")
    positions = "position_ids" in inspect.signature(type(model).forward).parameters
    # A step's graph reads and writes the cache in place, which that of a compiled module would copy.
    graphs = bool(settings.pop("cuda_graphs", False))
    if source is not None:
        positions = takes_positions(model)
    images = images_of(model) if source is None else None
    plan = Plan(name, layout, batch, prefill, all_logits, positions, model.dtype, graphs, source, images)
    if token_engine and "mutable_weights" in settings:
        raise UserError("token_engine says which weights are inputs of engines: leave out mutable_weights.")
    halves = plan.dtype in (torch.float16, torch.bfloat16)
    if token_engine is None and not (
        halves and source is None and images is None and "mutable_weights" not in settings
    ):
        token_engine = False
    several = source is not None or images is not None or token_engine is not False
    with settled_rope(model, max_cache_len), Beside() as beside:
        first: dict[str, Any] = {}
        if images is not None:
            first["images"] = ImageFeatures(model), {"pixel_values": _sizes(1, *images.shape, dtype=plan.dtype)}
        if source is not None:
            first["encode"] = Encode(model, source, plan.layout), _source_inputs(plan, source)
        for part, (module, inputs) in first.items():
            beside.start(part, _traced(module, inputs), _dumped(settings, part, several))
        try:
            plan, programs = _steps(model, plan, in_place, token_engine, settings, several, beside)
        except _NoTokenEngine:
            plan, programs = _steps(model, plan, in_place, False, settings, several, beside)
        programs |= {part: beside.result(part) for part in first}
    _own_weights(programs)
    return assembled(type(model), model.config, copy.deepcopy(model.generation_config), plan, programs, model.device)


def _check(model: Any, **sizes: int) -> None:
    """Raise UserError for what is no model that generates, or no size."""
    if isinstance(model, CompiledGeneration):
        raise UserError("this model is compiled already.")
    if not isinstance(model, transformers.PreTrainedModel) or not model.can_generate():
        raise UserError(f"compile_for_generation takes a model of transformers that generates, not {_kind(model)}.")
    for name, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise UserError(f"{name} is {value!r}: give a whole number of at least 1.")
    if sizes["prefill"] > sizes["max_cache_len"]:
        raise UserError(
            f"prefill is {sizes['prefill']}, more than the {sizes['max_cache_len']} positions of the cache."
        )


def _own_weights(programs: dict[str, Any]) -> None:
    """Let programs have parameters of their own, in the same memory: the model may be moved, or its type changed."""
    own: dict[int, torch.nn.Parameter] = {}
    for program in programs.values():
        for module in program.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    module._parameters[name] = own.setdefault(
                        id(weight), torch.nn.Parameter(weight.detach(), requires_grad=False)
                    )


def _steps(
    model: Any,
    plan: Plan,
    in_place: bool | None,
    token_engine: bool | None,
    settings: dict[str, Any],
    several: bool,
    beside: Beside,
) -> tuple[Plan, dict[str, Any]]:
    """The programs of a step, and the plan that says whether their engines write to the cache themselves.

    Raises:
        _NoTokenEngine: the token engine that nobody has asked for (None) is not possible.
    """
    shared = token_engine is not False
    library = loader.available()
    able = library is not None and library.has_layer("add_kv_cache_update")
    plan = replace(plan, layout=replace(plan.layout, in_place=able if in_place is None else in_place))
    step: torch.nn.Module
    if plan.source is None:
        step = DecoderStep(model, plan.layout, plan.all_logits, None if plan.images is None else plan.images.token)
    else:
        step = Seq2SeqStep(model, plan.source, plan.layout, plan.all_logits)
    # The token's first: only it may be impossible, and then the others are made otherwise.
    names = (TOKEN, "step") if shared else ("step",)
    with packed(model, **_example(model, plan)) if shared else nullcontext() as together:
        if together is not None:
            step.packed = together
        for name in names:
            try:
                with heads_not_repeated() if name == TOKEN else nullcontext():
                    program = _traced(step, _token_inputs(plan) if name == TOKEN else _inputs(plan, shared))
            except UserError as error:
                if name == TOKEN and token_engine is None:
                    raise _NoTokenEngine(str(error)) from error
                raise
            options = _dumped(settings, name, several)
            beside.start(name, program, {**options, "mutable_weights": _matrices(program)} if shared else options)
        programs = {name: beside.result(name) for name in reversed(names)}
    count = len(plan.layout.tensors)
    copied = max(
        count - sum(len(segment.spec.aliases) for segment in program.segments.values()) for program in programs.values()
    )
    if plan.layout.in_place and copied:
        if in_place is None:
            return _steps(model, plan, False, token_engine, settings, several, beside)
        warnings.warn(
            f"{copied} of the {count} tensors of the cache are not written in place, because no engine reads, writes "
            "and returns them: a step copies them. compiled.programs['step'].report says what stays in PyTorch; "
            "without in_place a step returns its new rows only.",
            RuntimeWarning,
            stacklevel=3,
        )
    for program in programs.values():
        # Not assigned plainly, since nn.Module declares its attributes as tensors and modules.
        report = replace(program.report, notes=(*program.report.notes, _copied(plan.layout)))
        object.__setattr__(program, "report", report)
    return plan, programs


class _NoTokenEngine(UserError):
    """A model cannot be traced for a part of the cache."""


def _copied(layout: Layout) -> str:
    """What a step copies of the cache, for the report."""
    if layout.in_place:
        return "the cache is written in place: a step copies 0 bytes of it."
    rows = layout.bytes_per_sequence() // layout.positions
    return (
        f"the cache is not written in place: a step copies up to {layout.bytes_copied():,} bytes of it for each "
        f"sequence inside of its engine, and then writes {rows:,} bytes for each new token."
    )


def _example(model: Any, plan: Plan) -> dict[str, torch.Tensor]:
    """What a model can be called with, to see what it does."""
    ids = torch.zeros((1, 2), dtype=torch.int64, device=model.device)
    if plan.source is None:
        return {"input_ids": ids}
    if plan.source.has_tokens:
        return {"input_ids": ids, "decoder_input_ids": ids}
    features = torch.zeros((1, *plan.source.shape), dtype=plan.dtype, device=model.device)
    return {plan.source.argument: features, "decoder_input_ids": ids}


def _traced(module: torch.nn.Module, inputs: dict[str, Any]) -> Program:
    """The program of a module, traced while no other is."""
    try:
        with tracing():
            return trace(module, None, inputs)
    except UserError as error:
        # What else that sentence advises are no options of this function.
        reason, found, _ = str(error).partition(", which torch.export cannot follow")
        if not found:
            raise
        raise UserError(f"{reason}, and such models cannot be compiled for generation: use compile_config.") from error


def _matrices(program: Program) -> list[str]:
    """The weights that are matrices, which programs share as inputs of their engines."""
    weights = program.exported.state_dict
    return [name for name in program.state_read if name in weights and weights[name].dim() == 2]


def _dumped(settings: dict[str, Any], name: str, several: bool) -> dict[str, Any]:
    """The settings of one of several programs, each of which dumps into a folder of its own."""
    folder = settings.get("dump_dir")
    return {**settings, "dump_dir": os.path.join(folder, name)} if several and folder is not None else settings


def _kind(model: Any) -> str:
    return type(model).__name__ if isinstance(model, torch.nn.Module) else repr(type(model).__name__)


Size = tuple[int, int, int] | int
"""A size, or smallest, usual and largest size."""


def _sizes(*dims: Size, dtype: torch.dtype = torch.int64) -> Input:
    low, usual, high = ([dim if isinstance(dim, int) else dim[corner] for dim in dims] for corner in range(3))
    return Input(min_shape=low, opt_shape=usual, max_shape=high, dtype=dtype)


def _together(*inputs: Input) -> Input:
    """One input with the profiles of several."""
    shapes = [profile for item in inputs for profile in item.profiles]
    return Input(shapes=shapes, dtype=inputs[0].dtype)


def _inputs(plan: Plan, token_engine: bool) -> dict[str, Any]:
    """The inputs of a step."""
    profiles = _profiles(plan, token_engine)
    inputs: dict[str, Any] = pytree.tree_map(_together, *(_inputs_of(plan, *sizes) for sizes in profiles))
    return inputs


def _profiles(plan: Plan, token_engine: bool) -> list[tuple[Size, Size]]:
    """Sequences and tokens of each optimization profile: one token of one sequence, one of each of several, a prompt.

    Each has kernels of its own; a step takes the first that has its sizes. One token of one sequence needs none where
    that has an engine of its own, unless it is all there is.
    """
    alone = plan.batch == plan.prefill == 1
    found: list[tuple[Size, Size]] = [(1, 1)] if alone or not token_engine else []
    if plan.batch > 1:
        found.append(((1, plan.batch, plan.batch), 1))
    if plan.prefill > 1:
        found.append(((1, 1, plan.batch), (1, plan.prefill, plan.prefill)))
    return found


def _token_inputs(plan: Plan) -> dict[str, Any]:
    """The inputs of a step of one token of one sequence, which reads the first positions of the cache only."""
    inputs, block = _inputs_of(plan, 1, 1), plan.block
    count = plan.layout.positions // block
    return {**inputs, "attention_mask": _sizes(1, (1, count, count), block)}


def _inputs_of(plan: Plan, batch: Size, tokens: Size) -> dict[str, Any]:
    layout = plan.layout
    inputs: dict[str, Any] = {
        "input_ids": _sizes(batch, tokens),
        "attention_mask": _sizes(batch, layout.positions),
        "start": _sizes(1),
        "caches": [_sizes(batch, heads, layout.positions, dim, dtype=layout.dtype) for heads, dim in layout.tensors],
    }
    if plan.positions:
        inputs["position_ids"] = _sizes(batch, tokens)
    if plan.images is not None:
        inputs["image_rows"] = _sizes(batch, tokens, plan.images.width, dtype=plan.dtype)
    if plan.source is not None:
        length = _source_length(plan.source)
        inputs["cross"] = [
            _sizes(batch, len(numbers), heads, length, dim, dtype=layout.dtype)
            for (heads, dim), numbers in plan.source.groups.items()
        ]
        if plan.source.has_tokens:
            inputs["source_mask"] = _sizes(batch, length)
    return inputs


def _source_length(source: Source) -> Size:
    """The positions that an encoder gives: one for each token, or for two frames of sound."""
    return (1, 1, source.shape[0]) if source.has_tokens else source.shape[-1] // 2


def _source_inputs(plan: Plan, source: Source) -> dict[str, Any]:
    batch = (1, 1, plan.batch)
    if not source.has_tokens:
        return {"source": _sizes(batch, *source.shape, dtype=plan.dtype)}
    length = _source_length(source)
    return {"source": _sizes(batch, length), "mask": _sizes(batch, length)}
