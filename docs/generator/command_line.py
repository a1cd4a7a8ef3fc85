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
        *_MORE,
    )


_MORE = (
    "## Defaults of a project",
    "Commands that compile a model take their settings from the table `[tool.trt-passes]` of the nearest "
    "`pyproject.toml`, in the working folder or above it. Names are those of [the options](options.md), with dashes or "
    "underscores; what the command line gives comes first, and the report ends with a line that names the file.",
    fenced(
        '[tool.trt-passes]\nmin-block-size = 3\nenabled-precisions = ["float16"]\ncache-dir = "~/.cache/engines"',
        "toml",
    ),
    "Python code is not concerned: `tp.compile` does what its arguments say.",
    "## Shell completion",
    "Commands, options, settings and their values, stages and reason codes are completed once the shell knows how. Put "
    "one line into its start file:",
    fenced(
        '# ~/.bashrc\neval "$(_TRT_PASSES_COMPLETE=bash_source trt-passes)"\n'
        '# ~/.zshrc\neval "$(_TRT_PASSES_COMPLETE=zsh_source trt-passes)"\n'
        "# ~/.config/fish/completions/trt-passes.fish\n_TRT_PASSES_COMPLETE=fish_source trt-passes | source",
        "sh",
    ),
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
