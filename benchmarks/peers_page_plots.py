"""The plots of docs/performance.md: what they show, and their SVG files, which matplotlib draws.

Releases of matplotlib draw differently, so every file carries a digest of its figures, and a test compares that.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from peers_page_lines import CALL, ERROR, FIRST, GRAPHS, MODELS, PEERS, PLAIN, REPLAY, Compiler, Quantity, Results

INK, GRID, OTHER = "#1f2328", "#afb8c1", "#808080"
DARK = MappingProxyType({INK: "#e6edf3", GRID: "#484f58"})
"""What the colours of text and grid become where the reader's system is dark."""

OURS, TENSORRT, PYTORCH, PARSER = "#009E73", "#D55E00", "#CC79A7", "#0072B2"
"""Of Okabe and Ito's palette those with a contrast of at least 3 on white and on the site's dark background."""

MARKS = MappingProxyType(
    {
        "eager": ("x", OTHER, True),
        "compile": ("v", PYTORCH, False),
        "compile-reduce-overhead": ("v", PYTORCH, True),
        "compile-max-autotune": ("^", PYTORCH, True),
        "onnx-tensorrt-rtx": ("s", PARSER, True),
        "torch-tensorrt": ("D", TENSORRT, True),
        PLAIN: ("o", OURS, False),
        GRAPHS: ("o", OURS, True),
    }
)
"""Marker, colour and whether it is filled: a family of compilers has a colour, and every compiler a shape."""

_DIGEST = re.compile(r"<!-- figures: (\w+) -->")


@dataclass(frozen=True)
class Series:
    """One compiler's figures, one for each row of the plot; None where there is none."""

    peer: str
    label: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Plot:
    """Dots on a logarithmic axis: a row for each model, and lines at figures that mean something."""

    name: str
    title: str
    axis: str
    rows: tuple[str, ...]
    series: tuple[Series, ...]
    lines: tuple[tuple[float, str], ...] = ()

    @property
    def digest(self) -> str:
        """Of everything that the plot shows, by four digits of each figure."""
        text = json.dumps(astuple(self))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def plots(results: Results) -> tuple[Plot, ...]:
    """The plots of the page."""
    return (
        _plot(results, "call", "Time of a call", CALL, GRAPHS),
        _plot(results, "replay", "GPU time of a replay", REPLAY, PLAIN),
        _plot(results, "first-call", "Time of the first call", FIRST, None),
        _plot(results, "error", "Relative L2 error", ERROR, "eager", ((2.0, "aim: 2"),)),
    )


def _plot(
    results: Results,
    name: str,
    title: str,
    quantity: Quantity,
    reference: str | None,
    lines: tuple[tuple[float, str], ...] = (),
) -> Plot:
    """The figures of every peer; with a reference its own are a line at 1, and the others multiples of them."""
    units = {model: _unit(results, model, quantity, reference) for model in results.models}
    models = [model for model, unit in units.items() if unit is not None]
    series = tuple(
        Series(compiler.peer, compiler.label, values)
        for compiler in results.current
        if compiler.peer != reference
        and any(values := tuple(_ratio(results, model, compiler, quantity, units[model]) for model in models))
    )
    rows = tuple(MODELS[model] for model in models)
    if reference is None:
        return Plot(name, title, quantity.unit, rows, series, lines)
    label = PEERS[reference]
    return Plot(name, title, f"times that of {label}", rows, series, ((1.0, f"{label}: 1"), *lines))


def _unit(results: Results, model: str, quantity: Quantity, reference: str | None) -> float | None:
    if reference is None:
        return 1.0
    value = next((results.value(model, one, quantity.field) for one in results.of(reference)[:1]), None)
    return value if value is not None and math.isfinite(value) else None


def _ratio(results: Results, model: str, compiler: Compiler, quantity: Quantity, unit: float | None) -> float | None:
    value = results.value(model, compiler, quantity.field)
    if value is None or unit is None or not math.isfinite(value):
        return None
    return float(f"{value / unit:.4g}")


