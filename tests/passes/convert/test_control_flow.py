"""Conditionals, loops and scans of graphs against eager."""

import pytest
import torch
from torch import nn
from torch._higher_order_ops.scan import scan
from torch._higher_order_ops.while_loop import while_loop

from tests.oracle import check, converted

x = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
YES, NO = torch.tensor(True), torch.tensor(False)


class Branches(nn.Module):
    """Weights, a size of the graph around it, and different operators in the branches."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 4)
        self.conv = nn.Conv1d(1, 2, 3, padding=1)

    def forward(self, x, wanted):
        def then(x):
            return self.linear(x).relu(), self.conv(x[:, None]).sum(1)

        def otherwise(x):
            return x * 2 + x.shape[0], x.cumsum(0)

        first, second = torch.cond(wanted, then, otherwise, (x + 1,))
        return first + second, second


@pytest.mark.parametrize("wanted", [YES, NO])
def test_branches(wanted):
    result = check(Branches(), [x, wanted], [{0: "n"}, None], {"n": (1, 3, 6)}, build=True)
    assert result.layers().count("CONDITIONAL_OUTPUT") == 2
    assert set(result.built.layer_nodes.values()) <= {node.name for node in result.program.graph.nodes}


@pytest.mark.parametrize("wanted", [YES, NO])
def test_branches_that_return_their_input_or_a_constant(wanted):
    def function(x, wanted):
        first = torch.cond(wanted, lambda x: x.clone(), lambda x: x.exp(), (x,))
        second = torch.cond(wanted, lambda x: torch.ones(3, 4), lambda x: x.clone(), (x,))
        return first, second

    check(function, [x, wanted], build=True)


@pytest.mark.parametrize("wanted", [True, False])
def test_branches_of_arithmetic_are_selected_where_sizes_vary(wanted):
    """TensorRT-RTX has no kernels for products of varying sizes in a network with a conditional."""

    def function(x, k, wanted):
        first, second = torch.cond(wanted, lambda x, k: (x * 2, k // 2.5), lambda x, k: (x.exp(), k + 1.5), (x, k))
        return first @ first.mT, second, torch.cond(wanted, lambda k: k // 2, lambda k: k + 1, (k,))

    inputs = [torch.randn(3, 4), torch.arange(3), torch.tensor(wanted)]
    check(function, inputs, [{0: "n"}, {0: "n"}, None], {"n": (2, 3, 5)})
    layers = converted(function, inputs, [{0: "n"}, {0: "n"}, None], {"n": (2, 3, 5)}).layers()
    assert layers.count("CONDITIONAL_OUTPUT") == 1  # the integers' division
    assert converted(function, inputs).layers().count("CONDITIONAL_OUTPUT") == 3


def test_a_conditional_on_a_size():
    class OnSize(nn.Module):
        def forward(self, x):
            return torch.cond(x.shape[0] > 4, lambda x: x.sin(), lambda x: x.cos(), (x,))

    check(OnSize(), [x], [{0: "n"}], {"n": (1, 3, 6)}, build=True)


@pytest.mark.parametrize("wanted", [YES, NO])
def test_a_conditional_in_a_conditional(wanted):
    def function(x, wanted):
        def inner(x):
            return torch.cond((x > 0).any(), lambda x: x.exp(), lambda x: x.sin(), (x,))

        return torch.cond(wanted, inner, lambda x: x.cos(), (x,))

    check(function, [x, wanted], build=True)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_while_loops(count):
    def function(x, n):
        def body(i, y):
            return i + 1, y * 0.5 + x

        return while_loop(lambda i, y: i < n, body, (n * 0, x.clone()))

    check(function, [x, torch.tensor(count)], [{0: "b"}, None], {"b": (1, 3, 5)}, build=True)


def test_a_loop_that_swaps_what_it_carries():
    def function(x, n):
        return while_loop(lambda i, a, b: i < n, lambda i, a, b: (i + 1, b.clone(), a + b), (n * 0, x, x.cos()))

    check(function, [x, torch.tensor(4)], build=True)


def test_a_loop_with_weights_and_a_branch_inside():
    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.linear = nn.Linear(4, 4)

        def forward(self, x, n):
            def body(i, y):
                step = torch.cond(i % 2 == 0, lambda y: self.linear(y).tanh(), lambda y: y.sin(), (y,))
                return i + 1, step

            return while_loop(lambda i, y: i < n, body, (n * 0, x))

    check(Inside(), [x, torch.tensor(3)], build=True)


def test_scans():
    def function(x):
        def body(carry, row):
            new = carry * 0.5 + row
            return new, (new.relu(), carry.clone())

        last, (all_of_them, before) = scan(body, x[0] * 0, x, dim=0)
        return last, all_of_them, before

    check(function, [x], [{0: "n"}], {"n": (2, 3, 6)}, build=True)


def test_scans_backwards_along_another_dimension():
    def function(x):
        last, results = scan(lambda carry, row: (carry + row, carry * row), x[:, 0].clone(), x, dim=1, reverse=True)
        return last, results

    check(function, [x], build=True)
