"""Gathers and scatters against eager."""

import torch
import torch.nn.functional as F

from tests.oracle import check

table = torch.randn(10, 4)
y = torch.randn(3, 4, 5)
a, c = torch.tensor([0, 2]), torch.tensor([[1], [3]])


def test_tables():
    def function(i):
        rows = F.embedding(i, table), table[i], table.index_select(0, i[0]), table[i - 10], table.take(i)
        elements = torch.gather(table, 0, i), torch.gather(table, 1, i % 4)
        return *rows, *elements, table[i, i % 4], table[:, i % 4], F.one_hot(i, 10)

    check(function, [torch.randint(0, 10, (2, 3))], [{0: "n"}], {"n": (1, 2, 5)}, build=True)


def test_several_indices():
    def function(y, a, c):
        return y[a], y[:, c], y[a, c], y[:, a, c], y[a, :, c], y[a, a, a], y[..., a], y[-1, a]

    check(function, [y, a, c], build=True)


def test_several_indices_of_a_dynamic_tensor():
    check(lambda y, a: (y[:, a, a], y[a, a - 1], y[a]), [y, a], [{0: "n"}, None], {"n": (3, 3, 6)}, build=True)


def written(y, *places):
    y = y.clone()
    for place, value in places:
        y[place] = value
    return y


def test_writes():
    def function(y, a, c, s):
        slices = written(y, ((slice(None), slice(1, 3)), 2.0)), written(y, ((slice(None), 1), s[0, 0]))
        places = (
            written(y, (a, 1.0)),
            written(y, ((slice(None), a, c[:, 0]), s)),
            written(y, ((a, slice(None), a), 7.0)),
        )
        scattered = y.scatter(1, c[None] * 0, 9.0), y.scatter(0, torch.zeros(1, 4, 5, dtype=torch.long), y[:1] * 2)
        return (
            *slices,
            *places,
            *scattered,
            written(y, (y > 0, 0.0)),
            y.index_fill(1, a, 3.0),
            y.index_copy(1, a, y[:, 2:]),
        )

    check(function, [y, a, c, torch.randn(3, 2)], build=True)


def test_more_writes_in_a_row_than_there_are_places():
    places = torch.tensor([[2, 0, 1, 1], [0, 2, 1, 1]])
    src = torch.tensor([[1.0, 2, 3, 3], [4, 5, 6, 6]])

    def function(x, places, src):
        return x.scatter(1, places, src), x.scatter(1, places, 7.0)

    ranges = {"k": (2, 4, 6), "m": (3, 3, 5)}
    check(function, [torch.zeros(2, 3), places, src], build=True)
    check(function, [torch.zeros(2, 3), places * 0, src * 0 + 1], [{1: "m"}, {1: "k"}, {1: "k"}], ranges, build=True)


def test_rows_of_limited_length():
    def function(i, t):
        limited = (torch.ops.aten.embedding_renorm(t, i, 1.0, p) for p in (2.0, 1.0, float("inf")))
        return tuple(limited)

    check(function, [torch.tensor([1, 5, 1]), table], [{0: "n"}, None], {"n": (1, 3, 6)}, build=True)


def test_no_elements():
    none = torch.zeros(2, 0, dtype=torch.long)
    check(lambda x, i: (x.gather(0, i), x[:0].gather(0, i)), [torch.randn(5, 3), none])
