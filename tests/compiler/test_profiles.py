"""Several optimization profiles: one engine with its weights once, and a clear error for sizes that none has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.nn import functional as F
from trt_passes.compiler.ir.input import Input

from tests.marks import gpu


class Gated(nn.Module):
    """Products of the same input, as in a language model: x f32/f16[B,S,W], mask f32/f16[B,S]."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, inner, bias=False), nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x)) * mask.unsqueeze(-1)


WIDTH = 16
TOKEN, TOKENS, PROMPT = ((1, 1),) * 3, ((1, 1), (4, 1), (8, 1)), ((1, 1), (1, 6), (2, 9))


def inputs(width: int = WIDTH, dtype: torch.dtype = torch.float32) -> list[Input]:
    sizes = [TOKEN, TOKENS, PROMPT]
    wide = [tuple((*shape, width) for shape in profile) for profile in sizes]
    return [Input(shapes=wide, dtype=dtype, name="x"), Input(shapes=sizes, dtype=dtype)]


def arguments(batch: int, tokens: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(batch, tokens, WIDTH, dtype=dtype), torch.rand(batch, tokens, dtype=dtype)


SIZES = [(1, 1), (8, 1), (3, 1), (2, 9), (1, 2), (2, 1)]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Gated(WIDTH, 32).eval()


@pytest.fixture(scope="module")
def compiled(model: nn.Module) -> Any:
    return tp.compile(model, inputs(), min_block_size=1, executor="reference")


@pytest.mark.parametrize(("batch", "tokens"), SIZES)
def test_every_profile_is_right(model: nn.Module, compiled: Any, batch: int, tokens: int) -> None:
    given = arguments(batch, tokens)
    torch.testing.assert_close(compiled(*given), model(*given), rtol=1e-4, atol=1e-5)


def test_there_is_one_engine_that_knows_its_profiles(compiled: Any) -> None:
    (segment,) = compiled.segments.values()
    assert segment.spec.profiles == 3
    assert segment.spec.inputs[0].profiles[2] == ((1, 1, WIDTH), (1, 6, WIDTH), (2, 9, WIDTH))
    assert type(segment.spec).loads(segment.spec.dumps()) == segment.spec
    (found,) = compiled.report.program.segments
    assert "kMIN" not in found.engine.log


@pytest.mark.parametrize("executor", ["reference", "pytorch", "auto"])
@pytest.mark.parametrize(("batch", "tokens"), [(3, 2), (8, 9)])
def test_sizes_of_no_profile_are_refused_in_one_sentence(compiled: Any, executor: Any, batch: int, tokens: int) -> None:
    given = f"x={batch}x{tokens}x16, mask={batch}x{tokens}"
    words = rf"no profile of the engine has inputs of {given}: .*x=1x1x16.*2x1..6..9"
    with compiled.with_options(executor=executor), pytest.raises(tp.UserError, match=words) as caught:
        compiled(*arguments(batch, tokens))
    assert "\n" not in str(caught.value)


def test_a_size_that_all_profiles_lack_is_named(compiled: Any) -> None:
    with pytest.raises(tp.UserError, match="'x' has size 9 in dimension 0"):
        compiled(*arguments(9, 1))


def test_a_file_keeps_profiles(model: nn.Module, compiled: Any, tmp_path: Path) -> None:
    tp.save(compiled, tmp_path / "model.pt2")
    loaded = tp.load(tmp_path / "model.pt2", executor="pytorch")
    given = arguments(2, 7)
    torch.testing.assert_close(loaded(*given), model(*given))
    with pytest.raises(tp.UserError, match="no profile of the engine"):
        loaded(*arguments(4, 2))


@pytest.mark.parametrize("ir", ["fx", "ts"])
def test_other_front_ends_take_them(model: nn.Module, ir: str) -> None:
    script = torch.jit.script(model) if ir == "ts" else model
    compiled = tp.compile(script, inputs(), ir=ir, min_block_size=1, executor="pytorch")
    for batch, tokens in SIZES:
        given = arguments(batch, tokens)
        torch.testing.assert_close(compiled(*given), model(*given))
    # Out of TorchScript's interpreter an error comes as one of its own, with the words in it.
    with pytest.raises((tp.UserError, RuntimeError), match="no profile of the engine"):
        compiled(*arguments(3, 2))


def test_an_exported_program_takes_them(model: nn.Module) -> None:
    sizes = {0: torch.export.Dim("b", min=1, max=8), 1: torch.export.Dim("s", min=1, max=9)}
    exported = torch.export.export(model, arguments(2, 3), dynamic_shapes=(sizes, sizes))
    compiled = tp.compile(exported, inputs(), min_block_size=1, executor="reference")
    given = arguments(2, 9)
    torch.testing.assert_close(compiled(*given), model(*given), rtol=1e-4, atol=1e-5)
    with pytest.raises(tp.UserError, match="no profile"):
        compiled(*arguments(8, 9))


def test_parts_in_pytorch_and_several_engines_have_profiles_too(model: nn.Module) -> None:
    compiled = tp.compile(model, inputs(), min_block_size=1, executor="reference", torch_executed_ops={"aten.mul"})
    assert len(compiled.segments) == 2
    assert {segment.spec.profiles for segment in compiled.segments.values()} == {3}
    for batch, tokens in SIZES:
        given = arguments(batch, tokens)
        torch.testing.assert_close(compiled(*given), model(*given), rtol=1e-4, atol=1e-5)


def test_torch_compile_has_one_range(model: nn.Module) -> None:
    with pytest.raises(tp.UserError, match="several profiles"):
        tp.compile(model, inputs(), ir="torch_compile")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16])
