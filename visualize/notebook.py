"""How programs, reports and compiled modules show themselves in Jupyter: the overview as SVG, and text."""

from __future__ import annotations

from ..compiler.program import Program
from .dot import to_dot
from .overview import overview_picture
from .render import render
from .text import counts_text


def mimebundle(program: Program, title: str = "program") -> dict[str, str]:
    """The content of `_repr_mimebundle_`: "text/plain" always, "image/svg+xml" when something can render it."""
    bundle = {"text/plain": summary_text(program, title)}
    svg = render(to_dot(overview_picture(program, title)))
    if svg is not None:
        bundle["image/svg+xml"] = svg
    return bundle


def summary_text(program: Program, title: str = "program") -> str:
    """A few lines on a program: op nodes, verdicts and segments."""
    ledger = program.ledger
    lines = [f"{title}: {len(program.op_nodes):,} op nodes"]
    if len(ledger):
        lines.append(f"  {ledger.coverage:.1%} in TensorRT: {counts_text(ledger.counts)}")
    lines += [f"  {segment.name}: {len(segment.nodes):,} op nodes" for segment in program.segments]
    return "\n".join(lines)
