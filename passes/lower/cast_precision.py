"""The pass `lower.cast-precision`."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch.fx import Node

from ...compiler.errors import UserError
from ...compiler.ir.aliasing import mutates
from ...compiler.ir.operators import QUANTIZE
from ...compiler.ir.program import Program
from ...compiler.ir.source import source_of
from ...compiler.ir.text import op_name
from ...compiler.pass_base import Context, Pass
from .casts import Casts, has_dtype, retype
from .float32_rules import exact_nodes, kept_by_rule
from .precision_table import ANGLES, BOUNDED, MOVE, computes_narrow, fits, follows, holds_tensor
from .products import products_of, products_text, type_name
from .small_attention import small_attention
from .values import tensor_of

aten = torch.ops.aten

_CONVERTED = frozenset(
    {torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64, torch.float16, torch.bfloat16}
)
"""Types from which a model converts to float32 for its range or precision; half precision holds smaller integers."""

_NAMED = 12
"""Nodes that a note names; the rest is counted."""

_SCALINGS = frozenset({aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar})


@dataclass(frozen=True)
class CastPrecision(Pass):
    """Compute in float16 or bfloat16 where it is safe, if `enabled_precisions` names one of them.

    Inputs and outputs of the program keep their types. Matrix products, convolutions and attention go to the narrow
    type, and what only moves or scales their results goes along. Norms, softmax, sums and everything that can leave the
    range of float16 stay in float32 (see `precision_table`), with whatever uses their results before the next matrix
    product, unless those are bounded. Products with weights that the narrow type cannot hold, products of angles, and
    attention with fewer than 16 keys or numbers of a head stay there too. What the model computes from constants, and
    from tensors that it converts to float32 itself, stays in float32 up to and with the next product: angles of rotary
    positions, say. The settings `keep_in_float32` and `max_depth_of_reduction` keep more. What a file of the setting
    `partition` says of a node goes before all that; without `enabled_precisions`, the nodes that it names are the only
    ones that change.

    Before:
        %linear = aten.linear(%x, %p_w) : f32[2,4]
        %exp = aten.exp(%linear) : f32[2,4]
    After:
        %p_w_f16 = aten._to_copy(%p_w, dtype=f16) : f16[4,4]
        %x_f16 = aten._to_copy(%x, dtype=f16) : f16[2,4]
        %linear = aten.linear(%x_f16, %p_w_f16) : f16[2,4]
        %linear_f32 = aten._to_copy(%linear, dtype=f32) : f32[2,4]
        %exp = aten.exp(%linear_f32) : f32[2,4]
    """

    name: ClassVar[str] = "lower.cast-precision"

    def run(self, program: Program, ctx: Context) -> Program:
        """Edit the graph in place; tells through `ctx.note` how much changed."""
        pinned = pinned_by(ctx.settings.partition)
        enabled = next(iter(ctx.settings.enabled_precisions - {torch.float32}), None)
        narrow = enabled or _pinned_type(program, pinned)
        if narrow is None or mutates(program.graph):
            return program  # a write to a copy of another type would be one to the copy alone
        rules = {**exact_nodes(program), **small_attention(program), **kept_by_rule(program, ctx)}
        lost = ctx.lost(program, narrow)
        choice = _Choice(narrow, program.constants, lost, pinned, rules, only_pinned=enabled is None)
        for node in program.op_nodes:
            choice.decide(node)
        products = products_of(program, choice.kept, narrow)
        if choice.saved:
            ctx.note(_saved_text(choice))
        source = "the partition" if enabled is None else "enabled_precisions"
        if not choice.narrowed:
            ctx.note(f"{source}: nothing computes in {type_name(narrow)}. {products_text(products)}")
            return program
        casts = Casts(program.graph)
        for node in program.op_nodes:
            _adapt(node, choice, casts)
        casts.cast_arguments(program.output_node, narrow, torch.float32, choice.narrowed)
        ctx.note(
            f"{source}: {len(choice.narrowed)} of {len(program.op_nodes) - casts.count} op nodes compute in "
            f"{type_name(narrow)}, with {casts.count} casts between it and float32. {products_text(products)}"
        )
        return program


def pinned_by(path: str | None) -> Mapping[str, str]:
    """The precisions that a partition file gives to nodes; none without a file."""
    if path is None:
        return {}
    from ...compiler.ir.partition_file import PartitionFile

    file = PartitionFile.read(path)
    return {name: text for name, text in file.precision.items() if name not in file.derived}


def _pinned_type(program: Program, pinned: Mapping[str, str]) -> torch.dtype | None:
    """The half type that a partition file names for nodes that compute in float32; it needs no other permission."""
    nodes = (node for node in program.op_nodes if has_dtype(node, torch.float32))
    asked = sorted({pinned[node.name] for node in nodes if node.name in pinned} - {"float32"})
    if len(asked) > 1:
        raise UserError(f"the partition file has nodes in {' and in '.join(asked)}: a program can have one of them.")
    return getattr(torch, asked[0]) if asked else None


def _saved_text(choice: _Choice) -> str:
    """Which nodes stay in float32 for what their values were on the inputs of the check."""
    narrow = type_name(choice.narrow)
    parts = []
    for node in choice.saved[:_NAMED]:
        cause = next(item for item in (node, *node.all_input_nodes) if item.name in choice.lost)
        source = source_of(node)
        reads = "" if cause is node else f", which reads {cause.name}"
        place = f"{op_name(node.target)}{f', {source}' if source else ''}"
        parts.append(f"{node.name} ({place}{reads}: {choice.lost[cause.name]})")
    more = f" and {len(choice.saved) - _NAMED} more" if len(choice.saved) > _NAMED else ""
    return (
        f"{narrow} cannot hold some values on the inputs of check or calibration, or they are larger than allowed, so "
        f"float32 computes {', '.join(parts)}{more}."
    )


@dataclass
class _Choice:
    """Which nodes compute in the narrow type, decided in graph order.

    `risky` are the float32 values that the narrow type may not be able to hold, and `chosen` those that the model
    computes in float32 by choice: from constants, and from what it converts to float32 itself, up to the next product.
    `rules` have a reason for every node that the user, or TensorRT, wants in float32. `pinned` are the types that a
    partition file gives to nodes; with `only_pinned`, all others stay in float32, but for moves of what does not.
    `kept` are the products that stay in float32, each with the reason. `lost` are values that were seen to be too large
    or too small for the narrow type, by the name of the node, and `saved` the nodes that stay in float32 for that.
    """

    narrow: torch.dtype
    constants: Mapping[str, torch.Tensor]
    lost: Mapping[str, str] = field(default_factory=dict)
    pinned: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    only_pinned: bool = False
    narrowed: set[Node] = field(default_factory=set)
    risky: set[Node] = field(default_factory=set)
    chosen: set[Node] = field(default_factory=set)
    kept: dict[Node, str] = field(default_factory=dict)
    saved: list[Node] = field(default_factory=list)
    _unfit: dict[Node, bool] = field(default_factory=dict)

    def decide(self, node: Node) -> None:
        """Put the node into `narrowed`, or into `risky` if it stays in float32 and its result may be large."""
        if self._is_pinned(node):
            return
        if self.only_pinned:
            self._decide_unnamed(node)
            return
        sources = [source for source in node.all_input_nodes if has_dtype(source, torch.float32)]
        chosen = self._is_chosen(node)
        if computes_narrow(node.target):
            if has_dtype(node, torch.float32):
                reason = self._reason_to_stay(node, sources, chosen) or self._loss(node, sources)
                if reason is None:
                    self.narrowed.add(node)
                else:
                    self.risky.add(node)
                    self.kept[node] = reason
            return
        if chosen:
            self.chosen.add(node)
        if node.target is operator.getitem:
            self._like(node, node.all_input_nodes[0])
        elif follows(node, self.narrow):
            risky = any(self._is_risky(source) for source in sources)
            if any(source in self.narrowed for source in sources) and not risky:
                if self._loss(node, ()) is None:
                    self.narrowed.add(node)
                else:
                    self.risky.add(node)
            elif risky and node.target not in BOUNDED:
                self.risky.add(node)
        elif node.target not in BOUNDED and not self._is_literal(node):
            self.risky.add(node)

    def _decide_unnamed(self, node: Node) -> None:
        """The same for a node that a partition file does not name, where only that file asks for half precision.

        What moves values goes along with them: later passes may have put others in its place in the dump.
        """
        sources = [source for source in node.all_input_nodes if has_dtype(source, torch.float32)]
        if node.target is operator.getitem:
            self._like(node, node.all_input_nodes[0])
        elif node.target in MOVE and sources and all(source in self.narrowed for source in sources):
            self.narrowed.add(node)
        elif computes_narrow(node.target) and has_dtype(node, torch.float32):
            self.kept[node] = "the partition file names no other"

    def _is_pinned(self, node: Node) -> bool:
        """Whether the user decided for the node, which then is decided here."""
        if not has_dtype(node, torch.float32) or node.target is operator.getitem:
            return False
        wanted = self.pinned.get(node.name)
        if wanted is None:
            return self._is_ruled(node)
        if wanted == "float32":
            self.risky.add(node)
            if computes_narrow(node.target):
                self.kept[node] = "the partition file says so"
            return True
        if wanted != str(self.narrow).removeprefix("torch."):
            raise UserError(f"the precision of %{node.name} should be {wanted}: enabled_precisions does not name it.")
        sources = [source for source in node.all_input_nodes if has_dtype(source, torch.float32)]
        natural = computes_narrow(node.target) or (follows(node, self.narrow) and any(sources))
        if not natural:
            raise UserError(
                f"the precision of %{node.name} should be {wanted}: {op_name(node.target)} is not computed in half "
                "precision; leave it out of the partition file."
            )
        self.narrowed.add(node)
        return True

    def _is_ruled(self, node: Node) -> bool:
        """Whether the user's rules keep the node in float32."""
        reason = self.rules.get(node.name)
        if reason is None:
            return False
        self.risky.add(node)
        if computes_narrow(node.target):
            self.kept[node] = reason
        return True

    def _reason_to_stay(self, product: Node, sources: Sequence[Node], chosen: bool) -> str | None:
        if chosen:
            return "computed from constants, or from what the model itself converts to float32"
        if _is_angle(product):
            return "only sines and cosines of it are used, and angles must be exact"
        unfit = next((source for source in sources if self._is_unfit(source)), None)
        return None if unfit is None else f"{type_name(self.narrow)} cannot hold the numbers of {unfit.name}"

    def _loss(self, node: Node, sources: Sequence[Node]) -> str | None:
        """What the narrow type would lose of a node's value, or of those that it reads, on the inputs of the check."""
        found = next((item for item in (node, *sources) if item.name in self.lost), None)
        if found is None:
            return None
        self.saved.append(node)
        return f"{type_name(self.narrow)} is not for the values of {found.name}: {self.lost[found.name]}"

    def _like(self, node: Node, producer: Node) -> None:
        for group in (self.narrowed, self.risky):
            if producer in group:
                group.add(node)

    def _is_chosen(self, node: Node) -> bool:
        if node.target is operator.getitem:
            # One of several results is made from what all of them are made from.
            return node.all_input_nodes[0] in self.chosen
        tensors = {source: tensor for source in node.all_input_nodes if (tensor := tensor_of(source)) is not None}
        if node.target is aten._to_copy.default and any(tensor.dtype in _CONVERTED for tensor in tensors.values()):
            return has_dtype(node, torch.float32)
        return all(source.name in self.constants or source in self.chosen for source in tensors)

    def _is_risky(self, source: Node) -> bool:
        return source in self.risky or self._is_unfit(source)

    def _is_unfit(self, source: Node) -> bool:
        """Whether a value is a constant, moved or not, that the narrow type cannot hold."""
        if source.target in MOVE:
            return any(self._is_unfit(item) for item in source.all_input_nodes)
        if source.name not in self.constants or not has_dtype(source, torch.float32):
            return False
        if source not in self._unfit:
            self._unfit[source] = not holds_tensor(self.constants[source.name], self.narrow)
        return self._unfit[source]

    def _is_literal(self, node: Node) -> bool:
        """Whether the node is filled with one number that the narrow type can hold."""
        return node.target in (aten.full.default, aten.scalar_tensor.default) and fits(node.args, self.narrow)


