"""How engines run, written into the graph that calls them: all that TorchScript and `torch.export.load` keep of it."""

from __future__ import annotations

import json

from torch.fx import Graph

from ..errors import UserError
from ..ir.engine_operator import OPERATOR
from ..ir.engine_spec import EngineSpec
from .options import RuntimeOptions

_KEY = "options"
_OF_ENGINES = ("executor", "dynamic_shapes_kernel_specialization_strategy", "weight_streaming_budget")
"""The options that each engine has for itself; the others are about the whole module, which only `tp.load` makes."""


def set_options(graph: Graph, options: RuntimeOptions) -> None:
    """Let the engines that a graph calls run with these options where no compiled module runs them.

    They are beside the specification in its JSON text, where releases that know none leave them alone.
    """
    for node in graph.find_nodes(op="call_function", target=OPERATOR):
        node.update_arg(2, spec_with_options(EngineSpec.loads(str(node.args[2])), options))


def spec_with_options(spec: EngineSpec, options: RuntimeOptions) -> str:
    """The JSON text of a specification, with options beside it."""
    values = options.to_json()
    chosen = {name: values[name] for name in _OF_ENGINES}
    return json.dumps({**spec.to_json(), _KEY: chosen}, separators=(",", ":"))


def options_in(spec_text: str) -> RuntimeOptions:
    """The options beside a specification; the defaults if there are none.

    Raises:
        UserError: they are none that `set_options` writes.
    """
    written = json.loads(spec_text).get(_KEY, {})
    if not isinstance(written, dict) or not set(written) <= set(_OF_ENGINES):
        raise UserError(f"the options of an engine are damaged ({written!r}): save the model again.")
    return RuntimeOptions.from_json(written)
