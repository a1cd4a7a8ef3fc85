"""Write the generated pages, excerpts and pictures of docs/, and the command line's catalog: `python -m docs.generate`.

`make docs` runs it.
"""

from __future__ import annotations

from pathlib import Path

from .generator.api_page import api_page
from .generator.architecture import architecture_dots
from .generator.architectures import architecture_blocks
from .generator.bisect_example import bisect_blocks
from .generator.blocks import filled, names_in
from .generator.catalog import write_catalog
from .generator.command_line import command_line_page
from .generator.custom_pass import custom_pass_blocks
from .generator.operators_page import operators_page
from .generator.partition_example import partition_blocks, partition_dots
from .generator.pass_examples import steps
from .generator.passes_page import pass_pictures, passes_page
from .generator.pictures import write_pictures
from .generator.real_models import real_model_blocks
from .generator.reference import options_page, reason_codes_page
from .generator.torch_tensorrt import torch_tensorrt_blocks
from .generator.walkthrough import walkthrough

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"


def pages() -> dict[str, str]:
    """The pages that are made from declarations, by file name; all but the page of passes, which runs them."""
    return {
        "api.md": api_page(),
        "command-line.md": command_line_page(),
        "operators.md": operators_page(),
        "options.md": options_page(),
        "reason-codes.md": reason_codes_page(),
    }


def handwritten() -> list[Path]:
    """The pages that have generated blocks in text that is written by hand."""
    return [page for page in (README, *sorted(FOLDER.glob("*.md"))) if names_in(page.read_text(encoding="utf-8"))]


def main() -> None:
    """Write the catalog, all pages, blocks and pictures."""
    write_catalog()
    made, run = steps(), walkthrough()
    for name, text in {**pages(), "passes.md": passes_page(made)}.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    blocks = {
        **run.blocks,
        **partition_blocks(),
        **custom_pass_blocks(),
        **bisect_blocks(),
        **real_model_blocks(),
        **architecture_blocks(),
        **torch_tensorrt_blocks(),
    }
    for page in handwritten():
        page.write_text(filled(page.read_text(encoding="utf-8"), blocks), encoding="utf-8")
    write_pictures({**architecture_dots(), **pass_pictures(made), **run.dots, **partition_dots()})


if __name__ == "__main__":
    main()
