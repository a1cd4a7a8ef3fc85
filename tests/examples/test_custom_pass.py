from __future__ import annotations

import pytest
import torch
import trt_passes as tp

from examples.custom_pass import GELU, FastGelu, main, model


def test_the_pass_of_the_example_runs_in_the_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    report = main()
    record = {item.name: item for item in report.passes}["fast-gelu"]
    assert len(record.changes.rewired) == 2
    gelus = [node for node in report.program.op_nodes if node.target is GELU]
    assert [node.kwargs for node in gelus] == [{"approximate": "tanh"}] * 2
    assert "fast-gelu: 2 GELUs are approximated." in capsys.readouterr().out


def test_the_result_is_as_close_as_the_docstring_says() -> None:
    module, inputs = model()
    program = FastGelu().run(tp.trace(module, inputs).copy(), tp.Context()).synced()
    torch.testing.assert_close(program.exported.module()(*inputs), module(*inputs), rtol=0, atol=5e-4)


def test_it_can_be_named_in_a_pipeline_text() -> None:
    pipeline = tp.Pipeline.parse("decompose,fast-gelu,lower", extra=[FastGelu])
    assert str(pipeline) == "decompose,fast-gelu,lower"
