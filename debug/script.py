"""A Python file that shows one fault alone: a part of the model, its inputs, and what PyTorch makes of them."""

from __future__ import annotations

import base64
import io
import keyword
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule

from ..compiler.instruments.custom_code import (
    add_converters,
    add_operators,
    add_passes,
    own_converters,
    own_operators,
    own_passes,
)
from ..compiler.instruments.source_code import SourceCode
from ..compiler.ir.input import Input
from ..compiler.pass_base import Context, Pass
from ..compiler.pipeline import Pipeline
from ..compiler.settings import Settings
from .part import Part

ALONE = "decompose,annotate,partition{min-block-size=1},convert,build,splice"
"""What a script runs to compile a part."""

MAX_BYTES = 64 << 20
"""Bytes of tensors that a script may hold."""

_SMALL = 16
"""Elements of a tensor that is written out."""

_FILE = '''"""{title}

Written by trt-passes bisect. Run it: it ends with 1 as long as that is so.
"""

from __future__ import annotations

{code}
'''

_LOAD = '''def load(text: str) -> torch.Tensor:
    """A tensor from the text that torch.save, zlib and base64 made of it."""
    return torch.load(io.BytesIO(zlib.decompress(base64.b64decode(text))), weights_only=True)'''

_COMPARE = '''def compare(found) -> int:
    """Print how far the results are from those of PyTorch; 1 if that is too far."""
    worst = 0.0
    for name, wanted, value in zip(OUTPUTS, EXPECTED, found, strict=True):
        largest, relative = distance(wanted, value)
        print(f"%{{name}}: relative L2 difference {{relative:.2e}}, largest difference {{largest:.2e}}")
        worst = max(worst, {which})
    print("it differs" if worst > {tolerance} else "it does not differ", "by more than {tolerance}")
    return 1 if worst > {tolerance} else 0'''

_MAINS = {
    "network": """def main() -> int:
    program = tp.trace(Part().eval(), DECLARED)
    report = tp.PassManager(PIPELINE, ctx=CONTEXT).run(program)
    left = [str(row) for row in report.ledger if row.verdict != "trt"]
    print("\\n".join(["in PyTorch:", *left]) if left else "all of it is in TensorRT")
    with torch.no_grad():
        if CONTEXT.settings.executor == "tensorrt":
            report.compiled.cuda()
            return compare(report.compiled(*(x.cuda() if isinstance(x, torch.Tensor) else x for x in INPUTS)))
        return compare(report.compiled(*INPUTS))""",
    "pass": """def main() -> int:
    program = tp.trace(Part().eval(), DECLARED)
    report = tp.PassManager(PIPELINE, ctx=CONTEXT).run(program)
    with torch.no_grad():
        return compare(eager_module(report.program)(*INPUTS))""",
    "failure": """def main() -> int:
    program = tp.trace(Part().eval(), DECLARED)
    try:
        tp.PassManager(PIPELINE, ctx=CONTEXT).run(program)
    except Exception as error:
        print(f"it fails: {error}")
        return 1
    print("it does not fail any more")
    return 0""",
    "seconds": """def main() -> int:
    program = tp.trace(Part().eval(), DECLARED)
    report = tp.PassManager(PIPELINE, ctx=CONTEXT).run(program)
    for record in report.passes:
        print(f"{record.name}: {record.seconds:.2f} s")
    if not torch.cuda.is_available() or CONTEXT.settings.executor != "tensorrt":
        return 0
    inputs = [x.cuda() if isinstance(x, torch.Tensor) else x for x in INPUTS]
    for name, module in (("TensorRT", report.compiled.cuda()), ("PyTorch", Part().eval().cuda())):
        with torch.no_grad():
            print(f"{name}: {1e6 * seconds_of(lambda module=module: module(*inputs)):.1f} us a call")
    return 0""",
}


