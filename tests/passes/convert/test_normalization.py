"""Normalization against eager, each built into an engine."""

import pytest
import torch
import torch.nn.functional as F
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.call import Call
from trt_passes.passes.convert import default_registry

from tests.marks import gpu
from tests.oracle import check, kernels_of, traced

BATCH = {"n": (2, 2, 5)}
rows, image = (2, 3, 4), (2, 6, 5, 5)
CASES = {
    "layer": (nn.LayerNorm(4), rows),
    "layer over two": (nn.LayerNorm((3, 4)), rows),
    "layer without affine": (nn.LayerNorm(4, elementwise_affine=False), rows),
    "layer without bias": (nn.LayerNorm(4, bias=False), rows),
    "rms": (nn.RMSNorm(4), rows),
    "rms without affine": (nn.RMSNorm(4, eps=1e-6, elementwise_affine=False), rows),
    "group": (nn.GroupNorm(2, 6), image),
    "group without affine": (nn.GroupNorm(3, 6, affine=False), (2, 6)),
    "instance": (nn.InstanceNorm2d(6), image),
    "instance affine": (nn.InstanceNorm1d(3, affine=True), rows),
    "instance with running statistics": (nn.InstanceNorm2d(6, track_running_stats=True), image),
    "batch 1d": (nn.BatchNorm1d(3), rows),
    "batch of vectors": (nn.BatchNorm1d(5, affine=False), (2, 5)),
    "batch 2d": (nn.BatchNorm2d(6), image),
    "batch without running statistics": (nn.BatchNorm2d(6, track_running_stats=False), image),
}


def prepared(module):
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1.5) if "var" in name else nn.init.normal_(tensor)
    return module.eval()


