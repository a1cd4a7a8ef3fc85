"""`trt_passes.torch_tensorrt`: code that was written for Torch-TensorRT runs when an import is changed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.compiler.compat.options import FOREIGN_OPTIONS, SHARED_OPTIONS
from trt_passes.compiler.settings import ALIASES

SMALL = {"min_block_size": 1, "executor": "reference"}


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        z = self.layer(x).relu()
        return z if y is None else z + y

    def double(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * 2


@pytest.fixture
def model() -> nn.Module:
    return Two().eval()


X = torch.randn(2, 4)


@pytest.mark.parametrize(
    "inputs",
    [
        X,
        [X],
        (X,),
        torch_tensorrt.Input((2, 4)),
        [torch_tensorrt.Input(min_shape=(1, 4), opt_shape=(2, 4), max_shape=(5, 4))],
        [torch_tensorrt.Input(X.shape, dtype=torch_tensorrt.dtype.f32, format=torch.contiguous_format)],
    ],
)
@pytest.mark.parametrize("name", ["inputs", "arg_inputs"])
def test_inputs_in_all_their_forms(model: nn.Module, inputs: Any, name: str) -> None:
    compiled = torch_tensorrt.compile(model, "dynamo", **{name: inputs}, **SMALL)
    torch.testing.assert_close(compiled(X), model(X))
    assert compiled.report.coverage == 1


def test_keyword_inputs_and_signatures(model: nn.Module) -> None:
    y = torch.randn(2, 3)
    compiled = torch_tensorrt.compile(model, inputs=[X], kwarg_inputs={"y": torch_tensorrt.Input((2, 3))}, **SMALL)
    torch.testing.assert_close(compiled(X, y=y), model(X, y=y))

    class Pair(nn.Module):
        def forward(self, pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            return pair[0] @ pair[1]

    signature = ((torch_tensorrt.Input((2, 4)), torch_tensorrt.Input((4, 3))),)
    compiled = torch_tensorrt.compile(Pair().eval(), input_signature=signature, **SMALL)
    pair = (X, torch.randn(4, 3))
    torch.testing.assert_close(compiled(pair), pair[0] @ pair[1])


def test_what_is_given_twice_or_not_at_all(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="names of one argument"):
        torch_tensorrt.compile(model, inputs=[X], arg_inputs=[X])
    with pytest.raises(ValueError, match="is compiled for its inputs"):
        torch_tensorrt.compile(model)
    with pytest.raises(tp.UserError, match="ir is 'dinamo'"):
        torch_tensorrt.compile(model, ir="dinamo", inputs=[X])


USUAL: dict[str, Any] = {
    "enabled_precisions": {torch_tensorrt.dtype.float},
    "device": torch_tensorrt.Device("cuda:0"),
    "disable_tf32": False,
    "assume_dynamic_shape_support": False,
    "sparse_weights": False,
    "engine_capability": torch_tensorrt.EngineCapability.STANDARD,
    "debug": False,
    "num_avg_timing_iters": 1,
    "workspace_size": 0,
    "dla_sram_size": 1048576,
    "dla_local_dram_size": 1073741824,
    "dla_global_dram_size": 536870912,
    "truncate_double": False,
    "require_full_compilation": False,
    "torch_executed_ops": set(),
    "torch_executed_modules": [],
    "pass_through_build_failures": True,
    "max_aux_streams": None,
    "version_compatible": False,
    "optimization_level": 1,
    "use_python_runtime": False,
    "use_fast_partitioner": True,
    "enable_experimental_decompositions": False,
    "dryrun": False,
    "hardware_compatible": False,
    "timing_cache_path": "",
    "lazy_engine_init": False,
    "cache_built_engines": False,
    "reuse_cached_engines": False,
    "engine_cache_dir": "/nowhere/at/all",
    "engine_cache_size": 1 << 20,
    "custom_engine_cache": None,
    "use_explicit_typing": True,
    "use_fp32_acc": True,
    "refit_identical_engine_weights": False,
    "strip_engine_weights": False,
    "immutable_weights": True,
    "enable_weight_streaming": False,
    "tiling_optimization_level": "none",
    "l2_limit_for_tiling": -1,
    "offload_module_to_cpu": False,
    "use_distributed_mode_trace": False,
    "enable_autocast": False,
    "autocast_low_precision_type": None,
    "autocast_excluded_nodes": set(),
    "autocast_excluded_ops": set(),
    "autocast_max_output_threshold": 512,
    "autocast_max_depth_of_reduction": None,
    "autocast_calibration_dataloader": None,
    "enable_resource_partitioning": False,
    "cpu_memory_budget": None,
    "dynamically_allocate_resources": False,
    "decompose_attention": False,
    "attn_bias_is_causal": False,
    "enable_cross_compile_for_windows": False,
}


def test_usual_values_of_all_options_are_accepted_without_a_word(model: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = torch_tensorrt.compile(model, "dynamo", inputs=[X], **USUAL, **SMALL)
    torch.testing.assert_close(compiled(X), model(X))
    settings = torch_tensorrt.dynamo.CompilationSettings()
    assert settings.options() == {}
    assert torch_tensorrt.dynamo.CompilationSettings(min_block_size=2).options() == {"min_block_size": 2}


def test_every_option_is_in_one_of_the_tables() -> None:
    known = {*FOREIGN_OPTIONS, *SHARED_OPTIONS}
    assert set(USUAL) <= known
    assert not set(FOREIGN_OPTIONS) & set(SHARED_OPTIONS)
    fields = tp.Settings.__dataclass_fields__
    assert all(ALIASES.get(name, name) in fields for name in SHARED_OPTIONS)
    assert all(option.here in {*fields, ""} for option in FOREIGN_OPTIONS.values())


@pytest.mark.parametrize(
    "options",
    [{"device": torch_tensorrt.Device("dla:0")}, {"engine_capability": "SAFETY"}],
)
def test_what_is_not_possible_is_refused(model: nn.Module, options: Any) -> None:
    with pytest.raises(tp.UserError, match="not possible here"):
        torch_tensorrt.compile(model, inputs=[X], **options)


@pytest.mark.parametrize(
    "options",
    [
        {"enabled_precisions": {torch.half}},
        {"enabled_precisions": {"fp16"}},
        {"enabled_precisions": [torch_tensorrt.dtype.half, torch_tensorrt.dtype.float]},
        {"enable_autocast": True, "autocast_low_precision_type": torch.float16},
    ],
)
def test_precisions(model: nn.Module, options: Any) -> None:
    compiled = torch_tensorrt.compile(model, inputs=[X], **options, **SMALL)
    assert compiled.report.settings["enabled_precisions"] == ["float16", "float32"]
    torch.testing.assert_close(compiled(X), model(X), rtol=1e-2, atol=1e-2)


def test_precisions_that_are_not_cast_to(model: nn.Module) -> None:
    with pytest.warns(UserWarning, match=r"has torch\.int8"):
        compiled = torch_tensorrt.compile(model, inputs=[X], enabled_precisions={torch.int8}, **SMALL)
    torch.testing.assert_close(compiled(X), model(X))


def test_engines_are_kept_if_asked(model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cached(**options: Any) -> Any:
        found = torch_tensorrt.compile(model, inputs=[X], min_block_size=1, **options)
        return found.report.segments[0].cached

    kept = {"cache_built_engines": True, "reuse_cached_engines": True}
    assert cached(**kept, engine_cache_dir=str(tmp_path / "engines")) is False
    assert cached(**kept, engine_cache_dir=str(tmp_path / "engines")) is True
    monkeypatch.setattr("trt_passes.compiler.compat.arguments.tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    assert cached(**kept) is False
    assert cached(**kept) is True
    assert cached(cache_built_engines=False, reuse_cached_engines=False) is None


def test_a_dry_run_writes_its_table(model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    result = torch_tensorrt.compile(model, inputs=[X], dryrun=str(path), min_block_size=1)
    torch.testing.assert_close(result(X), model(X))
    assert "segment-00" in path.read_text()


def test_other_front_ends(model: nn.Module) -> None:
    for ir in ("ts", "torchscript", "torch_compile", "default", "exported_program"):
        compiled = torch_tensorrt.compile(model, ir=ir, inputs=[X], min_block_size=1, executor="pytorch")
        torch.testing.assert_close(compiled(X), model(X))
        assert isinstance(compiled, torch.jit.ScriptModule) == (ir in ("ts", "torchscript"))
    script = torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval())
    compiled = torch_tensorrt.ts.compile(script, inputs=[torch_tensorrt.Input((2, 4))], executor="pytorch")
    torch.testing.assert_close(compiled(X), script(X))


@pytest.mark.long
def test_backends_of_torch_compile() -> None:
    code = (
        "import torch, trt_passes.torch_tensorrt as torch_tensorrt\n"
        "model, x = torch.nn.Linear(4, 3).eval(), torch.randn(2, 4)\n"
        "options = {'min_block_size': 1, 'device': torch_tensorrt.Device('cuda:0'), 'executor': 'pytorch',\n"
        "    'enabled_precisions': {torch_tensorrt.dtype.f32}}\n"
        "for number, name in enumerate(('torch_tensorrt', 'tensorrt'), 1):\n"
        "    torch._dynamo.reset()\n"
        "    compiled = torch.compile(model, backend=name, options=options)\n"
        "    with torch.no_grad(): torch.testing.assert_close(compiled(x), model(x))\n"
        "    assert torch._dynamo.utils.counters['trt_passes']['builds'] == number\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_programs_and_engines(model: nn.Module) -> None:
    varying = torch_tensorrt.Input(min_shape=(1, 4), opt_shape=(2, 4), max_shape=(5, 4))
    program = torch_tensorrt.dynamo.trace(model, arg_inputs=(varying,))
    assert isinstance(program, torch.export.ExportedProgram)
    compiled = torch_tensorrt.dynamo.compile(program, arg_inputs=[varying], **SMALL)
    for size in (1, 2, 5):
        x = torch.randn(size, 4)
        torch.testing.assert_close(compiled(x), model(x))
    assert isinstance(torch_tensorrt.dynamo.export(compiled), torch.export.ExportedProgram)
    engines = [
        torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine(program, inputs=[varying]),
        torch_tensorrt.convert_method_to_trt_engine(model, inputs=[X], require_full_compilation=True),
        torch_tensorrt.convert_method_to_trt_engine(model, "double", inputs=[X]),
        torch_tensorrt.ts.convert_method_to_trt_engine(torch.jit.script(model), "forward", inputs=[X]),
    ]
    assert all(isinstance(engine, bytes) and len(engine) > 100 for engine in engines)
    with pytest.raises(ValueError, match="has no method"):
        torch_tensorrt.convert_method_to_trt_engine(model, "triple", inputs=[X])


def test_a_debugger_dumps_what_is_compiled(model: nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with torch_tensorrt.dynamo.Debugger(log_level="graphs", logging_dir=str(tmp_path / "logs")):
        for _ in range(2):
            torch_tensorrt.compile(model, inputs=[X], min_block_size=1)
    assert sorted(os.listdir(tmp_path / "logs")) == ["compile-00", "compile-01"]
    assert (tmp_path / "logs" / "compile-00" / "index.html").exists()
    assert "verdicts: " in caplog.text
    assert "graph before decompose" in caplog.text
    caplog.clear()
    torch_tensorrt.compile(model, inputs=[X], min_block_size=1)
    assert "trt_passes" not in caplog.text
    with pytest.raises(ValueError, match="log_level is 'loud'"):
        torch_tensorrt.dynamo.Debugger(log_level="loud")


def test_levels_of_messages(model: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    logger, names = logging.getLogger("trt_passes"), torch_tensorrt.logging
    before = logger.level
    for manager, level in ((names.errors, 40), (names.warnings, 30), (names.info, 20), (names.debug, 10)):
        with manager():
            assert logger.level == level
        assert logger.level == before
    with names.info():
        torch_tensorrt.compile(model, inputs=[X], min_block_size=1)
    assert "engines: 1" in caplog.text
    assert "pass decompose" not in caplog.text
    with names.internal_errors():
        torch_tensorrt.compile(model, inputs=[X], min_block_size=1)
        names.set_level(logging.DEBUG)
        assert torch_tensorrt.ts.logging.get_reportable_log_level() is names.Level.Debug
    assert logger.level == before


def test_importing_it_needs_no_compiler_of_pytorch() -> None:
    code = (
        "import sys, torch, trt_passes.torch_tensorrt\n"
        "assert not {'torch._dynamo', 'tensorrt', 'tensorrt_rtx'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("call", "kinds"),
    [
        (lambda: torch_tensorrt.compile(Two(), ir="other", inputs=[X]), (ValueError, RuntimeError)),
        (lambda: torch_tensorrt.compile(Two(), inputs=[X], arg_inputs=[X]), (AssertionError, ValueError)),
        (lambda: torch_tensorrt.compile(Two(), ir="dynamo"), (AssertionError, ValueError)),
        (lambda: torch_tensorrt.compile(Two(), inputs=[X], optimization_level=9), (ValueError,)),
        (lambda: torch_tensorrt.compile(Two(), inputs=[X], unheard_of=1), (ValueError,)),
        (lambda: torch_tensorrt.compile(Two(), inputs=[X], device=torch_tensorrt.Device("dla:0")), (RuntimeError,)),
        (
            lambda: torch_tensorrt.compile(
                Two(), inputs=[X], require_full_compilation=True, torch_executed_ops={"aten.relu"}
            ),
            (AssertionError, ValueError, RuntimeError),
        ),
    ],
)
def test_mistakes_are_errors_of_pythons_too(call: Any, kinds: Any) -> None:
    for kind in (*kinds, tp.UserError):
        with pytest.raises(kind):
            call()
