"""Several methods of one TorchScript module, methods as engines, and inputs under their other names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import Tensor, nn

from tests.marks import gpu
from tests.reloading import reloaded

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit", "ignore::DeprecationWarning", "ignore::RuntimeWarning")

OPTIONS: dict[str, Any] = {"executor": "pytorch", "min_block_size": 1}
ROWS = tp.Input(min_shape=(1, 4), opt_shape=(3, 4), max_shape=(6, 4))


class Part(nn.Module):
    """A module with state, which several methods of another call."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.relu(self.a(x)) * 2 + self.calls

    @torch.jit.export
    def twice(self, x: Tensor) -> Tensor:
        return self.forward(self.forward(x))


class Coder(nn.Module):
    """Two methods that share state, and one that puts it back."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.part, self.head = Part(), nn.Linear(4, 4)
        self.seen = torch.zeros(1, 4)

    @torch.jit.export
    def encode(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.part(x))
        self.seen = y.mean(0, keepdim=True)
        return torch.sigmoid(y)

    @torch.jit.export
    def decode(self, x: Tensor, scale: float = 2.0) -> tuple[Tensor, int]:
        return torch.relu(self.head(self.part.twice(x))) * scale + self.seen, self.part.calls

    @torch.jit.export
    def reset(self) -> None:
        self.seen = torch.zeros(1, 4)
        self.part.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x), 2.0)[0]


def scripted() -> Any:
    return torch.jit.script(Coder().eval())


def tried(module: Any) -> list[Any]:
    """What methods give that share state, at several sizes."""
    torch.manual_seed(1)
    found: list[Any] = []
    for rows in (3, 1, 6, 2, 3):
        x = torch.randn(rows, 4)
        found += [module.encode(x), module.decode(x), module.decode(x, 3.0), module(x)]
    module.reset()
    return [*found, module.decode(torch.ones(2, 4)), module.part.calls, module.seen]


@torch.no_grad()
@pytest.mark.parametrize(
    ("methods", "inputs"),
    [
        (["encode", "decode"], [ROWS]),
        ({"encode": [ROWS], "decode": {"x": ROWS, "scale": 2.0}, "forward": ROWS}, None),
        (["decode"], [torch.ones(3, 4)]),
    ],
)
def test_methods_share_state(methods: Any, inputs: Any) -> None:
    script = scripted()
    compiled = tp.compile(script, inputs, methods=methods, **OPTIONS)
    assert script.part.calls == compiled.part.calls == 0
    assert compiled.report.verdicts["trt"] >= len(methods)
    assert compiled.head.weight.data_ptr() == script.head.weight.data_ptr()
    again = reloaded(compiled)
    for result in (compiled, again):
        torch.testing.assert_close(tried(result), tried(scripted()), rtol=1e-4, atol=1e-4)


def test_engines_are_called_in_every_method(tmp_path: Path) -> None:
    compiled = tp.compile(scripted(), [ROWS], methods=["encode", "decode"], dump_dir=str(tmp_path), **OPTIONS)
    for name in ("encode", "decode"):
        assert "block_" in str(compiled._c._get_method(name).graph)
    assert {row.node.split(".")[0] for row in compiled.report.stayed} >= {"%encode", "%decode"}
    assert "several methods are compiled" in (tmp_path / "why.txt").read_text()


def test_what_is_refused() -> None:
    script = scripted()
    with pytest.raises(tp.UserError, match=r"has no method 'encod'\. Did you mean 'encode'"):
        tp.compile(script, [ROWS], methods=["encod"], **OPTIONS)
    with pytest.raises(tp.UserError, match="methods are those of a TorchScript module"):
        tp.compile(Coder(), [ROWS], methods=["encode"], **OPTIONS)
    with pytest.raises(tp.UserError, match="has the inputs of every method"):
        tp.compile(script, [ROWS], methods={"encode": [ROWS]}, **OPTIONS)
    with pytest.raises(tp.UserError, match="give a list of names"):
        tp.compile(script, [ROWS], methods=[], **OPTIONS)
    with pytest.raises(tp.UserError, match=r"^the TorchScript model raises when it is called with x: f32\[3,5\]"):
        tp.compile(script, methods={"encode": [ROWS], "decode": [torch.ones(3, 5)]}, **OPTIONS)
    with pytest.raises(tp.UserError, match="require_full_compilation is set, and prim"):
        tp.compile(script, [ROWS], methods=["encode"], require_full_compilation=True, **OPTIONS)


class Nested(nn.Module):
    def forward(self, x: Tensor, rest: tuple[list[Tensor], dict[str, Tensor]]) -> Tensor:
        return torch.relu(x + rest[0][0] * rest[0][1]) + rest[1]["y"]


@torch.no_grad()
def test_input_signature() -> None:
    script = torch.jit.script(Nested())
    x = torch.randn(3, 4)
    compiled = tp.compile(script, input_signature=(ROWS, ([ROWS, ROWS], {"y": ROWS})), **OPTIONS)
    given = (x, ([x, x * 2], {"y": x + 1}))
    torch.testing.assert_close(compiled(*given), script(*given))
    model = nn.Linear(4, 4).eval()
    torch.testing.assert_close(tp.compile(model, input_signature=ROWS, **OPTIONS)(x), model(x), rtol=1e-4, atol=1e-4)
    with pytest.raises(tp.UserError, match="inputs and input_signature are two names of one argument"):
        tp.compile(model, [x], input_signature=(x,))
    for wrong in ((ROWS, ROWS), (ROWS, ([ROWS], ROWS)), (ROWS,), (ROWS, ROWS, ROWS)):
        with pytest.raises(tp.UserError) as caught:
            tp.compile(script, input_signature=wrong, **OPTIONS)
        assert "\n" not in str(caught.value)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.a(x))

    @torch.jit.export
    def both(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.a(second) - first)
        return y * 2, y.sum(1)


def test_methods_as_engines_in_modules_of_their_own(tmp_path: Path) -> None:
    for model in (Net().eval(), torch.jit.script(Net().eval())):
        assert len(tp.convert_method_to_trt_engine(model, inputs=[ROWS])) > 1000
        engine = tp.convert_method_to_trt_engine(model, "both", [ROWS, ROWS])
        assert isinstance(engine, bytes)
        assert engine.arguments == ("first", "second")
        script = reloaded(tp.embed_engine_in_new_module(engine))
        assert bytes(script.engine.numpy()) == engine
        if not torch.cuda.is_available():
            with pytest.raises(Exception, match="executor='tensorrt' cannot run segment-00: this machine has no GPU"):
                script(torch.ones(2, 4), torch.ones(2, 4))
        with pytest.raises(tp.UserError, match=r"no method 'bth'\. Did you mean 'both'"):
            tp.convert_method_to_trt_engine(model, "bth", [ROWS, ROWS])


def test_names_of_bindings(tmp_path: Path) -> None:
    compiled = tp.compile(Net().eval().both, [ROWS, ROWS], **OPTIONS)
    tp.save_engine(compiled, tmp_path / "both.engine")
    script = tp.embed_engine_in_new_module(tmp_path / "both.engine", ["second", "first"])
    assert str(script.forward.schema.returns[0].type) == "Tuple[Tensor, Tensor]"
    places = {"second": "x0", "first": "x1"}
    taken = ", ".join(places[name] for name in compiled.report.program.segments[0].inputs)
    assert f"= [{taken}]\n" in script.code
    one = tp.embed_engine_in_new_module(
        tmp_path / "both.engine", None, [compiled.report.program.segments[0].outputs[0]]
    )
    assert str(one.forward.schema.returns[0].type) == "Tensor"
    for names, message in (
        (["first", "secnd"], "no input 'secnd'. Did you mean 'second'"),
        (["first"], "leaves out 'second'"),
    ):
        with pytest.raises(tp.UserError, match=message):
            tp.embed_engine_in_new_module(tmp_path / "both.engine", names)
    with pytest.raises(tp.UserError, match="bytes of an engine come without its specification"):
        tp.embed_engine_in_new_module(b"abc")
    with pytest.raises(tp.UserError, match="cannot read"):
        tp.embed_engine_in_new_module(tmp_path / "other.engine")


@gpu
@torch.no_grad()
def test_an_embedded_engine_runs() -> None:
    model = Net().eval().cuda()
    engine = tp.convert_method_to_trt_engine(model, "both", [ROWS, ROWS])
    script = reloaded(tp.embed_engine_in_new_module(engine, ["second", "first"]))
    for rows in (1, 3, 6):
        first, second = torch.randn(rows, 4).cuda(), torch.randn(rows, 4).cuda()
        torch.testing.assert_close(script(second, first), model.both(first, second), rtol=1e-2, atol=1e-2)


class Sorts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[0] = 1
        return torch.unique(x)


class Prints(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        print("x")
        return torch.relu(x)


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.rnn = nn.LSTM(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        y.add_(1).mul_(2)
        return self.rnn(y.mean((2, 3)).unsqueeze(0))[0] if x.size(0) > 1 else y.flatten()


class Grows(nn.Module):
    def forward(self, x: Tensor, most: int) -> Tensor:
        turns = 0
        while turns < most and bool(x.abs().max() < 5):
            x = x * 2
            turns += 1
        return x


class Turns(nn.Module):
    def forward(self, x: Tensor, most: int) -> Tensor:
        turns = 0
        while turns < most:
            x = x * 2
            turns += 1
        return x


class Forks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.jit.wait(torch.jit.fork(torch.relu, x))


def factored(x: Tensor) -> Tensor:
    return torch.linalg.svd(x)[1]


@torch.jit.script
def read_out(x: Tensor) -> Tensor:
    return x * float(x.sum().item())


def normed(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.reshape(x.size(0), -1), dim=1)


class Holds(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_support_by_name() -> None:
    kinds = {Net: True, InPlace: True, Turns: True, Prints: False, Coder: False, Grows: False, Forks: True}
    for kind, supported in kinds.items():
        assert tp.check_method_op_support(torch.jit.script(kind().eval())) is supported, kind
    assert tp.check_method_op_support(torch.jit.script(Net().eval()), "both")
    for function, supported in ((factored, False), (read_out, False), (normed, True)):
        traced = torch.jit.trace_module(Holds(function), {"forward": torch.rand(4, 4)})
        assert tp.check_method_op_support(traced) is supported, function
    with pytest.raises(tp.UserError, match="has no method 'other'"):
        tp.check_method_op_support(torch.jit.script(Net().eval()), "other")
    with pytest.raises(tp.UserError, match="takes a TorchScript module, and was given a Net"):
        tp.check_method_op_support(Net())
