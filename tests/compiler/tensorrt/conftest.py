"""Networks for the tests of this folder: made by hand, or by TensorRT's own ONNX parser from an exported model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trt_passes.compiler.tensorrt import dtypes, loader
from trt_passes.compiler.tensorrt.executor import ReferenceExecutor


@pytest.fixture(scope="session")
def trt() -> loader.TensorRT:
    found = loader.available()
    if found is None:
        pytest.skip("TensorRT is not installed")
    return found


class HandMade:
    """A network under construction; keeps what the network only points to, and the log."""

    def __init__(self, trt: loader.TensorRT) -> None:
        self.trt = trt
        self.module: Any = trt.module
        self.messages: list[str] = []
        self._logger = _logger(trt.module, self.messages)
        self._builder = trt.module.Builder(self._logger)
        self.network = trt.create_network(self._builder)
        self._alive: list[Any] = []

    def input(self, name: str, dtype: torch.dtype, shape: Sequence[int]) -> Any:
        return self.network.add_input(name, dtypes.to_trt(self.module, dtype), tuple(shape))

    def constant(self, value: Any, dtype: torch.dtype | None = None) -> Any:
        """A constant layer's output; bf16 as an f32 constant with a cast."""
        tensor = torch.as_tensor(value, dtype=dtype).contiguous()
        if tensor.dtype == torch.bfloat16:
            cast = self.network.add_cast(self.constant(tensor.float()), self.module.DataType.BF16)
            return cast.get_output(0)
        array = tensor.numpy()
        self._alive.append(array)
        return self.network.add_constant(tuple(tensor.shape), np.ascontiguousarray(array)).get_output(0)

    def weights(self, value: Tensor) -> np.ndarray:
        array = value.contiguous().numpy()
        self._alive.append(array)
        return array

    def output(self, tensor: Any, name: str | None = None) -> None:
        # The shape is where an invalid layer shows.
        assert loader.tensor_shape(tensor) is not None, "\n".join(self.messages)
        if name is not None:
            tensor.name = name
        self.network.mark_output(tensor)

    def run(self, weights: Mapping[str, Tensor] | None = None, **inputs: Tensor) -> dict[str, Tensor]:
        return ReferenceExecutor(self.trt, self.network, weights).run(inputs)

    def result(self, **inputs: Tensor) -> Tensor:
        """The only output."""
        (value,) = self.run(**inputs).values()
        return value


def _logger(module: Any, messages: list[str]) -> Any:
    class Log(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, message: str) -> None:
            if severity <= module.ILogger.ERROR and "cudaError" not in message:
                messages.append(message)

    return Log()


@pytest.fixture
def net(trt: loader.TensorRT) -> HandMade:
    return HandMade(trt)


class FromOnnx:
    """The network TensorRT's parser makes of an exported model."""

    def __init__(self, trt: loader.TensorRT, model: nn.Module, args: tuple[Tensor, ...], dynamic: Any) -> None:
        program = torch.onnx.export(model, args, dynamo=True, dynamic_shapes=dynamic, verbose=False, optimize=True)
        assert program is not None
        self._made = HandMade(trt)
        self.network = self._made.network
        self._parser = trt.module.OnnxParser(self.network, self._made._logger)
        parsed = self._parser.parse(program.model_proto.SerializeToString())
        errors = [str(self._parser.get_error(i)) for i in range(self._parser.num_errors)]
        assert parsed, "\n".join(errors + self._made.messages)
        self._executor = ReferenceExecutor(trt, self.network)

    def run(self, *args: Tensor) -> list[Tensor]:
        names = [self.network.get_input(i).name for i in range(self.network.num_inputs)]
        results = self._executor.run(dict(zip(names, args, strict=True)))
        return [results[self.network.get_output(i).name] for i in range(self.network.num_outputs)]


CompareWithEager = Callable[..., None]


@pytest.fixture
def compare_with_eager(trt: loader.TensorRT) -> CompareWithEager:
    """Check a model against its own network, also with other arguments than those it was exported with."""
    pytest.importorskip("onnxscript")

    def compare(
        model: nn.Module,
        args: tuple[Tensor, ...],
        *others: tuple[Tensor, ...],
        dynamic: Any = None,
        tolerance: float = 1e-4,
    ) -> None:
        model = model.eval()
        parsed = FromOnnx(trt, model, args, dynamic)
        for values in (args, *others):
            with torch.no_grad():
                expected = model(*values)
            expected = [expected] if isinstance(expected, Tensor) else list(expected)
            for index, (got, wanted) in enumerate(zip(parsed.run(*values), expected, strict=True)):
                torch.testing.assert_close(
                    got, wanted, rtol=tolerance, atol=tolerance, msg=lambda text, i=index: f"output {i}: {text}"
                )

    return compare
