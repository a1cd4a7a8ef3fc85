"""The table of reason codes: why an op node did not go to TensorRT, and what to do about it.

The first digit is the verdict: 1 unsupported, 2 rejected, 3 demoted, 4 excluded, 5 failed. Codes are stable: users
grep for them, so a code is never reused for another meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .ledger import Verdict


@dataclass(frozen=True)
class ReasonCode:
    """One row of the table: what a code means and what a user can do about it."""

    code: str
    title: str
    meaning: str
    remedy: str

    @property
    def verdict(self) -> Verdict:
        """The verdict that a node with this reason gets."""
        return _VERDICT_OF_DIGIT[self.code[2]]


_VERDICT_OF_DIGIT = MappingProxyType(
    {
        "1": Verdict.UNSUPPORTED,
        "2": Verdict.REJECTED,
        "3": Verdict.DEMOTED,
        "4": Verdict.EXCLUDED,
        "5": Verdict.FAILED,
    }
)

_ROWS = (
    ReasonCode(
        "TP101",
        "no converter",
        "No converter is registered for the operator, so TensorRT cannot be given it.",
        "Write a converter, rewrite the model line with supported operators, or leave the node in PyTorch.",
    ),
    ReasonCode(
        "TP102",
        "no converter for control flow or a custom operator",
        "The node calls a higher-order operator, or an operator from outside ATen, "
        "that no converter is registered for.",
        "Express the line with ATen operators, or write a converter for the operator.",
    ),
    ReasonCode(
        "TP103",
        "decomposition failed",
        "The operator has no converter, and PyTorch's decomposition of it into others fails for this call.",
        "Write the line with other operators, write a converter for the operator, or leave the node in PyTorch.",
    ),
    ReasonCode(
        "TP104",
        "stays TorchScript",
        "The model is TorchScript that is not one graph, and the node is control flow, state, a container, an operator "
        "of TorchScript's own, or stands alone between such.",
        "Compile a part that is one graph (a method, a module), write the line with operators on tensors, or give "
        "inputs with which it is reached.",
    ),
    ReasonCode(
        "TP105",
        "collective of several processes",
        "The operator exchanges tensors with other processes, which PyTorch does between engines, by the library of "
        "the process group.",
        "Nothing, if the model is meant to run on several GPUs: each collective ends one engine and begins another.",
    ),
    ReasonCode(
        "TP201",
        "data type",
        "An input or output has a data type that TensorRT's layer for this operator does not take.",
        "Cast the tensor in the model; for float64 pass truncate_double=True.",
    ),
    ReasonCode(
        "TP202",
        "rank",
        "A tensor has a rank that TensorRT's layer for this operator does not take.",
        "Reshape the tensor in the model.",
    ),
    ReasonCode(
        "TP203",
        "dynamic dimension",
        "A dimension must be static for this operator, but it is dynamic in this program.",
        "Export with that dimension static, or rewrite the line so that the operator does not need its size.",
    ),
    ReasonCode(
        "TP204",
        "data-dependent size",
        "The size of the result depends on the values of a tensor, not only on shapes.",
        "Use a fixed-size form, such as torch.where, a mask or torch.nonzero_static, or leave the node in PyTorch.",
    ),
    ReasonCode(
        "TP205",
        "argument value",
        "An argument has a value that TensorRT's layer for this operator does not take.",
        "Change the argument, or leave the node in PyTorch.",
    ),
    ReasonCode(
        "TP206",
        "argument must be constant",
        "An argument must be known when the engine is built, but it is computed at run time.",
        "Make it a parameter, a buffer or a Python number.",
    ),
    ReasonCode(
        "TP207",
        "random operator",
        "The operator draws random numbers; they must not be baked into an engine.",
        "Call model.eval(), or draw the numbers outside the model and pass them in.",
    ),
    ReasonCode(
        "TP208",
        "mutation or aliasing",
        "The operator writes to one of its inputs, or its result must alias one.",
        "Rewrite the line without in-place updates, or leave the node in PyTorch.",
    ),
    ReasonCode(
        "TP209",
        "not buildable with this TensorRT",
        "TensorRT accepts the layer, but this flavour or version of it cannot build an engine with it.",
        "Use the other TensorRT flavour, or leave the node in PyTorch.",
    ),
    ReasonCode(
        "TP210",
        "symbolic size cannot be derived",
        "A size is needed inside the engine that cannot be computed from the shapes of the engine's inputs.",
        "Pass a tensor into the same region whose shape has that size, or make the size static.",
    ),
    ReasonCode(
        "TP211",
        "data type of newer GPUs",
        "A tensor has a data type that a GPU generation of compute_capabilities does not have: bfloat16 and int4 need "
        "8.0, fp8 8.9, fp4 12.0.",
        "Leave that generation out of compute_capabilities, or quantise to another type: int8 runs on all of them.",
    ),
    ReasonCode(
        "TP212",
        "complex numbers",
        "The operator reads or yields complex numbers, which TensorRT does not have, and lower.complex did not rewrite "
        "it to compute with pairs of real ones.",
        "Write the line with operators that lower.complex has rules for, or with real tensors; for complex128 pass "
        "truncate_double=True. A view at the border of the program, or of such an operator, costs nothing.",
    ),
    ReasonCode(
        "TP301",
        "below the minimum block size",
        "The node would sit in an engine with fewer op nodes than min_block_size.",
        "Lower min_block_size, or fix the fallbacks around the node so that its engine grows.",
    ),
    ReasonCode(
        "TP302",
        "non-tensor boundary",
        "A value that is not a tensor would have to cross the border of an engine.",
        "Keep the producer and the consumer of the value on the same side, or turn the value into a tensor.",
    ),
    ReasonCode(
        "TP303",
        "shape arithmetic for PyTorch",
        "The node computes a size that only PyTorch code uses; it costs nothing to leave it there.",
        "Nothing to do: it follows its users.",
    ),
    ReasonCode(
        "TP304",
        "nothing to compute",
        "The node's engine would have no tensor input or no tensor output.",
        "Nothing to do, or make the value depend on an input of the model.",
    ),
    ReasonCode(
        "TP305",
        "faster in PyTorch",
        "By a tuning, PyTorch takes less time for the node and those beside it than TensorRT with its borders.",
        "Nothing to do; compile without `tuning` to have it in TensorRT.",
    ),
    ReasonCode(
        "TP306",
        "more exact in PyTorch",
        "By a tuning, no way of TensorRT is as exact as it has to be.",
        'Nothing to do; without `tuning`, with `preset="fast"` or a larger `max_error` it goes to TensorRT.',
    ),
    ReasonCode(
        "TP307",
        "dequantised when the model is loaded",
        "Products with the weight take less time with floats than with the few bits that it is stored in, as measured "
        "for so many rows, or TensorRT would store floats of few bits as floats; so engines take it as floats, which "
        "are computed once.",
        "Nothing to do; compile with quantised_weights='small' if GPU memory matters more than time.",
    ),
    ReasonCode(
        "TP308",
        "no faster than TorchScript",
        "When the model was compiled, on a GPU, the engine was not 5 % faster than the TorchScript that it would "
        "replace, or the model with its engines not than the model.",
        "Nothing to do; give min_block_size, such as min_block_size=1, to have it in an engine without timing.",
    ),
    ReasonCode(
        "TP309",
        "a product in few bits that PyTorch computes faster",
        "PyTorch's own kernel for the product takes less time than TensorRT's, as measured for such sizes.",
        "Nothing to do; compile with quantised_products='engines' to have it in an engine.",
    ),
    ReasonCode(
        "TP401",
        "excluded by operator",
        "The operator is named in torch_executed_ops.",
        "Remove it from torch_executed_ops.",
    ),
    ReasonCode(
        "TP402",
        "excluded by module",
        "The node belongs to a module named in torch_executed_modules.",
        "Remove the module from torch_executed_modules.",
    ),
    ReasonCode(
        "TP403",
        "left out by the partition file",
        "The partition that was given (the setting partition, or partition{from=…}) puts the node into no segment.",
        "Add the node to the nodes of a segment in that file, or leave the file out.",
    ),
    ReasonCode(
        "TP501",
        "conversion failed",
        "The converter for this node raised, or TensorRT refused the layer that it added.",
        "Report it with the reproducer in the dump folder; exclude the operator with torch_executed_ops meanwhile.",
    ),
    ReasonCode(
        "TP502",
        "engine build failed",
        "TensorRT could not build an engine that contains this node; without it, the build succeeds.",
        "Report TensorRT's message; exclude the operator with torch_executed_ops meanwhile.",
    ),
    ReasonCode(
        "TP503",
        "engine build took too long",
        "TensorRT did not finish the engine of the node's segment within build_seconds; its halves would be too small.",
        "Raise build_seconds, or lower min_block_size so that the segment can be split further.",
    ),
)

REASON_CODES: Mapping[str, ReasonCode] = MappingProxyType({row.code: row for row in _ROWS})
"""Every reason code that a ledger row can carry."""
