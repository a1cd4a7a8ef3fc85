"""Products of rows sorted by expert, in both forms, and the histogram that counts them."""

import pytest
import torch
from trt_passes.passes.convert.experts import multiplies_every_expert

from tests.oracle import check, converted

moe = pytest.importorskip("transformers.integrations.moe")


def grouped(x, weight, ends):
    return torch.ops.transformers.grouped_mm_fallback(x, weight, ends)


def case(counts, k=6, n=5, rows=None, dtype=torch.float32):
    ends = torch.tensor(counts).cumsum(0).to(torch.int32)
    rows = rows or int(ends[-1])
    return torch.randn(rows, k, dtype=dtype), torch.randn(len(counts), k, n, dtype=dtype), ends


COUNTS = {
    "a few rows each": [3, 1, 4, 2],
    "none for some": [0, 0, 7, 0, 1, 0],
    "all for the last": [0, 0, 0, 40],
    "all for the first": [40, 0, 0, 0],
    "fewer rows than experts": [0, 1] + [0] * 12 + [1],
    "one expert": [9],
    "many rows": [100, 0, 1, 511, 30],
}


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
def test_each_row_gets_its_experts_matrix(counts, every, monkeypatch):
    monkeypatch.setattr("trt_passes.passes.convert.experts.multiplies_every_expert", lambda *args: every)
    check(grouped, case(counts), build=len(counts) == 4)


@pytest.mark.parametrize("every", [True, False])
def test_rows_behind_the_last_expert_are_zero(every, monkeypatch):
    monkeypatch.setattr("trt_passes.passes.convert.experts.multiplies_every_expert", lambda *args: every)
    x, weight, ends = case([2, 0, 5], rows=20)
    # What they hold must not matter.
    x[7:] = float("inf")
    check(grouped, (x, weight, ends))


@pytest.mark.parametrize("every", [True, False])
def test_the_number_of_rows_may_vary(every, monkeypatch):
    monkeypatch.setattr("trt_passes.passes.convert.experts.multiplies_every_expert", lambda *args: every)

    def routed(x, weight, places):
        ids, order = torch.sort(places)
        ends = torch.histc(ids.float(), bins=4, min=0, max=3).cumsum(0, dtype=torch.int32)
        # Of equal places any may come first.
        return torch.zeros_like(x[:, :5]).index_put((order,), grouped(x[order], weight, ends))

    x, weight, _ = case([5, 0, 1, 6])
    places = torch.randint(0, 4, (12,))
    check(routed, (x, weight, places), [{0: "n"}, None, {0: "n"}], {"n": (1, 12, 57)}, build=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("every", [True, False])
def test_halves(dtype, every, monkeypatch):
    monkeypatch.setattr("trt_passes.passes.convert.experts.multiplies_every_expert", lambda *args: every)
    check(grouped, case([3, 0, 9], 16, 8, dtype=dtype), build=True)


def test_few_rows_read_only_their_own_matrices():
    layers = converted(grouped, case([1] + [0] * 30 + [1])).layers()
    assert "GATHER" in layers
    assert not multiplies_every_expert(2, 2, 32, 5)


@pytest.mark.parametrize(
    ("rows", "experts", "every"), [(8, 128, False), (2, 8, False), (16, 8, True), (1024, 8, True), (32768, 128, False)]
)
def test_the_form_follows_the_number_of_rows(rows, experts, every):
    assert multiplies_every_expert(rows, rows, experts, 1536) is every


def test_every_expert_only_while_the_products_fit():
    assert not multiplies_every_expert(1024, 10**6, 8, 1536)


def test_pytorchs_own_operator():
    def function(x, weight, ends):
        return torch.nn.functional.grouped_mm(x, weight.transpose(-2, -1), offs=ends)

    x, weight, ends = case([4, 0, 12], 16, 8, dtype=torch.bfloat16)
    check(function, (x, weight.transpose(-2, -1).contiguous(), ends))


def test_batches_of_pytorchs_own_operator():
    _, weight, _ = case([1, 1, 1], 16, 8, dtype=torch.bfloat16)
    check(lambda a, b: torch.nn.functional.grouped_mm(a, b), (torch.randn(3, 4, 16).bfloat16(), weight))


# --- histograms ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("bins", "low", "high"), [(4, 0, 3), (10, 0, 10), (7, -2, 5), (1, 0, 1), (3, 0.1, 0.7), (5, 0, 0), (1, 0, 0)]
)
def test_a_histogram(bins, low, high):
    function = lambda x: torch.histc(x, bins=bins, min=low, max=high)  # noqa: E731
    check(function, [torch.randint(-3, 12, (40,)).float()])
    check(function, [torch.randn(5, 7) * 3])
    check(function, [torch.full((6,), 2.0)])


def test_a_histogram_of_a_varying_number_of_elements():
    check(lambda x: torch.histc(x, 5, -1, 1), [torch.randn(9)], [{0: "n"}], {"n": (1, 9, 30)}, build=True)


def test_a_histogram_leaves_out_what_is_no_number():
    check(lambda x: torch.histc(x, 4, 1, 3), [torch.tensor([2.0, float("nan"), 1.0, 3.0, float("inf")])])
