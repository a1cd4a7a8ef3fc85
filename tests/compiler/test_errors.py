"""Errors: messages that help, and that survive pickling (engines are built in worker processes and threads)."""

from __future__ import annotations

import pickle
import tomllib
from pathlib import Path

from trt_passes import PassFailure, UserError
from trt_passes.compiler.errors import ISSUES, Cancelled, did_you_mean
from trt_passes.compiler.tensorrt.loader import TensorRTNotFound


def test_did_you_mean() -> None:
    assert did_you_mean("partion", ["partition", "build"]) == " Did you mean 'partition'?"
    assert did_you_mean("zzz", ["b", "a"]) == " Known: a, b."
    assert did_you_mean("zzz", (f"name{i}" for i in range(100))) == ""
    assert did_you_mean("zzz", []) in ("", " Known: .")


def test_pass_failure_names_everything() -> None:
    error = PassFailure("build", "no engine", "addmm", "model.py:9", "python repro/run.py")
    assert str(error) == (
        "pass 'build' failed at node addmm (model.py:9): no engine\nreproduce with: python repro/run.py"
    )
    assert str(PassFailure("build", "no engine")) == "pass 'build' failed: no engine"


def test_where_to_report_is_the_projects_issue_tracker() -> None:
    error = PassFailure("build", "no engine", reproduce="again", ours=True)
    assert str(error).splitlines()[1:] == [
        f"the fault is not yours: please report it at {ISSUES}, with the script below",
        "reproduce with: again",
    ]
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Issues"] == ISSUES


def test_errors_can_be_pickled() -> None:
    error = PassFailure("build", "no engine", "addmm", "model.py:9", "again", ours=True)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert again.node == "addmm"
    assert str(pickle.loads(pickle.dumps(UserError("no")))) == "no"


def test_a_missing_tensorrt_is_the_users_to_mend() -> None:
    assert issubclass(TensorRTNotFound, UserError)
    assert issubclass(TensorRTNotFound, ImportError)
    assert not issubclass(Cancelled, UserError)
