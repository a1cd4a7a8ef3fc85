"""Who may know whom: every import of the compiler runs one way, those in functions and for type hints included."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
LOW = "errors ir settings tensorrt"
PASS = f"{LOW} pass_base"
ALL = f"{PASS} version inputs pipeline undo passes analysis report runtime frontends instruments visualize"

ROOMS: Mapping[str, str] = {
    "errors": "",
    "compat.options": "errors",
    "ir": "errors ir.notebook",
    "ir.notebook": "visualize",  # display in notebooks: the one import upwards
    "inputs": "errors ir",
    "settings": "errors compat.options ir",
    "tensorrt": "errors ir settings",
    "pass_base": LOW,
    "passes": "tensorrt.handed_over passes.convert.families",  # says where the converters are
    **dict.fromkeys(
        ("passes.decompose", "passes.lower", "passes.annotate", "passes.partition", "passes.convert"), PASS
    ),
    "passes.build": f"{PASS} runtime.engine =passes.convert =passes.partition",
    "passes.splice": f"{PASS} runtime",
    "analysis": f"{LOW} passes.partition",
    "report": f"{LOW} analysis version",
    "runtime": f"{LOW} runtime",
    "runtime.calls": "errors ir",
    "runtime.engine": f"{LOW} runtime.calls runtime.options runtime.whole_file",
    "runtime.cuda_graphs": f"{LOW} runtime.calls runtime.engine runtime.engine_graph",
    "runtime.saving": f"{LOW} runtime.calls runtime.engine runtime.engine_graph runtime.compiled_segment "
    "runtime.islands runtime.island_packages "
    "runtime.fallback runtime.measure.joins runtime.options runtime.options_in_graph runtime.whole_file",
    "frontends": f"{LOW} inputs runtime",
    "visualize": f"{LOW} analysis report",
    "pipeline": f"{PASS} passes",
    "undo": f"{PASS} pipeline",
    "instruments": ALL,
    "manager": ALL,
    "frontends.torch_compile": f"{ALL} manager",  # compiles when it is called
    "frontends.compiled_graph": f"{ALL} manager",
    "frontends.torchscript.blocks": ALL,  # given what compiles; makes the report
    "frontends.torchscript.built": ALL,
    "frontends.torchscript.op_support": ALL,  # knows what is decomposed
    "api": f"{ALL} manager tuning",
    "compat": f"{ALL} manager api generation",
    "generation": f"{ALL} manager api",
    "debug": f"{ALL} manager",
    "tuning": f"{ALL} manager",
    "cli": f"{ALL} manager api debug tuning",
}
"""What a room may import besides itself; `=room` is what the room itself offers, and no file in it. The longest name
holds, for a file as for what it imports."""


def modules(root: Path) -> dict[str, Path]:
    """The files of the package, by the name that the table gives them."""
    files = [
        path
        for top in ("compiler", "debug", "generation", "passes", "tuning", "visualize")
        for path in (root / top).rglob("*.py")
    ]
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in files]
    return {name.removeprefix("compiler."): path for name, path in zip(names, files, strict=True)}


def imports(root: Path) -> Iterator[tuple[str, str, str]]:
    """Who imports what of the package, and the line that does."""
    known = modules(root)
    for name, path in known.items():
        package = ["trt_passes", *path.relative_to(root).parent.parts]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                targets = [item.name for item in node.names]
            elif isinstance(node, ast.ImportFrom):
                start = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*start, *([node.module] if node.module else [])])
                targets = [f"{base}.{item.name}" for item in node.names]
            else:
                continue
            for target in targets:
                if target.split(".")[0] == "trt_passes":
                    inner = target.removeprefix("trt_passes").removeprefix(".").removeprefix("compiler.")
                    found = inner if inner in known else inner.rpartition(".")[0]
                    yield name, found or "version", f"{path.relative_to(root)}:{node.lineno}: {ast.unparse(node)}"


def room_of(module: str) -> str:
    """The longest name in the table that a module has, or begins with."""
    while module not in ROOMS and "." in module:
        module = module.rpartition(".")[0]
    return module


def is_allowed(name: str, target: str) -> bool:
    """Whether the table lets a module import another."""
    room, allowed = room_of(name), ROOMS.get(room_of(name), "").split()
    within = any(target == item or target.startswith(f"{item}.") for item in allowed)
    return room_of(target) == room or within or f"={target}" in allowed


def violations(root: Path) -> list[str]:
    """The lines that break a rule."""
    return [line for name, target, line in imports(root) if not is_allowed(name, target)]


def circles(root: Path) -> list[str]:
    """The lines of modules that import each other; notebooks, whose import runs upwards, are the exception."""
    lines = {(name, target): line for name, target, line in imports(root) if name not in (target, "ir.notebook")}
    found = [part for part in nx.strongly_connected_components(nx.DiGraph(list(lines))) if len(part) > 1]
    return [line for (name, target), line in lines.items() if any(name in part and target in part for part in found)]


def names_in(folder: str) -> set[str]:
    return {path.name for path in (ROOT / folder).iterdir() if path.name != "__pycache__"}


def test_every_import_is_allowed() -> None:
    assert violations(ROOT) == []


def test_no_modules_import_each_other() -> None:
    assert circles(ROOT) == []


def test_passes_are_the_stages() -> None:
    stages = {"decompose", "lower", "annotate", "partition", "convert", "build", "splice.py"}
    assert names_in("passes") == {*stages, "__init__.py"}


def test_the_compiler_has_few_rooms() -> None:
    assert len(names_in("compiler")) <= 18


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("compiler/ir/planted.py", "from ..tensorrt import loader"),
        ("compiler/ir/planted.py", "if TYPE_CHECKING:\n    from ...visualize.dot import to_dot"),
        ("compiler/tensorrt/planted.py", "def late():\n    from ...passes import convert"),
        ("passes/lower/planted.py", "from ..annotate.limits import general_reasons"),
        ("passes/build/planted.py", "from ..convert.segment import convert_segment"),
        ("compiler/runtime/engine/planted.py", "from ..compiled_module import CompiledModule"),
        ("compiler/frontends/planted.py", "import trt_passes.compiler.api"),
        ("visualize/planted.py", "from trt_passes.compiler.cli import main"),
        ("compiler/planted.py", "from .errors import UserError"),
    ],
)
def test_a_planted_import_is_found(tmp_path: Path, path: str, line: str) -> None:
    for known in modules(ROOT).values():
        empty = tmp_path / known.relative_to(ROOT)
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.touch()
    (tmp_path / path).write_text(f"{line}\n")
    (found,) = violations(tmp_path)
    assert found.startswith(f"{path}:")
    assert found.endswith(line.splitlines()[-1].strip())


def test_a_planted_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "compiler/ir").mkdir(parents=True)
    (tmp_path / "compiler/ir/a.py").write_text("from .b import B\n")
    (tmp_path / "compiler/ir/b.py").write_text("def late():\n    from . import a\n")
    assert circles(tmp_path) == ["compiler/ir/a.py:1: from .b import B", "compiler/ir/b.py:2: from . import a"]
