"""DOT to SVG: by `dot` on PATH, else by pygraphviz, else not at all (the DOT text itself is always there)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec

from .palette import style_sheet

TIMEOUT = 8.0
"""Seconds after which a layout is given up."""

_PYGRAPHVIZ = (
    "import sys, pygraphviz\n"
    "text = sys.stdin.buffer.read().decode()\n"
    "sys.stdout.buffer.write(pygraphviz.AGraph(string=text).draw(format='svg', prog='dot'))\n"
)


def layout_command() -> list[str] | None:
    """The command that turns DOT on stdin into SVG on stdout; None if neither `dot` nor pygraphviz is installed."""
    dot = shutil.which("dot")
    if dot is not None:
        return [dot, "-Tsvg"]
    if find_spec("pygraphviz") is not None and sys.executable:
        return [sys.executable, "-c", _PYGRAPHVIZ]
    return None


@dataclass(frozen=True)
class Rendering:
    """A layout that runs in a process of its own, where it can be stopped, and beside which other work goes on."""

    process: subprocess.Popen[bytes] | None

    @classmethod
    def start(cls, dot: str) -> Rendering:
        """Start to lay out DOT text."""
        command = layout_command()
        if command is None:
            return cls(None)
        try:
            # A file, not a pipe: whoever writes into a pipe waits until the other side has started up and read it.
            with tempfile.TemporaryFile() as source:
                source.write(dot.encode())
                source.seek(0)
                return cls(subprocess.Popen(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        except OSError:
            return cls(None)

    def svg(self, timeout: float = TIMEOUT) -> str | None:
        """The SVG; None if nothing can render it, if Graphviz refused it, or if it took too long."""
        if self.process is None:
            return None
        try:
            output, _ = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            return None
        return styled(output.decode()) if self.process.returncode == 0 and output else None

    def stop(self) -> None:
        """End the layout if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def render(dot: str, timeout: float = TIMEOUT) -> str | None:
    """DOT text as SVG text, styled for light and dark pages.

    Returns None if neither `dot` nor pygraphviz is installed, or if the layout takes longer than `timeout` seconds.
    """
    return Rendering.start(dot).svg(timeout)


def styled(svg: str) -> str:
    """Graphviz's SVG made ready to stand alone or inside a page: no prologue, our class, our style sheet."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<!--.*?-->\n?", "", body, flags=re.DOTALL)
    opened = body.index(">") + 1
    head = body[:opened].replace("<svg", '<svg class="trt-passes"', 1)
    return f"{head}\n<style>{style_sheet()}</style>{body[opened:]}"
