"""The pages that list declarations: reason codes and options."""

from __future__ import annotations

from trt_passes.compiler.ir.reasons import REASON_CODES
from trt_passes.compiler.settings import ALIASES, Settings

from .markdown import page, table


def reason_codes_page() -> str:
    """Every reason code: verdict, meaning, remedy."""
    rows = [(row.code, str(row.verdict), row.title, row.meaning, row.remedy) for row in REASON_CODES.values()]
    return page(
        "Reason codes",
        "Why an op node did not go to TensorRT. `trt-passes explain CODE` prints a row of this table.",
        table(("code", "verdict", "title", "meaning", "what to do"), rows),
    )


def options_page() -> str:
    """Every field of Settings."""
    rows = [(f"`{name}`", f"`{kind}`", f"`{default}`", doc) for name, kind, default, doc in Settings.documentation()]
    aliases = [f"`{other}` is another name for `{name}`." for other, name in ALIASES.items()]
    return page(
        "Options",
        "Keyword arguments of `trt_passes.compile`, fields of `trt_passes.Settings`, and `--set name=value` of "
        "`trt-passes run`. An unknown name is an error.",
        table(("name", "type", "default", "meaning"), rows),
        *aliases,
    )
