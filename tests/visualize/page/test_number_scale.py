"""The colour scale of numbers on the page, as the script has it, evaluated by Node.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PAINT = Path(__file__).parents[3] / "visualize" / "page" / "script" / "paint.js"

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")


def scale(values: list[float | None], unit: str = "relative L2") -> dict[str, Any]:
    """What the legend and the boxes say of nodes n0, n1, … with these values."""
    measure = {"name": "error", "unit": unit, "values": {f"n{index}": value for index, value in enumerate(values)}}
    code = (
        PAINT.read_text(encoding="utf-8")
        + f"\nconst scale = new NumberScale({json.dumps(measure)});"
        + "\nconst steps = Object.keys(scale.measure.values).map((name) => scale.of([{ name }]).step);"
        + "\nconsole.log(JSON.stringify({ low: scale.text(scale.low), high: scale.text(scale.high), steps,"
        + " legend: scale.steps().map((item) => scale.text(item.value)) }));"
    )
    done = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_errors_within_one_decade_are_told_apart() -> None:
    found = scale([1.02e-7, 1.04e-7, 1.03e-7])
    assert (found["low"], found["high"]) == ("1.02e-7 relative L2", "1.04e-7 relative L2")
    assert found["steps"] == [0, 6, 3]
    assert len(set(found["legend"])) == 7 or found["legend"][0] != found["legend"][-1]


def test_equal_errors_are_not_the_worst() -> None:
    found = scale([2e-7, 2e-7])
    assert found["steps"] == [3, 3]
    assert found["legend"] == ["2.0e-7 relative L2"]


def test_many_decades_are_a_logarithmic_scale() -> None:
    found = scale([1e-8, 1e-5, 1e-2])
    assert found["steps"] == [0, 3, 6]
    assert found["legend"][3] == "1.0e-5 relative L2"


def test_what_is_not_finite_is_the_worst() -> None:
    assert scale([1e-7, None])["steps"][1] == 6
    assert scale([1e-7, 1e-7, None])["steps"] == [3, 3, 6]
