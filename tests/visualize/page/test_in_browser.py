"""The page in a real browser: what a reader sees, clicks and types."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]


def box(page: Any, title: str) -> Any:
    """The box of a node or of a folded group."""
    return page.locator(".box").filter(
        has=page.locator("text.title", has_text=re.compile(f"^(\\+ )?{re.escape(title)}$"))
    )


def passes_lit(page: Any) -> list[str]:
    return [str(item.get_attribute("data-pass")) for item in page.locator(".pass.lives").all()]


def view(page: Any, name: str) -> Any:
    return page.locator(f".{name}-view")


def test_opens_from_disk_with_passes_graph_and_details(page: Any, run_data: dict[str, Any]) -> None:
    names = [item["name"] for item in run_data["passes"]]
    assert page.locator(".pass .pass-name").all_inner_texts() == names
    unchanged = {item["name"] for item in run_data["passes"] if item["files"] == ["unchanged.txt"]}
    assert {item.get_attribute("data-pass") for item in page.locator(".pass.same").all()} == unchanged
    assert page.locator(".pass.chosen .pass-name").inner_text() == "partition"
    verdicts = run_data["run"]["verdicts"]
    assert (
        f"{verdicts['trt']} of {sum(verdicts.values())} op nodes in {len(run_data['segments'])} "
        in page.locator(".top h1").inner_text()
    )
    assert box(page, "tanh").count() == 1
    assert "Group" in page.locator(".details").inner_text()


def test_a_click_shows_a_node_and_lights_it_up_in_every_pass(page: Any) -> None:
    box(page, "tanh").click()
    details = page.locator(".details")
    text = details.inner_text()
    assert "%tanh" in text
    assert "aten.tanh" in text
    assert "excluded" in text
    assert "TP401" in text
    assert "programs.py:" in text
    assert "scores = self.head(torch.tanh(pooled))" in text
    assert "f32[2,8]" in text
    assert len(passes_lit(page)) == page.locator(".pass").count()
    assert page.locator(".box.chosen text.title").text_content() == "tanh"
    details.locator("dd .node-link", has_text="%mean").first.click()
    assert "%mean" in details.locator("h2").inner_text()


def test_a_node_is_followed_through_passes_that_rename_and_fold_it(page: Any) -> None:
    page.locator(".pass[data-pass=input]").click()
    page.wait_for_selector(".graph-view[data-ready*='pass=input']")
    box(page, "batch_norm").click()
    assert {"input", "decompose", "lower.fold-batch-norm", "partition"} <= set(passes_lit(page))
    page.keyboard.press("j")
    assert page.locator(".details h2").inner_text() in ("%getitem", "%_native_batch_norm_legit_no_training")
    page.locator(".pass[data-pass=partition]").click()
    page.wait_for_selector(".graph-view[data-ready*='node=convolution']")
    assert page.locator(".box.chosen text.title").text_content() == "convolution"
    story = page.locator(".life").inner_text()
    assert "aten.batch_norm" in story
    assert "after lower.fold-batch-norm" in story


def test_details_have_the_layers_and_the_kernel_of_a_node(page: Any, run_data: dict[str, Any]) -> None:
    first, second = run_data["segments"][0]["nodes"][:2]
    box(page, first).click()
    text = page.locator(".details .tensorrt").inner_text()
    assert f"%{first} = LAYER(value=</b>)(%x) : f32[1]" in text
    assert "fused_0" in text
    assert "tactic_1" in text
    assert f"%{second}" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [("tanh", "%tanh"), ("aten.gelu", "%gelu"), ("TP201", "%_to_copy"), ("self.head(", "%tanh"), ("HEAD.1", "%gelu")],
)
def test_search_finds_by_name_operator_code_line_and_module(page: Any, query: str, found: str) -> None:
    page.keyboard.press("/")
    page.keyboard.type(query)
    page.wait_for_selector(f".result b:text-is('{found}')")
    page.keyboard.press("Escape")
    assert page.locator(".results").is_hidden()


def test_search_goes_from_hit_to_hit_and_into_other_passes(page: Any) -> None:
    page.keyboard.press("/")
    page.keyboard.type("linear")
    page.wait_for_selector(".result")
    assert page.locator(".box.found").count() > 0
    page.keyboard.press("Enter")
    first = page.locator(".details h2").inner_text()
    page.keyboard.press("Enter")
    assert first == "%linear"
    assert page.locator(".details h2").inner_text() == "%linear_1"
    page.locator(".search input").fill("aten.conv2d")
    page.locator(".result", has_text="in input").click()
    assert page.locator(".details h2").inner_text() == "%conv2d"
    assert page.locator(".pass.chosen").get_attribute("data-pass") == "input"
    page.locator(".search input").fill("no such thing")
    page.wait_for_selector(".results >> text=Nothing matches")


def test_a_link_restores_what_was_looked_at_and_back_goes_back(open_data: Open, run_data: dict[str, Any]) -> None:
    page = open_data(run_data, "#pass=decompose&node=gelu&view=text")
    assert page.locator(".pass.chosen").get_attribute("data-pass") == "decompose"
    assert page.locator(".details h2").inner_text() == "%gelu"
    assert view(page, "text").is_visible()
    assert view(page, "graph").is_hidden()
    page.locator(".text-view .line.chosen").first.wait_for()
    page.keyboard.press("3")
    assert "view=ledger" in page.url
    page.go_back()
    assert view(page, "text").is_visible()
    page.evaluate("location.hash = '#pass=input&node=conv2d'")
    page.wait_for_selector(".box.chosen")
    assert page.locator(".details h2").inner_text() == "%conv2d"


def test_a_link_to_what_is_not_there_opens_the_page_all_the_same(open_data: Open, run_data: dict[str, Any]) -> None:
    page = open_data(run_data, "#pass=nothing&node=nobody&view=what&color=none&group=other")
    page.wait_for_selector(".scene")
    assert page.locator(".pass.chosen").get_attribute("data-pass") == "partition"


def test_every_view_opens_by_its_key(page: Any) -> None:
    for key, name, text in (
        ("2", "text", "%tanh = aten.tanh(%mean)"),
        ("3", "ledger", "excluded"),
        ("4", "why", "stay in PyTorch"),
        ("5", "segments", "segment-00"),
        ("6", "timing", "lower.fold-batch-norm"),
        ("1", "graph", "op nodes"),
    ):
        page.keyboard.press(key)
        assert page.locator(f"[role=tab][data-view={name}]").get_attribute("aria-selected") == "true"
        assert text in view(page, name).inner_text()
        assert page.locator(".view:visible").count() == 1


def test_text_shows_what_a_pass_changed(page: Any) -> None:
    page.locator(".pass[data-pass='lower.fold-batch-norm']").click()
    page.keyboard.press("2")
    removed = page.locator(".text-view .line.removed").all_inner_texts()
    assert any("_native_batch_norm_legit_no_training" in line for line in removed)
    assert any("%relu = aten.relu(%convolution)" in line for line in page.locator(".line.added").all_inner_texts())
    page.select_option(".text-view select[aria-label=lines]", "changes")
    assert page.locator(".text-view .line.skipped").count() > 0
    page.locator(".pass[data-pass=annotate]").click()
    judged = page.locator(".text-view .line.judged", has_text="%tanh =").inner_text()
    assert "none" in judged
    assert "excluded TP401" in judged
    page.select_option(".text-view select[aria-label='compare with']", "00-input")
    assert any("aten.batch_norm" in line for line in page.locator(".line.removed").all_inner_texts())


def test_the_ledger_sorts_and_filters(page: Any, run_data: dict[str, Any]) -> None:
    page.keyboard.press("3")
    rows = page.locator(".ledger-view .table-row:not(.head)")
    total = sum(run_data["run"]["verdicts"].values())
    assert rows.count() == total
    names = page.locator(".ledger-view .table-row:not(.head) .c-node")
    in_order = names.all_inner_texts()
    page.locator(".ledger-view .head .c-node").click()
    assert names.all_inner_texts() == sorted(in_order)
    page.locator(".ledger-view .head .c-node").click()
    assert names.all_inner_texts() == sorted(in_order, reverse=True)
    page.locator(".ledger-view .head .c-node").click()
    assert names.all_inner_texts() == in_order
    page.locator(".ledger-view input").fill("tp201")
    assert rows.count() == run_data["run"]["verdicts"]["rejected"]
    page.locator(".ledger-view input").fill("")
    page.locator(".ledger-view .chips .v-trt").click()
    assert rows.count() == total - run_data["run"]["verdicts"]["trt"]
    rows.first.click()
    assert page.locator(".details h2").inner_text() == rows.first.locator(".c-node").inner_text()


def test_why_names_lines_reasons_and_gains(page: Any, run_data: dict[str, Any]) -> None:
    page.keyboard.press("4")
    shown = view(page, "why")
    text = shown.inner_text()
    assert "scores = self.head(torch.tanh(pooled))" in text
    assert "TP401" in text
    assert "TP201" in text
    for item in run_data["gains"]["fallbacks"]:
        assert item["gain"]["change"] in text
    remedy = shown.locator(".reason-list details", has_text="excluded by operator").first
    remedy.locator("summary").click()
    assert "Remove it from torch_executed_ops" in remedy.inner_text()
    assert shown.locator(".modules .module-name", has_text="head").count() == 1


def test_segments_show_boundaries_layers_and_a_graph_of_regions(page: Any, run_data: dict[str, Any]) -> None:
    page.keyboard.press("5")
    card = page.locator("[data-segment=segment-00]")
    assert "f32[2,3,8,8]" in card.inner_text()
    assert "2.0 KiB" in card.inner_text()
    card.locator("summary", has_text="network").click()
    card.locator(".rows .line").first.wait_for()
    assert card.locator(".rows .line").count() == len(run_data["segments"][0]["network"])
    page.locator(".segments-view button", has_text="show as a graph").click()
    page.wait_for_selector(".graph-view[data-ready*='group=segment']")
    titles = page.locator(".box.closed text.title").all_text_contents()
    assert "+ segment-00" in titles


def test_groups_open_and_fold(page: Any) -> None:
    page.keyboard.press("Shift+C")
    box(page, "head").wait_for()
    folded = page.locator(".box").count()
    box(page, "head").click()
    assert "Sequential" in page.locator(".details").inner_text()
    box(page, "head").dblclick()
    box(page, "gelu").wait_for()
    assert page.locator(".box").count() == folded + 2
    page.locator(".frame-name", has_text="head").click()
    box(page, "head").wait_for()
    page.evaluate("location.hash = '#pass=partition&node=gelu'")
    box(page, "gelu").wait_for()
    assert page.locator(".box.chosen text.title").text_content() == "gelu"
    page.keyboard.press("c")
    box(page, "head").wait_for()


def test_colours_by_verdict_segment_and_numbers(page: Any) -> None:
    assert "v-excluded" in str(box(page, "tanh").get_attribute("class"))
    page.select_option("select[aria-label=color]", "segment")
    assert "hued" in str(box(page, "convolution").get_attribute("class"))
    assert "hued" not in str(box(page, "tanh").get_attribute("class"))
    page.select_option("select[aria-label=color]", "error of the networks")
    assert "scale-6" in str(box(page, "convolution").get_attribute("class"))
    assert "relative L2" in page.locator(".legend").inner_text()
    page.locator(".legend .v-excluded").click()
    assert "muted" in str(box(page, "tanh").get_attribute("class"))


def test_keys_walk_through_passes_and_nodes(page: Any) -> None:
    page.keyboard.press("k")
    assert page.locator(".pass.chosen").get_attribute("data-pass") == "annotate"
    page.keyboard.press("j")
    box(page, "tanh").click()
    page.keyboard.press("ArrowUp")
    assert page.locator(".details h2").inner_text() == "%mean"
    page.keyboard.press("ArrowDown")
    assert page.locator(".details h2").inner_text() == "%tanh"
    page.keyboard.press("Escape")
    assert page.locator(".box.chosen").count() == 0
    assert passes_lit(page) == []
    layer = page.locator(".layer")
    before = layer.get_attribute("transform")
    page.keyboard.press("+")
    assert layer.get_attribute("transform") != before
    page.keyboard.press("?")
    assert page.locator("dialog.help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("dialog.help").is_hidden()


def test_the_picture_zooms_at_the_pointer_and_moves_with_it(page: Any) -> None:
    place = box(page, "tanh").bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    page.wait_for_timeout(50)
    near = box(page, "tanh").bounding_box()
    assert near["width"] > 1.3 * place["width"]
    assert abs(near["x"] + near["width"] / 2 - x) < 2
    page.mouse.down()
    page.mouse.move(x + 60, y + 30, steps=4)
    page.mouse.up()
    moved = box(page, "tanh").bounding_box()
    assert (round(moved["x"] - near["x"]), round(moved["y"] - near["y"])) == (60, 30)
    assert page.locator(".box.chosen").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_until_chosen(open_data: Open, run_data: dict[str, Any], scheme: str) -> None:
    page = open_data(run_data, color_scheme=scheme)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark, light = "rgb(15, 19, 24)", "rgb(255, 255, 255)"
    assert page.evaluate(paper) == (dark if scheme == "dark" else light)
    page.keyboard.press("d")
    assert page.evaluate(paper) == (light if scheme == "dark" else dark)
    page.reload()
    assert page.evaluate(paper) == (light if scheme == "dark" else dark)


def test_print_leaves_the_controls_out(page: Any) -> None:
    page.emulate_media(media="print")
    assert page.locator(".passes").is_hidden()
    assert page.locator(".toolbar").first.is_hidden()
    assert page.locator(".scene").is_visible()


def test_nothing_sticks_out_at_any_width(page: Any) -> None:
    for width in (420, 800, 1024, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        for key in "234561":
            page.keyboard.press(key)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator(".canvas").bounding_box()["width"] > 0.4 * width
        assert page.locator(".canvas").bounding_box()["height"] > 300


def test_a_failed_run_says_why_and_how_to_repeat_it(open_data: Open, run_data: dict[str, Any]) -> None:
    failed = {**run_data["run"], "failure": "PassFailure: broken <here>"}
    page = open_data({**run_data, "run": failed, "reproduce": "python d/repro/reproduce.py"})
    text = page.locator(".failure").inner_text()
    assert "PassFailure: broken <here>" in text
    assert "python d/repro/reproduce.py" in text


def test_files_of_a_pass_are_linked_and_there(open_file: Open, dump: Path) -> None:
    page = open_file(dump / "index.html")
    links = [item.get_attribute("href") for item in page.locator(".details dd a[href$='.txt']").all()]
    assert links
    assert all((dump / link).exists() for link in links)


def test_errors_of_quantised_layers(open_data: Open, run_data: dict[str, Any]) -> None:
    layers = [
        ("features.0", 0.01, ""),
        ("head.0", 0.0002, ""),
        ("head.2", None, ""),
        ("gone", 0.4, "its error is large"),
    ]
    quantisation = {
        "mode": "int8",
        "output_error": 0.025,
        "layers": [{"name": n, "kind": "Linear", "error": error, "reason": why} for n, error, why in layers],
    }
    page = open_data({**run_data, "run": {**run_data["run"], "quantisation": quantisation}})
    section = page.locator(".quantised-layers")
    assert "3 of 4 layers in int8; relative error of the results: 0.025." in section.inner_text()
    cells = [row.locator("td").all_inner_texts() for row in section.locator("tbody tr").all()]
    assert [cell[0] for cell in cells] == [
        "features.0",
        "head.0",
        "head.2",
        "gone stays, since its error is large",
    ]
    assert [cell[1].strip() for cell in cells] == ["0.01", "2.0e-4", "", "0.4"]
    section.locator("a", has_text="head.0").click()
    assert "head.0" in page.locator(".details").inner_text()
