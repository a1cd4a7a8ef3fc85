"""LSTM, GRU and plain recurrent layers against eager, as loops."""

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.recurrent_operators import WholeRecurrentLayers

from tests.marks import gpu
from tests.models import TORCH_RELEASE
from tests.oracle import check

exported_lstm = pytest.mark.skipif(
    TORCH_RELEASE < (2, 13), reason="torch 2.11 records wrong shapes for the states of an LSTM that is exported whole"
)
KINDS = [pytest.param(nn.LSTM, marks=exported_lstm), nn.GRU, nn.RNN]
x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(1))


class Flat(nn.Module):
    """A recurrent layer whose results are a flat tuple."""

    def __init__(self, kind, *sizes, **options):
        super().__init__()
        torch.manual_seed(0)
        self.layer = kind(*sizes, **options).eval()

    def forward(self, x, *states):
        output, final = self.layer(x, (tuple(states) if len(states) > 1 else states[0]) if states else None)
        return (output, *final) if isinstance(final, tuple) else (output, final)


@pytest.mark.parametrize("kind", KINDS)
def test_layers_and_directions(kind):
    check(Flat(kind, 4, 6, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3), [x], build=True)


@pytest.mark.parametrize("kind", KINDS)
def test_no_biases_and_initial_states(kind):
    states = [
        torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(i)) for i in range(2 - (kind is not nn.LSTM))
    ]
    check(Flat(kind, 4, 6, bias=False, bidirectional=True), [x, *states])


@exported_lstm
def test_projections():
    check(Flat(nn.LSTM, 4, 6, num_layers=2, proj_size=2, bidirectional=True), [x], build=True)


def test_relu_and_no_batch():
    check(Flat(nn.RNN, 4, 6, nonlinearity="relu"), [x])
    check(Flat(nn.GRU, 4, 6), [x[:, 0]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_halves(kind, dtype):
    check(Flat(kind, 4, 6).to(dtype), [x.to(dtype)], build=kind is nn.LSTM)


@pytest.mark.parametrize("kind", KINDS)
def test_dynamic_batch(kind):
    check(Flat(kind, 4, 6, bidirectional=True), [x], [{1: "batch"}], {"batch": (2, 3, 7)}, build=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_dynamic_length(kind, batch_first):
    sizes = [{0: "batch", 1: "time"} if batch_first else {1: "batch", 0: "time"}]
    with WholeRecurrentLayers():
        layer = Flat(kind, 4, 6, num_layers=2, bidirectional=True, batch_first=batch_first)
        check(
            layer, [x.swapaxes(0, 1) if batch_first else x], sizes, {"batch": (1, 3, 4), "time": (1, 5, 9)}, build=True
        )


def test_a_model_over_sequences_of_any_length(tmp_path):
    model = Flat(nn.LSTM, 4, 6, proj_size=3)
    declared = [tp.Input(min_shape=(1, 1, 4), opt_shape=(5, 3, 4), max_shape=(600, 8, 4))]
    compiled = tp.compile(model, declared, min_block_size=1, executor="reference")
    assert compiled.report.coverage == 1.0
    tp.save(compiled, tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2")
    loaded.executor = "pytorch"
    for inputs in (x, torch.randn(70, 2, 4)):
        for run in (compiled, loaded):
            for actual, expected in zip(run(inputs), model(inputs), strict=True):
                torch.testing.assert_close(actual, expected)


def test_packed_sequences_and_dropout_keep_pytorchs_operators():
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3, 1]))
    layer = nn.GRU(4, 6, num_layers=2, dropout=0.5)
    with WholeRecurrentLayers(), torch.no_grad():
        assert torch.equal(layer.eval()(packed)[0].data, layer(packed)[0].data)
        torch.manual_seed(0)
        noisy = layer.train()(x)[0]
        torch.manual_seed(0)
    assert torch.equal(noisy, layer(x)[0])


def test_the_network_does_not_grow_with_the_sequence():
    with WholeRecurrentLayers():
        short, long = (check(Flat(nn.LSTM, 4, 6), [torch.randn(size, 2, 4)], build=True) for size in (3, 512))
    assert long.layers() == short.layers()
    assert len(long.layers()) < 60


class Elu(nn.Module):
    """Recurrent layers with ELU and padding between them, of which TensorRT-RTX built no engine."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.between = nn.GRU(4, 4).eval(), nn.GRU(4, 4).eval(), between

    def forward(self, x):
        return self.second(nn.functional.pad(self.between(self.first(x)[0]), (0, 0, 0, 0, 2, 0)))[0]


@pytest.mark.parametrize("between", [nn.ELU(2.0), nn.CELU(0.5)])
def test_elu_between_two_loops_is_built(between):
    with WholeRecurrentLayers():
        assert check(Elu(between), [x], build=True).layers()


class Steps(nn.Module):
    """Cells, one step after the other: x [5,3,4] -> [3,6]."""

    def __init__(self, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.lstm = nn.GRUCell(4, 6, bias=bias), nn.LSTMCell(6, 6, bias=bias)

    def forward(self, x):
        state, kept = x.new_zeros(x.shape[1], 6), None
        for item in x.unbind(0):
            state = self.gru(item, state)
            kept = self.lstm(state, kept)
        return kept[0] + state


@pytest.mark.parametrize("bias", [True, False])
def test_cells_are_the_steps_that_pytorch_takes(bias):
    model = Steps(bias).eval()
    with WholeRecurrentLayers():
        steps = model(x)
    torch.testing.assert_close(steps, model(x))
    check(model, [x], build=bias)


@gpu
@pytest.mark.parametrize("ir", ["dynamo", "torch_compile"])
def test_cells_on_a_gpu_are_in_the_engine(ir):
    model = Steps().eval().cuda()
    torch._dynamo.reset()
    compiled = tp.compile(model, [x.cuda()], ir=ir, min_block_size=1, executor="tensorrt")
    torch.testing.assert_close(compiled(x.cuda()), model(x.cuda()), rtol=1e-2, atol=1e-3)
