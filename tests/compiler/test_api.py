from __future__ import annotations

import copy
import pathlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn

from tests.models import ConvNet, Counter, Sorted, seeded

BATCH = tp.Input(min_shape=(1, 3, 16, 16), opt_shape=(2, 3, 16, 16), max_shape=(4, 3, 16, 16))


def test_compiled_module_behaves_like_the_model() -> None:
    model = seeded(ConvNet())
    compiled = tp.compile(model, [BATCH], executor="reference")
    assert isinstance(compiled, torch.fx.GraphModule)
    assert compiled.report.coverage == 1.0
    assert [segment.name for segment in compiled.report.segments] == ["segment-00"]
    for batch in (1, 2, 4):
        x = torch.randn(batch, 3, 16, 16)
        torch.testing.assert_close(compiled(x), model(x))


def test_a_default_device_is_not_where_passes_work() -> None:
    model, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)).eval(), torch.randn(4, 8)
    with torch.device("meta"):
        compiled = tp.compile(model, [x], executor="reference", min_block_size=1)
    assert compiled.report.coverage == 1.0
    torch.testing.assert_close(compiled(x), model(x))


def test_threads_that_compile_take_turns() -> None:
    model, x = seeded(ConvNet()), torch.randn(2, 3, 16, 16)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda _: tp.compile(model, [x], dryrun=True), range(3)))
    for compiled in made:
        torch.testing.assert_close(compiled(x), model(x))


def test_without_a_gpu_it_runs_in_pytorch_and_says_so_once() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so TensorRT runs the engines")
    model = seeded(Sorted())
    compiled = tp.compile(model, [tp.Input((2, 8))], torch_executed_ops={"aten.sort"}, min_block_size=1)
    x = torch.randn(2, 8)
    with pytest.warns(RuntimeWarning, match="run in PyTorch here, because this machine has no GPU") as caught:
        torch.testing.assert_close((compiled(x), compiled(x)), (model(x), model(x)))
    assert len([item for item in caught if item.category is RuntimeWarning]) == 1


def test_tensorrt_executor_raises_where_it_cannot_run() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU, so TensorRT runs the engines")
    compiled = tp.compile(seeded(ConvNet()), [BATCH], executor="tensorrt", min_block_size=1)
    with pytest.raises(tp.UserError, match="executor='tensorrt' cannot run segment-00"):
        compiled(torch.randn(1, 3, 16, 16))


def test_dryrun_stops_after_partition_and_still_runs() -> None:
    model = seeded(ConvNet())
    compiled = tp.compile(model, [BATCH], dryrun=True)
    assert [record.name for record in compiled.report.passes][-1] == "partition"
    assert compiled.report.segments[0].engine_bytes is None
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(compiled(x), model(x))


def test_mutated_buffers_stay_mutated() -> None:
    model = Counter().eval()
    compiled = tp.compile(copy.deepcopy(model), [torch.ones(3)], executor="reference", min_block_size=1)
    for _ in range(3):
        torch.testing.assert_close(compiled(torch.ones(3)), model(torch.ones(3)))


def test_dump_dir_is_written(tmp_path: pathlib.Path) -> None:
    tp.compile(seeded(ConvNet()), [BATCH], dump_dir=tmp_path / "dump", dryrun=True)
    assert {"index.html", "run.json", "why.txt", "ledger.jsonl", "00-input"} <= {
        path.name for path in (tmp_path / "dump").iterdir()
    }


def test_dumping_does_not_change_what_is_compiled(tmp_path: pathlib.Path) -> None:
    plain = tp.compile(seeded(ConvNet()), [BATCH]).report.program.segments[0]
    dumped = tp.compile(seeded(ConvNet()), [BATCH], dump_dir=tmp_path / "dump").report.program.segments[0]
    # Plans are not compared: TensorRT numbers its kernels through the life of a process.
    assert plain.network.text() == dumped.network.text()
    assert plain.engine.spec == dumped.engine.spec


