"""`Settings`: one list of options for Python, the command line and the docs."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import warnings
from typing import Any

import pytest
import torch
from trt_passes import Settings, UserError


def test_every_option_is_documented_and_normalized() -> None:
    documented = [row[0] for row in Settings.documentation()]
    assert documented == [item.name for item in dataclasses.fields(Settings)]
    for name, kind, default, doc in Settings.documentation():
        assert kind, name
        assert default, name
        assert doc.endswith((".", "pytorch.")), name
        assert doc[0].isupper(), name


def test_json_holds_every_option_but_the_folder() -> None:
    values = Settings(dump_dir="x", enabled_precisions={torch.float16}).to_json()
    assert json.loads(json.dumps(values)) == values
    assert set(values) == {item.name for item in dataclasses.fields(Settings)} - {
        "dump_dir",
        "cache_dir",
        "runtime_cache_path",
        "calibration",
        "check",
        "converters",
        "tuning",
        "engine_cache",
    }
    assert values["enabled_precisions"] == ["float16"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("min_block_size=3", {"min_block_size": 3}),
        ("min-block-size=3", {"min_block_size": 3}),
        (
            "torch_executed_ops=aten.softmax,aten::sort",
            {"torch_executed_ops": frozenset({"aten.softmax", "aten.sort"})},
        ),
        ("torch_executed_ops=torch.ops.aten.sort", {"torch_executed_ops": frozenset({"aten.sort"})}),
        ("enabled_precisions=fp16", {"enabled_precisions": frozenset({torch.float16})}),
        ("enabled_precisions={fp32,bf16}", {"enabled_precisions": frozenset({torch.float32, torch.bfloat16})}),
        ("truncate_double=true", {"truncate_double": True}),
        ("truncate_long_and_double=yes", {"truncate_double": True}),
        ("optimization_level=none", {"optimization_level": None}),
        ("optimization_level=5", {"optimization_level": 5}),
        ("compute_capabilities=12.0,8.6,8.6", {"compute_capabilities": ("8.6", "12.0")}),
        ("executor=reference", {"executor": "reference"}),
        ("require_full_compilation=yes", {"require_full_compilation": True, "min_block_size": 1}),
    ],
)
def test_from_texts(text: str, expected: dict[str, Any]) -> None:
    assert Settings.from_texts([text]) == Settings(**expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("min_blok_size=3", "unknown option 'min_blok_size'. Did you mean 'min_block_size'"),
        ("min_block_size", "--set min_block_size=VALUE"),
        ("min_block_size=0", "at least 1"),
        ("min_block_size=three", "whole number"),
        ("optimization_level=7", "from 0 to 6"),
        ("truncate_double=maybe", "true or false"),
        ("enabled_precisions=fp8", "float32, float16 or bfloat16"),
        ("enabled_precisions=fp16,bf16", "give one of them"),
        ("compute_capabilities=sm86", "8.6"),
        ("executor=referense", "Did you mean 'reference'?"),
        ("workspace_size=-1", "at least 0"),
    ],
)
def test_wrong_texts(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Settings.from_texts([text])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_is_given_once() -> None:
    with pytest.raises(UserError, match="twice"):
        Settings.from_texts(["dryrun=true", "dryrun=false"])
    with pytest.raises(UserError, match="twice"):
        Settings.from_texts(["truncate-double=true", "truncate_long_and_double=true"])
    with pytest.raises(UserError, match="twice"):
        Settings.from_options({"truncate_double": True, "truncate_long_and_double": True})


def test_operators_from_python() -> None:
    ops = {torch.ops.aten.softmax, torch.ops.aten.sum.dim_IntList, torch.ops.aten.relu.default, "aten.sort"}
    assert Settings(torch_executed_ops=ops).torch_executed_ops == {
        "aten.softmax",
        "aten.sum.dim_IntList",
        "aten.relu",
        "aten.sort",
    }
    assert Settings(torch_executed_modules={torch.nn.Linear, "layers.0"}).torch_executed_modules == {
        "Linear",
        "layers.0",
    }
    with pytest.raises(UserError, match="torch_executed_ops"):
        Settings(torch_executed_ops={3})


def test_a_block_size_that_is_given_holds_for_whole_models_too() -> None:
    given = Settings.from_options({"require_full_compilation": True, "min_block_size": 3})
    assert (given.require_full_compilation, given.min_block_size) == (True, 3)
    plain = Settings.from_options({"require_full_compilation": False})
    assert (plain.min_block_size, plain.block_floor) == (None, 5)
    assert Settings.from_texts(["min_block_size=none"]).min_block_size is None


def test_updated_leaves_the_rest() -> None:
    before = Settings(min_block_size=7)
    after = before.updated({"dryrun": True})
    assert (after.min_block_size, after.dryrun, before.dryrun) == (7, True, False)


def test_settings_are_values() -> None:
    assert hash(Settings(compute_capabilities=["8.6"])) == hash(Settings(compute_capabilities=("8.6",)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().dryrun = True  # type: ignore[misc]


@pytest.mark.parametrize(
    "options",
    [
        {"debug": False, "device": torch.device("cuda:0"), "use_python_runtime": False, "immutable_weights": True},
        {"make_refittable": False, "use_explicit_typing": True, "version_compatible": False, "max_aux_streams": None},
        {"cache_built_engines": True, "reuse_cached_engines": True, "engine_cache_dir": "engines"},
    ],
)
def test_options_of_torch_tensorrt_that_ask_for_what_is_done_anyway(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Settings.from_options(options).cache_dir == options.get("engine_cache_dir")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"debug": True}, "option 'debug' of Torch-TensorRT has no effect here: .* give dump_dir"),
        ({"timing_cache_path": "cache.bin"}, "'timing_cache_path' .* has no effect here: .* runtime_cache_path"),
        ({"cache_built_engines": True}, "'cache_built_engines' .* give cache_dir"),
        ({"hardware_compatible": True}, "'hardware_compatible' .* every GPU generation unless compute_capabilities"),
        ({"decompose_attention": True}, "'decompose_attention' .* attention is kept whole"),
    ],
)
def test_options_of_torch_tensorrt_without_effect_are_warnings(options: dict[str, Any], words: str) -> None:
    with pytest.warns(UserWarning, match=words):
        assert Settings.from_options(options) == Settings()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dla_core": 0}, "option 'dla_core' of Torch-TensorRT is 0, which is not possible here: "),
        ({"device": "cpu"}, "an engine runs on the GPU that its inputs are on"),
        ({"enable_autocast": True}, "give enabled_precisions="),
    ],
)
def test_options_of_torch_tensorrt_that_cannot_be_had_are_errors(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Settings.from_options(options)


def test_an_unknown_option_of_the_class_itself() -> None:
    with pytest.raises(UserError, match=r"unknown option 'min_block_sise'.*Did you mean 'min_block_size'"):
        Settings(min_block_sise=3)  # type: ignore[call-arg]
    assert copy.deepcopy(Settings(min_block_size=3)) == Settings(3) == pickle.loads(pickle.dumps(Settings(3)))
