"""What random programs are made of: functions that keep the shape of their first tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

Unary = Callable[[Tensor], Tensor]
Binary = Callable[[Tensor, Tensor], Tensor]
Weighted = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""With a matrix, two vectors and the weight of a 3x3 convolution."""


def _halves(x: Tensor) -> tuple[Tensor, ...]:
    return x.chunk(2, -1)


UNARY: Mapping[str, Unary] = MappingProxyType(
    {
        "relu": F.relu,
        "gelu": F.gelu,
        "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
        "silu": F.silu,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "leaky relu": lambda x: F.leaky_relu(x, 0.1),
        "hardswish": F.hardswish,
        "hardsigmoid": F.hardsigmoid,
        "elu": F.elu,
        "selu": F.selu,
        "softplus": F.softplus,
        "mish": F.mish,
        "erf": torch.erf,
        "abs": torch.abs,
        "exp of -|x|": lambda x: torch.exp(-x.abs()),
        "half": lambda x: x * 0.5,
        "three times": lambda x: x * 3,
        "plus one": lambda x: x + 1,
        "one minus": lambda x: 1 - x,
        "third": lambda x: x / 3,
        "square": lambda x: x * x * 0.1,
        "cube": lambda x: torch.tanh(x) ** 3,
        "root": lambda x: torch.sqrt(x.abs() + 0.1),
        "inverse root": lambda x: torch.rsqrt(x.abs() + 0.5),
        "clamp": lambda x: x.clamp(-1, 1),
        "where": lambda x: torch.where(x > 0, x, x * 0.2),
        "softmax": lambda x: x.softmax(-1) * 4,
        "softmax of rows": lambda x: x.softmax(-2) * 3,
        "log softmax": lambda x: x.log_softmax(-1),
        "layer norm": lambda x: F.layer_norm(x, x.shape[-1:]),
        "rms norm": lambda x: F.rms_norm(x, x.shape[-1:]),
        "less mean": lambda x: x - x.mean(-1, keepdim=True),
        "less first mean": lambda x: x - x.mean(0, keepdim=True),
        "less second mean": lambda x: x - x.mean(1, keepdim=True),
        "less maximum": lambda x: x - x.amax(-1, keepdim=True),
        "less minimum of rows": lambda x: x - x.amin(-2, keepdim=True),
        "plus sum": lambda x: x + x.sum(-1, keepdim=True) * 0.1,
        "by variance": lambda x: x / (x.var(-1, keepdim=True) + 0.5),
        "by l1 norm": lambda x: x / (x.abs().sum(-1, keepdim=True) + 1),
        "cumulative sum": lambda x: x.cumsum(-1) * 0.2,
        "less first column": lambda x: x - x[..., :1],
        "times first row": lambda x: x * x[..., :1, :],
        "rotated": lambda x: x * 2 + torch.cat([-_halves(x)[1], _halves(x)[0]], -1),
        "plus rolled rows": lambda x: x + torch.roll(x, 1, -2),
        "plus shifted": lambda x: x + F.pad(x, (1, 0))[..., :-1],
        "rolled": lambda x: torch.roll(x, 1, -1),
        "flipped": lambda x: x.flip(-1),
        "halves exchanged": lambda x: torch.cat(_halves(x)[::-1], -1),
        "gated linear unit": lambda x: torch.cat([F.glu(x, -1)] * 2, -1),
        "slice of a concatenation": lambda x: torch.cat([x, x * 2], -1)[..., 1 : x.shape[-1] + 1],
        "mean of a stack": lambda x: torch.stack([x, x * 2]).mean(0),
        "relu of the transpose": lambda x: F.relu(x.mT).mT,
        "flat": lambda x: (x.reshape(-1) * 1.5).reshape(x.shape),
    }
)

BINARY: Mapping[str, Binary] = MappingProxyType(
    {
        "add": torch.add,
        "multiply": torch.mul,
        "subtract": torch.sub,
        "divide": lambda a, b: a / (b.abs() + 1),
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        "lerp": lambda a, b: torch.lerp(a, b, 0.3),
        "where": lambda a, b: torch.where(a > b, a, b * 0.5),
        "silu gate": lambda a, b: F.silu(a) * b,
        "relu gate": lambda a, b: F.relu(a) * b,
        "gelu gate": lambda a, b: F.gelu(a) * b,
        "sigmoid gate": lambda a, b: torch.sigmoid(a) * b,
        "attention": lambda a, b: (a @ b.mT).softmax(-1) @ b,
    }
)

_MATRIX, _FIRST, _SECOND, _WINDOW = range(4)

OF_ROWS: Mapping[str, Weighted] = MappingProxyType(
    {
        "linear": lambda x, w: F.linear(x, w[_MATRIX], w[_FIRST]),
        "linear without bias": lambda x, w: F.linear(x, w[_MATRIX]),
        "product": lambda x, w: x @ w[_MATRIX] + w[_FIRST],
        "scale": lambda x, w: x * w[_FIRST],
        "shift": lambda x, w: x + w[_FIRST],
        "layer norm": lambda x, w: F.layer_norm(x, x.shape[-1:], w[_FIRST], w[_SECOND]),
        "relu network": lambda x, w: F.linear(F.relu(F.linear(x, w[_MATRIX], w[_FIRST])), w[_MATRIX].t()),
        "gelu network": lambda x, w: F.linear(F.gelu(F.linear(x, w[_MATRIX], w[_FIRST])), w[_MATRIX].t(), w[_SECOND]),
    }
)


def _excited(x: Tensor, w: Sequence[Tensor]) -> Tensor:
    """Squeeze and excitation."""
    kernel = w[_MATRIX][:, :, None, None]
    inner = F.relu(F.conv2d(x.mean((2, 3), keepdim=True), kernel, w[_FIRST]))
    return x * torch.sigmoid(F.conv2d(inner, kernel, w[_SECOND]))


OF_IMAGES: Mapping[str, Weighted] = MappingProxyType(
    {
        "1x1 convolution": lambda x, w: F.conv2d(x, w[_MATRIX][:, :, None, None], w[_FIRST]),
        "3x3 convolution": lambda x, w: F.conv2d(x, w[_WINDOW], w[_FIRST], padding=1),
        "depthwise convolution": lambda x, w: F.conv2d(x, w[_WINDOW][:, :1], w[_FIRST], padding=1, groups=x.shape[1]),
        "transposed convolution": lambda x, w: F.conv_transpose2d(x, w[_WINDOW], w[_FIRST], padding=1),
        "batch norm": lambda x, w: F.batch_norm(x, w[_FIRST] * 0, w[_FIRST].abs() + 0.5, w[_FIRST], w[_SECOND]),
        "group norm": lambda x, w: F.group_norm(x, 2, w[_FIRST], w[_SECOND]),
        "scale": lambda x, w: x * w[_FIRST][:, None, None],
        "squeeze and excitation": _excited,
        "max pool": lambda x, w: F.max_pool2d(x, 3, 1, 1),
        "average pool": lambda x, w: F.avg_pool2d(x, 3, 1, 1),
        "up and down": lambda x, w: F.interpolate(x, scale_factor=2)[:, :, ::2, ::2],
        "linear over channels": lambda x, w: F.linear(x.movedim(1, -1), w[_MATRIX], w[_FIRST]).movedim(-1, 1),
    }
)
