"""Weights that change after compiling: refitted, mutable, swapped by adapters."""

from __future__ import annotations

import copy
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn
from trt_passes.torch_tensorrt import MutableTorchTensorRTModule
from trt_passes.torch_tensorrt.dynamo import refit_module_weights
from trt_passes.torch_tensorrt.dynamo.runtime._MutableTorchTensorRTModule import RefitFlag

SMALL = {"min_block_size": 1, "executor": "reference"}
X = torch.randn(2, 3, 6, 6)


def network() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()
    norm: Any = model[1]
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return model


def exported(model: nn.Module) -> torch.export.ExportedProgram:
    return torch.export.export(model, (X,))


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("option", [{"immutable_weights": False}, {"make_refittable": True}])
def test_a_module_is_refitted(option: Any, in_place: bool) -> None:
    old, new = network(), network()
    compiled = torch_tensorrt.dynamo.compile(exported(old), arg_inputs=[X], **option, **SMALL)
    engines = [segment.engine.data_ptr() for segment in compiled.segments.values()]
    found = refit_module_weights(compiled, exported(new), arg_inputs=[X], verify_output=True, in_place=in_place)
    assert (found is compiled) == in_place
    assert [segment.engine.data_ptr() for segment in found.segments.values()] == engines
    torch.testing.assert_close(found(X), new(X))
    torch.testing.assert_close(compiled(X), (new if in_place else old)(X))
    torch.testing.assert_close(old(X), exported(old).module()(X))


def test_a_loaded_module_is_refitted(tmp_path: Path) -> None:
    old, new = network(), network()
    compiled = torch_tensorrt.compile(old, inputs=[X], immutable_weights=False, min_block_size=1, executor="pytorch")
    torch_tensorrt.save(compiled, tmp_path / "model.ep")
    found = refit_module_weights(torch_tensorrt.load(tmp_path / "model.ep"), exported(new))
    torch.testing.assert_close(found(X), new(X))
    torch_tensorrt.save(found, tmp_path / "new.ep")
    torch.testing.assert_close(torch_tensorrt.load(tmp_path / "new.ep").module()(X), new(X))


def test_engines_that_hold_weights_are_built_again() -> None:
    old, new = network(), network()
    compiled = torch_tensorrt.compile(old, inputs=[X], **SMALL)
    with pytest.warns(UserWarning, match="compiled again"):
        found = refit_module_weights(compiled, exported(new))
    torch.testing.assert_close(found(X), new(X))
    with pytest.raises(RuntimeError, match="cannot be changed in place"):
        refit_module_weights(compiled, exported(new), in_place=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        refit_module_weights(compiled, exported(old))


def test_what_cannot_be_refitted() -> None:
    compiled = torch_tensorrt.compile(network(), inputs=[X], immutable_weights=False, **SMALL)
    other = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6)).eval()
    with pytest.raises(ValueError, match="the same model with other weights"):
        refit_module_weights(compiled, exported(other))
    with pytest.raises(TypeError, match="give an ExportedProgram"):
        refit_module_weights(compiled, other)  # type: ignore[arg-type]


def test_a_mutable_module_follows_its_model() -> None:
    model, new = network(), network()
    mutable = MutableTorchTensorRTModule(copy.deepcopy(model), **SMALL)
    assert mutable.refit_state == RefitFlag.NEEDS_RECOMPILE
    torch.testing.assert_close(mutable(X), model(X))
    assert (mutable.compilations, mutable.refit_state) == (1, RefitFlag.LIVE)
    mutable.load_state_dict(new.state_dict())
    torch.testing.assert_close(mutable(X), new(X))
    with torch.no_grad():
        mutable[4].bias.add_(1)
        new[4].bias.add_(1)  # type: ignore[index]
    torch.testing.assert_close(mutable(X), new(X))
    mutable[4].weight = nn.Parameter(torch.ones(5, 64))
    new[4].weight = nn.Parameter(torch.ones(5, 64))  # type: ignore[index]
    assert mutable.refit_state.get_state() is RefitFlag.NEEDS_REFIT
    torch.testing.assert_close(mutable(X), new(X))
    assert mutable.compilations == 1
    mutable[4] = nn.Linear(64, 2)
    assert mutable.refit_state.get_state() is RefitFlag.NEEDS_RECOMPILE
    assert mutable(X).shape == (2, 2)
    assert mutable(X[:1]).shape == (1, 2)
    assert mutable.compilations == 3


