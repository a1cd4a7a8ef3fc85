"""The generated pages of docs/ agree with the declarations they are generated from."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("operators.md", "options.md", "passes.md", "reason-codes.md")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def test_every_page_is_listed_here(pages: dict[str, str]) -> None:
    assert sorted(pages) == sorted(PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_current(name: str, pages: dict[str, str]) -> None:
    written = (DOCS / name).read_text(encoding="utf-8") if (DOCS / name).exists() else ""
    assert written == pages[name], f"docs/{name} is stale: run `make docs`"


def test_pages_have_no_broken_tables(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        blocks: list[list[str]] = [[]]
        for line in text.splitlines():
            if line.startswith("|"):
                blocks[-1].append(line.replace("\\|", ""))
            elif blocks[-1]:
                blocks.append([])
        assert blocks[0], name
        for block in filter(None, blocks):
            assert len({line.count("|") for line in block}) == 1, (name, block[0])
