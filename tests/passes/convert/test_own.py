"""Converters and decompositions that users write."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.tensorrt import plugins

SMALL: dict[str, Any] = {"min_block_size": 1, "executor": "reference"}


@torch.library.custom_op("trt_passes_tests::swish", mutates_args=())
def swish(x: torch.Tensor, beta: float, mode: str = "plain") -> torch.Tensor:
    """An operator that no converter of the package knows."""
    return x * torch.sigmoid(beta * x)


@swish.register_fake
def _(x: torch.Tensor, beta: float, mode: str = "plain") -> torch.Tensor:
    return torch.empty_like(x)


@tp.converter(swish, dtypes={"x": [torch.float32, torch.float16]}, ranks={"x": (1, 4)}, values={"mode": ["plain"]})
def convert_swish(ctx: Any, call: Any) -> Any:
    x = ctx.tensor(call.arg("x"))
    scaled = tp.arithmetic.binary(ctx, "PROD", x, call.arg("beta"))
    layer = ctx.network.add_activation(scaled.trt, ctx.trt.ActivationType.SIGMOID)
    return tp.arithmetic.binary(ctx, "PROD", x, ctx.emit(layer, x.shape, "sigmoid"))


class Model(nn.Module):
    def __init__(self, mode: str = "plain") -> None:
        super().__init__()
        self.layer, self.mode = nn.Linear(4, 4), mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return swish(self.layer(x), 1.5, self.mode).relu()


X = torch.randn(3, 4)


def test_a_custom_operator_is_one_engine_and_is_saved(tmp_path: Path) -> None:
    model = Model().eval()
    varying = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4))
    compiled = tp.compile(model, [varying], converters=[convert_swish], **SMALL)
    assert (len(compiled.segments), compiled.report.coverage) == (1, 1)
    for size in (1, 6):
        x = torch.randn(size, 4)
        torch.testing.assert_close(compiled(x), model(x))
    without = tp.compile(model, [X], **SMALL)
    assert without.report.verdicts["unsupported"] == 1
    tp.save(compiled, tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2", executor="pytorch", operators=["trt_passes_tests"])
    torch.testing.assert_close(loaded(X), model(X))


def test_conditions_are_data() -> None:
    for model, x, code in (
        (Model("other"), X, "TP205"),
        (Model(), torch.randn(1, 1, 1, 3, 4), "TP202"),
        (Model().double(), X.double(), "TP201"),
    ):
        compiled = tp.compile(model.eval(), [x], converters=[convert_swish], **SMALL)
        (row,) = [row for row in compiled.report.ledger if "swish" in row.op]
        assert code in [reason.code for reason in row.reasons]
        torch.testing.assert_close(compiled(x), model(x))

    def even_rows(call: Any) -> str | None:
        """The number of rows is even."""
        rows = call.value("x").shape[0]
        return None if rows % 2 == 0 else f"there are {rows} rows"

    choosy = tp.converter("trt_passes_tests::swish", static=["x"], conditions=[even_rows])(convert_swish.convert)
    assert "The number of rows is even" in [rule.doc for rule in choosy.rules]
    compiled = tp.compile(Model().eval(), [X], converters=[choosy], **SMALL)
    assert "there are 3 rows" in [reason.message for row in compiled.report.ledger for reason in row.reasons]
    varying = tp.Input(min_shape=(2, 4), opt_shape=(2, 4), max_shape=(6, 4))
    compiled = tp.compile(Model().eval(), [varying], converters=[choosy], **SMALL)
    assert compiled.report.verdicts["rejected"] == 1


@tp.decomposition("trt_passes_tests.swish.default")
def decompose_swish(x: torch.Tensor, beta: float, mode: str = "plain") -> torch.Tensor:
    return x * torch.sigmoid(beta * x)


def test_a_decomposition_is_registered_in_the_same_way() -> None:
    model = Model().eval()
    compiled = tp.compile(model, [X], converters=[decompose_swish], **SMALL)
    assert compiled.report.coverage == 1
    assert not any("swish" in row.op for row in compiled.report.ledger)
    torch.testing.assert_close(compiled(X), model(X))
    both = tp.compile(model, [X], converters=[decompose_swish, convert_swish], **SMALL)
    assert any("swish" in row.op for row in both.report.ledger), "a converter takes the operator whole"

    class Buffer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.count.add_(1)
            return swish(x, 2.0) + self.count

    compiled = tp.compile(Buffer().eval(), [X], converters=[decompose_swish], **SMALL)
    torch.testing.assert_close(compiled(X), Buffer()(X))
    assert compiled.report.verdicts["unsupported"] == 0


def test_operators_of_pytorch_get_other_converters() -> None:
    @tp.converter(torch.ops.aten.hardswish)
    def doubled(ctx: Any, call: Any) -> Any:
        return tp.arithmetic.binary(ctx, "PROD", ctx.tensor(call.arg("self")), 2.0)

    @tp.converter(torch.ops.aten.relu.default)
    def negated(ctx: Any, call: Any) -> Any:
        return tp.arithmetic.unary(ctx, "NEG", ctx.tensor(call.arg("self")))

    class Both(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.hardswish(x).relu()

    compiled = tp.compile(Both().eval(), [X], converters=[doubled, negated], **SMALL)
    torch.testing.assert_close(compiled(X), -2 * X)


def test_torch_compile_has_the_option() -> None:
    model = Model().eval().requires_grad_(False)
    compiled = tp.compile(model, [X], ir="torch_compile", converters=[convert_swish], **SMALL)
    torch.testing.assert_close(compiled(X), model(X))
    assert compiled.graphs[0].report.coverage == 1
    options = {"converters": [convert_swish], **SMALL}
    torch.testing.assert_close(torch.compile(model, backend="trt_passes", options=options)(X), model(X))


PLUGIN = """
import torch
import trt_passes as tp

