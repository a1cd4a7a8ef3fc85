"""Files that the page reads and writes: pictures, data per node, a partition."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.program import Program
from trt_passes.compiler.manager import PassManager
from trt_passes.compiler.report.report import Report
from trt_passes.compiler.settings import Settings

from .programs import PASSES, Classifier, chain_data
from .test_in_browser import box

Open = Callable[..., Any]


def saved(page: Any, button: str, path: Path) -> Path:
    with page.expect_download() as download:
        page.locator("button", has_text=button).first.click()
    download.value.save_as(path)
    return path


def test_the_seen_part_is_saved_as_svg_and_png(page: Any, tmp_path: Path) -> None:
    tree = ElementTree.parse(saved(page, "SVG", tmp_path / "graph.svg"))
    texts = {item.text for item in tree.iter("{http://www.w3.org/2000/svg}text")}
    assert "tanh" in texts
    fills = {item.get("fill") for item in tree.iter("{http://www.w3.org/2000/svg}rect")}
    assert all(fill and "var(" not in fill for fill in fills)
    assert len(fills) > 2
    picture = saved(page, "PNG", tmp_path / "graph.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", picture[16:24])
    canvas = page.locator(".canvas").bounding_box()
    assert (width, height) == (round(canvas["width"]) * 2, round(canvas["height"]) * 2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cost.json", '{"tanh": 4, "%gelu": 1.5, "nobody": 3}'),
        ("cost.json", '[{"node": "tanh", "value": 4}, {"node": "gelu", "value": 1.5}]'),
        ("cost.csv", "node,value\ntanh,4\n%gelu,1.5\n"),
        ("cost.csv", '\ufeffvalue;name\r\n4;"tanh"\r\n1.5;gelu\r\n'),
        ("cost.csv", "tanh,4\ngelu,1.5"),
    ],
)
def test_numbers_of_the_readers_own_colour_the_graph(page: Any, tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    page.locator("input[type=file]").set_input_files(path)
    page.wait_for_selector(".box.scale-6")
    assert page.locator("select[aria-label=color]").input_value() == "cost"
    assert page.locator(".box.scale-6 text.title").all_text_contents() == ["tanh"]
    assert page.locator(".box.scale-0 text.title").all_text_contents() == ["gelu"]
    box(page, "gelu").click()
    assert "1.5" in page.locator(".details dl").first.inner_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ('{"nobody": 3}', "no name in"),
        ('[{"value": 3}]', "row 0 has no name"),
        ("node,kind\ntanh,", "has no values"),
        ('{"tanh": null}', "has no values"),
        ("", "has no values"),
    ],
)
def test_a_file_without_values_for_nodes_is_refused(page: Any, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text, encoding="utf-8")
    page.locator("input[type=file]").set_input_files(path)
    page.wait_for_selector(f".graph-view .status:has-text('{said}')")
    assert page.locator("select[aria-label=color]").input_value() == "verdict"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("kind.json", '{"tanh": "slow", "%gelu": "fast", "convolution": "fast", "nobody": "slow"}'),
        ("kind.csv", "node,value\ntanh,slow\ngelu,fast\nconvolution,fast\n"),
        ("kind.json", '[["tanh", true], ["gelu", false], ["convolution", false]]'),
        ("kind.csv", "node;value\ntanh;1\ngelu;n/a\nconvolution;n/a"),
    ],
)
def test_categories_of_the_readers_own_colour_the_graph(page: Any, tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    page.locator("input[type=file]").set_input_files(path)
    page.wait_for_selector(".box.hued")
    assert page.locator("select[aria-label=color]").input_value() == "kind"
    hue = "item => item.style.getPropertyValue('--hue')"
    tanh, gelu, conv = (box(page, title).locator(".shape").evaluate(hue) for title in ("tanh", "gelu", "convolution"))
    assert tanh
    assert gelu == conv != tanh
    assert page.locator(".box.operator:not(.hued)").count() > 0
    frequent = page.locator(".legend .chip.hued").first.inner_text()
    assert frequent.endswith(" 2")
    box(page, "gelu").click()
    assert frequent.removesuffix(" 2") in page.locator(".details dl").first.inner_text()


def test_many_categories_and_folded_boxes(open_data: Open, tmp_path: Path) -> None:
    """The most frequent have a colour of their own; a folded box shows its shares of each."""
    page = open_data(chain_data(120, 4))
    path = tmp_path / "team.csv"
    rows = [f"node_{index},team {index % 13 if index % 3 else 0}" for index in range(120)]
    path.write_text("\n".join(["node,team", *rows]), encoding="utf-8")
    page.locator("input[type=file]").set_input_files(path)
    page.wait_for_selector(".legend .chip:has-text('other texts')")
    assert page.locator(".legend .chip.hued").first.inner_text().startswith("team 0 ")
    assert page.locator(".legend .chip.hued").count() == 9
    page.keyboard.press("Shift+C")
    page.wait_for_selector(".box.closed .share.hued")
    hues = page.locator(".box.closed .share.hued").evaluate_all(
        "items => items.map(item => item.style.getPropertyValue('--hue'))"
    )
    assert len(set(hues)) > 4
    assert all(hues)


def test_the_graph_is_coloured_by_precision(page: Any) -> None:
    page.select_option("select[aria-label=color]", "precision")
    legend = page.locator(".legend").inner_text()
    assert "float32" in legend
    assert "f64" in legend
    hue = "item => item.style.getPropertyValue('--hue')"
    assert box(page, "exp").locator(".shape").evaluate(hue) != box(page, "gelu").locator(".shape").evaluate(hue)


def again(partition: Path) -> Report:
    """The same model and settings as the dump's, with a partition of the reader's."""
    torch.manual_seed(0)
    with torch.no_grad():
        program = Program(torch.export.export(Classifier().eval(), (torch.zeros(2, 3, 8, 8),)))
    settings = Settings(min_block_size=1, torch_executed_ops=frozenset({"aten.tanh"}), partition=str(partition))
    return PassManager(PASSES, [], settings).run(program)


def test_a_partition_of_ones_own_is_written_and_taken(open_file: Open, dump: Path, tmp_path: Path) -> None:
    page = open_file(dump / "index.html")
    page.wait_for_selector(".scene")
    before = again(dump)
    homes = {node: segment.name for segment in before.program.segments for node in segment.nodes}
    box(page, "gelu").click()
    page.locator("button", has_text="keep in PyTorch").click()
    assert "Is to be in PyTorch" in page.locator(".partition-edit").inner_text()
    after = again(saved(page, "save partition.json", tmp_path / "partition.json"))
    kept = {node: segment.name for segment in after.program.segments for node in segment.nodes}
    assert set(homes) - set(kept) == {"gelu"}
    page.locator(".changes button", has_text="undo").click()
    assert page.locator(".changes").count() == 0
    box(page, "gelu").click()
    page.locator("select[aria-label='put into segment'] option", has_text="(new)").first.wait_for(state="attached")
    fresh = page.locator("select[aria-label='put into segment'] option", has_text="(new)").first.get_attribute("value")
    page.locator("select[aria-label='put into segment']").select_option(fresh)
    path = saved(page, "save partition.json", tmp_path / "partition.json")
    assert {"name": fresh, "nodes": ["gelu"]} in json.loads(path.read_text())["segments"]


def test_the_precision_of_a_node_is_written_and_taken(open_file: Open, dump: Path, tmp_path: Path) -> None:
    page = open_file(dump / "index.html")
    page.wait_for_selector(".scene")
    box(page, "linear_1").click()
    assert "computes in float32" in page.locator(".partition-edit").inner_text()
    page.locator("select[aria-label='compute in']").select_option("float16")
    assert "is to compute in float16" in page.locator(".partition-edit").inner_text()
    assert "1 change to partition.json" in page.locator(".changes").inner_text()
    after = again(saved(page, "save partition.json", tmp_path / "partition.json"))
    types = {node.name: str(node.meta["val"].dtype) for node in after.program.op_nodes}
    assert types["linear_1"] == "torch.float16"
    assert types["linear"] == types["gelu"] == "torch.float32"
    assert after.ledger["linear_1"].segment == after.ledger["gelu"].segment
    page.locator("select[aria-label='compute in']").select_option("float32")
    assert page.locator(".changes").count() == 0
    box(page, "exp").click()
    assert page.locator("select[aria-label='compute in']").count() == 0, "float64 is no choice of a partition"


def test_what_cannot_be_is_not_offered_or_refused_with_the_path(open_file: Open, dump: Path, tmp_path: Path) -> None:
    page = open_file(dump / "index.html")
    page.wait_for_selector(".scene")
    box(page, "exp").click()
    assert "TensorRT cannot take it" in page.locator(".partition-edit").inner_text()
    chooser = page.locator("select[aria-label='put into segment']")
    assert chooser.count() == 0
    box(page, "tanh").click()
    chooser.select_option("segment-00")
    with pytest.raises(UserError, match="tanh"):
        again(saved(page, "save partition.json", tmp_path / "partition.json"))


def test_an_edge_says_what_it_carries_and_lights_up_its_ends(page: Any) -> None:
    reach = page.locator("[data-edge]").filter(has=page.locator(".edge-reach"))
    found = False
    for edge in reach.all():
        edge.locator(".edge-reach").dispatch_event("pointermove", {"bubbles": True})
        tip = page.locator(".tip").inner_text()
        if tip.startswith("mean → tanh"):
            found = True
            break
    assert found
    assert "%mean  f32[2,8]  64 B" in tip
    assert page.locator(".box.lit-from text.title").all_text_contents() == ["mean"]
    assert page.locator(".box.lit-to text.title").all_text_contents() == ["tanh"]
    box(page, "tanh").hover()
    assert page.locator(".tip").inner_text().startswith("%tanh = aten.tanh")
    assert page.locator(".box.lit-from text.title").all_text_contents() == ["mean"]
    assert page.locator(".edge.lit").count() == 2


def test_the_map_shows_and_moves_what_is_seen(open_data: Open) -> None:
    page = open_data(chain_data(900, 30))
    page.wait_for_selector(".scene")
    page.keyboard.press("Shift+E")
    page.wait_for_selector(".block")
    assert page.locator(".minimap").is_hidden()
    for _ in range(6):
        page.keyboard.press("+")
    page.locator(".minimap").wait_for()
    before = page.locator(".layer").get_attribute("transform")
    page.locator(".minimap").click(position={"x": 12, "y": 12})
    assert page.locator(".layer").get_attribute("transform") != before