@pytest.mark.parametrize("name", CASES)
def test_modules_with_a_dynamic_batch(name):
    module, shape = CASES[name]
    check(prepared(module), [torch.randn(shape)], [{0: "n"}], BATCH, build=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("module", [nn.BatchNorm2d(6), nn.GroupNorm(3, 6), nn.LayerNorm(5), nn.RMSNorm(5)], ids=str)
def test_low_precision(module, dtype):
    loose = (5e-2, 3e-2) if dtype == torch.bfloat16 else None
    check(prepared(module).to(dtype), [torch.randn(image).to(dtype)], build=True, tolerance=loose)


class Channels(nn.Module):
    """As in ConvNeXt: a norm over the channels of an image, for which they become the last dimension."""

    def __init__(self, norm, back=(0, 3, 1, 2)):
        super().__init__()
        self.norm, self.back = norm, back

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(self.back).relu()


NORMS = {"affine": nn.LayerNorm(6), "without bias": nn.LayerNorm(6, bias=False)} | {
    "without affine": nn.LayerNorm(6, elementwise_affine=False)
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", NORMS)
def test_a_norm_over_channels_moves_nothing(name, dtype):
    module = prepared(Channels(NORMS[name])).to(dtype)
    result = check(module, [torch.randn(image).to(dtype)], [{0: "n"}], BATCH, build=True)
    assert "NORMALIZATION(axes=[1]" in result.built.text()


def test_a_norm_over_channels_whose_move_is_not_in_the_network():
    module = prepared(Channels(nn.LayerNorm(6)))
    x = torch.randn(image)
    compiled = tp.compile(module, [x], torch_executed_ops={"aten.permute"}, min_block_size=1, executor="reference")
    (segment,) = [item for item in compiled.report.program.segments if "NORMALIZATION" in item.network.text()]
    assert "NORMALIZATION(axes=[3]" in segment.network.text()
    torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("back", [(0, 3, 2, 1), (0, 1, 2, 3)])
def test_a_norm_over_channels_that_stay_elsewhere(back):
    module = prepared(Channels(nn.LayerNorm(6), back))
    check(module, [torch.randn(image)], [{0: "n"}], BATCH, build=True)


def test_a_norm_over_channels_that_is_also_read_as_it_is():
    def function(x):
        y = F.layer_norm(x.permute(0, 2, 3, 1), (6,))
        return y.permute(0, 3, 1, 2).relu(), y.exp()

    check(function, [torch.randn(image)], [{0: "n"}], BATCH, build=True)


def test_statistics_computed_at_run_time():
    parameters = [torch.randn(6), torch.randn(6), torch.randn(6), torch.rand(6)]
    check(lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b), [torch.randn(image), *parameters], build=True)


aten = torch.ops.aten


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_statistics_of_the_input(dtype):
    def function(x, w):
        return (
            *aten.native_layer_norm(x, [5, 5], None, None, 1e-5),
            *aten.native_group_norm(x, w, None, x.shape[0], 6, 25, 3, 1e-5),
            *aten._native_batch_norm_legit.no_stats(x, w, None, True, 0.1, 1e-5),
        )

    inputs = [torch.randn(image).to(dtype), torch.randn(6).to(dtype)]
    loose = (1e-2, 1e-2) if dtype == torch.float16 else None
    check(function, inputs, [{0: "n"}, None], BATCH, build=True, tolerance=loose)


def test_training_moves_the_running_statistics():
    def function(x, w, b, m, v):
        return tuple(aten._native_batch_norm_legit_functional(x, w, b, m, v, True, 0.3, 1e-5))

    inputs = [torch.randn(image), torch.randn(6), torch.randn(6), torch.randn(6), torch.rand(6)]
    check(function, inputs, [{0: "n"}, *[None] * 4], BATCH, build=True)


def test_native_batch_norm():
    parameters = [torch.randn(6), torch.randn(6), torch.randn(6), torch.rand(6)]

    def function(x, w, b, m, v):
        evaluated = aten.native_batch_norm(x, w, b, m, v, False, 0.1, 1e-5)[0]
        return evaluated, *aten.native_batch_norm(x, w, b, None, None, True, 0.1, 1e-5)

    check(function, [torch.randn(image), *parameters], build=True)


def reasons(function, inputs):
    _, program = traced(function, inputs)
    found = [(default_registry().get(node.target), Call(node)) for node in program.op_nodes]
    return [reason for converter, call in found if converter for reason in converter.violations(call)]


@pytest.mark.parametrize(
    ("training", "result", "message"),
    [
        (True, 0, "training is True, which changes the running statistics in place"),
        (False, 1, "the statistics (results 1 and 2) are used, but they are computed in training only"),
    ],
)
def test_refusals(training, result, message):
    def function(x, m, v):
        return aten.native_batch_norm(x, None, None, m, v, training, 0.1, 1e-5)[result]

    (reason,) = reasons(function, [torch.randn(image), torch.randn(6), torch.rand(6)])
    assert message in reason.message


class AroundGroups(nn.Module):
    """A group norm with something around it."""

    def __init__(self, function, groups):
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.first, self.last = nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
        self.norm, self.linear = nn.GroupNorm(groups, 64), nn.Linear(64, 64)

    def forward(self, x):
        return self.function(self, x)


AROUND_GROUPS = {
    "nothing": (lambda m, x: m.norm(x), 8, False),
    "silu": (lambda m, x: F.silu(m.norm(x)), 8, False),
    "a convolution before": (lambda m, x: m.norm(m.first(x)), 8, False),
    "a convolution behind": (lambda m, x: m.last(F.silu(m.norm(x))), 8, False),
    "tokens": (lambda m, x: m.linear(m.norm(m.first(x)).flatten(2).mT), 8, False),
    "one group": (lambda m, x: m.last(m.norm(m.first(x))), 1, False),
    "convolutions": (lambda m, x: m.last(F.silu(m.norm(m.first(x)))), 8, True),
    "a sum of convolutions": (lambda m, x: m.last(F.silu(m.norm(m.first(x) + m.last(x)))), 8, True),
    "larger images": (lambda m, x: m.last(m.norm(F.interpolate(m.first(x), scale_factor=2.0))), 8, True),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("around", AROUND_GROUPS)
def test_the_kernel_of_group_norm_is_taken_between_convolutions_only(around, dtype):
    """Elsewhere TensorRT-RTX makes kernels of its form that have no execution context on an H200."""
    function, groups, expected = AROUND_GROUPS[around]
    module = AroundGroups(function, groups).to(dtype).eval()
    result = check(module, [torch.randn(2, 64, 16, 16).to(dtype)], tolerance=(5e-2, 5e-2))
    names = [kernel["name"] for kernel in kernels_of(result.built) if "group_norm" in kernel["nodes"]]
    assert any("Gnor" in name for name in names) == expected
    # The form that the kernel is for, which must not become other kernels.
    units = [row for row in result.built.text().splitlines() if f"[1,{groups},1]" in row and "group_norm" in row]
    assert bool(units) == (expected or groups == 1)


def test_group_norm_of_another_segment_than_its_convolutions():
    """What lies before and behind the network does not make its kernels."""
    module, x = AroundGroups(AROUND_GROUPS["convolutions"][0], 8).eval(), torch.randn(2, 64, 8, 8)
    excluded = {torch.ops.aten.convolution.default}
    compiled = tp.compile(module, (x,), min_block_size=1, executor="reference", torch_executed_ops=excluded)
    torch.testing.assert_close(compiled(x), module(x), rtol=1e-4, atol=1e-5)
    (segment,) = compiled.report.program.segments
    assert "[1,8,1]" not in segment.network.text()


@pytest.mark.parametrize("affine", [False, True])
def test_no_normalization_over_rows_has_a_weight_for_each_row(affine):
    """Such a layer has no execution context on an H200; that of group norm over images had that form."""
    for module in (nn.InstanceNorm1d(6, affine=affine), nn.GroupNorm(3, 6, affine=affine)):
        text = check(module.eval(), [torch.randn(2, 6, 40)]).built.text()
        (row,) = [row for row in text.splitlines() if "NORMALIZATION" in row]
        unit = row.split("(%")[-1].split(",")[1].strip(" %)")
        assert any(line.startswith(f"%{unit} = ") and "[1,1,1]" in line for line in text.splitlines())


@gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 320, 64, 64), (1, 640, 32, 32), (2, 512, 64, 64), (2, 96, 7, 7), (2, 320, 4096)])
def test_group_norm_runs_on_a_gpu(shape, dtype):
    module = nn.GroupNorm(32, shape[1]).to(dtype).eval()
    x = torch.randn(shape).to(dtype)
    compiled = tp.compile(module, (x,), min_block_size=1, executor="tensorrt").cuda()
    expected = F.group_norm(x.float(), 32)
    torch.testing.assert_close(compiled(x.cuda()).cpu().float(), expected, rtol=2e-2, atol=2e-2)


@gpu
@pytest.mark.parametrize("shape", [(2, 64, 20000), (2, 64, 128, 128), (2, 16, 8, 32, 32)])
def test_instance_norm_runs_on_a_gpu(shape):
    module = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}[len(shape)](shape[1], affine=True)
    x = torch.randn(shape)
    compiled = tp.compile(module.eval(), (x,), min_block_size=1, executor="tensorrt").cuda()
    torch.testing.assert_close(compiled(x.cuda()).cpu(), F.instance_norm(x), rtol=1e-3, atol=1e-4)
