"""The search box with its fields, and tables and texts of which nothing is cut off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .programs import chain_data

Open = Callable[..., Any]

LONG = "a sentence of a reason that says at length what is the case and what one could do about it, " * 3


def ledger_nodes(page: Any) -> list[str]:
    return page.locator(".ledger-view .table-row:not(.head) .c-node").all_inner_texts()


@pytest.mark.parametrize(
    ("query", "accepts"),
    [
        ("op:gelu", lambda row: "gelu" in row["op"]),
        ("op:GELU,tanh", lambda row: "gelu" in row["op"] or "tanh" in row["op"]),
        ("verdict:excluded", lambda row: row["verdict"] == "excluded"),
        ("-verdict:trt", lambda row: row["verdict"] != "trt"),
        ("module:head op:linear", lambda row: row["module"].startswith("head") and "linear" in row["op"]),
        ("module:head.1", lambda row: row["module"] == "head.1"),
        ("module:ead", lambda row: False),
        ("segment:segment-00", lambda row: row["segment"] == "segment-00"),
        ("code:tp201", lambda row: "TP201" in row["codes"]),
        ('"is f64"', lambda row: "is f64" in row["messages"]),
        ("programs.py:", lambda row: "programs.py:" in row["source"]),
        ("-tanh", lambda row: "tanh" not in row["op"] and "tanh" not in row["line"]),
    ],
)
def test_every_field_filters_graph_and_ledger(
    page: Any, run_data: dict[str, Any], query: str, accepts: Callable[[dict[str, Any]], bool]
) -> None:
    expected = {row["node"] for row in rows_of(run_data) if accepts(row)}
    page.locator(".search input").fill(query)
    page.locator("[role=tab][data-view=ledger]").click()
    page.wait_for_function(
        "text => document.querySelector('.ledger-view .status').textContent.includes(text)", arg=query
    )
    assert set(ledger_nodes(page)) == {f"%{name}" for name in expected}
    page.locator("[role=tab][data-view=graph]").click()
    page.wait_for_selector(".scene")
    found = set(page.locator(".box.found:not(.closed) text.title").all_text_contents())
    assert found <= expected or query == "-tanh"
    page.locator(".search input").fill("")
    page.locator("[role=tab][data-view=ledger]").click()
    page.locator(".ledger-view input").fill(query)
    assert set(ledger_nodes(page)) == {f"%{name}" for name in expected}


@pytest.mark.parametrize("width", [420, 1024, 1440])
def test_what_is_found_stays_within_the_window(open_data: Open, run_data: dict[str, Any], width: int) -> None:
    page = open_data(run_data, viewport={"width": width, "height": 900})
    page.locator(".search input").fill("-verdict:trt")
    page.wait_for_selector(".result b:text-is('%tanh')")
    place = page.locator(".results").bounding_box()
    assert place["x"] >= 0
    assert place["x"] + place["width"] <= width
    assert page.locator(".result", has_text="parameter").count() == 0
    page.locator(".search input").fill("verdict:")
    page.wait_for_selector(".completion")
    assert "Nothing" not in page.locator(".results").inner_text()


def rows_of(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The op nodes of the last pass with what a reader can ask for, from the page's data."""
    text, last = data["strings"], data["passes"][-1]
    runs, facts = data["graphs"][last["graph"]], data["fact_lists"][last["facts"]]
    nodes = [data["nodes"][start + k] for start, count in zip(runs[::2], runs[1::2], strict=True) for k in range(count)]
    verdicts = [data["facts"][fact] for fact, count in zip(facts[::2], facts[1::2], strict=True) for _ in range(count)]
    found = []
    for (name, kind, op, _, _, module, source, *_), fact in zip(nodes, verdicts, strict=True):
        if text[kind] not in ("operator", "item", "size") or not fact:
            continue
        verdict, reasons, _, segment = fact
        found.append(
            {
                "node": text[name],
                "op": text[op],
                "module": text[module],
                "source": text[source],
                "line": data["lines"].get(text[source], ""),
                "verdict": text[verdict],
                "segment": text[segment],
                "codes": [text[code] for code, _ in reasons],
                "messages": " ".join(text[message] for _, message in reasons),
            }
        )
    return found


def test_fields_and_their_values_are_completed(page: Any, run_data: dict[str, Any]) -> None:
    box = page.locator(".search input")
    box.fill("ver")
    page.wait_for_selector(".completion")
    page.keyboard.press("Tab")
    assert box.input_value() == "verdict:"
    page.wait_for_selector(".completion >> text=verdict:trt")
    counts = run_data["run"]["verdicts"]
    assert f"{counts['trt']} op nodes" in page.locator(".completion", has_text="verdict:trt").inner_text()
    page.locator(".completion", has_text="verdict:excluded").click()
    page.wait_for_selector(".result b:text-is('%tanh')")
    assert box.input_value() == "verdict:excluded "
    assert page.locator(".result").count() == 1
    page.keyboard.press("Enter")
    assert page.locator(".details h2").inner_text() == "%tanh"


