"""What quantising a model costs in accuracy, layer by layer: `quantize` measures it, and reports show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

_NAMED = 8
"""Layers that the text names; the rest is counted."""


@dataclass(frozen=True)
class QuantisedLayer:
    """One layer of a model that was quantised.

    Attributes:
        name: its path in the model.
        kind: its class.
        error: relative error of its results for the inputs that it gets in the float model; None if not measured.
        reason: why it was left as it is; "" if it was quantised.
    """

    name: str
    kind: str
    error: float | None
    reason: str = ""

    @property
    def error_text(self) -> str:
        """The error for a table; "-" if it was not measured."""
        return "-" if self.error is None else f"{self.error:.1e}"


@dataclass(frozen=True)
class Quantisation:
    """How a model was quantised.

    Attributes:
        mode: "fp8", "int8", "int8-weights" or "int4-weights".
        layers: all that could be, in the model's order.
        output_error: relative error of the model's results over the calibration data; None without data.
    """

    mode: str
    layers: tuple[QuantisedLayer, ...]
    output_error: float | None

    @property
    def quantised(self) -> tuple[QuantisedLayer, ...]:
        """The layers that were quantised."""
        return tuple(layer for layer in self.layers if not layer.reason)

    def text(self) -> str:
        """A few sentences: how many layers, the error of the results, and the worst layers."""
        parts = [self.summary]
        worst = [layer for layer in self.worst_first if not layer.reason and layer.error is not None]
        if worst:
            parts.append(f"Largest errors of layers: {_listed(f'{each.name} {each.error:.2g}' for each in worst)}")
        for reason in dict.fromkeys(layer.reason for layer in self.layers if layer.reason):
            left = _listed(layer.name for layer in self.layers if layer.reason == reason)
            parts.append(f"Left as they are, since {reason}: {left}")
        return ". ".join(parts) + "."

    @property
    def worst_first(self) -> tuple[QuantisedLayer, ...]:
        """All layers: the quantised ones by their error, the largest first, then those that were left as they are."""
        return tuple(sorted(self.layers, key=lambda layer: (bool(layer.reason), -(layer.error or 0.0))))

    @property
    def summary(self) -> str:
        """What was quantised, and the error of the results, without those of layers."""
        text = f"quantised to {self.mode}: {len(self.quantised)} of {len(self.layers)} layers"
        error = self.output_error
        return text if error is None else f"{text}, and results with a relative error of {error:.2g}"

    def to_json(self) -> dict[str, Any]:
        """The object that `run.json` holds."""
        return {"mode": self.mode, "output_error": self.output_error, "layers": [asdict(each) for each in self.layers]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Quantisation:
        """What `to_json` wrote.

        Raises:
            KeyError, TypeError: it did not.
        """
        return cls(data["mode"], tuple(QuantisedLayer(**layer) for layer in data["layers"]), data["output_error"])


def _listed(texts: Iterable[str]) -> str:
    texts = list(texts)
    rest = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return ", ".join(texts[:_NAMED]) + rest
