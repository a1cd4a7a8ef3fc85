"""`RuntimeOptions`: the settings that decide how a compiled module runs, and can be chosen anew when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import UserError, did_you_mean
from ..settings import ALIASES, Executor, Islands, KernelSpecialization, Settings


@dataclass(frozen=True)
class RuntimeOptions:
    """Fields of `Settings`, with the meaning that they have there."""

    executor: Executor = "auto"
    cuda_graphs: bool = False
    cuda_graph_limit: int = 8
    reuse_outputs: bool = False
    runtime_cache_path: str | None = None
    dynamic_shapes_kernel_specialization_strategy: KernelSpecialization = "lazy"
    weight_streaming_budget: int | None = None
    islands: Islands = "eager"

    @classmethod
    def of(cls, settings: Settings) -> RuntimeOptions:
        """The part of the settings that is about running."""
        return cls(**{item.name: getattr(settings, item.name) for item in fields(cls)})

    def updated(self, options: Mapping[str, Any]) -> RuntimeOptions:
        """These options with some replaced, checked as `Settings` checks them.

        Raises:
            UserError: a name that is no option of the runtime, or a value that it cannot have.
        """
        known = [item.name for item in fields(self)]
        for name in options:
            if ALIASES.get(name, name) not in known:
                raise UserError(f"{name!r} is no option of a compiled module.{did_you_mean(name, known)}")
        now = {name: getattr(self, name) for name in known}
        # Whether engines can stream weights was decided when they were built.
        settings = Settings.from_options({**now, "enable_weight_streaming": True}).updated(options)
        return RuntimeOptions.of(settings)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RuntimeOptions:
        """The options that `to_json` wrote.

        Raises:
            UserError: there is an option that it does not write, or a value that an option cannot have.
        """
        known = cls().to_json()
        for name in data:
            if name not in known:
                raise UserError(f"{name!r} is no option that a file sets")
        return cls().updated(data)

    def to_json(self) -> dict[str, Any]:
        """JSON-able values; without the place of the runtime cache, which belongs to one machine.

        A file that says where to write would also be a risk to whoever loads it.
        """
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "runtime_cache_path"}
