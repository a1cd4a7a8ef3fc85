"""A compiler from PyTorch to TensorRT, built as an explicit pipeline of passes that you can see.

Names are loaded on first use, so importing the package costs nothing and needs neither TensorRT nor a GPU. The operator
that runs engines is registered as soon as both torch and this package are imported, in either order, so that
`torch.export.load` reads compiled programs.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Modules `transformers` and `torch_tensorrt` beside this file would hide the libraries of these names from whoever runs
# Python here.
for _folder in (("generation", "names"), ("compiler", "compat", "names")):
    __path__.append(os.path.join(os.path.dirname(__file__), *_folder))

if TYPE_CHECKING:
    from .compiler.api import compile, convert_method_to_trt_engine, convert_to_engine
    from .compiler.errors import PassFailure, UserError
    from .compiler.frontends.adapters import load_adapter, pad_adapters
    from .compiler.frontends.exported_program import trace
    from .compiler.frontends.pt2e_quantizer import TensorRTQuantizer
    from .compiler.frontends.quantize import quantize
    from .compiler.frontends.torch_compile import TorchCompileBackend
    from .compiler.frontends.torchscript.op_support import check_method_op_support
    from .compiler.instruments.dump import Dump
    from .compiler.instruments.numerics import Numerics
    from .compiler.instruments.progress import Progress
    from .compiler.instruments.protocol import Instrument
    from .compiler.instruments.timing import Timing
    from .compiler.instruments.verify import Verify
    from .compiler.ir.check import Check
    from .compiler.ir.input import Input
    from .compiler.ir.ledger import Ledger, Reason, Verdict
    from .compiler.ir.program import Program, Segment
    from .compiler.ir.tuning import Tuning
    from .compiler.manager import PassManager
    from .compiler.pass_base import Context, Pass, graph_pass
    from .compiler.pipeline import Pipeline
    from .compiler.report.report import Report
    from .compiler.runtime.saving.embedded_engine import embed_engine_in_new_module
    from .compiler.runtime.saving.output_formats import save_engine
    from .compiler.settings import Settings
    from .compiler.tensorrt import arithmetic, shapes
    from .compiler.tensorrt.plugins import decomposition
    from .compiler.tensorrt.registry import Condition
    from .debug.bisect import bisect
    from .debug.bisection import Bisection
    from .generation.files import load, save
    from .passes.convert.own import converter
    from .tuning.tune import tune

_HOMES = {
    "bisect": "debug.bisect",
    "Bisection": "debug.bisection",
    "converter": "passes.convert.own",
    "decomposition": "compiler.tensorrt.plugins",
    "Condition": "compiler.tensorrt.registry",
    "compile": "compiler.api",
    "convert_method_to_trt_engine": "compiler.api",
    "convert_to_engine": "compiler.api",
    "load_adapter": "compiler.frontends.adapters",
    "pad_adapters": "compiler.frontends.adapters",
    "trace": "compiler.frontends.exported_program",
    "quantize": "compiler.frontends.quantize",
    "TensorRTQuantizer": "compiler.frontends.pt2e_quantizer",
    "TorchCompileBackend": "compiler.frontends.torch_compile",
    "check_method_op_support": "compiler.frontends.torchscript.op_support",
    "PassFailure": "compiler.errors",
    "UserError": "compiler.errors",
    "Check": "compiler.ir.check",
    "Input": "compiler.ir.input",
    "Dump": "compiler.instruments.dump",
    "Numerics": "compiler.instruments.numerics",
    "Progress": "compiler.instruments.progress",
    "Instrument": "compiler.instruments.protocol",
    "Timing": "compiler.instruments.timing",
    "Tuning": "compiler.ir.tuning",
    "tune": "tuning.tune",
    "Verify": "compiler.instruments.verify",
    "Ledger": "compiler.ir.ledger",
    "Reason": "compiler.ir.ledger",
    "Verdict": "compiler.ir.ledger",
    "PassManager": "compiler.manager",
    "Context": "compiler.pass_base",
    "Pass": "compiler.pass_base",
    "graph_pass": "compiler.pass_base",
    "Pipeline": "compiler.pipeline",
    "Program": "compiler.ir.program",
    "Segment": "compiler.ir.program",
    "Report": "compiler.report.report",
    "load": "generation.files",
    "save": "generation.files",
    "embed_engine_in_new_module": "compiler.runtime.saving.embedded_engine",
    "save_engine": "compiler.runtime.saving.output_formats",
    "Settings": "compiler.settings",
}

_MODULES = {"arithmetic": "compiler.tensorrt.arithmetic", "shapes": "compiler.tensorrt.shapes"}
"""Modules that converters are written with."""

__all__ = [
    "Bisection",
    "Check",
    "Condition",
    "Context",
    "Dump",
    "Input",
    "Instrument",
    "Ledger",
    "Numerics",
    "Pass",
    "PassFailure",
    "PassManager",
    "Pipeline",
    "Program",
    "Progress",
    "Reason",
    "Report",
    "Segment",
    "Settings",
    "TensorRTQuantizer",
    "Timing",
    "TorchCompileBackend",
    "Tuning",
    "UserError",
    "Verdict",
    "Verify",
    "arithmetic",
    "bisect",
    "check_method_op_support",
    "compile",
    "convert_method_to_trt_engine",
    "convert_to_engine",
    "converter",
    "decomposition",
    "embed_engine_in_new_module",
    "graph_pass",
    "load",
    "load_adapter",
    "pad_adapters",
    "quantize",
    "save",
    "save_engine",
    "shapes",
    "trace",
    "tune",
]


_OPERATOR = f"{__name__}.compiler.runtime.operator"

# A test runner imports this file once more, under the name of the checkout's folder or another, where nothing can be
# imported from here; and the operator can be there once.
if __name__ == "trt_passes":
    if "torch" in sys.modules:
        importlib.import_module(_OPERATOR)
    else:
        _later = importlib.import_module(f"{__name__}.compiler.runtime.after_import")
        _later.after_import("torch", lambda: importlib.import_module(_OPERATOR))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        importlib.import_module(_OPERATOR)
        importlib.import_module(".passes", __name__)  # says where the converters are
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    if name in _MODULES:
        importlib.import_module(".passes", __name__)
        return importlib.import_module(f".{_MODULES[name]}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
