"""Partitioned programs for the tests of the analyses: verdicts set by hand, so that no converter is involved."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import torch
from trt_passes.compiler.ir.annotations import set_verdict
from trt_passes.compiler.ir.input import Input
from trt_passes.compiler.ir.ledger import Reason, Verdict
from trt_passes.compiler.ir.program import Program, is_getitem
from trt_passes.compiler.pass_base import Context
from trt_passes.passes.partition import Partition

aten = torch.ops.aten


def exported(
    function: Callable[..., object],
    inputs: tuple[torch.Tensor, ...],
    dynamic: object = None,
    declared: tuple[Input, ...] = (),
) -> Program:
    """The program of a function, or of a module, without verdicts."""

    class Model(torch.nn.Module):
        def forward(self, *arguments: torch.Tensor) -> object:
            return function(*arguments)

    module = function if isinstance(function, torch.nn.Module) else Model()
    shapes = None if dynamic is None else {"arguments": dynamic}
    graph = torch.export.export(module.eval(), inputs, dynamic_shapes=shapes).run_decompositions()
    return Program(graph, inputs=declared)


def judged(program: Program, fallbacks: Iterable[str], verdict: Verdict = Verdict.UNSUPPORTED) -> Program:
    """The program with a verdict for every node: `fallbacks` names nodes, or operators such as "sort"."""
    fallbacks = {*fallbacks, "_assert_tensor_metadata", "_assert_scalar"}
    code = {Verdict.UNSUPPORTED: "TP101", Verdict.EXCLUDED: "TP401"}[verdict]
    for node in program.op_nodes:
        packet = getattr(node.target, "overloadpacket", None)
        stays = node.name in fallbacks or (packet is not None and packet.__name__ in fallbacks)
        stays = stays or (is_getitem(node) and node.args[0].name in fallbacks)
        set_verdict(node, verdict if stays else Verdict.TRT, [Reason(code, f"{node.name} stays.")] if stays else ())
    return program


def partitioned(program: Program, floor: int = 1, **options: object) -> Program:
    """A partitioned copy of a judged program."""
    return Partition(min_block_size=floor, **options).run(program.copy(), Context())


def at_line(program: Program, line_of: Callable[[str], int]) -> Program:
    """The program with every node on a line of a made-up model, in place."""
    for node in program.op_nodes:
        line = line_of(node.name)
        node.meta["stack_trace"] = f'  File "model.py", line {line}, in forward\n    line {line} of the model\n'
    return program


def random_program(seed: int, count: int) -> Program:
    """`count` operators on random earlier results, some with several results, some with symbolic sizes."""
    rng = random.Random(seed)

    def forward(*arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = list(arguments)
        for _ in range(count):
            x, y = rng.choice(results[-4:]), rng.choice(results)
            kind = rng.randrange(6)
            if kind == 0:
                results.append(x.sort(1).values)
            elif kind == 1:
                results.append(torch.cat(x.split(2, 1)[::-1], 1))
            elif kind == 2:
                results.append(x.reshape(x.shape[0] * 4).exp().reshape(x.shape[0], 4))
            else:
                results.append(x + y if kind == 3 else x.sin() if kind == 4 else x * y)
        return results[-1], results[len(results) // 2] + 1

    batch = torch.export.Dim("batch", min=2, max=8)
    inputs = (torch.randn(3, 4), torch.randn(3, 4))
    program = exported(forward, inputs, ({0: batch}, {0: batch}))
    return at_line(program, lambda name: len(name) % 3 + 1)
