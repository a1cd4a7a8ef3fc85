"""A TorchScript model in blocks: what can be converted runs in engines, the rest stays TorchScript around them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from ...errors import UserError, did_you_mean, first_line
from ...instruments.check import measured
from ...instruments.script_dump import begin_script_dump, write_script_dump
from ...ir.ledger import LedgerRow, Reason
from ...ir.reasons import REASON_CODES
from ...report.script_report import ScriptBlock, ScriptReport
from ...runtime.measure.script_profiling import ScriptPart, ScriptProfiler
from ...settings import Settings
from ..exported_program import device_of
from .block import QUANTISED_TYPES, Block, NotConverted, exported_block
from .built import Builds, Built, Compile
from .code import Code, Op, Place, class_name, source_line
from .conversion import Script, arguments_by_name, raised_by_model, with_forward
from .edit import put
from .example_calls import example_calls
from .fixed_attributes import Fixed, guard, plain_attributes, refuse_changes
from .inlined import Inlined, copied, inlined
from .memory import OF_SIZES
from .observed import CallFailed, Seen, observe
from .recorded import Calls
from .regions import Graph, Outside, Region, is_tensor_op, scheduled
from .twin import Twin, twin_of
from .worth import is_timed, slower_block, slower_methods

_ATTEMPTS = 60

_ALSO_STAYED = ("prim::CallMethod", "prim::Print", "prim::fork")
"""What the report names beside operators on tensors, control flow and what changes something."""

_WORTH_AN_ENGINE = frozenset({"aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu"})
"""Operators that are blocks by themselves, where `min_block_size` is not given."""


@dataclass(frozen=True)
class Asked:
    """Why a model is compiled in blocks, and what was done before: for the report, see `ScriptReport`."""

    whole: str
    command: str = ""
    spent: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


def script_of_blocks(
    model: Any,
    inputs: Sequence[Any],
    kwargs: Mapping[str, Any],
    settings: Settings,
    compiled: Compile,
    asked: Asked,
) -> torch.jit.ScriptModule:
    """A copy of a TorchScript model in which the parts that can be converted are engines.

    The copy has all methods and attributes of the model, and shares its parameters; state is its own. A part is
    converted for what it takes in three calls each with the smallest, the largest and the usual inputs. Where it is
    given something else, what it was made of runs.

    Args:
        model: a module, a method or a function.
        inputs, kwargs: its arguments, see `trace`.
        settings: of the compilation; with `dump_dir`, every block writes a folder of its own into it.
        compiled: runs the pipeline on a program.
        asked: what the report says besides.

    Raises:
        UserError: the inputs do not fit, or the model raises for them; or it cannot be saved, and so not copied.
    """
    _check_modules(model, settings)
    root = with_forward(model)
    return _of_methods(root, {"forward": (inputs, kwargs)}, settings, compiled, asked)


def script_of_methods(
    model: Any,
    methods: Mapping[str, tuple[Sequence[Any], Mapping[str, Any]]],
    settings: Settings,
    compiled: Compile,
) -> torch.jit.ScriptModule:
    """A copy of a TorchScript module in which the parts of several methods that can be converted are engines.

    The methods share state, as in the model: they are called one after the other, in this order, three times each.

    Args:
        model: the module.
        methods: names of methods, with their positional and keyword arguments.
        settings, compiled: see `script_of_blocks`.

    Raises:
        UserError: as there; or there is no such method; or something stays TorchScript, and `require_full_compilation`
            is set.
    """
    known = [name for name in model._c._method_names() if not name.startswith("__")]
    for name in methods:
        if name not in known:
            raise UserError(f"the TorchScript module has no method {name!r}.{did_you_mean(name, known)}")
    _check_modules(model, settings)
    result = _of_methods(model, methods, settings, compiled, Asked(_SEVERAL.format(", ".join(methods))))
    report: ScriptReport = vars(result)["report"]
    row = next((row for row in report.ledger if row.verdict != "trt"), None)
    if settings.require_full_compilation and row is not None:
        where = f" at {row.source}" if row.source else ""
        raise UserError(
            f"require_full_compilation is set, and {row.op}{where} stays TorchScript: {row.reasons[0].message}"
        )
    return result


_SEVERAL = "several methods are compiled, so that the module is kept: {}."


def _of_methods(
    root: Any,
    methods: Mapping[str, tuple[Sequence[Any], Mapping[str, Any]]],
    settings: Settings,
    compiled: Compile,
    asked: Asked,
    no_blocks: str | None = None,
) -> torch.jit.ScriptModule:
    """See `script_of_methods`; `no_blocks` says why everything stays TorchScript."""
    if settings.dump_dir is not None:
        begin_script_dump(settings.dump_dir)
    scripts = [Script.of(getattr(root, name)) for name in methods]
    pairs = zip(scripts, methods.values(), strict=True)
    declared = [arguments_by_name(script, args, kwargs) for script, (args, kwargs) in pairs]
    own = copied(root)
    fixed = plain_attributes(own)
    models = [inlined(own, settings.torch_executed_modules, name) for name in methods]
    triples = zip(methods, scripts, declared, strict=True)
    usual = {name: list(example_calls(script, given, None))[-1] for name, script, given in triples}
    seen = _seen(models, scripts, declared)
    calls = _calls(scripts, settings, list(usual.values()))
    builds = Builds(settings, compiled)
    prefixes = [""] if len(models) == 1 else [f"{name}." for name in methods]
    works = [
        _Work(model, Graph(model), twin_of(own), found, builds, prefix, fixed, call, no_blocks)
        for prefix, model, found, call in zip(prefixes, models, seen, calls, strict=True)
    ]
    for work in works:
        work.plan(work.graph.code)
    blocks = tuple(block for work in works for block in work.put())
    stayed = tuple(row for work in works for row in work.stayed())
    wrap: Any = torch.jit._recursive.wrap_cpp_module
    result: torch.jit.ScriptModule = wrap(own._c)
    if any(work.timed for work in works) and blocks:
        no_blocks = slower_methods(root, result, usual)
        if no_blocks is not None:
            return _of_methods(root, methods, settings, compiled, asked, no_blocks)
    if not all(work.is_guarded for work in works):
        refuse_changes(result, fixed)
    told = [_measured(name, call, root, result) for name, call in zip(methods, calls, strict=True)]
    found = tuple(text for text in told if text is not None)
    report = ScriptReport(asked.whole, blocks, stayed, settings.to_json(), asked.command, asked.spent, found)
    object.__setattr__(result, "report", report)
    parts = [part for work in works for part in work.parts]
    first = next(iter(methods))
    object.__setattr__(result, "profile", ScriptProfiler(result, parts, lambda: (usual[first], {}), first))
    if settings.dump_dir is not None:
        write_script_dump(settings.dump_dir, report)
    return result


def _seen(models: Sequence[Inlined], scripts: Sequence[Script], declared: Sequence[Mapping[str, Any]]) -> list[Seen]:
    """What the values of methods are in calls with examples.

    Whole numbers of the smallest inputs are zeros: a 1 that is an index is none of a single row, which on a GPU ends
    all that the process can do there. Where the model raises for zeros, as it may for lengths, they are ones.
    """
    failures = []
    for fill in (0, 1, None):
        pairs = zip(scripts, declared, strict=True)
        rounds = zip(*(example_calls(script, given, fill) for script, given in pairs), strict=True)
        try:
            return observe(models, list(rounds))
        except CallFailed as error:
            failures.append(error)
    raise raised_by_model(failures[-1].error, declared[failures[-1].number]) from failures[-1].error


def _calls(scripts: Sequence[Script], settings: Settings, usual: Sequence[Sequence[Any]]) -> list[Calls]:
    """The calls that the options `check` and `calibration` ask for.

    Raises:
        UserError: they do not fit; or there are several methods, and what is given is for one.
    """
    if len(scripts) > 1 and (settings.calibration is not None or (settings.check and settings.check.has_inputs)):
        raise UserError(
            "calibration and the inputs of check are those of one method, and several are compiled: give check=True, "
            "or compile each method alone."
        )
    return [Calls.of(script, settings, given) for script, given in zip(scripts, usual, strict=True)]


def _measured(name: str, calls: Calls, model: Any, compiled: Any) -> str | None:
    """What the metric of `check` says of a whole method, as a note; None without one."""
    if calls.metric is None or calls.check is None:
        return None
    with torch.no_grad():
        results = [getattr(copy.deepcopy(it), name)(*copy.deepcopy(calls.check)) for it in (model, compiled)]
    return f"check: the metric gives {measured(calls.metric, *results):.2e} for {name}."


def _check_modules(model: Any, settings: Settings) -> None:
    owner = Script.of(model).owner
    known = {""}
    for path, part in owner.named_modules() if owner is not None else ():
        kind = class_name(part._c._type())
        known |= {path, kind, kind.rpartition(".")[2]}
    for name in sorted(settings.torch_executed_modules):
        if name not in known and not hasattr(nn, name.rpartition(".")[2]):
            hint = did_you_mean(name, sorted(known - {""}))
            raise UserError(f"torch_executed_modules names {name!r}, which matches no module of the model.{hint}")


@dataclass
class _Work:
    """The blocks of one method, or why it has none; `prefix` is what names of nodes begin with in the report."""

    model: Inlined
    graph: Graph
    twin: Twin
    seen: Seen
    builds: Builds
    prefix: str
    fixed: Fixed
    calls: Calls
    no_blocks: str | None = None
    attempts: int = 0
    left: dict[Op, str] = field(default_factory=dict)
    small: dict[Op, int] = field(default_factory=dict)
    plans: list[tuple[list[list[Op]], list[Built]]] = field(default_factory=list)
    exported: dict[tuple[Op, ...], Block] = field(default_factory=dict)
    known: dict[tuple[Op, ...], Built] = field(default_factory=dict)
    failed: dict[tuple[Op, ...], str] = field(default_factory=dict)
    slow: set[Op] = field(default_factory=set)
    timed: set[Built] = field(default_factory=set)
    parts: list[ScriptPart] = field(default_factory=list)
    is_guarded: bool = True

    @property
    def settings(self) -> Settings:
        """Those of the compilation."""
        return self.builds.settings

    # --- what becomes a block ---
    def plan(self, block: Code) -> None:
        """Find the regions of a block of code that become blocks, and those of the control flow that stays."""
        if self.no_blocks is None and self.graph.is_cast:
            self.no_blocks = "its method has torch.autocast, which decides types where TorchScript runs"
        for op in block.ops:
            fault = None if self.graph.is_free(op) else self.graph.fault(op)
            if fault is not None:
                self.left[op] = fault
            elif self.no_blocks is not None and not self.graph.is_free(op):
                self.left[op] = self.no_blocks
                if not self.graph.is_cast:
                    self.slow.add(op)
        while True:
            groups = scheduled(self.graph, block, self.left)
            found = self._found(groups)
            if found is not None:
                break
        self.plans.append((groups, found))
        inside = {op for built in found for op in built.block.region.ops}
        for op in block.ops:
            if op not in inside:
                for inner in op.blocks:
                    self.plan(inner)

    def _found(self, groups: Sequence[Sequence[Op]]) -> list[Built] | None:
        """The blocks of these groups; None where an op was found that has to be left out."""
        regions = []
        for group in groups:
            if not any(map(is_tensor_op, group)) or any(op in self.left for op in group):
                continue
            try:
                region = self.graph.region(group, self._used(group))
            except Outside as error:
                self.left[error.op] = str(error)
                return None
            alone = self.settings.min_block_size is None and any(op.kind in _WORTH_AN_ENGINE for op in group)
            if region.size < self.settings.block_floor and not alone:
                self.small.update((op, region.size) for op in group if is_tensor_op(op))
                continue
            quantised = self._quantised(region)
            if quantised is not None:
                self.left[self.graph.makers[quantised]] = "it makes a quantised tensor that TorchScript uses"
                return None
            try:
                self._export(region)
            except NotConverted as error:
                self._leave_out(region, str(error))
                return None
            regions.append(region)
        found = []
        for region in regions:
            try:
                built = self._built(region)
            except NotConverted as error:
                self._leave_out(region, str(error))
                return None
            slower = self._slower(built)
            if slower is not None:
                self.left.update(dict.fromkeys(region.ops, slower))
                self.slow.update(region.ops)
                return None
            found.append(built)
        return found

    def _slower(self, built: Built) -> str | None:
        """Why what was built is not used; None if it is."""
        device = device_of(self.model.script)
        if built in self.timed or built.script is None or not is_timed(built.compiled, self.settings, device):
            return None
        self.timed.add(built)
        return slower_block(built.block, built.script, self.model, self.graph, self.seen)

    def _used(self, group: Sequence[Op]) -> frozenset[str]:
        """Names of values that anything but these ops reads."""
        inside = {part for op in group for part in (op, *(p for block in op.blocks for p in block.every_op()))}
        names = set(self.graph.code.outputs)
        for op in self.graph.code.every_op():
            if op not in inside:
                names.update(op.inputs)
                names.update(name for block in op.blocks for name in block.outputs)
        return frozenset(names)

    def _quantised(self, region: Region) -> str | None:
        """A quantised tensor of a region that more than its sizes is read of outside; None without one."""
        found = [name for name in region.outputs if any(seen[0] in QUANTISED_TYPES for seen in self.seen.of(name))]
        inside = {part for op in region.ops for part in (op, *(p for block in op.blocks for p in block.every_op()))}
        for op in self.graph.code.every_op():
            read = {*op.inputs, *(name for block in op.blocks for name in block.outputs)}
            is_size = op.kind in OF_SIZES and op.kind.startswith("aten::")
            if op not in inside and not is_size and not read.isdisjoint(found):
                return next(name for name in found if name in read)
        return next((name for name in found if name in self.graph.code.outputs), None)

    def _export(self, region: Region) -> Block:
        if region.ops in self.failed:
            raise NotConverted(self.failed[region.ops])
        try:
            if region.ops not in self.exported:
                self.attempts += 1
                self.exported[region.ops] = exported_block(region, self.model, self.twin, self.graph.root, self.seen)
            return self.exported[region.ops]
        except NotConverted as error:
            self.failed[region.ops] = str(error)
            raise

    def _built(self, region: Region) -> Built:
        if region.ops not in self.known:
            settings = self.calls.settings_of(self.settings, region, self.model)
            try:
                self.known[region.ops] = self.builds.built(self._export(region), settings)
            except UserError as error:
                self.failed[region.ops] = first_line(error)
                raise NotConverted(first_line(error)) from error
        return self.known[region.ops]

    def _leave_out(self, region: Region, reason: str) -> None:
        """Find what of a region cannot be converted: control flow, else one op, else all of it."""
        unreached = "not reached" in reason
        compound = [op for op in region.ops if op.blocks]
        if unreached or self.attempts > _ATTEMPTS or len(region.ops) == 1:
            self.left.update(dict.fromkeys(region.ops, reason))
        elif compound:
            alone = {op: self._problem([op]) for op in compound}
            guilty = {op: problem for op, problem in alone.items() if problem is not None}
            self.left.update(guilty or dict.fromkeys(compound, reason))
        else:
            low, high = 0, len(region.ops)  # the first `low` ops can be converted, the first `high` cannot
            while high - low > 1:
                middle = (low + high) // 2
                problem = self._problem(region.ops[:middle])
                low, high = (middle, high) if problem is None else (low, middle)
            self.left[region.ops[high - 1]] = self._problem(region.ops[:high]) or reason

    def _problem(self, ops: Sequence[Op]) -> str | None:
        try:
            self._export(self.graph.region(ops, self._used(ops)))
        except (NotConverted, Outside) as error:
            return str(error)
        return None

    # --- the result ---
    def put(self) -> list[ScriptBlock]:
        """Put the blocks into the method."""
        module = self.model.script
        blocks: list[ScriptBlock] = []
        for groups, found in self.plans:
            if any(built.script is not None for built in found):
                end = groups[0][0].node.owningBlock().returnNode()
                for op in (op for group in groups for op in group):
                    op.node.moveBefore(end)
            for built in found:
                attribute = built.name
                while module._c.hasattr(attribute):
                    attribute = f"{attribute}_"
                if built.script is not None:
                    put(self.graph, module, attribute, built.block, built.script)
                    self.parts.append(ScriptPart.of(built.name, f"{attribute}.engine", built.compiled))
                blocks.append(ScriptBlock(built.name, built.report, built.script is not None))
        self.model.graph.lint()
        if blocks:
            self.is_guarded = guard(self.model.graph, module, self.model.before, self.fixed)
        return blocks

    def stayed(self) -> Iterator[LedgerRow]:
        """What stayed TorchScript."""
        inside = {op for _, found in self.plans for built in found for op in built.block.region.ops}
        return self._stayed(self.graph.code, inside)

    def _stayed(self, block: Code, inside: set[Op]) -> Iterator[LedgerRow]:
        for op in block.ops:
            if op in inside or self.graph.is_free(op):
                continue
            if self._is_told(op):
                yield self._row(op)
            for inner in op.blocks:
                yield from self._stayed(inner, inside)

    def _is_told(self, op: Op) -> bool:
        """Whether the report names what stayed: not what decides by numbers alone, such as checks of sizes."""
        if not op.blocks:
            return is_tensor_op(op) or op.is_mutable or op.kind in _ALSO_STAYED
        return any(self._is_told(part) for block in op.blocks for part in block.ops if not self.graph.is_free(part))

    def _row(self, op: Op) -> LedgerRow:
        origin = self.model.origin(op.node)
        if op in self.small:
            size, least = self.small[op], self.settings.block_floor
            reason = Reason("TP301", f"it is in a block of {size} op nodes, and min_block_size is {least}.")
        elif op in self.slow:
            reason = Reason("TP308", f"{self.left[op]}.")
        elif "torch_executed_modules" in self.left.get(op, ""):
            reason = Reason("TP402", f"{self.left[op]}.")
        else:
            reason = Reason("TP104", f"{self.left.get(op, 'nothing around it can be converted')}.")
        name = op.outputs[0] if op.outputs else op.kind
        return LedgerRow(
            node=f"%{self.prefix}{name}",
            op=op.kind.replace("::", "."),
            verdict=REASON_CODES[reason.code].verdict,
            reasons=(reason,),
            module=origin.modules[-1][0],
            source=source_line(origin.frames, self._place(op)),
        )

    def _place(self, op: Op) -> Place | None:
        """The line of an op; of what makes the value for one that assigns an attribute, of which files keep none."""
        maker = self.graph.makers.get(op.inputs[-1]) if op.inputs else None
        return op.place or (maker.place if maker is not None and not op.outputs else None)
