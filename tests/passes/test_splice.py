import copy
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch.export import Dim
from torch.fx import Node
from trt_passes.compiler.pass_base import Context
from trt_passes.compiler.runtime.engine_graph import SPLICED, segments_of
from trt_passes.passes.splice import Splice

from tests.compiler.runtime.handmade import partitioned, spliced, with_empty_engines


def without(*words: str) -> Any:
    """Every node in TensorRT, except those whose operator's name contains one of the words (and their results)."""

    def in_trt(node: Node) -> bool:
        target = node.args[0] if node.name.startswith("getitem") else node
        return not any(word in str(target.target) for word in words)  # type: ignore[union-attr]

    return in_trt


class Plain(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 8), torch.nn.Linear(8, 4)
        self.register_buffer("offset", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.sort(torch.relu(self.a(x)), dim=-1)[0]
        return self.b(torch.sigmoid(h)) + self.offset


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, check_stride=False)


def test_segments_run_in_order_between_islands() -> None:
    model, x = Plain(), torch.randn(3, 4)
    compiled = spliced(model, (x,), without("sort"))
    assert list(segments_of(compiled)) == ["segment_00", "segment_01"]
    close(compiled(x), model(x))


def test_results_keep_their_names_and_the_rest_of_the_graph_its_nodes() -> None:
    compiled = spliced(Plain(), (torch.randn(3, 4),), without("sort"))
    names = [node.name for node in compiled.graph.nodes if node.op == "call_function"]
    assert names == ["segment_00", "relu", "sort", "getitem", "segment_01", "add"]
    assert not [node for node in compiled.graph.nodes if node.op == "call_module"]


def test_engines_are_calls_of_the_operator_as_in_the_exported_program() -> None:
    compiled = spliced(Plain(), (torch.randn(3, 4),), without("sort"))
    official = compiled.meta[SPLICED].module(check_guards=False)
    assert str(compiled.graph) == str(official.graph)
    calls = [node for node in compiled.graph.nodes if node.target is torch.ops.trt_passes.execute_engine.default]
    operands = [[item.target for item in (node.args[1], node.args[3], *node.args[4])] for node in calls]
    assert operands == [
        ["segment_00_engine", "segment_00_fallback", "a.weight", "a.bias"],
        ["segment_01_engine", "segment_01_fallback", "b.weight", "b.bias", "offset"],
    ]


def test_weights_have_the_names_of_the_model_and_are_its_own_tensors() -> None:
    model = Plain()
    compiled = spliced(model, (torch.randn(3, 4),), without("sort"))
    ours, theirs = compiled.state_dict(), model.state_dict()
    assert sorted(ours) == sorted(theirs)
    assert {name: tensor.data_ptr() for name, tensor in ours.items()} == {
        name: tensor.data_ptr() for name, tensor in theirs.items()
    }


def test_weights_that_are_loaded_later_are_refused_where_engines_hold_others() -> None:
    model, other, x = Plain(), Plain(), torch.randn(3, 4)
    compiled = spliced(model, (x,), without("sort"))
    with pytest.raises(tp.UserError, match="mutable_weights=True"):
        compiled.load_state_dict(copy.deepcopy(other.state_dict()), assign=True)
    close(compiled(x), model(x))


