"""The sweep itself, tried without a GPU on a few of its cases."""

from __future__ import annotations

import json

import pytest
import torch

from tests.gpu_sweep.__main__ import all_cases, main
from tests.gpu_sweep.run import difference, outcome


def some(text):
    return [case for case in all_cases() if text in case.name][:6]


@pytest.mark.parametrize("text", ["AND bool", "select", "reduce AVG", "gather", "cast", "cumulative", "softmax", "NOT"])
def test_networks_compute_what_the_oracle_does(text):
    kinds = {outcome(case, "reference")["status"] for case in some(text)}
    assert kinds <= {"right", "refused"}
    assert "right" in kinds


def test_differences_are_told():
    left, right = torch.tensor([1.0, torch.nan, 2]), torch.tensor([1.0, torch.nan, 2.5])
    assert difference(left, left.clone(), None) is None
    assert difference(left, right, None) == "1 of 3 elements, the first at 2: 2 in place of 2.5"
    assert difference(left, right, (0.3, 0)) is None
    assert difference(left, right.half(), None) == "f32[3] in place of f16[3]"


def test_the_command_writes_what_it_found(tmp_path, monkeypatch):
    file = tmp_path / "found.json"
    arguments = [str(file), "--executor", "reference", "--processes", "2", "--match", "logic XOR: "]
    assert main(arguments) == 0
    assert json.loads(file.read_text())["counts"] == {"right": 2}


def test_a_second_run_does_what_the_first_left_out(tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    common = ["--executor", "reference", "--processes", "1", "--match", "logic XOR: "]
    main([str(first), *common, "--seconds", "0"])
    left_out = json.loads(first.read_text())["left out"]
    assert len(left_out) == 2
    main([str(second), *common, "--left-out-of", str(first)])
    assert json.loads(second.read_text())["counts"] == {"right": 2}


def test_a_part_of_the_cases(tmp_path):
    file, cases = tmp_path / "found.json", all_cases()
    first = next(index for index, case in enumerate(cases) if "logic XOR: " in case.name)
    main([str(file), "--executor", "reference", "--processes", "1", "--first", str(first), "--count", "1"])
    assert json.loads(file.read_text())["counts"] == {"right": 1}
