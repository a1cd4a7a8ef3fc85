"""What pages and the README say exists: links, pictures, options, codes, commands; and their code runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import trt_passes as tp
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.compat.options import FOREIGN_OPTIONS
from trt_passes.compiler.ir.reasons import REASON_CODES
from trt_passes.compiler.runtime.options import RuntimeOptions
from trt_passes.compiler.settings import ALIASES, Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")])
MIGRATION = (DOCS / "coming-from-torch-tensorrt.md").read_text(encoding="utf-8")
OPTIONS = {name for name, *_ in Settings.documentation()} | set(ALIASES)

_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")


def prose(path: Path) -> str:
    """The text of a page, or of the text cells of a notebook."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return text


def outside_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The anchors that headings make."""
    headings = re.findall(r"^#+ (.*)$", outside_code(prose(path)), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower())).strip("-") for title in headings}


def navigation() -> list[str]:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    return re.findall(r": (\S+\.(?:md|ipynb))$", text, re.MULTILINE)


def spans(text: str) -> Iterator[str]:
    """The inline code of a page."""
    yield from re.findall(r"`([^`\n]+)`", outside_code(text))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(outside_code(prose(page))):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file) if file else page
        assert place.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(place), f"{page.name} links to {target}"


def test_every_page_is_in_the_navigation_once() -> None:
    pages = [path.relative_to(DOCS).as_posix() for path in PAGES if path.is_relative_to(DOCS)]
    assert sorted(navigation()) == sorted(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_no_folder_of_a_dump_is_named_by_its_number(page: Path) -> None:
    """Another pass gives all that come later another number: only what is generated has them."""
    text = re.sub(r"<!-- begin [\w-]+ -->.*?<!-- end -->", "", prose(page), flags=re.DOTALL)
    numbered = re.findall(r"\b\d\d-(?:decompose|lower|annotate|partition|convert|build|splice)", text)
    assert numbered == [], f"{page.name} names {', '.join(numbered)}: say the pass"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_codes_and_commands_exist(page: Path) -> None:
    text = prose(page)
    assert set(re.findall(r"\bTP\d{3}\b", text)) <= set(REASON_CODES)
    assert set(re.findall(r"trt-passes ([a-z]+)\b(?= )", "\n".join(spans(text)))) <= set(main.commands)


def test_options_named_for_users_of_torch_tensorrt_exist() -> None:
    table = MIGRATION.partition("## Options of `compile`")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) > 20
    for row in rows:
        ours = set(re.findall(r"`([^`]+)`", row[1]))
        assert ours <= OPTIONS, row
        assert ours or row[1].strip() == "—", row
        theirs = set(re.findall(r"`(\w+)`", row[0]))
        assert theirs <= OPTIONS | set(FOREIGN_OPTIONS), row


@pytest.mark.parametrize("name", ["coming-from-torch-tensorrt", "partitioning", "saving-and-running"])
def test_options_that_are_given_a_value_exist(name: str) -> None:
    text = prose(DOCS / f"{name}.md")
    ours = text if "| here |" not in text else re.sub(r"^\| (?:(?! \| ).)*", "", text, flags=re.MULTILINE)
    given = {word for span in spans(ours) for word in re.findall(r"^(\w+)=", span)}
    assert given <= OPTIONS
    assert given


def test_options_of_a_loaded_model_are_complete() -> None:
    text = (DOCS / "saving-and-running.md").read_text(encoding="utf-8").partition("## Options of a loaded model")[2]
    assert set(RuntimeOptions.__dataclass_fields__) == set(spans(text)) & OPTIONS


def test_every_option_of_torch_tensorrt_is_answered_once() -> None:
    table = MIGRATION.partition("## Options of `compile`")[2].partition("\n## ")[0]
    theirs = [
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split(" | ")[0])
    ]
    assert len(theirs) == len(set(theirs))


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [ROOT / "README.md", DOCS / "index.md"], ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore:TensorRT engines run in PyTorch")
def test_the_first_example_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(python_blocks(page)[0], names)
    assert (tmp_path / "dump" / "index.html").exists()
    loaded = tp.load("model.pt2")
    x = torch.ones(3, 64)
    torch.testing.assert_close(loaded(x), names["model"](x))


def test_the_passes_on_the_page_work(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"tp": tp, "torch": torch, "model": None, "inputs": ()}
    function, instrument = python_blocks(DOCS / "writing-a-pass.md")[-2:]
    exec(function, names)
    exec(instrument.partition("\ntp.compile")[0], names)
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout()).eval()
    program = tp.trace(module, (torch.ones(2, 4),))
    report = tp.PassManager([names["drop_dropout"]], [names["Sizes"]()]).run(program)
    assert [str(node.target) for node in report.program.op_nodes] == ["aten.linear.default"]
    assert "2 -> 1" in capsys.readouterr().out