def test_a_mutable_module_is_taken_for_its_model() -> None:
    model = network()
    mutable = MutableTorchTensorRTModule(model, **SMALL)
    assert isinstance(mutable, nn.Sequential)
    assert dict(mutable.named_parameters()).keys() == dict(model.named_parameters()).keys()
    torch.testing.assert_close(nn.Sequential(mutable, nn.ReLU())(X), model(X).relu())
    mutable.note = "kept"
    assert model.note == "kept"
    twin = copy.deepcopy(mutable)
    with torch.no_grad():
        twin[4].bias.add_(1)
    torch.testing.assert_close(twin(X), model(X) + 1)
    torch.testing.assert_close(mutable(X), model(X))


def test_a_mutable_module_of_varying_sizes() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor, scale: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.layer(x) * scale["by"]

    model = Named().eval()
    mutable = MutableTorchTensorRTModule(model, **SMALL)
    rows = torch.export.Dim("rows", min=1, max=9)
    mutable.set_expected_dynamic_shape_range(({0: rows},), {"scale": {"by": {0: rows}}})
    for size in (2, 5, 9):
        x, scale = torch.randn(size, 4), {"by": torch.randn(size, 3)}
        torch.testing.assert_close(mutable(x, scale=scale), model(x, scale=scale))
    assert mutable.compilations == 1
    exported = mutable.get_exported_program().module()
    torch.testing.assert_close(
        exported(x[:3], scale={"by": scale["by"][:3]}), model(x[:3], scale={"by": scale["by"][:3]})
    )
    large, small = ((torch.randn(size, 4), {"by": torch.randn(size, 3)}) for size in (11, 4))
    with pytest.warns(UserWarning, match="compiled for the shapes of this call"):
        torch.testing.assert_close(mutable(large[0], scale=large[1]), model(large[0], scale=large[1]))
    torch.testing.assert_close(mutable(small[0], scale=small[1]), model(small[0], scale=small[1]))
    assert mutable.compilations == 3
    mutable.set_expected_dynamic_shape_range(({},), {"scale": {"by": {}}})
    mutable(x, scale=scale)
    assert mutable.compilations == 4
    with pytest.raises(ValueError, match="give a tuple"):
        mutable.set_expected_dynamic_shape_range({0: rows}, {})


def test_a_mutable_module_is_saved(tmp_path: Path) -> None:
    model = network()
    mutable = MutableTorchTensorRTModule(model, min_block_size=1, executor="pytorch")
    mutable(X)
    MutableTorchTensorRTModule.save(mutable, tmp_path / "model.pkl")
    loaded = MutableTorchTensorRTModule.load(tmp_path / "model.pkl")
    torch.testing.assert_close(loaded(X), model(X))
    assert loaded.compilations == 1
    loaded.load_state_dict(network().state_dict())
    torch.testing.assert_close(loaded(X), loaded.original_model(X))
    assert pickle.loads(pickle.dumps(mutable)).compilations == 1


@pytest.mark.skipif(sys.platform != "linux", reason="as elsewhere")
@pytest.mark.parametrize("merged", [True, False])
def test_adapters_of_peft(merged: bool) -> None:
    peft = pytest.importorskip("peft", reason="needs peft, of the extra `test`")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.second(self.first(x).relu())

    x = torch.randn(3, 8)
    model = peft.get_peft_model(Model(), peft.LoraConfig(r=2, target_modules=["first", "second"])).eval()
    compiled = tp.compile(model.base_model.model, [x], mutable_weights=True, **SMALL)
    torch.testing.assert_close(compiled(x), model(x))
    before = model(x)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    assert not torch.allclose(before, model(x))
    if merged:
        unmerged = tp.compile(Model().eval(), [x], mutable_weights=True, **SMALL)
        plain = copy.deepcopy(model).merge_and_unload()
        unmerged.load_state_dict(plain.state_dict())
        torch.testing.assert_close(unmerged(x), model(x))
    torch.testing.assert_close(compiled(x), model(x))
