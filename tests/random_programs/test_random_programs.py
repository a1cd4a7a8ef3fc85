"""A few random programs; `python -m tests.random_programs` runs as many as asked for."""

import pytest
import torch

from tests.marks import gpu
from tests.random_programs.__main__ import main
from tests.random_programs.program import Judgement, RandomProgram, judged


def names(programs):
    return {name for program in programs for _, name, _, _ in program.steps}


def test_programs_follow_their_seed_and_differ():
    first, again = RandomProgram(3), RandomProgram(3)
    assert str(first) == str(again)
    assert all(torch.equal(a, b) for a, b in zip(first(first.example), again(again.example), strict=True))
    assert len({str(RandomProgram(seed)) for seed in range(50)}) == 50


@pytest.mark.parametrize("seed", range(25))
def test_networks_of_random_programs_are_right(seed):
    assert judged(seed, "reference").judgement is not Judgement.WRONG, str(RandomProgram(seed))


def test_a_wrong_result_is_found(monkeypatch):
    seed = next(seed for seed in range(100) if "layer norm" in names([RandomProgram(seed)]))
    monkeypatch.setattr(
        "trt_passes.compiler.runtime.runner.Runner.__call__", lambda self, inputs, constants: zeros(self)
    )

    def zeros(runner):
        return [torch.zeros(binding.shape, dtype=binding.dtype) for binding in runner.spec.outputs]

    assert judged(seed, "reference").judgement is Judgement.WRONG


def test_the_command_counts_and_shows_what_is_wrong(capsys):
    assert main(["--count", "3", "--executor", "reference"]) == 0
    assert "3 right" in capsys.readouterr().out


@gpu
@pytest.mark.parametrize("seed", range(100))
def test_kernels_of_random_programs_are_right(seed):
    assert judged(seed, "tensorrt").judgement is not Judgement.WRONG, str(RandomProgram(seed))
