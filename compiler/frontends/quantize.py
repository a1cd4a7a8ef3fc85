"""`quantize`: a model in few bits, for those who have no recipe, and what that costs in accuracy."""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..errors import UserError, did_you_mean
from ..ir.dtypes import INT4
from ..ir.quantisation import Quantisation, QuantisedLayer

Mode = Literal["fp8", "int8", "int8-weights", "int4-weights"]

_GROUPS = (128, 64, 32)
"""Sizes of the groups of four-bit weights that share a scale; the largest that divides a row is taken."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def quantize(
    model: nn.Module,
    mode: Mode,
    calibration: Iterable[Any] | None = None,
    *,
    max_error: float | None = None,
) -> nn.Module:
    """A copy of a model with layers in few bits, ready for `compile`.

    torchao quantises weights, and inputs per row where nothing is known of them; with calibration data NVIDIA's
    modelopt, if it is installed, finds one scale for the inputs of each layer, which takes less time to run.

    Args:
        model: in eval mode, with floats; it stays as it is.
        mode: "fp8" (GPUs of compute capability 8.9 and newer) or "int8" (all) for products of eight bits, which are
            faster where there are many rows; "int8-weights" or "int4-weights" for weights only, which are smaller, and
            faster for few rows.
        calibration: batches of typical inputs: tensors, tuples of arguments, or dicts of keyword arguments. Errors are
            measured with them, too.
        max_error: the relative error that is allowed: of the model's results if there is calibration data, else of each
            layer's. The worst layers stay as they are until it holds.

    Returns:
        The quantised copy; its `quantisation` says what became of each layer, and the report of `compile` repeats it.

    Raises:
        UserError: the mode is none, the library that it takes is not installed, or nothing in the model is a layer that
            can be quantised.
    """
    if mode not in get_args(Mode):
        raise UserError(f"mode is {mode!r}.{did_you_mean(str(mode), get_args(Mode))}")
    if not isinstance(model, nn.Module):
        raise UserError(f"quantize takes an nn.Module, and was given a {type(model).__name__}.")
    if isinstance(model, torch.jit.ScriptModule):
        raise UserError(
            "quantize takes an nn.Module, whose layers it can exchange, and was given TorchScript: quantise the module "
            "that it was made from, or give files that torch.ao.quantization made to compile."
        )
    if max_error is not None and not (isinstance(max_error, int | float) and max_error > 0):
        raise UserError(f"max_error is {max_error!r}: give a relative error such as 0.01.")
    batches = None if calibration is None else [_arguments(batch) for batch in calibration]
    if batches == []:
        raise UserError("calibration has no batches: give some, or leave it out.")
    run = _recipe(mode, batches)
    found = _layers(model, mode)
    names = [layer.name for layer in found if not layer.reason]
    if not names:
        reasons = "; ".join(dict.fromkeys(layer.reason for layer in found)) or "it has no linear layers"
        raise UserError(f"nothing in the model can be quantised to {mode}: {reasons}.")
    quantised = run(model, names)
    errors = _layer_errors(model, quantised, names, batches)
    left: list[str] = []
    if max_error is not None:
        left = _too_bad(model, run, names, errors, batches, max_error)
        if left:
            kept = [name for name in names if name not in left]
            quantised = run(model, kept) if kept else copy.deepcopy(model)
    reason = f"its error is among the largest, and more than {max_error:g} is not allowed" if left else ""
    layers = [
        QuantisedLayer(each.name, each.kind, errors.get(each.name), reason if each.name in left else each.reason)
        for each in found
    ]
    output = None if batches is None else _output_error(model, quantised, batches)
    vars(quantised)["quantisation"] = Quantisation(mode, tuple(layers), output)
    return quantised


def _layers(model: nn.Module, mode: Mode) -> list[QuantisedLayer]:
    """The layers that a mode is for, with the reason for those that it does not take."""
    kinds = (nn.Linear, *_CONVOLUTIONS) if mode == "fp8" else (nn.Linear,)
    found = []
    for name, module in model.named_modules():
        if not isinstance(module, kinds):
            if isinstance(module, _CONVOLUTIONS):
                found.append(
                    QuantisedLayer(name, type(module).__name__, None, f"convolutions have no kernels in {mode}")
                )
            continue
        reason = ""
        if isinstance(module, nn.Linear) and mode == "int4-weights" and _group(module) is None:
            reason = f"its rows are no multiple of {_GROUPS[-1]}"
        elif isinstance(module, nn.Linear) and (module.in_features % 16 or module.out_features % 16):
            reason = "its sizes are no multiples of 16, which kernels of eight bits need"
        found.append(QuantisedLayer(name, type(module).__name__, None, reason))
    return found


def _group(layer: nn.Linear) -> int | None:
    return next((size for size in _GROUPS if layer.in_features % size == 0), None)


# --- libraries -------------------------------------------------------------------------------------------------------
_Recipe = Callable[[nn.Module, Sequence[str]], nn.Module]


def _recipe(mode: Mode, batches: list[Any] | None) -> _Recipe:
    """What quantises layers of a copy of a model."""
    modelopt = _library("modelopt.torch.quantization") if mode in ("int8", "fp8") else None
    if mode == "fp8" and modelopt is None:
        raise UserError("mode 'fp8' needs NVIDIA's modelopt: pip install nvidia-modelopt, or use int8.")
    if modelopt is not None and (mode == "fp8" or batches is not None):
        return lambda model, names: _by_modelopt(modelopt, model, names, mode, batches)
    torchao = _library("torchao.quantization")
    if torchao is None:
        raise UserError(f"mode {mode!r} needs torchao: pip install trt-passes[quantisation].")
    return lambda model, names: _by_torchao(torchao, model, names, mode)


def _library(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _by_torchao(torchao: Any, model: nn.Module, names: Sequence[str], mode: Mode) -> nn.Module:
    quantised = copy.deepcopy(model)
    groups: dict[int | None, set[str]] = {}
    for name, module in quantised.named_modules():
        if name in set(names) and isinstance(module, nn.Linear):
            groups.setdefault(_group(module) if mode == "int4-weights" else None, set()).add(name)
    for size, members in groups.items():
        if mode == "int4-weights":
            config = torchao.IntxWeightOnlyConfig(weight_dtype=INT4, granularity=torchao.PerGroup(size))
        elif mode == "int8-weights":
            config = torchao.Int8WeightOnlyConfig()
        else:
            config = torchao.Int8DynamicActivationInt8WeightConfig()
        chosen = frozenset(members)
        torchao.quantize_(quantised, config, filter_fn=lambda module, name, chosen=chosen: name in chosen)
    return quantised


def _by_modelopt(
    modelopt: Any, model: nn.Module, names: Sequence[str], mode: Mode, batches: list[Any] | None
) -> nn.Module:
    copied, chosen = copy.deepcopy(model), set(names)
    name = "INT8_DEFAULT_CFG" if mode == "int8" else "FP8_DEFAULT_CFG" if batches else "FP8_PER_CHANNEL_PER_TOKEN_CFG"

    def calibrate(each: nn.Module) -> None:
        for args, kwargs in batches or ():
            each(*args, **kwargs)

    with torch.no_grad():
        quantised: nn.Module = modelopt.quantize(copied, getattr(modelopt, name), calibrate if batches else None)
    modelopt.disable_quantizer(quantised, lambda quantiser: quantiser.rpartition(".")[0] not in chosen)
    return quantised


# --- errors ----------------------------------------------------------------------------------------------------------
def _arguments(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(batch, Mapping):
        return (), dict(batch)
    return (tuple(batch), {}) if isinstance(batch, list | tuple) else ((batch,), {})


def _layer_errors(
    model: nn.Module, quantised: nn.Module, names: Sequence[str], batches: list[Any] | None
) -> dict[str, float]:
    """The relative error of each layer's results, for the inputs that it gets in the float model."""
    plain, others = dict(model.named_modules()), dict(quantised.named_modules())
    sums: dict[str, list[float]] = {name: [0.0, 0.0] for name in names}

    def compare(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        wrong, right = _distance(result, others[name](*args, **kwargs))
        sums[name][0] += wrong
        sums[name][1] += right

    def hook(name: str) -> Any:
        return lambda module, args, kwargs, result: compare(name, args, kwargs, result)

    with torch.no_grad():
        if batches is None:
            for name in names:
                x = _drawn(plain[name])
                compare(name, (x,), {}, plain[name](x))
        else:
            handles = [plain[name].register_forward_hook(hook(name), with_kwargs=True) for name in names]
            try:
                for args, kwargs in batches:
                    model(*args, **kwargs)
            finally:
                for handle in handles:
                    handle.remove()
    return {name: math.sqrt(wrong / right) if right else 0.0 for name, (wrong, right) in sums.items()}


def _drawn(layer: nn.Module) -> torch.Tensor:
    """An input of normal numbers for a layer, always the same."""
    weight: Any = layer.weight
    shape: tuple[int, ...] = (32, int(weight.shape[1]))
    if isinstance(layer, _CONVOLUTIONS):
        shape = (1, layer.in_channels, *[4 * size for size in layer.kernel_size])
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to(weight.device, weight.dtype)


def _output_error(model: nn.Module, quantised: nn.Module, batches: list[Any]) -> float:
    wrong = right = 0.0
    with torch.no_grad():
        for args, kwargs in batches:
            pairs = zip(_tensors(model(*args, **kwargs)), _tensors(quantised(*args, **kwargs)), strict=True)
            for one, other in pairs:
                difference, size = _distance(one, other)
                wrong, right = wrong + difference, right + size
    return math.sqrt(wrong / right) if right else 0.0


def _tensors(value: Any) -> list[torch.Tensor]:
    values = value.values() if isinstance(value, Mapping) else [value]
    leaves = [leaf for item in values for leaf in pytree.tree_leaves(item)]
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


def _distance(right: torch.Tensor, found: torch.Tensor) -> tuple[float, float]:
    """The squared length of a difference, and of what is right."""
    wide = right.double()
    return float((wide - found.double()).square().sum()), float(wide.square().sum())


def _too_bad(
    model: nn.Module,
    run: _Recipe,
    names: Sequence[str],
    errors: Mapping[str, float],
    batches: list[Any] | None,
    max_error: float,
) -> list[str]:
    """The worst layers that must stay as they are for the error to be at most `max_error`: as few as can be."""
    worst = sorted(names, key=lambda name: -errors[name])
    if batches is None:
        return [name for name in worst if errors[name] > max_error]

    def holds(left: int) -> bool:
        kept = [name for name in names if name not in set(worst[:left])]
        return not kept or _output_error(model, run(model, kept), batches) <= max_error

    low, high = 0, len(worst)
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return worst[:low]
