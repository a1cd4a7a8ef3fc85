from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.models import ConvNet, seeded


class Add(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class Fixed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(4, 3) * 2


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return x * 2


class Keyword(nn.Module):
    def forward(self, x: torch.Tensor, scale: float = 1.0, *, bias: torch.Tensor | None = None) -> dict:
        return {"y": x * scale if bias is None else x * scale + bias}


class Scores(nn.Linear):
    def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return super().forward(q) @ k.T


def test_a_sparse_weight_stays_in_pytorch() -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.eye(4).to_sparse())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sparse.mm(self.weight, torch.relu(x))

    x = torch.randn(4, 3)
    compiled = tp.compile(Sparse().eval(), [x], min_block_size=1, executor="reference")
    torch.testing.assert_close(compiled(x), torch.relu(x))


def test_examples_that_are_one_tensor_are_inputs_of_their_own() -> None:
    model, x = seeded(Scores(4, 4)), torch.randn(4, 4)
    for inputs in ([x, x], [x, x[:]], [model.weight, x], [x, model.weight]):
        program = tp.trace(model, inputs)
        assert len(program.inputs) == 2
        given = torch.randn(4, 4), torch.randn(4, 4)
        torch.testing.assert_close(program.exported.module()(*given), model(*given))


class Chosen(nn.Module):
    """Decides by a size, which torch.export follows for the size of the example only."""

    def __init__(self, condition: Callable[[int], bool]) -> None:
        super().__init__()
        self.condition = condition

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if self.condition(x.shape[0]) else x + 1


ROWS = tp.Input(min_shape=(1, 3), opt_shape=(3, 3), max_shape=(9000, 3))


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            lambda size: size % 2 == 0,
            r"where Ne\(Mod\(x.shape\[0\], 2\), 0\) \(\S*test_exported_program.py:\d+: .*\), which is not so for "
            r"x.shape\[0\] = 2: the model calls aten.mul\(tensor\[2, 3\], 2\) there, where the graph calls aten.add",
        ),
        (lambda size: size == 5, r"not so for x.shape\[0\] = 5: .*\. Declare sizes"),
        (lambda size: size == 8999, "= 8999"),
    ],
)
def test_branches_that_not_all_declared_sizes_take(condition: Callable[[int], bool], message: str) -> None:
    with pytest.raises(tp.UserError, match=message):
        tp.trace(Chosen(condition), [ROWS])


