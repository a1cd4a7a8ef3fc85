"""Write the catalog of `trt-passes passes` and `ops`: `python -m docs.generator.catalog`, a part of `make docs`."""

from __future__ import annotations

from trt_passes.compiler.cli.catalog_file import PATH, to_text
from trt_passes.compiler.cli.catalog_of_code import catalog_of_code


def write_catalog() -> None:
    """Write what the passes, the converters and the PyTorch at hand say."""
    PATH.write_text(to_text(catalog_of_code()), encoding="utf-8")


if __name__ == "__main__":
    write_catalog()
