"""The user's line in errors of a call: generated code raises, and nobody wrote that."""

from __future__ import annotations

import linecache
import re
from types import TracebackType

from torch.fx import GraphModule

from ..ir.source import source_of
from ..ir.text import op_name

_RESULT = re.compile(r"\s*(\w+)( : .*?)? = ")


def note_user_line(error: BaseException) -> None:
    """Add the node and the line of the model that raised an error to its notes, if generated code tells which."""
    note = None
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        note = _place(trace) or note
        trace = trace.tb_next
    if note is not None and note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _place(trace: TracebackType) -> str | None:
    frame = trace.tb_frame
    module = frame.f_locals.get("self")
    if not frame.f_code.co_filename.startswith("<eval_with_key>") or not isinstance(module, GraphModule):
        return None
    match = _RESULT.match(linecache.getline(frame.f_code.co_filename, trace.tb_lineno))
    node = next((node for node in module.graph.nodes if match is not None and node.name == match[1]), None)
    source = None if node is None else source_of(node)
    if node is None or source is None:
        return None
    return f"in the compiled model, at %{node.name} = {op_name(node.target)}, which {source} calls"
