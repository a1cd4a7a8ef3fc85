"""The page of the public names of the package, from their docstrings."""

from __future__ import annotations

import enum
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import trt_passes as tp
from docstring_parser import Docstring, DocstringStyle, parse

from .markdown import fenced, page

_SECTIONS = (
    ("Compile", ("compiler.api", "compiler.frontends", "compiler.ir.input", "compiler.settings")),
    ("Save, load and run", ("generation", "compiler.runtime")),
    ("Reports", ("compiler.report", "compiler.ir.ledger", "compiler.ir.reasons")),
    ("Converters", ("compiler.tensorrt", "passes.convert")),
    ("Passes and pipelines", ("compiler.manager", "compiler.pass_base", "compiler.pipeline", "compiler.ir.program")),
    ("Instruments", ("compiler.instruments",)),
    ("Errors", ("compiler.errors",)),
)
_OTHERS = "More"
_LINE = 100
"""Characters above which a signature has a line for every argument."""


def api_page() -> str:
    """Every public name: its signature, and what its docstring says."""
    public = sorted(tp.__all__, key=lambda name: (_rank(getattr(tp, name)), name))
    names = {section: [name for name in public if _section(name) == section] for section in _sections()}
    parts = [part for section, members in names.items() if members for part in _of_section(section, members)]
    return page(
        "API",
        "The names of `import trt_passes as tp`, from their docstrings. `help(tp.compile)` shows the same in Python. "
        "What `**options` takes is on the page of [options](options.md), and what the command line does on "
        "[its own](command-line.md).",
        *parts,
    )


def _rank(thing: Any) -> int:
    """Functions come first, then classes, then modules."""
    return 2 if inspect.ismodule(thing) else int(inspect.isclass(thing))


def _sections() -> tuple[str, ...]:
    return (*(title for title, _ in _SECTIONS), _OTHERS)


def _section(name: str) -> str:
    thing = getattr(tp, name)
    home = (thing.__name__ if inspect.ismodule(thing) else thing.__module__).removeprefix("trt_passes.") + "."
    return next((title for title, homes in _SECTIONS if home.startswith(tuple(f"{it}." for it in homes))), _OTHERS)


def _of_section(title: str, names: list[str]) -> Iterator[str]:
    yield f"## {title}"
    for name in names:
        yield f"### `tp.{name}`"
        yield from _of_name(name)


def _of_name(name: str) -> Iterator[str]:
    thing = getattr(tp, name)
    if not (_is_enumeration(thing) or inspect.ismodule(thing)):
        yield fenced(_signature(f"tp.{name}", thing), "python")
    yield from _prose(parse(inspect.getdoc(thing) or "", style=DocstringStyle.GOOGLE))
    members = list(_members(thing)) if inspect.isclass(thing) or inspect.ismodule(thing) else []
    if members:
        yield "Members:"
        yield "\n".join(members)


def _signature(name: str, thing: Any) -> str:
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return f"{name}(…)"
    parameters = [item.replace(annotation=_bare(item.annotation)) for item in signature.parameters.values()]
    shown = [_shown(item) for item in parameters]
    kinds = [item.kind for item in parameters]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        shown.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    returned = signature.return_annotation
    arrow = "" if returned in (inspect.Signature.empty, None, "None") else f" -> {_bare(returned)}"
    line = f"{name}({', '.join(shown)}){arrow}"
    if len(line) <= _LINE:
        return line
    return f"{name}(\n" + "".join(f"    {argument},\n" for argument in shown) + f"){arrow}"


def _shown(item: inspect.Parameter) -> str:
    stars = "*" if item.kind is item.VAR_POSITIONAL else "**" if item.kind is item.VAR_KEYWORD else ""
    annotation = "" if item.annotation is item.empty else f": {item.annotation}"
    if item.default is item.empty:
        return f"{stars}{item.name}{annotation}"
    default = repr(item.default)
    if default.startswith("<") or "mappingproxy" in default:
        default = "…"
    return f"{item.name}{annotation} = {default}" if annotation else f"{item.name}={default}"


def _bare(annotation: Any) -> Any:
    return annotation.strip("'\"") if isinstance(annotation, str) else annotation


def _prose(doc: Docstring) -> Iterator[str]:
    if doc.short_description:
        yield doc.short_description
    if doc.long_description:
        yield from (_paragraph(text) for text in doc.long_description.split("\n\n"))
    if doc.params:
        yield "Arguments:"
        yield "\n".join(_item(f"`{item.arg_name}`", item.description) for item in doc.params)
    if doc.returns:
        yield f"Returns: {doc.returns.description}"
    if doc.raises:
        yield "Raises:"
        yield "\n".join(_item(f"`{item.type_name}`", item.description) for item in doc.raises)


def _paragraph(text: str) -> str:
    return fenced(text, "python") if text.startswith(">>> ") else text


def _item(name: str, description: str | None) -> str:
    # Markdown takes a list for one inside another when it is four characters further in.
    return f"- {name}: " + textwrap.indent(description or "", "    ").lstrip()


def _members(thing: Any) -> Iterator[str]:
    if _is_enumeration(thing):
        yield from (f"- `{member.name}`" for member in thing)
        return
    for name, member in vars(thing).items():
        member = getattr(member, "__func__", member)
        if inspect.ismodule(thing) and getattr(member, "__module__", None) != thing.__name__:
            continue
        says = (inspect.getdoc(member) or "").partition("\n\n")[0].replace("\n", " ")
        if name.startswith("_") or not says:
            continue
        if isinstance(member, property):
            yield f"- `{name}`: {says}"
        elif inspect.isfunction(member):
            yield f"- `{name}{_arguments(member)}`: {says}"


def _arguments(function: Any) -> str:
    names = [item.name for item in inspect.signature(function).parameters.values() if item.name not in ("self", "cls")]
    return f"({', '.join(names)})"


def _is_enumeration(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, enum.Enum)
