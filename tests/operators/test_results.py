"""What `make operators` found last: nothing wrong, and enough right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from trt_passes.compiler.ir.text import op_name
from trt_passes.passes.convert import default_registry

from tests.operators.catalog import RANDOM, group_of
from tests.operators.results import CAPS, FILE, summary


@pytest.fixture(scope="module")
def measured() -> Any:
    return json.loads(FILE.read_text(encoding="utf-8"))


def test_nothing_is_wrong(measured: Any) -> None:
    assert measured["wrong"] == []
    assert summary(measured["entries"])["wrong"] == 0


def test_enough_float32_samples_are_right(measured: Any) -> None:
    found = summary(measured["entries"])
    assert found["static float32"]["percent"] >= 95
    assert found == measured["summary"]


def test_the_run_was_a_whole_one(measured: Any) -> None:
    assert measured["caps"] == json.loads(json.dumps(CAPS))
    assert sum(entry["group"] == "promised" for entry in measured["entries"].values()) > 350


def test_random_samples_are_refused(measured: Any) -> None:
    for name in RANDOM & set(measured["entries"]):
        assert group_of(name) == "refused"
        counts = measured["entries"][name]["f32"]["static"]
        # The rest are samples of dropout that draw nothing.
        assert counts.get("TP207", 0) > 0 or set(counts) == {"not applicable"}, name


def test_operators_that_samples_reach_are_known(measured: Any) -> None:
    converted = {op_name(target) for target in default_registry().targets}
    right = {name for name, row in measured["targets"].items() if row["static"].get("right")}
    assert right - {"getitem"} <= converted, "the converters have changed since: run `make operators`"
