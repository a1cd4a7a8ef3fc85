"""The driver: evaluate a network layer by layer, and hold every result against what TensorRT says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...ir.dtypes import HALVES, UnknownDType, short_name
from ..dtypes import computed_as, from_trt
from ..layers import Layer, iter_layers, tensor_text
from ..loader import TensorRT, tensor_shape
from . import attention, contraction, indexing, normalization, pointwise, quantization, reduction, resize, shape_ops
from .call import Call, ExecutorError, Handler
from .control_flow import Values, run_loop
from .fused_attention import scores_in_float32
from .schedule import LayerStep, Step, schedule

Observer = Callable[[str, list[Tensor]], None]
"""Called after each layer with its name and results, which are valid only during the call."""


def _conditional_input(call: Call) -> tuple[Tensor, ...]:
    return (call.required(0),)


_HANDLERS: Mapping[str, Handler] = {
    **attention.HANDLERS,
    **contraction.HANDLERS,
    **indexing.HANDLERS,
    **normalization.HANDLERS,
    **pointwise.HANDLERS,
    **quantization.HANDLERS,
    **reduction.HANDLERS,
    **resize.HANDLERS,
    **shape_ops.HANDLERS,
    "CONDITIONAL_INPUT": _conditional_input,
}


def supported_layers() -> frozenset[str]:
    """The layer kinds that can be evaluated, as `LayerType` names ("ATTENTION" for the attention pair)."""
    boundary = {"CONDITION", "CONDITIONAL_OUTPUT", "TRIP_LIMIT", "RECURRENCE", "ITERATOR", "LOOP_OUTPUT"}
    return frozenset(_HANDLERS) | boundary


class ReferenceExecutor:
    """Evaluates a real `INetworkDefinition` with PyTorch, on any machine.

    f16 and bf16 are computed in f32 and each layer's result is rounded to its type. Results are compared with the
    data type and shape TensorRT inferred (dynamic dimensions match anything). Values are freed after their last use.

    Args:
        trt: the TensorRT the network was made with.
        network: the network; it must outlive the executor unchanged.
        weights: values of weights TensorRT cannot give back (bf16, fp8): by the layer's name for a constant, by
            "<layer>.kernel" and "<layer>.bias" for a convolution.

    Raises:
        ExecutorError: a layer kind is not supported; the message names the layer.
    """

    def __init__(self, trt: TensorRT, network: Any, weights: Mapping[str, Tensor] | None = None) -> None:
        # The network owns the memory that constants are read from.
        self._network = network
        self._weights = dict(weights or {})
        self._inputs = [network.get_input(i) for i in range(network.num_inputs)]
        self._outputs = [network.get_output(i) for i in range(network.num_outputs)]
        layers = list(iter_layers(trt, network))
        for layer in layers:
            if layer.kind not in supported_layers():
                raise ExecutorError(f"{layer}: this kind of layer is not supported by the reference executor")
        self._in_float32 = scores_in_float32(layers)
        self._steps = schedule(layers, [tensor.name for tensor in self._outputs])
        self._declared = {
            tensor.name: (_declared_dtype(layer, tensor), tensor_shape(tensor))
            for layer in layers
            for tensor in layer.outputs
        }

    @torch.no_grad()
    def run(self, inputs: Mapping[str, Tensor], *, observe: Observer | None = None) -> dict[str, Tensor]:
        """Evaluate the network once.

        Args:
            inputs: one tensor per network input, by name, all on one device; shape tensors are int32 or int64.
            observe: called after each layer.

        Returns:
            The network outputs by name, on the device of the inputs (CPU without inputs).

        Raises:
            ExecutorError: an input does not fit its declaration, a layer cannot be evaluated with these values, or
                its result is not what TensorRT declared.
        """
        self._check_inputs(inputs)
        run = _Run(self._declared, self._weights, _device_of(inputs), observe, self._in_float32)
        values: Values = dict(inputs)
        run.steps(self._steps, values)
        # A result can be a view of a weight or an input; the caller's copy must not be.
        # As engines write them: in memory of their own, in order.
        return {
            tensor.name: values[tensor.name].clone(memory_format=torch.contiguous_format) for tensor in self._outputs
        }

    def _check_inputs(self, inputs: Mapping[str, Tensor]) -> None:
        names = [tensor.name for tensor in self._inputs]
        if set(names) != set(inputs):
            raise ExecutorError(f"the network's inputs are {sorted(names)}, the tensors given are {sorted(inputs)}")
        for tensor in self._inputs:
            value = inputs[tensor.name]
            if value.dtype != from_trt(tensor.dtype) or not _fits(value.shape, tensor_shape(tensor)):
                raise ExecutorError(
                    f"network input {tensor.name!r} is {tensor_text(tensor)}, the tensor given is {_value_text(value)}"
                )


class _Run:
    """The state of one evaluation."""

    def __init__(
        self,
        declared: Mapping[str, tuple[torch.dtype, tuple[int, ...] | None]],
        weights: Mapping[str, Tensor],
        device: torch.device,
        observe: Observer | None,
        in_float32: frozenset[str],
    ) -> None:
        self._in_float32 = in_float32
        self._declared = declared
        self._weights = weights
        self._device = device
        self._observe = observe

    def steps(self, steps: Sequence[Step], values: Values) -> None:
        for step in steps:
            if all(bool(values[name]) == wanted for name, wanted in step.guard):
                if isinstance(step, LayerStep):
                    self._layer(step, values)
                else:
                    run_loop(step, values, self.steps)
                    self._check_loop(step.boundary["LOOP_OUTPUT"], values)
            for name in step.frees:
                values.pop(name, None)

    def _layer(self, step: LayerStep, values: Values) -> None:
        layer = step.layer
        if step.condition is None:
            results = self._evaluate(layer, values)
        else:
            results = (values[layer.inputs[0 if bool(values[step.condition]) else 1].name],)
        if len(results) != len(layer.outputs):
            raise ExecutorError(f"{layer}: {len(results)} results were computed for {len(layer.outputs)} outputs")
        for tensor, result in zip(layer.outputs, results, strict=True):
            values[tensor.name] = self._checked(layer, tensor.name, result)
        if self._observe is not None:
            self._observe(layer.name, [values[tensor.name] for tensor in layer.outputs])

    def _evaluate(self, layer: Layer, values: Values) -> tuple[Tensor, ...]:
        inputs = tuple(None if tensor is None else values[tensor.name] for tensor in layer.inputs)
        dtypes = tuple(self._declared[tensor.name][0] for tensor in layer.outputs)
        call = Call(layer, inputs, dtypes, self._device, self._weights)
        try:
            return _HANDLERS[layer.kind](call)
        except (RuntimeError, IndexError, ValueError) as error:
            if isinstance(error, ExecutorError):
                raise
            shapes = ", ".join("unset" if value is None else _value_text(value) for value in inputs)
            raise ExecutorError(f"{layer}: cannot be evaluated with inputs ({shapes}): {error}") from error

    def _check_loop(self, outputs: Sequence[Layer], values: Values) -> None:
        for layer in outputs:
            name = layer.outputs[0].name
            values[name] = self._checked(layer, name, values[name])
            if self._observe is not None:
                self._observe(layer.name, [values[name]])

    def _checked(self, layer: Layer, name: str, result: Tensor) -> Tensor:
        """The result rounded to its declared type, if type and shape are as declared."""
        dtype, dims = self._declared[name]
        if result.dtype == torch.float32 and dtype in HALVES:
            dtype = torch.float32 if name in self._in_float32 else dtype
            result = result.to(dtype)
        if result.dtype != dtype or not _fits(result.shape, dims):
            declared = "an unknown shape" if dims is None else f"{short_name(dtype)}{list(dims)}"
            raise ExecutorError(f"{layer}: the result is {_value_text(result)}, TensorRT declares {declared}")
        return result


def _declared_dtype(layer: Layer, tensor: Any) -> torch.dtype:
    try:
        return computed_as(from_trt(tensor.dtype))
    except UnknownDType as error:
        raise ExecutorError(f"{layer}: {error}, so the reference executor cannot evaluate it") from error


def _fits(shape: Sequence[int], dims: tuple[int, ...] | None) -> bool:
    return dims is not None and len(shape) == len(dims) and all(d in (-1, s) for s, d in zip(shape, dims, strict=True))


def _value_text(value: Tensor) -> str:
    return f"{short_name(value.dtype)}[{','.join(map(str, value.shape))}]"


def _device_of(inputs: Mapping[str, Tensor]) -> torch.device:
    devices = {value.device for value in inputs.values()}
    if len(devices) > 1:
        raise ExecutorError(f"the inputs are on several devices: {', '.join(sorted(map(str, devices)))}")
    return devices.pop() if devices else torch.device("cpu")
