"""The front end "fx": what `torch.fx.symbolic_trace` makes of a module."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.fx import Graph, GraphModule, Tracer

from ..errors import UserError

_CONSTANT = bool | int | float | str | None


def symbolically_traced(model: nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any]) -> GraphModule:
    """The model as fx traces it, with the user's lines; a GraphModule as it is.

    Arguments that are numbers, text or None are constants in the graph, since fx cannot follow decisions on them
    otherwise.

    Raises:
        UserError: fx cannot trace the model, with its reason.
    """
    if isinstance(model, GraphModule):
        return model
    try:
        given = inspect.signature(model.forward).bind(*inputs, **kwargs)
    except TypeError as error:
        raise UserError(f"the inputs do not fit the model: {error}.") from error
    given.apply_defaults()
    fixed = {name: value for name, value in given.arguments.items() if isinstance(value, _CONSTANT)}
    try:
        tracer = Tracer()
        tracer.record_stack_traces = True
        # Else a model that writes to a buffer does so while it is traced, and no more.
        tracer.proxy_buffer_attributes = True
        graph: Graph = tracer.trace(model, concrete_args=fixed or None)
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"torch.fx cannot trace the model ({lines[0].rstrip('.')}): use ir='dynamo', which runs its Python."
        ) from error
    return GraphModule(tracer.root, graph, class_name=type(model).__name__)
