"""What users of Torch-TensorRT's options do instead."""

from __future__ import annotations

from trt_passes.compiler.torch_tensorrt_options import ABSENT

from .markdown import table


def migration_blocks() -> dict[str, str]:
    """Blocks of Markdown by name: the options of Torch-TensorRT that do not exist here."""
    rows = [(", ".join(f"`{name}`" for name in names), text) for names, text in ABSENT.items()]
    return {"torch-tensorrt-options": table(("Torch-TensorRT", "here"), rows)}
