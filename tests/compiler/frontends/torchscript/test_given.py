"""What callers give and get: containers of other lengths, other methods, hooks, files of other names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from click.testing import CliRunner
from torch import Tensor, nn
from trt_passes.compiler.cli.main import main
from trt_passes.compiler.errors import UserError

from tests.reloading import reloaded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning", "ignore:`torch.jit")

X = torch.linspace(-1, 1, 8).reshape(2, 4)


def compiled(model: Any, inputs: list[Any], **options: Any) -> Any:
    return tp.compile(model, inputs, executor="pytorch", min_block_size=1, **options)


class Sums(nn.Module):
    def forward(self, xs: list[Tensor], d: dict[str, Tensor]) -> Tensor:
        total = torch.zeros_like(xs[0])
        for x in xs:
            total = total + x
        for name, x in d.items():
            total = total * len(name) + x
        return total


def test_containers_have_the_length_and_keys_that_they_had() -> None:
    script = torch.jit.script(Sums())
    xs, d = [X, X], {"a": X, "bb": X + 1}
    result = compiled(script, [xs, d])
    torch.testing.assert_close(result(xs, d), script(xs, d))
    for others in ([X], [X, X, X]):
        with pytest.raises(Exception, match="the list xs had 2 elements when the model was compiled"):
            result(others, d)
    for other in ({"a": X}, {**d, "c": X}, {"bb": X + 1, "a": X}):
        with pytest.raises(Exception, match="the dictionary d had the keys"):
            result(xs, other)


class Starts(nn.Module):
    def forward(self, x: Tensor, state: list[Tensor]) -> Tensor:
        return torch.tanh(x + state[0] if len(state) > 0 else x)


def test_an_empty_list_is_a_list() -> None:
    script = torch.jit.script(Starts())
    result = compiled(script, [X, []])
    torch.testing.assert_close(reloaded(result)(X, []), script(X, []))
    assert "one graph" in result.report.why()
    with pytest.raises(Exception, match="the list state had 0 elements"):
        result(X, [X])


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.factor = nn.Linear(4, 4), 3

    def forward(self, x: Tensor, by: float = 2.0) -> Tensor:
        with torch.no_grad():
            return torch.relu(self.layer(x)) * by

    @torch.jit.export
    def encode(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.factor


class Remembers(Scaled):
    def __init__(self) -> None:
        super().__init__()
        self.last = torch.zeros(2, 4)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        self.last = torch.tanh(self.layer(x) + self.last)
        return self.last * 2

    @torch.jit.export
    def reset(self) -> None:
        self.last = torch.zeros_like(self.last)


@torch.no_grad()
def test_other_methods_are_kept() -> None:
    script = torch.jit.script(Scaled().eval())
    result = compiled(script, [X])
    assert result.report.verdicts == {**dict.fromkeys(result.report.verdicts, 0), "trt": 3}
    for found in (result, reloaded(result)):
        torch.testing.assert_close(found(X), script(X))
        torch.testing.assert_close(found.encode(X), script.encode(X))
        assert found.factor == 3


@torch.no_grad()
def test_other_methods_share_state() -> None:
    script = torch.jit.script(Remembers().eval())
    result = compiled(script, [X])
    assert "other methods (encode, reset) and state" in result.report.whole
    for found in (result, reloaded(result)):
        expected = reloaded(script)
        for _ in range(3):
            torch.testing.assert_close(found(X), expected(X))
        found.reset()
        expected.reset()
        torch.testing.assert_close(found(X), expected(X))
        found.reset()


class Centred(nn.Module):
    """Counts its calls in a buffer, and has another method that writes to what `forward` reads."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.tanh(self.layer(x))
        self.calls += 1
        x[0] = 0
        return torch.relu(self.layer(y + x)) - self.mean, self.calls

    @torch.jit.export
    def update(self, x: Tensor) -> None:
        self.mean.mul_(0.5).add_(x.mean(0))


@torch.no_grad()
def test_what_is_written_leaves_the_weights_alone() -> None:
    script = torch.jit.script(Centred().eval())
    result = compiled(reloaded(script), [X.clone()])
    assert {row.op for row in result.report.ledger if row.verdict == "trt"} >= {"aten.linear", "aten.tanh", "aten.relu"}
    for found in (result, reloaded(result)):
        expected = reloaded(script)
        for _ in range(3):
            torch.testing.assert_close(found(X.clone()), expected(X.clone()))
            found.update(X)
            expected.update(X)
        shared, others = found.calls, expected.calls  # an input that is the buffer which is written to
        torch.testing.assert_close(found(shared.expand(2, 4).contiguous()), expected(others.expand(2, 4).contiguous()))
        found.mean.zero_()
        found.calls.zero_()