class Shared(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.sort(torch.relu(x @ self.weight))[0]
        return torch.sin(y @ self.weight) @ torch.sort(self.weight)[0]


def test_a_parameter_shared_by_engines_and_islands_is_one_tensor() -> None:
    model, x = Shared(), torch.randn(3, 4)
    compiled = spliced(model, (x,), without("sort"))
    assert len(list(compiled.parameters())) == 1
    close(compiled(x), model(x))


class Tree(torch.nn.Module):
    def forward(self, x: dict[str, torch.Tensor], scale: float = 2.0, *, bias: torch.Tensor) -> dict[str, Any]:
        y = torch.sort(x["a"] * scale)[0]
        return {"out": (torch.relu(y) + bias, None, 3), "same": x["a"], "twice": [y, y]}


def test_arguments_and_results_keep_their_structure() -> None:
    x, bias = {"a": torch.randn(3)}, torch.randn(3)
    compiled = spliced(Tree(), (x, 2.0), without("sort"), kwargs={"bias": bias})
    found, expected = compiled(x, 2.0, bias=bias), Tree()(x, 2.0, bias=bias)
    assert found["out"][1:] == (None, 3)
    assert found["same"] is x["a"]
    assert found["twice"][0] is found["twice"][1]
    close((found["out"][0], found["twice"][0]), (expected["out"][0], expected["twice"][0]))


class Counting(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        memory.mul_(2)
        return torch.relu(x) * self.calls + memory


def test_buffers_and_inputs_are_mutated_as_by_the_model() -> None:
    model = Counting()
    compiled = spliced(copy.deepcopy(model), (torch.randn(3), torch.ones(3)), without("sort"))
    x = torch.randn(3)
    for _ in range(3):
        ours, theirs = torch.ones(3), torch.ones(3)
        close(compiled(x, ours), model(x, theirs))
        close(ours, theirs)
    close(compiled.calls, model.calls)


class Sizes(torch.nn.Module):
    """Sizes that both sides need, from tensors that only exist inside an engine."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        inner = torch.cat([x, x.relu()]).sigmoid()
        n = inner.shape[0]
        sorted_ = torch.sort(inner.exp())[0]
        return torch.arange(n * 2 + 1).sum() * sorted_.reshape(n // 2, -1).tanh(), n


def test_sizes_from_inside_an_engine_are_computed_again_outside() -> None:
    batch = Dim("batch", min=2, max=32)
    compiled = spliced(
        Sizes(), (torch.randn(4, 3),), without("sort", "arange", "reshape"), dynamic_shapes=({0: batch},)
    )
    for size in (2, 5, 32):
        x = torch.randn(size, 3)
        found, expected = compiled(x), Sizes()(x)
        assert found[1] == expected[1]
        close(found[0], expected[0])


class DataDependent(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen = torch.nonzero(torch.relu(x) > 0.5)
        return (chosen * 2).sum(0) + torch.zeros(chosen.shape[0] + 1).shape[0]


def test_data_dependent_sizes_stay_in_order() -> None:
    compiled = spliced(
        DataDependent(), (torch.randn(8),), without("nonzero", "mul", "zeros", "full", "assert", "constrain")
    )
    for seed in range(3):
        x = torch.randn(8, generator=torch.Generator().manual_seed(seed))
        close(compiled(x), DataDependent()(x))


class Branches(torch.nn.Module):
    """The second segment's input comes before the first one's in the graph."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a = torch.relu(x)
        b = torch.sort(y)[0]
        c = torch.relu(b)
        d = torch.sort(torch.sigmoid(a) + c)[0]
        return torch.tanh(d), torch.sort(a)[0]


def test_branches_run_after_what_they_need() -> None:
    x, y = torch.randn(5), torch.randn(5)
    close(spliced(Branches(), (x, y), without("sort"))(x, y), Branches()(x, y))


def test_a_program_without_segments_and_one_without_islands() -> None:
    model, x = Plain(), torch.randn(3, 4)
    nothing = spliced(model, (x,), lambda node: False)
    assert not segments_of(nothing)
    close(nothing(x), model(x))
    whole = spliced(model, (x,), lambda node: True)
    assert len(segments_of(whole)) == 1
    close(whole(x), model(x))


def test_arguments_may_have_the_names_of_builtins() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
    x = torch.randn(2, 4)
    close(spliced(model, (x,), without("relu"))(x), model(x))


def test_the_program_keeps_its_graph() -> None:
    program = with_empty_engines(partitioned(torch.export.export(Plain(), (torch.randn(3, 4),)), without("sort")))
    before = str(program.graph)
    after = Splice().run(program, Context())
    assert str(after.graph) == before


@pytest.mark.parametrize("strict", [False, True])
def test_torch_export_takes_the_result(strict: bool) -> None:
    model, batch = Plain(), Dim("batch", min=2, max=9)
    compiled = spliced(model, (torch.randn(3, 4),), without("sort"), dynamic_shapes=({0: batch},))
    exported = torch.export.export(compiled, (torch.randn(3, 4),), dynamic_shapes=({0: batch},), strict=strict)
    calls = [n for n in exported.graph.nodes if n.target is torch.ops.trt_passes.execute_engine.default]
    assert len(calls) == 2
    x = torch.randn(7, 4)
    close(exported.module()(x), model(x))


class Draws(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        chosen = torch.multinomial(x.softmax(-1), 2)  # waits for an engine, unlike what is drawn after it
        noise = torch.cond(x.sum() > 0, torch.rand_like, torch.randn_like, (x,))
        return chosen, noise, torch.bernoulli((x + torch.rand_like(x)).sigmoid()), torch.randperm(4)


def test_random_numbers_are_drawn_in_the_sequence_of_the_model() -> None:
    model, x = Draws(), torch.rand(3, 4)
    compiled = spliced(model, (x,), without("multinomial", "rand", "bernoulli", "cond", "sum", "gt"))
    for seed in range(2):
        torch.manual_seed(seed)
        expected = model(x)
        torch.manual_seed(seed)
        close(compiled(x), expected)
