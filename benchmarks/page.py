"""How long the page of a dump works for what a reader does: `python -m benchmarks.page`, with playwright and Chromium.

The time is CPU time of the page's main thread, in headless Chromium, so that other work on the machine counts little:
script, style, layout and painting commands from the event until nothing more is to be done. Each row is the median of
fresh pages, in which it is done for the first time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright
from trt_passes.tests.visualize.page.programs import chain_data
from trt_passes.visualize.page import page_html

SETTLED = 400  # milliseconds after which an action is over

_KEY = "document.dispatchEvent(new KeyboardEvent('keydown', {{key: '{0}', shiftKey: {1}, bubbles: true}}))"
_POINTER = (
    "canvas.dispatchEvent(new PointerEvent('{0}', "
    "{{pointerId: 1, buttons: 1, clientX: {1}, clientY: {2}, bubbles: true}}))"
)
_CANVAS = "const canvas = document.querySelector('.canvas');"
_SEARCH = (
    "const input = document.querySelector('.search input'); input.focus(); input.value = '{0}';"
    "input.dispatchEvent(new InputEvent('input'))"
)
_PAN = _CANVAS + ";".join(
    _POINTER.format(kind, x, y)
    for kind, x, y in (
        ("pointerdown", 600, 400),
        ("pointermove", 620, 420),
        ("pointermove", 300, 200),
        ("pointerup", 300, 200),
    )
)
_ZOOM = f"{_CANVAS}canvas.dispatchEvent(new WheelEvent('wheel', {{deltaY: -900, clientX: 700, clientY: 450}}))"

ACTIONS = (
    ("open all", _KEY.format("E", "true")),
    ("pan, seen from afar", _PAN),
    ("zoom in", _ZOOM),
    ("pan, seen from close by", _PAN),
    ("search for a word", _SEARCH.format("node_77")),
    ("search for `-verdict:trt`", _SEARCH.format("-verdict:trt")),
    ("choose a node", "location.hash = '#node=node_4321'"),
    ("fold all", _KEY.format("C", "true")),
)


def milliseconds(path: Path, browser: Any) -> dict[str, float]:
    """CPU time of opening a page, and then of each action in turn."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> float:
        rows = session.send("Performance.getMetrics")["metrics"]
        return 1000 * float(next(row["value"] for row in rows if row["name"] == "TaskDuration"))

    page.goto(path.as_uri())
    page.wait_for_timeout(3 * SETTLED)
    found = {"open the page": spent()}
    for name, script in ACTIONS:
        before = spent()
        page.evaluate(f"() => {{ {script} }}")
        page.wait_for_timeout(SETTLED)
        found[name] = spent() - before
    context.close()
    return found


def main() -> None:
    """Print a table, a row per action and a column per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="*", default=[150, 3_000, 10_000])
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    columns: dict[int, dict[str, float]] = {}
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for nodes in options.nodes:
            path = Path(folder) / f"{nodes}.html"
            path.write_text(page_html(chain_data(nodes, max(1, nodes // 200))), encoding="utf-8")
            runs = [milliseconds(path, browser) for _ in range(options.times)]
            columns[nodes] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        browser.close()
    print(f"| ms of CPU | {' | '.join(f'{nodes:,} nodes' for nodes in columns)} |")
    print(f"| --- |{' --: |' * len(columns)}")
    for name in next(iter(columns.values())):
        print(f"| {name} | {' | '.join(f'{times[name]:.0f}' for times in columns.values())} |")


if __name__ == "__main__":
    main()