def double(module: Any, given: tuple[Tensor], result: Tensor) -> Tensor:
    return result * 2


@torch.no_grad()
def test_a_hook_of_the_model() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).eval()
    model.register_forward_hook(double)
    script = torch.jit.script(model)
    torch.testing.assert_close(compiled(script, [X])(X), script(X))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([None], "is a tensor, and what is given is None"),
        ([(2, 4)], r"give tp.Input\(\(2, 4\)\)"),
        (X, "inputs is of type Tensor: give a list"),
        ([X, X, X], "takes 2 arguments, but 3 inputs are given"),
    ],
)
def test_what_does_not_fit(given: Any, said: str) -> None:
    script = torch.jit.script(Scaled().eval())
    with pytest.raises(UserError, match=said):
        compiled(script, given)
    compiled(script, [X])  # which PyTorch refuses for good once a tensor was None
    script(X)


class Nothing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 4))

    def forward(self) -> Tensor:
        return torch.relu(self.weight) * 2


def test_a_model_without_inputs() -> None:
    script = torch.jit.script(Nothing().eval())
    torch.testing.assert_close(compiled(script, [])(), script())


@pytest.mark.parametrize("name", ["class", "layer", "", 3, None])
def test_a_method_that_is_none(name: Any) -> None:
    script = torch.jit.script(Scaled().eval())
    for call in (
        lambda: compiled(script, [X], methods=[name]),
        lambda: tp.convert_method_to_trt_engine(script, name, [X]),
        lambda: tp.check_method_op_support(script, name),
    ):
        with pytest.raises(UserError, match="has no method"):
            call()


class Named(nn.Module):
    def forward(self, x: Tensor, n: int, d: dict[str, Tensor] | None = None) -> Tensor:
        return torch.relu(x) * n


def test_files_of_any_name_and_numbers_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "model.jit"
    torch.jit.save(torch.jit.script(Named()), path)

    def run(*inputs: str) -> tuple[int, str]:
        words = [word for item in inputs for word in ("--input", item)]
        result = CliRunner().invoke(main, ["run", str(path), *words, "--until", "lower"])
        return result.exit_code, result.output

    assert run("2x4", "5")[0] == run("2x4", "n=5")[0] == 0
    assert run("2x4", "n=a") == (1, f"trt-passes: argument 'n' of {path} is of type int, and --input n=a gives 'a'.\n")
    code, said = run("2x4", "5", "d=2x4")
    assert (code, "which --input cannot give" in said) == (1, True)


class Typed(nn.Module):
    def forward(self, x: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.relu(x).to(dtype) + torch.ones(4, dtype=dtype, device=device)


def test_data_types_and_devices_are_arguments() -> None:
    script = torch.jit.script(Typed())
    given = [X, torch.float64, torch.device("cpu")]
    result = compiled(script, given)
    torch.testing.assert_close(result(*given), script(*given))
    assert "takes a device, device, and a graph takes none" in result.report.why()


def test_another_method_on_the_command_line(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Scaled().eval()), tmp_path / "net.jit")

    def run(method: str) -> Any:
        given = ["run", f"{tmp_path / 'net.jit'}:{method}", "--input", "2x4", "--set", "min_block_size=1"]
        return CliRunner().invoke(main, given)

    found = run("encode")
    assert found.exit_code == 0, found.output
    missing = run("encoded")
    assert missing.exit_code == 1
    assert "has no method 'encoded'. Did you mean 'encode'?" in missing.output


def test_what_is_no_engine_and_no_module() -> None:
    script = torch.jit.script(nn.Linear(4, 4).eval())
    result = compiled(script, [X])
    with pytest.raises(UserError, match="compile with ir='dynamo', or take the bytes"):
        tp.save_engine(result, "engine.plan")
    with pytest.raises(UserError, match="was given TorchScript: quantise the module that it was made from"):
        tp.quantize(script, "int8")
    with pytest.raises(UserError, match="argument 'input' of the TorchScript model is on the meta device"):
        compiled(script, [torch.ones(2, 4, device="meta")])


def test_dumps_of_blocks(tmp_path: Path) -> None:
    compiled(torch.jit.script(Centred().eval()), [X.clone()], methods=["forward"], dump_dir=str(tmp_path / "d"))

    def said(*arguments: str) -> str:
        return CliRunner().invoke(main, [*arguments]).output

    folder = str(tmp_path / "d")
    assert "stays TorchScript" in said("explain", folder, "prim::SetAttr")
    assert "it writes to the argument 'x' in place" in said("explain", folder)
    assert "has no op node 'nonsense'" in said("explain", folder, "nonsense")
    for arguments in (("diff", folder, "input", "splice"), ("view", folder, "--export", "model-explorer")):
        assert f"each with a dump of its own: give {folder}/block-00" in said(*arguments)
