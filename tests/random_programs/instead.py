"""What a run asks for in place of what programs choose for themselves."""

from __future__ import annotations

from dataclasses import dataclass

from .program import Program

FRONTENDS = ("dynamo", "exported", "torch_compile", "dynamic", "ts", "script", "fx")
EXECUTORS = ("reference", "pytorch", "tensorrt")


@dataclass(frozen=True)
class Instead:
    """An executor and a front end for all programs, where given.

    With "tensorrt", every fourth program whose engines may be captured runs as CUDA graphs.
    """

    executor: str | None = None
    frontend: str | None = None

    def of(self, program: Program) -> Program:
        """A program with what is asked for."""
        case = program.case
        executor = self.executor or case.executor
        frontend = self.frontend or case.frontend
        saved = case.saved and frontend not in ("torch_compile", "dynamic")
        options = dict(case.options)
        if executor == "tensorrt" and program.number % 4 == 0 and frontend in ("dynamo", "exported", "fx"):
            options["cuda_graphs"] = True
        return program.with_case(executor=executor, frontend=frontend, saved=saved, options=options)