def test_compiled_modules_can_be_copied_and_shown() -> None:
    compiled = tp.compile(seeded(ConvNet()), [BATCH], executor="pytorch")
    copied = copy.deepcopy(compiled)
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(copied(x), compiled(x))
    assert "100.0% in TensorRT" in compiled._repr_mimebundle_()["text/plain"]
    assert "op nodes" in compiled.report.program._repr_mimebundle_()["text/plain"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_blok_size": 3}, "unknown option 'min_blok_size'. Did you mean 'min_block_size'"),
        ({"ir": "dynmo"}, "ir is 'dynmo'. Did you mean 'dynamo'"),
        ({"min_block_size": 0}, "'min_block_size' is 0: give a whole number of at least 1"),
        ({"enabled_precisions": {torch.int8}}, "contains torch.int8: give float32, float16 or bfloat16"),
        ({"pipeline": "decompose,partition"}, "partition needs 'annotated': put annotate before it"),
        ({"compute_capabilities": ["sm89"]}, "give compute capabilities such as 8.6"),
        ({"truncate_double": True, "truncate_long_and_double": False}, "given twice"),
    ],
)
def test_mistakes_have_one_clear_sentence(options: dict[str, object], message: str) -> None:
    with pytest.raises(tp.UserError) as caught:
        tp.compile(seeded(ConvNet()), [BATCH], **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


class Scaled(torch.nn.Module):
    def forward(self, x: torch.Tensor, k: float, mask: torch.Tensor | None, *, shift: int = 0) -> torch.Tensor:
        return torch.relu(x) * k + shift if mask is None else x * mask


def test_numbers_and_none_are_part_of_what_was_compiled() -> None:
    x = torch.randn(3)
    compiled = tp.compile(Scaled(), [x, 2.0, None], kwarg_inputs={"shift": 1}, executor="reference", min_block_size=1)
    torch.testing.assert_close(compiled(x, 2.0, None, shift=1), Scaled()(x, 2.0, None, shift=1))
    torch.testing.assert_close(copy.deepcopy(compiled)(x, 2, None, shift=1), Scaled()(x, 2.0, None, shift=1))
    for args, shift, words in (
        ((x, 3.0, None), 1, "'k' was 2.0 when the model was compiled"),
        ((x, 2.0, x), 1, "'mask' was None .* and is a tensor now"),
        ((x, 2.0, None), 4, "'shift' was 1 .* and is 4 now"),
    ):
        with pytest.raises(tp.UserError, match=words):
            compiled(*args, shift=shift)


class Codec(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(4, 2), torch.nn.Linear(2, 4)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.inner(x))

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.outer(code))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(x))


@torch.no_grad()
def test_methods_are_compiled_each_and_share_the_weights() -> None:
    model, x = seeded(Codec()), torch.randn(3, 4)
    options = {"executor": "reference", "min_block_size": 1}
    encode = tp.compile(model.encode, [tp.Input((3, 4))], **options)
    decode = tp.compile(model.decode, arg_inputs=[tp.Input((3, 2))], **options)
    whole = tp.compile(model, [x], **options)
    torch.testing.assert_close(decode(encode(x)), model(x))
    own = {name: tensor.data_ptr() for name, tensor in model.named_parameters()}
    assert {name: tensor.data_ptr() for name, tensor in whole.named_parameters()} == own
    for part in (encode, decode):
        assert {name: tensor.data_ptr() for name, tensor in part.named_parameters()}.items() <= own.items()
    assert {row.module for row in encode.report.ledger.rows} == {"inner", ""}


def test_inputs_have_two_names_of_which_one_is_given() -> None:
    with pytest.raises(tp.UserError, match="inputs and arg_inputs are two names of one argument"):
        tp.compile(seeded(ConvNet()), [BATCH], arg_inputs=[BATCH])


@pytest.mark.parametrize("name", ["nonexist", "torch.nn.modules.linear.Linera", ""])
def test_modules_that_the_model_has_not_cannot_stay_in_pytorch(name: str) -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Identity()).eval(), torch.ones(2, 4)
    with pytest.raises(tp.UserError, match="matches no module of the model") as caught:
        tp.compile(model, [x], torch_executed_modules={name}, dryrun=True)
    assert "'torch.nn.modules.linear.Linear'" in str(caught.value) or "Known: 0, 1, " in str(caught.value)


@pytest.mark.parametrize("name", ["1", "Identity", nn.Conv2d])
def test_modules_that_compute_nothing_are_noted(name: Any) -> None:
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Identity()).eval(), torch.ones(2, 4)
    compiled = tp.compile(model, [x], torch_executed_modules={name}, dryrun=True)
    assert "matches no module of this program" in compiled.report.notes[0]
