"""TorchScript in, through PyTorch's converter, and out, as a ScriptModule that saves and loads."""

from __future__ import annotations

import math
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tests.models import Sorted, seeded
from tests.reloading import reloaded

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")

OPTIONS: dict[str, Any] = {"executor": "reference", "min_block_size": 1, "pass_through_build_failures": True}
ROWS = tp.Input(min_shape=(1, 4), opt_shape=(4, 4), max_shape=(16, 4))


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.rounds = 3


class OnValue(Layers):
    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            return torch.relu(self.a(x))
        return torch.tanh(self.b(x))


class OnAttribute(Layers):
    def forward(self, x: Tensor, k: int = 2) -> Tensor:
        for index in range(2):
            x = self.a(x) * index
        if self.rounds > 2:
            x = x + k
        return x


class Optional(Layers):
    def forward(self, x: Tensor, mask: Tensor | None = None, mode: str = "relu") -> dict[str, Tensor]:
        y = self.a(x)
        if mask is not None:
            y = y * mask
        return {"y": torch.relu(y) if mode == "relu" else y}


class Constants(Layers):
    def __init__(self) -> None:
        super().__init__()
        self.plain = torch.arange(4.0)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.a(x) * self.plain + torch.tensor([1.0, 2.0, 3.0, 4.0]) + self.calls


class Recurrent(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x)[0])


class Coder(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))

    @torch.jit.export
    def encode(self, x: Tensor, scale: int = 2) -> Tensor:
        return torch.relu(self.a(x)) * scale

    @torch.jit.export
    def decode(self, x: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        return {"y": self.b(x) if mask is None else self.b(x) * mask}


def doubled(x: Tensor, scale: float = 2.0) -> Tensor:
    return torch.relu(x) * scale


class Untyped(Layers):
    def forward(self, x, y=None):  # type: ignore[no-untyped-def]
        return self.a(x) if y is None else self.a(x) + y


class Refuses(Layers):
    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) == 7:
            raise ValueError("seven rows")
        return self.a(x)


class Rounds(Layers):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(x.size(0)):
            x = self.a(x)
        return x


class Item(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return self.a(x) * float(x.max().item()) + float(x.max()) + int(x.max())


class OnItem(Layers):
    def forward(self, x: Tensor) -> Tensor:
        if x.max().item() > 1:
            return x * 2
        return x + 1


class OnSize(Layers):
    """Takes another branch from 4 rows on."""

    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) > 3:
            return x * 2
        return x + 1


class OnParity(Layers):
    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) % 2 == 0:
            return x * 2
        return x + 1


class OnOneRow(Layers):
    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) == 1:
            return x * 2
        return x + 1


class OnSomeSizes(Layers):
    def forward(self, x: Tensor) -> Tensor:
        if x.size(0) in [5, 6]:
            return x * 2
        return x + 1


class InABranch(Layers):
    """Asks for sizes, and for another tensor, in the branch of a tensor."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.sum() > 0):
            if x.dim() != 2:
                raise ValueError("rank")
            if x.size(0) > self.limit:
                return self.a(x)
            if bool(x.max() > 1):
                return torch.tanh(self.b(x))
            return x * x.size(0)
        return x + 1


class Harmless(Layers):
    """Branches that all declared sizes take alike, checks, and sizes computed from sizes."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise ValueError("rank")
        assert x.shape[1] == 4
        if not x.size(0) < 100:
            raise ValueError("rows")
        if x.size(0) > 50 or x.size(0) in [60, 70]:
            return x
        same = torch.zeros([x.size(0), max(x.size(1), 4)])
        if same.shape != x.shape:
            raise ValueError("shape")
        rows = x[: (x.size(0) + 1) // 2 + 1]
        return torch.cat([rows, rows * (2 * x.size(0) - 1) / (x.size(1) / 2) + len(x)])


class Containers(nn.Module):
    """Results in every container that TorchScript has."""

    def forward(
        self, x: Tensor
    ) -> tuple[Tensor, dict[str, Tensor], list[Tensor], tuple[Tensor, list[Tensor]], list[dict[str, Tensor]]]:
        return x * 2, {"b": x + 1, "a": x - 1}, [x + 2, x * 3], (x + 3, list(x.split(2, 1))), [{"c": x + 4}]


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"b": x * 2, "a": x + 1}