@dataclass(frozen=True)
class Script:
    """What a script is made of.

    Attributes:
        title: the finding in a sentence.
        part: of the model.
        kind: what it does: run in TensorRT and compare ("network"), run a pass and compare ("pass"), run what fails
            ("failure"), or measure ("seconds").
        passes: to run.
        ctx: with settings and converters.
        metric, tolerance: of a comparison.
        executor: what runs the engines.
    """

    title: str
    part: Part
    kind: str
    passes: Sequence[Pass]
    ctx: Context
    metric: str = "relative-l2"
    tolerance: float = 1e-2
    executor: str = "reference"

    def text(self) -> str:
        """The file; "" if its tensors are too large for one."""
        if self.part.nbytes > MAX_BYTES:
            return ""
        code = SourceCode()
        for line in ("import base64", "import io", "import sys", "import zlib", "import torch"):
            code.import_line(line)
        code.import_line("import trt_passes as tp")
        code.import_line("from trt_passes.compiler.pass_base import with_converters")
        graphs = [self.part.module.graph]
        add_operators(code, own_operators(graphs))
        names = add_passes(code, own_passes(self.passes))
        converters = add_converters(code, own_converters(self.ctx.converters, graphs))
        code.line(_LOAD)
        for line in module_classes(self.part.module, "Part", code):
            code.line(line)
        code.line(self._data())
        code.line(self._run(names, converters))
        if self.kind in ("network", "pass"):
            code.import_line("from trt_passes.compiler.runtime.measure.distance import distance")
            which = "relative" if self.metric == "relative-l2" else "largest"
            code.line(_COMPARE.format(which=which, tolerance=f"{self.tolerance:g}"))
        if self.kind == "pass":
            code.import_line("from trt_passes.compiler.runtime.program_arguments import eager_module")
        if self.kind == "seconds":
            code.import_line("from trt_passes.debug.seconds import seconds_of")
        code.line(_MAINS[self.kind])
        code.line('if __name__ == "__main__":\n    sys.exit(main())')
        return _FILE.format(title=_quoted(self.title), code=code)

    def _data(self) -> str:
        part = self.part
        inputs = ",\n    ".join(tensor_code(value) for value in part.inputs.values())
        declared = [
            f"INPUTS[{index}]" if item is None else input_code(item)
            for index, item in enumerate(part.declared.values() if part.varies else [None] * len(part.inputs))
        ]
        expected = ",\n    ".join(tensor_code(value) for value in part.expected)
        return (
            f"INPUTS = [\n    {inputs},\n]\n"
            f"DECLARED = [{', '.join(declared)}]\n"
            f"OUTPUTS = {list(part.outputs)!r}\n"
            f"EXPECTED = [\n    {expected},\n]"
        )

    def _run(self, names: Sequence[str], converters: Sequence[str]) -> str:
        settings = {
            key: value
            for key, value in self.ctx.settings.to_json().items()
            if value != Settings().to_json()[key] and key not in _NOT_HERE
        }
        settings |= {"min_block_size": 1, "executor": self.executor}
        settings |= {"strict": True, "pass_through_build_failures": True}  # what fails must not look right
        return (
            f"PIPELINE = tp.Pipeline.parse({str(Pipeline(self.passes))!r}, [{', '.join(names)}])\n"
            f"CONTEXT = with_converters([{', '.join(converters)}], tp.Settings.from_options({settings!r}))"
        )


_NOT_HERE = frozenset(
    {"min_block_size", "executor", "dryrun", "torch_executed_ops", "torch_executed_modules", "require_full_compilation"}
)
"""Settings that say what stays in PyTorch, which is decided for a part."""


def module_classes(module: GraphModule, name: str, code: SourceCode) -> Iterator[str]:
    """The code of a module's class, after those of the graphs that its operators call."""
    lines = [f"class {name}(torch.nn.Module):", '    """A part of the model."""', "", "    def __init__(self) -> None:"]
    lines.append("        super().__init__()")
    for child, body in module.named_children():
        if isinstance(body, GraphModule):
            yield from module_classes(body, f"{name}_{child}", code)
            lines.append(f"        self.{child} = {name}_{child}()")
    for buffer, value in module.named_buffers(recurse=False):
        lines.append(f"        self.register_buffer({buffer!r}, {tensor_code(value)})")
    python = module.graph.python_code("self")
    source = python.src.strip("\n")
    for used in dict.fromkeys(re.findall(r"\b[A-Za-z_]\w*\b", source)):
        if used in python.globals and not keyword.iskeyword(used):
            _define(used, python.globals[used], code)
    body_lines = [f"    {line}".rstrip() for line in source.splitlines() if line.strip()]
    yield "\n".join([*lines, "", *body_lines])


def _define(name: str, value: Any, code: SourceCode) -> None:
    if name in ("inf", "nan"):
        code.import_line(f"from math import {name}")
    elif name == "device":
        code.import_line("from torch import device")
    elif name != "torch":
        code.add(value, name)


def tensor_code(value: Any) -> str:
    """An expression that makes a tensor, or another input."""
    if not isinstance(value, torch.Tensor):
        return repr(value)
    value = value.detach().cpu()
    plain = value.layout is torch.strided and not value.is_quantized and not value.is_complex()
    plain = plain and value.dtype.is_signed | (value.dtype in (torch.bool, torch.uint8))
    if plain and 0 < value.numel() <= _SMALL and value.is_contiguous() and _finite(value):
        return f"torch.tensor({value.tolist()!r}, dtype={value.dtype})"
    buffer = io.BytesIO()
    torch.save(value.clone(memory_format=torch.preserve_format), buffer)
    text = base64.b64encode(zlib.compress(buffer.getvalue(), 6)).decode()
    pieces = "\n        ".join(repr(text[start : start + 100]) for start in range(0, len(text), 100))
    return f"load(\n        {pieces}\n    )"


def _finite(value: torch.Tensor) -> bool:
    return not value.dtype.is_floating_point or bool(value.float().isfinite().all())


def input_code(item: Input) -> str:
    """An expression that makes a declared input."""
    shapes = ", ".join(f"{key}={getattr(item, key)!r}" for key in ("min_shape", "opt_shape", "max_shape"))
    return f"tp.Input({shapes}, dtype={item.dtype})"


def _quoted(text: str) -> str:
    """Text that can stand inside a docstring."""
    return text.replace("\\", "\\\\").replace('"""', "'''")