@torch.library.custom_op("trt_passes_plugin::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    return 2 * x

@double.register_fake
def _(x):
    return torch.empty_like(x)

@tp.converter("trt_passes_plugin::double")
def convert(ctx, call):
    return tp.arithmetic.binary(ctx, "PROD", ctx.tensor(call.arg("x")), 2.0)
"""
FACTORY = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.ops.trt_passes_plugin.double(x).relu()

def model():
    return Model().eval(), [torch.ones(2, 3)]
"""


@pytest.mark.long
def test_a_plugin_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "my_plugin.py").write_text(PLUGIN)
    (tmp_path / "my_model.py").write_text(FACTORY)
    command = [
        sys.executable,
        "-c",
        "from trt_passes.compiler.cli.main import main; main()",
        "run",
        "my_model.py:model",
    ]
    command += ["--json", "--plugin", "my_plugin", "--set", "min_block_size=1", "--set", "require_full_compilation=yes"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdicts"]["trt"] == 2
    wrong = subprocess.run([*command[:5], "--plugin", "no_plugin"], cwd=tmp_path, capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "names the module 'no_plugin', which is not there" in wrong.stderr


def test_packages_offer_converters(monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(value: str) -> None:
        entry = EntryPoint("own", value, plugins.GROUP)
        monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
        plugins.installed_plugins.cache_clear()

    try:
        monkeypatch.setitem(sys.modules, "package_with_converters", sys.modules[__name__])
        installed("package_with_converters:convert_swish")
        assert tp.compile(Model().eval(), [X], **SMALL).report.coverage == 1
        installed("package_with_converters")
        assert tp.compile(Model().eval(), [X], **SMALL).report.coverage == 1
        installed("package_with_converters:X")
        with pytest.raises(tp.UserError, match=r"the entry point 'own' of trt_passes\.converters"):
            tp.compile(Model().eval(), [X], **SMALL)
    finally:
        plugins.installed_plugins.cache_clear()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: tp.converter("trt_passes_tests::swich"), "there is no operator 'trt_passes_tests::swich'"),
        (lambda: tp.converter(3), "3 is no operator"),
        (lambda: tp.decomposition(), "name at least one"),
        (lambda: tp.Settings(converters=[3]), "contains a int"),
        (lambda: tp.Settings(converters="os"), "the module os, which has no converters"),
    ],
)
def test_mistakes_are_told(make: Any, text: str) -> None:
    with pytest.raises(tp.UserError, match=text):
        make()


def test_the_fault_of_an_own_converter_is_not_called_ours() -> None:
    def broken(ctx: Any, call: Any) -> Any:
        raise RuntimeError("not finished")

    own = tp.converter(torch.ops.aten.tanh.default)(broken)
    options = {"min_block_size": 1, "pass_through_build_failures": True}
    with pytest.raises(tp.PassFailure) as caught:
        tp.compile(nn.Tanh(), [torch.ones(2)], converters=[own], **options)
    assert caught.value.node == "tanh"
    assert not caught.value.ours
    assert "RuntimeError: not finished" in str(caught.value)
