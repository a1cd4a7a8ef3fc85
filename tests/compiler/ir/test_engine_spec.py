import json

import pytest
import torch
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.ir.engine_spec import SCHEMA, Binding, EngineArtifact, EngineSpec

SPEC = EngineSpec(
    "segment-03",
    "tensorrt_rtx",
    "1.6.1.120",
    (Binding("x", torch.float16, ("s0", 3, "2*s0 + 1"), (1, 3, 3), (2, 3, 5), (4, 3, 9)),),
    (Binding.static("y", torch.int64, ()), Binding.static("z", torch.bool, (2, 0))),
    ("8.9", "12.0"),
    tf32=False,
)


def test_json_text_round_trips() -> None:
    assert EngineSpec.loads(SPEC.dumps()) == SPEC


def test_json_text_is_one_line_and_the_same_every_time() -> None:
    assert SPEC.dumps() == EngineSpec.loads(SPEC.dumps()).dumps()
    assert "\n" not in SPEC.dumps()


def test_a_static_binding_has_no_profile_in_json() -> None:
    assert SPEC.outputs[1].to_json() == {"name": "z", "dtype": "bool", "shape": [2, 0]}
    assert SPEC.inputs[0].to_json()["max"] == [4, 3, 9]


def test_a_binding_of_mixed_ranks_is_refused() -> None:
    with pytest.raises(ValueError, match="different ranks"):
        Binding("x", torch.float32, (1, 2), (1,), (1, 2), (1, 2))


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "{}", '{"schema":1,"name":"x"}'])
def test_text_of_something_else_is_a_user_error(text: str) -> None:
    with pytest.raises(UserError, match="not an engine specification"):
        EngineSpec.loads(text)


def test_a_newer_schema_asks_for_an_upgrade() -> None:
    newer = SPEC.to_json() | {"schema": SCHEMA + 1}
    with pytest.raises(UserError, match=f"schema {SCHEMA + 1}.*upgrade"):
        EngineSpec.loads(json.dumps(newer))


def test_an_unknown_dtype_is_a_user_error() -> None:
    row = SPEC.to_json()
    row["inputs"][0]["dtype"] = "f17"
    with pytest.raises(UserError):
        EngineSpec.from_json(row)


def test_nbytes_counts_the_plan() -> None:
    assert EngineArtifact(memoryview(bytearray(7)), SPEC, 0.5).nbytes == 7
