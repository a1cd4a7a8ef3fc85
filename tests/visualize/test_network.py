"""TensorRT networks as pictures."""

from __future__ import annotations

import pytest
import torch
from trt_passes import Input, PassManager, Settings, trace
from trt_passes.compiler.tensorrt.loader import available
from trt_passes.visualize import network_picture, to_dot

from .programs import Stack

pytestmark = pytest.mark.skipif(available() is None, reason="TensorRT is not installed")


def test_layers_stand_in_the_frames_of_their_modules_and_blocks_are_drawn_once() -> None:
    program = trace(Stack(4).eval(), [Input((2, 8))])
    report = PassManager("decompose,annotate,partition,convert", settings=Settings(min_block_size=1)).run(program)
    (segment,) = report.program.segments
    picture = network_picture(segment.network, report.program)
    layers = [box for box in picture.boxes if box.kind == "layer"]
    assert {box.times for box in layers if box.module.startswith("layers.")} == {4}
    assert picture.frames == {"layers.0": "layers.0 … 3  ×4"}
    assert not [box for box in layers if box.lines[0] == "CONSTANT"]
    assert any("const f32" in line for box in layers for line in box.lines)
    assert [box.lines[0] for box in picture.boxes if box.kind == "input"] == list(segment.inputs)
    assert "×4" in to_dot(picture)


def test_a_network_without_a_program_has_no_frames() -> None:
    program = trace(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Tanh()), [Input((2, 8))])
    report = PassManager("decompose,annotate,partition,convert", settings=Settings(min_block_size=1)).run(program)
    picture = network_picture(report.program.segments[0].network)
    assert {box.module for box in picture.boxes} == {""}
    assert picture.counts == {"": 2}