def _is_angle(product: Node) -> bool:
    """Whether nothing but sines and cosines of a product's results are used, moved, scaled or not."""
    waiting, seen = [*product.users], {product}
    while waiting:
        user = waiting.pop()
        if user in seen or user.target in ANGLES:
            continue
        if user.target not in MOVE and user.target not in _SCALINGS:
            return False
        seen.add(user)
        waiting += user.users
    return bool(product.users)


def _adapt(node: Node, choice: _Choice, casts: Casts) -> None:
    """Give a node the types that it was chosen to read, and its value the type that it now has."""
    if node.target is QUANTIZE:
        return  # it takes all floats
    if node not in choice.narrowed:
        casts.cast_arguments(node, choice.narrow, torch.float32, choice.narrowed)
        return
    _clamp_mask(node, choice, casts)
    casts.cast_arguments(node, torch.float32, choice.narrow)
    retype(node, torch.float32, choice.narrow)


def _clamp_mask(node: Node, choice: _Choice, casts: Casts) -> None:
    """Keep the mask of an attention finite: models fill it with the smallest float32, which would become -inf."""
    if node.target is not aten.scaled_dot_product_attention.default:
        return
    mask = node.args[3] if len(node.args) > 3 else node.kwargs.get("attn_mask")
    value = tensor_of(mask)
    if isinstance(mask, Node) and value is not None and value.dtype is torch.float32 and mask not in choice.narrowed:
        node.replace_input_with(mask, casts.cast(mask, choice.narrow, node, clamp=True))
