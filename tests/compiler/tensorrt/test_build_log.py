import itertools
from typing import Any

import pytest
from trt_passes.compiler.tensorrt import loader
from trt_passes.compiler.tensorrt.build_log import BuildLog, parse_layers, shown

LINEAR = "Format: (Linear) Row major linear format }"
LAYERS = f"""Layers:
Name: __mye1_0, LayerType: shape_call, Inputs: [], Constants: [], Outputs: [], TacticName: , StreamId: 0, Metadata:
Name: mm_0, LayerType: gemm, \
Inputs: [ {{ Name: x, Dimensions: [-1,256], Strides: [256,1], StrideOrder: [1,0], Datatype: Half, {LINEAR}], \
Constants: [ {{ Name: w, Dimensions: [256,8], Strides: [8,1], StrideOrder: [1,0], Datatype: Half, {LINEAR}], \
Outputs: [ {{ Name: a, Dimensions: [-1,8], Strides: [8,1], StrideOrder: [1,0], Datatype: Half, {LINEAR}, \
{{ Name: b, Dimensions: [], Strides: [], StrideOrder: [], Datatype: Int64, {LINEAR}], \
TacticName: stub, StreamId: 0, Metadata: [fx:linear][fx:gelu][fx:linear]
something else entirely, Metadata: [fx:odd]

I/O Tensors:
 Name: x, IOMode: Input
"""


def test_kernels_are_read_with_their_nodes_and_tensors() -> None:
    empty, gemm, odd = parse_layers(LAYERS)
    assert empty == {"name": "__mye1_0", "type": "shape_call", "nodes": [], "inputs": [], "outputs": []}
    assert gemm == {
        "name": "mm_0",
        "type": "gemm",
        "nodes": ["linear", "gelu"],
        "inputs": ["x f16[-1,256] row-major"],
        "outputs": ["a f16[-1,8] row-major", "b i64[] row-major"],
        "tactic": "stub",
    }
    assert odd["name"] == "something else entirely"


def log_of(trt: loader.TensorRT, *records: tuple[str, str]) -> BuildLog:
    log = BuildLog(trt)
    for severity, text in records:
        log.logger.log(getattr(trt.module.ILogger.Severity, severity), text)
    return log


def test_errors_leave_out_what_every_machine_without_a_gpu_says(trt: loader.TensorRT) -> None:
    log = log_of(
        trt,
        ("ERROR", "[checkMacros.cpp::catchCudaError::212] Error Code 1: cudaError 35"),
        ("ERROR", "relu: no"),
        ("WARNING", "hm"),
        ("ERROR", "relu: no"),
        ("INTERNAL_ERROR", "crash"),
    )
    assert log.errors == ("relu: no", "crash")


def test_text_is_the_same_for_the_same_build(trt: loader.TensorRT) -> None:
    texts = [
        log_of(
            trt, ("INFO", f"Engine generation completed in {seconds} seconds."), ("INFO", f"CPU {memory} MiB")
        ).text()
        for seconds, memory in ((0.25, 3), (1e-05, 12))
    ]
    assert texts[0] == texts[1] == "[info] Engine generation completed in … seconds.\n[info] CPU … MiB\n"


def test_the_last_report_of_layers_counts(trt: loader.TensorRT) -> None:
    log = log_of(trt, ("VERBOSE", "Layers:\nName: old, LayerType: kgen"), ("VERBOSE", LAYERS), ("INFO", "done"))
    assert [layer["name"] for layer in log.layers()][:2] == ["__mye1_0", "mm_0"]
    assert log_of(trt).layers() == ()


@pytest.mark.parametrize("count", range(6))
def test_shown_is_one_line(count: int) -> None:
    line = shown(tuple(f"error\n  {i}" for i in range(count)))
    assert "\n" not in line
    assert line.count("error") == min(count, 3)
    assert ("more" in line) == (count > 3)


def test_two_builds_at_once_keep_their_logs_apart(trt: loader.TensorRT) -> None:
    first, second = BuildLog(trt), BuildLog(trt)
    builders: list[Any] = [trt.module.Builder(log.logger) for log in (first, second)]
    for log, builder, count in zip((first, second), builders, itertools.count(1), strict=False):
        network = trt.create_network(builder)
        network.add_input("x", trt.module.float32, (2,) * count)
        builder.build_serialized_network(network, builder.create_builder_config())
        assert log.errors, "a network without outputs is an error"
    assert len(first.errors) == 1
