"""The page of passes: what each declares, and before and after it in a real run, as text and as a picture."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from trt_passes.compiler.cli.catalog_of_code import options_of
from trt_passes.compiler.instruments.protocol import Step
from trt_passes.compiler.ir.dtypes import short_name
from trt_passes.compiler.ir.engine_spec import Binding
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.ir.text import node_text
from trt_passes.compiler.pass_base import Pass
from trt_passes.compiler.pipeline import KNOWN_FACTS, known_passes
from trt_passes.visualize import (
    Picture,
    graph_picture,
    network_picture,
    overview_picture,
    program_picture,
    segment_picture,
)
from trt_passes.visualize.text import verdict_text

from .markdown import fenced, page, table, without_specs
from .pictures import dot_of

_WIDTH = 92
"""Characters that a line of code has room for on the page."""


def passes_page(steps: Mapping[str, Step]) -> str:
    """Every pass with its facts, options and example, and what the facts mean; `steps` is `pass_examples.steps()`."""
    facts = [(f"`{fact.name}`", fact.meaning) for fact in KNOWN_FACTS.values()]
    return page(
        "Passes",
        "In the order of the default pipeline. A pass needs facts about the program to be true, makes facts true, and "
        "ends others; the order of a pipeline is checked against that before anything runs. The examples are small "
        "models that ran through the pipeline; a thick border marks what the pass made or changed.",
        table(("fact", "meaning"), facts),
        *(part for item in known_passes().values() for part in _section(item, steps[item.name])),
    )


def pass_pictures(steps: Mapping[str, Step]) -> dict[str, str]:
    """DOT texts of each pass's example, by file name in images/."""
    found = {}
    for name, step in steps.items():
        before, after = _before_and_after(step)
        found[f"passes/{name}-before"] = dot_of(_compact(before), "before")
        found[f"passes/{name}-after"] = dot_of(_compact(after), "after")
    return found


def _section(item: type[Pass], step: Step) -> Iterator[str]:
    facts = {"needs": item.requires, "establishes": item.establishes, "ends": item.breaks}
    known = [f"{word} {', '.join(f'`{name}`' for name in sorted(names))}" for word, names in facts.items() if names]
    yield f"## {item.name}"
    yield _prose(inspect.getdoc(item) or "")
    yield f"Kind: {'; '.join([item.kind, *known])}."
    options = [(f"`{name}`", f"`{kind}`", f"`{default}`") for name, kind, default in options_of(item)]
    if options:
        yield table(("option", "type", "default"), options)
    before, after = _texts(step)
    yield fenced(f"Before:\n{before}\nAfter:\n{after}")
    links = [f"![{item.name}, {word}](images/passes/{item.name}-{word}.svg)" for word in ("before", "after")]
    yield table(("before", "after"), [links])


def _prose(doc: str) -> str:
    """A docstring without its Before and After, one line per paragraph."""
    prose = doc.partition("Before:\n")[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in prose.split("\n\n") if paragraph.strip())


# --- text ------------------------------------------------------------------------------------------------------------
def _texts(step: Step) -> tuple[str, str]:
    if step.item.name == "convert":
        return _program_lines(step.before), _network_lines(step.after)
    if step.item.name == "build":
        return _network_lines(step.before), _engine_lines(step.after)
    if step.after.compiled is not None:
        compiled = [node for node in step.after.compiled.graph.nodes if node.op in ("call_function", "output")]
        return _program_lines(step.before), _indented([without_specs(node_text(node)) for node in compiled])
    return _program_lines(step.before), _program_lines(step.after)


def _program_lines(program: Program) -> str:
    nodes = (*program.op_nodes, program.output_node)
    return _indented([node_text(node, (verdict_text(node),)) for node in nodes])


def _network_lines(program: Program) -> str:
    return _indented([line for item in program.segments if item.network for line in item.network.text().splitlines()])


def _engine_lines(program: Program) -> str:
    specs = [item.engine.spec for item in program.segments if item.engine is not None]
    return _indented([f"{spec.name}: {_bindings(spec.inputs)} -> {_bindings(spec.outputs)}" for spec in specs])


def _bindings(bindings: Iterable[Binding]) -> str:
    shapes = ((item, ",".join(map(str, item.shape))) for item in bindings)
    return ", ".join(f"{item.name}: {short_name(item.dtype)}[{shape}]" for item, shape in shapes)


def _indented(lines: list[str]) -> str:
    wrapped = (
        textwrap.wrap(line, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        for line in lines
    )
    return "\n".join(f"    {part}" for parts in wrapped for part in parts)


# --- pictures --------------------------------------------------------------------------------------------------------
def _before_and_after(step: Step) -> tuple[Picture, Picture]:
    before, after = step.before, step.after
    if step.item.name == "partition":
        return program_picture(before), overview_picture(after)
    if step.item.name == "convert":
        return segment_picture(before, before.segments[0]), _network(after)
    if step.item.name == "build":
        return _network(before), overview_picture(after)
    if after.compiled is not None:
        return program_picture(before), graph_picture(after.compiled.graph)
    touched = {*step.change.created, *step.change.rewired}
    return program_picture(before, step.change.erased), program_picture(after, touched)


def _network(program: Program) -> Picture:
    segment = program.segments[0]
    assert segment.network is not None
    return network_picture(segment.network, program, segment.name)


def _compact(picture: Picture) -> Picture:
    """Without remarks and frames, which are wider than an example of three boxes."""
    return replace(picture, remarks=(), boxes=tuple(replace(box, module="") for box in picture.boxes))
