"""Products in few bits for which PyTorch has a faster kernel than TensorRT: operators that stay beside the engines.

TensorRT-RTX 1.6 has no fast kernels for float8 on Hopper: 3,072 rows times 3072 x 768 take 40 us, halves 26, and
PyTorch's kernel 16. Each such product divides an engine, which costs next to nothing where all is one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node

from ...compiler.ir.annotations import annotate_node, annotations_of
from ...compiler.ir.dtypes import HALVES
from ...compiler.ir.graph import insert_call
from ...compiler.ir.operators import PACK_INT4, PACKED_PRODUCT, SCALED_PRODUCT
from ...compiler.ir.program import Program
from ...compiler.settings import Settings
from ...compiler.tensorrt.product_times import GPU, LARGE, ProductTimes, faster_in_pytorch, usual_sizes
from .known_values import KnownValues
from .quantised_operands import Operand, operands_of, quantised, rounded_to
from .values import node_of, value_of

aten = torch.ops.aten

SMALL = 2.0**-10
"""What products whose rows are scaled afterwards are multiplied by meanwhile: halves might not hold them."""

_TRANSPOSED = frozenset({aten.linear.default})
_PLAIN = frozenset({aten.mm.default, aten.matmul.default, aten.addmm.default})


@dataclass(frozen=True)
class _Product:
    """A product with a stored weight: `weight` [columns, inner] with one scale per column, and a bias or None."""

    node: Node
    weight: torch.Tensor
    scale: torch.Tensor
    bias: Node | None


class PytorchProducts:
    """Rewrites such products of one program, in place.

    Args:
        program: whose quantised operands are placed.
        known: the values of its constants.
        settings: of the compilation.
    """

    def __init__(self, program: Program, known: KnownValues, settings: Settings) -> None:
        self._program, self._known = program, known
        self._halves = settings.enabled_precisions & HALVES
        self._wanted = settings.cuda_graphs and settings.quantised_products == "fast"

    def run(self) -> None:
        """Replace what PyTorch computes faster; products of the same float8 input become one."""
        if not self._wanted or _has_no_kernels():
            return
        groups: dict[Node, list[_Product]] = {}
        for node in self._program.op_nodes:
            if node.target not in _TRANSPOSED | _PLAIN:
                continue
            left, right = operands_of(node)
            first, second = quantised(left), quantised(right)
            if second is None or second.quantize is not None or value_of(right).dim() != 2:
                continue
            if first is None:
                self._pack(node, left, second)
            elif first.quantize is not None and first.dtype == second.dtype == torch.float8_e4m3fn:
                product = self._product(node, second)
                if product is not None and self._known.number(left.args[1]) is not None:
                    groups.setdefault(left, []).append(product)
        for left, products in groups.items():
            self._scaled(left, products)

    def _product(self, node: Node, operand: Operand) -> _Product | None:
        """A product as one with a transposed weight; None if it adds anything but a bias."""
        data, steps = self._known.of(operand.dequantize.args[0]), self._known.of(operand.dequantize.args[1])
        if data is None or steps is None or (node.target is aten.addmm.default and (len(node.args) > 3 or node.kwargs)):
            return None
        if node.target is aten.addmm.default:
            bias = node_of(node.args[0])
        else:
            bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")  # type: ignore[assignment]
        if bias is not None and value_of(bias).dim() != 1:
            return None
        steps = steps.reshape((1, 1) if steps.numel() == 1 else steps.shape)
        if node.target not in _TRANSPOSED:
            data, steps = data.t().contiguous(), steps.t()
        if steps.dim() != 2 or steps.shape[1] != 1:
            return None
        return _Product(node, data, steps.expand(data.shape[0], 1).reshape(-1).float(), bias)

    # --- float8 --------------------------------------------------------------------------------------------------
    def _scaled(self, left: Node, products: Sequence[_Product]) -> None:
        weight = torch.cat([item.weight.view(torch.uint8) for item in products]).view(torch.float8_e4m3fn)
        # A product whose rows are scaled afterwards is one of float32, and becomes a half then.
        afterwards = (
            rounded_to(products[0].node, steps=6) if value_of(products[0].node).dtype == torch.float32 else None
        )
        dtype = afterwards or self._type_for(left)
        columns, inner = weight.shape
        measured = _measured(left, columns, inner, "fp8 pytorch", ("fp8", "f16"))
        if measured is None or dtype is None or columns % 16 or inner % 16 or weight.numel() < LARGE:
            return
        # A scale that a pass filled with ones is on the CPU, and the kernel reads it on the GPU.
        scale = torch.cat([item.scale.to(weight.device) for item in products]) * (SMALL if afterwards else 1.0)
        x_scale = torch.full((), self._known.number(left.args[1]) or 0.0, device=weight.device)
        largest = scale.max()
        one = products[0].node
        graph, name = one.graph, one.name
        data = self._constant(f"{name}_float8", weight)
        step = self._constant(f"{name}_scale", largest.reshape(()))
        equal = bool((scale == largest).all())
        bias = products[0].bias if len(products) == 1 and equal and _has_type(products[0].bias, dtype) else None
        with graph.inserting_before(one):
            args = (left.args[0], data, self._constant(f"{name}_x_scale", x_scale), step, bias, dtype)
            result = insert_call(graph, SCALED_PRODUCT, args, like=one)
            text = _reason(measured, "fp8 pytorch", ("fp8", "f16"))
            annotate_node(result, precision="fp8", pytorch=text, joined=len(products))
            if not equal:
                factors = self._constant(f"{name}_factors", (scale / largest).to(dtype))
                result = insert_call(graph, aten.mul.Tensor, (result, factors), like=one)
            if afterwards:
                result = insert_call(graph, aten._to_copy.default, (result,), {"dtype": torch.float32}, like=one)
                result = insert_call(graph, aten.mul.Tensor, (result, 1 / SMALL), like=one)
        start = 0
        for item in products:
            width = item.weight.shape[0]
            with graph.inserting_before(item.node):
                part = result
                if len(products) > 1:
                    part = insert_call(graph, aten.slice.Tensor, (result, -1, start, start + width), like=item.node)
                self._finish(item, part, item.bias if bias is None else None)
            start += width

    def _finish(self, item: _Product, found: Node, bias: Node | None) -> None:
        """Put a result in the place of a product."""
        graph, node = item.node.graph, item.node
        wanted = value_of(node).dtype
        if value_of(found).dtype != wanted:
            found = insert_call(graph, aten._to_copy.default, (found,), {"dtype": wanted}, like=node)
        if bias is not None:
            found = insert_call(graph, aten.add.Tensor, (found, bias), like=node)
        node.replace_all_uses_with(found)
        graph.erase_node(node)

    # --- four bits -----------------------------------------------------------------------------------------------
    def _pack(self, node: Node, left: Node, operand: Operand) -> None:
        """A product of bfloat16 with a weight in four bits, and scales for groups of 32, 64, 128 or 256."""
        data, steps = self._known.of(operand.dequantize.args[0]), self._known.of(operand.dequantize.args[1])
        if node.target not in _TRANSPOSED or annotations_of(operand.dequantize).get("stored") != "int4":
            return
        if data is None or steps is None or self._type_for(left) is not torch.bfloat16 or data.numel() < LARGE:
            return
        columns, inner = data.shape
        if steps.dim() != 2 or steps.shape[0] != columns or columns % 8 or inner % 128:
            return
        if inner // steps.shape[1] not in (32, 64, 128, 256):
            return
        measured = _measured(left, columns, inner, "int4 weights pytorch", ("int4 weights", "f16"))
        if measured is None:
            return
        scales = torch.stack([steps.t(), torch.zeros_like(steps.t())], 2).to(torch.bfloat16).contiguous()
        bias = node.args[2] if len(node.args) > 2 else node.kwargs.get("bias")
        stored = self._constant(f"{node.name}_scales", scales)
        graph = node.graph
        with graph.inserting_before(node):
            packed = insert_call(graph, PACK_INT4, (operand.dequantize.args[0],), like=node)
            x = left
            if value_of(left).dtype != torch.bfloat16:
                x = insert_call(graph, aten._to_copy.default, (left,), {"dtype": torch.bfloat16}, like=node)
            result = insert_call(graph, PACKED_PRODUCT, (x, packed, stored), like=node)
            text = _reason(measured, "int4 weights pytorch", ("int4 weights", "f16"))
            annotate_node(result, precision="int4 weights", pytorch=text)
            annotate_node(packed, pytorch=text)
            self._finish(_Product(node, data, steps, None), result, node_of(bias) if bias is not None else None)

    # --- what both need ------------------------------------------------------------------------------------------
    def _type_for(self, left: Node) -> torch.dtype | None:
        """The half type in which a product of some operand is computed; None if it is not."""
        dtype = value_of(left).dtype
        if dtype in HALVES:
            return dtype
        return next(iter(sorted(self._halves, key=str)), None)

    def _constant(self, name: str, values: torch.Tensor) -> Node:
        return self._known.store(self._program, name, values)


def _has_no_kernels() -> bool:
    """Whether this machine has a GPU, and it has no products of float8."""
    return torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9)


def _has_type(bias: Node | None, dtype: torch.dtype) -> bool:
    return bias is not None and value_of(bias).dtype == dtype


def _measured(left: Node, columns: int, inner: int, form: str, others: tuple[str, ...]) -> ProductTimes | None:
    """The measured product by which PyTorch's kernel takes less time than all of TensorRT's forms; None if not."""
    sizes = usual_sizes(value_of(left), columns * inner)
    return None if sizes is None else faster_in_pytorch(*sizes, form, others)


def _reason(measured: ProductTimes, form: str, others: tuple[str, ...]) -> str:
    names = {"f16": "halves"}
    listed = ", ".join(f"{measured.us[other]:g} us with {names.get(other, other)}" for other in others)
    return (
        f"a product of {measured.sizes} takes {measured.us[form]:g} us in PyTorch, and in TensorRT {listed}, on {GPU}."
    )
