"""TensorRT's log of one engine build: what went wrong in its own words, and the fused kernels that it chose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .loader import TensorRT
from .log import collecting_logger, error_lines, is_noise

_LEVELS = {"INTERNAL_ERROR": "internal error"}
_SECOND_LOGGER = "logger passed into createInfer"
_MEASURED = re.compile(r"\d+(\.\d+)?(e[-+]?\d+)?(?= ?(seconds|ms\b|MiB\b))")


class BuildLog:
    """All messages of one build. `logger` is the `trt.ILogger` to give to a builder."""

    def __init__(self, trt: TensorRT) -> None:
        self.logger = collecting_logger(trt.module)
        self.records: list[tuple[str, str]] = self.logger.records

    @property
    def errors(self) -> tuple[str, ...]:
        """What TensorRT complained about, in order, each once, without what it says on every machine without a GPU."""
        return tuple(error_lines(self.records))

    def text(self) -> str:
        """The log, a message per line, the same for the same build: durations and memory readings are written as `…`.

        Left out is what depends on the machine or on earlier builds only.
        """
        kept = ((level, text) for level, text in self.records if not is_noise(text) and _SECOND_LOGGER not in text)
        lines = (f"[{_LEVELS.get(level, level.lower())}] {_MEASURED.sub('…', text.rstrip())}" for level, text in kept)
        return "".join(f"{line}\n" for line in lines)

    def layers(self) -> tuple[dict[str, Any], ...]:
        """The kernels of the engine, from the message "Layers:" that a build with detailed profiling verbosity logs."""
        for _, text in reversed(self.records):
            if text.startswith("Layers:"):
                return tuple(parse_layers(text))
        return ()


# --- fused kernels -------------------------------------------------------------------------------------------------
_LINE = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<type>.*?), Inputs: (?P<inputs>\[.*?\]), "
    r"(?:Constants: (?P<constants>\[.*?\]), )?"
    r"Outputs: (?P<outputs>\[.*?\])(?:, (?P<rest>(?:ParameterType|TacticName|Tactic|StreamId|Metadata): ?.*))?$"
)
_TENSOR = re.compile(
    r"\{ Name: (?P<name>.*?), Dimensions: \[(?P<dims>[-\d,]*)\].*?(?:Datatype: (?P<dtype>[^,}]*), )?"
    r"Format(?:/Datatype)?: (?P<format>[^}]*?) ?\}"
)
_NODE = re.compile(r"\[fx:([^\]]+)\]")
_DTYPES = {
    "Float": "f32",
    "Half": "f16",
    "BFloat16": "bf16",
    "BF16": "bf16",
    "Int8": "i8",
    "UInt8": "u8",
    "Int32": "i32",
    "Int64": "i64",
    "Bool": "bool",
    "FP8": "f8e4m3",
    "Int4": "i4",
    "FP4": "f4e2m1",
}


def parse_layers(text: str) -> list[dict[str, Any]]:
    """The kernels in TensorRT's message "Layers:", in the order in which they run.

    Each has "name", "type", "nodes" (the FX nodes fused into it, from the layers' metadata), "inputs" and "outputs"
    (each "NAME f32[2,3] FORMAT"; -1 is a dynamic size), and "tactic" where TensorRT names one. A line of another form
    becomes a kernel with only a name and its nodes.
    """
    layers = []
    for line in text.split("\n")[1:]:
        if line.startswith(("I/O Tensors:", "Bindings:", "Engine Metadata:")):
            break
        if line.strip():
            layers.append(_layer(line))
    return layers


def _layer(line: str) -> dict[str, Any]:
    nodes = list(dict.fromkeys(_NODE.findall(line)))
    match = _LINE.match(line)
    if match is None:
        return {"name": line.split(", Metadata:")[0].strip(), "type": "", "nodes": nodes, "inputs": [], "outputs": []}
    layer: dict[str, Any] = {
        "name": match["name"],
        "type": match["type"],
        "nodes": nodes,
        "inputs": _tensors(match["inputs"]),
        "outputs": _tensors(match["outputs"]),
    }
    tactic = re.search(r"TacticName: ([^,]+)", match["rest"] or "")
    if tactic is not None and tactic[1].strip():
        layer["tactic"] = tactic[1].strip()
    return layer


def _tensors(text: str) -> list[str]:
    found = []
    for tensor in _TENSOR.finditer(text):
        dtype = (tensor["dtype"] or "").strip()
        layout = re.sub(r"^\(.*?\) ?", "", tensor["format"]).strip()
        layout = "row-major" if layout.startswith("Row major linear") else layout
        found.append(f"{tensor['name']} {_DTYPES.get(dtype, dtype.lower())}[{tensor['dims']}] {layout}".rstrip())
    return found


def shown(errors: Sequence[str], limit: int = 3) -> str:
    """The first errors of a build as one line, for an error message."""
    texts = [" ".join(text.split()) for text in errors[:limit]]
    more = f" (and {len(errors) - limit} more)" if len(errors) > limit else ""
    return " | ".join(texts) + more if texts else "TensorRT gave no reason"
