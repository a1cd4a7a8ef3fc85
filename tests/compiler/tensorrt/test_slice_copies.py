"""Parts of a tensor that a kernel would read at the place of the whole, where a product has one row or column."""

import pytest
import torch

from tests.oracle import check

Y, Z = torch.randn(3, 24), torch.randn(2, 5, 24)

PRODUCTS_WITH_A_PART = [
    (lambda y: torch.mv(y, y[0]), Y),
    (lambda y: torch.mv(y, torch.relu(y)[0]), Y),
    (lambda y: y @ y[:1].T, Y),
    (lambda y: torch.bmm(y, y[:, :1].transpose(1, 2)), Z),
]


@pytest.mark.parametrize(("function", "x"), PRODUCTS_WITH_A_PART)
def test_a_vector_that_is_a_part_of_the_matrix_is_read_from_a_copy(function, x):
    assert "GATHER" in check(function, [x]).layers()


@pytest.mark.parametrize(
    "function", [lambda y: y @ y[:2].T, lambda y: y @ y.T, lambda y: torch.mv(y[1:], y[0]), lambda y: y[:2] @ y[2:].T]
)
def test_other_products_cost_no_copy(function):
    assert "GATHER" not in check(function, [torch.randn(8, 24)]).layers()
