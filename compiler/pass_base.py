"""What a pass is: a frozen dataclass with a name, options as fields, and the facts it needs and establishes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch

from .ir.program import Program
from .settings import Settings
from .tensorrt.loader import TensorRT, load
from .tensorrt.plugins import converters_in, installed_plugins
from .tensorrt.registry import Converter, Registry, default_registry

Kind = Literal["transform", "analysis", "build"]
ENDED_BY_TRANSFORM = frozenset({"annotated", "partitioned", "converted", "built", "spliced"})
"""Facts about a graph that are over once the graph is rewritten."""

ProgressCallback = Callable[[str, int, int], None]


def _no_progress(text: str, done: int, total: int) -> None:
    return None


def _never() -> bool:
    return False


def _drop_note(text: str) -> None:
    return None


def _nothing_lost(program: Program, narrow: torch.dtype) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Context:
    """What a pass may use besides the program.

    `progress(text, done, total)` reports long work. `cancelled()` is true once the user pressed Ctrl-C; long steps ask
    it and raise `Cancelled`. `note(text)` tells the user something that the report must say. `lost(program, type)`
    names the nodes whose values a narrower type could not hold on the inputs of the options `check` and
    `calibration`, each with what is lost, or which are larger there than `max_half_output`; none without those.
    """

    settings: Settings = field(default_factory=Settings)
    progress: ProgressCallback = _no_progress
    cancelled: Callable[[], bool] = _never
    note: Callable[[str], None] = _drop_note
    lost: Callable[[Program, torch.dtype], Mapping[str, str]] = _nothing_lost

    @property
    def converters(self) -> Registry:
        """The converter registry (importing it does not import TensorRT), with the user's and other packages' own."""
        return default_registry().extended(converters_in(self.own))

    @property
    def own(self) -> tuple[Any, ...]:
        """Converters and decompositions of the option `converters`, after those of packages that are installed."""
        return (*installed_plugins(), *self.settings.converters)

    def tensorrt(self) -> TensorRT:
        """The TensorRT library that is installed; raises TensorRTNotFound with what to install."""
        return load()


def with_converters(converters: Iterable[Converter], settings: Settings | None = None) -> Context:
    """A context with converters besides those of the package; they replace those of the same operators.

    Args:
        converters: such as a `Family`.
        settings: of the compilation.
    """
    base = settings or Settings()
    return Context(settings=base.updated({"converters": (*base.converters, *converters)}))


@dataclass(frozen=True)
class Pass:
    """Base of every pass. Subclass it as a frozen dataclass; the fields are the pass's options.

    The manager hands `run` a program whose graph is the pass's own copy: change it in place and return the program (or
    another one). `requires`, `establishes` and `breaks` name facts (see `facts`); the manager verifies on the result
    that what the pass establishes is true, and that nothing it did not declare in `breaks` got lost.

    kind "transform" rewrites the graph (which ends all verdicts and segments, see `breaks_facts`), "analysis" only
    annotates nodes, "build" only makes artifacts.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind] = "transform"
    requires: ClassVar[frozenset[str]] = frozenset()
    establishes: ClassVar[frozenset[str]] = frozenset()
    breaks: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        name = cls.__dict__.get("name")
        if name is not None and not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)?", name):
            raise TypeError(
                f"the name of {cls.__name__} is {name!r}: pass names are kebab-case, such as 'fold-constants'"
            )

    @property
    def stage(self) -> str:
        """The stage that the pass belongs to: the part of its name before the dot."""
        return self.name.split(".")[0]

    @property
    def breaks_facts(self) -> frozenset[str]:
        """The facts that may no longer hold after the pass."""
        return self.breaks | ENDED_BY_TRANSFORM if self.kind == "transform" else self.breaks

    def run(self, program: Program, ctx: Context) -> Program:
        """Do the pass's work and return the resulting program."""
        raise NotImplementedError(f"{type(self).__name__} does not define run")

    def options(self) -> dict[str, Any]:
        """Options that differ from their defaults, by kebab-case name."""
        changed = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            default = item.default if item.default is not dataclasses.MISSING else _factory_default(item)
            if value != default:
                changed[option_name(item.name)] = value
        return changed


def option_name(field_name: str) -> str:
    """What users call the option of a field: "from" for `from_`, which Python cannot have as a name."""
    return field_name.rstrip("_").replace("_", "-")


def _factory_default(item: dataclasses.Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not dataclasses.MISSING else dataclasses.MISSING


def graph_pass(
    name: str,
    *,
    kind: Kind = "transform",
    requires: frozenset[str] | set[str] = frozenset(),
    establishes: frozenset[str] | set[str] = frozenset(),
    breaks: frozenset[str] | set[str] = frozenset(),
) -> Callable[[Callable[[Program, Context], Program]], Pass]:
    """Turn a function `(program, ctx) -> program` into a pass without options.

    >>> @graph_pass("lower.drop-relu")
    ... def drop_relu(program, ctx): ...
    """

    def decorate(function: Callable[[Program, Context], Program]) -> Pass:
        def run(self: Pass, program: Program, ctx: Context) -> Program:
            return function(program, ctx)

        members = {
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "name": name,
            "kind": kind,
            "requires": frozenset(requires),
            "establishes": frozenset(establishes),
            "breaks": frozenset(breaks),
            "run": run,
            "function": staticmethod(function),
        }
        made: Pass = dataclass(frozen=True)(type(function.__name__, (Pass,), members))()  # type: ignore[misc]
        return made

    return decorate
