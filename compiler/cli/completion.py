"""What a shell offers for an argument, without PyTorch: settings, stages, codes, files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

import click
from click.shell_completion import CompletionItem


def complete_settings(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of settings with their meaning, and after `=` the values of those that have few."""
    from ..settings import Executor, KernelSpecialization, Settings

    name, separator, _ = incomplete.partition("=")
    rows = {row[0]: row for row in Settings.documentation()}
    if not separator:
        return [CompletionItem(f"{key}=", help=row[3]) for key, row in rows.items() if key.startswith(incomplete)]
    kind = rows[name][1] if name in rows else ""
    choices = {"bool": ("true", "false"), "Executor": get_args(Executor)}
    choices["KernelSpecialization"] = get_args(KernelSpecialization)
    return _items((f"{name}={choice}" for choice in choices.get(kind, ())), incomplete)


def complete_stages(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Stages and passes."""
    from .catalog_file import shipped

    names = [item.name for item in shipped().passes]
    return _items(dict.fromkeys([*(name.split(".")[0] for name in names), *names]), incomplete)


def complete_executors(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What can run an engine."""
    from ..settings import Executor

    return _items(get_args(Executor), incomplete)


def complete_metrics(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What can be searched for."""
    return _items(("relative-l2", "max-abs", "failure", "time", "compile-time"), incomplete)


def complete_codes(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Reason codes with their titles; folders otherwise."""
    from ..ir.reasons import REASON_CODES

    codes = [
        CompletionItem(code, help=row.title)
        for code, row in REASON_CODES.items()
        if incomplete and code.startswith(incomplete.upper())
    ]
    return codes or [CompletionItem(incomplete, type="dir")]


def complete_files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files; a factory of a Python file comes after a colon."""
    return [CompletionItem(incomplete, type="file")]


def _items(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