class Nested(nn.Module):
    """Every kind of argument and result that TorchScript has, and sizes that are computed in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU())

    def forward(
        self, x: Tensor, pair: tuple[Tensor, Tensor], named: dict[str, Tensor], k: int, none: None = None
    ) -> tuple[dict[str, Tensor], list[Tensor], int]:
        y = self.layers(x) * named["scale"] + pair[0] + k
        values, indices = torch.sort(y, dim=-1)
        long = torch.cat([values.reshape(-1), pair[1].repeat(x.shape[0] * 2)])[: x.shape[0] * 3]
        return {"y": y, "values": values}, [long.double().float(), indices.float()], x.shape[0] + 1


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


# --- in ------------------------------------------------------------------------------------------------------------
@torch.no_grad()
@pytest.mark.parametrize(
    ("model", "inputs", "kwargs"),
    [
        (OnValue(), (torch.ones(3, 4),), {}),
        (OnValue(), (-torch.ones(3, 4),), {}),
        (OnAttribute(), (torch.ones(3, 4), 5), {}),
        (OnAttribute(), (torch.ones(3, 4),), {}),
        (Optional(), (torch.ones(3, 4),), {}),
        (Optional(), (torch.ones(3, 4), torch.zeros(3, 4)), {}),
        (Optional(), (torch.ones(3, 4), None), {}),
        (Optional(), (torch.ones(3, 4),), {"mask": torch.zeros(3, 4)}),
        (Tied(), (torch.ones(3, 4),), {}),
    ],
)
def test_scripted_control_flow(model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    script = torch.jit.script(seeded(model))
    compiled = tp.compile(script, inputs, kwarg_inputs=kwargs, ir="dynamo", **OPTIONS)
    torch.testing.assert_close(compiled(*inputs, **kwargs), script(*inputs, **kwargs))


@torch.no_grad()
def test_both_branches_and_every_size_are_kept() -> None:
    script = torch.jit.script(seeded(OnValue()))
    compiled = tp.compile(script, [ROWS], ir="dynamo", **OPTIONS)
    for rows in (1, 4, 16):
        for sign in (1, -1):
            x = sign * torch.rand(rows, 4)
            torch.testing.assert_close(compiled(x), script(x))


@torch.no_grad()
@pytest.mark.parametrize(
    ("model", "least", "usual", "most"),
    [
        (Harmless(), 2, 3, 16),
        (OnSize(), 1, 2, 3),
        (OnSize(), 4, 5, 8),
        (OnParity(), 3, 3, 3),
        (OnOneRow(), 2, 3, 8),
        (OnSomeSizes(), 7, 8, 9),
        (InABranch(20), 1, 3, 8),
        (InABranch(3), 4, 5, 8),
        (Item(), 1, 3, 8),
    ],
)
def test_branches_on_sizes_that_all_declared_sizes_take(model: nn.Module, least: int, usual: int, most: int) -> None:
    rows = tp.Input(min_shape=(least, 4), opt_shape=(usual, 4), max_shape=(most, 4))
    script = torch.jit.script(seeded(model))
    # TensorRT-RTX 1.6 fails to build conditionals in conditionals, which then stay in PyTorch.
    compiled = tp.compile(script, [rows], ir="dynamo", **{**OPTIONS, "pass_through_build_failures": False})
    for size in range(least, most + 1):
        for x in (torch.randn(size, 4), torch.rand(size, 4), torch.rand(size, 4) + 1, -torch.rand(size, 4)):
            torch.testing.assert_close(compiled(x), script(x))


@pytest.mark.parametrize("ir", ["ts", "dynamo"])
@pytest.mark.parametrize("model", [Containers(), Named()])
def test_results_keep_their_containers(model: nn.Module, ir: str) -> None:
    script = torch.jit.script(model.eval())
    x = torch.randn(3, 4)
    result, expected = tp.compile(script, [x], ir=ir, **OPTIONS)(x), script(x)
    assert pytree.tree_structure(result) == pytree.tree_structure(expected)
    assert not isinstance(expected, dict) or list(result) == list(expected)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize(
    ("model", "condition"),
    [
        (OnSize(), "x.size(0) > 3"),
        (OnParity(), "Eq(Mod(x.size(0), 2), 0)"),
        (InABranch(3), "x.size(0) > 3"),
        (OnOneRow(), "Eq(x.size(0), 1)"),
        (OnSomeSizes(), "Eq(x.size(0), 5) | Eq(x.size(0), 6)"),
    ],
)
def test_branches_that_only_some_declared_sizes_take(model: nn.Module, condition: str) -> None:
    with pytest.raises(tp.UserError) as caught:
        tp.compile(torch.jit.script(seeded(model)), [ROWS], ir="dynamo", **OPTIONS)
    assert f"an `if` that depends on an input's size, {condition}, and not all declared sizes" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (Rounds(), [ROWS], "cannot be converted as a whole at test_torchscript.py:"),
        (Rounds(), [ROWS], "a loop whose length depends on a size or a value"),
        (OnItem(), [torch.ones(3, 4)], "an `if` on a Python number made of a tensor"),
        (Optional(), [], "TorchScript is converted with its inputs"),
        (Untyped(), [torch.ones(3, 4)], "annotate it as `y: Optional[torch.Tensor] = None` and script the model again"),
        (Refuses(), [torch.ones(7, 4)], "raises when it is called with x: f32[7,4]: seven rows. Give inputs of sizes"),
        (Refuses(), [torch.ones(2, 5)], "mat1 and mat2 shapes cannot be multiplied"),
        (Refuses(), [torch.ones(2, 4).half()], "mat1 and mat2 must have the same dtype"),
        (Refuses(), [3], "argument 'x' of the TorchScript model is a tensor, and what is given is of type int"),
        (Harmless(), [torch.ones(3, 4), torch.ones(3, 4)], "takes 1 arguments, but 2 inputs are given"),
        (OnValue(), None, "TorchScript is converted with its inputs"),
    ],
)
def test_what_cannot_be_converted(model: nn.Module, inputs: Any, message: str) -> None:
    with pytest.raises(tp.UserError) as caught:
        tp.compile(torch.jit.script(seeded(model)), inputs, ir="dynamo")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_scripted_recurrent_layers(layer: type[nn.Module]) -> None:
    script = torch.jit.script(seeded(Recurrent(layer(4, 4, batch_first=True))))
    steps = tp.Input(min_shape=(1, 3, 4), opt_shape=(2, 3, 4), max_shape=(5, 3, 4))
    compiled = tp.compile(script, [steps], **OPTIONS)
    for rows in (1, 2, 5):
        x = torch.randn(rows, 3, 4)
        torch.testing.assert_close(compiled(x), script(x))


@torch.no_grad()
def test_constants_are_no_state_and_buffers_are_written() -> None:
    script = torch.jit.script(seeded(Constants()))
    x = torch.randn(3, 4)
    compiled = tp.compile(script, [x], ir="dynamo", **OPTIONS)
    assert script.calls.item() == 0, "compiling calls the model, whose buffers are put back"
    assert set(compiled.state_dict()) <= {"a.weight", "a.bias", "calls"}
    expected = [script(x), script(x)]
    script.calls.zero_()
    torch.testing.assert_close([compiled(x), compiled(x)], expected)
    assert script.calls.item() == 2


@torch.no_grad()
def test_a_layer_in_training_mode_does_what_it_does_there() -> None:
    script = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train())
    x = torch.randn(3, 4)
    with pytest.warns(RuntimeWarning, match="the model is in training mode"):
        compiled = tp.compile(script, [x], ir="dynamo", **OPTIONS)
    before = {name: tensor.clone() for name, tensor in script.state_dict().items()}
    results = [compiled(x), compiled(x)]
    after = {name: tensor.clone() for name, tensor in compiled.state_dict().items()}
    script.load_state_dict(before)
    torch.testing.assert_close(results, [script(x), script(x)])
    torch.testing.assert_close(after, {name: tensor for name, tensor in script.state_dict().items() if name in after})


@torch.no_grad()
def test_an_untyped_argument_that_is_given_is_a_tensor() -> None:
    script = torch.jit.script(seeded(Untyped()))
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    torch.testing.assert_close(tp.compile(script, [x, y], **OPTIONS)(x, y), script(x, y))


@torch.no_grad()
@pytest.mark.parametrize("ir", ["default", "dynamo"])
def test_methods_of_script_modules(ir: str) -> None:
    script = torch.jit.script(seeded(Coder()))
    for method in (script.encode, script.decode, torch.jit.trace(seeded(Tied()), torch.ones(3, 4)).forward):
        compiled = tp.compile(method, [ROWS], ir=ir, **OPTIONS)
        for rows in (1, 4, 16):
            x = torch.randn(rows, 4)
            torch.testing.assert_close(compiled(x), method(x))


@torch.no_grad()
@pytest.mark.parametrize("ir", ["default", "dynamo"])
def test_script_functions(ir: str) -> None:
    for function in (torch.jit.script(doubled), torch.jit.trace(doubled, torch.ones(3, 4))):
        compiled = tp.compile(function, [ROWS], ir=ir, **OPTIONS)
        x = torch.randn(7, 4)
        torch.testing.assert_close(compiled(x), function(x))


def test_torchscript_that_another_front_end_is_asked_to_take() -> None:
    function, x = torch.jit.script(doubled), torch.ones(3, 4)
    with pytest.raises(tp.UserError, match="ir='fx' cannot trace TorchScript: use ir='ts'"):
        tp.compile(function, [x], ir="fx", **OPTIONS)
    with pytest.raises(tp.UserError, match="was given a ScriptFunction: use ir='default'"):
        tp.compile(function, [x], ir="torch_compile", **OPTIONS)
    with pytest.raises(tp.UserError, match="TorchScript module LSTM has no method forward: give another method"):
        tp.compile(torch.jit.script(nn.LSTM(4, 4)), [x], **OPTIONS)


def test_an_argument_that_is_left_out() -> None:
    with pytest.raises(tp.UserError, match="the TorchScript model is not given 'x': give an input for it"):
        tp.compile(torch.jit.script(seeded(Untyped())), kwarg_inputs={"y": torch.ones(3, 4)}, **OPTIONS)


# --- out -----------------------------------------------------------------------------------------------------------
@torch.no_grad()
def test_a_script_module_runs_every_size_after_saving_and_loading() -> None:
    model = seeded(Nested())
    pair = (ROWS, torch.ones(2))
    inputs = [ROWS, pair, {"scale": ROWS}, 3, None]
    script = tp.compile(model, inputs, ir="ts", torch_executed_ops={"aten.sort"}, **OPTIONS)
    assert isinstance(script, torch.jit.ScriptModule)
    loaded = reloaded(tp.compile(model, inputs, ir="torchscript", executor="pytorch", min_block_size=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # that engines run in PyTorch, which is what was asked for
        for rows in (4, 1, 16, 2):
            args = (torch.randn(rows, 4), (torch.randn(rows, 4), torch.randn(2)), {"scale": torch.randn(rows, 4)}, 3)
            expected = model(*args)
            for run in (script, loaded):
                torch.testing.assert_close(run(*args, None), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(torch.jit.Error, match="k was 3 when the model was compiled"):
        script(*args[:3], 4)


@torch.no_grad()
def test_a_script_module_without_engines() -> None:
    model = seeded(Sorted())
    x = torch.randn(2, 8)
    for options in ({"dryrun": True}, {"pipeline": "decompose,annotate"}):
        script = tp.compile(model, [x], ir="ts", **options)
        assert script.report.compiled is None
        torch.testing.assert_close(reloaded(script)(x), model(x))


def test_a_script_module_is_saved_as_it_is(tmp_path: Path) -> None:
    x = torch.randn(2, 8)
    script = tp.compile(seeded(Sorted()), [x], ir="ts", executor="pytorch", min_block_size=1)
    assert script.report.verdicts["trt"]
    tp.save(script, tmp_path / "m.ts")
    tp.save(script, tmp_path / "m.pt", output_format="torchscript")
    for name in ("m.ts", "m.pt"):
        torch.testing.assert_close(torch.jit.load(tmp_path / name)(x), script(x))
    with pytest.raises(tp.UserError, match=r"a ScriptModule is saved as TorchScript: name a file that ends in \.ts"):
        tp.save(script, tmp_path / "m.pt2")


@torch.no_grad()
def test_weights_keep_their_names_and_engines_stay_on_the_host() -> None:
    model = seeded(Sorted())
    script = tp.compile(model, [torch.ones(2, 8)], ir="ts", **OPTIONS)
    own = {name: tensor.data_ptr() for name, tensor in model.named_parameters()}
    assert {name: tensor.data_ptr() for name, tensor in script.named_parameters()} == own
    loaded = reloaded(script)
    assert dict(loaded.named_buffers()) == {}, "what `.to` would move"
    assert loaded.to(torch.float64).segment_00_engine.dtype == torch.uint8
    engine = loaded.segment_00_engine
    with pytest.warns(RuntimeWarning, match="run in PyTorch here") if not torch.cuda.is_available() else nullcontext():
        loaded.to(torch.float32)(torch.ones(2, 8))
    assert loaded.segment_00_engine is engine, "its runner, with the deserialized engine, lives as long as this tensor"


@torch.no_grad()
def test_script_modules_become_script_modules_and_two_of_a_kind_do_not_meet() -> None:
    scripts = [torch.jit.script(seeded(model)) for model in (Tied(), OnAttribute(), OnAttribute())]
    compiled = [tp.compile(script, [torch.ones(2, 4)], **OPTIONS) for script in scripts]
    for script, result in zip(scripts, compiled, strict=True):
        assert isinstance(result, torch.jit.ScriptModule)
        x = torch.randn(2, 4)
        torch.testing.assert_close(result(x), script(x))


def test_arguments_without_a_type_in_torchscript() -> None:
    class Mixed(nn.Module):
        def forward(self, named: dict[str, Any]) -> Tensor:
            return torch.relu(named["x"]) + named["k"]

    with pytest.raises(
        tp.UserError, match="argument 'named' is a dict of Tensor and int, and TorchScript takes those of"
    ):
        tp.compile(Mixed().eval(), [{"x": torch.ones(2), "k": 1}], ir="ts", **OPTIONS)


@pytest.mark.parametrize("least", [1, 50])
def test_booleans_in_place_of_numbers(least: int) -> None:
    class Model(nn.Module):
        def forward(self, z: Tensor) -> tuple[Tensor, ...]:
            return z | True, z & False, z ^ True, z + True, z * False, z == True, torch.where(z, True, False)  # noqa: E712

    z = torch.tensor([True, False])
    module = tp.compile(Model(), [z], ir="ts", min_block_size=least, executor="reference")
    torch.testing.assert_close(module(z), Model()(z))


def test_arithmetic_on_sizes_and_numbers_that_stays_in_pytorch() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("number", torch.tensor(2.6))

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            n, read = x.shape[0], self.number.item()
            return x * (n << 1), x * ((3 * n) >> 1), x - abs(n - 5), x * n**0.5, x * round(read), x * math.floor(read)

    item = tp.Input(min_shape=(2, 3), opt_shape=(4, 3), max_shape=(9, 3))
    module = tp.compile(Model(), [item], ir="ts", min_block_size=50, executor="reference")
    for rows in (2, 4, 9):
        x = torch.randn(rows, 3)
        torch.testing.assert_close(module(x), Model()(x))
