"""A few random programs, and what judges them; `python -m tests.random_programs` tries as many as asked for."""

import dataclasses
import re

import pytest
import torch
from trt_passes.compiler.runtime.runner import Runner

from tests.marks import gpu
from tests.random_programs.__main__ import main
from tests.random_programs.judge import FAILURES, Kind, judged
from tests.random_programs.minimise import minimised
from tests.random_programs.program import Argument, Case, Line, Program
from tests.random_programs.refusals import as_allowed, is_true_reason
from tests.random_programs.workers import Pool
from tests.random_programs.write import random_program

CHECKED = (0, 2, 3, 4, 5, 7, 8, 9, 12)
"""Numbers of programs that are tried with every test run."""


def program(*lines, returned="v", arguments=None, ranges=None, layers=(), **case):
    x = Argument("x", ("rows", 8), "float32")
    made = tuple(Line(text, (text.split(" = ")[0],) if " = " in text else ()) for text in lines)
    chosen = Case(options={"min_block_size": 1}, **case)
    return Program(
        1, "float32", arguments or (x,), ranges or {"rows": (2, 4, 9)}, tuple(layers), made, returned, chosen
    )


def test_programs_follow_their_number_and_differ():
    assert random_program(3) == random_program(3)
    assert len({random_program(number).source() for number in range(12)}) == 12


def test_a_program_runs_at_the_ends_of_its_ranges_with_equal_weights():
    made = random_program(4)
    args, kwargs = made.placed(made.tensors(made.sizes()[0]))
    first, again = (made.model()(*args, **kwargs) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("number", CHECKED)
def test_random_programs_are_right_or_refused_for_a_reason(number):
    verdict = judged(random_program(number))
    assert verdict.kind not in FAILURES, f"{verdict.message}\n{verdict.trace}\n{random_program(number).source()}"


@pytest.mark.parametrize("frontend", ["dynamo", "exported", "torch_compile", "dynamic", "ts", "script", "fx"])
def test_every_front_end_is_tried(frontend):
    assert judged(program("v = x.softmax(-1) * 2", frontend=frontend)).kind is Kind.RIGHT


@pytest.mark.parametrize("frontend", ["dynamo", "exported", "torch_compile", "fx"])
def test_weights_of_other_classes_are_tried(frontend):
    layers = (
        "self.layer1 = quantized(nn.Linear(8, 8))",
        "self.layer2 = nn.Parameter(Summed(torch.randn(4, 8), torch.randn(4, 8)), requires_grad=False)",
    )
    saved = frontend != "torch_compile"
    chosen = program(
        "a = self.layer1(x)", "v = F.linear(a, self.layer2)", layers=layers, frontend=frontend, saved=saved
    )
    assert judged(chosen).kind is Kind.RIGHT


def test_what_is_saved_is_loaded_and_called():
    assert judged(program("x.mul_(2)", "v = x.relu()", saved=True)).kind is Kind.RIGHT


def test_wrong_results_are_found_and_made_short(monkeypatch):
    run = Runner.__call__
    monkeypatch.setattr("trt_passes.compiler.runtime.runner.Runner.__call__", lambda *given: doubled(run(*given)))

    def doubled(results):
        return [result * 2 if result.is_floating_point() else result for result in results]

    wrong = program("a = x.relu()", "b = a.sum(0)", "v = (a * 3).tanh()", returned="v, b")
    assert judged(wrong).kind is Kind.WRONG
    short = minimised(wrong, lambda made: judged(made).kind is Kind.WRONG, seconds=30)
    assert len(short.lines) == 1
    assert short.ranges == {"rows": (4, 4, 4)}


def test_an_input_left_unwritten_is_wrong(monkeypatch):
    monkeypatch.setattr("tests.random_programs.judge._compiled", lambda program, model: lambda x: (x + 1) * 2)
    verdict = judged(program("x.add_(1)", "v = x * 2"))
    assert verdict.kind is Kind.WRONG
    assert "result 1" in verdict.message


def test_other_roundings_are_not_wrong():
    # Which of equal rows is largest depends on the rounding of their sums.
    chosen = program("v = (x.mean(0) * 0 + 1 / 3).cumsum(0).argmax()", ranges={"rows": (2, 4, 5)})
    assert judged(chosen).kind is Kind.RIGHT


def test_a_crash_names_what_raised(monkeypatch):
    def broken(*args, **kwargs):
        raise ValueError("on purpose")

    monkeypatch.setattr(Runner, "__call__", broken)
    verdict = judged(program("v = x + 1"))
    assert verdict.kind is Kind.CRASH
    assert "ValueError: on purpose" in verdict.message


def test_a_file_of_a_program_tries_it_again(tmp_path, capsys):
    made = dataclasses.replace(random_program(7), number=7)
    path = tmp_path / "program.py"
    path.write_text(made.file("A title"))
    assert Program.from_file(path) == made
    assert main([str(path)]) == 0
    assert "program.py: right" in capsys.readouterr().out


@pytest.mark.long
def test_a_process_that_ends_is_told_with_where():
    ended = program("v = x + 1 if not __import__('os').abort() else x")
    fine = program("v = x + 1")
    with Pool(1) as pool:
        # The program runs in PyTorch first, in the process that judges it.
        verdicts = [verdict for _, verdict in pool.judge([ended, fine])]
    assert [verdict.kind for verdict in verdicts] == [Kind.CRASH, Kind.RIGHT]
    assert re.search(r"the process ended \(-6\) in \w+ at \S+:\d+", verdicts[0].message)
    assert "Fatal Python error: Aborted" in verdicts[0].trace


def test_a_refusal_is_true_only_of_programs_that_pytorch_refuses():
    sentence = "torch.export rejects the model: for no reason"
    assert not is_true_reason(sentence, program("v = x + 1"))
    assert is_true_reason(sentence, program("v = x[x > 0].sum() > 0 and x"))
    assert not is_true_reason("torch.fx cannot trace the model (why not)", program("v = x + 1"))
    assert is_true_reason("torch.fx cannot trace the model (…)", program("v = x + (1 if x.sum() > 0 else 2)"))
    assert not is_true_reason("something else", program("v = x[x > 0].sum() > 0 and x"))


def test_a_refused_range_is_tried_as_it_is_allowed():
    found = judged(program("torch._check(x.shape[0] >= 3)", "v = x * 2", ranges={"rows": (2, 4, 9)}))
    assert found.kind is Kind.PLAINER
    sentence = "input 'x' dimension 0 is declared as 2..9, but torch.export found that the model allows 3..9: declare"
    narrowed = as_allowed(sentence, program("v = x + 1"))
    assert narrowed is not None
    assert narrowed.ranges == {"rows": (3, 4, 9)}


@pytest.mark.long
def test_a_run_goes_on_where_it_was(tmp_path, capsys):
    assert main(["--count", "1", "--out", str(tmp_path), "--processes", "1"]) == 0
    assert "1 to try" in capsys.readouterr().out
    assert main(["--count", "1", "--out", str(tmp_path), "--processes", "1"]) == 0
    assert "0 to try" in capsys.readouterr().out
    assert (tmp_path / "results.json").exists()


@gpu
@pytest.mark.parametrize("number", range(40))
def test_engines_of_random_programs_are_right(number):
    verdict = judged(random_program(number).with_case(executor="tensorrt"))
    assert verdict.kind not in FAILURES, f"{verdict.message}\n{random_program(number).source()}"
