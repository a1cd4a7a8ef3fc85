"""`Input`: shapes and ranges, from arguments, tensors and text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trt_passes import Input, UserError
from trt_passes.compiler.inputs import as_input

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.bool]


@st.composite
def inputs(draw: st.DrawFn) -> Input:
    sizes = draw(st.lists(st.lists(st.integers(0, 10**6), min_size=3, max_size=3).map(sorted), max_size=6))
    dtype = draw(st.sampled_from(DTYPES))
    name = draw(st.none() | st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True))
    formats = [torch.contiguous_format, *([torch.channels_last] if len(sizes) == 4 else [])]
    low, opt, high = ([size[i] for size in sizes] for i in range(3))
    return Input(
        min_shape=low, opt_shape=opt, max_shape=high, dtype=dtype, name=name, format=draw(st.sampled_from(formats))
    )


@given(inputs())
def test_text_round_trips(item: Input) -> None:
    parsed = Input.parse(str(item))
    # A size whose smallest and largest agree is static, whatever the text calls its usual size.
    assert parsed == item


@given(st.text(max_size=30))
def test_any_text_is_an_input_or_a_user_error(text: str) -> None:
    try:
        item = Input.parse(text)
    except UserError:
        return
    assert Input.parse(str(item)) == item


def test_forms_of_sizes() -> None:
    item = Input.parse("ids=1..8x16..64..128x7:i64")
    assert (item.min_shape, item.opt_shape, item.max_shape) == ((1, 16, 7), (8, 64, 7), (8, 128, 7))
    assert (item.name, item.dtype, item.dynamic_dims) == ("ids", torch.int64, (0, 1))
    assert Input.parse("scalar:f16").shape == ()
    assert Input.parse("2x3x4x5:f16:channels_last").format is torch.channels_last


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2x-3", "'-3'"),
        ("2xx3", "''"),
        ("", "''"),
        ("2x3:f99", "unknown dtype 'f99'"),
        ("2x3:float17", "float17"),
        ("2x3x4x5:f32:channel_last", "Did you mean 'channels_last'?"),
        ("8..4x3", "min 8, opt 4, max 4 in dimension 0"),
        ("1..9..8x3", "min 1, opt 9, max 8"),
        ("1..2..3..4x3", "min..opt..max"),
        ("a b=2x3", "[name=]"),
        ("2x3:f32:channels_last", "rank 4"),
        ("2x3:f32:channels_last:x", "[name=]"),
        ("1.5x3", "'1.5'"),
    ],
)
def test_wrong_text_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        Input.parse(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "needs a shape"),
        ({"min_shape": (1,), "max_shape": (2,)}, "needs a shape"),
        ({"shape": (1,), "min_shape": (1,)}, "give one"),
        ({"shape": (1, -2)}, "at least 0"),
        ({"shape": "ab"}, "whole numbers"),
        ({"shape": "24"}, "whole numbers"),
        ({"shape": (2.5, 3)}, "whole numbers"),
        ({"shape": (True, 3)}, "whole numbers"),
        ({"shape": (3, 10**20)}, "the size 100000000000000000000 in dimension 1, which no tensor can have"),
        ({"min_shape": (1,), "opt_shape": (2,), "max_shape": (2**63,)}, "which no tensor can have"),
        ({"shape": (2,), "name": 5}, "name of an Input is 5"),
        ({"min_shape": (1,), "opt_shape": (2, 2), "max_shape": (3,)}, "different ranks"),
        ({"min_shape": (4,), "opt_shape": (2,), "max_shape": (8,), "name": "x"}, "input 'x' has min 4, opt 2, max 8"),
        ({"shape": (1,), "dtype": "float16"}, "torch.float16"),
        ({"shape": (1,), "format": torch.channels_last}, "rank 4"),
        ({"shape": (1,), "format": torch.preserve_format}, "channels_last"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        Input(**arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4, 5)])
def test_from_tensor_describes_its_example(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    item = Input.from_tensor(torch.ones(shape, dtype=dtype), name="x")
    example = item.example()
    assert (example.shape, example.dtype) == (torch.Size(shape), dtype)
    assert Input.from_tensor(example, name="x") == item
    assert torch.equal(example, item.example()), "examples must be the same in every run"


def test_channels_last_is_kept() -> None:
    tensor = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    item = Input.from_tensor(tensor)
    assert item.format is torch.channels_last
    assert item.example().stride() == tensor.stride()


def test_example_takes_another_shape() -> None:
    item = Input(min_shape=(1, 3), opt_shape=(2, 3), max_shape=(8, 3))
    assert item.example().shape == (2, 3)
    assert item.example(shape=(8, 3)).shape == (8, 3)


def test_as_input() -> None:
    item = Input((2, 3))
    assert as_input(item) is item
    assert as_input((2, 3)) == as_input([2, 3]) == as_input("2x3") == as_input(torch.zeros(2, 3)) == item
    with pytest.raises(UserError, match="given as dict"):
        as_input({"x": 1})


def test_inputs_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Input((2, 3)).dtype = torch.float16  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_examples_are_where_they_are_wanted_whatever_the_default_device_is(dtype: torch.dtype) -> None:
    with torch.device("meta"):
        example = Input((2, 3), dtype=dtype).example()
    assert example.device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
@pytest.mark.parametrize("size", [2**44, 2**62])
def test_an_example_that_no_memory_holds(size: int, dtype: torch.dtype) -> None:
    with pytest.raises(UserError, match=f"no memory for an example of the input {size}x4"):
        Input((size, 4), dtype=dtype).example()


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (((2, 3),), {"dtyp": torch.float16}, "an Input has no 'dtyp'.*Did you mean 'dtype'"),
        (((2, 3),), {"minshape": (1, 3)}, "an Input has no 'minshape'.*Did you mean 'min_shape'"),
        (((1, 3), (2, 3), (4, 3)), {}, "one shape by position"),
    ],
)
def test_unknown_keywords_and_surplus_shapes(args: tuple[object, ...], kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Input(*args, **kwargs)  # type: ignore[arg-type]
