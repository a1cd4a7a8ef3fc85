"""Arguments that lie in memory otherwise than those that the model was exported with, where that matters."""

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.errors import UserError

DECLARED = tp.Input(min_shape=(2, 8), opt_shape=(4, 8), max_shape=(9, 8))


class Model(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x)


def transposed(x):
    return x.t().contiguous().t()


def sliced(x):
    return torch.cat([x, x], 1)[:, :8]


def numbers():
    return torch.arange(32.0).view(4, 8)


def compiled(body, *, ir="dynamo", given=DECLARED):
    return tp.compile(Model(body), [given], ir=ir, min_block_size=1, executor="reference")


def check(body, module, x):
    """A call gives what PyTorch gives, and writes what PyTorch writes."""
    expected_x = x.clone() if x.is_contiguous() else transposed(x.clone())
    assert expected_x.stride() == x.stride()
    expected = body(expected_x)
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(x, expected_x)


def written_flat(x):
    x.flatten().add_(1)
    return x * 2


def written_between(x):
    y = x * 2
    y.reshape(-1)[:3] = 7
    return y


def read_after_a_write(x):
    y = x + 0
    v = y.reshape(4 * x.shape[0], 2)
    y.add_(1)
    return v


def written_contiguous(x):
    x.contiguous().mul_(2)
    return x + 1


def in_windows(x):
    return x.as_strided((2, 2), (1, 1))


BY_LAYOUT = (written_flat, written_between, read_after_a_write, written_contiguous, in_windows)


@pytest.mark.parametrize("body", BY_LAYOUT)
@pytest.mark.parametrize("ir", ["dynamo", "fx"])
def test_what_strides_decide_is_right_for_contiguous_tensors_and_refused_for_others(body, ir):
    module = compiled(body, ir=ir)
    check(body, module, numbers())
    with pytest.raises(UserError, match=r"input 'x' has strides \(1, 4\), .*: give x.contiguous\(\)"):
        module(transposed(numbers()))


@pytest.mark.parametrize("make", [transposed, sliced])
def test_the_line_is_named_and_a_loaded_model_refuses_likewise(tmp_path, make):
    tp.save(compiled(written_flat), tmp_path / "model.pt2")
    with pytest.raises(UserError, match=r"flatten\S* at \S*test_layout.py:\d+"):
        tp.load(tmp_path / "model.pt2")(make(numbers()))


def test_a_model_in_torchscript_asserts_it():
    module = compiled(written_flat, ir="ts")
    check(written_flat, module, numbers())
    with pytest.raises(torch.jit.Error, match=r"give x.contiguous\(\)"):
        module(transposed(numbers()))


def test_an_example_that_lies_otherwise_is_what_calls_must_be():
    module = compiled(written_flat, given=transposed(numbers()))
    check(written_flat, module, transposed(numbers()))
    with pytest.raises(UserError, match="has strides"):
        module(numbers())


def written_before(x):
    return (x + 1).relu_().flatten()


def not_read_again(x):
    return (x + 1).flatten().relu_()


def written_as_it_is(x):
    x.mul_(2)
    return x.t() + 1


@pytest.mark.parametrize("body", [written_before, not_read_again, written_as_it_is])
def test_other_writes_take_any_strides(body):
    check(body, compiled(body), transposed(numbers()))


def test_torch_compile_looks_at_strides_itself():
    module = compiled(written_flat, ir="torch_compile")
    check(written_flat, module, numbers())
    check(written_flat, module, transposed(numbers()))
