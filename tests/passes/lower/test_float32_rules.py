"""What a user keeps in float32 where half precision is asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trt_passes as tp
import trt_passes.torch_tensorrt as torch_tensorrt
from torch import nn

SMALL: dict[str, Any] = {"min_block_size": 1, "executor": "reference", "enabled_precisions": {torch.float16}}
X = torch.randn(2, 3, 8, 8)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(144, 16), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(self.conv(x).relu().flatten(1)).relu())


def in_half(compiled: Any) -> set[str]:
    """The products that are computed in half precision, by the module that they belong to."""
    rows = {row.node: row.module for row in compiled.report.ledger}
    nodes = compiled.report.program.nodes_by_name
    wanted = ("conv", "linear")
    return {
        rows[name]
        for name, node in nodes.items()
        if name in rows and str(name).startswith(wanted) and node.meta["val"].dtype is torch.float16
    }


ALL = {"conv", "first", "last"}


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ({"last"}, {"conv", "first"}),
        ({"Linear"}, {"conv"}),
        ({torch.nn.Conv2d}, {"first", "last"}),
        ({"aten.linear"}, {"conv"}),
        ({torch.ops.aten.linear.default}, {"conv"}),
        ({"linear_1"}, {"conv", "first"}),
        ({"linear.*"}, {"conv"}),
        ({".*"}, set()),
    ],
)
def test_names_of_what_stays(names: Any, left: set[str]) -> None:
    model = Model().eval()
    compiled = tp.compile(model, [X], keep_in_float32=names, **SMALL)
    assert in_half(compiled) == left
    torch.testing.assert_close(compiled(X), model(X), rtol=2e-2, atol=2e-2)
    assert in_half(tp.compile(model, [X], **SMALL)) == ALL


@pytest.mark.parametrize(
    ("depth", "left"), [(15, set()), (16, {"last"}), (27, {"conv", "last"}), (144, ALL), (None, ALL)]
)
def test_products_that_add_up_much_stay(depth: int | None, left: set[str]) -> None:
    compiled = tp.compile(Model().eval(), [X], max_depth_of_reduction=depth, **SMALL)
    assert in_half(compiled) == left
    if depth == 16:
        assert any("adds up 144 numbers, and max_depth_of_reduction is 16" in note for note in compiled.report.notes)


def test_a_name_that_matches_nothing_is_told() -> None:
    compiled = tp.compile(Model().eval(), [X], keep_in_float32=["nothing", "("], **SMALL)
    assert "keep_in_float32 has nothing, which matches nothing in this program." in compiled.report.notes
    with pytest.raises(tp.UserError, match="max_depth_of_reduction"):
        tp.Settings(max_depth_of_reduction=0)


def test_options_of_autocast() -> None:
    model = Model().eval()
    compiled = torch_tensorrt.compile(
        model,
        inputs=[X],
        enable_autocast=True,
        autocast_low_precision_type=torch.float16,
        autocast_excluded_nodes={"^conv.*$"},
        autocast_excluded_ops={torch.ops.aten.flatten.using_ints},
        autocast_max_depth_of_reduction=100,
        min_block_size=1,
        executor="reference",
    )
    assert in_half(compiled) == {"last"}
    torch.testing.assert_close(compiled(X), model(X), rtol=2e-2, atol=2e-2)


class Loud(nn.Module):
    """Three products, of which the second gives large numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.quiet, self.loud, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        with torch.no_grad():
            self.loud.weight.mul_(1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.loud(torch.tanh(self.quiet(x)))))


ROWS = torch.linspace(-2, 2, 32).reshape(4, 8)


def loud_in_half(model: Any, **options: Any) -> set[str]:
    compiled = tp.compile(model, [ROWS], **SMALL, **options)
    nodes, rows = compiled.report.program.nodes_by_name, {row.node: row.module for row in compiled.report.ledger}
    return {rows[name] for name in rows if "linear" in name and nodes[name].meta["val"].dtype is torch.float16}


@pytest.mark.parametrize("kind", ["tensor", "labels", "keywords", "generator"])
def test_large_results_on_calibration_data_stay(kind: str) -> None:
    torch.manual_seed(0)
    model = Loud().eval()
    batches: Any = {
        "tensor": [ROWS / 1000, ROWS],
        "labels": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(ROWS, torch.zeros(4)), batch_size=4),
        "keywords": [{"x": ROWS}],
        "generator": (rows for rows in [ROWS]),
    }[kind]
    assert loud_in_half(model, calibration=batches, max_half_output=50) == {"quiet", "last"}


def test_what_calibration_data_says_and_needs() -> None:
    torch.manual_seed(0)
    model = Loud().eval()
    assert loud_in_half(model, calibration=[ROWS]) == {"quiet", "loud", "last"}
    assert loud_in_half(model, check=[ROWS], max_half_output=50) == {"quiet", "last"}
    compiled = tp.compile(model, [ROWS], calibration=[ROWS], max_half_output=50, **SMALL)
    assert any("max_half_output is 50" in note for note in compiled.report.notes)
    table = str(compiled.report.precisions())
    assert [line.split() for line in table.splitlines() if line.split()[0] in ("quiet", "loud")] == [
        ["quiet", "1", "0"],
        ["loud", "0", "1"],
    ]
    with pytest.raises(tp.UserError, match="give calibration, or check"):
        tp.Settings(max_half_output=50)
    with pytest.raises(tp.UserError, match="give a list of batches"):
        tp.compile(model, [ROWS], calibration=ROWS, **SMALL)
    with pytest.raises(tp.UserError, match="has no batches"):
        tp.compile(model, [ROWS], calibration=[], **SMALL)
    with pytest.raises(tp.UserError, match="batch 1 of option 'calibration': the model raises"):
        tp.compile(model, [ROWS], calibration=[ROWS, torch.randn(4, 7)], **SMALL)


def test_autocast_of_torch_tensorrt_with_data() -> None:
    torch.manual_seed(0)
    model = Loud().eval()
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(ROWS, torch.zeros(4)), batch_size=4)
    chosen = {"enable_autocast": True, "autocast_low_precision_type": torch.float16, "executor": "reference"}

    def in_half_of(**options: Any) -> set[str]:
        compiled = torch_tensorrt.compile(model, inputs=[ROWS], min_block_size=1, **chosen, **options)
        rows = {row.node: row.module for row in compiled.report.ledger}
        nodes = compiled.report.program.nodes_by_name
        return {rows[name] for name in rows if "linear" in name and nodes[name].meta["val"].dtype is torch.float16}

    assert in_half_of(autocast_calibration_dataloader=data, autocast_max_output_threshold=50) == {"quiet", "last"}
    assert in_half_of(autocast_calibration_dataloader=data, autocast_excluded_nodes={"^quiet$"}) == {"last"}  # 512
    with pytest.warns(UserWarning, match="give autocast_calibration_dataloader"):
        assert in_half_of(autocast_max_output_threshold=50) == {"quiet", "loud", "last"}
