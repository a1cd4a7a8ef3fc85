"""Engines kept in a user's own store, and packages of AOTInductor's."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.compiler.compat import windows
from trt_passes.torch_tensorrt.dynamo._engine_cache import BaseEngineCache, DiskEngineCache

X = torch.randn(2, 4)
KEPT: dict[str, Any] = {"cache_built_engines": True, "reuse_cached_engines": True, "min_block_size": 1}


class Store(BaseEngineCache):
    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.hits = 0

    def save(self, hash: str, blob: bytes, *args: Any, **kwargs: Any) -> None:
        self.blobs[hash] = blob

    def load(self, hash: str, *args: Any, **kwargs: Any) -> bytes | None:
        self.hits += hash in self.blobs
        return self.blobs.get(hash)


def test_engines_are_kept_in_a_store_of_the_users() -> None:
    store, model = Store(), nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval()
    for hits in (0, 1, 2):
        compiled = torch_tensorrt.compile(model, inputs=[X], custom_engine_cache=store, executor="reference", **KEPT)
        assert (store.hits, len(store.blobs)) == (hits, 1)
        assert compiled.report.segments[0].cached is (hits > 0)
        torch.testing.assert_close(compiled(X), model(X))
    other = tp.compile(nn.Linear(4, 3).eval(), [X], engine_cache=store, min_block_size=1)
    assert len(store.blobs) == 2
    assert other.report.segments[0].cached is False
    options = {**KEPT, "cache_built_engines": False, "reuse_cached_engines": False}
    assert (
        torch_tensorrt.compile(model, inputs=[X], custom_engine_cache=store, **options).report.segments[0].cached
        is None
    )


def test_what_a_store_gives_back_is_checked() -> None:
    store, model = Store(), nn.Linear(4, 3).eval()
    tp.compile(model, [X], engine_cache=store, min_block_size=1)
    (key,) = store.blobs
    for damaged in (b"", store.blobs[key][:-1], b"x" + store.blobs[key]):
        store.blobs[key] = damaged
        assert tp.compile(model, [X], engine_cache=store, min_block_size=1).report.segments[0].cached is False
    with pytest.raises(tp.UserError, match="a dict without save"):
        tp.Settings(engine_cache={})


def test_a_folder_by_its_class(tmp_path: Path) -> None:
    cache, model = DiskEngineCache(str(tmp_path), 1 << 30), nn.Linear(4, 3).eval()
    for expected in (False, True):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*reuse_cached_engines")
            compiled = torch_tensorrt.compile(model, inputs=[X], custom_engine_cache=cache, **KEPT)
        assert compiled.report.segments[0].cached is expected
    (kept,) = tmp_path.iterdir()
    small = DiskEngineCache(str(tmp_path), kept.stat().st_size + 10)
    small.save("other", b"x" * 100)
    assert [path.name for path in tmp_path.iterdir()] == ["other.blob"]
    with pytest.warns(UserWarning, match="is not kept"):
        small.save("large", b"x" * (1 << 20))
    assert small.load("large") is None
    assert small.load("other") == b"x" * 100
    free = small.available_engine_cache_size
    assert (small.has_available_cache_size(free), small.has_available_cache_size(free + 1)) == (True, False)
    small.clear_cache(free)
    assert small.load("other") is not None
    small.clear_cache(free + 1)
    assert small.load("other") is None


def test_an_engine_is_packed_with_what_must_be_known_of_it() -> None:
    store = Store()
    inputs = [
        torch_tensorrt.Input((2, 4), dtype=torch.float16, name="x", tensor_domain=(-1, 1)),
        torch_tensorrt.Input(min_shape=(1, 4), opt_shape=(2, 4), max_shape=(8, 4), dtype=torch.int64),
        torch_tensorrt.Input(
            profiles=[{"min": (1,), "opt": (2,), "max": (3,)}, {"min": (4,), "opt": (5,), "max": (6,)}]
        ),
    ]
    settings = torch_tensorrt.dynamo.CompilationSettings(
        enabled_precisions={torch_tensorrt.dtype.f16},
        torch_executed_ops={"aten.add"},
        autocast_low_precision_type=torch.half,
    )
    store.insert("key", (b"engine", ["x", "y"], ["out"], inputs, settings, {"a": ["b", 1]}, True, False))
    engine, names, results, found, options, weights, *flags = store.check("key")
    assert (engine, names, results, weights, flags) == (b"engine", ["x", "y"], ["out"], {"a": ["b", 1]}, [True, False])
    assert all(map(torch_tensorrt.Input.equivalent_spec, inputs, found))
    assert [str(item) for item in found] == [str(item) for item in inputs]
    assert options == settings
    assert store.check("other") is None
    for damaged in (b"", b"x", store.blobs["key"][:40], store.blobs["key"].replace(b"Input", b"Inpit")):
        with pytest.raises(ValueError, match="packed"):
            BaseEngineCache.unpack(damaged)


@pytest.mark.model
@pytest.mark.long
@pytest.mark.parametrize("whole", [True, False])
def test_a_package_of_aot_inductor(tmp_path: Path, whole: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(x).relu()
            return y if whole else torch.special.i0(y).sin()

    model = Model().eval()
    compiled = torch_tensorrt.compile(model, inputs=[X], min_block_size=1, executor="pytorch")
    # Compiling PyTorch's headers in advance takes longer than compiling one small model without.
    with torch._inductor.config.patch({"aot_inductor.precompile_headers": False}):
        torch_tensorrt.save(compiled, tmp_path / "model.pt2", output_format="aot_inductor", inputs=[X])
    package = torch._inductor.aoti_load_package(str(tmp_path / "model.pt2"))
    torch.testing.assert_close(package(X), model(X))


def test_the_operator_takes_no_list_for_an_empty_one() -> None:
    model = nn.ReLU().eval()
    compiled = tp.compile(model, [X], min_block_size=1, executor="pytorch")
    (segment,) = compiled.segments.values()
    from trt_passes.compiler.runtime.operator import execute_engine

    nothing: Any = None
    (found,) = execute_engine([X], segment.engine, segment.spec_text, segment.fallback, nothing)
    torch.testing.assert_close(found, model(X))


def test_engines_for_windows_are_those_of_tensorrt_rtx(tmp_path: Path) -> None:
    model, path = nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), tmp_path / "model.ep"
    torch_tensorrt.cross_compile_for_windows(model, path, inputs=[X], min_block_size=1, use_python_runtime=False)
    torch.testing.assert_close(torch_tensorrt.load_cross_compiled_exported_program(path).module()(X), model(X))
    program = torch.export.export(model, (X,))
    compiled = torch_tensorrt.dynamo.cross_compile_for_windows(program, [X], min_block_size=1)
    torch_tensorrt.dynamo.save_cross_compiled_exported_program(compiled, path)
    torch.testing.assert_close(torch_tensorrt.load(path).module()(X), model(X))
    with pytest.raises(ValueError, match="give file_path"):
        torch_tensorrt.cross_compile_for_windows(model, inputs=[X])


def test_engines_of_tensorrt_itself_are_for_one_system(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(is_rtx=False, __str__=lambda: "TensorRT 11.4")
    monkeypatch.setattr(windows, "load_tensorrt", lambda: library)
    with pytest.raises(RuntimeError, match="compile on Windows"):
        torch_tensorrt.cross_compile_for_windows(nn.ReLU(), "model.ep", inputs=[X])


def test_bindings_are_named_by_place() -> None:
    model = torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval())
    engine = torch_tensorrt.ts.convert_method_to_trt_engine(model, "forward", inputs=[X])
    for names in ((["input_0"], ["output_0"]), (None, None), (list(engine.arguments), list(engine.results))):
        script = torch_tensorrt.ts.embed_engine_in_new_module(engine, *names, device=torch_tensorrt.Device("cuda:0"))
        assert isinstance(script, torch.jit.ScriptModule)
    with pytest.raises(tp.UserError, match="input_7"):
        torch_tensorrt.ts.embed_engine_in_new_module(engine, ["input_7"])
    assert torch_tensorrt.ts.check_method_op_support(model, "forward")


def test_profiles_need_no_choice() -> None:
    rows = [{"min": (1, 4), "opt": (1, 4), "max": (1, 4)}, {"min": (2, 4), "opt": (4, 4), "max": (8, 4)}]
    model = nn.Linear(4, 3).eval()
    item = torch_tensorrt.Input(profiles=rows)
    compiled = torch_tensorrt.compile(model, inputs=[item], min_block_size=1, executor="pytorch")
    for profile, size in ((0, 1), (1, 5), ("auto", 8)):
        with torch_tensorrt.runtime.optimization_profile(compiled, profile) as module:
            x = torch.randn(size, 4)
            torch.testing.assert_close(module(x), model(x))
    with pytest.raises(TypeError, match="give its number"):
        torch_tensorrt.runtime.optimization_profile(compiled, -1)
