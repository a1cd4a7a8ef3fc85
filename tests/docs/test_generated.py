"""The generated parts of docs/ agree with the declarations and the runs that they are generated from."""

from __future__ import annotations

from collections.abc import Mapping

import networkx as nx
import pytest
import torch
from trt_passes.compiler.cli.catalog_file import shipped
from trt_passes.compiler.instruments.protocol import Step
from trt_passes.compiler.pipeline import known_passes

from docs import generate
from docs.generator import (
    architecture,
    architectures,
    bisect_example,
    custom_pass,
    partition_example,
    pass_examples,
    passes_page,
    pictures,
    real_models,
    torch_tensorrt,
    walkthrough,
)
from docs.generator.blocks import filled, names_in
from docs.generator.catalog import samples_of
from docs.generator.markdown import without_specs

PAGES = ("api.md", "command-line.md", "operators.md", "options.md", "reason-codes.md")
ON_THIS_TORCH = (2, 13)
"""Other releases export and decompose some operators otherwise; `make docs` runs on this one."""

same_torch = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) != ON_THIS_TORCH, reason="excerpts are of PyTorch 2.13"
)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return generate.pages()


@pytest.fixture(scope="module")
def steps() -> Mapping[str, Step]:
    pytest.importorskip("tensorrt_rtx")
    return pass_examples.steps()


@pytest.fixture(scope="module")
def run() -> walkthrough.Walkthrough:
    pytest.importorskip("tensorrt_rtx")
    return walkthrough.walkthrough()


def test_every_page_is_listed_here(pages: dict[str, str]) -> None:
    assert sorted(pages) == sorted(PAGES)


def test_the_catalog_has_the_samples_of_the_last_run() -> None:
    made = samples_of(shipped().others)
    assert made == shipped().samples, "run `python -m docs.generator.catalog`"


@pytest.mark.parametrize("name", PAGES)
def test_page_is_current(name: str, pages: dict[str, str]) -> None:
    path = generate.FOLDER / name
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    assert written == pages[name], f"docs/{name} is stale: run `make docs`"


def test_pages_have_no_broken_tables(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        blocks: list[list[str]] = [[]]
        for line in text.splitlines():
            if line.startswith("|"):
                blocks[-1].append(line.replace("\\|", ""))
            elif blocks[-1]:
                blocks.append([])
        assert blocks[0] or name == "api.md", name
        for block in filter(None, blocks):
            assert len({line.count("|") for line in block}) == 1, (name, block[0])


def test_every_pass_has_an_example() -> None:
    assert set(pass_examples.EXAMPLES) == set(known_passes())


def test_every_example_shows_what_its_pass_does() -> None:
    for name, step in pass_examples.steps(without_tensorrt=True).items():
        assert not step.change.empty, name


@same_torch
def test_the_page_of_passes_is_current(steps: Mapping[str, Step]) -> None:
    written = (generate.FOLDER / "passes.md").read_text(encoding="utf-8")
    assert written == passes_page.passes_page(steps), "docs/passes.md is stale: run `make docs`"


@same_torch
def test_excerpts_are_current(run: walkthrough.Walkthrough) -> None:
    blocks = {**run.blocks, **partition_example.partition_blocks(), **custom_pass.custom_pass_blocks()}
    blocks |= bisect_example.bisect_blocks()
    blocks |= {**real_models.real_model_blocks(), **architectures.architecture_blocks()}
    blocks |= torch_tensorrt.torch_tensorrt_blocks()
    used = set()
    for page in generate.handwritten():
        text = page.read_text(encoding="utf-8")
        used |= set(names_in(text))
        assert filled(text, blocks) == text, f"{page.name} is stale: run `make docs`"
    assert used == set(blocks)


@same_torch
def test_pictures_are_current(steps: Mapping[str, Step], run: walkthrough.Walkthrough) -> None:
    dots = {**passes_page.pass_pictures(steps), **run.dots, **partition_example.partition_dots()}
    dots |= architecture.architecture_dots()
    digests = {name: pictures.digest(dot) for name, dot in dots.items()}
    assert pictures.recorded() == digests, "docs/images is stale: run `make docs`"


def test_the_picture_of_the_rooms_is_current() -> None:
    recorded, drawn = pictures.recorded()["architecture"], architecture.architecture_dots()["architecture"]
    assert recorded == pictures.digest(drawn), "docs/images/architecture.svg is stale: run `make docs`"


def test_imports_between_rooms_have_no_circle() -> None:
    assert nx.is_directed_acyclic_graph(architecture.known())


def test_a_module_without_a_room_is_told() -> None:
    with pytest.raises(LookupError, match=r"'attic\.old_things'"):
        architecture.place_of("attic.old_things")


def test_pictures_are_those_of_the_record() -> None:
    found = {path.relative_to(pictures.FOLDER).with_suffix("").as_posix() for path in pictures.FOLDER.rglob("*.svg")}
    assert found == set(pictures.recorded())


def test_a_block_without_text_stays_as_it_is() -> None:
    text = "a\n<!-- begin one -->\nold\n<!-- end -->\n<!-- begin two -->\nkept\n<!-- end -->\n"
    assert names_in(text) == ["one", "two"]
    assert filled(text, {"one": r"new \1"}) == text.replace("old", r"new \1")


def test_specifications_of_engines_are_cut() -> None:
    line = """%a = call([%x], '{"schema":1,"inputs":[{"name":"x"}]}', %b) : f32[2]"""
    assert without_specs(line) == "%a = call([%x], '{…}', %b) : f32[2]"
