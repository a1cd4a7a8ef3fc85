"""The command line reference, from the declarations of click."""

from __future__ import annotations

from collections.abc import Iterator

import click
from trt_passes.compiler.cli.main import main

from .markdown import fenced, page, table


def command_line_page() -> str:
    """Every command with its arguments and options."""
    parts = [part for name, command in main.commands.items() for part in _section(name, command)]
    return page(
        "Command line",
        f"{_prose(main.help)} `trt-passes COMMAND --help` prints what is here.",
        *parts,
    )


def _section(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=f"trt-passes {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"## {name}"
    yield fenced(f"trt-passes {name} {usage}".rstrip())
    yield _prose(command.help)
    options = [item.get_help_record(context) for item in command.params if isinstance(item, click.Option)]
    rows = [(f"`{record[0]}`", record[1]) for record in options if record is not None]
    if rows:
        yield table(("option", "meaning"), rows)
    if name == "run":
        yield "The settings for `--set` are [the options](options.md)."


def _prose(text: str | None) -> str:
    paragraphs = (text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
