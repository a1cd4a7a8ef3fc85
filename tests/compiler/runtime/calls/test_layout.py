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


def rows_of_more(x):
    return torch.cat([x, x], 1)[:, : x.shape[1]]


def in_more(x):
    return torch.cat([x[:1], x]).narrow(0, 1, x.shape[0])


def with_gradients(x):
    return x.clone().requires_grad_()


def viewed(x):
    return x.view(x.shape)


def of_inference(x):
    with torch.inference_mode():
        return x.clone()


ASKED = {
    "stride": (lambda x: x * x.stride(0), (transposed, rows_of_more), (in_more, with_gradients)),
    "strides": (lambda x: x + sum(x.stride()), (rows_of_more,), (in_more,)),
    "contiguous": (lambda x: x * 2 if x.is_contiguous() else x * 3, (transposed, rows_of_more), (in_more,)),
    "result": (lambda x: x + 1 if (x * 2).is_contiguous() else x + 2, (transposed,), (in_more,)),
    "view": (lambda x: x + x.mT.stride(-1), (transposed,), (in_more, viewed)),
    "like it": (lambda x: x + torch.zeros_like(x).stride(0), (transposed,), (in_more,)),
    "format": (
        lambda x: x[None, None] * (2 if x[None, None].is_contiguous(memory_format=torch.channels_last) else 3),
        (transposed, rows_of_more),
        (in_more,),
    ),
    "order": (lambda x: x * (x.dim_order()[0] + 1), (transposed,), (in_more,)),
    "offset": (lambda x: x + x.storage_offset(), (in_more,), (transposed, rows_of_more)),
    "place in memory": (lambda x: x.as_strided((2, 3), (1, 2), 1), (in_more, transposed), (viewed,)),
    "memory": (lambda x: x * x.untyped_storage().nbytes(), (in_more, rows_of_more), (viewed,)),
    "is view": (lambda x: x * 2 if x._is_view() else x * 3, (viewed, transposed), (with_gradients,)),
    "base": (lambda x: x * 2 if x._base is None else x * 3, (viewed,), (with_gradients,)),
    "gradient": (lambda x: x * 2 if x.requires_grad else x * 3, (with_gradients,), (transposed, in_more)),
    "leaf": (lambda x: x * 2 if x.grad_fn is None else x * 3, (with_gradients,), (transposed,)),
    "inference": (lambda x: x * 2 if x.is_inference() else x * 3, (of_inference,), (transposed,)),
    # What does not follow from how an input lies.
    "product": (lambda x: x @ x.mT * (x @ x.mT).stride(0), (), (transposed, rows_of_more, in_more)),
    "own tensor": (lambda x: x + torch.ones(4, 2).mT.stride(0), (), (transposed, in_more, with_gradients)),
}
"""What models ask: for these inputs calls are refused, and for those they are right."""


@pytest.mark.parametrize("name", ASKED)
def test_what_a_model_asks_of_memory_is_what_it_was_told_or_the_call_is_refused(name):
    body, refused, right = ASKED[name]
    module = compiled(body)
    for x in (torch.arange(8.0 * count).view(count, 8).clone() for count in (2, 9)):
        for make in (torch.clone, *right):
            torch.testing.assert_close(module(make(x)), body(make(x)), check_stride=False)
        for make in refused:
            with pytest.raises(
                UserError, match=r"the model was compiled for a tensor that .* at \S*test_layout.py:\d+"
            ):
                module(make(x))


def test_one_row_has_the_strides_that_were_asked_for():
    body = ASKED["stride"][0]
    module = compiled(body, given=tp.Input(min_shape=(1, 8), opt_shape=(4, 8), max_shape=(9, 8)))
    row = numbers()[:1]
    torch.testing.assert_close(module(row), body(row))
    with pytest.raises(UserError, match=r"has strides \(16, 1\)"):
        module(numbers().view(2, 16)[:1, :8])


@pytest.mark.parametrize("name", ["stride", "contiguous", "gradient"])
def test_a_scripted_model_asks_likewise(name, tmp_path):
    class Asks(nn.Module):
        def __init__(self, name: str):
            super().__init__()
            self.name = name

        def forward(self, x: torch.Tensor):
            if self.name == "stride":
                return x * x.stride(0)
            if self.name == "gradient":
                return x * 2 if x.requires_grad else x * 3
            return x * 2 if x.is_contiguous() else x * 3

    body, (make, *_), _ = ASKED[name]
    module = tp.compile(torch.jit.script(Asks(name)), [DECLARED], ir="ts", min_block_size=1, executor="reference")
    check(body, module, numbers())
    with pytest.raises(torch.jit.Error, match="the model was compiled for a tensor that"):
        module(make(numbers()))


def test_a_loaded_model_knows_what_was_asked(tmp_path):
    tp.save(compiled(lambda x: x * x.stride(0) + x.storage_offset()), tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2")
    torch.testing.assert_close(loaded(numbers()), numbers() * 8)
    for make in (transposed, in_more):
        with pytest.raises(UserError, match="the model was compiled for a tensor that"):
            loaded(make(numbers()))


def test_an_example_in_other_strides_is_asked_for_them():
    body = ASKED["stride"][0]
    module = compiled(body, given=transposed(numbers()))
    torch.testing.assert_close(module(transposed(numbers())), body(transposed(numbers())), check_stride=False)
    with pytest.raises(UserError, match="give a tensor that does"):
        module(numbers())


@pytest.mark.parametrize("name", ["_version", "is_set_to"])
def test_what_is_never_known_is_refused_when_the_model_is_compiled(name):
    body = {"_version": lambda x: x * (x._version + 1), "is_set_to": lambda x: x * 2 if x.is_set_to(x) else x}[name]
    with pytest.raises(UserError, match=rf"asks a tensor for its {name} at \S*test_layout.py:\d+"):
        compiled(body, given=numbers())


def test_to_find_out_what_is_asked_leaves_the_model_as_it_is():
    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls.add_(1)
            self.last = x * 2
            return x + self.last.stride(0)

    model = Keeps()
    module = tp.compile(model, [DECLARED], min_block_size=1, executor="reference")
    assert model.calls.item() == 0
    assert not hasattr(model, "last")
    torch.testing.assert_close(module(numbers()), numbers() + 8)


def test_what_pytorchs_guards_ask_is_no_question_of_the_model():
    """The guards of a strict export, as of a number read from a tensor, ask whether inputs require a gradient."""

    def body(x):
        float(x.abs().max())
        return x * 2

    module = compiled(body, given=torch.randn(3, 4))
    x = torch.randn(5, 4)[1:4]
    torch.testing.assert_close(module(x), x * 2)
