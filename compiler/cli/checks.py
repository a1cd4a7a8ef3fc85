"""What `--check-numerics`, `--tolerance` and `--metric` ask for."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import PassFailure, UserError
from ..frontends.load_model import load_function
from ..instruments.check import Checking
from ..instruments.numerics import Numerics
from ..instruments.protocol import Instrument
from ..ir.check import Check
from ..settings import Settings


@dataclass(frozen=True)
class Checks:
    """What compares numbers: after every pass, and the results of the compiled model at the end."""

    numerics: Numerics
    results: Checking

    @classmethod
    def of(cls, settings: Settings) -> Checks:
        """Those that the settings ask for."""
        check, tolerance = settings.check, settings.tolerance
        assert check is not None
        # With a metric it is not for the relative error to say what is too much.
        inputs = list(check.inputs) if check.inputs is not None and not check.kwargs else None
        return cls(Numerics(inputs, tolerance, stop=check.metric is None), Checking(check, tolerance, warn=False))

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """Both, in the order in which they look at a pass."""
        return self.numerics, self.results

    def require(self) -> None:
        """Raise PassFailure if the results are further off than the tolerance."""
        if self.results.passed is False:
            raise PassFailure(self.results.last_pass, self.results.message)


def with_checks(settings: Settings, asked: bool, tolerance: str | None, metric: str | None) -> Settings:
    """The settings with the options of the command line.

    Raises:
        UserError: they do not go together, or there is no such metric.
    """
    for name, value in (("--tolerance", tolerance), ("--metric", metric)):
        if value is not None and not asked:
            raise UserError(f"{name} is about the comparison of numbers: add --check-numerics.")
    if tolerance is not None:
        settings = settings.updated({"tolerance": tolerance})
    if asked:
        settings = settings.updated({"check": Check(metric=None if metric is None else load_function(metric))})
    return settings
