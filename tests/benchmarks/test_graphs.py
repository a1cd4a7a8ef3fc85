"""The graphs of `benchmarks/compile_time.py --graphs`."""

from __future__ import annotations

import pytest
from graphs import GRAPHS, exponent, seconds_of, table


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_have_about_as_many_op_nodes_as_asked(name: str) -> None:
    count, seconds = seconds_of(name, 200)
    assert 100 <= count <= 320
    assert {"export", "decompose", "annotate", "partition"} <= set(seconds)


def test_exponents_are_slopes_of_logarithms() -> None:
    assert exponent([10, 100, 1000], [0.1, 1.0, 10.0]) == pytest.approx(1)
    assert exponent([10, 20, 40], [1.0, 4.0, 16.0]) == pytest.approx(2)


def test_the_table_ends_with_all_passes() -> None:
    assert "all passes" in table("chain", [40, 80]).splitlines()[-1]
