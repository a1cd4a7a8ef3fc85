"""The options of the runtime: a part of the settings, checked as they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.runtime.options import RuntimeOptions
from trt_passes.compiler.settings import Settings


def test_they_are_settings_with_the_same_defaults() -> None:
    assert RuntimeOptions.of(Settings()) == RuntimeOptions()
    for item in dataclasses.fields(RuntimeOptions):
        assert getattr(Settings(), item.name) == item.default


def test_texts_and_aliases_are_taken_as_on_the_command_line() -> None:
    found = RuntimeOptions().updated({"cuda_graphs": "true", "runtime_cache": "k", "weight_streaming_budget": "10"})
    assert (found.cuda_graphs, found.runtime_cache_path, found.weight_streaming_budget) == (True, "k", 10)
    assert found.updated({}) == found
    assert "runtime_cache_path" not in found.to_json()
    assert RuntimeOptions().updated(found.to_json()) == dataclasses.replace(found, runtime_cache_path=None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cuda_graph": True}, "no option of a compiled module"),
        ({"cache_dir": "x"}, "no option of a compiled module"),
        ({"cuda_graph_limit": 0}, "at least 1"),
        ({"dynamic_shapes_kernel_specialization_strategy": "eagre"}, "Did you mean 'eager'"),
        ({"weight_streaming_budget": -1}, "at least 0"),
        ({"runtime_cache_path": 3}, "give a path"),
        ({"executor": "tensort"}, "Did you mean 'tensorrt'"),
    ],
)
def test_mistakes_are_user_errors(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        RuntimeOptions().updated(options)


def test_a_budget_needs_engines_that_stream() -> None:
    with pytest.raises(UserError, match="set enable_weight_streaming too"):
        Settings(weight_streaming_budget=0)
    assert Settings(weight_streaming_budget=0, enable_weight_streaming=True).weight_streaming_budget == 0


@pytest.mark.parametrize("name", ["cache_dir", "runtime_cache_path", "dump_dir"])
def test_paths(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    for given in ("~/place", Path("~/place"), "/home/someone/place"):
        assert getattr(Settings.from_options({name: given}), name) == "/home/someone/place"
    for wrong in ("", b"bytes", 3):
        with pytest.raises(UserError, match=f"option '{name}' is {wrong!r}: give a path."):
            Settings.from_options({name: wrong})


def test_names_of_torch_tensorrt() -> None:
    settings = Settings.from_options({"engine_cache_dir": "a", "engine_cache_size": 7, "runtime_cache": "b"})
    assert (settings.cache_dir, settings.cache_size, settings.runtime_cache_path) == ("a", 7, "b")