@pytest.mark.parametrize("width", [1024, 1440])
def test_nothing_in_the_ledger_is_cut_off(open_data: Open, width: int) -> None:
    page = open_data(chain_data(400, 4, names=("n" * 60,), op="aten.relu", reason=("TP101", LONG)))
    page.set_viewport_size({"width": width, "height": 900})
    page.keyboard.press("3")
    page.wait_for_selector(".ledger-view .table-row:not(.head)")
    cut = "cell => cell.scrollWidth > cell.clientWidth + 1 || cell.scrollHeight > cell.clientHeight + 1"
    assert page.locator(".ledger-view .cell").evaluate_all(f"cells => cells.filter({cut}).length") == 0
    over = """rows => rows.map(row => row.getBoundingClientRect()).sort((a, b) => a.top - b.top)
        .some((box, i, all) => i && Math.abs(all[i - 1].bottom - box.top) > 1)"""
    rows = page.locator(".ledger-view .rows > .table-row")
    assert not rows.evaluate_all(over)
    assert LONG.strip() in page.locator(".c-why", has_text="a sentence").first.inner_text()
    # Rows are measured when they are drawn, so that the end moves on a slow machine.
    page.wait_for_function("""() => {
        const view = document.querySelector(".ledger-view .scroller")
        view.scrollTop = view.scrollHeight
        return document.querySelector("[data-node=node_398]")
    }""")
    assert not rows.evaluate_all(over)


def test_long_lines_wrap_until_that_is_switched_off(open_data: Open) -> None:
    page = open_data(chain_data(120, 4, names=("n" * 300,)))
    page.keyboard.press("2")
    lines = page.locator(".text-view .line")
    lines.first.wait_for()
    view = page.locator(".text-view .scroller")
    wide = "view => view.scrollWidth > view.clientWidth + 1"
    assert not view.evaluate(wide)
    heights = lines.evaluate_all("lines => lines.map(line => line.offsetHeight)")
    assert max(heights) > min(heights)
    over = """lines => lines.map(line => line.getBoundingClientRect()).sort((a, b) => a.top - b.top)
        .some((box, i, all) => i && Math.abs(all[i - 1].bottom - box.top) > 1)"""
    assert not lines.evaluate_all(over)
    page.locator(".text-view label", has_text="wrap lines").click()
    assert view.evaluate(wide)
    assert len(set(lines.evaluate_all("lines => lines.map(line => line.offsetHeight)"))) == 1


@pytest.mark.parametrize("view", ["text", "ledger"])
def test_the_chosen_row_is_in_sight_though_rows_above_it_wrap(open_data: Open, view: str) -> None:
    page = open_data(chain_data(600, 4, names=[f"{index:03d}{'n' * 150}" for index in range(500)]))
    page.set_viewport_size({"width": 1024, "height": 900})
    for name in ("node_7", "399" + "n" * 150, "020" + "n" * 150):
        page.evaluate("hash => { location.hash = hash }", f"#view={view}&node={name}")
        row = page.locator(f".{view}-view [data-node='{name}'].chosen")
        row.wait_for()
        place, host = row.bounding_box(), page.locator(f".{view}-view .scroller").bounding_box()
        assert host["y"] <= place["y"]
        assert place["y"] + place["height"] <= host["y"] + host["height"]


@pytest.mark.parametrize("width", [800, 1024, 1440])
def test_no_column_of_the_ledger_is_out_of_sight(open_data: Open, run_data: dict[str, Any], width: int) -> None:
    """Where the columns need more room than there is, a row has two lines."""
    page = open_data(run_data, "#view=ledger", viewport={"width": width, "height": 800})
    page.locator(".ledger-view .table-row:not(.head)").first.wait_for()
    scroller = page.locator(".ledger-view .scroller")
    assert scroller.evaluate("item => item.scrollWidth <= item.clientWidth")
    right = scroller.evaluate("item => item.getBoundingClientRect().right")
    for name in ("why", "module", "source"):
        cell = page.locator(f".ledger-view .table-row:not(.head) .c-{name}").first.bounding_box()
        assert cell["width"] > 60
        assert cell["x"] + cell["width"] <= right + 1
    page.set_viewport_size({"width": 2400, "height": 800})
    page.wait_for_selector(".ledger-view .scroller:not(.stacked)")
