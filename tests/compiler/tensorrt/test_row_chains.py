"""Products of one row that TensorRT-RTX would compute of another row, where arithmetic reads the row too."""

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.marks import gpu
from tests.oracle import check


class Steps(nn.Module):
    """Steps that read a row in a product and in arithmetic with the product's result."""

    def __init__(self, width, step, count=3):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(count))
        self.step = step

    def forward(self, x):
        for layer in self.layers:
            x = self.step(x, layer)
        return x * 2


STEPS = {
    "residual": lambda x, layer: x + torch.relu(layer(x)),
    "without activation": lambda x, layer: x + layer(x),
    "gate": lambda x, layer: x * torch.sigmoid(layer(x)),
    "difference": lambda x, layer: torch.relu(layer(x)) - x,
    "matrix on the left": lambda x, layer: x + (layer.weight @ x.mT).mT,
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("width", [8, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_second_and_third_step_read_copies(name, width, dtype):
    built = check(Steps(width, STEPS[name]).to(dtype), [torch.randn(1, width, dtype=dtype)])
    assert built.layers().count("GATHER") == 2


class Cell(nn.Module):
    """Steps of a cell, whose row comes from two products: x [1,width] -> [1,width]."""

    def __init__(self, width, count=3):
        super().__init__()
        self.cell, self.count = nn.RNNCell(width, width), count

    def forward(self, x):
        state = x
        for _ in range(self.count):
            state = self.cell(x, state)
        return state


def test_a_row_that_comes_from_two_products_is_copied():
    assert check(Cell(8), [torch.randn(1, 8)]).layers().count("GATHER") == 2


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (Steps(8, STEPS["residual"]), torch.randn(2, 8)),
        (Steps(128, STEPS["residual"]), torch.randn(1, 128)),
        (Steps(8, STEPS["residual"], count=1), torch.randn(1, 8)),
        (Steps(8, lambda x, layer: torch.relu(layer(x))), torch.randn(1, 8)),
    ],
    ids=["two rows", "long rows", "one step", "nothing else reads the row"],
)
def test_other_products_cost_no_copy(module, x):
    assert "GATHER" not in check(module, [x]).layers()


@gpu
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("width", [7, 8, 16, 24, 32])
def test_engines_are_right(name, width):
    model, x = Steps(width, STEPS[name], count=4).cuda().eval(), torch.randn(1, width, device="cuda")
    with torch.no_grad():
        compiled = tp.compile(model, [x], min_block_size=1, executor="tensorrt")
        torch.testing.assert_close(compiled(x), model(x), rtol=5e-3, atol=5e-3)


@gpu
@pytest.mark.parametrize("width", [8, 24, 32])
def test_engines_of_cells_are_right(width):
    model, x = Cell(width).cuda().eval(), torch.randn(1, width, device="cuda")
    with torch.no_grad():
        compiled = tp.compile(model, [x], min_block_size=1, executor="tensorrt")
        torch.testing.assert_close(compiled(x), model(x), rtol=5e-3, atol=5e-3)
