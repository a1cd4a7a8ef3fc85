"""Pictures coloured by numbers, and tree maps."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from trt_passes.visualize.dot import to_dot
from trt_passes.visualize.heat import STEPS, heated, tree_map
from trt_passes.visualize.picture import Box, Picture

BOXES = (
    Box("a", ("linear",), verdicts={"trt": 1}, nodes=("linear",)),
    Box("b", ("block",), verdicts={"trt": 2}, nodes=("relu", "add"), times=2),
    Box("c", ("view",), verdicts={"trt": 1}, nodes=("view",)),
)
NUMBER = re.compile(r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"')


def test_boxes_are_filled_by_the_sum_of_their_nodes() -> None:
    values = {"linear": 1.0, "relu": 2.0, "add": 1.0}
    picture = heated(Picture("p", BOXES, ()), values, lambda us: f"{us} us", "run time")
    assert [box.fill for box in picture.boxes] == [STEPS[1], STEPS[-1], ""]
    assert [box.lines[-1] for box in picture.boxes] == ["1.0 us", "6.0 us", "view"]
    dot = to_dot(picture)
    assert STEPS[-1] in dot
    assert "run time" in dot


def test_modules_are_as_large_as_their_values() -> None:
    values = [("", 10.0), ("encoder.0", 40.0), ("encoder.1", 20.0), ("head", 30.0), ("encoder.0", 20.0)]
    svg = tree_map(values, lambda us: f"{us:.0f} us", "run time", (1000, 1024))
    root = ET.fromstring(svg)
    titles = [item.text for item in root.iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0] == "the model itself: 120 us, 100.0 %"
    assert "encoder.0: 60 us, 50.0 %" in titles
    areas = {
        title: float(width) * float(height)
        for title, (_, _, width, height) in zip(titles, NUMBER.findall(svg), strict=True)
    }
    assert areas["encoder.0: 60 us, 50.0 %"] == pytest.approx(3 * areas["encoder.1: 20 us, 16.7 %"], rel=0.05)


def test_rectangles_lie_inside_of_their_parents() -> None:
    values = [(f"a.{index % 7}.{index}", 1.0 + index**2) for index in range(60)]
    svg = tree_map(values, str, "t", (800, 600))
    for x, y, width, height in NUMBER.findall(svg):
        assert float(x) + float(width) <= 800.1
        assert float(y) + float(height) <= 600.1


@pytest.mark.parametrize("values", [[], [("a", 0.0)], [("a.b", 5.0)], [("<&>", 1.0), ("a", 1e-9)]])
def test_strange_values_make_sound_pictures(values: list[tuple[str, float]]) -> None:
    ET.fromstring(tree_map(values, str, "t"))
