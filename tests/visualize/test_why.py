"""why.txt: reasons by source line, what they cost and what fixing them would gain."""

from __future__ import annotations

from trt_passes.compiler.ir.ledger import Verdict
from trt_passes.compiler.pass_base import Context
from trt_passes.passes.partition import Partition
from trt_passes.visualize import why_text

from ..conftest import Golden
from .programs import chain, judged, portable, stack


def test_why(golden: Golden) -> None:
    golden.check("visualize/chain-why.txt", portable(why_text(chain())))


def test_why_without_fallbacks_and_before_annotate() -> None:
    assert "Everything went to TensorRT." in why_text(judged(stack(1), {}))
    assert "before annotate" in why_text(stack(1))


def test_fallbacks_of_one_line_are_one_group_and_demoted_lines_come_last() -> None:
    stays = {"relu": Verdict.UNSUPPORTED, "relu_1": Verdict.UNSUPPORTED, "linear_4": Verdict.DEMOTED}
    text = why_text(judged(stack(2), stays))
    assert "programs.py:36 in layers.0, layers.1: 2 op nodes" in text
    assert "    > return x + self.down(torch.relu(self.up(x)))" in text
    assert "unsupported aten.relu ×2: %relu, %relu_1" in text
    assert text.index("aten.relu ×2") < text.index("but they are left out") < text.index("demoted aten.linear")


def test_costs_and_gains_follow_each_line() -> None:
    program = chain()
    gone = [node.name for node in program.op_nodes if program.ledger[node.name].verdict is not Verdict.TRT]
    cut = Partition(min_block_size=1).run(judged(program.copy(), dict.fromkeys(gone, Verdict.UNSUPPORTED)), Context())
    lines = why_text(cut).splitlines()
    assert lines[1] == "2 engines; 6 tensors cross engine boundaries per call, 416 B"
    assert "    costs: reads 1 tensor from engines and gives 2 tensors to engines on every call, 256 B" in lines
    (gain,) = (line for line in lines if line.startswith("    gain:"))
    assert gain.endswith("2 engines → 1, 3 op nodes gained, 1 copy of i64[2,8] and 3 copies of f32[2,8] saved (320 B)")
