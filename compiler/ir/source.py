"""Where a node comes from: the user's source line and the module it was called in."""

from __future__ import annotations

import functools
import inspect
import linecache
import os
import re
from pathlib import Path
from types import FrameType

from torch.fx import Node

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)\n?(?P<text>[^\n]*)')
_LIBRARY = re.compile(r"(^|/)(torch|torchvision|trt_passes)/")
_CALL_NUMBER = re.compile(r"@\d+$")
_PYTHON = os.path.dirname(os.__file__) + os.sep
_COMPILER = f"{Path(__file__).parents[1]}{os.sep}"


def source_frame(node: Node) -> tuple[str, int, str] | None:
    """File, line number and text of the innermost frame outside PyTorch that created the node; None if unknown.

    The file is as Python recorded it, possibly absolute; use it to open the file, `source_of` to show it.
    """
    return _innermost(node.meta.get("stack_trace") or "", os.getcwd())


@functools.lru_cache(maxsize=2048)  # nodes of one line share their trace, and are asked for it after every pass
def _innermost(trace: str, folder: str) -> tuple[str, int, str] | None:
    own = _own_frames(trace, folder)
    if not own:
        return None
    return own[-1]["file"], int(own[-1]["line"]), own[-1]["text"].strip()


def frames_in(text: str) -> list[str]:
    """All "file:line" places outside PyTorch in a traceback or an error message, outermost first."""
    return [f"{_short(frame['file'])}:{frame['line']}" for frame in _own_frames(text, os.getcwd())]


def _own_frames(text: str, folder: str) -> list[re.Match[str]]:
    # Code that fx makes has names that count up from run to run.
    made = (_COMPILER, "<eval_with_key>")
    frames = (frame for frame in _FRAME.finditer(text) if not frame["file"].startswith(made))
    return [frame for frame in frames if not _LIBRARY.search(_relative(frame["file"], folder))]


def current_line(caller: str) -> str | None:
    """The line of the user's that runs, as "file:line: text": the innermost outside PyTorch; None if there is none.

    Args:
        caller: the file of what runs the user's code; who called that in turn does not count.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename != caller:
        line = own_line(frame, frame.f_lineno)
        if line is not None:
            return line
        frame = frame.f_back
    return None


def own_line(frame: FrameType, number: int) -> str | None:
    """A line of code that runs, as "file:line: text"; None if it is Python's, PyTorch's or the compiler's."""
    file = frame.f_code.co_filename
    if file.startswith((_COMPILER, "<")) or _LIBRARY.search(_short(file)) or _is_of_python(file):
        return None
    text = linecache.getline(file, number).strip()
    return f"{_short(file)}:{number}" + (f": {text}" if text else "")


def _is_of_python(file: str) -> bool:
    return file.startswith(_PYTHON) and "site-packages" not in file


def source_of(node: Node) -> str | None:
    """The user's source line of a node as "file:line", without absolute paths; None if it is not known."""
    frame = source_frame(node)
    return None if frame is None else f"{_short(frame[0])}:{frame[1]}"


def node_at(error: BaseException) -> Node | None:
    """The op node that code was about when it raised: `node` in the innermost function that has one; None if none."""
    found, frame = None, error.__traceback__
    while frame is not None:
        node = frame.tb_frame.f_locals.get("node")
        found = node if isinstance(node, Node) and node.op == "call_function" else found
        frame = frame.tb_next
    return found


def module_of(node: Node) -> str:
    """The dotted path of the innermost module that the node was called in ("" for the model itself)."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values() if isinstance(entry[0], str)]
    paths = [path for path in paths if not path.startswith("_empty_nn_module_stack")]
    return _CALL_NUMBER.sub("", paths[-1]) if paths else ""


def _short(file: str) -> str:
    return _relative(file, os.getcwd())


@functools.lru_cache(maxsize=1024)  # a model has thousands of nodes from a handful of files
def _relative(file: str, folder: str) -> str:
    path = Path(file)
    if "site-packages" in path.parts:
        return "/".join(path.parts[path.parts.index("site-packages") + 1 :])
    try:
        return path.resolve().relative_to(folder).as_posix()
    except ValueError:
        return path.name if path.is_absolute() else path.as_posix()
