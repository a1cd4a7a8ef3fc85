"""What a search found, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from torch.fx import Node

from ..compiler.errors import UserError, did_you_mean
from ..compiler.instruments.source_code import LACKING
from ..compiler.ir.source import module_of, source_of
from ..compiler.ir.text import op_name

Metric = Literal["relative-l2", "max-abs", "failure", "time", "compile-time"]
METRICS: tuple[str, ...] = get_args(Metric)

DISTANCES = ("relative-l2", "max-abs")
"""The metrics that compare numbers."""


@dataclass(frozen=True)
class Suspect:
    """An operator that is at fault.

    Attributes:
        node: its name in the graph.
        op: the operator, such as "aten.linear".
        value: what the metric says of it alone, fed with PyTorch's values; None where it is not at fault alone.
        source: the line of the user's code, "file:line".
        module: the dotted path of the module.
    """

    node: str
    op: str
    value: float | None = None
    source: str | None = None
    module: str = ""

    def __str__(self) -> str:
        places = [text for text in (self.source, self.module and f"module {self.module}") if text]
        where = f" at {', '.join(places)}" if places else ""
        alone = f" (alone: {self.value:.1e})" if self.value is not None else ""
        return f"%{self.node} = {self.op}{where}{alone}"


def suspect(node: Node, value: float | None = None) -> Suspect:
    """A node as a suspect; `value` is what the metric says of it alone."""
    return Suspect(node.name, op_name(node.target), value, source_of(node), module_of(node))


@dataclass(frozen=True)
class Bisection:
    """Where a difference, a failure or lost time comes from.

    Attributes:
        metric: what was searched for.
        tolerance: above which a value is a fault; 0 for failures.
        value: what the metric says of the whole model: its largest error, or seconds.
        stage: the pass that is at fault, such as "convert"; "" if there is no fault.
        segment: the engine it is in, if it is in one.
        suspects: the operators at fault: several, where they are so independently of each other, or only together.
        message: the finding in one sentence.
        steps: what was found out on the way, a sentence each.
        script: a Python program that shows the fault alone; "" if none could be made.
    """

    metric: str
    tolerance: float
    value: float
    stage: str = ""
    segment: str | None = None
    suspects: tuple[Suspect, ...] = ()
    message: str = ""
    steps: tuple[str, ...] = ()
    script: str = field(default="", repr=False)

    @property
    def found(self) -> bool:
        """Whether there is a fault."""
        return bool(self.stage)

    @property
    def node(self) -> str | None:
        """The first operator at fault, by the name of its node."""
        return self.suspects[0].node if self.suspects else None

    @property
    def op(self) -> str | None:
        """What the first operator at fault is."""
        return self.suspects[0].op if self.suspects else None

    @property
    def lacking(self) -> list[str]:
        """What has to be defined in the script by hand before it runs alone, a sentence each; mostly nothing."""
        lines = self.script.splitlines()
        return [line.removeprefix(LACKING) for line in lines if line.startswith(LACKING)]

    def write(self, path: str | Path) -> None:
        """Write the script.

        Raises:
            UserError: there is none, or the file cannot be written.
        """
        if not self.script:
            raise UserError(
                "there is no script to write: nothing was found, or it could not be taken out of the model."
            )
        try:
            Path(path).write_text(self.script, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}; name another file.") from error

    def to_json(self) -> dict[str, Any]:
        """JSON-able values."""
        return {
            "metric": self.metric,
            "tolerance": self.tolerance,
            "value": self.value,
            "stage": self.stage,
            "segment": self.segment,
            "suspects": [vars(item) for item in self.suspects],
            "message": self.message,
            "steps": list(self.steps),
        }

    def __str__(self) -> str:
        """The finding, the operators, and how it was found."""
        lines = [self.message]
        lines += [f"  {item}" for item in self.suspects]
        return "\n".join([*lines, *(f"- {step}" for step in self.steps)])


def check_metric(metric: str, tolerance: Any) -> float:
    """The tolerance of a metric, checked; 1e-2 for distances unless another is given.

    Raises:
        UserError: there is no such metric, or the tolerance is no number above 0.
    """
    if metric not in METRICS:
        raise UserError(f"metric is {metric!r}.{did_you_mean(str(metric), METRICS)}")
    if tolerance is None:
        return 1e-2 if metric in DISTANCES else 0.0
    if metric not in DISTANCES:
        raise UserError(f"a tolerance is for the metrics {' and '.join(DISTANCES)}: leave it out with {metric}.")
    try:
        value = (
            float(tolerance) if isinstance(tolerance, int | float | str) and not isinstance(tolerance, bool) else -1.0
        )
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise UserError(f"the tolerance is {tolerance!r}: give a number above 0, such as 1e-2.")
    return value
