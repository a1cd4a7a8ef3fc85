"""Two passes side by side in the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Open = Callable[..., Any]

PLACES = """boxes => Object.fromEntries(boxes.map(box => [
    box.dataset.box[0] + box.querySelector('.title').textContent,
    [+box.querySelector('.shape').getAttribute('x'), +box.querySelector('.shape').getAttribute('y')]]))"""


@pytest.mark.parametrize("before", ["input", "annotate"])
def test_what_is_in_both_has_the_same_place_on_both_sides(
    open_data: Open, run_data: dict[str, Any], before: str
) -> None:
    page = open_data(run_data, f"#pass=partition&beside={before}")
    page.wait_for_selector(".side-title")
    page.keyboard.press("Shift+E")
    page.wait_for_function("document.querySelectorAll('.box.closed').length === 0")
    assert page.locator(".side-title").all_text_contents() == [before, "partition"]
    places = page.locator(".box").evaluate_all(PLACES)
    left = {name[1:]: place for name, place in places.items() if name[0] == "l"}
    right = {name[1:]: place for name, place in places.items() if name[0] == "r"}
    both = set(left) & set(right)
    assert {"x", "tanh", "gelu", "output"} <= both
    shifts = {(round(right[name][0] - left[name][0]), round(right[name][1] - left[name][1])) for name in both}
    assert len(shifts) == 1
    assert next(iter(shifts))[0] > 0
    assert next(iter(shifts))[1] == 0
    gone = set(page.locator(".box.change-gone text.title").all_text_contents())
    made = set(page.locator(".box.change-made text.title").all_text_contents())
    assert (gone, made) == (set(left) - set(right), set(right) - set(left))
    assert ("conv2d" in gone) == (before == "input")


def test_a_choice_is_marked_on_both_sides_and_an_erased_node_leads_to_what_it_became(
    open_data: Open, run_data: dict[str, Any]
) -> None:
    page = open_data(run_data, "#pass=partition&beside=input&node=tanh")
    page.wait_for_selector(".box.chosen")
    assert str(page.locator(".box.chosen").get_attribute("data-box")).startswith("r")
    assert str(page.locator(".box.same").get_attribute("data-box")).startswith("l")
    page.keyboard.press("Shift+E")
    page.wait_for_selector(".box.change-gone text.title:text-is('conv2d')")
    page.locator(".box.change-gone").filter(has=page.locator("text.title", has_text="conv2d")).click()
    assert page.locator(".details h2").inner_text() == "%convolution"
    page.locator("select[aria-label=beside]").select_option("")
    page.wait_for_selector(".side-title", state="detached")
    assert "beside" not in page.url
