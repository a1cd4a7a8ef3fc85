"""Which operators and functions a file may name: an allow-list, since whoever wrote the file chose their arguments."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from ...errors import UserError
from ...ir.collectives import LIBRARIES

_COMPUTING = frozenset({"aten", "prims", "quantized_decomposed", "torchvision", "transformers", "trt_passes"})
"""Namespaces of operators that compute with tensors: PyTorch's, and those of two libraries that do no more either.

PyTorch has others for its own use: they send data to other processes, register memory by its address, call back into
Python, or write files."""

_OUTSIDE = frozenset(
    {
        # They read or write files, or print.
        *("from_file", "save", "_print"),
        # They change the process, or other tensors' memory and history.
        *("_cufft_clear_plan_cache", "_cufft_set_plan_cache_max_size", "manual_seed", "seed", "get_gradients"),
        *("set_", "set", "set_data", "record_stream", "requires_grad_", "retain_grad", "_backward"),
        # They believe offsets and indices that they are given.
        *("_nested_view_from_buffer", "_nested_view_from_buffer_copy", "_nested_view_from_jagged"),
        *("_sparse_coo_tensor_unsafe", "_sparse_compressed_tensor_unsafe", "_sparse_csr_tensor_unsafe"),
        *("_sparse_csc_tensor_unsafe", "_sparse_bsr_tensor_unsafe", "_sparse_bsc_tensor_unsafe"),
        # They exist for PyTorch's own tests.
        *("_test_ambiguous_defaults", "_test_string_default"),
    }
)
"""Operators of ATen that do more than compute with tensors."""

_HIGHER_ORDER = frozenset(
    {
        *("cond", "while_loop", "scan", "associative_scan", "map_impl", "flex_attention", "out_dtype", "strict_mode"),
        *("invoke_subgraph", "wrap", "wrap_with_autocast", "wrap_with_set_grad_enabled", "tag_activation_checkpoint"),
        *("auto_functionalized", "auto_functionalized_v2"),
    }
)
"""Operators that take graphs or operators, which are checked themselves."""

_ARITHMETIC = (
    *("add", "sub", "mul", "floordiv", "truediv", "mod", "pow", "neg", "pos", "abs", "getitem", "lshift", "rshift"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and_", "or_", "not_"),
)
_OF_SIZES = (*("sym_int", "sym_float", "sym_max", "sym_min", "sym_not", "sym_ite", "sym_sum", "sym_sqrt", "_sym_sqrt"),)
FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        **{f"operator.{name}": getattr(operator, name) for name in _ARITHMETIC},
        **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
        **{f"torch.{name}": getattr(torch, name) for name in _OF_SIZES if hasattr(torch, name)},
        "round": round,
    }
)
"""Arithmetic on sizes, and picking results, by the names under which files know them."""


class NotAllowed(UserError):
    """A file names what it may not call; `name` is that, and `library` its namespace if it is another library's."""

    def __init__(self, name: str, library: str = "") -> None:
        self.name, self.library = " ".join(name.split()), library
        super().__init__(name, library)

    def __str__(self) -> str:
        if self.library:
            return (
                f"{self.name} is an operator of another library: pass operators=[{self.library!r}] to tp.load to allow "
                "those"
            )
        return f"{self.name} is not among the operators that a file may call"


class Missing(ValueError):
    """A file names an operator that PyTorch does not have in this process."""


@dataclass(frozen=True)
class Allowed:
    """What a file may call: operators of PyTorch that compute with tensors, and those of further libraries.

    Attributes:
        libraries: namespaces beside those of PyTorch.
        everything: whether the file is trusted, and may name any operator.
    """

    libraries: frozenset[str] = frozenset()
    everything: bool = False

    def operator(self, namespace: str, name: str, overload: str) -> torch._ops.OpOverload:
        """The operator of that name.

        Raises:
            NotAllowed: a file may not call it.
            Missing: this process does not have it.
        """
        full = f"{namespace}.{name}.{overload}"
        named = all(part.isidentifier() for part in (namespace, name, overload)) and not namespace.startswith("_" * 2)
        packet = getattr(getattr(torch.ops, namespace, None), name, None) if named else None
        found = getattr(packet, overload, None) if isinstance(packet, torch._ops.OpOverloadPacket) else None
        if not isinstance(found, torch._ops.OpOverload):
            raise Missing(f"there is no operator {full}")
        if not self.everything:
            self._check(found, full)
        return found

    def _check(self, found: torch._ops.OpOverload, full: str) -> None:
        schema, namespace = found._schema, found.namespace
        if namespace in self.libraries:
            return
        if namespace not in _COMPUTING:
            # PyTorch's own that are not on the list are no library that one could ask for, but for collectives.
            asked_for = namespace in LIBRARIES or namespace not in _OF_COMPUTING_ITSELF
            raise NotAllowed(full, namespace if asked_for else "")
        # What PyTorch registers for TorchScript alone (files, processes, texts) is no operator of its dispatcher.
        registered = f"{schema.name}.{schema.overload_name}" if schema.overload_name else schema.name
        if schema.name.split("::")[1] in _OUTSIDE or not torch._C._dispatch_has_kernel(registered):
            raise NotAllowed(full)

    def higher_order(self, name: str) -> torch._ops.HigherOrderOperator:
        """The operator of that name, which takes graphs; NotAllowed or Missing as for `operator`."""
        if name not in _HIGHER_ORDER and not self.everything:
            raise NotAllowed(f"higher_order.{name}")
        found = getattr(torch.ops.higher_order, name, None)
        if not isinstance(found, torch._ops.HigherOrderOperator):
            raise Missing(f"there is no operator higher_order.{name}")
        return found


_OF_COMPUTING_ITSELF = frozenset(
    {
        *("_c10d_functional", "_c10d_functional_autograd", "_dtensor", "_native", "_quantized", "_test", "c10d"),
        *("debug_mode_ops", "debugprims", "export", "fsdp", "inductor", "inductor_prims", "mkl", "mkldnn"),
        *("mkldnn_prepacked", "onednn", "onnx", "prim", "prims", "profiler", "quantization", "quantized", "rngprims"),
        *("sparse", "static_runtime", "streams", "symm_mem"),
    }
)
"""Namespaces that PyTorch itself registers."""