@pytest.mark.parametrize(
    "condition", [lambda size: size == 9001, lambda size: (6 * size - 1) // (2 * size) == 2, lambda size: size > 0]
)
def test_branches_that_all_declared_sizes_take(condition: Callable[[int], bool]) -> None:
    model = Chosen(condition)
    module = tp.trace(model, [ROWS]).exported.module()
    x = torch.randn(6, 3)
    torch.testing.assert_close(module(x), model(x))


def test_static_input_from_a_tensor() -> None:
    program = tp.trace(seeded(ConvNet()), [torch.randn(2, 3, 16, 16)])
    (item,) = program.inputs
    assert (item.name, item.min_shape, item.max_shape) == ("x", (2, 3, 16, 16), (2, 3, 16, 16))


def test_dynamic_dimension_covers_the_declared_range() -> None:
    model = seeded(ConvNet())
    item = tp.Input(min_shape=(1, 3, 16, 16), opt_shape=(4, 3, 16, 16), max_shape=(8, 3, 16, 16))
    module = tp.trace(model, [item]).exported.module()
    for batch in (1, 4, 8):
        x = torch.randn(batch, 3, 16, 16)
        torch.testing.assert_close(module(x), model(x))


def test_opt_of_one_is_still_dynamic() -> None:
    item = tp.Input(min_shape=(1, 3), opt_shape=(1, 3), max_shape=(8, 3))
    program = tp.trace(Add(), [item, item])
    assert program.user_inputs[0].meta["val"].shape[0] == program.user_inputs[1].meta["val"].shape[0]
    assert not isinstance(program.user_inputs[0].meta["val"].shape[0], int)


def test_equal_sizes_are_found_without_being_declared() -> None:
    item = tp.Input(min_shape=(1, 3), opt_shape=(4, 3), max_shape=(8, 3))
    program = tp.trace(Add(), [item, item])
    symbols = {str(node.meta["val"].shape[0]) for node in program.user_inputs}
    assert len(symbols) == 1


def test_conflicting_ranges_of_sizes_that_must_be_equal() -> None:
    wide = tp.Input(min_shape=(1, 3), opt_shape=(4, 3), max_shape=(8, 3))
    narrow = tp.Input(min_shape=(1, 3), opt_shape=(2, 3), max_shape=(4, 3))
    with pytest.raises(tp.UserError, match=r"'x' dimension 0 is declared as 1\.\.8.*allows 1\.\.4"):
        tp.trace(Add(), [wide, narrow])


class AtLeast3(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch._check(x.shape[0] >= 3)
        return x * 2


@pytest.mark.parametrize(
    ("model", "ranges", "allowed"),
    [
        (nn.Bilinear(4, 4, 4), [(1, 8), (1, 4)], "1..4"),
        (AtLeast3(), [(2, 8)], "3..8"),
    ],
)
def test_a_range_that_is_too_wide_is_told_what_the_model_allows(
    model: nn.Module, ranges: list[tuple[int, int]], allowed: str
) -> None:
    inputs = [tp.Input(min_shape=(low, 4), opt_shape=(4, 4), max_shape=(high, 4)) for low, high in ranges]
    with pytest.raises(tp.UserError, match=rf"the model allows {allowed}( \(.*\))?: declare a range inside that"):
        tp.trace(model.eval(), inputs)


@pytest.mark.parametrize(("dim", "allowed"), [(torch.export.Dim.AUTO, "1 or more"), (torch.export.Dim("b", min=1), "")])
def test_a_program_that_was_not_exported_for_nothing(dim: torch.export.Dim, allowed: str) -> None:
    exported = torch.export.export(nn.ReLU(), (torch.randn(3, 4),), dynamic_shapes=({0: dim},), strict=False)
    with pytest.raises(tp.UserError, match=f"the model allows {allowed}"):
        tp.trace(exported, [tp.Input(min_shape=(0, 4), opt_shape=(2, 4), max_shape=(4, 4))])


def test_a_program_that_was_exported_for_nothing_too() -> None:
    exported = torch.export.export(
        nn.ReLU(), (torch.randn(3, 4),), dynamic_shapes=({0: torch.export.Dim("batch", max=4)},), strict=False
    )
    compiled = tp.compile(exported, min_block_size=1, executor="reference")
    for batch in (0, 1, 4):
        assert compiled(torch.ones(batch, 4)).shape == (batch, 4)


def test_conflicting_usual_sizes() -> None:
    one = tp.Input(min_shape=(1, 3), opt_shape=(4, 3), max_shape=(8, 3))
    other = tp.Input(min_shape=(1, 3), opt_shape=(5, 3), max_shape=(8, 3))
    with pytest.raises(tp.UserError, match=r"conflicting ranges: input 'x'.*the same range for both"):
        tp.trace(Add(), [one, other])


def test_dimension_that_the_model_fixes() -> None:
    item = tp.Input(min_shape=(1, 3), opt_shape=(4, 3), max_shape=(8, 3))
    with pytest.raises(tp.UserError, match=r"dimension 0 is declared as 1\.\.8, but the model fixes it to 4"):
        tp.trace(Fixed(), [item])


def test_rejection_keeps_the_reason_and_the_line() -> None:
    with pytest.raises(tp.UserError, match=r"test_exported_program\.py:\d+, .*Could not guard on data-dependent"):
        tp.trace(Branch(), [torch.randn(3)])


def test_keyword_arguments_and_numbers() -> None:
    program = tp.trace(Keyword(), [tp.Input((2, 3)), 2.0], {"bias": torch.ones(3)})
    assert [item.name for item in program.inputs] == ["x", "bias"]
    x = torch.randn(2, 3)
    torch.testing.assert_close(program.exported.module()(x, 2.0, bias=torch.ones(3))["y"], x * 2 + 1)


def test_adopting_an_exported_program_takes_its_ranges() -> None:
    batch = torch.export.Dim("batch", min=1, max=6)
    exported = torch.export.export(Add(), (torch.ones(2, 3), torch.ones(2, 3)), dynamic_shapes=({0: batch}, {0: batch}))
    (item, _) = tp.trace(exported).inputs
    assert (item.min_shape, item.max_shape) == ((1, 3), (6, 3))


def test_adopting_checks_declared_inputs() -> None:
    exported = torch.export.export(Add(), (torch.ones(2, 3), torch.ones(2, 3)))
    with pytest.raises(tp.UserError, match="takes 2 tensors, but 1 inputs are given"):
        tp.trace(exported, [torch.ones(2, 3)])
    with pytest.raises(tp.UserError, match="declared with rank 1, but the model takes rank 2"):
        tp.trace(exported, [torch.ones(3), torch.ones(2, 3)])
    with pytest.raises(tp.UserError, match=r"declared as torch\.float16, but .* exported with torch\.float32"):
        tp.trace(exported, [torch.ones(2, 3).half(), torch.ones(2, 3)])


@pytest.mark.parametrize("model", [torch.relu, torch.jit.script(Add()), 3])
def test_what_is_not_a_model(model: object) -> None:
    with pytest.raises(tp.UserError, match="the model is"):
        tp.trace(model, [torch.ones(2)])  # type: ignore[arg-type]


def test_missing_inputs() -> None:
    with pytest.raises(tp.UserError, match="no inputs"):
        tp.trace(Add())


@torch.no_grad()
def test_masks_of_transformer_layers() -> None:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2).eval()
    x, causal = torch.randn(2, 5, 8), torch.nn.Transformer.generate_square_subsequent_mask(5)
    compiled = tp.compile(model, [x, causal], executor="reference")
    assert compiled.report.coverage == 1
    for mask in (causal, torch.zeros(5, 5)):
        torch.testing.assert_close(compiled(x, mask), model(x, mask), rtol=1e-4, atol=1e-5)


EMPTY: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "pointwise": lambda x: x.relu() + 1,
    "convolution": lambda x: nn.functional.conv2d(x, torch.ones(3, 4, 1, 1)).flatten(2),
    "reduction": lambda x: x.sum(0),
    "reshape": lambda x: x.reshape(-1, 20),
    "boolean mask": lambda x: x[x > 0],
    "product": lambda x: x.flatten(1) @ x.flatten(1).mT,
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_range_may_start_at_nothing(name: str) -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return EMPTY[name](x)

    item = tp.Input(min_shape=(0, 4, 3, 5), opt_shape=(2, 4, 3, 5), max_shape=(4, 4, 3, 5))
    compiled = tp.compile(Model(), [item], min_block_size=1, executor="reference")
    for batch in (0, 1, 2, 4):
        x = torch.randn(batch, 4, 3, 5)
        torch.testing.assert_close(compiled(x), Model()(x))


def test_a_length_that_became_a_number_is_said_to_be_one() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x.view(-1)
            return torch.zeros(8).scatter_add(0, y.long() * 0, torch.ones(len(y)))

    item = tp.Input(min_shape=(2, 3), opt_shape=(2, 4), max_shape=(5, 6))
    with pytest.raises(tp.UserError, match=r"torch\.ones\(len\(y\)\).*: write x\.shape\[0\] there") as raised:
        tp.trace(Model(), [item])
    assert "branch" not in str(raised.value)


def test_a_branch_that_nothing_takes_is_not_taken_for_granted() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, x[:1]])

    item = tp.Input(min_shape=(0, 4), opt_shape=(2, 4), max_shape=(4, 4))
    with pytest.raises(tp.UserError, match=r"for x\.shape\[0\] = 0: .*Declare sizes that all take the same branch"):
        tp.trace(Model(), [item])