def test_weights_are_in_the_engine_once(dtype: torch.dtype) -> None:
    big = Gated(512, 1024).eval().to(dtype)
    engine = tp.convert_to_engine(big, inputs(512, dtype))
    weights = sum(parameter.nbytes for parameter in big.parameters())
    assert len(engine) < 1.6 * weights


def test_two_inputs_of_one_size_have_the_same_profiles(model: nn.Module) -> None:
    x, _ = inputs()
    with pytest.raises(tp.UserError, match="input 'x' has 3 profiles and input 'mask' has 2"):
        tp.trace(model, [x, Input(shapes=[TOKEN, PROMPT], name="mask")])
    with pytest.raises(tp.UserError, match=r"conflicting ranges.*1..1 \(usual 1\) or 1..8 \(usual 4\) or"):
        tp.trace(model, [x, Input(shapes=[TOKENS, TOKEN, PROMPT])])


def test_an_input_with_one_range_is_the_same_in_all(model: nn.Module) -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
            return x * scale.sum()

    scale = Input(min_shape=(1,), opt_shape=(2,), max_shape=(5,))
    compiled = tp.compile(Scaled().eval(), [inputs()[0], scale], min_block_size=1, executor="reference")
    assert len(compiled.segments) == 1
    for count in (1, 5):
        x, values = arguments(2, 9)[0], torch.randn(count)
        torch.testing.assert_close(compiled(x, values), x * values.sum())


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("x=1x1/1x2..4..8:i64", [((1, 1),) * 3, ((1, 2), (1, 4), (1, 8))]),
        ("scalar/scalar:f32", [((), (), ())] * 2),
    ],
)
def test_text_round_trips(text: str, shapes: Any) -> None:
    item = Input.parse(text)
    assert list(item.profiles) == shapes
    assert str(item) == text
    assert Input.parse(str(item)) == item


def test_profiles_may_be_dicts_or_single_shapes() -> None:
    dicts = Input(
        profiles=[{"min": (1, 3), "opt": (1, 3), "max": (1, 3)}, {"min": [1, 3], "opt": [2, 3], "max": [4, 3]}]
    )
    assert dicts == Input(shapes=[(1, 3), ((1, 3), (2, 3), (4, 3))])
    assert (dicts.min_shape, dicts.opt_shape, dicts.max_shape) == ((1, 3), (1, 3), (4, 3))
    assert dicts.profile(1) == Input(min_shape=(1, 3), opt_shape=(2, 3), max_shape=(4, 3))
    assert Input(shapes=[((1,), (2,), (3,))]) == Input(min_shape=(1,), opt_shape=(2,), max_shape=(3,))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shapes": []}, "list with"),
        ({"shapes": "1x2"}, "list with"),
        ({"shapes": [5]}, "three shapes"),
        ({"shapes": [((1,), (2,))]}, "2 shapes"),
        ({"shapes": [((3,), (2,), (4,))]}, "grow from min to opt to max"),
        ({"shapes": [(1,), (1, 2)]}, "different ranks"),
        ({"shapes": [{"min": (1,), "opt": (1,)}]}, "'max'"),
        ({"shapes": [(1,)], "profiles": [(1,)]}, "two names"),
        ({"shape": (1,), "shapes": [(1,)]}, "give one"),
    ],
)
def test_what_is_no_profile(options: dict[str, Any], words: str) -> None:
    with pytest.raises(tp.UserError, match=words) as caught:
        Input(**options)
    assert "\n" not in str(caught.value)


@gpu
@pytest.mark.parametrize("options", [{}, {"cuda_graphs": True}, {"reuse_outputs": True}])
def test_every_profile_is_right_on_a_gpu(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = Gated(WIDTH, 32).eval().cuda()
    compiled = tp.compile(model, inputs(), min_block_size=1, executor="tensorrt", **options)
    for batch, tokens in [*SIZES, *reversed(SIZES), *SIZES]:
        given = [tensor.cuda() for tensor in arguments(batch, tokens)]
        # Kernels may round to TF32.
        torch.testing.assert_close(compiled(*given), model(*given), rtol=1e-2, atol=2e-3)
    with pytest.raises(tp.UserError, match="no profile of the engine"):
        compiled(*(tensor.cuda() for tensor in arguments(3, 2)))