def digest_of(svg: str) -> str | None:
    """The digest that a file carries."""
    found = _DIGEST.search(svg)
    return found and found[1]


def write_plots(found: Iterable[Plot], folder: Path) -> None:
    """Draw those that changed since they were last drawn."""
    folder.mkdir(exist_ok=True)
    for plot in found:
        path = folder / f"{plot.name}.svg"
        if not path.exists() or digest_of(path.read_text("utf-8")) != plot.digest:
            path.write_text(drawn(plot), "utf-8")


def drawn(plot: Plot) -> str:
    """The SVG text of a plot; the same for the same figures and release of matplotlib."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    height = 1.3 + 0.34 * len(plot.rows)
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": plot.name, "font.size": 9, "text.color": INK}
    with rc_context(settings):
        figure = Figure(figsize=(8, height))
        axes = figure.add_axes((0.225, 0.5 / height, 0.765, 1 - 1.2 / height))
        _dots(axes, plot.series)
        _frame(axes, plot)
        if plot.series:
            columns = min(4, math.ceil(len(plot.series) / 2))
            figure.legend(loc="upper center", ncols=columns, frameon=False, borderpad=0, fontsize=8.5)
        buffer = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Title": f"{plot.title}, {plot.axis}"}
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    return _for_the_page(buffer.getvalue(), plot.digest)


def _frame(axes: Any, plot: Plot) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_ticks(*axes.get_xlim())))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{plot.axis} (less is better)", color=INK)
    axes.set_yticks(range(len(plot.rows)), plot.rows)
    axes.set_ylim(len(plot.rows) - 0.5, -0.5)
    axes.tick_params(colors=INK, which="both", length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    for row in range(0, len(plot.rows), 2):
        axes.axhspan(row - 0.5, row + 0.5, color=OTHER, alpha=0.09, linewidth=0, zorder=0)
    for place, text in plot.lines:
        axes.axvline(place, color=INK, linewidth=1, linestyle="-" if place == 1 else (0, (4, 3)), zorder=1)
        axes.annotate(text, (place, 1), (0, 3), ("data", "axes fraction"), "offset points", ha="center", fontsize=8.5)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _ticks(least: float, most: float) -> list[float]:
    """Round figures on a logarithmic axis, closer to each other where it covers little."""
    spread = most / least
    steps = (
        (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9) if spread < 8 else (1, 1.5, 2, 3, 5, 7) if spread < 50 else (1, 2, 5)
    )
    decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)))
    ticks = (step * 10.0**decade for decade in decades for step in steps)
    return [tick for tick in ticks if least <= tick <= most]


def _dots(axes: Any, series: Sequence[Series]) -> None:
    """One compiler above the other within a row, so that equal figures do not hide each other."""
    for index, one in enumerate(series):
        marker, colour, filled = MARKS[one.peer]
        shift = (index - (len(series) - 1) / 2) * 0.7 / max(len(series), 4)
        shown = [(value, row + shift) for row, value in enumerate(one.values) if value is not None]
        axes.plot(
            *zip(*shown, strict=True),
            linestyle="none",
            marker=marker,
            markersize=5,
            markeredgecolor=colour,
            markeredgewidth=1.2,
            markerfacecolor=colour if filled else "none",
            label=one.label,
        )


def _for_the_page(svg: str, digest: str) -> str:
    rules = "".join(
        f'[style*="{name}: {light}"]{{{name}:{dark}!important}}'
        for light, dark in DARK.items()
        for name in ("fill", "stroke")
    )
    style = f"<style>@media screen and (prefers-color-scheme:dark){{{rules}}}</style>"
    start = svg.index("<svg")
    end = svg.index(">", start) + 1
    # Trailing blanks come with the lines of matplotlib's paths.
    body = "\n".join(line.rstrip() for line in svg[end:].splitlines())
    return f"{svg[start:end]}\n<!-- figures: {digest} -->\n{style}{body}\n"
